//! The reader: a thread with the one connection that reads the outbox. It reads what is committed,
//! puts it on the desk, waits until the loop has handed it on, and deletes exactly that. A row that
//! is in the table was not handed on: there is no cursor, and nothing to remember.

use super::desk::{Desk, News, Phase, Woken};
use super::event::{Event, Flaw, Row};
use super::ledger::Ledger;
use super::portion::{BYTES_MAX, Portion};
use super::sabotage::Sabotage;
use super::server::{check, check_writable, prepare, tell_durability};
use super::statements;
use rowcall_mysql::{Connection, Error, Options};
use rowcall_wire::rule::Rule;
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
    pub(super) options: Options,
    /// The largest message that may be handed on.
    pub(super) max_payload: usize,
    /// Bytes that may be handed on at a time.
    pub(super) batch_max: usize,
    /// How many rows to read next.
    pub(super) portion: Cell<Portion>,
    /// Nothing, but in tests.
    pub(super) sabotage: Sabotage,
}

/// Why the reader cannot go on with a connection.
pub(super) enum Trouble {
    /// The server or the way to it.
    Sql(Error),
    /// The server is not one to read from.
    Refused(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Sql(error)
    }
}

/// What one read has found.
#[derive(Default)]
struct Found {
    events: Vec<Event>,
    /// Rows that can never be published, with the reason.
    flawed: Vec<(u64, &'static str)>,
    bytes: usize,
    /// The id of the last row.
    last: u64,
}

impl Reader {
    /// Reads until the daemon leaves.
    pub(super) fn run(&self) {
        let mut pause = CONNECT_MIN;
        while !self.desk.is_leaving() {
            match self.serve(&mut pause) {
                Ok(()) => break,
                Err(trouble) => {
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
        let mut connection = Connection::connect(&self.options)?;
        let logs_statements = prepare(&mut connection)?;
        check(&mut connection)?;
        if !self.become_the_reader(&mut connection)? {
            return Ok(());
        }
        // It may have been a replica's lock that was waited for.
        check_writable(&mut connection)?;
        self.say(Phase::Reading);
        tell_durability(&mut connection, logs_statements)?;
        let mut ledger = Ledger::open(&mut connection)?;
        self.read_on(&mut connection, &mut ledger, pause)?;
        // The last answers of workers: the loop has read them, and sends no more.
        self.desk.wait_finished();
        while self.write_notes(&mut connection, &mut ledger)? {}
        Ok(())
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

    fn read_on(
        &self,
        connection: &mut Connection,
        ledger: &mut Ledger,
        pause: &mut Duration,
    ) -> Result<(), Trouble> {
        let (mut look, mut swept) = (LOOK_FOUND, None::<Instant>);
        loop {
            self.write_notes(connection, ledger)?;
            if swept.is_none_or(|swept| swept.elapsed() >= LOOK_MAX) {
                self.sweep(connection, ledger)?;
                swept = Some(Instant::now());
            }
            for want in self.desk.take_wants() {
                ledger.load(connection, &self.desk, &want, self.max_payload)?;
            }
            if let Some(recall) = self.desk.take_recall() {
                ledger.recall(connection, &self.desk, &recall, self.max_payload)?;
            }
            let mut found = self.read(connection)?;
            self.sabotage.skim(&mut found.events);
            ledger.assign(&mut found.events);
            // Not before: a row that cannot be read must not make it connect ten times a second.
            *pause = CONNECT_MIN;
            if !found.is_empty() {
                look = LOOK_FOUND;
                if !self.hand_on(connection, ledger, found)? {
                    return Ok(());
                }
                continue;
            }
            match self.desk.wait(look) {
                Woken::Leaving => return Ok(()),
                Woken::Poked => look = LOOK_POKED,
                Woken::Asked => {}
                Woken::Time if look == LOOK_MAX => check_writable(connection)?,
                Woken::Time => look = (look + look / 4).min(LOOK_MAX),
            }
        }
    }

    /// Reads until a look that began later sees no row among these that the read has not seen: a
    /// single read may hold an event and not the one before it (statements.rs says why). It ends, as
    /// each look reaches no further than the read before it.
    fn read(&self, connection: &mut Connection) -> Result<Found, Trouble> {
        let mut found = self.read_until(connection, u64::MAX)?;
        while !found.is_empty() {
            let count = connection.value(statements::count(found.last))?;
            if count == Some(found.rows().to_string()) {
                break;
            }
            found = self.read_until(connection, found.last)?;
        }
        Ok(found)
    }

    fn read_until(&self, connection: &mut Connection, last: u64) -> Result<Found, Trouble> {
        let mut found = Found::default();
        let bytes_max = self.batch_max.min(BYTES_MAX);
        let rule = self.desk.rule();
        connection.each_row(statements::read(last, self.portion.get().rows()), |row| {
            found.add(row, self.max_payload, &rule);
            if found.bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        self.portion.set(self.portion.get().after(found.rows(), found.bytes < bytes_max));
        Ok(found)
    }

    /// Hands on what was found and takes it out of the table: in this order, so that whatever ends
    /// in between, nothing is lost. Says no if the daemon leaves.
    fn hand_on(&self, connection: &mut Connection, ledger: &Ledger, found: Found) -> Result<bool, Trouble> {
        let ids: Vec<u64> = found.events.iter().map(|event| event.id).collect();
        let mut statements = ledger.copies(&found.events);
        if !ids.is_empty() {
            self.sabotage.before(connection, &ids)?;
            if !self.desk.put(found.events) {
                return Ok(false);
            }
            // Subscribers who lag may take a while. The server is to know that we are still there.
            while !self.desk.is_handed_on(LOOK_MAX) {
                connection.query(statements::STILL_HERE)?;
            }
            statements.push(self.sabotage.delete(&ids));
            let written = self.insist(connection, |connection| all_at_once(connection, &statements))?;
            if !written {
                // What was answered of these events is about rows that are not there.
                self.desk.end_epoch();
                return Ok(false);
            }
        }
        for (id, reason) in found.flawed {
            tracing::warn!(id, reason, "an event can never be published; it is in rowcall.parked");
            let statements =
                [statements::park(id, reason), statements::COUNT_PARKED.into(), statements::delete(&[id])];
            all_at_once(connection, &statements)?;
            self.desk.count_parked();
        }
        Ok(!self.desk.is_leaving())
    }

    /// Looks after consumers. Once it is known who they are, trouble with that keeps no event waiting:
    /// someone may hold a lock on a row of theirs.
    fn sweep(&self, connection: &mut Connection, ledger: &mut Ledger) -> Result<(), Trouble> {
        match ledger.sweep(connection, &self.desk) {
            Err(error) if ledger.knows_who_is_there() && !error.is_lost() => {
                self.tell(Trouble::Sql(error));
                check_writable(connection)
            }
            swept => {
                swept?;
                self.say(Phase::Reading);
                Ok(())
            }
        }
    }

    /// Writes down what became of consumers' events, and tells whoever wants to know. Says whether it
    /// has written something.
    fn write_notes(&self, connection: &mut Connection, ledger: &mut Ledger) -> Result<bool, Trouble> {
        let notes = self.desk.take_notes();
        if notes.is_empty() {
            return Ok(false);
        }
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
            check_writable(connection)?;
            pause = (pause * 2).min(CONNECT_MAX);
        }
        self.say(Phase::Reading);
        Ok(true)
    }

    fn tell(&self, trouble: Trouble) {
        self.say(Phase::Waiting(match trouble {
            Trouble::Sql(error) => error.to_string(),
            Trouble::Refused(why) => why,
        }));
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

impl Found {
    fn add(&mut self, row: &[Option<&[u8]>], max_payload: usize, rule: &Rule) {
        let &[id, subject, payload, headers, created_at] = row else { return };
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        let (Some(id), Some(created_at)) = (id, created_at) else { return };
        self.last = id;
        match (Row { id, subject, payload, headers, created_at }).event(max_payload) {
            // Anyone may call rowcall.publish, who may not publish there with rowcall_notify.
            Ok(event) if !rule.permits(&event.subject) => self.flawed.push((id, Flaw::Forbidden.name())),
            Ok(event) => {
                self.bytes += event.body.len();
                self.events.push(event);
            }
            Err(flaw) => self.flawed.push((id, flaw.name())),
        }
    }

    fn rows(&self) -> usize {
        self.events.len() + self.flawed.len()
    }

    fn is_empty(&self) -> bool {
        self.rows() == 0
    }
}

/// All of these statements or none. A single one needs no transaction around it.
fn all_at_once(connection: &mut Connection, statements: &[String]) -> Result<(), Error> {
    let run =
        |connection: &mut Connection| statements.iter().try_for_each(|sql| connection.query(sql).map(drop));
    if statements.len() > 1 { in_transaction(connection, run) } else { run(connection) }
}

/// All of it or nothing.
pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.query("START TRANSACTION")?;
    match work(connection).and_then(|done| connection.query("COMMIT").map(|_| done)) {
        Ok(done) => Ok(done),
        Err(error) => {
            // Where the connection is gone, the server does it.
            let _ = connection.query("ROLLBACK");
            Err(error)
        }
    }
}
