//! Connecting to the server whose outbox is read: for the reader, and for the clerk beside it. Each time, the
//! option file is looked at before (option_file.rs).

use super::option_file;
use super::server::{CLERK, READER};
use super::trouble::Trouble;
use rowcall_mysql::{Connection, OptionFiles, Options, Session};
use std::path::PathBuf;
use std::time::Duration;

/// How long connecting to the server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the server may take for an answer. Longer than any statement of ours waits for a lock.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for the clerk: people wait no longer than for 10 seconds.
const CLERK_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the server is, and as whom to connect to it.
pub(super) struct Dial {
    option_file: PathBuf,
}

impl Dial {
    pub(super) fn new(option_file: PathBuf) -> Dial {
        Dial { option_file }
    }

    /// The reader's connection.
    pub(super) fn connect(&self) -> Result<Connection, Trouble> {
        option_file::check(&self.option_file).map_err(Trouble::Refused)?;
        Ok(Connection::connect(&self.options(READER, READ_TIMEOUT))?)
    }

    /// The clerk's.
    pub(super) fn connect_clerk(&self) -> Result<Connection, Trouble> {
        option_file::check(&self.option_file).map_err(Trouble::Refused)?;
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
