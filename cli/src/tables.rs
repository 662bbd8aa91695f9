//! The tables of committed mode as the subcommands use them: the session, values in statements, rows
//! as records. Which subcommand asks what stands with it; the tables themselves in sql/schema.sql.

use crate::failure::Failure;
use crate::output;
use crate::schema;
use crate::server::ServerArgs;
use rowcall_mysql::{Connection, Row};
use serde_json::{Map, Value};

/// A session that reads and writes the tables.
pub(crate) struct Tables {
    connection: Connection,
}

/// What to ask for under which name.
pub(crate) struct Column {
    name: &'static str,
    kind: Kind,
    sql: &'static str,
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    /// 0 or another number.
    Flag,
    Text,
    /// A point in time.
    Time,
    /// Whatever was published.
    Bytes,
}

/// A row, with the names of its values.
pub(crate) struct Record {
    columns: &'static [Column],
    row: Row,
}

impl Column {
    pub(crate) const fn new(name: &'static str, kind: Kind, sql: &'static str) -> Column {
        Column { name, kind, sql }
    }

    /// Times come as programs read them, in UTC.
    fn expression(&self) -> String {
        match self.kind {
            Kind::Time => format!("DATE_FORMAT({}, '%Y-%m-%dT%H:%i:%s.%fZ')", self.sql),
            _ => self.sql.to_owned(),
        }
    }
}

impl Tables {
    /// Connects, and makes sure that the tables are there and are those that are known.
    pub(crate) fn open(server: &ServerArgs) -> Result<Tables, Failure> {
        let mut connection = server.connect()?;
        schema::check(&mut connection)?;
        Ok(Tables { connection })
    }

    /// Runs a statement; gives how many rows it changed.
    pub(crate) fn run(&mut self, sql: &str) -> Result<u64, Failure> {
        let outcome = self.connection.query(sql);
        Ok(outcome.map_err(|error| Failure::tables(&error))?.affected)
    }

    /// One number from the server, or NULL.
    pub(crate) fn number(&mut self, sql: &str) -> Result<Option<u64>, Failure> {
        let value = self.connection.value(sql).map_err(|error| Failure::tables(&error))?;
        Ok(value.and_then(|text| text.parse().ok()))
    }

    /// The rows that `FROM …` means.
    pub(crate) fn records(&mut self, columns: &'static [Column], from: &str) -> Result<Vec<Record>, Failure> {
        let expressions: Vec<String> = columns.iter().map(Column::expression).collect();
        let sql = format!("SELECT {} {from}", expressions.join(", "));
        let outcome = self.connection.query(sql).map_err(|error| Failure::tables(&error))?;
        Ok(outcome.rows.into_iter().map(|row| Record { columns, row }).collect())
    }

    /// Whether a daemon reads the outbox, and looks after the consumers.
    pub(crate) fn is_read(&mut self) -> Result<bool, Failure> {
        schema::is_read(&mut self.connection).map_err(|error| Failure::tables(&error))
    }
}

impl Record {
    fn value(&self, name: &str) -> Option<&[u8]> {
        let at = self.columns.iter().position(|column| column.name == name)?;
        self.row.get(at)?.as_deref()
    }

    /// A value as it may be shown on a terminal; nothing for NULL.
    pub(crate) fn text(&self, name: &str) -> String {
        output::visible(self.value(name).unwrap_or_default())
    }

    /// A value line by line; each may be shown on a terminal.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let value = self.value(name).unwrap_or_default();
        let lines = value.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| output::visible(line.strip_suffix(b"\r").unwrap_or(line))).collect()
    }

    /// Whether there is a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        std::str::from_utf8(self.value(name)?).ok()?.parse().ok()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.number(name).is_some_and(|number| number != 0)
    }

    /// A point in time for people.
    pub(crate) fn time(&self, name: &str) -> String {
        let text = self.text(name).replace('T', " ");
        text.split('.').next().map(|seconds| format!("{seconds} UTC")).unwrap_or_default()
    }

    /// All of it for programs.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        for (column, value) in self.columns.iter().zip(&self.row) {
            let Some(value) = value else {
                object.insert(column.name.into(), Value::Null);
                continue;
            };
            let text = || String::from_utf8_lossy(value).into_owned();
            let value = match column.kind {
                Kind::Number => self.number(column.name).into(),
                Kind::Flag => self.flag(column.name).into(),
                Kind::Text | Kind::Time => text().into(),
                Kind::Bytes => {
                    object.extend(output::payload(value));
                    continue;
                }
            };
            object.insert(column.name.into(), value);
        }
        object
    }
}

/// A value in a statement, whatever it holds and whatever the session's SQL mode is.
pub(crate) fn hex(value: &str) -> String {
    let digits: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 5] = [
        Column::new("n", Kind::Number, "n"),
        Column::new("yes", Kind::Flag, "yes"),
        Column::new("at", Kind::Time, "t"),
        Column::new("payload", Kind::Bytes, "p"),
        Column::new("none", Kind::Text, "x"),
    ];

    #[test]
    fn a_row_has_names() {
        let values = [&b"7"[..], b"1", b"2026-01-02T03:04:05.678901Z", b"\x1b\xff"];
        let mut row: Row = values.map(|value| Some(value.to_vec())).into();
        row.push(None);
        let record = Record { columns: &COLUMNS, row };
        assert_eq!((record.number("n"), record.flag("yes"), record.has("none")), (Some(7), true, false));
        assert_eq!(record.time("at"), "2026-01-02 03:04:05 UTC");
        assert_eq!((record.text("payload"), record.text("none")), ("\\u{1b}\u{fffd}".into(), String::new()));
        let expected = serde_json::json!({
            "n": 7, "yes": true, "at": "2026-01-02T03:04:05.678901Z", "payload_base64": "G/8=", "none": null
        });
        assert_eq!(Value::Object(record.json()), expected);
    }

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        assert_eq!((hex("a'\\"), hex("")), ("x'61275c'".into(), "x''".into()));
    }
}
