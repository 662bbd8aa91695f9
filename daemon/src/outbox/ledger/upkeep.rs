//! What is looked after every second: who the consumers are, what is too old or too much, what shall be
//! tried again, and what the table `status` tells of it all. What happens to single events stands in
//! outbox/ledger.rs.

use super::{ALIVE, Consumer, Ledger, ROWS_MAX, delete, number, text, triple};
use crate::outbox::desk::{Desk, News};
use crate::outbox::reader::{Trouble, in_transaction};
use crate::outbox::window::{Settings, Tally};
use rowcall_mysql::{Connection, Error, Row as Values, quoted};
use rowcall_wire::subject;
use std::time::Duration;

impl Ledger {
    /// What is looked after every second: who the consumers are, what is too old or too much, what
    /// shall be tried again, and what is told of it all.
    pub(crate) fn sweep(&mut self, connection: &mut Connection, desk: &Desk) -> Result<(), Trouble> {
        self.look_for_consumers(connection, desk)?;
        self.delete_orphans(connection)?;
        for index in 0..self.consumers.len() {
            self.retain(connection, desk, index)?;
        }
        self.retry(connection, desk)?;
        Ok(self.show(connection, desk)?)
    }

    fn look_for_consumers(&mut self, connection: &mut Connection, desk: &Desk) -> Result<(), Error> {
        let rows = connection.query(CONSUMERS)?.rows;
        let consumers: Vec<Consumer> = rows.iter().filter_map(consumer).collect();
        if consumers == self.consumers && self.age < ALIVE {
            return Ok(());
        }
        for Consumer { settings, .. } in &consumers {
            if self.consumer(settings.id).is_none() {
                in_transaction(connection, |connection| take_up(connection, settings))?;
            }
        }
        let gone = self
            .consumers
            .iter()
            .filter(|old| !consumers.iter().any(|new| new.settings.id == old.settings.id));
        for Consumer { settings, .. } in gone {
            tracing::info!(consumer = settings.name, "a consumer is gone");
            self.orphans.push(settings.id);
            if !consumers.iter().any(|new| new.settings.name == settings.name) {
                let name = quoted(&settings.name);
                connection.query(format!("DELETE FROM rowcall.status WHERE consumer = {name}"))?;
            }
        }
        self.orphans.retain(|orphan| !consumers.iter().any(|new| new.settings.id == *orphan));
        if consumers != self.consumers {
            desk.tell(News::Consumers(consumers.iter().map(|consumer| consumer.settings.clone()).collect()));
        }
        self.consumers = consumers;
        Ok(())
    }

    /// What waited for consumers that are gone.
    fn delete_orphans(&mut self, connection: &mut Connection) -> Result<(), Error> {
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

    /// Drops what is older, or more, than a consumer may have, and counts it.
    fn retain(&self, connection: &mut Connection, desk: &Desk, index: usize) -> Result<(), Error> {
        let Consumer { settings, max_age_s, max_rows } = &self.consumers[index];
        if *max_age_s == 0 && *max_rows == 0 {
            return Ok(());
        }
        let (id, name) = (settings.id, quoted(&settings.name));
        let pending =
            connection.value(format!("SELECT pending FROM rowcall.status WHERE consumer = {name}"))?;
        let pending: u64 = pending.and_then(|pending| pending.parse().ok()).unwrap_or_default();
        let excess = if *max_rows == 0 { 0 } else { pending.saturating_sub(*max_rows) };
        let age = if *max_age_s == 0 { u64::from(u32::MAX) } else { *max_age_s };
        let rows = connection
            .query(format!(
                "SELECT consumer, position, id, created_at < UTC_TIMESTAMP(6) - INTERVAL {age} SECOND \
                 FROM rowcall.pending WHERE consumer = {id} ORDER BY position LIMIT {ROWS_MAX}"
            ))?
            .rows;
        let old = rows.iter().take_while(|row| *max_age_s > 0 && number(row, 3) == 1).count();
        let count = rows.len().min(old.max(usize::try_from(excess).unwrap_or(usize::MAX)));
        let Some(last) = count.checked_sub(1).map(|last| number(&rows[last], 1)) else { return Ok(()) };
        let list: Vec<String> = rows[..count].iter().map(triple).collect();
        in_transaction(connection, |connection| {
            let gone = connection.query(delete(&list))?.affected;
            self.recount(connection, id, gone, "dropped")
        })?;
        tracing::warn!(
            consumer = settings.name,
            dropped = count,
            "events older or more than it may have were dropped"
        );
        desk.tell(News::Gone { consumer: id, up_to: last });
        Ok(())
    }

    /// Moves parked events back to where they came from: a consumer's behind everything that waits
    /// for it; what could not be published at all to the outbox.
    fn retry(&mut self, connection: &mut Connection, desk: &Desk) -> Result<(), Error> {
        let rows =
            connection.query(format!("SELECT id, consumer FROM rowcall.retries LIMIT {ROWS_MAX}"))?.rows;
        for row in rows {
            let (id, name) = (number(&row, 0), text(&row, 1));
            let known = self.consumers.iter().find(|consumer| consumer.settings.name == name);
            let back = match known {
                _ if name.is_empty() => Some(
                    "INSERT INTO rowcall.outbox (subject, payload, headers, created_at) \
                     SELECT subject, payload, headers, created_at"
                        .to_owned(),
                ),
                Some(consumer) => Some(format!(
                    "INSERT INTO rowcall.pending (consumer, position, id, subject, payload, headers, created_at, history) \
                     SELECT {}, {}, id, subject, payload, headers, created_at, history",
                    consumer.settings.id, self.position
                )),
                None => None,
            };
            let consumer = known.map(|known| known.settings.id);
            self.position += 1;
            let it = format!("WHERE id = {id} AND consumer = {}", quoted(&name));
            in_transaction(connection, |connection| {
                if let Some(back) = back {
                    let moved = connection.query(format!("{back} FROM rowcall.parked {it}"))?.affected;
                    connection.query(format!("DELETE FROM rowcall.parked {it}"))?;
                    if let Some(sql) =
                        consumer.and_then(|id| self.count(id, &format!("pending = pending + {moved}")))
                    {
                        connection.query(sql)?;
                    }
                }
                connection.query(format!("DELETE FROM rowcall.retries {it}")).map(drop)
            })?;
            consumer.into_iter().for_each(|consumer| desk.tell(News::More(consumer)));
        }
        Ok(())
    }

    /// Refreshes `status`, where something has changed.
    fn show(&mut self, connection: &mut Connection, desk: &Desk) -> Result<(), Error> {
        self.age += 1;
        if self.age > ALIVE {
            self.shown.clear();
            self.age = 0;
        }
        let waiting = "(SELECT COUNT(*) FROM (SELECT 1 FROM rowcall.outbox LIMIT 100000) AS some)";
        let oldest = "(SELECT created_at FROM rowcall.outbox ORDER BY id LIMIT 1)";
        let row = connection.query(format!("SELECT {waiting}, {oldest}"))?.rows;
        let row = row.into_iter().next().unwrap_or_default();
        let outbox = format!("pending = {}, oldest = {}", number(&row, 0), time(&row, 1));
        self.show_one(connection, "", outbox)?;
        for consumer in self.consumers.clone() {
            let Settings { id, name, .. } = consumer.settings;
            let oldest = connection.query(format!(
                "SELECT created_at FROM rowcall.pending WHERE consumer = {id} ORDER BY position LIMIT 1"
            ))?;
            let oldest = time(&oldest.rows.into_iter().next().unwrap_or_default(), 0);
            let Tally { unacked, delivered, redelivered } = desk.tally(id);
            let numbers = format!(
                "oldest = {oldest}, unacked = {unacked}, delivered = {delivered}, redelivered = {redelivered}"
            );
            self.show_one(connection, &name, numbers)?;
        }
        Ok(())
    }

    fn show_one(&mut self, connection: &mut Connection, name: &str, numbers: String) -> Result<(), Error> {
        if self.shown.get(name) == Some(&numbers) {
            return Ok(());
        }
        let consumer = quoted(name);
        connection.query(format!("INSERT IGNORE INTO rowcall.status (consumer) VALUES ({consumer})"))?;
        connection.query(format!(
            "UPDATE rowcall.status SET {numbers}, refreshed_at = CURRENT_TIMESTAMP(6) WHERE consumer = {consumer}"
        ))?;
        self.shown.insert(name.to_owned(), numbers);
        Ok(())
    }
}

const CONSUMERS: &str = "SELECT id, name, filter, ack_wait_ms, max_deliveries, backoff_ms, max_unacked, paused, \
                         max_age_s, max_rows FROM rowcall.consumers ORDER BY id";

/// Says that a consumer was seen. One that is new begins with nothing, whatever an earlier one of its
/// name had.
fn take_up(connection: &mut Connection, settings: &Settings) -> Result<(), Error> {
    let (id, name) = (settings.id, quoted(&settings.name));
    tracing::info!(consumer = settings.name, filter = %String::from_utf8_lossy(&settings.filter), "a consumer");
    let now = "taken_up_at = CURRENT_TIMESTAMP(6)";
    let new = format!("UPDATE rowcall.consumers SET {now} WHERE id = {id} AND taken_up_at IS NULL");
    let verb = if connection.query(new)?.affected > 0 { "REPLACE" } else { "INSERT IGNORE" };
    connection.query(format!("{verb} INTO rowcall.status (consumer) VALUES ({name})")).map(drop)
}

/// A row of `consumers`, unless it was written by hand and makes no sense.
fn consumer(row: &Values) -> Option<Consumer> {
    let (name, filter) = (text(row, 1), text(row, 2).into_bytes());
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(fine) || !subject::valid_filter(&filter) {
        tracing::warn!(name, "a consumer whose name or filter is none is left out");
        return None;
    }
    let milliseconds = |text: &str| text.trim().parse().ok().map(Duration::from_millis);
    let settings = Settings {
        id: number(row, 0) as u32,
        name,
        filter,
        ack_wait: Duration::from_millis(number(row, 3).max(1)),
        max_deliveries: number(row, 4) as u32,
        backoff: text(row, 5).split(',').filter_map(milliseconds).collect(),
        max_unacked: number(row, 6) as usize,
        paused: number(row, 7) != 0,
    };
    Some(Consumer { settings, max_age_s: number(row, 8), max_rows: number(row, 9) })
}

/// A time in a row, as SQL.
fn time(row: &Values, column: usize) -> String {
    let time = text(row, column);
    if time.is_empty() { "NULL".to_owned() } else { quoted(&time) }
}
