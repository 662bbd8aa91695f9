//! The files that TLS needs: what is wrong with them is said at start, and they can be read anew.

use super::Scene;
use harness::{Authority, Child, Daemon, Terminal};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// It does not start with these settings, and says so in these words.
fn refused(folder: &Path, settings: &str, words: &[&str]) {
    let config = folder.join("rowcalld.toml");
    fs::write(&config, settings).unwrap();
    let output = Daemon::command().arg("--config").arg(&config).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{settings}: {said}");
    for word in words {
        assert!(said.contains(word), "{settings}: {word:?} is not in {said:?}");
    }
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn what_is_wrong_with_the_files_is_said_at_start() {
    let (authority, folder) = (Authority::new(), harness::folder());
    let here = folder.path();
    let (papers, others) = (authority.papers(here, "server"), authority.papers(here, "other"));
    let (cert, key) = (papers.certificate.to_str().unwrap(), papers.key.to_str().unwrap());
    let other = others.key.to_str().unwrap();
    let file = |name: &str, text: &str| {
        let path = here.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let empty = file("empty", "no PEM at all\n");
    let locked =
        file("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let torn = file("torn", "-----BEGIN PRIVATE KEY-----\nsecret!\n-----END PRIVATE KEY-----\n");
    let hollow = file("hollow", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let with = |cert: &str, key: &str| format!("tls_cert = {cert:?}\ntls_key = {key:?}\n");
    for (settings, words) in [
        (format!("tls_cert = {cert:?}"), &["tls_cert = ", cert, "has no tls_key beside it"][..]),
        (format!("tls_key = {key:?}"), &["tls_key = ", key, "has no tls_cert beside it"]),
        (format!("tls_client_ca = {cert:?}"), &["tls_client_ca", "only with tls_cert"]),
        ("http_tls = true".into(), &["http_tls = true needs a certificate"]),
        (with(cert, key) + "http_tls = true\ntls = \"none\"", &["http_tls = true is of no use"]),
        (with("/no/such/file", key), &["tls_cert = \"/no/such/file\": cannot read it", "os error 2"]),
        (with(cert, "/no/such/file"), &["tls_key = \"/no/such/file\": cannot read it", "os error 2"]),
        (with(&empty, key), &["tls_cert = ", &empty, "there is no certificate in it"]),
        (with(key, key), &["tls_cert = ", key, "there is no certificate in it"]),
        (with(cert, &empty), &["tls_key = ", &empty, "there is no private key in it"]),
        (with(cert, cert), &["tls_key = ", cert, "there is no private key in it"]),
        (with(cert, &locked), &["tls_key = ", &locked, "is encrypted"]),
        (with(cert, &torn), &["tls_key = ", &torn, "it is no PEM"]),
        (with(cert, &hollow), &["tls_key = ", &hollow]),
        (with(cert, other), &["tls_key = ", other, "does not belong to the first certificate in", cert]),
        (with(cert, key) + "tls = \"always\"", &["line 3", "none, optional, required or first", "always"]),
        (with(cert, key) + "tls_timeout = \"0s\"", &["line 3", "a time such as"]),
        (
            with(cert, key) + &format!("tls_client_ca = {empty:?}"),
            &["tls_client_ca = ", "no certificate in it"],
        ),
        (with("server.pem", key), &["line 1", "expected an absolute path"]),
    ] {
        refused(here, &settings, words);
    }
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    let (authority, folder) = (Authority::new(), harness::folder());
    let papers = authority.papers(folder.path(), "server");
    let config = folder.path().join("rowcalld.toml");
    fs::write(&config, format!("tls_cert = {:?}\ntls_key = {:?}\n", papers.certificate, papers.key)).unwrap();
    for (mode, warned) in [(0o644, true), (0o640, false)] {
        fs::set_permissions(&papers.key, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Daemon::command();
        command.arg("--socket").arg(folder.path().join("rowcall.sock")).arg("--config").arg(&config);
        command.args(["--listen", "127.0.0.1:0", "--http", "none"]);
        let child = Child::start("rowcalld", &mut command);
        child.says("listening transport=\"nats\"");
        let said = child.said();
        assert_eq!(said.contains("everybody on this machine may read the private key"), warned, "{said}");
    }
}

#[test]
fn certificates_are_read_anew_and_bad_ones_change_nothing() {
    let scene = Scene::start("");
    let mut old = scene.terminal().hello();
    let later = Authority::new();
    later.papers(scene.folder.path(), "server");
    // Nobody sees the new one before it is read.
    scene.terminal().hello();
    scene.daemon.child.signal(Signal::SIGHUP);
    scene.daemon.child.says("read the configuration again");
    later.terminal(&scene.daemon.tcp).hello();
    let (_, stream) = super::greeted(&scene.daemon.tcp);
    let mut wary = scene.authority.speaker().upgrade(stream);
    let error = std::io::Write::write_all(&mut wary, b"PING\r\n").unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    fs::write(scene.folder.path().join("server.key"), "torn").unwrap();
    scene.daemon.child.signal(Signal::SIGHUP);
    let line = scene.daemon.child.says("nothing is changed");
    assert!(line.contains("ERROR") && line.contains("there is no private key in it"), "{line}");
    later.terminal(&scene.daemon.tcp).hello();
    // Who was there before has noticed nothing.
    old.barrier();
}

#[test]
fn none_is_none_whatever_is_named() {
    let (authority, folder) = (Authority::new(), harness::folder());
    let settings = format!("{}tls = \"none\"\n", authority.settings(folder.path()));
    let daemon = Daemon::with_settings(folder.path(), &settings);
    for terminal in [daemon.terminal(), Terminal::unix(&daemon.socket)] {
        assert!(!terminal.info.contains("tls"), "{}", terminal.info);
        terminal.hello().barrier();
    }
}
