//! `rowcall drain` and `rowcall bench`: what waits, and how long things take.

use super::desk::json;
use harness::outbox::until_empty;
use harness::{Child, Kind, Site};

#[test]
fn draining_is_done_when_the_last_event_is_settled() {
    let Some(site) = Site::committed(Kind::MariaDb) else { return };
    let run = |arguments: &[&str]| {
        let output = site.rowcall(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(run(&["drain"]), (Some(0), "Nothing waits.\n".into(), String::new()));
    for name in ["mail", "ledger"] {
        assert_eq!(run(&["consumer", "add", name, "shop.>"]).0, Some(0));
    }
    let mut sql = site.connect();
    (0..3).for_each(|_| drop(sql.query("CALL rowcall.publish('shop.a', 'x')").unwrap()));
    let late = run(&["drain", "--timeout", "300ms"]);
    assert_eq!((late.0, late.2.as_str()), (Some(4), "rowcall: not drained: 6 events still waiting\n"));
    let mut waiting =
        Child::start("drain", &mut site.rowcall_command(&["drain", "--consumer", "mail", "--json"]));
    let worker = site.rowcall_command(&["listen", "--consumer", "mail", "-n", "3"]).output().unwrap();
    assert!(worker.status.success());
    assert_eq!(waiting.printed(1), ["{\"waiting\":0}"]);
    assert_eq!(waiting.wait().code(), Some(0));
    let late = run(&["drain", "--timeout", "0"]);
    assert_eq!(
        (late.0, late.2.as_str()),
        (Some(4), "rowcall: not drained: 3 events still waiting\n"),
        "ledger's"
    );
    assert_eq!(run(&["drain", "--consumer", "nobody"]).0, Some(1));
}

#[test]
fn a_bench_measures_and_leaves_nothing_behind() {
    let Some(site) = Site::committed(Kind::MariaDb) else { return };
    let output = site.rowcall(&["bench", "--rounds", "20", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = json(String::from_utf8(output.stdout).unwrap().trim());
    for path in ["/notify_ns", "/request/p50_us", "/request/p99_us", "/committed/p99_us", "/committed_per_s"]
    {
        let number = line.pointer(path).and_then(serde_json::Value::as_u64);
        assert!(number.is_some_and(|number| number > 0), "{path}: {line}");
    }
    assert_eq!(site.status()["dropped"], 0);
    // The last ones are heard a moment before they are taken from the table.
    until_empty(&mut site.connect());
    let text = String::from_utf8(site.rowcall(&["bench", "--rounds", "20"]).stdout).unwrap();
    assert!(text.contains("COMMIT until heard") && text.contains("committed events "), "{text}");
}
