//! Triggers, routines and events that call the functions: whether those are there, whether the accounts in whose
//! name they run are, and whether watched tables are as they were.

use super::finding::{Finding, Trouble};
use super::functions;
use super::patient::Patient;
use crate::install;
use crate::watch::{self, Catalog, identifier};
use rowcall_mysql::quoted;
use std::collections::BTreeMap;

/// Of one kind so many are named; there may be thousands.
const MOST: usize = 10;

/// Seconds to wait for a table that somebody holds.
const PATIENCE: u64 = 5;

/// What speaks of us: kind and name, text, definer, whether it is a trigger, its schema, its table.
const SPEAKERS: &str = "\
SELECT CONCAT('trigger ', TRIGGER_SCHEMA, '.', TRIGGER_NAME), ACTION_STATEMENT, DEFINER, 'trigger', \
  EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE \
  FROM information_schema.TRIGGERS WHERE LOWER(ACTION_STATEMENT) LIKE '%rowcall%' \
UNION ALL SELECT CONCAT(LOWER(ROUTINE_TYPE), ' ', ROUTINE_SCHEMA, '.', ROUTINE_NAME), ROUTINE_DEFINITION, DEFINER, '', '', '' \
  FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'rowcall' OR LOWER(ROUTINE_DEFINITION) LIKE '%rowcall%' \
UNION ALL SELECT CONCAT('event ', EVENT_SCHEMA, '.', EVENT_NAME), EVENT_DEFINITION, DEFINER, '', '', '' \
  FROM information_schema.EVENTS WHERE LOWER(EVENT_DEFINITION) LIKE '%rowcall%'";

pub(super) fn missing_functions(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let (_, missing) = functions::names(patient);
    let speakers: Vec<[String; 6]> = patient.rows(SPEAKERS)?;
    // The procedures of committed mode, and what `rowcall watch` wrote, bear it.
    let bears = |name: &str, text: &str| name.starts_with("procedure rowcall.") || watch::is_watching(text);
    let findings = speakers.iter().filter(|[name, text, ..]| !bears(name, text)).filter_map(|[name, text, ..]| {
        let calls = called(text, &missing);
        let found = format!("{name} calls {}, which this server does not have.", calls.join(", "));
        let advice = "sudo rowcall install. Until then whoever runs into it gets error 1305, unless it has the \
                      handler that docs/functions.md shows.";
        (!calls.is_empty()).then(|| Finding::fault(found, advice))
    });
    let findings: Vec<Finding> = findings.collect();
    let all = install::functions().map(|function| function.name).collect::<Vec<_>>();
    let callers = speakers.iter().filter(|[_, text, ..]| !called(text, &all).is_empty()).count();
    let findings = first(findings);
    let all_well = Finding::ok(format!("triggers, routines and events that call the functions: {callers}"));
    let of_these = format!("of what this account may see, {callers} call the functions");
    seen(patient, findings, all_well, &of_these)
}

/// What was found, or that all is well; but of what this account cannot see nothing is known.
fn seen(
    patient: &mut Patient,
    mut findings: Vec<Finding>,
    all_well: Finding,
    of_these: &str,
) -> Result<Vec<Finding>, Trouble> {
    if patient.value(SEES_ALL)?.as_deref() != Some("3") {
        let found =
            format!("not looked at: triggers, routines and events that this account may not see; {of_these}");
        findings.push(Finding::unseen(found, "Use an account with TRIGGER, EVENT and SELECT on *.*"));
    } else if findings.is_empty() {
        findings.push(all_well);
    }
    Ok(findings)
}

/// The number of rights, of three, by which this account sees the triggers of every table, every event, and the
/// text of every routine.
const SEES_ALL: &str = "SELECT COUNT(DISTINCT PRIVILEGE_TYPE) FROM information_schema.USER_PRIVILEGES \
                        WHERE PRIVILEGE_TYPE IN ('TRIGGER', 'EVENT', 'SELECT') AND \
                        GRANTEE = CONCAT(CHAR(39), REPLACE(CURRENT_USER(), '@', CONCAT(CHAR(39), '@', CHAR(39))), CHAR(39))";

/// Which of these functions are called in it.
fn called<'a>(text: &str, names: &[&'a str]) -> Vec<&'a str> {
    let text = text.to_ascii_lowercase();
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let is_called = |name: &str| {
        text.match_indices(name).any(|(at, _)| {
            let (before, behind) = (&text[..at], &text[at + name.len()..]);
            !before.ends_with(is_part)
                && behind.trim_start_matches(['`', ' ', '\t', '\n', '\r']).starts_with('(')
        })
    };
    names.iter().copied().filter(|name| is_called(name)).collect()
}

/// Whatever runs in an account's name is refused when the account is gone.
pub(super) fn definers(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let speakers: Vec<[String; 6]> = patient.rows(SPEAKERS)?;
    let mut accounts: BTreeMap<&str, Vec<&[String; 6]>> = BTreeMap::new();
    for speaker in &speakers {
        accounts.entry(&speaker[2]).or_default().push(speaker);
    }
    let mut findings = Vec::new();
    for (account, theirs) in &accounts {
        let (user, host) = account.rsplit_once('@').unwrap_or((account, ""));
        let sql = format!(
            "SELECT COUNT(*) FROM mysql.user WHERE User = {} AND Host = {}",
            quoted(user),
            quoted(host)
        );
        if patient.value(&sql)?.as_deref() == Some("0") {
            findings.extend(theirs.iter().map(|[name, ..]| gone(name, account)));
            continue;
        }
        for [name, _, _, kind, schema, table] in theirs {
            if kind == "trigger" && !may_trigger(patient, user, host, schema, table)? {
                findings.push(no_right(name, account, schema, table));
            }
        }
    }
    let all_well = Finding::ok("every account that they run as is there");
    let of_these = format!("of what it may see, the accounts were looked for: {}", accounts.len());
    seen(patient, first(findings), all_well, &of_these)
}

fn gone(name: &str, account: &str) -> Finding {
    Finding::fault(
        format!(
            "{name} runs as {account}, and there is no such account: whoever runs into it gets error 1449."
        ),
        "Create the account, or the trigger anew: `rowcall watch` of a watched table does that.",
    )
}

fn no_right(name: &str, account: &str, schema: &str, table: &str) -> Finding {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    Finding::warning(
        format!(
            "{name} runs as {account}, which has no right TRIGGER on {schema}.{table} that counts there: every write \
             to the table gets error 1142."
        ),
        format!(
            "GRANT TRIGGER ON {}.{} TO {}@{}; a role does not do on MariaDB, and on MySQL only a default one does",
            identifier(schema),
            identifier(table),
            quoted(user),
            quoted(host)
        ),
    )
}

/// Whether it was granted to the account itself, or to a role that counts in triggers, for the table, its schema
/// or everything.
fn may_trigger(
    patient: &mut Patient,
    user: &str,
    host: &str,
    schema: &str,
    table: &str,
) -> Result<bool, Trouble> {
    let mut grantees = vec![quoted(&format!("'{user}'@'{host}'")), quoted("'PUBLIC'@''")];
    // A server without roles has no such tables.
    let roles: Vec<[String; 1]> = patient.rows(&default_roles(user, host)).unwrap_or_default();
    grantees.extend(roles.iter().map(|[role]| quoted(role)));
    let grantees = grantees.join(", ");
    let (schema, table) = (quoted(schema), quoted(table));
    let granted = |from: &str, more: &str| {
        format!(
            "EXISTS (SELECT 1 FROM information_schema.{from} WHERE GRANTEE IN ({grantees}) AND PRIVILEGE_TYPE = 'TRIGGER'{more})"
        )
    };
    let sql = format!(
        "SELECT {} OR {} OR {}",
        granted("USER_PRIVILEGES", ""),
        granted("SCHEMA_PRIVILEGES", &format!(" AND {schema} LIKE TABLE_SCHEMA")),
        granted("TABLE_PRIVILEGES", &format!(" AND TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}")),
    );
    Ok(patient.value(&sql)?.as_deref() == Some("1"))
}

/// On MySQL, the default roles of an account and the roles that these have, as information_schema writes them.
fn default_roles(user: &str, host: &str) -> String {
    format!(
        "WITH RECURSIVE role (user, host) AS (\
         SELECT DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles WHERE USER = {} AND HOST = {} \
         UNION SELECT e.FROM_USER, e.FROM_HOST FROM mysql.role_edges e JOIN role r ON e.TO_USER = r.user AND e.TO_HOST = r.host) \
         SELECT CONCAT(CHAR(39), user, CHAR(39), '@', CHAR(39), host, CHAR(39)) FROM role",
        quoted(user),
        quoted(host)
    )
}

/// Tables that are not what they were when they were watched.
pub(super) fn watched(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    if patient.settings.is_old() {
        return Ok(Vec::new());
    }
    let words = |failure: crate::failure::Failure| Trouble::Other(failure.to_string());
    let mut catalog = Catalog::new(patient.connect()?, PATIENCE).map_err(words)?;
    let tables = watch::changes(&mut catalog).map_err(words)?;
    let changed = tables.iter().filter(|one| !one.changes.is_empty()).map(|one| {
        let (table, changes) = (&one.table, one.changes.join(" "));
        Finding::warning(format!("{table} is not what it was when it was watched: {changes}."), one.advice())
    });
    let changed: Vec<Finding> = changed.collect();
    let all_well = Finding::ok(format!("tables that are watched, and as they were: {}", tables.len()));
    let of_these = format!("of what it may see, {} are watched", tables.len());
    seen(patient, first(changed), all_well, &of_these)
}

/// The first of them, and how many more there are.
fn first(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MOST);
    if let (true, Some(last)) = (more > 0, findings.get(MOST)) {
        let also = Finding { level: last.level, found: format!("and {more} more"), advice: String::new() };
        findings.truncate(MOST);
        findings.push(also);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_name_before_a_parenthesis() {
        let names = ["rowcall_notify", "rowcall_emit"];
        assert_eq!(called("DO ROWCALL_NOTIFY ('a', 'b')", &names), ["rowcall_notify"]);
        assert_eq!(called("SET x = `rowcall_emit`(1); DO rowcall_notify(2, 3)", &names), names);
        assert!(called("SET @rowcall_notify = 1, my_rowcall_emit(2)", &names).is_empty());
    }

    #[test]
    fn not_everything_is_named() {
        let many = |n: usize| (0..n).map(|n| Finding::fault(n.to_string(), "")).collect::<Vec<_>>();
        assert_eq!(first(many(MOST)).len(), MOST);
        let some = first(many(MOST + 5));
        assert_eq!((some.len(), some[MOST].found.as_str()), (MOST + 1, "and 5 more"));
    }
}
