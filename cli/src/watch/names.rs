//! Comparison of the names of schemas and tables as the server compares them: byte by byte, or without regard to
//! case (`lower_case_table_names`), and never by the collation of information_schema's columns, which takes
//! `cafe` for `café` and `GRÖSSE` for `grösse` on MariaDB.

use super::table::Table;
use crate::failure::Failure;
use rowcall_mysql::{Connection, quoted};

/// The server's rule for names of schemas and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// `a` and `A` are two tables.
    Exact,
    /// They are one.
    Folded,
}

impl Names {
    /// Asks the server.
    pub(crate) fn of(connection: &mut Connection) -> Result<Names, Failure> {
        let rule = connection.value("SELECT @@lower_case_table_names");
        let rule = rule.map_err(|error| Failure::server("cannot ask the server", &error))?;
        Ok(if rule.as_deref() == Some("0") { Names::Exact } else { Names::Folded })
    }

    /// SQL for: these two columns of information_schema name this table. The plain comparison lets MariaDB open
    /// this table only; the other one decides.
    pub(crate) fn are(self, table: &Table, schema: &str, name: &str) -> String {
        format!("{} AND {}", self.is(schema, &table.schema), self.is(name, &table.name))
    }

    /// SQL for: the column holds this name.
    pub(crate) fn is(self, column: &str, name: &str) -> String {
        let name = quoted(name);
        match self {
            Names::Exact => format!("{column} = {name} AND CAST({column} AS BINARY) = {name}"),
            Names::Folded => {
                let folded = |sql: &str| {
                    format!("CAST(LOWER(CONVERT({sql} USING utf8mb3) COLLATE utf8mb3_general_ci) AS BINARY)")
                };
                format!("{column} = {name} AND {} = {}", folded(column), folded(&name))
            }
        }
    }

    /// Whether two names of schemas, or of tables, are one.
    pub(crate) fn are_one(self, one: &str, other: &str) -> bool {
        one == other || self == Names::Folded && one.to_lowercase() == other.to_lowercase()
    }

    /// Whether what was asked for, a table or all of a schema's, is or includes this table.
    pub(crate) fn include(self, asked: &Table, table: &Table) -> bool {
        self.are_one(&asked.schema, &table.schema)
            && (asked.is_all() || self.are_one(&asked.name, &table.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_as_the_server_does() {
        let table = |name: &str| Table { schema: "shop".into(), name: name.into() };
        assert!(!Names::Exact.include(&table("a"), &table("A")));
        assert!(Names::Folded.include(&table("GRÖSSE"), &table("grösse")));
        for rule in [Names::Exact, Names::Folded] {
            assert!(!rule.include(&table("cafe"), &table("café")));
            assert!(rule.include(&table("*"), &table("café")));
        }
    }
}
