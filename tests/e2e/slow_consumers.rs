//! Readers that take nothing, or less than SQL sends, are cut off, counted and logged; SQL does not
//! wait for them.

use harness::{Daemon, PATIENCE, Terminal};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Messages of this size fill the kernel's buffers, some megabytes, in a few hundred.
const PAYLOAD: usize = 16 << 10;

/// What may be published before a reader who takes nothing must have been cut off: far more than
/// kernels hold and these tests allow to be owed.
const PUBLISHED_MAX: usize = 512 << 20;

/// Subscribes and then reads nothing.
fn never_reads(daemon: &Daemon) -> TcpStream {
    let mut stream = TcpStream::connect(&daemon.tcp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false,\"name\":\"sleeper\"}\r\nSUB flood 1\r\n").unwrap();
    stream
}

/// Publishes, one message after the other heard by the healthy ones, until so many slow ones were
/// cut off.
fn flood(daemon: &Daemon, publisher: &mut Terminal, healthy: &mut [Terminal], slow: u64) {
    let payload = "x".repeat(PAYLOAD);
    for n in 0..PUBLISHED_MAX / PAYLOAD {
        publisher.send(format!("PUB flood r.{n} {PAYLOAD}\r\n{payload}\r\n"));
        for subscriber in &mut *healthy {
            subscriber.expect(format!("MSG flood 1 r.{n} {PAYLOAD}\r\n{payload}\r\n"));
        }
        if n % 64 == 0 && daemon.varz()["slow_consumers"] == slow {
            publisher.barrier();
            return;
        }
    }
    panic!("not cut off: {}\n{}", daemon.varz(), daemon.child.said());
}

/// Everything up to the end, which may be a reset.
fn the_rest(mut stream: TcpStream) -> String {
    let mut got = Vec::new();
    if let Err(error) = stream.read_to_end(&mut got) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    String::from_utf8(got).unwrap()
}

/// Ends the daemon, so that its log is complete, and checks that each was logged once.
fn each_was_logged_once(mut daemon: Daemon, slow: usize, reason: &str) {
    daemon.stop();
    let said = daemon.child.said();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("cut off")).collect();
    assert_eq!(lines.len(), slow, "{said}");
    for line in lines {
        for words in ["WARN", "name=\"sleeper\"", "lost_bytes=", reason] {
            assert!(line.contains(words), "{words:?} is not in {line:?}");
        }
    }
}

/// A healthy subscriber on each transport.
fn healthy(daemon: &Daemon) -> [Terminal; 2] {
    [daemon.terminal(), Terminal::unix(&daemon.socket)].map(|terminal| {
        let mut terminal = terminal.hello();
        terminal.send("SUB flood 1\r\n");
        terminal.barrier();
        terminal
    })
}

#[test]
fn who_is_owed_too_much_by_sql_is_cut_off_and_the_others_lose_nothing() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "max_pending = \"4MiB\"\nwrite_deadline = \"10m\"");
    let mut healthy = healthy(&daemon);
    let mut sql = Terminal::library(&daemon.socket);
    let sleeper = never_reads(&daemon);
    flood(&daemon, &mut sql, &mut healthy, 1);
    daemon.child.says("slow consumer: owed more than max_pending");
    let varz = daemon.varz();
    let lost = varz["lost_bytes"].as_u64().unwrap();
    let one_more = 2 * PAYLOAD as u64;
    assert!((4 << 20..(4 << 20) + one_more).contains(&lost), "{varz}");
    assert_eq!(varz["closed"]["slow_pending"], 1);
    // Without a word about it, as the reference does.
    let heard = the_rest(sleeper);
    assert!(heard.contains("MSG flood 1 ") && !heard.contains("-ERR"));
    each_was_logged_once(daemon, 1, "reason=slow consumer: owed more than max_pending");
}

#[test]
fn who_takes_nothing_for_too_long_is_cut_off() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "max_pending = \"1GiB\"\nwrite_deadline = \"200ms\"");
    let mut healthy = healthy(&daemon);
    let mut publisher = daemon.terminal().hello();
    let sleeper = never_reads(&daemon);
    flood(&daemon, &mut publisher, &mut healthy, 1);
    let varz = daemon.varz();
    assert_eq!(varz["closed"]["slow_write"], 1, "{varz}");
    assert!(varz["lost_bytes"].as_u64().unwrap() > 0, "{varz}");
    assert!(!the_rest(sleeper).contains("-ERR"));
    each_was_logged_once(daemon, 1, "reason=slow consumer: took nothing for write_deadline");
}

#[test]
fn who_pauses_loses_nothing() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut publisher = daemon.terminal().hello();
    let payload = "x".repeat(PAYLOAD);
    let mut pausing = healthy(&daemon);
    // More than kernels hold, less than may be owed.
    for n in 0..2000 {
        publisher.send(format!("PUB flood r.{n} {PAYLOAD}\r\n{payload}\r\n"));
    }
    publisher.barrier();
    for subscriber in &mut pausing {
        for n in 0..2000 {
            subscriber.expect(format!("MSG flood 1 r.{n} {PAYLOAD}\r\n{payload}\r\n"));
        }
        subscriber.barrier();
    }
    let varz = daemon.varz();
    assert_eq!((&varz["slow_consumers"], &varz["lost_bytes"]), (&0.into(), &0.into()));
}

#[test]
fn who_does_not_answer_is_stale_and_who_does_stays() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "ping_interval = \"1s\"\nping_max = 2");
    let mut silent = daemon.terminal().hello();
    let mut answering = daemon.terminal().hello();
    // Nobody on the Unix socket is asked: the library inside the server does not read.
    let mut local = Terminal::unix(&daemon.socket).hello();
    for _ in 0..4 {
        answering.expect("PING\r\n");
        answering.send("PONG\r\n");
    }
    silent.expect("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
    silent.expect_closed();
    drop(silent);
    local.barrier();
    assert_eq!(daemon.varz()["connections"], 2);
    answering.expect("PING\r\n");
    daemon.child.says("reason=refused: Stale Connection");
}
