//! Who may publish and subscribe to what: the rules themselves. Where they are read from stands in
//! auth/file.rs, where they are asked in auth/enforce.rs.
//!
//! Nothing that is not allowed is ever received: a subscription is refused unless a filter on the allow
//! list covers it whole, and what a deny filter matches within a wider subscription is left out at
//! delivery, message by message.

use rowcall_wire::rule::Rule;
use rowcall_wire::subject;
use std::time::Duration;

/// What the inboxes of the library inside the server, and of the command, begin with. Sixteen
/// hexadecimal digits that nobody guesses follow.
const OWN_INBOX: &[u8] = b"_INBOX.rowcall.";

/// How many digits those are.
const OWN_INBOX_DIGITS: usize = 16;

/// What someone may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// What may be published to.
    pub(crate) publish: Rule,
    /// What may be subscribed to.
    pub(crate) subscribe: Subscribe,
    /// Whether requests that were received may be answered, wherever the answer goes.
    pub(crate) responses: Option<Responses>,
    /// Whether the inboxes of our own programs are allowed besides: on the Unix socket.
    pub(crate) own_inboxes: bool,
}

/// What may be subscribed to. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscribe {
    /// Only what one of these covers; `None` is everything.
    pub(crate) allow: Option<Vec<Entry>>,
    /// Never what one of these matches.
    pub(crate) deny: Vec<Entry>,
}

/// A filter; with a queue, an entry about subscriptions that belong to such a queue group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) filter: Box<[u8]>,
    /// The group's name, in which `*` and `>` may stand for tokens.
    pub(crate) queue: Option<Box<[u8]>>,
}

/// How a request that was received may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Responses {
    /// How many messages may go to its reply subject.
    pub(crate) max: u32,
    /// For how long.
    pub(crate) ttl: Duration,
}

impl Rights {
    /// Whether this subject may be published to.
    pub(crate) fn may_publish(&self, subject: &[u8]) -> bool {
        self.publish.permits(subject)
    }

    /// Whether a request may be answered, once, that was received so long ago.
    pub(crate) fn may_reply(&self, reply: &[u8], age: Duration) -> bool {
        self.may_publish(reply) || self.responses.is_some_and(|how| how.max > 0 && age < how.ttl)
    }

    /// Whether this may be subscribed to.
    pub(crate) fn may_subscribe(&self, filter: &[u8], queue: Option<&[u8]>) -> bool {
        (self.own_inboxes && is_own_inbox(filter)) || self.subscribe.permits(filter, queue)
    }

    /// Whether a right that stands for more than a message is given by its name, and not by `>` or `*`.
    pub(crate) fn is_named(&self, subject: &[u8]) -> bool {
        let named = |filter: &[u8]| [subject::RIGHTS, subject::ACK].iter().any(|it| filter.starts_with(it));
        let names = |filter: &[u8]| named(filter) && subject::matches(filter, subject);
        self.may_publish(subject) && self.publish.allow.iter().flatten().any(|filter| names(filter))
    }

    /// Whether there is anything that may be subscribed to.
    pub(crate) fn hears_something(&self) -> bool {
        let denied = self.subscribe.deny.iter().any(|it| it.queue.is_none() && &*it.filter == b">");
        !denied && self.subscribe.allow.as_ref().is_none_or(|allow| !allow.is_empty())
    }

    /// Whether an event may be seen that was not delivered: who may hear its subject. One whose subject is none
    /// may be seen by whoever may hear everything.
    pub(crate) fn may_see(&self, subject: &[u8]) -> bool {
        let filter = if subject::publishable(subject).is_ok() { subject } else { b">" };
        self.may_subscribe(filter, None) && self.may_receive(subject)
    }

    /// Whether some messages must be kept from someone whose subscription was accepted.
    pub(crate) fn withholds(&self) -> bool {
        self.subscribe.deny.iter().any(|entry| entry.queue.is_none())
    }

    /// Whether a message on this subject may be delivered to someone whose subscription was accepted.
    pub(crate) fn may_receive(&self, subject: &[u8]) -> bool {
        let denies = |entry: &Entry| entry.queue.is_none() && subject::matches(&entry.filter, subject);
        !self.subscribe.deny.iter().any(denies) || (self.own_inboxes && is_own_inbox(subject))
    }
}

impl Subscribe {
    fn permits(&self, filter: &[u8], queue: Option<&[u8]>) -> bool {
        self.allow.as_deref().is_none_or(|allow| allows(allow, filter, queue))
            && !self.deny.iter().any(|entry| entry.denies(filter, queue))
    }
}

/// As the reference has it: entries without a queue hold for every subscription, but where one with a
/// queue is about the filter as well, the group must be one of those.
fn allows(allow: &[Entry], filter: &[u8], queue: Option<&[u8]>) -> bool {
    let covering = || allow.iter().filter(|entry| subject::covers(&entry.filter, filter));
    let plain = covering().any(|entry| entry.queue.is_none());
    let mut named = covering().filter_map(|entry| entry.queue.as_deref()).peekable();
    match queue {
        Some(queue) if named.peek().is_some() => named.any(|name| subject::matches(name, queue)),
        _ => plain,
    }
}

impl Entry {
    /// Whether it forbids the subscription whole. A filter with wildcards that it merely meets is left
    /// to `may_receive`, unless it is about a queue group: deliveries know of none.
    fn denies(&self, filter: &[u8], queue: Option<&[u8]>) -> bool {
        match (&self.queue, queue) {
            (None, _) => subject::matches(&self.filter, filter),
            (Some(name), Some(queue)) => {
                subject::matches(name, queue) && subject::overlap(&self.filter, filter)
            }
            (Some(_), None) => false,
        }
    }
}

/// Whether the subject or filter is the inbox of one of our own programs, or below it.
fn is_own_inbox(subject: &[u8]) -> bool {
    let Some(rest) = subject.strip_prefix(OWN_INBOX) else { return false };
    let Some((digits, behind)) = rest.split_at_checked(OWN_INBOX_DIGITS) else { return false };
    let below = match behind.split_first() {
        None => true,
        Some((b'.', token)) => !token.is_empty() && !token.contains(&b'.') && token != b">",
        Some(_) => false,
    };
    below && digits.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as a file has them: the filter, and perhaps a queue behind a blank.
    fn entries(list: &[&str]) -> Vec<Entry> {
        let entry = |text: &&str| {
            let (filter, queue) = text.split_once(' ').map_or((*text, None), |(f, q)| (f, Some(q)));
            Entry { filter: filter.as_bytes().into(), queue: queue.map(|queue| queue.as_bytes().into()) }
        };
        list.iter().map(entry).collect()
    }

    fn rights(allow: Option<&[&str]>, deny: &[&str]) -> Rights {
        Rights {
            subscribe: Subscribe { allow: allow.map(entries), deny: entries(deny) },
            ..Rights::default()
        }
    }

    fn check(rights: &Rights, subscription: &str, expected: bool) {
        let (filter, queue) =
            subscription.split_once(' ').map_or((subscription, None), |(f, q)| (f, Some(q.as_bytes())));
        let got = rights.may_subscribe(filter.as_bytes(), queue);
        assert_eq!(got, expected, "{subscription} with {rights:?}");
    }

    #[test]
    fn without_lists_everything_is_allowed() {
        let all = Rights::default();
        check(&all, ">", true);
        check(&all, "a.* q", true);
        assert!(all.may_publish(b"a") && all.may_receive(b"a") && !all.withholds());
    }

    #[test]
    fn a_subscription_is_allowed_only_if_it_is_covered() {
        let some = rights(Some(&["foo.*", "bar.>", "one"]), &[]);
        for fine in ["foo.a", "foo.*", "bar.a.b", "bar.*.x", "bar.>", "one", "one q"] {
            check(&some, fine, true);
        }
        // The reference lets the first of these pass, and with it everything below foo.
        for wrong in ["foo.>", "foo", "foo.a.b", "*", ">", "*.a", "bar", "two", "o*"] {
            check(&some, wrong, false);
        }
        check(&rights(Some(&[]), &[]), "a", false);
    }

    #[test]
    fn some_rights_are_given_by_their_name_only() {
        let with = |allow: Option<&[&str]>| {
            let allow = allow.map(|list| list.iter().map(|it| it.as_bytes().into()).collect());
            Rights {
                publish: Rule { allow, deny: vec![b"$ROWCALL.no".as_slice().into()] },
                ..Rights::default()
            }
        };
        for wide in [None, Some(&[">"][..]), Some(&["*.parked.drop"]), Some(&["$ROWCALL.no"])] {
            assert!(!with(wide).is_named(b"$ROWCALL.parked.drop"), "{wide:?}");
        }
        assert!(with(Some(&["a", "$ROWCALL.parked.*"])).is_named(b"$ROWCALL.parked.drop"));
        assert!(!with(Some(&["$ROWCALL.>"])).is_named(b"$ROWCALL.no"));
        let ack = b"$JS.ACK.rowcall.mail.1.7.9.42000.5";
        assert!(with(Some(&["$JS.ACK.rowcall.mail.>"])).is_named(ack));
        assert!(
            !with(Some(&["$JS.ACK.>"])).is_named(ack)
                && !with(Some(&["$JS.ACK.rowcall.sms.>"])).is_named(ack)
        );
    }

    #[test]
    fn who_may_hear_something_is_known() {
        assert!(Rights::default().hears_something() && rights(Some(&["a"]), &["b"]).hears_something());
        assert!(!rights(Some(&[]), &[]).hears_something() && !rights(None, &[">"]).hears_something());
    }

    #[test]
    fn what_is_denied_is_refused_or_left_out() {
        let most = rights(None, &["secret.*", "a.b.>"]);
        for wrong in ["secret.x", "secret.*", "secret.>", "a.b.c", "a.b.>"] {
            check(&most, wrong, false);
        }
        for fine in [">", "*.x", "a.*.c", "secret", "secret.x.y", "a.>"] {
            check(&most, fine, true);
        }
        assert!(most.withholds());
        for (subject, expected) in
            [("secret.x", false), ("secret.x.y", true), ("a.b.c", false), ("a.b", true), ("other", true)]
        {
            assert_eq!(most.may_receive(subject.as_bytes()), expected, "{subject}");
        }
        let both = rights(Some(&["a.>"]), &["a.x"]);
        check(&both, "a.x", false);
        for fine in ["a.y", "a.*", "a.>", "a.*.b"] {
            check(&both, fine, true);
        }
    }

    #[test]
    fn queue_groups_have_entries_of_their_own() {
        let work = rights(Some(&["work.* crew", "work.* v1.>", "free", "free some"]), &[]);
        check(&work, "work.a crew", true);
        check(&work, "work.a v1.x.y", true);
        check(&work, "work.a other", false);
        check(&work, "work.a", false);
        check(&work, "free", true);
        check(&work, "free some", true);
        check(&work, "free other", false);
        let not = rights(None, &["work.a crew", "log.* *.dev"]);
        check(&not, "work.a crew", false);
        check(&not, "work.a other", true);
        check(&not, "work.a", true);
        // A wider one of that group would be given what is denied.
        check(&not, "work.> crew", false);
        check(&not, "work.> other", true);
        check(&not, "log.x a.dev", false);
        check(&not, "log.x a.prod", true);
        assert!(!not.withholds() && not.may_receive(b"work.a"));
    }

    #[test]
    fn inboxes_of_our_own_are_allowed_where_that_is_said() {
        let nothing = rights(Some(&[]), &[">"]);
        let own = Rights { own_inboxes: true, ..nothing.clone() };
        for inbox in ["_INBOX.rowcall.0123456789abcdef.*", "_INBOX.rowcall.0123456789abcdef"] {
            check(&own, inbox, true);
            check(&nothing, inbox, false);
        }
        assert!(own.may_receive(b"_INBOX.rowcall.0123456789abcdef.7"));
        for other in [
            "_INBOX.rowcall.*.*",
            "_INBOX.rowcall.>",
            "_INBOX.rowcall.0123456789abcdef.>",
            "_INBOX.rowcall.0123456789abcde.*",
            "_INBOX.rowcall.0123456789abcdef0",
            "_INBOX.rowcall.0123456789abcdef.a.b",
            "_INBOX.rowcall.0123456789abcdef.",
            "_INBOX.x",
        ] {
            check(&own, other, false);
            assert!(!own.may_receive(other.as_bytes()), "{other}");
        }
    }
}
