//! `rowcall forward`: a webhook is called for each event, again if it fails, and signed.

use super::{table, text, watch};
use harness::receiver::Webhook;
use harness::{Authority, Child, Daemon, Kind, Site, eventually};
use nix::sys::signal::Signal;
use std::fs;
use std::process::{Command, Stdio};

on_each_server!(
    a_consumer_s_events_are_forwarded_until_they_are_taken,
    a_receiver_that_wants_no_more_costs_no_delivery,
);

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn forward(daemon: &Daemon, arguments: &[&str]) -> Child {
    let mut command = Command::new(harness::built("rowcall"));
    command.env("ROWCALL_SERVER", format!("unix:{}", daemon.socket.display()));
    let child = Child::start("forward", command.arg("forward").args(arguments));
    child.says("forwarding");
    child
}

fn publish(daemon: &Daemon, subject: &str, payload: &str) {
    let mut terminal = daemon.terminal().hello();
    terminal.send(format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
    terminal.barrier();
}

/// What the secret makes of a text, by another program.
fn signature(text: &str) -> String {
    let script = format!(
        "printf %s \"$TEXT\" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf %s {} | base64 -d | od -An -tx1 | tr -d ' \\n') -binary | base64",
        SECRET.trim_start_matches("whsec_")
    );
    let output =
        Command::new("sh").args(["-c", &script]).env("TEXT", text).stderr(Stdio::inherit()).output().unwrap();
    format!("v1,{}", String::from_utf8(output.stdout).unwrap().trim())
}

#[test]
fn a_call_is_signed_and_tried_again() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let webhook = Webhook::start(&[
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        "",
        "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    ]);
    let file = folder.path().join("secret");
    fs::write(&file, SECRET).unwrap();
    let arguments = [
        "-n",
        "1",
        "a.>",
        "--to",
        &webhook.url,
        "--secret-file",
        file.to_str().unwrap(),
        "-H",
        "X-Tenant: 7",
    ];
    let mut child = forward(&daemon, &arguments);
    publish(&daemon, "a.b", "{\"id\": 1}");
    let calls = [(); 4].map(|()| webhook.call());
    for call in &calls {
        assert_eq!((call.line.as_str(), call.body.as_str()), ("POST /hook HTTP/1.1", "{\"id\": 1}"));
        let headers =
            ["rowcall-subject", "content-type", "x-tenant", "webhook-id"].map(|name| call.header(name));
        assert_eq!(headers, ["a.b", "application/json", "7", calls[0].header("webhook-id")]);
        let [id, timestamp] = ["webhook-id", "webhook-timestamp"].map(|name| call.header(name));
        assert_eq!(call.header("webhook-signature"), signature(&format!("{id}.{timestamp}.{}", call.body)));
    }
    assert!(child.wait().success(), "{}", child.said());
    let said = child.said();
    for words in ["answered 503", "answered 302", "again after"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("whsec_"), "{said}");
}

/// In either form, and whoever else has an event for it waits as well.
#[test]
fn a_receiver_says_when_it_wants_to_be_called_again() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    for asked in
        ["99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "Friday, 31-Dec-49 23:59:59 GMT"]
    {
        let answer =
            format!("HTTP/1.1 429 Too Many Requests\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n");
        let webhook = Webhook::start(&[answer.leak()]);
        let mut child = forward(&daemon, &["a", "--to", &webhook.url, "-j", "1"]);
        publish(&daemon, "a", "1");
        publish(&daemon, "a", "2");
        webhook.call();
        child.says("answered 429 Too Many Requests; again after 10m");
        child.signal(Signal::SIGINT);
        assert_eq!(child.wait().code(), Some(1), "{asked}: {}", child.said());
        assert!(child.said().contains("1 messages that had come were not worked on"), "{}", child.said());
    }
}

#[test]
fn each_header_is_sent_once() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let webhook = Webhook::start(&[]);
    let mut arguments = vec!["-n", "1", "a", "--to", &webhook.url];
    let asked = [
        "Webhook-Id: forged",
        "WEBHOOK-TIMESTAMP: 1",
        "webhook-signature: v1,forged",
        "Content-Length: 7",
        "Transfer-Encoding: chunked",
        "Content-Type: text/x-one",
        "content-type: text/x-two",
        "User-Agent: mine",
        "Host: elsewhere",
        "X-Two: 1",
        "x-two: 2",
    ];
    asked.iter().for_each(|header| arguments.extend(["-H", header]));
    let mut child = forward(&daemon, &arguments);
    publish(&daemon, "a", "{}");
    let call = webhook.call();
    assert!(child.wait().success(), "{}", child.said());
    assert!(child.said().contains("-H webhook-id is not sent"), "{}", child.said());
    let mut names: Vec<&str> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "{:?}", call.headers);
    let values = ["content-length", "content-type", "user-agent", "host", "x-two", "webhook-signature"];
    let expected = ["2", "text/x-two", "mine", "elsewhere", "2", ""];
    assert_eq!(values.map(|name| call.header(name)), expected, "{:?}", call.headers);
    assert!(call.header("webhook-id").starts_with("rowcall-") && call.header("webhook-timestamp") != "1");
}

#[test]
fn what_is_given_up_is_counted() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let gone = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
    let webhook = Webhook::start(&[gone, gone]);
    let mut child = forward(&daemon, &["-n", "2", "-j", "1", "a", "--to", &webhook.url, "--attempts", "2"]);
    publish(&daemon, "a", "not JSON");
    publish(&daemon, "a", "2");
    assert_eq!(webhook.call().header("content-type"), "application/octet-stream");
    webhook.call();
    assert_eq!(webhook.call().body, "2");
    assert_eq!(child.wait().code(), Some(1));
    let said = child.said();
    assert!(
        said.contains("given up after 2 attempts") && said.contains("1 of 2 events were given up"),
        "{said}"
    );
}

#[test]
fn https_is_spoken_with_whom_is_trusted() {
    let (folder, other) = (harness::folder(), harness::folder());
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let authority = Authority::new();
    let settings = format!("{}http_tls = true\n", authority.settings(other.path()));
    let receiver = Daemon::with_settings(other.path(), &settings);
    let port = receiver.http.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/publish/heard");
    let mut listener = authority.terminal(&receiver.tcp).hello();
    listener.send("SUB heard 1\r\n");
    listener.barrier();
    let file = authority.file(other.path());
    let mut child = forward(&daemon, &["-n", "1", "a", "--to", &url, "--ca", file.to_str().unwrap()]);
    publish(&daemon, "a", "over TLS");
    assert_eq!(listener.heard(), "over TLS");
    assert!(child.wait().success(), "{}", child.said());
    // The system trusts nobody who signed this.
    let mut child = forward(&daemon, &["-n", "1", "a", "--to", &url, "--attempts", "1"]);
    publish(&daemon, "a", "to nobody");
    assert_eq!(child.wait().code(), Some(1));
    assert!(child.said().contains("certificate"), "{}", child.said());
}

fn a_consumer_s_events_are_forwarded_until_they_are_taken(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    let added = site.rowcall(&["consumer", "add", "hook", "test.orders.>"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let webhook =
        Webhook::start(&["HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"]);
    let daemon = site.daemon.as_ref().unwrap();
    let mut child = forward(daemon, &["--consumer", "hook", "--to", &webhook.url, "--jobs", "1"]);
    sql.query("INSERT INTO orders VALUES (1, 'Ada', 12.50)").unwrap();
    let (refused, taken) = (webhook.call(), webhook.call());
    assert_eq!(refused.header("webhook-id"), taken.header("webhook-id"));
    assert!(taken.body.contains("\"customer\":\"Ada\""), "{}", taken.body);
    eventually("it is settled", || {
        let settled = sql.value("SELECT settled FROM rowcall.status WHERE consumer = 'hook'").unwrap();
        (settled.as_deref() == Some("1")).then_some(())
    });
    child.signal(Signal::SIGINT);
    assert_eq!(child.wait().code(), Some(1));
    assert!(child.said().contains("1 of 2 calls failed"), "{}", child.said());
}

fn a_receiver_that_wants_no_more_costs_no_delivery(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    let added = site.rowcall(&["consumer", "add", "hook", "shop.>", "--max-deliveries", "1"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let webhook = Webhook::start(&["HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"]);
    sql.query("START TRANSACTION").unwrap();
    for n in 1..=3 {
        sql.query(format!("CALL rowcall.publish('shop.a', '{n}')")).unwrap();
    }
    sql.query("COMMIT").unwrap();
    let daemon = site.daemon.as_ref().unwrap();
    let mut child = forward(daemon, &["--consumer", "hook", "--to", &webhook.url, "--jobs", "1"]);
    webhook.call();
    assert_eq!(child.wait().code(), Some(1));
    assert!(child.said().contains("answered 410 Gone: it wants no more events"), "{}", child.said());
    let left = "SELECT GROUP_CONCAT(deliveries) FROM rowcall.pending";
    eventually("none of it counts", || (sql.value(left).unwrap()? == "0,0,0").then_some(()));
    // Another receiver gets them all.
    let webhook = Webhook::start(&[]);
    let mut child = forward(daemon, &["--consumer", "hook", "--to", &webhook.url, "--jobs", "1", "-n", "3"]);
    assert_eq!([(); 3].map(|()| webhook.call().body), ["1", "2", "3"]);
    assert!(child.wait().success(), "{}", child.said());
    eventually("they are settled", || (sql.value(left).unwrap().is_none()).then_some(()));
    assert_eq!(sql.value("SELECT COUNT(*) FROM rowcall.parked").unwrap().as_deref(), Some("0"));
}
