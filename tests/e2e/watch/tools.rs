//! Tools that change tables while they are written: a watched table stays one.

use super::{Heard, run, text, watch};
use harness::{Kind, Site};
use serde_json::json;
use std::process::Command;

on_each_server!(pt_online_schema_change_keeps_a_watch);

fn pt_online_schema_change_keeps_a_watch(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, `it's` VARCHAR(40))").unwrap();
    sql.query("INSERT INTO t VALUES (1, 'old')").unwrap();
    watch(&site, &["test.t", "--when", r"NEW.`it's` <> 'it''s a \\ draft'", "--on", "insert,update"]);
    let mut listener = site.listener(&["test.>"]);
    let mut command = Command::new("pt-online-schema-change");
    command.args(["--no-version-check", "--preserve-triggers", "--recursion-method=none", "--execute"]);
    command.args(["--alter", "ADD COLUMN more INT DEFAULT 7"]);
    let output = command.arg(format!("S={},u=root,D=test,t=t", site.server.socket.display())).output();
    let output = output.unwrap_or_else(|error| panic!("percona-toolkit (tests/packages.sh test): {error}"));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    sql.query(r"INSERT INTO t (id, `it's`) VALUES (2, 'it''s a \\ draft'), (3, 'new')").unwrap();
    // Of the rows that the tool copied nothing was told.
    assert_eq!(Heard::next(&mut listener).payload["after"], json!({"id": 3, "it's": "new"}));
    assert!(watch(&site, &["--list"]).ends_with("+more\n"), "{}", watch(&site, &["--list"]));
    assert!(run(&site, "watch", &["--refresh"]).status.success());
    sql.query("UPDATE t SET more = 8 WHERE id = 3").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"], json!({"id": 3, "it's": "new", "more": 8}));
}
