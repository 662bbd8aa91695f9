//! Someone who subscribes to everything and writes down each event with its id, from one daemon
//! after another. A daemon may be killed in the middle of a message: what was cut was not heard.

use super::account::Heard;
use crate::{Daemon, eventually};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A subscriber on TCP with a thread that reads.
pub struct Listener {
    log: Arc<Mutex<Vec<Heard>>>,
    thread: JoinHandle<()>,
}

impl Listener {
    /// Subscribes; from now on nothing is missed while the daemon lives.
    pub fn start(daemon: &Daemon) -> Listener {
        let log = Arc::default();
        Listener { thread: read(daemon, Arc::clone(&log)), log }
    }

    /// Hears the killed daemon to its end, and subscribes to another.
    pub fn follow(&mut self, daemon: &Daemon) {
        let thread = read(daemon, Arc::clone(&self.log));
        std::mem::replace(&mut self.thread, thread).join().unwrap();
    }

    /// How much was heard so far.
    pub fn count(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// Waits until so many more have been heard.
    pub fn hear_more(&self, count: usize) {
        let enough = self.count() + count;
        eventually("more events", || (self.count() >= enough).then_some(()));
    }

    /// Waits until this payload was heard last, and gives everything that was heard before.
    pub fn until(&self, last: &str) -> Vec<Heard> {
        eventually(last, || {
            let log = self.log.lock().unwrap();
            let (end, before) = log.split_last()?;
            (end.payload == last).then(|| before.to_vec())
        })
    }
}

fn read(daemon: &Daemon, log: Arc<Mutex<Vec<Heard>>>) -> JoinHandle<()> {
    let mut terminal = daemon.terminal().hello();
    terminal.send("SUB load.> 1\r\n");
    terminal.barrier();
    thread::spawn(move || {
        while let Some((id, payload)) = terminal.event_or_end() {
            log.lock().unwrap().push(Heard { id, payload });
        }
    })
}
