//! What is watched, as the schema `rowcall` remembers it: triggers go with a table that is renamed or dropped,
//! and another one takes its name. A server without the schema (instant mode) remembers nothing.

use super::catalog::Catalog;
use super::plan::Plan;
use super::table::Table;
use crate::failure::Failure;
use rowcall_mysql::{Error, quoted};

/// The server's numbers for: there is no such schema, or no such table in it.
const NOT_HERE: [u32; 2] = [1049, 1146];

/// And for: the account may not, or the server is read-only.
const REFUSED: [u32; 5] = [1044, 1142, 1143, 1290, 1792];

/// The watches that the schema has.
pub(crate) struct Remembered {
    pub(crate) watches: Vec<(Table, Plan)>,
    /// What keeps the account from reading them.
    pub(crate) unread: Option<Error>,
}

impl Catalog {
    /// Remembers a watch; one of a table that had these triggers under another name, and is there no more, is
    /// forgotten. What keeps the account from it is told, and keeps nothing from being watched.
    pub(super) fn remember(
        &mut self,
        table: &Table,
        plan: &Plan,
        earlier: Option<&Plan>,
    ) -> Result<(), Failure> {
        let written = self.connection().query(format!(
            "REPLACE INTO rowcall.watches (schema_name, table_name, plan) VALUES ({}, {}, {})",
            quoted(&table.schema),
            quoted(&table.name),
            quoted(&plan.text())
        ));
        if let Err(error) = written {
            return told(&error, &format!("{table} is watched, and that is not remembered"));
        }
        match earlier.and_then(|plan| plan.claim(table)) {
            Some(before) if !self.exists(&before)? => self.forget(&before).map(drop),
            _ => Ok(()),
        }
    }

    /// Forgets a watch; says whether it was remembered.
    pub(crate) fn forget(&mut self, table: &Table) -> Result<bool, Failure> {
        let done = self.connection().query(format!(
            "DELETE FROM rowcall.watches WHERE schema_name = {} AND table_name = {}",
            quoted(&table.schema),
            quoted(&table.name)
        ));
        match done {
            Ok(outcome) => Ok(outcome.affected > 0),
            Err(error) => told(&error, &format!("that {table} was watched is not forgotten")).map(|()| false),
        }
    }

    /// What is remembered.
    pub(crate) fn remembered(&mut self) -> Result<Remembered, Failure> {
        let rows = self.connection().texts("SELECT schema_name, table_name, plan FROM rowcall.watches");
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) if NOT_HERE.contains(&error.number) => Vec::new(),
            Err(error) if REFUSED.contains(&error.number) => {
                return Ok(Remembered { watches: Vec::new(), unread: Some(error) });
            }
            Err(error) => return Err(Failure::server("cannot read rowcall.watches", &error)),
        };
        let watches = rows.into_iter().map(watch).collect::<Result<_, _>>()?;
        Ok(Remembered { watches, unread: None })
    }

    /// Whether there is such a table.
    pub(crate) fn exists(&mut self, table: &Table) -> Result<bool, Failure> {
        Ok(!self.tables(table)?.is_empty())
    }
}

impl Plan {
    /// The other table of the same schema that its triggers, on this one, were written for: the table was
    /// renamed, or is a copy. A restored dump, in another schema, is on its own.
    pub(crate) fn claim(&self, table: &Table) -> Option<Table> {
        let claimed = Table::parse(&self.table).ok()?;
        (claimed.schema == table.schema && claimed.name != table.name).then_some(claimed)
    }
}

/// A row of `rowcall.watches`.
fn watch(row: Vec<String>) -> Result<(Table, Plan), Failure> {
    let [schema, name, plan] = row.try_into().unwrap_or_default();
    let plan = Plan::parse(&plan).map_err(|unknown| {
        let (schema, name) = (quoted(&schema), quoted(&name));
        Failure::other(format!(
            "rowcall.watches has, for {schema}.{name}, {unknown}: use the version that wrote it, or a later one; or \
             DELETE FROM rowcall.watches WHERE schema_name = {schema} AND table_name = {name}"
        ))
    })?;
    Ok((Table { schema, name }, plan))
}

/// Tells of what a missing right or a read-only server keeps from being written down.
fn told(error: &Error, so: &str) -> Result<(), Failure> {
    if REFUSED.contains(&error.number) {
        eprintln!("{so}: {error}\n  The account needs SELECT, INSERT and DELETE on rowcall.watches");
    } else if !NOT_HERE.contains(&error.number) {
        return Err(Failure::server("cannot write rowcall.watches", error));
    }
    Ok(())
}
