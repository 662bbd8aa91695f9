//! What is asked of rowcalld alone: an INFO that every client can read, and the same answers however
//! the bytes arrive.

use harness::{Daemon, Terminal};
use serde_json::Value;

/// What clients know; one of them throws when it sees another.
const INFO_KEYS: [&str; 13] = [
    "server_id",
    "server_name",
    "version",
    "proto",
    "go",
    "host",
    "port",
    "headers",
    "max_payload",
    "client_id",
    "client_ip",
    "auth_required",
    "tls_required",
];

#[test]
fn info_is_what_clients_can_read() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let port: u16 = daemon.tcp.rsplit(':').next().unwrap().parse().unwrap();
    let read = |terminal: &Terminal| -> Value {
        assert!(terminal.info.len() < 1024, "{}", terminal.info);
        let info: Value = serde_json::from_str(terminal.info.strip_prefix("INFO ").unwrap()).unwrap();
        for key in info.as_object().unwrap().keys() {
            assert!(INFO_KEYS.contains(&key.as_str()), "{key}");
        }
        assert_eq!((&info["headers"], &info["proto"]), (&true.into(), &1.into()));
        assert_eq!(info["max_payload"], 1 << 20);
        assert!(info["client_id"].as_u64().unwrap() > 0);
        assert_ne!(info["server_id"], "");
        assert_ne!(info["server_name"], "");
        assert_ne!(info["go"], "");
        let version = info["version"].as_str().unwrap();
        let (numbers, _) = version.split_once('-').unwrap();
        let numbers: Vec<u32> = numbers.split('.').map(|n| n.parse().unwrap()).collect();
        // From 2.10 on clients expect more than there is.
        assert!(numbers.len() == 3 && numbers < vec![2, 10, 0], "{version}");
        info
    };
    let (tcp, unix) = (daemon.terminal(), Terminal::unix(&daemon.socket));
    let (tcp, unix) = (read(&tcp), read(&unix));
    assert_eq!((&tcp["host"], &tcp["port"]), (&"127.0.0.1".into(), &port.into()));
    assert_eq!(tcp["client_ip"], "127.0.0.1");
    assert_eq!(unix.get("client_ip"), None);
    assert_ne!(tcp["client_id"], unix["client_id"]);
    assert_eq!(tcp["server_id"], unix["server_id"]);
}

/// Everything a client can say, and what comes of it.
const SESSION: (&str, &str) = (
    "CONNECT {\"verbose\":true,\"headers\":true,\"no_responders\":true,\"protocol\":1}\r\nPING\r\n\
     SUB s.* 1\r\nSUB s.a q 22\r\nPUB s.a 4\r\n\r\n\r\n\r\nUNSUB 22\r\n\
     HPUB s.b r.x 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPUB none s.in 0\r\n\r\nPONG\r\nUNSUB 1 1\r\nPUB a..b 1\r\nx\r\nEND\r\n",
    "+OK\r\nPONG\r\n\
     +OK\r\n+OK\r\n+OK\r\nMSG s.a 1 4\r\n\r\n\r\n\r\nMSG s.a 22 4\r\n\r\n\r\n\r\n+OK\r\n\
     +OK\r\nHMSG s.b 1 r.x 12 14\r\nNATS/1.0\r\n\r\nhi\r\n+OK\r\nHMSG s.in 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n+OK\r\n\
     -ERR 'Invalid Publish Subject'\r\n+OK\r\n-ERR 'Unknown Protocol Operation'\r\n",
);

#[test]
fn the_answers_are_the_same_wherever_the_bytes_are_cut() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    // Once somebody else was answered, what was sent before has been read.
    let mut other = daemon.terminal().hello();
    let (said, answered) = SESSION;
    for cut in 0..=said.len() {
        let mut it = daemon.terminal();
        it.send(&said[..cut]);
        other.barrier();
        if cut < said.len() {
            it.send(&said[cut..]);
        }
        it.expect(answered);
        it.expect_closed();
    }
    let mut it = Terminal::unix(&daemon.socket);
    for byte in said.as_bytes() {
        it.send([*byte]);
        other.barrier();
    }
    it.expect(answered);
    it.expect_closed();
}

#[test]
fn a_large_message_may_come_in_pieces() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "max_payload = \"8MiB\"");
    let mut other = daemon.terminal().hello();
    let mut it = daemon.terminal().hello();
    let payload: String = (0..1 << 20).map(|n| format!("{n:07}\n")).collect();
    let text = format!("SUB big 1\r\nPUB big {}\r\n{payload}\r\nPING\r\n", payload.len());
    for piece in text.as_bytes().chunks(700_001) {
        it.send(piece);
        other.barrier();
    }
    it.expect(format!("MSG big 1 {}\r\n{payload}\r\nPONG\r\n", payload.len()));
}

/// The same words, from the Unix socket and from TCP: only there do they mean something.
#[test]
fn mail_is_kept_for_clients_on_the_unix_socket() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let run = daemon.varz()["server_id"].as_str().unwrap().to_owned();
    let mut worker = daemon.terminal().hello();
    worker.send("SUB work 1\r\nSUB _ROWCALL.> 2\r\n");
    worker.barrier();
    let question = |ticket: &str| {
        let text = format!("0 {ticket}");
        format!("PUB _ROWCALL.result in {}\r\n{text}\r\n", text.len())
    };
    let mut local = Terminal::unix(&daemon.socket).hello();
    let (kept, nobody) = (format!("{run}.0.00"), format!("{run}.1.00"));
    local.send("SUB in 1\r\n");
    local.send(format!("PUB work _ROWCALL.mail.{kept} 1\r\nx\r\nPUB none _ROWCALL.mail.{nobody} 0\r\n\r\n"));
    local.send(question(&kept));
    let why = |local: &mut Terminal| local.message().headers;
    assert_eq!(why(&mut local), "NATS/1.0\r\nRowcall-No-Reply: pending\r\n\r\n");
    let request = worker.message();
    worker.send(format!("HPUB {} 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n", request.reply.unwrap()));
    worker.barrier();
    local.send(question(&kept));
    local.expect("HMSG in 1 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
    local.send(question(&nobody));
    local.expect("HMSG in 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
    local.send(format!("PUB _ROWCALL.taken {}\r\n{kept}\r\n{}", kept.len(), question(&kept)));
    assert_eq!(why(&mut local), "NATS/1.0\r\nRowcall-No-Reply: taken\r\n\r\n");
    // What is no question is no answer's beginning, and breaks nothing.
    for nonsense in ["", "x", "0", "-1 x", "99999999999 x", " x"] {
        local.send(format!("PUB _ROWCALL.result in {}\r\n{nonsense}\r\n", nonsense.len()));
    }
    local.send(format!("PUB _ROWCALL.result 3\r\n0 x\r\nPUB _ROWCALL.taken 1\r\nx\r\n{}", question("x.0.0")));
    assert_eq!(why(&mut local), "NATS/1.0\r\nRowcall-No-Reply: other_daemon\r\n\r\n");

    let mut stranger = daemon.terminal().hello();
    stranger.send(format!("PUB work _ROWCALL.mail.{run}.2.00 1\r\ny\r\n{}", question(&nobody)));
    stranger.barrier();
    assert_eq!(worker.message().text(), "y");
    // To a subscriber an ordinary message, and the first that this one hears of all that.
    assert_eq!(worker.message().text(), format!("0 {nobody}"));
    let mailbox = &daemon.varz()["mailbox"];
    assert_eq!((&mailbox["submitted"], &mailbox["kept"]), (&2.into(), &1.into()), "{mailbox:#}");
    assert_eq!((&mailbox["waiting"], &mailbox["asking"]), (&0.into(), &0.into()), "{mailbox:#}");
}

/// Whoever subscribes to each row of a table by its key.
#[test]
fn a_hundred_thousand_subscriptions_on_one_connection() {
    const MANY: usize = 100_000;
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut it = daemon.terminal().hello();
    let subs: String = (0..MANY).map(|n| format!("SUB shop.orders.{n}.changed {n}\r\n")).collect();
    it.send(subs);
    it.barrier();
    let mut publisher = daemon.terminal().hello();
    for n in (0..MANY).step_by(97).chain([MANY, MANY - 1]) {
        publisher.send(format!("PUB shop.orders.{n}.changed 1\r\nx\r\n"));
    }
    publisher.barrier();
    for n in (0..MANY).step_by(97).chain([MANY - 1]) {
        it.expect(format!("MSG shop.orders.{n}.changed {n} 1\r\nx\r\n"));
    }
    let unsubs: String = (0..MANY - 1).map(|n| format!("UNSUB {n}\r\n")).collect();
    it.send(unsubs);
    it.barrier();
    publisher.send("PUB shop.orders.0.changed 1\r\nx\r\nPUB shop.orders.99999.changed 1\r\nx\r\n");
    it.expect("MSG shop.orders.99999.changed 99999 1\r\nx\r\n");
    it.barrier();
}
