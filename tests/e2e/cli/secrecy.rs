//! The command speaks TLS, and says who it is without showing how it proves that.

use super::desk::{Said, interrupt, rowcall, run};
use harness::nats_server::NatsServer;
use harness::{Authority, Child, Daemon};
use std::fs;
use tempfile::TempDir;

/// A daemon with a certificate.
struct Scene {
    daemon: Daemon,
    authority: Authority,
    folder: TempDir,
    /// Where it listens, by the name in its certificate.
    place: String,
    /// The file that says whom to trust.
    trusted: String,
}

impl Scene {
    fn start(settings: &str) -> Scene {
        let (authority, folder) = (Authority::new(), harness::folder());
        let settings = format!("{}{settings}", authority.settings(folder.path()));
        let daemon = Daemon::with_settings(folder.path(), &settings);
        let place = format!("localhost:{}", daemon.tcp.rsplit(':').next().unwrap());
        let trusted = authority.file(folder.path()).to_str().unwrap().to_owned();
        Scene { daemon, authority, folder, place, trusted }
    }

    fn run(&self, server: &str, arguments: &[&str]) -> Said {
        run(&mut rowcall(server, &[&["notify", "a", "hi"], arguments].concat()), b"")
    }
}

#[test]
fn it_talks_within_tls() {
    let scene = Scene::start("");
    let server = format!("tls://{}", scene.place);
    let mut listener = rowcall(&server, &["listen", "a", "--tls-ca", &scene.trusted]);
    let listener = Child::start("listen", &mut listener);
    listener.says("listening");
    scene.run(&server, &["--tls-ca", &scene.trusted]).is(0, "");
    listener.prints("  a  hi");
    interrupt(listener);
    // A worker on several threads, and more than TLS takes at a time, both ways.
    let mut worker = rowcall(&server, &["reply", "echo", "--tls-ca", &scene.trusted, "--", "cat"]);
    let worker = Child::start("reply", &mut worker);
    worker.says("answering");
    let large = "x".repeat(1 << 20);
    for _ in 0..3 {
        let mut ask = rowcall(&server, &["request", "echo", "-", "--tls-ca", &scene.trusted]);
        run(&mut ask, large.as_bytes()).is(0, &large);
    }
    interrupt(worker);
    // What the daemon asks for is done without being insisted on.
    scene.run(&format!("nats://{}", scene.place), &["--tls-ca", &scene.trusted]).is(0, "");
    let varz = scene.daemon.varz();
    assert_eq!((&varz["closed"]["tls"], &varz["closed"]["refused"]), (&0.into(), &0.into()));
}

#[test]
fn it_trusts_nobody_else() {
    let scene = Scene::start("");
    let server = format!("tls://{}", scene.place);
    let stranger = Authority::new().papers(scene.folder.path(), "stranger").certificate;
    let words = ["no TLS with localhost:", "certificate", "--tls-ca"];
    scene.run(&server, &["--tls-ca", stranger.to_str().unwrap()]).fails(5, &words);
    scene.run(&server, &[]).fails(5, &words);
    scene.run(&server, &["--tls-ca", "/no/such/file"]).fails(2, &["--tls-ca /no/such/file", "os error 2"]);
    let none = scene.folder.path().join("rowcalld.toml");
    scene.run(&server, &["--tls-ca", none.to_str().unwrap()]).fails(2, &["there is no certificate in it"]);
    // Insisting on TLS is of no use where there is none, and is not given up.
    let folder = harness::folder();
    let plain = Daemon::start(&folder.path().join("rowcall.sock"));
    let insisting = format!("tls://{}", plain.tcp);
    scene.run(&insisting, &["--tls-ca", &scene.trusted]).fails(5, &["does not speak TLS"]);
    assert_eq!(plain.varz()["in_msgs"], 0);
    assert_eq!(scene.daemon.varz()["in_msgs"], 0);
}

#[test]
fn it_may_begin_with_tls() {
    let scene = Scene::start("tls = \"first\"");
    let server = format!("tls://{}", scene.place);
    scene.run(&server, &["--tls-ca", &scene.trusted, "--tls-first"]).is(0, "");
}

#[test]
fn it_shows_a_certificate() {
    let (theirs, folder) = (Authority::new(), harness::folder());
    let scene = Scene::start(&format!("tls_client_ca = {:?}", theirs.file(folder.path())));
    let server = format!("tls://{}", scene.place);
    let shown = |papers: harness::tls::Papers| {
        let (cert, key) = (papers.certificate.to_str().unwrap(), papers.key.to_str().unwrap());
        scene.run(&server, &["--tls-ca", &scene.trusted, "--tls-cert", cert, "--tls-key", key])
    };
    shown(theirs.papers(folder.path(), "client")).is(0, "");
    shown(scene.authority.papers(folder.path(), "stranger"))
        .fails(5, &["the connection to the daemon broke"]);
    scene.run(&server, &["--tls-ca", &scene.trusted]).fails(5, &["CertificateRequired"]);
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
