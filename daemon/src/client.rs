//! One NATS connection: reading from it, writing what it is owed, and its end. What its operations
//! mean stands in operations.rs and publish.rs.
//!
//! A connection ends in one place, [`Daemon::close_client`], called by the loop at the end of a
//! turn; whoever wants it to end says so with [`Daemon::leave`] and goes on. One that is told why
//! (`-ERR`) is not cut at once: closing with input unread makes the kernel send a reset, which may
//! overtake the explanation. So its output is shut, and its input read and thrown away, until the
//! peer hangs up or [`GOODBYE_MAX`] has passed.

use crate::listener::Peer;
use crate::outbuf::Owed;
use crate::poll::{NOTHING, READ, Ready, WRITE};
use crate::slots::Key;
use crate::stats::Reason;
use crate::{Daemon, Handler, Timer};
use hashbrown::HashTable;
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use rowcall_wire::parse::{self, Limits, Step, Violation};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long a publisher on TCP is not read from after it has published to someone who reads, but
/// more slowly, and is owed half of what may be owed. So a publisher that can do more (a full read
/// each time: 128 MB/s at least) does not get healthy subscribers cut off. Nobody on the Unix socket
/// is ever made to wait: there an SQL statement would.
const HOLD: Duration = Duration::from_millis(2);

/// Whoever has taken nothing for so long is not reading, and is waited for by nobody. A reader that
/// is merely busy comes back sooner, or lives on what it may still be owed: filling the second half
/// takes a fast publisher 70 ms.
const READING: Duration = Duration::from_millis(20);

/// How long a peer that was told why may take to hang up.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// What a turn produces is written out early once it is this much: one read of input, sent to many.
const ROUND_MAX: usize = 8 << 20;

/// One connection.
pub(crate) struct Client {
    /// The socket.
    pub(crate) fd: OwnedFd,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// Its number, which `INFO` told it.
    pub(crate) id: u64,
    /// What its CONNECT asked for.
    pub(crate) wants: Wants,
    /// What it calls itself, for the log.
    pub(crate) name: Option<Box<str>>,
    /// Its subscriptions, found by their sid.
    pub(crate) subscriptions: HashTable<Key>,
    /// What it is owed.
    pub(crate) owed: Owed,
    /// Whether it stands in the daemon's list of dirty clients.
    pub(crate) dirty: bool,
    /// The start of an operation whose rest has not come. Empty, it holds no memory.
    partial: Vec<u8>,
    /// How long that operation is at least.
    partial_wants: usize,
    /// What epoll watches for it.
    watched: Ready,
    /// Since when its socket has taken nothing although something is owed.
    blocked_since: Option<Instant>,
    /// Until when it is not read from, because it publishes faster than others read.
    held_until: Option<Instant>,
    /// When something was last read from it.
    last_read: Instant,
    /// Questions whether it is there that it has not answered.
    pub(crate) pings_open: u8,
    /// The earliest deadline set for it that has not come.
    deadline: Option<Instant>,
    /// Why and since when its connection is ending.
    ending: Option<(Reason, Instant)>,
    /// Whether it has closed its side.
    ended_input: bool,
}

/// What a client asked for with CONNECT, or the reference's defaults for one that sent none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// `+OK` for each operation.
    pub(crate) verbose: bool,
    /// Complaints about subjects that cannot be published to.
    pub(crate) pedantic: bool,
    /// Its own messages delivered to it.
    pub(crate) echo: bool,
    /// Messages with headers.
    pub(crate) headers: bool,
    /// To be told when nobody can answer.
    pub(crate) no_responders: bool,
    /// An INFO that comes later.
    pub(crate) later_info: bool,
}

impl Default for Wants {
    fn default() -> Self {
        Wants {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            later_info: false,
        }
    }
}

/// One subscription of one client.
pub(crate) struct Subscription {
    /// Whose.
    pub(crate) client: Key,
    /// The client's name for it.
    pub(crate) sid: Box<[u8]>,
    /// What it subscribes to.
    pub(crate) filter: Box<[u8]>,
    /// Messages delivered so far.
    pub(crate) delivered: u64,
    /// Messages after which it ends; 0 is never.
    pub(crate) max: u64,
}

impl Client {
    /// Whether it is owed more than half of what may be owed, and reads.
    pub(crate) fn lags(&self, half: usize, now: Instant) -> bool {
        self.owed.len() > half && self.blocked_since.is_some_and(|since| now < since + READING)
    }

    /// Whether it still gets messages.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    fn limits(max_payload: usize) -> Limits {
        Limits { control_line: rowcall_wire::CONTROL_LINE_MAX, payload: max_payload }
    }
}

impl Daemon {
    /// Takes a connection in and greets it.
    pub(crate) fn add_client(&mut self, fd: OwnedFd, peer: Peer) {
        self.last_client += 1;
        self.stats.connections += 1;
        let client = Client {
            fd,
            peer,
            id: self.last_client,
            wants: Wants::default(),
            name: None,
            subscriptions: HashTable::new(),
            owed: Owed::default(),
            dirty: false,
            partial: Vec::new(),
            partial_wants: 0,
            watched: READ,
            blocked_since: None,
            held_until: None,
            last_read: self.now,
            pings_open: 0,
            deadline: None,
            ending: None,
            ended_input: false,
        };
        tracing::debug!(client = client.id, %peer, "connected");
        let key = self.clients.insert(client);
        let client = self.clients.get(key).expect("it was just put there");
        if let Err(errno) = self.poll.add(&client.fd, Handler::Client as u8, key, READ) {
            tracing::error!(%errno, "cannot watch a connection");
            self.clients.remove(key);
            return;
        }
        self.send_info(key, false);
        if self.clients.len() > self.connections_max {
            self.refuse(key, "maximum connections exceeded");
        }
        self.set_deadline(key);
    }

    /// Its socket is ready.
    pub(crate) fn on_client(&mut self, key: Key, ready: Ready) {
        if ready.intersects(Ready::EPOLLOUT) {
            self.write_client(key);
        }
        if ready.intersects(Ready::EPOLLIN | Ready::EPOLLHUP | Ready::EPOLLERR) {
            self.read_client(key);
        }
    }

    /// Reads once, and does what the bytes say. Tells how many bytes came.
    pub(crate) fn read_client(&mut self, key: Key) -> usize {
        let Some(client) = self.clients.get_mut(key) else { return 0 };
        // The start of an operation goes in front of its rest; only one that is larger than the
        // shared buffer is collected in a buffer of its own.
        let mut input = std::mem::take(&mut self.input);
        let own = client.partial_wants > input.len();
        let at = if own { 0 } else { client.partial.len() };
        let room =
            if own { (client.partial_wants - client.partial.len()).min(input.len()) } else { input.len() };
        let read = match nix::unistd::read(&client.fd, &mut input[at..room]) {
            Ok(0) => self.on_end_of_input(key),
            Ok(read) => {
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
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(errno) => self.on_broken(key, errno),
        };
        self.input = input;
        if std::mem::take(&mut self.lagging) {
            self.hold(key);
        }
        read
    }

    /// Stops reading from a publisher for a moment.
    fn hold(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && let Peer::Tcp { .. } = client.peer
        {
            client.held_until = Some(self.now + HOLD);
            self.watch(key);
            self.set_deadline(key);
        }
    }

    fn feed_collected(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.partial.len() >= client.partial_wants {
            client.partial_wants = 0;
            let whole = std::mem::take(&mut client.partial);
            self.feed(key, &whole);
        }
    }

    /// Does, one after the other, what the operations in these bytes say; keeps the start of one
    /// whose rest has not come.
    fn feed(&mut self, key: Key, mut bytes: &[u8]) {
        let limits = Client::limits(self.config.max_payload.0);
        while !bytes.is_empty() && self.clients.get(key).is_some_and(Client::is_open) {
            match parse::client_op(bytes, &limits) {
                Ok(Step::Op(op, used)) => {
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

    fn keep_partial(&mut self, key: Key, bytes: &[u8], wants: usize) {
        if let Some(client) = self.clients.get_mut(key) {
            client.partial = bytes.to_vec();
            client.partial_wants = wants;
        }
    }

    fn on_end_of_input(&mut self, key: Key) -> usize {
        if let Some(client) = self.clients.get_mut(key) {
            client.ended_input = true;
            // Someone who is already being closed may have waited only for this.
            if !client.is_open() {
                self.leaving.push(key);
            }
        }
        self.leave(key, Reason::ClientClosed);
        0
    }

    fn on_broken(&mut self, key: Key, errno: Errno) -> usize {
        match self.clients.get(key) {
            Some(client) if !client.is_open() => self.close_client(key),
            _ => self.leave(key, Reason::Broken(errno)),
        }
        0
    }

    /// Owes the client these bytes.
    pub(crate) fn reply(&mut self, key: Key, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.owed.add(self.round.push(bytes));
        Self::mark_dirty(&mut self.dirty, key, client);
    }

    /// Puts the client on the list of those to be written to when the turn ends.
    #[inline]
    pub(crate) fn mark_dirty(dirty: &mut Vec<Key>, key: Key, client: &mut Client) {
        if !client.dirty {
            client.dirty = true;
            dirty.push(key);
        }
    }

    /// Tells the client why, and ends its connection.
    pub(crate) fn refuse(&mut self, key: Key, text: &'static str) {
        let mut line = Vec::new();
        rowcall_wire::encode::err(&mut line, text);
        self.reply(key, &line);
        self.leave(key, Reason::Refused(text));
    }

    fn refuse_violation(&mut self, key: Key, violation: Violation) {
        match violation.text() {
            Some(text) => self.refuse(key, text),
            None => self.leave(key, Reason::Malformed),
        }
    }

    /// Says that the connection shall end when the turn does. The first reason stays.
    pub(crate) fn leave(&mut self, key: Key, reason: Reason) {
        if let Some(client) = self.clients.get_mut(key)
            && client.ending.is_none()
        {
            client.ending = Some((reason, self.now));
            self.leaving.push(key);
        }
    }

    /// Ends the turn for everyone it produced something for: one write each.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            let Some(client) = self.clients.get_mut(key) else { continue };
            client.dirty = false;
            if client.blocked_since.is_none() {
                self.write_client(key);
            }
            if let Some(client) = self.clients.get_mut(key) {
                client.owed.settle(&self.round);
            }
        }
        self.dirty = dirty;
        self.round.begin();
    }

    /// Writes what the client is owed, as far as its socket takes it. Room to write is watched for
    /// only while something is left.
    fn write_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let fd = &client.fd;
        let written = client.owed.write(&self.round, &mut self.gather, |slices| write(fd, slices));
        match written {
            Ok(_) if client.owed.is_empty() => {
                client.blocked_since = None;
                if !client.is_open() {
                    self.leaving.push(key);
                }
            }
            Ok(taken) => {
                if taken > 0 || client.blocked_since.is_none() {
                    client.blocked_since = Some(self.now);
                }
                self.set_deadline(key);
            }
            Err(error) => {
                self.on_broken(key, Errno::from_raw(error.raw_os_error().unwrap_or_default()));
                return;
            }
        }
        self.watch(key);
    }

    /// Watches for what the client's state calls for.
    fn watch(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let read = if client.ended_input || client.held_until.is_some() { NOTHING } else { READ };
        let write = if client.blocked_since.is_some() { WRITE } else { NOTHING };
        if client.watched != read | write {
            client.watched = read | write;
            if let Err(errno) = self.poll.want(&client.fd, Handler::Client as u8, key, read | write) {
                tracing::error!(%errno, client = client.id, "cannot change what is watched of a connection");
            }
        }
    }

    /// Goes on with the connections that shall end: closes those that are owed nothing more and
    /// have nothing to say, and waits for the others.
    pub(crate) fn end_leaving(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        for key in leaving.drain(..) {
            self.unsubscribe_all(key);
            let Some(client) = self.clients.get(key) else { continue };
            let Some((reason, _)) = client.ending else { continue };
            let done = client.owed.is_empty();
            if reason.is_abrupt() || (done && client.ended_input) {
                self.close_client(key);
                continue;
            }
            if done {
                // It fails only if the peer is gone already, which the next read will tell.
                let _ = shutdown(std::os::fd::AsRawFd::as_raw_fd(&client.fd), Shutdown::Write);
            }
            self.watch(key);
            self.set_deadline(key);
        }
        self.leaving = leaving;
    }

    /// The one place where a connection ends.
    pub(crate) fn close_client(&mut self, key: Key) {
        self.unsubscribe_all(key);
        let Some(client) = self.clients.remove(key) else { return };
        self.poll.remove(&client.fd);
        let reason = client.ending.map_or(Reason::Leaving, |(reason, _)| reason);
        let (id, peer, name, owed) = (client.id, client.peer, client.name.as_deref(), client.owed.len());
        self.stats.closed[reason.index()] += 1;
        self.stats.lost_bytes += owed as u64;
        if reason.is_slow() {
            tracing::warn!(client = id, %peer, name, %reason, lost_bytes = owed, "cut off");
        } else if owed > 0 || matches!(reason, Reason::Refused(_) | Reason::Malformed) {
            tracing::info!(client = id, %peer, name, %reason, lost_bytes = owed, "closed");
        } else {
            tracing::debug!(client = id, %peer, name, %reason, "closed");
        }
    }

    /// One of the client's deadlines may have passed; looks which, and sets the next.
    pub(crate) fn on_client_deadline(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.deadline = None;
        if client.held_until.is_some_and(|until| until <= self.now) {
            client.held_until = None;
            self.watch(key);
        }
        let Some(client) = self.clients.get(key) else { return };
        let stuck =
            client.blocked_since.is_some_and(|since| since + self.config.write_deadline.0 <= self.now);
        let waited = client.ending.is_some_and(|(_, since)| since + GOODBYE_MAX <= self.now);
        match client.ending {
            Some(_) if stuck || (waited && client.owed.is_empty()) => return self.close_client(key),
            None if stuck => return self.leave(key, Reason::SlowWrite),
            None => self.ask_if_there(key),
            Some(_) => {}
        }
        self.set_deadline(key);
    }

    /// Asks a silent client on TCP whether it is still there; gives up on one that never answers.
    fn ask_if_there(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let due = self.config.ping_due(client.peer, client.last_read, client.pings_open);
        if due.is_none_or(|due| due > self.now) {
            return;
        }
        if client.pings_open >= self.config.ping_max {
            return self.refuse(key, "Stale Connection");
        }
        client.pings_open += 1;
        self.reply(key, rowcall_wire::encode::PING);
    }

    /// Sets a timer for the earliest moment at which something about the client may be due, unless
    /// an earlier one is set.
    fn set_deadline(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let stuck = client.blocked_since.map(|since| since + self.config.write_deadline.0);
        let rest = match client.ending {
            Some((_, since)) if client.owed.is_empty() => Some(since + GOODBYE_MAX),
            Some(_) => None,
            None => self.config.ping_due(client.peer, client.last_read, client.pings_open),
        };
        let Some(at) = [stuck, client.held_until, rest].into_iter().flatten().min() else { return };
        if client.deadline.is_none_or(|set| at < set) {
            client.deadline = Some(at);
            self.timers.set(at, Timer::Client(key));
        }
    }
}

impl crate::config::Config {
    /// When a client that was last heard of then, and was asked so many times since, is to be
    /// asked next. On a Unix socket never: the kernel tells when the other end is gone, and the
    /// library inside the server does not read unless it waits for an answer.
    fn ping_due(&self, peer: Peer, last_read: Instant, asked: u8) -> Option<Instant> {
        match peer {
            Peer::Unix => None,
            Peer::Tcp { .. } => Some(last_read + self.ping_interval.0 * (u32::from(asked) + 1)),
        }
    }
}

/// One write. A single slice takes the cheaper call.
fn write(fd: &OwnedFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let written = match slices {
        [one] => nix::unistd::write(fd, one),
        many => nix::sys::uio::writev(fd, many),
    };
    written.map_err(io::Error::from)
}
