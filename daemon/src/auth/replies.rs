//! Which replies someone may still give: of each request that was delivered to him, its reply subject,
//! how often and until when. Bounded; no clock lives here.

use super::permissions::Responses;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

/// How many requests may be unanswered at a time; of more, the oldest can no longer be answered. The
/// reference's limit.
const REPLIES_MAX: usize = 4096;

/// The longest reply subject that is remembered, in bytes: longer than any client's inbox, and short
/// enough that someone who is sent requests on purpose costs at most 2 MiB.
const SUBJECT_MAX: usize = 512;

/// What one connection may still answer.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    open: HashMap<Rc<[u8]>, Open>,
    /// In the order in which they came; those that were answered meanwhile among them.
    order: VecDeque<(Instant, Rc<[u8]>)>,
}

#[derive(Debug)]
struct Open {
    left: u32,
    until: Instant,
}

impl Replies {
    /// A request was delivered that is to be answered there.
    pub(crate) fn grant(&mut self, subject: &[u8], how: Responses, now: Instant) {
        if subject.len() > SUBJECT_MAX {
            return;
        }
        while let Some((until, _)) = self.order.front()
            && (*until <= now || self.open.len() >= REPLIES_MAX)
        {
            self.forget_oldest();
        }
        if self.order.len() >= 2 * REPLIES_MAX {
            let open = &self.open;
            self.order.retain(|(until, subject)| open.get(subject).is_some_and(|open| open.until == *until));
        }
        let (subject, until): (Rc<[u8]>, _) = (subject.into(), now + how.ttl);
        self.order.push_back((until, Rc::clone(&subject)));
        self.open.insert(subject, Open { left: how.max, until });
    }

    /// Whether a message may go there; it counts as one of those that may.
    pub(crate) fn take(&mut self, subject: &[u8], now: Instant) -> bool {
        let Some(open) = self.open.get_mut(subject) else { return false };
        let may = open.left > 0 && now < open.until;
        open.left = open.left.saturating_sub(1);
        if !may || open.left == 0 {
            self.open.remove(subject);
        }
        may
    }

    fn forget_oldest(&mut self) {
        if let Some((until, subject)) = self.order.pop_front()
            && self.open.get(&subject).is_some_and(|open| open.until == until)
        {
            self.open.remove(&subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ONCE: Responses = Responses { max: 1, ttl: Duration::from_secs(10) };

    #[test]
    fn a_reply_may_be_given_so_often_and_so_long() {
        let (mut replies, now) = (Replies::default(), Instant::now());
        assert!(!replies.take(b"r", now));
        replies.grant(b"r", ONCE, now);
        assert!(!replies.take(b"other", now));
        assert!(replies.take(b"r", now));
        assert!(!replies.take(b"r", now));
        replies.grant(b"r", Responses { max: 2, ..ONCE }, now);
        assert!(replies.take(b"r", now) && replies.take(b"r", now) && !replies.take(b"r", now));
        replies.grant(b"r", ONCE, now);
        assert!(!replies.take(b"r", now + ONCE.ttl));
        assert!(!replies.take(b"r", now), "too late is too late");
    }

    #[test]
    fn a_second_request_with_the_same_inbox_begins_anew() {
        let (mut replies, now) = (Replies::default(), Instant::now());
        replies.grant(b"r", ONCE, now);
        let later = now + Duration::from_secs(5);
        replies.grant(b"r", ONCE, later);
        // The first one's time is over, the second one's is not.
        let over = now + ONCE.ttl;
        replies.grant(b"s", ONCE, over);
        assert!(replies.take(b"r", over));
    }

    #[test]
    fn there_is_a_bound_and_the_oldest_go() {
        let (mut replies, now) = (Replies::default(), Instant::now());
        let subject = |n: usize| format!("r.{n}").into_bytes();
        for n in 0..REPLIES_MAX + 10 {
            replies.grant(&subject(n), ONCE, now);
        }
        assert_eq!(replies.open.len(), REPLIES_MAX);
        assert!(!replies.take(&subject(9), now) && replies.take(&subject(10), now));
        // Those that are answered at once leave nothing that grows.
        for n in 0..10 * REPLIES_MAX {
            replies.grant(b"once", ONCE, now);
            assert!(replies.take(b"once", now), "{n}");
        }
        assert!(replies.order.len() <= 2 * REPLIES_MAX);
        assert!(replies.take(&subject(REPLIES_MAX), now), "and push out nobody who waits");
        replies.grant(&[b'a'; SUBJECT_MAX + 1], ONCE, now);
        assert!(!replies.take(&[b'a'; SUBJECT_MAX + 1], now));
    }
}
