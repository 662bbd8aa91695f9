//! What the reader asks of a server before it reads, and what it tells the administrator of it. Why it
//! must be so stands in statements.rs.

use super::reader::Trouble;
use super::statements;
use rowcall_mysql::{Connection, Error};

/// Makes the session the reader's; says whether the binary log gets its statements themselves.
pub(super) fn prepare(connection: &mut Connection) -> Result<bool, Error> {
    for statement in statements::SESSION {
        connection.query(statement)?;
    }
    let logs_statements = connection.value(statements::LOGS_STATEMENTS)?.is_some();
    if logs_statements {
        connection.query(statements::SESSION_THAT_LOGS_STATEMENTS)?;
    }
    Ok(logs_statements)
}

/// Whether the server and the schema are ones to read from.
pub(super) fn check(connection: &mut Connection) -> Result<(), Trouble> {
    check_writable(connection)?;
    let edition = connection.value(statements::EDITION_HERE)?.unwrap_or_default();
    if edition != statements::EDITION {
        let known = statements::EDITION;
        return Err(Trouble::Refused(format!(
            "the schema rowcall is of edition {edition}, this daemon knows {known}: run `rowcall install` of this version"
        )));
    }
    let engine = connection.value(statements::ENGINE_HERE)?.unwrap_or_default();
    if engine != "InnoDB" {
        return Err(Trouble::Refused(format!(
            "the table rowcall.outbox is of the engine {engine}, which has no transactions; it must be InnoDB"
        )));
    }
    Ok(())
}

pub(super) fn check_writable(connection: &mut Connection) -> Result<(), Trouble> {
    match connection.value(statements::READ_ONLY)?.as_deref() {
        Some("0" | "OFF") => Ok(()),
        _ => Err(Trouble::Refused("the server is read-only, so its source's daemon reads its events".into())),
    }
}

/// What the server's settings make of a commit that was seen, for whoever has to decide about them.
pub(super) fn tell_durability(connection: &mut Connection, logs_statements: bool) -> Result<(), Trouble> {
    let outcome = connection.query(statements::DURABILITY)?;
    let Some([version, flush, log_bin, sync_binlog]) = outcome.rows.first().map(Vec::as_slice) else {
        return Ok(());
    };
    let text =
        |value: &Option<Vec<u8>>| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
    let (flush, log_bin, sync_binlog) = (text(flush), text(log_bin), text(sync_binlog));
    let durable = flush == "1" && log_bin == "1" && sync_binlog == "1";
    tracing::info!(
        server = text(version),
        innodb_flush_log_at_trx_commit = flush,
        log_bin,
        sync_binlog,
        an_event_may_outlive_its_transaction_in_a_crash_of_the_server = !durable,
        "outbox: the server's durability"
    );
    if logs_statements {
        tracing::warn!(
            "outbox: binlog_format is STATEMENT: where triggers publish, a replica may number events otherwise, \
             and lose or repeat them when it is promoted; MIXED and ROW do not"
        );
    }
    Ok(())
}
