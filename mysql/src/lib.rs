//! A thin safe door to the C client library: connect with timeouts, run statements, read rows, keep
//! error numbers, tell the truth about encryption. The only user of mysqlclient-sys. Nothing of it
//! runs inside the server.
//!
//! This is a door for `unsafe`. Everything in it rests on the library's promises: a `MYSQL` that
//! [`mysql_init`](sys::mysql_init) gave is valid until it is closed and is used by one thread at a
//! time; what it returns as text is valid until the next call with it.
#![allow(unsafe_code)]

mod error;
mod options;
mod outcome;
mod places;
mod session;

pub use error::Error;
use mysqlclient_sys as sys;
use once_cell::sync::Lazy;
use options::{OPTION_GROUP, whole_seconds};
pub use options::{OptionFiles, Options};
pub use outcome::{Outcome, Row};
pub use session::{Isolation, Session};
use std::ffi::{CStr, CString, c_char, c_uint, c_ulong};
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

/// One connection.
pub struct Connection {
    /// Valid until dropped; nobody else has it.
    raw: NonNull<sys::MYSQL>,
}

// SAFETY: the library allows a connection to be used by any thread, one at a time; `&mut self`
// everywhere sees to the latter.
unsafe impl Send for Connection {}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

static LIBRARY: Lazy<bool> = Lazy::new(|| {
    // SAFETY: it is called once, before anything else, with nothing to hand over.
    unsafe { sys::mysql_server_init(0, ptr::null_mut(), ptr::null_mut()) == 0 }
});

/// Sets an option of a connection that is not connected yet. A macro, because the type of the
/// options cannot be named from here.
macro_rules! set_option {
    ($connection:expr, $option:ident, $value:expr) => {{
        let raw = $connection.raw.as_ptr();
        let (option, value) = (sys::mysql_option::$option, $value.cast());
        // SAFETY: the connection is ours, and each use passes what the option takes: a text, a
        // `my_bool` or an `unsigned int`, which the library copies.
        let failed = unsafe { sys::mysql_options(raw, option, value) };
        if failed != 0 {
            return Err($connection.error());
        }
    }};
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The server's or the library's; and our own if encryption was asked for and there is none:
    /// the library's own option to enforce it connects in plain text all the same.
    pub fn connect(options: &Options) -> Result<Connection, Error> {
        if !*LIBRARY {
            return Err(Error::own("the client library cannot be initialised"));
        }
        let error = match Connection::connect_to(options) {
            Err(error) => error,
            connected => return connected,
        };
        let mut others = places::other_sockets(options, &error).into_iter();
        let connect = |socket| Connection::connect_to(&Options { socket: Some(socket), ..options.clone() });
        others.find_map(|socket| connect(socket).ok()).ok_or(error)
    }

    fn connect_to(options: &Options) -> Result<Connection, Error> {
        // SAFETY: null asks for a new one.
        let raw = NonNull::new(unsafe { sys::mysql_init(ptr::null_mut()) });
        let mut connection = Connection { raw: raw.ok_or_else(|| Error::own("out of memory"))? };
        connection.prepare(options)?;
        connection.dial(options)?;
        // Not before: an option file may say otherwise, and a session that the library makes anew on its own
        // has none of our settings.
        let no: sys::my_bool = 0;
        set_option!(connection, MYSQL_OPT_RECONNECT, (&raw const no));
        if (options.require_tls || options.tls_ca.is_some()) && connection.cipher().is_none() {
            return Err(Error::own("encryption was asked for, and this connection has none"));
        }
        if let Some(session) = &options.session {
            connection.begin(session)?;
        }
        Ok(connection)
    }

    fn prepare(&mut self, options: &Options) -> Result<(), Error> {
        set_option!(self, MYSQL_SET_CHARSET_NAME, c"utf8mb4".as_ptr());
        if let Some(folder) = &*places::PLUGINS {
            set_option!(self, MYSQL_PLUGIN_DIR, folder.as_ptr());
        }
        if options.option_files != OptionFiles::None {
            set_option!(self, MYSQL_READ_DEFAULT_GROUP, OPTION_GROUP.as_ptr());
        }
        if let OptionFiles::Only(path) = &options.option_files {
            let path = CString::new(path.to_string_lossy().as_bytes())?;
            set_option!(self, MYSQL_READ_DEFAULT_FILE, path.as_ptr());
        }
        if let Some(seconds) = options.connect_timeout.map(whole_seconds) {
            set_option!(self, MYSQL_OPT_CONNECT_TIMEOUT, (&raw const seconds));
        }
        if let Some(seconds) = options.read_timeout.map(whole_seconds) {
            set_option!(self, MYSQL_OPT_READ_TIMEOUT, (&raw const seconds));
        }
        if let Some(ca) = &options.tls_ca {
            let ca = CString::new(ca.to_string_lossy().as_bytes())?;
            set_option!(self, MYSQL_OPT_SSL_CA, ca.as_ptr());
        }
        if options.require_tls || options.tls_ca.is_some() {
            // Asks for it; whether it was given is looked at afterwards.
            let yes: sys::my_bool = 1;
            set_option!(self, MYSQL_OPT_SSL_ENFORCE, (&raw const yes));
        }
        Ok(())
    }

    fn dial(&mut self, options: &Options) -> Result<(), Error> {
        let text = |value: &Option<String>| value.as_deref().map(CString::new).transpose();
        let (host, user) = (text(&options.host)?, text(&options.user)?);
        let (password, database) = (text(&options.password)?, text(&options.database)?);
        let socket = options
            .socket
            .as_ref()
            .map(|path| CString::new(path.to_string_lossy().as_bytes()))
            .transpose()?;
        let or_null = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        // SAFETY: the connection is ours; every text ends with a NUL and outlives the call.
        let connected = unsafe {
            sys::mysql_real_connect(
                self.raw.as_ptr(),
                or_null(&host),
                or_null(&user),
                or_null(&password),
                or_null(&database),
                options.port.map_or(0, c_uint::from),
                or_null(&socket),
                0,
            )
        };
        if connected.is_null() { Err(self.error()) } else { Ok(()) }
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// The server's or the library's.
    pub fn query(&mut self, sql: impl AsRef<[u8]>) -> Result<Outcome, Error> {
        self.send(sql.as_ref())?;
        let outcome = self.outcome()?;
        self.discard_further_results()?;
        Ok(outcome)
    }

    /// The same, and lets the caller look at the socket once the statement is sent. The answer is on its way then,
    /// or has come, and must be left where it is.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub fn query_watched(
        &mut self,
        sql: impl AsRef<[u8]>,
        look: impl FnOnce(BorrowedFd<'_>),
    ) -> Result<Outcome, Error> {
        let sql = sql.as_ref();
        // SAFETY: the connection is ours; pointer and length are those of the slice.
        let failed =
            unsafe { sys::mysql_send_query(self.raw.as_ptr(), sql.as_ptr().cast(), sql.len() as c_ulong) };
        if failed != 0 {
            return Err(self.error());
        }
        if let Some(socket) = self.socket() {
            look(socket);
        }
        // SAFETY: a statement was sent on the connection, which is ours.
        let failed = unsafe { sys::mysql_read_query_result(self.raw.as_ptr()) };
        if failed != 0 {
            return Err(self.error());
        }
        let outcome = self.outcome()?;
        self.discard_further_results()?;
        Ok(outcome)
    }

    /// Runs one statement and hands on each row as it comes, so that no more than one of them is on
    /// this side at a time. When the function breaks, the rest is thrown away unseen.
    ///
    /// # Errors
    /// As for [`Self::query`], also in the middle of the rows.
    pub fn each_row(
        &mut self,
        sql: impl AsRef<[u8]>,
        mut each: impl FnMut(&[Option<&[u8]>]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.send(sql.as_ref())?;
        // SAFETY: a statement has just run on the connection, which is ours.
        let result = unsafe { sys::mysql_use_result(self.raw.as_ptr()) };
        let Some(raw) = NonNull::new(result) else { return Err(self.error()) };
        let mut result = ResultSet { raw };
        while let Some(row) = result.row() {
            if each(&row).is_break() {
                return Ok(());
            }
        }
        drop(result);
        let error = self.error();
        if error.number == 0 { Ok(()) } else { Err(error) }
    }

    /// Runs one statement and gives the first column of its first row as text.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub fn value(&mut self, sql: impl AsRef<[u8]>) -> Result<Option<String>, Error> {
        Ok(self.query(sql)?.first())
    }

    /// Runs one statement and gives its rows as text; NULL is empty.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub fn texts(&mut self, sql: impl AsRef<[u8]>) -> Result<Vec<Vec<String>>, Error> {
        let text = |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        Ok(self.query(sql)?.rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
    }

    /// The cipher of the connection, or `None` if it is not encrypted.
    pub fn cipher(&mut self) -> Option<String> {
        self.text(sys::mysql_get_ssl_cipher)
    }

    /// The server's version, as it said when it was connected to.
    fn version(&mut self) -> String {
        // SAFETY: the connection is ours and connected.
        let text = unsafe { sys::mysql_get_server_info(self.raw.as_ptr()) };
        // SAFETY: a text that is there ends with a NUL and is copied at once.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The server's name for this connection, as KILL takes it.
    pub fn id(&mut self) -> u64 {
        // SAFETY: the connection is ours and connected.
        unsafe { sys::mysql_thread_id(self.raw.as_ptr()) }
    }

    /// The socket of the connection, for whoever asks the kernel who is at its other end. What is read from it
    /// or written to it breaks the connection.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: the connection is ours; without a socket it says -1.
        let fd = unsafe { sys::mysql_get_socket(self.raw.as_ptr()) };
        // SAFETY: the library keeps it open until the connection is closed, which the borrow forbids.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    fn send(&mut self, sql: &[u8]) -> Result<(), Error> {
        // SAFETY: the connection is ours; pointer and length are those of the slice.
        let failed =
            unsafe { sys::mysql_real_query(self.raw.as_ptr(), sql.as_ptr().cast(), sql.len() as c_ulong) };
        if failed == 0 { Ok(()) } else { Err(self.error()) }
    }

    fn outcome(&mut self) -> Result<Outcome, Error> {
        // SAFETY: a statement has just run on the connection, which is ours.
        let result = unsafe { sys::mysql_store_result(self.raw.as_ptr()) };
        if let Some(raw) = NonNull::new(result) {
            let mut result = ResultSet { raw };
            return Ok(Outcome {
                rows: std::iter::from_fn(|| Some(owned(&result.row()?))).collect(),
                ..Outcome::default()
            });
        }
        // SAFETY: likewise.
        let columns = unsafe { sys::mysql_field_count(self.raw.as_ptr()) };
        if columns > 0 {
            return Err(self.error());
        }
        // SAFETY: likewise.
        let affected = unsafe { sys::mysql_affected_rows(self.raw.as_ptr()) };
        // SAFETY: likewise.
        let insert_id = unsafe { sys::mysql_insert_id(self.raw.as_ptr()) };
        Ok(Outcome { rows: Vec::new(), affected, insert_id })
    }

    /// CALL gives several results; the first is the one that was asked for.
    fn discard_further_results(&mut self) -> Result<(), Error> {
        loop {
            // SAFETY: the connection is ours, and the previous result was taken.
            match unsafe { sys::mysql_next_result(self.raw.as_ptr()) } {
                0 => drop(self.outcome()?),
                -1 => return Ok(()),
                _ => return Err(self.error()),
            }
        }
    }

    /// One of the texts that the library keeps for a connection.
    fn text(&mut self, ask: unsafe extern "C" fn(*mut sys::MYSQL) -> *const c_char) -> Option<String> {
        // SAFETY: the connection is ours, and all that these functions ask for.
        let text = unsafe { ask(self.raw.as_ptr()) };
        // SAFETY: a text that is there ends with a NUL; it is copied before the next call.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }

    fn error(&mut self) -> Error {
        // SAFETY: the connection is ours.
        let number = unsafe { sys::mysql_errno(self.raw.as_ptr()) };
        let message = self.text(sys::mysql_error);
        let sqlstate = self.text(sys::mysql_sqlstate);
        Error { number, sqlstate: sqlstate.unwrap_or_default(), message: message.unwrap_or_default() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is ours and closed once, here.
        unsafe { sys::mysql_close(self.raw.as_ptr()) }
    }
}

/// The rows of a statement.
struct ResultSet {
    raw: NonNull<sys::MYSQL_RES>,
}

impl ResultSet {
    /// The next row. It lives until the one after it is asked for, which the borrow sees to.
    fn row(&mut self) -> Option<Vec<Option<&[u8]>>> {
        // SAFETY: the result is ours until it is freed.
        let row = unsafe { sys::mysql_fetch_row(self.raw.as_ptr()) };
        if row.is_null() {
            return None;
        }
        // SAFETY: likewise.
        let columns = unsafe { sys::mysql_num_fields(self.raw.as_ptr()) } as usize;
        // SAFETY: likewise, and a row has just been fetched.
        let lengths = unsafe { sys::mysql_fetch_lengths(self.raw.as_ptr()) };
        // SAFETY: a row has a value for each column.
        let values = unsafe { std::slice::from_raw_parts(row, columns) };
        // SAFETY: and a length.
        let lengths = unsafe { std::slice::from_raw_parts(lengths, columns) };
        // SAFETY: each value is as long as said, until the next row is fetched.
        Some(values.iter().zip(lengths).map(|(&value, &length)| unsafe { bytes(value, length) }).collect())
    }
}

impl Drop for ResultSet {
    fn drop(&mut self) {
        // SAFETY: it is ours and freed once, here.
        unsafe { sys::mysql_free_result(self.raw.as_ptr()) }
    }
}

/// # Safety
/// A value that is not NULL is as long as said, for as long as `'a`.
unsafe fn bytes<'a>(value: *const c_char, length: c_ulong) -> Option<&'a [u8]> {
    // SAFETY: the contract is passed on.
    (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast(), length as usize) })
}

fn owned(row: &[Option<&[u8]>]) -> Row {
    row.iter().map(|value| value.map(<[u8]>::to_vec)).collect()
}

/// The text as an SQL string, quotes and all, for a session in which backslashes escape (they do
/// unless the SQL mode says NO_BACKSLASH_ESCAPES).
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there_is_an_error_with_its_number() {
        let options = Options { socket: Some("/nonexistent/rowcall.sock".into()), ..Options::default() };
        let error = Connection::connect(&options).unwrap_err();
        assert_eq!(error.number, 2002);
        assert!(error.to_string().contains("2002"), "{error}");
    }

    #[test]
    fn a_setting_with_a_nul_is_refused() {
        let options = Options { user: Some("a\0b".into()), ..Options::default() };
        assert!(Connection::connect(&options).unwrap_err().message.contains("NUL"));
    }

    #[test]
    fn quotes() {
        assert_eq!(quoted("it's"), "'it''s'");
        assert_eq!(quoted("a\\b"), "'a\\\\b'");
    }
}
