//! SIGTERM: clients are told, what has arrived is done, what is owed is written, in bounded time. The time that clients
//! are given before is leaving/lame_duck.rs's.

mod lame_duck;

use harness::{Child, Daemon, Terminal};
use nix::sys::signal::Signal;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Nobody is given time before the daemon leaves in earnest.
const AT_ONCE: &str = "lame_duck = \"0s\"";

/// Expects the INFO that says the server is leaving, and its end.
fn expect_farewell(client: &mut Terminal) {
    let info = client.line();
    assert!(info.starts_with("INFO {") && info.contains("\"ldm\":true"), "{info}");
    // The whole of it, as clients replace what they knew.
    for key in ["server_id", "client_id", "max_payload", "\"headers\":true"] {
        assert!(info.contains(key) && client.info.contains(key), "{key} is not in {info}");
    }
    client.expect_closed();
}

fn left(daemon: &mut Daemon) {
    let status = daemon.child.wait();
    assert_eq!(status.code(), Some(0), "{}", daemon.child.said());
    assert!(!daemon.socket.exists(), "the socket is gone");
    assert!(TcpStream::connect(&daemon.tcp).is_err(), "nobody is at the port");
}

#[test]
fn clients_are_told_and_what_is_owed_is_written() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = harness::folder();
        let mut daemon = Daemon::with_settings(folder.path(), "lame_duck = \"0s\"\ndrain_timeout = \"1m\"");
        let mut modern = [daemon.terminal().hello(), Terminal::unix(&daemon.socket).hello()];
        let mut old = daemon.terminal();
        old.send("CONNECT {\"verbose\":false}\r\n");
        let mut publisher = daemon.terminal().hello();
        for subscriber in modern.iter_mut().chain([&mut old]) {
            subscriber.send("SUB last.words 1\r\n");
            subscriber.barrier();
        }
        // More than the kernel takes from a daemon whose subscribers are looking elsewhere.
        let payload = "x".repeat(1 << 20);
        for _ in 0..24 {
            publisher.send(format!("PUB last.words {}\r\n{payload}\r\n", payload.len()));
        }
        publisher.barrier();
        daemon.child.signal(signal);
        for subscriber in modern.iter_mut().chain([&mut old]) {
            for _ in 0..24 {
                subscriber.expect(format!("MSG last.words 1 {}\r\n{payload}\r\n", payload.len()));
            }
        }
        modern.iter_mut().chain([&mut publisher]).for_each(expect_farewell);
        old.expect_closed();
        left(&mut daemon);
        daemon.child.says(&format!("told to leave signal=\"{signal}\""));
        daemon.child.says("left in_msgs=24 out_msgs=72 unheard_msgs=0 lost_bytes=0");
    }
}

/// A close with input unread makes the kernel send a reset, which throws away what it still had to
/// deliver: so whoever goes on talking while the daemon leaves would lose the end of what it is owed.
#[test]
fn whoever_talks_on_still_reads_everything() {
    let folder = harness::folder();
    let mut daemon = Daemon::with_settings(folder.path(), AT_ONCE);
    let mut subscriber = daemon.terminal().hello();
    subscriber.send("SUB a 1\r\n");
    subscriber.barrier();
    let mut publisher = daemon.terminal().hello();
    let payload = "x".repeat(1 << 20);
    publisher.send(format!("PUB a {}\r\n{payload}\r\n", payload.len()));
    publisher.barrier();
    daemon.child.signal(Signal::SIGTERM);
    daemon.child.says("leaving");
    // It is in the kernel's hands now, or will be; the subscriber reads nothing yet.
    subscriber.send("PING\r\n");
    subscriber.expect(format!("MSG a 1 {}\r\n{payload}\r\n", payload.len()));
    expect_farewell(&mut subscriber);
    drop((subscriber, publisher));
    left(&mut daemon);
}

#[test]
fn what_has_arrived_is_done() {
    let folder = harness::folder();
    let mut daemon = Daemon::with_settings(folder.path(), AT_ONCE);
    let mut subscriber = daemon.terminal().hello();
    subscriber.send("SUB > 1\r\n");
    subscriber.barrier();
    let mut publishers = [daemon.terminal().hello(), Terminal::unix(&daemon.socket).hello()];
    // All of it is waiting, the order to leave too, when the daemon looks up.
    daemon.child.signal(Signal::SIGSTOP);
    for publisher in &mut publishers {
        publisher.send("PUB a 2\r\nhi\r\n".repeat(1000));
    }
    daemon.child.signal(Signal::SIGTERM);
    daemon.child.signal(Signal::SIGCONT);
    for _ in 0..2000 {
        subscriber.expect("MSG a 1 2\r\nhi\r\n");
    }
    expect_farewell(&mut subscriber);
    left(&mut daemon);
}

/// An SQL function may send before it is greeted, and then says that it is sent.
#[test]
fn who_waits_at_the_door_is_taken_in() {
    let folder = harness::folder();
    let mut daemon = Daemon::with_settings(folder.path(), AT_ONCE);
    let mut subscriber = daemon.terminal().hello();
    subscriber.send("SUB > 1\r\n");
    subscriber.barrier();
    daemon.child.signal(Signal::SIGSTOP);
    let mut waiting: Vec<_> = (0..100).map(|_| UnixStream::connect(&daemon.socket).unwrap()).collect();
    for publisher in &mut waiting {
        publisher.write_all(b"CONNECT {\"verbose\":false}\r\nPUB a 2\r\nhi\r\n").unwrap();
    }
    waiting.truncate(50);
    daemon.child.signal(Signal::SIGTERM);
    daemon.child.signal(Signal::SIGCONT);
    for _ in 0..100 {
        subscriber.expect("MSG a 1 2\r\nhi\r\n");
    }
    expect_farewell(&mut subscriber);
    left(&mut daemon);
}

#[test]
fn whoever_does_not_read_is_not_waited_for() {
    let folder = harness::folder();
    let settings = "lame_duck = \"0s\"\ndrain_timeout = \"300ms\"\nwrite_deadline = \"10m\"";
    let mut daemon = Daemon::with_settings(folder.path(), settings);
    let mut sleeper = daemon.terminal().hello();
    sleeper.send("SUB a 1\r\n");
    sleeper.barrier();
    let mut publisher = Terminal::library(&daemon.socket);
    let payload = "x".repeat(1 << 20);
    for _ in 0..48 {
        publisher.send(format!("PUB a {}\r\n{payload}\r\n", payload.len()));
    }
    publisher.barrier();
    let asked = Instant::now();
    daemon.child.signal(Signal::SIGTERM);
    // A second one changes nothing.
    daemon.child.signal(Signal::SIGTERM);
    left(&mut daemon);
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    // What was lost by it is said.
    let line = daemon.child.says("left in_msgs=48");
    assert!(!line.contains("lost_bytes=0"), "{line}");
}

#[test]
fn a_socket_belongs_to_one_daemon() {
    let folder = harness::folder();
    let socket = folder.path().join("rowcall.sock");
    let mut first = Daemon::start(&socket);
    let mut second = start_at(&socket, &["--listen", "127.0.0.1:0", "--http", "none"]);
    assert_eq!(second.wait().code(), Some(1));
    second.says(&format!("another rowcalld is using {}", socket.display()));
    // The first did not notice.
    Terminal::unix(&socket).hello().barrier();
    first.stop();
}

fn start_at(socket: &Path, arguments: &[&str]) -> Child {
    Child::start("rowcalld", Daemon::command().arg("--socket").arg(socket).args(arguments))
}

#[test]
fn the_next_one_starts_at_once_in_the_same_place() {
    let folder = harness::folder();
    let mut daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    for abrupt in [false, true, false] {
        // Connections that the daemon closes first keep its port busy for a minute (TIME_WAIT).
        let mut clients = [daemon.terminal().hello(), Terminal::unix(&daemon.socket).hello()];
        if abrupt {
            daemon.kill();
            assert!(daemon.socket.exists(), "what is left of the last one");
            clients.iter_mut().for_each(Terminal::expect_closed);
        } else {
            daemon.stop();
            clients.iter_mut().for_each(expect_farewell);
        }
        let (tcp, http) = (daemon.tcp.clone(), daemon.http.clone());
        daemon = Daemon::start_with(&daemon.socket, &["--listen", &tcp, "--http", &http]);
        assert_eq!((&daemon.tcp, &daemon.http), (&tcp, &http));
        daemon.terminal().hello().barrier();
        Terminal::unix(&daemon.socket).hello().barrier();
    }
}
