//! Tokens: what a worker who came by HTTP was given names, when it answers on another connection, whom the
//! answer is for. Bounded in size and time, and nobody's are pushed out by those of someone who has more.
//! Pure: the time is given, and so is what nobody can guess.

use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes of all tokens: 65,536 of them with such inboxes as clients make. Of the user who holds the most, the
/// oldest go first: whoever asked is the likeliest not to wait any more.
const BYTES_MAX: usize = 16 << 20;

/// What each takes, beside where its answer goes.
const TOKEN_BYTES: usize = 200;

/// How long a token is known: longer than anyone waits for a reply (a ticket's is kept for ten minutes), and
/// than most work takes. Each `/progress` begins it anew.
const TOKEN_TIME: Duration = Duration::from_secs(3600);

/// What is to be answered.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// Who holds each, and its number.
    known: HashMap<Rc<str>, (Rc<str>, u64)>,
    /// What each user holds.
    held: HashMap<Rc<str>, Holding>,
    /// Of all together.
    bytes: usize,
    last: u64,
    counts: Counts,
}

/// The tokens of one user.
#[derive(Debug, Default)]
struct Holding {
    /// By when they were given, the oldest first.
    tokens: BTreeMap<u64, Held>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    token: Rc<str>,
    /// Where the answer goes.
    reply: Box<[u8]>,
    since: Instant,
}

/// What became of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Given to workers.
    pub(crate) given: u64,
    /// Answered with.
    pub(crate) used: u64,
    /// Forgotten because nobody answered for so long.
    pub(crate) expired: u64,
    /// Forgotten because there were too many.
    pub(crate) evicted: u64,
    /// Asked for and not known.
    pub(crate) unknown: u64,
}

impl Tokens {
    /// Keeps where the answer to this token goes, which this user may give.
    pub(crate) fn give(&mut self, user: &str, token: &str, reply: &[u8], now: Instant) {
        self.expire(now);
        self.counts.given += 1;
        let held = self.held.get_key_value(user);
        let user = held.map_or_else(|| user.into(), |(user, _)| Rc::clone(user));
        self.put(user, Held { token: token.into(), reply: reply.into(), since: now });
        while self.bytes > BYTES_MAX
            && let Some((user, _)) = self.held.iter().max_by_key(|(_, holding)| holding.bytes)
        {
            let user = Rc::clone(user);
            self.forget_oldest(&user);
            self.counts.evicted += 1;
        }
    }

    /// Where the answer to this token goes and since when it is awaited, if it is known and was given to this
    /// user.
    pub(crate) fn find(&mut self, user: &str, token: &str, now: Instant) -> Option<(&[u8], Instant)> {
        self.expire(now);
        self.counts.unknown += u64::from(self.peek(user, token).is_none());
        self.peek(user, token)
    }

    /// The same without counting, for one who is not answered yet.
    pub(crate) fn peek(&self, user: &str, token: &str) -> Option<(&[u8], Instant)> {
        let (holder, number) = self.known.get(token).filter(|(holder, _)| **holder == *user)?;
        self.held.get(holder)?.tokens.get(number).map(|held| (&*held.reply, held.since))
    }

    /// The token was answered with: it is not known any more.
    pub(crate) fn used(&mut self, token: &str) {
        if self.remove(token).is_some() {
            self.counts.used += 1;
        }
    }

    /// Its worker is still at it.
    pub(crate) fn renew(&mut self, token: &str, now: Instant) {
        if let Some((user, held)) = self.remove(token) {
            self.put(user, Held { since: now, ..held });
        }
    }

    fn put(&mut self, user: Rc<str>, held: Held) {
        self.last += 1;
        self.known.insert(Rc::clone(&held.token), (Rc::clone(&user), self.last));
        self.bytes += held.size();
        let holding = self.held.entry(user).or_default();
        holding.bytes += held.size();
        holding.tokens.insert(self.last, held);
    }

    fn remove(&mut self, token: &str) -> Option<(Rc<str>, Held)> {
        let (user, number) = self.known.remove(token)?;
        let holding = self.held.get_mut(&user)?;
        let held = holding.tokens.remove(&number)?;
        holding.bytes -= held.size();
        self.bytes -= held.size();
        if holding.tokens.is_empty() {
            self.held.remove(&user);
        }
        Some((user, held))
    }

    fn expire(&mut self, now: Instant) {
        let is_over = |holding: &Holding| holding.oldest().is_some_and(|held| held.is_over(now));
        while let Some((user, _)) = self.held.iter().find(|(_, holding)| is_over(holding)) {
            let user = Rc::clone(user);
            self.forget_oldest(&user);
            self.counts.expired += 1;
        }
    }

    fn forget_oldest(&mut self, user: &str) {
        let oldest = self.held.get(user).and_then(Holding::oldest);
        if let Some(token) = oldest.map(|held| Rc::clone(&held.token)) {
            self.remove(&token);
        }
    }

    /// How many are known at that time, and what became of all others.
    pub(crate) fn account(&self, now: Instant) -> (usize, Counts) {
        let over = |holding: &Holding| holding.tokens.values().take_while(|held| held.is_over(now)).count();
        let over: usize = self.held.values().map(over).sum();
        let expired = self.counts.expired + over as u64;
        (self.known.len() - over, Counts { expired, ..self.counts })
    }
}

impl Holding {
    fn oldest(&self) -> Option<&Held> {
        self.tokens.first_key_value().map(|(_, held)| held)
    }
}

impl Held {
    fn size(&self) -> usize {
        TOKEN_BYTES + self.reply.len()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.since + TOKEN_TIME <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_where_its_answer_goes() {
        let now = Instant::now();
        let mut tokens = Tokens::default();
        tokens.give("u", "a", b"in.1", now);
        tokens.give("u", "b", b"in.2", now);
        assert_eq!(tokens.find("u", "b", now), Some((&b"in.2"[..], now)));
        tokens.used("b");
        assert_eq!(tokens.find("u", "b", now), None);
        assert_eq!(tokens.find("u", "a", now), Some((&b"in.1"[..], now)));
        assert_eq!(tokens.find("v", "a", now), None, "it was given to someone else");
        let counts = Counts { given: 2, used: 1, unknown: 2, ..Counts::default() };
        assert_eq!(tokens.account(now), (1, counts));
    }

    #[test]
    fn tokens_are_forgotten_in_time_and_counted() {
        let start = Instant::now();
        let mut tokens = Tokens::default();
        for (user, token) in [("u", "a"), ("u", "b"), ("v", "c")] {
            tokens.give(user, token, b"in", start);
        }
        let later = start + TOKEN_TIME / 2;
        tokens.renew("a", later);
        tokens.renew("nobody's", later);
        let over = start + TOKEN_TIME;
        let counts = Counts { given: 3, expired: 2, ..Counts::default() };
        assert_eq!(tokens.account(over), (1, counts), "counted before they are looked for");
        assert_eq!(tokens.find("u", "b", over), None);
        assert!(tokens.find("u", "a", over).is_some());
        assert_eq!(tokens.find("u", "a", later + TOKEN_TIME), None);
        assert_eq!(tokens.account(over).1, Counts { given: 3, expired: 3, unknown: 2, ..Counts::default() });
        assert!(tokens.known.is_empty() && tokens.held.is_empty() && tokens.bytes == 0);
    }

    #[test]
    fn of_too_many_the_oldest_of_whoever_has_the_most_go() {
        let now = Instant::now();
        let mut tokens = Tokens::default();
        let reply = [b'r'; 56];
        let fit = BYTES_MAX / (TOKEN_BYTES + reply.len());
        tokens.give("modest", "first", &reply, now);
        for n in 0..fit + 1 {
            tokens.give("greedy", &n.to_string(), &reply, now);
        }
        let (known, counts) = tokens.account(now);
        assert_eq!((known, counts.evicted, fit), (fit, 2, 65_536));
        assert!(tokens.find("modest", "first", now).is_some());
        assert_eq!(tokens.find("greedy", "1", now), None);
        assert!(tokens.find("greedy", "2", now).is_some());
        // One whose answers go far away takes as much as many others.
        tokens.give("modest", "second", &[b'r'; 4000], now);
        assert!(tokens.bytes <= BYTES_MAX && tokens.account(now).1.evicted > 2 + 4000 / 256);
        let sum: usize = tokens.held.values().map(|holding| holding.bytes).sum();
        assert_eq!((sum, tokens.find("modest", "first", now).is_some()), (tokens.bytes, true));
    }
}
