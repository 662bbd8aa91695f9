//! rowcalld's flags, environment and file; what is wrong is refused at start with its place.

use harness::{Child, Daemon, Terminal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Seek;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

/// Listening on nothing but the socket.
const NO_TCP: [&str; 4] = ["--listen", "none", "--http", "none"];

fn run(arguments: &[&str]) -> Output {
    Daemon::command().args(arguments).output().unwrap()
}

/// It does not start: this exit code, and these words on stderr.
fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{command:?}: {word:?} is not in {said:?}");
    }
}

fn file(folder: &Path, text: &str) -> String {
    let path = folder.join("rowcalld.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = harness::folder();
    let socket = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let config = file(
        folder.path(),
        &format!(
            "socket = {:?}\nserver_name = \"by-file\"\nlisten = \"none\"\nhttp = \"none\"\n",
            socket("file")
        ),
    );
    let listens = |command: &mut Command, expected: &str| {
        let child = Child::start("rowcalld", command);
        child.says(&format!("listening transport=\"unix\" address={}", socket(expected)));
        let info = Terminal::unix(Path::new(&socket(expected))).info;
        assert!(info.contains("\"server_name\":\"by-file\""), "{info}");
    };
    listens(Daemon::command().args(["--config", &config]), "file");
    listens(Daemon::command().env("ROWCALL_CONFIG", &config), "file");
    let mut both = Daemon::command();
    both.args(["--config", &config]).env("ROWCALL_SOCKET", socket("env"));
    listens(&mut both, "env");
    listens(both.args(["--socket", &socket("flag")]), "flag");
}

#[test]
fn what_is_wrong_in_the_file_is_refused_with_its_place() {
    let folder = harness::folder();
    for (text, words) in [
        ("listen = \"none\"\nlistn = \"a:1\"\n", &["line 2", "listn", "expected one of", "`listen`"][..]),
        ("\n\nping_max = \"two\"", &["line 3", "invalid type", "expected u8"]),
        ("max_connections = -1", &["line 1", "expected"]),
        ("max_payload = \"1 mile\"", &["line 1", "a size such as", "1 mile"]),
        ("max_payload = \"65MiB\"", &["line 1", "max_payload", "expected 1 to 67108864"]),
        ("max_pending = 1", &["max_pending is 1 bytes, less than max_payload, 1048576"]),
        ("write_deadline = \"soon\"", &["line 1", "a time such as", "soon"]),
        ("drain_timeout = \"0s\"", &["line 1", "a time such as"]),
        ("lame_duck = \"soon\"", &["line 1", "a time such as", "soon"]),
        ("max_control_line = 1023", &["line 1", "expected 1024 to 65536 bytes", "1023"]),
        ("max_control_line = \"65KiB\"", &["line 1", "expected 1024 to 65536 bytes", "66560"]),
        ("listen = \"4222\"", &["line 1", "expected HOST:PORT"]),
        ("socket = \"here.sock\"", &["line 1", "expected an absolute path"]),
        ("socket_mode = \"rw\"", &["line 1", "octal", "rw"]),
        ("log = \"loud\"", &["line 1", "expected error, warn, info, debug or trace", "loud"]),
        ("allow_remote = \"yes\"", &["line 1", "expected a boolean"]),
        ("listen =\n", &["line 1"]),
        ("no_auth_user = \"alice\"", &["line 1", "unknown field `no_auth_user`"]),
        ("[nats]\nport = 4222\n", &["line 1", "nats"]),
    ] {
        let config = file(folder.path(), text);
        let mut expected = vec!["rowcalld: ", &config];
        expected.extend(words);
        refused(Daemon::command().args(["--config", &config]), 2, &expected);
    }
    refused(Daemon::command().args(["--config", "/no/such/file"]), 2, &["cannot read", "/no/such/file"]);
}

#[test]
fn wrong_flags_and_environment_are_refused() {
    refused(Daemon::command().arg("--listne"), 2, &["--listne", "--listen"]);
    refused(Daemon::command().arg("word"), 2, &["word"]);
    refused(Daemon::command().args(["--listen", "4222"]), 2, &["--listen", "expected HOST:PORT"]);
    refused(Daemon::command().args(["--log", "loud"]), 2, &["--log", "expected error, warn"]);
    refused(Daemon::command().env("ROWCALL_LISTEN", "x:y"), 2, &["--listen", "x:y", "expected HOST:PORT"]);
    refused(Daemon::command().env("ROWCALL_SOCKET", "here"), 2, &["--socket", "absolute path"]);
    let long = format!("/{}", "s".repeat(107));
    refused(Daemon::command().args(["--socket", &long]), 2, &["107 bytes", "108"]);
    refused(Daemon::command().args(["--socket", "none", "--listen", "none"]), 2, &["nobody could connect"]);
}

#[test]
fn addresses_beyond_this_machine_need_a_word() {
    let folder = harness::folder();
    let socket = folder.path().join("rowcall.sock");
    for (flag, name) in [("--listen", "listen"), ("--http", "http")] {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let mut command = Daemon::command();
            command.arg("--socket").arg(&socket).args([flag, address]);
            refused(&mut command, 2, &[name, address, "from other machines", "--allow-remote"]);
        }
    }
    assert!(!socket.exists(), "refused before anything was opened");
    let mut command = Daemon::command();
    command.arg("--socket").arg(&socket).args(["--listen", "0.0.0.0:0", "--http", "none", "--allow-remote"]);
    Child::start("rowcalld", &mut command).says("listening transport=\"nats\" address=0.0.0.0:");
}

#[test]
fn what_cannot_be_opened_is_said_with_its_name() {
    let folder = harness::folder();
    let socket = folder.path().join("rowcall.sock");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let with_socket = |path: &Path| {
        let mut command = Daemon::command();
        command.arg("--socket").arg(path);
        command
    };
    for (flag, other, name) in [("--listen", "--http", "(nats)"), ("--http", "--listen", "(http)")] {
        let mut command = with_socket(&socket);
        command.args([flag, &address, other, "none"]);
        refused(&mut command, 1, &["cannot listen on", &address, name, "in use", "is another server there?"]);
    }
    let plain = folder.path().join("plain");
    fs::write(&plain, "precious").unwrap();
    let here = plain.to_str().unwrap();
    refused(with_socket(&plain).args(NO_TCP), 1, &[here, "is not a socket", "--socket"]);
    assert_eq!(fs::read_to_string(&plain).unwrap(), "precious");
    let below = plain.join("rowcall.sock");
    refused(with_socket(&below).args(NO_TCP), 1, &["cannot make the directory", here]);
    let config = file(folder.path(), "socket_group = \"no-such-group\"");
    let mut command = with_socket(&socket);
    command.args(NO_TCP).args(["--config", &config]);
    refused(&mut command, 1, &["socket_group = \"no-such-group\"", "no such group"]);
}

#[test]
fn the_sockets_directory_is_made_and_its_permissions_are_set() {
    let folder = harness::folder();
    for (settings, mode) in [("", 0o660), ("socket_mode = \"0600\"", 0o600)] {
        let socket = folder.path().join(format!("{mode:o}/run/rowcall.sock"));
        let config = file(folder.path(), settings);
        let mut command = Daemon::command();
        command.arg("--socket").arg(&socket).args(NO_TCP).args(["--config", &config]);
        let child = Child::start("rowcalld", &mut command);
        child.says("listening transport=\"unix\"");
        Terminal::unix(&socket).hello().barrier();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn help_version_and_the_example() {
    let help = run(&["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert_eq!((help.status.code(), help.stderr.as_slice()), (Some(0), &b""[..]));
    for words in [
        "--socket",
        "--listen",
        "--http",
        "--config",
        "--log",
        "--allow-remote",
        "ROWCALL_SOCKET",
        "Exit codes",
        "SIGTERM",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let version = run(&["--version"]);
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("rowcalld {}\n", env!("CARGO_PKG_VERSION"))
    );
    // What --print-config prints is a file that --config takes; switched-off lines are for editing.
    let example = String::from_utf8(run(&["--print-config"]).stdout).unwrap();
    assert_eq!(example, fs::read_to_string(harness::repository().join("dist/rowcalld.toml")).unwrap());
    let folder = harness::folder();
    let mut daemon = Daemon::with_settings(folder.path(), &example);
    daemon.terminal().hello().barrier();
    daemon.stop();
}

/// What a daemon with this level says of a client that publishes so many messages.
fn said_of(messages: usize, level: &str) -> String {
    let folder = harness::folder();
    let mut daemon =
        Daemon::with_settings(folder.path(), &format!("log = \"{level}\"\nmax_connections = 10"));
    let mut it = daemon.terminal().hello();
    it.send("SUB a 1\r\n");
    it.send("PUB a 0\r\n\r\n".repeat(messages));
    for _ in 0..messages {
        it.expect("MSG a 1 0\r\n\r\n");
    }
    it.barrier();
    daemon.stop();
    daemon.child.said()
}

#[test]
fn nothing_is_logged_for_each_message() {
    for level in ["info", "debug"] {
        let (quiet, busy) = (said_of(0, level), said_of(1000, level));
        assert_eq!(quiet.lines().count(), busy.lines().count(), "{busy}");
        assert_eq!(busy.contains("CONNECT"), level == "debug", "{busy}");
        for line in busy.lines() {
            let level = line.split_whitespace().nth(1).unwrap();
            assert!(["INFO", "DEBUG"].contains(&level), "a line has its time and its level: {line}");
        }
    }
}

#[test]
fn less_is_logged_if_less_is_wanted() {
    let folder = harness::folder();
    let socket = folder.path().join("rowcall.sock");
    // As many as any limit of open files allows, lest there be something to warn of.
    let config = file(folder.path(), "max_connections = 10");
    let start = |arguments: &[&str], environment: &str| {
        let mut command = Daemon::command();
        command
            .arg("--socket")
            .arg(&socket)
            .args(NO_TCP)
            .args(["--config", &config])
            .args(arguments)
            .env("ROWCALL_LOG", environment);
        let mut child = Child::start("rowcalld", &mut command);
        let deadline = std::time::Instant::now() + harness::PATIENCE;
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(std::time::Instant::now() < deadline, "{}", child.said());
        }
        child.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(child.wait().success());
        child.said()
    };
    assert_eq!(start(&["--log", "error"], "trace"), "");
    assert_eq!(start(&[], "warn"), "");
    assert!(start(&["--log", "info"], "error").contains("INFO rowcalld starts version="));
}

/// The journal stamps lines itself and takes their priority from a number in front.
#[test]
fn lines_for_the_journal_have_a_priority_and_no_time() {
    let folder = harness::folder();
    let path = folder.path().join("journal");
    let journal = fs::File::create(&path).unwrap();
    let stream = |is_ours: bool| {
        let file = journal.metadata().unwrap();
        format!("{}:{}", file.dev(), file.ino() + u64::from(!is_ours))
    };
    let said = |stream: String, arguments: &[&str]| {
        journal.set_len(0).unwrap();
        (&journal).rewind().unwrap();
        let mut command = Daemon::command();
        command.arg("--socket").arg(folder.path().join("rowcall.sock")).args(NO_TCP).args(arguments);
        let mut child =
            command.env("JOURNAL_STREAM", stream).stderr(journal.try_clone().unwrap()).spawn().unwrap();
        harness::eventually("it listens or has ended", || {
            let said = fs::read_to_string(&path).unwrap();
            let is_over = child.try_wait().unwrap().is_some();
            (is_over || said.contains("listening")).then_some(())
        });
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
        child.wait().unwrap();
        fs::read_to_string(&path).unwrap()
    };
    let settings = file(folder.path(), "max_connections = 10\nsocket_group = \"no-such-group\"");
    // As many as any limit of open files allows.
    let few = folder.path().join("few.toml");
    fs::write(&few, "max_connections = 10").unwrap();
    let few = ["--config", few.to_str().unwrap()];
    let lines = said(stream(true), &few);
    assert!(lines.lines().all(|line| line.starts_with("<6>")), "{lines}");
    assert!(
        lines.contains("<6>listening transport=\"unix\"") && lines.contains("<6>left in_msgs=0"),
        "{lines}"
    );
    let refused = said(stream(true), &["--config", &settings]);
    assert!(refused.contains("\n<3>socket_group = \"no-such-group\""), "{refused}");
    let wrong = said(stream(true), &["--config", "/no/such/file"]);
    assert!(wrong.starts_with("<3>rowcalld: cannot read the configuration file"), "{wrong}");
    // Someone has put a file in its place.
    let elsewhere = said(stream(false), &few);
    assert!(elsewhere.starts_with("20") && elsewhere.contains("Z  INFO listening"), "{elsewhere}");
}
