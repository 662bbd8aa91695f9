//! The same users over HTTP: who gets in with each request, what they may do there, and that nobody is
//! given what is not allowed.

use super::{User, enter, users_file, write_users};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{Daemon, Http, eventually};
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// A token, and what a file of users holds of it.
const TOKEN: &str = "a long random token";
const DIGEST: &str = "sha256:";

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{password}")))
}

/// With the password that goes with the name.
fn as_user(name: &str) -> String {
    basic(name, &name.repeat(2))
}

/// Ada may say and hear what is the shop's, but for its secrets; Bob works.
fn users() -> String {
    users_file(&[
        User::new(
            "ada",
            "publish = { allow = [\"shop.>\"] }\nsubscribe = { allow = [\"shop.>\"], deny = [\"shop.secret\"] }",
            "",
        ),
        User::new(
            "bob",
            "publish = { allow = [] }\nsubscribe = { allow = [\"ask crew\"] }\nallow_responses = true",
            "",
        ),
        User::new("all", "", ""),
    ])
}

fn daemon() -> (TempDir, Daemon) {
    let folder = harness::folder();
    let daemon =
        Daemon::with_settings(folder.path(), &(write_users(folder.path(), &users()) + super::PATIENT));
    (folder, daemon)
}

fn status(http: &mut Http, line: &str, headers: &str, body: &str) -> u16 {
    http.ask(line, headers, body).status
}

#[test]
fn each_request_says_who_it_is() {
    let (_folder, daemon) = daemon();
    let mut http = daemon.visit();
    let refused = http.ask("POST /publish/shop.a", &basic("ada", "wrong"), "");
    assert_eq!((refused.status, refused.header("WWW-Authenticate").is_some()), (401, true), "{refused:?}");
    assert_eq!(status(&mut http, "POST /publish/shop.a", &as_user("ada"), ""), 200);
    // What the one before has shown is not this one's.
    assert_eq!(status(&mut http, "POST /publish/shop.a", "", ""), 401);
    for wrong in ["Basic !", "Basic YWRh", "Digest x", "Bearer", "Bearer nonsense"] {
        let headers = format!("Authorization: {wrong}\r\n");
        assert_eq!(status(&mut http, "POST /publish/shop.a", &headers, ""), 401, "{wrong}");
    }
    for page in ["/connz", "/subsz"] {
        assert_eq!(status(&mut http, &format!("GET {page}"), "", ""), 401, "{page}");
        assert_eq!(status(&mut http, &format!("GET {page}"), &as_user("ada"), ""), 200, "{page}");
    }
    // On this machine the pages that hold nothing but numbers are open, too.
    for page in ["/healthz", "/readyz", "/varz", "/metrics"] {
        assert_eq!(status(&mut http, &format!("GET {page}"), "", ""), 200, "{page}");
    }
    // A body is not waited for from someone who may not send it; requests in a row are answered in order.
    let mut rude = daemon.visit();
    let body = rude.ask("POST /publish/shop.a", "", "body");
    assert_eq!((body.status, body.header("Connection")), (401, Some("close")));
    let mut ahead = daemon.visit();
    for name in ["ada", "nobody", "ada"] {
        ahead.request("GET /connz", &as_user(name), "");
    }
    assert_eq!([200, 401, 200].map(|_| ahead.answer().status), [200, 401, 200]);
    // Who closes his half meanwhile is answered as well.
    for line in ["GET /connz", "GET /next/shop.a?timeout=10ms"] {
        let mut half = daemon.visit();
        half.request(line, &basic("bob", "wrong"), "");
        half.finish();
        assert_eq!(half.answer().status, 401);
        half.expect_closed();
        let mut half = daemon.visit();
        half.request(line, &as_user("ada"), "");
        half.finish();
        assert!(matches!(half.answer().status, 200 | 204), "{line}");
        half.expect_closed();
    }
}

#[test]
fn tokens_are_bearers() {
    use sha2::Digest;
    let folder = harness::folder();
    let digest: String = sha2::Sha256::digest(TOKEN).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("[[users]]\nname = \"it\"\ntoken = \"{DIGEST}{digest}\"\n");
    let daemon = Daemon::with_settings(folder.path(), &write_users(folder.path(), &text));
    let mut http = daemon.visit();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(status(&mut http, "POST /publish/a", &bearer, ""), 200);
    // However many wrong ones come, the right one is let in.
    let wrong: Vec<u16> = (0..20)
        .map(|_| status(&mut http, "POST /publish/a", "Authorization: Bearer another\r\n", ""))
        .collect();
    assert_eq!((wrong[0], wrong[19]), (401, 429), "{wrong:?}");
    assert_eq!(status(&mut http, "POST /publish/a", &bearer, ""), 200);
}

#[test]
fn what_is_not_allowed_is_neither_said_nor_heard() {
    let (_folder, daemon) = daemon();
    let mut listener = enter(daemon.terminal(), "all");
    listener.send("SUB > 1\r\n");
    listener.barrier();
    let mut ada = daemon.visit();
    for (line, expected) in [
        ("POST /publish/other", 403),
        ("POST /request/other", 403),
        ("GET /next/other", 403),
        ("GET /next/%3E", 403),
        ("GET /next/shop.secret", 403),
        ("GET /events?subject=shop.a&subject=other", 403),
        ("POST /work/other", 403),
        ("POST /publish/shop.a", 200),
    ] {
        assert_eq!(status(&mut ada, line, &as_user("ada"), ""), expected, "{line}");
    }
    listener.expect("MSG shop.a 1 0\r\n\r\n");
    // Wider than what is denied: that is left out, on a stream and as the next message.
    let mut stream = daemon.visit();
    stream.request("GET /events?subject=shop.%3E", &as_user("ada"), "");
    assert_eq!(stream.head().status, 200);
    stream.until(b"\n\n");
    ada.request("GET /next/shop.*", &as_user("ada"), "");
    eventually("two more subscriptions", || (daemon.varz()["subscriptions"] == 3).then_some(()));
    let mut publisher = enter(daemon.terminal(), "all");
    publisher.send("PUB shop.secret 6\r\nsecret\r\nPUB shop.open 4\r\nopen\r\n");
    assert_eq!(ada.answer().text(), "open");
    assert_eq!(stream.until(b"\n\n"), b"data: open\n\n");
    // In a queue group, another member is chosen.
    let mut workers = [daemon.visit(), daemon.visit()];
    workers[0].request("POST /work/shop.secret?queue=q&timeout=50ms", &as_user("ada"), "");
    workers[1].request("POST /work/shop.*?queue=q&timeout=50ms", &as_user("ada"), "");
    assert_eq!(workers[0].answer().status, 403);
    publisher.send("PUB shop.secret 6\r\nsecret\r\n");
    publisher.barrier();
    assert_eq!(workers[1].answer().status, 204);
    let varz = daemon.varz();
    assert_eq!((&varz["forbidden"]["publish"], &varz["forbidden"]["subscribe"]), (&2.into(), &6.into()));
}

#[test]
fn a_worker_may_answer_what_he_was_given_and_nothing_else() {
    let (_folder, daemon) = daemon();
    let mut bob = daemon.visit();
    assert_eq!(status(&mut bob, "POST /publish/ask", &as_user("bob"), ""), 403);
    assert_eq!(status(&mut bob, "POST /work/ask?queue=other", &as_user("bob"), ""), 403);
    bob.request("POST /work/ask?queue=crew", &as_user("bob"), "");
    let mut all = daemon.visit();
    eventually("a worker", || {
        let asked = all.ask("GET /subsz", &as_user("all"), "");
        let subsz: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        (subsz["num_subscriptions"] == 1).then_some(())
    });
    all.request("POST /request/ask", &as_user("all"), "what?");
    let taken = bob.answer();
    let token = taken.header("Rowcall-Token").unwrap().to_owned();
    // It is of use to him to whom it was given only, whatever the others may do.
    let mut other = daemon.visit();
    for name in ["ada", "all"] {
        assert_eq!(status(&mut other, &format!("POST /reply/{token}"), &as_user(name), "no"), 404, "{name}");
    }
    assert_eq!(status(&mut other, &format!("POST /reply/{token}"), &as_user("bob"), "this"), 200);
    assert_eq!(all.answer().text(), "this");
}

/// Over HTTP as over NATS, `max` and `ttl` say so; a refusal does not use the token up.
#[test]
fn how_a_worker_may_answer_is_looked_at_when_he_does() {
    let folder = harness::folder();
    let base = users_file(&[User::new("all", "", ""), User::new("bob", "", "")]);
    let with = |rule: &str| write_users(folder.path(), &format!("{base}allow_responses = {rule}\n"));
    let daemon = Daemon::with_settings(folder.path(), &(with("{ max = 0 }") + super::PATIENT));
    let mut all = enter(daemon.terminal(), "all");
    // Longer than what is remembered of a NATS client's requests: a token needs no such limit.
    let inbox = format!("in.{}", "x".repeat(600));
    all.send(format!("SUB {inbox} 1\r\n"));
    all.barrier();
    let mut bob = daemon.visit();
    bob.request("POST /work/ask", &as_user("bob"), "");
    eventually("a worker", || (daemon.varz()["subscriptions"] == 2).then_some(()));
    all.send(format!("PUB ask {inbox} 5\r\nwhat?\r\n"));
    let reply = format!("POST /reply/{}", bob.answer().header("Rowcall-Token").unwrap());
    let mut answer = |rule: &str| {
        with(rule);
        let before = daemon.child.said().matches("read the configuration again").count();
        daemon.child.signal(Signal::SIGHUP);
        eventually("the files are read", || {
            (daemon.child.said().matches("read the configuration again").count() > before).then_some(())
        });
        status(&mut bob, &reply, &as_user("bob"), "this")
    };
    assert_eq!(answer("{ max = 0 }"), 403);
    assert_eq!(answer("{ ttl = \"1ms\" }"), 403, "by now it is too late");
    assert_eq!(answer("false\npublish = { allow = [] }"), 403);
    assert_eq!(answer("{ max = 1, ttl = \"1h\" }"), 200);
    assert_eq!(answer("{ max = 9, ttl = \"1h\" }"), 404, "a token is good for one answer");
    assert_eq!(all.heard(), "this");
    assert_eq!(daemon.varz()["forbidden"]["publish"], 3);
}

#[test]
fn a_stream_ends_when_its_user_may_no_longer_listen() {
    let (folder, daemon) = daemon();
    let mut streams = [daemon.visit(), daemon.visit()];
    for (stream, name) in streams.iter_mut().zip(["ada", "all"]) {
        stream.request("GET /events?subject=shop.open", &as_user(name), "");
        assert_eq!(stream.head().status, 200);
        stream.until(b"\n\n");
    }
    // Ada goes; all may hear nothing any more.
    let text = std::fs::read_to_string(super::users_path(folder.path())).unwrap();
    let at = text.find("[[users]]\nname = \"all\"").unwrap();
    write_users(folder.path(), &format!("{}subscribe = {{ allow = [] }}\n", &text[at..]));
    daemon.child.signal(Signal::SIGHUP);
    daemon.child.says("read the configuration again");
    streams.iter_mut().for_each(Http::expect_closed);
    let mut again = daemon.visit();
    assert_eq!(status(&mut again, "GET /events?subject=shop.open", &as_user("ada"), ""), 401);
    assert_eq!(status(&mut again, "GET /events?subject=shop.open", &as_user("all"), ""), 403);
}

#[test]
fn whoever_guesses_has_to_wait() {
    let (_folder, daemon) = daemon();
    let mut http = daemon.visit();
    let guesses: Vec<u16> =
        (0..20).map(|_| status(&mut http, "GET /connz", &basic("ada", "guess"), "")).collect();
    assert_eq!(guesses[0], 401, "{guesses:?}");
    assert_eq!(guesses[19], 429, "{guesses:?}");
    let late = http.ask("GET /connz", &basic("all", "guess"), "");
    assert!(late.header("Retry-After").is_some(), "{late:?}");
}
