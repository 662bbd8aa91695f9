//! A daemon, and the `rowcall` command run against it.

use harness::{Child, Daemon, PATIENCE, Terminal};
use nix::sys::signal::Signal;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A daemon, and commands that find it.
pub struct Desk {
    pub daemon: Daemon,
    pub folder: TempDir,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Desk {
    pub fn new() -> Desk {
        let folder = harness::folder();
        Desk { daemon: Daemon::start(&folder.path().join("rowcall.sock")), folder }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        rowcall(&format!("unix:{}", self.daemon.socket.display()), arguments)
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        run(&mut self.command(arguments), b"")
    }

    /// Starts one that stays, and waits until it says these words.
    pub fn start(&self, arguments: &[&str], words: &str) -> Child {
        let child = Child::start(arguments[0], &mut self.command(arguments));
        child.says(words);
        child
    }

    /// A worker that answers what it is asked, until it is dropped.
    pub fn worker(&self, arguments: &[&str]) -> Child {
        self.start(&[&["reply"], arguments].concat(), "answering")
    }

    pub fn terminal(&self, subject: &str) -> Terminal {
        let mut terminal = self.daemon.terminal().hello();
        terminal.send(format!("SUB {subject} 1\r\n"));
        terminal.barrier();
        terminal
    }
}

/// The command, with an environment that names this server.
pub fn rowcall(server: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(harness::built("rowcall"));
    command.env("ROWCALL_SERVER", server).env_remove("MYSQL_PWD").args(arguments);
    for name in ["USER", "PASSWORD", "TOKEN", "TLS_CA", "TLS_CERT", "TLS_KEY"] {
        command.env_remove(format!("ROWCALL_{name}"));
    }
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command, input: &[u8]) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: output.stdout, err }
}

impl Said {
    #[track_caller]
    pub fn is(&self, code: i32, out: impl AsRef<[u8]>) {
        let agree = self.code == code && self.out == out.as_ref();
        assert!(agree, "{} {:?}\n{}", self.code, String::from_utf8_lossy(&self.out), self.err);
    }

    /// It failed so, and the words that help are there.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        let agree = self.code == code && words.iter().all(|words| self.err.contains(words));
        assert!(agree, "expected {code} and {words:?}: {self:?}");
    }
}

/// Waits until it is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not so in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ctrl-C; it leaves as if that were the most natural thing.
#[track_caller]
pub fn interrupt(mut child: Child) {
    child.signal(Signal::SIGINT);
    let status = child.wait();
    assert_eq!(status.code(), Some(0), "{}", child.said());
}

/// A line for programs.
pub fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
