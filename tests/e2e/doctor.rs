//! `rowcall doctor` on real servers: what goes wrong in installations is brought about, and found.

use harness::outbox::until_empty;
use harness::{Daemon, Kind, Site};
use nix::sys::signal::Signal;
use rowcall_mysql::Connection;
use serde_json::Value;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

on_each_server!(
    a_sound_installation_is_called_sound,
    missing_functions_are_found_with_those_who_call_them,
    a_daemon_that_is_away_is_told_from_one_that_was_killed,
    a_socket_that_the_server_s_account_may_not_use_is_found,
    two_daemons_are_told_apart,
    a_rule_that_forbids_the_round_trip_is_named,
    settings_that_weaken_promises_are_found,
    tables_without_transactions_and_readers_are_found,
    accounts_that_are_gone_and_tables_that_have_changed_are_found,
    an_account_without_rights_is_told_what_was_not_looked_at,
    a_server_behind_a_socket_of_another_process_is_found_or_not_seen,
);

/// What the doctor found: check, level, what, what to do.
struct Findings {
    code: Option<i32>,
    all: Vec<[String; 4]>,
}

#[track_caller]
fn doctor(site: &Site, arguments: &[&str]) -> Findings {
    Findings::of(site.rowcall(&[&["doctor", "--json"], arguments].concat()))
}

/// The doctor as this account, through this socket of the server.
#[track_caller]
fn doctor_through(site: &Site, user: &str, socket: &Path) -> Findings {
    let mut command = Command::new(harness::built("rowcall"));
    command.args(["doctor", "--json", "--no-defaults", "-u", user, "-S"]).arg(socket);
    let server = format!("unix:{}", site.socket.display());
    Findings::of(command.env("ROWCALL_SERVER", server).env_remove("MYSQL_PWD").output().unwrap())
}

impl Findings {
    #[track_caller]
    fn of(output: Output) -> Findings {
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let line = |line: &str| {
            let object: Value = serde_json::from_str(line).unwrap();
            ["check", "level", "found", "advice"].map(|name| object[name].as_str().unwrap().to_owned())
        };
        let all = String::from_utf8(output.stdout).unwrap().lines().map(line).collect();
        Findings { code: output.status.code(), all }
    }

    /// Such a one is among them, and has these words in it.
    #[track_caller]
    fn has(&self, check: &str, level: &str, words: &str) {
        let is_it = |[name, its_level, found, advice]: &[String; 4]| {
            name == check && its_level == level && (found.contains(words) || advice.contains(words))
        };
        assert!(self.all.iter().any(is_it), "no {level} of {check} with {words:?}: {:#?}", self.all);
    }

    /// How bad each is that was found of one thing.
    fn levels(&self, check: &str) -> Vec<&str> {
        self.all.iter().filter(|[name, ..]| name == check).map(|[_, level, ..]| level.as_str()).collect()
    }
}

fn run(sql: &mut Connection, statements: &[&str]) {
    statements.iter().for_each(|sql_text| {
        sql.query(sql_text).unwrap_or_else(|error| panic!("{sql_text}: {error}"));
    });
}

fn a_sound_installation_is_called_sound(kind: Kind) {
    let Some(site) = Site::committed_with(kind, &["--innodb-flush-log-at-trx-commit=1"]) else { return };
    let output = site.rowcall(&["doctor"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{text}");
    for words in ["SQL had it: ", " ms (median of 20)", "a committed event was heard", "\nAll is well.\n"] {
        assert!(text.replace("\n                    ", " ").contains(words), "{words} is not in:\n{text}");
    }
    assert!(!text.contains('\x1b') && !text.contains("\nwarn") && !text.contains("FAULT"), "{text}");
    let is_narrow = |line: &str| line.chars().count() <= 80 || line.contains(" /");
    assert!(text.lines().all(is_narrow), "{text}");
    // It leaves nothing behind; what it heard is taken from the table a moment later.
    until_empty(&mut site.connect());

    let all = doctor(&site, &[]);
    assert_eq!(all.code, Some(0));
    assert!(all.all.iter().all(|[_, level, ..]| level != "unseen"), "{:#?}", all.all);

    // A worker would do something with it.
    assert!(site.rowcall(&["consumer", "add", "all", ">"]).status.success());
    doctor(&site, &[]).has("round trip", "note", "the consumer all would get that event");
    let waiting = site.connect().value("SELECT COUNT(*) FROM rowcall.pending").unwrap();
    assert_eq!(waiting.as_deref(), Some("0"));
}

fn missing_functions_are_found_with_those_who_call_them(kind: Kind) {
    let Some(mut site) = Site::bare(kind, &[]) else { return };
    site.start_daemon();
    let none = doctor(&site, &[]);
    none.has("functions", "FAULT", "none of the functions");
    none.has("functions", "FAULT", "sudo rowcall install");
    none.has("round trip", "note", "not measured");
    none.has("tables", "note", "rowcall install --outbox");
    assert_eq!(none.code, Some(1));

    assert!(site.rowcall(&["install"]).status.success());
    let mut sql = site.connect();
    run(
        &mut sql,
        &[
            "CREATE TABLE t (id INT)",
            "CREATE TRIGGER told AFTER INSERT ON t FOR EACH ROW DO rowcall_notify('a', NEW.id)",
            "CREATE PROCEDURE tell() DO `rowcall_emit` ('a', 1 AS x), rowcall_notify('a', 1)",
            "CREATE FUNCTION harmless() RETURNS INT DETERMINISTIC NO SQL RETURN LENGTH('rowcall_notify')",
            "DROP FUNCTION rowcall_notify",
        ],
    );
    let one = doctor(&site, &[]);
    one.has("functions", "FAULT", "1 of the functions are missing: rowcall_notify");
    one.has("triggers", "FAULT", "trigger test.told calls rowcall_notify");
    one.has("triggers", "FAULT", "procedure test.tell calls rowcall_notify");
    assert_eq!(one.levels("triggers").len(), 2);

    fs::remove_file(site.server.plugins.join("rowcall_0_1_0.so")).unwrap();
    doctor(&site, &[]).has("library", "FAULT", "until the server restarts");
}

fn a_daemon_that_is_away_is_told_from_one_that_was_killed(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    let away = doctor(&site, &[]);
    away.has("socket", "FAULT", "is not there");
    away.has("daemon", "FAULT", "cannot reach the daemon");
    away.has("round trip", "note", "not measured");
    assert_eq!(away.code, Some(1));

    site.start_daemon();
    doctor(&site, &[]).has("socket", "ok", "rowcall.sock");
    site.daemon().child.signal(Signal::SIGKILL);
    site.daemon().child.wait();
    doctor(&site, &[]).has("socket", "FAULT", "nobody listens");
    fs::remove_file(&site.socket).unwrap();
    fs::write(&site.socket, "").unwrap();
    doctor(&site, &[]).has("socket", "FAULT", "is no socket");
}

fn a_socket_that_the_server_s_account_may_not_use_is_found(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    site.server.run_as("nobody");
    // The daemon is root's, and its socket in no group of the server's.
    site.start_daemon();
    let closed = doctor(&site, &[]);
    closed.has("account", "ok", "runs as uid 65534");
    closed.has("socket", "FAULT", "because of ");
    closed.has("socket", "FAULT", "rowcall.sock (uid 0, gid 0, mode 0660)");
    closed.has("socket", "FAULT", "socket_group");
    closed.has("round trip", "FAULT", "the server may not use the socket (no_daemon)");

    run_command("chgrp", &["nogroup", site.socket.to_str().unwrap()]);
    let open = doctor(&site, &[]);
    open.has("socket", "ok", "open to the server's account");
    // It may connect now, and is none of those that the daemon lets in.
    open.has("round trip", "FAULT", "socket_peers");
}

fn run_command(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}

fn two_daemons_are_told_apart(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let folder = harness::folder();
    let other = Daemon::start(&folder.path().join("other.sock"));
    let found = doctor(&site, &["--server", &format!("unix:{}", other.socket.display())]);
    found.has("daemon", "ok", "of version");
    found.has("round trip", "FAULT", "two different daemons (no_responders)");
}

fn a_rule_that_forbids_the_round_trip_is_named(kind: Kind) {
    let Some(mut site) = Site::without_daemon(kind) else { return };
    let users = site.folder.path().join("users.toml");
    fs::write(&users, "[sql]\npublish = { allow = [\"shop.>\"] }\n").unwrap();
    let settings = format!("users = \"{}\"\n", users.display());
    site.daemon = Some(Daemon::with_settings(site.folder.path(), &settings));
    let found = doctor(&site, &[]);
    found.has("round trip", "note", "does not let SQL publish there (forbidden)");
    found.has("round trip", "note", "rowcall.doctor.>");
    assert_eq!(found.code, Some(0), "what is forbidden on purpose is no fault");
}

fn settings_that_weaken_promises_are_found(kind: Kind) {
    let more: &[&str] = match kind {
        Kind::MariaDb => &["--thread-handling=pool-of-threads", "--slave-run-triggers-for-rbr=ENFORCE"],
        _ => &["--binlog-format=STATEMENT", "--thread-cache-size=0"],
    };
    let arguments = ["--log-bin", "--server-id=1", "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"];
    let Some(site) = Site::committed_with(kind, &[&arguments, more].concat()) else { return };
    let found = doctor(&site, &[]);
    found.has("durability", "warn", "innodb_flush_log_at_trx_commit is 2");
    found.has("durability", "warn", "sync_binlog is 0");
    match kind {
        Kind::MariaDb => {
            found.has("binary log", "warn", "slave_run_triggers_for_rbr is ENFORCE");
            found.has("threads", "warn", "pool-of-threads");
        }
        _ => {
            found.has("binary log", "warn", "binlog_format is STATEMENT");
            found.has("threads", "note", "thread_cache_size is 0");
        }
    }
    assert_eq!(found.code, Some(0), "warnings are no faults");
    run(&mut site.connect(), &["SET GLOBAL read_only = 1"]);
    let found = doctor(&site, &[]);
    found.has("server", "note", "read-only");
    assert!(found.levels("reader").is_empty(), "{:#?}", found.all);
}

fn tables_without_transactions_and_readers_are_found(kind: Kind) {
    let Some(site) = Site::with_tables(kind) else { return };
    let mut sql = site.connect();
    run(&mut sql, &["ALTER TABLE rowcall.retries ENGINE = MyISAM", "CALL rowcall.publish('a', 'b')"]);
    let found = doctor(&site, &[]);
    found.has("tables", "FAULT", "rowcall.retries is of the engine MyISAM");
    found.has("reader", "FAULT", "1 event in it");
    found.has("reader", "FAULT", "rowcalld --outbox");
    run(&mut sql, &["DROP TABLE rowcall.retries"]);
    doctor(&site, &[]).has("tables", "FAULT", "rowcall.retries is missing");
    run(&mut sql, &["UPDATE rowcall.edition SET number = 1"]);
    doctor(&site, &[]).has("tables", "FAULT", "is of edition 1");
}

fn accounts_that_are_gone_and_tables_that_have_changed_are_found(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    run(
        &mut sql,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY)",
            "CREATE TABLE u (id INT PRIMARY KEY)",
            "CREATE USER gone@localhost, weak@localhost",
            "GRANT TRIGGER ON test.* TO gone@localhost, weak@localhost",
            "CREATE DEFINER = gone@localhost TRIGGER g AFTER INSERT ON t FOR EACH ROW DO ROWCALL_NOTIFY('a', 1)",
            "CREATE DEFINER = weak@localhost TRIGGER w AFTER INSERT ON t FOR EACH ROW DO rowcall_notify('a', 1)",
            "INSERT INTO rowcall.parked (id, reason) VALUES (7, 'bad_subject')",
        ],
    );
    assert!(site.rowcall(&["watch", "test.u"]).status.success());
    let sound = doctor(&site, &[]);
    assert_eq!(sound.levels("definers"), ["ok"]);
    sound.has("watched", "ok", "1");
    sound.has("reader", "note", "1 event given up");

    run(&mut sql, &["DROP USER gone@localhost", "REVOKE TRIGGER ON test.* FROM weak@localhost"]);
    run(&mut sql, &["ALTER TABLE u ADD COLUMN more INT"]);
    let found = doctor(&site, &[]);
    found.has("definers", "FAULT", "trigger test.g runs as gone@localhost");
    found.has("definers", "warn", "trigger test.w runs as weak@localhost");
    found.has("watched", "warn", "test.u is not what it was");
    found.has("watched", "warn", "rowcall watch --refresh test.u");
}

fn an_account_without_rights_is_told_what_was_not_looked_at(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    run(&mut site.connect(), &["CREATE USER weak@localhost"]);
    let found = doctor_through(&site, "weak", &site.server.socket);
    found.has("tables", "unseen", "not looked at: ");
    found.has("round trip", "ok", "SQL had it");
    for check in ["triggers", "watched"] {
        assert_eq!(found.levels(check), ["unseen"], "{check}: {:#?}", found.all);
    }
    found.has("triggers", "unseen", "of what this account may see, 0 call the functions");
}

/// Passes on what comes at this socket, and what is answered: the kernel names us to those who connect, as it
/// names systemd where that listens in the server's place.
fn hold_socket(path: &Path, server: &Path) {
    let (listener, server) = (UnixListener::bind(path).unwrap(), server.to_owned());
    thread::spawn(move || {
        for here in listener.incoming().map_while(Result::ok) {
            let there = UnixStream::connect(&server).unwrap();
            for (mut from, mut to) in [(&here, &there), (&there, &here)]
                .map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap()))
            {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
}

fn a_server_behind_a_socket_of_another_process_is_found_or_not_seen(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let held = site.folder.path().join("held.sock");
    hold_socket(&held, &site.server.socket);
    let found = doctor_through(&site, "root", &held);
    found.has("account", "ok", &format!("(process {})", site.server.child.pid()));
    found.has("socket", "ok", "open to the server's account");
    for words in ["garbage", "1", &std::process::id().to_string(), ""] {
        let file = site.folder.path().join("db.pid");
        if words.is_empty() { fs::remove_file(file) } else { fs::write(file, words) }.unwrap();
        let found = doctor_through(&site, "root", &held);
        for check in ["account", "confinement", "socket", "library"] {
            assert_eq!(found.levels(check), ["unseen"], "{words}: {check}: {:#?}", found.all);
        }
        found.has("confinement", "unseen", "db.pid");
        assert_eq!(found.code, Some(0), "what was not seen is no fault");
    }
}

#[test]
fn mysql_5_6_is_examined_as_far_as_it_goes() {
    let Some(site) = Site::start(Kind::MySql56) else { return };
    let found = doctor(&site, &[]);
    found.has("server", "note", "only the instant functions");
    found.has("round trip", "ok", "SQL had it");
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let folder = harness::folder();
    let mut command = Command::new(harness::built("rowcall"));
    let output =
        command.args(["doctor", "--no-defaults", "-S"]).arg(folder.path().join("no.sock")).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot connect to the server"));
}
