//! Whose requests are not looked at: names that were made to point here, web pages.

use super::daemon;
use harness::{Daemon, Http, websocket};
use std::net::{IpAddr, UdpSocket};

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

/// An address of this machine that others reach; `None` where there is none.
fn far_address() -> Option<IpAddr> {
    // Nothing is sent: the system only chooses where it would send from.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

/// A daemon for other machines, and the address by which it is reached from there.
fn open_daemon(settings: &str) -> Option<(tempfile::TempDir, Daemon, String)> {
    let Some(address) = far_address() else {
        eprintln!("SKIPPED: this machine has no address but loopback");
        return None;
    };
    let folder = harness::folder();
    let config = folder.path().join("rowcalld.toml");
    std::fs::write(&config, format!("allow_remote = true\n{settings}")).unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--http", "0.0.0.0:0", "--config", config.to_str().unwrap()];
    let daemon = Daemon::start_with(&folder.path().join("rowcall.sock"), &arguments);
    let far = daemon.http.replace("0.0.0.0", &address.to_string());
    Some((folder, daemon, far))
}

/// What each kind of request is answered to when it comes to this address for this host, from a page of its own.
fn answers(far: &str, host: &str) -> Vec<u16> {
    let own = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
    let web = websocket::request(&format!("Origin: http://{host}\r\n"))
        .replace("Host: localhost", &format!("Host: {host}"));
    [
        format!("GET /healthz HTTP/1.1\r\n{own}\r\n"),
        format!("GET /connz HTTP/1.1\r\n{own}\r\n"),
        format!("GET /metrics HTTP/1.1\r\n{own}\r\n"),
        format!("GET / HTTP/1.1\r\n{own}\r\n"),
        format!("GET /whoami HTTP/1.1\r\n{own}\r\n"),
        format!("GET /next/a?timeout=1ms HTTP/1.1\r\n{own}\r\n"),
        format!("POST /publish/a HTTP/1.1\r\n{own}Content-Length: 0\r\n\r\n"),
        web,
    ]
    .iter()
    .map(|request| {
        let mut http = Http::connect(far);
        http.send(request);
        http.head().status
    })
    .collect()
}

/// A name whose owner makes it point here would make a web page of theirs one of ours: it must have been named.
#[test]
fn other_machines_reach_only_hosts_that_were_named() {
    let served = |host: &str, all: &[u16]| {
        assert!(all.iter().all(|status| [101, 200, 204].contains(status)), "{host}: {all:?}");
    };
    let Some((_folder, daemon, far)) = open_daemon("") else { return };
    let port = far.rsplit_once(':').unwrap().1;
    for host in ["evil.example", &format!("evil.example:{port}"), "shop.example"] {
        assert_eq!(answers(&far, host), [421; 8], "{host}");
    }
    for host in [far.as_str(), &format!("localhost:{port}"), &format!("127.0.0.1:{port}")] {
        served(host, &answers(&far, host));
    }
    let mut http = Http::connect(&far);
    http.send("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    let said = String::from_utf8(http.answer().body).unwrap();
    assert!(said.contains("http_hosts in rowcalld.toml"), "{said}");
    daemon.child.says("until http_hosts lists that name");

    let Some((_folder, _daemon, far)) = open_daemon("http_hosts = [\"shop.example\"]") else { return };
    served("shop.example", &answers(&far, "shop.example:8222"));
    assert_eq!(answers(&far, "evil.example"), [421; 8]);
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
