//! Messages that are sent to be traced and not to be delivered, as `nats trace` sends them. Servers trace since 2.11;
//! rowcalld traces nothing, and delivers no more than they do.

use harness::daemon::get;
use harness::nats_server::NatsServer;
use harness::{Daemon, Terminal, eventually};

const DEST: &str = "Nats-Trace-Dest: traces";

/// Headers, and whether the message is delivered to those who subscribe.
const HEADERS: [(&[&str], bool); 17] = [
    (&["Nats-Trace-Only: true", DEST], false),
    (&["Nats-Trace-Only: TRUE", DEST], false),
    (&["Nats-Trace-Only: 1", DEST], false),
    (&["Nats-Trace-Only: On", DEST], false),
    (&["Nats-Trace-Only:true", "Nats-Trace-Dest:traces"], false),
    (&["Nats-Trace-Only:   true  ", DEST], false),
    (&["Color: green", DEST, "Nats-Trace-Only: true"], false),
    (&["Nats-Trace-Only: true", "Nats-Trace-Dest: nobody.there"], false),
    (&["Nats-Trace-Only: yes", DEST], true),
    (&["Nats-Trace-Only: false", DEST], true),
    (&["Nats-Trace-Only:", DEST], true),
    (&["Nats-Trace-Only: false", "Nats-Trace-Only: true", DEST], true),
    (&["nats-trace-only: true", DEST], true),
    (&[DEST], true),
    // Without a place to report to it is a message like any other.
    (&["Nats-Trace-Only: true"], true),
    (&["Nats-Trace-Only: true", "Nats-Trace-Dest:"], true),
    (&["Nats-Trace-Only: true", "Nats-Trace-Dest: trace disabled"], true),
];

fn hpub(subject: &str, reply: &str, headers: &[&str]) -> String {
    let block =
        format!("NATS/1.0\r\n{}\r\n", headers.iter().map(|it| format!("{it}\r\n")).collect::<String>());
    format!("HPUB {subject} {reply} {} {}\r\n{block}hi\r\n", block.len(), block.len() + 2)
}

/// The same of rowcalld and of a server that traces.
#[test]
fn what_is_only_to_be_traced_is_not_delivered() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    play(&|| daemon.terminal());
    play(&|| Terminal::unix(&daemon.socket));
    if let Some(later) = NatsServer::start_later("") {
        play(&|| {
            let mut terminal = later.terminal();
            // Instead of the PING by which it would measure the way there and back.
            terminal.send("PONG\r\n");
            terminal
        });
    }
}

fn play(open: &dyn Fn() -> Terminal) {
    let mut worker = open();
    worker.send("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB work.> 1\r\nSUB work.> q 2\r\n");
    worker.barrier();
    for (headers, delivered) in HEADERS {
        eprintln!("{headers:?}");
        let mut it = open();
        it.send("CONNECT {\"verbose\":true,\"headers\":true,\"no_responders\":true}\r\nSUB in.* 1\r\n");
        it.expect("+OK\r\n+OK\r\n");
        // It is taken all the same, and a request is told "no responders" if nobody would have had it.
        it.send(hpub("work.a", "in.1", headers) + &hpub("nobody", "in.2", headers));
        it.expect("+OK\r\n+OK\r\n");
        let nobody = it.message();
        assert_eq!((&*nobody.subject, &nobody.headers[..12]), ("in.2", "NATS/1.0 503"));
        it.barrier();
        for _ in 0..2 * usize::from(delivered) {
            assert_eq!(worker.message().subject, "work.a");
        }
        worker.barrier();
    }
    // It does not count towards a subscription's maximum, and who has no echo is nobody.
    worker.send("SUB once 3\r\nUNSUB 3 1\r\n");
    worker.barrier();
    let mut it = open();
    it.send("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"echo\":false}\r\n");
    it.send("SUB in 1\r\nSUB own 2\r\n");
    it.send(hpub("once", "in", HEADERS[0].0) + "PUB once 1\r\nx\r\n");
    worker.expect("MSG once 3 1\r\nx\r\n");
    it.barrier();
    it.send(hpub("own", "in", HEADERS[0].0));
    assert!(it.message().headers.starts_with("NATS/1.0 503"));
}

/// Nobody who listens or waits over HTTP gets it either, it can be published there as well, and all are counted.
#[test]
fn what_is_only_to_be_traced_is_counted() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut poll = daemon.visit();
    poll.request("GET /next/work.a", "", "");
    eventually("it waits", || (daemon.varz()["subscriptions"] == 1).then_some(()));
    let mut it = daemon.terminal().hello();
    it.send(hpub("work.a", "", HEADERS[0].0));
    it.barrier();
    let headers = format!("Rowcall-Header-Nats-Trace-Only: true\r\nRowcall-Header-{DEST}\r\n");
    let answer = daemon.visit().ask("POST /publish/work.a", &headers, "x");
    assert_eq!(answer.status, 200, "{answer:?}");
    it.send("PUB work.a 4\r\nreal\r\n");
    it.barrier();
    assert_eq!(poll.answer().text(), "real");
    let varz = daemon.varz();
    for (name, expected) in [("in_msgs", 3), ("out_msgs", 1), ("trace_only_msgs", 2), ("unheard_msgs", 0)] {
        assert_eq!(varz[name], expected, "{name}: {varz:#}");
    }
    let metrics = get(&daemon.http, "/metrics");
    assert!(metrics.contains("rowcalld_messages_trace_only_total 2"), "{metrics}");
}
