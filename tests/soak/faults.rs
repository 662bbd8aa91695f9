//! A durable consumer whose daemon, server, reader and workers are killed and stopped, one after the
//! other, while eight sessions write. What is committed must be settled, and nothing else delivered;
//! tests/e2e/faults.rs has a short version. SEED=… in the environment repeats an order of faults.

use harness::Kind;
use harness::load::durable::{Durable, Fault};

/// Events that are committed at least.
const EVENTS: usize = 300_000;

/// What makes a debug build lose events (daemon/src/outbox/sabotage.rs). A release must not know it.
const SABOTAGE: (&str, &str) = ("ROWCALL_SABOTAGE", "early");

pub fn run(kind: Kind) {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("{kind:?}: seed {seed}");
    let mut load = Durable::start(kind, seed, &[SABOTAGE]).expect("the server is there");
    let mut faults = Fault::ALL;
    while load.committed() < EVENTS {
        load.random.shuffle(&mut faults);
        for fault in faults {
            let some = load.random.usize(200..5000);
            load.go_on(some);
            load.suffer(fault);
        }
    }
    let report = load.end();
    println!("{report}");
    report.assert_sound();
}
