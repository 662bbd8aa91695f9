//! What a watch was asked to do, as it stands in each of its triggers: by that they are recognised, shown
//! by `watch --list`, and written anew by `watch --refresh`.

use super::columns::{BigNumbers, Column};
use serde_json::{Value, json};
use std::fmt;

/// The changes that a trigger can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Op {
    Insert,
    Update,
    Delete,
}

/// When events leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// After COMMIT, only then, at least once
    #[default]
    Committed,
    /// When the row is written, before COMMIT, to those who listen now
    Instant,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) on: Vec<Op>,
    /// Only these columns; all of them if there are none.
    pub(crate) columns: Vec<String>,
    pub(crate) only_changed: bool,
    pub(crate) when: Option<String>,
    pub(crate) mode: Mode,
    /// Where events go; see subject.rs.
    pub(crate) subject: String,
    /// The columns that say what an event is about.
    pub(crate) key: Vec<String>,
    /// Whether somebody chose them; else they are the primary key.
    pub(crate) key_chosen: bool,
    /// What the table was called.
    pub(crate) table: String,
    pub(crate) big_numbers: BigNumbers,
    /// What the table's columns were: names and definitions.
    pub(crate) seen: Vec<(String, String)>,
    /// The edition of the triggers' text.
    pub(crate) edition: u64,
}

/// What stands before and behind it in a trigger. Nothing ever does it.
const BEFORE: &str = "IF FALSE THEN DO ";
const BEHIND: &str = "; END IF;";

/// The member that says what it is. The first one, as members are sorted.
const MARK: &str = "rowcall";

/// The edition of plans, and of the triggers' text: one more whenever an older text is to be written anew.
pub(crate) const EDITION: u64 = 2;

/// What its text holds as `%` and two digits: nothing of it gets lost in information_schema then.
const ENCODED: [char; 3] = ['%', '\'', '\\'];

/// What begins the statement that holds a plan.
pub(crate) fn beginning() -> String {
    format!("{BEFORE}'{{\"{MARK}\":")
}

impl Op {
    pub(crate) const ALL: [Op; 3] = [Op::Insert, Op::Update, Op::Delete];

    /// In SQL, and in subjects.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
        }
    }

    fn named(name: &str) -> Result<Op, Unknown> {
        known(Op::ALL, Op::name, "change", name)
    }
}

impl Mode {
    const ALL: [Mode; 2] = [Mode::Committed, Mode::Instant];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Committed => "committed",
            Mode::Instant => "instant",
        }
    }

    fn named(name: &str) -> Result<Mode, Unknown> {
        known(Mode::ALL, Mode::name, "mode", name)
    }
}

impl BigNumbers {
    const ALL: [BigNumbers; 2] = [BigNumbers::Number, BigNumbers::Text];

    fn name(self) -> &'static str {
        match self {
            BigNumbers::Number => "number",
            BigNumbers::Text => "text",
        }
    }

    fn named(name: &str) -> Result<BigNumbers, Unknown> {
        known(BigNumbers::ALL, BigNumbers::name, "way of writing big numbers", name)
    }
}

/// The part of a plan that this version does not understand: another one wrote it, or a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, which rowcall {} does not know", self.0, env!("CARGO_PKG_VERSION"))
    }
}

/// The one of them that has this name. A plan is never taken for another one than it is.
fn known<T: Copy, const N: usize>(
    all: [T; N],
    name_of: fn(T) -> &'static str,
    what: &str,
    name: &str,
) -> Result<T, Unknown> {
    let one = all.into_iter().find(|one| name_of(*one) == name);
    one.ok_or_else(|| Unknown(format!("the {what} {name:?}")))
}

/// What a plan keeps of a table's columns.
pub(crate) fn seen(columns: &[Column]) -> Vec<(String, String)> {
    columns.iter().map(|column| (column.name.clone(), column.definition.clone())).collect()
}

impl Plan {
    /// The statement of a trigger that holds it.
    pub(crate) fn statement(&self) -> String {
        format!("{BEFORE}'{}'{BEHIND}", encoded(&self.text()))
    }

    /// The same as text, as it is remembered.
    pub(crate) fn text(&self) -> String {
        self.json().to_string()
    }

    /// Whether a trigger seems to have one.
    pub(crate) fn is_in(body: &str) -> bool {
        body.contains(&beginning())
    }

    /// Finds it in a trigger, as it was written.
    pub(crate) fn find(body: &str) -> Result<Plan, Unknown> {
        let cut = || Unknown("a plan that breaks off".into());
        let from = body.find(&beginning()).ok_or_else(cut)? + BEFORE.len();
        let text = unquoted(&body[from..]).ok_or_else(cut)?;
        // The first edition was not encoded.
        match Plan::parse(&text) {
            Ok(plan) if plan.edition == 1 => Ok(plan),
            _ => Plan::parse(&decoded(&text).ok_or_else(cut)?),
        }
    }

    fn json(&self) -> Value {
        let watch = json!({
            "on": self.on.iter().map(|op| op.name()).collect::<Vec<_>>(),
            "columns": self.columns,
            "only_changed": self.only_changed,
            "when": self.when,
            "mode": self.mode.name(),
            "subject": self.subject,
            "key": self.key,
            "key_chosen": self.key_chosen,
            "table": self.table,
            "big_numbers": self.big_numbers.name(),
            "seen": self.seen,
        });
        json!({ MARK: EDITION, "watch": watch })
    }

    /// Reads what [`Plan::text`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Plan, Unknown> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Unknown(format!("a plan that is no JSON ({error})")))?;
        let edition = value.get(MARK).and_then(Value::as_u64);
        let edition = edition.ok_or_else(|| Unknown(format!("a plan without {MARK:?}")))?;
        if !(1..=EDITION).contains(&edition) {
            return Err(Unknown(format!("edition {edition} of plans")));
        }
        let member = |name: &str| value["watch"].get(name).ok_or_else(|| odd(name));
        let text = |name: &str| member(name)?.as_str().ok_or_else(|| odd(name));
        let flag = |name: &str| member(name)?.as_bool().ok_or_else(|| odd(name));
        let texts = |name: &str| {
            let texts = member(name)?.as_array().and_then(|all| all.iter().map(owned).collect());
            texts.ok_or_else(|| odd(name))
        };
        let pair = |value: &Value| Some((owned(value.get(0)?)?, owned(value.get(1)?)?));
        let on: Vec<String> = texts("on")?;
        let seen = member("seen")?.as_array().and_then(|all| all.iter().map(pair).collect());
        Ok(Plan {
            on: on.iter().map(|name| Op::named(name)).collect::<Result<_, _>>()?,
            columns: texts("columns")?,
            only_changed: flag("only_changed")?,
            when: if member("when")?.is_null() { None } else { Some(text("when")?.to_owned()) },
            mode: Mode::named(text("mode")?)?,
            subject: text("subject")?.to_owned(),
            key: texts("key")?,
            key_chosen: flag("key_chosen")?,
            table: text("table")?.to_owned(),
            big_numbers: BigNumbers::named(text("big_numbers")?)?,
            seen: seen.ok_or_else(|| odd("seen"))?,
            edition,
        })
    }

    /// Whether its triggers were written by a version whose text was another.
    pub(crate) fn is_old(&self) -> bool {
        self.edition < EDITION
    }

    /// The same, for triggers that are written now.
    pub(crate) fn renewed(self) -> Plan {
        Plan { edition: EDITION, ..self }
    }

    /// What has become of the table's columns since: `+new`, `-gone`, `~changed`.
    pub(crate) fn changes(&self, columns: &[Column]) -> Vec<String> {
        let now = |name: &str| columns.iter().find(|column| column.name == name);
        let then = |name: &str| self.seen.iter().any(|(seen, _)| seen == name);
        let gone = self.seen.iter().filter_map(|(name, definition)| match now(name) {
            None => Some(format!("-{name}")),
            Some(column) if column.definition != *definition => Some(format!("~{name}")),
            Some(_) => None,
        });
        let new =
            columns.iter().filter(|column| !then(&column.name)).map(|column| format!("+{}", column.name));
        gone.chain(new).collect()
    }
}

/// A member of a plan that is not there, or of another type than it was.
fn odd(name: &str) -> Unknown {
    Unknown(format!("a plan with another {name:?}"))
}

fn owned(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for character in text.chars() {
        if character.is_ascii() && !character.is_control() && !ENCODED.contains(&character) {
            encoded.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut pieces = text.split('%');
    bytes.extend(pieces.next()?.bytes());
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend(piece[2..].bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The text of the SQL string at the beginning, as [`rowcall_mysql::quoted`] writes it.
fn unquoted(sql: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = sql.strip_prefix('\'')?.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            '\'' if characters.next_if_eq(&'\'').is_none() => return Some(text),
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::columns::tests::column;
    use super::*;

    /// A plan for tests.
    pub(crate) fn plan() -> Plan {
        Plan {
            on: Op::ALL.to_vec(),
            columns: Vec::new(),
            only_changed: false,
            when: None,
            mode: Mode::Committed,
            subject: "{db}.{table}.{op}".into(),
            key: vec!["id".into()],
            key_chosen: false,
            table: "shop.orders".into(),
            big_numbers: BigNumbers::Number,
            seen: vec![("id".into(), "int".into()), ("v".into(), "text".into())],
            edition: EDITION,
        }
    }

    #[test]
    fn a_trigger_tells_its_plan() {
        let plan = Plan {
            when: Some("NEW.`a` <> 'it''s \\ \"x\"\n'".into()),
            columns: vec!["a'b".into(), "größe".into()],
            only_changed: true,
            mode: Mode::Instant,
            big_numbers: BigNumbers::Text,
            on: vec![Op::Delete],
            ..plan()
        };
        let body = format!("BEGIN\n  {}\n  DO 1;\nEND", plan.statement());
        assert!(body.is_ascii() && !body.contains('\\') && body.matches('\'').count() == 2, "{body}");
        assert_eq!(Plan::find(&body), Ok(plan.clone()));
        assert_eq!(Plan::parse(&plan.text()), Ok(plan.clone()));
        // As the first edition wrote it.
        let old = Plan { edition: 1, when: Some("NEW.a LIKE '%25 it''s'".into()), ..plan };
        let text = old.text().replace("{\"rowcall\":2", "{\"rowcall\":1");
        let body = format!("{BEFORE}{}{BEHIND}", rowcall_mysql::quoted(&text));
        assert_eq!(Plan::find(&body), Ok(old));
        for other in ["BEGIN DO 1; END", "IF FALSE THEN DO 'x'; END IF;", "IF FALSE THEN DO '{\"rowcall\":1"]
        {
            assert!(Plan::find(other).is_err(), "{other}");
        }
    }

    /// Nothing of a plan is taken for something else.
    #[test]
    fn what_is_not_known_is_refused() {
        let text = plan().text();
        for (here, there, words) in [
            ("\"mode\":\"committed\"", "\"mode\":\"later\"", "the mode \"later\""),
            ("\"insert\"", "\"truncate\"", "the change \"truncate\""),
            ("\"number\"", "\"hex\"", "the way of writing big numbers \"hex\""),
            ("\"rowcall\":2", "\"rowcall\":3", "edition 3 of plans"),
            ("\"only_changed\":false", "\"only_changed\":0", "a plan with another \"only_changed\""),
            ("\"key\":", "\"keys\":", "a plan with another \"key\""),
            ("\"when\":null", "\"when\":1", "a plan with another \"when\""),
        ] {
            assert!(text.contains(here), "{here} is not in {text}");
            let said = Plan::parse(&text.replacen(here, there, 1)).unwrap_err().to_string();
            assert!(said.starts_with(words) && said.contains("does not know"), "{said}");
        }
    }

    #[test]
    fn a_table_may_have_changed() {
        let changes = |columns: &[Column]| plan().changes(columns);
        assert!(changes(&[column("id", "int"), column("v", "text")]).is_empty());
        assert_eq!(changes(&[column("id", "bigint"), column("w", "text")]), ["~id", "-v", "+w"]);
    }
}
