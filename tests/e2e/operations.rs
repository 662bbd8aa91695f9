//! docs/operations.md, followed from installing to removing on real servers: its lines are run in their order, as
//! they stand there, and what it says of them is looked at. The machine stands in operations/machine.rs; Debian's
//! packages have a test of their own, packages.rs.

mod machine;

use super::replication::{self, free_port, server_arguments};
use harness::{Child, Kind, eventually};
use machine::Machine;
use rowcall_mysql::Connection;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

on_each_server!(the_document_is_followed);

/// The library of the version that is built, and of one before, which is the same but for its name.
fn library(version: &str) -> String {
    format!("rowcall_{}.so", version.replace('.', "_"))
}

const OLD: &str = "0.0.9";

fn the_document_is_followed(kind: Kind) {
    let port = free_port().to_string();
    let arguments = server_arguments(1, "MIXED", &port);
    let Some(mut machine) = Machine::new(kind, &arguments.each_ref().map(String::as_str)) else { return };
    installed(&mut machine);
    upgraded_and_back(&mut machine);
    backed_up(&mut machine);
    failed_over(&mut machine, &port);
    removed(&mut machine);
}

fn installed(machine: &mut Machine) {
    let said = machine.follow("Installing");
    machine.daemon_says("outbox: reading");
    assert_eq!(machine.library(), library(env!("CARGO_PKG_VERSION")));
    let (doctor, found) = said.last().unwrap();
    assert!(doctor == "rowcall doctor" && found.contains("round trip"), "{doctor}: {found}");
    let mut sql = machine.connect();
    sql.query("CREATE DATABASE shop").unwrap();
    sql.query("CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, customer TEXT)").unwrap();
    machine.types("rowcall watch shop.orders");
    machine.types("rowcall consumer add ledger shop.orders.insert");
}

/// Someone who sells while the lines of a section are followed; how many rows that were.
fn while_selling(machine: &mut Machine, work: impl FnOnce(&mut Machine)) -> usize {
    let (mut sql, done) = (machine.connect(), AtomicBool::new(false));
    thread::scope(|scope| {
        let seller = scope.spawn(|| {
            let mut sold = 0;
            while !done.load(Ordering::Relaxed) {
                sell(&mut sql);
                sold += 1;
                // A shop, and no flood: everything that is sold is worked on here.
                thread::sleep(Duration::from_millis(2));
            }
            sold
        });
        work(machine);
        done.store(true, Ordering::Relaxed);
        seller.join().unwrap()
    })
}

/// A statement that must not fail, whatever is under way.
fn sell(sql: &mut Connection) {
    sql.query("INSERT INTO shop.orders (customer) VALUES ('Ada')").unwrap();
}

/// The worker gets every row that there is, at least once.
fn gets_all(machine: &Machine, worker: &Child) {
    eventually("nothing waits any more", || (waiting(machine) == 0).then_some(()));
    let rows: BTreeSet<u64> = (1..=last_id(machine)).collect();
    // What was acknowledged was shown, but it may be still on its way to us.
    worker.prints(&format!("+ id: {} ", last_id(machine)));
    let got = ids(&worker.said());
    assert_eq!(rows.difference(&got).collect::<Vec<_>>(), Vec::<&u64>::new(), "were lost");
}

/// The rows that a worker was shown.
fn ids(said: &str) -> BTreeSet<u64> {
    let id = |line: &str| line.split_once("+ id: ")?.1.split(' ').next()?.parse().ok();
    said.lines().filter_map(id).collect()
}

fn waiting(machine: &Machine) -> u64 {
    machine
        .value("SELECT (SELECT COUNT(*) FROM rowcall.outbox) + (SELECT COUNT(*) FROM rowcall.pending)")
        .parse()
        .unwrap()
}

fn upgraded_and_back(machine: &mut Machine) {
    let [old, new] = [OLD, env!("CARGO_PKG_VERSION")].map(library);
    // As it was before: the functions of an older library.
    fs::rename(machine.site.server.plugins.join(&new), machine.site.server.plugins.join(&old)).unwrap();
    machine.types(&format!("sed s/{new}/{old}/ /usr/local/share/rowcall/sql/install.sql | mariadb mysql"));
    assert_eq!((machine.library(), machine.libraries()), (old.clone(), vec![old.clone()]));

    let worker = machine.worker("ledger");
    let sold = while_selling(machine, |machine| drop(machine.follow("Upgrading")));
    assert!(sold > 0);
    machine.daemon_says("outbox: reading");
    assert_eq!((machine.library(), machine.libraries()), (new.clone(), vec![old.clone(), new.clone()]));
    gets_all(machine, &worker);

    let back = while_selling(machine, |machine| drop(machine.follow("Going back")));
    assert!(back > 0);
    machine.daemon_says("outbox: reading");
    assert_eq!(machine.library(), old);
    gets_all(machine, &worker);
    machine.site.server.assert_alive();
    // And forward again.
    machine.follow("Upgrading");
    machine.daemon_says("outbox: reading");
    assert_eq!(machine.library(), new);
}

/// A backup is restored on another machine, with what waits for a consumer, and the triggers.
fn backed_up(machine: &mut Machine) {
    let mut sql = machine.connect();
    sell(&mut sql);
    eventually("it waits for its consumer", || {
        (machine.value("SELECT COUNT(*) FROM rowcall.pending") == "1").then_some(())
    });
    machine.follow("Backup");
    let Some(mut other) = Machine::new(machine.site.server.kind, &[]) else { return };
    other.shell.replace("scp db1:", format!("cp {}/", machine.shell.path("root").display()));
    other.types("make install");
    name_outbox(&mut other);
    other.follow("Restoring");
    other.daemon_says("outbox: reading");
    let count = "SELECT COUNT(*) FROM shop.orders";
    assert_eq!(other.value(count), machine.value(count));
    let worker = other.worker("ledger");
    let last = last_id(machine);
    worker.prints(&format!("+ id: {last} "));
    sell(&mut other.connect());
    assert!(last_id(&other) > last);
    worker.prints(&format!("+ id: {} ", last_id(&other)));
    eventually("all is settled", || (waiting(&other) == 0).then_some(()));
    // What the first machine does is no business of the second.
    assert_eq!(waiting(machine), 1);
}

fn last_id(machine: &Machine) -> u64 {
    machine.value("SELECT MAX(id) FROM shop.orders").parse().unwrap()
}

/// The setting that "Installing" has made on the first machine.
fn name_outbox(machine: &mut Machine) {
    let lines = harness::shell::lines("docs/operations.md", "Installing");
    let setting = lines.iter().find(|line| line.starts_with("sed ")).unwrap();
    machine.types(setting);
}

fn failed_over(machine: &mut Machine, port: &str) {
    let kind = machine.site.server.kind;
    let arguments = server_arguments(2, "MIXED", &free_port().to_string());
    let Some(mut replica) = Machine::new(kind, &arguments.each_ref().map(String::as_str)) else { return };
    replication::follow(&mut machine.connect(), &mut replica.connect(), kind, port);
    let count = "SELECT COUNT(*) FROM shop.orders";
    eventually("the tables have come", || {
        let there = replica.connect().value(count).ok().flatten();
        (there == Some(machine.value(count))).then_some(())
    });

    // Its socket has another path here than on the source.
    let [from, to] = [&*machine, &replica].map(|machine| machine.site.server.socket.display().to_string());
    let file = machine.shell.path("etc/rowcall/outbox.cnf");
    let copy = format!("sed s,{from},{to}, {} > ", file.display());
    replica.shell.replace("scp db1:/etc/rowcall/outbox.cnf ", copy);
    replica.follow("A replica that may be promoted");
    replica.daemon_says("read-only");

    // The source ends with its daemon, and events wait that nobody has got.
    machine.stop_daemon();
    sell(&mut machine.connect());
    let left = waiting(machine);
    assert!(left > 0);
    eventually("what waits is on the replica", || (waiting(&replica) == left).then_some(()));
    replica.follow("Failover");
    replica.daemon_says("outbox: reading");
    let worker = replica.worker("ledger");
    worker.prints(&format!("+ id: {} ", last_id(machine)));
    sell(&mut replica.connect());
    worker.prints(&format!("+ id: {} ", last_id(&replica)));
    assert_eq!(ids(&worker.said()).len() as u64, left + 1);
    eventually("nothing waits any more", || (waiting(&replica) == 0).then_some(()));
}

fn removed(machine: &mut Machine) {
    machine.follow("Removing");
    assert_eq!((machine.library(), machine.libraries()), (String::new(), Vec::new()));
    for left in [
        "SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'shop'",
        "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'rowcall'",
        "SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'rowcall%'",
    ] {
        assert_eq!(machine.value(left), "0", "{left}");
    }
    assert_eq!(machine.files(), Vec::<std::path::PathBuf>::new());
    sell(&mut machine.connect());
    machine.site.server.assert_alive();
}
