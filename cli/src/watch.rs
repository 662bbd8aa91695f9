//! `rowcall watch`: the triggers that tell of a table's changes. Their text is made in watch/trigger.rs, put
//! there by watch/catalog.rs; docs/watch.md says what they promise.

pub(crate) mod catalog;
mod columns;
mod list;
mod literal;
mod memory;
pub(crate) mod names;
mod plan;
mod rights;
mod subject;
pub(crate) mod table;
mod trigger;
mod unseen;

use crate::failure::Failure;
use crate::install::ask;
use crate::progress::Progress;
use crate::server::{HEADING, ServerArgs};
use crate::{output, schema, span};
pub(crate) use catalog::Catalog;
use clap::Args;
pub(crate) use columns::identifier;
use columns::{BigNumbers, Column};
pub(crate) use list::changes;
use names::Names;
use plan::{Mode, Op, Plan};
use serde_json::json;
use table::Table;

const AFTER_HELP: &str = "\
Examples:
  rowcall watch shop.orders
  rowcall watch shop.orders --on update --only-changed --when 'NEW.total > 100'
  rowcall watch 'shop.*' --print
  rowcall watch --list

Each change becomes an event as Debezium writes it: before, after, source, op
(c, u, d), ts_ms; on the subject shop.orders.insert, .update or .delete.
Watching a table again replaces what its watch was. SET @rowcall_off = 1 keeps
a session's changes quiet.

Triggers see no TRUNCATE, no partition that is dropped, truncated or exchanged,
no row that a foreign key changes (ON DELETE CASCADE and the like; MySQL 9.7
with enable_cascade_triggers=ON shows them), and nothing on a replica that
takes rows from its source.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Watch {
    /// Tables to watch, as DB.TABLE; DB.* is all of a database's
    #[arg(required_unless_present_any = ["list", "refresh"], value_name = "DB.TABLE")]
    tables: Vec<String>,

    /// Changes to tell of
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["insert", "update", "delete"], value_name = "CHANGE,…")]
    on: Vec<Op>,

    /// Columns to show, instead of all
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    columns: Vec<String>,

    /// Tell of an update only if a column that is shown has changed
    #[arg(long)]
    only_changed: bool,

    /// Tell only of rows for which this SQL condition holds; it sees them as NEW.column and OLD.column
    #[arg(long, value_name = "CONDITION")]
    when: Option<String>,

    /// Where events go; {db}, {table}, {op} and {key} are put in
    #[arg(long, value_name = "PATTERN", default_value = subject::USUAL)]
    subject: String,

    /// When events leave
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,

    /// Columns that say what an event is about, instead of the primary key: events with one key reach
    /// each durable consumer in the order of their commits
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    key: Vec<String>,

    /// How BIGINT and DECIMAL are written
    #[arg(long, value_enum, default_value_t)]
    big_numbers: BigNumbers,

    /// How long to wait for a table that an open transaction holds; everyone who comes later waits behind us
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = lock_wait)]
    lock_wait: u64,

    /// Change nothing; show the SQL
    #[arg(long)]
    print: bool,

    /// Show what is watched, and whether the tables have changed since, or lost their triggers
    #[arg(long, conflicts_with_all = ["print", "refresh"])]
    list: bool,

    /// Write the triggers anew where the table's columns have changed, where some are missing or on the table that
    /// had its name, or where an earlier version wrote them
    #[arg(long, conflicts_with = "print")]
    refresh: bool,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

impl Watch {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let named = self.tables.iter().map(|text| Table::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut catalog = Catalog::new(self.server.connect()?, self.lock_wait)?;
        let names = catalog.names();
        if let Some(table) = named.iter().find(|table| is_system(names, &table.schema)) {
            return Err(Failure::usage(format!("{table}: the tables of {} cannot be watched", table.schema)));
        }
        if self.list {
            return list::show(&mut catalog, &named, json);
        }
        if self.refresh {
            return list::refresh(&mut catalog, &named, json);
        }
        let mut tables = Vec::new();
        for table in &named {
            tables.extend(catalog.find(table)?);
        }
        if self.print {
            return self.print(&mut catalog, &tables);
        }
        self.check_mode(&mut catalog)?;
        let mut counting = false;
        let progress = Progress::new(tables.len() as u64);
        for (done, table) in (0..).zip(&tables) {
            progress.at(done, &table.to_string());
            let columns = catalog.columns(table)?;
            let plan = self.plan(&mut catalog, table, &columns)?;
            if plan.mode == Mode::Committed && !catalog.is_transactional(table)? {
                return Err(Failure::usage(format!(
                    "{table} takes no part in transactions (its engine has none): watch it with --mode instant"
                )));
            }
            counting |= plan.on.contains(&Op::Update) && catalog.counts(table)?;
            let earlier = catalog.put(table, &plan, &columns)?;
            progress.without(|| catalog.remember(table, &plan, earlier.as_ref()))?;
            let done = if earlier.is_some() { "changed" } else { "watched" };
            progress.without(|| say(&mut catalog, table, &plan, done, json))?;
        }
        drop(progress);
        if !json {
            if counting {
                eprintln!("{}", unseen::INSERT_IDS);
            }
            eprintln!("{}", unseen::blind(catalog.cascade_triggers()?));
            if self.mode == Mode::Committed && !catalog.is_read()? {
                eprintln!("no daemon reads the outbox at the moment (rowcalld --outbox): events wait in it");
            }
        }
        Ok(())
    }

    /// What was asked for, as far as this table has it.
    fn plan(&self, catalog: &mut Catalog, table: &Table, columns: &[Column]) -> Result<Plan, Failure> {
        if self.when.as_ref().is_some_and(|condition| !names_a_row(condition)) {
            return Err(Failure::usage("--when: a column is written NEW.name or OLD.name"));
        }
        let key_chosen = !self.key.is_empty();
        let key = if key_chosen {
            canonical(&self.key, "--key", table, columns)?
        } else {
            catalog.primary_key(table)?
        };
        subject::check(&self.subject, table)?;
        if subject::holds_key(&self.subject) && key.is_empty() {
            return Err(Failure::usage(format!(
                "{table} has no primary key; name the columns of {{key}} with --key"
            )));
        }
        Ok(Plan {
            on: Op::ALL.into_iter().filter(|op| self.on.contains(op)).collect(),
            columns: canonical(&self.columns, "--columns", table, columns)?,
            only_changed: self.only_changed,
            when: self.when.clone(),
            mode: self.mode,
            subject: self.subject.clone(),
            key,
            key_chosen,
            table: table.to_string(),
            big_numbers: self.big_numbers,
            seen: plan::seen(columns),
            edition: plan::EDITION,
        })
    }

    fn print(&self, catalog: &mut Catalog, tables: &[Table]) -> Result<(), Failure> {
        let roles = if catalog.is_mariadb() { "without its roles" } else { "with its default roles only" };
        let mut text = format!(
            "-- The triggers run as the account that runs this script, {roles}. That needs TRIGGER and SELECT on the\n\
             -- tables, and EXECUTE on the procedure rowcall.publish_with: without TRIGGER every write fails (1142).\n\
             SET NAMES utf8mb4;\nSET SESSION sql_mode = '';\nDELIMITER //\n"
        );
        let mut planned = Vec::new();
        for table in tables {
            let columns = catalog.columns(table)?;
            let plan = self.plan(catalog, table, &columns)?;
            text.push_str(&format!("\nUSE {}//\n", identifier(&table.schema)));
            for name in catalog.ours(table)? {
                text.push_str(&format!("DROP TRIGGER {} //\n", identifier(&name)));
            }
            for create in catalog.statements(table, &plan, &columns, &mut planned)? {
                text.push_str(&format!("\n{create} //\n"));
            }
        }
        text.push_str("\nDELIMITER ;\n");
        output::bytes(text.as_bytes())
    }

    /// What the triggers call must be there.
    fn check_mode(&self, catalog: &mut Catalog) -> Result<(), Failure> {
        match self.mode {
            Mode::Committed => schema::check(catalog.connection()),
            Mode::Instant => ask(catalog.connection(), "SELECT rowcall_version()").map(drop).map_err(|_| {
                Failure::other("the functions are not on this server: `rowcall install` puts them there")
            }),
        }
    }
}

/// Whether a condition is about the row at all; MySQL would take any name in it, and fail with each row.
fn names_a_row(condition: &str) -> bool {
    let condition = condition.to_ascii_lowercase();
    condition.contains("new.") || condition.contains("old.")
}

/// Whether a database is the server's own, or ours.
fn is_system(names: Names, schema: &str) -> bool {
    // The names of the first two are never told apart by case.
    ["information_schema", "performance_schema"].iter().any(|name| schema.eq_ignore_ascii_case(name))
        || ["mysql", "sys", "rowcall"].iter().any(|name| names.are_one(schema, name))
}

/// Whether this is the text of a trigger that watches a table.
pub(crate) fn is_watching(text: &str) -> bool {
    Plan::is_in(text)
}

/// Columns by their names as the table has them.
fn canonical(
    names: &[String],
    flag: &str,
    table: &Table,
    columns: &[Column],
) -> Result<Vec<String>, Failure> {
    let find = |name: &String| {
        let exact = columns.iter().find(|column| column.name == *name);
        let alike = || columns.iter().find(|column| column.name.to_lowercase() == name.to_lowercase());
        let found = exact.or_else(alike).map(|column| column.name.clone());
        found.ok_or_else(|| Failure::usage(format!("{flag}: {table} has no column {name}")))
    };
    let mut found: Vec<String> = names.iter().map(find).collect::<Result<_, _>>()?;
    found.dedup();
    Ok(found)
}

/// One table has been dealt with.
fn say(catalog: &mut Catalog, table: &Table, plan: &Plan, done: &str, json: bool) -> Result<(), Failure> {
    let filter = subject::filter(&plan.subject, table, &plan.on);
    let on: Vec<&str> = plan.on.iter().map(|op| op.name()).collect();
    let cascades = catalog.cascades(table)?;
    let seen = catalog.cascade_triggers()?;
    if json {
        let unseen = if seen == Some(true) { &[][..] } else { &cascades };
        let line = json!({
            "table": table.to_string(), "on": on, "mode": plan.mode.name(), "subject": filter, "done": done, "unseen": unseen,
        });
        return output::line(&line.to_string());
    }
    output::line(&format!(
        "{done} {table}: {}, {}\n  rowcall listen '{filter}'",
        on.join(", "),
        plan.mode.name()
    ))?;
    for cascade in cascades {
        eprintln!("{table}: {}", unseen::seen_cascade(&cascade, seen));
    }
    if !catalog.triggers(table)?.iter().all(|trigger| trigger.is_whole) {
        eprintln!(
            "{table}: --when holds what information_schema loses: tools that copy triggers from there (gh-ost) make\n  \
             other ones, or fail"
        );
    }
    Ok(())
}

/// Seconds, rounded up: the server counts no less than one.
pub(crate) fn lock_wait(text: &str) -> Result<u64, String> {
    span::parse(text).map(|milliseconds| milliseconds.div_ceil(1000).max(1))
}
