//! Tokens: what a worker who came by HTTP was given names, when it answers on another connection, whom the
//! answer is for. Bounded in number and time. Pure: the time is given, and so is what nobody can guess.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Tokens at a time. Each takes some 300 bytes with what it stands for, so all of them 20 MB. The oldest go
/// first: whoever asked is the likeliest not to wait any more.
const TOKENS_MAX: usize = 65_536;

/// How long a token is known: longer than anyone waits for a reply (a ticket's is kept for ten minutes), and
/// than most work takes. Each `/progress` begins it anew.
const TOKEN_TIME: Duration = Duration::from_secs(3600);

/// What is to be answered.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    numbers: HashMap<Box<str>, u64>,
    /// By when they were given, the oldest first.
    held: BTreeMap<u64, Held>,
    last: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Held {
    token: Box<str>,
    /// Where the answer goes.
    reply: Box<[u8]>,
    since: Instant,
}

/// What became of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Keeps where the answer to this token goes.
    pub(crate) fn give(&mut self, token: &str, reply: &[u8], now: Instant) {
        self.expire(now);
        if self.held.len() >= TOKENS_MAX && self.forget_oldest() {
            self.counts.evicted += 1;
        }
        self.counts.given += 1;
        self.put(token.into(), reply.into(), now);
    }

    fn put(&mut self, token: Box<str>, reply: Box<[u8]>, now: Instant) {
        self.last += 1;
        self.numbers.insert(token.clone(), self.last);
        self.held.insert(self.last, Held { token, reply, since: now });
    }

    /// Where the answer to this token goes, if it is known.
    pub(crate) fn find(&mut self, token: &str, now: Instant) -> Option<&[u8]> {
        self.expire(now);
        let found = self.numbers.get(token).and_then(|number| self.held.get(number));
        self.counts.unknown += u64::from(found.is_none());
        found.map(|held| &held.reply[..])
    }

    /// The token was answered with: it is not known any more.
    pub(crate) fn used(&mut self, token: &str) {
        if self.remove(token).is_some() {
            self.counts.used += 1;
        }
    }

    /// Its worker is still at it.
    pub(crate) fn renew(&mut self, token: &str, now: Instant) {
        if let Some(held) = self.remove(token) {
            self.put(held.token, held.reply, now);
        }
    }

    fn remove(&mut self, token: &str) -> Option<Held> {
        self.numbers.remove(token).and_then(|number| self.held.remove(&number))
    }

    fn expire(&mut self, now: Instant) {
        while self.held.first_key_value().is_some_and(|(_, held)| is_over(held, now)) && self.forget_oldest()
        {
            self.counts.expired += 1;
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.held.pop_first();
        oldest.is_some_and(|(_, held)| self.numbers.remove(&held.token).is_some())
    }

    /// How many are known at that time, and what became of all others.
    pub(crate) fn account(&self, now: Instant) -> (usize, Counts) {
        let over = self.held.values().take_while(|held| is_over(held, now)).count();
        let expired = self.counts.expired + over as u64;
        (self.held.len() - over, Counts { expired, ..self.counts })
    }
}

fn is_over(held: &Held, now: Instant) -> bool {
    held.since + TOKEN_TIME <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_where_its_answer_goes() {
        let now = Instant::now();
        let mut tokens = Tokens::default();
        tokens.give("a", b"in.1", now);
        tokens.give("b", b"in.2", now);
        assert_eq!(tokens.find("b", now), Some(&b"in.2"[..]));
        tokens.used("b");
        assert_eq!(tokens.find("b", now), None);
        assert_eq!(tokens.find("a", now), Some(&b"in.1"[..]));
        let counts = Counts { given: 2, used: 1, unknown: 1, ..Counts::default() };
        assert_eq!(tokens.account(now), (1, counts));
    }

    #[test]
    fn tokens_are_forgotten_in_time_and_counted() {
        let start = Instant::now();
        let mut tokens = Tokens::default();
        for token in ["a", "b", "c"] {
            tokens.give(token, b"in", start);
        }
        let later = start + TOKEN_TIME / 2;
        tokens.renew("a", later);
        tokens.renew("nobody's", later);
        let over = start + TOKEN_TIME;
        let counts = Counts { given: 3, expired: 2, ..Counts::default() };
        assert_eq!(tokens.account(over), (1, counts), "counted before they are looked for");
        assert_eq!(tokens.find("b", over), None);
        assert!(tokens.find("a", over).is_some());
        assert_eq!(tokens.find("a", later + TOKEN_TIME), None);
        assert_eq!(tokens.account(over).1, Counts { given: 3, expired: 3, unknown: 2, ..Counts::default() });
        assert!(tokens.numbers.is_empty());
    }

    #[test]
    fn of_too_many_the_oldest_go() {
        let now = Instant::now();
        let mut tokens = Tokens::default();
        for n in 0..TOKENS_MAX + 2 {
            tokens.give(&n.to_string(), b"in", now);
        }
        let (known, counts) = tokens.account(now);
        assert_eq!((known, counts.evicted, tokens.numbers.len()), (TOKENS_MAX, 2, TOKENS_MAX));
        assert_eq!(tokens.find("1", now), None);
        assert!(tokens.find("2", now).is_some());
    }
}
