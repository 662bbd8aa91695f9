//! rowcall_notify and rowcall_emit: what a row's change sends, those who listen hear at once.

use harness::{Kind, Site, eventually};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::thread;

on_each_server!(
    a_trigger_notifies,
    headers_and_wildcards_and_the_answer,
    each_session_is_heard_in_its_order,
    emit_carries_every_type_of_column,
    emit_names_values_by_alias_or_column,
    a_rolled_back_row_is_announced_all_the_same,
    only_rows_really_written_are_announced,
    counters_agree_with_the_daemon_s,
    status_and_version_tell_how_the_link_is,
    last_error_is_the_session_s_own,
);

fn a_trigger_notifies(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["shop.>"]);
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").unwrap();
    sql.query("CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW DO rowcall_notify('shop.t', NEW.v)").unwrap();
    sql.query("INSERT INTO t VALUES (1, 'one'), (2, 'two')").unwrap();
    listener.expect("MSG shop.t 1 3\r\none\r\nMSG shop.t 1 3\r\ntwo\r\n");
}

fn headers_and_wildcards_and_the_answer(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    let mut all = site.listener(&[">"]);
    let mut some = site.listener(&["shop.*", "*.orders.>", "shop"]);
    let mut call =
        |arguments: &str| sql.value(format!("SELECT rowcall_notify({arguments})")).unwrap().unwrap();
    assert_eq!(call("'shop.a', 'x', 'Nats-Msg-Id', 7, 'Colour', 'grün: a'"), "1");
    assert_eq!(call("'shop.orders.eu.new', ''"), "1");
    assert_eq!(call("'größe.orders', 'nobody but all'"), "1");
    assert_eq!(call("'shop', 1.50"), "1");
    let headers = "NATS/1.0\r\nNats-Msg-Id: 7\r\nColour: grün: a\r\n\r\n";
    let with_headers = format!("HMSG shop.a 1 {} {}\r\n{headers}x\r\n", headers.len(), headers.len() + 1);
    all.expect(&with_headers);
    all.expect("MSG shop.orders.eu.new 1 0\r\n\r\nMSG größe.orders 1 14\r\nnobody but all\r\n");
    all.expect("MSG shop 1 4\r\n1.50\r\n");
    some.expect(&with_headers);
    some.expect("MSG shop.orders.eu.new 2 0\r\n\r\nMSG shop 3 4\r\n1.50\r\n");
    site.daemon().stop();
    assert_eq!(call("'shop.a', 'x'"), "0");
    assert_eq!(sql.value("SELECT rowcall_last_error()").unwrap().as_deref(), Some("no_daemon"));
}

fn each_session_is_heard_in_its_order(kind: Kind) {
    const SESSIONS: u64 = 8;
    const ROWS: u64 = 300;
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["seq.*"]);
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (session INT, n INT)").unwrap();
    sql.query(
        "CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW \
         DO rowcall_emit(CONCAT('seq.', NEW.session), NEW.session, NEW.n)",
    )
    .unwrap();
    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let mut sql = site.connect();
            scope.spawn(move || {
                for n in (0..ROWS).step_by(3) {
                    let row = |n: u64| format!("({session}, {n})");
                    sql.query(format!("INSERT INTO t VALUES {}, {}, {}", row(n), row(n + 1), row(n + 2)))
                        .unwrap();
                }
            });
        }
    });
    let mut next: HashMap<String, u64> = HashMap::new();
    for _ in 0..SESSIONS * ROWS {
        let message = listener.message();
        let n = next.entry(message.subject.clone()).or_default();
        let session = message.subject.strip_prefix("seq.").unwrap();
        assert_eq!(message.text(), format!("{{\"session\":{session},\"n\":{n}}}"));
        *n += 1;
    }
    assert_eq!(next.len() as u64, SESSIONS);
    listener.barrier();
}

/// A type, a value of it as SQL, and what emit makes of it.
type Column = (&'static str, &'static str, &'static str);

const COLUMNS: &[Column] = &[
    ("TINYINT", "-128", "-128"),
    ("INT(5) UNSIGNED ZEROFILL", "42", "42"),
    ("BIGINT", "-9223372036854775808", "-9223372036854775808"),
    ("BIGINT UNSIGNED", "18446744073709551615", "18446744073709551615"),
    ("BOOLEAN", "TRUE", "1"),
    ("YEAR", "2026", "2026"),
    ("BIT(1)", "b'1'", "1"),
    ("BIT(8)", "b'110001'", "49"),
    ("BIT(64)", "0xffffffffffffffff", "18446744073709551615"),
    ("DECIMAL(30,10)", "-12345678901234567890.5", "-12345678901234567890.5000000000"),
    ("DECIMAL(5,5)", "0.00001", "0.00001"),
    ("FLOAT", "0.5", "0.5"),
    ("DOUBLE", "-1.5e-300", "-1.5e-300"),
    ("DOUBLE", "1e300", "1e300"),
    ("DATE", "'2026-02-28'", "\"2026-02-28\""),
    ("TIME(3)", "'-838:59:58.125'", "\"-838:59:58.125\""),
    ("DATETIME", "'2026-02-28 23:59:59'", "\"2026-02-28 23:59:59\""),
    ("DATETIME(6)", "'0001-01-01 00:00:00.000001'", "\"0001-01-01 00:00:00.000001\""),
    ("TIMESTAMP NULL", "'2026-02-28 23:59:59'", "\"2026-02-28 23:59:59\""),
    ("CHAR(9)", "'it''s'", "\"it's\""),
    ("VARCHAR(99)", "'\"a\\\\b\"\\n\\t\\0 €'", "\"\\\"a\\\\b\\\"\\n\\t\\u0000 €\""),
    ("TEXT", "'grün 🦀'", "\"grün 🦀\""),
    ("VARCHAR(9)", "''", "\"\""),
    ("VARCHAR(9)", "'1'", "\"1\""),
    ("ENUM('small','größer')", "'größer'", "\"größer\""),
    ("SET('a','b','c')", "'c,a'", "\"a,c\""),
    ("JSON", "'{\"a\": [1, null]}'", "\"{\\\"a\\\": [1, null]}\""),
    // Bytes that are no UTF-8 are base64 by themselves, bytes that happen to be UTF-8 are not.
    ("VARBINARY(9)", "0xff00fe", "\"/wD+\""),
    ("BINARY(4)", "0xc3a9", "\"é\\u0000\\u0000\""),
    ("BLOB", "0xe9", "\"6Q==\""),
    ("VARCHAR(9) CHARACTER SET latin1", "'é'", "\"6Q==\""),
];

fn emit_carries_every_type_of_column(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["t"]);
    let mut sql = site.connect();
    let list = |what: &dyn Fn(usize, &Column) -> String| {
        COLUMNS.iter().enumerate().map(|(n, column)| what(n, column)).collect::<Vec<_>>().join(", ")
    };
    let columns = list(&|n, (sql_type, ..)| format!("c{n} {sql_type}"));
    sql.query(format!("CREATE TABLE t ({columns})")).unwrap();
    let values = list(&|n, _| format!("NEW.c{n}"));
    let trigger = format!(
        "CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW DO rowcall_emit('t', {values}, NULL AS nil)"
    );
    sql.query(trigger).unwrap();
    sql.query(format!("INSERT INTO t VALUES ({})", list(&|_, (_, value, _)| (*value).to_owned()))).unwrap();
    let message = listener.message();
    let whole: Value = serde_json::from_str(message.text()).unwrap();
    for (n, (sql_type, value, expected)) in COLUMNS.iter().enumerate() {
        let member = format!("\"c{n}\":{expected},");
        assert!(message.text().contains(&member), "{sql_type} {value}: no {member} in {}", message.text());
    }
    assert_eq!(whole.as_object().unwrap().len(), COLUMNS.len() + 1);
    sql.query(format!("INSERT INTO t VALUES ({})", list(&|_, _| "NULL".to_owned()))).unwrap();
    let nulls: Value = serde_json::from_str(listener.message().text()).unwrap();
    assert_eq!(nulls.as_object().unwrap().len(), COLUMNS.len() + 1);
    assert!(nulls.as_object().unwrap().values().all(Value::is_null), "{nulls}");
    check_shapes_asked_for(&mut sql, &mut listener);
}

/// Aliases that end in :json and :base64, and text of another character set.
fn check_shapes_asked_for(sql: &mut rowcall_mysql::Connection, listener: &mut harness::Terminal) {
    sql.query("CREATE TABLE s (j JSON, t TEXT, b VARBINARY(9), l VARCHAR(9) CHARACTER SET latin1)").unwrap();
    sql.query(
        "CREATE TRIGGER s AFTER INSERT ON s FOR EACH ROW DO rowcall_emit('t', NEW.j AS `j:json`, \
         NEW.t AS `t:json`, NEW.b AS `b:base64`, CONVERT(NEW.l USING utf8mb4) AS l)",
    )
    .unwrap();
    sql.query("INSERT INTO s VALUES ('{\"a\": [1, null]}', 'true', 'plain', 'é')").unwrap();
    let heard = listener.message();
    assert_eq!(heard.text(), "{\"j\":{\"a\": [1, null]},\"t\":true,\"b\":\"cGxhaW4=\",\"l\":\"é\"}");
    sql.query("INSERT INTO s VALUES ('[]', '{not json', '', NULL)").unwrap();
    let heard = listener.message();
    assert_eq!(heard.text(), "{\"j\":[],\"t\":\"{not json\",\"b\":\"\",\"l\":null}");
}

fn emit_names_values_by_alias_or_column(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["t"]);
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT, `größe in cm` INT, v INT)").unwrap();
    sql.query(
        "CREATE TRIGGER u AFTER UPDATE ON t FOR EACH ROW DO rowcall_emit('t', NEW.id, new.`größe in cm`, \
         OLD.v AS old_v, NEW.v AS `a \"quoted\" name`, NEW.v, NEW.id AS v, NEW.v + 1)",
    )
    .unwrap();
    sql.query("INSERT INTO t VALUES (1, 20, 3)").unwrap();
    sql.query("UPDATE t SET v = 4").unwrap();
    let heard = listener.message();
    let text = heard.text();
    let expected = "{\"id\":1,\"größe in cm\":20,\"old_v\":3,\"a \\\"quoted\\\" name\":4,\"v\":4,\"v_2\":1,\"NEW.v + 1\":5}";
    assert_eq!(text, expected);
    sql.query("SELECT rowcall_emit('t', t.id, `t`.`v`, v AS `x y.z`, 2.5) FROM t").unwrap();
    assert_eq!(listener.message().text(), "{\"id\":1,\"v\":4,\"x y.z\":4,\"2.5\":2.5}");
}

/// Instant mode's stated limit: the event leaves before COMMIT, so it may tell of a row that is
/// taken back. Committed mode is the cure.
fn a_rolled_back_row_is_announced_all_the_same(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["t"]);
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY)").unwrap();
    sql.query("CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW DO rowcall_notify('t', NEW.id)").unwrap();
    sql.query("START TRANSACTION").unwrap();
    sql.query("INSERT INTO t VALUES (1)").unwrap();
    listener.expect("MSG t 1 1\r\n1\r\n");
    sql.query("SAVEPOINT s").unwrap();
    sql.query("INSERT INTO t VALUES (2)").unwrap();
    sql.query("ROLLBACK TO s").unwrap();
    listener.expect("MSG t 1 1\r\n2\r\n");
    sql.query("ROLLBACK").unwrap();
    // The third row fails the statement, which takes its first two back.
    let error = sql.query("INSERT INTO t VALUES (3), (4), (3)").unwrap_err();
    assert_eq!(error.number, 1062, "{error}");
    listener.expect("MSG t 1 1\r\n3\r\nMSG t 1 1\r\n4\r\n");
    listener.barrier();
    assert_eq!(sql.value("SELECT COUNT(*) FROM t").unwrap().as_deref(), Some("0"));
}

fn only_rows_really_written_are_announced(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["t"]);
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, v INT)").unwrap();
    for (event, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
        sql.query(format!(
            "CREATE TRIGGER {event}_t AFTER {event} ON t FOR EACH ROW \
             DO rowcall_notify('t', CONCAT('{event} ', {row}.id, ':', {row}.v))"
        ))
        .unwrap();
    }
    let mut check = |statement: &str, events: &[&str]| {
        sql.query(statement).unwrap();
        for event in events {
            listener.expect(format!("MSG t 1 {}\r\n{event}\r\n", event.len()));
        }
        // Whatever the statement sent came to the daemon before this.
        sql.query("DO rowcall_notify('t', 'end')").unwrap();
        listener.expect("MSG t 1 3\r\nend\r\n");
    };
    check("INSERT INTO t VALUES (1, 1)", &["INSERT 1:1"]);
    check("INSERT IGNORE INTO t VALUES (1, 2), (2, 2)", &["INSERT 2:2"]);
    check("INSERT INTO t VALUES (1, 3) ON DUPLICATE KEY UPDATE v = 3", &["UPDATE 1:3"]);
    check("REPLACE INTO t VALUES (1, 4)", &["DELETE 1:3", "INSERT 1:4"]);
    check("UPDATE t SET v = 9 WHERE id > 5", &[]);
    check("DELETE FROM t WHERE id = 2", &["DELETE 2:2"]);
    check("TRUNCATE t", &[]);
}

fn counters_agree_with_the_daemon_s(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT)").unwrap();
    sql.query("CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW DO rowcall_emit('t', NEW.id)").unwrap();
    sql.query("INSERT INTO t VALUES (1), (22), (333)").unwrap();
    sql.query("DO rowcall_notify('t', 'four', 'Header', 'is not payload'), rowcall_notify('t', NULL)")
        .unwrap();
    sql.query("DO rowcall_notify('bad subject', 'x'), rowcall_request('nobody', '')").unwrap();
    let status = site.status();
    let (sent, bytes) = (4, 8 + 9 + 10 + 4);
    assert_eq!((&status["sent"], &status["sent_bytes"]), (&json!(sent), &json!(bytes)), "{status}");
    assert_eq!(status["dropped"], 2, "{status}");
    assert_eq!(status["dropped_by_reason"], json!({"null_payload": 1, "bad_subject": 1}));
    assert_eq!((&status["requests"], &status["replies"]), (&json!(1), &json!(0)), "{status}");
    assert_eq!(status["failed_by_reason"], json!({"no_responders": 1}));
    let headers = "NATS/1.0\r\nHeader: is not payload\r\n\r\n".len();
    // The request was answered, so what went before it on that connection has been counted.
    let daemon = site.daemon().varz();
    assert_eq!(daemon["in_msgs"], sent + 1, "{daemon}");
    assert_eq!(daemon["in_bytes"], bytes + headers, "{daemon}");
    assert_eq!(
        (&daemon["unheard_msgs"], &daemon["no_responders"]),
        (&json!(sent + 1), &json!(1)),
        "{daemon}"
    );
}

fn status_and_version_tell_how_the_link_is(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    let mut sql = site.connect();
    let version = env!("CARGO_PKG_VERSION");
    let socket = site.socket.display().to_string();
    let members = |state: &str, daemon: Value, connects: u64, connections: u64, errno: i32| {
        json!({
            "version": version, "daemon_version": daemon, "socket": socket, "state": state,
            "sent": 0, "sent_bytes": 0, "unconfirmed": 0, "dropped": 0, "dropped_by_reason": {},
            "requests": 0, "replies": 0, "failed_by_reason": {},
            "connects": connects, "connections": connections, "connect_errno": errno,
        })
    };
    assert_eq!(site.status(), members("idle", Value::Null, 0, 0, 0));
    assert_eq!(sql.value("SELECT rowcall_version()").unwrap().as_deref(), Some(version));
    sql.query("DO rowcall_notify('t', '')").unwrap();
    let mut expected = members("no_daemon", Value::Null, 0, 0, nix::libc::ENOENT);
    expected["dropped"] = json!(1);
    expected["dropped_by_reason"] = json!({"no_daemon": 1});
    assert_eq!(site.status(), expected);
    site.start_daemon();
    eventually("the library finds the daemon again", || {
        (sql.value("SELECT rowcall_notify('t', '')").unwrap()? == "1").then_some(())
    });
    let daemon = sql.value("SELECT rowcall_version()").unwrap().unwrap();
    assert_eq!(daemon, format!("{version} (daemon {version})"));
    let status = site.status();
    assert_eq!(status["daemon_version"], json!(version), "{status}");
    assert_eq!((&status["state"], &status["connect_errno"]), (&json!("ok"), &json!(0)), "{status}");
    assert_eq!((&status["connects"], &status["connections"]), (&json!(1), &json!(1)), "{status}");
    assert_eq!(status["sent"], 1, "{status}");
}

fn last_error_is_the_session_s_own(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let (mut one, mut other) = (site.connect(), site.connect());
    let last = "SELECT rowcall_last_error()";
    assert_eq!(one.value(last).unwrap(), None);
    one.query("DO rowcall_notify('t', NULL)").unwrap();
    other.query("DO rowcall_notify('', 'x')").unwrap();
    assert_eq!(one.value(last).unwrap().as_deref(), Some("null_payload"));
    assert_eq!(other.value(last).unwrap().as_deref(), Some("bad_subject"));
    assert_eq!(one.value(last).unwrap().as_deref(), Some("null_payload"), "asking changes nothing");
    one.query("DO rowcall_notify('t', 'x')").unwrap();
    assert_eq!(one.value(last).unwrap(), None, "a call that succeeds leaves no reason");
    assert_eq!(other.value(last).unwrap().as_deref(), Some("bad_subject"));
}
