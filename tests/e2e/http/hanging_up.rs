//! Who closes his half of the connection is answered all the same; who has gone is not waited for,
//! whatever he was waiting for and whatever he has sent ahead.

use super::{daemon, subscriber, subscriptions};
use harness::{Daemon, Http, Terminal, eventually};

/// What an answer begins with. A peer that has closed his half is told so much at once.
const BEGINNING: &[u8] = b"HTTP/1.1 ";

/// The rest of an answer that has begun so.
#[track_caller]
fn rest(http: &mut Http) -> String {
    let head = String::from_utf8(http.until(b"\r\n\r\n")).unwrap();
    assert!(head.contains("Connection: close\r\n"), "{head}");
    head
}

/// Says this to the daemon, closes his half, and waits until that has been heard.
fn half_closed(daemon: &Daemon, line: &str) -> Http {
    let mut http = daemon.visit();
    http.request(line, "", "");
    http.finish();
    assert_eq!(http.until(BEGINNING), BEGINNING);
    http
}

#[test]
fn who_closes_his_half_is_answered() {
    let (_folder, daemon) = daemon("");
    let mut worker = subscriber(&daemon, "price");
    let mut asking = half_closed(&daemon, "POST /request/price?timeout=60s");
    let request = worker.message();
    worker.answer(&request, "2.50");
    assert!(rest(&mut asking).starts_with("200 OK\r\n"));
    asking.until(b"2.50");
    asking.expect_closed();

    let mut waiting = half_closed(&daemon, "GET /next/news?timeout=300s");
    let mut working = half_closed(&daemon, "POST /work/ask?timeout=300s");
    let mut late = half_closed(&daemon, "GET /next/nothing?timeout=50ms");
    worker.send("PUB news 5\r\nhello\r\nPUB ask inbox 4\r\nwhat\r\n");
    assert!(rest(&mut waiting).starts_with("200 OK\r\n"));
    waiting.until(b"hello");
    waiting.expect_closed();
    assert!(rest(&mut working).contains("Rowcall-Token: "));
    working.until(b"what");
    working.expect_closed();
    assert!(rest(&mut late).starts_with("204 No Content\r\n"));
    late.expect_closed();
    let varz = daemon.varz();
    assert_eq!((&varz["subscriptions"], &varz["lost_bytes"]), (&1.into(), &0.into()), "{varz:#}");
}

#[test]
fn what_was_sent_ahead_is_answered_as_well() {
    let (_folder, daemon) = daemon("");
    let mut http = daemon.visit();
    http.request("GET /next/news?timeout=300s", "", "");
    http.request("GET /next/nothing?timeout=50ms", "", "");
    http.request("GET /healthz", "", "");
    http.finish();
    http.until(BEGINNING);
    let mut publisher = daemon.terminal().hello();
    publisher.send("PUB news 2\r\nhi\r\n");
    let head = String::from_utf8(http.until(b"\r\n\r\nhi")).unwrap();
    assert!(head.starts_with("200 OK\r\n") && !head.contains("Connection: close"), "{head}");
    assert_eq!(http.answer().status, 204);
    assert_eq!(http.answer().text(), "{\"status\":\"ok\"}\n");
    http.expect_closed();
    subscriptions(&daemon, 0);
}

#[test]
fn a_stream_goes_on_for_who_only_listens() {
    let (_folder, daemon) = daemon("");
    let mut http = daemon.visit();
    http.request("GET /events?subject=news", "", "");
    http.finish();
    http.until(b"retry: 2000\n\n");
    assert_eq!(http.until(b"\n\n"), b":\n\n", "to see whether he is there");
    let mut publisher = daemon.terminal().hello();
    publisher.send("PUB news 2\r\nhi\r\n");
    assert_eq!(http.until(b"\n\n"), b"data: hi\n\n");
    drop(http);
    subscriptions(&daemon, 0);
}

#[test]
fn who_asks_nothing_whole_is_not_waited_for() {
    let (_folder, daemon) = daemon("");
    for begun in
        ["", "GET /ne", "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel"]
    {
        let mut http = daemon.visit();
        http.send(begun);
        http.finish();
        http.expect_closed();
    }
    assert_eq!(daemon.varz()["in_msgs"], 0);
}

/// How someone goes.
#[derive(Clone, Copy, Debug)]
enum Going {
    /// He closes his connection.
    Closing,
    /// He has it reset.
    Resetting,
    /// He closes his half first, and the rest when that has been heard.
    ByHalves,
}

#[test]
fn who_has_gone_is_waited_for_by_nobody() {
    let (_folder, daemon) = daemon("");
    let mut worker = subscriber(&daemon, "price");
    let waits = [
        "POST /request/price?timeout=60s",
        "GET /next/news?timeout=300s",
        "POST /work/news?timeout=300s",
        "GET /events?subject=news",
    ];
    for going in [Going::Closing, Going::Resetting, Going::ByHalves] {
        for (line, ahead) in waits.iter().flat_map(|line| [(line, false), (line, true)]) {
            let mut http = daemon.visit();
            http.request(line, "", "");
            if ahead {
                http.request("GET /next/news?timeout=300s", "", "");
            }
            subscriptions(&daemon, 2);
            if line.starts_with("POST /request") {
                worker.message();
            }
            go(http, going);
            eventually(&format!("the end of {line} ({going:?}, {ahead})"), || {
                let varz = daemon.varz();
                // One of them asks.
                (varz["subscriptions"] == 1 && varz["http"]["connections"] == 1).then_some(())
            });
        }
    }
    // What comes for them now goes to nobody.
    let mut publisher = Terminal::unix(&daemon.socket).hello();
    publisher.send("PUB news 1\r\nx\r\n");
    publisher.barrier();
    let varz = daemon.varz();
    assert_eq!((&varz["unheard_msgs"], &varz["http"]["timed_out"]), (&1.into(), &0.into()));
}

fn go(mut http: Http, going: Going) {
    match going {
        Going::Closing => drop(http),
        Going::Resetting => http.reset(),
        Going::ByHalves => {
            http.finish();
            http.until(b"H");
            http.reset();
        }
    }
}
