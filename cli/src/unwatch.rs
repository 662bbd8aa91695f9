//! `rowcall unwatch`: takes the triggers of `rowcall watch` away. Other triggers stay.

use crate::failure::Failure;
use crate::output;
use crate::server::{HEADING, ServerArgs};
use crate::watch::catalog::Catalog;
use crate::watch::table::Table;
use clap::Args;
use serde_json::json;
use std::collections::BTreeSet;

const AFTER_HELP: &str = "\
Examples:
  rowcall unwatch shop.orders
  rowcall unwatch 'shop.*'

Events that were committed before are still delivered.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Unwatch {
    /// Tables to watch no more, as DB.TABLE; DB.* is all of a database's
    #[arg(required = true, value_name = "DB.TABLE")]
    tables: Vec<String>,

    /// How long to wait for a table that an open transaction holds; everyone who comes later waits behind us
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::watch::lock_wait)]
    lock_wait: u64,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

impl Unwatch {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let named = self.tables.iter().map(|text| Table::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut catalog = Catalog::new(self.server.connect()?, self.lock_wait)?;
        for name in &named {
            for table in found(&mut catalog, name)? {
                let moved = moved(&mut catalog, &table)?;
                let count = catalog.take_away(&table)?;
                let forgotten = catalog.forget(&table)?;
                let was = count > 0 || forgotten || !moved.is_empty();
                let done = if was { "is watched no more" } else { "was not watched" };
                match (json, was, name.is_all()) {
                    (true, ..) => {
                        output::line(&json!({ "table": table.to_string(), "dropped": count }).to_string())?
                    }
                    (false, false, true) => {}
                    (false, ..) => output::line(&format!("{table} {done}"))?,
                }
                for other in moved {
                    catalog.take_away(&other)?;
                    eprintln!("{other}: its triggers, which told of its rows as {table}, are dropped");
                }
            }
        }
        Ok(())
    }
}

/// The tables that a name means, and those that are gone and remembered.
fn found(catalog: &mut Catalog, name: &Table) -> Result<Vec<Table>, Failure> {
    let names = catalog.names();
    let remembered = catalog.remembered()?.watches;
    let remembered =
        remembered.into_iter().map(|(table, _)| table).filter(|table| names.include(name, table));
    let mut tables: BTreeSet<Table> = remembered.collect();
    if tables.is_empty() {
        return catalog.find(name);
    }
    tables.extend(catalog.tables(name)?);
    Ok(tables.into_iter().collect())
}

/// Tables whose triggers were written for this one, when they had its name or as copies.
fn moved(catalog: &mut Catalog, table: &Table) -> Result<Vec<Table>, Failure> {
    let mut moved = Vec::new();
    for other in catalog.watched_in(&table.schema)? {
        let triggers = catalog.triggers(&other)?;
        let mut claims = triggers.iter().filter_map(|trigger| trigger.plan.as_ref()?.claim(&other));
        if claims.any(|claimed| claimed == *table) {
            moved.push(other);
        }
    }
    Ok(moved)
}
