//! rowcall_submit and rowcall_result: ask now, collect the reply later, from whichever session, or be
//! told exactly why there is none.

use harness::{Daemon, Kind, Site, Terminal, eventually};
use rowcall_mysql::Connection;
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

on_each_server!(
    a_reply_is_collected_once_by_whoever_has_the_ticket,
    a_reply_is_waited_for_as_long_as_is_said,
    replies_arrive_whole,
    why_there_was_no_work_is_told_later,
    a_trigger_submits,
    the_oldest_go_when_there_are_too_many,
    the_oldest_go_when_there_is_too_much,
    they_go_when_their_time_is_over,
    what_is_no_ticket_is_told_from_what_was_one,
    a_daemon_that_is_away_or_new_is_told_as_such,
    kill_query_ends_the_wait_and_the_reply_stays,
    one_ticket_can_be_waited_for_by_many,
    many_collect_what_others_submit,
);

/// Far more than what should be immediate takes, and far less than a wait that should not be run into.
const SOON: Duration = Duration::from_secs(20);

fn last_error(sql: &mut Connection) -> Option<String> {
    sql.value("SELECT rowcall_last_error()").unwrap()
}

/// A ticket. On a machine that is busy with something else, 20 ms may be too little for a greeting;
/// then nothing was sent, and it may be tried again.
fn submit(sql: &mut Connection, subject: &str, payload: &str) -> String {
    eventually("a ticket", || {
        let ticket = sql.value(format!("SELECT rowcall_submit('{subject}', '{payload}')")).unwrap();
        assert!(ticket.is_some() || last_error(sql).as_deref() == Some("stalled"), "{:?}", last_error(sql));
        ticket
    })
}

/// The reply, or the reason why there is none.
fn result(sql: &mut Connection, ticket: &str, timeout: &str) -> Result<String, String> {
    let start = Instant::now();
    let reply = sql.value(format!("SELECT rowcall_result('{ticket}'{timeout})")).unwrap();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    reply.ok_or_else(|| last_error(sql).expect("there is a reason"))
}

fn no(reason: &str) -> Result<String, String> {
    Err(reason.to_owned())
}

fn mailbox(site: &Site) -> Value {
    site.daemon.as_ref().unwrap().varz()["mailbox"].take()
}

/// A worker at a terminal, who answers when the test says so.
fn worker(site: &Site) -> Terminal {
    site.listener(&["work"])
}

/// A site whose daemon has these settings.
fn with_settings(kind: Kind, settings: &str) -> Option<Site> {
    let mut site = Site::without_daemon(kind)?;
    site.daemon = Some(Daemon::with_settings(site.folder.path(), settings));
    Some(site)
}

fn a_reply_is_collected_once_by_whoever_has_the_ticket(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut worker = worker(&site);
    let (mut sql, mut other) = (site.connect(), site.connect());
    let tickets = ["first", "second"].map(|payload| submit(&mut sql, "work", payload));
    assert_ne!(tickets[0], tickets[1]);
    let requests = [worker.message(), worker.message()];
    assert_eq!([requests[0].text(), requests[1].text()], ["first", "second"]);
    assert_eq!(result(&mut sql, &tickets[0], ""), no("pending"));
    worker.answer(&requests[1], "to the second");
    worker.answer(&requests[0], "to the first");
    worker.answer(&requests[0], "once more");
    worker.barrier();
    assert_eq!(result(&mut other, &tickets[0], "").as_deref(), Ok("to the first"));
    assert_eq!(result(&mut other, &tickets[0], ""), no("taken"));
    assert_eq!(result(&mut sql, &tickets[0], ""), no("taken"));
    assert_eq!(result(&mut sql, &tickets[1], ", 60000").as_deref(), Ok("to the second"));
    assert_eq!(result(&mut sql, &tickets[1], ", 60000"), no("taken"));
    let held = mailbox(&site);
    for (key, expected) in
        [("waiting", 0), ("kept", 0), ("submitted", 2), ("replies", 2), ("unwanted_replies", 1), ("taken", 2)]
    {
        assert_eq!(held[key], expected, "{key} in {held:#}");
    }
    let status = site.status();
    assert_eq!((&status["sent"], &status["sent_bytes"]), (&json!(2), &json!(11)), "{status}");
    assert_eq!((&status["requests"], &status["replies"]), (&json!(6), &json!(2)), "{status}");
    assert_eq!(status["failed_by_reason"], json!({"pending": 1, "taken": 3}));
}

fn a_reply_is_waited_for_as_long_as_is_said(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut worker = worker(&site);
    let (mut sql, mut other) = (site.connect(), site.connect());
    let ticket = submit(&mut sql, "work", "x");
    for (timeout, millis) in
        [("", 0), (", 0", 0), (", -1", 0), (", NULL", 0), (", 100", 100), (", 99.6", 100)]
    {
        let start = Instant::now();
        assert_eq!(result(&mut other, &ticket, timeout), no("pending"));
        assert!(start.elapsed() >= Duration::from_millis(millis), "{timeout}: {:?}", start.elapsed());
    }
    thread::scope(|scope| {
        let asking = scope.spawn(|| result(&mut other, &ticket, ", 60000"));
        eventually("someone who asks", || (mailbox(&site)["asking"] == 1).then_some(()));
        let request = worker.message();
        worker.answer(&request, "there you are");
        assert_eq!(asking.join().unwrap().as_deref(), Ok("there you are"));
    });
}

fn replies_arrive_whole(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    site.worker("echo", |request| request.payload.clone());
    let mut sql = site.connect();
    for payload in ["''", "0x00ff0d0a", "REPEAT('x', 767)", "REPEAT('x', 1048576)"] {
        sql.query(format!("SET @ticket = rowcall_submit('echo', {payload})")).unwrap();
        let same = format!("SELECT rowcall_result(@ticket, 60000) = {payload}");
        assert_eq!(sql.value(same).unwrap().as_deref(), Some("1"), "{payload}");
    }
}

fn why_there_was_no_work_is_told_later(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut worker = worker(&site);
    let mut sql = site.connect();
    let ticket = submit(&mut sql, "nobody.here", "x");
    assert_eq!(last_error(&mut sql), None, "it was sent");
    assert_eq!(result(&mut sql, &ticket, ", 60000"), no("no_responders"));
    assert_eq!(result(&mut sql, &ticket, ", 60000"), no("taken"));
    assert_eq!(site.daemon.as_ref().unwrap().varz()["no_responders"], 1);

    let ticket = submit(&mut sql, "work", "x");
    let inbox = worker.message().reply.unwrap();
    let block = "NATS/1.0\r\nNats-Service-Error: no\r\nNats-Service-Error-Code: 500\r\n\r\n";
    worker.send(format!("HPUB {inbox} {} {}\r\n{block}text\r\n", block.len(), block.len() + 4));
    assert_eq!(result(&mut sql, &ticket, ", 60000"), no("failed"));
    assert_eq!(result(&mut sql, &ticket, ""), no("taken"));
}

fn a_trigger_submits(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    site.worker("approve", |request| format!("{}, so be it", request.text()).into_bytes());
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (v VARCHAR(40), ticket VARCHAR(255))").unwrap();
    sql.query(
        "CREATE TRIGGER i BEFORE INSERT ON t FOR EACH ROW SET NEW.ticket = rowcall_submit('approve', NEW.v)",
    )
    .unwrap();
    sql.query("INSERT INTO t (v) VALUES ('grün'), (NULL), ('blau')").unwrap();
    let replies = "SELECT GROUP_CONCAT(CONVERT(rowcall_result(ticket, 60000) USING utf8mb4) ORDER BY v) FROM t \
                   WHERE v IS NOT NULL";
    let replies = site.connect().value(replies).unwrap();
    assert_eq!(replies.as_deref(), Some("blau, so be it,grün, so be it"));
    assert_eq!(sql.value("SELECT COUNT(*) FROM t WHERE ticket IS NULL").unwrap().as_deref(), Some("1"));
    let status = site.status();
    assert_eq!(status["dropped_by_reason"], json!({"null_payload": 1}), "{status}");
}

fn the_oldest_go_when_there_are_too_many(kind: Kind) {
    let Some(site) = with_settings(kind, "mailbox_count = 2") else { return };
    let mut worker = worker(&site);
    let mut sql = site.connect();
    let tickets = ["1", "2", "3"].map(|payload| submit(&mut sql, "work", payload));
    let requests = [worker.message(), worker.message(), worker.message()];
    requests.iter().for_each(|request| worker.answer(request, request.text()));
    worker.barrier();
    assert_eq!(result(&mut sql, &tickets[0], ""), no("evicted_count"));
    assert_eq!(result(&mut sql, &tickets[1], "").as_deref(), Ok("2"));
    assert_eq!(result(&mut sql, &tickets[2], "").as_deref(), Ok("3"));
    let held = mailbox(&site);
    assert_eq!((&held["evicted_count"], &held["unwanted_replies"]), (&json!(1), &json!(1)), "{held:#}");
}

fn the_oldest_go_when_there_is_too_much(kind: Kind) {
    let Some(site) = with_settings(kind, "mailbox_bytes = 10") else { return };
    let mut worker = worker(&site);
    let mut sql = site.connect();
    let tickets = ["1", "2", "3"].map(|payload| submit(&mut sql, "work", payload));
    let requests = [worker.message(), worker.message(), worker.message()];
    worker.answer(&requests[1], "12345");
    worker.answer(&requests[2], "123456");
    worker.barrier();
    assert_eq!(result(&mut sql, &tickets[1], ""), no("evicted_bytes"));
    assert_eq!(result(&mut sql, &tickets[2], "").as_deref(), Ok("123456"));
    assert_eq!(result(&mut sql, &tickets[0], ""), no("pending"));
    assert_eq!(mailbox(&site)["evicted_bytes"], 1);
}

fn they_go_when_their_time_is_over(kind: Kind) {
    let Some(site) = with_settings(kind, "mailbox_time = \"20ms\"") else { return };
    let _silent = worker(&site);
    let mut sql = site.connect();
    let ticket = submit(&mut sql, "work", "x");
    assert_eq!(result(&mut sql, &ticket, ", 60000"), no("evicted_time"));
    assert_eq!(result(&mut sql, &ticket, ", 60000"), no("evicted_time"));
    let held = mailbox(&site);
    assert_eq!((&held["evicted_time"], &held["waiting"]), (&json!(1), &json!(0)), "{held:#}");
}

fn what_is_no_ticket_is_told_from_what_was_one(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    site.worker("echo", |request| request.payload.clone());
    let mut sql = site.connect();
    let ticket = submit(&mut sql, "echo", "x");
    let (run, _) = ticket.split_once('.').unwrap();
    let never = format!("{run}.1000.00ff00ff00ff00ff");
    for timeout in ["", ", 100"] {
        assert_eq!(result(&mut sql, &never, timeout), no("unknown_ticket"));
    }
    assert_eq!(result(&mut sql, "SOMEOTHER.0.00ff00ff00ff00ff", ", 60000"), no("other_daemon"));
    let long = format!("{ticket}{}", "0".repeat(255));
    for wrong in ["", "hello", "a.b", "a.b.c.d", "a.b. c", "a.b.c\n", "ä.b.c", &long] {
        assert_eq!(result(&mut sql, wrong, ", 60000"), no("bad_ticket"), "{wrong:?}");
    }
    assert_eq!(sql.value("SELECT rowcall_result(NULL, 60000)").unwrap(), None);
    assert_eq!(last_error(&mut sql).as_deref(), Some("bad_ticket"));
    for (arguments, reason) in [
        ("NULL, 'x'", "bad_subject"),
        ("'a b', 'x'", "bad_subject"),
        ("REPEAT('a', 4096), 'x'", "bad_subject"),
        ("'echo', NULL", "null_payload"),
        ("'echo', REPEAT('x', 1048577)", "too_large"),
    ] {
        assert_eq!(sql.value(format!("SELECT rowcall_submit({arguments})")).unwrap(), None, "{arguments}");
        assert_eq!(last_error(&mut sql).as_deref(), Some(reason), "{arguments}");
    }
    assert_eq!(result(&mut sql, &ticket, ", 60000").as_deref(), Ok("x"));
    site.server.assert_alive();
}

fn a_daemon_that_is_away_or_new_is_told_as_such(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let _silent = worker(&site);
    let mut sql = site.connect();
    let ticket = submit(&mut sql, "work", "x");
    eventually("the request", || (mailbox(&site)["submitted"] == 1).then_some(()));
    site.daemon().stop();
    let left = site.daemon().child.says("lost_mail");
    assert!(left.contains("lost_mail=1"), "{left}");
    assert_eq!(result(&mut sql, &ticket, ", 60000"), no("no_daemon"));
    assert_eq!(sql.value("SELECT rowcall_submit('work', 'x')").unwrap(), None);
    assert_eq!(last_error(&mut sql).as_deref(), Some("no_daemon"));
    site.start_daemon();
    let reason = eventually("the new daemon", || {
        result(&mut sql, &ticket, ", 60000").err().filter(|reason| reason != "no_daemon")
    });
    assert_eq!(reason, "other_daemon");
}

/// A reply that comes for someone who was killed meanwhile is there for the next one.
fn kill_query_ends_the_wait_and_the_reply_stays(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut worker = worker(&site);
    let (mut sql, mut killer) = (site.connect(), site.connect());
    let ticket = submit(&mut sql, "work", "x");
    let id = sql.id();
    thread::scope(|scope| {
        let asking = scope.spawn(|| result(&mut sql, &ticket, ", 60000"));
        eventually("someone who asks", || (mailbox(&site)["asking"] == 1).then_some(()));
        killer.query(format!("KILL QUERY {id}")).unwrap();
        assert_eq!(asking.join().unwrap(), no("killed"));
    });
    let varz = || site.daemon.as_ref().unwrap().varz();
    eventually("the end of its connection", || (varz()["connections"] == 1).then_some(()));
    let request = worker.message();
    worker.answer(&request, "x".repeat(1 << 20));
    worker.barrier();
    assert_eq!((&varz()["mailbox"]["kept"], &varz()["unheard_msgs"]), (&json!(1), &json!(0)));
    assert_eq!(result(&mut sql, &ticket, "").map(|reply| reply.len()), Ok(1 << 20));
    assert_eq!(result(&mut sql, &ticket, ""), no("taken"));
    assert_eq!(varz()["lost_bytes"], 0);
}

fn one_ticket_can_be_waited_for_by_many(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut worker = worker(&site);
    let ticket = submit(&mut site.connect(), "work", "x");
    thread::scope(|scope| {
        let asking = [(); 5].map(|()| scope.spawn(|| result(&mut site.connect(), &ticket, ", 60000")));
        eventually("all who ask", || (mailbox(&site)["asking"] == 5).then_some(()));
        let request = worker.message();
        worker.answer(&request, "to all");
        for one in asking {
            assert_eq!(one.join().unwrap().as_deref(), Ok("to all"));
        }
    });
    let held = mailbox(&site);
    assert_eq!((&held["taken"], &held["asking"]), (&json!(1), &json!(0)), "{held:#}");
}

/// Sessions submit as fast as they can, each with events in front that fill its connection, while others
/// collect at once: a ticket may be there before its request, and still nothing is lost or mixed up.
fn many_collect_what_others_submit(kind: Kind) {
    const PAIRS: usize = 8;
    const TICKETS: usize = 200;
    let Some(site) = Site::start(kind) else { return };
    for _ in 0..2 {
        site.worker("echo", |request| request.payload.clone());
    }
    thread::scope(|scope| {
        for pair in 0..PAIRS {
            let (tell, told) = std::sync::mpsc::channel();
            let (mut submitter, mut collector) = (site.connect(), site.connect());
            // A machine that is busy may take longer to greet so many at once than a statement waits.
            for session in [&mut submitter, &mut collector] {
                eventually("a greeting", || {
                    // An event might go ahead of it.
                    session.value("SELECT rowcall_wait('hello', 1)").unwrap();
                    (last_error(session).as_deref() == Some("timeout")).then_some(())
                });
            }
            scope.spawn(move || {
                for n in 0..TICKETS {
                    submitter.query("DO BENCHMARK(20, rowcall_notify('noise', REPEAT('x', 1000)))").unwrap();
                    tell.send((n, submit(&mut submitter, "echo", &format!("{pair} {n}")))).unwrap();
                }
            });
            scope.spawn(move || {
                for (n, ticket) in told {
                    assert_eq!(result(&mut collector, &ticket, ", 60000"), Ok(format!("{pair} {n}")));
                }
            });
        }
    });
    let held = mailbox(&site);
    assert_eq!((&held["submitted"], &held["replies"]), (&json!(PAIRS * TICKETS), &json!(PAIRS * TICKETS)));
    assert_eq!((&held["waiting"], &held["asking"]), (&json!(0), &json!(0)), "{held:#}");
    let taken = || mailbox(&site)["taken"] == PAIRS * TICKETS;
    eventually("all to be taken", || taken().then_some(()));
    let failed = &site.status()["failed_by_reason"];
    assert!(
        failed.as_object().unwrap().keys().all(|reason| ["stalled", "timeout"].contains(&&**reason)),
        "{failed}"
    );
}
