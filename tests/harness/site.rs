//! What most tests need: a server, a daemon beside it, and the functions installed.

use crate::daemon::Daemon;
use crate::servers::{Kind, Server};
use crate::terminal::{Message, Terminal};
use rowcall_mysql::Connection;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use tempfile::TempDir;

/// Subcommands that speak to the database server; the others speak to the daemon.
const DATABASE: [&str; 10] =
    ["install", "uninstall", "consumer", "parked", "status", "drain", "bench", "doctor", "watch", "unwatch"];

/// A server and its daemon. They end in this order, and their folder goes last.
pub struct Site {
    /// The server, usually with the functions installed.
    pub server: Server,
    /// The daemon, unless it was not wanted or was taken away.
    pub daemon: Option<Daemon>,
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// What the environment of daemons that read the outbox says beside what it always does.
    pub environment: Vec<(&'static str, &'static str)>,
    /// Where all of it lives.
    pub folder: TempDir,
}

impl Site {
    /// Starts all of it; `None` where that server cannot be had.
    pub fn start(kind: Kind) -> Option<Site> {
        let mut site = Site::without_daemon(kind)?;
        site.start_daemon();
        Some(site)
    }

    /// The same without the daemon.
    ///
    /// # Panics
    /// If something does not start.
    pub fn without_daemon(kind: Kind) -> Option<Site> {
        Site::with_server_arguments(kind, &[])
    }

    /// The same with more arguments for the server.
    ///
    /// # Panics
    /// If something does not start.
    pub fn with_server_arguments(kind: Kind, arguments: &[&str]) -> Option<Site> {
        let site = Site::bare(kind, arguments)?;
        let output = site.rowcall(&["install"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(site)
    }

    /// Only the server, without the functions.
    ///
    /// # Panics
    /// If it does not start.
    pub fn bare(kind: Kind, arguments: &[&str]) -> Option<Site> {
        if !kind.is_there() {
            return None;
        }
        let folder = crate::folder();
        let socket = folder.path().join("rowcall.sock");
        let server = Server::start_with(kind, folder.path(), &socket, arguments);
        Some(Site { server, daemon: None, socket, environment: Vec::new(), folder })
    }

    /// All of it with the tables of committed mode, and no daemon.
    ///
    /// # Panics
    /// If something does not start.
    pub fn with_tables(kind: Kind) -> Option<Site> {
        let site = Site::without_daemon(kind)?;
        site.install_tables();
        Some(site)
    }

    /// Makes the tables of committed mode, or upgrades them.
    ///
    /// # Panics
    /// If it fails.
    pub fn install_tables(&self) {
        let file = self.outbox_file();
        let output = self.rowcall(&["install", "--outbox", file.to_str().expect("the path is text")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts all of it, and the daemon reads the outbox.
    ///
    /// # Panics
    /// If something does not start.
    pub fn committed(kind: Kind) -> Option<Site> {
        Site::committed_with(kind, &[])
    }

    /// The same with more arguments for the server.
    ///
    /// # Panics
    /// If something does not start.
    pub fn committed_with(kind: Kind, arguments: &[&str]) -> Option<Site> {
        let mut site = Site::with_server_arguments(kind, arguments)?;
        site.install_tables();
        site.start_committed_daemon();
        Some(site)
    }

    /// The option file of the daemon's account.
    pub fn outbox_file(&self) -> PathBuf {
        self.folder.path().join("outbox.cnf")
    }

    /// Starts a daemon that reads the outbox, for the first time or again.
    pub fn start_committed_daemon(&mut self) {
        self.start_committed_daemon_until("outbox: reading");
    }

    /// The same, and waits only until it has said these words.
    pub fn start_committed_daemon_until(&mut self, words: &str) {
        let file = self.outbox_file();
        let file = file.to_str().expect("the path is text");
        let arguments = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--outbox", file];
        let mut command = Daemon::command();
        command.envs(self.environment.iter().copied());
        let daemon = Daemon::start_as(command, &self.socket, &arguments);
        daemon.child.says(words);
        self.daemon = Some(daemon);
    }

    /// The same with these settings as well.
    ///
    /// # Panics
    /// If it does not start, or says something else.
    pub fn start_committed_daemon_with(&mut self, settings: &str, words: &str) {
        let settings = format!("{settings}\noutbox = \"{}\"", self.outbox_file().display());
        let daemon = Daemon::with_settings(self.folder.path(), &settings);
        daemon.child.says(words);
        self.daemon = Some(daemon);
    }

    /// Starts the daemon, for the first time or again.
    pub fn start_daemon(&mut self) {
        self.daemon = Some(Daemon::start(&self.socket));
    }

    /// The daemon.
    ///
    /// # Panics
    /// If there is none.
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("the daemon was started")
    }

    /// A connection to the server.
    pub fn connect(&self) -> Connection {
        self.server.connect()
    }

    /// Someone at a terminal who listens to these subjects.
    ///
    /// # Panics
    /// If there is no daemon.
    pub fn listener(&self, subjects: &[&str]) -> Terminal {
        let mut terminal = self.daemon.as_ref().expect("the daemon was started").terminal().hello();
        for (sid, subject) in subjects.iter().enumerate() {
            terminal.send(format!("SUB {subject} {}\r\n", sid + 1));
        }
        terminal.barrier();
        terminal
    }

    /// Someone who answers the requests to this subject, as one of a group, until the daemon ends.
    ///
    /// # Panics
    /// If there is no daemon.
    pub fn worker(&self, subject: &str, answer: impl Fn(&Message) -> Vec<u8> + Send + 'static) {
        let mut terminal = self.listener(&[&format!("{subject} workers")]);
        thread::spawn(move || {
            while let Some(request) = terminal.message_or_end() {
                terminal.answer(&request, answer(&request));
            }
        });
    }

    /// Runs the `rowcall` command against this server and this daemon, to its end.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn rowcall(&self, arguments: &[&str]) -> Output {
        self.rowcall_command(arguments).output().expect("rowcall runs")
    }

    /// The same, to be started by the caller.
    pub fn rowcall_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::built("rowcall"));
        command.env("ROWCALL_SERVER", format!("unix:{}", self.socket.display())).env_remove("MYSQL_PWD");
        command.args(arguments);
        if arguments.first().is_some_and(|&name| DATABASE.contains(&name)) {
            command.arg("--no-defaults").arg("-uroot").arg("-S").arg(&self.server.socket);
        }
        command
    }

    /// What rowcall_status() says.
    ///
    /// # Panics
    /// If it says nothing.
    pub fn status(&self) -> serde_json::Value {
        let status = self.connect().value("SELECT CONVERT(rowcall_status() USING utf8mb4)");
        serde_json::from_str(&status.expect("it runs").expect("it is not NULL")).expect("it is JSON")
    }
}
