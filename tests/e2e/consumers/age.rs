//! How old a consumer's event is: `--max-age` counts from its COMMIT by the server's real clock, whatever
//! the clock of its session says, however long its transaction was open, and while no daemon looks.

use super::workers::{add, number, pending, publish, run, until_number, with_consumer, worker};
use harness::outbox::until_empty;
use harness::{Kind, Site, eventually};
use rowcall_mysql::Connection;

on_each_server!(
    the_clock_of_a_session_makes_no_event_old,
    age_counts_from_the_commit_that_a_daemon_has_not_seen,
    an_event_that_was_committed_lately_is_sent_again,
);

/// Names what is in `pending`, in order.
fn kept(sql: &mut Connection) -> Vec<String> {
    let rows = sql.query("SELECT payload FROM rowcall.pending ORDER BY position").unwrap().rows;
    rows.iter().map(|row| String::from_utf8(row[0].clone().unwrap()).unwrap()).collect()
}

/// Whatever else was too old is gone once this one is, which was published before the others.
fn until_the_sentinel_is_dropped(site: &Site, sql: &mut Connection) {
    sql.query("UPDATE rowcall.pending SET created_at = created_at - INTERVAL 2 HOUR WHERE payload = 'old'")
        .unwrap();
    until_number(sql, "mail", "dropped", 1);
    // A sweep later as well.
    add(site, "later", "none", &[]);
    assert_eq!(number(sql, "mail", "dropped"), 1);
}

/// An event whose row says that it was written so long ago: as by a transaction that was open since, or
/// by a server whose SYSDATE() is NOW().
fn written(sql: &mut Connection, payload: &str, ago: &str) {
    let values = format!("('shop.orders', '{payload}', NOW(6) - INTERVAL {ago})");
    sql.query(format!("INSERT INTO rowcall.outbox (subject, payload, created_at) VALUES {values}")).unwrap();
}

fn the_clock_of_a_session_makes_no_event_old(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--max-age", "1h"]) else { return };
    let mut sql = site.connect();
    publish(&mut sql, "old");
    sql.query("CREATE TABLE t (id INT PRIMARY KEY)").unwrap();
    sql.query("CREATE TRIGGER r AFTER INSERT ON t FOR EACH ROW CALL rowcall.publish('shop.t', NEW.id)")
        .unwrap();
    let clocks = ["1", "1000000000.25", "UNIX_TIMESTAMP() - 7200", "UNIX_TIMESTAMP() + 7200", "2147483647"];
    let zones = ["+00:00", "-11:00", "+13:00", "SYSTEM"];
    let mut expected = Vec::new();
    for (n, clock) in clocks.iter().enumerate() {
        sql.query(format!("SET time_zone = '{}'", zones[n % zones.len()])).unwrap();
        sql.query(format!("SET timestamp = {clock}")).unwrap();
        publish(&mut sql, clock);
        sql.query(format!("INSERT INTO t VALUES ({n})")).unwrap();
        sql.query("SET timestamp = DEFAULT").unwrap();
        expected.extend([(*clock).to_owned(), n.to_string()]);
    }
    until_empty(&mut sql);
    let off = "SELECT COUNT(*) FROM rowcall.pending \
               WHERE ABS(TIMESTAMPDIFF(SECOND, created_at, NOW(6))) > 600 OR uncommitted_us > 600000000";
    assert_eq!(sql.value(off).unwrap().as_deref(), Some("0"), "it was written now");
    until_the_sentinel_is_dropped(&site, &mut sql);
    assert_eq!(kept(&mut sql), expected);
}

fn age_counts_from_the_commit_that_a_daemon_has_not_seen(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &["--max-age", "1h"]) else { return };
    let mut sql = site.connect();
    publish(&mut sql, "old");
    until_empty(&mut sql);
    // The daemon looks all the time, so these were committed just now.
    written(&mut sql, "open for long", "2 HOUR");
    written(&mut sql, "from the future", "-2 HOUR");
    until_empty(&mut sql);
    let ages = "SELECT ROUND(uncommitted_us / 3600000000) FROM rowcall.pending ORDER BY position";
    let ages: Vec<_> = sql.query(ages).unwrap().rows.into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(ages, [&b"0"[..], b"2", b"-2"]);
    until_the_sentinel_is_dropped(&site, &mut sql);
    assert_eq!(kept(&mut sql), ["open for long", "from the future"]);
    // What the future brings does not keep what is behind it: it has an age as well.
    sql.query("UPDATE rowcall.pending SET created_at = created_at - INTERVAL 2 HOUR").unwrap();
    until_number(&mut sql, "mail", "dropped", 3);
    assert_eq!(pending(&mut sql), 0);

    // A daemon that was away for longer than that cannot have seen it; after half an hour it may be younger.
    for (away, payload, dropped, left) in [("3 HOUR", "dropped", 4, 0), ("30 MINUTE", "kept", 4, 1)] {
        site.daemon().stop();
        written(&mut sql, payload, "2 HOUR");
        sql.query(format!("UPDATE rowcall.status SET refreshed_at = NOW(6) - INTERVAL {away}")).unwrap();
        site.start_committed_daemon();
        until_empty(&mut sql);
        until_number(&mut sql, "mail", "dropped", dropped);
        // A sweep later as well.
        add(&site, payload, "none", &[]);
        assert_eq!((number(&mut sql, "mail", "dropped"), pending(&mut sql)), (dropped, left), "{payload}");
    }
}

fn an_event_that_was_committed_lately_is_sent_again(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--max-age", "1h"]) else { return };
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    written(&mut sql, "open for long", "2 HOUR");
    let event = worker.message();
    worker.answer(&event, "+TERM");
    until_number(&mut sql, "mail", "parked", 1);
    let is_back = || site.daemon.as_ref().unwrap().varz()["outbox"]["consumers"][0]["unacked"] == 0;
    eventually("it is with nobody", || is_back().then_some(()));
    run(&site, &["parked", "retry", "--all"]);
    assert_eq!(worker.message().text(), "open for long");
}
