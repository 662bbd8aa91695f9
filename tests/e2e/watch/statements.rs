//! What statements notice of a table's being watched: nothing, whatever goes wrong.

use super::{Heard, fails, table, triggers, watch};
use harness::{Kind, Site, eventually};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

on_each_server!(
    a_column_that_is_gone_fails_no_statement,
    without_rowcall_statements_go_on,
    a_value_that_is_too_large_fails_no_statement,
    a_condition_that_fails_fails_no_statement,
    a_table_that_is_held_is_not_waited_for_long,
    watching_again_misses_nothing,
);

fn a_column_that_is_gone_fails_no_statement(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    sql.query("ALTER TABLE orders DROP COLUMN customer").unwrap();
    sql.query("INSERT INTO orders VALUES (1, 2)").unwrap();
    sql.query("UPDATE orders SET total = 3").unwrap();
    sql.query("DELETE FROM orders").unwrap();
    // Their events are not lost: someone can see that they could not be told.
    eventually("three events are parked", || {
        let count = sql.value("SELECT COUNT(*) FROM rowcall.parked WHERE payload IS NULL").unwrap();
        (count.as_deref() == Some("3")).then_some(())
    });
}

fn without_rowcall_statements_go_on(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    // Who may write although the server is read-only may write a watched table, too.
    sql.query("SET GLOBAL read_only = 1").unwrap();
    sql.query("INSERT INTO orders VALUES (1, 'x', 2)").unwrap();
    sql.query("SET GLOBAL read_only = 0").unwrap();
    sql.query("DROP DATABASE rowcall").unwrap();
    sql.query("INSERT INTO orders VALUES (2, 'y', 2)").unwrap();
    let status = sql.value("SELECT CONVERT(rowcall_status() USING utf8mb4)").unwrap().unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["dropped_by_reason"]["no_outbox"], 2, "{status}");
    // Not even the functions, as on a server where a dump was loaded.
    assert!(site.rowcall(&["uninstall"]).status.success());
    let updated = sql.query("UPDATE orders SET total = 3").unwrap();
    assert_eq!(updated.affected, 2);
    sql.query("DROP USER 'rowcall_writer'@'localhost'").unwrap();
    assert_eq!(sql.query("DELETE FROM orders").unwrap().affected, 2);
}

fn a_value_that_is_too_large_fails_no_statement(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut root = site.connect();
    root.query("CREATE TABLE big (id INT PRIMARY KEY, v LONGTEXT, b LONGBLOB)").unwrap();
    root.query("SET GLOBAL max_allowed_packet = 1048576").unwrap();
    watch(&site, &["test.big", "--only-changed"]);
    let mut sql = site.connect();
    sql.query("SET SESSION sql_mode = 'STRICT_ALL_TABLES'").unwrap();
    sql.query("INSERT INTO big VALUES (1, REPEAT('x', 700000), NULL)").unwrap();
    // Before and after are more than a session may hold, as is the text of the bytes.
    sql.query("UPDATE big SET v = REPEAT('y', 700000)").unwrap();
    sql.query("INSERT INTO big VALUES (2, NULL, REPEAT('z', 900000))").unwrap();
    eventually("both are parked", || {
        let count = root.value("SELECT COUNT(*) FROM rowcall.parked WHERE payload IS NULL").unwrap();
        (count.as_deref() == Some("2")).then_some(())
    });
}

fn a_condition_that_fails_fails_no_statement(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    sql.query("CREATE TABLE limits (most INT)").unwrap();
    watch(
        &site,
        &["test.orders", "--when", "NEW.total > (SELECT MAX(most) FROM test.limits)", "--on", "insert"],
    );
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO limits VALUES (5)").unwrap();
    sql.query("INSERT INTO orders VALUES (1, 'x', 5), (2, 'x', 6)").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["id"], 2);
    // Rather one event too many than one too few.
    sql.query("DROP TABLE limits").unwrap();
    sql.query("INSERT INTO orders VALUES (3, 'x', 1)").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["id"], 3);
}

fn a_table_that_is_held_is_not_waited_for_long(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    sql.query("START TRANSACTION").unwrap();
    sql.query("INSERT INTO orders VALUES (1, 'x', 1)").unwrap();
    fails(&site, &["test.orders", "--lock-wait", "1s"], 6, &["1205", "--lock-wait"]);
    assert!(triggers(&mut sql).is_empty());
    sql.query("COMMIT").unwrap();
    watch(&site, &["test.orders"]);
}

fn watching_again_misses_nothing(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    let mut listener = site.listener(&["test.orders.insert"]);
    let done = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut sql = site.connect();
            let mut count = 0;
            while !done.load(Relaxed) {
                count += 1;
                sql.query(format!("INSERT INTO orders VALUES ({count}, 'x', 1)")).unwrap();
            }
            count
        });
        for _ in 0..5 {
            let said = watch(&site, &["test.orders", "--on", "insert,delete"]);
            assert!(said.starts_with("changed test.orders: insert, delete"), "{said}");
        }
        done.store(true, Relaxed);
        writer.join().unwrap()
    });
    for id in 1..=written {
        assert_eq!(Heard::next(&mut listener).payload["after"]["id"], id);
    }
    assert_eq!(triggers(&mut sql).len(), 2);
}
