//! Publishers outside SQL go at the pace of their slowest reader; SQL and those who publish to others
//! do not; only a reader that takes nothing is cut off.

use harness::nats_server::NatsServer;
use harness::websocket::WebSocket;
use harness::{Authority, Daemon, PATIENCE, Terminal};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

const SIZE: usize = 1024;
const MIB: usize = 1 << 20;
/// Messages that a test sends at most that has failed, and does not end it.
const SENT_MAX: usize = 512 * MIB / SIZE;

/// The reference asks early whether a client is there.
const PING: &[u8] = b"PING\r\n";
const QUIET: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";

fn payload(number: usize) -> String {
    format!("{number:0SIZE$}")
}

fn publication(number: usize) -> String {
    format!("PUB flood {SIZE}\r\n{}\r\n", payload(number))
}

fn delivery(number: usize) -> String {
    format!("MSG flood 1 {SIZE}\r\n{}\r\n", payload(number))
}

/// Publishes so many messages without pause, and waits until all are taken.
fn publish(mut to: impl Read + Write, count: usize) {
    to.write_all(QUIET.as_bytes()).unwrap();
    let mut some = String::new();
    for number in 0..count {
        some.push_str(&publication(number));
        if some.len() >= 64 << 10 || number + 1 == count {
            to.write_all(some.as_bytes()).unwrap();
            some.clear();
        }
    }
    to.write_all(b"PING\r\n").unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"PONG\r\n") {
        let mut some = [0; 512];
        let read = to.read(&mut some).unwrap();
        assert!(read > 0, "closed: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&some[..read]);
    }
}

/// Somebody who subscribes, and reads what and when it likes.
struct Reader<S> {
    stream: S,
    /// What has come and was not compared yet.
    rest: Vec<u8>,
    /// The number of the next message.
    next: usize,
}

impl Reader<TcpStream> {
    fn tcp(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Reader::subscribe(stream)
    }
}

impl<S: Read + Write> Reader<S> {
    fn subscribe(mut stream: S) -> Self {
        stream.write_all(format!("{QUIET}SUB flood 1\r\nPING\r\n").as_bytes()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"PONG\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        Reader { stream, rest: Vec::new(), next: 0 }
    }

    /// Reads messages until there are at least so many, and gives the word each time a mebibyte has come. None may
    /// be missing, doubled or out of order.
    fn hear(&mut self, count: usize, mut each_mebibyte: impl FnMut()) {
        let mut input = vec![0; MIB];
        while self.next < count {
            let mut filled = 0;
            while filled < MIB && self.next < count {
                let read = self.stream.read(&mut input[filled..]).unwrap();
                assert!(read > 0, "cut off after {} messages", self.next);
                self.rest.extend_from_slice(&input[filled..filled + read]);
                filled += read;
                self.compare();
            }
            each_mebibyte();
        }
    }

    fn compare(&mut self) {
        let mut bytes = &self.rest[..];
        while let Some(question) = bytes.get(..PING.len()) {
            if question == PING {
                self.stream.write_all(b"PONG\r\n").unwrap();
                bytes = &bytes[PING.len()..];
                continue;
            }
            let expected = delivery(self.next);
            let Some(message) = bytes.get(..expected.len()) else { break };
            assert!(message == expected.as_bytes(), "not number {}", self.next);
            self.next += 1;
            bytes = &bytes[expected.len()..];
        }
        self.rest = bytes.to_vec();
    }
}

/// A daemon whose readers may be owed little, so that a few mebibytes show what happens.
fn with_little_room(folder: &std::path::Path) -> Daemon {
    Daemon::with_settings(folder, "max_pending = \"4MiB\"\nmax_payload = \"64KiB\"")
}

fn held(daemon: &Daemon) -> u64 {
    daemon.varz()["publishers_held"].as_u64().unwrap()
}

/// Waits until a publisher has been held since.
fn is_held_after(daemon: &Daemon, before: u64) {
    harness::eventually("a publisher is held", || (held(daemon) > before).then_some(()));
}

fn nothing_is_lost(daemon: &Daemon) {
    let varz = daemon.varz();
    assert_eq!((&varz["slow_consumers"], &varz["lost_bytes"]), (&0.into(), &0.into()), "{varz}");
}

/// A reader that rests after each mebibyte, by the clock, with the defaults: what a publisher without
/// pause sends is heard to its end, as at the reference.
#[test]
fn a_reader_that_rests_loses_nothing_at_any_rate() {
    let folder = harness::folder();
    let ours = Daemon::start(&folder.path().join("rowcall.sock"));
    let theirs = NatsServer::start("");
    let run = |address: &str, count: usize, rest: Duration| {
        let mut reader = Reader::tcp(address);
        let publisher = TcpStream::connect(address).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| publish(publisher, count));
            reader.hear(count, || thread::sleep(rest));
        });
    };
    // Each more than kernels hold and may be owed, and more than was heard before anything was lost.
    for (mebibytes, rest) in [(208, 10), (128, 15), (128, 20)] {
        thread::scope(|scope| {
            for address in [&ours.tcp, &theirs.tcp] {
                scope.spawn(move || run(address, mebibytes * MIB / SIZE, Duration::from_millis(rest)));
            }
        });
    }
    nothing_is_lost(&ours);
}

/// The slowest of all readers takes the next mebibyte only when a publisher waits for it.
fn at_the_readers_pace(daemon: &Daemon, publisher: impl Read + Write + Send) {
    const COUNT: usize = 32 * MIB / SIZE;
    let mut reader = Reader::subscribe(UnixStream::connect(&daemon.socket).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| publish(publisher, COUNT));
        let mut before = 0;
        let mut mebibytes = 0;
        reader.hear(COUNT, || {
            mebibytes += 1;
            // Of the rest there may be too little for it to be held up.
            if mebibytes < 12 {
                is_held_after(daemon, before);
                before = held(daemon);
            }
        });
    });
    nothing_is_lost(daemon);
}

#[test]
fn over_tcp_and_the_unix_socket_and_within_websocket() {
    let folder = harness::folder();
    let daemon = with_little_room(folder.path());
    at_the_readers_pace(&daemon, TcpStream::connect(&daemon.tcp).unwrap());
    at_the_readers_pace(&daemon, UnixStream::connect(&daemon.socket).unwrap());
    at_the_readers_pace(&daemon, WebSocket::connect(&daemon.http));
}

#[test]
fn within_tls() {
    let folder = harness::folder();
    let authority = Authority::new();
    let settings = authority.settings(folder.path());
    let settings = format!("{settings}\ntls = \"first\"\nmax_pending = \"4MiB\"\nmax_payload = \"64KiB\"");
    let daemon = Daemon::with_settings(folder.path(), &settings);
    let secret = authority.speaker().upgrade(TcpStream::connect(&daemon.tcp).unwrap());
    at_the_readers_pace(&daemon, secret);
}

#[test]
fn by_http() {
    const CONNECTIONS: usize = 16;
    const COUNT: usize = 16 * MIB / SIZE;
    let folder = harness::folder();
    let daemon = with_little_room(folder.path());
    let mut reader = daemon.terminal().hello();
    reader.send("SUB flood 1\r\n");
    reader.barrier();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut http = daemon.visit();
                for number in 0..COUNT / CONNECTIONS {
                    let answer = http.ask("POST /publish/flood", "", payload(number));
                    assert_eq!((answer.status, answer.text()), (200, "{\"heard\":true}\n"));
                }
            });
        }
        // Nothing is read before the first has to wait, and so nothing is lost by reading late.
        is_held_after(&daemon, 0);
        for _ in 0..COUNT {
            assert_eq!(reader.message().payload.len(), SIZE);
        }
    });
    nothing_is_lost(&daemon);
}

/// A reader that took nothing until a publisher was held, and how many messages were sent by that one,
/// which has hung up since.
fn held_publisher(daemon: &Daemon) -> (Reader<TcpStream>, usize) {
    let reader = Reader::tcp(&daemon.tcp);
    let mut publisher = TcpStream::connect(&daemon.tcp).unwrap();
    publisher.write_all(QUIET.as_bytes()).unwrap();
    let mut sender = publisher.try_clone().unwrap();
    let sent = thread::spawn(move || (0..SENT_MAX).take_while(|&number| send(&mut sender, number)).count());
    is_held_after(daemon, 0);
    publisher.shutdown(Shutdown::Write).unwrap();
    (reader, sent.join().unwrap())
}

/// Says no once the connection's sending side is shut.
fn send(stream: &mut TcpStream, number: usize) -> bool {
    stream.write_all(publication(number).as_bytes()).is_ok()
}

#[test]
fn sql_and_those_who_publish_to_others_do_not_wait() {
    let folder = harness::folder();
    let daemon = with_little_room(folder.path());
    let (_sleeper, _) = held_publisher(&daemon);
    let mut other = daemon.terminal().hello();
    other.send("SUB elsewhere 1\r\nPUB elsewhere 2\r\nhi\r\nPING\r\n");
    other.expect("MSG elsewhere 1 2\r\nhi\r\nPONG\r\n");
    let mut sql = Terminal::library(&daemon.socket);
    let mut healthy = daemon.terminal().hello();
    healthy.send("SUB flood 1\r\n");
    healthy.barrier();
    // What is left to SQL is the last quarter of max_pending; then the reader is cut off.
    for number in 0.. {
        sql.send(publication(number));
        sql.barrier();
        healthy.message();
        if daemon.varz()["closed"]["slow_pending"] == 1 {
            assert!(number * SIZE >= MIB - 2 * SIZE, "after {number}");
            return;
        }
        assert!(number * SIZE < 4 * MIB, "{}", daemon.varz());
    }
}

#[test]
fn what_a_held_publisher_sent_before_it_hung_up_arrives() {
    let folder = harness::folder();
    let daemon = with_little_room(folder.path());
    let (mut reader, sent) = held_publisher(&daemon);
    reader.hear(sent, || {});
    nothing_is_lost(&daemon);
}

#[test]
fn what_was_read_of_a_held_publisher_is_delivered_before_the_daemon_leaves() {
    let folder = harness::folder();
    let mut daemon = with_little_room(folder.path());
    let (mut reader, sent) = held_publisher(&daemon);
    daemon.child.signal(Signal::SIGTERM);
    reader.hear(sent, || {});
    drop(reader);
    assert!(daemon.child.wait().success());
    daemon.child.says("lost_bytes=0");
}

/// While one takes nothing, those who hear the same go on hearing it, more slowly; in the end it is cut
/// off for taking nothing, and not sooner for what it is owed.
#[test]
fn a_reader_that_takes_nothing_is_cut_off_for_that_only() {
    let folder = harness::folder();
    let settings = "max_pending = \"4MiB\"\nmax_payload = \"64KiB\"\nwrite_deadline = \"2s\"";
    let daemon = Daemon::with_settings(folder.path(), settings);
    let sleeper = Reader::tcp(&daemon.tcp);
    let mut healthy = Reader::tcp(&daemon.tcp);
    let mut publisher = TcpStream::connect(&daemon.tcp).unwrap();
    publisher.write_all(QUIET.as_bytes()).unwrap();
    let mut sender = publisher.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || (0..SENT_MAX).take_while(|&number| send(&mut sender, number)).count());
        is_held_after(&daemon, 0);
        let before = healthy.next;
        // More than the kernel has of it, and less than the last quarter, which is SQL's.
        healthy.hear(before + 9 * MIB / SIZE, || {});
        while daemon.varz()["slow_consumers"] == 0 {
            let before = healthy.next;
            healthy.hear(before + 1, || {});
        }
        let varz = daemon.varz();
        assert_eq!((&varz["closed"]["slow_write"], &varz["closed"]["slow_pending"]), (&1.into(), &0.into()));
        let before = healthy.next;
        healthy.hear(before + 16 * MIB / SIZE, || {});
        publisher.shutdown(Shutdown::Both).unwrap();
    });
    drop(sleeper);
}

#[test]
fn a_queue_group_passes_over_a_member_that_lags() {
    let folder = harness::folder();
    let daemon = with_little_room(folder.path());
    let member = || {
        let mut member = daemon.terminal().hello();
        member.send("SUB flood workers 1\r\n");
        member.barrier();
        member
    };
    let sleeper = member();
    let mut publisher = daemon.terminal().hello();
    let mut number = 0;
    while daemon.varz()["pending_bytes"].as_u64().unwrap() <= 2 << 20 {
        publisher.send(publication(number).repeat(64));
        number += 64;
    }
    let mut awake = member();
    for number in 0..1000 {
        publisher.send(publication(number));
        assert_eq!(awake.message().text(), payload(number));
    }
    drop(sleeper);
}
