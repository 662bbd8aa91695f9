//! The server's process as the kernel shows it: which account it runs as, what it sees of the file system.

use super::access::Account;
use super::finding::{Finding, Trouble};
use super::patient::Patient;
use super::settings::Settings;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage};
use nix::sys::socket::{getsockname, getsockopt, sockopt::PeerCredentials};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The servers' programs, by which a process is known that cannot be looked into.
const PROGRAMS: [&str; 2] = ["mysqld", "mariadbd"];

#[derive(Clone)]
pub(crate) struct Process {
    folder: PathBuf,
    name: String,
    account: Account,
}

impl Process {
    /// The server behind this connection, or why it cannot be seen from here. The kernel names the process that
    /// began to listen: with socket activation that is systemd, and the server's own pid file is read instead.
    pub(crate) fn behind(socket: BorrowedFd<'_>, settings: &Settings) -> Result<Process, String> {
        let peer = getsockopt(&socket, PeerCredentials)
            .map_err(|errno| format!("its socket names no process: {errno}"))?;
        let data = Path::new(settings.get("datadir"));
        let listener = Process::with(peer.pid());
        if let Some(process) = listener.as_ref().ok().filter(|process| process.is_server(data)) {
            return Ok(process.clone());
        }
        let listener = match &listener {
            Ok(process) => format!("process {} ({}) listens in its place", peer.pid(), process.name),
            Err(why) => format!("its socket names process {}: {why}", peer.pid()),
        };
        let file = data.join(settings.get("pid_file"));
        Process::of_file(&file, data).map_err(|why| format!("{listener}, and {}: {why}", file.display()))
    }

    /// The one that the server's pid file names.
    fn of_file(file: &Path, data: &Path) -> Result<Process, String> {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let pid = text.trim().parse().map_err(|_| "it holds no number".to_owned())?;
        let process = Process::with(pid)?;
        // The file may be older than the process that has the number now.
        if process.is_server(data) {
            Ok(process)
        } else {
            Err(format!("process {pid} ({}) is not the server", process.name))
        }
    }

    fn with(pid: i32) -> Result<Process, String> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let file = folder.join("status");
        let status = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let account =
            account_of(&status).ok_or_else(|| format!("{}: it names no account", file.display()))?;
        Ok(Process { name: field(&status, "Name").to_owned(), account, folder })
    }

    /// True if it works in the server's data folder, as servers do; or, where that must not be looked at, if its
    /// program has a server's name.
    fn is_server(&self, data: &Path) -> bool {
        let place = |path: PathBuf| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        match (place(self.folder.join("cwd")), place(self.inside(data))) {
            (Ok(works_in), Ok(data)) => works_in == data,
            (Err(error), _) | (_, Err(error)) => {
                error.kind() == ErrorKind::PermissionDenied && PROGRAMS.contains(&self.name.as_str())
            }
        }
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Where this path leads for it; its own root folder can be looked into by root and by its account only.
    pub(crate) fn sees(&self, path: &Path) -> Option<PathBuf> {
        // Reading the link is what needs the right.
        fs::read_link(self.folder.join("root")).ok()?;
        Some(self.inside(path))
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.folder.join("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What confines it, as the kernel calls it; empty where the kernel confines nothing.
    pub(crate) fn confinement(&self) -> Result<String, String> {
        let file = self.folder.join("attr/current");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(text.trim_end_matches(['\0', '\n']).to_owned()),
            // So it answers without a security module that has labels.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(String::new()),
            Err(error) => Err(format!("{}: {error}", file.display())),
        }
    }
}

/// True if both ends of the connection are on this machine, for certain.
pub(super) fn is_local(socket: BorrowedFd<'_>) -> bool {
    let address = getsockname::<SockaddrStorage>(socket.as_raw_fd());
    address.is_ok_and(|address| address.family() == Some(AddressFamily::Unix))
}

pub(super) fn account(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let process = patient.process()?;
    let Account { uid, gid, groups } = &process.account;
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    let number = process.folder.file_name().unwrap_or_default().to_string_lossy();
    let found = format!("{} (process {number}) runs as uid {uid}, gid {gid}", process.name);
    let others = if groups.is_empty() { String::new() } else { format!(", groups {}", groups.join(" ")) };
    Ok(vec![Finding::ok(found + &others)])
}

/// Of the text of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

fn account_of(status: &str) -> Option<Account> {
    let numbers = |name| field(status, name).split_whitespace().filter_map(|number| number.parse().ok());
    // Real, effective, saved, of the file system: the last one is asked for files.
    Some(Account {
        uid: numbers("Uid").nth(3)?,
        gid: numbers("Gid").nth(3)?,
        groups: numbers("Groups").collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_the_account() {
        let status = "Name:\tmariadbd\nPid:\t7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n";
        let account = account_of(status).unwrap();
        assert_eq!((account.uid, account.gid, account.groups), (4, 8, vec![9, 10]));
        assert_eq!(field(status, "Name"), "mariadbd");
        assert!(account_of("Name:\tx\n").is_none());
    }
}
