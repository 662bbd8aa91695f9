//! WebSocket on the HTTP port: the handshake, frames, how it ends. That the protocol within is the same,
//! protocol.rs shows.

use harness::websocket::{WebSocket, frame, request};
use harness::{Authority, Child, Daemon, Terminal, cache, eventually, folder, repository};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use tempfile::TempDir;

const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

fn start(settings: &str) -> (Daemon, TempDir) {
    let folder = folder();
    (Daemon::with_settings(folder.path(), settings), folder)
}

/// A quiet client that has been greeted.
fn greeted(address: &str) -> WebSocket<TcpStream> {
    let mut it = WebSocket::connect(address);
    it.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").unwrap();
    assert!(until(&mut it, "PONG\r\n").starts_with("INFO {"));
    it
}

/// What comes up to these words, or the end.
fn until<S: Read + Write + Send + 'static>(it: &mut WebSocket<S>, words: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(words.as_bytes()) || words.is_empty() {
        let mut buffer = [0; 4096];
        match it.read(&mut buffer).unwrap() {
            0 => break,
            read => heard.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8(heard).unwrap()
}

/// What is answered to a request that is no good; the connection ends with it.
fn refused(daemon: &Daemon, request: &str) -> String {
    let mut stream = TcpStream::connect(&daemon.http).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn only_what_is_sound_and_comes_from_where_it_may_is_let_in() {
    let (daemon, _folder) = start("http_cors_origins = [\"https://shop.example\"]");
    let sound = request("");
    for (wrong, status) in [
        (sound.replace("Version: 13", "Version: 8"), 426),
        (sound.replace("Sec-WebSocket-Key: dGhl", "Sec-WebSocket-Key: dGh"), 400),
        (sound.replace("Sec-WebSocket-Key", "X"), 400),
        (request("Content-Length: 1\r\n") + "x", 400),
        (request("Origin: https://evil.example\r\n"), 403),
        (request("Origin: null\r\n"), 403),
        (sound.replace("Host: localhost", "Host: evil.example"), 421),
    ] {
        let answer = refused(&daemon, &wrong);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{wrong}\n{answer}");
    }
    assert!(refused(&daemon, &sound.replace("13", "8")).contains("Sec-WebSocket-Version: 13\r\n"));
    for origin in ["https://shop.example", "http://localhost"] {
        let mut stream = TcpStream::connect(&daemon.http).unwrap();
        stream.write_all(request(&format!("Origin: {origin}\r\n")).as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
    }
}

#[test]
fn frames_may_be_cut_anywhere_and_hold_anything() {
    let (daemon, _folder) = start("");
    let mut it = greeted(&daemon.http);
    // One operation in several frames, several in one, a ping between, and all byte by byte.
    let stream = [
        frame(BINARY, b"SUB a 1\r\nPUB a "),
        frame(0x02, b"2\r"),
        frame(PING, b"there?"),
        frame(0x80, b"\nhi\r\n"),
        frame(0x81, b"PUB a 2\r\nho\r\nPING\r\n"),
    ];
    for byte in stream.concat() {
        it.send(&[byte]);
    }
    assert_eq!(until(&mut it, "PONG\r\n"), "MSG a 1 2\r\nhi\r\nMSG a 1 2\r\nho\r\nPONG\r\n");
    assert_eq!(it.pongs, [b"there?"]);
    // What is sent before the answer has come is not lost.
    let mut hasty = TcpStream::connect(&daemon.http).unwrap();
    let early = [request("").as_bytes(), &frame(BINARY, b"CONNECT {}\r\nPUB a 2\r\nhu\r\n")].concat();
    hasty.write_all(&early).unwrap();
    assert_eq!(until(&mut it, "hu\r\n"), "MSG a 1 2\r\nhu\r\n");
}

#[test]
fn large_messages_go_both_ways() {
    let (daemon, _folder) = start("");
    let mut terminals = [(); 2].map(|()| WebSocket::connect(&daemon.http).terminal().hello());
    terminals[0].send("SUB large 1\r\n");
    terminals[0].barrier();
    let [mut subscriber, mut publisher] = terminals;
    let payload = "0123456789abcdef".repeat(1 << 16);
    let sent = payload.clone();
    let sending = std::thread::spawn(move || {
        for _ in 0..10 {
            publisher.send(format!("PUB large {}\r\n{sent}\r\n", sent.len()));
        }
        publisher.barrier();
    });
    for _ in 0..10 {
        assert!(subscriber.message().text() == payload);
    }
    sending.join().unwrap();
    assert_eq!(daemon.varz()["lost_bytes"], 0);
}

#[test]
fn the_end_has_a_number() {
    let (mut daemon, _folder) = start("max_payload = 100");
    for (said, words, code) in [
        (frame(0x88, &1000u16.to_be_bytes()), "", 1000),
        (vec![BINARY, 1, b'x'], "", 1002),
        (frame(BINARY, b"BOGUS\r\n"), "-ERR 'Unknown Protocol Operation'\r\n", 1002),
        (frame(BINARY, b"PUB a 101\r\n"), "-ERR 'Maximum Payload Violation'\r\n", 1009),
        (frame(BINARY, b"CONNECT {\"account\":\"x\"}\r\n"), "-ERR 'Authorization Violation'\r\n", 1008),
    ] {
        let mut it = greeted(&daemon.http);
        it.send(&said);
        assert_eq!((&*until(&mut it, ""), it.closed), (words, Some(code)));
    }
    let mut it = greeted(&daemon.http);
    daemon.stop();
    until(&mut it, "");
    assert_eq!(it.closed, Some(1001));
}

#[test]
fn it_counts_as_a_nats_client() {
    let (daemon, _folder) = start("max_connections = 2");
    let first = greeted(&daemon.http);
    let second = greeted(&daemon.http);
    assert_eq!(daemon.varz()["connections"], 2);
    let mut third = WebSocket::connect(&daemon.http);
    let heard = until(&mut third, "");
    assert!(heard.ends_with("-ERR 'maximum connections exceeded'\r\n"), "{heard}");
    drop((first, second, third));
    eventually("they are gone", || (daemon.varz()["connections"] == 0).then_some(()));
    Terminal::tcp(&daemon.tcp).hello().barrier();
}

#[test]
fn it_is_spoken_within_tls() {
    let (authority, folder) = (Authority::new(), harness::folder());
    let settings = format!("{}http_tls = true", authority.settings(folder.path()));
    let daemon = Daemon::with_settings(folder.path(), &settings);
    let secret = authority.speaker().upgrade(TcpStream::connect(&daemon.http).unwrap());
    let mut it = WebSocket::over(secret).terminal();
    assert!(it.info.contains("\"tls_required\":true"), "{}", it.info);
    it = it.hello();
    let payload = "x".repeat(300_000);
    it.send(format!("SUB a 1\r\nPUB a {}\r\n{payload}\r\n", payload.len()));
    assert!(it.message().text() == payload);
    it.barrier();
    it.finish();
    it.expect_closed();
}

/// nats.js as a browser has it: over the WebSocket that JavaScript brings.
#[test]
fn nats_js_speaks_it() {
    let there = cache().join("clients/node/package-lock.json").exists();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "nats.js is not there: run make test");
        return eprintln!("SKIPPED: nats.js is not there: run make test");
    }
    let scenarios =
        ["publish", "subscribe", "wildcards", "queue", "request", "no-responders", "headers", "drain"];
    let (daemon, _folder) = start("");
    let mut command = Command::new("node");
    command.env("NODE_PATH", cache().join("clients/node/node_modules"));
    command.arg("--experimental-websocket").arg(repository().join("tests/clients/check.js"));
    let mut script = Child::start("check.js", command.arg(format!("ws://{}", daemon.http)).args(scenarios));
    let status = script.wait();
    assert!(status.success(), "{}", script.said());
    assert_eq!(script.said().matches("ok ").count(), scenarios.len(), "{}", script.said());
}
