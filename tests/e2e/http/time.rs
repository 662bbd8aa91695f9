//! How long things may take, how many may come, and what becomes of them when the daemon leaves.

use super::{daemon, subscriber, subscriptions};
use harness::{Http, eventually};
use nix::sys::signal::Signal;
use std::time::Instant;

#[test]
fn half_a_request_is_not_waited_for() {
    let (_folder, daemon) = daemon("");
    let mut other = daemon.terminal().hello();
    let started = Instant::now();
    let mut half: Http = daemon.visit();
    half.send("GET /healthz HTTP/1.1\r\n");
    // Going on slowly does not help.
    let mut slow = daemon.visit();
    slow.send("GET ");
    while started.elapsed().as_secs() < 9 {
        slow.send("x");
        other.barrier();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    for http in [&mut half, &mut slow] {
        let answer = http.answer();
        assert_eq!((answer.status, answer.header("Connection")), (408, Some("close")));
        http.expect_closed();
    }
    assert!((10..15).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    other.barrier();
}

#[test]
fn connections_beyond_the_limit_are_told_so() {
    let (_folder, daemon) = daemon("max_http_connections = 3");
    let mut inside: Vec<Http> = (0..2).map(|_| daemon.visit()).collect();
    for http in &mut inside {
        assert_eq!(http.ask("GET /healthz", "", "").status, 200);
    }
    let mut third = daemon.visit();
    assert_eq!(third.ask("GET /healthz", "", "").status, 200);
    let mut outside = daemon.visit();
    let answer = outside.answer();
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("1")));
    outside.expect_closed();
    // NATS clients are not counted with them.
    daemon.terminal().hello();
    drop((third, outside));
    eventually("a free place", || {
        let mut http = daemon.visit();
        http.request("GET /varz", "", "");
        // Until the third is gone, this one is turned away as well.
        http.answer_or_end().filter(|answer| answer.status == 200)
    });
    for http in &mut inside {
        assert_eq!(http.ask("GET /healthz", "", "").status, 200);
    }
}

#[test]
fn a_crowd_beyond_the_limit_is_closed_without_a_word() {
    let (_folder, daemon) = daemon("max_http_connections = 1");
    let mut inside = daemon.visit();
    assert_eq!(inside.ask("GET /healthz", "", "").status, 200);
    let crowd: Vec<Http> = (0..100).map(|_| daemon.visit()).collect();
    eventually("all are turned away", || {
        let varz = inside.ask("GET /varz", "", "");
        varz.text().contains("\"turned_away\": 100").then_some(())
    });
    drop((crowd, inside));
    eventually("a free place", || {
        let mut http = daemon.visit();
        http.request("GET /healthz", "", "");
        http.answer_or_end().filter(|answer| answer.status == 200)
    });
}

#[test]
fn whoever_waits_is_told_that_the_daemon_leaves() {
    let (_folder, mut daemon) = daemon("drain_timeout = \"1m\"");
    let mut worker = subscriber(&daemon, "price");
    let mut idle = daemon.visit();
    assert_eq!(idle.ask("GET /healthz", "", "").status, 200);
    let (mut asking, mut waiting) = (daemon.visit(), daemon.visit());
    asking.request("POST /request/price?timeout=60s", "", "");
    worker.message();
    waiting.request("GET /next/news?timeout=60s", "", "");
    subscriptions(&daemon, 3);
    daemon.child.signal(Signal::SIGTERM);
    for mut http in [asking, waiting] {
        let answer = http.answer();
        assert_eq!((answer.status, answer.header("Connection")), (503, Some("close")));
        assert_eq!(answer.text(), "rowcalld is leaving\n");
        http.expect_closed();
    }
    idle.expect_closed();
    drop((idle, worker));
    assert_eq!(daemon.child.wait().code(), Some(0), "{}", daemon.child.said());
}
