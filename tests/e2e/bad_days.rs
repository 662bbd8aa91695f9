//! Bad days: the daemon is absent, stopped, killed or restarted, its socket is something else, a
//! statement is killed while it waits. No statement fails or waits longer than it may.

use harness::{Daemon, Kind, Recorder, Site, Stranger, eventually};
use nix::sys::signal::Signal;
use rowcall_mysql::Connection;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

on_each_server!(
    an_absent_daemon_costs_no_statement,
    a_plain_file_at_the_socket_s_path_is_left_alone,
    strangers_at_the_socket_s_path_cost_no_statement,
    a_stopped_daemon_holds_up_no_statement,
    a_killed_daemon_fails_no_statement,
    a_leaving_daemon_loses_nothing,
    a_hundred_sessions_at_once,
    a_statement_that_waits_can_be_killed,
    a_late_reply_to_a_session_that_left_costs_no_event,
);

/// What is longer than this is a hang. The promise is 20 ms; a busy machine adds its own.
const HANG: Duration = Duration::from_secs(5);

/// Rows that must not cost a connect() each.
const MANY: u32 = 10_000;

fn an_absent_daemon_costs_no_statement(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    let mut sql = connect_to_table(&site, 0);
    insert(&mut sql, 0, 0..MANY);
    assert_eq!(last_error(&mut sql).as_deref(), Some("no_daemon"));
    let status = site.status();
    assert_eq!(status["state"], "no_daemon", "{status}");
    assert_eq!(status["dropped_by_reason"], serde_json::json!({"no_daemon": MANY}), "{status}");
    assert_eq!((&status["sent"], &status["connects"]), (&0.into(), &0.into()), "{status}");

    site.start_daemon();
    let recorder = Recorder::start(site.daemon(), "days.t");
    insert_until_sent(&mut sql, MANY);
    let sent = sent(&mut sql);
    assert_heard(&sent, &recorder.heard(total(&sent)));
    let status = site.status();
    assert_eq!((&status["state"], &status["connects"]), (&"ok".into(), &1.into()), "{status}");
}

fn a_plain_file_at_the_socket_s_path_is_left_alone(kind: Kind) {
    let Some(site) = Site::without_daemon(kind) else { return };
    fs::write(&site.socket, "somebody's").unwrap();
    let mut sql = connect_to_table(&site, 0);
    insert(&mut sql, 0, 0..MANY);
    let status = site.status();
    assert_eq!(status["dropped_by_reason"], serde_json::json!({"no_daemon": MANY}), "{status}");

    let output = Daemon::command().arg("--socket").arg(&site.socket).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let reason = format!("{} exists and is not a socket", site.socket.display());
    assert!(said.contains(&reason), "{said}");
    assert_eq!(fs::read_to_string(&site.socket).unwrap(), "somebody's");
}

fn strangers_at_the_socket_s_path_cost_no_statement(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    let mut sql = connect_to_table(&site, 0);
    let mut next = 0;
    for (says, hangs_up, reason) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false, "bad_peer"),
        (b"INFO {\"max_payload\":1048576}\r\n-ERR 'maximum connections exceeded'\r\n", false, "refused"),
        (b"", false, "stalled"),
        (b"INFO {\"server_id\":\"half", false, "stalled"),
        (b"INFO {\"server_id\":\"half", true, "no_daemon"),
        (b"", true, "no_daemon"),
    ] {
        let stranger = Stranger::listen(&site.socket, says, hangs_up);
        eventually(reason, || {
            next += 1;
            insert(&mut sql, 0, next - 1..next);
            (stranger.visits() > 0 && last_error(&mut sql).as_deref() == Some(reason)).then_some(())
        });
        let (visits, started) = (stranger.visits(), Instant::now());
        insert(&mut sql, 0, next..next + MANY);
        next += MANY;
        // One try in 100 ms, and one that was due already.
        let most = started.elapsed().as_millis() as u32 / 100 + 1;
        let tried = stranger.visits() - visits;
        assert!(tried <= most, "{reason}: {tried} tries for {MANY} rows, {most} allowed");
    }
    let status = site.status();
    assert_eq!((&status["sent"], &status["dropped"]), (&0.into(), &next.into()), "{status}");

    site.start_daemon();
    let recorder = Recorder::start(site.daemon(), "days.t");
    insert_until_sent(&mut sql, next);
    let sent = sent(&mut sql);
    assert_heard(&sent, &recorder.heard(total(&sent)));
}

fn a_stopped_daemon_holds_up_no_statement(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    // A socket's buffer takes 3,600 of these, at most.
    let mut sql = connect_to_table(&site, 1000);
    let recorder = Recorder::start(site.daemon(), "days.t");
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = stopped.clone();
    let sessions = Sessions::start(&site, 8, move |failed| seen.load(SeqCst) && failed == Some("stalled"));
    eventually("all sessions", || (ledger(&recorder.heard(0)).len() == 8).then_some(()));
    site.daemon().child.signal(Signal::SIGSTOP);
    stopped.store(true, SeqCst);
    sessions.wait();
    let (status, sent) = (site.status(), sent(&mut sql));
    let stalled = count(&mut sql, "sent = 0");
    assert_eq!(status["state"], "stalled", "{status}");
    assert_eq!(status["dropped_by_reason"], serde_json::json!({"stalled": stalled}), "{status}");
    assert_eq!(status["sent"], total(&sent), "{status}");

    site.daemon().child.signal(Signal::SIGCONT);
    assert_heard(&sent, &recorder.heard(total(&sent)));
    let mut rows = 0..;
    eventually("news of it", || {
        let n = rows.next()?;
        insert(&mut sql, 0, n..n + 1);
        (site.status()["state"] == "ok").then_some(())
    });
    assert_eq!(last_error(&mut sql), None);
}

/// What a session sent is then, in its order: what was heard through the first daemon; what was in
/// that daemon's hands when it was killed, or reached the second before anyone listened to it; what
/// was heard through the second.
fn a_killed_daemon_fails_no_statement(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = connect_to_table(&site, 0);
    let first = Recorder::start(site.daemon(), "days.t");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let sessions = Sessions::start(&site, 8, move |failed| stopped.load(SeqCst) && failed.is_none());
    first.heard(2000);
    site.daemon().kill();
    let through_first = ledger(&first.to_the_end());
    eventually("drops", || (count(&mut sql, "sent = 0") > 500).then_some(()));
    site.start_daemon();
    let second = Recorder::start(site.daemon(), "days.t");
    second.heard(2000);
    stop.store(true, SeqCst);
    sessions.wait();

    let sent = sent(&mut sql);
    let status = site.status();
    assert_eq!(status["dropped"], count(&mut sql, "sent = 0"), "{status}");
    assert_eq!(status["sent"], total(&sent), "{status}");
    // Each session's latest was sent, and closes what the second daemon got from it.
    let all_in = |heard: &Ledger| {
        sent.iter().all(|(session, n)| heard.get(session).and_then(|n| n.last()) == n.last())
    };
    let through_second = eventually("what was sent last", || Some(ledger(&second.heard(0))).filter(all_in));
    for (session, sent) in &sent {
        let [before, after] =
            [&through_first, &through_second].map(|heard| heard.get(session).cloned().unwrap_or_default());
        assert!(
            sent.starts_with(&before) && sent.ends_with(&after),
            "session {session}:\n{sent:?}\n{before:?}\n{after:?}"
        );
        assert!(before.len() + after.len() <= sent.len(), "session {session}: some were heard twice");
    }
    let varz = site.daemon().varz();
    let unheard = varz["unheard_msgs"].as_u64().unwrap() as usize;
    assert_eq!(varz["in_msgs"], total(&through_second) + unheard, "{varz}");
    let lost = total(&sent) - total(&through_first) - total(&through_second);
    assert!(unheard <= lost, "{unheard} had no listener, {lost} were lost");
    eprintln!("{kind:?}: {} sent, {lost} lost, {unheard} of them without a listener", total(&sent));
}

fn a_leaving_daemon_loses_nothing(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = connect_to_table(&site, 0);
    let recorder = Recorder::start(site.daemon(), "days.t");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let sessions = Sessions::start(&site, 8, move |_| stopped.load(SeqCst));
    recorder.heard(2000);
    site.daemon().stop();
    eventually("drops", || (count(&mut sql, "sent = 0") > 500).then_some(()));
    stop.store(true, SeqCst);
    sessions.wait();
    assert_heard(&sent(&mut sql), &recorder.to_the_end());
}

fn a_hundred_sessions_at_once(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = connect_to_table(&site, 0);
    let recorder = Recorder::start(site.daemon(), "days.t");
    // In such a crowd a greeting may come later than it is waited for; then the row is dropped.
    // None leaves before all have got through.
    let all = Barrier::new(100);
    Sessions::start(&site, 100, move |failed| {
        failed.is_none() && {
            all.wait();
            true
        }
    })
    .wait();
    let (status, sent) = (site.status(), sent(&mut sql));
    assert_eq!(sent.len(), 100, "every session got through");
    assert_heard(&sent, &recorder.heard(total(&sent)));
    assert_eq!(status["dropped"], count(&mut sql, "sent = 0"), "{status}");
    assert_eq!(status["connects"], 100, "{status}");
    site.server.assert_alive();
}

fn a_statement_that_waits_can_be_killed(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut waiting = site.connect();
    let session = waiting.id();
    // Before it is greeted, a request would not wait for so long.
    eventually("a greeting", || {
        waiting.value("SELECT rowcall_notify('days.t', '')").unwrap();
        (site.status()["state"] == "ok").then_some(())
    });
    site.daemon().child.signal(Signal::SIGSTOP);
    let thread = thread::spawn(move || {
        let outcome = waiting.value("SELECT rowcall_request('days.t', '', 60000)");
        (outcome, waiting)
    });
    eventually("a request", || (site.status()["requests"] == 1).then_some(()));
    let started = Instant::now();
    site.connect().query(format!("KILL QUERY {session}")).unwrap();
    let (outcome, mut waiting) = thread.join().unwrap();
    assert!(started.elapsed() < HANG);
    // What the killed statement answers is the server's business: its own error, or a NULL.
    if let Err(error) = outcome {
        assert_eq!(error.number, 1317, "{error}");
    }
    let status = site.status();
    assert_eq!(status["failed_by_reason"], serde_json::json!({"killed": 1}), "{status}");
    site.daemon().child.signal(Signal::SIGCONT);
    assert_eq!(waiting.value("SELECT 1").unwrap().as_deref(), Some("1"));
}

/// A session asks, gives up, sends events and ends, all before the daemon comes round to it; then
/// its reply is written to a connection that is closed, with the events still unread.
fn a_late_reply_to_a_session_that_left_costs_no_event(kind: Kind) {
    let Some(mut site) = Site::with_server_arguments(kind, &["--thread-cache-size=0"]) else { return };
    site.start_daemon();
    let mut sql = connect_to_table(&site, 1000);
    let recorder = Recorder::start(site.daemon(), "days.t");
    let mut worker = site.listener(&["work"]);
    let mut session = site.connect();
    eventually("a request", || {
        session.value("SELECT rowcall_request('work', '', 1)").unwrap();
        (last_error(&mut session).as_deref() == Some("timeout")).then_some(())
    });
    let request = worker.line();
    let inbox = request.split(' ').nth(3).unwrap();
    site.daemon().child.signal(Signal::SIGSTOP);
    worker.send(format!("PUB {inbox} 4\r\nlate\r\n"));
    insert(&mut session, 1, 0..1000);
    drop(session);
    eventually("the end of its thread", || (site.status()["connections"] == 0).then_some(()));
    site.daemon().child.signal(Signal::SIGCONT);
    let sent = sent(&mut sql);
    assert_eq!(total(&sent), 1000);
    assert_heard(&sent, &recorder.heard(1000));
}

/// For each session the numbers of its rows, in some order.
pub(super) type Ledger = BTreeMap<u32, Vec<u32>>;

/// A connection to a new table, whose trigger sends `session n` and a number of blanks for each row
/// and keeps the answer.
pub(super) fn connect_to_table(site: &Site, blanks: usize) -> Connection {
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (session INT, n INT, sent INT, PRIMARY KEY (session, n))").unwrap();
    sql.query(format!(
        "CREATE TRIGGER i BEFORE INSERT ON t FOR EACH ROW \
         SET NEW.sent = rowcall_notify('days.t', CONCAT(NEW.session, ' ', NEW.n, REPEAT(' ', {blanks})))"
    ))
    .unwrap();
    sql
}

/// One statement that inserts these rows, neither failing nor hanging.
pub(super) fn insert(sql: &mut Connection, session: u32, rows: Range<u32>) {
    let values: Vec<String> = rows.map(|n| format!("({session},{n},NULL)")).collect();
    let started = Instant::now();
    sql.query(format!("INSERT INTO t VALUES {}", values.join(","))).unwrap();
    let took = started.elapsed();
    assert!(took < HANG, "{} rows took {took:?}", values.len());
}

/// Inserts rows one by one, from this number on, until one is sent.
fn insert_until_sent(sql: &mut Connection, from: u32) {
    let mut rows = from..;
    eventually("a row that is sent", || {
        let n = rows.next()?;
        insert(sql, 0, n..n + 1);
        last_error(sql).is_none().then_some(())
    });
}

pub(super) fn last_error(sql: &mut Connection) -> Option<String> {
    sql.value("SELECT rowcall_last_error()").unwrap()
}

/// What was answered 1, in the order of the calls.
pub(super) fn sent(sql: &mut Connection) -> Ledger {
    let rows =
        sql.query("SELECT CONCAT(session, ' ', n) FROM t WHERE sent = 1 ORDER BY session, n").unwrap().rows;
    let lines: Vec<String> =
        rows.into_iter().map(|row| String::from_utf8(row[0].clone().unwrap()).unwrap()).collect();
    ledger(&lines)
}

/// The same of what was heard, in the order it was heard.
pub(super) fn ledger(payloads: &[String]) -> Ledger {
    let mut ledger = Ledger::new();
    for payload in payloads {
        let mut numbers = payload.split(' ').map_while(|number| number.parse().ok());
        let (session, n) = (numbers.next().unwrap(), numbers.next().unwrap());
        ledger.entry(session).or_default().push(n);
    }
    ledger
}

/// Fails unless all that was sent was heard, each once, each session's rows in their order.
pub(super) fn assert_heard(sent: &Ledger, payloads: &[String]) {
    let heard = ledger(payloads);
    for session in sent.keys().chain(heard.keys()) {
        let [sent, heard] = [sent, &heard].map(|ledger| ledger.get(session).map_or(&[][..], Vec::as_slice));
        let same = sent.iter().zip(heard).take_while(|(sent, heard)| sent == heard).count();
        let (sent, heard) = (sent.get(same), heard.get(same));
        assert_eq!(sent, heard, "session {session} sent, and was heard, behind {same} that agree");
    }
}

pub(super) fn total(ledger: &Ledger) -> usize {
    ledger.values().map(Vec::len).sum()
}

pub(super) fn count(sql: &mut Connection, which: &str) -> u64 {
    sql.value(format!("SELECT COUNT(*) FROM t WHERE {which}")).unwrap().unwrap().parse().unwrap()
}

/// Sessions that insert, each on a thread of its own, until they have had enough.
pub(super) struct Sessions {
    threads: Vec<JoinHandle<()>>,
}

impl Sessions {
    /// Starts so many, numbered from 1. After each statement they are asked whether they have had
    /// enough, and told why its last row was not sent, or `None` if it was.
    pub(super) fn start(
        site: &Site,
        count: u32,
        enough: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Sessions {
        let enough = Arc::new(enough);
        let run = |session| {
            let (mut sql, enough) = (site.connect(), enough.clone());
            thread::spawn(move || {
                for n in (0..).step_by(ROWS as usize) {
                    insert(&mut sql, session, n..n + ROWS);
                    if enough(last_error(&mut sql).as_deref()) {
                        return;
                    }
                }
            })
        };
        Sessions { threads: (1..=count).map(run).collect() }
    }

    /// Waits until all have had enough and none has failed.
    pub(super) fn wait(self) {
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Rows in one statement of a session.
const ROWS: u32 = 10;
