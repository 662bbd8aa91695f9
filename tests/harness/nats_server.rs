//! A private nats-server: someone else's idea of the protocol. Debian's (2.9.10) is the reference; a later
//! one, which tests/clients.sh brings, tells what has been added since.

use crate::children::Child;
use crate::terminal::Terminal;
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running nats-server.
pub struct NatsServer {
    /// The process.
    pub child: Child,
    /// Its address.
    pub tcp: String,
    program: PathBuf,
    settings: String,
    folder: tempfile::TempDir,
}

impl NatsServer {
    /// Starts one on a free port.
    pub fn start(settings: &str) -> NatsServer {
        NatsServer::start_at("127.0.0.1:-1", "nats-server".into(), settings, crate::folder())
    }

    /// Starts a later one; `None` where it cannot be had, which is said, and is a failure in CI.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_later(settings: &str) -> Option<NatsServer> {
        let program = crate::cache().join("clients/python/bin/nats-server");
        if !program.is_file() {
            let text = format!("the later nats-server is not there ({}): run make test", program.display());
            assert!(std::env::var_os("CI").is_none(), "{text}");
            eprintln!("SKIPPED: {text}");
            return None;
        }
        Some(NatsServer::start_at("127.0.0.1:-1", program, settings, crate::folder()))
    }

    /// Ends it without a word, and starts another one like it at the same address.
    pub fn restart(mut self) -> NatsServer {
        self.child.signal(Signal::SIGKILL);
        self.child.wait();
        NatsServer::start_at(&self.tcp, self.program, &self.settings, self.folder)
    }

    /// Has it read other settings, and waits until it has.
    ///
    /// # Panics
    /// If the file cannot be written, or it finds something wrong with it.
    pub fn reload(&self, settings: &str) {
        configure(&self.folder.path().join("nats.conf"), "127.0.0.1:-1", settings);
        self.child.signal(Signal::SIGHUP);
        self.child.says("Reloaded server configuration");
    }

    fn start_at(address: &str, program: PathBuf, settings: &str, folder: tempfile::TempDir) -> NatsServer {
        let config = folder.path().join("nats.conf");
        configure(&config, address, settings);
        let child = Child::start("nats-server", Command::new(&program).arg("-c").arg(&config));
        let line = child.says("Listening for client connections on ");
        let tcp = line.rsplit(' ').next().expect("the line ends with the address").to_owned();
        child.says("Server is ready");
        NatsServer { child, tcp, program, settings: settings.to_owned(), folder }
    }

    /// Someone at a terminal.
    pub fn terminal(&self) -> Terminal {
        Terminal::tcp(&self.tcp)
    }
}

fn configure(file: &Path, address: &str, settings: &str) {
    std::fs::write(file, format!("listen: \"{address}\"\n{settings}\n")).expect("a file can be written");
}
