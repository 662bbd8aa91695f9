//! Tables that are swapped, renamed, dropped and made anew, and triggers that tools copy: what is watched is
//! remembered, its loss is shown, and what is copied tells the same.

use super::{Heard, run, text, triggers, watch};
use harness::{Kind, Site};
use rowcall_mysql::Connection;
use serde_json::{Value, json};

on_each_server!(
    a_watch_that_is_gone_is_shown_and_mended,
    triggers_that_are_copied_tell_the_same,
    what_cannot_be_remembered_is_told,
    what_is_not_known_is_refused,
);

/// Each table of the list with what has changed.
#[track_caller]
fn listed(site: &Site) -> Vec<(String, String)> {
    let lines = watch(site, &["--list", "--json"]);
    let line = |line: &str| {
        let one: Value = serde_json::from_str(line).unwrap();
        let changes: Vec<&str> =
            one["changes"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        (one["table"].as_str().unwrap().to_owned(), changes.join(" "))
    };
    lines.lines().map(line).collect()
}

fn is(table: &str, changes: &str) -> (String, String) {
    (table.into(), changes.into())
}

fn execute(sql: &mut Connection, statements: &[&str]) {
    for statement in statements {
        sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

fn a_watch_that_is_gone_is_shown_and_mended(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let doctor = || text(&run(&site, "doctor", &["--json"]).stdout);
    let refresh = || {
        let output = run(&site, "watch", &["--refresh"]);
        assert!(output.status.success(), "{output:?}");
        (text(&output.stdout), text(&output.stderr))
    };
    execute(&mut sql, &["CREATE TABLE t (id INT PRIMARY KEY, v INT)"]);
    watch(&site, &["test.t", "--on", "insert", "--when", "NEW.v > 0"]);
    let swap = [
        "CREATE TABLE t_new LIKE t",
        "ALTER TABLE t_new ADD COLUMN more INT",
        "RENAME TABLE t TO t_old, t_new TO t",
    ];

    // The old table has the triggers, and nobody hears of the new one.
    execute(&mut sql, &swap);
    let tells = "has the triggers of test.t, and tells of its rows as such";
    assert_eq!(listed(&site), [is("test.t", "no triggers: test.t_old has them"), is("test.t_old", tells)]);
    assert!(doctor().contains("rowcall watch --refresh test.t\""), "{}", doctor());
    let (said, told) = refresh();
    assert!(said.starts_with("refreshed test.t: insert"), "{said}");
    assert!(
        told.contains("test.t_old: its triggers, which told of its rows as test.t, are dropped"),
        "{told}"
    );
    assert_eq!(listed(&site), [is("test.t", "")]);
    let mut listener = site.listener(&["test.>"]);
    execute(&mut sql, &["INSERT INTO t_old VALUES (1, 1)", "INSERT INTO t VALUES (2, 0, 0), (3, 1, 7)"]);
    assert_eq!(Heard::next(&mut listener).payload["after"], json!({"id": 3, "v": 1, "more": 7}));

    // The same, and the tool drops the old table.
    execute(
        &mut sql,
        &[
            "DROP TABLE t_old",
            "CREATE TABLE t_new LIKE t",
            "RENAME TABLE t TO t_old, t_new TO t",
            "DROP TABLE t_old",
        ],
    );
    assert_eq!(listed(&site), [is("test.t", "no triggers")]);
    assert!(doctor().contains("test.t is not what it was when it was watched: no triggers."));
    refresh();
    execute(&mut sql, &["INSERT INTO t VALUES (4, 1, 1)"]);
    assert_eq!(Heard::next(&mut listener).payload["after"]["id"], 4);

    // Dropped for good, and made anew.
    execute(&mut sql, &["DROP TABLE t"]);
    assert_eq!(listed(&site), [is("test.t", "the table is gone")]);
    assert!(refresh().1.contains("rowcall unwatch test.t forgets it"));
    execute(&mut sql, &["CREATE TABLE t (id INT PRIMARY KEY, v INT)"]);
    refresh();
    assert_eq!(listed(&site), [is("test.t", "")]);

    // A table that is renamed takes its watch along.
    execute(&mut sql, &["RENAME TABLE t TO u"]);
    assert_eq!(listed(&site), [is("test.u", "was test.t")]);
    refresh();
    assert_eq!(listed(&site), [is("test.u", "")]);

    what_an_earlier_version_left_is_remembered(&site, &mut sql);
    what_has_moved_is_unwatched_as_well(&site, &mut sql);
}

/// A watch of an earlier version, which remembered nothing.
fn what_an_earlier_version_left_is_remembered(site: &Site, sql: &mut Connection) {
    execute(sql, &["DELETE FROM rowcall.watches"]);
    as_the_first_edition_wrote_it(sql);
    assert_eq!(listed(site), [is("test.u", "written by an earlier version")]);
    assert!(run(site, "watch", &["--refresh"]).status.success());
    assert_eq!(listed(site), [is("test.u", "")]);
    assert_eq!(sql.value("SELECT table_name FROM rowcall.watches").unwrap().as_deref(), Some("u"));
}

fn as_the_first_edition_wrote_it(sql: &mut Connection) {
    let rows = sql.texts(
        "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_TABLE = 'u'",
    );
    let [name, body] = &rows.unwrap()[0][..] else { panic!("two columns") };
    let body = body.replace("{\"rowcall\":2,", "{\"rowcall\":1,");
    execute(
        sql,
        &[
            &format!("DROP TRIGGER `{name}`"),
            &format!("CREATE TRIGGER `{name}` AFTER INSERT ON u FOR EACH ROW {body}"),
        ],
    );
}

fn what_has_moved_is_unwatched_as_well(site: &Site, sql: &mut Connection) {
    execute(sql, &["CREATE TABLE u_new LIKE u", "RENAME TABLE u TO u_old, u_new TO u"]);
    let output = run(site, "unwatch", &["test.u"]);
    assert_eq!(text(&output.stdout), "test.u is watched no more\n");
    assert!(text(&output.stderr).contains("test.u_old: its triggers"), "{output:?}");
    assert!(triggers(sql).is_empty() && listed(site).is_empty());
    watch(site, &["test.u"]);
    execute(sql, &["DROP TABLE u"]);
    assert_eq!(text(&run(site, "unwatch", &["test.*"]).stdout), "test.u is watched no more\n");
    assert!(listed(site).is_empty());
    assert_eq!(run(site, "unwatch", &["test.u"]).status.code(), Some(1));
}

/// Makes the triggers of a table anew on its copy, as gh-ost does: of what information_schema has.
fn copy_triggers(sql: &mut Connection, from: &str, to: &str) {
    let rows = sql.texts(format!(
        "SELECT TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, ACTION_STATEMENT FROM information_schema.TRIGGERS \
         WHERE EVENT_OBJECT_SCHEMA = 'test' AND EVENT_OBJECT_TABLE = '{from}'"
    ));
    for row in rows.unwrap() {
        let [name, timing, event, body] = &row[..] else { panic!("{row:?}") };
        sql.query(format!("CREATE TRIGGER `{name}_ghost` {timing} {event} ON `{to}` FOR EACH ROW {body}"))
            .unwrap_or_else(|error| panic!("{error}: {body}"));
    }
}

fn triggers_that_are_copied_tell_the_same(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let columns = "id INT PRIMARY KEY, `it's \\ \"odd\"` VARCHAR(90), status VARCHAR(40), at TIMESTAMP NULL, day DATE, \
                   f FLOAT, b VARBINARY(40), j JSON, n DECIMAL(9,2), g POINT, bits BIT(9)";
    execute(&mut sql, &[&format!("CREATE TABLE t ({columns})"), &format!("CREATE TABLE _t_gho ({columns})")]);
    let when = r#"NEW.status <> 'it''s a \'draft\'' AND NEW.status NOT LIKE "50\%" AND NEW.status NOT IN ('😀', 'a' 'b\\')"#;
    let subject = "it's.{op}";
    let said = run(&site, "watch", &["test.t", "--when", when, "--subject", subject, "--on", "insert"]);
    assert!(said.status.success() && !text(&said.stderr).contains("loses"), "{said:?}");
    let rows = r#"(1, 'a ''b\\', 'it''s a ''draft''', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                  (2, 'a', '50%', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                  (3, 'a', '😀', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                  (4, 'a', 'ab\\', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
                  (5, 'it''s \\ "x"', '50x', '2026-01-02 03:04:05', '2026-01-02', 1.1, 'b', '{"a": "it''s"}', 1.5, POINT(1, 2), 5),
                  (6, '😀', 'a', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"#;
    let mut listener = site.listener(&["it's.>"]);
    sql.query(format!("INSERT INTO t VALUES {rows}")).unwrap();
    let first = [Heard::next(&mut listener), Heard::next(&mut listener)];
    assert_eq!((&first[0].payload["after"]["id"], &first[1].payload["after"]["id"]), (&json!(5), &json!(6)));

    // A tool's session is another one.
    execute(
        &mut sql,
        &[
            "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,PIPES_AS_CONCAT'",
            "SET time_zone = '-03:00'",
        ],
    );
    copy_triggers(&mut sql, "t", "_t_gho");
    execute(&mut sql, &["SET SESSION sql_mode = ''", "SET time_zone = SYSTEM"]);
    // Both are there for a while; the list says so, and leaves the tool's work alone.
    assert_eq!(
        listed(&site),
        [is("test._t_gho", "has the triggers of test.t, and tells of its rows as such"), is("test.t", "")]
    );
    assert!(run(&site, "watch", &["--refresh"]).status.success());
    execute(&mut sql, &["RENAME TABLE t TO _t_del, _t_gho TO t", "DROP TABLE _t_del"]);
    assert_eq!(listed(&site), [is("test.t", "")]);
    sql.query(format!("INSERT INTO t VALUES {rows}")).unwrap();
    for one in &first {
        let copied = Heard::next(&mut listener);
        assert_eq!((&copied.subject, &copied.payload["after"]), (&one.subject, &one.payload["after"]));
        assert_eq!(copied.payload["source"]["table"], "t");
    }
    // What a condition holds that cannot be kept is told.
    let said = run(&site, "watch", &["test.t", "--when", "NEW.status <> _latin1'it''s'", "--on", "insert"]);
    assert!(
        said.status.success() && text(&said.stderr).contains("holds what information_schema loses"),
        "{said:?}"
    );
}

fn what_cannot_be_remembered_is_told(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    execute(
        &mut sql,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE USER clerk@localhost",
            "GRANT TRIGGER, SELECT, LOCK TABLES ON test.* TO clerk@localhost",
            "GRANT SELECT ON rowcall.edition TO clerk@localhost",
            "GRANT EXECUTE ON PROCEDURE rowcall.publish_with TO clerk@localhost",
        ],
    );
    let mut command = std::process::Command::new(harness::built("rowcall"));
    command.args(["watch", "test.t", "--no-defaults", "-u", "clerk", "-S"]).arg(&site.server.socket);
    let output = command.env_remove("MYSQL_PWD").output().unwrap();
    let said = text(&output.stderr);
    assert!(
        output.status.success() && said.contains("test.t is watched, and that is not remembered"),
        "{said}"
    );
    assert!(said.contains("INSERT and DELETE on rowcall.watches"), "{said}");
    assert_eq!(listed(&site), [is("test.t", "")]);
    // Without the schema nothing is remembered, and nothing is wrong with that.
    execute(&mut sql, &["DROP DATABASE rowcall"]);
    let output = run(&site, "watch", &["test.t", "--mode", "instant"]);
    assert!(output.status.success() && !text(&output.stderr).contains("remember"), "{output:?}");
    assert_eq!(listed(&site), [is("test.t", "")]);
    assert!(run(&site, "unwatch", &["test.t"]).status.success());
}

/// What another version wrote is neither shown as something else nor overlooked, and stays as it is.
fn what_is_not_known_is_refused(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    execute(&mut sql, &["CREATE TABLE t (id INT PRIMARY KEY)"]);
    watch(&site, &["test.t", "--on", "insert"]);
    let refused = |command: &str, arguments: &[&str], advice: &str| {
        let output = run(&site, command, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command} {arguments:?}: {said}");
        for words in ["the mode \"later\"", "does not know", "use the version that wrote it", advice] {
            assert!(said.contains(words), "{command} {arguments:?}: {words:?} is not in {said:?}");
        }
    };
    let (committed, later) = ("\"mode\":\"committed\"", "\"mode\":\"later\"");
    execute(
        &mut sql,
        &[&format!("UPDATE rowcall.watches SET plan = REPLACE(plan, '{committed}', '{later}')")],
    );
    let advice = "DELETE FROM rowcall.watches WHERE schema_name = 'test' AND table_name = 't'";
    refused("watch", &["--list"], advice);
    refused("watch", &["--refresh"], advice);
    refused("unwatch", &["test.t"], advice);
    execute(&mut sql, &["DELETE FROM rowcall.watches"]);

    let rows = sql.texts(
        "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_TABLE = 't'",
    );
    let [name, body] = &rows.unwrap()[0][..] else { panic!("two columns") };
    assert!(body.contains(committed), "{body}");
    execute(
        &mut sql,
        &[
            &format!("DROP TRIGGER `{name}`"),
            &format!(
                "CREATE TRIGGER `{name}` AFTER INSERT ON t FOR EACH ROW {}",
                body.replace(committed, later)
            ),
        ],
    );
    let advice = format!("DROP TRIGGER `test`.`{name}`");
    for (command, arguments) in [
        ("watch", &["--list"][..]),
        ("watch", &["--refresh"]),
        ("watch", &["test.t"]),
        ("unwatch", &["test.t"]),
    ] {
        refused(command, arguments, &advice);
    }
    assert_eq!(triggers(&mut sql).len(), 1);
}
