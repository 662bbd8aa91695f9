//! What people and programs see: of a message, a line for a terminal or a JSON object; of many rows,
//! a table.

use crate::change::{Change, Paint};
use crate::client::Received;
use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use jiff::Zoned;
use rowcall_wire::headers;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Write};

/// For whom a message is shown.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Programs,
    People(Paint),
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

impl Style {
    pub(crate) fn new(json: bool, color: Color) -> Style {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colors = match color {
            Color::Auto => {
                io::stdout().is_terminal()
                    && !set("NO_COLOR")
                    && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
            }
            Color::Always => true,
            Color::Never => false,
        };
        if json { Style::Programs } else { Style::People(Paint(colors)) }
    }
}

/// Shows a message, of this time.
pub(crate) fn message(message: &Received, style: Style, time: &Zoned) -> Result<(), Failure> {
    line(&match style {
        Style::Programs => for_programs(message, time),
        Style::People(paint) => for_people(message, time, paint),
    })
}

/// Writes one line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes to stdout, at once: whoever reads it may be waiting for it.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        // As in `rowcall listen … | head`.
        ErrorKind::BrokenPipe => Failure::reader_left(),
        _ => Failure::other(format!("cannot write to stdout: {error}")),
    })
}

/// A message for a person: time, subject, payload or what has changed, on one line. Control characters are
/// shown, not sent to the terminal.
fn for_people(message: &Received, now: &Zoned, paint: Paint) -> String {
    let time = paint.dim(&now.strftime("%H:%M:%S%.3f").to_string());
    let mut line = format!("{time}  {}  ", visible(&message.subject));
    if let Some(change) = Change::read(&message.payload) {
        line.push_str(&change.line(paint));
        return line;
    }
    line.push_str(&visible(&message.payload));
    for (name, value) in headers::pairs(&message.headers) {
        let _ = write!(line, "  [{}: {}]", visible(name), visible(value));
    }
    line
}

/// The same for a program. A payload that is no UTF-8 comes as `payload_base64` instead.
fn for_programs(message: &Received, now: &Zoned) -> String {
    let mut object = payload(&message.payload);
    object.insert("time".into(), now.timestamp().to_string().into());
    object.insert("subject".into(), String::from_utf8_lossy(&message.subject).into());
    if let Some(reply) = &message.reply {
        object.insert("reply".into(), String::from_utf8_lossy(reply).into());
    }
    let headers: Vec<Value> = headers::pairs(&message.headers)
        .map(|(name, value)| json!([String::from_utf8_lossy(name), String::from_utf8_lossy(value)]))
        .collect();
    if !headers.is_empty() {
        object.insert("headers".into(), headers.into());
    }
    Value::Object(object).to_string()
}

/// `{"payload": …}` or `{"payload_base64": …}`.
pub(crate) fn payload(bytes: &[u8]) -> Map<String, Value> {
    let (key, value) = match std::str::from_utf8(bytes) {
        Ok(text) => ("payload", text.to_owned()),
        Err(_) => ("payload_base64", STANDARD.encode(bytes)),
    };
    Map::from_iter([(key.to_owned(), value.into())])
}

/// One line for a program.
pub(crate) fn object(object: Map<String, Value>) -> Result<(), Failure> {
    line(&Value::Object(object).to_string())
}

/// A table for people; columns of numbers stand to the right.
pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = rows.collect();
    bytes(aligned(head, &rows).as_bytes())
}

fn aligned(head: &[&str], rows: &[Vec<String>]) -> String {
    // Dates begin with a digit as well, and are all of one width.
    let is_number =
        |text: &str| text == "-" || (text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(':'));
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let mut text = String::new();
    for row in [&head].into_iter().chain(rows) {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width =
                rows.iter().chain([&head]).map(|row| row[at].chars().count()).max().unwrap_or_default();
            let _ = match rows.iter().all(|row| is_number(&row[at])) {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// So much of a text as a table has room for.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// So many events, in words.
pub(crate) fn events(number: u64) -> String {
    if number == 1 { "1 event".to_owned() } else { format!("{number} events") }
}

/// Text as it may be shown on a terminal.
pub(crate) fn visible(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        // Whatever turns the direction of writing could show another text than there is.
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(payload: &[u8]) -> Received {
        Received {
            subject: b"a.b".to_vec(),
            reply: None,
            headers: b"NATS/1.0\r\nX: y\r\n\r\n".to_vec(),
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn a_terminal_is_not_at_the_sender_s_mercy() {
        let line = for_people(&received(b"two\nlines \x1b[31mred \xff"), &Zoned::now(), Paint(false));
        assert!(line.ends_with("a.b  two\\nlines \\u{1b}[31mred \u{fffd}  [X: y]"), "{line:?}");
    }

    #[test]
    fn programs_get_every_byte() {
        let object: Value = serde_json::from_str(&for_programs(&received(b"x\ny"), &Zoned::now())).unwrap();
        assert_eq!((object["subject"].as_str(), object["payload"].as_str()), (Some("a.b"), Some("x\ny")));
        assert_eq!(object["headers"], json!([["X", "y"]]));
        let object: Value = serde_json::from_str(&for_programs(&received(b"\xff"), &Zoned::now())).unwrap();
        assert_eq!(object["payload_base64"].as_str(), Some("/w=="));
    }
    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["größe".into(), "7".into()], vec!["b".into(), "1000".into()]];
        assert_eq!(aligned(&["name", "n"], &rows), "name      n\ngröße     7\nb      1000\n");
        assert_eq!(shortened(&"ö".repeat(61)), format!("{}…", "ö".repeat(60)));
        assert_eq!((events(1), events(0)), ("1 event".into(), "0 events".into()));
    }
}
