//! rowcall_notify and rowcall_emit: what a row's change sends, those who listen hear at once.

use harness::{Kind, Site};

on_each_server!(a_trigger_notifies);

fn a_trigger_notifies(kind: Kind) {
    let Some(site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["shop.>"]);
    let mut sql = site.connect();
    sql.query("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").unwrap();
    sql.query("CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW DO rowcall_notify('shop.t', NEW.v)").unwrap();
    sql.query("INSERT INTO t VALUES (1, 'one'), (2, 'two')").unwrap();
    listener.expect("MSG shop.t 1 3\r\none\r\nMSG shop.t 1 3\r\ntwo\r\n");
}
