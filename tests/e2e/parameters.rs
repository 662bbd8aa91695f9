//! Whatever is passed to `rowcall.publish_with`, in whichever SQL mode, and however the server was set when
//! the procedures were made: no transaction fails for it, and it arrives whole or is parked with a reason.

use harness::outbox::{until_empty, waiting};
use harness::{Kind, Site};
use rowcall_mysql::Connection;

on_each_server!(
    nothing_that_is_passed_fails_the_transaction,
    the_procedures_are_the_same_in_each_sql_mode,
    what_no_client_can_receive_is_parked_and_blocks_nothing,
);

/// SQL modes that change what a statement means, or what it refuses.
const MODES: [&str; 4] = [
    "",
    "TRADITIONAL,ONLY_FULL_GROUP_BY,NO_ZERO_DATE",
    "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,IGNORE_SPACE,HIGH_NOT_PRECEDENCE",
    "ANSI,NO_AUTO_VALUE_ON_ZERO,NO_UNSIGNED_SUBTRACTION,STRICT_ALL_TABLES,PAD_CHAR_TO_FULL_LENGTH",
];

/// One that only MariaDB has, in which its own procedures are written otherwise.
fn modes(kind: Kind) -> Vec<&'static str> {
    let own = if kind == Kind::MariaDb {
        &["ORACLE", "MSSQL,EMPTY_STRING_IS_NULL,TIME_ROUND_FRACTIONAL"][..]
    } else {
        &[]
    };
    MODES.iter().chain(own).copied().collect()
}

fn reasons(sql: &mut Connection) -> Vec<String> {
    let rows = sql.query("SELECT reason FROM rowcall.parked ORDER BY id").unwrap().rows;
    rows.iter().map(|row| String::from_utf8(row[0].clone().unwrap()).unwrap()).collect()
}

fn nothing_that_is_passed_fails_the_transaction(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut listener = site.listener(&[">"]);
    let mut sql = site.connect();
    // The arguments, and what becomes of them: a reason, or nothing where they arrive.
    let calls = [
        ("'a', 'x', REPEAT('Aa: bb\n', 10000)", ""),
        ("'a', 'x', REPEAT('A', 70000)", "bad_header"),
        ("'a', 'x', REPEAT('A: b\n', 1 << 20)", "too_large"),
        ("'a', 'x', REPEAT(_latin1 x'e4', 100000)", "bad_header"),
        ("'a', REPEAT('x', 20 << 20), REPEAT('A', 20 << 20)", "too_large"),
        ("REPEAT('a', 20 << 20), 'x', NULL", "bad_subject"),
        ("NULL, NULL, NULL", "bad_subject"),
        ("'a', NULL, REPEAT('A', 70000)", "null_payload"),
        ("'a', 'x', _utf16 x'00410042'", "bad_header"),
        ("_utf32 x'000000e4', 'x', ''", "bad_subject"),
        ("'a', x'fffe00', x'00'", "bad_header"),
        ("1.5e3, TRUE, NOW(6)", "bad_header"),
        ("JSON_OBJECT('a', 1), POINT(1, 2), b'1'", "bad_subject"),
    ];
    let mut expected = Vec::new();
    for mode in modes(kind) {
        sql.query(format!("SET SESSION sql_mode = '{mode}'")).unwrap();
        for (arguments, reason) in calls {
            sql.query("START TRANSACTION").unwrap();
            let call = format!("CALL rowcall.publish_with({arguments})");
            sql.query(&call).unwrap_or_else(|error| panic!("{mode}: {call}: {error}"));
            sql.query("COMMIT").unwrap();
            expected.extend(Some(reason).filter(|reason| !reason.is_empty()));
        }
        let message = listener.message();
        assert_eq!((message.text(), message.headers.matches("Aa: bb").count()), ("x", 10_000), "{mode}");
    }
    until_empty(&mut sql);
    assert_eq!(reasons(&mut sql), expected);
    // What is parked is whole.
    let lengths =
        "SELECT LENGTH(payload), LENGTH(headers) FROM rowcall.parked ORDER BY LENGTH(payload) DESC LIMIT 1";
    let whole = Some((20 << 20).to_string().into_bytes());
    assert_eq!(sql.query(lengths).unwrap().rows, [[whole.clone(), whole]]);
}

fn the_procedures_are_the_same_in_each_sql_mode(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    let made = "SELECT GROUP_CONCAT(CONCAT(sql_mode, '|', character_set_client, '|', collation_connection) \
                ORDER BY routine_name) FROM information_schema.routines WHERE routine_schema = 'rowcall'";
    let expected = sql.value(made).unwrap().unwrap();
    let parts: Vec<&str> = expected.split(',').collect();
    assert!(parts.len() == 2 && parts.iter().all(|part| part.starts_with("|utf8mb4|")), "{expected}");
    let script = harness::repository().join("sql/schema.sql");
    for (n, mode) in modes(kind).into_iter().enumerate() {
        sql.query(format!("SET GLOBAL sql_mode = '{mode}'")).unwrap();
        sql.query("DROP DATABASE rowcall").unwrap();
        // The same by hand.
        if n % 2 == 0 {
            site.install_tables()
        } else {
            site.server.run_script(&script)
        }
        assert_eq!(sql.value(made).unwrap().unwrap(), expected, "{mode}");
        let mut caller = Connection::connect(&site.server.options()).unwrap();
        caller.query("CALL rowcall.publish('a', 'x')").unwrap_or_else(|error| panic!("{mode}: {error}"));
        caller.query("CALL rowcall.publish_with('a', 'x', REPEAT('A', 70000))").unwrap();
        assert_eq!(waiting(&mut sql), 2, "{mode}");
        assert_eq!(
            sql.value("SELECT COUNT(*) FROM rowcall.site WHERE name <> ''").unwrap().as_deref(),
            Some("1")
        );
    }
}

/// Two values of 1 GiB are a row that no client can receive; here its limit is lower.
fn what_no_client_can_receive_is_parked_and_blocks_nothing(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    site.daemon().stop();
    let mut sql = site.connect();
    sql.query("CALL rowcall.publish('a', 'before')").unwrap();
    sql.query("CALL rowcall.publish_with('a', REPEAT('x', 3 << 20), REPEAT('A', 3 << 20))").unwrap();
    sql.query("CALL rowcall.publish_with('a', 'x', REPEAT('A', 8 << 20))").unwrap();
    sql.query("CALL rowcall.publish('a', 'after')").unwrap();
    let file = std::fs::read_to_string(site.outbox_file()).unwrap();
    std::fs::write(site.outbox_file(), format!("{file}max_allowed_packet={}\n", 2 << 20)).unwrap();
    site.start_committed_daemon();
    until_empty(&mut sql);
    assert_eq!(site.daemon().varz()["outbox"]["handed_on"], 2);
    assert_eq!(reasons(&mut sql), ["too_large", "too_large"]);
    let lengths = "SELECT SUM(LENGTH(payload) + LENGTH(headers)) FROM rowcall.parked";
    assert_eq!(sql.value(lengths).unwrap(), Some(((14 << 20) + 1).to_string()));
}
