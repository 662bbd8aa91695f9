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
    /// A part of the primary key.
    pub(crate) primary: bool,
    pub(crate) origin: Origin,
    shape: Shape,
    /// MariaDB takes text that is not Unicode (halves of surrogate pairs), and JSON that is not RFC 8259's.
    pub(crate) lax: bool,
}

/// Where the value of an updated row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the statement, or from the row as it was.
    Given,
    /// From other columns.
    Generated,
    /// MariaDB's clock (ON UPDATE CURRENT_TIMESTAMP), also where the update changes nothing and is not stored.
    Stamped,
}

/// How a value becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Its digits: integers, FLOAT, BIT, YEAR.
    Number,
    /// DOUBLE.
    Double,
    /// Digits that a program which reads numbers as floating point would spoil: BIGINT, DECIMAL.
    Exact,
    /// Characters of any character set, or what the server shows as such.
    Text,
    Bytes,
    /// JSON as it stands.
    Json,
    /// A point in time, with so many digits of its second's fraction.
    Instant(usize),
    /// A date, a time of day, or both, of whatever zone.
    Clock,
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

/// A number in a column that has become text: short enough for every reader. Nothing may follow it, whatever
/// flags a session has for regular expressions.
const PLAIN_NUMBER: &str = "(?-m)^-?(0|[1-9][0-9]{0,64})([.][0-9]+)?(?![^x]|x)";

/// RFC 8259 where MariaDB's JSON_VALID, which is asked first, is laxer: escapes, control characters in names,
/// digits of numbers. A number is one that floating point has room for. `~` is a backslash: where tools copy
/// a trigger, its backslashes are lost.
const STRICT_JSON: &str = concat!(
    r#"(?-i)~A(?>[^"0-9-]*+(?>"[^"~~~x00-~x1F]*+(?:~~["~~/bfnrtu][^"~~~x00-~x1F]*+)*+"|-?+(?>"#,
    r"[0-9](?:[.][0-9]++)?+[eE][+]?+0*+(?:[12][0-9]{2}|30[0-7])|1(?:[.][0-6][0-9]*+)?+[eE][+]?+308|",
    r"1[.]7976931348623157[eE][+]?+308|",
    r"(?:0|[1-9][0-9]{0,99}+)(?:[.][0-9]++)?+(?:[eE](?:-[0-9]++|[+]?+(?=[0-9])0*+[0-9]{0,2}+))?+",
    r#")(?![0-9.eE+-])))*+[^"0-9-]*+~z"#
);

/// What the server says of a column.
struct Described<'a> {
    name: String,
    kind: &'a str,
    definition: String,
    digits: usize,
    primary: bool,
    /// `on update current_timestamp()`
    extra: &'a str,
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
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IFNULL(DATETIME_PRECISION, 0), COLUMN_KEY, EXTRA \
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {} ORDER BY ORDINAL_POSITION",
            quoted(&table.schema),
            quoted(&table.name)
        );
        let rows =
            connection.texts(&sql).map_err(|error| Failure::server("cannot read the columns", &error))?;
        let columns = rows.into_iter().map(|row| {
            let [name, kind, definition, digits, key, extra] = row.try_into().unwrap_or_default();
            Column::new(Described {
                checked_json: json.contains(&format!("json_valid({})", identifier(&name))),
                name,
                kind: &kind.to_ascii_lowercase(),
                definition,
                digits: digits.parse().unwrap_or_default(),
                primary: key == "PRI",
                extra: &extra.to_ascii_lowercase(),
                mariadb,
            })
        });
        Ok(columns.collect())
    }

    fn new(described: Described<'_>) -> Column {
        Column {
            shape: shape(&described),
            primary: described.primary,
            origin: origin(&described),
            lax: described.mariadb,
            name: described.name,
            definition: described.definition,
        }
    }

    /// SQL for the value in a row, `NEW` or `OLD`, as JSON, provided that the column is what it was:
    /// [`as_they_were`] says so. NULL only if that cannot be done: the value is too large for what a session
    /// may hold, say.
    pub(crate) fn json(&self, row: &str, big: BigNumbers) -> String {
        let value = self.value(row);
        format!("IF({value} IS NULL, 'null', {})", self.text(&value, big))
    }

    /// The same of whatever the column has become.
    pub(crate) fn json_of_any(&self, row: &str, big: BigNumbers) -> String {
        let (value, text) = (self.value(row), characters(&self.value(row)));
        let characters = match self.shape {
            Shape::Exact if big == BigNumbers::Text => format!("JSON_QUOTE({text})"),
            Shape::Number | Shape::Double | Shape::Exact => {
                format!("IF({text} REGEXP {}, {text}, JSON_QUOTE({text}))", quoted(PLAIN_NUMBER))
            }
            _ => format!("JSON_QUOTE({text})"),
        };
        let other = format!("IF(CHARSET(CONCAT({value})) = 'binary', {}, {characters})", base64(&value));
        let is_it = as_they_were(&[self], row);
        format!("IF({value} IS NULL, 'null', IF({is_it}, {}, {other}))", self.text(&value, big))
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
        let text = characters(value);
        match self.shape {
            Shape::Exact if big == BigNumbers::Text => format!("CONCAT('\"', {}, '\"')", number(value)),
            Shape::Number | Shape::Exact => number(value),
            Shape::Double => double(value),
            Shape::Text => format!("JSON_QUOTE({text})"),
            Shape::Bytes => base64(value),
            // Whoever switches MariaDB's check off may have put anything there.
            Shape::Json if self.lax => format!(
                "IF(JSON_VALID({text}) AND {text} REGEXP REPLACE({}, '~', CHAR(92 USING utf8mb4)), {text}, \
                 JSON_QUOTE({text}))",
                quoted(STRICT_JSON)
            ),
            Shape::Json => format!("IF(JSON_VALID({value}), {text}, JSON_QUOTE({text}))"),
            Shape::Instant(digits) => {
                let utc = instant(value, digits);
                format!("IF({}, CONCAT('\"', {utc}, '\"'), JSON_QUOTE({text}))", is_moment(value))
            }
            Shape::Clock => format!("CONCAT('\"', REPLACE({text}, ' ', 'T'), '\"')"),
            Shape::Geometry => characters(&geometry(value)),
            Shape::Vector(function) => characters(&format!("{function}({value})")),
        }
    }

    /// SQL for the value as a part of a key, provided that the column is what it was: text on one line, the
    /// same in whatever session. It loses what would not be, and two values may look the same then, which is
    /// harmless: their events wait for each other.
    pub(crate) fn key(&self, row: &str) -> String {
        let value = self.value(row);
        match self.shape {
            Shape::Number | Shape::Exact => number(&value),
            Shape::Double => double(&value),
            Shape::Clock => characters(&value),
            Shape::Instant(digits) => {
                format!("IF({}, {}, {})", is_moment(&value), instant(&value, digits), characters(&value))
            }
            Shape::Text | Shape::Json => self.line(&value),
            Shape::Bytes | Shape::Geometry | Shape::Vector(_) => hex(&value),
        }
    }

    /// The same of whatever the column has become.
    pub(crate) fn key_of_any(&self, row: &str) -> String {
        let value = self.value(row);
        let other =
            format!("IF(CHARSET(CONCAT({value})) = 'binary', {}, {})", hex(&value), self.line(&value));
        format!("IF({}, {}, {other})", as_they_were(&[self], row), self.key(row))
    }

    /// SQL for characters on one line.
    fn line(&self, value: &str) -> String {
        // A regular expression leaves all as it is where it meets half a surrogate pair; UTF-16 has none.
        let unicode = if self.lax { format!("CONVERT({value} USING utf16)") } else { value.to_owned() };
        format!("REGEXP_REPLACE({}, '[[:cntrl:]]', '_')", characters(&unicode))
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

/// SQL for whether columns are of types that are written as theirs were when the trigger was: ALTER TABLE asks
/// no trigger. The server knows the answer before it reads a row: COERCIBILITY is 5 of numbers, dates and times,
/// and 2 of characters and bytes.
pub(crate) fn as_they_were(columns: &[&Column], row: &str) -> String {
    let mut numbers = Vec::new();
    let mut all = Vec::new();
    for column in columns {
        let value = column.value(row);
        match column.shape {
            Shape::Number | Shape::Double | Shape::Exact => numbers.push(value),
            Shape::Clock | Shape::Instant(_) => all.push(format!("COERCIBILITY({value}) = 5")),
            Shape::Json if column.lax => all.push(format!("CHARSET({value}) <> 'binary'")),
            // MySQL's JSON is binary to itself, and characters to others.
            Shape::Json => {
                all.push(format!("CHARSET({value}) = 'binary' AND CHARSET(CONCAT({value})) <> 'binary'"));
            }
            Shape::Text => all.push(format!("CHARSET({value}) <> 'binary'")),
            Shape::Bytes => all.push(format!("CHARSET(CONCAT({value})) = 'binary'")),
            // Their functions fail with what is none.
            Shape::Geometry | Shape::Vector(_) => {}
        }
    }
    if !numbers.is_empty() {
        // A number only if all of them are; with a date it is text.
        all.insert(0, format!("COERCIBILITY(COALESCE({}, 0)) = 5", numbers.join(", ")));
    }
    if all.is_empty() { "TRUE".into() } else { all.join(" AND ") }
}

/// SQL for a value as characters, whatever it is.
fn characters(sql: &str) -> String {
    format!("CONVERT({sql} USING utf8mb4)")
}

/// SQL for a number as JSON. The type of COALESCE is that of both: without the zeros of ZEROFILL and YEAR, with
/// all digits of a FLOAT, and with those of a BIT.
fn number(value: &str) -> String {
    characters(&format!("COALESCE({value}, 0)"))
}

/// SQL for a DOUBLE as JSON, of which MySQL's COALESCE would leave 15 digits. A BIT, and numbers with zeros before
/// them, are written as other numbers are.
fn double(value: &str) -> String {
    let text = characters(value);
    format!("IF(CHARSET(CONCAT({value})) <> 'binary' AND JSON_VALID({text}), {text}, {})", number(value))
}

/// SQL for bytes as a string in JSON. It comes in lines of 76.
fn base64(value: &str) -> String {
    let lines = characters(&format!("TO_BASE64({value})"));
    format!("CONCAT('\"', REPLACE({lines}, CHAR(10 USING utf8mb4), ''), '\"')")
}

fn hex(value: &str) -> String {
    characters(&format!("HEX({value})"))
}

/// SQL for whether a date or time is a date with a time of day.
fn is_moment(value: &str) -> String {
    format!("{} LIKE '____-__-__ %'", characters(value))
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
    let either = characters(&format!("IF(IFNULL(UNIX_TIMESTAMP({value}), 0) = 0, {none}, {utc})"));
    format!("CONCAT({either}, 'Z')")
}

fn origin(column: &Described<'_>) -> Origin {
    match column.extra {
        // MySQL's "DEFAULT_GENERATED" is of a default.
        extra if extra.contains("virtual generated") || extra.contains("stored generated") => {
            Origin::Generated
        }
        extra if column.mariadb && extra.contains("on update") => Origin::Stamped,
        _ => Origin::Given,
    }
}

/// GeoJSON, with the number of the reference system if it has one: GeoJSON itself knows degrees (4326) only.
fn geometry(value: &str) -> String {
    let (shape, srid) = (format!("ST_AsGeoJSON({value})"), format!("ST_SRID({value})"));
    format!("IF({srid} = 0, {shape}, CONCAT('{{\"srid\": ', {srid}, ', ', SUBSTRING({shape}, 2)))")
}

fn shape(column: &Described<'_>) -> Shape {
    match column.kind {
        "tinyint" | "smallint" | "mediumint" | "int" | "float" | "bit" | "year" => Shape::Number,
        "double" => Shape::Double,
        "bigint" | "decimal" => Shape::Exact,
        "json" => Shape::Json,
        "longtext" if column.checked_json => Shape::Json,
        "timestamp" => Shape::Instant(column.digits),
        "date" | "time" | "datetime" => Shape::Clock,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Shape::Bytes,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => Shape::Geometry,
        "vector" => Shape::Vector(if column.mariadb { "VEC_ToText" } else { "VECTOR_TO_STRING" }),
        // Characters, UUIDs, addresses, and what the future brings.
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
        Column::new(Described {
            name: name.into(),
            kind,
            definition: kind.into(),
            digits: 0,
            primary: false,
            extra: "",
            checked_json: false,
            mariadb: false,
        })
    }

    #[test]
    fn names_of_any_kind() {
        assert_eq!(identifier("a`b"), "`a``b`");
        let odd = column("q\"\\", "int");
        assert_eq!((odd.value("NEW"), odd.member()), ("NEW.`q\"\\`".into(), "\"q\\\"\\\\\":".into()));
    }

    #[test]
    fn big_numbers_are_what_was_asked_for() {
        let (id, number) = (column("id", "bigint"), "CONVERT(COALESCE(NEW.`id`, 0) USING utf8mb4)");
        let json = |big| id.json("NEW", big);
        assert_eq!(json(BigNumbers::Number), format!("IF(NEW.`id` IS NULL, 'null', {number})"));
        let text = format!("IF(NEW.`id` IS NULL, 'null', CONCAT('\"', {number}, '\"'))");
        assert_eq!(json(BigNumbers::Text), text);
    }

    #[test]
    fn numbers_are_looked_at_together() {
        let columns = [column("a", "int"), column("t", "text"), column("b", "bigint")];
        let all: Vec<_> = columns.iter().collect();
        assert_eq!(
            as_they_were(&all, "OLD"),
            "COERCIBILITY(COALESCE(OLD.`a`, OLD.`b`, 0)) = 5 AND CHARSET(OLD.`t`) <> 'binary'"
        );
        assert_eq!(as_they_were(&[], "OLD"), "TRUE");
    }
}
