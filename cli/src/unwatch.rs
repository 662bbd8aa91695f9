//! `rowcall unwatch`: takes the triggers of `rowcall watch` away. Other triggers stay.

use crate::failure::Failure;
use crate::output;
use crate::server::{HEADING, ServerArgs};
use crate::watch::catalog::Catalog;
use crate::watch::table::Table;
use clap::Args;
use serde_json::json;

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
            for table in catalog.find(name)? {
                let count = catalog.take_away(&table)?;
                let done = if count == 0 { "was not watched" } else { "is watched no more" };
                match (json, count, name.is_all()) {
                    (true, ..) => {
                        output::line(&json!({ "table": table.to_string(), "dropped": count }).to_string())?
                    }
                    (false, 0, true) => {}
                    (false, ..) => output::line(&format!("{table} {done}"))?,
                }
            }
        }
        Ok(())
    }
}
