//! What systemd passes: sockets that listen already and go on listening when this daemon has gone, so that
//! whoever connects between two daemons waits in the kernel for the next; and what systemd is told in return.
//! Sockets that the daemon opens by itself are listener.rs's business.

use crate::config::Flags;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::env;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// What each socket is for, by the name that systemd gives it.
const NAMES: &str = "FileDescriptorName= must say \"sql\" (a Unix socket), \"nats\" or \"http\" (TCP)";

/// What ending takes beyond the times that are set: the last batch of the outbox, on a server that is slow.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// The sockets, as far as there are any. Each stands for the one that the configuration would name.
#[derive(Debug, Default)]
pub struct Passed {
    pub(crate) sql: Option<UnixListener>,
    pub(crate) nats: Option<TcpListener>,
    pub(crate) http: Option<TcpListener>,
}

impl Passed {
    /// Takes what the environment tells of. Before any thread is started, as it changes the environment;
    /// and once: the second time there is nothing.
    ///
    /// # Errors
    /// What is wrong with a socket, for the administrator.
    pub fn from_environment() -> Result<Passed, String> {
        let mut passed = Passed::default();
        // It stands there only if they are meant for this process.
        if env::var_os("LISTEN_PID").is_none() {
            return Ok(passed);
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut names = names.split(':');
        for n in 0..sockets.len() {
            let name = names.next().unwrap_or_default();
            passed.take(&mut sockets, n, name).map_err(|why| {
                format!("socket {} of those that systemd passed, named \"{name}\": {why}", n + 1)
            })?;
        }
        Ok(passed)
    }

    fn take(&mut self, sockets: &mut ListenFd, n: usize, name: &str) -> Result<(), String> {
        let is_second = match name {
            "sql" => put(&mut self.sql, sockets.take_unix_listener(n)),
            "nats" => put(&mut self.nats, sockets.take_tcp_listener(n)),
            "http" => put(&mut self.http, sockets.take_tcp_listener(n)),
            _ => return Err(NAMES.into()),
        };
        match is_second {
            Ok(false) => Ok(()),
            Ok(true) => Err("there is another one of this name".into()),
            Err(error) => Err(format!("{error}; {NAMES}")),
        }
    }

    /// Puts where they listen in the place of what the flags say, so that it holds as well when the
    /// configuration is read again.
    ///
    /// # Errors
    /// Which socket is nowhere.
    pub fn name_in(&self, flags: &mut Flags) -> Result<(), String> {
        if let Some(socket) = &self.sql {
            let address =
                socket.local_addr().map_err(|error| format!("the socket named \"sql\": {error}"))?;
            let path = address.as_pathname().and_then(|path| path.to_str()).unwrap_or_default();
            let place =
                path.parse().map_err(|why| format!("the socket named \"sql\", at \"{path}\": {why}"))?;
            flags.socket = Some(place);
        }
        for (socket, name, flag) in
            [(&self.nats, "nats", &mut flags.listen), (&self.http, "http", &mut flags.http)]
        {
            let Some(socket) = socket else { continue };
            let address =
                socket.local_addr().map_err(|error| format!("the socket named \"{name}\": {error}"))?;
            *flag = Some(address.to_string().parse().map_err(|why| format!("{address} ({name}): {why}"))?);
        }
        Ok(())
    }
}

/// Tells whether there was one already.
fn put<T>(place: &mut Option<T>, taken: io::Result<Option<T>>) -> io::Result<bool> {
    Ok(std::mem::replace(place, taken?).is_some())
}

/// Tells systemd, if it wants to know, that the daemon serves.
pub(crate) fn is_ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells it that the configuration is being read again; [`is_ready`] ends it.
pub(crate) fn is_reloading() {
    // Without the time, the word alone is worth something to whoever looks at the unit's state.
    let since = NotifyState::monotonic_usec_now().ok();
    let state: Vec<_> = [NotifyState::Reloading].into_iter().chain(since).collect();
    tell(&state);
}

/// Tells it that the daemon leaves, and how long that may take: it would be killed after TimeoutStopSec=, if that
/// is less.
pub(crate) fn is_leaving(within: Duration) {
    let most = u32::try_from((within + STOP_MARGIN).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(most)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell systemd how the daemon does");
    }
}
