//! The option file that says where the outbox's server is and as whom to connect to it. It is looked at before
//! each connection: the client library takes a file that it cannot read for an empty one, and would connect to
//! some server as somebody.

use nix::unistd::{Gid, Group, Uid, User};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Says what keeps it from being used, for the administrator. Nothing of what stands in it: it holds a password.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let wrong = |why: String| Err(format!("outbox = \"{}\": {why}", path.display()));
    match fs::read(path) {
        Err(error) => wrong(format!("cannot read it: {error}; {}", rights(path))),
        Ok(bytes) => flaw(&String::from_utf8_lossy(&bytes)).map_or(Ok(()), wrong),
    }
}

/// The owner and the mode of the file, and the account of this process.
fn rights(path: &Path) -> String {
    let us = user(Uid::effective());
    match fs::metadata(path) {
        Ok(file) => format!(
            "it belongs to {}, {}, mode {:04o}, and rowcalld runs as {us}",
            user(Uid::from_raw(file.uid())),
            group(Gid::from_raw(file.gid())),
            file.mode() & 0o7777
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            "`rowcall install --outbox FILE` writes one".to_owned()
        }
        Err(_) => format!("a folder above it is closed to rowcalld, which runs as {us}"),
    }
}

fn user(uid: Uid) -> String {
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    name.map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

fn group(gid: Gid) -> String {
    let name = Group::from_gid(gid).ok().flatten().map(|group| group.name);
    name.map_or_else(|| format!("gid {gid}"), |name| format!("group {name} (gid {gid})"))
}

/// The groups that the connection reads.
fn is_read(group: &str) -> bool {
    group == "rowcall" || group.starts_with("client")
}

/// What is wrong with the text of an option file.
fn flaw(text: &str) -> Option<String> {
    let (mut group, mut has_ours) = (None, false);
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        match line.chars().next() {
            // `!include` and `!includedir` as well: the library follows them.
            None | Some('#' | ';' | '!') => has_ours |= line.starts_with('!'),
            Some('[') => match line[1..].split_once(']') {
                Some((name, _)) => {
                    has_ours |= is_read(name.trim());
                    group = Some(name);
                }
                None => return Some(format!("line {number}: a group is a name in brackets, as in [client]")),
            },
            Some(_) if group.is_none() => {
                return Some(format!(
                    "line {number}: an option stands before the first group, such as [client]"
                ));
            }
            Some(_) => {}
        }
    }
    (!has_ours).then(|| "it has no group [client]".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaws_are_told_with_their_line_and_without_its_text() {
        let flawed = |text: &str, words: &str| {
            let found = flaw(text).unwrap_or_default();
            assert!(found.contains(words) && !found.contains("secret"), "{text:?}: {found:?}");
        };
        flawed("", "no group [client]");
        flawed("# a\n[mysqld]\npassword=secret\n", "no group [client]");
        flawed("\npassword=secret\n[client]\n", "line 2: an option stands before");
        flawed("[client]\nuser=a\n[secret\n", "line 3: a group is a name in brackets");
        for fine in ["[client]", "; a\n [client-mariadb] # b\nuser=a", "[rowcall]\nssl", "!include /a.cnf"] {
            assert_eq!(flaw(fine), None, "{fine:?}");
        }
    }
}
