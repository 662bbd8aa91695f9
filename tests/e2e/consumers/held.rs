//! Events that are with workers of ours: the daemon is told of each in time, also of those that wait for a job,
//! and what the worker itself is at fault for is no delivery that counts.

use super::workers::{
    add, number, pending, publish, publish_many, until_number, until_settled, with_consumer,
};
use harness::{Child, Kind, Site, eventually};
use nix::sys::signal::Signal;
use rowcall_mysql::Connection;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

on_each_server!(
    an_event_comes_once_however_short_the_ack_wait,
    a_command_that_cannot_run_costs_no_delivery,
    what_a_worker_leaves_behind_is_not_counted,
);

fn start(site: &Site, arguments: &[&str], words: &str) -> Child {
    let child = Child::start(arguments[0], &mut site.rowcall_command(arguments));
    child.says(words);
    child
}

/// Writes a program that may be run.
fn program(file: &Path, script: &str) {
    let new = file.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, file).unwrap();
}

/// Deliveries of all that waits, as the table has them.
fn deliveries(sql: &mut Connection) -> Option<String> {
    sql.value("SELECT GROUP_CONCAT(deliveries ORDER BY position) FROM rowcall.pending").unwrap()
}

fn an_event_comes_once_however_short_the_ack_wait(kind: Kind) {
    const ACK_WAIT: &[&str] = &["--ack-wait", "300ms", "--max-deliveries", "1"];
    let Some(site) = with_consumer(kind, ACK_WAIT) else { return };
    add(&site, "sms", "shop.>", ACK_WAIT);
    add(&site, "shown", "shop.>", ACK_WAIT);
    let file = site.folder.path().join("run");
    // Three times the ack wait, and those that wait for a job wait as long again.
    let script = format!("echo $ROWCALL_HEADER_ROWCALL_ACK_WAIT >> {}; sleep 0.9", file.display());
    let exec =
        start(&site, &["exec", "--consumer", "mail", "--jobs", "2", "--", "sh", "-c", &script], "running");
    let reply = ["reply", "rowcall.consumer.sms", "--jobs", "2", "--", "sh", "-c", "sleep 0.9"];
    let reply = start(&site, &reply, "answering");
    // Its reader takes nothing for as long, and the pipe does not hold one event.
    let mut listen = site.rowcall_command(&[]);
    let shown = "\"$0\" listen --consumer shown -n 4 | { sleep 0.9; wc -c; }";
    listen.args(["-c", shown]).arg(harness::built("rowcall"));
    let mut shell = std::process::Command::new("sh");
    shell.args(listen.get_args());
    shell.envs(listen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let listen = Child::start("listen", &mut shell);
    listen.says("listening");
    let mut sql = site.connect();
    sql.query("START TRANSACTION").unwrap();
    for _ in 0..4 {
        sql.query("CALL rowcall.publish('shop.orders', REPEAT('x', 100000))").unwrap();
    }
    sql.query("COMMIT").unwrap();
    until_settled(&mut sql);
    assert!(listen.printed(1)[0].trim().parse::<usize>().unwrap() > 400_000);
    for consumer in ["mail", "sms", "shown"] {
        until_number(&mut sql, consumer, "settled", 4);
        let other = ["redelivered", "parked"].map(|column| number(&mut sql, consumer, column));
        assert_eq!(other, [0, 0], "{consumer}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "300ms\n".repeat(4));
    drop((exec, reply));
}

fn a_command_that_cannot_run_costs_no_delivery(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--max-deliveries", "1"]) else { return };
    let mut sql = site.connect();
    publish(&mut sql, "1");
    until_number(&mut sql, "mail", "pending", 1);
    // It is known before anything is taken.
    for worker in [["exec", "--consumer", "mail"], ["reply", "rowcall.consumer.mail", "-j1"]] {
        let said = site.rowcall(&[&worker[..], &["--", "/no/such/command"]].concat());
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(error.contains("cannot run /no/such/command: No such file"), "{error}");
        assert_eq!(said.status.code(), Some(2));
    }
    let command = site.folder.path().join("command");
    program(&command, "true");
    let arguments = ["exec", "--consumer", "mail", "--", command.to_str().unwrap()];
    let worker = start(&site, &arguments, "running");
    until_settled(&mut sql);
    // It is gone, or must not be run, when events come: they are held until it is there again.
    fs::remove_file(&command).unwrap();
    publish_many(&mut sql, 3);
    worker.says("No such file or directory (os error 2); the event is held");
    fs::write(&command, "").unwrap();
    worker.says("Permission denied (os error 13); the event is held");
    let noted = "SELECT COUNT(*) FROM rowcall.pending WHERE deliveries = 1";
    eventually("it is noted that they are with a worker", || {
        (sql.value(noted).unwrap().as_deref() == Some("3")).then_some(())
    });
    program(&command, "true");
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 4);
    assert_eq!((number(&mut sql, "mail", "redelivered"), number(&mut sql, "mail", "parked")), (0, 0));
}

fn what_a_worker_leaves_behind_is_not_counted(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--max-deliveries", "1"]) else { return };
    let mut sql = site.connect();
    let command = site.folder.path().join("command");
    program(&command, "true");
    let arguments = ["exec", "--consumer", "mail", "--", command.to_str().unwrap()];
    let mut worker = start(&site, &arguments, "running");
    fs::remove_file(&command).unwrap();
    publish_many(&mut sql, 5);
    worker.says("the event is held");
    eventually("it is noted that they are with a worker", || {
        (deliveries(&mut sql)? == "1,1,1,1,1").then_some(())
    });
    worker.signal(Signal::SIGINT);
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.said());
    eventually("none of it counts", || (deliveries(&mut sql)? == "0,0,0,0,0").then_some(()));
    // One that takes only some gives the others back.
    let said = site.rowcall(&["listen", "--consumer", "mail", "-n", "2"]);
    assert!(said.status.success(), "{said:?}");
    eventually("two are gone", || (pending(&mut sql) == 3).then_some(()));
    assert_eq!(String::from_utf8_lossy(&said.stdout).lines().count(), 2);
    let mut worker = start(&site, &["exec", "--consumer", "mail", "-n", "3", "--", "true"], "running");
    assert!(worker.wait().success(), "{}", worker.said());
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 5);
    assert_eq!(number(&mut sql, "mail", "parked"), 0);
}
