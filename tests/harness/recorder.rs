//! Someone who listens all the time and writes down what is heard, for tests in which the daemon
//! may be stopped or end while others publish.

use crate::children::PATIENCE;
use crate::daemon::Daemon;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

/// A subscriber on TCP with a thread that reads. It ends with its daemon.
pub struct Recorder {
    shared: Arc<(Mutex<Record>, Condvar)>,
}

#[derive(Default)]
struct Record {
    payloads: Vec<String>,
    is_subscribed: bool,
    ended: bool,
}

impl Recorder {
    /// Subscribes to this subject; from now on nothing is missed.
    ///
    /// # Panics
    /// If the daemon does not take it in.
    pub fn start(daemon: &Daemon, subject: &str) -> Recorder {
        let mut terminal = daemon.terminal().hello();
        terminal.send(format!("SUB {subject} 1\r\nPING\r\n"));
        let shared = Arc::<(Mutex<Record>, Condvar)>::default();
        let recorder = Recorder { shared: shared.clone() };
        thread::spawn(move || {
            let change = |change: &dyn Fn(&mut Record)| {
                change(&mut shared.0.lock().expect("nobody panics while holding it"));
                shared.1.notify_all();
            };
            while let Some(line) = terminal.line_or_end() {
                if line == "PONG" {
                    change(&|record| record.is_subscribed = true);
                } else if line.starts_with("MSG ")
                    && let Some(payload) = terminal.line_or_end()
                {
                    change(&|record| record.payloads.push(payload.clone()));
                }
            }
            change(&|record| record.ended = true);
        });
        // Others may publish meanwhile, so it is heard before the PONG.
        recorder.wait("the subscription", |record| record.is_subscribed);
        recorder
    }

    /// Waits until so many payloads have been heard, and gives all there are.
    pub fn heard(&self, count: usize) -> Vec<String> {
        self.wait(&format!("{count} payloads"), |record| record.payloads.len() >= count)
    }

    /// Waits until the daemon has hung up, and gives all payloads that were heard.
    pub fn to_the_end(&self) -> Vec<String> {
        self.wait("the end", |record| record.ended)
    }

    fn wait(&self, what: &str, enough: impl Fn(&Record) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut record = self.shared.0.lock().expect("nobody panics while holding it");
        while !enough(&record) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || record.ended {
                let heard = record.payloads.len();
                drop(record);
                panic!("{heard} payloads were heard, and then no more, while {what} was awaited");
            }
            record = self.shared.1.wait_timeout(record, left).expect("nobody panics while holding it").0;
        }
        record.payloads.clone()
    }
}
