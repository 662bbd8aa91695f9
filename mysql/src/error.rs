//! Errors, with the number that the server or the library gave.

use std::ffi::NulError;
use std::fmt;
use std::ops::Range;

/// The numbers of the client library.
const LIBRARY: Range<u32> = 2000..3000;

/// What went wrong, with the number the server or the library gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The error number: below 2000 and from 3000 on the server's, in between the library's.
    pub number: u32,
    /// The SQLSTATE, five characters.
    pub sqlstate: String,
    /// The text.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {}, SQLSTATE {})", self.message, self.number, self.sqlstate)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// The connection is of no more use: it is gone, or the library stopped in the middle of an answer. What the
    /// server refuses leaves it as it was.
    pub fn is_lost(&self) -> bool {
        LIBRARY.contains(&self.number)
    }

    /// A fault found on this side, with the library's number for "unknown error".
    pub(crate) fn own(message: impl Into<String>) -> Error {
        Error { number: 2000, sqlstate: "HY000".into(), message: message.into() }
    }
}

impl From<NulError> for Error {
    fn from(_: NulError) -> Self {
        Error::own("a setting holds a NUL byte")
    }
}
