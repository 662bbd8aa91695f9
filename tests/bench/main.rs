//! The benchmarks: each figure beside its peer or its floor, measured in the same run, in turn. Not
//! tests: nothing fails here, but a goal that is missed is marked.
//!
//! `make bench` runs all of them; `make bench ONLY="streams sql"` runs some.

mod committed;
mod flood;
mod idle;
mod load;
mod peers;
mod postgres;
mod report;
mod slow;
mod sql;
mod streams;
mod writers;

/// The sections, in the order in which they run.
const SECTIONS: [(&str, fn()); 9] = [
    ("streams", streams::run),
    ("idle", idle::run),
    ("slow", slow::run),
    ("flood", flood::run),
    ("sql", sql::cost_of_an_insert),
    ("away", sql::daemon_away),
    ("request", sql::round_trip),
    ("committed", committed::run),
    ("writers", writers::run),
];

fn main() {
    // Cargo adds --bench.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for word in &wanted {
        assert!(SECTIONS.iter().any(|(name, _)| name == word), "there is no section {word}: {:?}", names());
    }
    for (name, run) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            run();
        }
    }
}

fn names() -> Vec<&'static str> {
    SECTIONS.iter().map(|(name, _)| *name).collect()
}
