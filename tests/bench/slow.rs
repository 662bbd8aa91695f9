//! Readers that are slower than their publisher: one that rests after each mebibyte, beside the same at
//! nats-server; and one that stops reading, with three healthy ones beside it.

use crate::load::{self, Connection, Heard, Place};
use crate::peers::Peers;
use crate::report;
use harness::process;
use std::thread;
use std::time::{Duration, Instant};

const HEALTHY: usize = 3;
const COUNT: u64 = 1_500_000;
const SIZE: usize = 128;
const ROUNDS: usize = 3;

/// One run.
struct Run {
    rate: f64,
    gap: Duration,
}

/// What a publisher without pause sends to a reader that rests.
const RESTED: u64 = 256 << 20;
const RESTED_SIZE: usize = 1 << 10;

/// How long it rests after each mebibyte.
const RESTS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(15), Duration::from_millis(20)];

pub fn run() {
    let peers = Peers::start();
    resting(&peers);
    stopping(&peers);
}

/// What share of it arrives, and how fast.
struct Arrived {
    share: f64,
    mebibytes_a_second: f64,
}

fn resting(peers: &Peers) {
    report::heading(
        "a reader that rests after each MiB, a publisher without pause (256 MiB of 1 KiB messages, TCP)",
    );
    for rest in RESTS {
        let ours = rested(&Place::Tcp(peers.ours.tcp.clone()), rest);
        let theirs = rested(&Place::Tcp(peers.nats.tcp.clone()), rest);
        let beside = format!("nats-server: {:.3}", theirs.share);
        let what = format!("share that arrives, {} ms of rest", rest.as_millis());
        report::at_least(&what, ours.share, 1.0, &beside);
        let beside = format!("{:.1} and {:.1} MiB/s", ours.mebibytes_a_second, theirs.mebibytes_a_second);
        let over = ours.mebibytes_a_second / theirs.mebibytes_a_second;
        report::at_least("  its pace over nats-server's", over, 0.9, &beside);
    }
}

fn rested(place: &Place, rest: Duration) -> Arrived {
    let count = RESTED / RESTED_SIZE as u64;
    let mut reader = Connection::open(place);
    reader.subscribe("bench.rests");
    let mut publisher = Connection::open(place);
    let start = Instant::now();
    let mut heard = 0;
    thread::scope(|scope| {
        scope.spawn(|| load::publish(&mut publisher, "bench.rests", count, RESTED_SIZE));
        let mut next_rest = 1 << 20;
        while heard < count && reader.read() > 0 {
            reader.messages(|_| heard += 1);
            if heard as usize * RESTED_SIZE >= next_rest {
                thread::sleep(rest);
                next_rest += 1 << 20;
            }
        }
    });
    let mebibytes = (heard as usize * RESTED_SIZE) as f64 / f64::from(1 << 20);
    Arrived {
        share: heard as f64 / count as f64,
        mebibytes_a_second: mebibytes / start.elapsed().as_secs_f64(),
    }
}

fn stopping(peers: &Peers) {
    report::heading(
        "one subscriber that stops reading, three healthy beside it (1.5 M messages of 128 B, TCP)",
    );
    let ours = Place::Tcp(peers.ours.tcp.clone());
    let theirs = Place::Tcp(peers.nats.tcp.clone());
    let mut gaps = Vec::new();
    let mut rates = Vec::new();
    for round in 1..=ROUNDS {
        let before = stream(&ours, false);
        let beside = stream(&ours, true);
        rates.push(beside.rate / before.rate);
        gaps.push(beside.gap.as_secs_f64() * 1000.0);
        let cut = peers.ours.varz()["slow_consumers"].as_u64().unwrap_or(0);
        assert_eq!(cut, round as u64, "the slow one is cut in each round");
    }
    let nats = stream(&theirs, true);
    let nats_gap = format!("nats-server: {:.0} ms", nats.gap.as_secs_f64() * 1000.0);
    report::at_most("longest gap of a healthy one, ms", report::median(&gaps), 100.0, &nats_gap);
    let until = "publishers wait for it until it is cut off, after 10 s (write_deadline)";
    report::plain("their rate over the rate before", report::median(&rates), until);
    let peak = process::resident_peak(peers.ours.child.pid()) as f64 / 1048576.0;
    report::plain("peak memory of the daemon, MiB", peak, "max_pending is 64 MiB");
}

fn stream(place: &Place, with_slow: bool) -> Run {
    let open = |_| {
        let mut subscriber = Connection::open(place);
        subscriber.subscribe("bench.slow");
        subscriber
    };
    let mut healthy: Vec<Connection> = (0..HEALTHY).map(open).collect();
    let slow = with_slow.then(|| open(HEALTHY));
    let mut publisher = Connection::open(place);
    let start = Instant::now();
    let heard: Heard = thread::scope(|scope| {
        let heard = scope.spawn(|| load::hear(&mut healthy, COUNT * HEALTHY as u64));
        load::publish(&mut publisher, "bench.slow", COUNT, SIZE);
        heard.join().expect("the healthy ones lose nothing")
    });
    drop(slow);
    Run { rate: COUNT as f64 / start.elapsed().as_secs_f64(), gap: heard.longest_gap }
}
