//! Committed mode on servers in difficult conditions: strict isolation, old snapshots, large payloads,
//! a schema that is not ours, a server that takes no writes or has no room. Source and replica stand
//! in replication.rs.

use super::consumers::workers::add;
use harness::outbox::{hold_reader, release_reader, until_empty, waiting};
use harness::{Kind, Site, Terminal, eventually};
use rowcall_mysql::Connection;
use std::collections::BTreeSet;
use std::thread;

on_each_server!(
    strict_transactions_never_wait_for_the_reader,
    an_old_snapshot_holds_up_nothing,
    large_payloads_arrive_and_larger_ones_are_parked,
    a_row_larger_than_a_lowered_limit_blocks_nothing,
    a_limit_of_the_readers_own_is_told,
    an_outbox_without_transactions_is_refused_until_it_is_mended,
    a_schema_of_another_edition_is_refused_until_it_is_mended,
    a_switch_to_read_only_and_back_loses_nothing,
    a_full_tablespace_loses_nothing,
);

/// Lock waits in a load of thousands of transactions. There are none, but in one of some 200 runs MySQL
/// counted one; whether the reader waited for a COMMIT under way or was waited for is not known.
const WAITS_MAX: u64 = 2;

/// The error "the table is full".
const TABLE_FULL: u32 = 1114;

/// The error "the server is read-only".
const READ_ONLY: u32 = 1290;

/// Each writer has a table of its own, so whoever waits for a lock here waits for us.
fn strict_transactions_never_wait_for_the_reader(kind: Kind) {
    const WRITERS: usize = 6;
    let Some(mut site) = Site::committed(kind) else { return };
    let listener = site.listener(&[">"]);
    let reading = thread::spawn(move || listen(listener));
    // What is moved, noted and settled for consumers makes nobody wait either.
    add(&site, "all", ">", &["--backoff", "1ms", "--max-age", "1s"]);
    site.worker("rowcall.consumer.all", |event| {
        if event.text().ends_with('7') { b"-NAK" } else { b"+ACK" }.into()
    });
    let mut sql = site.connect();
    let before = conflicts(&mut sql);
    for writer in 0..WRITERS {
        sql.query(format!("CREATE TABLE t{writer} (id INT PRIMARY KEY)")).unwrap();
        let publish = "FOR EACH ROW CALL rowcall.publish('a', NEW.id)";
        sql.query(format!("CREATE TRIGGER r{writer} AFTER INSERT ON t{writer} {publish}")).unwrap();
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let sql = Connection::connect(&site.server.options()).unwrap();
            thread::spawn(move || write_strictly(sql, kind, writer))
        })
        .collect();
    let committed: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
    until_empty(&mut sql);
    let after = conflicts(&mut sql);
    eprintln!("{kind:?}: {committed} events; {after:?} after {before:?}");
    assert_eq!((after.deadlocks, after.timeouts), (before.deadlocks, before.timeouts));
    assert!(after.waits - before.waits <= WAITS_MAX, "{after:?} after {before:?}");
    wait_for_a_lock(&site);
    assert_ne!(after, conflicts(&mut sql), "the server does not count");
    assert_eq!(site.daemon().varz()["outbox"]["handed_on"], committed);
    sql.query("CALL rowcall.publish('a', 'the end')").unwrap();
    assert_eq!(reading.join().unwrap().len(), committed);
}

/// Everything up to the last event.
fn listen(mut listener: Terminal) -> Vec<String> {
    std::iter::from_fn(|| Some(listener.heard())).take_while(|payload| payload != "the end").collect()
}

/// Transactions of many shapes in REPEATABLE READ or SERIALIZABLE; gives how many events committed.
/// On MySQL nothing is undone in part: that holds up other publishers there, whoever reads.
fn write_strictly(mut sql: Connection, kind: Kind, writer: usize) -> usize {
    const ROUNDS: usize = 60;
    let level = if writer.is_multiple_of(2) { "REPEATABLE READ" } else { "SERIALIZABLE" };
    let mut run = |sql_text: String| {
        sql.query(&sql_text).unwrap_or_else(|error| panic!("{sql_text}: {error}"));
    };
    run(format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}"));
    let mut committed = 0;
    for round in 0..ROUNDS {
        let first = round * 10;
        let commits = round.is_multiple_of(2);
        let insert = |n: usize| format!("INSERT INTO t{writer} VALUES ({}), ({})", first + n, first + n + 1);
        run(insert(0));
        run("CALL rowcall.publish('a', 'by itself')".into());
        run("START TRANSACTION".into());
        run(format!("SELECT COUNT(*) FROM t{writer}"));
        run(insert(2));
        run("CALL rowcall.publish('a', 'in a transaction')".into());
        if kind == Kind::MariaDb {
            run("SAVEPOINT s".into());
            run(insert(4));
            run("ROLLBACK TO s".into());
        }
        run(format!("DELETE FROM t{writer} WHERE id = {first}"));
        run("COMMIT".into());
        run("START TRANSACTION".into());
        run(insert(6));
        run("CALL rowcall.publish('a', 'rolled back')".into());
        run("ROLLBACK".into());
        run(format!("XA START '{writer}'"));
        run(insert(8));
        run(format!("XA END '{writer}'"));
        run(format!("XA PREPARE '{writer}'"));
        run(format!("XA {} '{writer}'", if commits { "COMMIT" } else { "ROLLBACK" }));
        committed += 6 + if commits { 2 } else { 0 };
    }
    committed
}

fn wait_for_a_lock(site: &Site) {
    let (mut holder, mut waiter) = (site.connect(), site.connect());
    holder.query("START TRANSACTION").unwrap();
    holder.query("DELETE FROM t0").unwrap();
    waiter.query("SET SESSION innodb_lock_wait_timeout = 1").unwrap();
    waiter.query("DELETE FROM t0").unwrap_err();
}

/// What the server has counted since it has started.
#[derive(Debug, PartialEq, Eq)]
struct Conflicts {
    waits: u64,
    deadlocks: u64,
    timeouts: u64,
}

fn conflicts(sql: &mut Connection) -> Conflicts {
    let mut count = |query: &str| {
        let row = sql.query(query).unwrap().rows.remove(0);
        std::str::from_utf8(row[1].as_ref().unwrap()).unwrap().parse().unwrap()
    };
    let metric = |name: &str| {
        format!("SELECT name, count FROM information_schema.innodb_metrics WHERE name = '{name}'")
    };
    Conflicts {
        waits: count("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'"),
        deadlocks: count(&metric("lock_deadlocks")),
        timeouts: count(&metric("lock_timeouts")),
    }
}

/// What was deleted stays in the table's pages for as long as someone may still have to see it.
fn an_old_snapshot_holds_up_nothing(kind: Kind) {
    const ROUNDS: usize = 128;
    const EACH: usize = 1000;
    let Some(site) = Site::committed(kind) else { return };
    let (mut old, mut sql) = (site.connect(), site.connect());
    sql.query("CREATE TABLE numbers (n INT PRIMARY KEY)").unwrap();
    let numbers: Vec<String> = (0..EACH).map(|n| format!("({n})")).collect();
    sql.query(format!("INSERT INTO numbers VALUES {}", numbers.join(","))).unwrap();
    old.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").unwrap();
    old.query("START TRANSACTION WITH CONSISTENT SNAPSHOT").unwrap();
    let listener = site.listener(&["a"]);
    let reading = thread::spawn(move || listen(listener));
    let start = std::time::Instant::now();
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let insert = "INSERT INTO rowcall.outbox (subject, payload) SELECT 'a', CONCAT";
        sql.query(format!("{insert}('{round}-', n) FROM test.numbers")).unwrap();
        if (round + 1) % (ROUNDS / 4) == 0 {
            until_empty(&mut sql);
            took.push(start.elapsed().as_millis());
        }
    }
    eprintln!("{kind:?}: a quarter of {} events each, milliseconds since the start: {took:?}", ROUNDS * EACH);
    sql.query("CALL rowcall.publish('a', 'the end')").unwrap();
    let heard = reading.join().unwrap();
    let different: BTreeSet<&String> = heard.iter().collect();
    assert_eq!((heard.len(), different.len()), (ROUNDS * EACH, ROUNDS * EACH));
    assert_eq!(old.value("SELECT COUNT(*) FROM rowcall.outbox").unwrap().as_deref(), Some("0"));
}

/// Settings of a daemon for large payloads. Writing some of them down takes a busy machine longer than a
/// subscriber who does not read yet is usually waited for.
const LARGE_PAYLOADS: &str = "max_payload = \"32MiB\"\nmax_pending = \"128MiB\"\nwrite_deadline = \"10m\"";

/// A site whose daemon hands on messages of up to 32 MiB.
fn with_large_payloads(kind: Kind) -> Option<Site> {
    let mut site = Site::committed(kind)?;
    site.daemon().stop();
    site.start_committed_daemon_with(LARGE_PAYLOADS, "outbox: reading");
    Some(site)
}

fn large_payloads_arrive_and_larger_ones_are_parked(kind: Kind) {
    let Some(site) = with_large_payloads(kind) else { return };
    let mut listener = site.listener(&["a"]);
    let mut sql = site.connect();
    for mebibytes in [16, 31, 40, 16] {
        let call = format!("CALL rowcall.publish('a', REPEAT('x', {}))", mebibytes << 20);
        sql.query(call).unwrap();
    }
    sql.query("CALL rowcall.publish('a', 'small')").unwrap();
    for mebibytes in [16, 31, 16] {
        let payload = listener.message().payload;
        assert_eq!(payload.len(), mebibytes << 20);
        assert!(payload.iter().all(|&byte| byte == b'x'));
    }
    assert_eq!(listener.heard(), "small");
    until_empty(&mut sql);
    let parked = sql.query("SELECT reason, LENGTH(payload) FROM rowcall.parked").unwrap().rows;
    assert_eq!(parked, [[Some(b"too_large".to_vec()), Some((40 << 20).to_string().into_bytes())]]);
}

/// The server checks its limit when a payload comes in. Rows that are there may be larger.
fn a_row_larger_than_a_lowered_limit_blocks_nothing(kind: Kind) {
    let Some(mut site) = with_large_payloads(kind) else { return };
    site.daemon().stop();
    let mut sql = site.connect();
    for mebibytes in [20, 40] {
        sql.query(format!("CALL rowcall.publish('a', REPEAT('x', {}))", mebibytes << 20)).unwrap();
    }
    sql.query("CALL rowcall.publish('a', 'small')").unwrap();
    sql.query("SET GLOBAL max_allowed_packet = 1048576").unwrap();
    hold_reader(&mut sql, 10);
    site.start_committed_daemon_with(LARGE_PAYLOADS, "standing by");
    let mut listener = site.listener(&["a"]);
    release_reader(&mut sql);
    assert_eq!(listener.message().payload.len(), 20 << 20);
    assert_eq!(listener.heard(), "small");
    until_empty(&mut sql);
}

/// Only whoever writes it into the option file has such a limit; the library's own is 1 GiB.
fn a_limit_of_the_readers_own_is_told(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    site.daemon().stop();
    let mut sql = site.connect();
    for payload in ["'before'", "REPEAT('x', 500000)", "'after'"] {
        sql.query(format!("CALL rowcall.publish('a', {payload})")).unwrap();
    }
    let file = std::fs::read_to_string(site.outbox_file()).unwrap();
    std::fs::write(site.outbox_file(), format!("{file}max_allowed_packet=65536\n")).unwrap();
    site.start_committed_daemon_until("Lost connection");
    let mut listener = site.listener(&["a"]);
    assert_eq!(waiting(&mut sql), 3);
    std::fs::write(site.outbox_file(), file).unwrap();
    assert_eq!(listener.heard(), "before");
    assert_eq!(listener.message().payload.len(), 500_000);
    assert_eq!(listener.heard(), "after");
    until_empty(&mut sql);
}

fn an_outbox_without_transactions_is_refused_until_it_is_mended(kind: Kind) {
    let [spoil, mend] =
        ["MyISAM", "InnoDB"].map(|engine| format!("ALTER TABLE rowcall.outbox ENGINE = {engine}"));
    refused_until_mended(kind, &spoil, "of the engine MyISAM", &mend);
}

fn a_schema_of_another_edition_is_refused_until_it_is_mended(kind: Kind) {
    let [spoil, mend] =
        ["number + 98", "number - 98"].map(|to| format!("UPDATE rowcall.edition SET number = {to}"));
    refused_until_mended(kind, &spoil, "is of edition 101", &mend);
}

fn refused_until_mended(kind: Kind, spoil: &str, words: &str, mend: &str) {
    let Some(mut site) = Site::committed(kind) else { return };
    site.daemon().stop();
    let mut sql = site.connect();
    sql.query(spoil).unwrap();
    site.start_committed_daemon_until(words);
    let mut listener = site.listener(&["a"]);
    sql.query("CALL rowcall.publish('a', 'it waits')").unwrap();
    listener.barrier();
    let outbox = site.daemon().varz()["outbox"].clone();
    assert_eq!((&outbox["state"], &outbox["handed_on"]), (&"waiting".into(), &0.into()), "{outbox}");
    assert!(outbox["why"].as_str().unwrap().contains(words), "{outbox}");
    assert_eq!(waiting(&mut sql), 1);
    sql.query(mend).unwrap();
    assert_eq!(listener.heard(), "it waits");
    until_empty(&mut sql);
}

fn a_switch_to_read_only_and_back_loses_nothing(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&["a"]);
    let mut sql = site.connect();
    for round in 0..2 {
        sql.query("SET GLOBAL read_only = 1").unwrap();
        eventually("the reader has noticed", || {
            (site.daemon().varz()["outbox"]["state"] == "waiting").then_some(())
        });
        site.daemon().child.says("the server is read-only");
        let refused = sql.query("CALL rowcall.publish('a', 'refused')").unwrap_err();
        assert_eq!(refused.number, READ_ONLY, "{refused}");
        // An administrator may write all the same.
        let meanwhile = format!("VALUES ('a', 'written meanwhile {round}')");
        sql.query(format!("INSERT INTO rowcall.outbox (subject, payload) {meanwhile}")).unwrap();
        listener.barrier();
        assert_eq!(waiting(&mut sql), 1);
        sql.query("SET GLOBAL read_only = 0").unwrap();
        assert_eq!(listener.heard(), format!("written meanwhile {round}"));
        until_empty(&mut sql);
    }
    listener.barrier();
    assert_eq!(site.daemon().varz()["outbox"]["handed_on"], 2);
}

/// All tables share one file that does not grow for ever, as on a disk that is full.
fn a_full_tablespace_loses_nothing(kind: Kind) {
    let full = ["--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:64M"];
    let Some(mut site) = Site::committed_with(kind, &full) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE ballast (content LONGBLOB)").unwrap();
    for _ in 0..8 {
        sql.query("INSERT INTO ballast VALUES (REPEAT('x', 1000000))").unwrap();
    }
    site.daemon().stop();
    hold_reader(&mut sql, 10);
    site.start_committed_daemon_until("standing by");
    let listener = site.listener(&["a"]);
    let reading = thread::spawn(move || listen(listener));
    // In smaller and smaller steps, until nothing at all has room.
    let mut committed = 0;
    for size in [500_000, 50_000, 5_000, 500] {
        let error = loop {
            let call = format!("CALL rowcall.publish('a', CONCAT('{committed} ', REPEAT('x', {size})))");
            match sql.query(call) {
                Ok(_) => committed += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.number, TABLE_FULL, "{error}");
    }
    assert_eq!(waiting(&mut sql), committed);
    release_reader(&mut sql);
    eventually("the first was handed on", || {
        (site.daemon().varz()["outbox"]["handed_on"] != 0).then_some(())
    });
    // Even that takes room, so it may take until the reader has deleted something.
    eventually("the ballast goes", || sql.query("DROP TABLE ballast").ok());
    until_empty(&mut sql);
    eventually("there is room again", || sql.query("CALL rowcall.publish('a', 'the end')").ok());
    let heard = reading.join().unwrap();
    let different: BTreeSet<&str> = heard.iter().filter_map(|payload| payload.split(' ').next()).collect();
    eprintln!("{kind:?}: {committed} committed in a full tablespace, {} heard", heard.len());
    assert_eq!(different.len() as u64, committed);
    site.server.assert_alive();
}
