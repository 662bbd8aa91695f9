//! Signals as something to read: SIGTERM and SIGINT mean "leave" (the second: at once), SIGHUP "read your files again".

use crate::poll::{READ, Ready};
use crate::slots::{Key, Slots};
use crate::{Daemon, Handler};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The descriptor they are read from.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Takes them away from their default action. Threads started later inherit that,
    /// so this comes before any.
    ///
    /// # Errors
    /// Those of signalfd(2): no descriptor or no memory left.
    pub fn new() -> Result<Signals, Errno> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGTERM);
        mask.add(Signal::SIGINT);
        mask.add(Signal::SIGHUP);
        mask.thread_block()?;
        let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd })
    }
}

impl Daemon {
    pub(crate) fn watch_signals(&mut self) -> Result<(), Errno> {
        // There is one such descriptor and its handler needs no key.
        let key = Slots::default().insert(());
        self.poll.add(&self.signals.fd, Handler::Signals as u8, key, READ)
    }

    pub(crate) fn on_signals(&mut self, _: Key, _: Ready) {
        while let Ok(Some(signal)) = self.signals.fd.read_signal() {
            let number = Signal::try_from(signal.ssi_signo as i32);
            let name = number.map_or("a signal", Signal::as_str);
            if number == Ok(Signal::SIGHUP) {
                tracing::info!(from_pid = signal.ssi_pid, "told to reload");
                self.reload();
            } else {
                tracing::info!(signal = name, from_pid = signal.ssi_pid, "told to leave");
                self.begin_leaving();
            }
        }
    }
}
