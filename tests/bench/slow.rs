//! One subscriber that stops reading, three healthy ones beside it: do they notice, and is it cut?

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

pub fn run() {
    report::heading(
        "one subscriber that stops reading, three healthy beside it (1.5 M messages of 128 B, TCP)",
    );
    let peers = Peers::start();
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
    report::at_least("their rate over the rate before", report::median(&rates), 0.8, "");
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
