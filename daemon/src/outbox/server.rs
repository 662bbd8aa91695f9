//! What the reader asks of a server before it reads, and what it tells the administrator of it. Why it
//! must be so stands in statements.rs.

use super::statements;
use super::trouble::Trouble;
use rowcall_mysql::{Connection, Error, Isolation, Row, Session};
use serde_json::{Value, json};
use std::time::Duration;

/// The reader's session: committed rows only, no locks by reading; and gone within 5 seconds, its lock on the
/// outbox with it, when its process hangs or its machine is gone, whatever it was doing: the server waits so
/// long for a lock, if it was in the middle of that, and then so long for the next word. The reader says
/// something every second, and takes what it reads at once.
pub(super) const READER: Session = Session {
    strict: false,
    isolation: Isolation::ReadCommitted,
    lock_wait: Duration::from_secs(1),
    idle: Duration::from_secs(4),
    stalled: Duration::from_secs(4),
    statement: None,
};

/// The clerk's: people wait, so its statements take as long as they do. It ends after longer than it is kept.
pub(super) const CLERK: Session = Session {
    lock_wait: Duration::from_secs(2),
    idle: Duration::from_secs(90),
    statement: Some(Duration::from_secs(4)),
    ..READER
};

/// Fits the session to a server whose binary log gets its statements themselves; says whether it does.
pub(super) fn prepare(connection: &mut Connection) -> Result<bool, Error> {
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
    // Where there is no such table, its columns say so.
    if !["", "InnoDB"].contains(&engine.as_str()) {
        return Err(Trouble::Refused(format!(
            "the table rowcall.outbox is of the engine {engine}, which has no transactions; it must be InnoDB"
        )));
    }
    // Before consumers are told of: their events would be delivered each time that this fails.
    statements::COLUMNS.iter().try_for_each(|columns| connection.query(columns).map(drop))?;
    Ok(())
}

/// Numbers of errors that say that a table is not there, is another one, or is not ours to use.
const OF_THE_SCHEMA: [u32; 8] = [1044, 1049, 1054, 1142, 1143, 1146, 1370, 1932];

/// The tables, or the rights on them, are not what they were when they were looked at.
pub(super) fn is_of_the_schema(error: &Error) -> bool {
    OF_THE_SCHEMA.contains(&error.number)
}

/// The site that unique ids begin with; a restored dump may lack it, and is given one.
pub(super) fn site(connection: &mut Connection) -> Result<String, Trouble> {
    let name = match connection.value(statements::SITE)? {
        Some(name) => name,
        None => {
            let name = new_site()?;
            connection.query(statements::name_site(&name))?;
            tracing::warn!(site = name, "outbox: the schema had no site; it has this one now");
            name
        }
    };
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(fine) {
        return Err(Trouble::Refused(format!(
            "rowcall.site has the name {name:?}, which is none (letters, digits, - and _): \
             `rowcall install --outbox FILE --site NAME` sets it"
        )));
    }
    Ok(name)
}

/// A name that no other site has.
fn new_site() -> Result<String, Trouble> {
    let random = getrandom::u64();
    random.map(|number| format!("{number:016x}")).map_err(|error| {
        Trouble::Refused(format!(
            "rowcall.site is empty, and there is no randomness to name it ({error}): \
             `rowcall install --outbox FILE --site NAME` sets it"
        ))
    })
}

/// How long ago a daemon has looked at the outbox, at the most, as far as the tables say.
pub(super) fn last_look(connection: &mut Connection) -> Result<Option<Duration>, Error> {
    let since = connection.value(statements::LOOKED)?;
    Ok(since.and_then(|since| since.parse().ok()).map(Duration::from_micros))
}

pub(super) fn check_writable(connection: &mut Connection) -> Result<(), Trouble> {
    match connection.value(statements::READ_ONLY)?.as_deref() {
        Some("0" | "OFF") => Ok(()),
        _ => Err(Trouble::Refused("the server is read-only, so its source's daemon reads its events".into())),
    }
}

/// Says something. What the server answers does not matter, if it does.
pub(super) fn still_here(connection: &mut Connection) -> Result<(), Trouble> {
    match connection.query(statements::STILL_HERE) {
        Err(error) if error.is_lost() => Err(error.into()),
        _ => Ok(()),
    }
}

/// The server is one to read from, as far as it says.
pub(super) fn still_writable(connection: &mut Connection) -> Result<(), Trouble> {
    match check_writable(connection) {
        Err(Trouble::Sql(error)) if !error.is_lost() => Ok(()),
        checked => checked,
    }
}

/// What a server is set to, as far as it decides what becomes of a commit that was seen.
pub(super) struct Settings {
    version: String,
    flush: String,
    log_bin: String,
    sync_binlog: String,
    binlog_format: String,
}

impl Settings {
    pub(super) fn read(connection: &mut Connection) -> Result<Settings, Error> {
        let row = connection.query(statements::DURABILITY)?.rows.into_iter().next().unwrap_or_default();
        // A server that does not know it any more logs rows.
        let format = connection.query(statements::BINLOG_FORMAT)?.rows.into_iter().next().unwrap_or_default();
        let text = |row: &Row, at: usize| {
            let value = row.get(at).and_then(Option::as_deref).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        Ok(Settings {
            version: text(&row, 0),
            flush: text(&row, 1),
            log_bin: text(&row, 2),
            sync_binlog: text(&row, 3),
            binlog_format: text(&format, 1),
        })
    }

    fn is_durable(&self) -> bool {
        self.flush == "1" && self.log_bin == "1" && self.sync_binlog == "1"
    }

    /// Each setting, with what it weakens.
    pub(super) fn to_json(&self) -> Value {
        let logs = self.log_bin == "1";
        let one = |name: &str, value: &str, is_weak: bool, why: &str| json!({ "name": name, "value": value, "weakens": is_weak.then_some(why) });
        json!({
            "version": self.version,
            "settings": [
                one("innodb_flush_log_at_trx_commit", &self.flush, self.flush != "1", WEAK_FLUSH),
                one("log_bin", if logs { "ON" } else { "OFF" }, !logs, WEAK_BINLOG),
                one("sync_binlog", &self.sync_binlog, logs && self.sync_binlog != "1", WEAK_SYNC),
                one("binlog_format", &self.binlog_format, logs && self.binlog_format == "STATEMENT", WEAK_FORMAT),
            ],
        })
    }
}

/// What becomes of promises with other settings than the strict ones.
const WEAK_FLUSH: &str = "a crash of the server may take back what was committed in the last second, though its \
                          events have left";
const WEAK_BINLOG: &str = "without the binary log a commit is seen about 0.1 ms before it is durable: a crash in that \
                           moment may take it back, though its event has left";
const WEAK_SYNC: &str = "a crash of the machine may take back commits that the binary log had not written yet, though \
                         their events have left";
const WEAK_FORMAT: &str = "where triggers publish, a replica may number events otherwise, and lose or repeat them when it \
                           is promoted; MIXED and ROW do not";

/// What the server's settings make of a commit that was seen, for whoever has to decide about them.
pub(super) fn tell_durability(connection: &mut Connection, logs_statements: bool) -> Result<(), Trouble> {
    let settings = Settings::read(connection)?;
    tracing::info!(
        server = settings.version,
        innodb_flush_log_at_trx_commit = settings.flush,
        log_bin = settings.log_bin,
        sync_binlog = settings.sync_binlog,
        an_event_may_outlive_its_transaction_in_a_crash_of_the_server = !settings.is_durable(),
        "outbox: the server's durability"
    );
    if logs_statements {
        tracing::warn!("outbox: binlog_format is STATEMENT: {WEAK_FORMAT}");
    }
    Ok(())
}
