//! A stream that goes on where an earlier one has ended: what is found again, in which order, and what is
//! said where it cannot be.

use super::daemon;
use crate::consumers::workers::{add, pending, publish, publish_many, until_settled, with_consumer};
use harness::outbox::until_empty;
use harness::{Daemon, Http, Kind, Site, eventually};
use nix::sys::signal::Signal;
use std::fmt::Display;

on_each_server!(
    what_waits_is_heard_again_and_then_what_comes,
    much_is_heard_again_in_portions,
    those_who_have_gone_keep_nobody_waiting,
);

/// Someone who listens to everything below `shop`, after this event.
fn listen_after(daemon: &Daemon, id: impl Display) -> Http {
    let mut http = daemon.visit();
    http.request("GET /events?subject=shop.%3E&subject=shop.orders", &format!("Last-Event-ID: {id}\r\n"), "");
    assert_eq!(http.head().status, 200);
    assert_eq!(http.until(b"\n\n"), b"retry: 2000\n\n");
    http
}

/// Said once, when everything was sent that was found.
const RESUMED: &str = ": resumed\n\n";

/// The row's id and the data of the next event.
#[track_caller]
fn event(http: &mut Http) -> (u64, String) {
    let (id, data) = unique(http);
    let id = id.split_once('/').unwrap().1.split_once('.').unwrap().0;
    (id.parse().unwrap(), data)
}

/// The unique id and the data of the next event.
#[track_caller]
fn unique(http: &mut Http) -> (String, String) {
    let mut event = String::from_utf8(http.until(b"\n\n")).unwrap();
    if event == RESUMED {
        event = String::from_utf8(http.until(b"\n\n")).unwrap();
    }
    let (id, data) =
        event.strip_prefix("id: ").unwrap_or_else(|| panic!("{event:?}")).split_once('\n').unwrap();
    (id.to_owned(), data.trim_end().strip_prefix("data: ").unwrap().to_owned())
}

fn what_waits_is_heard_again_and_then_what_comes(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    // A second consumer wants the same: nobody hears an event twice for that.
    add(&site, "log", ">", &[]);
    let mut sql = site.connect();
    let mut http = listen_after(site.daemon(), 0);
    for payload in ["one", "two", "three"] {
        publish(&mut sql, payload);
    }
    sql.query("CALL rowcall.publish('other', 'not wanted')").unwrap();
    let (unique_first, data) = unique(&mut http);
    assert_eq!(data, "one");
    drop(http);
    until_empty(&mut sql);
    let mut http = listen_after(site.daemon(), &unique_first);
    let first = sql.value("SELECT MIN(id) FROM rowcall.pending").unwrap().unwrap().parse().unwrap();
    // While it is looked for, more comes.
    publish(&mut sql, "four");
    let mut heard = Vec::new();
    let mut last = first;
    while heard.last().is_none_or(|data| data != "four") {
        let (id, data) = event(&mut http);
        assert!(id >= last, "what has waited comes first: {id} after {last}");
        // An event that is handed on in that moment may come twice.
        if id > last {
            heard.push(data);
        }
        last = id;
    }
    assert_eq!(heard, ["two", "three", "four"]);
    publish(&mut sql, "five");
    assert_eq!(event(&mut http).1, "five");
    assert_eq!(site.daemon().varz()["http"]["connections"], 2);
    // What is settled is gone.
    let mut worker = site.daemon().visit();
    for consumer in ["mail", "mail", "mail", "mail", "mail", "log", "log", "log", "log", "log", "log"] {
        let taken = worker.ask(&format!("POST /work/rowcall.consumer.{consumer}?timeout=60s"), "", "");
        let token = taken.header("Rowcall-Token").unwrap();
        assert_eq!(worker.ask(&format!("POST /ack/{token}"), "", "").status, 204);
    }
    until_settled(&mut sql);
    let mut http = listen_after(site.daemon(), first);
    publish(&mut sql, "six");
    let (six, data) = unique(&mut http);
    assert_eq!(data, "six");
    // Ids begin anew, and what has a lower one is heard all the same; of another site everything is.
    until_empty(&mut sql);
    drop(http);
    sql.query("TRUNCATE rowcall.outbox").unwrap();
    publish(&mut sql, "seven");
    until_empty(&mut sql);
    let mut http = listen_after(site.daemon(), &six);
    assert_eq!(event(&mut http), (1, "seven".to_owned()));
    assert_eq!(http.until(b"\n\n"), RESUMED.as_bytes());
    let mut http = listen_after(site.daemon(), "elsewhere/1000000.2000000000000000");
    assert_eq!([unique(&mut http).1, unique(&mut http).1], ["six", "seven"]);
}

fn much_is_heard_again_in_portions(kind: Kind) {
    const EVENTS: u64 = 1500;
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, EVENTS);
    until_empty(&mut sql);
    assert_eq!(pending(&mut sql), EVENTS);
    let last_of = |site: &mut Site, after: &str, from: u64, to: u64| {
        let mut http = listen_after(site.daemon(), after);
        let mut last = String::new();
        for n in from..=to {
            let (id, data) = unique(&mut http);
            assert_eq!(data, n.to_string());
            last = id;
        }
        (http, last)
    };
    let (mut http, last) = last_of(&mut site, "0", 1, 1000);
    // The rest is for the next stream, which a browser opens by itself.
    let end = String::from_utf8(http.until(b"\n\n")).unwrap();
    let end = end.strip_prefix("id: ").unwrap().trim_end();
    assert!(end.strip_prefix(&last).is_some_and(|position| position.starts_with('/')), "{end}");
    http.expect_closed();
    let (mut http, _) = last_of(&mut site, end, 1001, EVENTS);
    publish(&mut sql, "live");
    assert_eq!(event(&mut http).1, "live");
}

fn those_who_have_gone_keep_nobody_waiting(kind: Kind) {
    /// More than may ask at a time, the one among them whom the reader is looking for already.
    const CROWD: usize = 66;
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    publish(&mut sql, "one");
    until_empty(&mut sql);
    // Nobody is answered now.
    site.server.child.signal(Signal::SIGSTOP);
    let mut crowd: Vec<Http> = (0..CROWD).map(|_| listen_after(site.daemon(), 0)).collect();
    crowd.last_mut().unwrap().expect_closed();
    drop(crowd);
    eventually("all of them are gone", || (site.daemon().varz()["http"]["connections"] == 1).then_some(()));
    let mut http = listen_after(site.daemon(), 0);
    site.server.child.signal(Signal::SIGCONT);
    assert_eq!(event(&mut http).1, "one");
}

#[test]
fn without_an_outbox_there_is_nothing_to_go_on_from() {
    let (_folder, daemon) = daemon("");
    let mut http = listen_after(&daemon, 7);
    let gap =
        ": not resumed, as this daemon reads no outbox\nevent: gap\ndata:{\"reason\":\"no_outbox\"}\n\n";
    assert_eq!(String::from_utf8(http.until(b"\n\n")).unwrap(), gap);
    let mut publisher = daemon.terminal().hello();
    publisher.send("PUB shop.a 1\r\nx\r\n");
    assert_eq!(http.until(b"\n\n"), b"data: x\n\n");
    // What is no id of ours is passed over.
    let mut http = daemon.visit();
    http.request("GET /events?subject=shop.a", "Last-Event-ID: an-hour-ago\r\n", "");
    assert_eq!((http.head().status, http.until(b"\n\n")), (200, b"retry: 2000\n\n".to_vec()));
    publisher.send("PUB shop.a 1\r\ny\r\n");
    assert_eq!(http.until(b"\n\n"), b"data: y\n\n");
}
