//! Where things are that the C library looks for, beyond where it was built to look.

use crate::{Error, Options};
use once_cell::sync::Lazy;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Where servers put their sockets, unless they are told otherwise: Debian's packages; those of the vendors
/// for Red Hat's systems, and Fedora's; what is built from source.
const SOCKETS: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];

/// The number of the error that says that there is nobody at a socket.
const NOBODY_THERE: u32 = 2002;

/// The modules for logging in that came with this program, relative to where it is: `bin/rowcall` and
/// `libexec/rowcall/plugin`. With a package there are some, since the package that has the C library's own
/// need not be there. `None`: the C library's own.
pub(crate) static PLUGINS: Lazy<Option<CString>> = Lazy::new(|| {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?.parent()?.join("libexec/rowcall/plugin");
    let folder = folder.is_dir().then_some(folder)?;
    CString::new(folder.into_os_string().into_vec()).ok()
});

/// The other sockets where the server may be, after nobody was at the usual one. Nothing if the caller, an
/// option file or the environment has named a socket or a host: then that is the server that is meant.
pub(crate) fn other_sockets(options: &Options, error: &Error) -> Vec<PathBuf> {
    let names_host = options.host.as_deref().is_some_and(|host| host != "localhost");
    if !options.looks_elsewhere || error.number != NOBODY_THERE || options.socket.is_some() || names_host {
        return Vec::new();
    }
    others(&error.message, is_socket)
}

/// Those that exist, if the message is about one of them.
fn others(message: &str, exists: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    // Debian's servers say /var/run, which is the same.
    let is_about = |socket: &&&str| message.contains(&format!("'{socket}'"));
    let Some(tried) = SOCKETS.iter().find(is_about) else { return Vec::new() };
    let others = SOCKETS.iter().filter(|socket| *socket != tried).map(PathBuf::from);
    others.filter(|socket| exists(socket)).collect()
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_looked_for_elsewhere_only_if_nobody_named_it() {
        let there = |path: &Path| path == Path::new("/tmp/mysql.sock");
        let usual = "Can't connect to local server through socket '/run/mysqld/mysqld.sock' (2)";
        assert_eq!(others(usual, there), [PathBuf::from("/tmp/mysql.sock")]);
        assert_eq!(others(usual, |_| false), Vec::<PathBuf>::new());
        let named = "Can't connect to local server through socket '/srv/db.sock' (2)";
        assert_eq!(others(named, |_| true), Vec::<PathBuf>::new());

        let error = Error { number: NOBODY_THERE, sqlstate: String::new(), message: usual.into() };
        let people = || Options { looks_elsewhere: true, ..Options::default() };
        let named = Options { socket: Some("/run/mysqld/mysqld.sock".into()), ..people() };
        assert!(other_sockets(&named, &error).is_empty());
        let elsewhere = Options { host: Some("db.example".into()), ..people() };
        assert!(other_sockets(&elsewhere, &error).is_empty());
    }
}
