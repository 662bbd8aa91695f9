//! `/connz`: who is connected, as JSON, under the names that the reference's tools read.

use super::subsz::Shown;
use super::{LIMIT, limit, number, span, stamp};
use crate::client::Traffic;
use crate::slots::Key;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// One connection.
pub(super) struct Connection<'a> {
    pub(super) key: Key,
    pub(super) cid: u64,
    /// How it came: `nats`, `unix` or `http`.
    pub(super) kind: &'static str,
    /// As whom it has logged in.
    pub(super) user: Option<&'a str>,
    /// Its address; nothing on a Unix socket.
    pub(super) peer: Option<SocketAddr>,
    pub(super) age: Duration,
    pub(super) idle: Duration,
    pub(super) pending_bytes: usize,
    pub(super) traffic: Traffic,
    pub(super) subscriptions: usize,
    pub(super) name: Option<&'a str>,
    pub(super) lang: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    /// Filled only if they are asked for.
    pub(super) subscriptions_shown: Vec<Shown<'a>>,
}

/// How much is told of each subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscriptions {
    Subjects,
    Details,
}

/// What of it is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    sort: Sort,
    offset: usize,
    limit: usize,
    cid: Option<u64>,
    /// Connections that have ended are not remembered, so asking for those alone shows none.
    none: bool,
    pub(super) subscriptions: Option<Subscriptions>,
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    Cid,
    Subs,
    Pending,
    MessagesTo,
    MessagesFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
}

impl Wanted {
    /// Reads the query.
    pub(super) fn from_query(query: &str) -> Result<Wanted, String> {
        let mut wanted =
            Wanted { sort: Sort::Cid, offset: 0, limit: LIMIT, cid: None, none: false, subscriptions: None };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sort" => wanted.sort = Sort::from_name(&value)?,
                "offset" => wanted.offset = number(&name, &value)?,
                "limit" => wanted.limit = limit(&value)?,
                "cid" => wanted.cid = Some(number(&name, &value)? as u64),
                "state" => wanted.none = is_closed_only(&value)?,
                "subs" => {
                    wanted.subscriptions = match &*value {
                        "detail" => Some(Subscriptions::Details),
                        "1" | "t" | "true" => Some(Subscriptions::Subjects),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        Ok(wanted)
    }

    /// Leaves those that are asked for, in their order.
    pub(super) fn choose(&self, all: &mut Vec<Connection<'_>>) {
        all.retain(|connection| !self.none && self.cid.is_none_or(|cid| cid == connection.cid));
        self.sort.apply(all);
        all.drain(..self.offset.min(all.len()));
        all.truncate(self.limit);
    }
}

impl Sort {
    fn from_name(name: &str) -> Result<Sort, String> {
        Ok(match name {
            "cid" | "start" | "" => Sort::Cid,
            "subs" => Sort::Subs,
            "pending" => Sort::Pending,
            "msgs_to" => Sort::MessagesTo,
            "msgs_from" => Sort::MessagesFrom,
            "bytes_to" => Sort::BytesTo,
            "bytes_from" => Sort::BytesFrom,
            "last" => Sort::Last,
            "idle" => Sort::Idle,
            "uptime" => Sort::Uptime,
            _ => return Err(format!("invalid sorting option: {name}")),
        })
    }

    /// The largest first, but by cid the oldest.
    fn apply(self, all: &mut [Connection<'_>]) {
        match self {
            Sort::Cid => all.sort_by_key(|one| one.cid),
            Sort::Subs => all.sort_by_key(|one| Reverse(one.subscriptions)),
            Sort::Pending => all.sort_by_key(|one| Reverse(one.pending_bytes)),
            Sort::MessagesTo => all.sort_by_key(|one| Reverse(one.traffic.out_msgs)),
            Sort::MessagesFrom => all.sort_by_key(|one| Reverse(one.traffic.in_msgs)),
            Sort::BytesTo => all.sort_by_key(|one| Reverse(one.traffic.out_bytes)),
            Sort::BytesFrom => all.sort_by_key(|one| Reverse(one.traffic.in_bytes)),
            Sort::Last => all.sort_by_key(|one| one.idle),
            Sort::Idle => all.sort_by_key(|one| Reverse(one.idle)),
            Sort::Uptime => all.sort_by_key(|one| Reverse(one.age)),
        }
    }
}

fn is_closed_only(state: &str) -> Result<bool, String> {
    match state {
        "open" | "any" | "all" | "" => Ok(false),
        "closed" => Ok(true),
        _ => Err(format!("state={state}: expected open, closed or any")),
    }
}

/// The page.
pub(super) fn render(
    server_id: &str,
    now: SystemTime,
    total: usize,
    wanted: &Wanted,
    page: &[Connection<'_>],
) -> String {
    let connections: Vec<_> =
        page.iter().map(|connection| one(connection, now, wanted.subscriptions)).collect();
    let json = json!({
        "server_id": server_id,
        "now": stamp(now),
        "num_connections": connections.len(),
        "total": if wanted.none { 0 } else { total },
        "offset": wanted.offset,
        "limit": wanted.limit,
        "connections": connections,
    });
    format!("{json:#}\n")
}

fn one(connection: &Connection<'_>, now: SystemTime, subscriptions: Option<Subscriptions>) -> Value {
    let mut json = json!({
        "cid": connection.cid,
        "kind": "Client",
        "type": connection.kind,
        "ip": connection.peer.map_or(String::new(), |peer| peer.ip().to_string()),
        "port": connection.peer.map_or(0, |peer| peer.port()),
        "start": stamp(now - connection.age),
        "last_activity": stamp(now - connection.idle),
        "uptime": span(connection.age),
        "idle": span(connection.idle),
        "pending_bytes": connection.pending_bytes,
        "in_msgs": connection.traffic.in_msgs,
        "out_msgs": connection.traffic.out_msgs,
        "in_bytes": connection.traffic.in_bytes,
        "out_bytes": connection.traffic.out_bytes,
        "subscriptions": connection.subscriptions,
    });
    for (key, value) in [
        ("name", connection.name),
        ("lang", connection.lang),
        ("version", connection.version),
        ("authorized_user", connection.user),
    ] {
        if let Some(value) = value {
            json[key] = value.into();
        }
    }
    let shown = &connection.subscriptions_shown;
    match subscriptions {
        Some(Subscriptions::Subjects) => {
            json["subscriptions_list"] =
                shown.iter().map(|one| String::from_utf8_lossy(one.subject)).collect::<Vec<_>>().into();
        }
        Some(Subscriptions::Details) => {
            json["subscriptions_list_detail"] = shown.iter().map(Shown::to_json).collect();
        }
        None => {}
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    fn connection(cid: u64, pending_bytes: usize) -> Connection<'static> {
        Connection {
            key: Slots::default().insert(()),
            cid,
            kind: "nats",
            user: None,
            peer: None,
            age: Duration::from_secs(100 - cid),
            idle: Duration::from_secs(cid),
            pending_bytes,
            traffic: Traffic::default(),
            subscriptions: 0,
            name: None,
            lang: None,
            version: None,
            subscriptions_shown: Vec::new(),
        }
    }

    fn chosen(query: &str) -> Vec<u64> {
        let mut all = vec![connection(3, 30), connection(1, 10), connection(2, 99)];
        Wanted::from_query(query).unwrap().choose(&mut all);
        all.iter().map(|connection| connection.cid).collect()
    }

    #[test]
    fn a_page_is_what_is_asked_for() {
        for (query, expected) in [
            ("", vec![1, 2, 3]),
            ("sort=pending", vec![2, 3, 1]),
            ("sort=idle&limit=1", vec![3]),
            ("sort=last&offset=1", vec![2, 3]),
            ("sort=uptime", vec![1, 2, 3]),
            ("cid=2", vec![2]),
            ("cid=9", vec![]),
            ("offset=9&limit=0&whatever=1", vec![]),
            ("limit=0", vec![1, 2, 3]),
            ("state=any", vec![1, 2, 3]),
            ("state=closed", vec![]),
        ] {
            assert_eq!(chosen(query), expected, "{query}");
        }
        for wrong in ["sort=name", "limit=x", "offset=-1", "cid=a", "state=asleep"] {
            assert!(Wanted::from_query(wrong).is_err(), "{wrong}");
        }
    }
}
