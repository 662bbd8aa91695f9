//! Running a command for a message: what it is told, how long it may take, and its end, which is never taken for
//! granted. What the message is, and what becomes of the outcome, is for others.

use crate::change::Change;
use crate::client::Received;
use crate::crew::Work;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};
use rowcall_wire::headers;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// How long a command that was told to end may still take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Bytes of a value in the environment; what is longer is on stdin only. The kernel takes 128 KiB in one.
const VALUE_MAX: usize = 32 << 10;

/// Bytes of all of them. The kernel takes a quarter of the stack's limit, usually 2 MiB, for arguments and
/// environment, and some of it is ours already.
const ENVIRONMENT_MAX: usize = 512 << 10;

/// What the names of our variables begin with, those for commands and those that we read.
const OURS: &str = "ROWCALL_";

/// What we read under other names and keep to ourselves.
const SECRETS: [&str; 1] = ["MYSQL_PWD"];

/// The pause before a command that cannot be run is tried again: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bytes of a pipe, where the kernel does not say it: its usual size.
const PIPE: usize = 64 << 10;

/// Where a command's stdout goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stdout {
    /// To ours.
    Ours,
    /// To our stderr.
    Stderr,
    /// Into the outcome.
    Kept,
}

/// Whether the command can be run, as far as that is to be seen beforehand.
pub(crate) fn check(command: &[String]) -> Result<(), Failure> {
    let name = Path::new(&command[0]);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let places: Vec<PathBuf> = match name.components().count() {
        1 if !command[0].contains('/') => std::env::split_paths(&path).map(|it| it.join(name)).collect(),
        _ => vec![name.to_owned()],
    };
    let runs = |place: &PathBuf| match access(place, AccessFlags::X_OK) {
        Ok(()) if place.is_dir() => Err(Errno::EACCES),
        result => result,
    };
    // As the system does: what is there and must not be run is told rather than what is not there.
    let mut why = Errno::ENOENT;
    for place in &places {
        match runs(place) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOENT) => {}
            Err(errno) => why = errno,
        }
    }
    Err(Failure::usage(cannot_run(command, &why.into())))
}

/// In these words, with the number that the system gave.
pub(crate) fn cannot_run(command: &[String], error: &io::Error) -> String {
    format!("cannot run {}: {error}", command[0])
}

/// Runs the command for an event. That it cannot be run is no fault of the event's: it is held, and tried again,
/// until Ctrl-C, or until it is obsolete; then there is no outcome.
pub(crate) fn run_held(
    command: &[String],
    work: &Work,
    stdout: Stdout,
    limit: Option<Duration>,
) -> Result<Option<Output>, Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        match run(command, &work.message, stdout, limit) {
            Ok(output) => return Ok(Some(output)),
            Err(error) => {
                let why = cannot_run(command, &error);
                eprintln!("rowcall: {why}; the event is held, and it is tried again in {pause:?}");
            }
        }
        if Interrupt::new()?.pause(pause)? || work.is_obsolete() {
            return Ok(None);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs the command with the message's payload on its stdin. At the end of the limit it and all that it has
/// started are told to end, and killed if they do not. What it has started and left behind is not waited for.
pub(crate) fn run(
    command: &[String],
    message: &Received,
    stdout: Stdout,
    limit: Option<Duration>,
) -> io::Result<Output> {
    let mut child = match spawn(command, environment(message), stdout) {
        // Its values are for convenience; all of them are on stdin.
        Err(error) if error.raw_os_error() == Some(Errno::E2BIG as i32) => {
            spawn(command, Variables::of(message).all, stdout)?
        }
        result => result?,
    };
    // A thread of its own: the command may write before it has read everything, or not read at all, which is
    // no error. Nobody waits for it: what the command has started may hold its stdin for longer than it lives.
    let (stdin, payload) = (child.stdin.take(), message.payload.clone());
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&payload)));
    let group = Pid::from_raw(child.id() as i32);
    let (ended, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let Some(limit) = limit else { return };
            for (time, signal) in [(limit, Signal::SIGTERM), (GRACE, Signal::SIGKILL)] {
                if end.recv_timeout(time) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                // It may have ended just now.
                let _ = killpg(group, signal);
            }
        });
        let output = outcome(child);
        drop(ended);
        output
    })
}

fn spawn(command: &[String], variables: BTreeMap<String, String>, stdout: Stdout) -> io::Result<Child> {
    let mut it = Command::new(&command[0]);
    // Those of an event that we were run for ourselves, and what is secret, are not for it.
    std::env::vars_os().map(|(name, _)| name).filter(|name| is_ours(&name.to_string_lossy())).for_each(
        |name| {
            it.env_remove(name);
        },
    );
    it.args(&command[1..])
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(match stdout {
            Stdout::Ours => Stdio::inherit(),
            Stdout::Stderr => io::stderr().into(),
            Stdout::Kept => Stdio::piped(),
        })
        // A group of its own: Ctrl-C is for us, who let it finish, and its children end with it.
        .process_group(0)
        .spawn()
}

/// Whether a variable of our environment is one of ours, which commands do not inherit.
fn is_ours(name: &str) -> bool {
    name.starts_with(OURS) || SECRETS.contains(&name)
}

/// Waits until the command has ended, and takes what it has written until then.
fn outcome(mut child: Child) -> io::Result<Output> {
    let Some(stdout) = child.stdout.take() else {
        return child.wait().map(|status| Output { status, stdout: Vec::new(), stderr: Vec::new() });
    };
    let (running, ended) = UnixStream::pair()?;
    thread::scope(|scope| {
        let written = scope.spawn(move || written(stdout, &ended));
        let status = child.wait();
        drop(running);
        let stdout = written.join().map_err(|_| io::Error::other("reading its stdout panicked"))??;
        Ok(Output { status: status?, stdout, stderr: Vec::new() })
    })
}

/// What comes out of the pipe until its end, or until `ended` is readable: then what is in it still. Another
/// process may keep it open, and write into it, for ever.
fn written(mut pipe: ChildStdout, ended: &UnixStream) -> io::Result<Vec<u8>> {
    let (mut output, mut chunk) = (Vec::new(), vec![0; PIPE]);
    loop {
        let mut fds = [ended.as_fd(), pipe.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result.map_err(io::Error::from)?,
        };
        if fds[0].any() == Some(true) {
            break;
        }
        match pipe.read(&mut chunk)? {
            0 => return Ok(output),
            read => output.extend_from_slice(&chunk[..read]),
        }
    }
    // More than fits into the pipe the command has not left in it.
    let size = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).ok().and_then(|size| usize::try_from(size).ok());
    let most = output.len() + size.unwrap_or(PIPE);
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    while output.len() < most {
        match pipe.read(&mut chunk) {
            Ok(read) if read > 0 => output.extend_from_slice(&chunk[..read]),
            _ => break,
        }
    }
    Ok(output)
}

/// What a command is told beside the payload: `ROWCALL_SUBJECT`, a variable for each header, and for each column
/// of a changed row or each member of another JSON object.
fn environment(message: &Received) -> BTreeMap<String, String> {
    let mut variables = Variables::of(message);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for (name, value) in headers::pairs(&message.headers) {
        variables.set("HEADER_", &text(name), text(value));
    }
    match Change::read(&message.payload) {
        Some(change) => {
            variables.set("OP", "", change.op().to_owned());
            variables.set("DB", "", change.source.db.clone());
            variables.set("TABLE", "", change.source.table.clone());
            for (prefix, row) in [("OLD_", &change.before), ("NEW_", &change.after)] {
                for (name, value) in row.iter().flat_map(|row| &row.0) {
                    variables.set_json(prefix, name, value);
                }
            }
        }
        None => {
            let object = serde_json::from_slice::<BTreeMap<String, &RawValue>>(&message.payload);
            for (name, value) in object.unwrap_or_default() {
                variables.set_json("FIELD_", &name, value);
            }
        }
    }
    variables.all
}

#[derive(Default)]
struct Variables {
    all: BTreeMap<String, String>,
    bytes: usize,
}

impl Variables {
    /// What every message has.
    fn of(message: &Received) -> Variables {
        let mut variables = Variables::default();
        variables.set("SUBJECT", "", String::from_utf8_lossy(&message.subject).into_owned());
        variables
    }

    /// Strings without their quotes, other values as they are written; NULL is no variable.
    fn set_json(&mut self, prefix: &str, name: &str, value: &RawValue) {
        match serde_json::from_str(value.get()) {
            Ok(Value::Null) => {}
            Ok(Value::String(text)) => self.set(prefix, name, text),
            _ => self.set(prefix, name, value.get().to_owned()),
        }
    }

    /// What does not fit is left out: the payload is on stdin, all of it.
    fn set(&mut self, prefix: &str, name: &str, value: String) {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = format!("{OURS}{prefix}{}", name.chars().map(plain).collect::<String>());
        let bytes = name.len() + value.len() + 2;
        if value.len() > VALUE_MAX || value.contains('\0') || self.bytes + bytes > ENVIRONMENT_MAX {
            return;
        }
        self.bytes += bytes;
        self.all.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(payload: &str) -> Vec<(String, String)> {
        let message = Received {
            subject: b"a.b".to_vec(),
            reply: None,
            headers: b"NATS/1.0\r\nRowcall-Key: t/1\r\n\r\n".to_vec(),
            payload: payload.into(),
        };
        let all = environment(&message).into_iter();
        all.map(|(name, value)| (name.trim_start_matches("ROWCALL_").to_owned(), value)).collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_changed_row_is_told_column_by_column() {
        let payload = r#"{"before":{"id":1,"größe in cm":1.50},"after":{"id":1,"größe in cm":null,"s":"a\n\"b"},
            "source":{"connector":"rowcall","db":"shop","table":"t"},"op":"u"}"#;
        let expected = [
            ("DB", "shop"),
            ("HEADER_ROWCALL_KEY", "t/1"),
            ("NEW_ID", "1"),
            ("NEW_S", "a\n\"b"),
            ("OLD_GR__E_IN_CM", "1.50"),
            ("OLD_ID", "1"),
            ("OP", "update"),
            ("SUBJECT", "a.b"),
            ("TABLE", "t"),
        ];
        assert_eq!(told(payload), pairs(expected));
    }

    /// Each variable that an argument of ours is read from is kept from commands: a new one cannot be forgotten.
    #[test]
    fn what_we_are_told_is_not_for_commands() {
        fn variables(command: &clap::Command) -> Vec<String> {
            let own = command.get_arguments().filter_map(|it| Some(it.get_env()?.to_str()?.to_owned()));
            own.chain(command.get_subcommands().flat_map(variables)).collect()
        }
        let all = variables(&<crate::Arguments as clap::CommandFactory>::command());
        assert!(
            all.contains(&"MYSQL_PWD".to_owned()) && all.contains(&"ROWCALL_SERVER".to_owned()),
            "{all:?}"
        );
        for name in all.iter().map(String::as_str).chain(["ROWCALL_PASSWORD", "ROWCALL_TOKEN"]) {
            assert!(is_ours(name), "{name}");
        }
        assert!(!is_ours("PATH") && !is_ours("MYSQL_HOME"));
    }

    #[test]
    fn what_can_be_run_is_known_beforehand() {
        let check = |command: &str| check(&[command.to_owned()]);
        assert!(check("sh").is_ok() && check("/bin/sh").is_ok());
        for (wrong, why) in [
            ("/no/such/command", "os error 2"),
            ("no-such-command", "os error 2"),
            ("/etc/passwd", "os error 13"),
            ("/", "os error 13"),
            ("", "os error 2"),
        ] {
            let said = check(wrong).unwrap_err().to_string();
            assert!(said.contains(&format!("cannot run {wrong}: ")) && said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_is_left_out() {
        // More than any limit of the kernel's: the rest is what is given up.
        let message =
            Received { subject: b"a".to_vec(), reply: None, headers: Vec::new(), payload: b"x".to_vec() };
        let large: BTreeMap<String, String> =
            (0..64).map(|n| (format!("ROWCALL_{n}"), "x".repeat(VALUE_MAX * 3))).collect();
        let sh = |script: &str| ["sh", "-c", script].map(str::to_owned);
        let error = spawn(&sh("true"), large, Stdout::Kept).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::E2BIG as i32));
        let output = run(&sh("echo $ROWCALL_SUBJECT; cat"), &message, Stdout::Kept, None).unwrap();
        assert_eq!(output.stdout, b"a\nx");
    }

    #[test]
    fn what_a_command_leaves_behind_is_not_waited_for() {
        let message =
            Received { subject: b"a".to_vec(), reply: None, headers: Vec::new(), payload: Vec::new() };
        for (script, expected) in [
            ("echo 2.50; sleep 60 & echo $! >&2", 5),
            ("head -c 200000 /dev/zero; sleep 60 &", 200_000),
            ("sleep 60 & exit 0", 0),
        ] {
            let command = ["sh", "-c", script].map(str::to_owned);
            let output = run(&command, &message, Stdout::Kept, Some(Duration::from_secs(30))).unwrap();
            assert_eq!((output.status.success(), output.stdout.len()), (true, expected), "{script}");
        }
    }

    #[test]
    fn other_payloads_are_told_as_far_as_they_are_objects() {
        let rest = [("HEADER_ROWCALL_KEY", "t/1"), ("SUBJECT", "a.b")];
        assert_eq!(
            told(r#"{"id":7,"o":{"x":[1]}}"#)[..2],
            pairs([("FIELD_ID", "7"), ("FIELD_O", "{\"x\":[1]}")])
        );
        for payload in ["", "text", "[1]", "{\"a\":\"\\u0000\"}"] {
            assert_eq!(told(payload), pairs(rest), "{payload}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(VALUE_MAX + 1));
        assert_eq!(told(&long), pairs(rest));
        let many: Vec<String> = (0..100).map(|n| format!("\"m{n}\":\"{}\"", "x".repeat(VALUE_MAX))).collect();
        assert!(told(&format!("{{{}}}", many.join(","))).len() < ENVIRONMENT_MAX / VALUE_MAX + 2);
    }
}
