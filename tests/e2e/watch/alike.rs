//! Tables, columns and triggers whose names are alike: which of them are one is for the server to say.

use super::{Heard, run, text, triggers, watch};
use harness::{Kind, Site};
use serde_json::{Value, json};

on_each_server!(names_that_are_alike_are_told_apart, names_that_are_long_find_room);

mod mariadb_alone {
    #[test]
    fn a_server_that_folds_names_is_asked_in_any_case() {
        super::folded(harness::Kind::MariaDb);
    }
}

/// What `--list` says: the tables, and what has changed in each.
#[track_caller]
fn listed(site: &Site, asked: &[&str]) -> Vec<(String, Value)> {
    let lines = watch(site, &[asked, &["--list", "--json"]].concat());
    let line = |line: &str| {
        let one: Value = serde_json::from_str(line).unwrap();
        (one["table"].as_str().unwrap().to_owned(), one["changes"].clone())
    };
    let mut all: Vec<(String, Value)> = lines.lines().map(line).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

fn names_that_are_alike_are_told_apart(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let names = ["A", "GRÖSSE", "a", "cafe", "café", "grösse"];
    for name in names {
        sql.query(format!("CREATE TABLE `{name}` (id INT PRIMARY KEY, e INT, `é` INT)")).unwrap();
    }
    // The script makes them all, and the command puts its own in their place.
    let printed = watch(&site, &["test.*", "--print"]);
    let script = site.folder.path().join("watch.sql");
    std::fs::write(&script, printed).unwrap();
    site.server.run_script(&script);
    assert_eq!(triggers(&mut sql).len(), 3 * names.len());
    for name in names {
        watch(&site, &[&format!("test.{name}"), "--on", "insert", "--key", "é", "--columns", "É"]);
    }
    assert_eq!(triggers(&mut sql).len(), names.len());
    let all = || listed(&site, &[]);
    let ok = |names: &[&str]| -> Vec<(String, Value)> {
        names.iter().map(|name| (format!("test.{name}"), json!([]))).collect()
    };
    assert_eq!(all(), ok(&names));
    assert_eq!(listed(&site, &["test.cafe"]), ok(&["cafe"]));

    let mut listener = site.listener(&["test.>"]);
    for (n, name) in (1..).zip(names) {
        sql.query(format!("INSERT INTO `{name}` VALUES ({n}, 7, {n}5)")).unwrap();
        let event = Heard::next(&mut listener);
        assert_eq!(
            (event.subject, &event.payload["after"]),
            (format!("test.{name}.insert"), &json!({"é": n * 10 + 5}))
        );
        assert!(event.headers.contains(&format!("Rowcall-Key: test.{name}/{n}5\r\n")), "{}", event.headers);
    }

    sql.query("ALTER TABLE `GRÖSSE` ADD COLUMN more INT").unwrap();
    let changed: Vec<_> = all().into_iter().filter(|(_, changes)| *changes != json!([])).collect();
    assert_eq!(changed, [("test.GRÖSSE".to_owned(), json!(["+more"]))]);
    let refreshed = watch(&site, &["--refresh", "test.grösse", "test.GRÖSSE"]);
    assert_eq!(refreshed.lines().filter(|line| line.starts_with("refreshed")).count(), 1, "{refreshed}");
    assert_eq!(all(), ok(&names));

    for name in ["café", "A", "grösse"] {
        let said = text(&run(&site, "unwatch", &[&format!("test.{name}")]).stdout);
        assert_eq!(said, format!("test.{name} is watched no more\n"));
    }
    assert_eq!(all(), ok(&["GRÖSSE", "a", "cafe"]));
    sql.query("CREATE DATABASE TEST").unwrap();
    sql.query("CREATE TABLE TEST.a (id INT PRIMARY KEY)").unwrap();
    watch(&site, &["TEST.*"]);
    assert_eq!(listed(&site, &["TEST.*"]), [("TEST.a".to_owned(), json!([]))]);
    assert!(run(&site, "unwatch", &["TEST.*"]).status.success());
    assert_eq!(all(), ok(&["GRÖSSE", "a", "cafe"]));
}

fn names_that_are_long_find_room(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    // The beginnings are all that a trigger's name has room for; a file's name has less of it for some letters.
    let names = ["x".repeat(63) + "1", "x".repeat(63) + "2", "漢".repeat(49) + "1", "漢".repeat(49) + "2"];
    for name in &names {
        sql.query(format!("CREATE TABLE `{name}` (id INT PRIMARY KEY)")).unwrap();
        watch(&site, &[&format!("test.{name}"), "--on", "insert"]);
        watch(&site, &[&format!("test.{name}"), "--on", "insert"]);
    }
    let mut listener = site.listener(&["test.>"]);
    for name in &names {
        sql.query(format!("INSERT INTO `{name}` VALUES (1)")).unwrap();
        assert_eq!(Heard::next(&mut listener).payload["source"]["table"], name.as_str());
    }
    assert_eq!(listed(&site, &[]).len(), names.len());
}

fn folded(kind: Kind) {
    let Some(site) = Site::committed_with(kind, &["--lower-case-table-names=1"]) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE Orders (id INT PRIMARY KEY)").unwrap();
    sql.query("CREATE TABLE `GRÖSSE` (id INT PRIMARY KEY)").unwrap();
    sql.query("CREATE TABLE `grosse` (id INT PRIMARY KEY)").unwrap();
    let said = watch(&site, &["TEST.ORDERS", "--on", "insert"]);
    assert!(said.starts_with("watched test.orders: insert"), "{said}");
    watch(&site, &["test.Grösse", "--on", "insert"]);
    assert_eq!(listed(&site, &["Test.GRÖSSE"]), [("test.grösse".to_owned(), json!([]))]);
    let refused = run(&site, "watch", &["ROWCALL.outbox"]);
    assert!(text(&refused.stderr).contains("cannot be watched"), "{refused:?}");
    assert!(run(&site, "unwatch", &["Test.GRÖSSE"]).status.success());
    assert_eq!(listed(&site, &[]), [("test.orders".to_owned(), json!([]))]);
}
