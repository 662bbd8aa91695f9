//! What triggers do not see, and what a statement's own answer says less of, is told when a table is watched.

use super::{Heard, run, text};
use harness::{Kind, Site};
use serde_json::{Value, json};

on_each_server!(cascades_are_seen_where_the_server_fires_them, insert_ids_are_as_watch_says);

fn cascades_are_seen_where_the_server_fires_them(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let tables = [
        "CREATE TABLE orders (id INT PRIMARY KEY)",
        "CREATE TABLE items (id INT PRIMARY KEY, o INT, FOREIGN KEY (o) REFERENCES orders (id) ON DELETE CASCADE ON UPDATE SET NULL)",
    ];
    let cascade = "ON DELETE CASCADE and ON UPDATE SET NULL from orders";
    let change = |sql: &mut rowcall_mysql::Connection, id: u32| {
        for statement in
            ["INSERT INTO orders VALUES (?)", "INSERT INTO items VALUES (?, ?)", "DELETE FROM orders"]
        {
            sql.query(statement.replace('?', &id.to_string())).unwrap();
        }
    };
    tables.iter().for_each(|table| drop(sql.query(table).unwrap()));
    let said = text(&run(&site, "watch", &["test.items", "--on", "delete"]).stderr);
    assert!(said.contains(&format!("test.items: its triggers do not see {cascade}")), "{said}");
    assert!(said.contains("partitions dropped, truncated or exchanged,\n  rows that foreign keys change,"));
    assert_eq!(
        said.contains("but in sessions with enable_cascade_triggers=ON"),
        kind == Kind::MySql,
        "{said}"
    );
    let mut listener = site.listener(&["test.items.delete"]);
    change(&mut sql, 1);
    if kind == Kind::MySql {
        sql.query("SET SESSION enable_cascade_triggers = ON").unwrap();
        change(&mut sql, 2);
        assert_eq!(Heard::next(&mut listener).payload["before"], json!({"id": 2, "o": 2}));
        sql.query("SET SESSION enable_cascade_triggers = OFF").unwrap();
        sql.query("SET GLOBAL enable_cascade_triggers = ON").unwrap();
        let output = run(&site, "watch", &["test.items", "--on", "delete"]);
        let said = text(&output.stderr);
        assert!(said.contains(&format!("its triggers see {cascade}, but in sessions with")), "{said}");
        assert!(
            said.contains("rows that foreign keys change in sessions with\n  enable_cascade_triggers=OFF")
        );
        let output = run(&site, "watch", &["test.items", "--on", "delete", "--json"]);
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(line["unseen"], json!([]));
    }
    // Of the first one nothing came before this.
    sql.query("INSERT INTO items VALUES (3, NULL)").unwrap();
    sql.query("DELETE FROM items").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["before"]["id"], 3);
}

fn insert_ids_are_as_watch_says(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, u INT UNIQUE, v INT)").unwrap();
    sql.query("INSERT INTO t VALUES (5, 1, 1)").unwrap();
    let warning = "insert id 0 is the answer";
    for (flags, says, id) in
        [(&["--on", "insert,delete"][..], false, 5), (&["--only-changed"], true, 0), (&[], true, 0)]
    {
        let said = text(&run(&site, "watch", &[&["test.t"], flags].concat()).stderr);
        assert_eq!(said.contains(warning), says, "{said}");
        let same =
            sql.query("INSERT INTO t (u, v) VALUES (1, 1) ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)");
        assert_eq!(same.unwrap().insert_id, id, "{flags:?}");
        assert_eq!(sql.value("SELECT LAST_INSERT_ID()").unwrap().as_deref(), Some("5"));
    }
    sql.query("CREATE TABLE plain (id INT PRIMARY KEY)").unwrap();
    assert!(!text(&run(&site, "watch", &["test.plain"]).stderr).contains(warning));
}
