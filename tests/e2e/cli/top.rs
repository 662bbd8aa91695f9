//! `rowcall top`: what goes through the daemon, as it is shown.

use super::desk::{Desk, json, rowcall, run};
use harness::{Child, Daemon, Kind, Site, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::Command;

/// Looks often, so that nobody waits.
fn top(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = rowcall(&format!("unix:{}", daemon.socket.display()), &["top", "--interval", "100ms"]);
    command.args(arguments).env("ROWCALL_HTTP", format!("http://{}", daemon.http));
    command
}

#[test]
fn it_shows_what_is_published_and_what_nobody_hears() {
    let desk = Desk::new();
    let child = Child::start("top", &mut top(&desk.daemon, &["--json", "shop.>"]));
    child.printed(1);
    let mut publisher = desk.daemon.terminal().hello();
    publisher.send("PUB shop.orders 5\r\nhello\r\nPUB shop.orders 5\r\nhello\r\nPUB else 1\r\nx\r\n");
    publisher.barrier();
    let mut seen = 1;
    let look = eventually("it is shown", || {
        seen += 1;
        let look = json(child.printed(seen).last().unwrap());
        (look["subjects"][0]["msgs"] == 2 && look["drops"]["nobody listened"] == 1).then_some(look)
    });
    assert_eq!(
        (&look["subjects"][0]["subject"], &look["subjects"][0]["bytes"]),
        (&"shop.orders".into(), &10.into())
    );
    assert_eq!(look["subjects"].as_array().unwrap().len(), 1, "what is not asked for is not counted");
    // How fast, at one of the looks.
    let rates: Vec<Value> =
        child.printed(seen).iter().map(|line| json(line)["rates"]["in_msgs_per_s"].clone()).collect();
    assert!(rates.iter().any(|rate| rate.as_f64().unwrap() > 0.0), "{rates:?}");
    super::interrupt(child);
}

#[test]
fn it_fits_a_terminal_and_says_what_it_misses() {
    let desk = Desk::new();
    let said = run(&mut top(&desk.daemon, &["-n", "2"]), b"");
    let text = String::from_utf8(said.out).unwrap();
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(text.starts_with("rowcalld ") && text.contains("nothing was heard yet"), "{text}");
    assert!(!text.contains('\x1b') && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let mut away = top(&desk.daemon, &["--http", "http://127.0.0.1:1"]);
    run(&mut away, b"").fails(5, &["http://127.0.0.1:1/varz", "--http"]);
}

#[test]
fn it_waits_for_a_daemon_that_is_away() {
    let mut desk = Desk::new();
    let child = Child::start("top", &mut top(&desk.daemon, &["--json"]));
    child.printed(1);
    desk.daemon.child.signal(Signal::SIGKILL);
    desk.daemon.child.wait();
    child.says("/varz: ");
    let (nats, http) = (desk.daemon.tcp.clone(), desk.daemon.http.clone());
    let seen = child.printed(1).len();
    desk.daemon =
        Daemon::start_with(&desk.folder.path().join("rowcall.sock"), &["--listen", &nats, "--http", &http]);
    eventually("it counts again", || {
        let mut publisher = desk.daemon.terminal().hello();
        publisher.send("PUB again 1\r\nx\r\n");
        publisher.barrier();
        let lines = child.printed(seen);
        json(lines.last().unwrap())["subjects"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["subject"] == "again")
            .then_some(())
    });
    super::interrupt(child);
}

#[test]
fn a_database_server_that_is_away_is_a_line_of_it() {
    let Some(mut site) = Site::committed(Kind::MariaDb) else { return };
    site.server.child.signal(Signal::SIGKILL);
    site.server.child.wait();
    let text = eventually("it is noticed", || {
        let text = String::from_utf8(run(&mut top(site.daemon(), &["-n", "1"]), b"").out).unwrap();
        text.contains("outbox: http://").then_some(text)
    });
    assert!(text.contains("/outboxz: 503"), "{text}");
}

#[test]
fn it_shows_who_is_slow_and_what_waits() {
    let Some(mut site) = Site::committed(Kind::MariaDb) else { return };
    assert!(site.rowcall(&["consumer", "add", "mail", "shop.>"]).status.success());
    site.connect().query("CALL rowcall.publish('shop.a', 'x')").unwrap();
    // Someone who subscribes and never reads.
    let mut sleeper = site.daemon().terminal().hello();
    sleeper.send("SUB big 1\r\n");
    sleeper.barrier();
    let mut publisher = site.daemon().terminal().hello();
    let payload = "x".repeat(1_000_000);
    (0..20).for_each(|_| publisher.send(format!("PUB big {}\r\n{payload}\r\n", payload.len())));
    publisher.barrier();
    let mut child = Child::start("top", &mut top(site.daemon(), &["--json"]));
    let mut seen = 0;
    eventually("both are shown", || {
        seen += 1;
        let look = json(child.printed(seen).last().unwrap());
        let is_owed = look["slowest"][0]["pending_bytes"].as_u64().unwrap() > 1_000_000;
        let consumers = look["consumers"].as_array().unwrap();
        let waits = consumers.iter().any(|one| one["consumer"] == "mail" && one["pending"] == 1);
        (is_owed && waits).then_some(())
    });
    child.signal(Signal::SIGINT);
    assert_eq!(child.wait().code(), Some(0));
    let text = run(&mut top(site.daemon(), &["-n", "1"]), b"").out;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\nCONSUMER ") && text.contains("\nSLOWEST SUBSCRIBER "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}
