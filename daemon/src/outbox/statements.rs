//! What the reader says to the server. Text only; who says it when stands in reader.rs.
//!
//! Four traps shape these statements. A `DELETE … WHERE id BETWEEN` deletes rows that were committed
//! after the read. A `DELETE … WHERE id IN` is a scan of the whole table whenever the optimizer finds it
//! small, and a scan waits for every transaction that has written a row and not ended; so rows go by a
//! join from the list of their ids, which can only be looked up one by one. And a locking read of a
//! row whose transaction is open, even one that does not wait, makes InnoDB write that
//! transaction's lock down; if it then rolls back to a savepoint, it keeps a lock on the gap, and
//! nobody else can publish. So nothing here touches a row that is not committed.
//!
//! The fourth: MariaDB makes a snapshot by walking over the open transactions while they commit. If it
//! passes one that then commits, and the next writer of the same row commits before the walk comes to
//! it, the snapshot holds the later event and not the earlier. But a transaction leaves that walk before
//! it gives up its locks; so by the time the later event can be read, every new snapshot holds the
//! earlier. Hence the second look: if it sees no more rows than the read has, the read has them all.

use std::fmt::Write;

/// The edition of the schema that this daemon knows.
pub(super) const EDITION: &str = "3";

/// Whether what this session writes goes into the binary log as statements. A server that does not
/// know the variable any more gives no row.
pub(super) const LOGS_STATEMENTS: &str =
    "SHOW SESSION VARIABLES WHERE variable_name = 'binlog_format' AND value = 'STATEMENT'";

/// The reader's session on such a server, where InnoDB refuses to write in READ COMMITTED (error 1665).
/// Reading is the same: each SELECT that is its own transaction sees what is committed. Writing is
/// too as long as every row is there and found by its whole primary key: that locks the row and no
/// gap. A range, or an id that is not there, would keep publishers waiting.
pub(super) const SESSION_THAT_LOGS_STATEMENTS: &str =
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";

/// One reader for each server: whoever holds the lock. Waits a second for it.
pub(super) const LOCK: &str = "SELECT GET_LOCK('rowcall.reader', 1)";

/// Says something.
pub(super) const STILL_HERE: &str = "DO 0";

/// The schema's edition and the outbox's engine.
pub(super) const EDITION_HERE: &str = "SELECT number FROM rowcall.edition";
pub(super) const ENGINE_HERE: &str =
    "SELECT engine FROM information_schema.tables WHERE table_schema = 'rowcall' AND table_name = 'outbox'";

/// The first part of every event's unique id.
pub(super) const SITE: &str = "SELECT name FROM rowcall.site";

/// Names the site where a dump without that row was restored, or it was deleted.
pub(super) fn name_site(name: &str) -> String {
    format!("INSERT INTO rowcall.site (name) VALUES ('{name}')")
}

/// Microseconds since a daemon wrote down that it is there: its latest look at the outbox was not
/// much earlier.
pub(super) const LOOKED: &str = "SELECT TIMESTAMPDIFF(MICROSECOND, refreshed_at, UTC_TIMESTAMP(6)) \
                                 FROM rowcall.status WHERE consumer = ''";

/// Whether the server takes writes. A replica has the same rows, and its source's daemon reads them.
pub(super) const READ_ONLY: &str = "SELECT @@global.read_only";

/// What the server's own settings make of a commit that was seen.
pub(super) const DURABILITY: &str =
    "SELECT VERSION(), @@global.innodb_flush_log_at_trx_commit, @@global.log_bin, @@global.sync_binlog";

/// What the binary log of other sessions holds. A server that has no choice any more gives no row.
pub(super) const BINLOG_FORMAT: &str = "SHOW GLOBAL VARIABLES WHERE variable_name = 'binlog_format'";

/// The tables' columns, without a row of them.
pub(super) const COLUMNS: [&str; 2] = [
    "SELECT id, subject, payload, headers, created_at FROM rowcall.outbox LIMIT 0",
    "SELECT consumer, position, id, subject, payload, headers, created_at, uncommitted_us, deliveries, due_at, history \
     FROM rowcall.pending LIMIT 0",
];

/// The oldest rows that are committed, whichever transactions committed first, up to this one and
/// without those that are held. Payloads and headers that are too large anyway stay where they are:
/// together they may have 2 GiB, twice what a client can receive.
pub(super) fn read(last: u64, held: &[u64], limit: usize, max_payload: usize) -> String {
    let fitting = |column: &str| format!("IF(LENGTH({column}) > {max_payload}, NULL, {column})");
    format!(
        "SELECT id, subject, {}, {}, created_at, \
         LENGTH(payload) > {max_payload} OR LENGTH(headers) > {max_payload} \
         FROM rowcall.outbox WHERE id <= {last}{} ORDER BY id LIMIT {limit}",
        fitting("payload"),
        fitting("headers"),
        without(held)
    )
}

/// How many rows are committed up to this one: the second look.
pub(super) fn count(last: u64, held: &[u64]) -> String {
    format!("SELECT COUNT(*) FROM rowcall.outbox WHERE id <= {last}{}", without(held))
}

fn without(held: &[u64]) -> String {
    if held.is_empty() { String::new() } else { format!(" AND id NOT IN ({})", list(held)) }
}

/// Ids with a comma between them.
fn list(ids: &[u64]) -> String {
    let mut list = String::with_capacity(ids.len() * 12);
    for id in ids {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{comma}{id}");
    }
    list
}

/// Deletes exactly these rows, and waits for nobody else's.
pub(super) fn delete(ids: &[u64]) -> String {
    format!(
        "DELETE o FROM JSON_TABLE('[{}]', '$[*]' COLUMNS (id BIGINT UNSIGNED PATH '$')) AS d \
         STRAIGHT_JOIN rowcall.outbox AS o FORCE INDEX (PRIMARY) ON o.id = d.id",
        list(ids)
    )
}

/// Counts a row that was given up before anyone could have it.
pub(super) const COUNT_PARKED: &str = "UPDATE rowcall.status SET parked = parked + 1 WHERE consumer = ''";

/// Copies a row to where the ones that were given up are.
pub(super) fn park(id: u64, reason: &str) -> String {
    format!(
        "INSERT IGNORE INTO rowcall.parked (id, subject, payload, headers, created_at, reason) \
         SELECT id, subject, payload, headers, created_at, '{reason}' FROM rowcall.outbox WHERE id = {id}"
    )
}
