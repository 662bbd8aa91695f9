//! Parked events that are sent again while applications publish, on servers where AUTO_INCREMENT is locked by
//! statements whose rows are not counted beforehand: publishers notice nothing.

use harness::outbox::until_empty;
use harness::{Kind, Site, eventually};
use rowcall_mysql::{Connection, Error};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

on_each_server!(publishers_notice_nothing_of_events_that_are_sent_again);

/// Events that are sent again in each round, and rounds.
const PARKED: u64 = 100;
const ROUNDS: u64 = 4;
const PUBLISHERS: usize = 4;

fn publishers_notice_nothing_of_events_that_are_sent_again(kind: Kind) {
    let Some(site) = Site::committed_with(kind, &["--innodb-autoinc-lock-mode=1"]) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE total (id INT PRIMARY KEY, n BIGINT)").unwrap();
    sql.query("INSERT INTO total VALUES (1, 0)").unwrap();
    sql.query("CREATE TABLE orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(9))").unwrap();
    sql.query(
        "CREATE TRIGGER ordered AFTER INSERT ON orders FOR EACH ROW BEGIN \
         CALL rowcall.publish('a', NEW.name); UPDATE total SET n = n + 1; END",
    )
    .unwrap();
    let over = AtomicBool::new(false);
    let published: u64 = thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                let mut sql = Connection::connect(&site.server.options()).unwrap();
                let over = &over;
                scope.spawn(move || publish_until(&mut sql, publisher, over))
            })
            .collect();
        for round in 0..ROUNDS {
            send_again(&mut sql, round);
        }
        over.store(true, Ordering::Relaxed);
        publishers.into_iter().map(|it| it.join().unwrap().unwrap()).sum()
    });
    until_empty(&mut sql);
    let mut site = site;
    assert_eq!(site.daemon().varz()["outbox"]["handed_on"], published + PARKED * ROUNDS);
}

/// Parks events that can be published by now, and asks for them.
fn send_again(sql: &mut Connection, round: u64) {
    let rows: Vec<String> = (1..=PARKED)
        .map(|n| format!("({}, 'a', REPEAT('x', 20000), 'bad_subject')", (round + 1) * 1_000_000_000 + n))
        .collect();
    sql.query(format!(
        "INSERT INTO rowcall.parked (id, subject, payload, reason) VALUES {}",
        rows.join(", ")
    ))
    .unwrap();
    sql.query("INSERT INTO rowcall.retries (id, consumer) SELECT id, consumer FROM rowcall.parked").unwrap();
    eventually("all are sent again", || {
        let left = sql.value("SELECT COUNT(*) FROM rowcall.parked").unwrap();
        (left.as_deref() == Some("0")).then_some(())
    });
}

/// Statements that publish and then wait for a row, or transactions that have the row and then publish: they
/// wait for each other, and there is no circle in that unless publishing waits, too. Gives how many events
/// committed, or what failed.
fn publish_until(sql: &mut Connection, publisher: usize, over: &AtomicBool) -> Result<u64, Error> {
    let mut committed = 0;
    while !over.load(Ordering::Relaxed) {
        if publisher.is_multiple_of(2) {
            sql.query("INSERT INTO orders (name) VALUES ('a'), ('b'), ('c')")?;
        } else {
            sql.query("START TRANSACTION")?;
            sql.query("UPDATE total SET n = n + 3")?;
            sql.query("INSERT INTO rowcall.outbox (subject, payload) VALUES ('a', '1'), ('a', '2')")?;
            sql.query("CALL rowcall.publish('a', '3')")?;
            sql.query("COMMIT")?;
        }
        committed += 3;
    }
    Ok(committed)
}
