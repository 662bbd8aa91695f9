//! rowcall_request: a trigger or a session asks, and gets its answer or a reason within its time.

use harness::{Kind, Site, eventually};
use nix::sys::signal::Signal;
use rowcall_mysql::{Connection, Error, Outcome};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

on_each_server!(
    a_trigger_asks_and_gets_its_answer,
    answers_arrive_whole,
    no_responders_is_told_at_once,
    a_silent_worker_costs_the_timeout_and_no_more,
    a_worker_s_error_is_the_reason_failed,
    kill_query_ends_the_wait,
    a_statement_s_time_limit_ends_the_wait,
    a_late_reply_is_not_taken_for_a_later_one,
    many_sessions_each_get_their_own_reply,
    a_flood_keeps_no_function,
);

/// Far more than what should be immediate takes on a busy machine, and far less than the timeout
/// of a request that should not run into it.
const SOON: Duration = Duration::from_secs(20);

fn last_error(sql: &mut Connection) -> Option<String> {
    sql.value("SELECT rowcall_last_error()").unwrap()
}

/// The answer to a request with these arguments, the reason if there was none, and how long it took.
fn ask(sql: &mut Connection, arguments: &str) -> (Option<String>, Option<String>, Duration) {
    let start = Instant::now();
    let answer = sql.value(format!("SELECT rowcall_request({arguments})")).unwrap();
    let took = start.elapsed();
    (answer, last_error(sql), took)
}

fn a_trigger_asks_and_gets_its_answer(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    site.worker("approve", |request| format!("{}, so be it", request.text()).into_bytes());
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT, v VARCHAR(40), answer VARCHAR(40))").unwrap();
    sql.query(
        "CREATE TRIGGER i BEFORE INSERT ON t FOR EACH ROW \
         SET NEW.answer = rowcall_request('approve', NEW.v, 60000)",
    )
    .unwrap();
    sql.query("INSERT INTO t (id, v) VALUES (1, 'grün'), (2, ''), (3, NULL)").unwrap();
    assert_eq!(last_error(&mut sql).as_deref(), Some("null_payload"));
    let mut answer = |id: u32| sql.value(format!("SELECT answer FROM t WHERE id = {id}")).unwrap();
    assert_eq!(answer(1).as_deref(), Some("grün, so be it"));
    assert_eq!(answer(2).as_deref(), Some(", so be it"));
    assert_eq!(answer(3), None);
    let status = site.status();
    assert_eq!((&status["requests"], &status["replies"]), (&json!(3), &json!(2)), "{status}");
    assert_eq!(status["failed_by_reason"], json!({"null_payload": 1}));
    assert_eq!(status["dropped"], 0, "a request is no event: {status}");
}

fn answers_arrive_whole(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    site.worker("echo", |request| request.payload.clone());
    let mut sql = site.connect();
    let (answer, reason, _) = ask(&mut sql, "'echo', '', 60000");
    assert_eq!((answer.as_deref(), reason), (Some(""), None), "an empty answer is an answer");
    // The server's own buffer for results has 766 bytes; the daemon takes 1 MiB.
    for payload in ["0x00ff0d0a", "REPEAT('x', 767)", "REPEAT('x', 100000)", "REPEAT('x', 1048576)"] {
        let same = format!("SELECT rowcall_request('echo', {payload}, 60000) = {payload}");
        assert_eq!(sql.value(same).unwrap().as_deref(), Some("1"), "{payload}");
    }
    // A temporary table cuts what is longer than the function said it would be.
    let longest = "SELECT LENGTH(MAX(a)) FROM (SELECT DISTINCT rowcall_request('echo', REPEAT('x', n), 60000) a \
                   FROM (SELECT 5 n UNION SELECT 300000) n) d";
    assert_eq!(sql.value(longest).unwrap().as_deref(), Some("300000"));
}

fn no_responders_is_told_at_once(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    for _ in 0..3 {
        let (answer, reason, took) = ask(&mut sql, "'nobody.here', 'x', 60000");
        assert_eq!((answer, reason.as_deref()), (None, Some("no_responders")));
        assert!(took < SOON, "{took:?}");
    }
    assert_eq!(site.status()["failed_by_reason"], json!({"no_responders": 3}));
}

fn a_silent_worker_costs_the_timeout_and_no_more(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let _silent = site.listener(&["silent"]);
    let mut sql = site.connect();
    let timeouts = [("100", 100), ("0", 0), ("-1", 0), ("NULL", 250), ("300.4", 300), ("1.5e2", 150)];
    for (timeout, millis) in timeouts {
        let (answer, reason, took) = ask(&mut sql, &format!("'silent', 'x', {timeout}"));
        assert_eq!((answer, reason.as_deref()), (None, Some("timeout")), "{timeout}");
        let least = Duration::from_millis(millis);
        assert!(took >= least && took < least + SOON, "{timeout}: {took:?}");
    }
    let (answer, reason, took) = ask(&mut sql, "'silent', 'x'");
    assert_eq!((answer, reason.as_deref()), (None, Some("timeout")));
    assert!(took >= Duration::from_millis(250) && took < SOON, "{took:?}");
    assert_eq!(site.status()["failed_by_reason"], json!({"timeout": timeouts.len() + 1}));
}

fn a_worker_s_error_is_the_reason_failed(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut worker = site.listener(&["work"]);
    let mut sql = site.connect();
    let mut answer = |headers: &str| {
        let block = format!("NATS/1.0\r\n{headers}\r\n\r\n");
        thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&mut sql, "'work', 'x', 60000"));
            let inbox = worker.message().reply.unwrap();
            worker.send(format!("HPUB {inbox} {} {}\r\n{block}text\r\n", block.len(), block.len() + 4));
            let (answer, reason, _) = asking.join().unwrap();
            (answer, reason)
        })
    };
    let failed = (None, Some("failed".to_owned()));
    assert_eq!(answer("Nats-Service-Error: no\r\nNats-Service-Error-Code: 500"), failed);
    assert_eq!(answer("nats-service-error-code: 1"), failed);
    assert_eq!(answer("Colour: green"), (Some("text".to_owned()), None));
    assert_eq!(site.status()["failed_by_reason"], json!({"failed": 2}));
}

/// Runs a statement that waits for an answer, does something to it once it waits, and gives what
/// became of it.
fn interrupt(site: &Site, sql: &mut Connection, ask: &str, act: impl FnOnce()) -> Result<Outcome, Error> {
    let mut silent = site.listener(&["silent"]);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let start = Instant::now();
            let result = sql.query(ask);
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
            result
        });
        silent.message();
        act();
        asking.join().unwrap()
    })
}

fn kill_query_ends_the_wait(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    site.worker("echo", |request| request.payload.clone());
    let (mut sql, mut killer) = (site.connect(), site.connect());
    sql.query("CREATE TABLE t (v TEXT)").unwrap();
    sql.query(
        "CREATE TRIGGER i BEFORE INSERT ON t FOR EACH ROW SET NEW.v = rowcall_request('silent', '', 60000)",
    )
    .unwrap();
    let alone = "SELECT rowcall_request('silent', 'x', 60000)";
    for statement in [alone, "INSERT INTO t VALUES (1), (2)"] {
        let kill = format!("KILL QUERY {}", sql.id());
        let result = interrupt(&site, &mut sql, statement, || drop(killer.query(&kill).unwrap()));
        match result {
            // As with SLEEP(): when the call returns, nothing of the statement is left to interrupt.
            Ok(outcome) if statement == alone => assert_eq!(outcome.first(), None),
            result => assert_eq!(result.unwrap_err().number, 1317, "{statement}"),
        }
        assert_eq!(last_error(&mut sql).as_deref(), Some("killed"));
        let (answer, ..) = ask(&mut sql, "'echo', 'still there', 60000");
        assert_eq!(answer.as_deref(), Some("still there"));
    }
    assert_eq!(sql.value("SELECT COUNT(*) FROM t").unwrap().as_deref(), Some("0"));
    assert_eq!(site.status()["failed_by_reason"], json!({"killed": 2}));
    let kill = format!("KILL {}", sql.id());
    let ended = interrupt(&site, &mut sql, alone, || drop(killer.query(&kill).unwrap()));
    assert!(ended.is_err());
    site.server.assert_alive();
}

fn a_statement_s_time_limit_ends_the_wait(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    let statement = match kind {
        Kind::MariaDb => {
            "SET STATEMENT max_statement_time = 0.3 FOR SELECT rowcall_request('silent', 'x', 60000)"
        }
        _ => "SELECT /*+ MAX_EXECUTION_TIME(300) */ rowcall_request('silent', 'x', 60000)",
    };
    // With nothing left to interrupt, both servers take this for success.
    assert_eq!(interrupt(&site, &mut sql, statement, || ()).unwrap().first(), None);
    assert_eq!(last_error(&mut sql).as_deref(), Some("killed"));
}

fn a_late_reply_is_not_taken_for_a_later_one(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut worker = site.listener(&["work"]);
    let mut sql = site.connect();
    let (answer, reason, _) = ask(&mut sql, "'work', 'first', 20");
    assert_eq!((answer, reason.as_deref()), (None, Some("timeout")));
    let first = worker.message();
    let mut late = vec![first];
    for payload in ["second", "third"] {
        thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&mut sql, &format!("'work', '{payload}', 60000")));
            let request = worker.message();
            assert_eq!(request.text(), payload);
            for earlier in &late {
                worker.answer(earlier, "late");
            }
            worker.answer(&request, format!("to the {payload}"));
            assert_eq!(asking.join().unwrap().0, Some(format!("to the {payload}")));
            late.push(request);
        });
    }
}

fn many_sessions_each_get_their_own_reply(kind: Kind) {
    const SESSIONS: usize = 20;
    const REQUESTS: usize = 50;
    let Some(site) = Site::start(kind) else { return };
    for _ in 0..2 {
        site.worker("echo.*", |request| [request.subject.as_bytes(), b" ", &request.payload].concat());
    }
    thread::scope(|scope| {
        for session in 0..SESSIONS {
            let mut sql = site.connect();
            scope.spawn(move || {
                for n in 0..REQUESTS {
                    let (answer, reason, _) = ask(&mut sql, &format!("'echo.{session}', {n}, 60000"));
                    assert_eq!((answer, reason), (Some(format!("echo.{session} {n}")), None));
                }
            });
        }
    });
    let status = site.status();
    assert_eq!(status["replies"], SESSIONS * REQUESTS, "{status}");
    assert_eq!(status["failed_by_reason"], json!({}));
}

/// Whoever was asked once knows where a session hears its replies, and can send there what he likes. The
/// function ends in its time and on KILL all the same, and does not read it all first.
fn a_flood_keeps_no_function(kind: Kind) {
    /// Less than what a session may be owed, 64 MiB, and half a second's reading at least.
    const FLOOD: usize = 700_000;
    let Some(mut site) = Site::start(kind) else { return };
    let (mut sql, mut killer) = (site.connect(), site.connect());
    let mut silent = site.listener(&["silent"]);
    let mut flooder = site.listener(&[]);
    for (call, reason) in [
        ("rowcall_request('silent', 'x', 100)", "timeout"),
        ("rowcall_request('silent', 'x', 60000)", "killed"),
        ("rowcall_wait('news', 100)", "timeout"),
        ("rowcall_wait('news', 60000)", "killed"),
    ] {
        let kill = format!("KILL QUERY {}", sql.id());
        ask(&mut sql, "'silent', 'x', 0");
        let inbox = silent.message().reply.unwrap();
        let (inbox, _) = inbox.rsplit_once('.').unwrap();
        let daemon = site.daemon.as_ref().unwrap();
        let unread = || {
            let varz = daemon.varz();
            varz["pending_bytes"].as_u64().unwrap() + varz["lost_bytes"].as_u64().unwrap()
        };
        let before = unread();
        let subscriptions = daemon.varz()["subscriptions"].as_u64().unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| sql.query(format!("SELECT {call}")));
            if call.contains("request") {
                silent.message();
            } else {
                eventually("it listens", || {
                    (daemon.varz()["subscriptions"].as_u64() > Some(subscriptions)).then_some(())
                });
            }
            // It reads nothing until all of it is there, and its time is over.
            site.server.child.signal(Signal::SIGSTOP);
            let started = Instant::now();
            for _ in 0..100 {
                flooder.send(format!("PUB {inbox}.others 1\r\nx\r\n").repeat(FLOOD / 100));
            }
            flooder.barrier();
            if reason == "killed" {
                scope.spawn(|| killer.query(&kill).unwrap());
            }
            thread::sleep(Duration::from_millis(100).saturating_sub(started.elapsed()));
            site.server.child.signal(Signal::SIGCONT);
            assert_eq!(waiting.join().unwrap().unwrap().first(), None, "{call}");
        });
        assert!(unread() > before + (1 << 20), "{call} has read all of it");
        assert_eq!(last_error(&mut sql).as_deref(), Some(reason), "{call}");
        // Another connection for the next one.
        sql = site.connect();
    }
    site.server.assert_alive();
}
