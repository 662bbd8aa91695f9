//! /healthz and /varz.

use harness::daemon::get;
use harness::{Daemon, PATIENCE};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Visitors at a time.
const VISITORS_MAX: usize = 64;

fn visit(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(&daemon.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Waits until the daemon hangs up, without an answer.
fn closed(stream: &mut TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Sends a request as it is and reads the whole answer.
fn ask(daemon: &Daemon, request: impl AsRef<[u8]>) -> String {
    let mut stream = visit(daemon);
    stream.write_all(request.as_ref()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
    answer
}

#[test]
fn whether_it_is_well() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    for path in ["/healthz", "/healthz?verbose=1"] {
        let answer = get(&daemon.http, path);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Content-Type: application/json\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{\"status\":\"ok\"}\n"), "{answer}");
    }
}

#[test]
fn what_was_counted() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut it = daemon.terminal().hello();
    it.send(
        "SUB a.* 1\r\nSUB a.b 2\r\nSUB in 3\r\nPUB a.b 5\r\nhello\r\nPUB b in 2\r\nhi\r\nPUB c 0\r\n\r\n",
    );
    it.send("HPUB a.c 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n");
    while it.line() != "PONG" {}
    drop(daemon.terminal().hello());
    let mut refused = daemon.terminal();
    refused.send("nonsense\r\n");
    refused.expect("-ERR 'Unknown Protocol Operation'\r\n");
    drop(refused);
    it.barrier();
    let varz = daemon.varz();
    for (key, expected) in [
        ("pid", u64::from(daemon.child.pid())),
        ("connections", 1),
        ("total_connections", 3),
        ("subscriptions", 3),
        ("in_msgs", 4),
        ("in_bytes", 5 + 2 + 14),
        ("out_msgs", 3),
        ("out_bytes", 5 + 5 + 14),
        ("unheard_msgs", 2),
        ("no_responders", 1),
        ("slow_consumers", 0),
        ("lost_bytes", 0),
    ] {
        assert_eq!(varz[key], expected, "{key} in {varz:#}");
    }
    assert_eq!((&varz["closed"]["client_closed"], &varz["closed"]["refused"]), (&1.into(), &1.into()));
    assert!(it.info.contains(varz["server_id"].as_str().unwrap()));
    assert_eq!(varz["version"], env!("CARGO_PKG_VERSION"));
    assert!(daemon.varz()["uptime_ms"].as_u64() >= varz["uptime_ms"].as_u64());
}

#[test]
fn what_is_not_there_and_what_is_no_request() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let many_headers: String = (0..70).map(|n| format!("H{n}: x\r\n")).collect();
    let long_header = format!("GET /healthz HTTP/1.1\r\nCookie: {}", "x".repeat(20_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /healthz/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /../etc/passwd HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /healthz HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "405 Method Not Allowed"),
        ("DELETE /varz HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("CONNECT {}\r\nPING\r\n", "400 Bad Request"),
        ("\u{16}\u{3}\u{1}", "400 Bad Request"),
        ("GET /healthz HTTP/1.1\r\nno colon\r\n\r\n", "400 Bad Request"),
        (&format!("GET /healthz HTTP/1.1\r\n{many_headers}\r\n"), "400 Bad Request"),
        (&long_header, "431 Request Header Fields Too Large"),
    ] {
        let answer = ask(&daemon, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
    }
    // A request may come in pieces, and other clients are served meanwhile.
    let mut other = daemon.terminal().hello();
    let mut slow = visit(&daemon);
    for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" {
        slow.write_all(&[*byte]).unwrap();
        other.barrier();
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn visitors_who_stay_are_few_and_are_sent_away() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut other = daemon.terminal().hello();
    let mut staying: Vec<_> = (0..VISITORS_MAX).map(|_| visit(&daemon)).collect();
    for visitor in &mut staying {
        visitor.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    }
    other.barrier();
    closed(&mut visit(&daemon));
    // One leaves, another comes in.
    let mut leaving = staying.pop().unwrap();
    leaving.shutdown(std::net::Shutdown::Write).unwrap();
    closed(&mut leaving);
    assert!(ask(&daemon, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 OK"));
    // The rest outstay their welcome, which is ten seconds.
    staying.iter_mut().for_each(closed);
    other.barrier();
    assert!(get(&daemon.http, "/healthz").starts_with("HTTP/1.1 200 OK"));
}
