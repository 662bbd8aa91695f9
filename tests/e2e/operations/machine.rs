//! A machine that docs/operations.md is followed on: a database server that keeps its log, and everything of ours
//! installed, run and removed by the lines of the document. systemd is played.

use harness::activation::Sockets;
use harness::{Child, Kind, Shell, Site, shell};
use rowcall_mysql::{Connection, Options};
use std::path::PathBuf;

const DOCUMENT: &str = "docs/operations.md";

pub struct Machine {
    /// The server, and the daemon while it runs.
    pub site: Site,
    pub shell: Shell,
    /// What systemd holds, while the units are enabled.
    sockets: Option<Sockets>,
}

impl Machine {
    /// One with a server that has these arguments, and nothing else.
    pub fn new(kind: Kind, arguments: &[&str]) -> Option<Machine> {
        let site = Site::bare(kind, arguments)?;
        let mut shell = Shell::new();
        shell.reach(&site.server.socket);
        shell.set("ROWCALL_SERVER", format!("unix:{}", site.socket.display()));
        // There is one account on the machines of a test.
        shell.replace("chown rowcall ", "chown root ");
        Some(Machine { site, shell, sockets: None })
    }

    /// Runs the lines below a heading; each with what it printed.
    #[track_caller]
    pub fn follow(&mut self, heading: &str) -> Vec<(String, String)> {
        let lines = shell::lines(DOCUMENT, heading);
        assert!(!lines.is_empty(), "{DOCUMENT}: no lines below {heading:?}");
        lines
            .into_iter()
            .map(|line| {
                let said = self.types(&line);
                (line, said)
            })
            .collect()
    }

    #[track_caller]
    pub fn types(&mut self, line: &str) -> String {
        match line {
            "make install" => self.shell.make("files"),
            "make uninstall" => self.shell.make("uninstall"),
            "systemd-sysusers" => {}
            "systemctl enable --now rowcalld" => {
                self.sockets = Some(Sockets::listen(&self.site.socket));
                self.start_daemon();
            }
            "systemctl restart rowcalld" => {
                self.stop_daemon();
                self.start_daemon();
            }
            "systemctl disable --now rowcalld.service rowcalld.socket" => {
                self.stop_daemon();
                self.sockets = None;
                std::fs::remove_file(&self.site.socket).unwrap();
            }
            // What is said to MySQL alone.
            _ if line.starts_with("mysql ") && self.site.server.kind == Kind::MariaDb => {}
            _ => return self.shell.run(line),
        }
        String::new()
    }

    /// As the unit has it.
    fn start_daemon(&mut self) {
        let config = self.shell.path("etc/rowcall/rowcalld.toml");
        let sockets = self.sockets.as_ref().expect("the socket unit is enabled");
        let daemon = sockets.start_with(&["--config", config.to_str().unwrap()]);
        self.shell.set("ROWCALL_HTTP", format!("http://{}", daemon.http));
        self.site.daemon = Some(daemon);
    }

    /// As systemctl stop does; its socket stays.
    pub fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.site.daemon.take() {
            daemon.stop();
        }
    }

    /// Waits until the daemon has said so.
    pub fn daemon_says(&mut self, words: &str) {
        self.site.daemon().child.says(words);
    }

    /// Someone who is shown what waits for a consumer, and acknowledges it.
    pub fn worker(&self, consumer: &str) -> Child {
        let worker = self.shell.start(&format!("rowcall listen --consumer {consumer}"));
        worker.says("listening");
        worker
    }

    /// A connection that makes nothing.
    pub fn connect(&self) -> Connection {
        Connection::connect(&Options { database: None, ..self.site.server.options() }).unwrap()
    }

    /// One value.
    #[track_caller]
    pub fn value(&self, sql: &str) -> String {
        let value = self.connect().value(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        value.unwrap_or_default()
    }

    /// The library that the server's functions are made of; none without functions.
    pub fn library(&self) -> String {
        self.value("SELECT GROUP_CONCAT(DISTINCT dl) FROM mysql.func WHERE name LIKE 'rowcall%'")
    }

    /// The libraries in the server's plugin directory.
    pub fn libraries(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.site.server.plugins).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Everything of ours on the machine's disk.
    pub fn files(&self) -> Vec<PathBuf> {
        fn collect(folder: PathBuf, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { collect(path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        for folder in ["usr", "etc"].map(|folder| self.shell.path(folder)) {
            if folder.exists() {
                collect(folder, &mut found);
            }
        }
        found
    }
}

/// A test that fails shows what the daemon has said.
impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(daemon) = &self.site.daemon
        {
            eprintln!("rowcalld on {}:\n{}", self.site.server.socket.display(), daemon.child.said());
        }
    }
}
