//! HTTP: publishing, requests and their replies, waiting for a message; keep-alive and pipelining. What
//! is refused stands in http/refused.rs, whose requests are looked at in http/strangers.rs, how the daemon
//! leaves and how long things may take in http/time.rs, what becomes of those who hang up in
//! http/hanging_up.rs.

mod documented;
mod events;
mod examples;
mod hanging_up;
mod refused;
mod resume;
mod strangers;
mod time;
mod work;

use harness::{Daemon, Terminal, eventually};
use std::io::Write;

/// A daemon in a folder of its own.
fn daemon(settings: &str) -> (tempfile::TempDir, Daemon) {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), settings);
    (folder, daemon)
}

/// Someone on TCP who subscribes to this.
fn subscriber(daemon: &Daemon, filter: &str) -> Terminal {
    let mut terminal = daemon.terminal().hello();
    terminal.send(format!("SUB {filter} 1\r\n"));
    terminal.barrier();
    terminal
}

/// A message with headers, in the words of the NATS client protocol.
fn with_headers(subject_and_reply: &str, headers: &str, payload: &str) -> String {
    let block = format!("NATS/1.0\r\n{headers}\r\n");
    let (size, total) = (block.len(), block.len() + payload.len());
    format!("HPUB {subject_and_reply} {size} {total}\r\n{block}{payload}\r\n")
}

/// Waits until so many subscriptions are there.
fn subscriptions(daemon: &Daemon, count: u64) {
    eventually("the subscriptions", || (daemon.varz()["subscriptions"] == count).then_some(()));
}

#[test]
fn what_is_published_is_heard() {
    let (_folder, daemon) = daemon("");
    let mut listener = subscriber(&daemon, "shop.>");
    let mut http = daemon.visit();
    let answer = http.ask("POST /publish/shop.orders", "", "hello");
    assert_eq!((answer.status, answer.text()), (200, "{\"heard\":true}\n"));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    listener.expect("MSG shop.orders 1 5\r\nhello\r\n");
    let headers = "Rowcall-Header-X-Source: web shop\r\nrowcall-header-Nats-Msg-Id: 7\r\nX-Other: no\r\n";
    http.ask("POST /publish/shop.gr%C3%B6%C3%9Fe", headers, b"\0\r\n\xff");
    let heard = listener.message();
    assert_eq!((heard.subject.as_str(), &heard.payload[..]), ("shop.größe", &b"\0\r\n\xff"[..]));
    assert_eq!(heard.headers, "NATS/1.0\r\nX-Source: web shop\r\nNats-Msg-Id: 7\r\n\r\n");
    assert_eq!(http.ask("POST /publish/shop.none", "", "").status, 200);
    listener.expect("MSG shop.none 1 0\r\n\r\n");
    let answer = http.ask("POST /publish/elsewhere", "", "hello");
    assert_eq!((answer.status, answer.text()), (200, "{\"heard\":false}\n"));
    let varz = daemon.varz();
    assert_eq!(
        (&varz["in_msgs"], &varz["out_msgs"], &varz["unheard_msgs"]),
        (&4.into(), &3.into(), &1.into())
    );
    assert_eq!(varz["http"]["requests"], 5, "{varz:#}");
}

#[test]
fn a_request_gets_its_reply() {
    let (_folder, daemon) = daemon("");
    let mut worker = subscriber(&daemon, "price.*");
    let mut http = daemon.visit();
    http.request("POST /request/price.apple?timeout=60s", "Rowcall-Header-Currency: EUR\r\n", "1 kg");
    let request = worker.message();
    assert_eq!((request.text(), request.headers.contains("Currency: EUR\r\n")), ("1 kg", true));
    worker.answer(&request, "2.50");
    // Whoever answers twice is heard once.
    worker.answer(&request, "2.60");
    let answer = http.answer();
    assert_eq!((answer.status, answer.text()), (200, "2.50"));
    assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
    http.request("POST /request/price.pear", "", "");
    let request = worker.message();
    let inbox = request.reply.unwrap();
    let headers = "Nats-Service-Error: no pears\r\nX-Html: <b>\r\nOdd(1): x\r\n";
    worker.send(with_headers(&inbox, headers, "no!"));
    let answer = http.answer();
    assert_eq!((answer.status, answer.text()), (502, "no!"));
    assert_eq!(answer.header("Rowcall-Header-Nats-Service-Error"), Some("no pears"));
    assert_eq!(answer.header("Rowcall-Headers-Left-Out"), Some("1"), "{answer:?}");
    assert_eq!(daemon.varz()["subscriptions"], 1, "nothing is left of a request");
}

#[test]
fn a_request_that_gets_no_reply_says_why() {
    let (_folder, daemon) = daemon("");
    let mut http = daemon.visit();
    let answer = http.ask("POST /request/price.apple", "", "");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("no responders"), "{answer:?}");
    let mut worker = subscriber(&daemon, "price.*");
    let answer = http.ask("POST /request/price.apple?timeout=10ms", "", "");
    assert_eq!((answer.status, answer.text()), (504, "no reply came in time\n"));
    // What comes too late goes to nobody.
    let request = worker.message();
    worker.answer(&request, "2.50");
    worker.barrier();
    let varz = daemon.varz();
    assert_eq!((&varz["subscriptions"], &varz["no_responders"]), (&1.into(), &1.into()));
    assert_eq!((&varz["unheard_msgs"], &varz["http"]["timed_out"]), (&2.into(), &1.into()));
}

#[test]
fn the_next_message_is_waited_for() {
    let (_folder, daemon) = daemon("ping_interval = \"20ms\"\nping_max = 1");
    let mut http = daemon.visit();
    // Nobody asks an HTTP peer whether it is there.
    let answer = http.ask("GET /next/shop.%3E?timeout=200ms", "", "");
    assert_eq!((answer.status, answer.text()), (204, ""));
    assert_eq!(daemon.varz()["subscriptions"], 0);
    http.request("GET /next/shop.>", "", "");
    subscriptions(&daemon, 1);
    let mut publisher = Terminal::unix(&daemon.socket).hello();
    publisher.send(with_headers("shop.a%b.ß in", "No-Tea: x\r\n", "\r\nhello"));
    let answer = http.answer();
    assert_eq!((answer.status, answer.text()), (200, "\r\nhello"));
    assert_eq!(answer.header("Rowcall-Subject"), Some("shop.a%25b.%C3%9F"));
    assert_eq!(answer.header("Rowcall-Reply"), Some("in"));
    assert_eq!(answer.header("Rowcall-Header-No-Tea"), Some("x"));
    publisher.send("PUB shop.more 1\r\nx\r\n");
    publisher.barrier();
    assert_eq!(daemon.varz()["unheard_msgs"], 1, "one message for one request");
    // Whoever hangs up is waited for by nobody.
    http.request("GET /next/shop.>", "", "");
    subscriptions(&daemon, 1);
    drop(http);
    subscriptions(&daemon, 0);
}

#[test]
fn requests_may_be_sent_ahead() {
    let (_folder, daemon) = daemon("");
    let mut worker = subscriber(&daemon, "slow");
    let mut http = daemon.visit();
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    http.send(format!(
        "POST /request/slow HTTP/1.1\r\nHost: localhost\r\n{chunked}2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX: y\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
         HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
         POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi\
         GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ));
    let request = worker.message();
    assert_eq!(request.text(), "hello");
    let sender = std::thread::spawn(move || {
        worker.barrier();
        worker.answer(&request, "done");
    });
    assert_eq!(http.answer().text(), "done");
    sender.join().unwrap();
    assert_eq!(http.answer().text(), "{\"status\":\"ok\"}\n");
    let head = http.head();
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("16")));
    assert_eq!(http.answer().text(), "{\"heard\":false}\n");
    let last = http.answer();
    assert_eq!((last.status, last.header("Connection")), (404, Some("close")));
    http.expect_closed();
    assert_eq!(daemon.varz()["in_msgs"], 2 + 1);
}

#[test]
fn much_may_be_sent_ahead() {
    const COUNT: usize = 20_000;
    let (_folder, daemon) = daemon("");
    let mut worker = subscriber(&daemon, "slow");
    let mut http = daemon.visit();
    http.request("POST /request/slow", "", "");
    let ahead = "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi".repeat(COUNT);
    let mut stream = http.stream();
    let sender = std::thread::spawn(move || stream.write_all(ahead.as_bytes()).unwrap());
    let request = worker.message();
    worker.barrier();
    worker.answer(&request, "done");
    assert_eq!(http.answer().text(), "done");
    for _ in 0..COUNT {
        assert_eq!(http.answer().text(), "{\"heard\":false}\n");
    }
    sender.join().unwrap();
    assert_eq!(daemon.varz()["unheard_msgs"], COUNT);
}

/// The answers are many times what may be owed: they are made as they are taken.
#[test]
fn whoever_sends_ahead_is_answered_as_fast_as_he_reads() {
    const COUNT: usize = 3000;
    let (_folder, daemon) = daemon("max_payload = \"64KiB\"\nmax_pending = \"128KiB\"");
    let mut http = daemon.visit();
    let mut stream = http.stream();
    let ahead = "GET /varz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(COUNT);
    let sender = std::thread::spawn(move || stream.write_all(ahead.as_bytes()).unwrap());
    // Meanwhile others are served, and nothing is answered that nobody reads.
    let mut other = daemon.terminal().hello();
    (0..20).for_each(|_| other.barrier());
    assert!(daemon.varz()["pending_bytes"].as_u64().unwrap() < 128 << 10);
    for n in 0..COUNT {
        assert_eq!(http.answer().status, 200, "{n}");
    }
    sender.join().unwrap();
    assert_eq!(daemon.varz()["lost_bytes"], 0);
}

#[test]
fn old_clients_are_understood() {
    let (_folder, daemon) = daemon("");
    let mut http = daemon.visit();
    http.send("GET /healthz HTTP/1.0\r\n\r\n");
    let answer = http.answer();
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    http.expect_closed();
    let mut http = daemon.visit();
    for _ in 0..2 {
        http.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(http.answer().header("Connection"), Some("keep-alive"));
    }
    http.send("GET http://localhost/healthz HTTP/1.1\r\nHost: elsewhere\r\n\r\n");
    assert_eq!(http.answer().status, 200, "the target's host counts");
    // One who closes his side at once is answered all the same.
    http.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    http.finish();
    assert_eq!(http.answer().status, 200);
    http.expect_closed();
}

#[test]
fn a_body_is_asked_for_if_it_is_wanted() {
    let (_folder, daemon) = daemon("");
    let mut http = daemon.visit();
    let head = |line: &str, length: usize| {
        format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    http.send(head("POST /publish/a", 5));
    assert_eq!(http.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
    http.send("hello");
    assert_eq!(http.answer().status, 200);
    // It is asked for once, however little each piece brings.
    let mut other = daemon.terminal().hello();
    let chunked = "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    http.send(format!("POST /publish/a HTTP/1.1\r\nHost: localhost\r\n{chunked}"));
    assert_eq!(http.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
    for piece in ["5\r\n", "hello\r\n0\r\n\r\n"] {
        http.send(piece);
        other.barrier();
    }
    assert_eq!(http.answer().status, 200);
    // It is there already, or there is none: nothing is asked.
    http.send(head("POST /publish/a", 5) + "hello");
    assert_eq!(http.answer().status, 200);
    http.send(head("POST /publish/a", 0));
    assert_eq!(http.answer().status, 200);
    for (line, length, status) in
        [("POST /publish/a", 2 << 20, 413), ("POST /nothing", 5, 404), ("PUT /publish/a", 5, 405)]
    {
        let mut http = daemon.visit();
        http.send(head(line, length));
        let answer = http.answer();
        assert_eq!((answer.status, answer.header("Connection")), (status, Some("close")), "{line}");
        http.expect_closed();
    }
}
