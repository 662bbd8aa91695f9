//! What a client's operations mean, save publishing: CONNECT, SUB, UNSUB, PING, PONG; and the INFO
//! that greets it. Where the reference does something that clients look at, so do we
//! (docs/protocol.md).

use crate::Daemon;
use crate::auth::login::{Credentials, VIOLATION};
use crate::client::{Client, Subscription};
use crate::config::Tls;
use crate::listener::Peer;
use crate::slots::Key;
use crate::stats::Reason;
use foldhash::fast::FixedState;
use rowcall_wire::encode;
use rowcall_wire::handshake::{Connect, Info};
use rowcall_wire::parse::ClientOp;
use rowcall_wire::subject;
use std::hash::BuildHasher;
use std::rc::Rc;

/// What the library inside the server calls its language.
const LIBRARY: &str = "sql";

impl Daemon {
    /// Does what one operation says.
    pub(crate) fn apply(&mut self, key: Key, op: ClientOp<'_>) {
        match op {
            ClientOp::Pub(message) | ClientOp::Hpub(message) => {
                self.on_publish(key, &message);
            }
            ClientOp::Sub { subject, queue, sid } => self.on_sub(key, subject, queue, sid),
            ClientOp::Unsub { sid, max } => self.on_unsub(key, sid, max),
            ClientOp::Ping => self.reply(key, encode::PONG),
            ClientOp::Pong => self.on_pong(key),
            ClientOp::Connect(json) => self.on_connect(key, json),
            ClientOp::Nothing => {}
        }
    }

    /// Says who we are; `ldm` says that we are about to leave.
    pub(crate) fn send_info(&mut self, key: Key, ldm: bool) {
        let Some(client) = self.clients.get(key) else { return };
        let manner = self.manner(client.peer);
        let (host, port, client_ip) = match client.peer.addresses() {
            Some((peer, local)) => (local.ip().to_string(), local.port(), peer.ip().to_string()),
            None => (String::new(), 0, String::new()),
        };
        let info = Info {
            server_id: self.server_id.clone(),
            server_name: self.config.server_name.clone(),
            version: nats_version(),
            proto: 1,
            go: "rust".into(),
            host,
            port,
            headers: true,
            max_payload: self.config.max_payload.0,
            client_id: client.id,
            client_ip,
            ldm,
            auth_required: !matches!(client.peer, Peer::Unix) && self.config.access.has_users(),
            nonce: client.standing.nonce.to_string(),
            sql_publish: self.sql_rule(client.peer),
            tls_required: matches!(manner, Tls::Required | Tls::First),
            tls_verify: manner != Tls::None && self.config.tls_client_ca.0.is_some(),
            tls_available: manner == Tls::Optional,
        };
        let mut line = Vec::new();
        encode::json_line(&mut line, "INFO", &serde_json::to_string(&info).unwrap_or_default());
        self.reply(key, &line);
    }

    /// What SQL may publish to, for the library: so it can say at once what will not be passed on.
    fn sql_rule(&self, peer: Peer) -> String {
        match peer {
            Peer::Unix => self.config.access.sql.rights.publish.to_text(),
            _ => String::new(),
        }
    }

    /// Tells the library, and the reader of the outbox, what SQL may publish to by now.
    pub(crate) fn tell_sql_rule(&mut self) {
        let rule = &self.config.access.sql.rights.publish;
        self.outbox.iter().for_each(|outbox| outbox.set_rule(rule.clone()));
        for key in self.clients.keys() {
            if self.clients.get(key).is_some_and(|client| client.is_open() && client.standing.is_library) {
                self.send_info(key, false);
            }
        }
    }

    /// `+OK`, for those who want it.
    pub(crate) fn confirm(&mut self, key: Key) {
        if self.clients.get(key).is_some_and(|client| client.wants.verbose) {
            self.reply(key, encode::OK);
        }
    }

    /// An `-ERR` after which the connection stays open.
    pub(crate) fn complain(&mut self, key: Key, text: &str) {
        if self.clients.get(key).is_some_and(|client| client.visit.is_some()) {
            return;
        }
        let mut line = Vec::new();
        encode::err(&mut line, text);
        self.reply(key, &line);
    }

    fn on_pong(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.pings_open = 0;
        }
    }

    fn on_connect(&mut self, key: Key, json: &[u8]) {
        let Some(mut connect) = Connect::from_json(json) else {
            return self.leave(key, Reason::Malformed);
        };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.accept(&connect);
        client.standing.is_library =
            matches!(client.peer, Peer::Unix) && connect.lang.as_deref() == Some(LIBRARY);
        tracing::debug!(
            client = client.id,
            name = connect.name,
            lang = connect.lang,
            version = connect.version,
            "CONNECT"
        );
        let shown = Credentials::of(&mut connect);
        let must = client.is_stranger();
        let may = !matches!(client.peer, Peer::Unix) && self.config.access.has_users();
        client.standing.connect = Some(connect.into());
        // Who has logged in need not do so again, but whoever shows credentials means them.
        let is_library = client.standing.is_library;
        if must || (may && shown.are_shown()) {
            self.log_in(key, shown);
        } else {
            self.on_welcome(key);
        }
        if is_library {
            self.put_off(key);
        }
    }

    /// Goes on with a CONNECT, once it is known who it comes from.
    pub(crate) fn on_welcome(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(connect) = client.standing.connect.take() else { return };
        let wants = client.wants;
        // Accounts are a notion of larger servers; asking for one is asking for what nobody here has.
        if connect.account.is_some_and(|account| !account.is_empty()) || connect.new_account == Some(true) {
            return self.refuse(key, VIOLATION);
        }
        if connect.protocol.is_some_and(|protocol| !(0..=1).contains(&protocol)) {
            return self.refuse(key, "invalid client protocol");
        }
        if wants.no_responders && !wants.headers {
            return self.refuse(key, "no responders requires headers support");
        }
        self.confirm(key);
    }

    fn on_sub(&mut self, key: Key, filter: &[u8], queue: Option<&[u8]>, sid: &[u8]) {
        // The reference asks in this order, too.
        if !self.may_subscribe(key, filter, queue, sid) {
            return;
        }
        let most = self.config.max_subscriptions;
        let count = self.clients.get(key).map_or(0, |client| client.subscriptions.len());
        if most > 0 && count >= most {
            return self.complain(key, "maximum subscriptions exceeded");
        }
        // A sid in use stays as it is, and nobody looks at the rest.
        if self.find_subscription(key, sid).is_none() {
            if !subject::valid_filter(filter) {
                return self.complain(key, "Invalid Subject");
            }
            self.subscribe(key, filter, queue, sid);
        }
        self.confirm(key);
        self.on_new_worker(filter);
    }

    /// Adds a subscription; its filter must be valid and its sid new.
    pub(crate) fn subscribe(
        &mut self,
        key: Key,
        filter: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> Option<Key> {
        let client = self.clients.get_mut(key)?;
        let queue: Option<Rc<[u8]>> = queue.map(Rc::from);
        let subscription = self.subscriptions.insert(Subscription {
            client: key,
            sid: sid.into(),
            filter: filter.into(),
            queue: queue.clone(),
            delivered: 0,
            max: 0,
        });
        let subscriptions = &self.subscriptions;
        client.subscriptions.insert_unique(hash(sid), subscription, |&other| {
            subscriptions.get(other).map_or(0, |other| hash(&other.sid))
        });
        self.subjects.insert(filter, queue, subscription);
        Some(subscription)
    }

    fn on_unsub(&mut self, key: Key, sid: &[u8], max: u64) {
        if let Some(found) = self.find_subscription(key, sid)
            && let Some(subscription) = self.subscriptions.get_mut(found)
        {
            if max > subscription.delivered {
                subscription.max = max;
            } else {
                self.unsubscribe(found);
            }
        }
        self.confirm(key);
    }

    fn find_subscription(&self, key: Key, sid: &[u8]) -> Option<Key> {
        let client = self.clients.get(key)?;
        let is_it = |&found: &Key| self.subscriptions.get(found).is_some_and(|found| *found.sid == *sid);
        client.subscriptions.find(hash(sid), is_it).copied()
    }

    /// Ends one subscription.
    pub(crate) fn unsubscribe(&mut self, found: Key) {
        let Some(subscription) = self.subscriptions.remove(found) else { return };
        self.subjects.remove(&subscription.filter, found);
        if let Some(client) = self.clients.get_mut(subscription.client)
            && let Ok(entry) = client.subscriptions.find_entry(hash(&subscription.sid), |&key| key == found)
        {
            entry.remove();
        }
    }

    /// Ends all of a client's.
    pub(crate) fn unsubscribe_all(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        for found in std::mem::take(&mut client.subscriptions) {
            if let Some(subscription) = self.subscriptions.remove(found) {
                self.subjects.remove(&subscription.filter, found);
            }
        }
    }
}

impl Client {
    /// Takes over what CONNECT says; what it leaves out stays as it was.
    fn accept(&mut self, connect: &Connect) {
        let set = |field: &mut bool, value: Option<bool>| *field = value.unwrap_or(*field);
        set(&mut self.wants.verbose, connect.verbose);
        set(&mut self.wants.pedantic, connect.pedantic);
        set(&mut self.wants.echo, connect.echo);
        set(&mut self.wants.headers, connect.headers);
        set(&mut self.wants.no_responders, connect.no_responders);
        set(&mut self.wants.later_info, connect.protocol.map(|protocol| protocol >= 1));
        let said = |field: &mut Option<Box<str>>, text: &Option<String>| {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                *field = Some(text.into());
            }
        };
        said(&mut self.name, &connect.name);
        said(&mut self.lang, &connect.lang);
        said(&mut self.version, &connect.version);
    }
}

/// The version under NATS's own name, wherever that stands: the protocol's, by which clients compare features,
/// and ours behind it.
pub(crate) fn nats_version() -> String {
    use rowcall_wire::{PROTOCOL_VERSION, VERSION_TAG};
    format!("{PROTOCOL_VERSION}{VERSION_TAG}{}", env!("CARGO_PKG_VERSION"))
}

/// A client that chose its sids to collide would slow down nobody but itself, so the hash needs no
/// secret.
fn hash(sid: &[u8]) -> u64 {
    FixedState::with_seed(0).hash_one(sid)
}
