//! The text of a trigger that watches a table. Pure; what it promises stands in docs/watch.md.
//!
//! Nothing in it may fail the statement that writes the row, but InnoDB when it cannot write the event: then
//! row and event are undone together, as everything in a transaction is.

use super::columns::{BigNumbers, Column, Origin, as_they_were, identifier};
use super::literal::{self, quoted};
use super::plan::{Mode, Op, Plan};
use super::subject;
use super::table::Table;
use std::fmt::Write;

/// Errors that say that committed mode is not here (any more): no such procedure, schema, table, column or
/// account, another number of arguments, or no right to it. A table that was restored elsewhere meets them,
/// and goes on being written. Also: a server that is read-only for all but the administrator who writes, and
/// a table that takes no part in transactions where that must not be mixed.
const NOT_HERE: &str = "1305, 1049, 1146, 1054, 1449, 1318, 1044, 1142, 1143, 1227, 1370, 1290, 1785";

/// Characters of a key: longer ones end there. What that makes the same waits for one another.
const KEY_MAX: usize = 200;

/// Characters of a name in MySQL and MariaDB.
const NAME_MAX: usize = 64;

/// Bytes of a trigger's name in a file's: 255, less `.TRN~`, the ending while MariaDB writes it.
const FILE_NAME_MAX: usize = 250;

/// Numbers behind names that are in use: more tables with one beginning than a schema has.
const NAMES_MAX: usize = 9999;

/// A trigger to be.
pub(crate) struct Trigger<'a> {
    pub(crate) table: &'a Table,
    pub(crate) op: Op,
    pub(crate) plan: &'a Plan,
    pub(crate) columns: &'a [Column],
    /// What it is called.
    pub(crate) name: &'a str,
    /// The last of those that are there already.
    pub(crate) follows: Option<&'a str>,
}

/// Names for it, to be tried one after the other. People recognise them; rowcall does by what stands in it.
pub(crate) fn names(table: &Table, op: Op) -> impl Iterator<Item = String> {
    (1..=NAMES_MAX).map(move |n| {
        let end = if n == 1 { format!("_{}", op.name()) } else { format!("_{}_{n}", op.name()) };
        let mut name = String::from("rowcall_");
        let mut room = FILE_NAME_MAX - encoded(&name) - encoded(&end);
        let count = NAME_MAX - name.len() - end.len();
        for character in table.name.chars().take(count) {
            let length = encoded(character.encode_utf8(&mut [0; 4]));
            let Some(left) = room.checked_sub(length) else { break };
            room = left;
            name.push(character);
        }
        name + &end
    })
}

/// Bytes of a name in MariaDB's file names at most: a letter that is no plain one is `@` and four digits.
fn encoded(name: &str) -> usize {
    let length = |c: char| if c.is_ascii_alphanumeric() || c == '_' { 1 } else { 5 };
    name.chars().map(length).sum()
}

impl Trigger<'_> {
    /// The statement that creates it, for a session whose SQL mode is empty and whose database is the table's:
    /// a dump that is loaded into another one makes it there.
    pub(crate) fn create(&self) -> String {
        let follows = self.follows.map(|name| format!(" FOLLOWS {}", identifier(name))).unwrap_or_default();
        format!(
            "CREATE TRIGGER {} AFTER {} ON {} FOR EACH ROW{follows}\nBEGIN\n  {}\n\
             \x20 IF IFNULL(CONVERT(@rowcall_off USING utf8mb4), '0') IN ('0', '') THEN\n  BEGIN\n{}  END;\n  END IF;\nEND",
            identifier(self.name),
            self.op.name().to_ascii_uppercase(),
            identifier(&self.table.name),
            self.plan.statement(),
            self.body(),
        )
    }

    fn body(&self) -> String {
        let text = "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        let mut body = String::new();
        let mut line = |text: &str| {
            let _ = writeln!(body, "    {text}");
        };
        let none = |is: bool| if is { " DEFAULT 'null'" } else { "" };
        line(&format!("DECLARE rowcall_before {text}{};", none(self.op == Op::Insert)));
        line(&format!("DECLARE rowcall_after {text}{};", none(self.op == Op::Delete)));
        line(&format!("DECLARE rowcall_key, rowcall_subject, rowcall_headers, rowcall_payload {text};"));
        line("DECLARE rowcall_wanted BOOLEAN DEFAULT TRUE;");
        let unstored = self.is_unstored();
        if unstored.is_some() {
            line("DECLARE rowcall_unstored BOOLEAN DEFAULT FALSE;");
        }
        // What fails here leaves a NULL, and the event is counted or parked for that, by whoever takes it.
        line("BEGIN");
        line("  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;");
        if let Some(unstored) = &unstored {
            line(&format!("  SET rowcall_unstored = ({unstored}) IS TRUE;"));
        }
        if let Some(condition) = self.plan.when.as_deref().map(literal::condition) {
            line(&format!("  SET rowcall_wanted = (({condition}\n    ) IS TRUE);"));
        }
        let shown: Vec<_> = self.shown().collect();
        line(&format!("  IF {} THEN", as_they_were(&shown, self.row())));
        self.rows(&mut line, Column::json);
        line("  ELSE");
        self.rows(&mut line, Column::json_of_any);
        line("  END IF;");
        let key = self.key();
        if !key.is_empty() {
            line(&format!("  IF {} THEN", as_they_were(&key, self.row())));
            line(&format!("    SET rowcall_key = {};", self.joined(Column::key)));
            line("  ELSE");
            line(&format!("    SET rowcall_key = {};", self.joined(Column::key_of_any)));
            line("  END IF;");
        }
        let key = (!key.is_empty()).then_some("rowcall_key");
        let subject = subject::sql(&self.plan.subject, self.table, self.op, key);
        line(&format!("  SET rowcall_subject = {subject};"));
        if let (Some(key), Mode::Committed) = (key, self.plan.mode) {
            let head = quoted(&format!("Rowcall-Key: {}/", one_line(&self.table.to_string())));
            line(&format!("  SET rowcall_headers = CONCAT({head}, {key});"));
        }
        line(&format!("  SET rowcall_payload = {};", self.envelope()));
        if self.columns.iter().any(|column| column.lax) {
            // Halves of surrogate pairs, which MariaDB keeps in its UTF-8 and no reader takes, begin with this
            // byte. In UTF-16 there are none: they become `?`.
            line("  IF LOCATE(x'ED', CAST(rowcall_payload AS BINARY)) > 0 THEN");
            line("    SET rowcall_payload = CONVERT(CONVERT(rowcall_payload USING utf16) USING utf8mb4);");
            line("  END IF;");
        }
        line("END;");
        line(&format!("IF {} THEN", self.is_wanted()));
        body.push_str(&self.send());
        body.push_str("    END IF;\n");
        body
    }

    /// The columns that the events show.
    fn shown(&self) -> impl Iterator<Item = &Column> {
        let chosen =
            |name: &str| self.plan.columns.is_empty() || self.plan.columns.iter().any(|one| one == name);
        self.columns.iter().filter(move |column| chosen(&column.name))
    }

    /// The columns that tell one row from others.
    fn key(&self) -> Vec<&Column> {
        let named = |name: &String| self.columns.iter().find(|column| column.name == *name);
        self.plan.key.iter().filter_map(named).collect()
    }

    /// The row that the event is about.
    fn row(&self) -> &'static str {
        if self.op == Op::Delete { "OLD" } else { "NEW" }
    }

    /// Statements that write the row before and after.
    fn rows(&self, line: &mut impl FnMut(&str), json: fn(&Column, &str, BigNumbers) -> String) {
        let object = |row| self.object(|column| json(column, row, self.plan.big_numbers));
        if self.op != Op::Insert {
            line(&format!("    SET rowcall_before = {};", object("OLD")));
        }
        if self.op != Op::Delete {
            line(&format!("    SET rowcall_after = {};", self.stored("rowcall_before", object("NEW"))));
        }
    }

    /// SQL for what is stored after all, where that may be the row as it was.
    fn stored(&self, before: &str, after: String) -> String {
        if self.is_unstored().is_some() { format!("IF(rowcall_unstored, {before}, {after})") } else { after }
    }

    /// A row as a JSON object.
    fn object(&self, json: impl Fn(&Column) -> String) -> String {
        let mut sql = String::from("CONCAT(");
        for (at, column) in self.shown().enumerate() {
            let before = if at == 0 { "{" } else { "," };
            let member = quoted(&format!("{before}{}", column.member()));
            let _ = write!(sql, "{member}, {},\n        ", json(column));
        }
        sql.push_str("'}')");
        sql
    }

    /// The event as Debezium writes it, so that who reads those reads these.
    fn envelope(&self) -> String {
        let letter = match self.op {
            Op::Insert => "c",
            Op::Update => "u",
            Op::Delete => "d",
        };
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let source = format!(
            ",\"source\":{{\"version\":{},\"connector\":\"rowcall\",\"name\":",
            string(env!("CARGO_PKG_VERSION"))
        );
        let place = format!(
            ",\"snapshot\":\"false\",\"db\":{},\"table\":{},\"server_id\":",
            string(&self.table.schema),
            string(&self.table.name)
        );
        // The time as the server counts it, whatever zone the session is in.
        let now = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000";
        let end = format!("}},\"op\":\"{letter}\",\"ts_ms\":");
        format!(
            "CONCAT('{{\"before\":', rowcall_before, ',\"after\":', rowcall_after, {}, JSON_QUOTE(@@hostname), \
             ',\"ts_ms\":', {now}, {}, @@server_id, ',\"thread\":', CONNECTION_ID(), {}, {now}, '}}')",
            quoted(&source),
            quoted(&place),
            quoted(&end)
        )
    }

    /// SQL for what tells one row from others.
    fn joined(&self, key: fn(&Column, &str) -> String) -> String {
        let of = |row| {
            let parts: Vec<String> = self.key().into_iter().map(|column| key(column, row)).collect();
            format!("LEFT(CONCAT_WS('/', {}), {KEY_MAX})", parts.join(", "))
        };
        self.stored(&of("OLD"), of(self.row()))
    }

    /// SQL for whether MariaDB shows a row that it does not store: an UPDATE that changes nothing gives NEW the
    /// time all the same. One that sets that time itself looks alike and is stored, so the table is asked, but
    /// only where nothing else has changed. Its row is the one by its primary key; without one there is no
    /// telling.
    fn is_unstored(&self) -> Option<String> {
        let of = |origin| self.columns.iter().filter(move |column| column.origin == origin);
        let same = |column: &Column, row: &str| format!("{} <=> {}", column.value(row), column.value("NEW"));
        let stamps = |row| {
            let same = of(Origin::Stamped).map(|column| same(column, row));
            same.collect::<Vec<_>>().join(" AND ")
        };
        let key: Vec<_> = self.columns.iter().filter(|column| column.primary).collect();
        if self.op != Op::Update || key.is_empty() || of(Origin::Stamped).next().is_none() {
            return None;
        }
        let there: Vec<_> = key
            .iter()
            .map(|column| format!("{} = {}", column.value("rowcall_row"), column.value("OLD")))
            .collect();
        Some(format!(
            "NOT ({}){} AND EXISTS (SELECT 1 FROM {} rowcall_row WHERE {} AND NOT ({}))",
            stamps("OLD"),
            of(Origin::Given).map(|column| format!(" AND {}", same(column, "OLD"))).collect::<String>(),
            identifier(&self.table.name),
            there.join(" AND "),
            stamps("rowcall_row")
        ))
    }

    fn is_wanted(&self) -> String {
        if !self.plan.only_changed || self.op != Op::Update {
            return "rowcall_wanted".into();
        }
        // One that could not be shown is not taken for one that has not changed; nor one that is shown rounded.
        let rounded = self.shown().filter(|column| column.is_rounded());
        let rounded = rounded
            .map(|column| format!(" OR NOT (HEX({}) <=> HEX({}))", column.value("OLD"), column.value("NEW")));
        format!(
            "rowcall_wanted AND (rowcall_payload IS NULL OR NOT (rowcall_before <=> rowcall_after){})",
            rounded.collect::<String>()
        )
    }

    fn send(&self) -> String {
        match self.plan.mode {
            Mode::Committed => format!(
                "    BEGIN\n      DECLARE CONTINUE HANDLER FOR {NOT_HERE} BEGIN\n\
                 \x20       DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;\n\
                 \x20       DO rowcall_poke(NULL);\n      END;\n\
                 \x20     CALL rowcall.publish_with(rowcall_subject, rowcall_payload, rowcall_headers);\n    END;\n"
            ),
            Mode::Instant => "    BEGIN\n      DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;\n\
                 \x20     DO rowcall_notify(rowcall_subject, rowcall_payload);\n    END;\n"
                .into(),
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '_' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_long_as_may_be() {
        let named = |name: &str, n: usize| {
            let table = Table { schema: "shop".into(), name: name.into() };
            names(&table, Op::Insert).nth(n - 1).unwrap()
        };
        assert_eq!((named("t", 1), named("t", 2)), ("rowcall_t_insert".into(), "rowcall_t_insert_2".into()));
        assert_eq!(named(&"x".repeat(64), 12).len(), NAME_MAX);
        let long = named(&"漢".repeat(50), 9999);
        assert!(encoded(&long) <= FILE_NAME_MAX && long.ends_with("_insert_9999"), "{long}");
    }
}
