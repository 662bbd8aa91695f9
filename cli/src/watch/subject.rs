//! Where the events of a watch go: a pattern with `{db}`, `{table}`, `{op}` and `{key}` in it, as SQL.

use super::literal::quoted;
use super::plan::Op;
use super::table::Table;
use crate::failure::Failure;
use rowcall_wire::subject;
use std::fmt::Write;

/// The pattern of whoever gives none.
pub(crate) const USUAL: &str = "{db}.{table}.{op}";

/// Makes sure that events can go there.
pub(crate) fn check(pattern: &str, table: &Table) -> Result<(), Failure> {
    let example = filled(pattern, table, Op::Insert, Some("1"));
    let flaw = match &example {
        Err(unknown) => format!("there is no {{{unknown}}}, only {{db}}, {{table}}, {{op}} and {{key}}"),
        Ok(subject) if subject.starts_with('$') => "what begins with $ is for the daemon".to_owned(),
        Ok(subject) => match subject::publishable(subject.as_bytes()) {
            Ok(()) => return Ok(()),
            Err(flaw) => format!("the subject {}", flaw.text()),
        },
    };
    Err(Failure::usage(format!("--subject \"{pattern}\": {flaw}")))
}

/// Whether the row's key is a part of it.
pub(crate) fn holds_key(pattern: &str) -> bool {
    pattern.contains("{key}")
}

/// The filter that hears all events of a watch.
pub(crate) fn filter(pattern: &str, table: &Table, ops: &[Op]) -> String {
    let op = if let [op] = ops { op.name() } else { "*" };
    let tokens = pattern.split('.').map(|token| match token {
        "{op}" => op.to_owned(),
        token if token.contains("{op}") || token.contains("{key}") => "*".to_owned(),
        token => filled(token, table, Op::Insert, None).unwrap_or_default(),
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// SQL for the subject of an event; `key` is SQL for the row's key.
pub(crate) fn sql(pattern: &str, table: &Table, op: Op, key: Option<&str>) -> String {
    let parts = pattern.split("{key}").map(|part| filled(part, table, op, None).unwrap_or_default());
    let parts: Vec<String> = parts.map(|part| quoted(&part)).collect();
    match (key, &parts[..]) {
        (Some(key), [_, _, ..]) => {
            // What a token cannot hold. An empty one is none.
            let token =
                format!("IFNULL(NULLIF(REGEXP_REPLACE({key}, '[[:space:][:cntrl:].*>$]', '_'), ''), '_')");
            format!("CONCAT({})", parts.join(&format!(", {token}, ")))
        }
        _ => parts.concat(),
    }
}

/// The pattern with everything put in. `Err` names what nobody knows.
fn filled(pattern: &str, table: &Table, op: Op, key: Option<&str>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        let (name, behind) = behind.split_once('}').ok_or_else(|| behind.to_owned())?;
        match (name, key) {
            ("db", _) => text.push_str(&token(&table.schema)),
            ("table", _) => text.push_str(&token(&table.name)),
            ("op", _) => text.push_str(op.name()),
            ("key", Some(key)) => text.push_str(key),
            _ => return Err(name.to_owned()),
        }
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

/// A name as a token of a subject: what that cannot hold is written as in URLs, so that no two names look
/// the same.
fn token(name: &str) -> String {
    let mut token = String::new();
    for (at, character) in name.chars().enumerate() {
        // Subjects that begin so are for the daemon.
        let first = at == 0 && character == '$';
        if first || character.is_whitespace() || character.is_control() || ".*>%".contains(character) {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(token, "%{byte:02X}");
            }
        } else {
            token.push(character);
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, name: &str) -> Table {
        Table { schema: schema.into(), name: name.into() }
    }

    #[test]
    fn a_pattern_becomes_a_subject() {
        let orders = table("shop", "orders");
        assert_eq!(sql(USUAL, &orders, Op::Update, Some("k")), "'shop.orders.update'");
        assert_eq!(sql("a.b", &orders, Op::Update, None), "'a.b'");
        let keyed = sql("o.{op}.{key}", &orders, Op::Delete, Some("k"));
        assert!(keyed.starts_with("CONCAT('o.delete.', IFNULL(") && keyed.ends_with(", '')"), "{keyed}");
        assert_eq!(sql(USUAL, &table("a.b", "c d*%"), Op::Insert, None), "'a%2Eb.c%20d%2A%25.insert'");
        assert_eq!(token("$SYS"), "%24SYS");
    }

    #[test]
    fn what_hears_it() {
        let orders = table("shop", "orders");
        assert_eq!(filter(USUAL, &orders, &Op::ALL), "shop.orders.*");
        assert_eq!(filter(USUAL, &orders, &[Op::Insert]), "shop.orders.insert");
        assert_eq!(filter("x.{key}.{op}-{db}", &orders, &[Op::Insert]), "x.*.*");
    }

    #[test]
    fn patterns_that_lead_nowhere() {
        let orders = table("shop", "orders");
        for wrong in ["{tabel}", "a b", "a..b", "{op", ">", "", "$SYS.{op}"] {
            assert!(check(wrong, &orders).is_err(), "{wrong}");
        }
        check("{db}.{table}.{op}.{key}", &orders).unwrap();
    }
}
