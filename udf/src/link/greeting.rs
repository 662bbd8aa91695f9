//! The daemon's greeting (INFO) and ours (CONNECT). What may be sent without it stands in link/ahead.rs.

use super::allowed::rule;
use super::{BACKOFF, Connection, Fail, LIMITS, STALL, Wait, now, stalled};
use crate::counters::Reason;
use crate::socket::For;
use rowcall_wire::parse::{self, ServerOp, Step};
use rowcall_wire::rule::Rule;
use rowcall_wire::{PAYLOAD_CEILING, PAYLOAD_MAX, VERSION_TAG, encode};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the latest greeting said. Locked for a copy of a few bytes, never across a call.
static LATEST: Mutex<Option<Terms>> = Mutex::new(None);

/// What a daemon says of itself.
#[derive(Clone)]
pub(super) struct Terms {
    /// Its version.
    version: Option<String>,
    /// The largest message it takes.
    pub(super) max_payload: usize,
    /// What SQL may publish to.
    pub(super) rule: Rule,
}

#[cfg(test)]
impl Terms {
    /// Those of a daemon that takes so much, and restricts nothing.
    pub(super) fn plain(max_payload: usize) -> Terms {
        Terms { version: None, max_payload, rule: Rule::default() }
    }
}

/// The daemon's version, if one has greeted us.
pub(crate) fn daemon_version() -> Option<String> {
    latest().as_ref()?.version.clone()
}

/// What the daemon said that greeted this process last.
pub(super) fn latest_terms() -> Option<Terms> {
    latest().clone()
}

fn latest() -> MutexGuard<'static, Option<Terms>> {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Makes sure that the daemon has greeted us. Its greeting tells how much it takes; and one
    /// that does not greet in time would not read either.
    pub(super) fn greeted(&mut self, patience: Duration) -> Result<(), Fail> {
        if self.is_greeted && self.is_introduced {
            return Ok(());
        }
        if !self.is_greeted {
            let result = self.await_greeting(patience);
            // Whoever hangs up, or says something else, is not tried again at once.
            if let Err(Fail::Broken(_)) = result {
                BACKOFF.failed(now());
            }
            result?;
            STALL.is_over();
            self.ahead = 0;
            *latest() = self.terms.clone();
        }
        if !self.is_introduced {
            self.put_introduction();
            self.send()?;
            self.frame.clear();
            self.is_introduced = true;
        }
        Ok(())
    }

    /// Puts our greeting into the frame.
    pub(super) fn put_introduction(&mut self) {
        let pid = std::process::id();
        let version = env!("CARGO_PKG_VERSION");
        let connect = format!(
            "{{\"verbose\":false,\"pedantic\":false,\"echo\":false,\"headers\":true,\"no_responders\":true,\
             \"protocol\":0,\"lang\":\"sql\",\"version\":\"{version}\",\"name\":\"mysqld {pid}\"}}"
        );
        encode::json_line(&mut self.frame, "CONNECT", &connect);
    }

    fn await_greeting(&mut self, patience: Duration) -> Result<(), Fail> {
        let mut wait = Wait::until(Instant::now() + patience);
        loop {
            let got = self.received()?;
            if self.take_greeting()? {
                break;
            }
            if got == 0 {
                // Someone has waited for all of us already.
                if STALL.is_on(now()) {
                    return Err(Fail::Call(Reason::Stalled));
                }
                wait.slice(&self.socket, For::Input).map_err(stalled)?;
            }
        }
        if self.taken_in() { Ok(()) } else { Err(Fail::Broken(Reason::Refused)) }
    }

    /// Whether the greeting was meant: a daemon that is full greets and refuses in one breath, and reads
    /// nothing more.
    pub(super) fn taken_in(&self) -> bool {
        !matches!(parse::server_op(&self.input, &LIMITS), Ok(Step::Op(ServerOp::Err(_), _)))
    }

    /// Looks whether the greeting has come whole.
    pub(super) fn take_greeting(&mut self) -> Result<bool, Fail> {
        match parse::server_op(&self.input, &LIMITS) {
            Ok(Step::Op(ServerOp::Info(json), used)) => {
                self.server_id = json_text(json, "server_id").unwrap_or_default().to_owned();
                let version = json_text(json, "version").and_then(|version| version.split_once(VERSION_TAG));
                self.terms = Some(Terms {
                    version: version.map(|(_, ours)| ours.to_owned()),
                    max_payload: json_number(json, "max_payload").unwrap_or(PAYLOAD_MAX).min(PAYLOAD_CEILING),
                    rule: rule(json),
                });
                self.is_greeted = true;
                self.input.drain(..used);
                Ok(true)
            }
            Ok(Step::More(_)) => Ok(false),
            _ => Err(Fail::Broken(Reason::BadPeer)),
        }
    }
}

/// A number out of INFO's JSON, which is flat. A parser for all of JSON would be another guest.
fn json_number(json: &[u8], key: &str) -> Option<usize> {
    let digits = json_value(json, key)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// A text out of INFO's JSON; one with escapes is cut there.
pub(super) fn json_text<'a>(json: &'a [u8], key: &str) -> Option<&'a str> {
    json_value(json, key)?.strip_prefix('"')?.split(['"', '\\']).next()
}

fn json_value<'a>(json: &'a [u8], key: &str) -> Option<&'a str> {
    let json = std::str::from_utf8(json).ok()?;
    let (_, behind) = json.split_once(&format!("\"{key}\""))?;
    Some(behind.trim_start().strip_prefix(':')?.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read() {
        let info = br#"{"server_id":"X","version":"2.9.0-rowcall.0.1.0", "max_payload": 1048576,"port":1}"#;
        assert_eq!(json_number(info, "max_payload"), Some(1_048_576));
        assert_eq!(json_text(info, "version"), Some("2.9.0-rowcall.0.1.0"));
        assert_eq!(json_number(info, "nothing"), None);
        assert_eq!(json_number(info, "server_id"), None);
        assert_eq!(json_text(b"\xff", "version"), None);
    }
}
