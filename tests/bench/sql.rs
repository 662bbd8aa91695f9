//! What a trigger costs the server, a daemon that is away or stopped, and the round trip of a
//! request: on MariaDB, without binary log and without waiting for the disk.

use crate::load::{self, Connection as Nats, Place};
use crate::postgres::Postgres;
use crate::report;
use harness::{Kind, Site, process};
use nix::sys::signal::Signal;
use rowcall_mysql::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Sessions that insert at a time.
const CLIENTS: usize = 8;

/// How often each figure is taken, in turn with the others.
const ROUNDS: usize = 5;

/// How long each run inserts.
const SECONDS: u32 = 3;

/// What a run of INSERTs showed.
struct Run {
    /// Processor time of the server for each, in microseconds.
    server: f64,
    /// The same of the daemon.
    daemon: f64,
    /// How long the sessions waited for each, in microseconds.
    latencies: Vec<f64>,
}

pub fn cost_of_an_insert() {
    report::heading(
        "a trigger with rowcall_notify: CPU for each INSERT of 100 bytes, 8 sessions, microseconds",
    );
    let site = site();
    let postgres = Postgres::start();
    let mut added = [const { Vec::new() }; 2];
    let mut added_all = [const { Vec::new() }; 2];
    let mut whole = [const { Vec::new() }; 2];
    let mut theirs = [const { Vec::new() }; 2];
    let mut rows = 0;
    // First one listener, then 99 more beside it.
    for (n, listeners) in [1, 99].into_iter().enumerate() {
        listen(&site, listeners);
        postgres.listen(listeners);
        for _ in 0..ROUNDS {
            let floor = insert(&site, "noop");
            let told = insert(&site, "told");
            rows += told.latencies.len() as u64;
            added[n].push(told.server - floor.server);
            added_all[n].push(told.server + told.daemon - floor.server - floor.daemon);
            whole[n].push(told.server / floor.server);
            let floor = postgres.cost_of_an_insert("noop", SECONDS);
            theirs[n].push(postgres.cost_of_an_insert("told", SECONDS) - floor);
        }
    }
    let status = site.status();
    assert_eq!((status["sent"].as_u64(), status["dropped"].as_u64()), (Some(rows), Some(0)), "{status}");
    let added = added.each_ref().map(|values| report::median(values));
    let added_all = added_all.each_ref().map(|values| report::median(values));
    let whole = whole.each_ref().map(|values| report::median(values));
    let beside =
        theirs.each_ref().map(|values| format!("PostgreSQL's pg_notify: {:.1}", report::median(values)));
    report::at_most("added to the server, 1 listener, over a no-op function", added[0], 10.0, &beside[0]);
    report::at_most("added to server and daemon, 1 listener", added_all[0], 16.0, &beside[0]);
    report::at_most("added to the server, 100 listeners", added[1], 10.0, &beside[1]);
    report::plain("added to server and daemon, 100 listeners", added_all[1], &beside[1]);
    // Of the whole INSERT, because what is added is not more than the noise.
    let ratio = whole[1] / whole[0];
    let beside = format!("an INSERT over one with a no-op: {:.2} and {:.2}", whole[1], whole[0]);
    report::at_most("an INSERT's cost to the server, 100 listeners over 1", ratio, 1.15, &beside);
}

pub fn daemon_away() {
    let mut site = site();
    report::heading("the daemon is away, or stopped");
    site.daemon().kill();
    let mut sql = site.connect();
    sql.query("SELECT rowcall_notify('bench.away', 'x')").expect("it runs");
    let connects = site.status()["connects"].as_u64();
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let floor = each_row(&mut sql, "noop(v)");
        costs.push(each_row(&mut sql, "rowcall_notify('bench.away', v)") - floor);
    }
    assert_eq!(site.status()["connects"].as_u64(), connects, "nobody was there to connect to");
    report::at_most("away: a call over a no-op function, microseconds", report::median(&costs), 4.0, "");

    site.start_daemon();
    sql.query("SELECT rowcall_notify('bench.away', 'x')").expect("it runs");
    thread::sleep(Duration::from_millis(200));
    insert(&site, "told");
    site.daemon().child.signal(Signal::SIGSTOP);
    // Each session may wait once; then the sockets are full and everyone knows.
    insert(&site, "told");
    let mut ratios = Vec::new();
    let mut beside = Vec::new();
    for _ in 0..ROUNDS {
        let floor = report::percentile(&insert(&site, "noop").latencies, 0.99);
        let stopped = report::percentile(&insert(&site, "told").latencies, 0.99);
        ratios.push(stopped / floor);
        beside.push(format!("{stopped:.0}/{floor:.0}"));
    }
    report::at_most(
        "stopped: INSERT p99 over one with a no-op function",
        report::median(&ratios),
        1.15,
        &beside.join(" "),
    );
    site.daemon().child.signal(Signal::SIGCONT);
    let dropped = &site.status()["dropped_by_reason"];
    println!("        dropped meanwhile, by reason: {dropped}");
}

pub fn round_trip() {
    report::heading("rowcall_request: round trip through the daemon to a worker and back, p50, microseconds");
    let site = site();
    let mut worker = Nats::open(&Place::Unix(site.socket.clone()));
    worker.subscribe("bench.echo");
    thread::spawn(move || {
        while worker.read() > 0 {
            let mut replies = Vec::new();
            worker.requests(|reply, payload| {
                replies.extend_from_slice(format!("PUB {reply} {}\r\n", payload.len()).as_bytes());
                replies.extend_from_slice(payload);
                replies.extend_from_slice(b"\r\n");
            });
            worker.send(&replies);
        }
    });
    let pingpong = compile("pingpong", &[], &site.folder.path().join("pingpong"));
    let (mut ratios, mut ours, mut floors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 * ROUNDS {
        let output = Command::new(&pingpong).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let floor: f64 = said.split(' ').next().and_then(|p50| p50.parse().ok()).expect("it prints a number");
        let p50 = report::median(&requests(&site));
        ratios.push(p50 / (floor / 1000.0));
        ours.push(p50);
        floors.push(floor / 1000.0);
    }
    let beside = format!("{:.1} / {:.1} us", report::median(&ours), report::median(&floors));
    report::at_most("over a ping-pong in C on a Unix socket", report::median(&ratios), 2.0, &beside);
}

/// The latencies of requests, taken inside the server: a statement of its own for each would
/// measure the statement. The LIMIT keeps the server from merging the inner query into the outer
/// one, which would read both clocks before it asks.
fn requests(site: &Site) -> Vec<f64> {
    let payload = "x".repeat(100);
    let sql = format!(
        "SELECT TIMESTAMPDIFF(MICROSECOND, a, b), LENGTH(r) FROM (SELECT SYSDATE(6) AS a, \
         rowcall_request('bench.echo', '{payload}', 1000) AS r, SYSDATE(6) AS b FROM seq_1_to_20000 LIMIT 20000) AS t"
    );
    let rows = site.connect().query(sql).expect("it runs").rows;
    let number = |value: &Option<Vec<u8>>| {
        value.as_ref().and_then(|value| String::from_utf8_lossy(value).parse::<f64>().ok()).expect("a number")
    };
    rows.iter()
        .map(|row| {
            assert_eq!(number(&row[1]), 100.0, "each request got its reply");
            number(&row[0])
        })
        .collect()
}

/// A server with a table for each trigger, and a daemon.
fn site() -> Site {
    let site = Site::start(Kind::MariaDb).expect("MariaDB is there");
    let library = site.server.plugins.join("noop_udf.so");
    compile("noop_udf", &["-shared", "-fPIC"], &library);
    let mut sql = site.connect();
    let mut run =
        |statement: &str| drop(sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}")));
    run("CREATE FUNCTION noop RETURNS INTEGER SONAME 'noop_udf.so'");
    for table in ["plain", "noop", "told"] {
        run(&format!(
            "CREATE TABLE {table} (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200)) ENGINE=InnoDB"
        ));
    }
    run("CREATE TRIGGER t1 AFTER INSERT ON noop FOR EACH ROW DO noop(NEW.v)");
    run("CREATE TRIGGER t2 AFTER INSERT ON told FOR EACH ROW DO rowcall_notify('bench.told', NEW.v)");
    site
}

/// Inserts from eight sessions for some seconds.
fn insert(site: &Site, table: &str) -> Run {
    let (server, daemon) = (site.server.child.pid(), site.daemon.as_ref().map(|daemon| daemon.child.pid()));
    site.connect().query(format!("TRUNCATE TABLE {table}")).expect("it runs");
    let before = (process::nanoseconds(server), daemon.map(process::nanoseconds));
    let statement = format!("INSERT INTO {table} (v) VALUES ('{}')", "x".repeat(100));
    let latencies: Vec<f64> = thread::scope(|scope| {
        let session = |_| {
            let mut sql: Connection = site.connect();
            let statement = &statement;
            scope.spawn(move || {
                let end = Instant::now() + Duration::from_secs(u64::from(SECONDS));
                let mut latencies = Vec::new();
                let mut start = Instant::now();
                while start < end {
                    sql.query(statement).expect("the row is written");
                    let now = Instant::now();
                    latencies.push((now - start).as_secs_f64() * 1e6);
                    start = now;
                }
                latencies
            })
        };
        let sessions: Vec<_> = (0..CLIENTS).map(session).collect();
        sessions.into_iter().flat_map(|session| session.join().expect("no INSERT fails")).collect()
    });
    let each = |now: u64, before: u64| (now - before) as f64 / 1000.0 / latencies.len() as f64;
    Run {
        server: each(process::nanoseconds(server), before.0),
        daemon: daemon.map_or(0.0, |pid| each(process::nanoseconds(pid), before.1.unwrap_or_default())),
        latencies,
    }
}

/// Microseconds for each of a million rows.
fn each_row(sql: &mut Connection, call: &str) -> f64 {
    let start = Instant::now();
    let query = format!("SELECT SUM({}) FROM (SELECT 'payload' AS v FROM seq_1_to_1000000) AS t", call);
    sql.query(query).expect("it runs");
    start.elapsed().as_secs_f64()
}

/// So many listeners more, on one thread, which reads until the daemon ends.
fn listen(site: &Site, count: usize) {
    let mut listeners: Vec<Nats> = (0..count)
        .map(|_| {
            let mut listener = Nats::open(&Place::Unix(site.socket.clone()));
            listener.subscribe("bench.told");
            listener
        })
        .collect();
    thread::spawn(move || {
        loop {
            for n in load::ready(&listeners) {
                if listeners[n].read() == 0 {
                    return;
                }
                listeners[n].forget_messages();
            }
        }
    });
}

/// Compiles one of the programs in bench/native.
fn compile(name: &str, flags: &[&str], to: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("bench/native/{name}.c"));
    let output = Command::new("cc").args(["-O2", "-Wall"]).args(flags).arg("-o").arg(to).arg(source).output();
    let output = output.expect("there is a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::exists(to).unwrap_or(false));
    to.to_owned()
}
