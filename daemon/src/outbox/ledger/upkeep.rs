//! What is looked after every second: what is too old or too much, what shall be tried again, and what
//! the table `status` tells of it all. What happens to single events stands in outbox/ledger.rs.

use super::{COMMITTED_AT, Consumer, Ledger, delete, number, text, triple};
use crate::outbox::desk::{Desk, News, Parked};
use crate::outbox::portion::ROWS_MAX;
use crate::outbox::transaction::in_transaction;
use crate::outbox::window::{Settings, Tally};
use rowcall_mysql::{Connection, Error, Row as Values, quoted};
use std::collections::{HashMap, HashSet};

/// What is written to `status` though nothing has changed, so that it can be seen to be alive: every
/// so many sweeps, which come every second.
const ALIVE: u32 = 10;

impl Ledger {
    /// What is looked after every second: who the consumers are, what is too old or too much, what
    /// shall be tried again, and what is told of it all. What the server refuses of it keeps nothing else
    /// waiting; the first such error is given.
    pub(crate) fn sweep(&mut self, connection: &mut Connection, desk: &Desk) -> Result<(), Error> {
        let mut refused = Ok(());
        let looked = self.look_for_consumers(connection, desk);
        if !self.has_looked {
            return looked;
        }
        go_on(&mut refused, looked)?;
        go_on(&mut refused, self.delete_orphans(connection))?;
        for index in 0..self.consumers.len() {
            go_on(&mut refused, self.retain(connection, desk, index))?;
        }
        go_on(&mut refused, self.retry(connection, desk))?;
        go_on(&mut refused, self.show(connection, desk))?;
        refused
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
                "SELECT consumer, position, id, {COMMITTED_AT} < UTC_TIMESTAMP(6) - INTERVAL {age} SECOND \
                 FROM rowcall.pending WHERE consumer = {id} ORDER BY position LIMIT {ROWS_MAX}"
            ))?
            .rows;
        let old = rows.iter().take_while(|row| *max_age_s > 0 && number(row, 3) == 1).count();
        let count = rows.len().min(old.max(usize::try_from(excess).unwrap_or(usize::MAX)));
        let Some(last) = count.checked_sub(1).map(|last| number(&rows[last], 1)) else { return Ok(()) };
        let list: Vec<String> = rows[..count].iter().map(triple).collect();
        let dropped = in_transaction(connection, |connection| {
            let gone = connection.query(delete(&list))?.affected;
            self.recount(connection, id, gone, "dropped").map(|()| gone)
        })?;
        if dropped > 0 {
            tracing::warn!(
                consumer = settings.name,
                dropped,
                "events older or more than it may have were dropped"
            );
        }
        desk.tell(News::Gone { consumer: id, up_to: last });
        Ok(())
    }

    /// Does what is asked for in `retries`. One that the server refuses stays there, and those behind it come
    /// first the next time.
    fn retry(&mut self, connection: &mut Connection, desk: &Desk) -> Result<(), Error> {
        let behind = self.refused.take().map_or(String::new(), |Parked { id, consumer, stamp }| {
            let consumer = quoted(&consumer);
            format!("WHERE (id, consumer, stamp) > ({id}, {consumer}, {stamp}) ")
        });
        let rows = connection
            .query(format!(
                "SELECT id, consumer, stamp FROM rowcall.retries {behind}ORDER BY id, consumer, stamp LIMIT {ROWS_MAX}"
            ))?
            .rows;
        let mut names = HashSet::new();
        let mut done = Ok(());
        for row in rows {
            let parked = Parked { id: number(&row, 0), consumer: text(&row, 1), stamp: number(&row, 2) };
            done = in_transaction(connection, |connection| self.retry_one(connection, &parked));
            if done.is_err() {
                self.refused = Some(parked);
                break;
            }
            names.insert(parked.consumer);
        }
        for Consumer { settings, .. } in self.consumers.iter().filter(|it| names.contains(&it.settings.name))
        {
            desk.tell(News::More(settings.id));
        }
        done
    }

    /// Moves a parked event back to where it came from, if that is still there; or all of an id.
    fn retry_one(&mut self, connection: &mut Connection, parked: &Parked) -> Result<(), Error> {
        let (id, name) = (parked.id, parked.consumer.as_str());
        let known = self.consumers.iter().find(|consumer| consumer.settings.name == name).cloned();
        if known.is_some() || name.is_empty() {
            let of_id = format!("id = {id} AND consumer = {}{}", quoted(name), parked.of_stamp());
            let all = connection.query(format!("SELECT created_at FROM rowcall.parked WHERE {of_id}"))?.rows;
            let mut moved = 0;
            for time in all.iter().map(|row| quoted(&text(row, 0))) {
                let it = format!("id = {id} AND consumer = {} AND created_at = {time}", quoted(name));
                moved += self.bring_back(connection, &it, known.as_ref())?;
            }
            if moved < all.len().max(1) as u64 {
                tracing::warn!(
                    id,
                    consumer = name,
                    "not sent again: it is not parked, or older than its consumer may have it"
                );
            }
        }
        let it = format!("id = {id} AND consumer = {} AND stamp = {}", quoted(name), parked.stamp);
        connection.query(format!("DELETE FROM rowcall.retries WHERE {it}")).map(drop)
    }

    /// To a consumer, behind everything that waits for it; or to the outbox, if it could not be
    /// published at all. What finds no place stays parked. Says how many rows have moved.
    fn bring_back(
        &mut self,
        connection: &mut Connection,
        it: &str,
        consumer: Option<&Consumer>,
    ) -> Result<u64, Error> {
        let young = young(consumer);
        let row = format!("FROM rowcall.parked WHERE {it}{young}");
        let moved = match consumer {
            Some(consumer) => {
                self.position += 1;
                connection.query(format!("{} {row}", back_to(consumer, self.position - 1)))?.affected
            }
            None if connection.value(format!("SELECT 1 {row} FOR UPDATE"))?.is_none() => 0,
            None => connection.query(back_to_outbox(&row))?.affected,
        };
        if moved == 0 {
            return Ok(0);
        }
        connection.query(format!("DELETE FROM rowcall.parked WHERE {it}"))?;
        let count =
            |consumer: &Consumer| self.count(consumer.settings.id, &format!("pending = pending + {moved}"));
        if let Some(sql) = consumer.and_then(count) {
            connection.query(sql)?;
        }
        Ok(moved)
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
        show(connection, &mut self.shown, "", outbox)?;
        for Consumer { settings: Settings { id, name, .. }, .. } in &self.consumers {
            let oldest = connection.query(format!(
                "SELECT created_at FROM rowcall.pending WHERE consumer = {id} ORDER BY position LIMIT 1"
            ))?;
            let oldest = time(&oldest.rows.into_iter().next().unwrap_or_default(), 0);
            let Tally { unacked, delivered, redelivered } = desk.tally(*id);
            let numbers = format!(
                "oldest = {oldest}, unacked = {unacked}, delivered = {delivered}, redelivered = {redelivered}"
            );
            show(connection, &mut self.shown, name, numbers)?;
        }
        Ok(())
    }
}

/// Keeps the first error of several pieces of work, which ends none of the others unless the connection is lost.
pub(super) fn go_on(refused: &mut Result<(), Error>, done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(error) if error.is_lost() => return Err(error),
        Err(error) if refused.is_ok() => *refused = Err(error),
        _ => {}
    }
    Ok(())
}

/// Writes a row of `status`, unless it says so already.
fn show(
    connection: &mut Connection,
    shown: &mut HashMap<String, String>,
    name: &str,
    numbers: String,
) -> Result<(), Error> {
    if shown.get(name) == Some(&numbers) {
        return Ok(());
    }
    let consumer = quoted(name);
    connection.query(format!("INSERT IGNORE INTO rowcall.status (consumer) VALUES ({consumer})"))?;
    connection.query(format!(
        "UPDATE rowcall.status SET {numbers}, refreshed_at = CURRENT_TIMESTAMP(6) WHERE consumer = {consumer}"
    ))?;
    shown.insert(name.to_owned(), numbers);
    Ok(())
}

/// Copies a row that is locked, and so is there. `INSERT ... SELECT` would take the AUTO-INC lock of the
/// outbox, on MariaDB and with `innodb_autoinc_lock_mode = 1`, until its end: publishers who wait for each
/// other would be in a deadlock with it (errors 1213 and 1467). VALUES, whose rows are counted, takes none.
fn back_to_outbox(row: &str) -> String {
    let values =
        ["subject", "payload", "headers", "created_at"].map(|column| format!("(SELECT {column} {row})"));
    format!(
        "INSERT INTO rowcall.outbox (subject, payload, headers, created_at) VALUES ({})",
        values.join(", ")
    )
}

fn back_to(consumer: &Consumer, position: u64) -> String {
    format!(
        "INSERT INTO rowcall.pending \
         (consumer, position, id, subject, payload, headers, created_at, uncommitted_us, history) \
         SELECT {}, {position}, id, subject, payload, headers, created_at, uncommitted_us, history",
        consumer.settings.id
    )
}

/// What is too old for its consumer would be dropped at once.
fn young(consumer: Option<&Consumer>) -> String {
    match consumer.map(|consumer| consumer.max_age_s) {
        None | Some(0) => String::new(),
        Some(age) => format!(" AND {COMMITTED_AT} >= UTC_TIMESTAMP(6) - INTERVAL {age} SECOND"),
    }
}

/// A time in a row, as SQL.
fn time(row: &Values, column: usize) -> String {
    let time = text(row, column);
    if time.is_empty() { "NULL".to_owned() } else { quoted(&time) }
}
