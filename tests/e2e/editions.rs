//! A schema of an earlier edition becomes one of this edition, and everything that waits in it goes on.
//! What edition 1 had stands in consumers_cli.rs.

use super::consumers::workers::{add, publish, run, until_number, until_settled, worker};
use harness::outbox::until_empty;
use harness::{Kind, Site};
use rowcall_mysql::Connection;

on_each_server!(what_waits_in_edition_2_goes_on);

/// What makes edition 2 of edition 3.
const EDITION_2: [&str; 6] = [
    "DROP TABLE rowcall.site",
    "ALTER TABLE rowcall.outbox MODIFY headers BLOB",
    "ALTER TABLE rowcall.parked MODIFY headers BLOB, DROP uncommitted_us, DROP PRIMARY KEY, ADD PRIMARY KEY (id, consumer)",
    "ALTER TABLE rowcall.pending MODIFY headers BLOB, DROP uncommitted_us",
    "ALTER TABLE rowcall.retries DROP stamp, DROP PRIMARY KEY, ADD PRIMARY KEY (id, consumer)",
    "UPDATE rowcall.edition SET number = 2",
];

/// Each column, and what it holds.
fn shape(sql: &mut Connection) -> Vec<rowcall_mysql::Row> {
    let columns = "table_name, column_name, column_type, column_default, is_nullable, column_key";
    let from = "FROM information_schema.columns WHERE table_schema = 'rowcall' ORDER BY 1, 2";
    sql.query(format!("SELECT {columns} {from}")).unwrap().rows
}

fn what_waits_in_edition_2_goes_on(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let expected = shape(&mut sql);
    add(&site, "mail", "shop.>", &["--max-age", "1h"]);
    let mut worker = worker(&site, "mail");
    publish(&mut sql, "given up");
    let event = worker.message();
    worker.answer(&event, "+TERM");
    until_number(&mut sql, "mail", "parked", 1);
    drop(worker);
    publish(&mut sql, "pending");
    until_empty(&mut sql);
    site.daemon().stop();
    publish(&mut sql, "in the outbox");
    for change in EDITION_2 {
        sql.query(change).unwrap_or_else(|error| panic!("{change}: {error}"));
    }
    // As the command of that edition has asked.
    sql.query("INSERT INTO rowcall.retries SELECT id, consumer FROM rowcall.parked").unwrap();
    site.start_committed_daemon_until("is of edition 2");
    site.daemon().stop();
    let file = site.outbox_file();
    let said = run(&site, &["install", "--outbox", file.to_str().unwrap()]);
    assert!(said.contains("upgraded"), "{said}");
    assert_eq!(shape(&mut sql), expected);

    site.start_committed_daemon();
    let mut worker = super::consumers::workers::worker(&site, "mail");
    let events = [(); 3].map(|()| worker.message());
    let mut payloads = events.each_ref().map(|event| event.text());
    payloads.sort_unstable();
    assert_eq!(payloads, ["given up", "in the outbox", "pending"]);
    let name = sql.value("SELECT name FROM rowcall.site").unwrap().unwrap();
    for event in &events {
        assert!(event.headers.contains(&format!("Nats-Msg-Id: {name}/")), "{}", event.headers);
        worker.answer(event, "+ACK");
    }
    until_settled(&mut sql);
    assert_eq!(sql.value("SELECT COUNT(*) FROM rowcall.retries").unwrap().as_deref(), Some("0"));
}
