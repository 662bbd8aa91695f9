//! A private nats-server, from Debian: someone else's idea of the protocol.

use crate::children::Child;
use crate::terminal::Terminal;
use nix::sys::signal::Signal;
use std::process::Command;

/// A running nats-server.
pub struct NatsServer {
    /// The process.
    pub child: Child,
    /// Its address.
    pub tcp: String,
    settings: String,
    folder: tempfile::TempDir,
}

impl NatsServer {
    /// Starts one on a free port.
    pub fn start(settings: &str) -> NatsServer {
        NatsServer::start_at("127.0.0.1:-1", settings, crate::folder())
    }

    /// Ends it without a word, and starts another one like it at the same address.
    pub fn restart(mut self) -> NatsServer {
        self.child.signal(Signal::SIGKILL);
        self.child.wait();
        NatsServer::start_at(&self.tcp, &self.settings, self.folder)
    }

    fn start_at(address: &str, settings: &str, folder: tempfile::TempDir) -> NatsServer {
        let config = folder.path().join("nats.conf");
        std::fs::write(&config, format!("listen: \"{address}\"\n{settings}\n"))
            .expect("a file can be written");
        let child = Child::start("nats-server", Command::new("nats-server").arg("-c").arg(&config));
        let line = child.says("Listening for client connections on ");
        let tcp = line.rsplit(' ').next().expect("the line ends with the address").to_owned();
        child.says("Server is ready");
        NatsServer { child, tcp, settings: settings.to_owned(), folder }
    }

    /// Someone at a terminal.
    pub fn terminal(&self) -> Terminal {
        Terminal::tcp(&self.tcp)
    }
}
