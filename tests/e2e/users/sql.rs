//! What SQL may do, and who may use the Unix socket: a call that is not allowed is answered, counted and
//! visible, and its statement goes on.

use super::write_users;
use harness::outbox::until_empty;
use harness::{Daemon, Kind, Site, Terminal, eventually};
use nix::sys::signal::Signal;
use rowcall_mysql::Connection;
use serde_json::json;
use std::path::Path;

on_each_server!(
    what_is_not_allowed_is_answered_and_counted,
    a_new_rule_holds_at_once_for_sessions_that_were_there,
    committed_events_are_parked_if_they_are_not_allowed,
    a_server_whose_account_may_not_connect_is_told_so,
    an_account_that_may_no_longer_connect_loses_nothing,
);

/// What SQL may do in most of these tests.
const SHOP: &str = "[sql]\npublish = { allow = [\"shop.>\"], deny = [\"shop.secret.>\"] }\n\
                    subscribe = { allow = [\"news.*\"] }\n";

fn last_error(sql: &mut Connection) -> Option<String> {
    sql.value("SELECT rowcall_last_error()").unwrap()
}

/// The value of an expression, and why it is what it is.
fn of(sql: &mut Connection, expression: &str) -> (Option<String>, Option<String>) {
    let value = sql.value(format!("SELECT {expression}")).unwrap();
    (value, last_error(sql))
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// A server with a daemon that has this file of users.
fn site(kind: Kind, users: &str) -> Option<Site> {
    let mut site = Site::without_daemon(kind)?;
    let settings = write_users(site.folder.path(), users);
    site.daemon = Some(Daemon::with_settings(site.folder.path(), &settings));
    Some(site)
}

/// Writes another file of users and has it read.
fn reload(daemon: &Daemon, folder: &Path, users: &str) {
    write_users(folder, users);
    let before = daemon.child.said().matches("read the configuration again").count();
    daemon.child.signal(Signal::SIGHUP);
    eventually("the file is read", || {
        (daemon.child.said().matches("read the configuration again").count() > before).then_some(())
    });
}

fn what_is_not_allowed_is_answered_and_counted(kind: Kind) {
    let Some(site) = site(kind, SHOP) else { return };
    let mut listener = site.listener(&[">"]);
    site.worker("shop.ask", |_| b"yes".to_vec());
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT)").unwrap();
    sql.query(
        "CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW \
         DO rowcall_notify(IF(NEW.id = 1, 'other.t', 'shop.t'), NEW.id)",
    )
    .unwrap();
    for call in [
        "rowcall_notify('other', 'x')",
        "rowcall_notify('shop.secret.a', 'x')",
        "rowcall_emit('other', 1 AS a)",
    ] {
        assert_eq!(of(&mut sql, call), (some("0"), some("forbidden")), "{call}");
    }
    for call in ["rowcall_request('other', 'x', 60000)", "rowcall_submit('other', 'x')"] {
        assert_eq!(of(&mut sql, call), (None, some("forbidden")), "{call}");
    }
    // The daemon is asked what may be listened to, and answers at once.
    for filter in ["other", ">", "news.>", "shop.>", "_INBOX.>", "_INBOX.rowcall.*.*"] {
        let call = format!("rowcall_wait('{filter}', 60000)");
        assert_eq!(of(&mut sql, &call), (None, some("forbidden")), "{filter}");
    }
    assert_eq!(of(&mut sql, "rowcall_wait('news.a', 1)"), (None, some("timeout")));
    // The statement goes on, whatever its trigger may not do.
    sql.query("INSERT INTO t VALUES (1), (2)").unwrap();
    assert_eq!(listener.heard(), "2", "nothing of all that was heard");
    assert_eq!(of(&mut sql, "rowcall_request('shop.ask', 'x', 60000)"), (some("yes"), None));
    let status = site.status();
    assert_eq!(status["dropped_by_reason"], json!({"forbidden": 5}), "{status}");
    assert_eq!(status["failed_by_reason"], json!({"timeout": 1, "forbidden": 7}), "{status}");
    // What the library refuses by itself the daemon never sees.
    let varz = site.daemon.as_ref().unwrap().varz();
    assert_eq!(varz["forbidden"], json!({"publish": 0, "subscribe": 0, "sql": 6}), "{varz}");
}

fn a_new_rule_holds_at_once_for_sessions_that_were_there(kind: Kind) {
    let Some(site) = site(kind, "") else { return };
    let (daemon, folder) = (site.daemon.as_ref().unwrap(), site.folder.path());
    let mut listener = site.listener(&["other"]);
    let mut sql = site.connect();
    assert_eq!(of(&mut sql, "rowcall_notify('other', 'before')"), (some("1"), None));
    assert_eq!(listener.heard(), "before");
    reload(daemon, folder, SHOP);
    // The session has not read that: its event is sent, and not passed on, but counted.
    assert_eq!(of(&mut sql, "rowcall_notify('other', 'unheard')"), (some("1"), None));
    eventually("it is counted", || (daemon.varz()["forbidden"]["sql"] == 1).then_some(()));
    // What waits for an answer gets it from the daemon, and from then on the session knows.
    assert_eq!(of(&mut sql, "rowcall_request('other', 'x', 60000)"), (None, some("forbidden")));
    assert_eq!(of(&mut sql, "rowcall_notify('other', 'x')"), (some("0"), some("forbidden")));
    // What is allowed again is so at once, although nothing was waited for meanwhile.
    reload(daemon, folder, "");
    assert_eq!(of(&mut sql, "rowcall_notify('other', 'after')"), (some("1"), None));
    assert_eq!(listener.heard(), "after");
    // A ticket that the daemon refuses is told so when its reply is asked for.
    reload(daemon, folder, SHOP);
    let ticket = sql.value("SELECT rowcall_submit('other', 'x')").unwrap().expect("nothing is known yet");
    let result = format!("rowcall_result('{ticket}', 60000)");
    assert_eq!(of(&mut sql, &result), (None, some("forbidden")));
    listener.barrier();
    assert_eq!(site.status()["connections"], 1, "the connection was the same all the time");
}

fn committed_events_are_parked_if_they_are_not_allowed(kind: Kind) {
    let Some(mut site) = Site::with_tables(kind) else { return };
    let settings = write_users(site.folder.path(), SHOP);
    site.start_committed_daemon_with(&settings, "outbox: reading");
    let mut listener = site.listener(&[">"]);
    let mut sql = site.connect();
    sql.query("CALL rowcall.publish('other', 'secret')").unwrap();
    sql.query("CALL rowcall.publish('shop.secret.x', 'secret')").unwrap();
    sql.query("CALL rowcall.publish('shop.a', 'fine')").unwrap();
    assert_eq!(listener.heard(), "fine");
    until_empty(&mut sql);
    let parked = "SELECT GROUP_CONCAT(subject, ' ', reason ORDER BY id SEPARATOR ', ') FROM rowcall.parked";
    assert_eq!(sql.value(parked).unwrap(), some("other forbidden, shop.secret.x forbidden"));
    let daemon = site.daemon.as_ref().unwrap();
    assert_eq!(daemon.varz()["outbox"]["parked"], 2);
    // Once it is allowed, it may be sent again.
    reload(daemon, site.folder.path(), "");
    let output = site.rowcall(&["parked", "retry", "--all"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!([listener.heard(), listener.heard()], ["secret", "secret"]);
}

fn a_server_whose_account_may_not_connect_is_told_so(kind: Kind) {
    let Some(site) = site(kind, "[sql]\nsocket_peers = [4294967294]\n") else { return };
    let mut sql = site.connect();
    assert_eq!(of(&mut sql, "rowcall_notify('a', 'x')"), (some("0"), some("refused")));
    assert_eq!(of(&mut sql, "rowcall_request('a', 'x', 60000)").0, None);
    let mut it = Terminal::unix(&site.socket);
    it.expect("-ERR 'Authorization Violation'\r\n");
    it.expect_closed();
    let daemon = site.daemon.as_ref().unwrap();
    daemon.child.says("this account may not use the socket (socket_peers)");
    assert!(daemon.varz()["auth_failures"].as_u64().unwrap() >= 2);
}

/// What was answered 1 is passed on, and what is not passed on is not answered 1.
fn an_account_that_may_no_longer_connect_loses_nothing(kind: Kind) {
    let Some(site) = site(kind, "") else { return };
    let (daemon, folder) = (site.daemon.as_ref().unwrap(), site.folder.path());
    let mut listener = site.listener(&["shop.>"]);
    let mut sql = site.connect();
    for n in 0..5 {
        assert_eq!(of(&mut sql, &format!("rowcall_notify('shop.a', '{n}')")), (some("1"), None));
    }
    write_users(folder, "[sql]\nsocket_peers = [4294967294]\n");
    daemon.child.signal(Signal::SIGHUP);
    // Until it is noticed: each that is answered 1 is heard.
    let sent = (5..1_000_000).take_while(|n| {
        let (sent, why) = of(&mut sql, &format!("rowcall_notify('shop.a', '{n}')"));
        assert!(sent == some("1") || why == some("refused") || why == some("no_daemon"), "{why:?}");
        sent == some("1")
    });
    for n in 0..5 + sent.count() {
        assert_eq!(listener.heard(), n.to_string());
    }
    listener.barrier();
}

/// Other programs on the Unix socket are told as any client is, and need no password whoever the users
/// are.
#[test]
fn other_programs_on_the_socket() {
    let folder = harness::folder();
    let users = format!("{SHOP}[[users]]\nname = \"u\"\npassword = \"{}\"\n", super::hash("p"));
    let daemon = Daemon::with_settings(folder.path(), &write_users(folder.path(), &users));
    let mut it = Terminal::unix(&daemon.socket);
    assert!(!it.info.contains("auth_required"), "{}", it.info);
    assert!(it.info.contains("\"sql_publish\":\"+ +shop.> -shop.secret.>\""), "{}", it.info);
    it.send("CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"wrong\"}\r\n");
    it.barrier();
    it.send(
        "PUB other 1\r\nx\r\nSUB shop.> 1\r\nSUB news.x 2\r\nSUB _INBOX.rowcall.0123456789abcdef.* 3\r\n",
    );
    it.expect("-ERR 'Permissions Violation for Publish to \"other\"'\r\n");
    it.expect("-ERR 'Permissions Violation for Subscription to \"shop.>\"'\r\n");
    it.barrier();
    let varz = daemon.varz();
    assert_eq!(varz["forbidden"], json!({"publish": 1, "subscribe": 1, "sql": 0}), "{varz}");
    // Nothing of it concerns TCP.
    assert!(!daemon.terminal().info.contains("sql_publish"));
}

/// Or SQL could have the daemon publish what it may not publish itself.
#[test]
fn what_the_daemon_answers_goes_to_whoever_asked() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), &write_users(folder.path(), SHOP));
    let mut other = daemon.terminal().hello();
    other.send("SUB > 1\r\n");
    other.barrier();
    let mut it = Terminal::unix(&daemon.socket).hello();
    it.send("SUB _INBOX.rowcall.0123456789abcdef.* 1\r\n");
    for inbox in ["other", "_INBOX.rowcall.0123456789abcdef.7"] {
        it.send(format!("PUB _ROWCALL.result {inbox} 11\r\n10 a.ticket\r\n"));
    }
    let answer = it.message();
    assert_eq!(answer.subject, "_INBOX.rowcall.0123456789abcdef.7");
    assert!(answer.headers.contains("other_daemon"), "{answer:?}");
    other.barrier();
}

/// What is kept from SQL within a wider subscription is; its own inboxes are not.
#[test]
fn deliveries_to_the_socket() {
    let folder = harness::folder();
    let users = "[sql]\nsubscribe = { deny = [\"secret\", \"_INBOX.>\"] }\n";
    let daemon = Daemon::with_settings(folder.path(), &write_users(folder.path(), users));
    let mut it = Terminal::unix(&daemon.socket).hello();
    it.send("SUB > 1\r\nSUB _INBOX.rowcall.0123456789abcdef.* 2\r\n");
    it.barrier();
    let mut other = daemon.terminal().hello();
    other.send("PUB secret 1\r\nx\r\nPUB _INBOX.x 1\r\nx\r\nPUB open 1\r\nx\r\n");
    other.barrier();
    it.expect("MSG open 1 1\r\nx\r\n");
    it.send("UNSUB 1\r\n");
    it.barrier();
    other.send("PUB _INBOX.rowcall.0123456789abcdef.1 1\r\nx\r\n");
    it.expect("MSG _INBOX.rowcall.0123456789abcdef.1 2 1\r\nx\r\n");
}
