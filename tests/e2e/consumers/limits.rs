//! How much of a durable consumer's events is where: with workers, in memory, in the table; and what
//! happens at the limits.

use super::workers::{
    add, number, pending, publish, publish_many, run, until_number, until_settled, with_consumer, worker,
};
use harness::outbox::until_empty;
use harness::{Kind, Site, eventually};

on_each_server!(
    no_more_are_with_workers_than_was_said,
    events_beyond_the_limits_are_dropped_and_counted,
    a_paused_consumer_is_given_nothing,
    a_consumer_that_is_gone_leaves_nothing,
    more_waits_than_fits_in_memory,
    a_log_of_statements_will_do,
);

fn no_more_are_with_workers_than_was_said(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--max-unacked", "2"]) else { return };
    let mut sql = site.connect();
    let (mut first, mut second) = (worker(&site, "mail"), worker(&site, "mail"));
    for n in 1..=5 {
        publish(&mut sql, &n.to_string());
    }
    // Each worker has one: who has the least gets the next.
    let (one, two) = (first.message(), second.message());
    until_empty(&mut sql);
    let mut both = [one.text(), two.text()];
    both.sort_unstable();
    assert_eq!(both, ["1", "2"]);
    until_number(&mut sql, "mail", "unacked", 2);
    first.barrier();
    second.barrier();
    assert_eq!((number(&mut sql, "mail", "delivered"), number(&mut sql, "mail", "pending")), (2, 5));
    first.answer(&one, "+ACK");
    let three = first.message();
    assert_eq!(three.text(), "3");
    second.answer(&two, "+ACK");
    assert_eq!(second.message().text(), "4");
}

fn events_beyond_the_limits_are_dropped_and_counted(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &["--max-rows", "10"]) else { return };
    add(&site, "young", "shop.>", &["--max-age", "1s"]);
    let mut sql = site.connect();
    for n in 1..=30 {
        publish(&mut sql, &n.to_string());
    }
    until_number(&mut sql, "mail", "dropped", 20);
    until_number(&mut sql, "young", "dropped", 30);
    assert_eq!((number(&mut sql, "mail", "pending"), number(&mut sql, "young", "pending")), (10, 0));
    site.daemon().child.says("dropped");
    let mut worker = worker(&site, "mail");
    for n in 21..=30 {
        let event = worker.message();
        assert_eq!(event.text(), n.to_string());
        worker.answer(&event, "+ACK");
    }
    until_settled(&mut sql);
}

fn a_paused_consumer_is_given_nothing(kind: Kind) {
    let Some(site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    run(&site, &["consumer", "pause", "mail"]);
    let paused = || site.daemon.as_ref().unwrap().varz()["outbox"]["consumers"][0]["paused"] == true;
    eventually("it is paused", || paused().then_some(()));
    publish(&mut sql, "x");
    until_number(&mut sql, "mail", "pending", 1);
    worker.barrier();
    run(&site, &["consumer", "resume", "mail"]);
    let event = worker.message();
    assert_eq!(event.text(), "x");
    worker.answer(&event, "+ACK");
    until_settled(&mut sql);
}

fn a_consumer_that_is_gone_leaves_nothing(kind: Kind) {
    let Some(site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, 1500);
    until_number(&mut sql, "mail", "pending", 1500);
    run(&site, &["consumer", "rm", "mail", "--yes"]);
    eventually("nothing is pending", || (pending(&mut sql) == 0).then_some(()));
    let status = "SELECT COUNT(*) FROM rowcall.status WHERE consumer = 'mail'";
    eventually("it has no status", || (sql.value(status).unwrap().as_deref() == Some("0")).then_some(()));
    add(&site, "mail", "shop.>", &[]);
    publish(&mut sql, "new");
    let mut worker = worker(&site, "mail");
    let event = worker.message();
    assert_eq!(event.text(), "new");
    worker.answer(&event, "+ACK");
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 1);
}

/// The window in memory holds a thousand and some; the rest is loaded from the table, in order.
fn more_waits_than_fits_in_memory(kind: Kind) {
    const EVENTS: u64 = 5000;
    let Some(site) = with_consumer(kind, &["--max-unacked", "10"]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, EVENTS);
    let mut worker = worker(&site, "mail");
    for n in 1..=EVENTS {
        let event = worker.message();
        assert_eq!(event.text(), n.to_string());
        worker.answer(&event, "");
    }
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", EVENTS);
}

/// There InnoDB wants REPEATABLE READ, whose writes lock more than the rows that they find.
fn a_log_of_statements_will_do(kind: Kind) {
    let arguments = ["--log-bin=binlog", "--server-id=1", "--binlog-format=STATEMENT"];
    let Some(site) = Site::committed_with(kind, &arguments) else { return };
    add(&site, "mail", "shop.>", &["--backoff", "1ms", "--max-deliveries", "2"]);
    add(&site, "few", "shop.>", &["--max-rows", "5"]);
    let mut sql = site.connect();
    // A transaction that has written an event and stays open: whoever waits for it waits for ever.
    let mut open = site.connect();
    open.query("START TRANSACTION").unwrap();
    publish(&mut open, "late");
    let mut worker = worker(&site, "mail");
    for n in 1..=20 {
        publish(&mut sql, &n.to_string());
    }
    for n in (1..=20).chain([7, 8]) {
        let event = worker.message();
        assert_eq!(event.text(), n.to_string());
        worker.answer(
            &event,
            match n {
                7 => "-NAK {\"delay\": 500000000}",
                8 => "-NAK {\"delay\": 600000000}",
                9 => "+TERM",
                _ => "+ACK",
            },
        );
    }
    until_number(&mut sql, "mail", "parked", 3);
    until_number(&mut sql, "few", "dropped", 15);
    open.query("COMMIT").unwrap();
    let event = worker.message();
    assert_eq!(event.text(), "late");
    worker.answer(&event, "+ACK");
    until_number(&mut sql, "mail", "settled", 18);
    until_empty(&mut sql);
    until_number(&mut sql, "few", "dropped", 16);
    assert_eq!((number(&mut sql, "mail", "pending"), number(&mut sql, "few", "pending")), (0, 5));
    let waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'";
    let waits = String::from_utf8(sql.query(waits).unwrap().rows[0][1].clone().unwrap()).unwrap();
    assert_eq!(waits, "0");
}
