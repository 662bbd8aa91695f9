//! Workers who come by HTTP: requests taken and answered, events of durable consumers taken and settled;
//! what becomes of both when the worker goes.

use super::{daemon, subscriptions, with_headers};
use crate::consumers::workers::{number, publish, until_number, until_settled, with_consumer};
use harness::http::Answer;
use harness::{Http, Kind, Site};

on_each_server!(
    sql_asks_and_a_worker_by_http_answers,
    events_are_taken_and_settled,
    an_event_that_was_got_stays_with_its_worker,
    an_event_that_was_not_got_goes_to_the_next,
);

#[track_caller]
fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("Rowcall-Token").unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

fn say(http: &mut Http, what: &str, body: &str) -> (u16, String) {
    let answer = http.ask(&format!("POST /{what}"), "", body);
    (answer.status, answer.text().trim_end().to_owned())
}

#[test]
fn a_request_is_taken_and_answered() {
    let (_folder, daemon) = daemon("");
    let mut asking = daemon.terminal().hello();
    asking.send("SUB inbox 1\r\n");
    asking.barrier();
    let mut worker = daemon.visit();
    worker.request("POST /work/price.%3E?queue=calculators", "", "");
    // A second one of the same group: the request goes to one of them.
    let mut other = daemon.visit();
    other.request("POST /work/price.apple?queue=calculators&timeout=10ms", "", "");
    assert_eq!(other.answer().status, 204);
    subscriptions(&daemon, 2);
    asking.send(with_headers("price.apple inbox", "Unit: kg\r\n", "1 kg"));
    let taken = worker.answer();
    assert_eq!((taken.text(), taken.header("Rowcall-Subject")), ("1 kg", Some("price.apple")));
    assert_eq!((taken.header("Rowcall-Header-Unit"), taken.header("Rowcall-Reply")), (Some("kg"), None));
    let token = token(&taken);
    assert_eq!(token.len(), 32);
    // The answer may come on another connection.
    drop(worker);
    assert_eq!(say(&mut other, &format!("ack/{token}"), "").0, 409);
    let answer = other.ask(&format!("POST /reply/{token}"), "Rowcall-Header-Currency: EUR\r\n", "2.50");
    assert_eq!((answer.status, answer.text()), (200, "{\"heard\":true}\n"));
    let reply = asking.message();
    assert_eq!((reply.text(), reply.headers.contains("Currency: EUR\r\n")), ("2.50", true));
    assert_eq!(say(&mut other, &format!("reply/{token}"), "again").0, 404);
    assert_eq!(say(&mut other, "reply/0123", "guessed").0, 404);
    let varz = daemon.varz();
    let tokens = &varz["http"]["tokens"];
    assert_eq!((&tokens["given"], &tokens["used"], &tokens["unknown"]), (&1.into(), &1.into(), &2.into()));
    // What wants no answer has no token.
    other.request("POST /work/news", "", "");
    subscriptions(&daemon, 2);
    asking.send("PUB news 1\r\nx\r\n");
    let taken = other.answer();
    assert_eq!((taken.status, taken.header("Rowcall-Token")), (200, None));
    for (path, status) in
        [("work/a..b", 400), ("work/a?queue=", 400), ("work/a?queue=a+b", 400), ("nak/1?delay=2d", 400)]
    {
        assert_eq!(say(&mut other, path, "").0, status, "{path}");
    }
    assert_eq!(other.ask("GET /work/a", "", "").status, 405);
}

fn sql_asks_and_a_worker_by_http_answers(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut worker = site.daemon().visit();
    worker.request("POST /work/price", "", "");
    subscriptions(site.daemon(), 1);
    let mut sql = site.connect();
    let asking =
        std::thread::spawn(move || sql.value("SELECT rowcall_request('price', 'apple', 20000)").unwrap());
    let taken = worker.answer();
    assert_eq!(taken.text(), "apple");
    let heard = say(&mut worker, &format!("reply/{}", token(&taken)), "2.50");
    assert_eq!(heard, (200, "{\"heard\":true}".into()));
    assert_eq!(asking.join().unwrap().as_deref(), Some("2.50"));
}

/// Takes an event of the consumer `mail`.
#[track_caller]
fn take(http: &mut Http, payload: &str, deliveries: Option<&str>) -> String {
    let answer = http.ask("POST /work/rowcall.consumer.mail?timeout=60s", "", "");
    assert_eq!(answer.text(), payload);
    assert_eq!(answer.header("Rowcall-Header-Rowcall-Deliveries"), deliveries);
    assert_eq!(answer.header("Rowcall-Subject"), Some("shop.orders"));
    assert!(answer.header("Rowcall-Header-Rowcall-Id").is_some());
    token(&answer)
}

fn events_are_taken_and_settled(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &["--backoff", "1ms"]) else { return };
    let mut sql = site.connect();
    let mut http = site.daemon().visit();
    for payload in ["one", "two", "three"] {
        publish(&mut sql, payload);
    }
    let one = take(&mut http, "one", None);
    assert_eq!(say(&mut http, &format!("reply/{one}"), "").0, 409);
    assert_eq!(say(&mut http, &format!("progress/{one}"), ""), (204, String::new()));
    assert_eq!(say(&mut http, &format!("ack/{one}"), ""), (204, String::new()));
    assert_eq!(say(&mut http, &format!("ack/{one}"), "").0, 404);
    let two = take(&mut http, "two", None);
    let three = take(&mut http, "three", None);
    assert_eq!(say(&mut http, &format!("term/{three}"), "").0, 204);
    assert_eq!(say(&mut http, &format!("nak/{two}?delay=10ms"), "").0, 204);
    let two = take(&mut http, "two", Some("2"));
    assert_eq!(say(&mut http, &format!("nak/{two}"), "").0, 204);
    let two = take(&mut http, "two", Some("3"));
    assert_eq!(say(&mut http, &format!("ack/{two}"), "").0, 204);
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 2);
    assert_eq!(number(&mut sql, "mail", "parked"), 1);
    let answer = http.ask("POST /work/rowcall.consumer.mail?timeout=1ms", "", "");
    assert_eq!(answer.status, 204);
    let refused = http.ask("GET /next/rowcall.consumer.mail", "", "");
    assert!(refused.status == 400 && refused.text().contains("POST /work"), "{refused:?}");
}

fn an_event_that_was_got_stays_with_its_worker(kind: Kind) {
    let Some(mut site) = with_consumer(kind, &["--backoff", "1ms", "--ack-wait", "1h"]) else { return };
    let mut sql = site.connect();
    publish(&mut sql, "one");
    // As curl does: a connection for each request.
    let one = take(&mut site.daemon().visit(), "one", None);
    publish(&mut sql, "two");
    let two = take(&mut site.daemon().visit(), "two", None);
    for token in [one, two] {
        assert_eq!(say(&mut site.daemon().visit(), &format!("ack/{token}"), "").0, 204);
    }
    until_settled(&mut sql);
    let redelivered = number(&mut sql, "mail", "redelivered");
    assert_eq!(redelivered, 0, "nothing was taken back when its connection ended");
}

fn an_event_that_was_not_got_goes_to_the_next(kind: Kind) {
    // More than sockets hold, and less than a consumer has in memory, 8 MiB.
    const EVENTS: usize = 8;
    const SIZE: usize = 900_000;
    let Some(mut site) = with_consumer(kind, &["--backoff", "1ms", "--ack-wait", "1h"]) else { return };
    let mut sql = site.connect();
    // One who waits and hangs up has had nothing.
    let mut leaving = site.daemon().visit();
    leaving.request("POST /work/rowcall.consumer.mail", "", "");
    subscriptions(site.daemon(), 1);
    drop(leaving);
    subscriptions(site.daemon(), 0);
    // Another one asks for more than the sockets hold, and reads nothing of it.
    let mut sleeping = site.daemon().visit();
    for _ in 0..EVENTS {
        sleeping.request("POST /work/rowcall.consumer.mail", "", "");
        sql.query(format!("CALL rowcall.publish('shop.orders', REPEAT('x', {SIZE}))")).unwrap();
    }
    // He is given no more than he reads, and the last of it has not all been written.
    let varz = |site: &mut Site| site.daemon().varz();
    harness::eventually("something is owed", || {
        (varz(&mut site)["pending_bytes"].as_u64() > Some(0)).then_some(())
    });
    let given = varz(&mut site)["http"]["tokens"]["given"].as_u64().unwrap() as usize;
    assert!((1..=EVENTS).contains(&given), "{given}");
    drop(sleeping);
    let mut http = site.daemon().visit();
    let mut again = 0;
    for _ in 0..EVENTS {
        let answer = http.ask("POST /work/rowcall.consumer.mail?timeout=60s", "", "");
        assert_eq!(answer.body.len(), SIZE);
        match answer.header("Rowcall-Header-Rowcall-Deliveries") {
            None => {}
            second => {
                assert_eq!(second, Some("2"), "{}", answer.head);
                again += 1;
            }
        }
        assert_eq!(say(&mut http, &format!("ack/{}", token(&answer)), "").0, 204);
    }
    assert_eq!(again, given);
    until_settled(&mut sql);
}
