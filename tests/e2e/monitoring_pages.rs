//! What the pages for tools show: the names that the reference's tools read, with the reference's
//! types, and the numbers for Prometheus. That there are pages at all is monitoring.rs's business.

use harness::daemon::get;
use harness::nats_server::NatsServer;
use harness::{Daemon, repository};
use serde_json::Value;
use std::collections::BTreeSet;

/// What nats-top and the exporters for Prometheus read.
const VARZ: [&str; 21] = [
    "server_id",
    "version",
    "uptime",
    "now",
    "start",
    "cpu",
    "mem",
    "cores",
    "connections",
    "total_connections",
    "routes",
    "remotes",
    "in_msgs",
    "in_bytes",
    "out_msgs",
    "out_bytes",
    "slow_consumers",
    "subscriptions",
    "max_payload",
    "max_connections",
    "ping_interval",
];
const CONNECTION: [&str; 19] = [
    "cid",
    "kind",
    "type",
    "ip",
    "port",
    "start",
    "last_activity",
    "uptime",
    "idle",
    "pending_bytes",
    "in_msgs",
    "in_bytes",
    "out_msgs",
    "out_bytes",
    "subscriptions",
    "name",
    "lang",
    "version",
    "subscriptions_list_detail",
];
const CONNZ: [&str; 6] = ["server_id", "now", "num_connections", "total", "offset", "limit"];
const SUBSZ: [&str; 8] = [
    "num_subscriptions",
    "num_cache",
    "num_inserts",
    "num_removes",
    "num_matches",
    "cache_hit_rate",
    "max_fanout",
    "avg_fanout",
];

fn body(address: &str, path: &str) -> String {
    let answer = get(address, path);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{path}: {head}");
    body.to_owned()
}

fn json(address: &str, path: &str) -> Value {
    serde_json::from_str(&body(address, path)).unwrap()
}

/// The kinds of the values under these names.
fn kinds(json: &Value, names: &[&str]) -> Vec<String> {
    let kind = |value: &Value| match value {
        Value::Null => "nothing",
        Value::Bool(_) => "truth",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    names.iter().map(|name| format!("{name}: {}", kind(&json[name]))).collect()
}

/// Debian's nats-server leaves out what is 0; later ones do not, and what reads them does not expect it.
#[test]
fn subsz_has_its_page_with_and_without_a_list() {
    let folder = harness::folder();
    let ours = Daemon::start(&folder.path().join("rowcall.sock"));
    let later = NatsServer::start_later("http: \"127.0.0.1:-1\"");
    let mut places = vec![(ours.terminal(), ours.http.clone())];
    if let Some(later) = &later {
        let http = later.child.says("Starting http monitor on ");
        places.push((later.terminal(), http.rsplit(' ').next().unwrap().to_owned()));
    }
    for (mut it, http) in places {
        it.send("CONNECT {\"verbose\":false}\r\nSUB c.* 2\r\n");
        it.barrier();
        for (query, expected) in
            [("", [0, 0, 1024]), ("?limit=5&offset=1", [0, 1, 5]), ("?subs=1&test=c.d&limit=2", [1, 0, 2])]
        {
            let page = json(&http, &format!("/subsz{query}"));
            let shown = ["total", "offset", "limit"].map(|name| page[name].clone());
            assert_eq!(shown, expected.map(Value::from), "{query}: {page:#}");
        }
    }
}

#[test]
fn the_tools_of_the_reference_find_what_they_read() {
    let folder = harness::folder();
    let ours = Daemon::start(&folder.path().join("rowcall.sock"));
    let theirs = NatsServer::start("http: \"127.0.0.1:-1\"");
    let their_http = theirs.child.says("Starting http monitor on ");
    let their_http = their_http.rsplit(' ').next().unwrap();
    let hello = "CONNECT {\"verbose\":false,\"name\":\"x\",\"lang\":\"t\",\"version\":\"1.0\"}\r\n";
    let mut seen = Vec::new();
    for (mut client, http) in [(ours.terminal(), &*ours.http), (theirs.terminal(), their_http)] {
        client.send(hello);
        client.send("SUB a.b q 1\r\nSUB c.* 2\r\nPUB a.b 2\r\nhi\r\nPING\r\n");
        while client.line() != "PONG" {}
        let connz = json(http, "/connz?subs=detail&sort=cid");
        let connection = &connz["connections"][0];
        for (name, expected) in [("in_msgs", 1), ("in_bytes", 2), ("out_msgs", 1), ("subscriptions", 2)] {
            assert_eq!(connection[name], expected, "{name}: {connz:#}");
        }
        let details = connection["subscriptions_list_detail"].as_array().unwrap();
        let detail = details.iter().find(|detail| detail["subject"] == "a.b").unwrap();
        assert_eq!(
            (&detail["qgroup"], &detail["sid"], &detail["msgs"]),
            (&"q".into(), &"1".into(), &1.into())
        );
        assert_eq!(
            json(http, "/connz?subs=1")["connections"][0]["subscriptions_list"].as_array().unwrap().len(),
            2
        );
        assert_eq!(json(http, "/subsz?subs=1&test=c.d")["subscriptions_list"][0]["subject"], "c.*");
        assert_eq!(json(http, "/healthz")["status"], "ok");
        assert!(get(http, "/connz?sort=bad").starts_with("HTTP/1.1 400 Bad Request"));
        seen.push([
            kinds(&json(http, "/varz"), &VARZ),
            kinds(&connz, &CONNZ),
            kinds(connection, &CONNECTION),
            kinds(&json(http, "/subsz"), &SUBSZ),
        ]);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(!format!("{seen:?}").contains("nothing"), "{seen:?}");
}

#[test]
fn a_page_of_connections_holds_what_was_asked_for_and_all_of_a_large_one_arrives() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut clients: Vec<_> = (0..20).map(|_| daemon.terminal().hello()).collect();
    let long = "x".repeat(900);
    for (n, client) in clients.iter_mut().enumerate() {
        for sid in 0..100 + n {
            client.send(format!("SUB {long}.{sid} {sid}\r\n"));
        }
        client.barrier();
    }
    let few = json(&daemon.http, "/connz?sort=subs&limit=2&offset=1");
    let counts: Vec<_> = few["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["subscriptions"].as_u64().unwrap())
        .collect();
    assert_eq!((counts, &few["total"]), (vec![118, 117], &20.into()));
    // Two megabytes, more than a socket's buffer holds.
    let all = json(&daemon.http, "/connz?subs=1&limit=1000");
    let listed = all["connections"].as_array().unwrap().iter();
    let listed: usize = listed.map(|one| one["subscriptions_list"].as_array().unwrap().len()).sum();
    assert_eq!(listed, 20 * 100 + (0..20).sum::<usize>());
}

#[test]
fn prometheus_reads_the_same_numbers_and_each_name_is_explained_and_drawn_from_what_there_is() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut client = daemon.terminal().hello();
    client.send("SUB a 1\r\nPUB a 2\r\nhi\r\nPUB nobody 1\r\nx\r\nPING\r\n");
    while client.line() != "PONG" {}
    drop(daemon.terminal().hello());
    while daemon.varz()["connections"] != 1 {}
    let metrics = body(&daemon.http, "/metrics");
    for line in [
        "rowcalld_connections 1.0",
        "rowcalld_connections_opened_total 2.0",
        "rowcalld_connections_closed_total{reason=\"client_closed\"} 1.0",
        "rowcalld_messages_received_total 2.0",
        "rowcalld_messages_sent_total 1.0",
        "rowcalld_messages_unheard_total 1.0",
        "rowcalld_build_info{version=\"0.1.0\"} 1.0",
    ] {
        assert!(metrics.lines().any(|got| got == line), "{line} in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    let explained = std::fs::read_to_string(repository().join("docs/monitoring.md")).unwrap();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(explained.contains(&format!("`{name}")), "{name} is not explained in docs/monitoring.md");
    }
    // The dashboard draws nothing that is not there.
    let known: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).chain(COMMITTED_ONLY).collect();
    let dashboard = std::fs::read_to_string(repository().join("dist/grafana.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut drawn = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for name in words.filter(|word| word.starts_with("rowcalld_") || word.starts_with("process_")) {
                assert!(known.contains(name), "{query}: nothing is called {name}");
                drawn += 1;
            }
        }
    }
    assert!(drawn > 10, "the dashboard draws {drawn} metrics");
}

/// Told only where there is an outbox.
const COMMITTED_ONLY: [&str; 5] = [
    "rowcalld_outbox_state",
    "rowcalld_outbox_events_total",
    "rowcalld_consumer_unacked",
    "rowcalld_consumer_deliveries_total",
    "rowcalld_consumer_redeliveries_total",
];
