//! /healthz and /varz.

use harness::Daemon;
use harness::daemon::get;

#[test]
fn whether_it_is_well() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    for path in ["/healthz", "/healthz?verbose=1"] {
        let answer = get(&daemon.http, path);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Content-Type: application/json\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{\"status\":\"ok\"}\n"), "{answer}");
    }
}

#[test]
fn what_was_counted() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut it = daemon.terminal().hello();
    it.send(
        "SUB a.* 1\r\nSUB a.b 2\r\nSUB in 3\r\nPUB a.b 5\r\nhello\r\nPUB b in 2\r\nhi\r\nPUB c 0\r\n\r\n",
    );
    it.send("HPUB a.c 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n");
    while it.line() != "PONG" {}
    drop(daemon.terminal().hello());
    let mut refused = daemon.terminal();
    refused.send("nonsense\r\n");
    refused.expect("-ERR 'Unknown Protocol Operation'\r\n");
    drop(refused);
    it.barrier();
    let varz = daemon.varz();
    for (key, expected) in [
        ("pid", u64::from(daemon.child.pid())),
        ("connections", 1),
        ("total_connections", 3),
        ("subscriptions", 3),
        ("in_msgs", 4),
        ("in_bytes", 5 + 2 + 14),
        ("out_msgs", 3),
        ("out_bytes", 5 + 5 + 14),
        ("unheard_msgs", 2),
        ("no_responders", 1),
        ("slow_consumers", 0),
        ("lost_bytes", 0),
    ] {
        assert_eq!(varz[key], expected, "{key} in {varz:#}");
    }
    assert_eq!((&varz["closed"]["client_closed"], &varz["closed"]["refused"]), (&1.into(), &1.into()));
    assert!(it.info.contains(varz["server_id"].as_str().unwrap()));
    // Under NATS's name it is what INFO says, and what tools compare features with.
    assert!(it.info.contains(&format!("\"version\":{}", varz["version"])), "{}", it.info);
    assert_eq!(varz["rowcall_version"], env!("CARGO_PKG_VERSION"));
    assert!(daemon.varz()["uptime_ms"].as_u64() >= varz["uptime_ms"].as_u64());
}
