//! `make soak`: what takes too long for `make test`. Each scenario runs on both servers, prints what
//! it measured, and fails if something is lost or has grown without bound.

mod backlog;
mod faults;

use harness::Kind;

/// Its name, and what runs it.
type Scenario = (&'static str, fn(Kind));

fn main() {
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let scenarios: [Scenario; 2] = [("backlog", backlog::run), ("faults", faults::run)];
    for (name, run) in scenarios {
        if only.is_empty() || only.iter().any(|word| word == name) {
            [Kind::MariaDb, Kind::MySql].into_iter().filter(|kind| kind.is_there()).for_each(run);
        }
    }
}
