//! The accounts that `rowcall install` makes, where passwords expire and are checked; and the daemon's place,
//! which another one takes within seconds whatever it was doing.

use harness::outbox::{fill, hold_reader, reader, release_reader};
use harness::{Kind, Site, eventually};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

on_each_server!(
    accounts_do_not_expire_and_pass_the_usual_checks,
    a_daemon_that_stops_while_it_reads_large_rows_is_replaced_soon,
);

/// Half of the time that a server waits for a client to read, by itself, and five times what is promised.
const SOON: Duration = Duration::from_secs(25);

fn accounts_do_not_expire_and_pass_the_usual_checks(kind: Kind) {
    let Some(site) = Site::without_daemon(kind) else { return };
    let mut sql = site.connect();
    // The administrator's own has an age that nobody knows.
    sql.query("ALTER USER 'root'@'localhost' PASSWORD EXPIRE NEVER").unwrap();
    sql.query("SET GLOBAL default_password_lifetime = 90").unwrap();
    let component =
        harness::cache().join("servers/mysql/root/usr/lib/mysql/plugin/component_validate_password.so");
    if kind == Kind::MySql {
        std::fs::copy(component, site.server.plugins.join("component_validate_password.so")).unwrap();
        sql.query("INSTALL COMPONENT 'file://component_validate_password'").unwrap();
        sql.query("SET GLOBAL validate_password.policy = 'STRONG'").unwrap();
        sql.query("SET GLOBAL validate_password.special_char_count = 2").unwrap();
    }
    site.install_tables();
    let lifetimes = if kind == Kind::MySql {
        "SELECT user, password_lifetime FROM mysql.user WHERE user LIKE 'rowcall%' ORDER BY user"
    } else {
        "SELECT user, JSON_VALUE(priv, '$.password_lifetime') FROM mysql.global_priv WHERE user LIKE 'rowcall%' \
         ORDER BY user"
    };
    let never = [["rowcall", "0"], ["rowcall_writer", "0"]];
    assert_eq!(sql.texts(lifetimes).unwrap(), never);
    let doctor = || String::from_utf8(site.rowcall(&["doctor", "--json"]).stdout).unwrap();
    assert!(!doctor().contains("\"password\""), "{}", doctor());
    sql.query("ALTER USER 'rowcall'@'localhost' PASSWORD EXPIRE DEFAULT").unwrap();
    assert!(doctor().contains("expires when it is 90 days old"), "{}", doctor());
    // What an earlier version made is mended by the next installation.
    site.install_tables();
    assert_eq!(sql.texts(lifetimes).unwrap(), never);
    sql.query("ALTER USER 'rowcall'@'localhost' PASSWORD EXPIRE").unwrap();
    assert!(doctor().contains("has expired"), "{}", doctor());
}

fn a_daemon_that_stops_while_it_reads_large_rows_is_replaced_soon(kind: Kind) {
    let Some(mut site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    hold_reader(&mut sql, 10);
    let mine = reader(&mut sql);
    fill(&mut sql, "a", 500_000, 200);
    site.start_committed_daemon_until("standing by");
    let folder = harness::folder();
    let file = site.outbox_file();
    let arguments = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--outbox", file.to_str().unwrap()];
    release_reader(&mut sql);
    let first = eventually("it reads", || reader(&mut sql).filter(|id| Some(id) != mine.as_ref()));
    let standby = harness::Daemon::start_with(&folder.path().join("rowcall.sock"), &arguments);
    let running = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id = {first} AND info LIKE 'SELECT id, subject%'"
    );
    let mut is_running = || sql.value(&running).unwrap().as_deref() == Some("1");
    // Stopped in the middle of its rows, the statement is still running when it is looked at again.
    eventually("it is stopped in the middle of its rows", || {
        site.daemon().child.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(50));
        if is_running() && is_running() {
            return Some(());
        }
        site.daemon().child.signal(Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(3));
        None
    });
    let stopped = Instant::now();
    standby.child.says("outbox: reading");
    assert!(stopped.elapsed() < SOON, "{:?}", stopped.elapsed());
    eprintln!("{kind:?}: taken over after {:?}", stopped.elapsed());
}
