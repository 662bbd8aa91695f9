//! The option file of committed mode is missing, unreadable or malformed: the daemon runs without it, says why
//! wherever it is asked, and reads the outbox as soon as the file is as it should be.

use harness::outbox::until_empty;
use harness::{Daemon, Kind, Site};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;

on_each_server!(
    a_file_that_cannot_be_used_stops_nothing_else,
    a_file_of_another_account_is_told_with_its_owner
);

/// The account that a test's daemon may run as instead of root.
const NOBODY: u32 = 65534;

fn a_file_that_cannot_be_used_stops_nothing_else(kind: Kind) {
    let Some(mut site) = Site::with_tables(kind) else { return };
    let (file, aside) = (site.outbox_file(), site.folder.path().join("aside.cnf"));
    fs::rename(&file, &aside).unwrap();
    site.start_committed_daemon_until("cannot read it: No such file");
    let mut sql = site.connect();
    let mut listener = site.listener(&["a"]);
    sql.query("CALL rowcall.publish('a', 'committed')").unwrap();
    harness::eventually("instant mode", || {
        (sql.value("SELECT rowcall_notify('a', 'instant')").unwrap().as_deref() == Some("1")).then_some(())
    });
    assert_eq!(listener.message().payload, b"instant");

    let daemon = site.daemon();
    let outbox = &daemon.varz()["outbox"];
    let why = outbox["why"].as_str().unwrap();
    assert!(outbox["state"] == "waiting" && why.contains("`rowcall install --outbox FILE`"), "{outbox}");
    let ready = harness::daemon::get(&daemon.http, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("No such file"), "{ready}");
    let http = format!("http://{}", daemon.http);
    let said = |arguments: &[&str]| {
        let output = site.rowcall(&[arguments, &["--http", &http]].concat());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let status = said(&["status"]);
    assert!(status.contains("rowcalld says: outbox = ") && status.contains("No such file"), "{status}");
    let doctor = said(&["doctor", "--json"]);
    let reader = doctor.lines().find(|line| line.contains("\"check\":\"reader\"")).unwrap();
    assert!(reader.contains("FAULT") && reader.contains("rowcalld says: outbox = "), "{doctor}");

    // Reloading finds nothing wrong, and goes on.
    let daemon = site.daemon();
    daemon.child.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.child.says("read the configuration again");
    fs::write(&file, "user = rowcall\npassword = precious\n").unwrap();
    daemon.child.says("line 1: an option stands before the first group");
    fs::remove_file(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    daemon.child.says("outbox: reading");
    assert_eq!(listener.message().payload, b"committed");
    until_empty(&mut sql);
    let daemon = site.daemon();
    assert!(!daemon.child.said().contains("precious"), "{}", daemon.child.said());
    assert!(harness::daemon::get(&daemon.http, "/readyz").starts_with("HTTP/1.1 200"));
}

fn a_file_of_another_account_is_told_with_its_owner(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let file = site.outbox_file();
    fs::set_permissions(site.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let folder = site.folder.path().join("run");
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(NOBODY), None).unwrap();
    let mut command = Daemon::command();
    command.uid(NOBODY).gid(NOBODY);
    let arguments = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--outbox", file.to_str().unwrap()];
    let daemon = Daemon::start_as(command, &folder.join("rowcall.sock"), &arguments);
    let line = daemon.child.says("cannot read it: Permission denied");
    for words in ["belongs to root (uid 0), group root (gid 0), mode 0600", "runs as nobody (uid 65534)"] {
        assert!(line.contains(words), "{line}");
    }
    chown(&file, Some(NOBODY), None).unwrap();
    daemon.child.says("outbox: reading");
}
