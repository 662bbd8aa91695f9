//! rowcall_wait: a SQL session listens.

use harness::{Kind, Site, eventually};
use nix::sys::signal::Signal;
use rowcall_mysql::Connection;
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

on_each_server!(
    a_session_hears_the_next_event,
    nothing_to_hear_costs_the_timeout_and_no_more,
    an_event_that_comes_too_late_disturbs_nothing,
    kill_query_ends_the_listening,
    what_cannot_be_listened_to_is_told,
    a_daemon_that_goes_or_is_away_ends_the_listening,
);

/// Far more than what should be immediate takes, and far less than a wait that should not be run into.
const SOON: Duration = Duration::from_secs(20);

fn wait(sql: &mut Connection, arguments: &str) -> Result<String, String> {
    let start = Instant::now();
    let payload = sql.value(format!("SELECT rowcall_wait({arguments})")).unwrap();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    payload.ok_or_else(|| sql.value("SELECT rowcall_last_error()").unwrap().expect("there is a reason"))
}

fn no(reason: &str) -> Result<String, String> {
    Err(reason.to_owned())
}

/// Lets a session wait, does something once it does, and gives what it heard.
fn while_waiting(
    site: &Site,
    sql: &mut Connection,
    filter: &str,
    act: impl FnOnce(),
) -> Result<String, String> {
    let subscriptions = || site.daemon.as_ref().unwrap().varz()["subscriptions"].as_u64().unwrap();
    let before = subscriptions();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(sql, &format!("'{filter}', 60000")));
        eventually("a subscription", || (subscriptions() > before).then_some(()));
        act();
        waiting.join().unwrap()
    })
}

fn a_session_hears_the_next_event(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let (mut sql, mut other) = (site.connect(), site.connect());
    let mut notify = |subject: &str, payload: &str| {
        let sent = other.value(format!("SELECT rowcall_notify('{subject}', {payload}, 'Colour', 'green')"));
        assert_eq!(sent.unwrap().as_deref(), Some("1"));
    };
    let heard = while_waiting(&site, &mut sql, "shop.orders", || {
        notify("shop.others", "'another subject'");
        notify("shop.orders", "'grün'");
        notify("shop.orders", "'nobody waits for this one'");
    });
    assert_eq!(heard.as_deref(), Ok("grün"));
    let heard = while_waiting(&site, &mut sql, "shop.*", || notify("shop.orders", "''"));
    assert_eq!(heard.as_deref(), Ok(""));
    let heard = while_waiting(&site, &mut sql, "shop.>", || notify("shop.a.b", "REPEAT('x', 100000)"));
    assert_eq!(heard.map(|payload| payload.len()), Ok(100_000));
    let varz = site.daemon.as_ref().unwrap().varz();
    assert_eq!(varz["subscriptions"], 0, "{varz:#}");
    let status = site.status();
    assert_eq!((&status["requests"], &status["replies"]), (&json!(3), &json!(3)), "{status}");
}

fn nothing_to_hear_costs_the_timeout_and_no_more(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    let timeouts = [("", 250), (", NULL", 250), (", 0", 0), (", -5", 0), (", 100", 100)];
    for (timeout, millis) in timeouts {
        let start = Instant::now();
        assert_eq!(wait(&mut sql, &format!("'silence'{timeout}")), no("timeout"));
        assert!(start.elapsed() >= Duration::from_millis(millis), "{timeout}: {:?}", start.elapsed());
    }
    let subscriptions = || site.daemon.as_ref().unwrap().varz()["subscriptions"] == 0;
    eventually("no subscription", || subscriptions().then_some(()));
    assert_eq!(site.status()["failed_by_reason"], json!({"timeout": timeouts.len()}));
}

/// Waits that are over before anything comes, while someone publishes all the time; then requests, whose
/// replies are not mistaken, and a wait that hears something published after it began.
fn an_event_that_comes_too_late_disturbs_nothing(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    site.worker("echo", |request| request.payload.clone());
    let (mut sql, mut other) = (site.connect(), site.connect());
    other.query("CREATE TABLE t (id INT)").unwrap();
    other
        .query("CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW DO rowcall_notify('busy', 'noise')")
        .unwrap();
    let rows = vec!["(1)"; 500].join(",");
    let mut heard = 0;
    for n in 0..50 {
        thread::scope(|scope| {
            scope.spawn(|| other.query(format!("INSERT INTO t VALUES {rows}")).unwrap());
            match wait(&mut sql, "'busy', 0") {
                Ok(payload) => {
                    heard += 1;
                    assert_eq!(payload, "noise");
                }
                Err(reason) => assert_eq!(reason, "timeout"),
            }
            let reply = sql.value(format!("SELECT rowcall_request('echo', {n}, 60000)")).unwrap();
            assert_eq!(reply, Some(n.to_string()));
        });
    }
    let heard_now = while_waiting(&site, &mut sql, "calm", || {
        other.query("DO rowcall_notify('calm', 'at last')").unwrap();
    });
    assert_eq!(heard_now.as_deref(), Ok("at last"));
    let varz = site.daemon.as_ref().unwrap().varz();
    assert_eq!((&varz["slow_consumers"], &varz["lost_bytes"]), (&json!(0), &json!(0)), "{varz:#}");
    eprintln!("{kind:?}: {heard} of 50 heard something at once");
}

fn kill_query_ends_the_listening(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let (mut sql, mut killer) = (site.connect(), site.connect());
    let kill = format!("KILL QUERY {}", sql.id());
    let killed = while_waiting(&site, &mut sql, "silence", || drop(killer.query(&kill).unwrap()));
    assert_eq!(killed, no("killed"));
    let heard = while_waiting(&site, &mut sql, "again", || {
        killer.query("DO rowcall_notify('silence', 'not this'), rowcall_notify('again', 'this')").unwrap();
    });
    assert_eq!(heard.as_deref(), Ok("this"));
}

fn what_cannot_be_listened_to_is_told(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    for subject in ["NULL", "''", "'a..b'", "'a b'", "'a.>.b'", "'a\\r\\nPING'", "REPEAT('a', 4096)"] {
        assert_eq!(wait(&mut sql, &format!("{subject}, 60000")), no("bad_subject"), "{subject}");
    }
    site.server.assert_alive();
}

fn a_daemon_that_goes_or_is_away_ends_the_listening(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    let ended = while_waiting(&site, &mut sql, "silence", || {
        site.daemon.as_ref().unwrap().child.signal(Signal::SIGTERM);
    });
    assert_eq!(ended, no("no_daemon"));
    assert_eq!(wait(&mut sql, "'silence', 60000"), no("no_daemon"));
}
