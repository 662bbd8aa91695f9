//! Which durable consumers there are, as the administrator's table has it, and what is done when one
//! comes, changes or goes. What they have stands in outbox/ledger.rs.

use super::upkeep::go_on;
use super::{Consumer, Ledger, delete, number, text, triple};
use crate::outbox::desk::{Desk, News};
use crate::outbox::portion::ROWS_MAX;
use crate::outbox::transaction::in_transaction;
use crate::outbox::window::Settings;
use rowcall_mysql::{Connection, Error, Row as Values, quoted};
use rowcall_wire::subject;
use std::time::Duration;

const CONSUMERS: &str = "SELECT id, name, filter, ack_wait_ms, max_deliveries, backoff_ms, max_unacked, paused, \
                         max_age_s, max_rows, taken_up_at IS NULL FROM rowcall.consumers ORDER BY id";

/// The pauses of a consumer whose own cannot be read: those that the table has by default.
const BACKOFF: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];

impl Ledger {
    /// Looks who there is by now. One that the server does not let us take up stays what it was, and is
    /// looked at again; the first time it must be known of all.
    pub(super) fn look_for_consumers(
        &mut self,
        connection: &mut Connection,
        desk: &Desk,
    ) -> Result<(), Error> {
        let rows = connection.query(CONSUMERS)?.rows;
        let sensible = self.sensible(&rows);
        if sensible == self.consumers && self.has_looked && !self.looks_again {
            return Ok(());
        }
        let new: Vec<u32> = rows.iter().filter(|row| number(row, 10) == 1).map(id).collect();
        let (mut consumers, mut refused) = (Vec::new(), Ok(()));
        for consumer in sensible {
            let (settings, old) = (&consumer.settings, self.consumer(consumer.settings.id));
            let done = match old {
                Some(old) if old.settings.name != settings.name => in_transaction(connection, |connection| {
                    rename(connection, &old.settings.name, &settings.name)
                }),
                Some(_) => Ok(()),
                None => in_transaction(connection, |connection| {
                    take_up(connection, settings, new.contains(&settings.id))
                }),
            };
            if done.is_ok() {
                consumers.push(consumer);
            } else {
                consumers.extend(old.cloned());
            }
            go_on(&mut refused, done)?;
        }
        if !self.has_looked {
            refused.clone()?;
        }
        let there: Vec<u32> = rows.iter().map(id).collect();
        for Consumer { settings, .. } in self.consumers.iter().filter(|old| !there.contains(&old.settings.id))
        {
            tracing::info!(consumer = settings.name, "a consumer is gone");
            self.orphans.push(settings.id);
        }
        self.orphans.retain(|orphan| !there.contains(orphan));
        if consumers != self.consumers || !self.has_looked {
            let all = consumers.iter().map(|consumer| consumer.settings.clone()).collect();
            desk.tell(News::Consumers(all));
        }
        self.consumers = consumers;
        self.has_looked = true;
        go_on(&mut refused, forget_others(connection, &rows))?;
        self.looks_again = refused.is_err();
        refused
    }

    /// The consumers in these rows. One that makes no sense any more stays what it was: a slip of the
    /// pen must not cost what waits.
    fn sensible(&mut self, rows: &[Values]) -> Vec<Consumer> {
        let (mut consumers, mut odd) = (Vec::new(), Vec::new());
        for row in rows {
            let id = id(row);
            if let Some(consumer) = consumer(row) {
                consumers.push(consumer);
                continue;
            }
            if !self.odd.contains(&id) {
                let (name, filter) = (text(row, 1), text(row, 2));
                tracing::warn!(
                    name,
                    filter,
                    "a consumer's name or filter is none; it stays what it was, if it was anything"
                );
            }
            odd.push(id);
            consumers.extend(self.consumer(id).cloned());
        }
        self.odd = odd;
        consumers
    }

    /// What waited for consumers that are gone.
    pub(super) fn delete_orphans(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let Some(&orphan) = self.orphans.last() else { return Ok(()) };
        let sql = format!(
            "SELECT consumer, position, id FROM rowcall.pending WHERE consumer = {orphan} LIMIT {ROWS_MAX}"
        );
        let rows = connection.query(sql)?.rows;
        let list: Vec<String> = rows.iter().map(triple).collect();
        if list.is_empty() {
            self.orphans.pop();
            return Ok(());
        }
        connection.query(delete(&list)).map(drop)
    }
}

/// Says that a consumer was seen. One that is new begins with nothing, whatever an earlier one of its
/// name had; and whatever was done to the tables by hand, what waits is counted rightly.
fn take_up(connection: &mut Connection, settings: &Settings, is_new: bool) -> Result<(), Error> {
    let (id, name) = (settings.id, quoted(&settings.name));
    tracing::info!(consumer = settings.name, filter = %String::from_utf8_lossy(&settings.filter), "a consumer");
    if is_new {
        let now = "taken_up_at = CURRENT_TIMESTAMP(6)";
        connection.query(format!("UPDATE rowcall.consumers SET {now} WHERE id = {id}"))?;
    } else if connection.value(format!("SELECT 1 FROM rowcall.status WHERE consumer = {name}"))?.is_some() {
        return Ok(());
    }
    let count = format!("SELECT {name}, COUNT(*) FROM rowcall.pending WHERE consumer = {id}");
    connection.query(format!("REPLACE INTO rowcall.status (consumer, pending) {count}")).map(drop)
}

/// Its numbers go with it.
fn rename(connection: &mut Connection, old: &str, new: &str) -> Result<(), Error> {
    tracing::info!(old, new, "a consumer has another name");
    let (old, new) = (quoted(old), quoted(new));
    connection.query(format!("DELETE FROM rowcall.status WHERE consumer = {new}"))?;
    connection.query(format!("UPDATE rowcall.status SET consumer = {new} WHERE consumer = {old}")).map(drop)
}

/// The numbers of consumers that are not among these rows. One by one: a condition on all would look
/// at rows that others may be writing.
fn forget_others(connection: &mut Connection, consumers: &[Values]) -> Result<(), Error> {
    let names: Vec<String> = consumers.iter().map(|row| text(row, 1)).collect();
    let shown = connection.query("SELECT consumer FROM rowcall.status WHERE consumer <> ''")?.rows;
    for name in shown.iter().map(|row| text(row, 0)).filter(|name| !names.contains(name)) {
        connection.query(format!("DELETE FROM rowcall.status WHERE consumer = {}", quoted(&name)))?;
    }
    Ok(())
}

fn id(row: &Values) -> u32 {
    number(row, 0) as u32
}

/// A row of `consumers`, unless it was written by hand and its name or its filter is none.
fn consumer(row: &Values) -> Option<Consumer> {
    let (name, filter) = (text(row, 1), text(row, 2).into_bytes());
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(fine) || !subject::valid_filter(&filter) {
        return None;
    }
    let milliseconds = |text: &str| text.trim().parse().ok().map(Duration::from_millis);
    let backoff: Vec<_> = text(row, 5).split(',').filter_map(milliseconds).collect();
    let settings = Settings {
        id: id(row),
        name,
        filter,
        ack_wait: Duration::from_millis(number(row, 3).max(1)),
        max_deliveries: number(row, 4) as u32,
        backoff: if backoff.is_empty() { BACKOFF.to_vec() } else { backoff },
        max_unacked: number(row, 6) as usize,
        paused: number(row, 7) != 0,
    };
    Some(Consumer { settings, max_age_s: number(row, 8), max_rows: number(row, 9) })
}
