//! The outbox of committed mode as its tests see it: what waits in it, and who may read it. Only SQL
//! is spoken here; who hears the events stands elsewhere.

use crate::eventually;
use rowcall_mysql::Connection;

/// Rows that were not handed on yet.
///
/// # Panics
/// If the server does not say.
pub fn waiting(sql: &mut Connection) -> u64 {
    let count = sql.value("SELECT COUNT(*) FROM rowcall.outbox").expect("it runs");
    count.and_then(|count| count.parse().ok()).expect("a number")
}

/// Waits until everything was handed on.
///
/// # Panics
/// If that does not happen.
pub fn until_empty(sql: &mut Connection) {
    eventually("the outbox is empty", || (waiting(sql) == 0).then_some(()));
}

/// Writes so many events of so many bytes: by doubling, and the rest at the end.
///
/// # Panics
/// If the server does not take them.
pub fn fill(sql: &mut Connection, subject: &str, bytes: usize, events: u64) {
    let first = format!("VALUES ('{subject}', REPEAT('x', {bytes}))");
    sql.query(format!("INSERT INTO rowcall.outbox (subject, payload) {first}")).expect("it runs");
    let mut written = 1;
    while written < events {
        let more = written.min(events - written);
        let copy = format!("SELECT subject, payload FROM rowcall.outbox LIMIT {more}");
        sql.query(format!("INSERT INTO rowcall.outbox (subject, payload) {copy}")).expect("it runs");
        written += more;
    }
}

/// The connection of the daemon that reads, or of whoever keeps it from reading; none if nobody does.
///
/// # Panics
/// If the server does not say.
pub fn reader(sql: &mut Connection) -> Option<String> {
    sql.value("SELECT IS_USED_LOCK('rowcall.reader')").expect("it runs")
}

/// Takes the reader's lock, which a daemon that was killed may keep for a while: daemons stand by as
/// long as this session has it.
///
/// # Panics
/// If it is not free within these seconds.
pub fn hold_reader(sql: &mut Connection, seconds: u32) {
    let lock = sql.value(format!("SELECT GET_LOCK('rowcall.reader', {seconds})")).expect("it runs");
    assert_eq!(lock.as_deref(), Some("1"), "a daemon keeps its lock");
}

/// Gives it back: whoever stands by reads.
///
/// # Panics
/// If the server does not take it.
pub fn release_reader(sql: &mut Connection) {
    sql.query("DO RELEASE_LOCK('rowcall.reader')").expect("it runs");
}
