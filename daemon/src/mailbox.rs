//! Replies that wait to be collected: what was submitted, what came back, who asks for it, and what
//! became of the rest. No clock and no connection live here: time is an argument, and answers are
//! fetched by the caller. How all this travels stands in mail.rs.
//!
//! A letter is what the mailbox keeps for a ticket: first only that a reply is awaited, then the reply.
//! It stays until someone says that he has the reply, so that one who gave up while it was on its way
//! can ask again; or until a limit makes the oldest go.

use foldhash::fast::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How many fates are remembered: what is told to whoever asks for a ticket whose letter is gone. Each
/// takes about 200 bytes.
const FATES_MAX: usize = 65_536;

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Letters.
    pub count: usize,
    /// Bytes of their replies.
    pub bytes: usize,
    /// How long a letter stays, from when it was opened.
    pub time: Duration,
}

/// What became of a letter that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Someone has its reply.
    Taken,
    /// There were too many letters.
    EvictedCount,
    /// There were too many bytes.
    EvictedBytes,
    /// It was there for too long.
    EvictedTime,
}

impl Fate {
    /// For SQL and for the counters.
    pub const NAMES: [&'static str; 4] = ["taken", "evicted_count", "evicted_bytes", "evicted_time"];

    /// Its name.
    pub fn name(self) -> &'static str {
        Fate::NAMES[self as usize]
    }
}

/// A message that came for a ticket.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its headers and its payload.
    pub body: Box<[u8]>,
    /// How much of it is the headers.
    pub header_len: usize,
}

/// What someone who asks is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The reply.
    Reply(Rc<Reply>),
    /// The letter is gone.
    Gone(Fate),
    /// The reply has not come.
    Pending,
    /// Nothing is known of such a ticket.
    Unknown,
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Letters opened.
    pub opened: u64,
    /// Replies that came for them.
    pub replies: u64,
    /// Replies that came too late, or for a letter that had one, or for none.
    pub unwanted: u64,
    /// Letters gone, by their fate.
    pub gone: [u64; Fate::NAMES.len()],
    /// Fates that were forgotten again: asked for such a ticket, one says that it is unknown.
    pub forgotten: u64,
}

type Ticket = Rc<[u8]>;

/// The mailbox. `A` says who asks.
#[derive(Debug)]
pub struct Mailbox<A> {
    limits: Limits,
    /// What is kept, in the order in which it was submitted.
    letters: BTreeMap<u64, Letter>,
    /// Those whose reply has come.
    replied: BTreeSet<u64>,
    /// How much the replies are.
    bytes: usize,
    /// Every ticket that something is known of.
    known: HashMap<Ticket, Known, RandomState>,
    /// Those whose letters are gone, the longest gone first.
    gone: VecDeque<Ticket>,
    /// Who waits, for which ticket.
    asking: BTreeMap<(Ticket, u64), Asking<A>>,
    /// The same by when their time is over.
    due: BTreeSet<(Instant, Ticket, u64)>,
    /// What is to be told to whom.
    answers: Vec<(A, Answer)>,
    /// The latest number given to a letter or to someone who asks.
    latest: u64,
    /// What was counted.
    counts: Counts,
}

#[derive(Debug)]
struct Letter {
    ticket: Ticket,
    opened: Instant,
    reply: Option<Rc<Reply>>,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    Letter(u64),
    Gone(Fate),
}

#[derive(Debug)]
struct Asking<A> {
    asker: A,
    until: Instant,
}

impl<A> Mailbox<A> {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Mailbox {
            limits,
            letters: BTreeMap::new(),
            replied: BTreeSet::new(),
            bytes: 0,
            known: HashMap::default(),
            gone: VecDeque::new(),
            asking: BTreeMap::new(),
            due: BTreeSet::new(),
            answers: Vec::new(),
            latest: 0,
            counts: Counts::default(),
        }
    }

    /// A request was submitted: from now on a reply for this ticket is kept.
    pub fn open(&mut self, ticket: &[u8], now: Instant) {
        if self.known.contains_key(ticket) {
            return;
        }
        self.latest += 1;
        self.counts.opened += 1;
        let ticket = Ticket::from(ticket);
        self.known.insert(Rc::clone(&ticket), Known::Letter(self.latest));
        self.letters.insert(self.latest, Letter { ticket, opened: now, reply: None });
        self.keep_limits();
    }

    /// A reply has come. The first one counts.
    pub fn reply(&mut self, ticket: &[u8], body: &[u8], header_len: usize) {
        let (number, letter) = match self.letter(ticket) {
            Some((number, letter)) if letter.reply.is_none() => (number, letter),
            _ => return self.counts.unwanted += 1,
        };
        let reply = Rc::new(Reply { body: body.into(), header_len });
        letter.reply = Some(Rc::clone(&reply));
        let ticket = Rc::clone(&letter.ticket);
        self.counts.replies += 1;
        self.replied.insert(number);
        self.bytes += body.len();
        // First to those who wait for it: it may be too large to be kept.
        self.answer_all(&ticket, &Answer::Reply(reply));
        self.keep_limits();
    }

    /// Someone asks for the reply, and waits for it until then. It may be that the ticket is faster than
    /// the request, on another connection; so one waits for what is unknown as well.
    pub fn ask(&mut self, ticket: &[u8], asker: A, until: Instant, now: Instant) {
        let answer = self.known_of(ticket);
        if until <= now || !matches!(answer, Answer::Pending | Answer::Unknown) {
            return self.answers.push((asker, answer));
        }
        self.latest += 1;
        let ticket = Ticket::from(ticket);
        self.due.insert((until, Rc::clone(&ticket), self.latest));
        self.asking.insert((ticket, self.latest), Asking { asker, until });
    }

    /// Someone has the reply.
    pub fn taken(&mut self, ticket: &[u8]) {
        if let Some((number, letter)) = self.letter(ticket)
            && letter.reply.is_some()
        {
            self.end(number, Fate::Taken);
        }
    }

    /// Ends what is over by now.
    pub fn expire(&mut self, now: Instant) {
        while let Some((&number, letter)) = self.letters.first_key_value()
            && letter.opened + self.limits.time <= now
        {
            self.end(number, Fate::EvictedTime);
        }
        while let Some((until, ..)) = self.due.first()
            && *until <= now
            && let Some((_, ticket, number)) = self.due.pop_first()
        {
            let answer = self.known_of(&ticket);
            if let Some(asking) = self.asking.remove(&(ticket, number)) {
                self.answers.push((asking.asker, answer));
            }
        }
    }

    /// When something is over next.
    pub fn next(&self) -> Option<Instant> {
        let letter = self.letters.values().next().map(|letter| letter.opened + self.limits.time);
        letter.into_iter().chain(self.due.first().map(|(until, ..)| *until)).min()
    }

    /// What is to be told to whom, since it was last asked.
    pub fn answers(&mut self) -> Vec<(A, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// How many letters there are.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// How many of them have their reply, and how many bytes those are.
    pub fn kept(&self) -> (usize, usize) {
        (self.replied.len(), self.bytes)
    }

    /// How many wait for a reply.
    pub fn asking(&self) -> usize {
        self.asking.len()
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn letter(&mut self, ticket: &[u8]) -> Option<(u64, &mut Letter)> {
        match self.known.get(ticket) {
            Some(&Known::Letter(number)) => Some((number, self.letters.get_mut(&number)?)),
            _ => None,
        }
    }

    fn known_of(&mut self, ticket: &[u8]) -> Answer {
        if let Some(&Known::Gone(fate)) = self.known.get(ticket) {
            return Answer::Gone(fate);
        }
        match self.letter(ticket) {
            None => Answer::Unknown,
            Some((_, letter)) => letter.reply.clone().map_or(Answer::Pending, Answer::Reply),
        }
    }

    /// The oldest go: any of them while there are too many, those with a reply while they are too large.
    fn keep_limits(&mut self) {
        while self.letters.len() > self.limits.count
            && let Some((&number, _)) = self.letters.first_key_value()
        {
            self.end(number, Fate::EvictedCount);
        }
        while self.bytes > self.limits.bytes
            && let Some(&number) = self.replied.first()
        {
            self.end(number, Fate::EvictedBytes);
        }
    }

    /// The one place where a letter ends.
    fn end(&mut self, number: u64, fate: Fate) {
        let Some(letter) = self.letters.remove(&number) else { return };
        self.replied.remove(&number);
        self.bytes -= letter.reply.map_or(0, |reply| reply.body.len());
        self.counts.gone[fate as usize] += 1;
        self.known.insert(Rc::clone(&letter.ticket), Known::Gone(fate));
        self.answer_all(&letter.ticket, &Answer::Gone(fate));
        self.gone.push_back(letter.ticket);
        while self.gone.len() > FATES_MAX
            && let Some(ticket) = self.gone.pop_front()
        {
            self.known.remove(&ticket);
            self.counts.forgotten += 1;
        }
    }

    /// Nobody waits for this ticket any more: all are told this.
    fn answer_all(&mut self, ticket: &Ticket, answer: &Answer) {
        let all = (Rc::clone(ticket), 0)..=(Rc::clone(ticket), u64::MAX);
        while let Some((&(_, number), _)) = self.asking.range(all.clone()).next()
            && let Some(asking) = self.asking.remove(&(Rc::clone(ticket), number))
        {
            self.due.remove(&(asking.until, Rc::clone(ticket), number));
            self.answers.push((asking.asker, answer.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { count: 3, bytes: 10, time: Duration::from_secs(60) };

    /// A mailbox, and the time that it is.
    struct Scene {
        mailbox: Mailbox<char>,
        now: Instant,
    }

    impl Scene {
        fn new() -> Scene {
            Scene { mailbox: Mailbox::new(LIMITS), now: Instant::now() }
        }

        fn open(&mut self, ticket: &str) {
            self.mailbox.open(ticket.as_bytes(), self.now);
        }

        fn reply(&mut self, ticket: &str, body: &str) {
            self.mailbox.reply(ticket.as_bytes(), body.as_bytes(), 0);
        }

        fn ask(&mut self, ticket: &str, asker: char, seconds: u64) {
            let until = self.now + Duration::from_secs(seconds);
            self.mailbox.ask(ticket.as_bytes(), asker, until, self.now);
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.mailbox.expire(self.now);
        }

        /// Fails unless these were told these, and nobody anything else.
        fn told(&mut self, expected: &[(char, Answer)]) {
            assert_eq!(self.mailbox.answers(), expected);
        }

        /// Fails unless whoever asks for it now is told this.
        fn tells(&mut self, ticket: &str, expected: Answer) {
            self.ask(ticket, '?', 0);
            self.told(&[('?', expected)]);
        }
    }

    fn reply(body: &str) -> Answer {
        Answer::Reply(Rc::new(Reply { body: body.as_bytes().into(), header_len: 0 }))
    }

    #[test]
    fn a_reply_stays_until_someone_has_it() {
        let mut scene = Scene::new();
        scene.tells("a", Answer::Unknown);
        scene.open("a");
        scene.tells("a", Answer::Pending);
        scene.mailbox.taken(b"a");
        scene.tells("a", Answer::Pending);
        scene.reply("a", "yes");
        scene.reply("a", "no");
        scene.tells("a", reply("yes"));
        scene.tells("a", reply("yes"));
        assert_eq!((scene.mailbox.len(), scene.mailbox.kept()), (1, (1, 3)));
        scene.mailbox.taken(b"a");
        scene.tells("a", Answer::Gone(Fate::Taken));
        scene.reply("a", "late");
        scene.open("a");
        scene.tells("a", Answer::Gone(Fate::Taken));
        assert_eq!((scene.mailbox.len(), scene.mailbox.kept()), (0, (0, 0)));
        let counts = scene.mailbox.counts();
        assert_eq!((counts.opened, counts.replies, counts.unwanted, counts.gone), (1, 1, 2, [1, 0, 0, 0]));
    }

    #[test]
    fn those_who_wait_are_all_told_once() {
        let mut scene = Scene::new();
        scene.open("a");
        scene.ask("a", 'x', 5);
        scene.ask("b", 'y', 6);
        scene.ask("a", 'z', 7);
        scene.told(&[]);
        scene.pass(4);
        scene.told(&[]);
        scene.reply("a", "yes");
        scene.told(&[('x', reply("yes")), ('z', reply("yes"))]);
        // The request was slower than the question.
        scene.open("b");
        scene.told(&[]);
        scene.reply("b", "");
        scene.told(&[('y', reply(""))]);
        scene.pass(10);
        scene.told(&[]);
        assert_eq!(scene.mailbox.asking(), 0);
    }

    #[test]
    fn those_who_wait_in_vain_are_told_so_in_time() {
        let mut scene = Scene::new();
        scene.open("a");
        let start = scene.now;
        scene.ask("a", 'x', 5);
        scene.ask("b", 'y', 3);
        assert_eq!(scene.mailbox.next(), Some(start + Duration::from_secs(3)));
        scene.pass(3);
        scene.told(&[('y', Answer::Unknown)]);
        scene.pass(1);
        scene.told(&[]);
        scene.pass(1);
        scene.told(&[('x', Answer::Pending)]);
        assert_eq!(scene.mailbox.next(), Some(start + LIMITS.time));
        scene.ask("a", 'z', 600);
        scene.pass(55);
        scene.told(&[('z', Answer::Gone(Fate::EvictedTime))]);
        assert_eq!(scene.mailbox.next(), None);
    }

    #[test]
    fn too_many_make_the_oldest_go() {
        let mut scene = Scene::new();
        ["a", "b", "c"].iter().for_each(|ticket| scene.open(ticket));
        scene.reply("a", "yes");
        scene.ask("b", 'x', 5);
        scene.open("d");
        scene.tells("a", Answer::Gone(Fate::EvictedCount));
        scene.open("e");
        scene.told(&[('x', Answer::Gone(Fate::EvictedCount))]);
        ["c", "d", "e"].iter().for_each(|ticket| scene.tells(ticket, Answer::Pending));
        assert_eq!(scene.mailbox.counts().gone, [0, 2, 0, 0]);
    }

    #[test]
    fn too_much_makes_the_oldest_with_a_reply_go() {
        let mut scene = Scene::new();
        ["a", "b", "c"].iter().for_each(|ticket| scene.open(ticket));
        scene.reply("c", "12345");
        scene.reply("b", "12345");
        scene.tells("b", reply("12345"));
        scene.open("d");
        scene.reply("d", "1");
        scene.tells("b", Answer::Gone(Fate::EvictedBytes));
        scene.tells("c", reply("12345"));
        assert_eq!(scene.mailbox.kept(), (2, 6));
        // One that is larger than everything takes all with it, but whoever waits for it gets it.
        scene.open("e");
        scene.ask("e", 'x', 5);
        scene.reply("e", "12345678901");
        scene.told(&[('x', reply("12345678901"))]);
        scene.tells("e", Answer::Gone(Fate::EvictedBytes));
        assert_eq!((scene.mailbox.len(), scene.mailbox.kept()), (0, (0, 0)));
        assert_eq!(scene.mailbox.counts().gone, [0, 1, 4, 0]);
    }

    #[test]
    fn time_makes_them_go_whether_a_reply_came_or_not() {
        let mut scene = Scene::new();
        scene.open("a");
        scene.pass(30);
        scene.open("b");
        scene.reply("a", "yes");
        scene.pass(29);
        scene.tells("a", reply("yes"));
        scene.pass(1);
        scene.tells("a", Answer::Gone(Fate::EvictedTime));
        scene.tells("b", Answer::Pending);
        scene.pass(30);
        scene.tells("b", Answer::Gone(Fate::EvictedTime));
        assert_eq!(scene.mailbox.counts().gone, [0, 0, 0, 2]);
    }

    #[test]
    fn so_many_fates_are_remembered() {
        let mut scene = Scene::new();
        for n in 0..=FATES_MAX + LIMITS.count {
            scene.open(&n.to_string());
        }
        assert_eq!(scene.mailbox.counts().forgotten, 1);
        scene.tells("0", Answer::Unknown);
        scene.tells("1", Answer::Gone(Fate::EvictedCount));
    }

    #[test]
    fn each_fate_has_its_own_counter() {
        let fates = [Fate::Taken, Fate::EvictedCount, Fate::EvictedBytes, Fate::EvictedTime];
        for (n, fate) in fates.iter().enumerate() {
            assert_eq!(fate.name(), Fate::NAMES[n]);
        }
    }
}
