//! Committed mode, one promise at a time: events leave after COMMIT, never after ROLLBACK, and wait
//! in their table while nobody reads it. What it does under load and on bad days stands in
//! committed_load.rs.

use harness::outbox::{fill, hold_reader, release_reader, until_empty, waiting};
use harness::{Kind, Site};
use rowcall_mysql::Connection;

on_each_server!(
    events_leave_after_commit_and_never_after_rollback,
    a_trigger_publishes_and_the_caller_notices_nothing,
    a_publisher_needs_execute_and_nothing_else,
    events_wait_while_nobody_reads_them,
    a_backlog_cuts_off_nobody_who_reads,
    a_long_transaction_delays_nobody_else,
    what_can_never_be_published_is_parked,
    publishing_works_without_the_functions,
    one_daemon_reads_and_another_stands_by,
    a_daemon_that_hangs_is_replaced,
    the_reader_comes_back_when_its_connection_is_killed,
);

fn events_leave_after_commit_and_never_after_rollback(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&["shop.>"]);
    let mut sql = site.connect();
    sql.query("CALL rowcall.publish('shop.a', 'by itself')").unwrap();
    assert_eq!(listener.heard(), "by itself");
    sql.query("START TRANSACTION").unwrap();
    sql.query("CALL rowcall.publish('shop.a', 'rolled back')").unwrap();
    sql.query("ROLLBACK").unwrap();
    if kind == Kind::MySql {
        // Whoever rolls back to a savepoint there locks the end of the table, unless it is so.
        sql.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").unwrap();
    }
    sql.query("START TRANSACTION").unwrap();
    sql.query("CALL rowcall.publish('shop.a', 'kept')").unwrap();
    sql.query("SAVEPOINT s").unwrap();
    sql.query("CALL rowcall.publish('shop.a', 'given up')").unwrap();
    sql.query("ROLLBACK TO s").unwrap();
    sql.query("CALL rowcall.publish_with('shop.b', 'the last', 'Rowcall-Key: 7')").unwrap();
    // Whoever listens hears nothing before COMMIT: the barrier of another event proves it.
    site.connect().query("CALL rowcall.publish('shop.a', 'from another session')").unwrap();
    assert_eq!(listener.heard(), "from another session");
    sql.query("COMMIT").unwrap();
    assert_eq!(listener.heard(), "kept");
    let last = listener.message();
    let headers = last.headers;
    for header in ["Rowcall-Id: ", "Nats-Msg-Id: ", "Rowcall-Time: 20", "Rowcall-Key: 7\r\n"] {
        assert!(headers.contains(header), "{header} is not in {headers}");
    }
    until_empty(&mut sql);
}

fn a_trigger_publishes_and_the_caller_notices_nothing(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&["shop.t"]);
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT UNIQUE)").unwrap();
    sql.query("CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW CALL rowcall.publish('shop.t', NEW.v)")
        .unwrap();
    let inserted = sql.query("INSERT INTO t (v) VALUES (10), (20)").unwrap();
    assert_eq!((inserted.affected, inserted.insert_id), (2, 1));
    assert_eq!(sql.value("SELECT LAST_INSERT_ID()").unwrap().as_deref(), Some("1"));
    sql.query("CALL rowcall.publish('shop.t', '30')").unwrap();
    assert_eq!(sql.value("SELECT LAST_INSERT_ID()").unwrap().as_deref(), Some("1"), "also of a plain CALL");
    // A statement that fails takes its events back, also those of its first rows.
    assert!(sql.query("INSERT INTO t (v) VALUES (40), (10)").is_err());
    sql.query("INSERT INTO t (v) VALUES (50)").unwrap();
    for expected in ["10", "20", "30", "50"] {
        assert_eq!(listener.heard(), expected);
    }
}

fn a_publisher_needs_execute_and_nothing_else(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&[">"]);
    let mut root = site.connect();
    root.query("CREATE USER app@localhost").unwrap();
    root.query("GRANT EXECUTE ON PROCEDURE rowcall.publish TO app@localhost").unwrap();
    let options =
        rowcall_mysql::Options { user: Some("app".into()), database: None, ..site.server.options() };
    let mut app = Connection::connect(&options).unwrap();
    app.query("CALL rowcall.publish('a', 'mine')").unwrap();
    assert_eq!(listener.heard(), "mine");
    for forbidden in [
        "SELECT * FROM rowcall.outbox",
        "DELETE FROM rowcall.outbox",
        "CALL rowcall.publish_with('a', '', '')",
    ] {
        assert!(app.query(forbidden).is_err(), "{forbidden}");
    }
}

fn events_wait_while_nobody_reads_them(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    site.daemon().kill();
    for n in 0..100 {
        sql.query(format!("CALL rowcall.publish('a', '{n}')")).unwrap();
    }
    assert_eq!(waiting(&mut sql), 100);
    site.server.restart();
    let mut sql = site.connect();
    assert_eq!(waiting(&mut sql), 100, "they outlive the server, too");
    site.start_committed_daemon();
    until_empty(&mut sql);
    assert_eq!(site.daemon().varz()["outbox"]["handed_on"], 100);
}

/// A backlog is read faster than a subscriber takes it, and is larger than what it may be owed.
fn a_backlog_cuts_off_nobody_who_reads(kind: Kind) {
    const EVENTS: u64 = 16_384;
    let Some(mut site) = Site::committed(kind) else { return };
    site.daemon().stop();
    // Whoever holds the reader's lock keeps daemons standing by.
    let mut sql = site.connect();
    hold_reader(&mut sql, 10);
    fill(&mut sql, "a", 2000, EVENTS);
    site.start_committed_daemon_with("max_pending = \"2MiB\"", "standing by");
    let mut listener = site.listener(&["a"]);
    release_reader(&mut sql);
    let mut last = 0;
    for _ in 0..EVENTS {
        let (id, _) = listener.event_or_end().expect("it is cut off");
        assert!(id > last, "{id} came after {last}");
        last = id;
    }
    until_empty(&mut sql);
    let varz = site.daemon().varz();
    assert_eq!((&varz["slow_consumers"], &varz["outbox"]["handed_on"]), (&0.into(), &EVENTS.into()));
}

fn a_long_transaction_delays_nobody_else(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&["a"]);
    let (mut long, mut other) = (site.connect(), site.connect());
    for sql in [&mut long, &mut other] {
        sql.query("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE").unwrap();
    }
    long.query("START TRANSACTION").unwrap();
    long.query("CALL rowcall.publish('a', 'late')").unwrap();
    for n in 0..50 {
        other.query(format!("CALL rowcall.publish('a', '{n}')")).unwrap();
        assert_eq!(listener.heard(), n.to_string());
    }
    // What was handed on is deleted although a row before it is locked.
    let mut sql = site.connect();
    until_empty(&mut sql);
    long.query("COMMIT").unwrap();
    assert_eq!(listener.heard(), "late");
}

fn what_can_never_be_published_is_parked(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&[">"]);
    let mut sql = site.connect();
    for call in [
        "publish(NULL, 'x')",
        "publish('a..b', 'x')",
        "publish(REPEAT('a', 100000), 'x')",
        "publish('a', NULL)",
        "publish('a', REPEAT('x', 2000000))",
        "publish_with('a', 'x', 'no header')",
    ] {
        sql.query(format!("CALL rowcall.{call}")).unwrap_or_else(|error| panic!("{call}: {error}"));
    }
    sql.query("CALL rowcall.publish('a', 'fine')").unwrap();
    assert_eq!(listener.heard(), "fine");
    until_empty(&mut sql);
    let reasons = sql.query("SELECT reason FROM rowcall.parked ORDER BY id").unwrap().rows;
    let reasons: Vec<_> =
        reasons.iter().map(|row| String::from_utf8_lossy(row[0].as_ref().unwrap()).into_owned()).collect();
    let expected = ["bad_subject", "bad_subject", "bad_subject", "null_payload", "too_large", "bad_header"];
    assert_eq!(reasons, expected);
}

fn publishing_works_without_the_functions(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&["a"]);
    let output = site.rowcall(&["uninstall"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    site.connect().query("CALL rowcall.publish('a', 'without a poke')").unwrap();
    assert_eq!(listener.heard(), "without a poke");
}

fn one_daemon_reads_and_another_stands_by(kind: Kind) {
    another_takes_over(kind, nix::sys::signal::Signal::SIGKILL);
}

fn a_daemon_that_hangs_is_replaced(kind: Kind) {
    another_takes_over(kind, nix::sys::signal::Signal::SIGSTOP);
}

fn another_takes_over(kind: Kind, signal: nix::sys::signal::Signal) {
    let Some(mut site) = Site::committed(kind) else { return };
    let folder = harness::folder();
    let file = site.outbox_file();
    let arguments = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--outbox", file.to_str().unwrap()];
    let standby = harness::Daemon::start_with(&folder.path().join("rowcall.sock"), &arguments);
    standby.child.says("standing by");
    let mut listener = standby.terminal().hello();
    listener.send("SUB a 1\r\n");
    listener.barrier();
    site.daemon().child.signal(signal);
    standby.child.says("outbox: reading");
    site.connect().query("CALL rowcall.publish('a', 'taken over')").unwrap();
    assert_eq!(listener.heard(), "taken over");
}

fn the_reader_comes_back_when_its_connection_is_killed(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&["a"]);
    let mut sql = site.connect();
    for round in 0..3 {
        let connections =
            sql.query("SELECT id FROM information_schema.processlist WHERE user = 'rowcall'").unwrap();
        assert!(!connections.rows.is_empty(), "the reader is connected");
        for row in &connections.rows {
            let id = String::from_utf8_lossy(row[0].as_ref().unwrap()).into_owned();
            // A waiter may have gone by itself.
            let _ = sql.query(format!("KILL {id}"));
        }
        sql.query(format!("CALL rowcall.publish('a', '{round}')")).unwrap();
        assert_eq!(listener.heard(), round.to_string());
        until_empty(&mut sql);
    }
}
