//! What is refused, with which status, and that others notice nothing of it.

use super::daemon;
use harness::Http;

#[test]
fn what_is_not_there_or_makes_no_sense() {
    let (_folder, daemon) = daemon("max_payload = 100");
    let mut http = daemon.visit();
    let long = "x".repeat(2100);
    let value = "y".repeat(80);
    for (line, headers, body, status, words) in [
        ("GET /page/none.js", "", "", 404, "docs/http.md"),
        ("GET /publish", "", "", 404, "docs/http.md"),
        ("GET /publish/a", "", "", 405, "POST"),
        ("POST /next/a", "", "", 405, "GET"),
        ("HEAD /varz", "", "", 200, ""),
        ("HEAD /next/a", "", "", 405, ""),
        ("POST /publish/", "", "", 400, "the subject is empty"),
        ("POST /publish/a..b", "", "", 400, "empty token"),
        ("POST /publish/a.*", "", "", 400, "wildcard"),
        ("POST /publish/a%20b", "", "", 400, "blank"),
        ("POST /publish/a%0d%0aPUB%20x%200", "", "", 400, "control character"),
        (&format!("POST /publish/{long}"), "", "", 400, "at most 2000 bytes, this one 2100"),
        ("POST /publish/a?x=y", "", "", 400, "no parameter \"x\""),
        ("POST /publish/a", &format!("Rowcall-Header-X: {value}\r\n"), "0123456789", 413, "max_payload"),
        ("POST /request/a?timeout=soon", "", "", 400, "expected a time"),
        ("POST /request/a?timeout=61s", "", "", 400, "at most 60 s"),
        ("POST /request/a?timeouts=1s", "", "", 400, "there is timeout"),
        ("GET /next/a?timeout=301", "", "", 400, "at most 300 s"),
        ("GET /next/a..b", "", "", 400, "empty token"),
        ("GET /next/%3E.a", "", "", 400, "behind a"),
        ("GET /next/a%00b", "", "", 400, "control character"),
        ("OPTIONS /publish/a", "", "", 204, ""),
        ("OPTIONS *", "", "", 204, ""),
    ] {
        http.request(line, headers, body);
        let answer = if line.starts_with("HEAD") { http.head() } else { http.answer() };
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(answer.text().contains(words), "{line}: {answer:?}");
        // A body that was not read would be taken for the next request.
        if answer.header("Connection") == Some("close") {
            http.expect_closed();
            http = daemon.visit();
        }
    }
    let answer = http.ask("OPTIONS /request/a", "", "");
    assert_eq!(answer.header("Allow"), Some("POST, OPTIONS"));
    let varz = daemon.varz();
    assert_eq!((&varz["in_msgs"], &varz["subscriptions"]), (&0.into(), &0.into()), "{varz:#}");
}

/// Requests that end their connection, each with the status of the answer.
fn malformed() -> Vec<(String, u16)> {
    let many: String = (0..101).map(|n| format!("H{n}: x\r\n")).collect();
    let post = |rest: &str| format!("POST /publish/a HTTP/1.1\r\nHost: localhost\r\n{rest}");
    let chunked = |rest: &str| post(&format!("Transfer-Encoding: chunked\r\n\r\n{rest}"));
    vec![
        ("CONNECT {}\r\nPING\r\n".into(), 400),
        ("\u{16}\u{3}\u{1}".into(), 400),
        ("GET /healthz\r\n\r\n".into(), 400),
        ("GET /healthz HTTP/1.1\r\nno colon\r\n\r\n".into(), 400),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".into(), 400),
        (format!("GET /healthz HTTP/1.1\r\n{many}\r\n"), 431),
        (format!("GET /healthz HTTP/1.1\r\nCookie: {}", "x".repeat(20_000)), 431),
        ("GET /healthz HTTP/3.0\r\n\r\n".into(), 505),
        ("BREW /healthz HTTP/1.1\r\n\r\n".into(), 501),
        (post("Content-Length: 1048577\r\n\r\n"), 413),
        (post("Content-Length: x\r\n\r\n"), 400),
        (post("Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400),
        (post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        (post("Transfer-Encoding: gzip\r\n\r\n"), 501),
        (post("Expect: more\r\n\r\n"), 417),
        (chunked("x\r\n"), 400),
        (chunked("2\r\nabc"), 400),
        (chunked("100001\r\n"), 413),
    ]
}

#[test]
fn what_is_no_request_is_answered_and_ends_the_connection() {
    let (_folder, daemon) = daemon("");
    let mut other = daemon.terminal().hello();
    let malformed = malformed();
    for (request, status) in &malformed {
        let mut http = daemon.visit();
        // Something behind it that is not read must not turn the answer into a reset.
        http.send([request.as_bytes(), &[b'x'; 30_000]].concat());
        let answer = http.answer();
        assert_eq!((answer.status, answer.header("Connection")), (*status, Some("close")), "{request:?}");
        http.expect_closed();
        other.barrier();
    }
    let varz = daemon.varz();
    assert_eq!(varz["http"]["refused"], malformed.len(), "{varz:#}");
    assert_eq!((&varz["in_msgs"], &varz["connections"]), (&0.into(), &1.into()));
}

#[test]
fn requests_may_come_in_any_pieces() {
    let (_folder, daemon) = daemon("");
    let requests = [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        "POST /publish/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ];
    let mut other = daemon.terminal().hello();
    for request in requests {
        for at in 1..request.len() {
            let mut http: Http = daemon.visit();
            http.send(&request[..at]);
            other.barrier();
            http.send(&request[at..]);
            assert_eq!(http.answer().status, 200, "{request:?} at {at}");
        }
    }
    assert_eq!(daemon.varz()["in_bytes"].as_u64().unwrap() % 5, 0);
}
