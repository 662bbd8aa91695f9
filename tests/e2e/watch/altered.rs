//! Columns that have become of another type under the triggers, and values that no reader would take: the event
//! is JSON of the table's own columns, or it is parked.

use super::{Heard, watch};
use harness::{Kind, Site, eventually};
use rowcall_mysql::Connection;
use serde_json::{Value, json};

on_each_server!(
    a_column_of_any_type_may_become_one_of_any_other,
    a_key_of_another_type_writes_no_header,
    half_a_surrogate_pair_spoils_no_event,
    what_is_not_strict_json_is_a_string,
);

/// Types, each with what it is given: of text what its writer would like to put into the event.
fn types(kind: Kind) -> Vec<(&'static str, &'static str)> {
    let mut types = vec![
        ("INT", "5"),
        ("INT(6) UNSIGNED ZEROFILL", "42"),
        ("BIGINT", "9007199254740993"),
        ("DECIMAL(8,2)", "12.50"),
        ("FLOAT", "1.5"),
        ("DOUBLE", "1.5e300"),
        ("BIT(8)", "b'00110001'"),
        ("YEAR", "0"),
        ("DATE", "'2026-01-02'"),
        ("DATETIME(3)", "'2026-01-02 03:04:05'"),
        ("TIMESTAMP NULL", "'2026-01-02 03:04:05'"),
        ("TIME", "'12:00:01'"),
        ("VARCHAR(80)", "'2026-01-01 00:00\",\"role\":\"admin'"),
        ("TEXT", "'1,\"role\":\"admin\"'"),
        ("VARCHAR(81)", "'yesterday'"),
        ("VARCHAR(82)", "'1e400'"),
        ("VARCHAR(83)", "'1\\n'"),
        ("VARCHAR(84)", "'0x10'"),
        ("VARCHAR(85) CHARACTER SET latin1", "CONCAT('1', CHAR(0), ',\"role\":1')"),
        ("BLOB", "x'31FF22'"),
        ("JSON", "'{\"a\": 1}'"),
        ("GEOMETRY", "ST_GeomFromText('POINT(1 2)')"),
    ];
    if kind == Kind::MySql {
        types.push(("VECTOR(2)", "TO_VECTOR('[1.5,-2]')"));
    } else {
        types.push(("UUID", "'c9f0f895-fb98-11ed-9f2b-0242ac120002'"));
    }
    types
}

/// What may stand for it: itself as text, whatever the form, but nothing made up.
fn may_be(given: &str, kind: &str, shown: &Value) -> bool {
    let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
    let all: &[&str] = match given {
        "9007199254740993" => &["9007199254740993"],
        "42" => &["42", "000042"],
        "12.50" => &["12.5", "12.50"],
        "1.5e300" => &["1.5e300", "1.5e+300"],
        // A BIT is bytes where no number was.
        "b'00110001'" => &["49", "MQ=="],
        "0" => &["0", "0000"],
        "'2026-01-02'" => &["2026-01-02"],
        "'2026-01-02 03:04:05'" if kind.starts_with("DATETIME") => {
            &["2026-01-02 03:04:05.000", "2026-01-02T03:04:05.000", "2026-01-02T03:04:05Z"]
        }
        "'2026-01-02 03:04:05'" => &["2026-01-02 03:04:05", "2026-01-02T03:04:05", "2026-01-02T03:04:05Z"],
        "'12:00:01'" => &["12:00:01"],
        "'2026-01-01 00:00\",\"role\":\"admin'" => &["2026-01-01 00:00\",\"role\":\"admin"],
        "'1,\"role\":\"admin\"'" => &["1,\"role\":\"admin\""],
        "'yesterday'" => &["yesterday"],
        "'1e400'" => &["1e400"],
        "'1\\n'" => &["1\n"],
        "'0x10'" => &["0x10"],
        "x'31FF22'" => &["Mf8i"],
        "'{\"a\": 1}'" => &["{\"a\": 1}", "{\"a\":1}"],
        "'c9f0f895-fb98-11ed-9f2b-0242ac120002'" => &["c9f0f895-fb98-11ed-9f2b-0242ac120002"],
        "CONCAT('1', CHAR(0), ',\"role\":1')" => &["1\0,\"role\":1"],
        "TO_VECTOR('[1.5,-2]')" => &["AADAPwAAAMA=", "[1.5,-2.0]"],
        // WKB, after the four bytes of the SRID.
        given if given.starts_with("ST_") => &[
            "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA==",
            "{\"coordinates\":[1.0,2.0],\"type\":\"Point\"}",
            "{\"coordinates\":[1,2],\"type\":\"Point\"}",
        ],
        given => return shown == given,
    };
    all.contains(&shown.as_str())
}

fn parked(sql: &mut Connection) -> u64 {
    let count = sql.value("SELECT COUNT(*) FROM rowcall.parked WHERE payload IS NULL").unwrap();
    count.and_then(|count| count.parse().ok()).unwrap()
}

/// One table for each type that was: a column for each that it becomes, but only one of them at a time.
fn a_column_of_any_type_may_become_one_of_any_other(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("SET SESSION sql_mode = '', time_zone = '+00:00'").unwrap();
    let types = types(kind);
    for (n, (was, _)) in types.iter().enumerate() {
        sql.query(format!("CREATE TABLE t{n} (id INT PRIMARY KEY, v {was})")).unwrap();
    }
    watch(&site, &["test.*", "--on", "insert"]);
    let mut listener = site.listener(&["test.>"]);
    let (mut told, mut parks) = (0, 0);
    for (id, (becomes, value)) in (1..).zip(&types) {
        for (n, (was, _)) in types.iter().enumerate() {
            sql.query(format!("DELETE FROM t{n}")).unwrap();
            // Not every type can become every other.
            let drop = format!("ALTER TABLE t{n} DROP COLUMN v, ADD COLUMN v {becomes}");
            sql.query(&drop).unwrap_or_else(|error| panic!("{was} to {becomes}: {error}"));
            sql.query(format!("INSERT INTO t{n} VALUES ({id}, {value})")).unwrap();
        }
        sql.query("CALL rowcall.publish('test.end', '{}')").unwrap();
        loop {
            let event = Heard::next(&mut listener);
            if event.subject == "test.end" {
                break;
            }
            let n: usize = event.subject[6..].split('.').next().unwrap().parse().unwrap();
            let after = event.payload["after"].as_object().unwrap();
            let was = types[n].0;
            assert_eq!(after.len(), 2, "{was} to {becomes}: {after:?}");
            assert_eq!(event.payload.as_object().unwrap().len(), 5, "{was} to {becomes}: {}", event.payload);
            // MariaDB's JSON is text, and text that is JSON is written as JSON was.
            if kind == Kind::MariaDb && was == "JSON" && *value == "'1\\n'" {
                assert_eq!(after["v"], 1);
                told += 1;
                continue;
            }
            assert!(may_be(value, becomes, &after["v"]), "{was} to {becomes} {value}: {}", after["v"]);
            told += 1;
        }
        parks = eventually("each row is told or parked", || {
            let parked = parked(&mut sql);
            (told + parked == id * types.len() as u64).then_some(parked)
        });
    }
    // Only where one of the two is no text at all.
    assert!(parks * 5 < told, "{parks} parked, {told} told");
}

fn a_key_of_another_type_writes_no_header(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("SET SESSION sql_mode = ''").unwrap();
    let types = ["INT", "BIGINT", "FLOAT", "BIT(8)", "YEAR", "DATETIME", "TIMESTAMP", "DATE", "BINARY(4)"];
    for (n, was) in types.iter().enumerate() {
        sql.query(format!("CREATE TABLE t{n} (id {was} PRIMARY KEY)")).unwrap();
    }
    watch(&site, &["test.*", "--subject", "k.{table}.{key}"]);
    let mut listener = site.listener(&["k.>"]);
    for n in 0..types.len() {
        sql.query(format!("ALTER TABLE t{n} MODIFY id VARCHAR(80) CHARACTER SET utf8mb4")).unwrap();
        sql.query(format!("INSERT INTO t{n} VALUES ('2026-01-01 00:00\\r\\nRowcall-Id: 7')")).unwrap();
        let event = Heard::next(&mut listener);
        assert!(
            event.headers.contains(&format!("Rowcall-Key: test.t{n}/2026-01-01 00:00__Rowcall-Id: 7\r\n"))
        );
        assert_eq!(event.subject, format!("k.t{n}.2026-01-01_00:00__Rowcall-Id:_7"));
    }
}

/// MariaDB keeps them in its UTF-8, where regular expressions give up on them.
fn half_a_surrogate_pair_spoils_no_event(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("SET SESSION sql_mode = ''").unwrap();
    sql.query(
        "CREATE TABLE t (id VARCHAR(40) CHARACTER SET utf8mb4 PRIMARY KEY, u TEXT CHARACTER SET ucs2, w TEXT \
         CHARACTER SET utf8mb4)",
    )
    .unwrap();
    watch(&site, &["test.t", "--subject", "k.{key}"]);
    let mut listener = site.listener(&["k.>"]);
    sql.query("INSERT INTO t VALUES (CONCAT('a', CHAR(13, 10), 'Rowcall-Id: 7'), x'D83D', '한글')").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["w"], "한글");
    sql.query("INSERT INTO t (id, w) VALUES (x'EDA0800D0A526F7763616C6C2D49643A2037', x'41EDA080')").unwrap();
    let event = Heard::next(&mut listener);
    assert!(!event.headers.contains("\nRowcall-Id: 7"), "{}", event.headers);
    if kind == Kind::MariaDb {
        assert_eq!(event.payload["after"]["w"], "A?");
        assert_eq!(event.subject, "k.?__Rowcall-Id:_7");
    }
}

/// Documents that are nearly JSON, from a number that is the same in each run.
fn documents(count: usize) -> Vec<String> {
    let seeds = [
        r#"{"a":1,"b":[true,false,null],"c":"x\n\u00e9\\ \"q\" \/"}"#,
        "[1.5,-0.0,1e5,-12.5E-10,0]",
        r#"{"path":"C:\\dir\\new","k\"ey":{"d":[[],{},""]}}"#,
        r#"[1,"2 1. 3e500",{"3":[4.0e+3]}]"#,
        r#""\ud83d\ude00 \b\f\r\t é日""#,
        "12.50",
    ];
    let pieces = [
        "\\", "\"", ",", ":", "{", "}", "[", "]", "1", "0", ".", "e", "-", "+", "\\d", "\\/", "\\\\", "\n",
        "\t", " ", "\u{1}", "null", "NaN", "'", "\\ud800", "1.", "1.e3", ".5", "01", "1e400", "\\u12G4",
        "\\N", "TRUE",
    ];
    let mut state = 13_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..count)
        .map(|_| {
            let mut text: Vec<char> = seeds[next(seeds.len())].chars().collect();
            for _ in 0..next(4) {
                let at = next(text.len() + 1);
                let until = (at + next(3)).min(text.len());
                text.splice(at..until, pieces[next(pieces.len())].chars());
            }
            text.into_iter().collect()
        })
        .collect()
}

/// The reader to please is serde_json.
fn what_is_not_strict_json_is_a_string(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    // MySQL's JSON checks itself; what it takes it writes in its own way.
    let ignore = if kind == Kind::MariaDb { "" } else { " IGNORE" };
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, j JSON)").unwrap();
    watch(&site, &["test.t", "--on", "insert"]);
    let mut listener = site.listener(&["test.>"]);
    let mut documents = documents(3000);
    let more = [r#"{"path":"C:\dir\new"}"#, "1e308", "1.7976931348623157e308", "-1e308", "1e400", "- ", "0."];
    documents.extend(more.map(str::to_owned));
    if kind == Kind::MariaDb {
        sql.query("SET SESSION check_constraint_checks = 0").unwrap();
    } else {
        documents.retain(|document| serde_json::from_str::<Value>(document).is_ok());
    }
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
    for (from, some) in (0..).step_by(500).zip(documents.chunks(500)) {
        let rows =
            (from..).zip(some).map(|(id, text)| format!("({id}, CONVERT(x'{}' USING utf8mb4))", hex(text)));
        sql.query(format!("INSERT{ignore} INTO t VALUES {}", rows.collect::<Vec<_>>().join(", "))).unwrap();
    }
    for document in &documents {
        let message = listener.message();
        let event: Value = serde_json::from_str(message.text())
            .unwrap_or_else(|error| panic!("{document:?}: {error}: {}", message.text()));
        let shown = &event["after"]["j"];
        match serde_json::from_str::<Value>(document) {
            Ok(value) if kind == Kind::MariaDb => assert_eq!(*shown, value, "{document:?}"),
            Ok(value) => assert!(super::types::same(shown, &value), "{document:?}: {shown}"),
            Err(_) => assert_eq!(*shown, json!(document)),
        }
    }
}
