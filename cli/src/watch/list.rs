//! `rowcall watch --list` and `--refresh`: what is watched, and what to do when tables have changed.

use super::catalog::{Catalog, Existing};
use super::plan::{self, Op, Plan};
use super::table::Table;
use super::{canonical, say, subject};
use crate::failure::Failure;
use crate::output;
use serde_json::json;

/// A table that is watched.
struct Watched {
    table: Table,
    plan: Plan,
    /// What is not as it was when its triggers were written.
    changes: Vec<String>,
}

pub(super) fn show(catalog: &mut Catalog, named: &[Table], json: bool) -> Result<(), Failure> {
    let all = watched(catalog, named)?;
    if json {
        return all.iter().try_for_each(|one| output::line(&one.json().to_string()));
    }
    if all.is_empty() {
        eprintln!("nothing is watched here, as far as this account may see");
        return Ok(());
    }
    let head = ["table", "on", "mode", "subjects", "state"];
    output::table(&head, all.iter().map(Watched::row))?;
    if all.iter().any(|one| !one.changes.is_empty()) {
        eprintln!("`rowcall watch --refresh` writes the triggers of tables that have changed anew");
    }
    Ok(())
}

pub(super) fn refresh(catalog: &mut Catalog, named: &[Table], json: bool) -> Result<(), Failure> {
    let mut failed = 0;
    for one in watched(catalog, named)? {
        if one.changes.is_empty() {
            continue;
        }
        // One table that cannot be dealt with keeps nobody from the others.
        if let Err(failure) = rewrite(catalog, one, json) {
            eprintln!("rowcall: {failure}");
            failed += 1;
        }
    }
    if failed > 0 { Err(Failure::other(format!("{failed} tables are as they were"))) } else { Ok(()) }
}

fn rewrite(catalog: &mut Catalog, one: Watched, json: bool) -> Result<(), Failure> {
    let (table, columns) = (&one.table, catalog.columns(&one.table)?);
    // A column that somebody named and that is gone is for a person to decide.
    canonical(&one.plan.columns, "--columns", table, &columns)?;
    let key = if one.plan.key_chosen {
        canonical(&one.plan.key, "--key", table, &columns)?
    } else {
        catalog.primary_key(table)?
    };
    let plan = Plan { seen: plan::seen(&columns), key, table: table.to_string(), ..one.plan };
    catalog.put(table, &plan, &columns)?;
    say(catalog, table, &plan, "refreshed", json)
}

/// Each table that is watched, and what is not as it was.
pub(crate) fn changes(catalog: &mut Catalog) -> Result<Vec<(Table, Vec<String>)>, Failure> {
    Ok(watched(catalog, &[])?.into_iter().map(|one| (one.table, one.changes)).collect())
}

fn watched(catalog: &mut Catalog, named: &[Table]) -> Result<Vec<Watched>, Failure> {
    let mut all = Vec::new();
    let names = catalog.names();
    let wanted = |table: &Table| named.is_empty() || named.iter().any(|one| names.include(one, table));
    for table in catalog.watched()?.into_iter().filter(wanted) {
        let triggers = catalog.triggers(&table)?;
        let Some(plan) = triggers.iter().find_map(|trigger| trigger.plan.clone()) else { continue };
        let mut changes = plan.changes(&catalog.columns(&table)?);
        for op in Op::ALL {
            let wanted = usize::from(plan.on.contains(&op));
            match triggers.iter().filter(|trigger| is_ours_for(trigger, op)).count() {
                count if count == wanted => {}
                0 => changes.push(format!("no {} trigger", op.name())),
                count => changes.push(format!("{count} {} triggers", op.name())),
            }
        }
        if plan.table != table.to_string() {
            changes.push(format!("was {}", plan.table));
        }
        if !plan.key_chosen && plan.key != catalog.primary_key(&table)? {
            changes.push("~primary key".into());
        }
        all.push(Watched { table, plan, changes });
    }
    Ok(all)
}

fn is_ours_for(trigger: &Existing, op: Op) -> bool {
    trigger.plan.is_some() && trigger.is_for(op)
}

impl Watched {
    fn on(&self) -> Vec<&'static str> {
        self.plan.on.iter().map(|op| op.name()).collect()
    }

    fn subjects(&self) -> String {
        subject::filter(&self.plan.subject, &self.table, &self.plan.on)
    }

    fn row(&self) -> Vec<String> {
        let state = if self.changes.is_empty() { "ok".into() } else { self.changes.join(" ") };
        vec![
            self.table.to_string(),
            self.on().join(","),
            self.plan.mode.name().into(),
            self.subjects(),
            state,
        ]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "table": self.table.to_string(),
            "on": self.on(),
            "mode": self.plan.mode.name(),
            "subject": self.subjects(),
            "columns": self.plan.columns,
            "only_changed": self.plan.only_changed,
            "when": self.plan.when,
            "key": self.plan.key,
            "changes": self.changes,
        })
    }
}
