//! A durable consumer under load: sessions write, a crew of workers settles, and whoever calls lets
//! something fail now and then. At the end everything is compared with everything. Which faults come when
//! stands with the callers, what is wrong with a log in load/settlement.rs.

use super::account::{Account, Fate};
use super::crew::Crew;
use super::settlement::{Findings, settlement};
use super::writers::{END, Writers, kept};
use crate::{Kind, Site, eventually, outbox};
use nix::sys::signal::Signal;
use rowcall_mysql::Connection;
use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// The consumer's name.
const CONSUMER: &str = "crew";

/// How long its workers have for an answer.
const ACK_WAIT: Duration = Duration::from_secs(1);

/// How many workers it has.
const WORKERS: usize = 6;

/// The number of the error "unknown thread id".
const NO_SUCH_THREAD: u32 = 1094;

/// With these a server shows no commit that it could still lose, and is as slow as that is. What the kernel
/// writes asynchronously may go on after the process is gone, while the next one reads already. Whether
/// that was why one MariaDB of some 500 that were killed did not start any more is not known.
const DURABLE: [&str; 6] = [
    "--innodb-use-native-aio=0",
    "--innodb-flush-log-at-trx-commit=1",
    "--log-bin=binlog",
    "--sync-binlog=1",
    "--binlog-format=ROW",
    "--server-id=1",
];

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL; another is started.
    DaemonKilled,
    /// SIGKILL; it is started again.
    ServerKilled,
    /// A worker's connection ends without a word.
    WorkerKilled,
    /// KILL of the connection that reads the outbox.
    ReaderKilled,
    /// SIGSTOP, and SIGCONT some time later.
    DaemonStopped,
    /// The same.
    ServerStopped,
    /// A worker reads nothing and says nothing for some time.
    WorkerStopped,
}

impl Fault {
    /// All there are.
    pub const ALL: [Fault; 7] = [
        Fault::DaemonKilled,
        Fault::ServerKilled,
        Fault::WorkerKilled,
        Fault::ReaderKilled,
        Fault::DaemonStopped,
        Fault::ServerStopped,
        Fault::WorkerStopped,
    ];
}

/// The load while it goes on.
pub struct Durable {
    /// Server and daemon.
    pub site: Site,
    /// The workers.
    pub crew: Crew,
    /// Beside the writers.
    pub sql: Connection,
    /// What the account holds beside the writers' events.
    pub account: Account,
    /// Where chance comes from.
    pub random: fastrand::Rng,
    writers: Writers,
    seed: u64,
    faults: BTreeMap<Fault, usize>,
    start: Instant,
}

/// What came of it.
pub struct Report {
    /// What is wrong.
    pub findings: Findings,
    /// Events that were written and committed, rolled back, and of which nobody was told.
    pub fates: [usize; 3],
    /// Events that are committed, by the tables.
    pub committed: usize,
    kind: Kind,
    seed: u64,
    faults: BTreeMap<Fault, usize>,
    written_after: Duration,
    settled_after: Duration,
}

impl Durable {
    /// Starts all of it; `None` where that server cannot be had. The environment is the daemon's.
    ///
    /// # Panics
    /// If something does not start.
    pub fn start(kind: Kind, seed: u64, environment: &[(&'static str, &'static str)]) -> Option<Durable> {
        let mut site = Site::with_server_arguments(kind, &DURABLE)?;
        site.install_tables();
        site.environment = environment.to_vec();
        site.start_committed_daemon();
        let ack_wait = format!("{}ms", ACK_WAIT.as_millis());
        let settings = ["--max-deliveries", "0", "--backoff", "1ms,10ms,100ms", "--ack-wait", &ack_wait];
        let added = site.rowcall(&[&["consumer", "add", CONSUMER, "load.>"], &settings[..]].concat());
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let crew = Crew::start(site.daemon(), CONSUMER, ACK_WAIT, WORKERS, seed);
        let writers = Writers::start(&site, true);
        let sql = beside(&site);
        let random = fastrand::Rng::with_seed(seed);
        let (account, faults, start) = (Account::default(), BTreeMap::new(), Instant::now());
        Some(Durable { site, crew, sql, account, random, writers, seed, faults, start })
    }

    /// How many events the writers know to be committed.
    pub fn committed(&self) -> usize {
        self.writers.committed()
    }

    /// Waits until the workers have read so many more.
    pub fn go_on(&self, deliveries: usize) {
        let enough = self.crew.deliveries() + deliveries;
        eventually("more deliveries", || (self.crew.deliveries() >= enough).then_some(()));
    }

    /// Lets something happen, and waits until it is over.
    pub fn suffer(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
        let worker = self.random.usize(..self.crew.size());
        match fault {
            Fault::WorkerKilled => return self.crew.kill(worker),
            Fault::WorkerStopped => {
                self.crew.stop(worker, true);
                thread::sleep(self.some_time());
                return self.crew.stop(worker, false);
            }
            _ => {}
        }
        self.crew.fault_begins();
        let mut before = None;
        match fault {
            Fault::DaemonKilled => self.kill_daemon(),
            Fault::ServerKilled => {
                self.site.server.crash();
                self.sql = beside(&self.site);
            }
            Fault::ReaderKilled => before = Some(self.kill_reader()),
            Fault::DaemonStopped => {
                self.site.daemon().child.signal(Signal::SIGSTOP);
                thread::sleep(self.some_time());
                self.site.daemon().child.signal(Signal::SIGCONT);
            }
            _ => {
                self.site.server.child.signal(Signal::SIGSTOP);
                thread::sleep(self.some_time());
                self.site.server.child.signal(Signal::SIGCONT);
            }
        }
        self.until_reader_works(before);
        self.crew.fault_ends();
    }

    /// How long something is stopped: less than the 4 s after which the server ends the reader's
    /// session, or more, and not just as long.
    fn some_time(&mut self) -> Duration {
        Duration::from_millis(if self.random.u8(..3) == 0 {
            self.random.u64(5000..6000)
        } else {
            self.random.u64(200..2000)
        })
    }

    /// Kills the daemon and starts another.
    pub fn kill_daemon(&mut self) {
        self.crew.leave_daemon();
        self.site.daemon().kill();
        self.site.start_committed_daemon();
        self.crew.follow(self.site.daemon());
    }

    fn kill_reader(&mut self) -> String {
        let (crew, sql) = (&self.crew, &mut self.sql);
        eventually("a reader to kill", || {
            let reader = outbox::reader(sql)?;
            match sql.query(format!("KILL {reader}")) {
                Ok(_) => Some(reader),
                // The one that was killed before was still on its way out.
                Err(error) if error.number == NO_SUCH_THREAD => None,
                Err(error) => panic!("{error}; {} deliveries so far", crew.deliveries()),
            }
        })
    }

    /// Waits until there is a reader, another than before, and until it has written down how it goes:
    /// whatever it had to forget is forgotten then.
    fn until_reader_works(&mut self, before: Option<String>) {
        let sql = &mut self.sql;
        eventually("a reader", || {
            let reader = outbox::reader(sql)?;
            (Some(reader) != before).then_some(())
        });
        let now = sql.value("SELECT CURRENT_TIMESTAMP(6)").unwrap().unwrap();
        let fresh =
            format!("SELECT COUNT(*) FROM rowcall.status WHERE consumer = '' AND refreshed_at > '{now}'");
        eventually("news of the reader", || (sql.value(&fresh).unwrap()? == "1").then_some(()));
    }

    /// Ends the writers, lets the workers settle what there is, and compares.
    ///
    /// # Panics
    /// If nothing is settled any more although there is something.
    pub fn end(mut self) -> Report {
        let written = self.writers.end();
        self.account.written.extend(written);
        let written_after = self.start.elapsed();
        self.crew.behave();
        self.sql.query("CALL tell_end()").unwrap();
        // What is published last is handed on last: once it has left the outbox, all else should have.
        let end_waits = "SELECT COUNT(*) FROM rowcall.outbox WHERE subject = 'load.end'";
        let waits = "SELECT COUNT(*) FROM rowcall.pending";
        loop {
            let before = self.crew.deliveries();
            let settled = eventually("more is settled", || {
                let mut none = |query| self.sql.value(query).unwrap().as_deref() == Some("0");
                if self.crew.knows(END).1 && none(end_waits) && none(waits) {
                    return Some(true);
                }
                thread::sleep(Duration::from_millis(50));
                (self.crew.deliveries() > before).then_some(false)
            });
            if settled {
                break;
            }
        }
        let settled_after = self.start.elapsed();
        self.account.kept = kept(&mut self.sql);
        let tables = complaints_about_tables(&mut self.sql, self.account.kept.len() as u64);
        let mut findings = settlement(&mut self.account, &self.crew.end());
        findings.complaints.extend(tables);
        let count = |fate| self.account.written.iter().filter(|event| event.fate == fate).count();
        Report {
            findings,
            fates: [Fate::Committed, Fate::RolledBack, Fate::Unknown].map(count),
            committed: self.account.kept.len(),
            kind: self.site.server.kind,
            seed: self.seed,
            faults: self.faults,
            written_after,
            settled_after,
        }
    }
}

/// Nothing is left anywhere, nothing was given up, and what is counted as settled is what was committed,
/// and the end.
fn complaints_about_tables(sql: &mut Connection, committed: u64) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut expect = |what: &str, query: &str, expected: u64| {
        let number = sql.value(query).unwrap().unwrap_or_default();
        if number != expected.to_string() {
            complaints.push(format!("{what}: {number} instead of {expected}"));
        }
    };
    expect("in the outbox", "SELECT COUNT(*) FROM rowcall.outbox", 0);
    expect("pending", "SELECT COUNT(*) FROM rowcall.pending", 0);
    expect("given up", "SELECT COUNT(*) FROM rowcall.parked", 0);
    for (column, expected) in [("pending", 0), ("settled", committed + 1), ("parked", 0), ("dropped", 0)] {
        let query = format!("SELECT {column} FROM rowcall.status WHERE consumer = '{CONSUMER}'");
        expect(&format!("{column} by the status"), &query, expected);
    }
    complaints
}

/// A connection that does not begin with CREATE DATABASE, as the harness's do: on MySQL that waits for
/// every open transaction and makes new ones wait for it.
fn beside(site: &Site) -> Connection {
    Connection::connect(&site.server.options()).unwrap()
}

impl Report {
    /// Fails if anything is wrong.
    ///
    /// # Panics
    /// Then.
    pub fn assert_sound(&self) {
        let complaints = &self.findings.complaints;
        let few = &complaints[..complaints.len().min(20)];
        assert!(few.is_empty(), "{self}\n{} complaints, such as {few:#?}", complaints.len());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings {
            delivered, after_misconduct, after_faults, after_neither, unannounced, undone, ..
        } = &self.findings;
        let [committed, rolled_back, unknown] = self.fates;
        let (seconds, all) = (self.written_after.as_secs_f64(), self.settled_after.as_secs_f64());
        let faults: usize = self.faults.values().sum();
        write!(
            f,
            "{:?}, seed {}: {} events written: {committed} committed, {rolled_back} rolled back, {unknown} that only the \
             tables tell of; {} committed in all\n  {delivered} deliveries; repeated: {after_misconduct} after a worker's \
             misconduct or end, {after_faults} after a fault, {after_neither} after neither; {unannounced} more, after a \
             fault, without saying so; {undone} undone by a crash\n  {faults} faults: {:?}\n  written in {seconds:.0} s \
             ({:.0} events/s), settled in {all:.0} s ({:.0} events/s)",
            self.kind,
            self.seed,
            committed + rolled_back + unknown,
            self.committed,
            self.faults,
            self.committed as f64 / seconds,
            self.committed as f64 / all,
        )
    }
}
