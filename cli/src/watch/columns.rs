//! The columns of a table, and for each the SQL that writes its value as JSON. What a trigger does with
//! them stands in trigger.rs; the table of what comes out in docs/watch.md.

use crate::failure::Failure;
use crate::watch::table::Table;
use rowcall_mysql::{Connection, quoted};
use serde_json::Value;

/// A column as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// As in CREATE TABLE: `int(10) unsigned`.
    pub(crate) definition: String,
    shape: Shape,
}

/// How a value becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Its digits.
    Number,
    /// Digits that a program which reads numbers as floating point would spoil: BIGINT, DECIMAL.
    Exact,
    /// FLOAT, which the server shows rounded to six digits unless it is made a DOUBLE.
    Float,
    /// BIT, and YEAR, which is shown as 0000 when it is 0.
    Bits,
    /// Characters of any character set, or what the server shows as such.
    Text,
    Bytes,
    /// JSON as it stands.
    Json,
    /// A point in time, with so many digits of its second's fraction.
    Instant(usize),
    /// A date and a time of day, of whatever zone.
    DateTime,
    Geometry,
    /// MySQL's VECTOR and MariaDB's, with the function that shows one.
    Vector(&'static str),
}

/// How BIGINT and DECIMAL are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BigNumbers {
    /// As numbers, all digits of them
    #[default]
    Number,
    /// As strings, for programs that read numbers as floating point, as JavaScript does
    Text,
}

/// What the server says of a column.
struct Described<'a> {
    kind: &'a str,
    digits: usize,
    /// MariaDB's JSON is text with this check.
    checked_json: bool,
    mariadb: bool,
}

impl Column {
    /// The columns of a table, in their order.
    pub(crate) fn of(
        connection: &mut Connection,
        table: &Table,
        mariadb: bool,
    ) -> Result<Vec<Column>, Failure> {
        let json = if mariadb { checked_json(connection, table)? } else { Vec::new() };
        let sql = format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IFNULL(DATETIME_PRECISION, 0) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
            quoted(&table.schema),
            quoted(&table.name)
        );
        let outcome =
            connection.query(sql).map_err(|error| Failure::server("cannot read the columns", &error))?;
        let columns = outcome.rows.iter().map(|row| {
            let text = |at: usize| {
                let bytes = row.get(at).and_then(Option::as_deref).unwrap_or_default();
                String::from_utf8_lossy(bytes).into_owned()
            };
            let shape = shape(&Described {
                kind: &text(1).to_ascii_lowercase(),
                digits: text(3).parse().unwrap_or_default(),
                checked_json: json.contains(&format!("json_valid({})", identifier(&text(0)))),
                mariadb,
            });
            Column { name: text(0), definition: text(2), shape }
        });
        Ok(columns.collect())
    }

    /// SQL for the value in a row, `NEW` or `OLD`, as JSON. NULL only if that cannot be done: the value
    /// is too large for what a session may hold, say.
    pub(crate) fn json(&self, row: &str, big: BigNumbers) -> String {
        let value = self.value(row);
        let text = self.text(&value, big);
        format!("IF({value} IS NULL, 'null', {text})")
    }

    /// Whether two values may look the same.
    pub(crate) fn is_rounded(&self) -> bool {
        matches!(self.shape, Shape::Vector(_))
    }

    /// The value itself.
    pub(crate) fn value(&self, row: &str) -> String {
        format!("{row}.{}", identifier(&self.name))
    }

    fn text(&self, value: &str, big: BigNumbers) -> String {
        let characters = |sql: &str| format!("CONVERT({sql} USING utf8mb4)");
        // A number that is filled with zeros is shown with them, and JSON has no such number.
        let digits =
            if self.definition.contains("zerofill") { format!("{value} + 0") } else { value.to_owned() };
        match self.shape {
            Shape::Exact if big == BigNumbers::Text => format!("CONCAT('\"', {}, '\"')", characters(&digits)),
            // Whoever has made another type of the column since must not write into the event what he likes.
            Shape::Number | Shape::Exact => {
                format!("IF(JSON_VALID({0}), {0}, JSON_QUOTE({0}))", characters(&digits))
            }
            Shape::Float => characters(&format!("{value} + 0e0")),
            Shape::Bits => characters(&format!("{value} + 0")),
            Shape::Text => format!("JSON_QUOTE({})", characters(value)),
            // It comes in lines of 76.
            Shape::Bytes => format!(
                "CONCAT('\"', REPLACE({}, CHAR(10 USING utf8mb4), ''), '\"')",
                characters(&format!("TO_BASE64({value})"))
            ),
            // Whoever switches MariaDB's check off may have put anything there.
            Shape::Json => format!("IF(JSON_VALID({value}), {0}, JSON_QUOTE({0}))", characters(value)),
            Shape::Instant(digits) => instant(value, digits),
            Shape::DateTime => format!("CONCAT('\"', REPLACE({}, ' ', 'T'), '\"')", characters(value)),
            Shape::Geometry => characters(&geometry(value)),
            Shape::Vector(function) => characters(&format!("{function}({value})")),
        }
    }

    /// SQL for the value as a part of a key: text on one line. It loses what would not be, and two values
    /// may look the same then, which is harmless: their events wait for each other.
    pub(crate) fn key(&self, row: &str) -> String {
        let value = self.value(row);
        match self.shape {
            Shape::Number | Shape::Exact | Shape::Instant(_) | Shape::DateTime => {
                format!("CONVERT({value} USING utf8mb4)")
            }
            Shape::Bits | Shape::Bytes | Shape::Geometry | Shape::Vector(_) => {
                format!("CONVERT(HEX({value}) USING utf8mb4)")
            }
            Shape::Float | Shape::Text | Shape::Json => {
                format!("REGEXP_REPLACE(CONVERT({value} USING utf8mb4), '[[:cntrl:]]', '_')")
            }
        }
    }

    /// The beginning of its member in an object: `"name":`.
    pub(crate) fn member(&self) -> String {
        format!("{}:", Value::from(self.name.as_str()))
    }
}

/// The checks of a table in MariaDB.
fn checked_json(connection: &mut Connection, table: &Table) -> Result<Vec<String>, Failure> {
    let sql = format!(
        "SELECT CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = {} AND TABLE_NAME = {}",
        quoted(&table.schema),
        quoted(&table.name)
    );
    let outcome = connection.query(sql).map_err(|error| Failure::server("cannot read the checks", &error))?;
    let clauses = outcome.rows.iter().filter_map(|row| row.first()?.as_deref());
    Ok(clauses.map(|clause| String::from_utf8_lossy(clause).into_owned()).collect())
}

/// A TIMESTAMP in UTC, from the seconds that the server keeps: a detour by the session's time zone would take
/// one hour of each autumn for another. The date that is none ('0000-00-00 00:00:00') stays what it is.
fn instant(value: &str, digits: usize) -> String {
    let length = if digits == 0 { 19 } else { 20 + digits };
    let utc = format!(
        "LEFT(DATE_FORMAT(DATE_ADD('1970-01-01 00:00:00.000000', INTERVAL UNIX_TIMESTAMP({value}) SECOND), \
         '%Y-%m-%dT%H:%i:%s.%f'), {length})"
    );
    let none = format!("LEFT('0000-00-00T00:00:00.000000', {length})");
    format!(
        "CONCAT('\"', CONVERT(IF(IFNULL(UNIX_TIMESTAMP({value}), 0) = 0, {none}, {utc}) USING utf8mb4), 'Z\"')"
    )
}

/// GeoJSON, with the number of the reference system if it has one: GeoJSON itself knows degrees (4326) only.
fn geometry(value: &str) -> String {
    let (shape, srid) = (format!("ST_AsGeoJSON({value})"), format!("ST_SRID({value})"));
    format!("IF({srid} = 0, {shape}, CONCAT('{{\"srid\": ', {srid}, ', ', SUBSTRING({shape}, 2)))")
}

fn shape(column: &Described<'_>) -> Shape {
    match column.kind {
        "tinyint" | "smallint" | "mediumint" | "int" | "double" => Shape::Number,
        "bigint" | "decimal" => Shape::Exact,
        "float" => Shape::Float,
        "bit" | "year" => Shape::Bits,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Shape::Bytes,
        "json" => Shape::Json,
        "longtext" if column.checked_json => Shape::Json,
        "timestamp" => Shape::Instant(column.digits),
        "datetime" => Shape::DateTime,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => Shape::Geometry,
        "vector" => Shape::Vector(if column.mariadb { "VEC_ToText" } else { "VECTOR_TO_STRING" }),
        // Characters, dates, times of day, UUIDs, addresses, and what the future brings.
        _ => Shape::Text,
    }
}

/// A name in SQL, whatever it holds.
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A column for tests.
    pub(crate) fn column(name: &str, kind: &str) -> Column {
        let described = Described { kind, digits: 0, checked_json: false, mariadb: false };
        Column { name: name.into(), definition: kind.into(), shape: shape(&described) }
    }

    #[test]
    fn names_of_any_kind() {
        assert_eq!(identifier("a`b"), "`a``b`");
        let odd = column("q\"\\", "int");
        assert_eq!((odd.value("NEW"), odd.member()), ("NEW.`q\"\\`".into(), "\"q\\\"\\\\\":".into()));
    }

    #[test]
    fn big_numbers_are_what_was_asked_for() {
        let id = column("id", "bigint");
        assert_eq!(
            id.json("NEW", BigNumbers::Number),
            "IF(NEW.`id` IS NULL, 'null', IF(JSON_VALID({0}), {0}, JSON_QUOTE({0})))"
                .replace("{0}", "CONVERT(NEW.`id` USING utf8mb4)")
        );
        assert!(
            id.json("OLD", BigNumbers::Text).contains("CONCAT('\"', CONVERT(OLD.`id` USING utf8mb4), '\"')")
        );
    }
}
