//! One row, one key, whatever session writes it; and a row as it is stored, whatever the trigger is shown.

use super::{Heard, watch};
use harness::{Kind, Site};
use serde_json::json;
use std::collections::BTreeSet;

on_each_server!(
    a_row_has_one_key_in_all_sessions,
    an_update_that_changes_nothing_shows_what_is_stored,
    triggers_of_an_earlier_version_are_refreshed,
);

/// What sessions may set that could show in a key.
fn odd_sessions(kind: Kind) -> Vec<&'static str> {
    let mut sessions = vec![
        "time_zone = '+05:30'",
        "time_zone = '-11:00', lc_time_names = 'de_DE'",
        "sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
        "sql_mode = 'TIME_TRUNCATE_FRACTIONAL,HIGH_NOT_PRECEDENCE,STRICT_ALL_TABLES,NO_UNSIGNED_SUBTRACTION'",
        "NAMES latin1 COLLATE latin1_bin",
        "character_set_client = 'gbk', character_set_connection = 'utf16', character_set_results = 'sjis'",
        "div_precision_increment = 0, default_week_format = 7, block_encryption_mode = 'aes-256-cbc'",
        "collation_connection = 'utf8mb4_bin'",
    ];
    if kind == Kind::MariaDb {
        sessions[3] = "sql_mode = 'TIME_ROUND_FRACTIONAL,ORACLE,IGNORE_BAD_TABLE_OPTIONS'";
        sessions[6] = "div_precision_increment = 0, default_week_format = 7";
        sessions.push("default_regex_flags = 'DOTALL,DUPNAMES,EXTENDED,EXTRA,MULTILINE,UNGREEDY'");
        sessions.push("old_mode = 'ZERO_DATE_TIME_CAST'");
    }
    sessions
}

fn a_row_has_one_key_in_all_sessions(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("SET SESSION sql_mode = '', time_zone = '+00:00'").unwrap();
    let keys = [
        ("INT(6) ZEROFILL", "42"),
        ("BIGINT UNSIGNED", "18446744073709551615"),
        ("DECIMAL(8,2)", "12.50"),
        ("FLOAT", "0.5"),
        ("DOUBLE", "0.1"),
        ("BIT(8)", "b'00110001'"),
        ("YEAR", "2026"),
        ("DATE", "'2026-01-02'"),
        ("DATETIME(3)", "'2026-01-02 03:04:05.25'"),
        ("TIMESTAMP(3)", "'2026-01-02 03:04:05.25'"),
        ("TIME(1)", "'-12:00:01.5'"),
        ("CHAR(6) CHARACTER SET latin1", "_utf8mb4 x'C3A9'"),
        ("VARCHAR(6) CHARACTER SET utf16", "_utf8mb4 x'E697A5'"),
        ("VARBINARY(4)", "x'00FF0A'"),
        ("BINARY(4)", "x'61'"),
        ("ENUM('a','b')", "'b'"),
        ("SET('x','y')", "'x,y'"),
    ];
    let names: Vec<String> = (0..keys.len()).map(|n| format!("k{n}")).collect();
    // One key has 16 columns at most.
    let columns: Vec<String> =
        names.iter().zip(keys).map(|(name, (kind, _))| format!("{name} {kind}")).collect();
    sql.query(format!(
        "CREATE TABLE t ({}, v INT, PRIMARY KEY ({}))",
        columns.join(", "),
        names[1..].join(", ")
    ))
    .unwrap();
    watch(&site, &["test.t", "--key", &names.join(","), "--subject", "k.{key}"]);
    let mut listener = site.listener(&["k.>"]);
    let values: Vec<&str> = keys.iter().map(|(_, value)| *value).collect();
    let insert = format!("INSERT INTO t VALUES ({}, 0)", values.join(", "));
    let mut heard = BTreeSet::new();
    for session in ["time_zone = '+00:00'"].iter().chain(&odd_sessions(kind)) {
        sql.query("SET SESSION time_zone = '+00:00'").unwrap();
        sql.query("SET @rowcall_off = 1").unwrap();
        sql.query("DELETE FROM t").unwrap();
        sql.query(&insert).unwrap();
        sql.query("SET @rowcall_off = 0").unwrap();
        let mut odd = site.connect();
        odd.query(format!("SET {session}")).unwrap_or_else(|error| panic!("{session}: {error}"));
        for change in ["UPDATE t SET v = v + 1", "DELETE FROM t"] {
            odd.query(change).unwrap();
            let event = Heard::next(&mut listener);
            let key =
                event.headers.lines().find(|line| line.starts_with("Rowcall-Key: ")).unwrap().to_owned();
            heard.insert((key, event.subject));
            assert_eq!(heard.len(), 1, "{session}: {heard:?}");
        }
    }
    // And by an insert. Its values are the same only in a session that reads them so.
    sql.query(&insert).unwrap();
    let event = Heard::next(&mut listener);
    let (key, subject) = heard.pop_first().unwrap();
    assert_eq!(event.subject, subject);
    assert!(event.headers.contains(&key), "{key}: {}", event.headers);
    assert!(key.contains("/2026-01-02 03:04:05.250/2026-01-02T03:04:05.250Z/-12:00:01.5/é/日/"), "{key}");
}

fn an_update_that_changes_nothing_shows_what_is_stored(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("SET SESSION sql_mode = '', time_zone = '+00:00'").unwrap();
    sql.query(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), at TIMESTAMP NULL DEFAULT '2000-01-01' ON UPDATE CURRENT_TIMESTAMP, \
         d DATETIME DEFAULT '2000-01-01' ON UPDATE CURRENT_TIMESTAMP, g DATETIME AS (d + INTERVAL 1 DAY) STORED)",
    )
    .unwrap();
    watch(&site, &["test.t", "--key", "id,at"]);
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO t (id, v) VALUES (1, 'a')").unwrap();
    let stored = Heard::next(&mut listener).payload["after"].clone();
    assert_eq!(stored["at"], "2000-01-01T00:00:00Z");
    let nothing = [
        "UPDATE t SET v = v",
        "UPDATE t SET v = 'a', at = at",
        "INSERT INTO t (id) VALUES (1) ON DUPLICATE KEY UPDATE v = v",
        "UPDATE t, (SELECT 1) one SET v = 'a'",
        "UPDATE t AS other SET v = 'a'",
    ];
    for update in nothing {
        sql.query(update).unwrap();
        let event = Heard::next(&mut listener);
        assert_eq!((&event.payload["before"], &event.payload["after"]), (&stored, &stored), "{update}");
        assert!(event.headers.contains("test.t/1/2000-01-01T00:00:00Z\r\n"), "{}", event.headers);
    }
    watch(&site, &["test.t", "--only-changed"]);
    for update in nothing {
        sql.query(update).unwrap();
    }
    // What is stored is told: a time that the statement itself sets to now, and what the collation holds equal.
    for (update, v) in [("at = NOW()", "a"), ("v = 'A', at = at, d = d", "A"), ("v = 'A '", "A ")] {
        sql.query(format!("UPDATE t SET {update}")).unwrap();
        let after = &Heard::next(&mut listener).payload["after"];
        let row = sql.value(
            "SELECT CONCAT_WS('|', v, DATE_FORMAT(at, '%Y-%m-%dT%TZ'), DATE_FORMAT(g, '%Y-%m-%dT%T')) FROM t",
        );
        let shown = ["v", "at", "g"].map(|name| after[name].as_str().unwrap());
        assert_eq!((shown.join("|"), &after["v"]), (row.unwrap().unwrap(), &json!(v)), "{update}");
    }
    // The table may be locked, under another name as well, or have another by now.
    sql.query("LOCK TABLES t AS other WRITE").unwrap();
    sql.query("UPDATE t AS other SET v = 'b'").unwrap();
    sql.query("UNLOCK TABLES").unwrap();
    sql.query("RENAME TABLE t TO s").unwrap();
    sql.query("UPDATE s SET v = 'c'").unwrap();
    let heard = [(); 2].map(|()| Heard::next(&mut listener).payload["after"]["v"].clone());
    assert_eq!(heard, [json!("b"), json!("c")]);
}

fn triggers_of_an_earlier_version_are_refreshed(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY)").unwrap();
    let printed = watch(&site, &["test.t", "--print", "--on", "insert"]);
    let script = site.folder.path().join("old.sql");
    std::fs::write(&script, printed.replace("{\"rowcall\":2", "{\"rowcall\":1")).unwrap();
    site.server.run_script(&script);
    assert!(watch(&site, &["--list"]).contains("written by an earlier version"));
    assert!(watch(&site, &["--refresh"]).starts_with("refreshed test.t"));
    assert!(watch(&site, &["--list"]).ends_with("ok\n"));
    assert_eq!(watch(&site, &["--refresh"]), "");
}
