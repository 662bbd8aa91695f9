//! What is asked over HTTP about the tables of committed mode: how it goes with them, what is parked, and
//! what shall become of that. The clerk's thread asks the server (outbox/clerk.rs), and the answer is given when
//! it comes; the loop waits for nothing.

use super::answer::Answer;
use super::exchange::{Outcome, bad_request};
use super::target::{Call, Parameters, Target};
use super::visit::{Awaited, Visit};
use crate::Daemon;
use crate::auth::permissions::Rights;
use crate::outbox::{Inquiry, Parked, Told};
use crate::slots::Key;
use serde_json::{Value, json};
use std::time::Duration;

/// How long an answer is waited for. It usually comes within milliseconds; but there may be
/// others before, and locks in the server.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Whoever is named as someone who may publish to these may have parked events sent again, or dropped.
/// Nothing is ever published to them.
const RETRY_SUBJECT: &[u8] = b"$ROWCALL.parked.retry";
const DROP_SUBJECT: &[u8] = b"$ROWCALL.parked.drop";

impl Daemon {
    /// Asks what this call is about, if whoever asks may.
    pub(super) fn on_tables(&mut self, key: Key, call: &Call, target: &Target<'_>) -> Outcome {
        let inquiry = inquiry(call, target).map_err(bad_request)?;
        match &inquiry {
            Inquiry::State | Inquiry::List => self.permit_asking(key)?,
            Inquiry::Retry(_) => self.permit_named(key, RETRY_SUBJECT)?,
            Inquiry::Drop(_) => self.permit_named(key, DROP_SUBJECT)?,
        }
        let rights = self.rights(key).cloned().unwrap_or_default();
        let Some(outbox) = &mut self.outbox else {
            return Err(Answer::text(404, "this daemon reads no outbox (the setting outbox, or --outbox)"));
        };
        let number = outbox.ask(key, inquiry, rights);
        let number = number.map_err(|why| Answer::text(503, &why).field("Retry-After", "1"))?;
        let until = self.now + ANSWER_TIME;
        self.visit(key).into_iter().for_each(|visit| visit.wait_for(Awaited::Tables(number), until));
        Ok(None)
    }

    /// The clerk has an answer, or the server's reason for having none.
    pub(crate) fn on_told(&mut self, key: Key, number: u64, answer: Result<Told, String>) {
        if self.visit(key).and_then(|visit| visit.awaits()) != Some(Awaited::Tables(number)) {
            return;
        }
        let Some(rights) = self.clients.get(key).and_then(|client| client.standing.rights()) else { return };
        let answer = match answer {
            Ok(Told::Forbidden) => {
                Answer::text(403, "this user may not subscribe to the subject of this event")
            }
            Ok(told) => Answer::json(format!("{:#}\n", told_to(rights, told))),
            Err(why) => Answer::text(503, &format!("the database server says: {why}")),
        };
        self.answer(key, &answer);
        self.go_on(key);
    }

    /// Someone is gone, or waits no longer: what the clerk was asked for him need not be answered.
    pub(crate) fn withdraw(&mut self, key: Key) {
        if self.visit(key).is_some_and(|visit: &mut Visit| visit.is_asking()) {
            self.outbox.iter().for_each(|outbox| outbox.withdraw(key));
        }
    }
}

/// What a call asks.
fn inquiry(call: &Call, target: &Target<'_>) -> Result<Inquiry, String> {
    let known: &[&str] = if matches!(call, Call::Retry | Call::Drop) { &["id", "consumer"] } else { &[] };
    let parameters = target.parameters(known)?;
    Ok(match call {
        Call::Retry => Inquiry::Retry(parked(&parameters)?),
        Call::Drop => Inquiry::Drop(parked(&parameters)?),
        Call::Parked => Inquiry::List,
        _ => Inquiry::State,
    })
}

/// One event, named by its id (and its time, as ids come again) and by whom it was given up.
fn parked(parameters: &Parameters<'_>) -> Result<Parked, String> {
    let id = parameters.all("id").next().map(|id| id.split_once('.').unwrap_or((id, "0")));
    let id = id.and_then(|(id, stamp)| Some((id.parse().ok()?, stamp.parse().ok()?)));
    let consumer = parameters.all("consumer").next();
    match (id, consumer) {
        (Some((id, stamp)), Some(consumer)) => Ok(Parked { id, stamp, consumer: consumer.to_owned() }),
        _ => {
            Err("name an event: ?id=7&consumer=mail; what the outbox has parked is of the consumer \"\""
                .into())
        }
    }
}

/// An answer, as far as it may be told to someone with these rights.
fn told_to(rights: &Rights, told: Told) -> Value {
    match told {
        Told::State(state) => state,
        Told::Forbidden => Value::Null,
        Told::Done(events) => json!({ "events": events }),
        Told::Parked { events, count } => {
            let all = events.len();
            let events: Vec<_> =
                events.into_iter().filter(|(subject, _)| rights.may_see(subject)).map(|(_, it)| it).collect();
            json!({ "count": count, "withheld": all - events.len(), "events": events })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::permissions::{Entry, Subscribe};

    fn asked(target: &str) -> Result<Inquiry, String> {
        let target = Target::parse(target).unwrap();
        inquiry(&target.call().unwrap(), &target)
    }

    #[test]
    fn an_event_is_named_by_its_id_and_its_consumer() {
        let it = |id, consumer: &str| Parked { id, stamp: 0, consumer: consumer.into() };
        let one = Parked { stamp: 1_795_531_968_151_202, ..it(7, "mail") };
        let target = "/parked/drop?id=7.1795531968151202&consumer=mail";
        assert_eq!(asked(target), Ok(Inquiry::Drop(one)));
        assert_eq!(asked("/outboxz"), Ok(Inquiry::State));
        assert_eq!(asked("/parked"), Ok(Inquiry::List));
        assert_eq!(asked("/parked/retry?id=7&consumer=mail"), Ok(Inquiry::Retry(it(7, "mail"))));
        assert_eq!(asked("/parked/drop?consumer=&id=7"), Ok(Inquiry::Drop(it(7, ""))));
        for wrong in [
            "/parked/drop?id=7.x&consumer=",
            "/parked/drop",
            "/parked/drop?id=7",
            "/parked/drop?id=-7&consumer=",
            "/parked?id=7",
        ] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_may_hear_a_subject_sees_what_was_parked_of_it() {
        let entry = |filter: &str| Entry { filter: filter.as_bytes().into(), queue: None };
        let with = |allow: Option<&str>, deny: &[&str]| Rights {
            subscribe: Subscribe {
                allow: allow.map(|filter| vec![entry(filter)]),
                deny: deny.iter().map(|filter| entry(filter)).collect(),
            },
            ..Rights::default()
        };
        let sees =
            |rights: &Rights| ["shop.a", "shop.b", "no..subject", ""].map(|it| rights.may_see(it.as_bytes()));
        assert_eq!(sees(&with(None, &[])), [true; 4]);
        assert_eq!(sees(&with(Some("shop.*"), &["shop.b"])), [true, false, false, false]);
        assert_eq!(sees(&with(None, &["shop.>"])), [false, false, true, true]);
        assert_eq!(sees(&with(Some("ask"), &[])), [false; 4]);
    }
}
