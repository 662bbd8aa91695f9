//! One NATS connection: what is known of it, and reading from it. Writing stands in
//! client/writing.rs; TLS around it, in client/secrecy.rs; what its operations mean, in operations.rs and publish.rs; when something about
//! it is due, in client/deadlines.rs; how it ends, in client/ending.rs.

mod deadlines;
mod ending;
mod pace;
mod secrecy;
mod wants;
mod writing;

use crate::auth::Standing;
use crate::auth::login::VIOLATION;
use crate::config::Config;
use crate::http::Visit;
use crate::listener::Peer;
use crate::outbuf::Owed;
use crate::poll::{HALF_CLOSED, READ, Ready};
use crate::slots::Key;
use crate::stats::Reason;
use crate::transport::Transport;
use crate::{Daemon, Handler};
use hashbrown::HashTable;
use rowcall_wire::parse::{self, ClientOp, Limits, Step};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};
pub(crate) use wants::Wants;

/// What a turn produces is written out early once it is this much: one read of input, sent to many.
pub(crate) const ROUND_MAX: usize = 8 << 20;

/// What those are told who are more than there may be.
pub(crate) const TOO_MANY: &str = "maximum connections exceeded";

/// One connection.
pub(crate) struct Client {
    /// The socket, and TLS if it speaks that.
    pub(crate) transport: Transport,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// Its number, which `INFO` told it.
    pub(crate) id: u64,
    /// As whom it is here.
    pub(crate) standing: Standing,
    /// What its CONNECT asked for.
    pub(crate) wants: Wants,
    /// What it calls itself, for the log and for those who watch.
    pub(crate) name: Option<Box<str>>,
    /// The language of its library.
    pub(crate) lang: Option<Box<str>>,
    /// The version of its library.
    pub(crate) version: Option<Box<str>>,
    /// When it came.
    pub(crate) since: Instant,
    /// What it has sent and what it was sent.
    pub(crate) traffic: Traffic,
    /// Its subscriptions, found by their sid.
    pub(crate) subscriptions: HashTable<Key>,
    /// What it is owed.
    pub(crate) owed: Owed,
    /// What it is doing, if it speaks HTTP.
    pub(crate) visit: Option<Box<Visit>>,
    /// Whether it stands in the daemon's list of dirty clients.
    pub(crate) dirty: bool,
    /// The start of an operation whose rest has not come. Empty, it holds no memory.
    partial: Vec<u8>,
    /// How long that operation is at least.
    partial_wants: usize,
    /// Whether what it says is put off (sql_delay.rs).
    pub(crate) is_put_off: bool,
    /// What epoll watches for it.
    watched: Ready,
    /// Since when its socket has taken nothing although something is owed.
    blocked_since: Option<Instant>,
    /// Whether it is owed more than publishers outside SQL may have it owed.
    lags: bool,
    /// The publishers that wait until it has room.
    waited_for_by: Vec<Key>,
    /// Whether it is not read from until a reader has room.
    held: bool,
    /// The reader among whose `waited_for_by` it stands.
    waits_for: Option<Key>,
    /// When something was last read from it.
    pub(crate) last_read: Instant,
    /// Questions whether it is there that it has not answered.
    pub(crate) pings_open: u8,
    /// The earliest deadline set for it that has not come.
    deadline: Option<Instant>,
    /// Why and since when its connection is ending.
    ending: Option<(Reason, Instant)>,
    /// Whether its input was shut on this side, so that the end of it says nothing of the peer.
    pub(crate) is_shut: bool,
    /// Whether its input has ended.
    ended_input: bool,
    /// Whether it was told that the daemon leaves, and is given time.
    pub(crate) is_warned: bool,
}

/// Messages of one client, counted: headers and payloads, as in the daemon's own counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) in_msgs: u64,
    pub(crate) in_bytes: u64,
    pub(crate) out_msgs: u64,
    pub(crate) out_bytes: u64,
}

/// One subscription of one client.
pub(crate) struct Subscription {
    /// Whose.
    pub(crate) client: Key,
    /// The client's name for it.
    pub(crate) sid: Box<[u8]>,
    /// What it subscribes to.
    pub(crate) filter: Box<[u8]>,
    /// Its queue group.
    pub(crate) queue: Option<Rc<[u8]>>,
    /// Messages delivered so far.
    pub(crate) delivered: u64,
    /// Messages after which it ends; 0 is never.
    pub(crate) max: u64,
}

impl Client {
    /// Whether it lags, and reads: has taken something in this time.
    pub(crate) fn lags_and_reads(&self, now: Instant, reading: Duration) -> bool {
        self.lags && self.blocked_since.is_some_and(|since| now < since + reading)
    }

    /// Whether it is owed more than it may be, `before` being what it was owed before the latest
    /// message. One is taken even by someone who is owed nothing and has a small limit.
    #[inline]
    pub(crate) fn is_behind(&self, before: usize, most: usize) -> bool {
        before > 0 && self.owed.len() > most
    }

    /// Whether it still gets messages.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    /// Whether it is not read from, and what was read already is kept for later.
    fn is_held_back(&self) -> bool {
        self.is_put_off || self.is_waiting() || self.is_held()
    }

    /// Whether the start of something has come whose rest has not, or that has to wait.
    pub(crate) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Takes that out.
    pub(crate) fn take_partial(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    /// What it may send in one operation. On the Unix socket a line may always be as long as the library in
    /// the server, which reads no configuration, makes it.
    fn limits(&self, config: &Config) -> Limits {
        let least = if matches!(self.peer, Peer::Unix) { rowcall_wire::CONTROL_LINE_MAX } else { 0 };
        Limits {
            control_line: config.max_control_line.0.max(least),
            payload: config.max_payload.0,
            headers: self.wants.headers,
        }
    }
}

impl Daemon {
    /// Takes a connection in and greets it.
    pub(crate) fn add_client(&mut self, fd: OwnedFd, peer: Peer) {
        self.stats.connections += 1;
        let is_welcome = !matches!(peer, Peer::Unix) || self.may_use_socket(&fd);
        let Some(key) = self.take_in(fd, peer, None) else { return };
        if self.greets_in_clear(peer) {
            self.send_info(key, self.is_leaving());
        }
        if self.clients.len() - self.http.open > self.connections_max {
            self.refuse(key, TOO_MANY);
        } else if !is_welcome {
            self.stats.auth_failures += 1;
            self.refuse(key, VIOLATION);
        }
        self.set_deadline(key);
    }

    /// Takes a connection in, with what it is doing if it speaks HTTP.
    pub(crate) fn take_in(&mut self, fd: OwnedFd, peer: Peer, visit: Option<Box<Visit>>) -> Option<Key> {
        self.last_client += 1;
        let standing = Standing::new(self.first_user(peer), self.now);
        let client = Client {
            transport: self.transport(fd, peer),
            peer,
            id: self.last_client,
            standing,
            wants: if visit.is_some() { Wants::HTTP } else { Wants::default() },
            name: None,
            lang: None,
            version: None,
            since: self.now,
            traffic: Traffic::default(),
            subscriptions: HashTable::new(),
            owed: Owed::default(),
            visit,
            dirty: false,
            partial: Vec::new(),
            partial_wants: 0,
            is_put_off: false,
            watched: READ,
            blocked_since: None,
            lags: false,
            waited_for_by: Vec::new(),
            held: false,
            waits_for: None,
            last_read: self.now,
            pings_open: 0,
            deadline: None,
            ending: None,
            is_shut: false,
            ended_input: false,
            is_warned: false,
        };
        tracing::debug!(client = client.id, %peer, "connected");
        let key = self.clients.insert(client);
        let client = self.clients.get_mut(key).expect("it was just put there");
        if client.visit.is_none() && self.config.access.has_nkeys() {
            client.prepare_nonce();
        }
        if let Err(errno) = self.poll.add(&client.transport, Handler::Client as u8, key, READ) {
            tracing::error!(%errno, "cannot watch a connection");
            self.clients.remove(key);
            return None;
        }
        Some(key)
    }

    /// Its socket is ready.
    pub(crate) fn on_client(&mut self, key: Key, ready: Ready) {
        if ready.intersects(Ready::EPOLLOUT) {
            self.write_client(key);
        }
        let gone = Ready::EPOLLHUP | Ready::EPOLLERR;
        if ready.intersects(gone) && self.clients.get(key).is_some_and(Client::waits) {
            // Nothing that it has said before is of use now, and it would be told so again and again.
            self.on_gone(key);
        } else if ready.intersects(HALF_CLOSED) {
            self.knock(key);
        } else if ready.intersects(Ready::EPOLLIN | gone) {
            self.read_client(key);
        }
    }

    /// Reads once, and does what the bytes say. Tells how many bytes came.
    pub(crate) fn read_client(&mut self, key: Key) -> usize {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.is_held_back()) else {
            return 0;
        };
        if !client.transport.is_plain() {
            return self.read_secret(key);
        }
        // The start of an operation goes in front of its rest; only one that is larger than the
        // shared buffer is collected in a buffer of its own.
        let mut input = std::mem::take(&mut self.input);
        let own = client.partial_wants > input.len();
        let at = if own { 0 } else { client.partial.len() };
        let room =
            if own { (client.partial_wants - client.partial.len()).min(input.len()) } else { input.len() };
        let read = match nix::unistd::read(&client.transport, &mut input[at..room]) {
            Ok(read) if read > 0 => {
                client.last_read = self.now;
                if own {
                    client.partial.extend_from_slice(&input[..read]);
                    self.feed_collected(key);
                } else {
                    input[..at].copy_from_slice(&client.partial);
                    client.partial = Vec::new();
                    client.partial_wants = 0;
                    self.feed(key, &input[..at + read]);
                }
                read
            }
            nothing => self.on_nothing_read(key, nothing),
        };
        self.input = input;
        read
    }

    /// Takes in what the connection's bytes held: the rest of an operation, more operations, the
    /// start of one.
    fn take_clear(&mut self, key: Key, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.partial.is_empty() {
            return self.feed(key, bytes);
        }
        client.partial.extend_from_slice(bytes);
        self.feed_collected(key);
    }

    fn feed_collected(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.partial.len() >= client.partial_wants {
            client.partial_wants = 0;
            let whole = std::mem::take(&mut client.partial);
            self.feed(key, &whole);
        }
    }

    /// Does what was kept while it was not known who it is.
    pub(crate) fn feed_kept(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.partial_wants = 0;
        let kept = std::mem::take(&mut client.partial);
        self.feed(key, &kept);
        self.end_if_said_all(key);
        if self.clients.get(key).is_some_and(|client| client.ended_input) {
            self.on_end_of_input(key);
        }
    }

    /// Does, one after the other, what the operations in these bytes say; keeps the start of one
    /// whose rest has not come.
    fn feed(&mut self, key: Key, mut bytes: &[u8]) {
        if self.clients.get(key).is_some_and(|client| client.visit.is_some()) {
            return self.feed_visit(key, bytes);
        }
        while let Some(first) = bytes.first()
            && let Some(client) = self.clients.get(key).filter(|client| client.is_open())
        {
            if client.is_held_back() {
                return self.keep_partial(key, bytes, 0);
            }
            // The first thing that a stranger says is CONNECT.
            if client.is_stranger() && !matches!(first, b'C' | b'c') {
                self.stats.auth_failures += 1;
                return self.refuse(key, VIOLATION);
            }
            let limits = client.limits(&self.config);
            match parse::client_op(bytes, &limits) {
                Ok(Step::Op(op, used)) => {
                    if let ClientOp::Pub(message) | ClientOp::Hpub(message) = &op
                        && let Some(reader) = self.full_reader(key, message.subject)
                    {
                        self.hold(key, reader);
                        return self.keep_partial(key, bytes, 0);
                    }
                    self.apply(key, op);
                    bytes = &bytes[used..];
                }
                Ok(Step::More(wants)) => return self.keep_partial(key, bytes, wants),
                Err(violation) => return self.refuse_violation(key, violation),
            }
            if self.round.len() > ROUND_MAX {
                self.flush();
            }
        }
    }

    pub(crate) fn keep_partial(&mut self, key: Key, bytes: &[u8], wants: usize) {
        if let Some(client) = self.clients.get_mut(key) {
            client.partial = bytes.to_vec();
            client.partial_wants = wants;
        }
    }
}
