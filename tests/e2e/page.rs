//! The live page in a headless browser: what is clicked, and what is then seen. Who may see what stands in
//! page/users.rs, how it looks and how it is read aloud in page/looks.rs, two thousand events a second in
//! page/load.rs.

mod load;
mod looks;
mod parked;
mod portrait;
mod users;

use harness::{Browser, Daemon, Kind, Site};

/// A daemon in a folder of its own, and its page.
fn page(settings: &str) -> (tempfile::TempDir, Daemon, Browser) {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), settings);
    let browser = Browser::open(&format!("http://{}/", daemon.http));
    (folder, daemon, browser)
}

/// Publishes, as a client would.
fn publish(daemon: &Daemon, subject: &str, payload: &str) {
    let answer = daemon.visit().ask(&format!("POST /publish/{subject}"), "", payload);
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Waits until the page listens.
fn until_live(browser: &mut Browser) {
    browser.until_shown("#link", "live");
}

/// How many events the list shows.
fn rows(browser: &mut Browser) -> u64 {
    browser.value("document.querySelectorAll('#rows tr').length").as_u64().unwrap()
}

#[test]
fn an_event_appears_and_opens() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    assert!(browser.text("#nothing").contains("rowcall watch"), "an empty page says what to do");
    publish(&daemon, "shop.hello", "<b>Hello</b>");
    browser.until_shown("#rows tr", "<b>Hello</b>");
    assert_eq!(browser.value("document.querySelector('#nothing').hidden"), true);
    browser.until_shown("#heard", "shop.hello");
    browser.click("#rows .open");
    browser.until_shown("#event-title", "shop.hello");
    assert_eq!(browser.text("#event pre"), "<b>Hello</b>");
    browser.click("#event button");
    browser.until("it is closed", "!document.querySelector('#event').open");
    // Bytes that are no text, and JSON whose numbers have more digits than JavaScript keeps.
    publish(&daemon, "shop.number", "{\"a\":[1,{}],\"n\":12345678901234567890.10}");
    browser.until_shown("#rows tr:first-child", "shop.number");
    browser.click("#rows tr:first-child .open");
    browser.until_shown("#event pre", "\"n\": 12345678901234567890.10");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// Whatever a payload says, the page stays as it is, and shows it.
#[test]
fn payloads_made_to_break_it_are_shown_as_they_came() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let odd = r#"{"op":"c","source":{"table":"t","db":{"toString":1,"valueOf":1}},"after":{}}"#;
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    for (at, payload) in [odd, &deep(12_000), &deep(20_000), "[ [ ], { } ]"].into_iter().enumerate() {
        publish(&daemon, &format!("shop.odd.{at}"), payload);
        browser.until_shown("#rows tr:first-child", &format!("shop.odd.{at}"));
        browser.click("#rows tr:first-child .open");
        browser.until_shown("#event-title", &format!("shop.odd.{at}"));
        assert_eq!(plain(&browser.text("#event pre")), plain(payload));
        browser.click("#event button");
        browser.until("it is closed", "!document.querySelector('#event').open");
    }
    // A hundred levels are taken apart, one more is not.
    let lines = |n: usize| {
        format!("import('/page/change.js').then(it => it.pretty('{}').split('\\n').length)", deep(n))
    };
    assert_eq!(browser.value(&lines(101)), 201);
    assert_eq!(browser.value(&lines(102)), 1);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn the_list_is_filtered_and_paused() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    browser.fill("#subjects", "shop.*.paid crm.>");
    browser.click("#filter button");
    // The stream before it has ended when the daemon knows two filters.
    harness::eventually("other subscriptions", || (daemon.varz()["subscriptions"] == 2).then_some(()));
    for subject in ["shop.orders.new", "shop.orders.paid", "elsewhere", "crm.a.b"] {
        publish(&daemon, subject, "1");
    }
    browser.until_shown("#rows tr:first-child", "crm.a.b");
    assert_eq!(rows(&mut browser), 2);
    browser.click("#pause");
    browser.until("it is paused", "document.querySelector('#pause').getAttribute('aria-pressed') === 'true'");
    publish(&daemon, "crm.while.paused", "2");
    browser.until_shown("#events-note", "1 came since");
    assert_eq!(rows(&mut browser), 2);
    browser.click("#pause");
    browser.until_shown("#rows tr:first-child", "crm.while.paused");
    browser.click("#clear");
    browser.until("the list is empty", "document.querySelectorAll('#rows tr').length === 0");
    browser.fill("#subjects", "shop..wrong");
    browser.click("#filter button");
    browser.until_shown("#filter-wrong", "has an empty token");
    browser.until_shown("#link", "refused");
}

#[test]
fn a_daemon_that_comes_back_is_heard_again() {
    let (folder, mut daemon, mut browser) = page("");
    until_live(&mut browser);
    let address = daemon.http.clone();
    daemon.stop();
    browser.until_shown("#down", "rowcalld does not answer");
    browser.until_shown("#link", "not connected");
    let socket = folder.path().join("rowcall.sock");
    let daemon = Daemon::start_with(&socket, &["--listen", "127.0.0.1:0", "--http", &address]);
    until_live(&mut browser);
    publish(&daemon, "shop.again", "1");
    browser.until_shown("#rows tr", "shop.again");
    browser.until("the complaint is gone", "document.querySelector('#down').hidden");
}

#[test]
fn a_change_of_a_row_shows_before_and_after() {
    let Some(mut site) = Site::committed(Kind::MariaDb) else { return };
    let mut sql = site.connect();
    sql.query("CREATE DATABASE crm").unwrap();
    sql.query("CREATE TABLE crm.people (id BIGINT PRIMARY KEY, name TEXT, credit DECIMAL(30,2))").unwrap();
    assert!(site.rowcall(&["watch", "crm.people"]).status.success());
    assert!(site.rowcall(&["consumer", "add", "mail", "crm.>"]).status.success());
    let mut browser = Browser::open(&format!("http://{}/", site.daemon().http));
    until_live(&mut browser);
    sql.query("INSERT INTO crm.people VALUES (9007199254740993, 'Ada <script>', 1.50)").unwrap();
    sql.query("UPDATE crm.people SET credit = 2.75").unwrap();
    browser.until_shown("#rows tr", "credit 1.50 → 2.75");
    let line = browser.text("#rows tr:first-child");
    assert!(line.contains("id 9007199254740993") && !line.contains("Ada"), "what has not changed: {line}");
    browser.click("#rows tr:first-child .open");
    browser.until_shown(".difference .changed del", "1.50");
    browser.until_shown(".difference .changed ins", "2.75");
    assert_eq!(browser.value("document.querySelectorAll('.difference .changed').length"), 1);
    browser.until_shown("#event .facts", "updated in crm.people");
    browser.photograph("event-light");
    browser.prefer("dark");
    browser.photograph("event-dark");
    browser.press("Escape");
    // Its row says when it was written, so the latency has been measured.
    browser.until(
        "a latency",
        "/half within: .*(ms|s) now|at most/.test(document.querySelector('#latency svg').ariaLabel)",
    );
    browser.until_shown("#consumers", "mail");
    sql.query("UPDATE crm.people SET credit = 2.75").unwrap();
    browser.until_shown("#rows tr:first-child", "nothing changed");
    assert_eq!(browser.complaints, Vec::<String>::new());
}
