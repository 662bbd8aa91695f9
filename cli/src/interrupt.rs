//! Ctrl-C (and SIGTERM) as something to wait for beside a socket, so that a subcommand can end in
//! an orderly way.

use crate::failure::Failure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use once_cell::sync::OnceCell;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Becomes readable with the first signal, and is never read from: so every thread that waits is
/// told. Handlers, not blocked signals and a signalfd: what is blocked stays blocked in the commands
/// that `rowcall reply` runs, where `timeout` and `kill` would be without effect.
static SIGNALLED: OnceCell<[UnixStream; 2]> = OnceCell::new();

/// The two signals, from now on to be waited for instead of ending the program.
pub(crate) struct Interrupt {
    signalled: &'static UnixStream,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There is something to read.
    Input,
    /// Someone wants the program to end.
    Interrupted,
    /// The time is over.
    Late,
}

impl Interrupt {
    /// Takes the signals over, for the whole process.
    pub(crate) fn new() -> Result<Interrupt, Failure> {
        let signalled = SIGNALLED.get_or_try_init(take_over);
        let failed = |error| Failure::other(format!("cannot receive signals: {error}"));
        let [signalled, _] = signalled.map_err(failed)?;
        Ok(Interrupt { signalled })
    }

    /// Waits for input, for a signal, or for a time.
    pub(crate) fn wait(&self, input: BorrowedFd<'_>, until: Option<Instant>) -> Result<Woken, Failure> {
        loop {
            let signalled = self.signalled.as_fd();
            let mut fds = [input, signalled].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, timeout(until)) {
                Ok(0) if until.is_some_and(|until| until <= Instant::now()) => return Ok(Woken::Late),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) if fds[1].any() == Some(true) => return Ok(Woken::Interrupted),
                Ok(_) => return Ok(Woken::Input),
                Err(errno) => return Err(Failure::other(format!("cannot wait: {errno}"))),
            }
        }
    }

    /// Waits for input or a time, whatever signals come.
    pub(crate) fn wait_for_input(
        &self,
        input: BorrowedFd<'_>,
        until: Option<Instant>,
    ) -> Result<Woken, Failure> {
        loop {
            match poll(&mut [PollFd::new(input, PollFlags::POLLIN)], timeout(until)) {
                Ok(0) if until.is_some_and(|until| until <= Instant::now()) => return Ok(Woken::Late),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(Woken::Input),
                Err(errno) => return Err(Failure::other(format!("cannot wait: {errno}"))),
            }
        }
    }

    /// Waits for a signal, for so long; says whether one came.
    pub(crate) fn pause(&self, time: Duration) -> Result<bool, Failure> {
        let woken = self.wait(self.signalled.as_fd(), Some(Instant::now() + time))?;
        Ok(woken != Woken::Late)
    }
}

/// Wakes those who wait as a signal does: the program is to leave for a reason of its own.
pub(crate) fn leave() {
    if let Some([_, signal]) = SIGNALLED.get() {
        // It fails if it is full, and then all are awake.
        let _ = (&mut &*signal).write(&[0]);
    }
}

fn take_over() -> io::Result<[UnixStream; 2]> {
    let (signalled, signal) = UnixStream::pair()?;
    for wanted in [SIGINT, SIGTERM] {
        // The second one ends the program at once, whatever it waits for: a command that never ends, say.
        let again = Arc::new(AtomicBool::new(false));
        flag::register_conditional_shutdown(wanted, 128 + wanted, Arc::clone(&again))?;
        flag::register(wanted, again)?;
        pipe::register(wanted, signal.try_clone()?)?;
    }
    Ok([signalled, signal])
}

/// Rounded up to milliseconds; an hour at a time, for those who would wait for ever.
fn timeout(until: Option<Instant>) -> PollTimeout {
    let left =
        until.map_or(Duration::from_secs(3600), |until| until.saturating_duration_since(Instant::now()));
    let millis = left.min(Duration::from_secs(3600)).as_micros().div_ceil(1000);
    PollTimeout::try_from(millis as i32).unwrap_or(PollTimeout::MAX)
}
