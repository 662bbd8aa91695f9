//! The account of a load: what was written and what became of it, beside what was heard, and
//! everything that is wrong with it. It talks to nobody, so that it can be tested by itself.

use std::collections::{BTreeMap, BTreeSet};

/// Rows that the daemon reads at a time: what one fault can make come again.
const BATCH: usize = 1000;

/// What a writer knows about an event it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server has said that it is committed.
    Committed,
    /// Its statement, its savepoint or its transaction was taken back, or COMMIT was never said.
    RolledBack,
    /// The server died between COMMIT and its answer. The tables tell.
    Unknown,
}

/// Names an event: who wrote it, and that writer's number for it.
pub type Name = (u32, u32);

/// An event that a writer wrote.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Who wrote it, and its number.
    pub name: Name,
    /// The writer's number for the transaction.
    pub transaction: u32,
    /// What became of it.
    pub fate: Fate,
}

/// What an event is about: a key, and its place in the order of that key's commits.
pub type Place = (u32, u64);

/// An event as it was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The row's id.
    pub id: u64,
    /// `writer-number-key-place`.
    pub payload: String,
}

/// Everything that is known at the end.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// What the writers know.
    pub written: Vec<Written>,
    /// What stands in the tables at the end.
    pub kept: BTreeMap<Name, Place>,
    /// In the order in which it came.
    pub heard: Vec<Heard>,
    /// How often the reader, its daemon or its server was killed.
    pub faults: usize,
    /// How many transactions may have been seen before a crash of the server undid them.
    pub undone_at_most: usize,
}

/// What the account comes to.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong, but for the order.
    pub complaints: Vec<String>,
    /// Events of one key that were heard first in another order than that of their commits.
    pub disordered: Vec<String>,
    /// Deliveries of what had been heard before.
    pub repeated: usize,
    /// Events that were heard and whose transaction a crash of the server undid.
    pub undone: BTreeSet<Name>,
}

impl Account {
    /// Compares everything with everything.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = self.compare();
        self.check_repetitions(&mut verdict);
        verdict
    }

    /// The same, however often something was heard.
    pub fn compare(&self) -> Verdict {
        let mut verdict = Verdict::default();
        self.compare_with_tables(&mut verdict);
        let firsts = self.firsts(&mut verdict);
        self.compare_with_heard(&firsts, &mut verdict);
        self.check_ids(&mut verdict);
        self.check_order(&firsts, &mut verdict);
        verdict
    }

    /// What the writers were told must be what the tables hold; else the account itself is unsound.
    fn compare_with_tables(&self, verdict: &mut Verdict) {
        for event in &self.written {
            let kept = self.kept.contains_key(&event.name);
            match event.fate {
                Fate::Committed if !kept => verdict.complain(event.name, "committed, and not in the tables"),
                Fate::RolledBack if kept => verdict.complain(event.name, "rolled back, and in the tables"),
                _ => {}
            }
        }
        let written: BTreeSet<Name> = self.written.iter().map(|event| event.name).collect();
        for name in self.kept.keys().filter(|name| !written.contains(name)) {
            verdict.complain(*name, "in the tables, and written by nobody");
        }
    }

    /// Each event when it was heard first, in that order.
    fn firsts(&self, verdict: &mut Verdict) -> Vec<(Name, Place)> {
        let mut known = BTreeSet::<Name>::new();
        let mut firsts = Vec::new();
        for heard in &self.heard {
            match parts(&heard.payload) {
                Some((name, place)) if known.insert(name) => firsts.push((name, place)),
                Some(_) => verdict.repeated += 1,
                None => verdict.complaints.push(format!("heard what nobody writes: {heard:?}")),
            }
        }
        firsts
    }

    /// A fault may make what was handed on last come again; nothing else does.
    fn check_repetitions(&self, verdict: &mut Verdict) {
        let mut times = BTreeMap::<Name, usize>::new();
        for (name, _) in self.heard.iter().filter_map(|heard| parts(&heard.payload)) {
            let times = times.entry(name).or_default();
            *times += 1;
            if *times > 1 + self.faults {
                verdict.complain(name, "repeated without a reason");
            }
        }
        if verdict.repeated > self.faults * BATCH {
            verdict.complaints.push(format!("{} repetitions are too many", verdict.repeated));
        }
    }

    fn compare_with_heard(&self, firsts: &[(Name, Place)], verdict: &mut Verdict) {
        let written: BTreeMap<Name, &Written> =
            self.written.iter().map(|event| (event.name, event)).collect();
        let mut undone = BTreeSet::new();
        for (name, place) in firsts {
            match (self.kept.get(name), written.get(name)) {
                (Some(kept), _) if kept != place => verdict.complain(*name, "heard with another place"),
                (Some(_), _) => {}
                (None, Some(event)) if event.fate == Fate::Unknown => {
                    undone.insert((name.0, event.transaction));
                    verdict.undone.insert(*name);
                }
                (None, Some(_)) => verdict.complain(*name, "rolled back, and heard"),
                (None, None) => verdict.complain(*name, "heard, and written by nobody"),
            }
        }
        if undone.len() > self.undone_at_most {
            verdict.complaints.push(format!("heard and undone by a crash: {undone:?}"));
        }
        let heard: BTreeSet<Name> = firsts.iter().map(|(name, _)| *name).collect();
        for name in self.kept.keys().filter(|name| !heard.contains(name)) {
            verdict.complain(*name, "lost");
        }
    }

    /// One id for each committed event, and one committed event for each id. An event that a crash has
    /// undone may leave its id to another.
    fn check_ids(&self, verdict: &mut Verdict) {
        let (mut ids, mut names) = (BTreeMap::new(), BTreeMap::new());
        for heard in &self.heard {
            let name = parts(&heard.payload).map(|(name, _)| name);
            let Some(name) = name.filter(|name| self.kept.contains_key(name)) else { continue };
            let same = *ids.entry(name).or_insert(heard.id) == heard.id
                && *names.entry(heard.id).or_insert(name) == name;
            if !same {
                verdict.complain(name, &format!("heard with the id {}, which is not its own", heard.id));
            }
        }
    }

    /// The committed events of one key are heard first in the order of their commits. The ids tell who
    /// is to blame: whoever gave them out, or whoever read them.
    fn check_order(&self, firsts: &[(Name, Place)], verdict: &mut Verdict) {
        let id =
            |name| self.heard.iter().find(|heard| parts(&heard.payload).is_some_and(|(it, _)| it == name));
        let id = |name| id(name).map_or(0, |heard| heard.id);
        let mut last = BTreeMap::<u32, (u64, Name)>::new();
        for (name, (key, place)) in firsts.iter().filter(|(name, _)| self.kept.contains_key(name)) {
            let before = last.insert(*key, (*place, *name));
            if let Some((earlier, its_name)) = before.filter(|(earlier, _)| earlier >= place) {
                let (its_id, id) = (id(its_name), id(*name));
                verdict.disordered.push(format!(
                    "{name:?}: place {place} of key {key} (id {id}) came after place {earlier} (id {its_id})"
                ));
            }
        }
    }
}

impl Verdict {
    pub(super) fn complain(&mut self, (writer, number): Name, what: &str) {
        self.complaints.push(format!("event {number} of writer {writer}: {what}"));
    }
}

/// What a payload says.
pub(super) fn parts(payload: &str) -> Option<(Name, Place)> {
    let mut numbers = payload.split('-').map(|part| part.parse::<u64>().ok());
    let mut next = || numbers.next()?;
    let (writer, number, key, place) = (next()?, next()?, next()?, next()?);
    let narrow = |number: u64| u32::try_from(number).ok();
    Some(((narrow(writer)?, narrow(number)?), (narrow(key)?, place)))
}
