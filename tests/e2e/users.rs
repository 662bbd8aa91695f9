//! Users: who gets in, with which words the others are turned away, and what each may do. Where
//! nats-server knows the same users, the scripts run against it too, and both must say the same.

mod http;
mod login;
mod permissions;
mod reload;
mod sql;

use harness::nats_server::NatsServer;
use harness::{Daemon, Terminal};
use std::fs;
use std::path::{Path, PathBuf};

/// Time enough to log in on a machine that is busy with something else.
pub(crate) const PATIENT: &str = "auth_timeout = \"60s\"\n";

/// A bcrypt hash of a password, cheap to check.
fn hash(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

/// A user with a password that is the name spelled twice, and with these lists in both files' words.
pub(crate) struct User {
    name: &'static str,
    /// Of rowcalld's file.
    ours: &'static str,
    /// Of nats-server's.
    theirs: &'static str,
}

impl User {
    pub(crate) fn new(name: &'static str, ours: &'static str, theirs: &'static str) -> User {
        User { name, ours, theirs }
    }
}

/// The text of rowcalld's file of users.
pub(crate) fn users_file(users: &[User]) -> String {
    let user = |user: &User| {
        let (name, hash) = (user.name, hash(&user.name.repeat(2)));
        format!("[[users]]\nname = \"{name}\"\npassword = \"{hash}\"\n{}\n", user.ours)
    };
    users.iter().map(user).collect()
}

/// Writes it, and gives the settings that name it.
pub(crate) fn write_users(folder: &Path, text: &str) -> String {
    let path = users_path(folder);
    fs::write(&path, text).unwrap();
    format!("users = \"{}\"\n", path.display())
}

fn users_path(folder: &Path) -> PathBuf {
    folder.join("users.toml")
}

/// Connects, and says hello as this user, quietly; waits until that has been taken in.
fn enter(mut terminal: Terminal, name: &str) -> Terminal {
    terminal.send(connect(name));
    terminal.barrier();
    terminal
}

/// What someone says who has this name and the password that goes with it.
pub(crate) fn connect(name: &str) -> String {
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
         \"user\":\"{name}\",\"pass\":\"{name}{name}\"}}\r\n"
    )
}

/// The same users in the words of nats-server's configuration.
pub(crate) fn theirs(users: &[User]) -> String {
    let user = |user: &User| format!("{{user: {0}, password: \"{0}{0}\", {1}}}\n", user.name, user.theirs);
    format!("authorization {{ users = [\n{}] }}", users.iter().map(user).collect::<String>())
}

/// Runs a script against rowcalld and nats-server with the same users. It is given a way to connect.
fn everywhere(users: &[User], script: impl Fn(&dyn Fn() -> Terminal)) {
    let folder = harness::folder();
    let daemon =
        Daemon::with_settings(folder.path(), &(write_users(folder.path(), &users_file(users)) + PATIENT));
    let reference = NatsServer::start(&theirs(users));
    eprintln!("-- nats-server");
    script(&|| reference.terminal());
    eprintln!("-- rowcalld");
    script(&|| daemon.terminal());
}
