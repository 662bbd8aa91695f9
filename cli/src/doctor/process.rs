//! The server's process as the kernel shows it: which account it runs as, what it sees of the file system.

use super::access::Account;
use super::finding::{Finding, Trouble};
use super::patient::Patient;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

pub(crate) struct Process {
    folder: PathBuf,
    name: String,
    account: Account,
}

impl Process {
    /// The one at the other end of this socket, if it is a Unix socket and the process can be seen from here.
    pub(crate) fn behind(socket: BorrowedFd<'_>) -> Option<Process> {
        let pid = getsockopt(&socket, PeerCredentials).ok()?.pid();
        // Whoever began to listen is named: where that was systemd, it is not the server.
        if pid <= 1 {
            return None;
        }
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(folder.join("status")).ok()?;
        Some(Process { name: field(&status, "Name").to_owned(), account: account_of(&status)?, folder })
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Where this path leads for it; its own root folder can be looked into by root and by its account only.
    pub(crate) fn sees(&self, path: &Path) -> Option<PathBuf> {
        let root = self.folder.join("root");
        // Reading the link is what needs the right.
        fs::read_link(&root).ok()?;
        Some(root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// What confines it, as the kernel calls it.
    pub(crate) fn confinement(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("attr/current")).ok()?;
        Some(text.trim_end_matches(['\0', '\n']).to_owned())
    }
}

pub(super) fn account(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let Some(process) = &patient.process else {
        return Err(Trouble::Other(
            "the server's process cannot be seen from here. Run this on its machine, through its Unix socket (-S)".into(),
        ));
    };
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
