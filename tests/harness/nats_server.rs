//! A private nats-server, from Debian: someone else's idea of the protocol.

use crate::children::Child;
use crate::terminal::Terminal;
use std::process::Command;

/// A running nats-server.
pub struct NatsServer {
    /// The process.
    pub child: Child,
    /// Its address.
    pub tcp: String,
    _folder: tempfile::TempDir,
}

impl NatsServer {
    /// Starts one on a free port.
    pub fn start(settings: &str) -> NatsServer {
        let folder = crate::folder();
        let config = folder.path().join("nats.conf");
        std::fs::write(&config, format!("listen: \"127.0.0.1:-1\"\n{settings}\n"))
            .expect("a file can be written");
        let child = Child::start("nats-server", Command::new("nats-server").arg("-c").arg(&config));
        let line = child.says("Listening for client connections on ");
        let tcp = line.rsplit(' ').next().expect("the line ends with the address").to_owned();
        child.says("Server is ready");
        NatsServer { child, tcp, _folder: folder }
    }

    /// Someone at a terminal.
    pub fn terminal(&self) -> Terminal {
        Terminal::tcp(&self.tcp)
    }
}
