//! What the server refuses of single events is held aside and tried again: nothing else waits for it,
//! nothing that is in flight comes again, and nothing is lost. The daemon keeps its connection.

use super::consumers::workers::{add, number, publish, until_number, worker};
use harness::outbox::{reader, until_empty, waiting};
use harness::{Kind, Site, Terminal, eventually};
use rowcall_mysql::Connection;

on_each_server!(
    what_cannot_be_parked_is_held_and_touches_no_other_event,
    a_lock_on_the_outbox_brings_nothing_again,
    what_is_looked_after_does_not_wait_for_a_locked_row,
);

/// Events that are with a worker, who has not answered.
const IN_FLIGHT: usize = 20;

/// A consumer with so many events in flight.
fn with_events_in_flight(kind: Kind) -> Option<(Site, Connection, Terminal)> {
    let site = Site::committed(kind)?;
    add(&site, "mail", "shop.>", &["--max-deliveries", "1"]);
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    for n in 0..IN_FLIGHT {
        publish(&mut sql, &n.to_string());
        assert_eq!(worker.message().text(), n.to_string());
    }
    until_empty(&mut sql);
    Some((site, sql, worker))
}

fn held(site: &mut Site) -> (u64, String) {
    let outbox = site.daemon().varz()["outbox"].clone();
    (outbox["held"].as_u64().unwrap(), outbox["why"].as_str().unwrap_or_default().to_owned())
}

fn what_cannot_be_parked_is_held_and_touches_no_other_event(kind: Kind) {
    const BAD: u64 = 5;
    let Some((mut site, mut sql, mut worker)) = with_events_in_flight(kind) else { return };
    let before = reader(&mut sql);
    sql.query("RENAME TABLE rowcall.parked TO rowcall.elsewhere").unwrap();
    for _ in 0..BAD {
        sql.query("INSERT INTO rowcall.outbox (subject, payload) VALUES ('a..b', 'x')").unwrap();
    }
    eventually("they are held", || (held(&mut site).0 == BAD).then_some(()));
    assert!(held(&mut site).1.contains("1146"), "{:?}", held(&mut site));
    // Others go on, behind them too; one that its worker gives up is delivered no more.
    publish(&mut sql, "given up");
    let event = worker.message();
    assert_eq!(event.text(), "given up");
    worker.answer(&event, "+TERM");
    for n in 0..IN_FLIGHT {
        publish(&mut sql, &format!("good {n}"));
        let event = worker.message();
        assert_eq!(event.text(), format!("good {n}"));
        worker.answer(&event, "+ACK");
    }
    until_number(&mut sql, "mail", "settled", IN_FLIGHT as u64);
    eventually("all others have gone", || (waiting(&mut sql) == BAD).then_some(()));
    assert_eq!((number(&mut sql, "mail", "parked"), number(&mut sql, "", "parked")), (0, 0));
    assert_eq!((reader(&mut sql), number(&mut sql, "mail", "redelivered")), (before.clone(), 0));
    sql.query("RENAME TABLE rowcall.elsewhere TO rowcall.parked").unwrap();
    until_number(&mut sql, "", "parked", BAD);
    until_number(&mut sql, "mail", "parked", 1);
    until_empty(&mut sql);
    eventually("nothing is held", || (held(&mut site) == (0, String::new())).then_some(()));
    let reasons =
        sql.texts("SELECT reason, COUNT(*) FROM rowcall.parked GROUP BY reason ORDER BY reason").unwrap();
    assert_eq!(reasons, [["bad_subject", "5"], ["terminated", "1"]]);
    // The worker has had each event once: the next one that it hears is the next one.
    publish(&mut sql, "the end");
    assert_eq!(worker.message().text(), "the end");
    assert_eq!(reader(&mut sql), before);
}

fn a_lock_on_the_outbox_brings_nothing_again(kind: Kind) {
    let Some((mut site, mut sql, mut worker)) = with_events_in_flight(kind) else { return };
    let before = reader(&mut sql);
    let mut holder = site.connect();
    holder.query("LOCK TABLES rowcall.outbox WRITE").unwrap();
    eventually("the reader tells that it waits", || {
        let outbox = site.daemon().varz()["outbox"].clone();
        (outbox["state"] == "waiting" && outbox["why"].as_str()?.contains("1205")).then_some(())
    });
    holder.query("INSERT INTO rowcall.outbox (subject, payload) VALUES ('shop.orders', 'the end')").unwrap();
    holder.query("UNLOCK TABLES").unwrap();
    assert_eq!(worker.message().text(), "the end");
    eventually("it reads", || (site.daemon().varz()["outbox"]["state"] == "reading").then_some(()));
    assert_eq!((reader(&mut sql), number(&mut sql, "mail", "redelivered")), (before, 0));
}

/// One row of each kind is locked: its part waits, and the same for others is done.
fn what_is_looked_after_does_not_wait_for_a_locked_row(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let (mut sql, mut holder) = (site.connect(), site.connect());
    add(&site, "mail", "shop.>", &[]);
    sql.query(
        "INSERT INTO rowcall.parked (id, consumer, subject, payload, reason) VALUES \
         (1001, 'mail', 'shop.a', 'first', 'x'), (1002, 'mail', 'shop.a', 'second', 'x')",
    )
    .unwrap();
    holder.query("START TRANSACTION").unwrap();
    holder.query("SELECT 1 FROM rowcall.parked WHERE id = 1001 FOR UPDATE").unwrap();
    holder.query("INSERT INTO rowcall.status (consumer) VALUES ('slow')").unwrap();
    sql.query("INSERT INTO rowcall.retries (id, consumer) VALUES (1001, 'mail'), (1002, 'mail')").unwrap();
    let mut worker = worker(&site, "mail");
    assert_eq!(worker.message().text(), "second");
    // One whose numbers are locked is not taken up, and another one is.
    sql.query("INSERT INTO rowcall.consumers (name, filter) VALUES ('slow', 'a')").unwrap();
    add(&site, "quick", "shop.>", &[]);
    let slow = "SELECT COUNT(*) FROM rowcall.consumers WHERE name = 'slow' AND taken_up_at IS NULL";
    assert_eq!(sql.value(slow).unwrap().as_deref(), Some("1"));
    holder.query("ROLLBACK").unwrap();
    assert_eq!(worker.message().text(), "first");
    eventually("it is taken up", || (sql.value(slow).unwrap().as_deref() == Some("0")).then_some(()));
}
