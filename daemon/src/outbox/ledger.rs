//! What durable consumers have, as the tables hold it: what waits for each, and what became of it. The
//! reader's thread calls it with its connection; what is delivered when is decided on the loop
//! (outbox/window.rs). Who the consumers are stands in ledger/consumers.rs, what is looked after every
//! second in ledger/upkeep.rs; what people ask is not the reader's (outbox/clerk.rs).

mod consumers;
mod parking;
mod recall;
mod upkeep;

use super::desk::{Desk, Fate, Loaded, News, Note, Parked, Want};
use super::event::{Event, Flaw, Row};
use super::held::Held;
use super::portion::{BYTES_MAX, Portion};
use super::server::is_of_the_schema;
use super::window::Settings;
use rowcall_mysql::{Connection, Error, Row as Values, quoted};
use rowcall_wire::subject;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Rows that one statement names: some hundred kilobytes of text, far below what a server takes.
const PLACES_MAX: usize = 5000;

/// The time, as the reader's thread has it.
type Clock = fn() -> Instant;

/// A consumer as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Consumer {
    settings: Settings,
    max_age_s: u64,
    max_rows: u64,
}

/// The consumers of one connection, and the next position.
pub(super) struct Ledger {
    /// What unique ids begin with.
    pub(super) site: String,
    consumers: Vec<Consumer>,
    position: u64,
    /// Consumers that are gone and whose rows are still there.
    orphans: Vec<u32>,
    /// Whether it is known who there is.
    has_looked: bool,
    /// Rows of `consumers` that make no sense, once that was said.
    odd: Vec<u32>,
    /// What was last written to `status`, and how many sweeps ago everything was.
    shown: HashMap<String, String>,
    age: u32,
    /// How many rows to load next.
    portion: Portion,
    /// What is to be loaded, and what is to be parked; either may wait for the server.
    wanted: Held<Want>,
    given_up: Held<Note>,
    /// The last look at the consumers left something to be done again.
    looks_again: bool,
    /// The retry that the server refused last: the next one is behind it.
    refused: Option<Parked>,
}

impl Ledger {
    /// Nothing is known yet but where positions go on.
    pub(super) fn open(connection: &mut Connection, site: String) -> Result<Ledger, Error> {
        let rows =
            connection.query("SELECT consumer, MAX(position) FROM rowcall.pending GROUP BY consumer")?.rows;
        let position = rows.iter().map(|row| number(row, 1)).max().unwrap_or_default() + 1;
        let orphans = rows.iter().map(|row| number(row, 0) as u32).collect();
        Ok(Ledger {
            site,
            consumers: Vec::new(),
            position,
            orphans,
            has_looked: false,
            odd: Vec::new(),
            shown: HashMap::new(),
            age: 0,
            portion: Portion::default(),
            wanted: Held::default(),
            given_up: Held::default(),
            looks_again: false,
            refused: None,
        })
    }

    /// Whether it is known who there is: before, nothing may be read.
    pub(super) fn knows_who_is_there(&self) -> bool {
        self.has_looked
    }

    /// Says of each event which consumers it waits for, and gives it its place.
    pub(super) fn assign(&mut self, events: &mut [Event]) {
        if self.consumers.is_empty() {
            return;
        }
        for event in events {
            let wanting = self.consumers.iter().map(|consumer| &consumer.settings);
            let wanting = wanting.filter(|settings| subject::matches(&settings.filter, &event.subject));
            event.consumers = wanting.map(|settings| (settings.id, self.position)).collect();
            self.position += u64::from(!event.consumers.is_empty());
        }
    }

    /// The statements that copy these events to where their consumers have them; none if nobody waits
    /// for any. What the last look at the whole outbox, so long ago, has not
    /// seen was committed since.
    pub(super) fn copies(&self, events: &[Event], looked: Option<Duration>) -> Vec<String> {
        let uncommitted = uncommitted(looked);
        let mut counts: HashMap<u32, usize> = HashMap::new();
        let mut list = Vec::new();
        for event in events {
            for &(consumer, position) in &event.consumers {
                list.push(format!("[{consumer},{position},{}]", event.id));
                *counts.entry(consumer).or_default() += 1;
            }
        }
        let copies = list.chunks(PLACES_MAX).map(|list| {
            format!(
                "INSERT INTO rowcall.pending \
                 (consumer, position, id, subject, payload, headers, created_at, uncommitted_us) \
                 SELECT d.consumer, d.position, o.id, o.subject, o.payload, o.headers, o.created_at, {uncommitted} \
                 FROM {} STRAIGHT_JOIN rowcall.outbox AS o FORCE INDEX (PRIMARY) ON o.id = d.id",
                places(list)
            )
        });
        let count =
            |(&consumer, n): (&u32, &usize)| self.count(consumer, &format!("pending = pending + {n}"));
        copies.chain(counts.iter().filter_map(count)).collect()
    }

    /// Changes a consumer's numbers.
    fn count(&self, consumer: u32, change: &str) -> Option<String> {
        let name = quoted(&self.consumer(consumer)?.settings.name);
        Some(format!("UPDATE rowcall.status SET {change} WHERE consumer = {name}"))
    }

    fn consumer(&self, id: u32) -> Option<&Consumer> {
        self.consumers.iter().find(|consumer| consumer.settings.id == id)
    }

    /// Puts on the desk what is wanted of consumers' tables. What the server refuses is wanted again later.
    pub(super) fn load_what_is_wanted(
        &mut self,
        connection: &mut Connection,
        desk: &Desk,
        max_payload: usize,
        clock: Clock,
    ) -> Result<(), Error> {
        desk.take_wants().into_iter().for_each(|want| self.wanted.add(want));
        while let Some(want) = self.wanted.due(clock()) {
            let began = clock();
            match self.load(connection, desk, &want, max_payload) {
                Ok(()) => self.wanted.done(),
                Err(error) if error.is_lost() || is_of_the_schema(&error) => return Err(error),
                Err(error) => {
                    let (now, why, consumer) = (clock(), error.to_string(), want.consumer);
                    if self.wanted.failed(want, &why, now - began, now) {
                        tracing::warn!(consumer, why, "what waits for a consumer cannot be read; it stays");
                    }
                }
            }
        }
        Ok(())
    }

    fn load(
        &mut self,
        connection: &mut Connection,
        desk: &Desk,
        want: &Want,
        max_payload: usize,
    ) -> Result<(), Error> {
        let (consumer, behind, limit) = (want.consumer, want.behind, want.rows.min(self.portion.rows()));
        let sql = format!(
            "SELECT position, id, subject, payload, headers, created_at, deliveries, \
             TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), due_at) FROM rowcall.pending \
             WHERE consumer = {consumer} AND position > {behind} ORDER BY position LIMIT {limit}"
        );
        let (mut events, mut flawed, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0, 0);
        connection.each_row(sql, |row| {
            rows += 1;
            match loaded(row, &self.site, max_payload) {
                Ok(loaded) => {
                    bytes += loaded.event.body.len();
                    events.push(loaded);
                }
                Err(flaw) => flawed.push(flaw),
            }
            if bytes < BYTES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let fitted = bytes < BYTES_MAX;
        let all = rows < limit && fitted;
        self.portion = self.portion.after(rows, fitted);
        for (position, id, flaw) in flawed {
            // Only a limit that was lowered since it was read makes it so.
            let why = "it cannot be published any more";
            let fate = Fate::Parked { deliveries: 0, reason: flaw.name(), why };
            self.given_up.add(Note { consumer, position, id, fate, confirm: None });
        }
        desk.tell(News::Loaded { consumer, events, all });
        Ok(())
    }

    /// Writes down what became of events, but for those that are given up (ledger/parking.rs); within a
    /// transaction.
    pub(super) fn write(&mut self, connection: &mut Connection, notes: &[Note]) -> Result<(), Error> {
        let mut settled: HashMap<u32, Vec<String>> = HashMap::new();
        let mut open = Open::default();
        for note in notes {
            match &note.fate {
                Fate::Settled => settled.entry(note.consumer).or_default().push(triple_of(note) + "]"),
                Fate::Delivered(_) | Fate::Failed { .. } | Fate::Released(_) => {
                    if !open.add(note) {
                        open.write(connection)?;
                        open.add(note);
                    }
                }
                Fate::Parked { .. } => {}
            }
        }
        open.write(connection)?;
        for (consumer, list) in settled {
            let gone = connection.query(delete(&list))?.affected;
            self.recount(connection, consumer, gone, "settled")?;
        }
        Ok(())
    }

    /// So many rows of a consumer are gone, for this reason.
    fn recount(
        &self,
        connection: &mut Connection,
        consumer: u32,
        gone: u64,
        reason: &str,
    ) -> Result<(), Error> {
        let change = format!("pending = pending - LEAST(pending, {gone}), {reason} = {reason} + {gone}");
        match self.count(consumer, &change).filter(|_| gone > 0) {
            Some(sql) => connection.query(sql).map(drop),
            None => Ok(()),
        }
    }
}

/// Events that are not settled, with what became of their latest delivery, to be written at once.
#[derive(Default)]
struct Open {
    places: HashSet<(u32, u64)>,
    delivered: Vec<String>,
    failed: Vec<String>,
    released: Vec<String>,
}

impl Open {
    /// Says no if it has something of this event already: one statement changes each row once.
    fn add(&mut self, note: &Note) -> bool {
        if !self.places.insert((note.consumer, note.position)) {
            return false;
        }
        let place = triple_of(note);
        match &note.fate {
            Fate::Failed { deliveries, why, pause } => {
                self.failed.push(format!("{place},{deliveries},{},\"{why}\"]", pause.as_micros()));
            }
            Fate::Delivered(deliveries) => self.delivered.push(format!("{place},{deliveries}]")),
            Fate::Released(deliveries) => self.released.push(format!("{place},{deliveries}]")),
            Fate::Settled | Fate::Parked { .. } => {}
        }
        true
    }

    /// The number of deliveries grows, as that it was delivered again may have been written already, unless
    /// one is not to be counted.
    fn write(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let Open { delivered, failed, released, .. } = std::mem::take(self);
        let deliveries = "p.deliveries = GREATEST(p.deliveries, d.n)";
        let history = history("d.n", "d.why");
        let failure = format!(
            "{deliveries}, p.due_at = UTC_TIMESTAMP(6) + INTERVAL d.pause MICROSECOND, p.history = {history}"
        );
        let back = "p.deliveries = d.n";
        for (list, change) in [(delivered, deliveries), (failed, &failure), (released, back)] {
            if !list.is_empty() {
                connection.query(format!(
                    "UPDATE {} STRAIGHT_JOIN rowcall.pending AS p FORCE INDEX (PRIMARY) ON {SAME} SET {change}",
                    places(&list)
                ))?;
            }
        }
        Ok(())
    }
}

/// Bytes of an event's history; its end is kept.
const HISTORY_MAX: usize = 8000;

/// Microseconds from an event's created_at until it was committed, as SQL: not before the last look at
/// the whole outbox, so long ago, and not after now, whatever a session's clock said.
fn uncommitted(looked: Option<Duration>) -> String {
    let age = "TIMESTAMPDIFF(MICROSECOND, o.created_at, UTC_TIMESTAMP(6))";
    match looked {
        Some(looked) => format!("GREATEST({age} - {}, LEAST({age}, 0))", looked.as_micros()),
        None => format!("LEAST({age}, 0)"),
    }
}

/// When an event was committed, as far as that is known, as SQL: its age counts from then.
const COMMITTED_AT: &str = "created_at + INTERVAL uncommitted_us MICROSECOND";

/// What joins a place in a list with its row: all three, so that an old note never means another event.
const SAME: &str = "p.consumer = d.consumer AND p.position = d.position AND p.id = d.id";

/// `[consumer, position, id]`, and perhaps deliveries, a pause and a reason, as a table.
fn places(list: &[String]) -> String {
    format!(
        "JSON_TABLE({}, '$[*]' COLUMNS (consumer INT UNSIGNED PATH '$[0]', position BIGINT UNSIGNED PATH '$[1]', \
         id BIGINT UNSIGNED PATH '$[2]', n INT UNSIGNED PATH '$[3]', pause BIGINT UNSIGNED PATH '$[4]', \
         why VARCHAR(100) PATH '$[5]')) AS d",
        quoted(&format!("[{}]", list.join(",")))
    )
}

fn delete(list: &[String]) -> String {
    format!(
        "DELETE p FROM {} STRAIGHT_JOIN rowcall.pending AS p FORCE INDEX (PRIMARY) ON {SAME}",
        places(list)
    )
}

/// The beginning of a list's entry about it.
fn triple_of(note: &Note) -> String {
    format!("[{},{},{}", note.consumer, note.position, note.id)
}

fn place(note: &Note) -> String {
    format!("consumer = {} AND position = {} AND id = {}", note.consumer, note.position, note.id)
}

/// The history with another line, about this delivery; both are SQL.
fn history(delivery: &str, why: &str) -> String {
    let line = format!("CONCAT(UTC_TIMESTAMP(), 'Z delivery ', {delivery}, ': ', {why})");
    format!("RIGHT(CONCAT_WS('\\n', history, {line}), {HISTORY_MAX})")
}

/// A row of `pending`; or its place, and why it cannot be delivered any more.
fn loaded(row: &[Option<&[u8]>], site: &str, max_payload: usize) -> Result<Loaded, (u64, u64, Flaw)> {
    let &[position, id, subject, payload, headers, created_at, deliveries, due] = row else {
        return Err((0, 0, Flaw::Subject));
    };
    let number = |value: Option<&[u8]>| -> Option<i64> { std::str::from_utf8(value?).ok()?.parse().ok() };
    let natural = |value| number(value).unwrap_or_default().unsigned_abs();
    let (position, id) = (natural(position), natural(id));
    let created_at = created_at.unwrap_or_default();
    let event = Row { id, subject, payload, headers, created_at, is_too_large: false }
        .event(site, max_payload)
        .map_err(|flaw| (position, id, flaw))?;
    let pause = number(due).map(|due| Duration::from_micros(due.max(0).unsigned_abs()));
    Ok(Loaded {
        position,
        event,
        deliveries: natural(deliveries) as u32,
        pause: pause.filter(|pause| !pause.is_zero()),
    })
}

fn triple(row: &Values) -> String {
    format!("[{},{},{}]", number(row, 0), number(row, 1), number(row, 2))
}

pub(super) fn text(row: &Values, column: usize) -> String {
    let value = row.get(column).and_then(Option::as_deref).unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// A number in a row; 0 for NULL.
pub(super) fn number(row: &Values, column: usize) -> u64 {
    text(row, column).parse().unwrap_or_default()
}
