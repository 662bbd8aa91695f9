//! The daemons that are compared: rowcalld over TCP and over its Unix socket, and nats-server.

use crate::load::Place;
use harness::Daemon;
use harness::nats_server::NatsServer;
use std::path::PathBuf;
use tempfile::TempDir;

/// All of them, running side by side and measured in turn.
pub struct Peers {
    /// Ours.
    pub ours: Daemon,
    /// Debian's nats-server.
    pub nats: NatsServer,
    /// Where our socket is.
    socket: PathBuf,
    _folder: TempDir,
}

/// Whose figures they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Nats,
    Tcp,
    Unix,
}

/// In the order in which they are measured.
pub const ALL: [Who; 3] = [Who::Nats, Who::Tcp, Who::Unix];

impl Peers {
    pub fn start() -> Peers {
        let folder = harness::folder();
        let socket = folder.path().join("rowcall.sock");
        Peers { ours: Daemon::start(&socket), nats: NatsServer::start(""), socket, _folder: folder }
    }

    /// Where to connect.
    pub fn place(&self, who: Who) -> Place {
        match who {
            Who::Nats => Place::Tcp(self.nats.tcp.clone()),
            Who::Tcp => Place::Tcp(self.ours.tcp.clone()),
            Who::Unix => Place::Unix(self.socket.clone()),
        }
    }

    /// Whose processor time to read.
    pub fn pid(&self, who: Who) -> u32 {
        if who == Who::Nats { self.nats.child.pid() } else { self.ours.child.pid() }
    }
}
