//! Functions replaced while statements use them. MySQL, from 8.0 on, keeps a dropped function until the
//! last statement that uses it has ended, and then forgets the function of that *name*: the one that was
//! created since, though its row in mysql.func stays. So the new functions are created at once, which
//! leaves triggers without them for a moment only; then the statements that began before are waited for,
//! and what the server has forgotten with one of them is created again.

use crate::failure::Failure;
use crate::install::{Function, Report, create, functions, is_known};
use crate::span;
use rowcall_mysql::Connection;
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks. As long is a function missing that the server has forgotten.
const PAUSE: Duration = Duration::from_millis(20);

/// How much of a statement is shown, in characters.
const SHOWN: usize = 60;

/// Statements of which one may still use a function that was dropped.
#[derive(Default)]
struct Old {
    in_use: bool,
    statements: Vec<Statement>,
}

/// A statement under way.
struct Statement {
    session: String,
    account: String,
    seconds: u64,
    text: String,
}

/// Waits, so long at most, until no statement uses a function that was dropped, and sees to it that
/// every function is there.
pub(crate) fn settle(
    connection: &mut Connection,
    version: &str,
    has_created: bool,
    wait: Duration,
    report: &Report,
) -> Result<(), Failure> {
    let (since, mut told) = (Instant::now(), BTreeSet::new());
    let forgets = !version.contains("MariaDB") && !version.starts_with("5.");
    loop {
        // In this order: what is forgotten after the second look is seen in the next turn.
        let old = if forgets { old(connection, since.elapsed(), has_created)? } else { Old::default() };
        let were_there = create_missing(connection, report)?;
        if !old.in_use && were_there {
            return Ok(());
        }
        if since.elapsed() >= wait {
            return Err(given_up(&old, wait));
        }
        for statement in &old.statements {
            if told.insert(statement.session.clone()) {
                report.say("waiting", &statement.whose(), &statement.text)?;
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Creates what the server has on record only; tells whether all were there.
fn create_missing(connection: &mut Connection, report: &Report) -> Result<bool, Failure> {
    let mut were_there = true;
    for function in functions() {
        if !is_known(connection, function.name) {
            create(connection, &function)?;
            report.say("function", function.name, "created again")?;
            were_there = false;
        }
    }
    Ok(were_there)
}

/// What may still use functions that were dropped before so long a time.
fn old(connection: &mut Connection, elapsed: Duration, has_created: bool) -> Result<Old, Failure> {
    let exact = counted(connection);
    if exact == Some(false) || (exact.is_none() && !has_created) {
        return Ok(Old::default());
    }
    let statements = statements(connection, elapsed)?;
    Ok(Old { in_use: exact == Some(true) || !statements.is_empty(), statements })
}

/// Whether a function that was dropped is in use; `None` where the server does not tell. It lists such
/// a function beside the one that came after it, under the same name.
fn counted(connection: &mut Connection) -> Option<bool> {
    let names: Vec<String> = functions().map(|Function { name, .. }| format!("'{name}'")).collect();
    let twice = format!(
        "SELECT UDF_NAME FROM performance_schema.user_defined_functions \
         WHERE UDF_USAGE_COUNT > 0 AND UDF_NAME IN ({}) GROUP BY UDF_NAME HAVING COUNT(*) > 1",
        names.join(", ")
    );
    let is_on = connection.value("SELECT @@performance_schema").ok().flatten();
    if is_on.as_deref() != Some("1") {
        return None;
    }
    Some(!connection.query(twice).ok()?.rows.is_empty())
}

/// Statements of others that may have begun before so long a time. The server tells whole seconds.
fn statements(connection: &mut Connection, elapsed: Duration) -> Result<Vec<Statement>, Failure> {
    let failure = |error| Failure::server("cannot see what statements are running", &error);
    let own = connection.value("SELECT CONNECTION_ID()").map_err(failure)?.unwrap_or_default();
    let rows = connection.texts("SHOW FULL PROCESSLIST").map_err(failure)?;
    let statement = |row: Vec<String>| {
        let [session, user, host, _, command, seconds, _, text] = <[String; 8]>::try_from(row).ok()?;
        // Threads that wait for work have no text.
        let is_old = session != own && command != "Sleep" && !text.is_empty();
        let seconds = seconds.parse().unwrap_or(u64::MAX);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
        let statement = Statement { session, account: format!("{user}@{host}"), seconds, text };
        (is_old && seconds.saturating_add(1) >= elapsed.as_secs()).then_some(statement)
    };
    Ok(rows.into_iter().filter_map(statement).collect())
}

fn given_up(old: &Old, wait: Duration) -> Failure {
    let running: String = old
        .statements
        .iter()
        .map(|statement| format!("\n  {}: {}", statement.whose(), statement.text))
        .collect();
    Failure::other(format!(
        "the functions are there, but after {} a statement may still use those before them, and when it ends MySQL \
         forgets the new ones:{running}\n  Run this again once it has ended (KILL ends it), or with a longer --wait.",
        span::exact(wait.as_millis() as u64)
    ))
}

impl Statement {
    fn whose(&self) -> String {
        let seconds = span::age(self.seconds);
        format!("connection {} of {}, for {seconds}", self.session, self.account)
    }
}
