//! Committed mode, the loop's side: events that the reader found are handed on to whoever listens,
//! and pokes go to the reader. The reader and its connection stand in outbox/reader.rs, on a thread
//! of its own; the two sides meet at the desk (outbox/desk.rs). Durable consumers stand in
//! outbox/workers.rs; what people ask is answered on a third thread (outbox/clerk.rs).

mod activated;
mod clerk;
mod desk;
mod dial;
mod event;
mod found;
mod held;
mod ledger;
mod option_file;
mod portion;
mod reader;
mod receipt;
mod sabotage;
mod server;
mod statements;
mod transaction;
mod trouble;
mod window;
mod workers;

use crate::auth::permissions::Rights;
use crate::client::Client;
use crate::poll::{READ, Ready};
use crate::slots::{Key, Slots};
use crate::timers::Soonest;
use crate::{Daemon, Handler, Timer};
use clerk::Clerk;
pub(crate) use desk::Phase;
pub(crate) use desk::{After, Inquiry, Parked, Recalled, Told};
use desk::{Desk, News, Question, Recall};
use dial::Dial;
use event::Event;
use reader::Reader;
use receipt::Receipt;
pub(crate) use receipt::{consumer_of, delivery_subject};
use rowcall_wire::Message;
use rowcall_wire::rule::Rule;
use sabotage::Sabotage;
use serde::Serialize;
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use window::{Tally, Window};

/// The numbers of committed mode; their names in JSON are these.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers<'a> {
    pub(crate) state: &'static str,
    pub(crate) why: Option<String>,
    pub(crate) held: usize,
    pub(crate) handed_on: u64,
    pub(crate) parked: u64,
    pub(crate) consumers: Vec<ConsumerNumbers<'a>>,
}

/// The same of a durable consumer, as far as this daemon knows.
#[derive(Debug, Serialize)]
pub(crate) struct ConsumerNumbers<'a> {
    pub(crate) name: &'a str,
    pub(crate) paused: bool,
    pub(crate) in_memory: usize,
    pub(crate) unacked: usize,
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
}

/// How long to wait before looking again whether those who lag behind have caught up.
const HOLD: Duration = Duration::from_millis(2);

/// Who has taken something in this time reads, and the next batch waits for them. Longer than for
/// publishers, who wait themselves: here only rows wait, in their table.
pub(crate) const READING: Duration = Duration::from_secs(1);

/// A batch is at most this part of what a subscriber may be owed: one who is owed half can be given
/// another batch without being cut off.
const BATCH_PART: usize = 4;

/// The loop's end of committed mode.
pub(crate) struct Outbox {
    desk: Arc<Desk>,
    /// Whether someone who reads lagged behind when the current batch was handed on.
    someone_lags: bool,
    /// Events handed on.
    handed_on: u64,
    /// Questions about the tables that were asked.
    questions: u64,
    /// Durable consumers, by their ids.
    consumers: Vec<Window>,
    /// Those for which something has changed in this turn, or whose workers could not take more.
    touched: BTreeSet<u32>,
    /// Which connection of the reader they are about.
    epoch: u64,
    /// What was counted of each in earlier ones.
    tallies: HashMap<u32, Tally>,
    /// The deadline set for them.
    deadline: Soonest,
}

/// Whether someone who wants to hear again what he may have missed will be answered.
pub(crate) enum Asked {
    Yes,
    /// Not now: the reader is not reading, or too many ask.
    NotNow,
    /// Never: another daemon reads.
    Nobody,
}

impl Outbox {
    /// Starts the thread; the option file says where the server is and as whom to connect.
    fn start(option_file: &Path, max_payload: usize, batch_max: usize, rule: Rule) -> Result<Outbox, String> {
        let desk = Desk::new().map_err(|errno| format!("cannot make an eventfd: {errno}"))?;
        desk.set_rule(rule);
        let desk = Arc::new(desk);
        let dial = Arc::new(Dial::new(option_file.to_owned()));
        let cannot = |error| format!("cannot start a thread: {error}");
        let clerk = Clerk { desk: Arc::clone(&desk), dial: Arc::clone(&dial) };
        thread::Builder::new().name("clerk".into()).spawn(move || clerk.run()).map_err(cannot)?;
        let (portion, sabotage) = (Cell::default(), Sabotage::asked());
        let reader = Reader {
            desk: Arc::clone(&desk),
            dial,
            max_payload,
            batch_max,
            portion,
            looked: Cell::default(),
            sabotage,
        };
        thread::Builder::new().name("reader".into()).spawn(move || reader.run()).map_err(cannot)?;
        Ok(Outbox {
            desk,
            someone_lags: false,
            handed_on: 0,
            questions: 0,
            consumers: Vec::new(),
            touched: BTreeSet::new(),
            epoch: 0,
            tallies: HashMap::new(),
            deadline: Soonest::default(),
        })
    }

    /// SQL has written a row.
    pub(crate) fn poke(&self) {
        self.desk.poke();
    }

    /// What SQL may publish to from now on.
    pub(crate) fn set_rule(&self, rule: Rule) {
        self.desk.set_rule(rule);
    }

    /// Asks for what still waits after this event and is matched by one of these filters.
    pub(crate) fn recall(&self, client: Key, after: After, filters: &[Vec<u8>]) -> Asked {
        match self.desk.phase() {
            Phase::StandingBy => Asked::Nobody,
            Phase::Starting | Phase::Waiting(_) => Asked::NotNow,
            Phase::Reading => match self.desk.recall(Recall { client, after, filters: filters.to_vec() }) {
                true => Asked::Yes,
                false => Asked::NotNow,
            },
        }
    }

    /// Asks the clerk something about the tables, for this client; gives the question's number, or says
    /// why it is not asked.
    pub(crate) fn ask(&mut self, client: Key, inquiry: Inquiry, rights: Rights) -> Result<u64, String> {
        match self.desk.phase() {
            Phase::Reading => {}
            Phase::Starting => return Err("the outbox's reader is starting".into()),
            Phase::StandingBy => return Err("another daemon reads this outbox: ask that one".into()),
            Phase::Waiting(why) => return Err(format!("the outbox is not read: {why}")),
        }
        self.questions += 1;
        let number = self.questions;
        match self.desk.ask(Question { client, number, inquiry, rights }) {
            true => Ok(number),
            false => Err("too many ask about the tables at once".into()),
        }
    }

    /// Whether this client has the event that such a receipt was given for.
    pub(crate) fn is_with(&self, receipt: &Receipt<'_>, client: Key) -> bool {
        let named = self.consumers.iter().find(|window| window.settings.name == receipt.consumer);
        named.is_some_and(|window| window.is_with(receipt.position, client))
    }

    /// Someone is gone, or waits no longer, and with that what he asked.
    pub(crate) fn withdraw(&self, client: Key) {
        self.desk.withdraw(client);
    }

    /// Whether nothing of it is under way any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.desk.has_ended()
    }
}

impl Daemon {
    /// Begins to read the outbox, if the configuration names one.
    pub(crate) fn open_outbox(&mut self) -> Result<(), String> {
        let Some(option_file) = &self.config.outbox.0 else { return Ok(()) };
        let batch_max = self.config.max_pending.0 / BATCH_PART;
        let rule = self.config.access.sql.rights.publish.clone();
        let outbox = Outbox::start(option_file, self.config.max_payload.0, batch_max, rule)?;
        // There is one such descriptor and its handler needs no key.
        let key = Slots::default().insert(());
        let added = self.poll.add(outbox.desk.bell(), Handler::Outbox as u8, key, READ);
        added.map_err(|errno| format!("cannot watch the reader's bell: {errno}"))?;
        self.outbox = Some(outbox);
        Ok(())
    }

    /// Something lies on the desk.
    pub(crate) fn on_outbox(&mut self, _: Key, _: Ready) {
        if self.take_news() {
            self.answer_reader();
        }
    }

    /// Leaving begins: what lies on the desk is handed on while there is still someone to hand it to,
    /// and nothing more is put there.
    pub(crate) fn leave_outbox(&mut self) {
        let Some(outbox) = &self.outbox else { return };
        outbox.desk.leave();
        self.take_news();
        if let Some(outbox) = &self.outbox {
            outbox.desk.handed_on();
        }
    }

    /// Does what the news on the desk says; says whether there was a batch to hand on.
    fn take_news(&mut self) -> bool {
        let news = self.outbox.as_ref().map(|outbox| outbox.desk.take_news()).unwrap_or_default();
        let mut batches = 0;
        for news in news {
            match news {
                News::Batch(batch) => {
                    self.hand_on_batch(batch);
                    batches += 1;
                }
                News::Recalled(recalled) => self.on_recalled(&recalled),
                News::Told { client, number, answer } => self.on_told(client, number, answer),
                other => self.on_news(other),
            }
        }
        batches > 0
    }

    fn hand_on_batch(&mut self, batch: Vec<Event>) {
        let count = batch.len() as u64;
        let mut lags = false;
        for event in batch {
            self.hand_on(&event);
            lags |= self.has_lagging_reader(&event.subject);
            if let Some(outbox) = &mut self.outbox
                && !event.consumers.is_empty()
            {
                outbox.offer(&Rc::new(event));
            }
        }
        // They count as handed on once they are in the subscribers' sockets, or owed to them.
        self.flush();
        if let Some(outbox) = &mut self.outbox {
            outbox.handed_on += count;
            outbox.someone_lags = lags;
        }
    }

    /// What committed mode does, for whoever asks over HTTP; nothing where it is switched off.
    pub(crate) fn outbox_numbers(&self) -> Option<Numbers<'_>> {
        let outbox = self.outbox.as_ref()?;
        let state = outbox.desk.phase();
        let (held, held_for) = outbox.desk.held().unzip();
        let why = if let Phase::Waiting(why) = &state { Some(why.clone()) } else { held_for };
        Some(Numbers {
            state: state.name(),
            why,
            // None is held where none is noted.
            held: held.unwrap_or(0),
            handed_on: outbox.handed_on,
            parked: outbox.desk.parked(),
            consumers: outbox.consumers.iter().map(Window::numbers).collect(),
        })
    }

    /// What the outbox's reader is doing, if there is one.
    pub(crate) fn outbox_phase(&self) -> Option<Phase> {
        Some(self.outbox.as_ref()?.desk.phase())
    }

    fn hand_on(&mut self, event: &Event) {
        let message =
            Message { subject: &event.subject, reply: None, body: &event.body, header_len: event.header_len };
        self.publish(None, &message);
    }

    /// Tells the reader to go on, once everyone who reads has caught up: a backlog is read faster
    /// than most subscribers take it, and they are not to be cut off for that.
    pub(crate) fn answer_reader(&mut self) {
        let Some(outbox) = &mut self.outbox else { return };
        let lags = |client: &Client| client.lags_and_reads(self.now, READING);
        outbox.someone_lags = outbox.someone_lags && self.clients.iter().any(|(_, client)| lags(client));
        if outbox.someone_lags {
            self.timers.set(self.now + HOLD, Timer::Outbox);
        } else {
            outbox.desk.handed_on();
        }
    }
}
