//! What nats-server speaks and rowcalld does not, with the words that a client sees: the tables of docs/protocol.md,
//! line by line, and what cannot be said in a line.

use super::QUIET;
use super::malformed::{Case, cases};
use crate::users::{PATIENT, User, users_file, write_users};
use harness::{Authority, Daemon, Terminal, websocket};
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn the_tables_of_what_is_not_spoken_are_true() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    for case in cases("What is not spoken") {
        let mut it = daemon.terminal().hello();
        it.send("SUB in 1\r\n");
        plays(&mut it, &case);
    }
    let folder = harness::folder();
    let users = write_users(folder.path(), &users_file(&[User::new("alice", "", "")]));
    let daemon = Daemon::with_settings(folder.path(), &(users + PATIENT));
    for case in cases("Where there are users") {
        plays(&mut daemon.terminal(), &case);
    }
}

fn plays(it: &mut Terminal, case: &Case) {
    eprintln!("{:?}", case.sent);
    it.send(&case.sent);
    if case.answer.starts_with("no responders") {
        let nobody = it.message();
        assert_eq!((&*nobody.subject, &*nobody.headers), ("in", "NATS/1.0 503\r\n\r\n"));
    } else {
        it.expect(&case.answer);
    }
    if case.closed {
        it.expect_closed();
    } else {
        it.barrier();
    }
}

/// `verify_and_map`: a certificate lets a client speak TLS, and says nothing about who it is.
#[test]
fn a_certificate_is_no_login() {
    let (authority, folder) = (Authority::new(), harness::folder());
    let trusted = authority.file(folder.path());
    let users = write_users(folder.path(), &users_file(&[User::new("localhost", "", "")]));
    let settings =
        format!("{}tls_client_ca = {trusted:?}\n{users}{PATIENT}", authority.settings(folder.path()));
    let daemon = Daemon::with_settings(folder.path(), &settings);
    let mut it = authority.speaker().signed_by(&authority).terminal(&daemon.tcp);
    it.send(QUIET);
    it.expect("-ERR 'Authorization Violation'\r\n");
    it.expect_closed();
}

/// `handshake_first: auto`: nothing comes in clear text, however long a client waits for it.
#[test]
fn tls_first_is_not_delayed() {
    let (authority, folder) = (Authority::new(), harness::folder());
    let settings = format!("{}tls = \"first\"\ntls_timeout = \"300ms\"\n", authority.settings(folder.path()));
    let daemon = Daemon::with_settings(folder.path(), &settings);
    let mut waiting = TcpStream::connect(&daemon.tcp).unwrap();
    let mut said = String::new();
    waiting.read_to_string(&mut said).unwrap();
    assert_eq!(said, "-ERR 'Secure Connection - TLS Required'\r\n");
}

/// Frames of WebSocket are not compressed, whatever is offered.
#[test]
fn nothing_is_compressed() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut stream = TcpStream::connect(&daemon.http).unwrap();
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
    stream.write_all(websocket::request(offer).as_bytes()).unwrap();
    let mut head = [0; 512];
    let n = stream.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..n]).to_lowercase();
    assert!(head.starts_with("http/1.1 101") && !head.contains("extensions"), "{head}");
    assert!(!daemon.terminal().info.contains("compression"));
}
