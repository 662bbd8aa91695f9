//! The sockets that take connections: opening them, and taking connections in. What a connection
//! says is another file's business, and where sockets come from that are open already is activation.rs's. How
//! the Unix socket is opened stands in listener/unix.rs.

mod tcp;
mod unix;

use crate::activation::Passed;
use crate::config::Config;
use crate::http::REFUSED_MAX;
use crate::poll::{NOTHING, READ, Ready};
use crate::slots::Key;
use crate::{Daemon, Handler, Timer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;
use unix::OwnPath;

/// How many connections one turn takes in, so that a crowd at the door does not stop the service.
const ACCEPTS_MAX: usize = 64;

/// How long taking connections in rests when it cannot go on (no descriptors, no memory).
const REST: Duration = Duration::from_millis(100);

/// What is asked for as the send buffer of a Unix socket, in bytes; the kernel gives what
/// net.core.wmem_max allows. A default one holds 278 small messages.
const UNIX_BUFFER: usize = 4 << 20;

/// Descriptors that are no connections: epoll, signals, listeners, the log, a file being read.
const OTHER_DESCRIPTORS: usize = 32;

/// Where descriptors are few, at most this part of them goes to HTTP.
const HTTP_PART: usize = 4;

/// A socket that takes connections.
pub(crate) struct Listener {
    socket: Socket,
    kind: Kind,
    /// Whether taking connections in has failed, and been complained of, since all who waited were
    /// last let in.
    crowded: bool,
}

enum Socket {
    Tcp(TcpListener),
    Unix {
        socket: UnixListener,
        /// `None` if it was passed: its path belongs to whoever made it.
        own: Option<OwnPath>,
    },
}

/// Which sockets are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// Those that other machines may reach: of NATS clients and of HTTP.
    Tcp,
    /// Those, and the Unix socket.
    All,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nats,
    Http,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// A program on this machine, through the Unix socket.
    Unix,
    /// Someone on TCP; and the address of ours that they reached.
    Tcp { peer: SocketAddr, local: SocketAddr },
    /// The same for someone who speaks HTTP.
    Http { peer: SocketAddr, local: SocketAddr },
    /// The same for someone who has come by HTTP, and is a NATS client within WebSocket.
    Web { peer: SocketAddr, local: SocketAddr },
}

impl Peer {
    /// Its address, and the one of ours that it reached; on a Unix socket nobody has one.
    pub(crate) fn addresses(self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Peer::Unix => None,
            Peer::Tcp { peer, local } | Peer::Http { peer, local } | Peer::Web { peer, local } => {
                Some((peer, local))
            }
        }
    }

    /// Whether it came by a way that only this machine has.
    pub(crate) fn is_near(self) -> bool {
        self.addresses().is_none_or(|(_, local)| local.ip().is_loopback())
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.addresses() {
            None => f.write_str("unix"),
            Some((peer, _)) => peer.fmt(f),
        }
    }
}

/// How many connections there may be, of NATS clients and of HTTP: what is wanted, if the limit of open
/// files, raised as far as it goes, leaves room for them.
pub(crate) fn connections_max(config: &Config) -> (usize, usize) {
    let wanted = config.max_connections;
    let http = if config.http.0.is_some() { config.max_http_connections } else { 0 };
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return (wanted, http) };
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(OTHER_DESCRIPTORS);
    let (nats, visitors) = share(room, wanted, http);
    if nats < wanted || visitors < http {
        tracing::warn!(
            max_connections = wanted,
            possible = nats,
            max_http_connections = http,
            http_possible = visitors,
            "the limit of open files allows fewer connections"
        );
    }
    (nats, visitors)
}

/// Divides the descriptors there are. Those who come by HTTP and are turned away need some, too.
fn share(room: usize, wanted: usize, http: usize) -> (usize, usize) {
    let for_http = if http == 0 { 0 } else { (http + REFUSED_MAX).min(room / HTTP_PART) };
    (wanted.min(room - for_http), http.min(for_http.saturating_sub(REFUSED_MAX).max(for_http / 2)))
}

impl Daemon {
    /// Opens every socket that the configuration names, but for those that were passed.
    pub(crate) fn listen(&mut self, passed: Passed) -> Result<(), String> {
        if let Some(path) = self.config.socket.0.clone() {
            let is_passed = passed.sql.is_some();
            let how = how_listening(is_passed);
            let socket = match passed.sql {
                Some(socket) => Socket::Unix { socket, own: None },
                None => {
                    let (socket, own) = unix::open(&path, &self.config)?;
                    Socket::Unix { socket, own: Some(own) }
                }
            };
            tracing::info!(transport = "unix", address = %path.display(), "{how}");
            self.add_listener(socket, Kind::Nats)?;
            if is_passed && let Some(delay) = self.config.sql_delay {
                self.delay_sql(delay.0);
            }
        }
        for (kind, name, address, passed) in [
            (Kind::Nats, "nats", self.config.listen.0.clone(), passed.nats),
            (Kind::Http, "http", self.config.http.0.clone(), passed.http),
        ] {
            let Some(address) = address else { continue };
            let how = how_listening(passed.is_some());
            let socket = passed.map_or_else(|| tcp::open(&address), Ok).map_err(|error| {
                format!("cannot listen on {address} ({name}): {error}; is another server there?")
            })?;
            let local = socket.local_addr().map_err(|error| error.to_string())?;
            tracing::info!(transport = name, address = %local, "{how}");
            if kind == Kind::Http && !local.ip().is_loopback() {
                self.warn_of_unnamed_hosts();
            }
            self.add_listener(Socket::Tcp(socket), kind)?;
        }
        Ok(())
    }

    fn warn_of_unnamed_hosts(&self) {
        if !self.config.access.has_users() && self.config.http_hosts.is_empty() {
            tracing::warn!(
                "http can be reached from other machines, and nobody has to log in: requests whose Host is a name are \
                 refused (421) until http_hosts lists that name"
            );
        }
    }

    fn add_listener(&mut self, socket: Socket, kind: Kind) -> Result<(), String> {
        socket.set_nonblocking().map_err(|error| format!("cannot set up a listening socket: {error}"))?;
        let key = self.listeners.insert(Listener { socket, kind, crowded: false });
        let listener = self.listeners.get(key).expect("it was just put there");
        let added = self.poll.add(listener.fd(), Handler::Listener as u8, key, READ);
        added.map_err(|errno| format!("cannot watch a listening socket: {errno}"))
    }

    /// Someone is at the door.
    pub(crate) fn on_listener(&mut self, key: Key, _: Ready) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listeners.get(key) else { return };
            let kind = listener.kind;
            match listener.accept() {
                Ok((fd, peer)) if kind == Kind::Nats => self.add_client(fd, peer),
                Ok((fd, peer)) => self.add_visitor(fd, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.end_crowd(key),
                // They hung up while they waited at the door.
                Err(error)
                    if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => return self.rest_accepting(key, &error),
            }
        }
        // Perhaps that was the last of them, and then no event would end the crowd.
        if self.listeners.get(key).is_some_and(|listener| listener.crowded) {
            self.timers.set(self.now + REST, Timer::Listener(key));
        }
    }

    fn rest_accepting(&mut self, key: Key, error: &io::Error) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        // Once for each crowd, not ten times a second.
        if !std::mem::replace(&mut listener.crowded, true) {
            let connections = self.clients.len();
            tracing::error!(%error, connections, "cannot take a connection in; trying again until it works");
        }
        self.want_accepting(key, NOTHING);
        self.timers.set(self.now + REST, Timer::Listener(key));
    }

    fn end_crowd(&mut self, key: Key) {
        if let Some(listener) = self.listeners.get_mut(key)
            && std::mem::take(&mut listener.crowded)
        {
            tracing::info!(connections = self.clients.len(), "taking connections in again");
        }
    }

    pub(crate) fn resume_accepting(&mut self, key: Key) {
        self.want_accepting(key, READ);
        // An event would come only if somebody still waits.
        self.on_listener(key, READ);
    }

    fn want_accepting(&mut self, key: Key, ready: Ready) {
        let Some(listener) = self.listeners.get(key) else { return };
        if let Err(errno) = self.poll.want(listener.fd(), Handler::Listener as u8, key, ready) {
            tracing::error!(%errno, "cannot change what is watched of a listening socket");
        }
    }

    /// Takes no more connections. Those that wait at a socket that was passed are left to the next daemon;
    /// of a socket of our own the path goes first, so that whoever tries next finds nobody instead of someone
    /// who will not answer.
    pub(crate) fn stop_listening(&mut self, door: Door) {
        for key in self.listeners.keys() {
            let Some(Listener { socket, .. }) = self.listeners.get(key) else { continue };
            if door == Door::Tcp && !matches!(socket, Socket::Tcp(_)) {
                continue;
            }
            if let Socket::Unix { own: Some(OwnPath { path, .. }), .. } = socket {
                if let Err(error) = fs::remove_file(path) {
                    tracing::warn!(path = %path.display(), %error, "cannot remove the socket");
                }
                self.take_the_last_in(key);
            }
            if let Some(listener) = self.listeners.remove(key) {
                self.poll.remove(listener.fd());
            }
        }
    }

    /// Takes in who waits at a Unix socket of our own; nobody comes after them. What an SQL function has sent
    /// there, and said that it is sent, would go with the socket.
    fn take_the_last_in(&mut self, key: Key) {
        let Some(listener) = self.listeners.get(key) else { return };
        // It cannot fail for a listening socket; those who wait are taken in either way.
        let _ = shutdown(listener.fd().as_raw_fd(), Shutdown::Read);
        while let Some(listener) = self.listeners.get(key)
            && let Ok((fd, peer)) = listener.accept()
        {
            self.add_client(fd, peer);
        }
    }
}

impl Socket {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_nonblocking(true),
            Socket::Unix { socket, .. } => socket.set_nonblocking(true),
        }
    }
}

impl Listener {
    fn fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix { socket, .. } => socket.as_fd(),
        }
    }

    fn accept(&self) -> io::Result<(OwnedFd, Peer)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let (peer, local) = (tcp::canonical(peer), tcp::canonical(stream.local_addr()?));
                let peer = match self.kind {
                    Kind::Nats => Peer::Tcp { peer, local },
                    Kind::Http => Peer::Http { peer, local },
                };
                Ok((stream.into(), peer))
            }
            Socket::Unix { socket, .. } => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                setsockopt(&stream, sockopt::SndBuf, &UNIX_BUFFER)?;
                Ok((stream.into(), Peer::Unix))
            }
        }
    }
}

fn how_listening(is_passed: bool) -> &'static str {
    if is_passed { "listening on what was passed" } else { "listening" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared() {
        let check = |room, wanted, http, expected| assert_eq!(share(room, wanted, http), expected);
        check(100_000, 65_536, 1024, (65_536, 1024));
        check(20_000, 65_536, 1024, (20_000 - 1024 - REFUSED_MAX, 1024));
        check(992, 65_536, 1024, (744, 184));
        check(96, 65_536, 1024, (72, 12));
        check(96, 65_536, 0, (96, 0));
        check(0, 10, 10, (0, 0));
    }

    /// With the defaults, the unit gives cause for no warning.
    #[test]
    fn the_unit_has_room_for_the_default_connections() {
        let unit = include_str!("../../dist/rowcalld.service");
        let limit = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE="));
        let limit: usize = limit.and_then(|limit| limit.parse().ok()).unwrap();
        let Config { max_connections, max_http_connections, .. } = Config::default();
        let shared = share(limit - OTHER_DESCRIPTORS, max_connections, max_http_connections);
        assert_eq!(shared, (max_connections, max_http_connections));
    }
}
