//! `rowcall watch`: a table's changes become events. What comes out of each type of column stands in
//! watch/types.rs, what the statements that make the changes notice of it in watch/statements.rs.

mod alike;
mod altered;
mod forwarding;
mod listening;
mod moved;
mod rights;
mod running;
mod sessions;
mod statements;
mod tools;
mod types;
mod unseen;

use harness::{Kind, Message, Site, Terminal, eventually};
use rowcall_mysql::Connection;
use serde_json::{Value, json};
use std::process::Output;

on_each_server!(
    changes_are_events_in_debezium_s_form,
    what_is_asked_for_and_nothing_else,
    other_triggers_stay_and_run_first,
    tables_change_and_the_list_says_so,
    a_session_may_be_quiet,
    names_of_any_kind,
    two_hundred_columns,
    printing_changes_nothing_and_can_be_run,
    instant_mode_tells_before_commit,
    mistakes_are_told_and_change_nothing,
    what_triggers_cannot_see_is_said,
);

/// An event, and where it went.
#[derive(Debug)]
struct Heard {
    subject: String,
    headers: String,
    payload: Value,
}

impl Heard {
    #[track_caller]
    fn next(listener: &mut Terminal) -> Heard {
        let message: Message = listener.message();
        let payload = serde_json::from_str(message.text());
        let payload = payload.unwrap_or_else(|error| panic!("{error}: {}", message.text()));
        Heard { subject: message.subject, headers: message.headers, payload }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(site: &Site, command: &str, arguments: &[&str]) -> Output {
    site.rowcall(&[&[command], arguments].concat())
}

/// Watches, and gives what it said.
#[track_caller]
fn watch(site: &Site, arguments: &[&str]) -> String {
    let output = run(site, "watch", arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn fails(site: &Site, arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(site, "watch", arguments);
    let said = text(&output.stderr);
    let agree = output.status.code() == Some(code) && words.iter().all(|words| said.contains(words));
    assert!(agree, "expected {code} and {words:?}: {:?} {said}", output.status.code());
}

fn table(sql: &mut Connection) {
    sql.query("CREATE TABLE orders (id INT PRIMARY KEY, customer VARCHAR(40), total DECIMAL(9,2))").unwrap();
}

/// The triggers of a table, in the order in which they run.
fn triggers(sql: &mut Connection) -> Vec<String> {
    let rows = sql
        .query("SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'test' ORDER BY EVENT_MANIPULATION, ACTION_TIMING = 'AFTER', ACTION_ORDER")
        .unwrap()
        .rows;
    rows.iter().map(|row| text(row[0].as_deref().unwrap())).collect()
}

fn changes_are_events_in_debezium_s_form(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    let said = watch(&site, &["test.orders"]);
    assert_eq!(
        said,
        "watched test.orders: insert, update, delete, committed\n  rowcall listen 'test.orders.*'\n"
    );
    let mut listener = site.listener(&["test.orders.*"]);
    sql.query("START TRANSACTION").unwrap();
    sql.query("INSERT INTO orders VALUES (1, 'nobody', 1)").unwrap();
    sql.query("ROLLBACK").unwrap();
    sql.query("INSERT INTO orders VALUES (1, 'Ada', 12.50)").unwrap();
    sql.query("UPDATE orders SET total = 13").unwrap();
    sql.query("DELETE FROM orders").unwrap();
    let [ada, later] = [12.5, 13.0].map(|total| json!({"id": 1, "customer": "Ada", "total": total}));
    let now = jiff_milliseconds();
    let expected = [
        ("insert", "c", json!(null), ada.clone()),
        ("update", "u", ada, later.clone()),
        ("delete", "d", later, json!(null)),
    ];
    for (name, op, before, after) in expected {
        let event = Heard::next(&mut listener);
        assert_eq!(event.subject, format!("test.orders.{name}"));
        assert!(event.headers.contains("Rowcall-Key: test.orders/1\r\n"), "{}", event.headers);
        let payload = &event.payload;
        assert_eq!((&payload["op"], &payload["before"], &payload["after"]), (&json!(op), &before, &after));
        let source = &payload["source"];
        assert_eq!(
            (&source["connector"], &source["db"], &source["table"]),
            (&json!("rowcall"), &json!("test"), &json!("orders"))
        );
        assert_eq!(source["thread"], json!(sql.id()));
        assert_eq!(source["ts_ms"], payload["ts_ms"]);
        assert!(payload["ts_ms"].as_u64().unwrap().abs_diff(now) < 600_000, "{payload}");
    }
}

/// Milliseconds since 1970, by this machine's clock.
fn jiff_milliseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as u64
}

fn what_is_asked_for_and_nothing_else(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    let arguments = [
        "test.orders",
        "--on",
        "update",
        "--columns",
        "TOTAL,id",
        "--only-changed",
        "--when",
        "NEW.total > 10 OR NEW.total IS NULL",
        "--subject",
        "money.{table}.{key}",
        "--key",
        "customer",
    ];
    let said = watch(&site, &arguments);
    assert!(said.ends_with("update, committed\n  rowcall listen 'money.orders.*'\n"), "{said}");
    let mut listener = site.listener(&["money.>"]);
    sql.query("INSERT INTO orders VALUES (1, 'A.d a', 1)").unwrap();
    for change in ["customer = 'a.D A'", "total = 2", "total = 12", "total = 12.00", "total = NULL"] {
        sql.query(format!("UPDATE orders SET {change}")).unwrap();
    }
    let first = Heard::next(&mut listener);
    assert_eq!(first.subject, "money.orders.a_D_A");
    assert_eq!(first.payload["before"], json!({"id": 1, "total": 2.0}));
    assert_eq!(first.payload["after"], json!({"id": 1, "total": 12.0}));
    assert!(first.headers.contains("Rowcall-Key: test.orders/a.D A\r\n"), "{}", first.headers);
    assert_eq!(Heard::next(&mut listener).payload["after"]["total"], json!(null));
    // A condition holds as it does in WHERE.
    watch(&site, &["test.orders", "--on", "insert", "--when", "NEW.total", "--subject", "some.{table}"]);
    let mut listener = site.listener(&["some.>"]);
    sql.query("INSERT INTO orders VALUES (2, 'x', 0), (3, 'x', NULL), (4, 'x', 0.4)").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["id"], 4);
    watch(&site, &arguments);
    // Of an insert and a delete there is nothing.
    assert_eq!(triggers(&mut sql), ["rowcall_orders_update"]);
}

fn other_triggers_stay_and_run_first(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    for name in ["mine", "too"] {
        sql.query(format!("CREATE TRIGGER {name} AFTER INSERT ON orders FOR EACH ROW SET @{name} = NEW.id"))
            .unwrap();
    }
    sql.query("CREATE TRIGGER before_it BEFORE INSERT ON orders FOR EACH ROW SET NEW.customer = UPPER(NEW.customer)").unwrap();
    watch(&site, &["test.orders", "--on", "insert"]);
    assert_eq!(triggers(&mut sql), ["before_it", "mine", "too", "rowcall_orders_insert"]);
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO orders VALUES (5, 'ada', 1)").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["customer"], "ADA");
    let output = run(&site, "unwatch", &["test.orders"]);
    assert_eq!(text(&output.stdout), "test.orders is watched no more\n");
    assert_eq!(triggers(&mut sql).len(), 3);
    assert!(text(&run(&site, "unwatch", &["test.orders"]).stdout).contains("was not watched"));
}

fn tables_change_and_the_list_says_so(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let nothing = run(&site, "watch", &["--list"]);
    assert!(text(&nothing.stderr).contains("nothing is watched"));
    table(&mut sql);
    watch(&site, &["test.orders", "--on", "insert"]);
    let list = || watch(&site, &["--list"]);
    let lines: Vec<String> =
        list().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ["table on mode subjects state", "test.orders insert committed test.orders.insert ok"]);
    sql.query("ALTER TABLE orders ADD COLUMN note TEXT, MODIFY total DECIMAL(10,2), DROP COLUMN customer")
        .unwrap();
    assert!(list().contains("-customer ~total +note"), "{}", list());
    let refreshed = watch(&site, &["--refresh"]);
    assert!(refreshed.starts_with("refreshed test.orders: insert"), "{refreshed}");
    assert!(list().ends_with("ok\n"));
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO orders VALUES (1, 2, 'new')").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"], json!({"id": 1, "total": 2.0, "note": "new"}));
    // A table with another name has other subjects.
    sql.query("RENAME TABLE orders TO sales").unwrap();
    assert!(list().contains("was test.orders"), "{}", list());
    watch(&site, &["--refresh"]);
    sql.query("DELETE FROM sales").unwrap();
    sql.query("INSERT INTO sales VALUES (2, 2, 'again')").unwrap();
    assert_eq!(Heard::next(&mut listener).subject, "test.sales.insert");
    sql.query("ALTER TABLE sales DROP PRIMARY KEY, ADD PRIMARY KEY (total)").unwrap();
    assert!(list().contains("~primary key"), "{}", list());
    watch(&site, &["--refresh"]);
    sql.query("INSERT INTO sales VALUES (2, 3, 'keyed')").unwrap();
    assert!(Heard::next(&mut listener).headers.contains("Rowcall-Key: test.sales/3.00\r\n"));
    sql.query("RENAME TABLE sales TO orders").unwrap();
    // A trigger that someone dropped is missed, too.
    watch(&site, &["test.orders"]);
    sql.query("DROP TRIGGER rowcall_orders_update").unwrap();
    let listed: Value = serde_json::from_str(&watch(&site, &["--list", "--json"])).unwrap();
    assert_eq!(listed["changes"], json!(["no update trigger"]));
    watch(&site, &["--refresh", "test.*"]);
    assert_eq!(triggers(&mut sql).len(), 3);
    // What was chosen and is gone is for a person to decide.
    watch(&site, &["test.orders", "--columns", "note"]);
    sql.query("ALTER TABLE orders DROP COLUMN note").unwrap();
    fails(&site, &["--refresh"], 1, &["test.orders has no column note", "1 tables are as they were"]);
}

fn a_session_may_be_quiet(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    let mut listener = site.listener(&["test.>"]);
    for (id, (off, heard)) in (1..).zip([
        ("1", false),
        ("'yes'", false),
        ("0", true),
        ("''", true),
        ("NULL", true),
        ("TRUE", false),
    ]) {
        sql.query(format!("SET @rowcall_off = {off}")).unwrap();
        sql.query(format!("INSERT INTO orders VALUES ({id}, 'x', 1)")).unwrap();
        if heard {
            assert_eq!(Heard::next(&mut listener).payload["after"]["id"], id, "{off}");
        }
    }
    sql.query("SET @rowcall_off = NULL").unwrap();
    sql.query("DELETE FROM orders WHERE id = 1").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["op"], "d");
}

fn names_of_any_kind(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let long = "ö".repeat(64);
    let tables = [
        ("a.b", "a.b"),
        ("größe in `cm`", "größe in ``cm``"),
        ("o'clock \"x\" \\ %", "o'clock \"x\" \\ %"),
        (&long, &long),
    ];
    for (name, quoted) in tables {
        sql.query(format!(
            "CREATE TABLE `{quoted}` (`id`` '\"\\` INT PRIMARY KEY, `größe in cm` INT, `select` INT)"
        ))
        .unwrap();
        watch(&site, &[&format!("test.`{quoted}`"), "--only-changed"]);
        let mut listener = site.listener(&["test.>"]);
        sql.query(format!("INSERT INTO `{quoted}` VALUES (1, 2, 3)")).unwrap();
        let event = Heard::next(&mut listener);
        assert_eq!(event.payload["after"], json!({"id` '\"\\": 1, "größe in cm": 2, "select": 3}), "{name}");
        assert_eq!(event.payload["source"]["table"], name);
        assert_eq!(event.subject.split('.').count(), 3, "{}", event.subject);
    }
    assert_eq!(watch(&site, &["--list", "--json"]).lines().count(), 4);
    assert!(run(&site, "unwatch", &["test.*"]).status.success());
    assert!(triggers(&mut sql).is_empty());
}

fn two_hundred_columns(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let columns: Vec<String> = (0..200).map(|n| format!("column_number_{n} INT")).collect();
    sql.query(format!("CREATE TABLE wide (id INT PRIMARY KEY, {})", columns.join(", "))).unwrap();
    watch(&site, &["test.wide"]);
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO wide (id, column_number_199) VALUES (1, 99)").unwrap();
    let after = &Heard::next(&mut listener).payload["after"];
    assert_eq!((after.as_object().unwrap().len(), &after["column_number_199"]), (201, &json!(99)));
}

fn printing_changes_nothing_and_can_be_run(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    let printed =
        watch(&site, &["test.orders", "--print", "--when", "NEW.customer <> 'it''s \\\\'", "--on", "insert"]);
    assert!(triggers(&mut sql).is_empty());
    let script = site.folder.path().join("watch.sql");
    std::fs::write(&script, printed).unwrap();
    site.server.run_script(&script);
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO orders VALUES (1, 'it''s \\\\', 1), (2, 'x', 1)").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["id"], 2);
    // To print it again and run it takes the place of what is there.
    let again = watch(&site, &["test.orders", "--print", "--on", "insert"]);
    std::fs::write(&script, again).unwrap();
    site.server.run_script(&script);
    assert_eq!(triggers(&mut sql).len(), 1);
    let printed =
        watch(&site, &["test.orders", "--print", "--when", "NEW.customer <> 'it''s \\\\'", "--on", "insert"]);
    std::fs::write(&script, printed).unwrap();
    site.server.run_script(&script);
    // What was put there by hand is as good as what the command puts there.
    let listed: Value = serde_json::from_str(&watch(&site, &["--list", "--json"])).unwrap();
    assert_eq!((&listed["when"], &listed["changes"]), (&json!("NEW.customer <> 'it''s \\\\'"), &json!([])));
}

fn instant_mode_tells_before_commit(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders", "--mode", "instant"]);
    let mut listener = site.listener(&["test.>"]);
    sql.query("START TRANSACTION").unwrap();
    let event = eventually("it was heard", || {
        // The first call of a session may find that the daemon has not greeted it yet.
        sql.query("REPLACE INTO orders VALUES (1, 'Ada', 1)").unwrap();
        let sent = sql.value("SELECT CONVERT(rowcall_last_error() USING utf8mb4)").unwrap();
        sent.is_none().then(|| Heard::next(&mut listener))
    });
    assert_eq!(event.payload["op"].as_str().map(str::len), Some(1));
    sql.query("ROLLBACK").unwrap();
    // It needs no tables of committed mode, and fails nothing when the functions go.
    assert!(site.rowcall(&["uninstall"]).status.success());
    sql.query("INSERT INTO orders VALUES (9, 'x', 1)").unwrap();
    fails(&site, &["test.orders", "--mode", "instant"], 1, &["rowcall install"]);
    fails(&site, &["test.orders"], 6, &["rowcall install --outbox"]);
}

fn mistakes_are_told_and_change_nothing(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders", "--on", "insert"]);
    let before = triggers(&mut sql);
    fails(&site, &["orders"], 2, &["expected DB.TABLE"]);
    fails(&site, &["test.nothing"], 1, &["there is no table test.nothing"]);
    fails(&site, &["mysql.user"], 2, &["cannot be watched"]);
    fails(&site, &["test.orders", "--columns", "customre"], 2, &["no column customre"]);
    fails(&site, &["test.orders", "--subject", "{tabel}"], 2, &["there is no {tabel}"]);
    fails(&site, &["test.orders", "--when", "NEW.toal > 1"], 6, &["1054", "NEW.name"]);
    fails(&site, &["test.orders", "--when", "NEW.total >"], 6, &["1064", "--when"]);
    fails(&site, &["test.orders", "--when", "total > 1"], 2, &["NEW.name"]);
    sql.query("CREATE TABLE loose (v INT) ENGINE=MyISAM").unwrap();
    fails(&site, &["test.loose"], 2, &["--mode instant"]);
    fails(&site, &["test.orders", "--when", "OLD.total > 1"], 6, &["1363", "--on"]);
    sql.query("CREATE TABLE keyless (v INT)").unwrap();
    fails(&site, &["test.keyless", "--subject", "k.{key}"], 2, &["--key"]);
    assert_eq!(triggers(&mut sql), before);
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO orders VALUES (1, 'x', 1)").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["id"], 1);
}

fn what_triggers_cannot_see_is_said(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    sql.query("CREATE TABLE items (id INT PRIMARY KEY, o INT, FOREIGN KEY (o) REFERENCES orders (id) ON DELETE CASCADE)").unwrap();
    let said = text(&run(&site, "watch", &["test.*"]).stderr);
    assert!(!said.contains("no daemon"), "{said}");
    for words in
        ["test.items: its triggers do not see ON DELETE CASCADE from orders", "TRUNCATE", "replication"]
    {
        assert!(said.contains(words), "{said}");
    }
    site.daemon = None;
    eventually("nobody reads any more", || {
        let said = text(&run(&site, "watch", &["test.orders"]).stderr);
        said.contains("no daemon reads the outbox").then_some(())
    });
}
