//! A daemon that starts late: five million events wait for it. All are heard, in order, and its memory
//! does not grow with their number.

use harness::{Kind, Site, Terminal};
use rowcall_mysql::Connection;
use std::time::Instant;

/// Rows that wait.
const EVENTS: u64 = 5_000_000;

/// What the daemon may have had in memory at once: a few batches, and what a subscriber is owed.
const MEMORY_MAX: u64 = 128 << 20;

pub fn run(kind: Kind) {
    let mut site = Site::committed(kind).expect("the server is there");
    site.daemon().stop();
    let mut sql = site.connect();
    let start = Instant::now();
    fill(&mut sql);
    println!("{kind:?}: {EVENTS} events written in {:.0} s", start.elapsed().as_secs_f64());

    // Until the subscriber is there, the daemon stands by behind a lock of ours.
    sql.query("DO GET_LOCK('rowcall.reader', 10)").expect("it runs");
    site.start_committed_daemon_until("standing by");
    let mut listener = site.listener(&["soak"]);
    sql.query("DO RELEASE_LOCK('rowcall.reader')").expect("it runs");
    let start = Instant::now();
    let mut last = 0;
    for _ in 0..EVENTS {
        let id = id_of_the_next(&mut listener);
        assert!(id > last, "{id} came after {last}");
        last = id;
    }
    let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
    let left = "SELECT COUNT(*) FROM rowcall.outbox";
    harness::eventually("the outbox is empty", || {
        (sql.value(left).expect("it runs").as_deref() == Some("0")).then_some(())
    });
    let varz = site.daemon().varz();
    assert_eq!((&varz["slow_consumers"], &varz["outbox"]["handed_on"]), (&0.into(), &EVENTS.into()));
    let peak = harness::process::resident_peak(site.daemon().child.pid());
    println!(
        "{kind:?}: {EVENTS} events heard, {rate:.0} events/s; the daemon's memory {} MiB at most",
        peak >> 20
    );
    assert!(peak < MEMORY_MAX, "{peak} bytes");
}

/// By doubling, and the rest at the end.
fn fill(sql: &mut Connection) {
    let first = "INSERT INTO rowcall.outbox (subject, payload) VALUES ('soak', REPEAT('x', 100))";
    sql.query(first).expect("it runs");
    let mut written = 1;
    while written < EVENTS {
        let more = written.min(EVENTS - written);
        let copy =
            "INSERT INTO rowcall.outbox (subject, payload) SELECT subject, payload FROM rowcall.outbox";
        sql.query(format!("{copy} LIMIT {more}")).expect("it runs");
        written += more;
    }
}

/// The next message's id, line by line; no payload here has a line's end in it.
fn id_of_the_next(listener: &mut Terminal) -> u64 {
    let mut next = || listener.line_or_end().expect("the daemon hangs up on nobody who reads");
    while next().is_empty() {}
    let mut id = None;
    loop {
        let line = next();
        if line.is_empty() {
            break;
        }
        id = id.or(line.strip_prefix("Rowcall-Id: ").and_then(|id| id.parse().ok()));
    }
    assert_eq!(next().len(), 100, "the payload");
    id.expect("every event has an id")
}
