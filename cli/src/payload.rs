//! Where a message comes from on the command line: subject, payload (`-` is stdin) and headers.

use crate::failure::Failure;
use rowcall_wire::{Message, headers, subject};
use std::io::Read;

/// A message under construction.
pub(crate) struct Draft {
    subject: String,
    body: Vec<u8>,
    header_len: usize,
}

impl Draft {
    /// Checks the subject, and reads the payload from stdin if it is `-`.
    pub(crate) fn new(subject: &str, payload: &str, header_lines: &[String]) -> Result<Draft, Failure> {
        subject::publishable(subject.as_bytes())
            .map_err(|flaw| Failure::usage(format!("the subject \"{subject}\" {}", flaw.text())))?;
        let pairs: Vec<(&str, &str)> =
            header_lines.iter().map(|line| header(line)).collect::<Result<_, _>>()?;
        let mut body = Vec::new();
        let mut header_len = 0;
        if !pairs.is_empty() {
            header_len = headers::block(
                &mut body,
                pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
            );
        }
        if payload == "-" {
            let read = std::io::stdin().lock().read_to_end(&mut body);
            read.map_err(|error| Failure::other(format!("cannot read the payload from stdin: {error}")))?;
        } else {
            body.extend_from_slice(payload.as_bytes());
        }
        Ok(Draft { subject: subject.to_owned(), body, header_len })
    }

    /// The message, to be answered on `reply`.
    pub(crate) fn message<'a>(&'a self, reply: Option<&'a [u8]>) -> Message<'a> {
        Message { subject: self.subject.as_bytes(), reply, body: &self.body, header_len: self.header_len }
    }
}

fn header(line: &str) -> Result<(&str, &str), Failure> {
    let wrong = || Failure::usage(format!("--header \"{line}\": expected \"Name: value\""));
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let value = value.trim();
    if headers::valid_name(name.as_bytes()) && headers::valid_value(value.as_bytes()) {
        Ok((name, value))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_becomes_a_message() {
        let draft = Draft::new("a.b", "hi", &["X: y".into()]).unwrap();
        let message = draft.message(Some(b"r"));
        assert_eq!((message.subject, message.reply), (&b"a.b"[..], Some(&b"r"[..])));
        assert_eq!(message.headers(), b"NATS/1.0\r\nX: y\r\n\r\n");
        assert_eq!(message.payload(), b"hi");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |subject: &str, header: &str| {
            Draft::new(subject, "", &[header.into()]).err().unwrap().to_string()
        };
        assert!(error("a.*", "X: y").contains("wildcard"));
        assert!(error("a b", "X: y").contains("blank"));
        assert!(error("a", "X").contains("Name: value"));
        assert!(error("a", "X: y\nZ: z").contains("Name: value"));
    }
}
