//! What the server says of tables and their triggers, and how ours are put there and taken away. What
//! stands in them is trigger.rs's business.

use super::columns::{Column, identifier};
use super::names::Names;
use super::plan::{self, Op, Plan, Unknown};
use super::table::Table;
use super::trigger::{self, Trigger};
use crate::failure::Failure;
use crate::schema;
use rowcall_mysql::{Connection, Error, quoted};
use std::collections::BTreeSet;

/// The server, to whoever watches.
pub(crate) struct Catalog {
    connection: Connection,
    mariadb: bool,
    names: Names,
}

/// An AFTER trigger that is there.
#[derive(Clone, Debug)]
pub(crate) struct Existing {
    pub(crate) name: String,
    pub(crate) event: String,
    /// What it was asked to do, if it is ours.
    pub(crate) plan: Option<Plan>,
    /// Whether information_schema has its text as it was written; tools make copies of it.
    pub(crate) is_whole: bool,
}

impl Catalog {
    /// Makes the session one that creates triggers: they keep its SQL mode, and that forbids nothing.
    /// `patience` is for how many seconds it waits for a table that someone holds, and everyone else behind it.
    pub(crate) fn new(mut connection: Connection, patience: u64) -> Result<Catalog, Failure> {
        let version =
            connection.value("SELECT VERSION()").map_err(|error| cannot("ask the server", &error))?;
        let version = version.unwrap_or_default();
        if version.starts_with("5.") {
            return Err(Failure::other(format!(
                "this server is {version}; watching needs MySQL 8.0 or MariaDB 10.6 at least"
            )));
        }
        let names = Names::of(&mut connection)?;
        let mut catalog = Catalog { connection, mariadb: version.contains("MariaDB"), names };
        catalog.run("SET SESSION sql_mode = ''")?;
        catalog.run(&format!("SET SESSION lock_wait_timeout = {patience}"))?;
        Ok(catalog)
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether the server is MariaDB.
    pub(crate) fn is_mariadb(&self) -> bool {
        self.mariadb
    }

    /// How the server tells tables apart.
    pub(crate) fn names(&self) -> Names {
        self.names
    }

    /// Runs a statement of which there is nothing to read.
    pub(super) fn run(&mut self, sql: &str) -> Result<(), Failure> {
        self.connection.query(sql).map(drop).map_err(|error| cannot(sql, &error))
    }

    /// Rows of text; NULL is nothing.
    pub(super) fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        self.connection.texts(sql).map_err(|error| cannot("read information_schema", &error))
    }

    /// The tables that a name means: itself, or all of its schema.
    pub(crate) fn find(&mut self, table: &Table) -> Result<Vec<Table>, Failure> {
        let tables = self.tables(table)?;
        if tables.is_empty() {
            return Err(Failure::other(format!("there is no table {table}, or the account may not see it")));
        }
        Ok(tables)
    }

    /// The same; there may be none.
    pub(crate) fn tables(&mut self, table: &Table) -> Result<Vec<Table>, Failure> {
        let which = if table.is_all() {
            self.names.is("TABLE_SCHEMA", &table.schema)
        } else {
            self.names.are(table, "TABLE_SCHEMA", "TABLE_NAME")
        };
        let rows = self.rows(&format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND \
             {which} ORDER BY CAST(TABLE_NAME AS BINARY)"
        ))?;
        Ok(rows.into_iter().map(named).collect())
    }

    pub(crate) fn columns(&mut self, table: &Table) -> Result<Vec<Column>, Failure> {
        Column::of(&mut self.connection, table, self.mariadb)
    }

    /// The columns of its primary key, in their order.
    pub(crate) fn primary_key(&mut self, table: &Table) -> Result<Vec<String>, Failure> {
        let rows = self.rows(&format!(
            "SELECT COLUMN_NAME FROM information_schema.STATISTICS WHERE {} AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX",
            self.names.are(table, "TABLE_SCHEMA", "TABLE_NAME")
        ))?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Its AFTER triggers, in the order in which they run.
    pub(crate) fn triggers(&mut self, table: &Table) -> Result<Vec<Existing>, Failure> {
        let rows = self.rows(&format!(
            "SELECT TRIGGER_NAME, EVENT_MANIPULATION, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE {} AND \
             ACTION_TIMING = 'AFTER' ORDER BY EVENT_MANIPULATION, ACTION_ORDER",
            self.names.are(table, "EVENT_OBJECT_SCHEMA", "EVENT_OBJECT_TABLE")
        ))?;
        rows.into_iter()
            .map(|row| {
                let [name, event, body] = row.try_into().unwrap_or_default();
                if !Plan::is_in(&body) {
                    return Ok(Existing { name, event, plan: None, is_whole: true });
                }
                let original = self.original(table, &name)?;
                let plan = Plan::find(&original).map_err(|unknown| not_known(table, &name, &unknown))?;
                Ok(Existing { name, event, plan: Some(plan), is_whole: original.ends_with(&body) })
            })
            .collect()
    }

    /// A trigger as it was written. In information_schema its strings have lost their backslashes.
    fn original(&mut self, table: &Table, name: &str) -> Result<String, Failure> {
        let rows =
            self.rows(&format!("SHOW CREATE TRIGGER {}.{}", identifier(&table.schema), identifier(name)))?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().nth(2)).unwrap_or_default())
    }

    /// All tables with triggers of ours, as far as the account may see them.
    pub(crate) fn watched(&mut self) -> Result<Vec<Table>, Failure> {
        self.with_ours("TRUE")
    }

    /// The same of one schema.
    pub(crate) fn watched_in(&mut self, schema: &str) -> Result<Vec<Table>, Failure> {
        self.with_ours(&self.names.is("EVENT_OBJECT_SCHEMA", schema))
    }

    fn with_ours(&mut self, which: &str) -> Result<Vec<Table>, Failure> {
        let rows = self.rows(&format!(
            "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE FROM information_schema.TRIGGERS WHERE {which} AND \
             INSTR(ACTION_STATEMENT, {}) > 0",
            quoted(&plan::beginning())
        ))?;
        // Not DISTINCT, which knows the columns' collation only.
        let tables: BTreeSet<Table> = rows.into_iter().map(named).collect();
        Ok(tables.into_iter().collect())
    }

    /// The statements that would create the triggers of a plan, under names that are neither in use nor planned
    /// in the same schema; they are planned then.
    pub(crate) fn statements(
        &mut self,
        table: &Table,
        plan: &Plan,
        columns: &[Column],
        planned: &mut Vec<Table>,
    ) -> Result<Vec<String>, Failure> {
        let there = self.triggers(table)?;
        let mut statements = Vec::new();
        for &op in &plan.on {
            for name in trigger::names(table, op) {
                if self.is_free(table, &name, planned)? {
                    statements.push(create(table, op, plan, columns, &name, &there));
                    planned.push(Table { schema: table.schema.clone(), name });
                    break;
                }
            }
        }
        Ok(statements)
    }

    /// Whether no trigger of the schema has this name, nor one that the server takes for it: on MySQL, names that
    /// differ in case or accents are one.
    fn is_free(&mut self, table: &Table, name: &str, planned: &[Table]) -> Result<bool, Failure> {
        let alike =
            |name: &str| format!("CONVERT({} USING utf8mb3) COLLATE utf8mb3_general_ci", quoted(name));
        let planned = planned.iter().filter(|other| other.schema == table.schema);
        let planned: String =
            planned.map(|other| format!(" OR {} = {}", alike(name), alike(&other.name))).collect();
        let rows = self.rows(&format!(
            "SELECT EXISTS (SELECT 1 FROM information_schema.TRIGGERS WHERE {} AND TRIGGER_NAME = {}){planned}",
            self.names.is("EVENT_OBJECT_SCHEMA", &table.schema),
            quoted(name)
        ))?;
        Ok(rows.concat() == ["0"])
    }

    /// Puts the triggers of a plan there, in the place of those that are there for an earlier one, which it gives:
    /// all of them or, if something fails, none.
    pub(crate) fn put(
        &mut self,
        table: &Table,
        plan: &Plan,
        columns: &[Column],
    ) -> Result<Option<Plan>, Failure> {
        self.check_rights(table, plan, columns)?;
        let ours = self.triggers(table)?.into_iter().filter_map(|one| Some((one.name, one.plan?)));
        let (names, plans): (Vec<String>, Vec<Plan>) = ours.unzip();
        let proves = self.has_more_rights()?;
        if names.is_empty() && !proves {
            return self.create(table, plan, columns, proves).map(|()| None);
        }
        // Nobody writes a row between the old triggers and the new ones. (MySQL locks what they write to as well.)
        self.locked(table, |catalog| {
            catalog.create(table, plan, columns, proves)?;
            catalog.drop_all(table, &names)
        })?;
        Ok(plans.into_iter().next())
    }

    /// Takes ours away; says how many there were.
    pub(crate) fn take_away(&mut self, table: &Table) -> Result<usize, Failure> {
        let ours = self.ours(table)?;
        self.drop_all(table, &ours)?;
        Ok(ours.len())
    }

    /// Whether a daemon reads the outbox.
    pub(crate) fn is_read(&mut self) -> Result<bool, Failure> {
        schema::is_read(&mut self.connection).map_err(|error| cannot("read information_schema", &error))
    }

    /// Whether what is written to it can be rolled back.
    pub(crate) fn is_transactional(&mut self, table: &Table) -> Result<bool, Failure> {
        let rows = self.rows(&format!(
            "SELECT e.TRANSACTIONS FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE WHERE {}",
            self.names.are(table, "t.TABLE_SCHEMA", "t.TABLE_NAME")
        ))?;
        Ok(rows.concat() == ["YES"])
    }

    /// The names of ours.
    pub(crate) fn ours(&mut self, table: &Table) -> Result<Vec<String>, Failure> {
        let ours = self.triggers(table)?.into_iter().filter(|trigger| trigger.plan.is_some());
        Ok(ours.map(|trigger| trigger.name).collect())
    }

    fn locked(
        &mut self,
        table: &Table,
        act: impl FnOnce(&mut Catalog) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.ddl(table, &format!("LOCK TABLES {} WRITE", table.sql()))?;
        let done = act(self);
        let unlocked = self.run("UNLOCK TABLES");
        done.and(unlocked)
    }

    /// Creates all of them, or none; and `proves` that they will not fail those who write the table.
    fn create(
        &mut self,
        table: &Table,
        plan: &Plan,
        columns: &[Column],
        proves: bool,
    ) -> Result<(), Failure> {
        self.run(&format!("USE {}", identifier(&table.schema)))?;
        let there = self.triggers(table)?;
        let mut made = Vec::new();
        let mut done = Ok(());
        for &op in &plan.on {
            match self.create_one(table, op, plan, columns, &there) {
                Ok(name) => made.push(name),
                Err(failure) => {
                    done = Err(failure);
                    break;
                }
            }
        }
        if proves && done.is_ok() {
            done = self.check_visible(table, &made);
        }
        if done.is_err() {
            // Best effort: the error that matters is this one.
            let _ = self.drop_all(table, &made);
        }
        done
    }

    /// Creates one under the first name that the server takes; says which. Only the server knows: the account may
    /// not see all triggers of the schema.
    fn create_one(
        &mut self,
        table: &Table,
        op: Op,
        plan: &Plan,
        columns: &[Column],
        there: &[Existing],
    ) -> Result<String, Failure> {
        let is_free = |name: &String| there.iter().all(|other| !other.name.eq_ignore_ascii_case(name));
        let mut names = trigger::names(table, op).filter(is_free).peekable();
        while let Some(name) = names.next() {
            match self.connection.query(create(table, op, plan, columns, &name, there)) {
                Ok(_) => return Ok(name),
                Err(error) if error.number == NAME_IN_USE && names.peek().is_some() => {}
                Err(error) => return Err(refused(table, &error)),
            }
        }
        Err(Failure::other(format!("{table}: no name is free for its trigger")))
    }

    fn drop_all(&mut self, table: &Table, names: &[String]) -> Result<(), Failure> {
        names.iter().try_for_each(|name| {
            self.ddl(table, &format!("DROP TRIGGER {}.{}", identifier(&table.schema), identifier(name)))
        })
    }

    fn ddl(&mut self, table: &Table, sql: &str) -> Result<(), Failure> {
        self.connection.query(sql).map(drop).map_err(|error| refused(table, &error))
    }
}

impl Existing {
    pub(crate) fn is_for(&self, op: Op) -> bool {
        self.event.eq_ignore_ascii_case(op.name())
    }
}

/// The server's number for: a trigger of this name is there.
const NAME_IN_USE: u32 = 1359;

/// The statement that creates a trigger, behind those of others.
fn create(table: &Table, op: Op, plan: &Plan, columns: &[Column], name: &str, there: &[Existing]) -> String {
    let mut others = there.iter().filter(|other| other.plan.is_none() && other.is_for(op));
    let follows = others.next_back().map(|other| other.name.as_str());
    Trigger { table, op, plan, columns, name, follows }.create()
}

/// A trigger of ours that says what this version cannot do: it is neither shown as another one nor left aside.
fn not_known(table: &Table, trigger: &str, unknown: &Unknown) -> Failure {
    let (schema, name) = (identifier(&table.schema), identifier(trigger));
    Failure::other(format!(
        "{table}: its trigger {trigger} has {unknown}: use the version that wrote it, or a later one; or DROP TRIGGER \
         {schema}.{name} and watch the table anew"
    ))
}

fn refused(table: &Table, error: &Error) -> Failure {
    Failure::server(&format!("cannot change the triggers of {table}"), error).with(advice(error.number))
}

fn cannot(what: &str, error: &Error) -> Failure {
    Failure::server(&format!("cannot {what}"), error)
}

fn named(row: Vec<String>) -> Table {
    let [schema, name] = row.try_into().unwrap_or_default();
    Table { schema, name }
}

/// What to do about the errors that people meet here.
fn advice(number: u32) -> &'static str {
    match number {
        1205 => {
            "\n  Someone holds the table, or on MySQL another watched table, in a transaction that is still open (SHOW \
             PROCESSLIST). Nothing was changed; try again, or wait longer with --lock-wait."
        }
        1142 => "\n  The account needs TRIGGER, SELECT and LOCK TABLES on the table.",
        1044 => "\n  The account needs TRIGGER, SELECT and LOCK TABLES on the database.",
        1419 => {
            "\n  The binary log is on, and the account has no right to make triggers then: SET GLOBAL \
             log_bin_trust_function_creators = 1, or use an account with SUPER."
        }
        1054 | 1327 => "\n  Nothing was changed. In --when a column is written NEW.name or OLD.name.",
        1064 => "\n  Nothing was changed. Is --when a condition as it stands behind WHERE?",
        1363 => {
            "\n  Nothing was changed. An insert has no OLD row and a delete no NEW row: watch them by themselves, with --on."
        }
        _ => "",
    }
}
