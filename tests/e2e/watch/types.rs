//! Every type of column, and what comes out of it. docs/watch.md shows the same table.

use super::{Heard, watch};
use harness::{Kind, Site};
use serde_json::{Value, json};

on_each_server!(
    every_type_of_column,
    big_numbers_may_be_text,
    the_hour_that_comes_twice,
    a_column_of_another_type_writes_no_json_of_its_own,
);

/// A definition, a value in SQL, and the value in the event.
type Example = (&'static str, &'static str, Value);

/// What both servers have.
fn examples() -> Vec<Example> {
    vec![
        ("TINYINT(1)", "TRUE", json!(1)),
        ("TINYINT", "-128", json!(-128)),
        ("SMALLINT UNSIGNED", "65535", json!(65535)),
        ("MEDIUMINT", "-8388608", json!(-8_388_608)),
        ("INT(6) ZEROFILL", "42", json!(42)),
        ("BIGINT", "-9223372036854775808", json!(i64::MIN)),
        ("BIGINT UNSIGNED", "18446744073709551615", json!(u64::MAX)),
        ("DECIMAL(5,2)", "12.50", json!(12.50)),
        ("DECIMAL(8,2) ZEROFILL", "1.5", json!(1.5)),
        ("FLOAT", "1.1", json!(1.100_000_023_841_858)),
        ("FLOAT", "16777216", json!(16_777_216)),
        ("DOUBLE", "-1.7976931348623157e308", json!(-1.797_693_134_862_315_7e308)),
        ("BIT(1)", "b'1'", json!(1)),
        ("BIT(64)", "x'ffffffffffffffff'", json!(u64::MAX)),
        ("YEAR", "2026", json!(2026)),
        ("YEAR", "0", json!(0)),
        ("DATE", "'2026-02-28'", json!("2026-02-28")),
        ("DATE", "'0000-00-00'", json!("0000-00-00")),
        ("DATETIME", "'2026-02-28 01:02:03'", json!("2026-02-28T01:02:03")),
        ("DATETIME(6)", "'2026-02-28 01:02:03.000001'", json!("2026-02-28T01:02:03.000001")),
        ("TIMESTAMP NULL", "'2026-02-28 01:02:03'", json!("2026-02-28T01:02:03Z")),
        ("TIMESTAMP(3) NULL", "'2026-02-28 01:02:03.25'", json!("2026-02-28T01:02:03.250Z")),
        ("TIMESTAMP NULL", "'0000-00-00 00:00:00'", json!("0000-00-00T00:00:00Z")),
        ("TIME(3)", "'-838:59:58.5'", json!("-838:59:58.500")),
        ("CHAR(5) CHARACTER SET latin1", "'é'", json!("é")),
        ("VARCHAR(20) CHARACTER SET utf16", "'日本'", json!("日本")),
        ("TEXT CHARACTER SET utf8mb4", "'\"q\\\\\\n\\t\\0\\Z/😀'", json!("\"q\\\n\t\0\u{1a}/😀")),
        ("TEXT CHARACTER SET utf8mb4", "''", json!("")),
        ("ENUM('a','größe') CHARACTER SET utf8mb4", "'größe'", json!("größe")),
        ("SET('x','y','z')", "'x,z'", json!("x,z")),
        ("VARBINARY(4)", "x'0001ff'", json!("AAH/")),
        ("BINARY(2)", "x'61'", json!("YQA=")),
        ("BLOB", "REPEAT('x', 100)", json!(format!("eHh4{}", "eHh4".repeat(32) + "eA=="))),
        ("JSON", "'{\"a\": [1, \"ü\", null]}'", json!({"a": [1, "ü", null]})),
        ("JSON", "'null'", json!(null)),
        ("POINT", "ST_GeomFromText('POINT(1.5 -2)')", json!({"type": "Point", "coordinates": [1.5, -2.0]})),
        (
            "GEOMETRY",
            "ST_GeomFromText('LINESTRING(0 0,1 2)')",
            json!({"type": "LineString", "coordinates": [[0.0, 0.0], [1.0, 2.0]]}),
        ),
        ("INT", "NULL", json!(null)),
        ("TEXT", "NULL", json!(null)),
        ("BLOB", "NULL", json!(null)),
        ("JSON", "NULL", json!(null)),
        (
            "POINT",
            "ST_GeomFromText('POINT(1000 2000)', 3857)",
            json!({"type": "Point", "coordinates": [1000.0, 2000.0], "srid": 3857}),
        ),
        (
            "GEOMETRY",
            "ST_GeomFromText('POINT(1.5 1.5)', 4326)",
            json!({"type": "Point", "coordinates": [1.5, 1.5], "srid": 4326}),
        ),
        ("POINT", "NULL", json!(null)),
        ("TIMESTAMP NULL", "NULL", json!(null)),
    ]
}

/// What only one of them has.
fn more(kind: Kind) -> Vec<Example> {
    match kind {
        Kind::MariaDb => vec![
            ("UUID", "'c9f0f895-fb98-11ed-9f2b-0242ac120002'", json!("c9f0f895-fb98-11ed-9f2b-0242ac120002")),
            ("INET6", "'2001:db8::1'", json!("2001:db8::1")),
        ],
        _ => vec![("VECTOR(2)", "TO_VECTOR('[1.5,-2]')", json!([1.5, -2.0]))],
    }
}

/// The numbers are compared as numbers: one server writes 1, the other 1.0.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn every_type_of_column(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("SET SESSION sql_mode = '', time_zone = '+00:00'").unwrap();
    let all = [examples(), more(kind)].concat();
    let columns: Vec<String> = (0..).zip(&all).map(|(n, (kind, ..))| format!("c{n} {kind}")).collect();
    sql.query(format!(
        "CREATE TABLE t (id INT PRIMARY KEY, {}, v INT AS (id + 1) VIRTUAL, s VARCHAR(20) AS (CONCAT('g', id)) STORED)",
        columns.join(", ")
    ))
    .unwrap();
    watch(&site, &["test.t"]);
    let mut listener = site.listener(&["test.>"]);
    let names: Vec<String> = (0..all.len()).map(|n| format!("c{n}")).collect();
    let values: Vec<&str> = all.iter().map(|(_, value, _)| *value).collect();
    sql.query(format!("INSERT INTO t (id, {}) VALUES (7, {})", names.join(", "), values.join(", "))).unwrap();
    let event = Heard::next(&mut listener);
    let after = &event.payload["after"];
    for (name, (kind, value, expected)) in names.iter().zip(&all) {
        assert!(same(&after[name], expected), "{kind} {value}: {}, not {expected}", after[name]);
    }
    assert_eq!((&after["id"], &after["v"], &after["s"]), (&json!(7), &json!(8), &json!("g7")));
    // The same of OLD.
    sql.query("UPDATE t SET c0 = 0").unwrap();
    let event = Heard::next(&mut listener);
    assert_eq!(&event.payload["before"], after);
    sql.query("DELETE FROM t").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["before"]["c0"], 0);
}

fn big_numbers_may_be_text(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id BIGINT PRIMARY KEY, d DECIMAL(65,30), n INT)").unwrap();
    watch(&site, &["test.t", "--big-numbers", "text"]);
    let mut listener = site.listener(&["test.>"]);
    let digits = "-12345678901234567890123456789012345.123456789012345678901234567890";
    sql.query(format!("INSERT INTO t VALUES (9007199254740993, {digits}, 5)")).unwrap();
    let event = Heard::next(&mut listener);
    assert_eq!(event.payload["after"], json!({"id": "9007199254740993", "d": digits, "n": 5}));
    // As numbers they have all their digits as well, for whoever reads them so.
    watch(&site, &["test.t"]);
    sql.query("UPDATE t SET n = 6").unwrap();
    let text = listener.message().text().to_owned();
    assert!(text.contains(&format!("\"d\":{digits},")), "{text}");
}

/// When clocks are set back, a TIMESTAMP still says which of the two hours it was.
fn the_hour_that_comes_twice(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, at TIMESTAMP NULL)").unwrap();
    watch(&site, &["test.t"]);
    let mut listener = site.listener(&["test.>"]);
    // 2026-10-25 00:30 and 01:30 UTC are both 02:30 in Berlin.
    sql.query("SET SESSION time_zone = '+00:00'").unwrap();
    sql.query("INSERT INTO t VALUES (1, '2026-10-25 00:30:00'), (2, '2026-10-25 01:30:00')").unwrap();
    for expected in ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
        assert_eq!(Heard::next(&mut listener).payload["after"]["at"], expected);
    }
    // Whatever zone a session is in, the event says UTC.
    sql.query("SET SESSION time_zone = '+05:30'").unwrap();
    sql.query("UPDATE t SET id = 3 WHERE id = 1").unwrap();
    assert_eq!(Heard::next(&mut listener).payload["after"]["at"], "2026-10-25T00:30:00Z");
}

fn a_column_of_another_type_writes_no_json_of_its_own(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, a INT, d DECIMAL(5,2))").unwrap();
    watch(&site, &["test.t"]);
    sql.query("ALTER TABLE t MODIFY a VARCHAR(40), MODIFY d VARCHAR(40)").unwrap();
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO t VALUES (1, '1,\"role\":\"admin\"', '12.50')").unwrap();
    let after = &Heard::next(&mut listener).payload["after"];
    assert_eq!(after, &json!({"id": 1, "a": "1,\"role\":\"admin\"", "d": 12.5}));
}

#[test]
fn vectors_that_look_alike_are_told_apart() {
    let Some(site) = Site::committed(Kind::MySql) else { return };
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(2), n INT)").unwrap();
    watch(&site, &["test.t", "--on", "update", "--columns", "id,v", "--only-changed"]);
    let mut listener = site.listener(&["test.>"]);
    sql.query("INSERT INTO t VALUES (1, TO_VECTOR('[1.2345678,16777215]'), 1)").unwrap();
    sql.query("UPDATE t SET n = 2").unwrap();
    sql.query("UPDATE t SET v = TO_VECTOR('[1.2345679,16777214]'), n = 3").unwrap();
    sql.query("UPDATE t SET id = 2").unwrap();
    let ids = [(); 2].map(|()| Heard::next(&mut listener).payload["after"]["id"].as_u64());
    assert_eq!(ids, [Some(1), Some(2)]);
}
