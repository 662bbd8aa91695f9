//! What SQL may publish to: the daemon says so in its greeting, and again when that changes. So a call
//! that is not allowed answers at once that it is not, although the library reads only while it waits
//! for something. The daemon is the one who enforces it, whatever is known here.

use super::greeting::json_text;
use super::{Connection, Fail, LIMITS};
use crate::counters::Reason;
use rowcall_wire::parse::{self, ServerOp, Step};
use rowcall_wire::rule::Rule;
use rowcall_wire::{Message, headers, subject};

/// What the daemon says, in words of its own on purpose: it may be any reply's header.
const FORBIDDEN: &[u8] = b"forbidden";

/// Reads after which what is known counts: whoever sends to this connection without end must not hold up a
/// statement. More than a socket's buffer holds.
const READS_MAX: usize = 64;

/// The rule in the daemon's greeting; none is no restriction.
pub(super) fn rule(info: &[u8]) -> Rule {
    json_text(info, "sql_publish").map(Rule::from_text).unwrap_or_default()
}

/// Whether this is no reply, but the daemon's answer that what was asked for is not allowed.
pub(super) fn is_forbidden(message: &Message<'_>) -> bool {
    message.payload().is_empty() && headers::value(message.headers(), headers::NO_REPLY) == Some(FORBIDDEN)
}

impl Connection {
    /// Whether SQL may publish to this. What is known may be out of date, so before a call is refused
    /// it is looked whether the daemon has said something else since.
    pub(super) fn may_publish(&mut self, subject: &[u8]) -> Result<bool, Fail> {
        // Whatever the rule says; the daemon would refuse it as well.
        if subject::is_reserved(subject) {
            return Ok(false);
        }
        // What it says to the daemon itself is always allowed.
        if self.rule_permits(subject) || subject::is_for_daemon(subject) {
            return Ok(true);
        }
        // Who has not greeted us has said nothing since.
        if !self.is_greeted {
            return Ok(false);
        }
        for _ in 0..READS_MAX {
            let came = self.received()?;
            while let Some(used) = self.pass_over()? {
                self.input.drain(..used);
            }
            if came == 0 {
                break;
            }
        }
        Ok(self.rule_permits(subject))
    }

    fn rule_permits(&self, subject: &[u8]) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.rule.permits(subject))
    }

    /// Takes what the daemon now says that is allowed.
    pub(super) fn take_rule(&mut self, rule: Rule) {
        if let Some(terms) = &mut self.terms {
            terms.rule = rule;
        }
    }

    /// Takes the rule out of the next operation that has come, if it is one; everything else is of calls
    /// that are over. Says how long it is, if it has come whole.
    fn pass_over(&mut self) -> Result<Option<usize>, Fail> {
        match parse::server_op(&self.input, &LIMITS) {
            Ok(Step::Op(ServerOp::Info(json), used)) => {
                let rule = rule(json);
                self.take_rule(rule);
                Ok(Some(used))
            }
            Ok(Step::Op(ServerOp::Err(_), _)) => Err(Fail::Broken(Reason::Refused)),
            Ok(Step::Op(_, used)) => Ok(Some(used)),
            Ok(Step::More(_)) => Ok(None),
            Err(_) => Err(Fail::Broken(Reason::BadPeer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_read_from_the_greeting() {
        let info = br#"{"server_id":"X","sql_publish":"+ +shop.> -shop.secret","max_payload":1}"#;
        let rule = rule(info);
        assert!(rule.permits(b"shop.a") && !rule.permits(b"shop.secret") && !rule.permits(b"other"));
        assert!(super::rule(br#"{"server_id":"X"}"#).is_open());
    }

    #[test]
    fn what_says_that_it_is_forbidden() {
        let message = |block: &'static str, payload: &str| {
            let body: &'static str = format!("{block}{payload}").leak();
            Message { header_len: block.len(), ..Message::plain(b"i", body.as_bytes()) }
        };
        let block = "NATS/1.0\r\nRowcall-No-Reply: forbidden\r\n\r\n";
        assert!(is_forbidden(&message(block, "")));
        assert!(!is_forbidden(&message(block, "x")) && !is_forbidden(&message("", "")));
        assert!(!is_forbidden(&message("NATS/1.0\r\nRowcall-No-Reply: taken\r\n\r\n", "")));
    }
}
