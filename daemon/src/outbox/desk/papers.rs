//! What lies on the desk, as types. Who puts it there and who takes it stands in outbox/desk.rs.

use super::super::event::Event;
use super::super::window::Settings;
use super::After;
use crate::auth::permissions::Rights;
use crate::publish::Asker;
use crate::slots::Key;
use serde_json::Value;
use std::time::Duration;

/// What the reader has for the loop.
pub(in crate::outbox) enum News {
    /// A connection has ended: nothing is known of any consumer. Notes are of this epoch from now on.
    Epoch(u64),
    /// The consumers there are.
    Consumers(Vec<Settings>),
    /// Events that were just read.
    Batch(Vec<Event>),
    /// What was wanted for a consumer; `all` if its table holds no more.
    Loaded { consumer: u32, events: Vec<Loaded>, all: bool },
    /// There is more in a consumer's table than was told.
    More(u32),
    /// A consumer's events up to this position are gone.
    Gone { consumer: u32, up_to: u64 },
    /// What was answered has been written down, and these want to know.
    Written(Vec<Asker>),
    /// What a listener wanted to hear again.
    Recalled(Recalled),
    /// What someone has asked about the tables, or why there is no answer.
    Told { client: Key, number: u64, answer: Result<Told, String> },
}

/// Someone asks about the tables. The number tells this question from his others.
pub(in crate::outbox) struct Question {
    pub(in crate::outbox) client: Key,
    pub(in crate::outbox) number: u64,
    pub(in crate::outbox) inquiry: Inquiry,
    /// What he may do.
    pub(in crate::outbox) rights: Rights,
}

/// What can be asked about the tables, or wanted of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inquiry {
    /// How it goes, and what the server is set to.
    State,
    /// What is parked.
    List,
    /// A parked event is to be sent again.
    Retry(Parked),
    /// A parked event is to be deleted.
    Drop(Parked),
}

/// One parked event, or all of an id: who has given it up, nobody being the outbox itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) id: u64,
    /// When it was written, in microseconds since 1970; 0 for all of that id.
    pub(crate) stamp: u64,
    pub(crate) consumer: String,
}

impl Parked {
    /// The condition for its time, behind another condition, as SQL.
    pub(in crate::outbox) fn of_stamp(&self) -> String {
        match self.stamp {
            0 => String::new(),
            stamp => format!(" AND {STAMP} = {stamp}"),
        }
    }
}

/// When an event was written, in microseconds since 1970, as SQL, whatever the session's time zone.
pub(in crate::outbox) const STAMP: &str = "CAST(UNIX_TIMESTAMP(created_at) * 1000000 AS UNSIGNED)";

/// What is answered.
#[derive(Clone)]
pub(crate) enum Told {
    State(Value),
    /// Parked events, each with its subject, by which it is decided who may see it; and how many there are.
    Parked {
        events: Vec<(Vec<u8>, Value)>,
        count: u64,
    },
    /// It is of a subject that whoever asks may not hear.
    Forbidden,
    /// To so many events this was done.
    Done(u64),
}

/// Someone wants to hear what he may have missed: what still waits, comes after this event, and has a
/// subject that one of these filters matches.
pub(in crate::outbox) struct Recall {
    pub(in crate::outbox) client: Key,
    pub(in crate::outbox) after: After,
    pub(in crate::outbox) filters: Vec<Vec<u8>>,
}

/// What was found of it, in the order in which it was read.
pub(crate) struct Recalled {
    pub(crate) client: Key,
    pub(crate) events: Vec<Event>,
    /// Where to go on, if there is more.
    pub(crate) more: Option<String>,
    /// Whether everything was looked at that has waited for long.
    pub(crate) complete: bool,
}

/// An event out of a consumer's table.
pub(in crate::outbox) struct Loaded {
    pub(in crate::outbox) position: u64,
    pub(in crate::outbox) event: Event,
    pub(in crate::outbox) deliveries: u32,
    /// Not again before so long from now.
    pub(in crate::outbox) pause: Option<Duration>,
}

/// More of a consumer's table, behind a position.
pub(in crate::outbox) struct Want {
    pub(in crate::outbox) consumer: u32,
    pub(in crate::outbox) behind: u64,
    pub(in crate::outbox) rows: usize,
}

/// What became of a consumer's event.
pub(in crate::outbox) struct Note {
    pub(in crate::outbox) consumer: u32,
    pub(in crate::outbox) position: u64,
    pub(in crate::outbox) id: u64,
    pub(in crate::outbox) fate: Fate,
    /// Who wants to know that it has been written down.
    pub(in crate::outbox) confirm: Option<Asker>,
}

pub(in crate::outbox) enum Fate {
    /// A worker has acknowledged it.
    Settled,
    /// It was delivered so often, and no answer has come yet.
    Delivered(u32),
    /// So many deliveries have failed, the last one for this reason; again after the pause.
    Failed { deliveries: u32, why: &'static str, pause: Duration },
    /// It was not tried, and counts so many deliveries without that one.
    Released(u32),
    /// It is given up: the word for `parked`, and what happened last.
    Parked { deliveries: u32, reason: &'static str, why: &'static str },
}

impl Fate {
    /// What `parked` says of an event that no delivery has settled.
    pub(in crate::outbox) const MAX_DELIVERIES: &'static str = "max_deliveries";
    /// What it says of one that a worker has given up.
    pub(in crate::outbox) const TERMINATED: &'static str = "terminated";
}

/// What the reader does, or why it does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It connects for the first time.
    #[default]
    Starting,
    /// Another daemon reads this outbox; it waits for that one's end.
    StandingBy,
    /// It reads.
    Reading,
    /// It cannot, for this reason, and tries again.
    Waiting(String),
}

impl Phase {
    /// For the pages and the numbers.
    pub(crate) const NAMES: [&'static str; 4] = ["starting", "standing_by", "reading", "waiting"];

    /// Which of them it is.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Phase::Starting => Phase::NAMES[0],
            Phase::StandingBy => Phase::NAMES[1],
            Phase::Reading => Phase::NAMES[2],
            Phase::Waiting(_) => Phase::NAMES[3],
        }
    }
}

/// Why the reader should look again.
pub(in crate::outbox) enum Woken {
    /// SQL has written a row; its transaction may be open still.
    Poked,
    /// There is something of consumers to be written down or to be loaded.
    Asked,
    /// Nothing has happened in the time given.
    Time,
    /// The daemon is leaving.
    Leaving,
}
