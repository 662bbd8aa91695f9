//! What the end-to-end tests and the benchmarks stand on: private servers, daemons and clients, each
//! in a folder of its own, on Unix sockets or free ports, ended by the process that was started.
//! Whoever waits here waits for an event; the time limits only end a test that has failed.

pub mod activation;
pub mod browser;
pub mod children;
pub mod daemon;
pub mod http;
pub mod load;
pub mod nats_server;
pub mod outbox;
pub mod process;
pub mod receiver;
pub mod recorder;
pub mod servers;
pub mod shell;
pub mod site;
pub mod stranger;
pub mod terminal;
pub mod tls;
pub mod websocket;

pub use activation::Sockets;
pub use browser::Browser;
pub use children::{Child, PATIENCE};
pub use daemon::Daemon;
pub use http::Http;
pub use recorder::Recorder;
pub use servers::{Kind, Server};
pub use shell::Shell;
pub use site::Site;
pub use stranger::Stranger;
pub use terminal::{Message, Terminal};
pub use tls::Authority;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A program or library of ours, as it was built: beside the tests, or where ROWCALL_BUILD says.
///
/// # Panics
/// If it was not built.
pub fn built(name: &str) -> PathBuf {
    let folder = std::env::var_os("ROWCALL_BUILD").map_or_else(
        || {
            let tests = std::env::current_exe().expect("a running program has a path");
            tests.ancestors().nth(2).expect("tests are built in target/…/deps").to_owned()
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not there: build it first (make build)", path.display());
    path
}

/// Asks until there is an answer.
///
/// # Panics
/// If it takes too long; with these words for what was asked.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository")
}

/// A new folder that goes away with its handle. Its path is short: a socket's has 107 bytes.
///
/// # Panics
/// If it cannot be made.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rowcall-").tempdir().expect("a temporary folder")
}

/// Where what was downloaded or set up once is kept between runs.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("rowcall")
}
