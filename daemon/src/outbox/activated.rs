//! A server whose Unix socket is held by another process, as systemd holds that of mariadb.socket. Whoever connects
//! there starts the server, so after an administrator has stopped it nobody of ours may connect until somebody else
//! has started it.
//!
//! The kernel tells both: who listens (the credentials of the peer), and who has written an answer (the credentials
//! of a message). Where they are the same process, its end closes the socket, and connecting does no harm.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::kill;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials};
use nix::sys::socket::{getsockopt, recvmsg, setsockopt, sockopt};
use nix::unistd::Pid;
use rowcall_mysql::{Connection, Error};
use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the server may take to answer the question for its pid file, in milliseconds.
const ANSWER_MAX_MS: u16 = 5000;

/// What SQL says in this time after the end of a connection may be the last word of a session that ends with the
/// server; sessions end within milliseconds of each other.
const SETTLE: Duration = Duration::from_secs(2);

/// A server that has closed the connection and is still there after this time is not about to end: ending takes
/// seconds, of which InnoDB needs most for what it has not written.
const ENDING_MAX: Duration = Duration::from_secs(60);

/// The server of the latest connection.
pub(super) struct Activated {
    /// The process that holds the socket.
    holder: i32,
    /// The server's process.
    server: i32,
    pid_file: PathBuf,
    /// The server's own pid file, if it can be seen from here.
    written: Option<Stamp>,
    /// Whether its process has ended. Another one may get its number.
    has_ended: bool,
    /// Since when the reader's connection is lost, or the process gone.
    since: Option<Instant>,
    /// Since when the clerk's connection is lost.
    clerk_since: Option<Instant>,
}

/// Tells one pid file from the next at the same path.
type Stamp = (u64, i64, i64);

impl Activated {
    /// The server behind this connection, if another process holds its socket.
    pub(super) fn behind(connection: &mut Connection) -> Result<Option<Activated>, Error> {
        let peer = connection.socket().and_then(|socket| getsockopt(&socket, sockopt::PeerCredentials).ok());
        // On TCP there is none; of another PID namespace it has the number 0.
        let Some(holder) = peer.map(|peer| peer.pid()).filter(|&pid| pid > 0) else { return Ok(None) };
        let mut server = None;
        let answer = connection.query_watched("SELECT @@pid_file", |socket| server = sender(socket))?;
        let Some(server) = server.filter(|&pid| pid > 0 && pid != holder) else { return Ok(None) };
        let pid_file = PathBuf::from(answer.first().unwrap_or_default());
        let written = stamp(&pid_file);
        let (has_ended, since, clerk_since) = (false, None, None);
        Ok(Some(Activated { holder, server, pid_file, written, has_ended, since, clerk_since }))
    }

    /// The reader has lost its connection.
    pub(super) fn lose(&mut self, now: Instant) {
        self.since = self.since.or(Some(now));
    }

    /// The clerk has lost its own.
    pub(super) fn lose_clerk(&mut self, now: Instant) {
        self.clerk_since = Some(now);
    }

    /// Says why the reader may not connect now. `told`: SQL has published something, or the administrator has
    /// sent SIGHUP.
    pub(super) fn check(&mut self, told: bool, now: Instant) -> Result<(), String> {
        if !self.has_ended && !is_alive(self.server) {
            self.has_ended = true;
            self.since = Some(now);
        }
        let Some(since) = self.since else { return Ok(()) };
        let is_new = stamp(&self.pid_file).is_some_and(|stamp| Some(stamp) != self.written);
        match is_new || may_connect(self.has_ended, now.saturating_duration_since(since), told) {
            true => Ok(()),
            false => Err(self.why()),
        }
    }

    /// Says why the clerk may not. Where its connection has just been lost, the reader's may be as well.
    pub(super) fn check_clerk(&mut self, now: Instant) -> Result<(), String> {
        match self.clerk_since {
            Some(since) if now.saturating_duration_since(since) < SETTLE => {
                Err("the connection to the server was lost; ask again".to_owned())
            }
            _ => self.check(false, now),
        }
    }

    fn why(&self) -> String {
        let Activated { holder, server, .. } = self;
        let file = self.pid_file.display();
        let seconds = ENDING_MAX.as_secs();
        let sign = match self.written {
            Some(_) => format!("a new {file}, an event that SQL publishes, or SIGHUP will tell"),
            None => {
                format!("{file} cannot be seen from here; an event that SQL publishes, or SIGHUP will tell")
            }
        };
        match self.has_ended {
            true => format!(
                "the server (process {server}) has ended, and process {holder} holds its socket: connecting would \
                 start it. Waiting until somebody else has: {sign}"
            ),
            false => format!(
                "the server (process {server}) has closed the connection and may be ending, and process {holder} \
                 holds its socket: connecting would start it again. Waiting for its end, an event that SQL \
                 publishes, or {seconds} s"
            ),
        }
    }
}

/// Whether connecting starts no server that was stopped, so long after the connection was lost.
fn may_connect(has_ended: bool, lost_for: Duration, told: bool) -> bool {
    (told && lost_for >= SETTLE) || (!has_ended && lost_for >= ENDING_MAX)
}

fn is_alive(pid: i32) -> bool {
    // Of another account's process the kernel says that it may not be signalled.
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

fn stamp(file: &std::path::Path) -> Option<Stamp> {
    let file = fs::metadata(file).ok()?;
    Some((file.ino(), file.mtime(), file.mtime_nsec()))
}

/// The process that has written what comes next on this socket, which is left there.
fn sender(socket: BorrowedFd<'_>) -> Option<i32> {
    setsockopt(&socket, sockopt::PassCred, &true).ok()?;
    let mut wanted = [PollFd::new(socket, PollFlags::POLLIN)];
    let came = poll(&mut wanted, PollTimeout::from(ANSWER_MAX_MS));
    let pid = came.is_ok_and(|count| count > 0).then(|| peeked(socket)).flatten();
    setsockopt(&socket, sockopt::PassCred, &false).ok()?;
    pid
}

fn peeked(socket: BorrowedFd<'_>) -> Option<i32> {
    let (mut byte, mut space) = ([0], cmsg_space!(UnixCredentials));
    let mut into = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut space), flags).ok()?;
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_server_is_not_connected_to_without_a_sign() {
        let (soon, later, long) = (Duration::from_millis(100), SETTLE, ENDING_MAX);
        // It has ended: only a sign helps, and not what was said while it ended.
        assert!(!may_connect(true, long * 100, false));
        assert!(!may_connect(true, soon, true) && may_connect(true, later, true));
        // It is there: perhaps it ends, perhaps only a session was killed.
        assert!(!may_connect(false, later, false) && may_connect(false, later, true));
        assert!(!may_connect(false, soon, true) && may_connect(false, long, false));
    }

    #[test]
    fn processes_are_alive_or_not() {
        assert!(is_alive(1) && is_alive(std::process::id() as i32));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!is_alive(child.id() as i32));
    }
}
