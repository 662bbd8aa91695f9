//! Ctrl-C (and SIGTERM) as something to wait for beside a socket, so that a subcommand can end in
//! an orderly way.

use crate::failure::Failure;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The two signals, from now on to be waited for instead of ending the program.
pub(crate) struct Interrupt {
    fd: SignalFd,
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
    /// Takes the signals over. Threads started later inherit that.
    pub(crate) fn new() -> Result<Interrupt, Failure> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGTERM);
        let fd = mask.thread_block().and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC));
        Ok(Interrupt { fd: fd.map_err(|errno| Failure::other(format!("cannot receive signals: {errno}")))? })
    }

    /// Waits for input, for a signal, or for a time. A signal is not used up: every thread that
    /// waits is told.
    pub(crate) fn wait(&self, input: BorrowedFd<'_>, until: Option<Instant>) -> Result<Woken, Failure> {
        loop {
            let mut fds =
                [PollFd::new(input, PollFlags::POLLIN), PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout(until)) {
                Ok(0) if until.is_some_and(|until| until <= Instant::now()) => return Ok(Woken::Late),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) if fds[1].any() == Some(true) => return Ok(Woken::Interrupted),
                Ok(_) => return Ok(Woken::Input),
                Err(errno) => return Err(Failure::other(format!("cannot wait: {errno}"))),
            }
        }
    }

    /// Waits for a signal, for so long; says whether one came.
    pub(crate) fn pause(&self, time: Duration) -> Result<bool, Failure> {
        let woken = self.wait(self.fd.as_fd(), Some(Instant::now() + time))?;
        Ok(woken != Woken::Late)
    }
}

/// Rounded up to milliseconds; an hour at a time, for those who would wait for ever.
fn timeout(until: Option<Instant>) -> PollTimeout {
    let left =
        until.map_or(Duration::from_secs(3600), |until| until.saturating_duration_since(Instant::now()));
    let millis = left.min(Duration::from_secs(3600)).as_micros().div_ceil(1000);
    PollTimeout::try_from(millis as i32).unwrap_or(PollTimeout::MAX)
}
