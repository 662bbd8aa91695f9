//! A private rowcalld.

use crate::children::Child;
use crate::http::Http;
use crate::terminal::Terminal;
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running daemon.
pub struct Daemon {
    /// The process.
    pub child: Child,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// Its address for NATS clients.
    pub tcp: String,
    /// Its address for HTTP.
    pub http: String,
}

impl Daemon {
    /// Starts one that listens on this socket and on free ports, and waits until it does.
    pub fn start(socket: &Path) -> Daemon {
        Daemon::start_with(socket, &["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
    }

    /// The same with other arguments; it must listen on TCP and HTTP.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(socket: &Path, arguments: &[&str]) -> Daemon {
        Daemon::start_as(Daemon::command(), socket, arguments)
    }

    /// The same, of a command that was prepared.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_as(mut command: Command, socket: &Path, arguments: &[&str]) -> Daemon {
        let child = Child::start("rowcalld", command.arg("--socket").arg(socket).args(arguments));
        let address = |transport: &str| {
            let line = child.says(&format!("listening transport=\"{transport}\""));
            line.split("address=").nth(1).expect("the line has an address").to_owned()
        };
        let (tcp, http) = (address("nats"), address("http"));
        Daemon { child, socket: socket.to_owned(), tcp, http }
    }

    /// One with these settings in a file; it lives in this folder and listens there and on free ports.
    ///
    /// # Panics
    /// If it does not start.
    pub fn with_settings(folder: &Path, settings: &str) -> Daemon {
        let config = folder.join("rowcalld.toml");
        std::fs::write(&config, settings).expect("a file can be written");
        let config = config.to_str().expect("the path is text");
        let arguments = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config", config];
        Daemon::start_with(&folder.join("rowcall.sock"), &arguments)
    }

    /// The program, with an environment that says nothing to it.
    pub fn command() -> Command {
        let mut command = Command::new(crate::built("rowcalld"));
        Daemon::silence(&mut command);
        command
    }

    /// Takes out of a command's environment what says something to a daemon.
    pub fn silence(command: &mut Command) {
        for name in
            ["SOCKET", "SOCKET_GROUP", "LISTEN", "HTTP", "OUTBOX", "USERS", "CONFIG", "LOG", "ALLOW_REMOTE"]
        {
            command.env_remove(format!("ROWCALL_{name}"));
        }
    }

    /// Someone at a terminal, on TCP, who has read the greeting.
    pub fn terminal(&self) -> Terminal {
        Terminal::tcp(&self.tcp)
    }

    /// Someone who speaks HTTP to it.
    pub fn visit(&self) -> Http {
        Http::connect(&self.http)
    }

    /// Asks it to leave and waits until it has.
    ///
    /// # Panics
    /// If it does not leave as it should.
    pub fn stop(&mut self) {
        self.child.signal(Signal::SIGTERM);
        let status = self.child.wait();
        assert!(status.success(), "{status}:\n{}", self.child.said());
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        self.child.signal(Signal::SIGKILL);
        self.child.wait();
    }

    /// Its counters.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn varz(&self) -> serde_json::Value {
        let answer = get(&self.http, "/varz");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
        serde_json::from_str(body).expect("varz is JSON")
    }
}

/// The whole answer to a GET.
///
/// # Panics
/// If there is none.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the HTTP port takes connections");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
