//! Committed mode: how late an event is after its COMMIT, how fast a backlog is handed on, and what it
//! costs when nothing happens. On both servers, without waiting for their disks.

use crate::cpu;
use crate::load::{Connection as Nats, Place};
use crate::report;
use harness::{Kind, Site, eventually};
use std::thread;
use std::time::{Duration, Instant};

/// Events of the backlog: 2^18.
const BACKLOG: u64 = 262_144;

/// Commits whose events are timed, and how far apart they are.
const COMMITS: usize = 1000;
const APART: Duration = Duration::from_millis(10);

/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(10);

pub fn run() {
    for kind in [Kind::MariaDb, Kind::MySql] {
        report::heading(&format!("committed mode on {kind:?}"));
        let mut site = Site::committed(kind).expect("the server is there");
        latency(&site);
        idle(&site);
        drain(&mut site);
    }
}

/// From COMMIT returning to a subscriber on the Unix socket having the event, 100 times a second. The
/// event may come first: other sessions see a commit before it is reported.
fn latency(site: &Site) {
    let mut subscriber = Nats::open(&Place::Unix(site.socket.clone()));
    // The load reads messages without headers only.
    subscriber.send(b"CONNECT {\"verbose\":false,\"headers\":false,\"no_responders\":false}\r\n");
    subscriber.subscribe("bench.commit");
    let heard = thread::spawn(move || {
        let mut heard = Vec::new();
        while heard.len() < COMMITS {
            assert!(subscriber.read() > 0, "the daemon hung up");
            let now = Instant::now();
            subscriber.messages(|_| heard.push(now));
        }
        heard
    });
    let mut sql = site.connect();
    let committed: Vec<Instant> = (0..COMMITS)
        .map(|_| {
            thread::sleep(APART);
            sql.query("CALL rowcall.publish('bench.commit', 'x')").expect("it runs");
            Instant::now()
        })
        .collect();
    let heard = heard.join().expect("every event is heard");
    let late = |(heard, committed): (&Instant, &Instant)| {
        heard.saturating_duration_since(*committed).as_secs_f64() * 1e6
    };
    let late: Vec<f64> = heard.iter().zip(&committed).map(late).collect();
    report::plain("COMMIT returned -> subscriber, p50, us", report::median(&late), "100 commits/s");
    report::at_most("the same, p99", report::percentile(&late, 0.99), 3000.0, "");
}

fn idle(site: &Site) {
    let pids = [site.server.child.pid(), site.daemon.as_ref().expect("it runs").child.pid()];
    // What the commits before have left to do is done by then.
    thread::sleep(Duration::from_secs(3));
    let spent = || pids.map(cpu::nanoseconds).iter().sum::<u64>();
    let before = spent();
    thread::sleep(IDLE);
    let share = (spent() - before) as f64 / IDLE.as_nanos() as f64 * 100.0;
    report::at_most("idle: daemon and server, percent of a core", share, 1.0, "");
}

fn drain(site: &mut Site) {
    site.daemon().stop();
    let mut sql = site.connect();
    let first = "INSERT INTO rowcall.outbox (subject, payload) VALUES ('bench.drain', REPEAT('x', 100))";
    sql.query(first).expect("it runs");
    while waiting(&mut sql) < BACKLOG {
        let double =
            "INSERT INTO rowcall.outbox (subject, payload) SELECT subject, payload FROM rowcall.outbox";
        sql.query(double).expect("it runs");
    }
    site.start_committed_daemon();
    let start = Instant::now();
    let daemon = site.daemon();
    eventually("the backlog is gone", || (daemon.varz()["outbox"]["handed_on"] == BACKLOG).then_some(()));
    let rate = BACKLOG as f64 / start.elapsed().as_secs_f64();
    report::at_least("a backlog is handed on, events/s", rate, 80_000.0, "100-byte payloads");
    let peak = cpu::resident_peak(daemon.child.pid()) as f64 / 1048576.0;
    report::plain("peak memory of the daemon, MiB", peak, "");
    assert_eq!(waiting(&mut sql), 0);
}

fn waiting(sql: &mut rowcall_mysql::Connection) -> u64 {
    let count = sql.value("SELECT COUNT(*) FROM rowcall.outbox").expect("it runs");
    count.and_then(|count| count.parse().ok()).expect("a number")
}
