//! The NATS client protocol by hand. Each script runs against rowcalld, on TCP, in TLS, in WebSocket and on its Unix
//! socket, and against Debian's nats-server: all must say the same. What only rowcalld promises
//! stands in protocol/ours.rs.

mod connect;
mod lasting;
mod limits;
mod malformed;
mod ours;
mod random;
mod subscribe;
mod tracing;
mod unspoken;
mod user_info;

use harness::nats_server::NatsServer;
use harness::websocket::WebSocket;
use harness::{Authority, Daemon, Terminal};

/// Says hello, quietly, without headers.
const QUIET: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

/// Runs a script against each of them. It is given a way to connect.
fn everywhere(script: impl Fn(&dyn Fn() -> Terminal)) {
    everywhere_with("", "", script);
}

/// The same with settings of rowcalld's and their counterparts of nats-server's.
fn everywhere_with(rowcalld: &str, nats_server: &str, script: impl Fn(&dyn Fn() -> Terminal)) {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), rowcalld);
    let reference = NatsServer::start(nats_server);
    let run = |place: &str, open: &dyn Fn() -> Terminal| {
        eprintln!("-- {place}");
        script(&|| {
            let mut terminal = open();
            // Two seconds after CONNECT nats-server sends a PING, to measure the way there and
            // back. It takes this one for the answer and does without.
            terminal.send("PONG\r\n");
            terminal
        });
    };
    run("nats-server", &|| reference.terminal());
    run("rowcalld, TCP", &|| daemon.terminal());
    let authority = Authority::new();
    let folder = harness::folder();
    let settings = format!("{}{rowcalld}", authority.settings(folder.path()));
    let secret = Daemon::with_settings(folder.path(), &settings);
    run("rowcalld, TLS", &|| authority.terminal(&secret.tcp));
    run("rowcalld, WebSocket", &|| WebSocket::connect(&daemon.http).terminal());
    run("rowcalld, Unix socket", &|| Terminal::unix(&daemon.socket));
}

#[test]
fn publish_and_subscribe() {
    everywhere(|open| {
        let mut publisher = open().hello();
        let mut subscriber = open().hello();
        subscriber.send("SUB shop.orders sid-1\r\nSUB shop.orders 2\r\n");
        subscriber.barrier();
        publisher
            .send("PUB shop.orders 5\r\nhello\r\nPUB other 1\r\nx\r\nPUB shop.orders reply.here 0\r\n\r\n");
        publisher.barrier();
        // Each subscription gets its copy, also when they belong to one connection; which of
        // them is served first is nobody's business.
        let mut lines: Vec<_> = (0..8).map(|_| subscriber.line()).collect();
        subscriber.barrier();
        lines.sort();
        let expected = [
            "",
            "",
            "MSG shop.orders 2 5",
            "MSG shop.orders 2 reply.here 0",
            "MSG shop.orders sid-1 5",
            "MSG shop.orders sid-1 reply.here 0",
            "hello",
            "hello",
        ];
        assert_eq!(lines, expected);
    });
}

#[test]
fn a_payload_is_bytes() {
    everywhere(|open| {
        let mut it = open();
        it.send(QUIET);
        it.send("SUB a 1\r\n");
        it.send(b"PUB a 9\r\n\0\xff\r\nPING\r\r\n");
        it.expect(b"MSG a 1 9\r\n\0\xff\r\nPING\r\r\n");
        // Subjects are bytes as well, and case matters.
        it.send("SUB größe.€ 2\r\nPUB größe.€ 1\r\nx\r\nPUB A 1\r\nx\r\n");
        it.expect("MSG größe.€ 2 1\r\nx\r\n");
        it.barrier();
    });
}

#[test]
fn blanks_and_case_do_not_matter() {
    everywhere(|open| {
        let mut it = open();
        it.send("connect {\"verbose\":false}\r\nsub a 1\r\nPub a  2\r\nhi\r\n");
        it.send("pUb \t a\tr   2 \t\r\nhi\r\nping\r\nPING and more\r\npong\r\n");
        it.expect("MSG a 1 2\r\nhi\r\nMSG a 1 r 2\r\nhi\r\nPONG\r\nPONG\r\n");
        it.send("unsub  1\r\nPUB a 1\r\nx\r\n");
        it.barrier();
    });
}

#[test]
fn headers_go_to_those_who_understand_them() {
    everywhere(|open| {
        let mut modern = open().hello();
        let mut old = open();
        old.send(QUIET);
        for subscriber in [&mut modern, &mut old] {
            subscriber.send("SUB h.> 1\r\n");
            subscriber.barrier();
        }
        let mut publisher = open().hello();
        publisher.send("HPUB h.a 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
        publisher.send("HPUB h.b r.x 12 12\r\nNATS/1.0\r\n\r\n\r\n");
        // Nobody looks into the block, and an empty one is no block.
        publisher.send("HPUB h.c 3 5\r\nabcde\r\nHPUB h.d 0 2\r\nhi\r\n");
        publisher.barrier();
        modern.expect("HMSG h.a 1 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
        modern.expect("HMSG h.b 1 r.x 12 12\r\nNATS/1.0\r\n\r\n\r\n");
        modern.expect("HMSG h.c 1 3 5\r\nabcde\r\n");
        old.expect("MSG h.a 1 2\r\nhi\r\nMSG h.b 1 r.x 0\r\n\r\nMSG h.c 1 2\r\nde\r\nMSG h.d 1 2\r\nhi\r\n");
        old.barrier();
    });
}

#[test]
fn nobody_to_answer_is_told_to_whoever_asked() {
    const NOBODY: &str = "16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
    everywhere(|open| {
        let mut it = open().hello();
        it.send("SUB _INBOX.me.* 7\r\nPUB ask _INBOX.me.1 2\r\nhi\r\n");
        it.expect(format!("HMSG _INBOX.me.1 7 {NOBODY}"));
        // A subject with an empty token reaches nobody.
        it.send("PUB a..b _INBOX.me.2 0\r\n\r\n");
        it.expect(format!("HMSG _INBOX.me.2 7 {NOBODY}"));
        // Only on a plain subscription of the asker's own, and only with somewhere to answer.
        it.send("SUB queued q 8\r\nPUB ask queued 0\r\n\r\nPUB ask elsewhere 0\r\n\r\nPUB ask 0\r\n\r\n");
        it.barrier();
        // It does not count towards the subscription's maximum.
        it.send("SUB own 9\r\nUNSUB 9 1\r\nPUB ask own 0\r\n\r\nPUB own 0\r\n\r\nPUB own 0\r\n\r\n");
        it.expect(format!("HMSG own 9 {NOBODY}MSG own 9 0\r\n\r\n"));
        it.barrier();

        let mut old = open();
        old.send(QUIET);
        old.send("SUB in 1\r\nPUB ask in 0\r\n\r\n");
        old.barrier();
    });
}

#[test]
fn who_publishes_without_echo_counts_as_nobody() {
    everywhere(|open| {
        let mut it = open();
        it.send("CONNECT {\"verbose\":false,\"echo\":false,\"headers\":true,\"no_responders\":true}\r\n");
        it.send("SUB ask 1\r\nSUB ask q 2\r\nSUB in 3\r\nPUB ask in 0\r\n\r\n");
        it.expect("HMSG in 3 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
        it.barrier();
        let mut worker = open().hello();
        worker.send("SUB ask q 1\r\n");
        worker.barrier();
        // The member that is the publisher itself is passed over, every time.
        for _ in 0..50 {
            it.send("PUB ask in 0\r\n\r\n");
        }
        it.barrier();
        for _ in 0..50 {
            worker.expect("MSG ask 1 in 0\r\n\r\n");
        }
        worker.barrier();
    });
}

#[test]
fn a_pong_means_that_all_before_it_is_done() {
    everywhere(|open| {
        let mut publisher = open().hello();
        let mut subscriber = open().hello();
        for n in 0..20 {
            publisher.send(format!("PUB race {}\r\n{n}\r\n", n.to_string().len()));
            publisher.barrier();
            subscriber.send(format!("SUB race {n}\r\n"));
            subscriber.barrier();
            publisher.send("PUB race 3\r\nnew\r\n");
            publisher.barrier();
            subscriber.expect(format!("MSG race {n} 3\r\nnew\r\n"));
            subscriber.send(format!("UNSUB {n}\r\n"));
            subscriber.barrier();
        }
    });
}

#[test]
fn what_came_before_the_end_is_done() {
    everywhere(|open| {
        let mut subscriber = open().hello();
        subscriber.send("SUB last.> 1\r\n");
        subscriber.barrier();
        let mut hasty = open().hello();
        hasty.send("PUB last.words 3\r\nbye\r\n");
        drop(hasty);
        subscriber.expect("MSG last.words 1 3\r\nbye\r\n");
        // Half closed: the output still comes.
        let mut half = open().hello();
        half.send("SUB last.half 1\r\nPUB last.half 2\r\nhi\r\nPING\r\nPUB last.ha");
        half.finish();
        half.expect("MSG last.half 1 2\r\nhi\r\nPONG\r\n");
        half.expect_closed();
        subscriber.expect("MSG last.half 1 2\r\nhi\r\n");
        subscriber.barrier();
    });
}

#[test]
fn one_publisher_is_heard_in_order() {
    everywhere(|open| {
        let mut subscriber = open().hello();
        subscriber.send("SUB o.a 1\r\nSUB o.* 2\r\nSUB o.> q 3\r\nUNSUB 2\r\n");
        subscriber.barrier();
        let mut publisher = open().hello();
        let mut script = String::new();
        for n in 100..600 {
            script.push_str(&format!("PUB o.{} 3\r\n{n}\r\n", if n % 2 == 0 { "a" } else { "b" }));
        }
        publisher.send(script);
        publisher.barrier();
        let mut seen = [99; 4];
        for _ in 0..750 {
            let line = subscriber.line();
            let sid: usize = line.split(' ').nth(2).unwrap().parse().unwrap();
            let n = subscriber.line().parse().unwrap();
            assert!(n > seen[sid], "{n} after {}", seen[sid]);
            seen[sid] = n;
        }
        assert_eq!(seen, [99, 598, 99, 599]);
        subscriber.barrier();
    });
}

#[test]
fn a_request_may_have_many_replies() {
    everywhere(|open| {
        let mut asker = open().hello();
        asker.send("SUB _INBOX.me.* 1\r\n");
        asker.barrier();
        let mut workers = [open().hello(), open().hello(), open().hello()];
        for worker in &mut workers {
            worker.send("SUB ask 1\r\n");
            worker.barrier();
        }
        asker.send("PUB ask _INBOX.me.7 1\r\n?\r\n");
        for (n, worker) in workers.iter_mut().enumerate() {
            worker.expect("MSG ask 1 _INBOX.me.7 1\r\n?\r\n");
            // More than one of each, with headers or without, and nobody is told that enough came.
            worker.send(format!("PUB _INBOX.me.7 2\r\n{n}a\r\n"));
            worker.send(format!("HPUB _INBOX.me.7 12 14\r\nNATS/1.0\r\n\r\n{n}b\r\n"));
            worker.barrier();
            asker.expect(format!("MSG _INBOX.me.7 1 2\r\n{n}a\r\n"));
            asker.expect(format!("HMSG _INBOX.me.7 1 12 14\r\nNATS/1.0\r\n\r\n{n}b\r\n"));
        }
        // One is enough for whoever says so.
        asker.send("UNSUB 1\r\nSUB _INBOX.me.* 2\r\nUNSUB 2 1\r\nPUB ask _INBOX.me.8 1\r\n?\r\n");
        asker.barrier();
        for worker in &mut workers {
            worker.expect("MSG ask 1 _INBOX.me.8 1\r\n?\r\n");
            worker.send("PUB _INBOX.me.8 0\r\n\r\n");
            worker.barrier();
        }
        asker.expect("MSG _INBOX.me.8 2 0\r\n\r\n");
        asker.barrier();
    });
}

/// Clients ask a larger server about itself, its streams and its services here. Of these there are
/// none, and they are told so at once.
#[test]
fn nobody_answers_for_a_larger_server() {
    everywhere(|open| {
        let mut it = open().hello();
        it.send("SUB in 1\r\n");
        for subject in [
            "$SYS.REQ.SERVER.PING",
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            "$JS.API.STREAM.CREATE.orders",
            "$JS.API.CONSUMER.MSG.NEXT.orders.mail",
            "$JS.ACK.orders.mail.1.2.3.4.5",
            "$KV.settings.color",
            "$SRV.PING",
        ] {
            it.send(format!("PUB {subject} in 0\r\n\r\n"));
            it.expect("HMSG in 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
        }
        it.barrier();
    });
}
