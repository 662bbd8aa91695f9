//! From HTTP to WebSocket: who may, how that is answered, and the NATS client that the connection is
//! afterwards. The frames are websocket.rs's business.

use super::answer::Answer;
use super::request::{Head, Method};
use crate::Daemon;
use crate::auth::Standing;
use crate::client::{Client, Wants};
use crate::listener::Peer;
use crate::slots::Key;
use crate::websocket;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The version of WebSocket that there is.
const VERSION: &str = "13";

/// Bytes of the key that a client makes up.
const KEY: usize = 16;

/// Whether the request is one for WebSocket. Which path it names means nothing.
pub(super) fn is_wanted(head: &Head) -> bool {
    let upgrade = head.value("upgrade").is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
    upgrade && head.method == Method::Get && !head.old && head.connection_says("upgrade")
}

impl Daemon {
    /// Someone wants to speak WebSocket.
    pub(super) fn upgrade(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let Some(head) = client.visit.as_deref().and_then(|visit| visit.head()) else { return };
        match self.agree(client, head) {
            Ok(accept) => self.become_websocket(key, &accept),
            Err(answer) => self.answer_last(key, &answer),
        }
    }

    /// What to answer to the key. A page may ask from where it may ask for anything else.
    fn agree(&self, client: &Client, head: &Head) -> Result<String, Answer<'static>> {
        self.admit_origin(client, head, false)?;
        if head.value("sec-websocket-version") != Some(VERSION.as_bytes()) {
            return Err(Answer::text(426, "this is not the version of WebSocket that is spoken here")
                .field("Sec-WebSocket-Version", VERSION));
        }
        let shown = head.value("sec-websocket-key").and_then(|key| std::str::from_utf8(key).ok());
        let key = shown.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == KEY));
        match key {
            Some(key) if !head.has_body() => Ok(websocket::accept(key)),
            _ => Err(Answer::text(400, "this is not how WebSocket begins")),
        }
    }

    /// From now on this connection is a NATS client like any other.
    fn become_websocket(&mut self, key: Key, accept: &str) {
        self.reply(
            key,
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .as_bytes(),
        );
        let Some(client) = self.clients.get_mut(key) else { return };
        if let Peer::Http { peer, local } = client.peer {
            client.peer = Peer::Web { peer, local };
        }
        client.visit = None;
        client.wants = Wants::default();
        client.transport.become_websocket(&client.owed);
        self.http.open -= 1;
        self.stats.connections += 1;
        let user = self.clients.get(key).and_then(|client| self.first_user(client.peer));
        let (nkeys, now) = (self.config.access.has_nkeys(), self.now);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.standing = Standing::new(user, now);
        if nkeys {
            client.prepare_nonce();
        }
        tracing::debug!(client = client.id, "speaks WebSocket");
        self.send_info(key, false);
        if self.clients.len() - self.http.open > self.connections_max {
            self.refuse(key, "maximum connections exceeded");
        }
        self.set_deadline(key);
    }
}
