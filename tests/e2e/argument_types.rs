//! Arguments of every type: a call is made with whatever is passed, from a trigger, directly and as a
//! prepared statement's parameter. Only a wrong number of arguments is refused.

use harness::{Kind, Site};
use rowcall_mysql::Connection;
use std::thread;
use std::time::{Duration, Instant};

on_each_server!(
    no_statement_fails_for_the_type_of_an_argument,
    a_timeout_is_what_its_text_says,
    equal_names_take_no_time,
);

/// A type, with values of it: an ordinary one, and one that is odd as a number.
type Column = (&'static str, [&'static str; 2]);

const COLUMNS: [Column; 25] = [
    ("INT", ["20", "-2147483648"]),
    ("BIGINT UNSIGNED", ["20", "18446744073709551615"]),
    ("INT(8) UNSIGNED ZEROFILL", ["20", "0"]),
    ("BOOL", ["TRUE", "FALSE"]),
    ("YEAR", ["2026", "0"]),
    ("BIT(64)", ["b'10100'", "0xffffffffffffffff"]),
    ("DECIMAL(65, 30)", ["20.5", "-99999999999999999999999999999999999.9"]),
    ("FLOAT", ["20.5", "-3e38"]),
    ("DOUBLE", ["2e1", "1.7e308"]),
    ("VARCHAR(100)", ["'20'", "'abc'"]),
    ("VARCHAR(100) CHARACTER SET latin1", ["'20'", "'größe'"]),
    ("VARCHAR(100) CHARACTER SET utf16", ["'20'", "'größe'"]),
    ("CHAR(20) CHARACTER SET utf32", ["'20'", "''"]),
    ("VARCHAR(100) CHARACTER SET sjis", ["'20'", "'soon'"]),
    ("BINARY(20)", ["'20'", "0xff00fe"]),
    ("LONGBLOB", ["'20'", "REPEAT(CHAR(1), 70000)"]),
    ("LONGTEXT", ["'20 ms'", "REPEAT('9', 70000)"]),
    ("JSON", ["'20'", "'{\"ms\": \"20\"}'"]),
    ("DATE", ["'2026-02-28'", "'1000-01-01'"]),
    ("TIME(6)", ["'00:00:20'", "'-838:59:59'"]),
    ("DATETIME(6)", ["'2026-02-28 12:00:00.5'", "'9999-12-31'"]),
    ("TIMESTAMP NULL", ["'2026-02-28 12:00:00'", "NULL"]),
    ("ENUM('20', 'soon')", ["'20'", "'soon'"]),
    ("SET('20', 'soon')", ["'20'", "'20,soon'"]),
    ("GEOMETRY", ["ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))')"]),
];

/// Calls of all functions that take arguments, with a value in each place. None of them waits.
const CALLS: [&str; 17] = [
    "rowcall_notify(?, 'p')",
    "rowcall_notify('t', ?)",
    "rowcall_notify('t', 'p', ?, 'value')",
    "rowcall_notify('t', 'p', 'name', ?)",
    "rowcall_emit(?, 1 AS one)",
    "rowcall_emit('t', ?)",
    "rowcall_request(?, 'p', 0)",
    "rowcall_request('nobody', ?)",
    "rowcall_request('nobody', 'p', ?)",
    "rowcall_submit(?, 'p')",
    "rowcall_submit('nobody', ?)",
    "rowcall_result(?)",
    "rowcall_result(?, 0)",
    "rowcall_result('no.ticket', ?)",
    "rowcall_wait(?, 0)",
    "rowcall_wait('no..subject', ?)",
    "rowcall_poke(?)",
];

fn run(sql: &mut Connection, statement: &str) {
    sql.query(statement).unwrap_or_else(|error| panic!("{error}: {statement:.300}"));
}

/// Every call with this in the place of the value.
fn calls_with(value: &str) -> String {
    CALLS.map(|call| call.replace('?', value)).join(", ")
}

fn no_statement_fails_for_the_type_of_an_argument(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut sql = site.connect();
    let columns: Vec<String> =
        COLUMNS.iter().enumerate().map(|(n, (what, _))| format!("c{n} {what}")).collect();
    run(&mut sql, &format!("CREATE TABLE types ({}) DEFAULT CHARACTER SET utf8mb4", columns.join(", ")));
    let triggered: Vec<String> = (0..COLUMNS.len()).map(|n| calls_with(&format!("NEW.c{n}"))).collect();
    run(
        &mut sql,
        &format!("CREATE TRIGGER t AFTER INSERT ON types FOR EACH ROW DO {}", triggered.join(", ")),
    );
    let mode = sql.value("SELECT @@sql_mode").unwrap().unwrap();
    assert!(mode.contains("STRICT"), "{mode}");
    for row in [0, 1] {
        let values = COLUMNS.map(|(_, values)| values[row]);
        run(&mut sql, &format!("INSERT INTO types VALUES ({})", values.join(", ")));
    }
    run(&mut sql, "INSERT INTO types () VALUES ()");
    // Statements whose warnings would be errors, were the server asked to make numbers of texts.
    run(&mut sql, "CREATE TABLE answers (a LONGBLOB)");
    for (n, (what, _)) in COLUMNS.iter().enumerate() {
        let c = format!("c{n}");
        for value in [c.clone(), format!("IF(1, {c}, 'x')"), format!("(SELECT MAX({c}) FROM types)")] {
            if what.contains("GEOMETRY") && value != c {
                continue;
            }
            run(&mut sql, &format!("SELECT {} FROM types", calls_with(&value)));
        }
        run(&mut sql, &format!("INSERT INTO answers SELECT CONCAT_WS('', {}) FROM types", calls_with(&c)));
        run(
            &mut sql,
            &format!("CREATE PROCEDURE p{n}(p {}) DO {}", what.trim_end_matches(" NULL"), calls_with("p")),
        );
        run(&mut sql, &format!("CALL p{n}((SELECT {c} FROM types LIMIT 1))"));
        run(&mut sql, &format!("SELECT {c} FROM types LIMIT 1 INTO @v{n}"));
    }
    for call in CALLS {
        run(&mut sql, &format!("PREPARE s FROM \"SELECT {call}\""));
        for n in 0..COLUMNS.len() {
            run(&mut sql, &format!("EXECUTE s USING @v{n}"));
        }
        run(&mut sql, "EXECUTE s USING @never_set");
    }
    assert_eq!(sql.value("SELECT COUNT(*) FROM types").unwrap().as_deref(), Some("3"));
    site.server.assert_alive();
}

/// Nothing comes, so each wait lasts as long as it is told. That it is no shorter tells the number.
fn a_timeout_is_what_its_text_says(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    run(&mut site.connect(), "CREATE TABLE bits (b BIT(16))");
    run(&mut site.connect(), "INSERT INTO bits VALUES (400)");
    let timeouts = [
        ("'400'", 400),
        ("' 400 '", 400),
        ("'4e2'", 400),
        ("4e2", 400),
        ("399.6", 400),
        ("CAST('400' AS CHAR CHARACTER SET utf16)", 400),
        ("IF(1, '400', 'x')", 400),
        ("JSON_EXTRACT('{\"ms\": 400}', '$.ms')", 400),
        ("JSON_EXTRACT('{\"ms\": \"400\"}', '$.ms')", 400),
        ("(SELECT b FROM bits)", 400),
        ("CAST('400' AS BINARY(10))", 400),
        ("'soon'", 250),
        ("'0400ms'", 250),
        ("NULL", 250),
        ("DATE'2026-02-28'", 250),
        ("-1", 0),
        ("'-1'", 0),
    ];
    thread::scope(|scope| {
        for (timeout, millis) in timeouts {
            let mut sql = site.connect();
            scope.spawn(move || {
                let began = Instant::now();
                let statement = format!(
                    "SELECT CONCAT(rowcall_wait('silence', {timeout}) IS NULL, ' ', rowcall_last_error())"
                );
                let answer = sql.value(&statement).unwrap();
                assert_eq!(answer.as_deref(), Some("1 timeout"), "{timeout}");
                let waited = began.elapsed();
                assert!(waited >= Duration::from_millis(millis), "{timeout}: {waited:?}");
            });
        }
    });
    // A worker has time to answer what is told in more digits than there are.
    site.worker("echo", |request| request.payload.clone());
    for timeout in ["18446744073709551615", "'99999999999999999999999'", "1e300"] {
        let answer = site.connect().value(format!("SELECT rowcall_request('echo', 'x', {timeout})"));
        assert_eq!(answer.unwrap().as_deref(), Some("x"), "{timeout}");
    }
}

/// MariaDB calls every parameter of a prepared statement "?". Looking each name up among all those before
/// took 44 s for these.
fn equal_names_take_no_time(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["t"]);
    let mut sql = site.connect();
    let (names, began) = (3000, Instant::now());
    run(&mut sql, &format!("PREPARE s FROM 'SELECT rowcall_emit(?{})'", ", ?".repeat(names)));
    run(&mut sql, "SET @s = 't', @v = 1");
    run(&mut sql, &format!("EXECUTE s USING @s{}", ", @v".repeat(names)));
    run(&mut sql, &format!("DO rowcall_emit('t'{})", ", 1 AS x".repeat(names)));
    let took = began.elapsed();
    for prefix in ["?", "x"] {
        let object: serde_json::Value = serde_json::from_slice(&listener.message().payload).unwrap();
        assert_eq!(object.as_object().unwrap().len(), names);
        assert_eq!(object[format!("{prefix}_{names}")], 1, "{prefix}");
    }
    assert!(took < Duration::from_secs(10), "{took:?}");
}
