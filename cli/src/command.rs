//! Running a command for a message: what it is told, how long it may take, and its end, which is never taken for
//! granted. What the message is, and what becomes of the outcome, is for others.

use crate::change::Change;
use crate::client::Received;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rowcall_wire::headers;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long a command that was told to end may still take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Bytes of a value in the environment; what is longer is on stdin only. The kernel takes 128 KiB in one.
const VALUE_MAX: usize = 32 << 10;

/// Bytes of all of them. The kernel takes a quarter of the stack's limit, usually 2 MiB, for arguments and
/// environment, and some of it is ours already.
const ENVIRONMENT_MAX: usize = 512 << 10;

/// Runs the command with the message's payload on its stdin. At the end of the limit it and all that it has
/// started are told to end, and killed if they do not.
pub(crate) fn run(
    command: &[String],
    message: &Received,
    stdout: Stdio,
    limit: Option<Duration>,
) -> io::Result<Output> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .envs(environment(message))
        .stdin(Stdio::piped())
        .stdout(stdout)
        // A group of its own: Ctrl-C is for us, who let it finish, and its children end with it.
        .process_group(0)
        .spawn()?;
    // A thread of its own: the command may write before it has read everything, or not read at all, which is
    // no error. Nobody waits for it: what the command has started may hold its stdin for longer than it lives.
    let (stdin, payload) = (child.stdin.take(), message.payload.clone());
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&payload)));
    let group = Pid::from_raw(child.id() as i32);
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let Some(limit) = limit else { return };
            for (time, signal) in [(limit, Signal::SIGTERM), (GRACE, Signal::SIGKILL)] {
                if end.recv_timeout(time) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                // It may have ended just now.
                let _ = killpg(group, signal);
            }
        });
        let output = child.wait_with_output();
        drop(ended);
        output
    })
}

/// What a command is told beside the payload: `ROWCALL_SUBJECT`, a variable for each header, and for each column
/// of a changed row or each member of another JSON object.
fn environment(message: &Received) -> BTreeMap<String, String> {
    let mut variables = Variables::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    variables.set("SUBJECT", "", text(&message.subject));
    for (name, value) in headers::pairs(&message.headers) {
        variables.set("HEADER_", &text(name), text(value));
    }
    match Change::read(&message.payload) {
        Some(change) => {
            variables.set("OP", "", change.op().to_owned());
            variables.set("DB", "", change.source.db.clone());
            variables.set("TABLE", "", change.source.table.clone());
            for (prefix, row) in [("OLD_", &change.before), ("NEW_", &change.after)] {
                for (name, value) in row.iter().flat_map(|row| &row.0) {
                    variables.set_json(prefix, name, value);
                }
            }
        }
        None => {
            let object = serde_json::from_slice::<BTreeMap<String, &RawValue>>(&message.payload);
            for (name, value) in object.unwrap_or_default() {
                variables.set_json("FIELD_", &name, value);
            }
        }
    }
    variables.all
}

#[derive(Default)]
struct Variables {
    all: BTreeMap<String, String>,
    bytes: usize,
}

impl Variables {
    /// Strings without their quotes, other values as they are written; NULL is no variable.
    fn set_json(&mut self, prefix: &str, name: &str, value: &RawValue) {
        match serde_json::from_str(value.get()) {
            Ok(Value::Null) => {}
            Ok(Value::String(text)) => self.set(prefix, name, text),
            _ => self.set(prefix, name, value.get().to_owned()),
        }
    }

    /// What does not fit is left out: the payload is on stdin, all of it.
    fn set(&mut self, prefix: &str, name: &str, value: String) {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = format!("ROWCALL_{prefix}{}", name.chars().map(plain).collect::<String>());
        let bytes = name.len() + value.len() + 2;
        if value.len() > VALUE_MAX || value.contains('\0') || self.bytes + bytes > ENVIRONMENT_MAX {
            return;
        }
        self.bytes += bytes;
        self.all.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(payload: &str) -> Vec<(String, String)> {
        let message = Received {
            subject: b"a.b".to_vec(),
            reply: None,
            headers: b"NATS/1.0\r\nRowcall-Key: t/1\r\n\r\n".to_vec(),
            payload: payload.into(),
        };
        let all = environment(&message).into_iter();
        all.map(|(name, value)| (name.trim_start_matches("ROWCALL_").to_owned(), value)).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_changed_row_is_told_column_by_column() {
        let payload = r#"{"before":{"id":1,"größe in cm":1.50},"after":{"id":1,"größe in cm":null,"s":"a\n\"b"},
            "source":{"connector":"rowcall","db":"shop","table":"t"},"op":"u"}"#;
        let expected = [
            ("DB", "shop"),
            ("HEADER_ROWCALL_KEY", "t/1"),
            ("NEW_ID", "1"),
            ("NEW_S", "a\n\"b"),
            ("OLD_GR__E_IN_CM", "1.50"),
            ("OLD_ID", "1"),
            ("OP", "update"),
            ("SUBJECT", "a.b"),
            ("TABLE", "t"),
        ];
        assert_eq!(told(payload), pairs(expected));
    }

    #[test]
    fn other_payloads_are_told_as_far_as_they_are_objects() {
        let rest = [("HEADER_ROWCALL_KEY", "t/1"), ("SUBJECT", "a.b")];
        assert_eq!(
            told(r#"{"id":7,"o":{"x":[1]}}"#)[..2],
            pairs([("FIELD_ID", "7"), ("FIELD_O", "{\"x\":[1]}")])
        );
        for payload in ["", "text", "[1]", "{\"a\":\"\\u0000\"}"] {
            assert_eq!(told(payload), pairs(rest), "{payload}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(VALUE_MAX + 1));
        assert_eq!(told(&long), pairs(rest));
        let many: Vec<String> = (0..100).map(|n| format!("\"m{n}\":\"{}\"", "x".repeat(VALUE_MAX))).collect();
        assert!(told(&format!("{{{}}}", many.join(","))).len() < ENVIRONMENT_MAX / VALUE_MAX + 2);
    }
}
