//! What committed mode's reader takes from sessions that write all the time, and whether it keeps up
//! with them. Writers, server, daemon and subscriber share the machine, so this is the worst case:
//! whatever the reader needs, the writers lack. The servers do not wait for their disks, so processor
//! time is all that anyone waits for.

use crate::committed::{create_told, subscriber};
use crate::report;
use harness::{Kind, Site, process};
use rowcall_mysql::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Sessions that write at a time.
const WRITERS: usize = 8;

/// How often each figure is taken, in turn with the other.
const ROUNDS: usize = 7;

/// How long each run writes.
const WRITING: Duration = Duration::from_millis(1500);

/// Events in each transaction.
const ROWS: [u64; 2] = [1, 20];

/// The reader is to keep up with so many events a second, or with what is written.
const ENOUGH: f64 = 50_000.0;

/// The harness gives a server too little memory and log for so much writing: it would wait for its disk.
const MARIADB: [&str; 2] = ["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M"];
const MYSQL: [&str; 2] = ["--innodb-buffer-pool-size=512M", "--innodb-redo-log-capacity=512M"];

/// What a run showed.
struct Run {
    /// Events written in a second.
    written: f64,
    /// Events heard in a second, from the first INSERT to the last event; none without a reader.
    heard: f64,
    /// Processor time for each event, in microseconds.
    server: f64,
    daemon: f64,
}

pub fn run() {
    for kind in [Kind::MariaDb, Kind::MySql] {
        let arguments = if kind == Kind::MySql { &MYSQL } else { &MARIADB };
        let mut site = Site::committed_with(kind, arguments).expect("the server is there");
        create_told(&site);
        for rows in ROWS {
            report::heading(&format!(
                "{WRITERS} sessions that write on {kind:?}, {rows} events of 100 bytes in each transaction"
            ));
            compare(&mut site, rows);
        }
    }
}

fn compare(site: &mut Site, rows: u64) {
    let (mut alone, mut read) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        site.daemon().stop();
        site.daemon = None;
        alone.push(write(site, rows));
        empty(site);
        site.start_committed_daemon();
        read.push(write(site, rows));
    }
    let all = |runs: &[Run], value: fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<f64>>();
    let median = |runs: &[Run], value| report::median(&all(runs, value));
    let (ratio, least, most) = report::ratio(&all(&read, |run| run.written), &all(&alone, |run| run.written));
    let beside = format!(
        "{least:.2}..{most:.2}; {:.0} / {:.0} events/s",
        median(&read, |run| run.written),
        median(&alone, |run| run.written)
    );
    report::at_least("what they write, over the same without a reader", ratio, 0.75, &beside);
    let kept_up = median(&read, |run| run.heard / run.written.min(ENOUGH));
    let beside = format!("{:.0} events/s heard", median(&read, |run| run.heard));
    report::at_least("what is heard, over what they write or 50,000/s", kept_up, 0.95, &beside);
    report::plain(
        "the server's CPU for each event, us",
        median(&read, |run| run.server),
        &format!("without a reader: {:.1}", median(&alone, |run| run.server)),
    );
    report::plain("the daemon's", median(&read, |run| run.daemon), "");
}

/// Takes away what nobody has read.
fn empty(site: &Site) {
    for table in ["rowcall.outbox", "told"] {
        site.connect().query(format!("TRUNCATE TABLE {table}")).expect("it runs");
    }
}

/// Writes for a while, and waits until everything is heard, if there is someone to read it.
fn write(site: &Site, rows: u64) -> Run {
    let (server, daemon) = (site.server.child.pid(), site.daemon.as_ref().map(|daemon| daemon.child.pid()));
    let row = format!("('{}')", "x".repeat(100));
    let statement = format!("INSERT INTO told (v) VALUES {}", vec![row; rows as usize].join(", "));
    let mut sessions: Vec<Connection> = (0..WRITERS).map(|_| site.connect()).collect();
    let heard = daemon.map(|_| Hearing::start(site));
    let spent = || (process::nanoseconds(server), daemon.map_or(0, process::nanoseconds));
    let before = spent();
    let start = Instant::now();
    let events: u64 = thread::scope(|scope| {
        let session = |sql| scope.spawn(|| insert(sql, &statement, start + WRITING) * rows);
        let threads: Vec<_> = sessions.iter_mut().map(session).collect();
        threads.into_iter().map(|thread| thread.join().expect("no INSERT fails")).sum()
    });
    let written = start.elapsed();
    let heard = heard.map_or(0.0, |hearing| rate(events, hearing.end(&mut sessions[0], events) - start));
    let after = spent();
    let each = |now: u64, before: u64| (now - before) as f64 / 1000.0 / events as f64;
    Run {
        written: rate(events, written),
        heard,
        server: each(after.0, before.0),
        daemon: each(after.1, before.1),
    }
}

/// INSERTs until the time has come; gives how often.
fn insert(sql: &mut Connection, statement: &str, end: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < end {
        sql.query(statement).expect("the rows are written");
        count += 1;
    }
    count
}

fn rate(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// A subscriber that counts on a thread of its own.
struct Hearing {
    thread: JoinHandle<Instant>,
    /// How many events there are to hear, once that is known.
    total: Arc<AtomicU64>,
}

impl Hearing {
    fn start(site: &Site) -> Hearing {
        let mut subscriber = subscriber(site, "bench.told");
        let total = Arc::new(AtomicU64::new(u64::MAX));
        let until = Arc::clone(&total);
        let thread = thread::spawn(move || {
            let mut heard = 0;
            while heard < until.load(Ordering::Relaxed) {
                assert!(subscriber.read() > 0, "the daemon hung up");
                subscriber.messages(|_| heard += 1);
            }
            assert_eq!(heard, until.load(Ordering::Relaxed), "each event is heard once");
            Instant::now()
        });
        Hearing { thread, total }
    }

    /// Waits until so many events are heard; gives the time. One more wakes whoever has heard them all
    /// without knowing.
    fn end(self, sql: &mut Connection, events: u64) -> Instant {
        self.total.store(events + 1, Ordering::Relaxed);
        sql.query("CALL rowcall.publish('bench.told', 'the end')").expect("it runs");
        self.thread.join().expect("every event is heard")
    }
}
