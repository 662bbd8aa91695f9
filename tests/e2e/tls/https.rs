//! HTTP in TLS, with the same certificate.

use super::{Scene, greeted};
use harness::terminal::Duplex;
use harness::{PATIENCE, Terminal, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;

fn connect(scene: &Scene) -> TcpStream {
    let stream = TcpStream::connect(&scene.daemon.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that is answered to this, up to an end that was announced within TLS.
fn ask(scene: &Scene, requests: &str) -> String {
    let mut secret = scene.authority.speaker().upgrade(connect(scene));
    secret.write_all(requests.as_bytes()).unwrap();
    let mut answers = String::new();
    secret.read_to_string(&mut answers).unwrap();
    answers
}

/// Waits until so many subscriptions are there.
fn subscriptions(scene: &Scene, count: usize) {
    let varz = "GET /varz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let wanted = format!("\"subscriptions\": {count},");
    eventually("the subscriptions", || ask(scene, varz).contains(&wanted).then_some(()));
}

#[test]
fn requests_are_answered_in_tls_only() {
    let scene = Scene::start("http_tls = true\ntls_timeout = \"500ms\"");
    let mut listener = scene.terminal().hello();
    listener.send("SUB a 1\r\n");
    listener.barrier();
    // Two at once; the second one is the last.
    let answers = ask(
        &scene,
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi\
         GET /varz HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\nConnection: close\r\n\r\n",
    );
    listener.expect("MSG a 1 2\r\nhi\r\n");
    assert_eq!(answers.matches("HTTP/1.1 20").count(), 2, "{answers}");
    assert!(answers.contains("\"in_msgs\""), "{answers}");
    // Another origin than in clear text.
    let foreign = "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(ask(&scene, foreign).starts_with("HTTP/1.1 403 "));
    let mut clear = connect(&scene);
    clear.write_all(b"GET /varz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    clear.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    // Who says nothing is not waited for.
    assert_eq!(connect(&scene).read(&mut [0; 9]).unwrap(), 0);
    listener.barrier();
}

#[test]
fn what_is_streamed_comes_in_tls() {
    let scene = Scene::start("http_tls = true");
    let mut secret = scene.authority.speaker().upgrade(connect(&scene));
    secret.write_all(b"GET /events?subject=a HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut heard = String::new();
    let mut until = |words: &str| {
        while !heard.contains(words) {
            let mut buffer = [0; 4096];
            let read = secret.read(&mut buffer).unwrap();
            assert!(read > 0, "{heard}");
            heard.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    };
    until("\r\n\r\n");
    let mut publisher = Terminal::unix(&scene.daemon.socket).hello();
    publisher.send("PUB a 5\r\nhello\r\n");
    until("hello");
}

/// TLS may bring what holds no bytes of the request.
#[test]
fn a_body_is_asked_for_once() {
    let scene = Scene::start("http_tls = true");
    let mut secret = scene.authority.speaker().dribbling().upgrade(connect(&scene));
    let head = "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    write!(secret, "{head}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n").unwrap();
    let mut asked = [0; 25];
    secret.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    secret.write_all(b"hello").unwrap();
    let mut answer = String::new();
    secret.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// The end of one half may be told within TLS.
#[test]
fn who_closes_his_half_is_answered() {
    let scene = Scene::start("http_tls = true");
    let mut secret = scene.authority.speaker().upgrade(connect(&scene));
    secret.write_all(b"GET /next/a HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    secret.finish().unwrap();
    let mut beginning = [0; 9];
    secret.read_exact(&mut beginning).unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 ");
    let mut publisher = Terminal::unix(&scene.daemon.socket).hello();
    publisher.send("PUB a 5\r\nhello\r\n");
    let mut answer = String::new();
    secret.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    // Who has gone is found out within TLS, too.
    let mut gone = scene.authority.speaker().upgrade(connect(&scene));
    gone.write_all(b"GET /next/a?timeout=300s HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    subscriptions(&scene, 1);
    gone.finish().unwrap();
    drop(gone);
    subscriptions(&scene, 0);
}

#[test]
fn without_a_word_http_stays_in_clear_text() {
    let scene = Scene::start("");
    assert!(scene.daemon.varz()["in_msgs"].is_number());
    let (info, _) = greeted(&scene.daemon.tcp);
    assert!(info.contains("tls_required"), "{info}");
}
