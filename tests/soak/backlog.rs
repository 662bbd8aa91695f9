//! A daemon that starts late: five million events wait for it. All are heard, in order, and its memory
//! does not grow with their number.

use harness::{Kind, Site, outbox};
use std::time::Instant;

/// Rows that wait.
const EVENTS: u64 = 5_000_000;

/// Bytes of each.
const PAYLOAD: usize = 100;

/// What the daemon may have had in memory at once: a few batches, and what a subscriber is owed.
const MEMORY_MAX: u64 = 128 << 20;

pub fn run(kind: Kind) {
    let mut site = Site::committed(kind).expect("the server is there");
    site.daemon().stop();
    let mut sql = site.connect();
    let start = Instant::now();
    outbox::fill(&mut sql, "soak", PAYLOAD, EVENTS);
    println!("{kind:?}: {EVENTS} events written in {:.0} s", start.elapsed().as_secs_f64());

    // Until the subscriber is there, the daemon stands by behind a lock of ours.
    outbox::hold_reader(&mut sql, 10);
    site.start_committed_daemon_until("standing by");
    let mut listener = site.listener(&["soak"]);
    outbox::release_reader(&mut sql);
    let start = Instant::now();
    let mut last = 0;
    for _ in 0..EVENTS {
        let (id, payload) = listener.event_or_end().expect("the daemon hangs up on nobody who reads");
        assert_eq!(payload.len(), PAYLOAD);
        assert!(id > last, "{id} came after {last}");
        last = id;
    }
    let rate = EVENTS as f64 / start.elapsed().as_secs_f64();
    outbox::until_empty(&mut sql);
    let varz = site.daemon().varz();
    assert_eq!((&varz["slow_consumers"], &varz["outbox"]["handed_on"]), (&0.into(), &EVENTS.into()));
    let peak = harness::process::resident_peak(site.daemon().child.pid());
    println!(
        "{kind:?}: {EVENTS} events heard, {rate:.0} events/s; the daemon's memory {} MiB at most",
        peak >> 20
    );
    assert!(peak < MEMORY_MAX, "{peak} bytes");
}
