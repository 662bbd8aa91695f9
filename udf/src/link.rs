//! This thread's connection to the daemon: opening it, handing frames to the kernel, waiting, and
//! giving up in time. What the frames say is call.rs's business; how the two ends greet each other
//! stands in link/greeting.rs, what is sent before they have in link/ahead.rs, how it is sent in
//! link/sending.rs, requests and what comes back in link/reply.rs, replies that are collected later in
//! link/mail.rs, events in link/listen.rs, and what the daemon has said of what is allowed in
//! link/allowed.rs.
//!
//! The connection belongs to the thread because in a trigger nothing else lasts longer than a row.
//! Two things are the whole process's: the back-off after a daemon that could not be reached, and
//! the knowledge that it takes nothing, so that one session has waited for all of them.

mod ahead;
mod allowed;
mod greeting;
mod listen;
mod mail;
mod reply;
mod sending;
mod wait;

use crate::backoff::{Backoff, Pace, Stall};
use crate::bounded::Bounded;
use crate::counters::{self, CONNECT_ERRNO, CONNECTS, DISCONNECTS, Reason};
use crate::random;
use crate::socket::Socket;
use greeting::Terms;
pub(crate) use greeting::daemon_version;
use once_cell::sync::Lazy;
use rowcall_wire::parse::Limits;
use rowcall_wire::{PAYLOAD_CEILING, SERVER_LINE_MAX};
pub(crate) use sending::Content;
use sending::plain;
use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use wait::Wait;

/// Where the daemon listens, unless ROWCALL_SOCKET in the server's environment says otherwise.
const SOCKET_DEFAULT: &str = "/run/rowcall/rowcall.sock";

/// How long a call waits for a daemon that takes nothing, before events are dropped. Long enough
/// for a busy daemon to come round (a full turn of its loop takes a few milliseconds), short enough
/// for a statement.
pub(crate) const STALL_WAIT: Duration = Duration::from_millis(20);

/// How long a function that waits anyway waits to be greeted, unless its own time is over before:
/// what rowcall_request waits by default. A machine that is busy with something else may need it.
const GREETING_WAIT: Duration = Duration::from_millis(250);

/// Connections that one call tries: its thread's, which may be of a daemon that has gone; one that this
/// daemon took in as the last thing it did; one that is there for the next daemon.
const TRIES_MAX: usize = 3;

/// Bytes read at a time: more than most replies have. On the heap: a server's stack is small.
const READ_AT_ONCE: usize = 8 << 10;

/// What a buffer holds beyond this without using it is given back after each call: a large payload is
/// rare, and a server has many threads.
const KEEP: usize = 64 << 10;

/// How much a peer may send in one operation.
const LIMITS: Limits = Limits { control_line: SERVER_LINE_MAX, payload: PAYLOAD_CEILING, headers: true };

/// The daemon could not be reached lately, or could.
static BACKOFF: Backoff = Backoff::new();

/// Some thread has waited in vain for room or for the greeting, and none has got on since.
static STALL: Stall = Stall::new();

/// When the daemon was last told of a row in the outbox.
static POKES: Pace = Pace::new();

static SOCKET: Lazy<PathBuf> =
    Lazy::new(|| std::env::var_os("ROWCALL_SOCKET").map_or_else(|| SOCKET_DEFAULT.into(), PathBuf::from));

static START: Lazy<Instant> = Lazy::new(Instant::now);

thread_local! {
    static LINK: RefCell<Link> = const { RefCell::new(Link { connection: None }) };
}

/// Does something with this thread's connection.
pub(crate) fn with<T>(work: impl FnOnce(&mut Link) -> Result<T, Reason>) -> Result<T, Reason> {
    // It is borrowed already only if a call is made within a call, and gone only while the thread
    // ends; neither happens, and neither may crash the server.
    LINK.try_with(|link| link.try_borrow_mut().map_or(Err(Reason::Panic), |mut link| work(&mut link)))
        .unwrap_or(Err(Reason::Panic))
}

/// Whether the caller may tell the daemon of a row in the outbox: one in each pause of the whole
/// process, and none while the daemon is known to be away.
pub(crate) fn may_poke() -> bool {
    POKES.may_go(now())
}

/// Where the daemon is looked for.
pub(crate) fn socket_path() -> String {
    SOCKET.display().to_string()
}

/// What is known of the daemon, without asking it.
pub(crate) fn state() -> &'static str {
    if STALL.is_on(now()) {
        "stalled"
    } else if CONNECT_ERRNO.load(Relaxed) != 0 {
        "no_daemon"
    } else if CONNECTS.load(Relaxed) == 0 {
        "idle"
    } else {
        "ok"
    }
}

/// The largest message that the daemon takes, as far as is known without asking it.
pub(crate) fn payload_max() -> usize {
    greeting::latest_terms().map_or(PAYLOAD_CEILING, |terms| terms.max_payload)
}

/// This thread's connection, if there is one.
pub(crate) struct Link {
    connection: Option<Connection>,
}

/// A connection, greeted or not.
struct Connection {
    socket: Socket,
    /// What the daemon takes, as it last said; or, before it has greeted us, as another greeting did.
    terms: Option<Terms>,
    /// Whether it has greeted us.
    is_greeted: bool,
    /// Whether our greeting has gone.
    is_introduced: bool,
    /// Events that went before it has greeted us.
    ahead: u64,
    /// Which run of the daemon has greeted us.
    server_id: String,
    /// What has come and was not dealt with yet.
    input: Vec<u8>,
    /// The frame under way, up to the body. Empty between calls: what was answered 1 is in the kernel.
    frame: Vec<u8>,
    /// What was written of the body. Empty between calls.
    body: Bounded,
    /// Whether the socket was full at the last attempt.
    full: bool,
    /// What the subjects of replies begin with.
    inbox: String,
    /// Whether they are subscribed to, which the first request does.
    subscribed: bool,
    /// The number of the latest request: replies to earlier ones are thrown away.
    request: u64,
    /// The number of the latest subscription to events.
    listening: u64,
}

/// Why something with a connection did not work.
enum Fail {
    /// The connection is of no use any more.
    Broken(Reason),
    /// The connection is fine.
    Call(Reason),
}

impl Fail {
    fn reason(self) -> Reason {
        let (Fail::Broken(reason) | Fail::Call(reason)) = self;
        reason
    }
}

impl Link {
    /// Hands one message to the daemon that is there.
    pub(crate) fn tell(&mut self, subject: &[u8], payload: &[u8]) -> Result<(), Reason> {
        self.connected(|connection| {
            connection.greeted(STALL_WAIT)?;
            connection.send_message(subject, None, &|_| Ok(plain(payload))).map(drop)
        })
    }

    /// Does something with a connection that works. If the daemon turns out to have gone, another
    /// connection is tried: a frame that was not taken whole was not dealt with, so it may be sent again.
    fn connected<T>(&mut self, work: impl Fn(&mut Connection) -> Result<T, Fail>) -> Result<T, Reason> {
        for _ in 1..TRIES_MAX {
            match self.attempt(&work) {
                Err(Fail::Broken(Reason::NoDaemon)) => {}
                result => return result.map_err(Fail::reason),
            }
        }
        self.attempt(&work).map_err(Fail::reason)
    }

    fn attempt<T>(&mut self, work: impl Fn(&mut Connection) -> Result<T, Fail>) -> Result<T, Fail> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open().map_err(Fail::Call)?);
            counters::count(&CONNECTS);
        }
        let Some(connection) = &mut self.connection else { return Err(Fail::Call(Reason::NoDaemon)) };
        let result = work(connection);
        connection.give_back();
        self.closed_if_broken(result)
    }

    fn closed_if_broken<T>(&mut self, result: Result<T, Fail>) -> Result<T, Fail> {
        if let Err(Fail::Broken(_)) = result {
            self.close();
        }
        result
    }

    fn close(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            counters::count(&DISCONNECTS);
            connection.count_unconfirmed();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}

impl Connection {
    fn new(socket: Socket) -> Connection {
        // Nobody should guess the inbox: what is published there is taken for a reply.
        let secret = random::secret();
        Connection {
            socket,
            terms: None,
            is_greeted: false,
            is_introduced: false,
            ahead: 0,
            server_id: String::new(),
            input: Vec::new(),
            frame: Vec::new(),
            body: Bounded::new(0),
            full: false,
            inbox: format!("_INBOX.rowcall.{secret:016x}."),
            subscribed: false,
            request: 0,
            listening: 0,
        }
    }

    fn open() -> Result<Connection, Reason> {
        if !BACKOFF.may_try(now()) {
            return Err(Reason::NoDaemon);
        }
        match Socket::connect(&SOCKET) {
            Ok(socket) => {
                BACKOFF.succeeded();
                CONNECT_ERRNO.store(0, Relaxed);
                Ok(Connection::new(socket))
            }
            Err(error) => {
                BACKOFF.failed(now());
                CONNECT_ERRNO.store(error.raw_os_error().unwrap_or_default() as u64, Relaxed);
                // A listener whose queue is full is there, but takes nobody in.
                Err(if error.kind() == ErrorKind::WouldBlock { Reason::Stalled } else { Reason::NoDaemon })
            }
        }
    }

    /// Takes what has come; 0 if nothing has.
    fn received(&mut self) -> Result<usize, Fail> {
        let held = self.input.len();
        reserve(&mut self.input, READ_AT_ONCE).map_err(Fail::Broken)?;
        self.input.resize(held + READ_AT_ONCE, 0);
        let result = self.socket.receive(&mut self.input[held..]);
        self.input.truncate(held + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(Fail::Broken(Reason::NoDaemon)),
            Ok(n) => Ok(n),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(_) => Err(Fail::Broken(Reason::NoDaemon)),
        }
    }

    /// Ends a call: the frame is gone, and no large buffer is kept.
    fn give_back(&mut self) {
        self.frame.clear();
        self.body.begin(0);
        for buffer in [&mut self.frame, self.body.bytes_mut(), &mut self.input] {
            if buffer.capacity() > KEEP {
                // What has come and is not whole yet stays.
                buffer.shrink_to_fit();
            }
        }
    }
}

/// What a PUB or HPUB line holds besides the subjects: the verb, two sizes of nine digits, blanks.
const LINE_EXTRA: usize = 32;

/// How long a function that waits so long may wait to be greeted.
fn greeting_wait(timeout: Duration) -> Duration {
    timeout.clamp(STALL_WAIT, GREETING_WAIT)
}

/// The call fails because the daemon takes nothing (which the whole process shall know), or because
/// it was killed while it waited.
fn stalled(reason: Reason) -> Fail {
    if reason == Reason::Stalled {
        STALL.found(now());
    }
    Fail::Call(reason)
}

/// Nanoseconds of a clock that only goes forward.
fn now() -> u64 {
    START.elapsed().as_nanos() as u64
}

fn broken(reason: Reason) -> Fail {
    let _ = stalled(reason);
    Fail::Broken(reason)
}

/// An allocation that fails must not abort the server.
fn reserve(out: &mut Vec<u8>, more: usize) -> Result<(), Reason> {
    out.try_reserve(more).map_err(|_| Reason::NoMemory)
}
