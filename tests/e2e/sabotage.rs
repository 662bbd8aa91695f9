//! The comparison that committed_load.rs, faults.rs and the soak rest on would find what they look for: with
//! a reader that makes one of three mistakes, a short load ends with complaints, and with the one that
//! there is, the same load ends with none. The mistakes stand in daemon/src/outbox/sabotage.rs.

use harness::load::account::{Fate, Written};
use harness::load::durable::{Durable, Report};
use harness::{Kind, eventually};
use rowcall_mysql::Connection;

on_each_server!(
    a_reader_without_a_mistake_is_not_complained_of,
    a_reader_with_a_cursor_is_found_out,
    a_reader_that_deletes_a_range_is_found_out,
    a_reader_that_deletes_too_early_is_found_out,
);

/// Deliveries before, between and after what may go wrong.
const SOME: usize = 300;

/// How often the worst case is made.
const ROUNDS: u32 = 3;

/// Whoever writes beside the writers, and the keys it writes about.
const WRITER: u32 = 9;
const QUICK: u32 = 100;
const SLOW: u32 = 101;

/// What the daemon takes for no mistake.
const NONE: &str = "none";

fn start(kind: Kind, mistake: &'static str) -> Option<Durable> {
    let mut load = Durable::start(kind, 1, &[("ROWCALL_SABOTAGE", mistake)])?;
    if mistake != NONE {
        load.site.daemon().child.says("SABOTAGE");
    }
    load.go_on(SOME);
    Some(load)
}

fn end(load: Durable, mistake: &str) -> Report {
    let report = load.end();
    eprintln!("{mistake}: {report}\n  {} complaints", report.findings.complaints.len());
    report
}

fn a_reader_without_a_mistake_is_not_complained_of(kind: Kind) {
    let Some(mut load) = start(kind, NONE) else { return };
    straggle(&mut load);
    kill_with_hands_full(&mut load);
    end(load, "no mistake").assert_sound();
}

fn a_reader_with_a_cursor_is_found_out(kind: Kind) {
    let Some(mut load) = start(kind, "cursor") else { return };
    straggle(&mut load);
    assert_stragglers_are_lost(&end(load, "a cursor"));
}

fn a_reader_that_deletes_a_range_is_found_out(kind: Kind) {
    let Some(mut load) = start(kind, "range") else { return };
    straggle(&mut load);
    assert_stragglers_are_lost(&end(load, "a range"));
}

fn a_reader_that_deletes_too_early_is_found_out(kind: Kind) {
    let Some(mut load) = start(kind, "early") else { return };
    kill_with_hands_full(&mut load);
    let report = end(load, "too early");
    let complaints = &report.findings.complaints;
    assert!(complaints.iter().any(|what| what.ends_with(": lost")), "{complaints:#?}");
    let unsettled = |what: &String| what.ends_with(": delivered, and never acknowledged");
    assert!(complaints.iter().any(unsettled), "{complaints:#?}");
}

fn assert_stragglers_are_lost(report: &Report) {
    for round in 0..ROUNDS {
        let lost = format!("event {} of writer {WRITER}: lost", 3 * round + 2);
        assert!(report.findings.complaints.contains(&lost), "{lost}: {:#?}", report.findings.complaints);
    }
}

/// One transaction writes an event, another one the next, the first one a third; and when what the first
/// one committed has been delivered, the second one commits what lies between. A reader that deletes a
/// range may have read a batch before that, and waits to delete what lies between: that is as bad.
fn straggle(load: &mut Durable) {
    load.sql.query(format!("INSERT INTO counters (k) VALUES ({QUICK}), ({SLOW})")).unwrap();
    let [mut quick, mut slow] = [(); 2].map(|()| Connection::connect(&load.site.server.options()).unwrap());
    let tell = |sql: &mut Connection, number: u32, key: u32| {
        sql.query(format!("CALL tell({WRITER}, {number}, {key})")).unwrap();
    };
    for round in 0..ROUNDS {
        let first = 3 * round + 1;
        quick.query("START TRANSACTION").unwrap();
        tell(&mut quick, first, QUICK);
        slow.query("START TRANSACTION").unwrap();
        tell(&mut slow, first + 1, SLOW);
        let between = format!("{WRITER}-{}-{SLOW}-{}", first + 1, round + 1);
        let between = slow.value(format!("SELECT id FROM rowcall.outbox WHERE payload = '{between}'"));
        let between = between.unwrap().unwrap().parse().unwrap();
        tell(&mut quick, first + 2, QUICK);
        quick.query("COMMIT").unwrap();
        let last = format!("{WRITER}-{}-{QUICK}-{}", first + 2, 2 * round + 2);
        eventually(&last, || {
            (load.crew.knows(&last).0 || deletes_range_with(&mut load.sql, between)).then_some(())
        });
        slow.query("COMMIT").unwrap();
        for number in first..first + 3 {
            let fate = Fate::Committed;
            load.account.written.push(Written { name: (WRITER, number), transaction: first, fate });
        }
    }
    load.go_on(SOME);
}

/// Whether a reader is about to delete this row with whatever else lies in a range.
fn deletes_range_with(sql: &mut Connection, id: u64) -> bool {
    let begin = "DELETE FROM rowcall.outbox WHERE id BETWEEN ";
    let query = format!("SELECT info FROM information_schema.processlist WHERE info LIKE '{begin}%'");
    let range = sql.value(query).unwrap();
    let range = range.as_deref().and_then(|info| info.strip_prefix(begin)?.split_once(" AND "));
    range.is_some_and(|(first, last)| (first.parse().unwrap()..=last.parse().unwrap()).contains(&id))
}

/// Kills the daemon while the workers have events that they say nothing about, and it has more.
fn kill_with_hands_full(load: &mut Durable) {
    load.crew.be_mute(true);
    let committed = load.committed() + SOME;
    eventually("more events", || (load.committed() >= committed).then_some(()));
    load.go_on(20);
    load.crew.fault_begins();
    load.kill_daemon();
    load.crew.fault_ends();
    load.crew.be_mute(false);
    load.go_on(SOME);
}
