//! `rowcall watch --list` and `--refresh`: what is watched, and what to do when tables have changed.

use super::catalog::{Catalog, Existing};
use super::plan::{self, Op, Plan};
use super::table::Table;
use super::{canonical, say, subject};
use crate::failure::Failure;
use crate::output;
use serde_json::json;
use std::collections::BTreeMap;

/// A table that is watched, or should be.
pub(crate) struct Watched {
    pub(crate) table: Table,
    plan: Plan,
    /// What is not as it was when its triggers were written.
    pub(crate) changes: Vec<String>,
    place: Place,
}

/// Where its triggers are.
enum Place {
    /// On it.
    Here,
    /// Nowhere, or on this table, which had its name.
    Lost(Option<Table>),
    /// They are another table's, which is there: this one had its name, or is a copy.
    Foreign(Table),
    /// There is no such table.
    Gone,
}

pub(super) fn show(catalog: &mut Catalog, named: &[Table], json: bool) -> Result<(), Failure> {
    let all = watched(catalog, named)?;
    if let Some(error) = catalog.remembered()?.unread {
        eprintln!("watches whose triggers are gone are not shown: {error}");
    }
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
        // One table that cannot be dealt with keeps nobody from the others.
        if let Err(failure) = mend(catalog, one, json) {
            eprintln!("rowcall: {failure}");
            failed += 1;
        }
    }
    if failed > 0 { Err(Failure::other(format!("{failed} tables are as they were"))) } else { Ok(()) }
}

fn mend(catalog: &mut Catalog, one: Watched, json: bool) -> Result<(), Failure> {
    match &one.place {
        // Watches of earlier versions are remembered from now on.
        Place::Here if one.changes.is_empty() => catalog.remember(&one.table, &one.plan, None),
        Place::Here => rewrite(catalog, &one, json),
        Place::Lost(at) => {
            rewrite(catalog, &one, json)?;
            let Some(at) = at else { return Ok(()) };
            catalog.take_away(at)?;
            eprintln!("{at}: its triggers, which told of its rows as {}, are dropped", one.table);
            Ok(())
        }
        Place::Foreign(_) | Place::Gone => {
            eprintln!("{}: {}; {}", one.table, one.changes.join(", "), one.advice());
            Ok(())
        }
    }
}

fn rewrite(catalog: &mut Catalog, one: &Watched, json: bool) -> Result<(), Failure> {
    let (table, columns) = (&one.table, catalog.columns(&one.table)?);
    // A column that somebody named and that is gone is for a person to decide.
    canonical(&one.plan.columns, "--columns", table, &columns)?;
    let key = if one.plan.key_chosen {
        canonical(&one.plan.key, "--key", table, &columns)?
    } else {
        catalog.primary_key(table)?
    };
    let plan =
        Plan { seen: plan::seen(&columns), key, table: table.to_string(), ..one.plan.clone().renewed() };
    let earlier = catalog.put(table, &plan, &columns)?;
    catalog.remember(table, &plan, earlier.as_ref())?;
    say(catalog, table, &plan, "refreshed", json)
}

/// Each table that is watched, or should be.
pub(crate) fn changes(catalog: &mut Catalog) -> Result<Vec<Watched>, Failure> {
    watched(catalog, &[])
}

fn watched(catalog: &mut Catalog, named: &[Table]) -> Result<Vec<Watched>, Failure> {
    let remembered = catalog.remembered()?.watches;
    let mut here: BTreeMap<Table, (Plan, Vec<Existing>)> = BTreeMap::new();
    for table in catalog.watched()? {
        let triggers = catalog.triggers(&table)?;
        if let Some(plan) = triggers.iter().find_map(|trigger| trigger.plan.clone()) {
            here.insert(table, (plan, triggers));
        }
    }
    let mut all: BTreeMap<Table, Watched> = BTreeMap::new();
    for (table, (plan, triggers)) in &here {
        let one = match plan.claim(table) {
            Some(other) if catalog.exists(&other)? => {
                if !here.contains_key(&other) {
                    all.insert(other.clone(), Watched::lost(&other, plan, Some(table)));
                }
                let changes = vec![format!("has the triggers of {other}, and tells of its rows as such")];
                Watched { table: table.clone(), plan: plan.clone(), changes, place: Place::Foreign(other) }
            }
            _ => Watched::here(catalog, table, plan, triggers)?,
        };
        all.insert(table.clone(), one);
    }
    for (table, plan) in remembered {
        let is_renamed = || here.iter().any(|(at, (plan, _))| plan.claim(at).as_ref() == Some(&table));
        if all.contains_key(&table) {
            continue;
        } else if catalog.exists(&table)? {
            all.insert(table.clone(), Watched::lost(&table, &plan, None));
        } else if !is_renamed() {
            let changes = vec!["the table is gone".into()];
            all.insert(table.clone(), Watched { table, plan, changes, place: Place::Gone });
        }
    }
    let names = catalog.names();
    let wanted = |one: &Watched| named.is_empty() || named.iter().any(|name| names.include(name, &one.table));
    Ok(all.into_values().filter(wanted).collect())
}

fn is_ours_for(trigger: &Existing, op: Op) -> bool {
    trigger.plan.is_some() && trigger.is_for(op)
}

impl Watched {
    fn here(
        catalog: &mut Catalog,
        table: &Table,
        plan: &Plan,
        triggers: &[Existing],
    ) -> Result<Watched, Failure> {
        let mut changes = plan.changes(&catalog.columns(table)?);
        for op in Op::ALL {
            let wanted = usize::from(plan.on.contains(&op));
            match triggers.iter().filter(|trigger| is_ours_for(trigger, op)).count() {
                count if count == wanted => {}
                0 => changes.push(format!("no {} trigger", op.name())),
                count => changes.push(format!("{count} {} triggers", op.name())),
            }
        }
        if plan.is_old() {
            changes.push("written by an earlier version".into());
        }
        if plan.table != table.to_string() {
            changes.push(format!("was {}", plan.table));
        }
        if !plan.key_chosen && plan.key != catalog.primary_key(table)? {
            changes.push("~primary key".into());
        }
        Ok(Watched { table: table.clone(), plan: plan.clone(), changes, place: Place::Here })
    }

    fn lost(table: &Table, plan: &Plan, at: Option<&Table>) -> Watched {
        let change = match at {
            Some(at) => format!("no triggers: {at} has them"),
            None => "no triggers".into(),
        };
        Watched {
            table: table.clone(),
            plan: plan.clone(),
            changes: vec![change],
            place: Place::Lost(at.cloned()),
        }
    }

    /// What to do about the changes.
    pub(crate) fn advice(&self) -> String {
        let table = &self.table;
        match &self.place {
            Place::Here | Place::Lost(_) => format!("rowcall watch --refresh {table}"),
            Place::Foreign(other) => {
                format!(
                    "rowcall unwatch {table} drops them, rowcall watch {table} makes them its own, and {other} stays as it is"
                )
            }
            Place::Gone => format!("rowcall unwatch {table} forgets it"),
        }
    }

    fn on(&self) -> Vec<&'static str> {
        self.plan.on.iter().map(|op| op.name()).collect()
    }

    fn subjects(&self) -> String {
        // Where its events go as the triggers are.
        let told = if let Place::Foreign(other) = &self.place { other } else { &self.table };
        subject::filter(&self.plan.subject, told, &self.plan.on)
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
