//! The `rowcall` command as a person or a script uses it: listen, notify, request, reply. What the
//! tests use to run it stands in cli/desk.rs.

mod contexts;
mod desk;
mod help;
mod secrecy;
mod since;
mod top;
mod waiting;
mod worker;

use desk::{Desk, interrupt, json, rowcall, run, until};
use harness::{Child, Daemon};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};

#[test]
fn listen_shows_a_line_for_each_message() {
    let desk = Desk::new();
    let listener = desk.start(&["listen", "a.>", "b"], "listening to a.>, b");
    desk.run(&["notify", "a.1", "one"]).is(0, "");
    desk.run(&["notify", "b", "two\nlines, \x1b[31mred"]).is(0, "");
    desk.run(&["notify", "c", "not for us"]).is(0, "");
    desk.run(&["notify", "a.b.c", "größe", "-H", "X: y", "--header", "Z:"]).is(0, "");
    let lines = listener.printed(3);
    let (times, rest): (Vec<_>, Vec<_>) = lines.iter().map(|line| line.split_once("  ").unwrap()).unzip();
    assert_eq!(rest, ["a.1  one", "b  two\\nlines, \\u{1b}[31mred", "a.b.c  größe  [X: y]  [Z: ]"]);
    assert!(times.iter().all(|time| time.len() == "12:34:56.789".len()), "{times:?}");
    interrupt(listener);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let desk = Desk::new();
    // script(1) gives it a terminal.
    let listen = format!("{} listen -n 1 a", harness::built("rowcall").display());
    for (set, dim) in [("", true), ("1", false)] {
        let mut command = Command::new("script");
        command.args(["-qefc", &listen, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", set);
        command.env("ROWCALL_SERVER", format!("unix:{}", desk.daemon.socket.display()));
        let listener = Child::start("script", &mut command);
        listener.prints("listening to a");
        desk.run(&["notify", "a", "hello"]).is(0, "");
        let line = listener.prints("hello");
        assert_eq!(line.starts_with("\x1b[2m"), dim, "NO_COLOR={set}: {line:?}");
    }
}

#[test]
fn listen_gives_programs_every_byte() {
    let desk = Desk::new();
    let mut listener = desk.start(&["listen", "--json", "-n", "3", "a"], "listening");
    desk.run(&["notify", "a", "x\ny"]).is(0, "");
    run(&mut desk.command(&["notify", "a", "-", "-H", "X: y"]), b"\xff\x00").is(0, "");
    let mut terminal = desk.daemon.terminal().hello();
    terminal.send("PUB a inbox.1 0\r\n\r\n");
    // It leaves by itself: that was all it was asked for.
    assert!(listener.wait().success());
    let objects: Vec<_> = listener.printed(3).iter().map(|line| json(line)).collect();
    assert_eq!((&objects[0]["subject"], &objects[0]["payload"]), (&"a".into(), &"x\ny".into()));
    assert_eq!(objects[1]["payload_base64"], "/wA=");
    assert_eq!(objects[1]["headers"], serde_json::json!([["X", "y"]]));
    assert_eq!((&objects[2]["reply"], &objects[2]["payload"]), (&"inbox.1".into(), &"".into()));
    assert!(objects.iter().all(|object| object["time"].as_str().is_some_and(|time| time.ends_with('Z'))));
}

#[test]
fn listeners_of_a_queue_group_share_the_messages() {
    const MESSAGES: usize = 60;
    let desk = Desk::new();
    let listeners = [(); 2].map(|()| desk.start(&["listen", "-q", "g", "a"], "listening"));
    let mut terminal = desk.daemon.terminal().hello();
    terminal.send("PUB a 1\r\nx\r\n".repeat(MESSAGES));
    let shares = || listeners.each_ref().map(|listener| listener.said().matches("  a  x").count());
    until("all of them were heard", || shares().iter().sum::<usize>() >= MESSAGES);
    terminal.send("PUB a 3\r\nend\r\n");
    until("the end was heard", || listeners.iter().any(|listener| listener.said().contains("  a  end")));
    assert_eq!(shares().iter().sum::<usize>(), MESSAGES, "{:?}", shares());
    assert!(shares().iter().all(|&share| share > 0), "{:?}", shares());
}

#[test]
fn those_who_stay_wait_for_a_daemon_that_goes_away() {
    let mut desk = Desk::new();
    let listener = desk.start(&["listen", "a"], "listening");
    let worker = desk.worker(&["w", "--", "cat"]);
    desk.daemon.stop();
    for child in [&listener, &worker] {
        child.says("trying again");
    }
    desk.daemon = Daemon::start(&desk.daemon.socket);
    for child in [&listener, &worker] {
        child.says("connected again");
    }
    desk.run(&["notify", "a", "still here?"]).is(0, "");
    listener.prints("  a  still here?");
    desk.run(&["request", "w", "and you?"]).is(0, "and you?");
    // Ctrl-C works without a daemon, too.
    desk.daemon.kill();
    for child in [listener, worker] {
        until("it has noticed", || child.said().matches("trying again").count() == 2);
        interrupt(child);
    }
}

#[test]
fn a_reader_of_the_output_may_leave() {
    let desk = Desk::new();
    let mut listener = desk.command(&["listen", "a"]);
    let mut listener = listener.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(listener.stdout.take());
    until("it listens", || desk.daemon.varz()["subscriptions"] == 1);
    desk.run(&["notify", "a", "nobody sees it"]).is(0, "");
    let output = listener.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "listening to a\n");
}

#[test]
fn notify_sends_what_it_is_given() {
    let desk = Desk::new();
    let mut terminal = desk.terminal(">");
    desk.run(&["notify", "a.b", "payload"]).is(0, "");
    terminal.expect("MSG a.b 1 7\r\npayload\r\n");
    desk.run(&["notify", "a", ""]).is(0, "");
    terminal.expect("MSG a 1 0\r\n\r\n");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    run(&mut desk.command(&["notify", "a", "-"]), &bytes).is(0, "");
    terminal.expect([b"MSG a 1 100000\r\n", &bytes[..], b"\r\n"].concat());
    desk.run(&["notify", "a", "x", "-H", "One: 1", "-H", "Two:  a: b "]).is(0, "");
    terminal.expect("HMSG a 1 31 32\r\nNATS/1.0\r\nOne: 1\r\nTwo: a: b\r\n\r\nx\r\n");
}

#[test]
fn notify_refuses_what_cannot_be_sent() {
    let desk = Desk::new();
    desk.run(&["notify", "a.*", "x"]).fails(2, &["\"a.*\" holds a wildcard"]);
    desk.run(&["notify", "a b", "x"]).fails(2, &["blank"]);
    desk.run(&["notify", "", "x"]).fails(2, &["is empty"]);
    desk.run(&["notify", "a", "x", "-H", "no colon"]).fails(2, &["Name: value"]);
    desk.run(&["notify", "a"]).fails(2, &["<PAYLOAD>"]);
    run(&mut desk.command(&["notify", "a", "-"]), &vec![0; 2 << 20])
        .fails(1, &["2097152 bytes", "1048576", "max_payload"]);
}

#[test]
fn request_shows_the_reply_or_says_why_there_is_none() {
    let desk = Desk::new();
    desk.run(&["request", "nobody", "x"]).fails(3, &["nobody answers to nobody"]);

    let mut silent = desk.terminal("silent");
    desk.run(&["request", "silent", "x", "--timeout", "50"]).fails(4, &["no reply from silent within 50 ms"]);
    let mut is_asked = || (silent.line().starts_with("MSG silent 1 _INBOX."), silent.line());
    assert_eq!(is_asked(), (true, "x".into()));

    let _worker = desk.worker(&["w.>", "--", "sh", "-c", r#"printf "%s:" "$ROWCALL_SUBJECT"; cat"#]);
    desk.run(&["request", "w.1", "in"]).is(0, "w.1:in");
    run(&mut desk.command(&["request", "w.2", "-"]), b"\xff\0\n").is(0, b"w.2:\xff\0\n");
    let said = desk.run(&["request", "w.3", "in", "--json"]);
    assert_eq!(json(&String::from_utf8_lossy(&said.out)), serde_json::json!({ "payload": "w.3:in" }));

    let mut waiting = Child::start("request", &mut desk.command(&["request", "silent", "y", "-t", "60000"]));
    assert_eq!(is_asked(), (true, "y".into()));
    waiting.signal(Signal::SIGINT);
    assert_eq!(waiting.wait().code(), Some(1), "{}", waiting.said());
}

#[test]
fn a_worker_that_fails_says_so() {
    let desk = Desk::new();
    let _failing = desk.worker(&["failing", "--", "sh", "-c", "echo why; exit 3"]);
    let said = desk.run(&["request", "failing", "x"]);
    said.is(7, "why\n");
    said.fails(7, &["the worker failed: exit status: 3"]);
    // As any client sees it.
    let mut terminal = desk.terminal("inbox");
    terminal.send("PUB failing inbox 0\r\n\r\n");
    terminal.expect(
        "HMSG inbox 1 76 80\r\nNATS/1.0\r\nNats-Service-Error: exit status: 3\r\n\
         Nats-Service-Error-Code: 3\r\n\r\nwhy\n\r\n",
    );

    let _missing = desk.worker(&["missing", "--", "/nonexistent/command"]);
    desk.run(&["request", "missing", "x"]).fails(7, &["cannot run /nonexistent/command", "No such file"]);

    let _large = desk.worker(&["large", "--", "head", "-c", "1100000", "/dev/zero"]);
    desk.run(&["request", "large", "x"]).fails(7, &["1100000 bytes", "max_payload"]);

    // Not to read the payload is no failure.
    let _deaf = desk.worker(&["deaf", "--", "true"]);
    run(&mut desk.command(&["request", "deaf", "-"]), &vec![b'x'; 1 << 20]).is(0, "");
}

/// A blocked signal would stay blocked in the command, and never end it.
#[test]
fn signals_reach_the_commands_of_a_worker() {
    let desk = Desk::new();
    let _worker = desk.worker(&["a", "--", "sh", "-c", "kill -TERM $$; kill -INT $$; echo unharmed"]);
    desk.run(&["request", "a", "x"]).fails(7, &["signal: 15"]);
}

/// Each of the commands waits for the others, so they must all run at once.
#[test]
fn jobs_work_side_by_side() {
    const JOBS: usize = 4;
    let desk = Desk::new();
    let script = r#"mktemp ./job.XXXXXX >name; until [ "$(ls job.* | wc -l)" = 4 ]; do sleep 0.01; done"#;
    let mut worker = desk.command(&["reply", "a", "--jobs", &JOBS.to_string(), "--", "sh", "-c", script]);
    let worker = Child::start("reply", worker.current_dir(desk.folder.path()));
    worker.says("answering");
    let ask = || desk.run(&["request", "a", "x", "-t", "60000"]);
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..JOBS).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().for_each(|asked| asked.join().unwrap().is(0, ""));
    });
    interrupt(worker);
}

/// Ctrl-C while a command runs: what has begun is answered.
#[test]
fn a_worker_finishes_what_it_has_begun() {
    let desk = Desk::new();
    let script = "touch begun; until [ -e go ]; do sleep 0.01; done; echo done";
    let mut worker = desk.command(&["reply", "a", "--", "sh", "-c", script]);
    let mut worker = Child::start("reply", worker.current_dir(desk.folder.path()));
    worker.says("answering");
    let said = std::thread::scope(|scope| {
        let asked = scope.spawn(|| desk.run(&["request", "a", "x", "-t", "60000"]));
        until("it has begun", || desk.folder.path().join("begun").exists());
        worker.signal(Signal::SIGTERM);
        std::fs::write(desk.folder.path().join("go"), "").unwrap();
        asked.join().unwrap()
    });
    said.is(0, "done\n");
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn a_daemon_that_is_away_is_told_with_its_place() {
    let folder = harness::folder();
    let socket = folder.path().join("nobody.sock");
    let place = format!("unix:{}", socket.display());
    let away: [&[&str]; 4] =
        [&["listen", "a"], &["notify", "a", "x"], &["request", "a", "x"], &["reply", "a", "--", "true"]];
    for arguments in away {
        let said = run(&mut rowcall(&place, arguments), b"");
        said.fails(5, &[socket.to_str().unwrap(), "Is rowcalld running?", "--server"]);
    }
    // On the command line it counts more than in the environment; what is secret in it is not shown.
    let said = run(&mut rowcall(&place, &["notify", "a", "x", "-s", "nats://me:SECRET@127.0.0.1:1"]), b"");
    said.fails(5, &["127.0.0.1:1"]);
    assert!(!said.err.contains("SECRET"), "{}", said.err);
}

#[test]
fn wrong_arguments_are_told_without_secrets() {
    let check = |arguments: &[&str], words: &[&str]| {
        let said = run(&mut rowcall("unix:/nonexistent", arguments), b"");
        said.fails(2, words);
        assert!(!said.err.contains("SECRET"), "{}", said.err);
    };
    check(&[], &["Usage: rowcall"]);
    check(&["lisen"], &["'lisen'", "'listen'"]);
    check(&["listen"], &["<SUBJECT>"]);
    check(&["listen", "a b"], &["\"a b\" cannot be subscribed to", "dots"]);
    check(&["listen", "a", "-q", "b c"], &["--queue \"b c\"", "one word"]);
    check(&["listen", "a", "--count", "many"], &["many", "--count"]);
    check(&["reply", "a"], &["<COMMAND>"]);
    check(&["reply", "a", "-j", "0", "--", "true"], &["--jobs"]);
    check(&["notify", "a", "x", "-s", "http://me:SECRET@host"], &["tls://HOST:PORT or unix:PATH"]);
    check(&["notify", "a", "x", "-s", "nats://me:SECRET@host:99999"], &["invalid port"]);
    check(&["notify", "a", "x", "-s", "me:SECRET@host:99999"], &["invalid port"]);
    check(&["notify", "a", "x", "-s", "unix:"], &["no path"]);
    check(&["notify", "a", "x", "-pSECRET"], &["--password"]);
    check(&["consumer"], &["Usage: rowcall consumer", "pause"]);
    check(&["consumer", "add", "a.b", "x"], &["'a.b'", "letters, digits"]);
    check(&["consumer", "add", "a", "b c"], &["'b c'", "blanks"]);
    check(&["consumer", "add", "a", "b", "--ack-wait", "soon"], &["--ack-wait", "30s"]);
    check(&["consumer", "add", "a", "b", "--max-unacked", "0"], &["--max-unacked"]);
    check(&["parked", "retry"], &["<ID>"]);
    check(&["parked", "drop", "7", "--all"], &["--all"]);
    check(&["install", "--defaults-file=/nonexistent.cnf"], &["--defaults-file", "/nonexistent.cnf"]);
    check(&["install", "-uroot", "-pSECRET", "--nonsense"], &["--nonsense"]);
}

#[test]
fn help_says_what_each_subcommand_takes() {
    let check = |arguments: &[&str], words: &[&str]| {
        let said = run(&mut rowcall("unix:/nonexistent", arguments), b"");
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let text = String::from_utf8_lossy(&said.out).into_owned();
        words.iter().for_each(|words| assert!(text.contains(words), "{words} is not in:\n{text}"));
    };
    let server = ["--host", "--port", "--socket", "--user", "--password", "--defaults-file", "--no-defaults"];
    check(&["--help"], &["install", "uninstall", "listen", "notify", "request", "reply", "ROWCALL_SERVER"]);
    check(&["-?"], &["Exit codes:", "  0  ", "  1  ", "  2  ", "  3  ", "  4  ", "  5  ", "  6  ", "  7  "]);
    check(&["--version"], &[env!("CARGO_PKG_VERSION")]);
    check(&["install", "--help"], &server);
    check(&["install", "-?"], &["--library", "--no-copy", "--print", "--json", "MYSQL_PWD"]);
    check(&["uninstall", "--help"], &server);
    check(&["uninstall", "--help"], &["--no-remove", "--print", "--json"]);
    check(&["listen", "--help"], &["[SUBJECT]...", "--queue", "--count", "--server", "--json"]);
    check(&["notify", "--help"], &["<SUBJECT> <PAYLOAD>", "stdin", "--header", "--server"]);
    check(&["request", "--help"], &["--timeout", "[default: 2000]", "Exit code 3", "--server", "--json"]);
    check(&["reply", "--help"], &["-- <COMMAND>...", "--jobs", "--queue", "ROWCALL_SUBJECT", "--server"]);
    check(&["reply", "--help"], &["rowcall.consumer.mail", "--ack-wait"]);
    check(&["consumer", "--help"], &["add", "list", "show", "rm", "pause", "resume", "SELECT, INSERT"]);
    check(
        &["consumer", "add", "-?"],
        &["--backoff", "[default: 1s,5s,30s,2m]", "--max-age", "[default: 256]"],
    );
    check(&["parked", "--help"], &["list", "show", "retry", "drop", "SELECT, INSERT"]);
    for path in [&["consumer", "rm"][..], &["consumer", "pause"], &["parked", "drop"], &["status"]] {
        check(&[path, &["--help"]].concat(), &server);
    }
}

/// Three ways to say where, and someone else's server: the command is an ordinary client.
#[test]
fn any_server_of_the_protocol_will_do() {
    let desk = Desk::new();
    let (unix, tcp) = (format!("unix:{}", desk.daemon.socket.display()), desk.daemon.tcp.clone());
    let nats = format!("nats://{tcp}");
    for place in [unix, tcp, nats] {
        listen_notify_request(&place);
    }
}

#[test]
fn nats_server_will_do() {
    let nats = harness::nats_server::NatsServer::start(
        "authorization { users = [ { user: me, password: \"p&s+w@rd\", permissions: { \
         subscribe: { deny: \"secret\" } } } ] }",
    );
    let place = format!("nats://me:p&s+w%40rd@{}", nats.tcp);
    listen_notify_request(&place);
    run(&mut rowcall(&place, &["request", "nobody", "x"]), b"").fails(3, &["no responders"]);
    // What it refuses is told, not tried again for ever.
    run(&mut rowcall(&place, &["listen", "secret"]), b"").fails(5, &["Permissions Violation"]);
    let wrong = format!("nats://me:SECRET@{}", nats.tcp);
    let said = run(&mut rowcall(&wrong, &["notify", "a", "x"]), b"");
    said.fails(5, &["Authorization Violation"]);
    assert!(!said.err.contains("SECRET"), "{}", said.err);
}

fn listen_notify_request(place: &str) {
    let listener = Child::start("listen", &mut rowcall(place, &["listen", "a.*"]));
    listener.says("listening");
    run(&mut rowcall(place, &["notify", "a.b", "hello", "-H", "X: y"]), b"").is(0, "");
    listener.prints("  a.b  hello  [X: y]");
    let worker = Child::start("reply", &mut rowcall(place, &["reply", "w", "--", "tr", "a-z", "A-Z"]));
    worker.says("answering");
    run(&mut rowcall(place, &["request", "w", "hello"]), b"").is(0, "HELLO");
    interrupt(listener);
    interrupt(worker);
}
