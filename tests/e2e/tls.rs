//! TLS on the NATS port: who speaks it and when, what is refused, and that nothing else changes by it. That
//! the whole protocol is the same within TLS, protocol.rs shows; what the files may be, tls/papers.rs.

mod clients;
mod https;
mod papers;

use harness::nats_server::NatsServer;
use harness::tls::VERSIONS;
use harness::{Authority, Daemon, PATIENCE, Terminal, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use tempfile::TempDir;

/// What those are told who speak in clear text.
const REQUIRED: &str = "-ERR 'Secure Connection - TLS Required'\r\n";

/// A record with the beginning of a handshake, and nothing that makes sense in it.
const NO_HELLO: [u8; 13] = [0x16, 3, 1, 0, 8, 1, 0, 0, 4, b'n', b'o', b'p', b'e'];

/// A daemon with a certificate, and the authority that has signed it.
pub struct Scene {
    pub authority: Authority,
    pub daemon: Daemon,
    pub folder: TempDir,
}

impl Scene {
    pub fn start(settings: &str) -> Scene {
        let (authority, folder) = (Authority::new(), harness::folder());
        let settings = format!("{}{settings}", authority.settings(folder.path()));
        let daemon = Daemon::with_settings(folder.path(), &settings);
        Scene { authority, daemon, folder }
    }

    fn terminal(&self) -> Terminal {
        self.authority.terminal(&self.daemon.tcp)
    }

    /// Waits until so many connections have ended for this reason.
    fn ended(&self, reason: &str, count: u64) {
        eventually(reason, || (self.daemon.varz()["closed"][reason] == count).then_some(()));
    }
}

/// The greeting of whoever listens there, and the connection.
fn greeted(address: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut info = Vec::new();
    while !info.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        info.extend(byte);
    }
    (String::from_utf8(info).unwrap(), stream)
}

/// Everything up to the end.
fn the_rest(mut stream: TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

/// Which of the keys about TLS an INFO has.
fn offers(info: &str) -> [bool; 3] {
    ["\"tls_required\":true", "\"tls_verify\":true", "\"tls_available\":true"].map(|key| info.contains(key))
}

#[test]
fn both_versions_are_spoken_and_the_socket_does_without() {
    let scene = Scene::start("");
    for versions in &VERSIONS {
        let mut it = scene.authority.speaker().versions(versions).terminal(&scene.daemon.tcp).hello();
        it.send("SUB a 1\r\nPUB a 2\r\nhi\r\n");
        it.expect("MSG a 1 2\r\nhi\r\n");
        it.barrier();
        it.finish();
        it.expect_closed();
    }
    let mut local = Terminal::unix(&scene.daemon.socket);
    assert_eq!(offers(&local.info), [false; 3]);
    local = local.hello();
    local.barrier();
    // A connection that ended well has not failed.
    scene.ended("client_closed", 2);
    assert_eq!(scene.daemon.varz()["closed"]["tls"], 0);
    assert_eq!(scene.daemon.varz()["lost_bytes"], 0);
}

#[test]
fn bytes_may_come_one_by_one() {
    let scene = Scene::start("");
    for versions in &VERSIONS {
        let speaker = scene.authority.speaker().versions(versions).dribbling();
        let mut it = speaker.terminal(&scene.daemon.tcp).hello();
        it.send("SUB a 1\r\nPUB a 5\r\nhello\r\nHPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        it.expect("MSG a 1 5\r\nhello\r\nHMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        it.barrier();
    }
}

#[test]
fn large_messages_go_both_ways() {
    let scene = Scene::start("max_payload = \"1MiB\"");
    let mut publisher = scene.terminal().hello();
    let mut subscriber = scene.terminal().hello();
    subscriber.send("SUB large 1\r\n");
    subscriber.barrier();
    // Nobody waits for anybody: the daemon's sockets fill in both directions.
    let payload = |n: usize| {
        let bytes = (0..1usize << 20).map(|at| b'a' + ((at * 7 + at / 251 + n) % 26) as u8);
        String::from_utf8(bytes.collect()).unwrap()
    };
    let sending = std::thread::spawn(move || {
        for n in 0..20 {
            publisher.send(format!("PUB large {}\r\n{}\r\n", 1 << 20, payload(n)));
        }
        publisher.barrier();
    });
    for n in 0..20 {
        let message = subscriber.message();
        assert!(message.text() == payload(n), "message {n}");
    }
    sending.join().unwrap();
    subscriber.barrier();
    let varz = scene.daemon.varz();
    assert_eq!((&varz["out_msgs"], &varz["lost_bytes"]), (&20.into(), &0.into()));
}

#[test]
fn clear_text_is_refused() {
    let scene = Scene::start("");
    for said in ["CONNECT {}\r\nPING\r\n", "P", "\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        let (info, mut stream) = greeted(&scene.daemon.tcp);
        assert_eq!(offers(&info), [true, false, false]);
        stream.write_all(said.as_bytes()).unwrap();
        assert_eq!(String::from_utf8_lossy(&the_rest(stream)), REQUIRED);
    }
    scene.ended("refused", 4);
    scene.daemon.child.says("reason=refused: Secure Connection - TLS Required");
    // Nothing of it was done.
    assert_eq!(scene.daemon.varz()["in_msgs"], 0);
}

#[test]
fn who_takes_too_long_is_sent_away() {
    let scene = Scene::start("tls_timeout = \"200ms\"");
    // One says nothing; one begins; one makes it, and has all the time in the world.
    let mut done = scene.terminal().hello();
    let (_, silent) = greeted(&scene.daemon.tcp);
    let (_, mut slow) = greeted(&scene.daemon.tcp);
    slow.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
    assert_eq!(String::from_utf8_lossy(&the_rest(silent)), REQUIRED);
    assert_eq!(the_rest(slow), b"");
    scene.ended("tls", 1);
    scene.ended("refused", 1);
    scene.daemon.child.says("why=the handshake was not done within tls_timeout");
    done.barrier();
}

#[test]
fn who_speaks_nonsense_is_told_by_an_alert() {
    let scene = Scene::start("");
    let (_, mut stream) = greeted(&scene.daemon.tcp);
    stream.write_all(&NO_HELLO).unwrap();
    let rest = the_rest(stream);
    assert_eq!(rest.first(), Some(&0x15), "{rest:?}");
    scene.ended("tls", 1);
    // In the midst of a conversation, too; what came before it was done.
    let mut listener = Terminal::unix(&scene.daemon.socket).hello();
    listener.send("SUB a 1\r\n");
    listener.barrier();
    let (_, stream) = greeted(&scene.daemon.tcp);
    let mut secret = scene.authority.speaker().upgrade(stream);
    secret.write_all(b"CONNECT {}\r\nPUB a 2\r\nhi\r\n").unwrap();
    secret.flush().unwrap();
    let (mut socket, _) = secret.parts();
    socket.write_all(b"PUB a 2\r\nhi\r\n").unwrap();
    listener.expect("MSG a 1 2\r\nhi\r\n");
    scene.ended("tls", 2);
    listener.barrier();
    assert_eq!(scene.daemon.varz()["in_msgs"], 1);
}

#[test]
fn who_may_choose_chooses_by_the_first_byte() {
    let scene = Scene::start("tls = \"optional\"\ntls_timeout = \"200ms\"");
    let mut plain = scene.daemon.terminal();
    let mut secret = scene.terminal();
    for it in [&plain, &secret] {
        assert_eq!(offers(&it.info), [false, false, true]);
    }
    // Who says nothing for long goes on in clear text.
    let mut silent = scene.daemon.terminal();
    plain = plain.hello();
    secret = secret.hello();
    plain.send("SUB a 1\r\n");
    plain.barrier();
    secret.send("SUB a 1\r\nPUB a 2\r\nhi\r\n");
    secret.expect("MSG a 1 2\r\nhi\r\n");
    plain.expect("MSG a 1 2\r\nhi\r\n");
    // A handshake that is begun must be finished here as well: that tells that the time is over.
    let (_, mut slow) = greeted(&scene.daemon.tcp);
    slow.write_all(&[0x16]).unwrap();
    assert_eq!(the_rest(slow), b"");
    silent = silent.hello();
    silent.barrier();
    scene.ended("tls", 1);
}

#[test]
fn who_must_begin_with_tls_is_greeted_inside() {
    let scene = Scene::start("tls = \"first\"\ntls_timeout = \"500ms\"");
    let mut it = scene.authority.speaker().terminal_first(&scene.daemon.tcp);
    assert_eq!(offers(&it.info), [true, false, false]);
    it = it.hello();
    it.barrier();
    // Who waits for a greeting in clear text learns at last why there is none.
    let stream = TcpStream::connect(&scene.daemon.tcp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(String::from_utf8_lossy(&the_rest(stream)), REQUIRED);
    it.barrier();
}

#[test]
fn clients_show_certificates_where_they_must() {
    let (theirs, strangers, folder) = (Authority::new(), Authority::new(), harness::folder());
    let scene = Scene::start(&format!("tls_client_ca = {:?}", theirs.file(folder.path())));
    for (n, versions) in VERSIONS.iter().enumerate() {
        let speaker = || scene.authority.speaker().versions(versions);
        let mut known = speaker().signed_by(&theirs).terminal(&scene.daemon.tcp);
        assert_eq!(offers(&known.info), [true, true, false]);
        known = known.hello();
        known.barrier();
        for speaker in [speaker(), speaker().signed_by(&strangers)] {
            let (_, stream) = greeted(&scene.daemon.tcp);
            let mut secret = speaker.upgrade(stream);
            // With TLS 1.3 the client learns of it only after it has finished.
            let refused = secret
                .write_all(b"CONNECT {}\r\nPUB a 0\r\n\r\n")
                .and_then(|()| secret.read_to_end(&mut Vec::new()));
            assert!(refused.is_err(), "{refused:?}");
        }
        scene.ended("tls", 2 * (n as u64 + 1));
    }
    assert_eq!(scene.daemon.varz()["in_msgs"], 0);
}

#[test]
fn who_reads_too_slowly_is_cut_off_and_counted() {
    const PAYLOAD: usize = 16 << 10;
    let scene = Scene::start("max_pending = \"4MiB\"\nwrite_deadline = \"10m\"");
    let (_, stream) = greeted(&scene.daemon.tcp);
    let mut sleeper = scene.authority.speaker().upgrade(stream);
    sleeper
        .write_all(b"CONNECT {\"verbose\":false,\"name\":\"sleeper\"}\r\nSUB flood 1\r\nPING\r\n")
        .unwrap();
    let mut pong = [0; 6];
    sleeper.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"PONG\r\n");
    let mut healthy = scene.terminal().hello();
    healthy.send("SUB flood 1\r\n");
    healthy.barrier();
    let mut publisher = Terminal::library(&scene.daemon.socket);
    let payload = "x".repeat(PAYLOAD);
    for n in 0.. {
        assert!(n < 10_000, "not cut off: {}", scene.daemon.varz());
        publisher.send(format!("PUB flood {PAYLOAD}\r\n{payload}\r\n"));
        healthy.expect(format!("MSG flood 1 {PAYLOAD}\r\n{payload}\r\n"));
        if n % 64 == 0 && scene.daemon.varz()["closed"]["slow_pending"] == 1 {
            break;
        }
    }
    // What TLS held is among what was lost.
    let lost = scene.daemon.varz()["lost_bytes"].as_u64().unwrap();
    assert!((4 << 20..(4 << 20) + 2 * PAYLOAD as u64).contains(&lost), "{lost}");
    scene.daemon.child.says("slow consumer: owed more than max_pending");
}

#[test]
fn leaving_says_goodbye_within_tls() {
    let mut scene = Scene::start("");
    let mut it = scene.terminal().hello();
    it.send("SUB a 1\r\nPUB a 2\r\nhi\r\n");
    it.expect("MSG a 1 2\r\nhi\r\n");
    // One who has not shaken hands yet holds nobody up.
    let (_, mut unfinished) = greeted(&scene.daemon.tcp);
    unfinished.write_all(&[0x16, 3, 1]).unwrap();
    let stopping = std::thread::spawn(move || {
        scene.daemon.stop();
        scene
    });
    let info = it.line();
    assert!(info.contains("\"ldm\":true") && offers(&info) == [true, false, false], "{info}");
    it.expect_closed();
    drop(it);
    drop(unfinished);
    let scene = stopping.join().unwrap();
    assert!(scene.daemon.child.said().contains("lost_bytes=0"), "{}", scene.daemon.child.said());
}

/// A password takes a while to check; what was said behind it, and that no more will come, is kept
/// meanwhile.
#[test]
fn who_logs_in_and_hangs_up_at_once_is_heard() {
    let folder = harness::folder();
    let users = folder.path().join("users.toml");
    let hash = bcrypt::hash("adaada", 8).unwrap();
    std::fs::write(&users, format!("[[users]]\nname = \"ada\"\npassword = \"{hash}\"\n")).unwrap();
    let scene = Scene::start(&format!("users = {users:?}"));
    let mut listener = Terminal::unix(&scene.daemon.socket).hello();
    listener.send("SUB a 1\r\n");
    listener.barrier();
    let connect = "CONNECT {\"verbose\":false,\"user\":\"ada\",\"pass\":\"adaada\"}\r\n";
    let mut hasty = scene.terminal();
    assert!(hasty.info.contains("\"auth_required\":true"), "{}", hasty.info);
    hasty.send(format!("{connect}PUB a 2\r\nhi\r\nPING\r\n"));
    hasty.finish();
    hasty.expect("PONG\r\n");
    hasty.expect_closed();
    listener.expect("MSG a 1 2\r\nhi\r\n");
    let mut stranger = scene.terminal();
    stranger.send("PING\r\n");
    stranger.expect("-ERR 'Authorization Violation'\r\n");
    stranger.expect_closed();
}

/// What the reference does with the same bytes.
#[test]
fn the_reference_agrees() {
    let (authority, folder) = (Authority::new(), harness::folder());
    let (ca, papers) = (authority.file(folder.path()), authority.papers(folder.path(), "reference"));
    let theirs = |more: &str| {
        let (cert, key) = (papers.certificate.display(), papers.key.display());
        NatsServer::start(&format!(
            "tls {{ cert_file: {cert:?}, key_file: {key:?}, timeout: 60, ca_file: {ca:?} {more} }}"
        ))
    };
    for (ours, reference) in
        [(String::new(), theirs("")), (format!("tls_client_ca = {ca:?}\n"), theirs(", verify: true"))]
    {
        let settings = format!("{}{ours}", authority.settings(folder.path()));
        let daemon = Daemon::with_settings(folder.path(), &settings);
        let infos = [&reference.tcp, &daemon.tcp].map(|address| {
            let mut it = authority.speaker().signed_by(&authority).terminal(address);
            let info = it.info.clone();
            it = it.hello();
            // Half-closed within TLS: the answers still come, and then the end.
            it.send("SUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n");
            it.finish();
            it.expect("MSG a 1 2\r\nhi\r\nPONG\r\n");
            it.expect_closed();
            // An error is said within TLS, and the conversation closed.
            let mut it = authority.speaker().signed_by(&authority).terminal(address).hello();
            it.send("BOGUS\r\n");
            it.expect("-ERR 'Unknown Protocol Operation'\r\n");
            it.expect_closed();
            // A handshake that is none gets an alert.
            let (_, mut stream) = greeted(address);
            stream.write_all(&NO_HELLO).unwrap();
            assert_eq!(the_rest(stream).first(), Some(&0x15));
            offers(&info)
        });
        assert_eq!(infos[0], infos[1]);
        // Clear text gets an answer here, and none there.
        let (_, mut stream) = greeted(&reference.tcp);
        stream.write_all(b"PING\r\n").unwrap();
        assert_eq!(the_rest(stream), b"");
    }
}
