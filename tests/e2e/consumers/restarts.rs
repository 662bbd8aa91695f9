//! Workers of ours when the connection to the daemon ends: what has not begun is dropped, as it comes again on the
//! next connection, and is told in one line.

use super::workers::{publish_many, until_settled, with_consumer};
use harness::receiver::Webhook;
use harness::{Child, Kind, Site, eventually};
use rowcall_mysql::Connection;
use std::collections::BTreeMap;
use std::fs;

on_each_server!(a_command_runs_once_for_what_had_not_begun, a_webhook_is_called_once_for_what_had_not_begun,);

fn start(site: &Site, arguments: &[&str], words: &str) -> Child {
    let child = Child::start(arguments[0], &mut site.rowcall_command(arguments));
    child.says(words);
    child
}

fn until_delivered(sql: &mut Connection, count: u64) {
    let noted = "SELECT COUNT(*) FROM rowcall.pending WHERE deliveries > 0";
    eventually("they are with a worker", || (sql.value(noted).unwrap()? == count.to_string()).then_some(()));
}

/// Without a word to those who are connected, or to the tables.
fn restart(site: &mut Site, worker: &Child) {
    site.daemon().kill();
    worker.says("trying again");
    site.start_committed_daemon();
    worker.says("connected again");
}

/// How often each was worked on, but for the first, whose work had begun.
fn others<'a>(runs: impl Iterator<Item = &'a str>, first: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for run in runs.filter(|&run| run != first) {
        *counts.entry(run.to_owned()).or_default() += 1;
    }
    counts
}

fn once_each(count: u64, first: &str) -> BTreeMap<String, u32> {
    (1..=count).map(|n| n.to_string()).filter(|n| n != first).map(|n| (n, 1)).collect()
}

fn a_command_runs_once_for_what_had_not_begun(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    let (runs, go) = (site.folder.path().join("runs"), site.folder.path().join("go"));
    let script =
        format!("echo $(cat) >> {}; until [ -e {} ]; do sleep 0.01; done", runs.display(), go.display());
    let exec = start(&site, &["exec", "--consumer", "mail", "--", "sh", "-c", &script], "running");
    publish_many(&mut sql, 20);
    until_delivered(&mut sql, 20);
    let first = eventually("one has begun", || {
        fs::read_to_string(&runs).ok().filter(|runs| runs.ends_with('\n')).map(|runs| runs.trim().to_owned())
    });
    restart(&mut site, &exec);
    fs::write(&go, "").unwrap();
    until_settled(&mut sql);
    let ran = fs::read_to_string(&runs).unwrap();
    assert_eq!(others(ran.lines(), &first), once_each(20, &first), "{}", exec.said());
    assert!(ran.lines().filter(|&run| run == first).count() <= 2, "{ran}");
    exec.says("trying again; 19 events that had not begun are dropped: they come again");
    // One line for them; one more, if any, for the first, which had begun.
    let said = exec.said();
    assert!(said.matches("again").count() <= 4, "{said}");
}

/// A receiver that has much to do is waited for before a call, and then the call has not begun.
fn a_webhook_is_called_once_for_what_had_not_begun(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
    let webhook = Webhook::start(&[busy]);
    let arguments = ["forward", "--consumer", "mail", "--jobs", "1", "--to", &webhook.url];
    let forward = start(&site, &arguments, "forwarding");
    publish_many(&mut sql, 6);
    until_delivered(&mut sql, 6);
    forward.says("answered 503");
    let first = webhook.call().body;
    restart(&mut site, &forward);
    until_settled(&mut sql);
    let calls = webhook.calls();
    let others = others(calls.iter().map(|call| call.body.as_str()), &first);
    assert_eq!(others, once_each(6, &first), "{}", forward.said());
}
