//! What workers were given and what they said, beside the account of what was written: everything that is
//! wrong with how a durable consumer was served. It talks to nobody, so that it can be tested by itself;
//! who writes the log stands in load/crew.rs.

use super::account::{Account, Heard, Name, Place, parts};
use super::writers::END;
use std::collections::{BTreeMap, BTreeSet};

/// How a worker behaves about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conduct {
    /// It acknowledges.
    Prompt,
    /// It acknowledges twice.
    Twice,
    /// It says that it is at it, and acknowledges a little later.
    Busy,
    /// It could not do it.
    Refuses,
    /// It acknowledges when its time is over.
    Late,
    /// It never says anything.
    Silent,
    /// It hangs up, with this and all else unanswered.
    HangsUp,
}

/// A delivery, as its worker read it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The row's id.
    pub id: u64,
    /// What was written.
    pub payload: String,
    /// Whether its header says that it was delivered before.
    pub again: bool,
    /// It was sent after the log had so many lines.
    pub since: usize,
    /// What the worker makes of it.
    pub conduct: Conduct,
}

/// A line of the log, which has them in the order in which they happened.
#[derive(Clone, Debug)]
pub enum Line {
    /// A worker has read a delivery.
    Delivered(Delivery),
    /// A worker is about to acknowledge the delivery that stands in this line.
    Acknowledged(usize),
    /// The reader, its daemon or its server is about to be harmed.
    FaultBegins,
    /// The reader is at work again.
    FaultEnds,
    /// A worker was killed or stopped, or goes on.
    WorkerHarmed,
}

/// What the log comes to.
#[derive(Debug, Default)]
pub struct Findings {
    /// Everything that is wrong.
    pub complaints: Vec<String>,
    /// Deliveries that were read.
    pub delivered: usize,
    /// Repetitions that say what they are: after a worker had misbehaved, or was killed or stopped.
    pub after_misconduct: usize,
    /// Those after a fault.
    pub after_faults: usize,
    /// Those after neither: the acknowledgement was lost with the connection of a worker that hung up
    /// about another event, or this machine was too slow for the time that workers have.
    pub after_neither: usize,
    /// Repetitions that do not say what they are, as the daemon could not know; each after a fault.
    pub unannounced: usize,
    /// Events that were delivered and whose transaction a crash of the server undid.
    pub undone: usize,
}

/// Compares the log with the account, which need not know what was heard.
pub fn settlement(account: &mut Account, log: &[Line]) -> Findings {
    let events = || deliveries(log).filter(|(_, delivery)| delivery.payload != END);
    account.heard =
        events().map(|(_, event)| Heard { id: event.id, payload: event.payload.clone() }).collect();
    let verdict = account.compare();
    let mut findings = Findings {
        complaints: verdict.complaints,
        delivered: account.heard.len(),
        undone: verdict.undone.len(),
        ..Findings::default()
    };
    findings.complaints.extend(verdict.disordered);
    check_acknowledged(account, log, &mut findings);
    check_keys(account, log, &mut findings);
    check_repetitions(log, &mut findings);
    findings
}

fn deliveries(log: &[Line]) -> impl Iterator<Item = (usize, &Delivery)> {
    log.iter().enumerate().filter_map(|(at, line)| match line {
        Line::Delivered(delivery) => Some((at, delivery)),
        _ => None,
    })
}

/// What a line acknowledges.
fn acknowledged<'a>(log: &'a [Line], line: &Line) -> Option<&'a Delivery> {
    let Line::Acknowledged(at) = line else { return None };
    match log.get(*at) {
        Some(Line::Delivered(delivery)) => Some(delivery),
        _ => None,
    }
}

/// Whatever is committed was acknowledged.
fn check_acknowledged(account: &Account, log: &[Line], findings: &mut Findings) {
    let said = log.iter().filter_map(|line| acknowledged(log, line));
    let said: BTreeSet<Name> =
        said.filter_map(|delivery| parts(&delivery.payload)).map(|(name, _)| name).collect();
    let heard: BTreeSet<Name> =
        account.heard.iter().filter_map(|heard| parts(&heard.payload)).map(|(name, _)| name).collect();
    for (writer, number) in account.kept.keys().filter(|name| heard.contains(name) && !said.contains(name)) {
        findings
            .complaints
            .push(format!("event {number} of writer {writer}: delivered, and never acknowledged"));
    }
}

/// What is known of a key's events, by their places, while the log is gone through.
#[derive(Default)]
struct Key {
    /// All up to this place were acknowledged, whatever became of it.
    up_to: u64,
    /// So were these.
    beyond: BTreeSet<u64>,
    /// In which line each was acknowledged last.
    acknowledged: BTreeMap<u64, usize>,
    /// Those that a worker has, by all that can be told from the log, and since which line.
    open: BTreeMap<u64, usize>,
}

impl Key {
    fn acknowledge(&mut self, place: u64, line: usize) {
        self.beyond.insert(place);
        while self.beyond.remove(&(self.up_to + 1)) {
            self.up_to += 1;
        }
        self.acknowledged.insert(place, line);
        self.open.remove(&place);
    }

    /// The earlier place that should have kept this one back. What was sent before the open one was
    /// read may be older than that.
    fn held_up_by(&self, place: u64, since: usize) -> Option<u64> {
        let open = || self.open.range(..place).find(|(_, line)| **line <= since).map(|(open, _)| *open);
        (place > self.up_to + 1).then_some(self.up_to + 1).or_else(open)
    }

    /// It is with a worker. If it was acknowledged since the latest fault before it was sent, that may
    /// have been under way; what was said before that fault may be lost.
    fn deliver(&mut self, place: u64, line: usize, fault: usize) {
        if self.acknowledged.get(&place).is_none_or(|said| *said < fault) {
            self.open.insert(place, line);
        }
    }
}

/// No event of a key is delivered while an earlier one is not settled; also not when what was settled
/// comes again after a fault that the acknowledgement did not survive. One complaint about each key is
/// enough: where one event is missing, all later ones come too early.
fn check_keys(account: &Account, log: &[Line], findings: &mut Findings) {
    let kept = |delivery: &Delivery| -> Option<Place> {
        let (name, place) = parts(&delivery.payload)?;
        account.kept.contains_key(&name).then_some(place)
    };
    let faults = faults(log);
    let mut keys = BTreeMap::<u32, Key>::new();
    let mut complained = BTreeSet::new();
    for (at, line) in log.iter().enumerate() {
        if let Some((key, place)) = acknowledged(log, line).and_then(kept) {
            keys.entry(key).or_default().acknowledge(place, at);
        }
        let Line::Delivered(delivery) = line else { continue };
        let Some((number, place)) = kept(delivery) else { continue };
        let key = keys.entry(number).or_default();
        if let Some(first) = key.held_up_by(place, delivery.since).filter(|_| complained.insert(number)) {
            findings.complaints.push(format!(
                "place {place} of key {number} was delivered while place {first} was not settled"
            ));
        }
        let fault = faults.iter().rev().find(|(begin, _)| *begin < delivery.since);
        key.deliver(place, at, fault.map_or(0, |(begin, _)| *begin));
    }
}

/// A repetition says that it is one, or there was a fault between it and the delivery before it. Of two
/// deliveries that both say they are the first, the daemon between has forgotten the one before.
fn check_repetitions(log: &[Line], findings: &mut Findings) {
    let faults = faults(log);
    let fault_within = |from: usize, to: usize| faults.iter().any(|&(begin, end)| begin <= to && end >= from);
    let harmed = |from: usize, to: usize| log[from..to].iter().any(|line| matches!(line, Line::WorkerHarmed));
    // Of each event: the latest delivery of all, and the latest that said it was the first.
    let mut latest = BTreeMap::<&str, &Delivery>::new();
    let mut latest_first = BTreeMap::<&str, &Delivery>::new();
    for (at, delivery) in deliveries(log) {
        let payload = delivery.payload.as_str();
        let before = latest.insert(payload, delivery);
        if delivery.again {
            match before {
                Some(before) if fault_within(before.since, at) => findings.after_faults += 1,
                Some(before) if before.conduct > Conduct::Busy => findings.after_misconduct += 1,
                Some(before) if harmed(before.since, at) => findings.after_misconduct += 1,
                // It was under way to a worker that was killed, which read it never.
                None => findings.after_misconduct += 1,
                Some(_) => findings.after_neither += 1,
            }
        } else if let Some(before) = latest_first.insert(payload, delivery) {
            findings.unannounced += 1;
            if !fault_within(before.since, at) {
                findings
                    .complaints
                    .push(format!("{payload}: came again without a word and without a reason"));
            }
        }
    }
}

/// From which line to which each fault was.
fn faults(log: &[Line]) -> Vec<(usize, usize)> {
    let mut faults = Vec::new();
    for (at, line) in log.iter().enumerate() {
        match line {
            Line::FaultBegins => faults.push((at, log.len())),
            Line::FaultEnds => faults.last_mut().unwrap().1 = at,
            _ => {}
        }
    }
    faults
}
