//! Real input: sysbench's OLTP load against tables whose triggers emit, with an official client
//! listening, and every firing accounted for.
//!
//! Each firing takes a number: the AUTO_INCREMENT of a row it inserts. InnoDB gives these out one
//! by one, never takes one back, and makes nobody wait for another's: so it counts what is rolled
//! back too, without locks between sessions that the load alone does not have (a table of another
//! engine is locked for a whole statement, which can deadlock with InnoDB's row locks unnoticed).
//!
//! sysbench calls a deadlock an ignored error. Its load has them by itself where two transactions
//! meet on two rows; with ids drawn evenly from 40,000 rows that is one run in ten thousand.

use futures_util::StreamExt;
use harness::{Child, Daemon, Kind, Site, eventually};
use rowcall_mysql::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

on_each_server!(every_firing_is_heard, a_killed_daemon_loses_what_it_held);

/// sysbench's threads, each a session.
const SESSIONS: usize = 8;

const TABLES: usize = 4;

fn every_firing_is_heard(kind: Kind) {
    let Some(mut site) = start(kind) else { return };
    site.start_daemon();
    greet_threads(&site);
    let listener = Listener::start(site.daemon());
    let (greetings, mut sql) = (site.status()["sent"].as_u64().unwrap(), connect(&site));
    let mut load = Load::start(&site, 2000);
    for _ in 0..50 {
        sql.query("BEGIN").unwrap();
        sql.query("INSERT INTO sbtest1 (k, c, pad) VALUES (1, 'a', ''), (2, 'b', '')").unwrap();
        sql.query("ROLLBACK").unwrap();
    }
    load.ends_well(2000);

    let firings = mark(&mut sql) - 1;
    listener.wait("every firing", |events| events.len() as u64 >= firings);
    let (events, status) = (listener.events(), site.status());
    assert_eq!(events.len() as u64, firings, "{status}");
    assert_eq!((&status["sent"], &status["dropped"]), (&(firings + greetings).into(), &0.into()), "{status}");
    for (session, heard) in by_session(&events) {
        assert!(heard.iter().copied().eq(1..=heard.len() as u64), "session {session}: {heard:?}");
    }
    let rolled_back = events.iter().filter(|event| event.session == sql.id()).count();
    assert_eq!(rolled_back, 100, "what was rolled back was heard all the same");
    eprintln!("{kind:?}: {firings} firings, {} heard, 0 dropped, 0 lost", events.len());
}

/// What can be lost, and nothing else:
/// - what was in the killed daemon's hands: answered 1, so in its sockets' buffers or its memory
///   when it was killed, or written to the listener but not received. All that was heard before is
///   older, and nothing that fires after its death is among it.
/// - what the new daemon got before the listener had subscribed again: it counts that as unheard.
///
/// What fires in between is answered 0 and counted as dropped. At each moment that the test marks,
/// each session may have one call under way, with a number but not sent yet.
fn a_killed_daemon_loses_what_it_held(kind: Kind) {
    let Some(mut site) = start(kind) else { return };
    site.start_daemon();
    let listener = Listener::start(site.daemon());
    let mut sql = connect(&site);
    let mut load = Load::start(&site, 4000);

    listener.wait("a good start", |events| events.len() > 2000);
    let standing = mark(&mut sql);
    let older = format!("SELECT firing FROM unsent WHERE firing < {standing}");
    eventually("what is older", || {
        let heard = listener.events().iter().filter(|event| event.firing < standing).count();
        (heard + numbers(&mut sql, &older).len() == standing as usize - 1).then_some(())
    });
    let dropped = numbers(&mut sql, "SELECT firing FROM unsent").len();
    site.daemon().kill();
    let dead = mark(&mut sql);
    eventually("drops", || {
        (numbers(&mut sql, "SELECT firing FROM unsent").len() > dropped + 300).then_some(())
    });
    let back = mark(&mut sql);
    let (tcp, http) = (site.daemon().tcp.clone(), site.daemon().http.clone());
    site.daemon = Some(Daemon::start_with(&site.socket, &["--listen", &tcp, "--http", &http]));
    listener.is_subscribed(site.daemon());
    let listening = mark(&mut sql);
    listener.wait("the new daemon", |events| {
        events.iter().filter(|event| event.firing > listening).count() > 2000
    });
    load.ends_well(4000);

    let end = mark(&mut sql);
    let marks = [standing, dead, back, listening, end];
    let unsent: BTreeSet<u64> = numbers(&mut sql, "SELECT firing FROM unsent").into_iter().collect();
    let sent: BTreeSet<u64> =
        (1..end).filter(|firing| !marks.contains(firing) && !unsent.contains(firing)).collect();
    listener.wait("the rest", |events| {
        let late = |firing: &&u64| **firing > listening;
        events.iter().map(|event| &event.firing).filter(late).count() == sent.iter().filter(late).count()
    });

    let (events, status, varz) = (listener.events(), site.status(), site.daemon().varz());
    assert_eq!((&status["sent"], &status["dropped"]), (&sent.len().into(), &unsent.len().into()), "{status}");
    let heard: BTreeSet<u64> = events.iter().map(|event| event.firing).collect();
    assert_eq!(heard.len(), events.len(), "none was heard twice");
    assert!(heard.is_subset(&sent), "heard, but not sent: {:?}", heard.difference(&sent));
    let lost: Vec<u64> = sent.difference(&heard).copied().collect();
    assert!(lost.iter().all(|&firing| standing < firing && firing < listening), "{lost:?}, {marks:?}");
    assert!(sent.range(dead..back).count() <= SESSIONS, "{marks:?}, {:?}", sent.range(dead..back));

    let unheard = varz["unheard_msgs"].as_u64().unwrap() as usize;
    let held = lost.len() - unheard;
    let before_death = lost.iter().filter(|&&firing| firing < dead).count();
    assert!(
        (held..=held + SESSIONS).contains(&before_death),
        "{held} held, {unheard} unheard: {lost:?}, {marks:?}"
    );
    assert_sessions_in_order(&mut sql, &events);
    eprintln!(
        "{kind:?}: {} firings, {} heard, {} dropped, {} lost ({held} in the killed daemon's hands, {unheard} without a listener)",
        sent.len() + unsent.len(),
        heard.len(),
        unsent.len(),
        lost.len(),
    );
}

/// Fails unless what each session sent was heard in its order, save one stretch that was lost.
fn assert_sessions_in_order(sql: &mut Connection, events: &[Event]) {
    let heard = by_session(events);
    for session in numbers(sql, "SELECT DISTINCT session FROM firings WHERE session > 0") {
        let sent = numbers(
            sql,
            &format!(
                "SELECT seq FROM firings WHERE session = {session} \
                 AND id NOT IN (SELECT firing FROM unsent) ORDER BY seq"
            ),
        );
        let heard = heard.get(&session).cloned().unwrap_or_default();
        let before = sent.iter().zip(&heard).take_while(|(sent, heard)| sent == heard).count();
        assert!(sent[before..].ends_with(&heard[before..]), "session {session}:\n{sent:?}\n{heard:?}");
    }
}

/// A server with sysbench's tables, filled, and triggers on all of them; no daemon yet.
fn start(kind: Kind) -> Option<Site> {
    // The threads of sessions that have ended are kept, and their connections to the daemon too.
    let arguments = ["--innodb-autoinc-lock-mode=2", "--thread-cache-size=64"];
    let site = Site::with_server_arguments(kind, &arguments)?;
    site.connect().query("CREATE DATABASE sbtest DEFAULT CHARACTER SET utf8mb4").unwrap();
    let prepared = sysbench(&site).arg("prepare").output().expect("sysbench is there");
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stdout));
    let mut sql = connect(&site);
    sql.query("CREATE TABLE firings (id BIGINT AUTO_INCREMENT PRIMARY KEY, session BIGINT, seq BIGINT)")
        .unwrap();
    sql.query("CREATE TABLE unsent (firing BIGINT PRIMARY KEY)").unwrap();
    for table in 1..=TABLES {
        for (event, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
            sql.query(trigger(&format!("sbtest{table}"), event, row)).unwrap();
        }
    }
    Some(site)
}

fn trigger(table: &str, event: &str, row: &str) -> String {
    format!(
        "CREATE TRIGGER {table}_{event} AFTER {event} ON {table} FOR EACH ROW BEGIN
           SET @seq = COALESCE(@seq, 0) + 1;
           INSERT INTO firings (session, seq) VALUES (CONNECTION_ID(), @seq);
           IF rowcall_emit('sb.{table}.{event}', LAST_INSERT_ID() AS firing, CONNECTION_ID() AS session,
                           CAST(@seq AS UNSIGNED) AS seq, {row}.id, {row}.k, {row}.c, {row}.pad) = 0 THEN
             INSERT INTO unsent VALUES (LAST_INSERT_ID());
           END IF;
         END"
    )
}

fn connect(site: &Site) -> Connection {
    let mut sql = site.connect();
    sql.query("USE sbtest").unwrap();
    sql
}

/// Takes a number as a firing does, so that it stands between those before and those after.
fn mark(sql: &mut Connection) -> u64 {
    sql.query("INSERT INTO firings (session, seq) VALUES (0, 0)").unwrap().insert_id
}

fn numbers(sql: &mut Connection, query: &str) -> Vec<u64> {
    let number = |row: Vec<Option<Vec<u8>>>| String::from_utf8(row[0].clone()?).ok()?.parse().ok();
    sql.query(query).unwrap().rows.into_iter().map(|row| number(row).unwrap()).collect()
}

/// Lets the daemon greet as many threads as sysbench will use, so that none of its calls has to
/// wait for a greeting: on a busy machine one may come later than it is waited for, and the event
/// would be dropped (and counted).
fn greet_threads(site: &Site) {
    let mut sessions: Vec<Connection> = (0..2 * SESSIONS).map(|_| site.connect()).collect();
    for sql in &mut sessions {
        eventually("a greeting", || {
            sql.value("SELECT rowcall_notify('greeting', '')").unwrap().filter(|sent| sent == "1")
        });
    }
}

/// sysbench at work.
struct Load {
    child: Child,
}

impl Load {
    /// Starts so many transactions: each updates two rows, deletes one and inserts it again.
    fn start(site: &Site, transactions: u64) -> Load {
        let mut command = sysbench(site);
        command.arg(format!("--threads={SESSIONS}")).arg(format!("--events={transactions}"));
        Load { child: Child::start("sysbench", command.args(["--time=0", "run"])) }
    }

    /// Waits for its end, and fails unless it did all its transactions and saw no error.
    fn ends_well(&mut self, transactions: u64) {
        let (status, report) = (self.child.wait(), self.child.said());
        assert!(status.success() && !report.contains("FATAL"), "{report}");
        let figure = |name: &str| {
            let line = report.lines().find_map(|line| line.trim().strip_prefix(name));
            let figure = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            figure.unwrap_or_else(|| panic!("no {name}\n{report}"))
        };
        assert_eq!(figure("transactions:"), transactions, "{report}");
        assert_eq!((figure("ignored errors:"), figure("reconnects:")), (0, 0), "{report}");
    }
}

fn sysbench(site: &Site) -> Command {
    let mut command = Command::new("sysbench");
    command.arg("oltp_read_write").arg(format!("--tables={TABLES}")).arg("--table-size=10000");
    command.args(["--rand-type=uniform", "--db-driver=mysql", "--mysql-user=root"]);
    command.arg(format!("--mysql-socket={}", site.server.socket.display()));
    command
}

/// What a firing said of itself.
#[derive(Clone, Debug)]
struct Event {
    firing: u64,
    session: u64,
    seq: u64,
}

impl Event {
    /// Its payload must be JSON and have all that the trigger put in.
    fn parse(payload: &[u8]) -> Option<Event> {
        let json: serde_json::Value = serde_json::from_slice(payload).ok()?;
        let number = |name: &str| json[name].as_u64();
        let whole =
            json["c"].is_string() && json["pad"].is_string() && number("id").and(number("k")).is_some();
        let event = Event { firing: number("firing")?, session: number("session")?, seq: number("seq")? };
        whole.then_some(event)
    }
}

/// The numbers that each session gave its events, in the order they were heard.
fn by_session(events: &[Event]) -> BTreeMap<u64, Vec<u64>> {
    let mut sessions = BTreeMap::<u64, Vec<u64>>::new();
    for event in events {
        sessions.entry(event.session).or_default().push(event.seq);
    }
    sessions
}

/// The official client, subscribed to all that the triggers emit.
struct Listener {
    heard: Arc<Mutex<Heard>>,
    /// On its threads the client goes on listening, and connects again when it has to.
    _runtime: Runtime,
}

#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    malformed: Vec<String>,
}

impl Listener {
    fn start(daemon: &Daemon) -> Listener {
        let heard = Arc::<Mutex<Heard>>::default();
        let (runtime, to, address) = (Runtime::new().unwrap(), heard.clone(), daemon.tcp.clone());
        runtime.spawn(async move {
            let options =
                async_nats::ConnectOptions::new().reconnect_delay_callback(|_| Duration::from_millis(20));
            let client = options.connect(address).await.unwrap();
            let mut subscription = client.subscribe("sb.>").await.unwrap();
            while let Some(message) = subscription.next().await {
                let mut heard = to.lock().unwrap();
                match Event::parse(&message.payload) {
                    Some(event) => heard.events.push(event),
                    None => heard.malformed.push(String::from_utf8_lossy(&message.payload).into_owned()),
                }
            }
        });
        let listener = Listener { heard, _runtime: runtime };
        listener.is_subscribed(daemon);
        listener
    }

    /// Waits until this daemon knows of its subscription.
    fn is_subscribed(&self, daemon: &Daemon) {
        eventually("a subscription", || (daemon.varz()["subscriptions"] == 1).then_some(()));
    }

    /// Waits until what was heard is enough.
    fn wait(&self, what: &str, enough: impl Fn(&[Event]) -> bool) {
        eventually(what, || {
            let heard = self.heard.lock().unwrap();
            assert!(heard.malformed.is_empty(), "{:?}", heard.malformed);
            enough(&heard.events).then_some(())
        });
    }

    fn events(&self) -> Vec<Event> {
        self.heard.lock().unwrap().events.clone()
    }
}
