//! Ids that are unique for ever: an event's unique id comes again with a true repetition, and never with
//! another event, also where the row's id does. A source and its replica stand in replication.rs, streams
//! that go on in http/resume.rs.

use super::consumers::workers::{add, pending, publish, run, until_number, worker};
use harness::outbox::{until_empty, waiting};
use harness::{Kind, Message, Site};
use rowcall_mysql::Connection;
use std::process::Command;

on_each_server!(
    an_id_that_comes_again_is_another_event,
    a_restored_dump_goes_on_and_a_copy_is_given_another_site,
);

/// A header of a message.
fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    let line = message.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} is not in {}", message.headers))
}

fn number_of(sql: &mut Connection, query: &str) -> u64 {
    sql.value(query).unwrap().unwrap().parse().unwrap()
}

fn site_of(sql: &mut Connection) -> String {
    sql.value("SELECT name FROM rowcall.site").unwrap().unwrap()
}

fn an_id_that_comes_again_is_another_event(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    add(&site, "mail", "shop.>", &["--backoff", "1ms"]);
    let mut sql = site.connect();
    let mut worker = worker(&site, "mail");
    let mut events = Vec::new();
    for payload in ["first", "again"] {
        publish(&mut sql, payload);
        let event = worker.message();
        // A repetition of the same event has the same one.
        worker.answer(&event, "-NAK");
        let repeated = worker.message();
        assert_eq!(header(&repeated, "Nats-Msg-Id"), header(&event, "Nats-Msg-Id"));
        worker.answer(&repeated, "+TERM");
        sql.query(format!("CALL rowcall.publish_with('shop.a', '{payload}', 'no header')")).unwrap();
        until_empty(&mut sql);
        events.push(event);
        until_number(&mut sql, "mail", "parked", events.len() as u64);
        until_number(&mut sql, "", "parked", events.len() as u64);
        sql.query("TRUNCATE rowcall.outbox").unwrap();
    }
    assert_eq!([&events[0], &events[1]].map(|event| header(event, "Rowcall-Id")), ["1", "1"]);
    let [first, again] = [&events[0], &events[1]].map(|event| header(event, "Nats-Msg-Id"));
    assert_ne!(first, again);
    let name = site_of(&mut sql);
    let stamp = first.strip_prefix(&format!("{name}/1.")).unwrap();
    assert_eq!(number_of(&mut sql, "SELECT COUNT(*) FROM rowcall.parked"), 4, "nothing has vanished");

    // Each by itself, or all of an id.
    run(&site, &["parked", "retry", &format!("1.{stamp}"), "--consumer", "mail"]);
    let event = worker.message();
    assert_eq!((event.text(), header(&event, "Nats-Msg-Id")), ("first", first));
    worker.answer(&event, "+TERM");
    until_number(&mut sql, "mail", "parked", 3);
    run(&site, &["parked", "retry", "1"]);
    let mut heard = [worker.message(), worker.message()];
    heard.sort_by_key(|event| event.text() == "again");
    assert_eq!(
        [0, 1].map(|n| (heard[n].text(), header(&heard[n], "Nats-Msg-Id"))),
        [("first", first), ("again", again)]
    );
    heard.iter().for_each(|event| worker.answer(event, "+ACK"));
    until_number(&mut sql, "mail", "settled", 2);
    let dropped = run(&site, &["parked", "drop", "2", "--json"]);
    assert_eq!(dropped, "{\"dropped\":2}\n");
}

/// What `mariadb-dump` has of the schema, as another server would be given it.
fn dump(site: &Site) -> Vec<u8> {
    let mut command = Command::new("mariadb-dump");
    command.args([
        "--no-defaults",
        "-uroot",
        "--routines",
        "--skip-lock-tables",
        "--single-transaction",
        "-S",
    ]);
    let output = command.arg(&site.server.socket).args(["--databases", "rowcall"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn a_restored_dump_goes_on_and_a_copy_is_given_another_site(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    add(&site, "mail", "shop.>", &[]);
    publish(&mut sql, "waits");
    until_empty(&mut sql);
    site.daemon().stop();
    let name = site_of(&mut sql);
    let file = site.folder.path().join("dump.sql");
    std::fs::write(&file, dump(&site)).unwrap();

    // A schema made anew is another site's.
    sql.query("DROP DATABASE rowcall").unwrap();
    site.install_tables();
    assert_ne!(site_of(&mut sql), name);
    let fine = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(fine(&name) && fine(&site_of(&mut sql)), "{name}");

    // The dump brings it back, and what waits keeps its id.
    site.server.run_script(&file);
    assert_eq!(site_of(&mut sql), name);
    site.install_tables();
    site.start_committed_daemon();
    let mut worker = worker(&site, "mail");
    let event = worker.message();
    let unique = header(&event, "Nats-Msg-Id").to_owned();
    assert!(unique.starts_with(&format!("{name}/")), "{unique}");
    worker.answer(&event, "+ACK");

    // Where it goes its own way it is given another name, and nothing else changes.
    let options = site.outbox_file();
    let install = ["install", "--outbox", options.to_str().unwrap(), "--site", "Copy-2"];
    assert!(run(&site, &install).contains("Copy-2"));
    site.daemon().stop();
    publish(&mut sql, "from the copy");
    // A name that would make headers of its own is refused, and none at all is mended.
    sql.query("UPDATE rowcall.site SET name = 'a\r\nX: y'").unwrap();
    site.start_committed_daemon_until("--site NAME");
    assert_eq!(waiting(&mut sql), 1);
    run(&site, &install);
    let mut worker = self::worker(&site, "mail");
    assert!(header(&worker.message(), "Nats-Msg-Id").starts_with("Copy-2/"));
    site.daemon().stop();
    sql.query("DELETE FROM rowcall.site").unwrap();
    site.start_committed_daemon_until("the schema had no site");
    let mut worker = self::worker(&site, "mail");
    let event = worker.message();
    assert!(header(&event, "Nats-Msg-Id").starts_with(&format!("{}/", site_of(&mut sql))));
    worker.answer(&event, "+ACK");
    until_number(&mut sql, "mail", "settled", 2);
    assert_eq!(pending(&mut sql), 0);
}
