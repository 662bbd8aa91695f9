//! Where and as whom to connect: what a caller wants. How it is done stands in lib.rs.

use crate::Session;
use std::ffi::{CStr, c_uint};
use std::path::PathBuf;
use std::time::Duration;

/// Where and as whom to connect. What is `None` comes from the option files, if they are read, and
/// else from the library's defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Host name or address; `localhost` means the Unix socket.
    pub host: Option<String>,
    /// TCP port.
    pub port: Option<u16>,
    /// Unix socket; wins over host and port.
    pub socket: Option<PathBuf>,
    /// Where neither a socket nor a host is named, and nobody is at the library's own default, try the other
    /// places where servers put their sockets. For people, who see which server answers; not for a daemon,
    /// whose server is the same one after a restart.
    pub looks_elsewhere: bool,
    /// Account.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Database to use.
    pub database: Option<String>,
    /// Which option files to read.
    pub option_files: OptionFiles,
    /// Refuse to go on without encryption.
    pub require_tls: bool,
    /// The authority that the server's certificate must come from; implies `require_tls`.
    pub tls_ca: Option<PathBuf>,
    /// How long connecting may take; rounded up to seconds. `None` is the library's default.
    pub connect_timeout: Option<Duration>,
    /// How long an answer may take; rounded up to seconds. `None` is for ever.
    pub read_timeout: Option<Duration>,
    /// What the session is to be. `None` leaves it as the server's global settings make it, as those of
    /// applications are; only tests want that.
    pub session: Option<Session>,
}

/// Option files, as the server's own clients have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OptionFiles {
    /// None.
    #[default]
    None,
    /// The usual ones: /etc/my.cnf, /etc/mysql/my.cnf, ~/.my.cnf; groups `[client]` and `[rowcall]`.
    Usual,
    /// Only this one.
    Only(PathBuf),
}

/// The group of option files that is read beside `[client]`.
pub(crate) const OPTION_GROUP: &CStr = c"rowcall";

/// What the C library takes for a time: whole seconds, rounded up.
pub(crate) fn whole_seconds(time: Duration) -> c_uint {
    c_uint::try_from(time.as_millis().div_ceil(1000)).unwrap_or(c_uint::MAX)
}
