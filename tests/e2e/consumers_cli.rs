//! `rowcall consumer`, `rowcall parked` and `rowcall status` on real servers: what they write into the
//! tables and what they say. No daemon runs here; where its part matters, the test plays it.

use harness::{Child, Kind, Site};
use rowcall_mysql::Connection;
use serde_json::{Value, json};

on_each_server!(
    a_consumer_is_added_shown_and_removed,
    a_daemon_that_reads_takes_a_consumer_up,
    a_daemon_that_does_not_look_is_told_about,
    a_consumer_is_paused_and_resumed,
    what_waits_is_dropped_only_when_that_is_meant,
    parked_events_are_shown,
    parked_events_are_sent_again,
    parked_events_are_dropped,
    the_status_says_how_fresh_it_is,
    without_the_schema_one_sentence_says_so,
    the_rights_that_are_documented_are_enough,
    an_earlier_schema_is_upgraded_and_keeps_what_waits,
    replicas_get_it_all,
);

/// How a command ended, and what it said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(site: &Site, arguments: &[&str]) -> Said {
    let output = site.rowcall(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// It did what it was asked; this is what it said.
#[track_caller]
fn done(site: &Site, arguments: &[&str]) -> String {
    let said = run(site, arguments);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{arguments:?}: {}", said.out);
    said.out
}

/// The same for programs: an object for each line.
#[track_caller]
fn objects(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let text = done(site, &[arguments, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn fails(site: &Site, arguments: &[&str], code: i32, words: &[&str]) {
    let said = run(site, arguments);
    let agree = said.code == Some(code) && words.iter().all(|words| said.err.contains(words));
    assert!(agree, "expected {code} and {words:?}: {said:?}");
}

#[track_caller]
fn holds(text: &str, words: &[&str]) {
    words.iter().for_each(|words| assert!(text.contains(words), "{words} is not in:\n{text}"));
}

/// Every row, its columns with a bar between them.
fn rows(sql: &mut Connection, query: &str) -> Vec<String> {
    let text = |value: &Option<Vec<u8>>| String::from_utf8(value.clone().unwrap_or_default()).unwrap();
    let line = |row: &Vec<Option<Vec<u8>>>| row.iter().map(text).collect::<Vec<_>>().join("|");
    sql.query(query).unwrap().rows.iter().map(line).collect()
}

/// Parked for the outbox, for `mail` (twice) and for a consumer that is not there.
fn with_parked_events(kind: Kind) -> Option<(Site, Connection)> {
    let site = Site::with_tables(kind)?;
    done(&site, &["consumer", "add", "mail", "shop.>"]);
    let mut sql = site.connect();
    sql.query(
        "INSERT INTO rowcall.parked (id, consumer, subject, payload, headers, reason, history) VALUES \
         (5, '', NULL, 'x', NULL, 'bad_subject', NULL), \
         (6, 'gone', 'shop.a', x'ff00', 'X: y', 'max_deliveries', NULL), \
         (6, 'mail', 'shop.a', x'1b5b33316d', 'X: y\\nRowcall-Key: 7', 'max_deliveries', 'late\\nrefused'), \
         (8, 'mail', REPEAT('a', 200), '', NULL, 'max_deliveries', NULL)",
    )
    .unwrap();
    Some((site, sql))
}

fn a_consumer_is_added_shown_and_removed(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    holds(&done(&site, &["consumer", "list"]), &["no consumers"]);
    let added = done(&site, &["consumer", "add", "mail", "shop.orders.>"]);
    holds(&added, &["consumer mail added", "No daemon reads", "missed", "rowcall.consumer.mail"]);
    let own = ["--ack-wait", "500ms", "--max-deliveries", "0", "--backoff", "1s,2m", "--max-unacked", "1"];
    let more = ["--max-age", "7d", "--max-rows", "1000"];
    let added = objects(&site, &[&["consumer", "add", "A_b-1", "größe.*"], &own[..], &more].concat());
    let expected = json!({
        "name": "A_b-1", "filter": "größe.*", "subject": "rowcall.consumer.A_b-1", "taken_up": false
    });
    assert_eq!(added, [expected]);
    let there = rows(
        &mut sql,
        "SELECT name, filter, ack_wait_ms, max_deliveries, backoff_ms, max_unacked, max_age_s, max_rows, paused, \
         taken_up_at FROM rowcall.consumers ORDER BY id",
    );
    let expected = [
        "mail|shop.orders.>|30000|10|1000,5000,30000,120000|256|0|0|0|",
        "A_b-1|größe.*|500|0|1000,120000|1|604800|1000|0|",
    ];
    assert_eq!(there, expected);

    fails(&site, &["consumer", "add", "mail", "x"], 1, &["a consumer mail already", "shop.orders.>"]);
    fails(&site, &["consumer", "add", "MAIL", "x"], 1, &["a consumer mail already", "case"]);
    let list = done(&site, &["consumer", "list"]);
    holds(&list, &["name ", "pending", "paused", "A_b-1", "größe.*", "shop.orders.>"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    let shown = done(&site, &["consumer", "show", "A_b-1"]);
    holds(&shown, &["500ms", "no limit", "1s,2m", "7d", "1000", "not yet", "UTC", "rowcall.consumer.A_b-1"]);
    let shown = &objects(&site, &["consumer", "show", "mail"])[0];
    assert_eq!(
        (&shown["ack_wait_ms"], &shown["paused"], &shown["pending"]),
        (&json!(30000), &json!(false), &json!(null))
    );
    fails(&site, &["consumer", "show", "nobody"], 1, &["no consumer nobody"]);

    sql.query("INSERT INTO rowcall.status (consumer, pending) VALUES ('mail', 12)").unwrap();
    assert_eq!(objects(&site, &["consumer", "show", "mail"])[0]["pending"], 12);
    holds(&done(&site, &["consumer", "rm", "mail"]), &["mail removed; 0 events"]);
    assert_eq!(rows(&mut sql, "SELECT name FROM rowcall.consumers"), ["A_b-1"]);
    fails(&site, &["consumer", "rm", "mail"], 1, &["no consumer mail"]);
    // Another one of that name has its own numbers.
    done(&site, &["consumer", "add", "mail", "shop.>"]);
    assert_eq!(objects(&site, &["consumer", "show", "mail"])[0]["pending"], json!(null));
}

fn a_daemon_that_reads_takes_a_consumer_up(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    assert_eq!(sql.value("SELECT GET_LOCK('rowcall.reader', 10)").unwrap().as_deref(), Some("1"));
    let adding = Child::start("add", &mut site.rowcall_command(&["consumer", "add", "mail", "shop.>"]));
    harness::eventually("it is there, and taken up", || {
        let done = sql.query("UPDATE rowcall.consumers SET taken_up_at = NOW(6)").unwrap();
        (done.affected == 1).then_some(())
    });
    adding.prints("The daemon has taken it up: events committed from now on wait for it.");
    holds(&done(&site, &["status"]), &["A daemon reads."]);
}

fn a_daemon_that_does_not_look_is_told_about(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    assert_eq!(sql.value("SELECT GET_LOCK('rowcall.reader', 10)").unwrap().as_deref(), Some("1"));
    fails(&site, &["consumer", "add", "mail", "shop.>"], 1, &["is added", "did not take it up", "5s"]);
    assert_eq!(rows(&mut sql, "SELECT name FROM rowcall.consumers"), ["mail"]);
}

fn a_consumer_is_paused_and_resumed(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    done(&site, &["consumer", "add", "mail", "shop.>"]);
    for _ in 0..2 {
        holds(&done(&site, &["consumer", "pause", "mail"]), &["mail is paused", "within a second"]);
        assert_eq!(rows(&mut sql, "SELECT paused FROM rowcall.consumers"), ["1"]);
    }
    assert_eq!(objects(&site, &["consumer", "list"])[0]["paused"], true);
    let resumed = objects(&site, &["consumer", "resume", "mail"]);
    assert_eq!(resumed, [json!({ "name": "mail", "paused": false })]);
    assert_eq!(rows(&mut sql, "SELECT paused FROM rowcall.consumers"), ["0"]);
    fails(&site, &["consumer", "pause", "nobody"], 1, &["no consumer nobody"]);
}

fn what_waits_is_dropped_only_when_that_is_meant(kind: Kind) {
    let Some((site, mut sql)) = with_parked_events(kind) else { return };
    sql.query(
        "INSERT INTO rowcall.pending (consumer, position, id, subject) \
         SELECT id, 1, 1, 'a' FROM rowcall.consumers UNION ALL SELECT id, 2, 2, 'a' FROM rowcall.consumers",
    )
    .unwrap();
    fails(&site, &["consumer", "rm", "mail"], 1, &["not removed", "2 events", "--yes"]);
    assert_eq!(rows(&mut sql, "SELECT name FROM rowcall.consumers"), ["mail"]);
    let removed = done(&site, &["consumer", "rm", "mail", "--yes"]);
    holds(&removed, &["mail removed; 2 events dropped", "kept: 2 events", "parked drop"]);
    assert!(rows(&mut sql, "SELECT name FROM rowcall.consumers").is_empty());
}

fn parked_events_are_shown(kind: Kind) {
    let Some((site, _sql)) = with_parked_events(kind) else { return };
    let list = done(&site, &["parked", "list"]);
    holds(&list, &["parked at", "(outbox)", "bad_subject", "gone", "max_deliveries", "UTC", "aaa…"]);
    assert_eq!(list.lines().count(), 5, "{list}");
    let some = run(&site, &["parked", "list", "--limit", "1", "--consumer", "mail", "--json"]);
    let first: Value = serde_json::from_str(&some.out).unwrap();
    assert_eq!((&first["id"], &first["consumer"]), (&json!(6), &json!("mail")));
    holds(&some.err, &["1 of 2", "--limit"]);
    assert_eq!(objects(&site, &["parked", "list", "--consumer", ""]).len(), 1);

    let shown = done(&site, &["parked", "show", "6", "--consumer", "mail"]);
    let lines = ["history   late", "history   refused", "header    Rowcall-Key: 7", "payload   \\u{1b}[31m"];
    holds(&shown, &lines);
    assert_eq!(done(&site, &["parked", "show", "6"]).matches("id        6").count(), 2);
    let gone = &objects(&site, &["parked", "show", "6", "--consumer", "gone"])[0];
    assert_eq!((&gone["payload_base64"], &gone["headers"]), (&json!("/wA="), &json!("X: y")));
    holds(&done(&site, &["parked", "show", "5"]), &["subject   (NULL)"]);
    fails(&site, &["parked", "show", "5", "--consumer", "mail"], 1, &["no event 5", "consumer mail"]);
}

fn parked_events_are_sent_again(kind: Kind) {
    let Some((site, mut sql)) = with_parked_events(kind) else { return };
    let asked = "SELECT id, consumer FROM rowcall.retries ORDER BY id, consumer";
    let said = run(&site, &["parked", "retry", "5", "6"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(1), "2 events will be sent again, as soon as a daemon reads\n")
    );
    holds(&said.err, &["1 event left", "not there any more"]);
    assert_eq!(rows(&mut sql, asked), ["5|", "6|mail"]);
    // Asked for again it is the same.
    let all = objects(&site, &["parked", "retry", "--all", "--consumer", "mail"]);
    assert_eq!(all, [json!({ "retried": 2, "left": 0, "daemon": false })]);
    assert_eq!(rows(&mut sql, asked), ["5|", "6|mail", "8|mail"]);
    assert_eq!(rows(&mut sql, "SELECT COUNT(*) FROM rowcall.parked"), ["4"], "the daemon takes them away");
    fails(&site, &["parked", "retry", "7"], 1, &["not parked"]);
    fails(&site, &["parked", "retry", "8", "--consumer", "MAIL"], 1, &["not parked for the consumer MAIL"]);
    assert_eq!(objects(&site, &["parked", "retry", "--all", "--consumer", "x"])[0]["retried"], 0);
}

fn parked_events_are_dropped(kind: Kind) {
    let Some((site, mut sql)) = with_parked_events(kind) else { return };
    let left = "SELECT id, consumer FROM rowcall.parked ORDER BY id, consumer";
    holds(&done(&site, &["parked", "drop", "6", "--consumer", "gone"]), &["1 event dropped"]);
    assert_eq!(rows(&mut sql, left), ["5|", "6|mail", "8|mail"]);
    fails(&site, &["parked", "drop", "--all"], 1, &["nothing is dropped", "3 events", "--yes"]);
    fails(&site, &["parked", "drop", "7"], 1, &["not parked"]);
    let mail = objects(&site, &["parked", "drop", "--all", "--yes", "--consumer", "mail"]);
    assert_eq!(mail, [json!({ "dropped": 2 })]);
    assert_eq!(rows(&mut sql, left), ["5|"]);
    holds(&done(&site, &["parked", "drop", "--all", "--yes"]), &["1 event dropped"]);
    holds(&done(&site, &["parked", "list"]), &["Nothing is parked"]);
}

fn the_status_says_how_fresh_it_is(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    // Whatever the server's idea of the time is, ages and times are right.
    sql.query("SET GLOBAL time_zone = '-11:00'").unwrap();
    sql.query("SET time_zone = '+05:00'").unwrap();
    done(&site, &["consumer", "add", "mail", "shop.>"]);
    holds(
        &done(&site, &["status"]),
        &["No daemon reads", "No daemon has written numbers yet", "(outbox)", "mail"],
    );
    sql.query("INSERT INTO rowcall.outbox (subject, created_at) VALUES ('a', NOW(6) - INTERVAL 3 MINUTE)")
        .unwrap();
    sql.query(
        "INSERT INTO rowcall.status (consumer, pending, oldest, unacked, redelivered, settled, parked, dropped) \
         VALUES ('', 9, NULL, 0, 0, 77, 1, 0), ('mail', 12, NOW(6) - INTERVAL 2 HOUR, 2, 4, 1000, 3, 5)",
    )
    .unwrap();
    sql.query("DO GET_LOCK('rowcall.reader', 10)").unwrap();
    let status = done(&site, &["status"]);
    assert!(!status.contains("old:"), "{status}");
    let words = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(words("(outbox)"), ["(outbox)", "1", "3m", "ago", "-", "-", "1", "-", "-"]);
    assert_eq!(words("mail"), ["mail", "12", "2h", "ago", "2", "1000", "3", "5", "no"]);
    let status = &objects(&site, &["status"])[0];
    assert_eq!((&status["daemon"], &status["fresh"]), (&json!(true), &json!(true)));
    assert_eq!((&status["outbox"]["pending"], &status["consumers"][0]["settled"]), (&json!(1), &json!(1000)));
    let shown = done(&site, &["consumer", "show", "mail"]);
    holds(&shown, &["oldest         2h ago", "settled        1000", "as of"]);

    sql.query("UPDATE rowcall.status SET refreshed_at = NOW(6) - INTERVAL 16 SECOND WHERE consumer = ''")
        .unwrap();
    holds(&done(&site, &["status"]), &["A daemon reads", "The numbers are old: written 16s ago"]);
    assert_eq!(objects(&site, &["status"])[0]["fresh"], false);
}

fn without_the_schema_one_sentence_says_so(kind: Kind) {
    let Some(site) = Site::bare(kind, &[]) else { return };
    let commands: [&[&str]; 4] =
        [&["status"], &["consumer", "add", "a", "b"], &["consumer", "list"], &["parked", "retry", "--all"]];
    for command in commands {
        fails(&site, command, 6, &["`rowcall install --outbox FILE` makes them"]);
        assert_eq!(run(&site, command).err.lines().count(), 1);
    }
}

fn the_rights_that_are_documented_are_enough(kind: Kind) {
    let Some((site, mut sql)) = with_parked_events(kind) else { return };
    sql.query("CREATE USER operator@localhost IDENTIFIED BY 'secret'").unwrap();
    let socket = site.server.socket.display().to_string();
    let command = |arguments: &[&str]| {
        let mut command = std::process::Command::new(harness::built("rowcall"));
        command.args(arguments).args(["--no-defaults", "-uoperator", "-psecret", "-S", &socket]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = command(&["status"]);
    assert_eq!(code, Some(6));
    holds(&text, &["The account needs SELECT, INSERT, UPDATE and DELETE on rowcall.*"]);
    sql.query("GRANT SELECT, INSERT, UPDATE, DELETE ON rowcall.* TO operator@localhost").unwrap();
    let commands: [&[&str]; 10] = [
        &["consumer", "add", "a", "b"],
        &["consumer", "list"],
        &["consumer", "pause", "a"],
        &["consumer", "resume", "a"],
        &["consumer", "rm", "a"],
        &["parked", "list"],
        &["parked", "show", "6"],
        &["parked", "retry", "5"],
        &["parked", "drop", "--all", "--yes"],
        &["status"],
    ];
    for arguments in commands {
        assert_eq!(command(arguments), (Some(0), String::new()), "{arguments:?}");
    }
}

fn an_earlier_schema_is_upgraded_and_keeps_what_waits(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    sql.query("CALL rowcall.publish('a', 'waits')").unwrap();
    sql.query("INSERT INTO rowcall.parked (id, reason) VALUES (5, 'bad_subject')").unwrap();
    // What edition 1 had not.
    sql.query("DROP TABLE rowcall.consumers, rowcall.pending, rowcall.retries, rowcall.status, rowcall.site")
        .unwrap();
    let parked = "MODIFY headers BLOB, DROP uncommitted_us, DROP PRIMARY KEY, ADD PRIMARY KEY (id, consumer)";
    sql.query(format!("ALTER TABLE rowcall.parked {parked}")).unwrap();
    sql.query("UPDATE rowcall.edition SET number = 1").unwrap();
    fails(&site, &["consumer", "list"], 1, &["edition 1", "`rowcall install --outbox FILE`"]);

    let file = site.outbox_file();
    let install = ["install", "--outbox", file.to_str().unwrap()];
    let schema = |lines: Vec<Value>| {
        let line = lines.into_iter().find(|line| line["kind"] == "schema").unwrap();
        line["done"].as_str().unwrap().to_owned()
    };
    assert_eq!(schema(objects(&site, &install)), "upgraded");
    assert_eq!(rows(&mut sql, "SELECT payload FROM rowcall.outbox"), ["waits"]);
    assert_eq!(rows(&mut sql, "SELECT id, reason FROM rowcall.parked"), ["5|bad_subject"]);
    assert_eq!(rows(&mut sql, "SELECT number FROM rowcall.edition"), ["3"]);
    done(&site, &["consumer", "add", "mail", "shop.>"]);
    assert_eq!(schema(objects(&site, &install)), "already there");
    assert_eq!(rows(&mut sql, "SELECT name FROM rowcall.consumers"), ["mail"]);

    sql.query("UPDATE rowcall.edition SET number = 99").unwrap();
    fails(&site, &["status"], 1, &["edition 99", "a later one"]);
}

/// A replica that is promoted has the consumers as well.
fn replicas_get_it_all(kind: Kind) {
    let arguments = ["--log-bin=binlog", "--server-id=1", "--binlog-format=STATEMENT"];
    let Some(site) = Site::with_server_arguments(kind, &arguments) else { return };
    site.install_tables();
    let mut sql = site.connect();
    let logged = |sql: &mut Connection| {
        let mut text = String::new();
        for log in sql.query("SHOW BINARY LOGS").unwrap().rows {
            let name = String::from_utf8(log[0].clone().unwrap()).unwrap();
            for event in sql.query(format!("SHOW BINLOG EVENTS IN '{name}'")).unwrap().rows {
                text += &String::from_utf8_lossy(event[5].as_deref().unwrap_or_default());
                text.push('\n');
            }
        }
        text
    };
    sql.query("INSERT INTO rowcall.parked (id, reason) VALUES (5, 'bad_subject')").unwrap();
    done(&site, &["consumer", "add", "mail", "shop.>"]);
    done(&site, &["parked", "retry", "5"]);
    done(&site, &["parked", "drop", "5"]);
    done(&site, &["consumer", "rm", "mail"]);
    let written = [
        "INSERT INTO rowcall.consumers",
        "INTO rowcall.retries",
        "FROM rowcall.parked",
        "FROM rowcall.consumers",
    ];
    holds(&logged(&mut sql), &written);
}
