//! Plays systemd: holds sockets that listen, and starts daemons with them, one after the other.

use crate::children::Child;
use crate::daemon::Daemon;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Puts the descriptors in its arguments where they are looked for, and says so to the program behind
/// them. They are moved out of the way first: one of them may be where another one belongs.
const PASS: &str = r#"
n=$1; shift
for ((i = 0; i < n; i++)); do exec {moved[i]}<&"$1"; shift; done
for ((i = 0; i < n; i++)); do eval "exec $((3 + i))<&${moved[i]} {moved[i]}<&-"; done
LISTEN_PID=${LISTEN_PID-$$} LISTEN_FDS=$n exec "$@"
"#;

/// Sockets that listen, whoever serves them.
pub struct Sockets {
    /// Where the one for SQL is.
    pub path: PathBuf,
    sql: UnixListener,
    nats: TcpListener,
    http: TcpListener,
}

impl Sockets {
    /// Listens there and on free ports.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn listen(path: &Path) -> Sockets {
        let tcp = || TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let sql = UnixListener::bind(path).expect("the path is free");
        Sockets { path: path.to_owned(), sql, nats: tcp(), http: tcp() }
    }

    /// Starts a daemon that serves them, and waits until it does.
    pub fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(&self, arguments: &[&str]) -> Daemon {
        let mut command = command(&[self.sql.as_fd(), self.nats.as_fd(), self.http.as_fd()], "sql:nats:http");
        let child = Child::start("rowcalld", command.args(arguments));
        child.says("listening on what was passed transport=\"http\"");
        let address = |socket: &TcpListener| socket.local_addr().expect("it is bound").to_string();
        Daemon { child, socket: self.path.clone(), tcp: address(&self.nats), http: address(&self.http) }
    }
}

/// A daemon that is passed these sockets under these names.
///
/// # Panics
/// If the descriptors cannot be passed on.
pub fn command(sockets: &[BorrowedFd<'_>], names: &str) -> Command {
    let mut command = pass(sockets, names, &Command::new(crate::built("rowcalld")));
    Daemon::silence(&mut command);
    command
}

/// Another program that is passed them.
///
/// # Panics
/// If the descriptors cannot be passed on.
pub fn pass(sockets: &[BorrowedFd<'_>], names: &str, program: &Command) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", PASS, "pass", &sockets.len().to_string()]);
    for socket in sockets {
        // From now on every process that this one starts has them, which does no harm.
        fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())).expect("it is open");
        command.arg(socket.as_raw_fd().to_string());
    }
    command.arg(program.get_program()).args(program.get_args()).env("LISTEN_FDNAMES", names);
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}
