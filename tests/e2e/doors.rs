//! What lies beside the daemon's socket, and what another account can do with it: the lock file, the folder, and what
//! is put there in their place; and that systemd does not shut the socket.

use harness::{Child, Daemon};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The number of an account that owns nothing.
const NOBODY: u32 = 65_534;

/// A daemon that has nothing but this socket.
fn daemon(socket: &Path) -> Command {
    let mut command = Daemon::command();
    command.arg("--socket").arg(socket).args(["--listen", "none", "--http", "none"]);
    command
}

/// It does not start, and its last words have all of these.
#[track_caller]
fn refused(socket: &Path, words: &[&str]) {
    let output = daemon(socket).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_lock_file_is_the_daemon_s_alone() {
    let folder = harness::folder();
    let (socket, lock) = (folder.path().join("a.sock"), folder.path().join("a.sock.lock"));
    // Made by a version that left it open to all, or not there yet.
    for earlier in [None, Some(0o644), Some(0o666)] {
        if let Some(earlier) = earlier {
            fs::set_permissions(&lock, Permissions::from_mode(earlier)).unwrap();
        }
        let mut child = Child::start("rowcalld", &mut daemon(&socket));
        child.says("listening transport=\"unix\"");
        assert_eq!(mode(&lock), 0o600, "{earlier:?}");
        child.signal(nix::sys::signal::Signal::SIGTERM);
        child.wait();
    }
}

#[test]
fn a_lock_that_is_held_is_told_with_its_holder() {
    let folder = harness::folder();
    let (socket, lock) = (folder.path().join("a.sock"), folder.path().join("a.sock.lock"));
    let name = lock.to_str().unwrap();
    {
        let child = Child::start("rowcalld", &mut daemon(&socket));
        child.says("listening transport=\"unix\"");
        let process = format!("process {} (rowcalld", child.pid());
        refused(&socket, &["another rowcalld is using", name, &process]);
    }
    // Some other program, as another account could start it while the file was open to all.
    for kind in [FlockArg::LockShared, FlockArg::LockExclusive] {
        let _held = Flock::lock(File::create(&lock).unwrap(), kind).unwrap();
        let me = fs::read_to_string("/proc/self/comm").unwrap();
        let process = format!("process {} ({}, account ", std::process::id(), me.trim());
        refused(&socket, &[name, "is locked by", &process, "--socket"]);
    }
}

#[test]
fn a_socket_in_use_is_told_with_its_listener() {
    let folder = harness::folder();
    let socket = folder.path().join("a.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let process = format!("process {} (", std::process::id());
    refused(&socket, &["another program is listening on", &process, "--socket"]);
}

/// Whoever may write in the folder can lay something else where the lock is looked for.
#[test]
fn what_lies_where_the_lock_should_be_is_not_followed() {
    let folder = harness::folder();
    let (socket, lock) = (folder.path().join("a.sock"), folder.path().join("a.sock.lock"));
    let name = lock.to_str().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    symlink(&elsewhere, &lock).unwrap();
    refused(&socket, &[name, "is a symbolic link", "remove it"]);
    assert!(!elsewhere.exists(), "made through a link");
    fs::write(&elsewhere, "precious").unwrap();
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o644)).unwrap();
    refused(&socket, &[name, "is a symbolic link", "remove it"]);
    assert_eq!(mode(&elsewhere), 0o644);

    fs::remove_file(&lock).unwrap();
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(&socket, &[name, "is not a regular file", "remove it"]);
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    refused(&socket, &[name, "directory"]);
}

/// With no umask at all, what the daemon makes is still no wider than it has to be.
#[test]
fn nothing_is_left_to_the_umask() {
    let folder = harness::folder();
    let socket = folder.path().join("run/deep/a.sock");
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0 && exec \"$@\"", "sh"]);
    let daemon = daemon(&socket);
    shell.arg(daemon.get_program()).args(daemon.get_args());
    Daemon::silence(&mut shell);
    let child = Child::start("rowcalld", &mut shell);
    child.says("listening transport=\"unix\"");
    assert_eq!(mode(&socket), 0o660);
    assert_eq!(mode(&folder.path().join("run/deep/a.sock.lock")), 0o600);
    assert_eq!(mode(&folder.path().join("run/deep")), 0o755);
    assert_eq!(mode(&folder.path().join("run")), 0o755);
}

/// A group that is not there is found out before the socket is: else one would be left behind that lets nobody in.
#[test]
fn a_group_that_is_not_there_leaves_no_socket_behind() {
    let folder = harness::folder();
    let socket = folder.path().join("a.sock");
    let output = daemon(&socket).args(["--socket-group", "no-such-group"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!socket.exists());
}

/// The values of a unit's key in a section. What stands in another section means nothing to systemd.
fn values(unit: &str, section: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(harness::repository().join("dist").join(unit)).unwrap();
    let mut current = "";
    let mut found = Vec::new();
    for line in text.lines() {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => current = name,
            None if current == section => {
                found.extend(line.strip_prefix(&format!("{key}=")).map(str::to_owned))
            }
            None => {}
        }
    }
    found
}

/// One value of it as a number, or systemd's default.
fn number(unit: &str, section: &str, key: &str, default: f64) -> f64 {
    let value = values(unit, section, key).pop();
    value.map_or(default, |value| value.trim_end_matches('s').parse().unwrap())
}

/// A daemon that fails at once, again and again (a wrong line in its configuration), is started again for ever: a unit
/// that systemd gives up takes its socket with it, and what waits there.
#[test]
fn a_daemon_that_fails_does_not_shut_the_socket() {
    let (service, socket) = ("rowcalld.service", "rowcalld.socket");
    assert_eq!(values(service, "Service", "Restart"), ["on-failure"]);
    // man systemd.unit: so many starts within so long, and 0 for no limit; RestartSec= lies between two of them.
    let interval = number(service, "Unit", "StartLimitIntervalSec", 10.0);
    let burst = number(service, "Unit", "StartLimitBurst", 5.0);
    let pause = number(service, "Service", "RestartSec", 0.1);
    assert!(interval == 0.0 || pause * burst > interval, "given up after {burst} starts in {interval} s");
    // Nor is it started all the time: each start costs some ten milliseconds and some lines in the journal.
    assert!(pause >= 1.0, "{pause}");
    // man systemd.socket: the socket itself is shut when it starts the service too often.
    assert_eq!(number(socket, "Socket", "TriggerLimitIntervalSec", 2.0), 0.0);
}

/// systemd's own opinion of the units, where it is installed.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = harness::folder();
    for unit in ["rowcalld.service", "rowcalld.socket"] {
        let text = fs::read_to_string(harness::repository().join("dist").join(unit)).unwrap();
        let text = text.replace("/usr/bin/rowcalld", harness::built("rowcalld").to_str().unwrap());
        fs::write(folder.path().join(unit), text).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg(folder.path().join("rowcalld.service"));
    let Ok(output) = command.arg(folder.path().join("rowcalld.socket")).output() else {
        return eprintln!("SKIPPED: there is no systemd-analyze");
    };
    let said = String::from_utf8(output.stderr).unwrap();
    // Before version 254 it does not know how to wait longer and longer, and says that it ignores it.
    let newer = ["RestartSteps", "RestartMaxDelaySec"];
    let wrong: Vec<_> = said
        .lines()
        .filter(|line| line.contains("rowcalld") && !newer.iter().any(|key| line.contains(key)))
        .collect();
    assert!(wrong.is_empty() && output.status.success(), "{said}");
}

/// As in a container whose volume belongs to root: whose folder it is, and who would have to be let in.
#[test]
fn a_folder_of_another_account_is_told_with_its_owner() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: only root can start a daemon as someone else");
    }
    let folder = harness::folder();
    let program = folder.path().join("rowcalld");
    fs::copy(harness::built("rowcalld"), &program).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let volume = folder.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let daemon = daemon(&volume.join("a.sock"));
    let mut command = Command::new(program);
    Daemon::silence(&mut command);
    let output = command.args(daemon.get_args()).uid(NOBODY).gid(NOBODY).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let whose = format!("{} belongs to account root", volume.display());
    for words in ["a.sock.lock: Permission denied", whose.as_str(), "account nobody cannot write there"] {
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}
