//! Durable consumers, one promise at a time: whoever works on events acknowledges them as JetStream's
//! official client does, and what nobody has acknowledged comes again, whatever ended in between. What
//! happens at limits stands in consumers/limits.rs, how old they get in consumers/age.rs, what is not a genuine
//! event or answer in consumers/forged.rs, what is with a worker of ours in consumers/held.rs, and when the daemon
//! restarts in consumers/restarts.rs, and what does when others misbehave in consumers/bad_days.rs.

mod age;
mod bad_days;
mod forged;
mod held;
mod limits;
mod restarts;
pub mod workers;

use async_nats::jetstream::AckKind;
use harness::{Kind, Site, eventually};
use std::time::Duration;
use workers::{
    Official, add, deliveries, number, payload, pending, publish, publish_with_key, run, until_number,
    until_settled, with_consumer, worker,
};

on_each_server!(
    an_official_client_acknowledges,
    an_answer_is_confirmed_to_its_worker_only,
    what_is_not_acknowledged_comes_again,
    what_fails_too_often_is_parked_and_can_be_sent_again,
    a_worker_that_gives_up_parks_the_event,
    a_worker_that_crashes_gets_its_event_again,
    events_of_one_key_wait_for_each_other,
    what_waits_survives_daemon_and_server,
    consumers_get_what_matches_and_nothing_from_before,
);

fn an_official_client_acknowledges(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--backoff", "1ms"]) else { return };
    let mut sql = site.connect();
    let mut official = Official::start(&site);
    for payload in ["one", "two", "three"] {
        publish(&mut sql, payload);
    }
    let first = official.next();
    assert_eq!((payload(&first), first.subject.as_str(), deliveries(&first)), ("one", "shop.orders", None));
    let info = first.info().unwrap();
    assert_eq!((info.stream, info.consumer, info.delivered), ("rowcall", "mail", 1));
    let id = first.headers.as_ref().unwrap().get("Rowcall-Id").unwrap().as_str();
    assert_eq!(info.stream_sequence.to_string(), id);
    official.runtime.block_on(first.ack()).unwrap();
    let second = official.next();
    // It is confirmed once it is written down.
    official.runtime.block_on(second.double_ack()).unwrap();
    let gone = sql.value(format!(
        "SELECT COUNT(*) FROM rowcall.pending WHERE id = {}",
        second.info().unwrap().stream_sequence
    ));
    assert_eq!(gone.unwrap().as_deref(), Some("0"));
    let third = official.next();
    official.answer(&third, AckKind::Progress);
    official.answer(&third, AckKind::Nak(None));
    let again = official.next();
    assert_eq!(
        (payload(&again), deliveries(&again), again.info().unwrap().delivered),
        ("three", Some("2"), 2)
    );
    // An empty answer is an acknowledgement, too.
    let reply = again.reply.clone().unwrap();
    official.runtime.block_on(official.context.client().publish(reply, "".into())).unwrap();
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 3);
    until_number(&mut sql, "mail", "redelivered", 1);
    assert_eq!(number(&mut sql, "mail", "pending"), 0);
}

/// Or a worker could have the daemon publish where he may not himself.
fn an_answer_is_confirmed_to_its_worker_only(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    let mut others = site.listener(&["theirs.>", "shared.>"]);
    let mut it = worker(&site, "mail");
    // As clients do who listen for one answer.
    it.send("SUB shared.* 2\r\nUNSUB 2 1\r\n");
    for inbox in ["theirs.in", "shared.in"] {
        publish(&mut sql, "x");
        let event = it.message();
        it.send(format!("PUB {} {inbox} 4\r\n+ACK\r\n", event.reply.unwrap()));
    }
    it.expect("MSG shared.in 2 0\r\n\r\n");
    until_settled(&mut sql);
    others.barrier();
    it.barrier();
    let subscriptions = &site.daemon().varz()["subscriptions"];
    assert_eq!(subscriptions, 3, "that for one answer is over");
}

fn what_is_not_acknowledged_comes_again(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--ack-wait", "300ms", "--backoff", "1ms"]) else { return };
    let mut sql = site.connect();
    let mut official = Official::start(&site);
    publish(&mut sql, "x");
    for expected in [None, Some("2"), Some("3")] {
        assert_eq!(deliveries(&official.next()), expected);
    }
    let last = official.next();
    official.answer(&last, AckKind::Nak(Some(Duration::from_millis(1))));
    let last = official.next();
    assert_eq!(deliveries(&last), Some("5"));
    official.answer(&last, AckKind::Ack);
    // Saying it twice changes nothing.
    official.answer(&last, AckKind::Ack);
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 1);
}

fn what_fails_too_often_is_parked_and_can_be_sent_again(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--max-deliveries", "3", "--backoff", "1ms,2ms"]) else { return };
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    publish(&mut sql, "poison");
    publish(&mut sql, "fine");
    for _ in 0..4 {
        let event = worker.message();
        worker.answer(&event, if event.text() == "fine" { "+ACK" } else { "-NAK" });
    }
    until_settled(&mut sql);
    let parked = sql.query("SELECT consumer, payload, reason, history FROM rowcall.parked").unwrap().rows;
    let text = |column: usize| String::from_utf8(parked[0][column].clone().unwrap()).unwrap();
    assert_eq!(
        (parked.len(), text(0), text(1), text(2)),
        (1, "mail".into(), "poison".into(), "max_deliveries".into())
    );
    assert_eq!(text(3).lines().count(), 3, "{}", text(3));
    assert!(
        text(3).lines().last().unwrap().contains("delivery 3: its worker could not do it"),
        "{}",
        text(3)
    );
    let shown = run(&site, &["parked", "list"]);
    assert!(shown.contains("mail") && shown.contains("max_deliveries"), "{shown}");
    let retried = run(&site, &["parked", "retry", "--all"]);
    assert!(retried.contains('1'), "{retried}");
    let event = worker.message();
    assert_eq!(event.text(), "poison");
    assert!(!event.headers.contains("Rowcall-Deliveries"), "it begins anew: {}", event.headers);
    worker.answer(&event, "");
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 2);
    assert_eq!((number(&mut sql, "mail", "parked"), number(&mut sql, "mail", "pending")), (1, 0));
    assert_eq!(sql.value("SELECT COUNT(*) FROM rowcall.parked").unwrap().as_deref(), Some("0"));
}

fn a_worker_that_gives_up_parks_the_event(kind: Kind) {
    let Some(site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    let mut official = Official::start(&site);
    publish(&mut sql, "x");
    let event = official.next();
    official.answer(&event, AckKind::Term);
    until_settled(&mut sql);
    let parked = sql.value("SELECT CONCAT(consumer, ' ', reason) FROM rowcall.parked").unwrap();
    assert_eq!(parked.as_deref(), Some("mail terminated"));
    until_number(&mut sql, "mail", "parked", 1);
}

fn a_worker_that_crashes_gets_its_event_again(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--backoff", "1ms"]) else { return };
    let mut sql = site.connect();
    let mut first = worker(&site, "mail");
    publish(&mut sql, "x");
    assert_eq!(first.message().text(), "x");
    drop(first);
    // The ack wait is 30 s; its end is noticed at once.
    let mut second = worker(&site, "mail");
    let event = second.message();
    assert_eq!(event.text(), "x");
    assert!(event.headers.contains("Rowcall-Deliveries: 2\r\n"), "{}", event.headers);
    second.answer(&event, "+ACK");
    until_settled(&mut sql);
    let history = sql.value("SELECT COUNT(*) FROM rowcall.parked").unwrap();
    assert_eq!(history.as_deref(), Some("0"));
}

fn events_of_one_key_wait_for_each_other(kind: Kind) {
    let Some(site) = with_consumer(kind, &["--backoff", "1ms"]) else { return };
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    for (key, payload) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")] {
        publish_with_key(&mut sql, key, payload);
    }
    let (a1, b1) = (worker.message(), worker.message());
    assert_eq!([a1.text(), b1.text()], ["a1", "b1"]);
    // The first of a key comes again before its next one comes at all.
    worker.answer(&a1, "-NAK");
    let a1 = worker.message();
    assert_eq!(a1.text(), "a1");
    worker.answer(&b1, "+ACK");
    let b2 = worker.message();
    assert_eq!(b2.text(), "b2");
    worker.answer(&a1, "+ACK");
    let a2 = worker.message();
    assert_eq!(a2.text(), "a2");
    worker.answer(&a2, "+TERM");
    let a3 = worker.message();
    assert_eq!(a3.text(), "a3");
    worker.answer(&a3, "+ACK");
    worker.answer(&b2, "+ACK");
    until_settled(&mut sql);
}

fn what_waits_survives_daemon_and_server(kind: Kind) {
    // Tests' servers flush once a second, and what a crash takes back there is no event.
    let durable = ["--innodb-flush-log-at-trx-commit=1"];
    let Some(mut site) = Site::committed_with(kind, &durable) else { return };
    add(&site, "mail", "shop.>", &["--backoff", "1ms"]);
    let mut sql = site.connect();
    {
        let mut worker = worker(&site, "mail");
        for n in 1..=20 {
            publish(&mut sql, &n.to_string());
        }
        for n in 1..=20 {
            let event = worker.message();
            assert_eq!(event.text(), n.to_string());
            if n <= 10 {
                worker.answer(&event, "+ACK");
            }
        }
        eventually("ten are settled", || (pending(&mut sql) == 10).then_some(()));
        let noted = "SELECT COUNT(*) FROM rowcall.pending WHERE deliveries = 1";
        eventually("ten are noted", || (sql.value(noted).unwrap().as_deref() == Some("10")).then_some(()));
    }
    site.daemon().kill();
    site.server.crash();
    site.server.restart();
    site.start_committed_daemon();
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    for n in 11..=20 {
        let event = worker.message();
        assert_eq!(event.text(), n.to_string());
        assert!(event.headers.contains("Rowcall-Deliveries: 2\r\n"), "{}", event.headers);
        worker.answer(&event, "+ACK");
    }
    publish(&mut sql, "the next");
    let event = worker.message();
    assert_eq!(event.text(), "the next");
    worker.answer(&event, "+ACK");
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 21);
}

fn consumers_get_what_matches_and_nothing_from_before(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let mut plain = site.listener(&["shop.>"]);
    publish(&mut sql, "from before");
    assert_eq!(plain.heard(), "from before");
    add(&site, "mail", "shop.>", &[]);
    add(&site, "stock", "*.stock", &[]);
    sql.query("CALL rowcall.publish('shop.stock', 'both')").unwrap();
    publish(&mut sql, "mail only");
    let (mut mail, mut stock) = (worker(&site, "mail"), worker(&site, "stock"));
    for expected in ["both", "mail only"] {
        assert_eq!(plain.heard(), expected);
        let event = mail.message();
        assert_eq!(event.text(), expected);
        mail.answer(&event, "+ACK");
    }
    let event = stock.message();
    assert_eq!(event.text(), "both");
    until_number(&mut sql, "stock", "pending", 1);
    stock.answer(&event, "+ACK");
    until_settled(&mut sql);
    // Someone who listens to everything is no worker.
    let mut everything = site.listener(&[">"]);
    publish(&mut sql, "last");
    let event = mail.message();
    assert_eq!((event.text(), everything.heard().as_str()), ("last", "last"));
    mail.answer(&event, "+ACK");
    until_settled(&mut sql);
}
