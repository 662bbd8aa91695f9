//! The comparison of deliveries with the account (harness/load/settlement.rs) can fail: everything that may
//! be wrong with a log is reported, and nothing else is.

use harness::load::account::{Account, Fate, Written};
use harness::load::settlement::{Conduct, Delivery, Findings, Line, settlement};

/// Two events of one key, one of another, and one that was rolled back.
fn account() -> Account {
    let fates = [Fate::Committed, Fate::Committed, Fate::Unknown, Fate::RolledBack];
    let written =
        (1..).zip(fates).map(|(number, fate)| Written { name: (1, number), transaction: number, fate });
    let kept = [((1, 1), (7, 1)), ((1, 2), (7, 2)), ((1, 3), (8, 1))];
    Account { written: written.collect(), kept: kept.into(), ..Account::default() }
}

fn delivered(payload: &str, again: bool, since: usize, conduct: Conduct) -> Line {
    let id = payload.split('-').nth(1).unwrap().parse().unwrap();
    Line::Delivered(Delivery { id, payload: payload.into(), again, since, conduct })
}

fn first(payload: &str) -> Line {
    delivered(payload, false, 0, Conduct::Prompt)
}

fn sound() -> Vec<Line> {
    vec![
        first("1-1-7-1"),
        Line::Acknowledged(0),
        first("1-2-7-2"),
        first("1-3-8-1"),
        Line::Acknowledged(3),
        Line::Acknowledged(2),
    ]
}

fn findings(log: &[Line]) -> Findings {
    settlement(&mut account(), log)
}

fn complaints(log: &[Line]) -> Vec<String> {
    findings(log).complaints
}

#[test]
fn a_sound_log_is_not_complained_of() {
    let findings = findings(&sound());
    assert!(findings.complaints.is_empty(), "{findings:?}");
    assert_eq!((findings.delivered, findings.unannounced), (3, 0));
}

#[test]
fn what_never_came_is_reported() {
    let mut log = sound();
    log.truncate(2);
    log.extend([first("1-3-8-1"), Line::Acknowledged(2)]);
    assert_eq!(complaints(&log), ["event 2 of writer 1: lost"]);
}

#[test]
fn what_was_never_acknowledged_is_reported() {
    let mut log = sound();
    log.pop();
    assert_eq!(complaints(&log), ["event 2 of writer 1: delivered, and never acknowledged"]);
}

#[test]
fn what_was_rolled_back_and_delivered_is_reported() {
    let mut log = sound();
    log.extend([first("1-4-9-1"), Line::Acknowledged(6)]);
    assert_eq!(complaints(&log), ["event 4 of writer 1: rolled back, and heard"]);
}

#[test]
fn an_event_that_overtakes_another_of_its_key_is_reported() {
    let mut log = sound();
    log.swap(1, 2);
    let Line::Acknowledged(line) = &mut log[5] else { panic!() };
    *line = 1;
    assert_eq!(complaints(&log), ["place 2 of key 7 was delivered while place 1 was not settled"]);
}

/// A fault makes the first event of a key come again; what comes behind it has to wait again.
#[test]
fn an_event_that_overtakes_another_that_came_again_is_reported() {
    let mut log = sound();
    log.extend([Line::FaultBegins, Line::FaultEnds]);
    log.push(delivered("1-1-7-1", false, 8, Conduct::Prompt));
    let with_next = |log: &[Line], since: usize| {
        let next = delivered("1-2-7-2", false, since, Conduct::Prompt);
        complaints(&[log, &[next, Line::Acknowledged(log.len())]].concat())
    };
    let expected = ["place 2 of key 7 was delivered while place 1 was not settled"];
    assert_eq!(with_next(&log, 9), expected);
    // Perhaps it was sent earlier, and read late.
    assert!(with_next(&log, 7).is_empty());
    log.push(Line::Acknowledged(8));
    assert!(with_next(&log, 10).is_empty());
    // Without a fault, what was acknowledged and comes again was on its way.
    let mut log = sound();
    log.push(delivered("1-1-7-1", true, 6, Conduct::Prompt));
    log.push(delivered("1-2-7-2", true, 7, Conduct::Prompt));
    assert!(complaints(&log).is_empty());
}

#[test]
fn a_swapped_order_is_reported_twice() {
    let log = [
        first("1-2-7-2"),
        Line::Acknowledged(0),
        first("1-1-7-1"),
        Line::Acknowledged(2),
        first("1-3-8-1"),
        Line::Acknowledged(4),
    ];
    let complaints = complaints(&log);
    assert!(complaints[0].contains("place 1 of key 7 (id 1) came after place 2 (id 2)"), "{complaints:?}");
    assert_eq!(complaints[1..], ["place 2 of key 7 was delivered while place 1 was not settled"]);
}

#[test]
fn a_repetition_says_so_or_comes_after_a_fault() {
    let mut log = sound();
    log.extend([delivered("1-1-7-1", true, 6, Conduct::Prompt), Line::Acknowledged(6)]);
    let known = findings(&log);
    assert_eq!((known.complaints.len(), known.after_neither, known.unannounced), (0, 1, 0));

    let mut log = sound();
    log.extend([delivered("1-1-7-1", false, 6, Conduct::Prompt), Line::Acknowledged(6)]);
    assert_eq!(complaints(&log), ["1-1-7-1: came again without a word and without a reason"]);

    let mut log = sound();
    log.extend([Line::FaultBegins, Line::FaultEnds]);
    log.extend([delivered("1-1-7-1", false, 8, Conduct::Prompt), Line::Acknowledged(8)]);
    let forgotten = findings(&log);
    assert_eq!((forgotten.complaints.len(), forgotten.unannounced), (0, 1));
    // A fault explains no third one.
    log.push(delivered("1-1-7-1", false, 10, Conduct::Prompt));
    assert_eq!(complaints(&log), ["1-1-7-1: came again without a word and without a reason"]);
}

#[test]
fn a_fault_that_was_over_before_explains_nothing() {
    let mut log = vec![Line::FaultBegins, Line::FaultEnds];
    log.extend([delivered("1-3-8-1", false, 2, Conduct::Refuses)]);
    log.extend([delivered("1-3-8-1", false, 3, Conduct::Prompt), Line::Acknowledged(3)]);
    log.extend([first("1-1-7-1"), Line::Acknowledged(5), first("1-2-7-2"), Line::Acknowledged(7)]);
    assert_eq!(complaints(&log), ["1-3-8-1: came again without a word and without a reason"]);
}

#[test]
fn repetitions_are_told_apart_by_their_reasons() {
    let of = |between: Vec<Line>, conduct| {
        let mut log = sound();
        log[3] = delivered("1-3-8-1", false, 2, conduct);
        log.extend(between);
        log.push(delivered("1-3-8-1", true, 6, Conduct::Prompt));
        let found = findings(&log);
        assert!(found.complaints.is_empty(), "{found:?}");
        (found.after_misconduct, found.after_faults, found.after_neither)
    };
    assert_eq!(of(vec![], Conduct::Refuses), (1, 0, 0));
    assert_eq!(of(vec![Line::WorkerHarmed], Conduct::Prompt), (1, 0, 0));
    assert_eq!(of(vec![Line::FaultBegins, Line::FaultEnds], Conduct::Refuses), (0, 1, 0));
    assert_eq!(of(vec![], Conduct::Busy), (0, 0, 1));
}
