//! MySQL 5.6, an old binary interface: the instant functions work there too.

use harness::{Kind, Site, eventually};
use serde_json::json;

#[test]
fn mysql_5_6_notifies_emits_and_asks() {
    let Some(mut site) = Site::start(Kind::MySql56) else { return };
    let mut listener = site.listener(&["shop.>"]);
    site.worker("approve", |request| [b"yes to ", &*request.payload].concat());
    let mut sql = site.connect();
    assert!(sql.value("SELECT VERSION()").unwrap().unwrap().starts_with("5.6."));
    sql.query("CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, v VARCHAR(20), b BIT(9), answer VARCHAR(20))")
        .unwrap();
    sql.query(
        "CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW \
         SET NEW.answer = rowcall_request('approve', NEW.v, 60000)",
    )
    .unwrap();
    // One trigger for each time and event is all that this server has.
    sql.query(
        "CREATE TRIGGER a AFTER INSERT ON t FOR EACH ROW \
         DO rowcall_notify('shop.t', NEW.v, 'Id', NEW.id), rowcall_emit('shop.t', NEW.id, NEW.b, NEW.v AS name)",
    )
    .unwrap();
    sql.query("INSERT INTO t VALUES (18446744073709551615, 'grün', 257, NULL)").unwrap();
    assert_eq!(sql.value("SELECT answer FROM t").unwrap().as_deref(), Some("yes to grün"));
    let notified = listener.message();
    assert_eq!(notified.headers, "NATS/1.0\r\nId: 18446744073709551615\r\n\r\n");
    assert_eq!(notified.text(), "grün");
    assert_eq!(listener.message().text(), "{\"id\":18446744073709551615,\"b\":257,\"name\":\"grün\"}");

    assert_eq!(sql.value("SELECT rowcall_request('nobody', 'x', 60000)").unwrap(), None);
    let last = sql.value("SELECT rowcall_last_error()").unwrap();
    assert_eq!(last.as_deref(), Some("no_responders"));
    let version = env!("CARGO_PKG_VERSION");
    let both = sql.value("SELECT rowcall_version()").unwrap().unwrap();
    assert_eq!(both, format!("{version} (daemon {version})"));
    let status = site.status();
    assert_eq!((&status["sent"], &status["replies"]), (&json!(2), &json!(1)), "{status}");
    assert_eq!(status["failed_by_reason"], json!({"no_responders": 1}));
    site.server.assert_alive();
}

#[test]
fn mysql_5_6_submits_collects_and_listens() {
    let Some(mut site) = Site::start(Kind::MySql56) else { return };
    site.worker("approve", |request| [b"yes to ", &*request.payload].concat());
    let mut sql = site.connect();
    sql.query("SET @ticket = rowcall_submit('approve', 'grün')").unwrap();
    let mut value = |statement: &str| sql.value(format!("SELECT {statement}")).unwrap();
    assert_eq!(value("rowcall_result(@ticket, 60000)").as_deref(), Some("yes to grün"));
    assert_eq!(value("rowcall_result(@ticket)"), None);
    assert_eq!(value("rowcall_last_error()").as_deref(), Some("taken"));
    assert_eq!(value("rowcall_wait('silence', 0)"), None);
    assert_eq!(value("rowcall_last_error()").as_deref(), Some("timeout"));
    let subscriptions = |site: &Site| site.daemon.as_ref().unwrap().varz()["subscriptions"].as_u64().unwrap();
    let before = subscriptions(&site);
    let mut other = site.connect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| value("rowcall_wait('news', 60000)"));
        eventually("a subscription", || (subscriptions(&site) > before).then_some(()));
        other.query("DO rowcall_notify('news', 'something')").unwrap();
        assert_eq!(waiting.join().unwrap().as_deref(), Some("something"));
    });
    site.server.assert_alive();
}

#[test]
fn kill_query_ends_a_wait_in_mysql_5_6() {
    let Some(site) = Site::start(Kind::MySql56) else { return };
    let mut silent = site.listener(&["silent"]);
    let (mut sql, mut killer) = (site.connect(), site.connect());
    let id = sql.id();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| sql.value("SELECT rowcall_request('silent', 'x', 60000)").unwrap());
        silent.message();
        killer.query(format!("KILL QUERY {id}")).unwrap();
        assert_eq!(asking.join().unwrap(), None);
    });
    assert_eq!(sql.value("SELECT rowcall_last_error()").unwrap().as_deref(), Some("killed"));
}
