//! Server-Sent Events: what a stream looks like, who is cut off, how it ends; committed events on it.

use super::{daemon, subscriber, subscriptions, with_headers};
use harness::{Daemon, Http, Kind, Site, Terminal, eventually};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};

on_each_server!(committed_events_reach_streams);

/// Someone who listens to these subjects, once the stream has begun.
fn listen(daemon: &Daemon, query: &str) -> Http {
    let mut http = daemon.visit();
    http.request(&format!("GET /events?{query}"), "", "");
    let head = http.head();
    assert_eq!((head.status, head.header("Content-Type")), (200, Some("text/event-stream")), "{head:?}");
    assert_eq!((head.header("Connection"), head.header("Content-Length")), (Some("close"), None));
    assert_eq!(http.until(b"\n\n"), b"retry: 2000\n\n");
    http
}

#[track_caller]
fn expect(http: &mut Http, event: &str) {
    assert_eq!(String::from_utf8_lossy(&http.until(b"\n\n")), event);
}

#[test]
fn messages_come_as_events() {
    let (_folder, daemon) = daemon("");
    let mut listeners = [
        listen(&daemon, "subject=shop.%3E"),
        // What matches several of its subjects comes once.
        listen(&daemon, "subject=shop.orders&subject=shop.*&subject=shop.>&subject=other"),
    ];
    let mut json = listen(&daemon, "subject=shop.>&format=json");
    let mut publisher = Terminal::unix(&daemon.socket).hello();
    publisher.send("PUB shop.orders 5\r\nhello\r\nPUB shop.orders 0\r\n\r\nPUB shop.x 3\r\na\nb\r\n");
    publisher.send(b"PUB shop.bytes 2\r\n\xff\x00\r\n");
    publisher.send(with_headers("shop.h inbox", "Rowcall-Id: 7\r\n", "x"));
    for http in &mut listeners {
        expect(http, "data: hello\n\n");
        expect(http, "data: \n\n");
        expect(http, "data: a\ndata: b\n\n");
        expect(http, "event: base64\ndata: /wA=\n\n");
        // Only what comes from the outbox has an id: a publisher may write down any.
        expect(http, "data: x\n\n");
    }
    publisher.send("PUB other 1\r\nx\r\n");
    expect(&mut listeners[1], "data: x\n\n");
    for expected in [
        r#"data: {"headers":{},"payload":"hello","subject":"shop.orders"}"#,
        r#"data: {"headers":{},"payload":"","subject":"shop.orders"}"#,
        r#"data: {"headers":{},"payload":"a\nb","subject":"shop.x"}"#,
        r#"data: {"headers":{},"payload_base64":"/wA=","subject":"shop.bytes"}"#,
        r#"data: {"headers":{"Rowcall-Id":"7"},"payload":"x","reply":"inbox","subject":"shop.h"}"#,
    ] {
        expect(&mut json, &format!("{expected}\n\n"));
    }
    // Whoever hangs up is not sent to any more; what he says meanwhile is not listened to.
    subscriptions(&daemon, 6);
    let [mut first, second] = listeners;
    first.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop(first);
    subscriptions(&daemon, 5);
    drop((second, json));
    subscriptions(&daemon, 0);
}

#[test]
fn what_is_no_stream_is_refused() {
    let (_folder, daemon) = daemon("");
    let mut http = daemon.visit();
    let many: String = (0..65).map(|n| format!("subject=a{n}&")).collect();
    for (query, words) in [
        ("", "1 to 64 subjects"),
        (many.trim_end_matches('&'), "1 to 64 subjects"),
        ("subject=a..b", "empty token"),
        ("subject=a&subject=", "empty token"),
        ("subject=a+b", "a blank"),
        ("subject=a&format=xml", "\"payload\" or \"json\""),
        ("subjects=a", "no parameter \"subjects\""),
    ] {
        let answer = http.ask(&format!("GET /events?{query}"), "", "");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(words), "{query}: {answer:?}");
    }
    assert_eq!(daemon.varz()["subscriptions"], 0);
}

#[test]
fn curl_prints_events_as_they_come() {
    let (_folder, daemon) = daemon("");
    let url = format!("http://{}/events?subject=shop.>", daemon.http);
    let mut curl = Command::new("curl").args(["-sN", &url]).stdout(Stdio::piped()).spawn().unwrap();
    subscriptions(&daemon, 1);
    let mut publisher = daemon.terminal().hello();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(curl.stdout.take().unwrap()));
    for n in 0..3 {
        publisher.send(format!("PUB shop.a 1\r\n{n}\r\n"));
        let data = lines.find_map(|line| line.unwrap().strip_prefix("data: ").map(str::to_owned));
        assert_eq!(data.as_deref(), Some(n.to_string().as_str()), "each before the next is published");
    }
    curl.kill().unwrap();
    curl.wait().unwrap();
    subscriptions(&daemon, 0);
}

#[test]
fn who_reads_too_slowly_is_cut_off_and_counted() {
    const PAYLOAD: usize = 16 << 10;
    let (_folder, daemon) = daemon("max_pending = \"4MiB\"\nwrite_deadline = \"10m\"");
    let _sleeper = listen(&daemon, "subject=flood");
    let mut healthy = listen(&daemon, "subject=flood");
    let mut other = subscriber(&daemon, "flood");
    let mut publisher = Terminal::library(&daemon.socket);
    let payload = "x".repeat(PAYLOAD);
    let event = format!("data: {payload}\n\n");
    eventually("the one who does not read is cut off", || {
        for _ in 0..64 {
            publisher.send(format!("PUB flood {PAYLOAD}\r\n{payload}\r\n"));
            assert!(String::from_utf8_lossy(&healthy.until(b"\n\n")) == event);
            assert_eq!(other.message().payload.len(), PAYLOAD);
        }
        (daemon.varz()["slow_consumers"] == 1).then_some(())
    });
    let varz = daemon.varz();
    assert_eq!(
        (&varz["http"]["closed"]["slow_pending"], &varz["closed"]["slow_pending"]),
        (&1.into(), &0.into())
    );
    assert!(varz["lost_bytes"].as_u64() > Some(4 << 20), "{varz:#}");
    daemon.child.says("cut off");
}

#[test]
fn streams_end_politely_when_the_daemon_leaves() {
    let (_folder, mut daemon) = daemon("drain_timeout = \"1m\"");
    let mut http = listen(&daemon, "subject=last");
    let mut publisher = daemon.terminal().hello();
    publisher.send("PUB last 5\r\nwords\r\n");
    publisher.barrier();
    daemon.child.signal(Signal::SIGTERM);
    expect(&mut http, "data: words\n\n");
    expect(&mut http, ": rowcalld is leaving\n\n");
    http.expect_closed();
    drop((http, publisher));
    assert_eq!(daemon.child.wait().code(), Some(0), "{}", daemon.child.said());
    daemon.child.says("lost_bytes=0");
}

fn committed_events_reach_streams(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let mut http = listen(site.daemon(), "subject=shop.>");
    sql.query("START TRANSACTION").unwrap();
    sql.query("CALL rowcall.publish('shop.a', 'rolled back')").unwrap();
    sql.query("ROLLBACK").unwrap();
    sql.query("CALL rowcall.publish('shop.a', 'one')").unwrap();
    sql.query("CALL rowcall.publish('shop.a', 'two')").unwrap();
    let mut event = || String::from_utf8(http.until(b"\n\n")).unwrap();
    let ids: Vec<u64> = ["one", "two"]
        .map(|payload| {
            let event = event();
            let (id, data) = event.strip_prefix("id: ").unwrap().split_once('\n').unwrap();
            assert_eq!(data, format!("data: {payload}\n\n"));
            // SITE/ID.MICROSECONDS
            id.split(['/', '.']).nth(1).unwrap().parse().unwrap()
        })
        .to_vec();
    assert!(ids[0] < ids[1], "{ids:?}");
    let mut http = site.daemon().visit();
    let answer = http.ask("GET /events?subject=rowcall.consumer.mail", "", "");
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text().contains("acknowledge"), "{answer:?}");
}
