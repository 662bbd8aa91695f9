//! Why a connection to the outbox's server is not there, or of no more use.

use rowcall_mysql::Error;
use std::fmt;

/// Why the reader cannot go on with a connection.
pub(super) enum Trouble {
    /// The server or the way to it.
    Sql(Error),
    /// The server is not one to read from.
    Refused(String),
}

impl Trouble {
    /// The connection is gone.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Trouble::Sql(error) if error.is_lost())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Sql(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Sql(error) => error.fmt(f),
            Trouble::Refused(why) => f.write_str(why),
        }
    }
}
