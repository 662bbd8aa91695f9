//! Committed mode: how late an event is after its COMMIT, how fast a backlog is handed on, and what it
//! costs when nothing happens. On both servers, without waiting for their disks.

use crate::load::{Connection as Nats, Place};
use crate::postgres::Postgres;
use crate::report;
use harness::{Kind, Site, eventually, outbox, process};
use std::thread;
use std::time::{Duration, Instant};

/// Events of the backlog: 2^18.
const BACKLOG: u64 = 262_144;

/// Commits whose events are timed in each round, and how far apart they are.
const ROUNDS: usize = 7;
const COMMITS: usize = 200;
const APART: Duration = Duration::from_millis(10);

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

/// A table whose trigger publishes.
const TOLD: [&str; 2] = [
    "CREATE TABLE told (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200)) ENGINE=InnoDB",
    "CREATE TRIGGER t AFTER INSERT ON told FOR EACH ROW CALL rowcall.publish('bench.told', NEW.v)",
];

pub fn run() {
    let postgres = Postgres::start();
    for kind in [Kind::MariaDb, Kind::MySql] {
        report::heading(&format!("committed mode on {kind:?}"));
        let mut site = Site::committed(kind).expect("the server is there");
        latency(&site, &postgres);
        idle(&site);
        drain(&mut site);
    }
}

/// From COMMIT returning to a subscriber having the event, 100 times a second, beside PostgreSQL's
/// NOTIFY in turn: on both sides one session INSERTs into a table whose trigger publishes, and
/// another has a Unix socket. The event may come first: other sessions see a commit before it is
/// reported. That counts as nothing.
fn latency(site: &Site, postgres: &Postgres) {
    create_told(site);
    let mut sql = site.connect();
    let mut subscriber = subscriber(site, "bench.told");
    let (mut session, mut listener) = (postgres.connect(), postgres.connect());
    listener.query("LISTEN bench");
    let [mut ours, mut theirs] = [const { [const { Vec::new() }; 3] }; 2];
    for _ in 0..ROUNDS {
        let hear = || {
            assert!(subscriber.read() > 0, "the daemon hung up");
            let mut count = 0;
            subscriber.messages(|_| count += 1);
            count
        };
        let insert = || drop(sql.query("INSERT INTO told (v) VALUES ('x')").expect("it runs"));
        summarize(&commits(insert, hear), &mut ours);
        let insert = || session.query("INSERT INTO told VALUES ('x')");
        summarize(&commits(insert, || listener.notifications()), &mut theirs);
    }
    let [p50, p99, whole] = ours.each_ref().map(|values| report::median(values));
    let [p50_theirs, p99_theirs, whole_theirs] = theirs.each_ref().map(|values| report::median(values));
    let (ratio, least, most) = report::ratio(&ours[0], &theirs[0]);
    let beside = format!("{least:.2}..{most:.2}; {p50:.0} / {p50_theirs:.0} us");
    report::at_most("COMMIT returned -> subscriber, p50, over PostgreSQL's NOTIFY", ratio, 1.0, &beside);
    let beside = format!("PostgreSQL: {p99_theirs:.0}");
    report::at_most("the same, p99, us", p99, 3000.0, &beside);
    let beside = format!("PostgreSQL: {whole_theirs:.0}");
    report::plain("INSERT sent -> subscriber, p50, us", whole, &beside);
}

/// Notes of a round the median and the 99th percentile from COMMIT returning, and the median from
/// the INSERT's sending, in microseconds.
fn summarize(commits: &[Commit], to: &mut [Vec<f64>; 3]) {
    let since = |from: fn(&Commit) -> Instant| -> Vec<f64> {
        let late = |commit: &Commit| commit.heard.saturating_duration_since(from(commit));
        commits.iter().map(|commit| late(commit).as_secs_f64() * 1e6).collect()
    };
    let returned = since(|commit| commit.returned);
    to[0].push(report::median(&returned));
    to[1].push(report::percentile(&returned, 0.99));
    to[2].push(report::median(&since(|commit| commit.sent)));
}

/// One event's times.
struct Commit {
    sent: Instant,
    returned: Instant,
    heard: Instant,
}

/// Commits at even times, while another thread hears of it; `hear` waits for some and says how many.
fn commits(mut commit: impl FnMut(), mut hear: impl FnMut() -> usize + Send) -> Vec<Commit> {
    thread::scope(|scope| {
        let heard = scope.spawn(move || {
            let mut heard = Vec::new();
            while heard.len() < COMMITS {
                let count = hear();
                let now = Instant::now();
                heard.extend((0..count).map(|_| now));
            }
            heard
        });
        let mut times = Vec::new();
        for _ in 0..COMMITS {
            thread::sleep(APART);
            let sent = Instant::now();
            commit();
            times.push((sent, Instant::now()));
        }
        let heard = heard.join().expect("every event is heard");
        let both = times.into_iter().zip(heard);
        both.map(|((sent, returned), heard)| Commit { sent, returned, heard }).collect()
    })
}

/// Creates that table.
pub fn create_told(site: &Site) {
    let mut sql = site.connect();
    for statement in TOLD {
        sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// Someone who hears what committed mode hands on. The load reads messages without headers only.
pub fn subscriber(site: &Site, subject: &str) -> Nats {
    let mut subscriber = Nats::open(&Place::Unix(site.socket.clone()));
    subscriber.send(b"CONNECT {\"verbose\":false,\"headers\":false,\"no_responders\":false}\r\n");
    subscriber.subscribe(subject);
    subscriber
}

fn idle(site: &Site) {
    let pids = [site.server.child.pid(), site.daemon.as_ref().expect("it runs").child.pid()];
    // What the commits before have left to do is done by then.
    thread::sleep(Duration::from_secs(3));
    let spent = || pids.map(process::nanoseconds).iter().sum::<u64>();
    let before = spent();
    thread::sleep(IDLE);
    let share = (spent() - before) as f64 / IDLE.as_nanos() as f64 * 100.0;
    report::at_most("idle: daemon and server, percent of a core", share, 1.0, "");
}

fn drain(site: &mut Site) {
    site.daemon().stop();
    let mut sql = site.connect();
    outbox::fill(&mut sql, "bench.drain", 100, BACKLOG);
    site.start_committed_daemon();
    let start = Instant::now();
    let daemon = site.daemon();
    eventually("the backlog is gone", || (daemon.varz()["outbox"]["handed_on"] == BACKLOG).then_some(()));
    let rate = BACKLOG as f64 / start.elapsed().as_secs_f64();
    report::at_least("a backlog is handed on, events/s", rate, 80_000.0, "100-byte payloads");
    let peak = process::resident_peak(daemon.child.pid()) as f64 / 1048576.0;
    report::plain("peak memory of the daemon, MiB", peak, "");
    assert_eq!(outbox::waiting(&mut sql), 0);
}
