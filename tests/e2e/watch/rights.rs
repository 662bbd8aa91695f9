//! Whom triggers run as, and what that account must be allowed: a role that does not count there is no right.

use super::{Heard, run as watch_as_root, text, triggers};
use harness::{Kind, Site};
use rowcall_mysql::Connection;
use std::process::{Command, Output};

on_each_server!(
    rights_that_come_by_a_role_are_refused_where_they_do_not_count,
    an_account_without_the_rights_is_told_which,
    the_doctor_knows_which_roles_count,
);

/// Runs it as this account.
fn run_as(site: &Site, account: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(harness::built("rowcall"));
    command.args(arguments).args(["--no-defaults", "-u", account, "-S"]).arg(&site.server.socket);
    command.env_remove("MYSQL_PWD").output().unwrap()
}

/// Runs it until it succeeds, granting what it asks for; gives what it asked for.
#[track_caller]
fn watch_until_granted(site: &Site, sql: &mut Connection, arguments: &[&str]) -> Vec<String> {
    let mut granted = Vec::new();
    loop {
        let output = run_as(site, "clerk", arguments);
        let said = text(&output.stderr);
        if output.status.success() {
            return granted;
        }
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(triggers(sql).is_empty() && said.contains("Nothing was changed"), "{said}");
        sql.query("INSERT INTO orders VALUES (NULL, 'written')").unwrap();
        let grant = said.lines().find_map(|line| Some(&line[line.find("GRANT ")?..])).expect(&said);
        sql.query(grant).unwrap_or_else(|error| panic!("{grant}: {error}"));
        assert!(!granted.contains(&grant.to_owned()), "asked for twice: {said}");
        granted.push(grant.to_owned());
    }
}

fn run(sql: &mut Connection, statements: &[&str]) {
    for statement in statements {
        sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

fn rights_that_come_by_a_role_are_refused_where_they_do_not_count(kind: Kind) {
    // The right to make triggers comes by the role as well, where there is a binary log.
    let Some(site) = Site::committed_with(kind, &["--log-bin", "--server-id=1", "--binlog-format=ROW"])
    else {
        return;
    };
    let mut sql = site.connect();
    run(
        &mut sql,
        &[
            "CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(40))",
            "CREATE ROLE dba",
            "GRANT ALL ON *.* TO dba",
            "CREATE USER clerk@localhost",
            "GRANT dba TO clerk@localhost",
        ],
    );
    match kind {
        Kind::MariaDb => sql.query("SET DEFAULT ROLE dba FOR clerk@localhost").unwrap(),
        _ => sql.query("SET GLOBAL activate_all_roles_on_login = ON").unwrap(),
    };
    let granted = watch_until_granted(&site, &mut sql, &["watch", "test.orders"]);
    let to = "TO 'clerk'@'localhost'";
    assert_eq!(
        granted,
        [
            format!("GRANT SELECT ON `test`.`orders` {to}"),
            format!("GRANT EXECUTE ON PROCEDURE rowcall.publish_with {to}"),
            format!("GRANT TRIGGER ON `test`.`orders` {to}"),
        ]
    );
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO orders VALUES (NULL, 'told')").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["customer"], "told");
    // Again, with triggers that are there; and what MySQL counts is no less than a right.
    sql.query("REVOKE SELECT ON test.orders FROM clerk@localhost").unwrap();
    let refused = text(&run_as(&site, "clerk", &["watch", "test.orders", "--on", "insert"]).stderr);
    assert!(refused.contains("GRANT SELECT ON"), "{refused}");
    assert_eq!(triggers(&mut sql).len(), 3);
    if kind == Kind::MySql {
        run(&mut sql, &["SET DEFAULT ROLE dba TO clerk@localhost"]);
        assert!(run_as(&site, "clerk", &["watch", "test.orders", "--on", "insert"]).status.success());
        sql.query("INSERT INTO orders VALUES (NULL, 'by a default role')").unwrap();
        assert_eq!(Heard::next(&mut listener).payload["after"]["customer"], "by a default role");
    }
}

fn an_account_without_the_rights_is_told_which(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    run(
        &mut sql,
        &[
            "CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(40))",
            "CREATE TABLE others (id INT PRIMARY KEY)",
            "CREATE USER clerk@localhost",
            "GRANT TRIGGER, LOCK TABLES ON test.* TO clerk@localhost",
            "GRANT SELECT (id) ON test.orders TO clerk@localhost",
            "GRANT SELECT ON rowcall.* TO clerk@localhost",
        ],
    );
    let watch = [
        "watch",
        "test.orders",
        "--columns",
        "id",
        "--when",
        "NOT EXISTS (SELECT 1 FROM test.others WHERE id = new.id)",
        "--on",
        "insert",
    ];
    sql.query("GRANT EXECUTE ON PROCEDURE rowcall.publish_with TO clerk@localhost").unwrap();
    let refused = run_as(&site, "clerk", &watch);
    let said = text(&refused.stderr);
    assert!(said.contains("--when would fail") && said.contains("others"), "{said}");
    sql.query("GRANT SELECT ON test.others TO clerk@localhost").unwrap();
    assert_eq!(watch_until_granted(&site, &mut sql, &watch).len(), 0);
    let all = run_as(&site, "clerk", &["watch", "test.orders", "--on", "insert"]);
    assert!(text(&all.stderr).contains("GRANT SELECT ON `test`.`orders`"), "{all:?}");
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO orders VALUES (7, 'x')").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"], serde_json::json!({ "id": 7 }));
    let printed = text(&watch_as_root(&site, "watch", &["test.orders", "--print"]).stdout);
    assert!(printed.starts_with("-- The triggers run as the account that runs this script"), "{printed}");
}

fn the_doctor_knows_which_roles_count(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    run(
        &mut sql,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE ROLE maker, inner_maker",
            "GRANT TRIGGER ON test.* TO inner_maker",
            "GRANT inner_maker TO maker",
            "CREATE USER clerk@localhost",
            "GRANT maker TO clerk@localhost",
            "CREATE DEFINER = clerk@localhost TRIGGER told AFTER INSERT ON t FOR EACH ROW DO ROWCALL_NOTIFY('a', 1)",
        ],
    );
    let doctor = || text(&watch_as_root(&site, "doctor", &["--json"]).stdout);
    let refused =
        |sql: &mut Connection| sql.query("INSERT INTO t VALUES (1)").err().map(|error| error.number);
    assert_eq!(refused(&mut sql), Some(1142));
    assert!(doctor().contains("which has no right TRIGGER on test.t that counts there"));
    match kind {
        Kind::MariaDb => run(&mut sql, &["GRANT TRIGGER ON test.* TO PUBLIC"]),
        _ => run(&mut sql, &["SET DEFAULT ROLE maker TO clerk@localhost"]),
    }
    assert_eq!(refused(&mut sql), None);
    assert!(!doctor().contains("which has no right TRIGGER"));
}
