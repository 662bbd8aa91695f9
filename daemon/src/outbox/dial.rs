//! Connecting to the server whose outbox is read: for the reader, and for the clerk beside it. Each time, the
//! option file is looked at before (option_file.rs), and whether connecting would start a server that was stopped
//! (activated.rs).

use super::activated::Activated;
use super::option_file;
use super::server::{CLERK, READER};
use super::trouble::Trouble;
use rowcall_mysql::{Connection, OptionFiles, Options, Session};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long connecting to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server may take for an answer. Longer than any statement of ours waits for a lock.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for the clerk: people wait no longer than for 10 seconds.
const CLERK_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the server is, and as whom to connect to it.
pub(super) struct Dial {
    option_file: PathBuf,
    /// The server of the reader's latest connection, if another process holds its socket.
    activated: Mutex<Option<Activated>>,
}

impl Dial {
    pub(super) fn new(option_file: PathBuf) -> Dial {
        Dial { option_file, activated: Mutex::default() }
    }

    /// The reader's connection. `told`: since the latest attempt SQL has published something, or the administrator
    /// has sent SIGHUP.
    pub(super) fn connect(&self, told: bool, now: Instant) -> Result<Connection, Trouble> {
        option_file::check(&self.option_file).map_err(Trouble::Refused)?;
        let known = &mut *self.activated();
        known.as_mut().map_or(Ok(()), |server| server.check(told, now)).map_err(Trouble::Refused)?;
        // There is a server again, whatever comes of this.
        *known = None;
        let mut connection = Connection::connect(&self.options(READER, READ_TIMEOUT))?;
        *known = Activated::behind(&mut connection)?;
        Ok(connection)
    }

    /// The reader's connection has ended; by its end the server's may be told.
    pub(super) fn lose(&self, now: Instant) {
        self.activated().iter_mut().for_each(|server| server.lose(now));
    }

    /// The clerk's connection has ended.
    pub(super) fn lose_clerk(&self, now: Instant) {
        self.activated().iter_mut().for_each(|server| server.lose_clerk(now));
    }

    fn activated(&self) -> MutexGuard<'_, Option<Activated>> {
        self.activated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clerk's.
    pub(super) fn connect_clerk(&self, now: Instant) -> Result<Connection, Trouble> {
        option_file::check(&self.option_file).map_err(Trouble::Refused)?;
        let check = |server: &mut Activated| server.check_clerk(now);
        self.activated().as_mut().map_or(Ok(()), check).map_err(Trouble::Refused)?;
        Ok(Connection::connect(&self.options(CLERK, CLERK_TIMEOUT))?)
    }

    fn options(&self, session: Session, read_timeout: Duration) -> Options {
        Options {
            // Some statements of several tables want a database to be chosen, whatever they name.
            database: Some("rowcall".into()),
            option_files: OptionFiles::Only(self.option_file.clone()),
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(read_timeout),
            session: Some(session),
            ..Options::default()
        }
    }
}
