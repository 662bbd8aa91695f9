//! Durable consumers when others misbehave: workers that want little or hand back everything, rows that
//! are wrong or locked, daemons that stand by or leave.

use super::workers::{
    add, number, pending, publish, publish_many, publish_with_key, run, until_number, until_settled,
    with_consumer, worker,
};
use harness::outbox::{hold_reader, reader, release_reader, until_empty};
use harness::{Kind, Site, Terminal, eventually};
use rowcall_mysql::Connection;

on_each_server!(
    a_worker_that_wants_one_gets_one,
    a_worker_that_hands_back_everything_holds_up_nobody_else,
    a_key_that_waits_leaves_room_for_others,
    a_row_that_makes_no_sense_costs_nothing,
    a_consumer_takes_its_numbers_along_when_it_is_renamed,
    a_locked_row_keeps_no_event_waiting,
    who_stands_by_delivers_nothing,
    leaving_is_no_failed_delivery,
    the_last_delivery_is_the_last_whoever_ends,
    what_is_too_old_is_not_sent_again,
);

/// A number of the first consumer, as the daemon has it in memory.
fn in_memory(site: &Site, name: &str) -> serde_json::Value {
    site.daemon.as_ref().unwrap().varz()["outbox"]["consumers"][0][name].clone()
}

fn a_worker_that_wants_one_gets_one(kind: Kind) {
    let Some(site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, 5);
    until_number(&mut sql, "mail", "pending", 5);
    let mut once = site.listener(&[]);
    once.send("SUB rowcall.consumer.mail 1\r\nUNSUB 1 1\r\n");
    let first = once.message();
    once.barrier();
    // It has had its one, and is in nobody's way.
    let mut worker = worker(&site, "mail");
    for n in 2..=5 {
        let event = worker.message();
        assert_eq!(event.text(), n.to_string());
        worker.answer(&event, "+ACK");
    }
    once.answer(&first, "+ACK");
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "delivered", 5);
}

fn a_worker_that_hands_back_everything_holds_up_nobody_else(kind: Kind) {
    const HANDED_BACK: u32 = 50_000;
    const MEMORY_MAX: u64 = 64 << 20;
    let Some(mut site) = with_consumer(kind, &["--max-deliveries", "0"]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, 200);
    let mut plain = site.listener(&["plain"]);
    let mut worker = worker(&site, "mail");
    for n in 1..=HANDED_BACK {
        let event = worker.message();
        worker.answer(&event, "-NAK {\"delay\":0}");
        if n % 10_000 == 0 {
            sql.query("CALL rowcall.publish('plain', 'x')").unwrap();
            assert_eq!(plain.heard(), "x");
        }
    }
    drop(worker);
    let peak = harness::process::resident_peak(site.daemon().child.pid());
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    let most = "SELECT COUNT(*) FROM rowcall.pending WHERE deliveries > 100";
    eventually("it is written down", || (sql.value(most).unwrap().as_deref() == Some("200")).then_some(()));
}

fn a_key_that_waits_leaves_room_for_others(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--backoff", "1h", "--max-deliveries", "0"]) else { return };
    let mut sql = site.connect();
    sql.query("START TRANSACTION").unwrap();
    (0..700).for_each(|_| publish_with_key(&mut sql, "a", "a"));
    (0..1000).for_each(|_| publish_with_key(&mut sql, "b", "b"));
    sql.query("COMMIT").unwrap();
    let mut worker = worker(&site, "mail");
    let first = worker.message();
    assert_eq!(first.text(), "a");
    worker.answer(&first, "-NAK");
    for _ in 0..1000 {
        let event = worker.message();
        assert_eq!(event.text(), "b");
        worker.answer(&event, "+ACK");
    }
    until_number(&mut sql, "mail", "settled", 1000);
}

fn a_row_that_makes_no_sense_costs_nothing(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, 3);
    until_number(&mut sql, "mail", "pending", 3);
    sql.query("UPDATE rowcall.consumers SET filter = 'shop..>', paused = 1").unwrap();
    site.daemon().child.says("stays what it was");
    publish(&mut sql, "4");
    until_number(&mut sql, "mail", "pending", 4);
    // Even a daemon that has never seen what it was leaves alone what waits.
    site.daemon().stop();
    site.start_committed_daemon_until("stays what it was");
    until_empty(&mut sql);
    sql.query("UPDATE rowcall.consumers SET filter = 'shop.>', paused = 0").unwrap();
    let mut worker = worker(&site, "mail");
    for n in 1..=4 {
        let event = worker.message();
        assert_eq!(event.text(), n.to_string());
        worker.answer(&event, "+ACK");
    }
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 4);
}

fn a_consumer_takes_its_numbers_along_when_it_is_renamed(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, 20);
    until_number(&mut sql, "mail", "pending", 20);
    sql.query("UPDATE rowcall.consumers SET name = 'post'").unwrap();
    let names = "SELECT GROUP_CONCAT(consumer) FROM rowcall.status WHERE consumer <> ''";
    let is =
        |sql: &mut Connection, name: &str| (sql.value(names).unwrap().as_deref() == Some(name)).then_some(());
    eventually("it has its new name", || is(&mut sql, "post"));
    assert_eq!(number(&mut sql, "post", "pending"), 20);
    // Also while no daemon sees it.
    site.daemon().stop();
    sql.query("UPDATE rowcall.consumers SET name = 'letters', max_rows = 5").unwrap();
    site.start_committed_daemon();
    eventually("it has its third name", || is(&mut sql, "letters"));
    until_number(&mut sql, "letters", "dropped", 15);
    assert_eq!(number(&mut sql, "letters", "pending"), 5);
}

fn a_locked_row_keeps_no_event_waiting(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--max-rows", "100"]) else { return };
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    publish(&mut sql, "before");
    let before = worker.message();
    until_number(&mut sql, "mail", "unacked", 1);
    let mut other = site.connect();
    other.query("START TRANSACTION").unwrap();
    other.query("SELECT * FROM rowcall.status WHERE consumer = '' FOR UPDATE").unwrap();
    let waits =
        || site.daemon.as_ref().unwrap().varz()["outbox"]["why"].as_str().map(|why| why.contains("1205"));
    // The sweep writes there, in vain.
    sql.query("CALL rowcall.publish('elsewhere', 'x')").unwrap();
    eventually("the reader says why it waits", || (waits() == Some(true)).then_some(()));
    publish(&mut sql, "meanwhile");
    let meanwhile = worker.message();
    assert_eq!(meanwhile.text(), "meanwhile");
    other.query("COMMIT").unwrap();
    // What was with a worker is still with it.
    worker.answer(&before, "+ACK");
    worker.answer(&meanwhile, "+ACK");
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "delivered", 2);
}

fn who_stands_by_delivers_nothing(kind: Kind) {
    let Some(site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    publish_many(&mut sql, 20);
    until_number(&mut sql, "mail", "pending", 20);
    let reader = reader(&mut sql).expect("a daemon reads");
    let mut killer = site.connect();
    std::thread::scope(|scope| {
        scope.spawn(|| hold_reader(&mut sql, 30));
        let waiting =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT GET_LOCK%, 30)'";
        eventually("someone waits for the lock", || {
            (killer.value(waiting).unwrap().as_deref() != Some("0")).then_some(())
        });
        killer.query(format!("KILL {reader}")).unwrap();
    });
    let state = || site.daemon.as_ref().unwrap().varz()["outbox"]["state"] == "standing_by";
    eventually("it stands by", || state().then_some(()));
    let mut worker = worker(&site, "mail");
    worker.barrier();
    release_reader(&mut sql);
    for n in 1..=20 {
        let event = worker.message();
        assert_eq!(event.text(), n.to_string());
        worker.answer(&event, "+ACK");
    }
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "delivered", 20);
}

fn leaving_is_no_failed_delivery(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &["--backoff", "1h"]) else { return };
    let mut sql = site.connect();
    let mut worker = Terminal::unix(&site.daemon().socket).hello();
    worker.send("SUB rowcall.consumer.mail 1\r\n");
    publish_many(&mut sql, 200);
    for _ in 0..200 {
        worker.message();
    }
    until_empty(&mut sql);
    site.daemon().stop();
    let open =
        "SELECT COUNT(*) FROM rowcall.pending WHERE deliveries = 1 AND due_at IS NULL AND history IS NULL";
    assert_eq!(sql.value(open).unwrap().as_deref(), Some("200"), "they were delivered, and did not fail");
}

fn the_last_delivery_is_the_last_whoever_ends(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &["--max-deliveries", "1"]) else { return };
    let mut sql = site.connect();
    let mut first = worker(&site, "mail");
    publish(&mut sql, "x");
    first.message();
    let noted = "SELECT COUNT(*) FROM rowcall.pending WHERE deliveries = 1";
    eventually("it is noted", || (sql.value(noted).unwrap().as_deref() == Some("1")).then_some(()));
    site.daemon().kill();
    site.start_committed_daemon();
    let mut second = worker(&site, "mail");
    until_number(&mut sql, "mail", "parked", 1);
    second.barrier();
    assert_eq!(pending(&mut sql), 0);
    let history = sql.value("SELECT CONCAT(reason, ': ', history) FROM rowcall.parked").unwrap().unwrap();
    assert!(history.starts_with("max_deliveries: ") && history.contains("the daemon"), "{history}");
}

fn what_is_too_old_is_not_sent_again(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &["--max-age", "1h"]) else { return };
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    publish(&mut sql, "x");
    let event = worker.message();
    worker.answer(&event, "+TERM");
    until_number(&mut sql, "mail", "parked", 1);
    let parked = || (in_memory(&site, "unacked") == 0).then_some(());
    eventually("it is with nobody", parked);
    sql.query("UPDATE rowcall.parked SET created_at = created_at - INTERVAL 2 HOUR").unwrap();
    run(&site, &["parked", "retry", "--all"]);
    site.daemon().child.says("not sent again");
    let there = "SELECT COUNT(*) FROM rowcall.parked";
    assert_eq!(sql.value(there).unwrap().as_deref(), Some("1"), "it stays where it was");
    add(&site, "other", "none", &[]);
    assert_eq!((number(&mut sql, "mail", "dropped"), pending(&mut sql)), (0, 0));
}
