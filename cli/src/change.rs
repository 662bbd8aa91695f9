//! An event of a watched table as people read it: what has become of the row, a change as old → new. How
//! other messages are shown stands in output.rs.

use crate::output::{shortened, visible};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// What `rowcall watch` makes, as far as it is shown. Values stay as they are written: no digit is lost.
#[derive(Deserialize)]
pub(crate) struct Change<'a> {
    #[serde(borrow)]
    pub(crate) before: Option<Row<'a>>,
    #[serde(borrow)]
    pub(crate) after: Option<Row<'a>>,
    op: Op,
    /// Something else may have an `op`, but hardly one of these.
    pub(crate) source: Source,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum Op {
    #[serde(rename = "c")]
    Insert,
    #[serde(rename = "u")]
    Update,
    #[serde(rename = "d")]
    Delete,
}

#[derive(Deserialize)]
pub(crate) struct Source {
    pub(crate) db: String,
    pub(crate) table: String,
}

/// The columns of a row, in their order.
pub(crate) struct Row<'a>(pub(crate) Vec<(String, &'a RawValue)>);

/// Colours of a terminal, or none.
#[derive(Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl<'a> Change<'a> {
    /// Reads one, if it is one.
    pub(crate) fn read(payload: &'a [u8]) -> Option<Change<'a>> {
        serde_json::from_slice(payload).ok()
    }

    /// insert, update or delete.
    pub(crate) fn op(&self) -> &'static str {
        match self.op {
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
        }
    }

    /// In one line.
    pub(crate) fn line(&self, paint: Paint) -> String {
        match (self.op, &self.before, &self.after) {
            (Op::Update, Some(before), Some(after)) => differences(before, after, paint),
            (Op::Delete, Some(row), _) => paint.red(&format!("- {}", row.line())),
            (_, _, Some(row)) => paint.green(&format!("+ {}", row.line())),
            _ => String::new(),
        }
    }
}

impl<'a> Row<'a> {
    fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(column, _)| column == name).map(|(_, value)| *value)
    }

    fn line(&self) -> String {
        let columns: Vec<String> = self.0.iter().map(|(name, value)| column(name, &shown(value))).collect();
        columns.join("  ")
    }
}

impl Paint {
    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The first column, which usually says which row it is, and those that are not what they were.
fn differences(before: &Row<'_>, after: &Row<'_>, paint: Paint) -> String {
    let columns = after.0.iter().enumerate().filter_map(|(at, (name, value))| {
        let new = shown(value);
        match before.value(name) {
            Some(old) if old.get() == value.get() => (at == 0).then(|| column(name, &new)),
            Some(old) => Some(column(name, &format!("{} → {}", paint.red(&shown(old)), paint.green(&new)))),
            None => Some(column(name, &paint.green(&new))),
        }
    });
    let columns: Vec<String> = columns.collect();
    format!("~ {}", columns.join("  "))
}

fn column(name: &str, value: &str) -> String {
    format!("{}: {value}", visible(name.as_bytes()))
}

fn shown(value: &RawValue) -> String {
    shortened(&visible(value.get().as_bytes()))
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Row<'a>, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Row<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                Ok(Row(columns))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(op: &str, before: &str, after: &str) -> String {
        format!(
            "{{\"before\":{before},\"after\":{after},\"source\":{{\"db\":\"d\",\"table\":\"t\"}},\"op\":\"{op}\",\"ts_ms\":1}}"
        )
    }

    fn line(op: &str, before: &str, after: &str, paint: bool) -> String {
        Change::read(event(op, before, after).as_bytes()).unwrap().line(Paint(paint))
    }

    #[test]
    fn a_row_comes_changes_and_goes() {
        let (one, two) = (r#"{"z":1,"a":12.50,"s":"x"}"#, r#"{"z":1,"a":12.5000000000000000001,"s":"x"}"#);
        assert_eq!(line("c", "null", one, false), "+ z: 1  a: 12.50  s: \"x\"");
        assert_eq!(line("u", one, two, false), "~ z: 1  a: 12.50 → 12.5000000000000000001");
        assert_eq!(
            line("d", two, "null", true),
            "\x1b[31m- z: 1  a: 12.5000000000000000001  s: \"x\"\x1b[0m"
        );
        assert_eq!(line("u", "{\"a\":1}", "{\"a\":2}", true), "~ a: \x1b[31m1\x1b[0m → \x1b[32m2\x1b[0m");
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
        assert!(line("c", "null", &long, false).ends_with('…'));
        assert_eq!(line("c", "null", "{\"a\":\"\u{9b}31m\"}", false), "+ a: \"\\u{9b}31m\"");
    }

    #[test]
    fn other_payloads_are_none() {
        for other in [
            "",
            "1",
            "{}",
            "{\"op\":\"c\",\"after\":{}}",
            "{\"op\":\"x\",\"source\":{\"db\":\"\",\"table\":\"\"}}",
            "[]",
        ] {
            assert!(Change::read(other.as_bytes()).is_none(), "{other}");
        }
    }
}
