//! Bad input from SQL: whatever is passed, the statement goes on and the reason is counted.

use harness::{Daemon, Kind, Site, process};
use rowcall_mysql::Connection;
use serde_json::{Value, json};
use std::fs;

on_each_server!(
    payloads_that_cannot_be_sent,
    nothing_is_built_that_the_daemon_would_not_take,
    a_payload_of_nearly_64_mib_arrives_whole,
    subjects_that_cannot_be,
    headers_that_cannot_be,
    wrong_arguments_are_refused_with_a_line_that_fits,
    an_answer_larger_than_the_daemon_takes,
    functions_are_called_wherever_sql_allows,
);

const MIB: usize = 1 << 20;

/// A session, and how often it has been refused for which reason.
struct Refused {
    sql: Connection,
    times: serde_json::Map<String, Value>,
}

impl Refused {
    /// Makes a table whose trigger passes a row's subject and payload to the functions, and keeps
    /// nothing of them: a row of 64 MiB is more than a small server's log takes.
    fn new(site: &Site) -> Refused {
        let mut sql = site.connect();
        sql.query("CREATE TABLE bad (s LONGBLOB, p LONGBLOB)").unwrap();
        sql.query(
            "CREATE TRIGGER bad BEFORE INSERT ON bad FOR EACH ROW BEGIN \
             DO rowcall_notify(NEW.s, NEW.p), rowcall_request(NEW.s, NEW.p); \
             SET NEW.s = NULL, NEW.p = NULL; END",
        )
        .unwrap();
        Refused { sql, times: serde_json::Map::new() }
    }

    fn last_error(&mut self) -> Option<String> {
        self.sql.value("SELECT rowcall_last_error()").unwrap()
    }

    /// Checks that this call answers that, and why.
    fn call(&mut self, call: &str, answer: Option<&str>, reason: &str) {
        assert_eq!(self.sql.value(format!("SELECT {call}")).unwrap().as_deref(), answer, "{call}");
        assert_eq!(self.last_error().as_deref(), Some(reason), "{call}");
    }

    /// Checks that no such message is sent, by whichever function, and why.
    fn both(&mut self, subject: &str, payload: &str, reason: &str) {
        self.call(&format!("rowcall_notify({subject}, {payload})"), Some("0"), reason);
        self.call(&format!("rowcall_request({subject}, {payload}, 60000)"), None, reason);
        let rows = format!("INSERT INTO bad VALUES ({subject}, {payload}), ({subject}, {payload})");
        assert_eq!(self.sql.query(&rows).unwrap().affected, 2, "{rows}");
        assert_eq!(self.last_error().as_deref(), Some(reason), "{rows}");
        self.count(reason, 3);
    }

    fn count(&mut self, reason: &str, times: u64) {
        let before = self.times.get(reason).and_then(Value::as_u64).unwrap_or(0);
        self.times.insert(reason.to_owned(), json!(before + times));
    }
}

fn payloads_that_cannot_be_sent(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["t"]);
    let mut refused = Refused::new(&site);
    refused.both("'t'", "NULL", "null_payload");
    for length in [MIB + 1, 64 * MIB] {
        let payload = format!("REPEAT('x', {length})");
        refused.both("'t'", &payload, "too_large");
        // Quotes and a name come on top.
        refused.call(&format!("rowcall_emit('t', {payload} AS v)"), Some("0"), "too_large");
        refused.count("too_large", 1);
    }
    let status = site.status();
    let mut failed = refused.times.clone();
    failed.insert("too_large".into(), json!(6));
    assert_eq!(status["dropped_by_reason"], Value::Object(refused.times.clone()));
    assert_eq!(status["failed_by_reason"], Value::Object(failed));
    // A header, too, counts.
    refused.call(&format!("rowcall_notify('t', REPEAT('x', {MIB}), 'a', 'b')"), Some("0"), "too_large");
    // Every byte of JSON that is escaped six times as long.
    refused.call("rowcall_emit('t', REPEAT(CHAR(1), 200000) AS v)", Some("0"), "too_large");
    listener.barrier();

    let mut sent = |payload: &str, bytes: &[u8]| {
        let answer = refused.sql.value(format!("SELECT rowcall_notify('t', {payload})")).unwrap();
        assert_eq!(answer.as_deref(), Some("1"), "{payload}");
        assert!(listener.message().payload == bytes, "{payload}");
    };
    sent("''", b"");
    sent("0xff00fe0d0a", b"\xff\0\xfe\r\n");
    sent(&format!("REPEAT('x', {MIB})"), &vec![b'x'; MIB]);
    site.server.assert_alive();
}

/// How much more memory than before the server had in use at the height of a statement.
fn peak(site: &Site, sql: &mut Connection, statement: &str) -> usize {
    let pid = site.server.child.pid();
    // This forgets the earlier height.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    let before = process::resident(pid);
    sql.query(statement).unwrap_or_else(|error| panic!("{error}: {statement:.100}"));
    process::resident_peak(pid).saturating_sub(before) as usize
}

/// Any account may call the functions with any values. What the values take is the server's affair,
/// which a call with a subject that cannot be shows: that one looks at nothing else.
fn nothing_is_built_that_the_daemon_would_not_take(kind: Kind) {
    const VALUE: usize = 16_000_000;
    const ALLOWED: usize = 8 * MIB;
    let Some(site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    sql.query(format!("SET @x = REPEAT(CHAR(1), {VALUE}), @h = REPEAT('h', {VALUE}), @n = NULL")).unwrap();
    sql.query(format!("SET @j = CONCAT('\"', REPEAT('j', {VALUE}), '\"'), @none = NULL")).unwrap();
    sql.query("DO rowcall_notify('t', 'the connection is there')").unwrap();
    let many = |value: &str| [value; 20].join(", ");
    let named = |name: String| format!(", 1 AS `{name}`");
    let names: String = (0..2000).map(|n| named(format!("{n}{}", "\u{1}".repeat(250)))).collect();
    for (call, reason) in [
        (format!("rowcall_emit(@s, {})", many("@x")), "too_large"),
        (format!("rowcall_emit(@s, {})", many("@x AS `x:base64`")), "too_large"),
        (format!("rowcall_emit(@s, {})", many("@j AS `j:json`")), "too_large"),
        (format!("rowcall_emit(@s{names})"), "too_large"),
        ("rowcall_notify(@s, @x)".into(), "too_large"),
        (format!("rowcall_notify(@s, '', {})", many("'h', @h")), "too_large"),
        ("rowcall_notify(@s, '', @h, 'v')".into(), "too_large"),
        ("rowcall_request(@s, @x)".into(), "too_large"),
        ("rowcall_submit(@s, @x)".into(), "too_large"),
        ("rowcall_notify(CONCAT(@s, @h), 'x')".into(), "bad_subject"),
        ("rowcall_wait(CONCAT(@s, @h), 0)".into(), "bad_subject"),
        ("rowcall_result(CONCAT(@s, @h), @x)".into(), "bad_ticket"),
    ] {
        let mut with = |subject: &str| {
            sql.query(format!("SET @s = {subject}")).unwrap();
            let height = peak(&site, &mut sql, &format!("DO {call}"));
            (height, sql.value("SELECT rowcall_last_error()").unwrap())
        };
        let (unsent, _) = with("NULL");
        let (height, why) = with("'t'");
        assert_eq!(why.as_deref(), Some(reason), "{call:.60}");
        assert!(height < unsent + ALLOWED, "{call:.60}: {height} bytes, and {unsent} of them the server's");
    }
    assert!(peak(&site, &mut sql, "DO rowcall_poke(@x)") < ALLOWED);
}

fn a_payload_of_nearly_64_mib_arrives_whole(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    start_daemon_with(&mut site, "max_payload = \"64MiB\"\nmax_pending = \"256MiB\"\n");
    let mut listener = site.listener(&["t"]);
    site.worker("echo", |request| request.payload.clone());
    let mut refused = Refused::new(&site);
    let most = 64 * MIB - 64;
    let payload = format!("CONCAT(REPEAT('x', {}), 'end')", most - 3);
    let answer = refused.sql.value(format!("SELECT rowcall_notify('t', {payload})")).unwrap();
    assert_eq!((answer.as_deref(), refused.last_error()), (Some("1"), None));
    let heard = listener.message().payload;
    assert!(heard.len() == most && heard.ends_with(b"xend") && heard.starts_with(b"x"));
    let same = format!("SELECT rowcall_request('echo', {payload}, 60000) = {payload}");
    assert_eq!(refused.sql.value(same).unwrap().as_deref(), Some("1"), "{:?}", refused.last_error());
    refused.both("'t'", &format!("REPEAT('x', {})", 64 * MIB + 1), "too_large");
    site.server.assert_alive();
}

fn start_daemon_with(site: &mut Site, settings: &str) {
    let file = site.folder.path().join("rowcalld.toml");
    fs::write(&file, settings).unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--config", file.to_str().unwrap()];
    site.daemon = Some(Daemon::start_with(&site.socket, &listen));
}

fn subjects_that_cannot_be(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut listener = site.listener(&[">"]);
    let mut refused = Refused::new(&site);
    for subject in [
        "NULL",
        "''",
        "REPEAT('x', 5000)",
        "REPEAT('a.', 2500)",
        "'a b'",
        "' a'",
        "'a\\tb'",
        "'a\\nb'",
        "'a 1\\r\\nx\\r\\nPUB injected 1'",
        "'a\\0b'",
        "0x7f",
        "'*'",
        "'>'",
        "'a.*'",
        "'a.>'",
        "'a*'",
        "'.'",
        "'.a'",
        "'a.'",
        "'a..b'",
    ] {
        refused.both(subject, "'x'", "bad_subject");
        refused.call(&format!("rowcall_emit({subject}, 1)"), Some("0"), "bad_subject");
    }
    let (requests, events) = (3 * 20, 4 * 20);
    let status = site.status();
    assert_eq!(status["dropped_by_reason"], json!({"bad_subject": events}));
    assert_eq!(status["failed_by_reason"], json!({"bad_subject": requests}));
    assert_eq!((&status["sent"], &status["requests"]), (&json!(0), &json!(requests)));
    // Not one of them reached anybody; and a subject that is only odd does.
    for subject in ["größe", "$a.-", &"x".repeat(4000)] {
        let sent = refused.sql.value(format!("SELECT rowcall_notify('{subject}', 'x')")).unwrap();
        assert_eq!(sent.as_deref(), Some("1"), "{subject}");
        listener.expect(format!("MSG {subject} 1 1\r\nx\r\n"));
    }
    site.server.assert_alive();
}

fn headers_that_cannot_be(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&[">"]);
    let mut refused = Refused::new(&site);
    let bad = [
        "NULL, 'v'",
        "'n', NULL",
        "'', 'v'",
        "'n:', 'v'",
        "'a b', 'v'",
        "'n\\r\\nm', 'v'",
        "'größe', 'v'",
        "'n', 'v\\r\\nInjected: yes'",
        "'n', 'v\\n'",
        "'n', 'v\\0'",
        "'good', 'v', 'bad\\n', 'v'",
    ];
    for headers in bad {
        refused.call(&format!("rowcall_notify('t', 'x', {headers})"), Some("0"), "bad_header");
    }
    assert_eq!(site.status()["dropped_by_reason"], json!({"bad_header": bad.len()}));
    let sent = refused.sql.value("SELECT rowcall_notify('t', 'x', 'n', '')").unwrap();
    assert_eq!(sent.as_deref(), Some("1"));
    listener.expect("HMSG t 1 17 18\r\nNATS/1.0\r\nn: \r\n\r\nx\r\n");
}

fn wrong_arguments_are_refused_with_a_line_that_fits(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    let notify = "rowcall_notify(subject, payload [, header, value]...)";
    let emit = "rowcall_emit(subject, value AS name [, value AS name]...)";
    let request = "rowcall_request(subject, payload [, timeout_ms])";
    let submit = "rowcall_submit(subject, payload)";
    let result = "rowcall_result(ticket [, timeout_ms])";
    let wait = "rowcall_wait(subject [, timeout_ms])";
    for (call, usage) in [
        ("rowcall_notify()", notify),
        ("rowcall_notify('t')", notify),
        ("rowcall_notify('t', 'x', 'n')", notify),
        ("rowcall_emit()", emit),
        ("rowcall_emit('t')", emit),
        ("rowcall_request()", request),
        ("rowcall_request('t')", request),
        ("rowcall_request('t', 'x', 1, 2)", request),
        ("rowcall_submit('t')", submit),
        ("rowcall_submit('t', 'x', 1)", submit),
        ("rowcall_result()", result),
        ("rowcall_result('t', 1, 2)", result),
        ("rowcall_wait()", wait),
        ("rowcall_wait('t', 1, 2)", wait),
        ("rowcall_last_error(1)", "rowcall_last_error()"),
        ("rowcall_status(NULL)", "rowcall_status()"),
        ("rowcall_version('x')", "rowcall_version()"),
    ] {
        let error = sql.query(format!("SELECT {call}")).unwrap_err();
        let (name, _) = call.split_once('(').unwrap();
        assert_eq!(error.number, 1123, "{call}: {error}");
        assert_eq!(error.message, format!("Can't initialize function '{name}'; {usage}"), "{call}");
        assert!(usage.len() < 80, "{usage}");
    }
    for call in ["rowcall_notify((1, 2), 'x')", "rowcall_emit('t', (1, 2))", "rowcall_request('t', (1, 2))"] {
        let error = sql.query(format!("SELECT {call}")).unwrap_err();
        assert_eq!(error.number, 1241, "{call}: {error}");
    }
    // Anything that has a text is sent as its text.
    let mut listener = site.listener(&[">"]);
    sql.query("DO rowcall_notify(12, 1.50), rowcall_notify('t', DATE'2026-02-28'), rowcall_notify('t', 1e2)")
        .unwrap();
    listener.expect("MSG 12 1 4\r\n1.50\r\nMSG t 1 10\r\n2026-02-28\r\nMSG t 1 3\r\n100\r\n");
    assert_eq!(site.status()["dropped"], 0, "a call that was refused is not counted");
    site.server.assert_alive();
}

/// The worker that sends it is cut off, as the protocol has it; who asked is told nothing, so only
/// the timeout ends the wait.
fn an_answer_larger_than_the_daemon_takes(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    start_daemon_with(&mut site, "max_payload = 1024\n");
    let mut worker = site.listener(&["work"]);
    let mut refused = Refused::new(&site);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| refused.call("rowcall_request('work', 'x', 500)", None, "timeout"));
        let request = worker.message();
        worker.send(format!("PUB {} 1025\r\n", request.reply.unwrap()));
        worker.expect("-ERR 'Maximum Payload Violation'\r\n");
        worker.expect_closed();
        asking.join().unwrap();
    });
    refused.call("rowcall_request('work', 'x', 60000)", None, "no_responders");
    refused.call("rowcall_request('work', REPEAT('x', 1025), 60000)", None, "too_large");
    site.server.assert_alive();
}

fn functions_are_called_wherever_sql_allows(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["t"]);
    let mut sql = site.connect();
    for statement in [
        "CREATE TABLE t (id INT)",
        "INSERT INTO t VALUES (1), (2), (3)",
        "CREATE VIEW v AS SELECT id, rowcall_notify('t', id) AS sent FROM t",
        "CREATE FUNCTION f(p INT) RETURNS INT NO SQL RETURN rowcall_notify('t', p)",
        "CREATE PROCEDURE p(x INT) BEGIN DO rowcall_notify('t', x); SELECT rowcall_notify('t', x + 1); END",
        "PREPARE prepared FROM 'SELECT rowcall_notify(?, ?)'",
        "PREPARE asked FROM 'SELECT rowcall_request(?, ?, ?)'",
        "SET @s = 't', @p = 8, @ms = 1, @nil = NULL",
    ] {
        sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let mut check = |statement: &str, events: &[u32]| {
        sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        for event in events {
            assert_eq!(listener.message().text(), event.to_string(), "{statement}");
        }
        sql.query("DO rowcall_notify('t', 'end')").unwrap();
        assert_eq!(listener.message().text(), "end", "{statement}");
    };
    check("SELECT id FROM t WHERE rowcall_notify('t', id) = 1", &[1, 2, 3]);
    check("SELECT id FROM t WHERE id > 1 AND rowcall_notify('t', id)", &[2, 3]);
    check("SELECT * FROM v", &[1, 2, 3]);
    check("SELECT sent FROM v WHERE id = 2", &[2]);
    check("SELECT id FROM v", &[]);
    check("SELECT id FROM t GROUP BY id HAVING rowcall_notify('t', MAX(id)) ORDER BY id", &[1, 2, 3]);
    check("SELECT SUM(rowcall_notify('t', id)) FROM t", &[1, 2, 3]);
    check("SELECT DISTINCT rowcall_notify('t', id) FROM t", &[1, 2, 3]);
    check("SELECT IF(id = 2, rowcall_notify('t', id), 0) FROM t", &[2]);
    check("SELECT f(5), f(6)", &[5, 6]);
    check("CALL p(3)", &[3, 4]);
    check("SET @x = rowcall_notify('t', 7)", &[7]);
    check("EXECUTE prepared USING @s, @p", &[8]);
    check("EXECUTE asked USING @s, @p, @ms", &[8]);
    check("EXECUTE prepared USING @s, @nil", &[]);
    check("DO BENCHMARK(3, rowcall_notify('t', 9))", &[9, 9, 9]);
    check("CREATE TABLE copy AS SELECT rowcall_notify('t', id) AS sent FROM t", &[1, 2, 3]);
    check("CREATE TABLE versions AS SELECT DISTINCT rowcall_version() AS version FROM t", &[]);
    check("SELECT 1 UNION SELECT rowcall_notify('t', 4)", &[4]);
    check("UPDATE t SET id = id + rowcall_notify('t', id) ORDER BY id", &[1, 2, 3]);
    check("DELETE FROM t WHERE rowcall_notify('t', id) ORDER BY id", &[2, 3, 4]);
    sql.query("SET GLOBAL event_scheduler = ON").unwrap();
    sql.query("CREATE EVENT e ON SCHEDULE AT NOW() DO DO rowcall_notify('t', 'from an event')").unwrap();
    listener.expect("MSG t 1 13\r\nfrom an event\r\n");
    if kind == Kind::MariaDb {
        // What a generated column calls was made ready by the thread that opened the table.
        sql.query("CREATE TABLE g (id INT, sent INT AS (rowcall_notify('t', id)) VIRTUAL)").unwrap();
        sql.query("INSERT INTO g (id) VALUES (7)").unwrap();
        let mut other = site.connect();
        for session in [&mut sql, &mut other] {
            assert_eq!(session.value("SELECT sent FROM g").unwrap().as_deref(), Some("1"));
            listener.expect("MSG t 1 1\r\n7\r\n");
        }
    }
    site.server.assert_alive();
}
