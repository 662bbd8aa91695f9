//! Durable consumers under load while everything around them fails: what is committed is settled, and
//! nothing else is even delivered. The long version is `make soak ONLY=faults`; that the comparison itself
//! can fail is shown in sabotage.rs.

mod settlement;

use harness::Kind;
use harness::load::durable::{Durable, Fault};

on_each_server!(what_is_committed_is_settled_whatever_fails);

/// Deliveries before, between and after faults.
const SOME: usize = 400;

fn what_is_committed_is_settled_whatever_fails(kind: Kind) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let Some(mut load) = Durable::start(kind, seed, &[]) else { return };
    let mut faults = Fault::ALL;
    load.random.shuffle(&mut faults);
    for fault in faults {
        load.go_on(SOME);
        load.suffer(fault);
    }
    load.go_on(SOME);
    let report = load.end();
    eprintln!("{report}");
    report.assert_sound();
    // A load without these would prove little.
    assert!(report.committed >= 2500 && report.fates[1] >= 100, "{report}");
}
