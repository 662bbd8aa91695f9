//! Sockets that systemd holds (the harness plays it): a restart of the daemon loses nothing of what SQL sends
//! meanwhile, as far as the kernel holds it; and what systemd is told.

use super::bad_days::{
    Sessions, assert_heard, connect_to_table, count, insert, last_error, ledger, sent, total,
};
use harness::{Child, Daemon, Kind, Recorder, Site, Sockets, Terminal, activation, eventually};
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

on_each_server!(
    what_is_sent_between_two_daemons_is_heard,
    restarts_under_load_lose_no_event,
    a_listener_on_the_socket_of_sql_misses_no_event_in_a_restart,
    leaving_ends_the_delay_of_sql,
    what_nobody_comes_to_read_is_counted,
    a_server_that_was_never_greeted_sends_nothing_ahead,
);

/// Rows that a session sends while no daemon is there: fewer than a socket holds by default (555).
const BETWEEN: u32 = 300;

fn what_is_sent_between_two_daemons_is_heard(kind: Kind) {
    let Some(site) = Site::with_server_arguments(kind, &["--thread-cache-size=0"]) else { return };
    let sockets = Sockets::listen(&site.socket);
    let mut daemon = sockets.start();
    let recorder = Recorder::start(&daemon, "days.t");
    let mut sql = connect_to_table(&site, 0);
    let mut sessions: Vec<_> = (1..=4).map(|_| site.connect()).collect();
    for (session, sql) in (1..).zip(&mut sessions) {
        insert(sql, session, 0..10);
    }
    daemon.stop();
    assert_heard(&sent(&mut sql), &recorder.to_the_end());
    assert!(site.socket.exists(), "it is systemd's");

    sql.query("DELETE FROM t").unwrap();
    let began = Instant::now();
    for (session, sql) in (1..).zip(&mut sessions) {
        insert(sql, session, 0..BETWEEN);
    }
    // Whoever comes and goes while nobody is there is heard as well.
    let mut guest = site.connect();
    insert(&mut guest, 5, 0..BETWEEN);
    drop(guest);
    eventually("the end of its thread", || (site.status()["connections"] == 4).then_some(()));
    // All of them together have waited 20 ms in a second, and the rest of it is the server's own work.
    eprintln!("{kind:?}: {} rows without a daemon took {:?}", 5 * BETWEEN, began.elapsed());
    assert_eq!(count(&mut sql, "sent = 0"), 0, "{:?}", site.status());

    let settings = site.folder.path().join("rowcalld.toml");
    std::fs::write(&settings, "sql_delay = \"3s\"").unwrap();
    let mut daemon = sockets.start_with(&["--config", settings.to_str().unwrap()]);
    let recorder = Recorder::start(&daemon, "days.t");
    let sent = sent(&mut sql);
    assert_eq!(total(&sent), 5 * BETWEEN as usize);
    assert_heard(&sent, &recorder.heard(total(&sent)));
    for (session, sql) in (1..).zip(&mut sessions) {
        insert(sql, session, BETWEEN..BETWEEN + 1);
        assert_eq!(last_error(sql), None);
    }
    let status = site.status();
    // The guest's session ended before anybody greeted it, so nobody told the server.
    let told = serde_json::json!([status["dropped"], status["unconfirmed"], status["state"]]);
    assert_eq!(told, serde_json::json!([0, BETWEEN, "ok"]), "{status}");
    daemon.stop();
}

fn restarts_under_load_lose_no_event(kind: Kind) {
    let Some(site) = Site::without_daemon(kind) else { return };
    let sockets = Sockets::listen(&site.socket);
    let mut daemon = sockets.start();
    let mut recorders = vec![Recorder::start(&daemon, "days.t")];
    let mut sql = connect_to_table(&site, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let sessions = Sessions::start(&site, 8, move |failed| stopped.load(SeqCst) && failed.is_none());
    let (mut read, mut unheard) = (0, 0);
    for _ in 0..5 {
        recorders.last().unwrap().heard(500);
        let (r, u) = read_and_unheard(&mut daemon);
        (read, unheard) = (read + r, unheard + u);
        daemon = sockets.start();
        recorders.push(Recorder::start(&daemon, "days.t"));
    }
    recorders.last().unwrap().heard(500);
    stop.store(true, SeqCst);
    sessions.wait();
    let (r, u) = read_and_unheard(&mut daemon);
    (read, unheard) = (read + r, unheard + u);

    let sent = sent(&mut sql);
    let heard: Vec<_> = recorders.iter().map(|recorder| ledger(&recorder.to_the_end())).collect();
    let heard_at_all: usize = heard.iter().map(total).sum();
    let status = site.status();
    eprintln!("{kind:?}: {} sent, {unheard} before anyone listened again; {status}", total(&sent));
    assert_eq!(total(&sent), read, "each event that was answered 1 was read, and once");
    assert_eq!(heard_at_all + unheard, read);
    // What was heard of a session by one listener is a stretch of what it sent, without a hole.
    for (session, sent) in &sent {
        for heard in heard.iter().filter_map(|heard| heard.get(session)) {
            let from = sent.iter().position(|n| n == &heard[0]).unwrap();
            assert_eq!(&sent[from..from + heard.len()], heard, "session {session}");
        }
    }
    // What the kernel had no room for was answered 0. Nothing else failed.
    let dropped = count(&mut sql, "sent = 0");
    let reasons = if dropped > 0 { serde_json::json!({"stalled": dropped}) } else { serde_json::json!({}) };
    assert_eq!(status["dropped_by_reason"], reasons, "{status}");
    assert_eq!((&status["sent"], &status["unconfirmed"]), (&read.into(), &0.into()), "{status}");
}

/// `rowcall listen` comes by the same socket as SQL, whose connections are many and first in the queue.
fn a_listener_on_the_socket_of_sql_misses_no_event_in_a_restart(kind: Kind) {
    let Some(site) = Site::with_server_arguments(kind, &["--thread-cache-size=0"]) else { return };
    let sockets = Sockets::listen(&site.socket);
    let settings = site.folder.path().join("rowcalld.toml");
    std::fs::write(&settings, "sql_delay = \"3s\"").unwrap();
    let start = || sockets.start_with(&["--config", settings.to_str().unwrap()]);
    let mut daemon = start();
    let listener = Child::start("rowcall", &mut site.rowcall_command(&["listen", "--json", "days.t"]));
    listener.says("listening to");
    let mut sql = connect_to_table(&site, 0);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let sessions = Sessions::start(&site, 8, move |failed| stopped.load(SeqCst) && failed.is_none());
    listener.printed(500);
    let (mut read, unheard) = read_and_unheard(&mut daemon);
    assert_eq!(unheard, 0, "{}", daemon.child.said());
    // A session that ends before the next daemon is there: its events are in the kernel, and nowhere else.
    let mut guest = site.connect();
    insert(&mut guest, 9, 0..BETWEEN);
    drop(guest);
    let mut daemon = start();
    listener.says("connected again");
    stop.store(true, SeqCst);
    sessions.wait();
    let sent = sent(&mut sql);
    assert_eq!(sent.get(&9).map(Vec::len), Some(BETWEEN as usize));
    listener.prints(&format!("\"8 {}\"", sent[&8].last().unwrap()));
    let (read_by_second, unheard) = read_and_unheard(&mut daemon);
    read += read_by_second;
    assert_eq!((read, unheard), (total(&sent), 0), "{}", daemon.child.said());

    let payload = |line: &String| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        object["payload"].as_str().unwrap().to_owned()
    };
    let heard: Vec<String> = listener.printed(read).iter().map(payload).collect();
    assert_heard(&sent, &heard);
}

/// A daemon that leaves while SQL still waits reads what SQL has said: it was answered 1.
fn leaving_ends_the_delay_of_sql(kind: Kind) {
    let Some(site) = Site::without_daemon(kind) else { return };
    let sockets = Sockets::listen(&site.socket);
    let mut sql = connect_to_table(&site, 0);
    let mut daemon = sockets.start();
    eventually("a greeting", || {
        insert(&mut sql, 0, 0..1);
        let failed = last_error(&mut sql);
        sql.query("DELETE FROM t").unwrap();
        failed.is_none().then_some(())
    });
    daemon.stop();
    let settings = site.folder.path().join("rowcalld.toml");
    std::fs::write(&settings, "sql_delay = \"10m\"").unwrap();
    let mut daemon = sockets.start_with(&["--config", settings.to_str().unwrap()]);
    let recorder = Recorder::start(&daemon, "days.t");
    insert(&mut sql, 0, 0..BETWEEN);
    eventually("a greeting", || (site.status()["state"] == "ok").then_some(()));
    assert_eq!(recorder.heard(0), Vec::<String>::new());
    daemon.stop();
    assert_heard(&sent(&mut sql), &recorder.to_the_end());
    assert_eq!(count(&mut sql, "sent = 1"), u64::from(BETWEEN));
}

/// Asks the daemon to leave; how many messages it has read, and how many of them nobody heard.
fn read_and_unheard(daemon: &mut Daemon) -> (usize, usize) {
    daemon.stop();
    let line = daemon.child.says("left in_msgs=");
    let number = |name: &str| {
        let (_, behind) = line.split_once(name).unwrap();
        behind.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    (number("in_msgs="), number("unheard_msgs="))
}

/// The unit of the socket was stopped: what waited there is gone with it.
fn what_nobody_comes_to_read_is_counted(kind: Kind) {
    let Some(site) = Site::without_daemon(kind) else { return };
    let sockets = Sockets::listen(&site.socket);
    let mut daemon = sockets.start();
    let mut sql = connect_to_table(&site, 0);
    insert(&mut sql, 0, 0..1);
    daemon.stop();
    insert(&mut sql, 0, 1..101);
    assert_eq!(count(&mut sql, "sent = 1"), 101);
    let status = site.status();
    assert_eq!((&status["sent"], &status["unconfirmed"]), (&101.into(), &0.into()), "{status}");
    drop(sockets);
    eventually("the news", || {
        // Other processes of the tests may have the sockets for a moment.
        sql.query("SELECT rowcall_notify('days.t', '')").unwrap();
        (last_error(&mut sql).as_deref() == Some("no_daemon")).then_some(())
    });
    let status = site.status();
    let unconfirmed = status["sent"].as_u64().unwrap() - 1;
    assert_eq!(status["unconfirmed"], unconfirmed, "{status}");
}

fn a_server_that_was_never_greeted_sends_nothing_ahead(kind: Kind) {
    let Some(site) = Site::without_daemon(kind) else { return };
    let sockets = Sockets::listen(&site.socket);
    let mut sql = connect_to_table(&site, 0);
    insert(&mut sql, 0, 0..1000);
    let status = site.status();
    assert_eq!(status["dropped_by_reason"], serde_json::json!({"stalled": 1000}), "{status}");
    let daemon = sockets.start();
    let recorder = Recorder::start(&daemon, "days.t");
    eventually("a greeting", || {
        insert(&mut sql, 0, 1000..1001);
        let failed = last_error(&mut sql);
        sql.query("DELETE FROM t WHERE sent = 0").unwrap();
        failed.is_none().then_some(())
    });
    assert_heard(&sent(&mut sql), &recorder.heard(1));
}

/// Those on TCP wait as well.
#[test]
fn clients_that_come_between_two_daemons_are_served_by_the_next() {
    let folder = harness::folder();
    let sockets = Sockets::listen(&folder.path().join("rowcall.sock"));
    let mut daemon = sockets.start();
    let mut early = daemon.terminal().hello();
    early.send("SUB a 1\r\n");
    early.barrier();
    daemon.stop();
    let address = daemon.tcp.clone();
    let late = std::thread::spawn(move || Terminal::tcp(&address).hello());
    let mut visitor = daemon.visit();
    let daemon = sockets.start();
    late.join().unwrap().barrier();
    visitor.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(visitor.answer().status, 200);
    Terminal::unix(&daemon.socket).hello().barrier();
}

#[test]
fn what_cannot_be_served_is_refused() {
    let folder = harness::folder();
    let path = folder.path().join("rowcall.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let (tcp, open) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap());
    let check = |sockets: &[_], names: &str, words: &[&str]| {
        let mut daemon = Child::start("rowcalld", &mut activation::command(sockets, names));
        assert_eq!(daemon.wait().code(), Some(2), "{}", daemon.said());
        words.iter().for_each(|words| drop(daemon.says(words)));
    };
    check(
        &[unix.as_fd()],
        "rowcalld.socket",
        &["named \"rowcalld.socket\"", "FileDescriptorName=", "\"sql\""],
    );
    check(&[unix.as_fd()], "", &["socket 1 of those that systemd passed", "FileDescriptorName="]);
    check(&[unix.as_fd(), tcp.as_fd()], "sql:sql", &["socket 2", "not a valid unix stream socket"]);
    check(&[tcp.as_fd(), tcp.as_fd()], "nats:nats", &["socket 2", "another one of this name"]);
    check(&[open.as_fd()], "nats", &["can be reached from other machines", "--allow-remote"]);
    check(&[unix.as_fd()], "http", &["not a valid tcp socket"]);
}

/// A process whose parent was activated has the words in its environment, but not the sockets.
#[test]
fn what_is_meant_for_another_process_is_left_alone() {
    let folder = harness::folder();
    let unix = UnixListener::bind(folder.path().join("other.sock")).unwrap();
    let mut command = activation::command(&[unix.as_fd()], "sql");
    command.env("LISTEN_PID", "1").arg("--socket").arg(folder.path().join("rowcall.sock"));
    let mut daemon = Child::start("rowcalld", command.args(["--listen", "127.0.0.1:0", "--http", "none"]));
    daemon.says("listening transport=\"unix\"");
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    assert!(folder.path().join("other.sock").exists() && !folder.path().join("rowcall.sock").exists());
}

#[test]
fn systemd_is_told_how_the_daemon_does() {
    let folder = harness::folder();
    let place = folder.path().join("notify.sock");
    let notified = UnixDatagram::bind(&place).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let said = || {
        let mut buffer = [0; 256];
        let n = notified.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).trim().to_owned()
    };
    let mut command = Daemon::command();
    command.env("NOTIFY_SOCKET", &place);
    let socket = folder.path().join("rowcall.sock");
    let mut daemon =
        Daemon::start_as(command, &socket, &["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    assert_eq!(said(), "READY=1");
    daemon.child.signal(Signal::SIGHUP);
    let reloading = said();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(said(), "READY=1");
    daemon.stop();
    // With the time that it may take: drain_timeout and a margin, there being no clients to wait for.
    assert_eq!(said(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=12000000");
}
