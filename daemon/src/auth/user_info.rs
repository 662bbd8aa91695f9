//! `$SYS.REQ.USER.INFO`: a client asks as whom it is here and what it may do, and is answered in the JSON of
//! nats-server 2.15. Nobody else is told.

use super::permissions::{Entry, Rights, Subscribe};
use crate::Daemon;
use crate::operations::nats_version;
use crate::publish::Asker;
use crate::slots::Key;
use rowcall_wire::Message;
use serde_json::{Map, Value, json};

/// Where it is asked.
pub(crate) const SUBJECT: &[u8] = b"$SYS.REQ.USER.INFO";

/// What a server without accounts calls the one that all are in.
const ACCOUNT: &str = "$G";

impl Daemon {
    /// Answers, on the client's own subscription for it.
    pub(crate) fn tell_user_info(&mut self, from: Key, question: &Message<'_>) {
        let Some(client) = self.clients.get(from) else { return };
        let Some(inbox) = question.reply else { return };
        let mut user = json!({
            "user": client.standing.name().unwrap_or_default(),
            "account": ACCOUNT,
            "account_name": ACCOUNT,
        });
        if let Some(rights) = client.standing.rights().filter(|rights| rights.are_limited()) {
            user["permissions"] = permissions(rights);
        }
        let host = self.config.listen.0.as_ref().map_or("", |address| address.host());
        let answer = json!({
            "server": {
                "name": self.config.server_name,
                "host": host,
                "id": self.server_id,
                "ver": nats_version(),
                "jetstream": false,
                "time": self.time_stamp(),
            },
            "data": user,
        });
        let asker = Asker { client: from, inbox: inbox.into() };
        self.answer_asker(&asker, answer.to_string().as_bytes(), 0);
    }
}

impl Rights {
    /// Whether an administrator has written a list.
    fn are_limited(&self) -> bool {
        !self.publish.is_open() || self.subscribe != Subscribe::default() || self.responses.is_some()
    }
}

fn permissions(rights: &Rights) -> Value {
    let filters = |list: &[Box<[u8]>]| list.iter().map(|filter| text(filter)).collect();
    let entries = |list: &[Entry]| list.iter().map(Entry::to_text).collect();
    let mut all = json!({
        "publish": lists(rights.publish.allow.as_deref().map(filters), filters(&rights.publish.deny)),
        "subscribe": lists(rights.subscribe.allow.as_deref().map(entries), entries(&rights.subscribe.deny)),
    });
    if let Some(how) = rights.responses {
        all["responses"] = json!({ "max": how.max, "ttl": how.ttl.as_nanos() as u64 });
    }
    all
}

/// What is allowed, if not everything, and what is denied, if anything.
fn lists(allow: Option<Vec<String>>, deny: Vec<String>) -> Value {
    let mut lists = Map::new();
    if let Some(allow) = allow {
        lists.insert("allow".into(), allow.into());
    }
    if !deny.is_empty() {
        lists.insert("deny".into(), deny.into());
    }
    lists.into()
}

impl Entry {
    /// As files of users have it: the filter, and the queue behind a blank.
    fn to_text(&self) -> String {
        match &self.queue {
            Some(queue) => format!("{} {}", text(&self.filter), text(queue)),
            None => text(&self.filter),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::permissions::Responses;
    use rowcall_wire::rule::Rule;
    use std::time::Duration;

    #[test]
    fn permissions_are_written_as_the_reference_writes_them() {
        let entry = |filter: &str, queue: Option<&str>| Entry {
            filter: filter.as_bytes().into(),
            queue: queue.map(|queue| queue.as_bytes().into()),
        };
        let rights = Rights {
            publish: Rule { allow: Some(vec![b"a.>".as_slice().into()]), deny: Vec::new() },
            subscribe: Subscribe {
                allow: Some(vec![entry("q.>", Some("g")), entry(">", None)]),
                deny: vec![entry("d", None)],
            },
            responses: Some(Responses { max: 1, ttl: Duration::from_secs(120) }),
            ..Rights::default()
        };
        // nats-server 2.15.1, of a user with these lists and `allow_responses: true`.
        let theirs = r#"{"publish":{"allow":["a.\u003e"]},"subscribe":{"allow":["q.\u003e g","\u003e"],"deny":["d"]},"responses":{"max":1,"ttl":120000000000}}"#;
        assert_eq!(permissions(&rights), serde_json::from_str::<Value>(theirs).unwrap());
    }
}
