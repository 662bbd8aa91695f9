//! The Unix socket that the daemon opens by itself, and the lock file beside it. The folder may belong to others, or
//! be shared with them: nothing there is followed or opened wider than it has to be, and what is in the way is named.

use crate::config::Config;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg, OFlag};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, major, minor, umask};
use nix::unistd::{Gid, Group, Uid, User, fchownat};
use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Permissions of the lock file: whoever can open it can lock it, and so keep the daemon from starting.
const LOCK_MODE: u32 = 0o600;

/// Permissions of a folder that is made for the socket: the server and clients go through it, and only the daemon
/// puts anything there. The umask may make it narrower.
const FOLDER_MODE: u32 = 0o755;

/// All the permissions that a file can have; what of them the umask lacks a new socket gets.
const ALL: u32 = 0o777;

/// Where a Unix socket of ours is.
pub(super) struct OwnPath {
    pub(super) path: PathBuf,
    /// Held for as long as the path is ours.
    _lock: Flock<File>,
}

/// Opens the Unix socket. What a dead daemon left there is removed, but never anything that is no
/// socket, and never a socket that another daemon is using: the lock beside it tells.
pub(super) fn open(path: &Path, config: &Config) -> Result<(UnixListener, OwnPath), String> {
    let here = path.display();
    let group = config.socket_group.as_deref().map(find_group).transpose()?;
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(|error| {
            format!("cannot make the directory {} for the socket: {error}", folder.display())
        })?;
    }
    let lock = lock_beside(path)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!(
                "{here} exists and is not a socket; remove it, or name another path with --socket"
            ));
        }
        Ok(_) => remove_if_dead(path)?,
        Err(_) => {}
    }
    let socket = bind_private(path, config.socket_mode.0)
        .map_err(|errno| format!("cannot listen on {here}: {errno}"))?;
    // Nobody can connect until it listens, so nobody does before it has its group.
    let opened = group.map_or(Ok(()), |(name, group)| give_away(path, name, group)).and_then(|()| {
        listen(&socket, Backlog::MAXALLOWABLE).map_err(|errno| format!("cannot listen on {here}: {errno}"))
    });
    if let Err(why) = opened {
        // Best effort: the next daemon removes it as well.
        let _ = fs::remove_file(path);
        return Err(why);
    }
    Ok((UnixListener::from(socket), OwnPath { path: path.to_owned(), _lock: lock }))
}

/// Removes a socket on which nobody listens.
fn remove_if_dead(path: &Path) -> Result<(), String> {
    let here = path.display();
    if let Ok(stream) = UnixStream::connect(path) {
        let listener = getsockopt(&stream, sockopt::PeerCredentials).ok().map(|peer| Process(peer.pid()));
        let listener = listener.map_or(String::new(), |process| format!(" ({process})"));
        return Err(format!(
            "another program is listening on {here}{listener}; name another path with --socket"
        ));
    }
    fs::remove_file(path).map_err(|error| format!("cannot remove the old socket {here}: {error}"))
}

/// Binds a socket that has these permissions from the first moment. Setting them afterwards would go by the path,
/// which may lead elsewhere by then.
fn bind_private(path: &Path, mode: u32) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let address = UnixAddr::new(path)?;
    let before = umask(Mode::from_bits_truncate(ALL & !mode));
    let bound = bind(socket.as_raw_fd(), &address);
    umask(before);
    bound.map(|()| socket)
}

fn find_group(name: &str) -> Result<(&str, Gid), String> {
    let group =
        Group::from_name(name).map_err(|errno| format!("cannot look up the group {name}: {errno}"))?;
    let group = group.ok_or_else(|| format!("socket_group = \"{name}\": there is no such group"))?;
    Ok((name, group.gid))
}

fn give_away(path: &Path, name: &str, group: Gid) -> Result<(), String> {
    fchownat(AT_FDCWD, path, None, Some(group), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| {
        format!(
            "cannot give {} to the group {name}: {errno}; the daemon's account must be a member of it",
            path.display()
        )
    })
}

fn lock_beside(socket: &Path) -> Result<Flock<File>, String> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = open_lock(&name)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(file, errno)| match errno {
        Errno::EWOULDBLOCK => is_locked(socket, &name, holder(&file)),
        errno => format!("cannot lock {}: {errno}", name.display()),
    })
}

/// Opens the lock file, makes it if need be, and keeps everybody else from opening it.
fn open_lock(name: &Path) -> Result<File, String> {
    let here = name.display();
    // A pipe would let the daemon wait for its other end.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        .custom_flags(flags.bits())
        .open(name)
        .map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ELOOP) => format!("{here} is a symbolic link, which is not followed; remove it"),
            Some(Errno::EACCES | Errno::EPERM) if !name.exists() => no_entry(name, &error),
            _ => format!("cannot open the lock file {here}{}: {error}", owner(name)),
        })?;
    let found = file.metadata().map_err(|error| format!("cannot look at {here}: {error}"))?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(format!("{here} is not a regular file of one name; remove it"));
    }
    if found.mode() & ALL != LOCK_MODE {
        file.set_permissions(Permissions::from_mode(LOCK_MODE)).map_err(|error| {
            format!(
                "{here}{} can be locked by others, and its permissions cannot be changed: {error}; remove it",
                owner(name)
            )
        })?;
    }
    Ok(file)
}

/// The sentence for a folder in which the daemon may make nothing.
fn no_entry(name: &Path, error: &io::Error) -> String {
    let folder = name.parent().unwrap_or(Path::new("/"));
    format!(
        "cannot make the lock file {}: {error}; {} belongs to account {}, and account {} cannot write there: give it the \
         folder (chown; with Podman, `:U` behind the volume), or name another path with --socket",
        name.display(),
        folder.display(),
        fs::metadata(folder).map_or_else(|_| "?".into(), |found| account(found.uid())),
        account(Uid::effective().as_raw())
    )
}

/// The sentence for a lock that is held.
fn is_locked(socket: &Path, lock: &Path, holder: Option<Process>) -> String {
    let (socket, lock) = (socket.display(), lock.display());
    let advice = "end it, or name another path with --socket";
    match holder {
        Some(process) if process.command().is_some_and(|command| command == "rowcalld") => {
            format!("another rowcalld is using {socket}: {process} has locked {lock}; {advice}")
        }
        Some(process) => {
            format!("{lock} is locked by {process}, so no rowcalld can use {socket}; {advice}")
        }
        None => format!(
            "another rowcalld is using {socket}, or another program has locked {lock}; the kernel does not say here \
             which process it is (`fuser {lock}` may, as root); {advice}"
        ),
    }
}

/// A process that is in the way.
struct Process(i32);

impl Process {
    /// The name of its program; `None` if it has ended, or is not shown to us.
    fn command(&self) -> Option<String> {
        Some(fs::read_to_string(format!("/proc/{}/comm", self.0)).ok()?.trim_end().to_owned())
    }

    fn account(&self) -> Option<String> {
        Some(account(fs::metadata(format!("/proc/{}", self.0)).ok()?.uid()))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.0)?;
        match (self.command(), self.account()) {
            (Some(command), Some(account)) => write!(f, " ({command}, account {account})"),
            // Those that it has started hold the lock as well.
            _ => write!(f, " (which has ended and left it to another, or is not shown here)"),
        }
    }
}

/// The name of an account, or its number if it has none.
fn account(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Whose file it is, to be put into a sentence.
fn owner(name: &Path) -> String {
    fs::symlink_metadata(name).map_or(String::new(), |found| format!(" of account {}", account(found.uid())))
}

/// The process that has locked a file, as the kernel tells.
fn holder(file: &File) -> Option<Process> {
    let found = file.metadata().ok()?;
    let (device, inode) = (found.dev(), found.ino());
    let id = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    locked_by(&fs::read_to_string("/proc/locks").ok()?, &id).map(Process)
}

/// Finds the process in the lines of /proc/locks, such as `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; those
/// that wait have an arrow behind the number. A process outside our namespace has no number.
fn locked_by(locks: &str, id: &str) -> Option<i32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, pid, file, ..] if file == id => pid.parse().ok().filter(|&pid| pid > 0),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_list_of_locks_is_read() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 fe:00:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 11 fe:00:78 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 fe:00:79 0 EOF\n\
                     4: FLOCK  ADVISORY  READ  13 fe:00:77 0 EOF\n";
        assert_eq!(locked_by(locks, "fe:00:77"), Some(13));
        assert_eq!(locked_by(locks, "fe:00:78"), Some(11));
        assert_eq!(locked_by(locks, "fe:00:79"), None, "not of this namespace");
        assert_eq!(locked_by(locks, "fe:01:77"), None);
        assert_eq!(locked_by("not what is expected", "fe:00:77"), None);
    }

    #[test]
    fn a_holder_that_is_not_known_is_said_to_be_so() {
        let said = is_locked(Path::new("/s"), Path::new("/s.lock"), None);
        assert!(said.contains("does not say here") && said.contains("fuser /s.lock"), "{said}");
        let said = is_locked(Path::new("/s"), Path::new("/s.lock"), Some(Process(i32::MAX)));
        assert!(said.contains("locked by process 2147483647 (which has ended"), "{said}");
    }
}
