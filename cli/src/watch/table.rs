//! A table by its name, as people write it: `shop.orders`, with backquotes around what is not plain.

use super::columns::identifier;
use crate::failure::Failure;
use std::fmt;

/// Schema and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl Table {
    /// Reads `DB.TABLE`; each part may stand in backquotes.
    pub(crate) fn parse(text: &str) -> Result<Table, Failure> {
        let wrong = || {
            Failure::usage(format!(
                "\"{text}\": expected DB.TABLE, with backquotes around a name that holds a dot"
            ))
        };
        let (schema, rest) = part(text).ok_or_else(wrong)?;
        let (name, rest) = rest.strip_prefix('.').and_then(part).ok_or_else(wrong)?;
        if rest.is_empty() { Ok(Table { schema, name }) } else { Err(wrong()) }
    }

    /// As it stands in SQL.
    pub(crate) fn sql(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }

    /// Whether all tables of the schema are meant.
    pub(crate) fn is_all(&self) -> bool {
        self.name == "*"
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name: &str| if name.contains(['.', '`']) { identifier(name) } else { name.to_owned() };
        write!(f, "{}.{}", part(&self.schema), part(&self.name))
    }
}

/// The name that the text begins with, and what is behind it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('`') else {
        let end = text.find('.').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let (before, behind) = rest.split_once('`')?;
        name.push_str(before);
        match behind.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return (!name.is_empty()).then_some((name, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        let check = |text: &str, schema: &str, name: &str| {
            let table = Table::parse(text).unwrap();
            assert_eq!((table.schema.as_str(), table.name.as_str()), (schema, name));
            assert_eq!(table.to_string(), text);
        };
        check("shop.orders", "shop", "orders");
        check("`a.b`.c d", "a.b", "c d");
        check("a.`b``.`", "a", "b`.");
        assert!(Table::parse("shop.*").unwrap().is_all());
        assert_eq!(Table::parse("`shop`.`orders`").unwrap().to_string(), "shop.orders");
        for wrong in ["", "orders", "shop.", ".orders", "a.b.c", "`a.b", "``.a", "`a`b"] {
            assert!(Table::parse(wrong).is_err(), "{wrong}");
        }
    }
}
