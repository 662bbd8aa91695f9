//! The picture of the page that README.md shows, of the real thing at work: a table that is watched, orders that come
//! and are paid, workers, and an event that was given up.

use super::until_live;
use harness::{Browser, Child, Kind, Site};
use std::process::Command;

/// How many of the last seconds the charts are to show something of.
const SECONDS: usize = 12;

const CUSTOMERS: [&str; 5] = ["Ada", "Grace", "Edsger", "Barbara", "Donald"];

fn site() -> Option<Site> {
    // Strict but for the binary log, so that something is left to be told.
    let site = Site::committed_with(Kind::MariaDb, &["--innodb-flush-log-at-trx-commit=1"])?;
    let mut sql = site.connect();
    sql.query("CREATE DATABASE shop").unwrap();
    sql.query(
        "CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, customer TEXT, total DECIMAL(10,2), state VARCHAR(10))",
    )
    .unwrap();
    for arguments in [
        &["watch", "shop.orders"][..],
        &["consumer", "add", "mail", "shop.orders.>"],
        &["consumer", "add", "stock", "shop.>"],
    ] {
        assert!(site.rowcall(arguments).status.success(), "{arguments:?}");
    }
    Some(site)
}

/// `rowcall exec` for a consumer: it takes what comes.
fn worker(site: &Site, consumer: &str) -> Child {
    let mut command = site.rowcall_command(&["exec", "--consumer", consumer, "--jobs", "2", "--", "true"]);
    Child::start("rowcall", &mut command)
}

#[test]
fn a_portrait() {
    let Some(mut site) = site() else { return };
    let _mail = worker(&site, "mail");
    let mut listen: Command = site.rowcall_command(&["listen", "shop.orders.>"]);
    let _listener = Child::start("rowcall", &mut listen);
    let mut browser = Browser::open(&format!("http://{}/", site.daemon().http));
    until_live(&mut browser);
    let mut sql = site.connect();
    sql.query("CALL rowcall.publish('shop.orders.note', NULL)").unwrap();
    // Whoever sells something a second: the charts are full when they show it.
    let full = format!(
        "['#rates', '#latency'].every(it => (document.querySelector(it + ' .line-0').getAttribute('d').match(/[ML]/g) ?? []).length >= {SECONDS})"
    );
    let mut n = 0;
    while browser.value(&full) != true {
        n += 1;
        let customer = CUSTOMERS[n % CUSTOMERS.len()];
        sql.query(format!(
            "INSERT INTO shop.orders (customer, total, state) VALUES ('{customer}', {n}.50, 'new')"
        ))
        .unwrap();
        if n % 2 == 0 {
            sql.query(format!("UPDATE shop.orders SET state = 'paid' WHERE id = {}", n / 2)).unwrap();
        }
        if n % 7 == 0 {
            sql.query(format!("DELETE FROM shop.orders WHERE id = {}", n / 3)).unwrap();
        }
        let seen = format!("document.querySelector('#rows')?.innerText.includes('{n}.50')");
        browser.until("the order is seen", &seen);
        // A machine that is quicker than a shop.
        std::thread::sleep(std::time::Duration::from_millis(20 + 100 * (n as u64 % 4)));
    }
    browser.until_shown("#parked", "null_payload");
    browser.until_shown("#consumers", "stock");
    browser.prefer("light");
    browser.photograph("portrait");
    assert_eq!(browser.complaints, Vec::<String>::new());
}
