//! `rowcall listen` on a watched table: what people see of its changes, and a durable consumer's events.

use super::{table, text, watch};
use harness::{Child, Kind, Site, eventually};
use std::process::Stdio;

on_each_server!(changes_are_shown_as_what_has_changed, a_consumer_s_events_are_shown_once);

/// The daemon goes while an event is shown: it cannot be acknowledged, comes again, and nobody leaves.
#[test]
fn an_event_that_cannot_be_acknowledged_comes_again() {
    let Some(mut site) = Site::committed(Kind::MariaDb) else { return };
    let mut sql = site.connect();
    let added = site.rowcall(&["consumer", "add", "mail", "big"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    // More than a pipe holds, so that showing it waits for whoever reads.
    sql.query("CALL rowcall.publish('big', REPEAT('x', 300000))").unwrap();
    let mut command = site.rowcall_command(&["listen", "--consumer", "mail", "-n", "2"]);
    let listener = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it is delivered", || {
        (site.daemon().varz()["outbox"]["consumers"][0]["delivered"] == 1).then_some(())
    });
    site.daemon().kill();
    site.start_committed_daemon();
    let output = listener.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let shown = text(&output.stdout).lines().filter(|line| line.contains("  big  xxx")).count();
    assert_eq!(shown, 2, "{said}");
    eventually("it is settled", || {
        let settled = sql.value("SELECT settled FROM rowcall.status WHERE consumer = 'mail'").unwrap();
        (settled.as_deref() == Some("1")).then_some(())
    });
}

fn listen(site: &Site, arguments: &[&str]) -> Child {
    let child = Child::start("listen", &mut site.rowcall_command(&[&["listen"], arguments].concat()));
    child.says("listening to");
    child
}

fn changes_are_shown_as_what_has_changed(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    let plain = listen(&site, &["-n", "3", "test.>"]);
    let painted = listen(&site, &["-n", "2", "--color", "always", "test.>"]);
    sql.query("INSERT INTO orders VALUES (1, 'Ada', 12.50)").unwrap();
    sql.query("UPDATE orders SET total = 13").unwrap();
    sql.query("DELETE FROM orders").unwrap();
    let without_time = |line: &String| line.split_once("  ").unwrap().1.to_owned();
    let lines: Vec<String> = plain.printed(3).iter().map(without_time).collect();
    let expected = [
        "test.orders.insert  + id: 1  customer: \"Ada\"  total: 12.50",
        "test.orders.update  ~ id: 1  total: 12.50 → 13.00",
        "test.orders.delete  - id: 1  customer: \"Ada\"  total: 13.00",
    ];
    assert_eq!(lines, expected);
    let lines: Vec<String> = painted.printed(2).iter().map(without_time).collect();
    assert_eq!(lines[0], "test.orders.insert  \x1b[32m+ id: 1  customer: \"Ada\"  total: 12.50\x1b[0m");
    assert_eq!(lines[1], "test.orders.update  ~ id: 1  total: \x1b[31m12.50\x1b[0m → \x1b[32m13.00\x1b[0m");
}

fn a_consumer_s_events_are_shown_once(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    let added = site.rowcall(&["consumer", "add", "mail", "test.orders.>"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    sql.query("INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)").unwrap();
    let shown = |count: &str| {
        let mut child = listen(&site, &["--consumer", "mail", "-n", count]);
        assert!(child.wait().success(), "{}", child.said());
        child.said()
    };
    let first = shown("2");
    assert!(first.contains("+ id: 1") && first.contains("+ id: 2") && !first.contains("+ id: 3"), "{first}");
    eventually("two are settled", || {
        let settled = sql.value("SELECT settled FROM rowcall.status WHERE consumer = 'mail'").unwrap();
        (settled.as_deref() == Some("2")).then_some(())
    });
    let second = shown("1");
    assert!(second.contains("+ id: 3"), "{second}");
}
