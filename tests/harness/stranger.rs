//! Someone else who listens on a Unix socket where the daemon should.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

/// A listener that does not speak the protocol as it should.
pub struct Stranger {
    path: PathBuf,
    visits: Arc<AtomicU32>,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    /// Says this to whoever connects, and hangs up or says nothing more.
    ///
    /// # Panics
    /// If something is at the path already.
    pub fn listen(path: &Path, says: &'static [u8], hangs_up: bool) -> Stranger {
        let (path, visits, leaving) =
            (path.to_owned(), Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let (counted, told) = (visits.clone(), leaving.clone());
        let socket = UnixListener::bind(&path).expect("the path is free");
        let thread = thread::spawn(move || {
            let mut kept = Vec::new();
            for visitor in socket.incoming() {
                let mut visitor = visitor.expect("a connection can be taken in");
                if told.load(SeqCst) {
                    return;
                }
                counted.fetch_add(1, SeqCst);
                // Whoever has hung up does not want to hear it.
                let _ = visitor.write_all(says);
                if !hangs_up {
                    kept.push(visitor);
                }
            }
        });
        Stranger { path, visits, leaving, thread: Some(thread) }
    }

    /// How many have connected.
    pub fn visits(&self) -> u32 {
        self.visits.load(SeqCst)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.leaving.store(true, SeqCst);
        let _ = UnixStream::connect(&self.path);
        let ended = self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_file(&self.path);
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the stranger failed");
    }
}
