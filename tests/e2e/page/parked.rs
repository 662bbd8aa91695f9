//! What the page shows and does of the tables of committed mode: what waits for whom, what is parked, which
//! settings of the server weaken promises; and the requests behind that, from those who may and those who may
//! not.

use super::until_live;
use crate::users::{User, users_file, write_users};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{Browser, Http, Kind, Site, eventually};
use rowcall_mysql::{Connection, Row};
use serde_json::{Value, json};

on_each_server!(
    parked_events_are_sent_again_and_dropped,
    the_servers_settings_are_told,
    a_large_table_is_read_by_its_end
);

/// A site where three events are parked: two that could never be published, and one that a worker gave up.
fn site(kind: Kind) -> Option<Site> {
    let mut site = Site::committed(kind)?;
    assert!(site.rowcall(&["consumer", "add", "mail", "shop.mail.>"]).status.success());
    let mut worker = site.listener(&["rowcall.consumer.mail"]);
    let mut sql = site.connect();
    sql.query("CALL rowcall.publish('shop..wrong', '{}')").unwrap();
    sql.query("CALL rowcall.publish('shop.null', NULL)").unwrap();
    sql.query("CALL rowcall.publish('shop.mail.a', '{\"to\":\"ada\"}')").unwrap();
    let event = worker.message();
    worker.answer(&event, "+TERM");
    let http = site.daemon().http.clone();
    eventually("three parked events", || (listed(&http, "").len() == 3).then_some(()));
    drop(worker);
    Some(site)
}

fn ask(http: &str, line: &str, headers: &str) -> (u16, Value) {
    let answer = Http::connect(http).ask(line, headers, "");
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_else(|_| answer.text().trim().into()))
}

fn listed(http: &str, headers: &str) -> Vec<Value> {
    let (status, answer) = ask(http, "GET /parked", headers);
    assert_eq!(status, 200, "{answer}");
    answer["events"].as_array().unwrap().clone()
}

fn parked_events_are_sent_again_and_dropped(kind: Kind) {
    let Some(mut site) = site(kind) else { return };
    let mut browser = Browser::open(&format!("http://{}/", site.daemon().http));
    until_live(&mut browser);
    browser.until_shown("#parked", "terminated");
    browser.until_shown("#parked", "null_payload");
    browser.until_shown("#consumers tbody", "mail");
    browser.photograph("parked");
    let id = |event: &Value| event["id"].as_u64().unwrap();
    let events = listed(&site.daemon().http, "");
    let with = |reason: &str| id(events.iter().find(|event| event["reason"] == reason).unwrap());
    let (mail, null) = (with("terminated"), with("null_payload"));
    // Open one.
    browser.click(&format!("[aria-label^='Show event {mail},']"));
    browser.until_shown("#event .facts", "terminated");
    browser.until_shown("#event pre", "\"to\": \"ada\"");
    browser.press("Escape");
    // Dropping asks first, and whoever changes his mind drops nothing.
    let drop = format!("[aria-label='Drop event {null} of (outbox)']");
    browser.click(&drop);
    browser.until_shown("#sure", &format!("Drop event {null}, shop.null?"));
    browser.photograph("drop");
    browser.click("#sure button[value=keep]");
    browser.until("it is closed", "!document.querySelector('#sure').open");
    assert_eq!(listed(&site.daemon().http, "").len(), 3);
    browser.click(&drop);
    browser.click("#sure button[value=drop]");
    browser.until("it is gone", &format!("document.querySelector(\"{drop}\") === null"));
    browser.until(
        "it is said",
        &format!("document.querySelector('#announcer').textContent === 'Event {null} is dropped.'"),
    );
    // Sent again, a worker gets it.
    let mut worker = site.listener(&["rowcall.consumer.mail"]);
    browser.click(&format!("[aria-label='Retry event {mail} of mail']"));
    let event = worker.message();
    assert_eq!(event.text(), "{\"to\":\"ada\"}");
    worker.answer(&event, "+ACK");
    browser.until("one is left", "document.querySelectorAll('#parked tbody tr').length === 1");
    browser.until_shown("#parked", "bad_subject");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// Rows that the server has read or sorted since it started, whoever asked.
fn rows_read(sql: &mut Connection) -> u64 {
    let status =
        "SHOW GLOBAL STATUS WHERE variable_name LIKE 'Handler_read_%' OR variable_name = 'Sort_rows'";
    let number = |row: &Row| String::from_utf8_lossy(row[1].as_deref().unwrap()).parse::<u64>().unwrap();
    sql.query(status).unwrap().rows.iter().map(number).sum()
}

/// However much is parked, a look at it reads the latest, and counts some.
fn a_large_table_is_read_by_its_end(kind: Kind) {
    const ROWS: u64 = 20_000;
    let Some(mut site) = Site::committed(kind) else { return };
    let http = site.daemon().http.clone();
    let mut sql = site.connect();
    sql.query("INSERT INTO rowcall.parked (id, subject, payload, reason) VALUES (1, 'shop.a', REPEAT('x', 2000), 'forbidden')").unwrap();
    let mut rows = 1;
    while rows < ROWS {
        sql.query(format!(
            "INSERT INTO rowcall.parked (id, subject, payload, reason) \
             SELECT id + {rows}, subject, payload, reason FROM rowcall.parked LIMIT {}",
            ROWS - rows
        ))
        .unwrap();
        rows = (rows * 2).min(ROWS);
    }
    // Nobody shares an answer that is older than a change.
    eventually("it is asked", || (ask(&http, "POST /parked/drop?id=0&consumer=", "").0 == 200).then_some(()));
    let before = rows_read(&mut sql);
    let (_, answer) = ask(&http, "GET /parked", "");
    // The look at the counters reads all of the server's, some hundreds.
    let read = rows_read(&mut sql) - before;
    assert!(read < ROWS / 2, "{read} rows were read");
    assert_eq!((&answer["count"], &answer["events"][0]["id"]), (&json!(1000), &json!(ROWS)));
    let mut browser = Browser::open(&format!("http://{http}/"));
    browser.until_shown("#parked-note", "The latest 100 of 1,000 or more.");
}

fn the_servers_settings_are_told(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    site.connect().query("SELECT rowcall_notify('shop.a', NULL)").unwrap();
    site.connect().query("SET GLOBAL innodb_flush_log_at_trx_commit = 2").unwrap();
    let (status, answer) = ask(&site.daemon().http, "GET /outboxz", "");
    assert_eq!(
        (status, &answer["functions"]["dropped_by_reason"]),
        (200, &json!({ "null_payload": 1 })),
        "{answer:#}"
    );
    let settings = answer["server"]["settings"].as_array().unwrap();
    let flush = settings.iter().find(|setting| setting["name"] == "innodb_flush_log_at_trx_commit").unwrap();
    assert!(
        flush["value"] == "2" && flush["weakens"].as_str().unwrap().contains("last second"),
        "{answer:#}"
    );
    let mut browser = Browser::open(&format!("http://{}/", site.daemon().http));
    browser.until_shown("#server", "the last second");
    browser.until_shown("#drops", "SQL: null_payload");
    browser.until_shown("#parked", "Nothing is parked.");
    browser.until_shown("#consumers", "There are no consumers.");
    site.connect().query("SET GLOBAL innodb_flush_log_at_trx_commit = 1").unwrap();
    browser.until("it is mended", "!document.querySelector('#server').innerText.includes('the last second')");
}

/// Has the daemon know users with various rights.
fn guard(site: &mut Site) {
    site.daemon().stop();
    let users = users_file(&[
        User::new(
            "mailer",
            "publish = { allow = [\"$ROWCALL.parked.retry\"] }\nsubscribe = { allow = [\"shop.mail.>\"] }",
            "",
        ),
        User::new(
            "keeper",
            "publish = { allow = [\"$ROWCALL.parked.>\"] }\nsubscribe = { deny = [\"shop.null\"] }",
            "",
        ),
        User::new("all", "", ""),
        User::new("wide", "publish = { allow = [\">\"] }", ""),
        User::new("deaf", "subscribe = { allow = [] }", ""),
    ]);
    let settings = write_users(site.folder.path(), &users) + crate::users::PATIENT;
    site.start_committed_daemon_with(&settings, "outbox: reading");
}

fn as_user(name: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{name}{name}")))
}

/// The reasons of the parked events that this user is shown.
fn seen(http: &str, name: &str) -> Vec<String> {
    let listed = listed(http, &as_user(name));
    let mut reasons: Vec<String> =
        listed.iter().map(|it| it["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort();
    reasons
}

fn the_page_says_what_the_mailer_may_not(http: &str, mail: u64) {
    let mut browser = Browser::open(&format!("http://{http}/"));
    browser.until_shown("#login", "Log in");
    browser.fill("#name", "mailer");
    browser.fill("#password", "mailermailer");
    browser.press("Enter");
    browser.until_shown("#parked-note", "2 are of subjects that this user may not hear");
    browser.click(&format!("[aria-label='Drop event {mail} of mail']"));
    browser.click("#sure button[value=drop]");
    browser.until_shown("#parked-said", "this user may not publish to this subject");
}

/// With users, each sees what he may hear, and may do what he may publish.
#[test]
fn only_who_may_does() {
    let Some(mut site) = site(Kind::MariaDb) else { return };
    guard(&mut site);
    let http = site.daemon().http.clone();
    let seen = |name: &str| seen(&http, name);
    eventually("the reader reads", || (ask(&http, "GET /parked", &as_user("all")).0 == 200).then_some(()));
    assert_eq!(seen("mailer"), ["terminated"]);
    assert_eq!(seen("keeper"), ["bad_subject", "terminated"]);
    assert_eq!(seen("all"), ["bad_subject", "null_payload", "terminated"]);
    for line in [
        "GET /parked",
        "GET /outboxz",
        "POST /parked/retry?id=1&consumer=",
        "POST /parked/drop?id=1&consumer=",
    ] {
        assert_eq!(ask(&http, line, "").0, 401, "{line}");
    }
    let events = listed(&http, &as_user("all"));
    let mail = events.iter().find(|event| event["reason"] == "terminated").unwrap()["id"].as_u64().unwrap();
    let post = |wish: &str, name: &str, more: &str| {
        ask(&http, &format!("POST /parked/{wish}?id={mail}&consumer=mail"), &(as_user(name) + more))
    };
    assert_eq!(post("drop", "mailer", ""), (403, "this user may not publish to this subject".into()));
    // The right must be given by its name, and holds for what may be heard.
    for name in ["all", "wide"] {
        assert_eq!(post("drop", name, "").0, 403, "{name}");
    }
    let null = events.iter().find(|event| event["reason"] == "null_payload").unwrap()["id"].as_u64().unwrap();
    for wish in ["retry", "drop"] {
        let line = format!("POST /parked/{wish}?id={null}&consumer=");
        let told = ask(&http, &line, &as_user("keeper"));
        assert_eq!(told, (403, "this user may not subscribe to the subject of this event".into()));
    }
    for line in ["GET /parked", "GET /outboxz"] {
        assert_eq!(ask(&http, line, &as_user("deaf")).0, 403, "{line}");
    }
    // Another site's page may not, whoever's browser carries it here.
    assert_eq!(post("drop", "all", "Origin: https://evil.example\r\n").0, 403);
    assert_eq!(ask(&http, "GET /parked/drop?id=1&consumer=", &as_user("all")).0, 405);
    assert_eq!(ask(&http, "POST /parked/drop?id=x", &as_user("all")).0, 400);
    assert_eq!(listed(&http, &as_user("all")).len(), 3);
    // On the page it is said.
    the_page_says_what_the_mailer_may_not(&http, mail);
    assert_eq!(post("retry", "mailer", ""), (200, json!({ "events": 1 })));
    assert_eq!(post("drop", "keeper", "").0, 200);
    assert_eq!(
        ask(&http, "POST /parked/drop?id=999999&consumer=mail", &as_user("keeper")),
        (200, json!({ "events": 0 }))
    );
}

#[test]
fn without_an_outbox_nothing_is_known() {
    let (_folder, daemon, mut browser) = super::page("");
    for line in ["GET /outboxz", "GET /parked", "POST /parked/retry?id=1&consumer="] {
        let (status, words) = ask(&daemon.http, line, "");
        assert!(status == 404 && words.as_str().unwrap().contains("reads no outbox"), "{line}: {words}");
    }
    browser.until_shown("#parked", "Committed mode is off");
    browser.until_shown("#server", "Committed mode is off");
}

/// Whoever asks may wait for a lock; events do not wait for him.
#[test]
fn who_asks_keeps_no_event_waiting() {
    let Some(mut site) = Site::committed(Kind::MariaDb) else { return };
    let mut listener = site.listener(&["shop.>"]);
    let (mut holder, mut sql) = (site.connect(), site.connect());
    holder.query("LOCK TABLES rowcall.parked WRITE").unwrap();
    let mut asker = site.daemon().visit();
    asker.request("POST /parked/drop?id=1&consumer=", "", "");
    let waits = "SELECT 1 FROM information_schema.processlist WHERE info LIKE '%rowcall.parked%' AND state LIKE 'Waiting for%lock'";
    eventually("the asker waits for the lock", || sql.value(waits).unwrap());
    sql.query("CALL rowcall.publish('shop.a', '1')").unwrap();
    assert_eq!(listener.message().text(), "1");
    // He was waiting still: otherwise he would have been told that he has waited too long.
    holder.query("UNLOCK TABLES").unwrap();
    let answer = asker.answer();
    assert_eq!((answer.status, answer.text()), (200, "{\n  \"events\": 0\n}\n"));
}

/// A server that does not answer keeps neither the loop nor whoever asks waiting for ever.
#[test]
fn a_server_that_hangs_is_told() {
    let Some(mut site) = Site::committed(Kind::MariaDb) else { return };
    let http = site.daemon().http.clone();
    let mut sql = site.connect();
    sql.query("LOCK TABLES rowcall.parked WRITE").unwrap();
    // The server gives the lock up after two seconds, and the daemon waits for at most ten.
    let (status, words) = ask(&http, "GET /parked", "");
    assert!(
        [503, 504].contains(&status) && words.as_str().unwrap().contains("the database server"),
        "{status} {words}"
    );
    assert_eq!(ask(&http, "GET /healthz", "").0, 200);
    sql.query("UNLOCK TABLES").unwrap();
    eventually("it answers again", || (ask(&http, "GET /parked", "").0 == 200).then_some(()));
}
