//! An upgrade while statements use the functions: `rowcall install` puts the functions of a newer library
//! in place of those of an older one, and afterwards all of them are there, whoever used them meanwhile.

use harness::{Child, Kind, Site, eventually};
use rowcall_mysql::Connection;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

on_each_server!(
    functions_outlive_their_replacement_where_uses_are_counted,
    functions_outlive_their_replacement_where_uses_are_not_counted,
    functions_removed_and_installed_again_stay,
    what_a_missing_function_takes_along,
);

/// Makes every function one of an older library.
fn install_older(site: &Site, sql: &mut Connection) {
    fs::copy(harness::built("librowcall.so"), site.server.plugins.join("rowcall_0_0_9.so")).unwrap();
    let script = fs::read_to_string(harness::repository().join("sql/install.sql")).unwrap();
    for statement in script.lines().filter(|line| line.starts_with("CREATE FUNCTION")) {
        let (statement, _) = statement.rsplit_once(" '").unwrap();
        sql.query(format!("{statement} 'rowcall_0_0_9.so'")).unwrap();
    }
}

/// Sessions that write and call until the end. Those who have the handler never fail.
struct Load {
    end: AtomicBool,
    written: AtomicU64,
    failed: AtomicU64,
}

impl Load {
    fn run(&self, mut sql: Connection, statement: &str) {
        while !self.end.load(Relaxed) {
            let counter = if sql.query(statement).is_ok() { &self.written } else { &self.failed };
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Ends it when it is dropped, also when the test fails.
    fn until_dropped(&self) -> End<'_> {
        End(&self.end)
    }

    fn goes_on(&self) {
        let before = self.written.load(Relaxed);
        eventually("more writes", || (self.written.load(Relaxed) > before + 20).then_some(()));
    }
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Fails unless the server has every function, and each of this version.
fn assert_all_there(site: &Site) {
    let output = site.rowcall(&["doctor", "--json"]);
    let found = String::from_utf8(output.stdout).unwrap();
    let functions = found.lines().find(|line| line.contains("\"check\":\"functions\"")).unwrap();
    assert!(functions.contains("\"level\":\"ok\""), "{functions}");
    let mut sql = site.connect();
    let ours = format!("rowcall_{}.so", env!("CARGO_PKG_VERSION").replace('.', "_"));
    for row in sql.texts("SELECT name, dl FROM mysql.func").unwrap() {
        assert_eq!(row[1], ours, "{row:?}");
        let missing = sql.query(format!("DO {}()", row[0])).is_err_and(|error| error.number != 1123);
        assert!(!missing, "{row:?}");
    }
}

fn replace_under_load(kind: Kind, schema: &str) {
    let Some(mut site) = Site::bare(kind, &[schema]) else { return };
    site.start_daemon();
    let mut worker = site.listener(&["work"]);
    let mut sql = site.connect();
    install_older(&site, &mut sql);
    sql.query("CREATE TABLE t (id INT)").unwrap();
    sql.query("CREATE TABLE asking (id INT)").unwrap();
    let handler = "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;";
    sql.query(format!(
        "CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW BEGIN {handler} DO rowcall_emit('t', NEW.id); END"
    ))
    .unwrap();
    sql.query("CREATE TRIGGER a AFTER INSERT ON asking FOR EACH ROW DO rowcall_request('work', 'x', 60000)")
        .unwrap();
    let load = Load { end: false.into(), written: 0.into(), failed: 0.into() };
    thread::scope(|scope| {
        let _end = load.until_dropped();
        for _ in 0..2 {
            let (load, sql) = (&load, site.connect());
            scope.spawn(move || load.run(sql, "INSERT INTO t VALUES (1), (2), (3)"));
        }
        let statements = [
            "SELECT rowcall_emit('t', 1), rowcall_request('work', 'x', 60000)",
            "INSERT INTO asking VALUES (1)",
        ];
        let asking = statements.map(|statement| {
            let mut sql = site.connect();
            scope.spawn(move || sql.query(statement).map(drop))
        });
        let requests = [worker.message(), worker.message()];
        let mut install = Child::start("install", &mut site.rowcall_command(&["install"]));
        if kind == Kind::MySql {
            install.prints("waiting");
        } else {
            assert!(install.wait().success(), "MariaDB keeps the functions apart");
        }
        load.goes_on();
        for request in &requests {
            worker.answer(request, "done");
        }
        for statement in asking {
            statement.join().unwrap().unwrap();
        }
        if kind == Kind::MySql {
            // The server has forgotten it with the statement that used the older one.
            install.prints("created again");
            assert!(install.wait().success());
        }
        load.goes_on();
    });
    assert_eq!(load.failed.load(Relaxed), 0, "a trigger with the handler fails no statement");
    assert_all_there(&site);
    site.server.assert_alive();
}

fn functions_outlive_their_replacement_where_uses_are_counted(kind: Kind) {
    replace_under_load(kind, "--performance-schema=ON");
}

fn functions_outlive_their_replacement_where_uses_are_not_counted(kind: Kind) {
    replace_under_load(kind, "--performance-schema=OFF");
}

/// Removed and installed again is a replacement as well; and there is an end to the waiting.
fn functions_removed_and_installed_again_stay(kind: Kind) {
    let Some(mut site) = Site::with_server_arguments(kind, &["--performance-schema=ON"]) else { return };
    site.start_daemon();
    let mut worker = site.listener(&["work"]);
    let mut sql = site.connect();
    thread::scope(|scope| {
        let asking = scope.spawn(move || sql.query("DO rowcall_request('work', 'x', 60000)").map(drop));
        let request = worker.message();
        assert!(site.rowcall(&["uninstall"]).status.success());
        let output = site.rowcall(&["install", "--wait", "0s"]);
        let text = String::from_utf8_lossy(&output.stderr);
        if kind == Kind::MySql {
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains("of root@localhost") && text.contains("DO rowcall_request("), "{text}");
        } else {
            assert!(output.status.success(), "{text}");
        }
        worker.answer(&request, "done");
        asking.join().unwrap().unwrap();
    });
    assert!(site.rowcall(&["install"]).status.success());
    assert_all_there(&site);
}

/// docs/functions.md warns of each.
fn what_a_missing_function_takes_along(kind: Kind) {
    let Some(site) = Site::without_daemon(kind) else { return };
    let mut sql = site.connect();
    let handler = "DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;";
    sql.query("CREATE TABLE named (id INT)").unwrap();
    sql.query(format!(
        "CREATE TRIGGER n AFTER INSERT ON named FOR EACH ROW BEGIN {handler} DO rowcall_notify('t' AS s, 'x'); END"
    ))
    .unwrap();
    let generated = [
        "CREATE TABLE virtual_column (id INT, sent INT AS (rowcall_notify('t', id)) VIRTUAL)",
        "CREATE TABLE default_value (id INT, sent INT DEFAULT (rowcall_notify('t', 'x')))",
    ];
    for table in generated {
        assert_eq!(sql.query(table).is_ok(), kind == Kind::MariaDb, "{table}");
    }
    sql.query("DROP FUNCTION rowcall_notify").unwrap();
    sql.query("FLUSH TABLES").unwrap();
    let mut fails = |statement: &str, number: u32| {
        assert_eq!(sql.query(statement).unwrap_err().number, number, "{statement}");
    };
    fails("SELECT rowcall_notify('t', 'x')", 1305);
    fails("SELECT rowcall_notify('t' AS s, 'x')", 1584);
    fails("DO rowcall_notify('t' AS s, 'x')", 1584);
    fails("INSERT INTO named VALUES (1)", 1064);
    if kind == Kind::MariaDb {
        for table in ["virtual_column", "default_value"] {
            fails(&format!("SELECT id FROM {table}"), 1584);
            fails(&format!("SHOW CREATE TABLE {table}"), 1584);
            fails(&format!("ALTER TABLE {table} DROP COLUMN sent"), 1584);
        }
    }
    assert!(site.rowcall(&["install"]).status.success());
    let tables = if kind == Kind::MariaDb { "named, virtual_column, default_value" } else { "named" };
    sql.query(format!("SELECT 1 FROM {tables}")).unwrap();
}
