//! A database server whose socket is held by another process, as systemd's mariadb.socket is: whoever connects starts
//! the server. Here the test holds it. A server that was stopped is not started by the daemon, and is read again once
//! somebody else has started it.

use harness::{Daemon, Kind, Site, Terminal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rowcall_mysql::Connection;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::time::Duration;

/// So long it is watched that nobody connects. The reader tries again after 2 s at the latest.
const WATCHED: Duration = Duration::from_secs(6);

/// The account that a test's daemon may run as instead of root.
const NOBODY: u32 = 65534;

/// Whether somebody has connected to the socket of a server that was stopped.
fn has_visitors(site: &Site) -> bool {
    let held = site.server.held.as_ref().unwrap();
    let mut visitors = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
    poll(&mut visitors, PollTimeout::try_from(WATCHED).unwrap()).unwrap() > 0
}

/// A row that no function tells the daemon of.
fn insert(sql: &mut Connection, payload: &str) {
    let row = format!("INSERT INTO rowcall.outbox (subject, payload) VALUES ('a', '{payload}')");
    sql.query(row).unwrap();
}

fn hears(listener: &mut Terminal, payload: &str) {
    assert_eq!(String::from_utf8_lossy(&listener.message().payload), payload);
}

#[test]
fn a_server_that_was_stopped_stays_so_until_somebody_starts_it() {
    let Some(mut site) = Site::with_tables(Kind::MariaDb) else { return };
    site.server.hold_socket(&[]);
    site.start_committed_daemon();
    let mut listener = site.listener(&["a"]);
    insert(&mut site.connect(), "before");
    hears(&mut listener, "before");
    let http = site.daemon().http.clone();
    let ask = || harness::daemon::get(&http, "/outboxz");
    assert!(ask().starts_with("HTTP/1.1 200"));

    let pid = site.server.child.pid();
    site.server.stop();
    // Somebody looks at the page meanwhile.
    ask();
    let ended = format!("the server (process {pid}) has ended, and process {} holds", std::process::id());
    let line = site.daemon().child.says(&ended);
    assert!(line.contains("WARN outbox: waiting why="), "{line}");
    let answer = ask();
    assert!(answer.contains(&ended), "{answer}");
    assert!(!has_visitors(&site), "it would have been started:\n{}", site.daemon().child.said());
    assert_eq!(site.daemon().varz()["outbox"]["state"], "waiting");

    site.server.start_again();
    insert(&mut site.connect(), "after");
    hears(&mut listener, "after");
}

/// Its pid file cannot be seen by the daemon: then an event that SQL publishes tells.
#[test]
fn sql_tells_that_a_server_was_started_again() {
    let Some(mut site) = Site::with_tables(Kind::MariaDb) else { return };
    let hidden = site.folder.path().join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).unwrap();
    site.server.hold_socket(&[&format!("--pid-file={}/db.pid", hidden.display())]);
    chown(site.folder.path(), Some(NOBODY), None).unwrap();
    chown(site.outbox_file(), Some(NOBODY), None).unwrap();
    let (file, mut command) = (site.outbox_file(), Daemon::command());
    command.uid(NOBODY).gid(NOBODY);
    let arguments = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--outbox", file.to_str().unwrap()];
    site.daemon = Some(Daemon::start_as(command, &site.socket, &arguments));
    site.daemon().child.says("outbox: reading");
    let mut listener = site.listener(&["a"]);
    site.server.stop();
    site.daemon().child.says("db.pid cannot be seen from here");
    site.server.start_again();
    let mut sql = site.connect();
    insert(&mut sql, "silent");
    sql.query("CALL rowcall.publish('a', 'told')").unwrap();
    // What is told within two seconds of the end may be a session's last word.
    harness::eventually("it reads again", || {
        sql.query("DO rowcall_poke(0)").unwrap();
        (site.daemon.as_ref()?.varz()["outbox"]["state"] == "reading").then_some(())
    });
    hears(&mut listener, "silent");
    hears(&mut listener, "told");
}
