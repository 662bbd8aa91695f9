//! `rowcall listen --since`: first what somebody has missed, then what comes, nothing twice.

use super::desk::json;
use harness::{Child, Kind, Site};
use std::process::Command;

fn listen(site: &Site, arguments: &[&str]) -> Command {
    let mut command = site.rowcall_command(&["listen", "--json"]);
    let http = &site.daemon.as_ref().unwrap().http;
    command.args(arguments).env("ROWCALL_HTTP", format!("http://{http}"));
    command
}

fn payloads(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| json(line)["payload"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_was_missed_comes_first_and_nothing_twice() {
    let Some(site) = Site::committed(Kind::MariaDb) else { return };
    assert!(site.rowcall(&["consumer", "add", "replay", "shop.>"]).status.success());
    let mut sql = site.connect();
    let mut publish =
        |payload: &str| drop(sql.query(format!("CALL rowcall.publish('shop.a', '{payload}')")).unwrap());
    // More than one stream brings.
    (0..1500).for_each(|n| publish(&n.to_string()));
    let mut child = Child::start("listen", &mut listen(&site, &["--since", "1h", "-n", "1503", "shop.>"]));
    child.says("listening");
    ["new", "newer", "newest"].iter().for_each(|payload| publish(payload));
    let lines = child.printed(1503);
    assert!(child.wait().success(), "{}", child.said());
    let expected: Vec<String> =
        (0..1500).map(|n| n.to_string()).chain(["new", "newer", "newest"].map(str::to_owned)).collect();
    assert_eq!(payloads(&lines), expected);
    assert_eq!(json(&lines[0])["headers"][0][0], "Nats-Msg-Id");

    // What is older than that is not shown.
    let mut late = site.connect();
    late.query("UPDATE rowcall.pending SET created_at = NOW(6) - INTERVAL 2 HOUR WHERE payload <> 'newest'")
        .unwrap();
    let output = listen(&site, &["--since", "1h", "-n", "1", "shop.>"]).output().unwrap();
    assert_eq!(payloads(&[String::from_utf8(output.stdout).unwrap()]), ["newest"]);
}

#[test]
fn where_nothing_can_be_caught_up_with_it_is_said() {
    let desk = super::Desk::new();
    let http = format!("http://{}", desk.daemon.http);
    desk.run(&["listen", "a", "--since", "1h", "--http", &http]).fails(5, &["reads no outbox"]);
    desk.run(&["listen", "a", "--since", "1h", "--http", "http://127.0.0.1:1"]).fails(5, &["--http"]);
    desk.run(&["listen", "--consumer", "a", "--since", "1h"]).fails(2, &["--since"]);
}
