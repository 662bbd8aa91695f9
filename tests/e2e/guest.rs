//! The rules a guest keeps inside the server that can be looked at from outside: what the library
//! needs and exports, and the life of its functions.

use harness::{Kind, Site, eventually};
use object::elf::{DF_1_NODELETE, DT_FLAGS_1, DT_NEEDED, FileHeader64, SHT_DYNSYM};
use object::read::elf::{Dyn, FileHeader, Sym};
use rowcall_mysql::Connection;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

on_each_server!(
    functions_come_and_go_while_they_are_called,
    a_call_outlives_its_function,
    a_thread_that_ends_closes_its_connection,
    constant_arguments_are_called_once_a_row_and_explain_calls_nothing,
    calls_fit_on_a_stack_that_is_nearly_used_up,
);

/// The names of the functions, as the installation script has them.
fn functions() -> Vec<String> {
    let script = std::fs::read_to_string(harness::repository().join("sql/install.sql")).unwrap();
    let names = script.lines().filter_map(|line| line.strip_prefix("CREATE FUNCTION ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// What the dynamic linker is told about the library.
struct Library {
    needed: BTreeSet<String>,
    exported: BTreeSet<String>,
    flags: u64,
}

impl Library {
    fn read() -> Library {
        let file = std::fs::read(harness::built("librowcall.so")).unwrap();
        let data = &*file;
        let header = FileHeader64::<object::Endianness>::parse(data).unwrap();
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, data).unwrap();
        let (entries, link) = sections.dynamic(endian, data).unwrap().unwrap();
        let strings = sections.strings(endian, data, link).unwrap();
        let symbols = sections.symbols(endian, data, SHT_DYNSYM).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of = |tag| entries.iter().filter(move |entry| entry.d_tag(endian) == tag);
        let needed = of(DT_NEEDED).map(|entry| text(entry.string(endian, strings).unwrap()));
        let defined = symbols.iter().filter(|symbol| !symbol.is_undefined(endian) && !symbol.is_local());
        let exported = defined.map(|symbol| text(symbol.name(endian, symbols.strings()).unwrap()));
        let flags = of(DT_FLAGS_1).map(|entry| entry.d_val(endian)).fold(0, |all, flags| all | flags);
        Library { needed: needed.collect(), exported: exported.collect(), flags }
    }
}

#[test]
fn the_library_needs_the_c_library_only_and_stays_mapped() {
    let library = Library::read();
    let allowed =
        ["libc.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "libm.so.6", "libpthread.so.0", "libdl.so.2"];
    assert!(library.needed.contains("libc.so.6"), "{:?}", library.needed);
    for name in &library.needed {
        assert!(allowed.contains(&&**name), "a server may not have {name}, or another one of its own");
    }
    assert!(library.flags & DF_1_NODELETE.0 != 0, "-z nodelete is missing: {:#x}", library.flags);
}

#[test]
fn the_library_exports_its_functions_and_nothing_else() {
    let functions = functions();
    assert!(functions.contains(&"rowcall_notify".to_owned()), "{functions:?}");
    let three = |name: &String| [name.clone(), format!("{name}_init"), format!("{name}_deinit")];
    let expected: BTreeSet<String> = functions.iter().flat_map(three).collect();
    assert_eq!(Library::read().exported, expected);
}

/// Ends a loop in another thread, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Calls a function over and over, and counts how often it was there and how often not.
fn call_until(end: &AtomicBool, sql: &mut Connection, there: &AtomicU64, missing: &AtomicU64) {
    while !end.load(Relaxed) {
        match sql.value("SELECT rowcall_notify('t', 'x')") {
            Ok(answer) => {
                assert_eq!(answer.as_deref(), Some("1"));
                there.fetch_add(1, Relaxed);
            }
            // "FUNCTION ... does not exist"; "Can't load function ..."
            Err(error) => {
                assert!(matches!(error.number, 1305 | 1122), "{error}");
                missing.fetch_add(1, Relaxed);
            }
        }
    }
}

fn has_grown(counter: &AtomicU64) {
    let before = counter.load(Relaxed);
    eventually("another call", || (counter.load(Relaxed) > before + 2).then_some(()));
}

fn functions_come_and_go_while_they_are_called(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    let library = sql.value("SELECT dl FROM mysql.func WHERE name = 'rowcall_notify'").unwrap().unwrap();
    let create = format!("CREATE FUNCTION rowcall_notify RETURNS INTEGER SONAME '{library}'");
    sql.query("CREATE TABLE t (id INT)").unwrap();
    // A trigger that calls a function as the examples do works without it, too.
    sql.query(
        "CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW BEGIN \
         DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; DO rowcall_notify('t', NEW.id); END",
    )
    .unwrap();
    let (end, there, missing) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let end_of_scope = End(&end);
        for _ in 0..2 {
            let (mut caller, mut writer) = (site.connect(), site.connect());
            let (end, there, missing) = (&end, &there, &missing);
            scope.spawn(move || call_until(end, &mut caller, there, missing));
            scope.spawn(move || {
                while !end.load(Relaxed) {
                    writer.query("INSERT INTO t VALUES (1), (2), (3)").unwrap();
                }
            });
        }
        for _ in 0..10 {
            has_grown(&there);
            sql.query("DROP FUNCTION rowcall_notify").unwrap();
            has_grown(&missing);
            sql.query(&create).unwrap();
        }
        for function in functions() {
            sql.query(format!("DROP FUNCTION {function}")).unwrap();
        }
        has_grown(&missing);
        assert!(site.rowcall(&["install"]).status.success());
        has_grown(&there);
        drop(end_of_scope);
    });
    // The library was never unmapped, so nothing it has counted is forgotten.
    let sent = site.status()["sent"].as_u64().unwrap();
    assert!(sent >= there.load(Relaxed), "{sent}");
    assert_silent(&mut site);
    site.server.restart();
    // It has its functions. On a busy machine the first calls may come before the greeting.
    let mut again = site.connect();
    eventually("a restarted server to notify", || {
        let sent = again.value("SELECT rowcall_notify('t', 'x')").unwrap();
        (sent.as_deref() == Some("1")).then_some(())
    });
}

/// Fails unless the server lives and nothing of ours is in what it has said.
fn assert_silent(site: &mut Site) {
    site.server.assert_alive();
    let mut said = site.server.child.said();
    for path in [site.folder.path(), &harness::cache()] {
        said = said.replace(&path.display().to_string(), "");
    }
    for word in ["rowcall", "panicked", "RUST_BACKTRACE"] {
        assert!(!said.contains(word), "{said}");
    }
}

fn a_call_outlives_its_function(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut worker = site.listener(&["work"]);
    let (mut sql, mut other) = (site.connect(), site.connect());
    thread::scope(|scope| {
        let asking = scope.spawn(|| sql.value("SELECT rowcall_request('work', 'x', 60000)").unwrap());
        let request = worker.message();
        for function in functions() {
            other.query(format!("DROP FUNCTION {function}")).unwrap();
        }
        worker.answer(&request, "still here");
        assert_eq!(asking.join().unwrap().as_deref(), Some("still here"));
    });
    assert!(site.rowcall(&["install"]).status.success());
    assert_eq!(sql.value("SELECT rowcall_notify('work', 'x')").unwrap().as_deref(), Some("1"));
    worker.expect("MSG work 1 1\r\nx\r\n");
    assert_silent(&mut site);
}

fn a_thread_that_ends_closes_its_connection(kind: Kind) {
    const SESSIONS: u64 = 5;
    let Some(mut site) = Site::with_server_arguments(kind, &["--thread-cache-size=0"]) else { return };
    site.start_daemon();
    let mut sessions: Vec<Connection> = (0..SESSIONS).map(|_| site.connect()).collect();
    for sql in &mut sessions {
        for _ in 0..3 {
            sql.query("DO rowcall_notify('t', 'x'), rowcall_request('t', 'x')").unwrap();
        }
    }
    let status = site.status();
    assert_eq!(
        (&status["connections"], &status["connects"]),
        (&json!(SESSIONS), &json!(SESSIONS)),
        "{status}"
    );
    assert_eq!(site.daemon().varz()["connections"], SESSIONS);
    drop(sessions.pop());
    let left = |site: &Site| site.status()["connections"].as_u64().unwrap();
    eventually("a connection less", || (left(&site) == SESSIONS - 1).then_some(()));
    drop(sessions);
    eventually("no connection", || (left(&site) == 0).then_some(()));
    eventually("none for the daemon either", || (site.daemon().varz()["connections"] == 0).then_some(()));
    assert_silent(&mut site);
}

fn constant_arguments_are_called_once_a_row_and_explain_calls_nothing(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT)").unwrap();
    sql.query("INSERT INTO t VALUES (1), (2), (3)").unwrap();
    sql.query("CREATE TABLE with_trigger (id INT)").unwrap();
    sql.query("CREATE TRIGGER i AFTER INSERT ON with_trigger FOR EACH ROW DO rowcall_notify('t', 'c')")
        .unwrap();
    let mut calls = |statement: &str| {
        let before = site.status()["sent"].as_u64().unwrap();
        sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        site.status()["sent"].as_u64().unwrap() - before
    };
    for (statement, expected) in [
        ("SELECT rowcall_notify('t', 'c') FROM t", 3),
        ("SELECT id FROM t WHERE rowcall_notify('t', 'c') = 1", 3),
        ("SELECT id FROM t WHERE id > 0 AND 1 = rowcall_emit('t', 1 AS a)", 3),
        ("INSERT INTO with_trigger VALUES (1), (2)", 2),
        ("EXPLAIN SELECT rowcall_notify('t', 'c') FROM t", 0),
        ("EXPLAIN SELECT id FROM t WHERE rowcall_notify('t', 'c') = 1", 0),
        ("EXPLAIN FORMAT=JSON SELECT id FROM t WHERE rowcall_emit('t', 1 AS a) = 1 ORDER BY id", 0),
        ("EXPLAIN SELECT * FROM (SELECT DISTINCT rowcall_notify('t', 'c') FROM t) d", 0),
        ("EXPLAIN INSERT INTO with_trigger VALUES (1)", 0),
        ("PREPARE s FROM 'SELECT rowcall_notify(''t'', ''c'') FROM t'", 0),
        ("CREATE VIEW v AS SELECT rowcall_notify('t', 'c') AS sent FROM t", 0),
        ("SELECT id FROM t WHERE FALSE AND rowcall_notify('t', 'c')", 0),
    ] {
        assert_eq!(calls(statement), expected, "{statement}");
    }
}

/// A server's thread has a quarter of a mebibyte or a little more, and stored procedures may have
/// used nearly all of it when they call.
fn calls_fit_on_a_stack_that_is_nearly_used_up(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    site.worker("echo", |request| request.payload.clone());
    let mut sql = site.connect();
    sql.query(
        "CREATE PROCEDURE deep(n INT) BEGIN \
         DO rowcall_emit('t', CONCAT(REPEAT('[', 100), REPEAT(']', 100)) AS `deep:json`), \
            rowcall_notify('t', 'x', 'a', 'b'), rowcall_request('echo', 'x', 60000), \
            rowcall_result(rowcall_submit('echo', 'x'), 60000), rowcall_wait('silence', 0); \
         CALL deep(n + 1); END",
    )
    .unwrap();
    sql.query("SET max_sp_recursion_depth = 255").unwrap();
    let error = sql.query("CALL deep(0)").unwrap_err();
    assert_eq!(error.number, 1436, "thread stack overrun: {error}");
    let status = site.status();
    let (events, replies) = (status["sent"].as_u64().unwrap(), status["replies"].as_u64().unwrap());
    assert!(replies > 10 && events / 3 >= replies / 2, "{status}");
    assert_silent(&mut site);
}
