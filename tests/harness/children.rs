//! Processes that a test starts: what they say is collected, and they end with the test.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long an event may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program, and what it has said so far.
pub struct Child {
    name: String,
    process: process::Child,
    out: Said,
    err: Said,
}

/// Lines, as they come.
#[derive(Clone, Default)]
struct Said {
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Child {
    /// Starts a program.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Child {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = spawned.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let out = Said::collect(process.stdout.take().expect("stdout is piped"));
        let err = Said::collect(process.stderr.take().expect("stderr is piped"));
        Child { name: name.to_owned(), process, out, err }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line on stderr that holds these words, and gives it.
    ///
    /// # Panics
    /// If it ends, or takes too long, without saying so.
    pub fn says(&self, words: &str) -> String {
        self.wait_for(&self.err, words)
    }

    /// Waits for a line on stdout that holds these words, and gives it.
    ///
    /// # Panics
    /// If it ends, or takes too long, without saying so.
    pub fn prints(&self, words: &str) -> String {
        self.wait_for(&self.out, words)
    }

    /// Waits until stdout has so many lines, and gives them all.
    ///
    /// # Panics
    /// If it ends, or takes too long, with fewer.
    pub fn printed(&self, lines: usize) -> Vec<String> {
        let got = self.out.wait(|said| (said.len() >= lines).then(|| said.to_vec()));
        got.unwrap_or_else(|| panic!("{} did not print {lines} lines:\n{}", self.name, self.said()))
    }

    fn wait_for(&self, said: &Said, words: &str) -> String {
        let found = said.wait(|lines| lines.iter().find(|line| line.contains(words)).cloned());
        found.unwrap_or_else(|| panic!("{} did not say {words:?}:\n{}", self.name, self.said()))
    }

    /// Everything on stderr and stdout so far.
    pub fn said(&self) -> String {
        [self.err.all(), self.out.all()].concat().join("\n")
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal)
            .unwrap_or_else(|errno| panic!("{}: {errno}", self.name));
    }

    /// Whether it is still running.
    ///
    /// # Panics
    /// If that cannot be told.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.out.wait_for_end() && self.err.wait_for_end();
        assert!(ended, "{} did not end:\n{}", self.name, self.said());
        self.process.wait().expect("a child can be waited for")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself; a stopped one does not notice anything gentler.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Said {
    fn collect(from: impl Read + Send + 'static) -> Said {
        let said = Said::default();
        let to = said.clone();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                to.change(|lines| lines.lines.push(text));
                line.clear();
            }
            to.change(|lines| lines.ended = true);
        });
        said
    }

    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lines.0.lock().expect("nobody panics while holding it"));
        self.lines.1.notify_all();
    }

    fn wait<T>(&self, mut look: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.0.lock().expect("nobody panics while holding it");
        loop {
            if let Some(found) = look(&lines.lines) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = self.lines.1.wait_timeout(lines, left).expect("nobody panics while holding it").0;
        }
    }

    fn wait_for_end(&self) -> bool {
        self.wait(|_| None::<()>);
        self.lines.0.lock().expect("nobody panics while holding it").ended
    }

    fn all(&self) -> Vec<String> {
        self.lines.0.lock().expect("nobody panics while holding it").lines.clone()
    }
}
