//! Whose requests are not looked at: names that were made to point here, web pages.

use super::daemon;

const SETTINGS: &str = "http_hosts = [\"shop.example\"]\nhttp_cors_origins = [\"https://shop.example\"]";

#[test]
fn a_name_that_points_here_is_not_enough() {
    let (_folder, daemon) = daemon(SETTINGS);
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:8222", 200),
        ("[::1]:8222", 200),
        ("shop.example", 200),
        ("evil.example", 421),
        ("evil.example:8222", 421),
        ("192.0.2.1", 421),
    ] {
        let mut http = daemon.visit();
        http.send(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = http.answer();
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
    let mut http = daemon.visit();
    http.send("GET /healthz HTTP/1.1\r\n\r\n");
    assert_eq!(http.answer().status, 400);
    http.send("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(http.answer().status, 421);
}

#[test]
fn no_web_page_publishes_here_unless_it_is_listed() {
    let (_folder, daemon) = daemon(SETTINGS);
    let mut http = daemon.visit();
    for (headers, status) in [
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Origin: https://shop.example\r\nSec-Fetch-Site: cross-site\r\n", 200),
    ] {
        // A browser sends this one without asking first.
        let answer = http.ask("POST /publish/a", &format!("Content-Type: text/plain\r\n{headers}"), "hello");
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
        let named = (status == 200).then_some("https://shop.example");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), named, "{headers}");
        if answer.header("Connection") == Some("close") {
            http = daemon.visit();
        }
    }
    assert_eq!(daemon.varz()["in_msgs"], 1);
    // It asks first what it may.
    let ask = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: rowcall-header-x\r\n";
    let answer = http.ask("OPTIONS /request/a", &format!("Origin: https://shop.example\r\n{ask}"), "");
    assert_eq!((answer.status, answer.header("Vary")), (204, Some("Origin")));
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://shop.example"));
    assert_eq!(answer.header("Access-Control-Allow-Methods"), Some("POST, OPTIONS"));
    assert_eq!(answer.header("Access-Control-Allow-Headers"), Some("rowcall-header-x"));
    let answer = http.ask("OPTIONS /request/a", &format!("Origin: https://evil.example\r\n{ask}"), "");
    assert_eq!((answer.status, answer.header("Access-Control-Allow-Origin")), (403, None));
    // The answer that comes later names it as well.
    let answer = http.ask("GET /next/a?timeout=1ms", "Origin: https://shop.example\r\n", "");
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://shop.example"));
}
