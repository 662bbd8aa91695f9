//! The scripts in sql/examples do what they say, with the commands that they name.

use harness::{Child, Kind, Site};
use rowcall_mysql::Connection;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

on_each_server!(
    orders_are_announced,
    orders_are_written_without_the_functions,
    payments_need_approval,
    caches_hear_what_is_stale,
);

fn script(name: &str) -> PathBuf {
    harness::repository().join("sql/examples").join(name)
}

/// Runs the command in the head of the script, word for word, as a shell would.
fn command_in(site: &Site, name: &str, ready: &str) -> Child {
    let text = fs::read_to_string(script(name)).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("--   rowcall ")).unwrap();
    let programs = harness::built("rowcall").parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec rowcall {line}")]).env("PATH", path);
    command.env("ROWCALL_SERVER", format!("unix:{}", site.socket.display()));
    let child = Child::start(line, &mut command);
    child.says(ready);
    child
}

/// What was heard, without the time.
#[track_caller]
fn heard(listener: &Child, expected: &[&str]) {
    let lines = listener.printed(expected.len());
    let rest: Vec<&str> = lines.iter().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(rest, expected);
}

fn count(sql: &mut Connection, table: &str) -> String {
    sql.value(format!("SELECT COUNT(*) FROM {table}")).unwrap().unwrap()
}

fn orders_are_announced(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    site.server.run_script(&script("orders.sql"));
    let listener = command_in(&site, "orders.sql", "listening");
    let mut sql = site.connect();
    sql.query("INSERT INTO orders (customer, total) VALUES ('Ada \"L\"', 12.50), ('Grace', 3)").unwrap();
    sql.query("UPDATE orders SET state = 'paid' WHERE id = 1").unwrap();
    sql.query("UPDATE orders SET customer = 'Hopper' WHERE id = 2").unwrap();
    sql.query("DELETE FROM orders WHERE id = 2").unwrap();
    heard(
        &listener,
        &[
            r#"shop.orders.created  {"id":1,"customer":"Ada \"L\"","total":12.50,"state":"new"}"#,
            r#"shop.orders.created  {"id":2,"customer":"Grace","total":3.00,"state":"new"}"#,
            r#"shop.orders.changed  {"id":1,"state_before":"new","state":"paid","total":12.50}"#,
            r#"shop.orders.deleted  {"id":2}"#,
        ],
    );
    // It may be run again.
    site.server.run_script(&script("orders.sql"));
    assert_eq!(count(&mut sql, "orders"), "0");
}

fn orders_are_written_without_the_functions(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    site.server.run_script(&script("orders.sql"));
    site.server.run_script(&script("cache.sql"));
    let change = |sql: &mut Connection, id: u32| {
        sql.query(format!("INSERT INTO orders (id, customer, total) VALUES ({id}, 'Ada', 1)")).unwrap();
        sql.query(format!("UPDATE orders SET total = 2 WHERE id = {id}")).unwrap();
        sql.query(format!("INSERT INTO products VALUES ({id}, 'tea', 1)")).unwrap();
        sql.query(format!("UPDATE products SET price = 2 WHERE id = {id}")).unwrap();
        assert_eq!(count(sql, "orders WHERE total = 2"), "1");
        assert_eq!(count(sql, "products WHERE price = 2"), "1");
        sql.query("DELETE FROM orders").unwrap();
        sql.query("DELETE FROM products").unwrap();
        assert_eq!((count(sql, "orders"), count(sql, "products")), ("0".into(), "0".into()));
    };
    // Without the daemon; with sessions old and new after the functions were dropped; and with the
    // functions on record only.
    let mut old = site.connect();
    change(&mut old, 1);
    assert!(site.rowcall(&["uninstall", "--no-remove"]).status.success());
    change(&mut old, 2);
    change(&mut site.connect(), 3);
    assert!(site.rowcall(&["install"]).status.success());
    for entry in fs::read_dir(&site.server.plugins).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    site.server.restart();
    change(&mut site.connect(), 4);
}

fn payments_need_approval(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    site.server.run_script(&script("approval.sql"));
    let mut sql = site.connect();
    let mut pay = |account: &str, amount: &str| {
        let statement = format!("INSERT INTO payments (account, amount) VALUES ('{account}', {amount})");
        let error = sql.query(statement).err().map(|error| (error.sqlstate, error.message));
        (error, count(&mut sql, "payments"))
    };
    let refused = |message: &str, rows: &str| (Some(("45000".into(), message.into())), rows.to_owned());

    assert_eq!(pay("Ada", "5"), refused("nobody could approve the payment: no_responders", "0"));

    let worker = command_in(&site, "approval.sql", "answering");
    assert_eq!(pay("Ada", "5"), (None, "1".into()));
    assert_eq!(pay("it\\'s \"Ada\"", "999.99"), (None, "2".into()));
    assert_eq!(pay("Ada", "1000"), refused("the payment was not approved", "2"));
    assert!(worker.prints("{\"account\":\"Ada\",\"amount\":1000.00}").contains("shop.approve"));

    // A worker that never answers, and one that fails.
    drop(worker);
    let silent = site.listener(&["shop.approve"]);
    assert_eq!(pay("Ada", "5"), refused("nobody could approve the payment: timeout", "2"));
    drop(silent);
    let failing = Child::start("reply", &mut site.rowcall_command(&["reply", "shop.approve", "--", "false"]));
    failing.says("answering");
    assert_eq!(pay("Ada", "5"), refused("nobody could approve the payment: failed", "2"));

    site.daemon().kill();
    assert_eq!(pay("Ada", "5"), refused("nobody could approve the payment: no_daemon", "2"));
    site.server.assert_alive();
}

fn caches_hear_what_is_stale(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    site.server.run_script(&script("cache.sql"));
    let listener = command_in(&site, "cache.sql", "listening");
    let mut sql = site.connect();
    sql.query("INSERT INTO products VALUES (1, 'tea', 1), (2, 'milk', 2), (3, 'ice', 3)").unwrap();
    sql.query("UPDATE products SET price = price + 1 WHERE id <= 2").unwrap();
    sql.query("UPDATE products SET id = 4 WHERE id = 3").unwrap();
    sql.query("DELETE FROM products WHERE id = 1").unwrap();
    let expected = ["1", "2", "3", "1"].map(|id| format!("cache.products.{id}  "));
    // The harness takes blanks off the ends of lines.
    heard(&listener, &expected.each_ref().map(|line| line.trim_end()));
}
