//! The reader: a thread with the one connection that reads the outbox. It reads what is committed,
//! puts it on the desk, waits until the loop has handed it on, and deletes exactly that. A row that
//! is in the table was not handed on: there is no cursor, and nothing to remember.

use super::desk::{Desk, News, Phase, Woken};
use super::dial::Dial;
use super::event::Event;
use super::found::{Flawed, Found};
use super::held::Held;
use super::ledger::Ledger;
use super::portion::{BYTES_MAX, Portion};
use super::sabotage::Sabotage;
use super::server::{
    check, check_writable, is_of_the_schema, last_look, prepare, site, still_here, still_writable,
    tell_durability,
};
use super::statements;
use super::transaction::{all_at_once, in_transaction};
use super::trouble::Trouble;
use rowcall_mysql::{Connection, Error};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon to look again for a row that SQL has poked for and that is not there yet: a poke comes
/// before its COMMIT. Each look in vain makes the next one wait a quarter longer, so that an event
/// is late by at most a quarter of what its transaction took.
const LOOK_POKED: Duration = Duration::from_micros(100);

/// How soon to look again after something was found: a poke that was swallowed because another had
/// gone in the same millisecond is not missed for longer.
const LOOK_FOUND: Duration = Duration::from_millis(1);

/// How often to look when nothing happens: this is the guarantee, everything else is speed.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// How soon to connect again. Each attempt in vain doubles it.
const CONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two attempts: a standby takes over within 5 seconds.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// What the thread works with.
pub(super) struct Reader {
    pub(super) desk: Arc<Desk>,
    pub(super) dial: Arc<Dial>,
    /// The largest message that may be handed on.
    pub(super) max_payload: usize,
    /// Bytes that may be handed on at a time.
    pub(super) batch_max: usize,
    /// How many rows to read next.
    pub(super) portion: Cell<Portion>,
    /// When it last began to look at the whole outbox: what it finds later was committed since.
    pub(super) looked: Cell<Option<Instant>>,
    /// Nothing, but in tests.
    pub(super) sabotage: Sabotage,
}

/// The work with one connection.
struct Work<'a> {
    connection: &'a mut Connection,
    ledger: &'a mut Ledger,
    /// Rows that cannot be parked now.
    held: Held<Flawed>,
    /// How soon to look again, and when consumers were looked after.
    look: Duration,
    swept: Option<Instant>,
    /// The latest look after consumers has worked.
    sweeps: bool,
}

impl Reader {
    /// Reads until the daemon leaves.
    pub(super) fn run(&self) {
        let mut pause = CONNECT_MIN;
        while !self.desk.is_leaving() {
            match self.serve(&mut pause) {
                Ok(()) => break,
                Err(trouble) => {
                    if trouble.is_lost() {
                        self.dial.lose(Instant::now());
                    }
                    self.desk.end_epoch();
                    self.tell(trouble);
                }
            }
            if !self.desk.pause(pause) {
                break;
            }
            pause = (pause * 2).min(CONNECT_MAX);
        }
        self.desk.end();
    }

    /// Everything with one connection, which ends when the daemon leaves.
    fn serve(&self, pause: &mut Duration) -> Result<(), Trouble> {
        let mut connection = self.dial.connect(self.desk.take_poke(), Instant::now())?;
        let logs_statements = prepare(&mut connection)?;
        check(&mut connection)?;
        if !self.become_the_reader(&mut connection)? {
            return Ok(());
        }
        // It may have been a replica's lock that was waited for.
        check_writable(&mut connection)?;
        self.say(Phase::Reading);
        tell_durability(&mut connection, logs_statements)?;
        if self.looked.get().is_none() {
            let ago = last_look(&mut connection)?;
            self.looked.set(ago.and_then(|ago| Instant::now().checked_sub(ago)));
        }
        let site = site(&mut connection)?;
        let mut ledger = Ledger::open(&mut connection, site)?;
        let mut work = Work {
            connection: &mut connection,
            ledger: &mut ledger,
            held: Held::default(),
            look: LOOK_FOUND,
            swept: None,
            sweeps: true,
        };
        self.read_on(&mut work, pause)?;
        // The last answers of workers: the loop has read them, and sends no more.
        self.desk.wait_finished();
        while self.write_notes(&mut work)? {}
        Ok(work.ledger.park_given_up(work.connection, &self.desk, Instant::now)?)
    }

    /// Waits until no other daemon reads this outbox. Says no if the daemon leaves meanwhile.
    fn become_the_reader(&self, connection: &mut Connection) -> Result<bool, Trouble> {
        while !self.desk.is_leaving() {
            if connection.value(statements::LOCK)?.as_deref() == Some("1") {
                return Ok(true);
            }
            self.say(Phase::StandingBy);
            check_writable(connection)?;
        }
        Ok(false)
    }

    /// Reads until the daemon leaves. What the server refuses (a lock that does not come, a disk that is full)
    /// is tried again with this connection: a new one would begin anew, and deliver again what is in flight.
    /// Where the tables are not what they were, that is needed.
    fn read_on(&self, work: &mut Work<'_>, pause: &mut Duration) -> Result<(), Trouble> {
        let mut wait = CONNECT_MIN;
        loop {
            match self.look(work) {
                Ok(None) => return Ok(()),
                Ok(Some(found)) => {
                    // Not before: a row that cannot be read must not make it connect ten times a second.
                    (*pause, wait) = (CONNECT_MIN, CONNECT_MIN);
                    if !self.go_on(work, found)? {
                        return Ok(());
                    }
                }
                Err(Trouble::Sql(error)) if !error.is_lost() && !is_of_the_schema(&error) => {
                    self.tell(Trouble::Sql(error));
                    if !self.desk.pause(wait) {
                        return Ok(());
                    }
                    wait = (wait * 2).min(CONNECT_MAX);
                    still_writable(work.connection)?;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Does what consumers want, and reads. Gives nothing if the daemon leaves.
    fn look(&self, work: &mut Work<'_>) -> Result<Option<Found>, Trouble> {
        self.write_notes(work)?;
        if work.swept.is_none_or(|swept| swept.elapsed() >= LOOK_MAX) {
            work.sweeps = self.sweep(work)?;
            work.swept = Some(Instant::now());
        }
        let Work { connection, ledger, .. } = work;
        ledger.load_what_is_wanted(connection, &self.desk, self.max_payload, Instant::now)?;
        ledger.park_given_up(connection, &self.desk, Instant::now)?;
        if let Some(recall) = self.desk.take_recall() {
            ledger.recall(connection, &self.desk, &recall, self.max_payload)?;
        }
        self.park_flawed(work)?;
        let found = self.read(work)?;
        if work.sweeps {
            self.say(Phase::Reading);
        }
        self.desk.hold(work.held.trouble().or(work.ledger.trouble()));
        Ok((!self.desk.is_leaving()).then_some(found))
    }

    /// Hands on what was found, or waits for something to be found. Says no if the daemon leaves.
    fn go_on(&self, work: &mut Work<'_>, mut found: Found) -> Result<bool, Trouble> {
        let looked = found.looked.or(self.looked.get());
        self.sabotage.skim(&mut found.events);
        work.ledger.assign(&mut found.events);
        let has_news = !found.events.is_empty() || (!found.flawed.is_empty() && !work.held.is_full());
        for flawed in std::mem::take(&mut found.flawed) {
            if !work.held.is_full() {
                work.held.add(flawed);
            }
        }
        if has_news {
            work.look = LOOK_FOUND;
            let goes_on = self.hand_on(work, found.events)?;
            // Not before: of what was found, all that is known is that the look before did not see it.
            self.looked.set(looked);
            return Ok(goes_on);
        }
        self.looked.set(looked);
        match self.desk.wait(work.look) {
            Woken::Leaving => return Ok(false),
            Woken::Poked => work.look = LOOK_POKED,
            Woken::Asked => {}
            Woken::Time if work.look == LOOK_MAX => still_writable(work.connection)?,
            Woken::Time => work.look = (work.look + work.look / 4).min(LOOK_MAX),
        }
        Ok(true)
    }

    /// Reads until a look that began later sees no row among these that the read has not seen: a
    /// single read may hold an event and not the one before it (statements.rs says why). It ends, as
    /// each look reaches no further than the read before it.
    fn read(&self, work: &mut Work<'_>) -> Result<Found, Error> {
        let held: Vec<u64> = work.held.iter().map(|&(id, _)| id).collect();
        let began = Instant::now();
        let mut found = self.read_until(work, u64::MAX, &held)?;
        let looked = found.is_whole.then_some(began);
        while !found.is_empty() {
            let count = work.connection.value(statements::count(found.last, &held))?;
            if count == Some(found.rows().to_string()) {
                break;
            }
            found = self.read_until(work, found.last, &held)?;
        }
        Ok(Found { looked, ..found })
    }

    fn read_until(&self, work: &mut Work<'_>, last: u64, held: &[u64]) -> Result<Found, Error> {
        let (mut found, limit) = (Found::default(), self.portion.get().rows());
        let bytes_max = self.batch_max.min(BYTES_MAX);
        let rule = self.desk.rule();
        let Work { connection, ledger, .. } = work;
        connection.each_row(statements::read(last, held, limit, self.max_payload), |row| {
            found.add(row, &ledger.site, self.max_payload, &rule);
            if found.bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let fitted = found.bytes < bytes_max;
        found.is_whole = fitted && found.rows() < limit;
        self.portion.set(self.portion.get().after(found.rows(), fitted));
        Ok(found)
    }

    /// Hands on what was found and takes it out of the table: in this order, so that whatever ends
    /// in between, nothing is lost. Says no if the daemon leaves.
    fn hand_on(&self, work: &mut Work<'_>, events: Vec<Event>) -> Result<bool, Trouble> {
        let ids: Vec<u64> = events.iter().map(|event| event.id).collect();
        if ids.is_empty() {
            return Ok(true);
        }
        let mut statements = work.ledger.copies(&events, self.looked.get().map(|looked| looked.elapsed()));
        self.sabotage.before(work.connection, &ids)?;
        if !self.desk.put(events) {
            return Ok(false);
        }
        // Subscribers who lag may take a while. The server is to know that we are still there.
        while !self.desk.is_handed_on(LOOK_MAX) {
            still_here(work.connection)?;
        }
        statements.push(self.sabotage.delete(&ids));
        let written = self.insist(work.connection, |connection| all_at_once(connection, &statements))?;
        if !written {
            // What was answered of these events is about rows that are not there.
            self.desk.end_epoch();
        }
        Ok(written && !self.desk.is_leaving())
    }

    /// Parks rows that can never be published. One that cannot be parked stays where it is, and holds up no
    /// other event.
    fn park_flawed(&self, work: &mut Work<'_>) -> Result<(), Trouble> {
        while let Some((id, reason)) = work.held.due(Instant::now()) {
            let began = Instant::now();
            let statements =
                [statements::park(id, reason), statements::COUNT_PARKED.into(), statements::delete(&[id])];
            match all_at_once(work.connection, &statements) {
                Ok(()) => {
                    work.held.done();
                    self.desk.count_parked();
                    tracing::warn!(id, reason, "an event can never be published; it is in rowcall.parked");
                }
                Err(error) if error.is_lost() => return Err(error.into()),
                Err(error) => {
                    let (now, why) = (Instant::now(), error.to_string());
                    if work.held.failed((id, reason), &why, now - began, now) {
                        tracing::warn!(
                            id,
                            reason,
                            why,
                            "an event can neither be published nor parked; it is held"
                        );
                    }
                    still_writable(work.connection)?;
                }
            }
        }
        Ok(())
    }

    /// Looks after consumers, and says whether that has worked. Once it is known who they are, trouble with
    /// that keeps no event waiting: someone may hold a lock on a row of theirs.
    fn sweep(&self, work: &mut Work<'_>) -> Result<bool, Trouble> {
        match work.ledger.sweep(work.connection, &self.desk) {
            Err(error) if work.ledger.knows_who_is_there() && !error.is_lost() => {
                self.tell(Trouble::Sql(error));
                still_writable(work.connection).map(|()| false)
            }
            swept => Ok(swept.map(|()| true)?),
        }
    }

    /// Writes down what became of consumers' events, and tells whoever wants to know. Says whether there may
    /// be more.
    fn write_notes(&self, work: &mut Work<'_>) -> Result<bool, Trouble> {
        if work.ledger.is_full() {
            // The notes stay on the desk, and with many of them there nothing more is delivered.
            self.desk.pause(CONNECT_MIN);
            return Ok(false);
        }
        let notes = self.desk.take_notes();
        let any = !notes.is_empty();
        let notes = work.ledger.take_given_up(notes, Instant::now);
        if notes.is_empty() {
            return Ok(any);
        }
        let Work { connection, ledger, .. } = work;
        let written = self.insist(connection, |connection| {
            in_transaction(connection, |connection| ledger.write(connection, &notes))
        })?;
        if !written {
            return Ok(false);
        }
        let confirm: Vec<_> = notes.into_iter().filter_map(|note| note.confirm).collect();
        if !confirm.is_empty() {
            self.desk.tell(News::Written(confirm));
        }
        Ok(true)
    }

    /// Runs statements until they work or the connection is gone: a disk that is full must not make
    /// the same events go out again and again. Says no if the daemon leaves before they have worked.
    fn insist<T>(
        &self,
        connection: &mut Connection,
        mut write: impl FnMut(&mut Connection) -> Result<T, Error>,
    ) -> Result<bool, Trouble> {
        let mut pause = CONNECT_MIN;
        loop {
            match write(connection) {
                Ok(_) => break,
                Err(error) if error.is_lost() => return Err(error.into()),
                Err(error) => self.tell(Trouble::Sql(error)),
            }
            if !self.desk.pause(pause) {
                return Ok(false);
            }
            still_writable(connection)?;
            pause = (pause * 2).min(CONNECT_MAX);
        }
        Ok(true)
    }

    fn tell(&self, trouble: Trouble) {
        self.say(Phase::Waiting(trouble.to_string()));
    }

    /// Logs what is new, and nothing twice.
    fn say(&self, phase: Phase) {
        if !self.desk.say(phase.clone()) {
            return;
        }
        match phase {
            Phase::Starting => {}
            Phase::Reading => tracing::info!("outbox: reading"),
            Phase::StandingBy => tracing::info!("outbox: another daemon is reading; standing by"),
            Phase::Waiting(why) => tracing::warn!(%why, "outbox: waiting"),
        }
    }
}
