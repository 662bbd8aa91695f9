//! Bad peers of the daemon: garbage, half lines, huge lengths, one byte at a time. That one
//! connection is closed with the words clients know, and the others are served.

use harness::{Child, Daemon, PATIENCE, Terminal};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

/// A daemon with two clients who mind their own business.
struct Scene {
    daemon: Daemon,
    publisher: Terminal,
    subscriber: Terminal,
    served: usize,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start(settings: &str) -> Scene {
        let folder = harness::folder();
        let daemon = Daemon::with_settings(folder.path(), settings);
        let publisher = Terminal::unix(&daemon.socket).hello();
        let mut subscriber = daemon.terminal().hello();
        subscriber.send("SUB > 1\r\n");
        subscriber.barrier();
        Scene { daemon, publisher, subscriber, served: 0, _folder: folder }
    }

    /// The two are served, and nothing else has reached the subscriber.
    fn others_are_served(&mut self) {
        self.served += 1;
        let n = self.served.to_string();
        self.publisher.send(format!("PUB good.day {}\r\n{n}\r\n", n.len()));
        self.publisher.barrier();
        self.subscriber.expect(format!("MSG good.day 1 {}\r\n{n}\r\n", n.len()));
    }

    /// Waits until only those two are connected.
    fn others_are_alone(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.daemon.varz()["connections"] != 2 {
            assert!(Instant::now() < deadline, "{}", self.daemon.varz());
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.daemon.tcp)
            .unwrap_or_else(|error| panic!("{error}: {}", self.daemon.child.said()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What the daemon holds in memory, in KiB.
    fn resident_kib(&self) -> u64 {
        harness::process::resident(self.daemon.child.pid()) >> 10
    }
}

/// Other protocols, other character sets, and what never was one.
fn garbage() -> Vec<Vec<u8>> {
    let mut noise = vec![0xee_u8; 300_000];
    let mut seed = 7_u32;
    for byte in &mut noise[1..] {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (seed >> 24) as u8;
    }
    vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"J\0\0\0\x0a8.0.36\0".to_vec(),
        "PUB a 1\r\nx\r\n".encode_utf16().flat_map(u16::to_be_bytes).collect(),
        vec![0; 1 << 20],
        noise,
    ]
}

#[test]
fn garbage_is_answered_with_the_words_and_the_others_are_served() {
    let mut scene = Scene::start("");
    for bytes in garbage() {
        for mut it in [scene.daemon.terminal(), Terminal::unix(&scene.daemon.socket)] {
            it.send(&bytes);
            it.expect("-ERR 'Unknown Protocol Operation'\r\n");
            it.expect_closed();
            scene.others_are_served();
        }
    }
    scene.others_are_alone();
    assert_eq!(scene.daemon.varz()["closed"]["refused"], 12);
}

#[test]
fn the_words_arrive_although_the_peer_keeps_sending() {
    let mut scene = Scene::start("");
    for (start, words) in [
        ("nonsense\r\n", "Unknown Protocol Operation"),
        ("PUB a 9999999\r\n", "Maximum Payload Violation"),
        ("CONNECT {\"protocol\":9}\r\n", "invalid client protocol"),
    ] {
        let mut it = scene.daemon.terminal();
        it.send(start);
        for _ in 0..100 {
            it.send([b'x'; 100_000]);
        }
        it.expect(format!("-ERR '{words}'\r\n"));
        it.expect_closed();
        scene.others_are_served();
    }
    // Whoever never stops is not listened to for ever.
    let mut it = scene.connect();
    let error = loop {
        if let Err(error) = it.write_all(&[b'x'; 100_000]) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    scene.others_are_served();
    scene.others_are_alone();
}

#[test]
fn a_length_of_ten_gigabytes_costs_nothing() {
    let mut scene = Scene::start("");
    let before = scene.resident_kib();
    for (line, words) in [
        ("PUB a 10000000000\r\n", ""),
        ("HPUB a 12 10000000000\r\nNATS/1.0\r\n\r\n", ""),
        ("PUB a 999999999\r\n", "-ERR 'Maximum Payload Violation'\r\n"),
        ("HPUB a 999999999 999999999\r\n", "-ERR 'Maximum Payload Violation'\r\n"),
    ] {
        for _ in 0..50 {
            let mut it = scene.daemon.terminal().hello();
            it.send(line);
            it.expect(words);
            it.expect_closed();
        }
        scene.others_are_served();
    }
    let grown = scene.resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
}

#[test]
fn one_byte_at_a_time_holds_up_nobody() {
    let mut scene = Scene::start("");
    let mut slow = scene.daemon.terminal();
    for byte in b"CONNECT {\"verbose\":false}\r\nPUB at.last 5\r\nhello\r\n" {
        scene.others_are_served();
        slow.send([*byte]);
    }
    slow.barrier();
    scene.subscriber.expect("MSG at.last 1 5\r\nhello\r\n");
    scene.others_are_served();
}

#[test]
fn what_was_only_begun_reaches_nobody() {
    let mut scene = Scene::start("");
    for half in
        ["PUB a", "PUB a 5", "PUB a 5\r\n", "PUB a 5\r\nhel", "PUB a 5\r\nhello", "PUB a 5\r\nhello\r"]
    {
        let mut gone = scene.daemon.terminal().hello();
        gone.send(half);
        drop(gone);
        let mut finished = scene.daemon.terminal().hello();
        finished.send(half);
        finished.finish();
        finished.expect_closed();
        // And one who stays, in the middle of a payload.
        let mut stuck = Terminal::unix(&scene.daemon.socket).hello();
        stuck.send(half);
        scene.others_are_served();
    }
    scene.others_are_alone();
    scene.others_are_served();
    assert_eq!(scene.daemon.varz()["lost_bytes"], 0);
}

#[test]
fn a_line_that_never_ends_does_not_pile_up() {
    let mut scene = Scene::start("");
    let before = scene.resident_kib();
    let mut unfinished = Vec::new();
    for _ in 0..100 {
        let mut endless = scene.daemon.terminal();
        endless.send("PUB ");
        endless.send([b'a'; 1 << 20]);
        endless.expect("-ERR 'maximum control line exceeded'\r\n");
        endless.expect_closed();
        let mut patient = scene.daemon.terminal();
        patient.send("SUB ");
        patient.send([b'a'; 4000]);
        unfinished.push(patient);
    }
    scene.others_are_served();
    let grown = scene.resident_kib().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    for mut patient in unfinished {
        patient.send(" 1\r\nPING\r\n");
        patient.expect("+OK\r\nPONG\r\n");
    }
}

#[test]
fn whoever_asks_and_does_not_listen_is_cut_off() {
    let mut scene = Scene::start("max_pending = \"1MiB\"");
    for question in ["PING\r\n", "PUB . 0\r\n\r\n", "SUB . 1\r\n", "UNSUB 1\r\n"] {
        let mut it = scene.connect();
        let many = question.repeat(10_000);
        let mut sent = 0;
        while it.write_all(many.as_bytes()).is_ok() {
            sent += many.len();
            // Kernels hold some megabytes of answers.
            assert!(sent < 256 << 20, "{question:?} goes on");
        }
        scene.others_are_served();
    }
    scene.others_are_alone();
    let varz = scene.daemon.varz();
    assert_eq!(varz["closed"]["slow_pending"], 4, "{varz}");
    assert!(scene.resident_kib() < 128 << 10, "{} KiB", scene.resident_kib());
}

#[test]
fn thousands_come_and_go() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mut scene = Scene::start("");
    for _ in 0..3000 {
        drop(scene.connect());
    }
    scene.others_are_served();
    let before = scene.resident_kib();
    for _ in 0..2 {
        // Two thousand at a time: some say nothing, some half a word, some have closed their half.
        let crowd: Vec<_> = (0..2000)
            .map(|n| {
                let mut stream = scene.connect();
                match n % 3 {
                    0 => {}
                    1 => stream.write_all(b"SUB a").unwrap(),
                    _ => stream.shutdown(std::net::Shutdown::Write).unwrap(),
                }
                stream
            })
            .collect();
        scene.others_are_served();
        // Those who have closed their half are let go, and have heard the greeting.
        for mut stream in crowd.into_iter().skip(2).step_by(3) {
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            assert!(said.starts_with("INFO {") && said.ends_with("}\r\n"), "{said}");
        }
        scene.others_are_alone();
    }
    scene.others_are_served();
    assert_eq!(scene.daemon.varz()["total_connections"], 2 + 3000 + 4000);
    let grown = scene.resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
}

#[test]
fn one_too_many_is_told_so() {
    let mut scene = Scene::start("max_connections = 3");
    let third = scene.daemon.terminal().hello();
    for mut fourth in [scene.daemon.terminal(), Terminal::unix(&scene.daemon.socket)] {
        fourth.send("CONNECT {}\r\nPING\r\n");
        fourth.expect("-ERR 'maximum connections exceeded'\r\n");
        fourth.expect_closed();
        scene.others_are_served();
    }
    drop(third);
    scene.others_are_alone();
    scene.daemon.terminal().hello().barrier();
}

#[test]
fn a_crowd_at_the_door_is_let_in() {
    let mut scene = Scene::start("");
    // Nobody opens for now, so they all wait; the standard library's queue would end at 128.
    scene.daemon.child.signal(Signal::SIGSTOP);
    let crowd: Vec<_> = (0..1000).map(|_| scene.connect()).collect();
    let local: Vec<_> = (0..1000).map(|_| UnixStream::connect(&scene.daemon.socket).unwrap()).collect();
    scene.daemon.child.signal(Signal::SIGCONT);
    for mut stream in crowd {
        stream.read_exact(&mut [0; b"INFO {".len()]).unwrap();
    }
    for mut stream in local {
        stream.read_exact(&mut [0; b"INFO {".len()]).unwrap();
    }
    scene.others_are_served();
}

#[test]
fn when_descriptors_run_out_those_inside_are_served() {
    let folder = harness::folder();
    let socket = folder.path().join("rowcall.sock");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$0\" \"$@\""]).arg(harness::built("rowcalld"));
    command.arg("--socket").arg(&socket).args(["--listen", "127.0.0.1:0", "--http", "none"]);
    let child = Child::start("rowcalld", &mut command);
    child.says("the limit of open files allows fewer connections max_connections=65536 possible=96");
    let line = child.says("listening transport=\"nats\"");
    let tcp = line.split("address=").nth(1).unwrap();
    let mut inside = Terminal::tcp(tcp).hello();
    let crowd: Vec<_> = (0..300).map(|_| TcpStream::connect(tcp).unwrap()).collect();
    child.says("cannot take a connection in");
    inside.barrier();
    drop(crowd);
    child.says("taking connections in again");
    inside.barrier();
    Terminal::unix(&socket).hello().barrier();
    let complaints = child.said().lines().filter(|line| line.contains("cannot take")).count();
    assert_eq!(complaints, 1, "{}", child.said());
}
