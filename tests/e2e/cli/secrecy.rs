//! The command speaks TLS, and says who it is without showing how it proves that.

use super::desk::{Said, interrupt, rowcall, run};
use crate::tls::Scene;
use harness::nats_server::NatsServer;
use harness::{Authority, Child, Daemon};
use std::fs;

/// A daemon with a certificate, and someone at the command line.
struct Desk {
    scene: Scene,
    /// Where the daemon listens, by the name in its certificate.
    place: String,
    /// The file that says whom to trust.
    trusted: String,
}

impl Desk {
    fn start(settings: &str) -> Desk {
        let scene = Scene::start(settings);
        let place = format!("localhost:{}", scene.daemon.tcp.rsplit(':').next().unwrap());
        let trusted = scene.authority.file(scene.folder.path()).to_str().unwrap().to_owned();
        Desk { scene, place, trusted }
    }

    fn run(&self, server: &str, arguments: &[&str]) -> Said {
        run(&mut rowcall(server, &[&["notify", "a", "hi"], arguments].concat()), b"")
    }
}

#[test]
fn it_talks_within_tls() {
    let desk = Desk::start("");
    let server = format!("tls://{}", desk.place);
    let mut listener = rowcall(&server, &["listen", "a", "--tls-ca", &desk.trusted]);
    let listener = Child::start("listen", &mut listener);
    listener.says("listening");
    desk.run(&server, &["--tls-ca", &desk.trusted]).is(0, "");
    listener.prints("  a  hi");
    interrupt(listener);
    // A worker on several threads, and more than TLS takes at a time, both ways.
    let mut worker = rowcall(&server, &["reply", "echo", "--tls-ca", &desk.trusted, "--", "cat"]);
    let worker = Child::start("reply", &mut worker);
    worker.says("answering");
    let large = "x".repeat(1 << 20);
    for _ in 0..3 {
        let mut ask = rowcall(&server, &["request", "echo", "-", "--tls-ca", &desk.trusted]);
        run(&mut ask, large.as_bytes()).is(0, &large);
    }
    interrupt(worker);
    // What the daemon asks for is done without being insisted on.
    desk.run(&format!("nats://{}", desk.place), &["--tls-ca", &desk.trusted]).is(0, "");
    let varz = desk.scene.daemon.varz();
    assert_eq!((&varz["closed"]["tls"], &varz["closed"]["refused"]), (&0.into(), &0.into()));
}

#[test]
fn it_trusts_nobody_else() {
    let desk = Desk::start("");
    let server = format!("tls://{}", desk.place);
    let stranger = Authority::new().papers(desk.scene.folder.path(), "stranger").certificate;
    let words = ["no TLS with localhost:", "certificate", "--tls-ca"];
    desk.run(&server, &["--tls-ca", stranger.to_str().unwrap()]).fails(5, &words);
    desk.run(&server, &[]).fails(5, &words);
    desk.run(&server, &["--tls-ca", "/no/such/file"]).fails(2, &["--tls-ca /no/such/file", "os error 2"]);
    let none = desk.scene.folder.path().join("rowcalld.toml");
    desk.run(&server, &["--tls-ca", none.to_str().unwrap()]).fails(2, &["there is no certificate in it"]);
    // Insisting on TLS is of no use where there is none, and is not given up.
    let folder = harness::folder();
    let plain = Daemon::start(&folder.path().join("rowcall.sock"));
    let insisting = format!("tls://{}", plain.tcp);
    desk.run(&insisting, &["--tls-ca", &desk.trusted]).fails(5, &["does not speak TLS"]);
    assert_eq!(plain.varz()["in_msgs"], 0);
    assert_eq!(desk.scene.daemon.varz()["in_msgs"], 0);
}

#[test]
fn it_may_begin_with_tls() {
    let desk = Desk::start("tls = \"first\"");
    let server = format!("tls://{}", desk.place);
    desk.run(&server, &["--tls-ca", &desk.trusted, "--tls-first"]).is(0, "");
}

#[test]
fn it_shows_a_certificate() {
    let (theirs, folder) = (Authority::new(), harness::folder());
    let desk = Desk::start(&format!("tls_client_ca = {:?}", theirs.file(folder.path())));
    let server = format!("tls://{}", desk.place);
    let shown = |papers: harness::tls::Papers| {
        let (cert, key) = (papers.certificate.to_str().unwrap(), papers.key.to_str().unwrap());
        desk.run(&server, &["--tls-ca", &desk.trusted, "--tls-cert", cert, "--tls-key", key])
    };
    shown(theirs.papers(folder.path(), "client")).is(0, "");
    shown(desk.scene.authority.papers(folder.path(), "stranger"))
        .fails(5, &["the connection to the daemon broke"]);
    desk.run(&server, &["--tls-ca", &desk.trusted]).fails(5, &["CertificateRequired"]);
}

/// Against nats-server, which knows whom to let in.
#[test]
fn it_says_who_it_is_and_shows_no_secret() {
    let folder = harness::folder();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right", "s3cret\n"), file("wrong", "guess\n"));
    let notify = |server: &str| rowcall(server, &["notify", "a", "hi"]);
    let users = NatsServer::start("authorization { user: ada, password: s3cret }");
    run(notify(&users.tcp).args(["--user", "ada", "--password-file", &right]), b"").is(0, "");
    run(notify(&users.tcp).args(["--user", "ada"]).env("ROWCALL_PASSWORD", "s3cret"), b"").is(0, "");
    run(notify(&users.tcp).env("ROWCALL_USER", "ada").env("ROWCALL_PASSWORD", "s3cret"), b"").is(0, "");
    run(&mut notify(&format!("nats://ada:s3cret@{}", users.tcp)), b"").is(0, "");
    let refused = "the daemon refused: Authorization Violation";
    let said = run(notify(&users.tcp).args(["--user", "ada", "--password-file", &wrong]), b"");
    said.fails(5, &[refused]);
    assert!(!said.err.contains("guess"), "{said:?}");
    run(&mut notify(&users.tcp), b"").fails(5, &[refused]);
    run(notify(&users.tcp).args(["--user", "ada"]), b"").fails(2, &["--password-file", "ROWCALL_PASSWORD"]);
    run(notify(&users.tcp).args(["--password-file", &right]), b"").fails(2, &["--user"]);
    let tokens = NatsServer::start("authorization { token: s3cret }");
    run(notify(&tokens.tcp).args(["--token-file", &right]), b"").is(0, "");
    run(notify(&tokens.tcp).env("ROWCALL_TOKEN", "s3cret"), b"").is(0, "");
    run(notify(&tokens.tcp).args(["--token-file", &wrong]), b"").fails(5, &[refused]);
    run(notify(&tokens.tcp).args(["--token-file", "/no/such"]), b"").fails(2, &["--token-file /no/such"]);
}
