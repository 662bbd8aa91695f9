//! Events and answers that do not come from where they should: only the outbox gives events to a durable
//! consumer's workers, and only those workers say what became of them.

use super::workers::{pending, publish, until_number, until_settled, with_consumer, worker};
use harness::{Kind, Terminal};
use rowcall_mysql::Connection;
use serde_json::json;

on_each_server!(only_the_outbox_gives_events_to_workers, only_workers_say_what_became_of_an_event);

/// The value of an expression, and why it is what it is.
fn of(sql: &mut Connection, expression: &str) -> (Option<String>, Option<String>) {
    let value = sql.value(format!("SELECT {expression}")).unwrap();
    (value, sql.value("SELECT rowcall_last_error()").unwrap())
}

fn forbidden(value: Option<&str>) -> (Option<String>, Option<String>) {
    (value.map(str::to_owned), Some("forbidden".into()))
}

/// Publishes, and is told that it may not.
fn refused(it: &mut Terminal, subject: &str, reply: &str) {
    it.send(format!("PUB {subject} {reply} 4\r\n+ACK\r\n"));
    it.expect(format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n"));
}

fn only_the_outbox_gives_events_to_workers(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    worker.send("SUB ask 2\r\n");
    worker.barrier();
    let headers = "'x', 'Rowcall-Id', '1'";
    for call in [
        format!("rowcall_notify('rowcall.consumer.mail', {headers})"),
        format!("rowcall_notify('$JS.ACK.rowcall.mail.1.1.1.0.0', {headers})"),
        format!("rowcall_notify('$ROWCALL.parked.retry', {headers})"),
        "rowcall_emit('rowcall.consumer.mail', 1 AS a)".into(),
    ] {
        assert_eq!(of(&mut sql, &call), forbidden(Some("0")), "{call}");
    }
    for call in [
        "rowcall_request('rowcall.consumer.mail', 'x', 60000)",
        "rowcall_submit('rowcall.consumer.mail', 'x')",
        // It cannot acknowledge, so each time would count as a delivery that failed.
        "rowcall_wait('rowcall.consumer.mail', 60000)",
    ] {
        assert_eq!(of(&mut sql, call), forbidden(None), "{call}");
    }
    let status = site.status();
    assert_eq!(status["dropped_by_reason"], json!({"forbidden": 5}), "{status}");
    let ack = "$JS.ACK.rowcall.mail.1.1.1.0.0";
    let mut strangers = [site.listener(&[]), Terminal::unix(&site.daemon().socket).hello()];
    for it in &mut strangers {
        refused(it, "rowcall.consumer.mail", "");
        refused(it, "$ROWCALL.parked.drop", "");
        // A worker who answers a request would make an event, or settle one.
        refused(it, "ask", "rowcall.consumer.mail");
        refused(it, "ask", ack);
    }
    let mut http = site.daemon().visit();
    for call in ["publish/rowcall.consumer.mail", "request/rowcall.consumer.mail", &format!("publish/{ack}")]
    {
        let answer = http.ask(&format!("POST /{call}"), "Rowcall-Header-Rowcall-Id: 1\r\n", "x");
        assert_eq!(answer.status, 403, "{call}: {answer:?}");
    }
    // The library's own refusals the daemon never sees, but for `rowcall_wait`.
    let varz = site.daemon().varz();
    assert_eq!(varz["forbidden"], json!({"publish": 11, "subscribe": 0, "sql": 1}), "{varz}");
    // What is committed is no exception.
    sql.query("CALL rowcall.publish('rowcall.consumer.mail', 'x')").unwrap();
    sql.query("CALL rowcall.publish_with('shop.a', 'x', 'Rowcall-Id: 9')").unwrap();
    publish(&mut sql, "genuine");
    let event = worker.message();
    assert_eq!((event.subject.as_str(), event.text()), ("shop.orders", "genuine"));
    worker.answer(&event, "+ACK");
    until_settled(&mut sql);
    let parked = "SELECT GROUP_CONCAT(subject, ' ', reason ORDER BY id SEPARATOR ', ') FROM rowcall.parked";
    let expected = "rowcall.consumer.mail forbidden, shop.a bad_header";
    assert_eq!(sql.value(parked).unwrap().as_deref(), Some(expected));
}

fn only_workers_say_what_became_of_an_event(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &[]) else { return };
    let mut sql = site.connect();
    let mut first = worker(&site, "mail");
    publish(&mut sql, "x");
    let event = first.message();
    let reply = event.reply.clone().unwrap();
    let mut strangers = [site.listener(&[">"]), Terminal::unix(&site.daemon().socket).hello()];
    strangers.iter_mut().for_each(|it| refused(it, &reply, ""));
    assert_eq!(of(&mut sql, &format!("rowcall_notify('{reply}', '+ACK')")), forbidden(Some("0")));
    assert_eq!(site.daemon().visit().ask(&format!("POST /publish/{reply}"), "", "+ACK").status, 403);
    until_number(&mut sql, "mail", "unacked", 1);
    assert_eq!(pending(&mut sql), 1);
    // Someone who works for the consumer may: a client that has connected again, say.
    let mut second = worker(&site, "mail");
    second.answer(&event, "+ACK");
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 1);
    first.barrier();
    second.barrier();
}
