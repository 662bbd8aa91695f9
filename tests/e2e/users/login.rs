//! Who gets in: passwords, tokens, keys; the words of a refusal; too late, too often.

use super::{User, connect, enter, everywhere, hash, users_file, write_users};
use harness::nats_server::NatsServer;
use harness::process::nanoseconds;
use harness::{Authority, Daemon, Terminal, eventually};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";
const TIMEOUT: &str = "-ERR 'Authentication Timeout'\r\n";

fn alice() -> [User; 1] {
    [User::new("alice", "", "")]
}

/// A daemon with this file of users, and settings beside it.
fn daemon(folder: &tempfile::TempDir, users: &str, settings: &str) -> Daemon {
    Daemon::with_settings(folder.path(), &(write_users(folder.path(), users) + settings))
}

fn info(terminal: &Terminal) -> Value {
    serde_json::from_str(terminal.info.strip_prefix("INFO ").unwrap()).unwrap()
}

fn turned_away(mut terminal: Terminal, says: &str, words: &str) {
    terminal.send(says);
    terminal.expect(words);
    terminal.expect_closed();
}

#[test]
fn the_right_password_lets_in_and_nothing_else_does() {
    everywhere(&alice(), |open| {
        assert_eq!(info(&open())["auth_required"], true);
        let mut it = open();
        // What comes behind it is done once it is known who it is, as if nothing had happened.
        it.send(connect("alice") + "PING\r\nSUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n");
        it.expect("PONG\r\nMSG a 1 2\r\nhi\r\nPONG\r\n");
        let mut verbose = open();
        verbose.send("CONNECT {\"user\":\"alice\",\"pass\":\"alicealice\"}\r\nPING\r\n");
        verbose.expect("+OK\r\nPONG\r\n");
        for wrong in [
            "{}",
            "{\"user\":\"alice\"}",
            "{\"user\":\"alice\",\"pass\":\"\"}",
            "{\"user\":\"alice\",\"pass\":\"alicealicE\"}",
            "{\"user\":\"nobody\",\"pass\":\"alicealice\"}",
            "{\"user\":\"\",\"pass\":\"alicealice\"}",
            "{\"pass\":\"alicealice\"}",
            "{\"auth_token\":\"alicealice\"}",
            "{\"nkey\":\"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4\",\"sig\":\"AA\"}",
            // Who it is counts before what it wants.
            "{\"user\":\"alice\",\"pass\":\"no\",\"protocol\":7}",
        ] {
            // The words arrive although the client has sent more meanwhile.
            turned_away(
                open(),
                &format!("CONNECT {wrong}\r\nPING\r\nSUB a 1\r\nPUB a 2\r\nhi\r\n"),
                VIOLATION,
            );
        }
        let right = "CONNECT {\"user\":\"alice\",\"pass\":\"alicealice\",\"protocol\":7}\r\n";
        turned_away(open(), right, "-ERR 'invalid client protocol'\r\n");
    });
}

#[test]
fn connect_comes_first() {
    everywhere(&alice(), |open| {
        for other in ["PING\r\n", "SUB a 1\r\n", "PUB a 1\r\nx\r\n", "\r\n", "x", "+OK\r\n"] {
            turned_away(open(), other, VIOLATION);
        }
        turned_away(open(), "CPING\r\n", "-ERR 'Unknown Protocol Operation'\r\n");
        let mut nonsense = open();
        nonsense.send("CONNECT nonsense\r\n");
        nonsense.expect_closed();
    });
}

#[test]
fn a_second_connect() {
    everywhere(&alice(), |open| {
        let mut it = enter(open(), "alice");
        it.send("CONNECT {\"verbose\":true}\r\nSUB a 1\r\n");
        it.expect("+OK\r\n+OK\r\n");
        it.send(connect("alice"));
        it.barrier();
        turned_away(it, "CONNECT {\"user\":\"alice\",\"pass\":\"wrong\"}\r\nPING\r\n", VIOLATION);
    });
}

#[test]
fn who_says_nothing_is_told_that_it_is_too_late() {
    let folder = harness::folder();
    let daemon = daemon(&folder, &users_file(&alice()), "auth_timeout = \"500ms\"\n");
    let mut silent = daemon.terminal();
    silent.expect(TIMEOUT);
    silent.expect_closed();
    // Half a line is as good as nothing; who has logged in may be silent.
    let mut stays = enter(daemon.terminal(), "alice");
    turned_away(daemon.terminal(), "CONNECT {\"user\":", TIMEOUT);
    stays.barrier();
    assert_eq!(daemon.varz()["auth_timeouts"], 2);
    // The reference's words; its time cannot be set below a second.
    let reference = NatsServer::start("authorization { user: a, password: b, timeout: 1 }");
    let mut silent = reference.terminal();
    silent.expect(TIMEOUT);
    silent.expect_closed();
}

#[test]
fn tokens() {
    let folder = harness::folder();
    let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let daemon =
        daemon(&folder, &format!("[[users]]\nname = \"bot\"\ntoken = \"{digest}\"\n"), super::PATIENT);
    let reference = NatsServer::start("authorization { token: test }");
    for open in [&(|| reference.terminal()) as &dyn Fn() -> Terminal, &|| daemon.terminal()] {
        assert!(info(&open()).get("nonce").is_none());
        let mut it = open();
        it.send("CONNECT {\"verbose\":false,\"auth_token\":\"test\"}\r\n");
        it.barrier();
        for wrong in ["{}", "{\"auth_token\":\"tesT\"}", "{\"auth_token\":\"\"}", "{\"pass\":\"test\"}"] {
            turned_away(open(), &format!("CONNECT {wrong}\r\n"), VIOLATION);
        }
    }
    // What stands in the file lets nobody in.
    turned_away(daemon.terminal(), &format!("CONNECT {{\"auth_token\":\"{digest}\"}}\r\n"), VIOLATION);
    turned_away(daemon.terminal(), "CONNECT {\"user\":\"bot\",\"pass\":\"test\"}\r\n", VIOLATION);
}

#[test]
fn keys() {
    let (pair, other) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let key = pair.public_key();
    let folder = harness::folder();
    let daemon =
        daemon(&folder, &format!("[[users]]\nname = \"service\"\nnkey = \"{key}\"\n"), super::PATIENT);
    let reference = NatsServer::start(&format!("authorization {{ users = [ {{ nkey: {key} }} ] }}"));
    for open in [&(|| reference.terminal()) as &dyn Fn() -> Terminal, &|| daemon.terminal()] {
        let nonce = |terminal: &Terminal| info(terminal)["nonce"].as_str().unwrap().to_owned();
        let (mut it, second) = (open(), open());
        assert_eq!(nonce(&it).len(), 15);
        assert_ne!(nonce(&it), nonce(&second), "each connection has its own");
        let signed = |by: &nkeys::KeyPair, nonce: &str| url_base64(&by.sign(nonce.as_bytes()).unwrap());
        let connect = |key: &str, sig: &str| {
            format!("CONNECT {{\"verbose\":false,\"nkey\":\"{key}\",\"sig\":\"{sig}\"}}\r\n")
        };
        let good = connect(&key, &signed(&pair, &nonce(&it)));
        it.send(&good);
        it.barrier();
        // A recording of it, someone else's signature, someone else's key, none.
        turned_away(second, &good, VIOLATION);
        for (public, by) in [(&key, &other), (&other.public_key(), &other)] {
            let it = open();
            let sig = signed(by, &nonce(&it));
            turned_away(it, &connect(public, &sig), VIOLATION);
        }
        turned_away(open(), &connect(&key, ""), VIOLATION);
        turned_away(open(), &connect(&key, "!!!"), VIOLATION);
    }
}

fn url_base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Passwords are checked beside the loop: while one takes its time, everyone else is served.
#[test]
fn a_check_holds_up_nobody() {
    let folder = harness::folder();
    let costly = bcrypt::hash("slow", 12).unwrap();
    let users = format!("{}[[users]]\nname = \"slow\"\npassword = \"{costly}\"\n", users_file(&alice()));
    let daemon = daemon(&folder, &users, super::PATIENT);
    let mut alice = enter(daemon.terminal(), "alice");
    let mut slow = daemon.terminal();
    slow.send("CONNECT {\"verbose\":false,\"user\":\"slow\",\"pass\":\"slow\"}\r\nPING\r\n");
    let (began, mut rounds) = (Instant::now(), 0);
    let before = daemon.varz()["logins"].as_u64().unwrap();
    while daemon.varz()["logins"].as_u64().unwrap() == before {
        alice.barrier();
        rounds += 1;
    }
    let took = began.elapsed();
    slow.expect("PONG\r\n");
    assert!(rounds > 3, "{rounds} rounds in {took:?}");
    // It is right at once the second time: it costs a digest then.
    let again = Instant::now();
    let mut slow = daemon.terminal();
    slow.send("CONNECT {\"verbose\":false,\"user\":\"slow\",\"pass\":\"slow\"}\r\nPING\r\n");
    slow.expect("PONG\r\n");
    assert!(again.elapsed() < took, "{:?}, the first time {took:?}", again.elapsed());
}

/// Nobody can tell by the time which users there are.
#[test]
fn unknown_names_take_as_long() {
    let folder = harness::folder();
    let costly = bcrypt::hash("x", 11).unwrap();
    let daemon =
        daemon(&folder, &format!("[[users]]\nname = \"known\"\npassword = \"{costly}\"\n"), super::PATIENT);
    // The processor's time: others use the machine, too.
    let time = |name: &str| {
        let began = nanoseconds(daemon.child.pid());
        for _ in 0..3 {
            let says = format!("CONNECT {{\"user\":\"{name}\",\"pass\":\"wrong\"}}\r\n");
            turned_away(daemon.terminal(), &says, VIOLATION);
        }
        nanoseconds(daemon.child.pid()) - began
    };
    // Once the hash that no password fits has been made.
    time("unknown");
    let (known, unknown) = (time("known"), time("unknown"));
    assert!(unknown > known / 2 && known > unknown / 2, "{known:?} and {unknown:?}");
}

#[test]
fn who_fails_too_often_has_to_wait_and_others_have_not() {
    let folder = harness::folder();
    let pair = nkeys::KeyPair::new_user();
    let key = pair.public_key();
    let users = users_file(&alice()) + &format!("[[users]]\nname = \"service\"\nnkey = \"{key}\"\n");
    let daemon = daemon(&folder, &users, super::PATIENT);
    let mut first = enter(daemon.terminal(), "alice");
    let wrong = "CONNECT {\"user\":\"alice\",\"pass\":\"wrong\"}\r\n";
    // As many as may fail, until it is told to come later. One more may every three seconds, so perhaps
    // there are a few more.
    let failed = (0..60).take_while(|_| {
        let mut it = daemon.terminal();
        it.send(wrong);
        let line = it.line();
        it.expect_closed();
        line + "\r\n" == VIOLATION
    });
    let failed = failed.count();
    assert!((10..20).contains(&failed), "{failed}");
    // Who is in stays in; what is known to be right lets in; and nobody guesses a signature.
    first.barrier();
    enter(daemon.terminal(), "alice").barrier();
    let mut service = daemon.terminal();
    let nonce = info(&service)["nonce"].as_str().unwrap().to_owned();
    let sig = url_base64(&pair.sign(nonce.as_bytes()).unwrap());
    service.send(format!("CONNECT {{\"verbose\":false,\"nkey\":\"{key}\",\"sig\":\"{sig}\"}}\r\n"));
    service.barrier();
    let varz = daemon.varz();
    assert_eq!(varz["auth_failures"].as_u64().unwrap(), failed as u64);
    assert!(varz["auth_timeouts"].as_u64().unwrap() >= 1);
    assert_eq!(varz["logins"], 3);
}

/// Whoever hangs up while his password is checked costs nothing but the check.
#[test]
fn who_does_not_wait_for_the_answer_is_forgotten() {
    let folder = harness::folder();
    let costly = bcrypt::hash("x", 8).unwrap();
    let users = format!("{}[[users]]\nname = \"u\"\npassword = \"{costly}\"\n", users_file(&alice()));
    let daemon = daemon(&folder, &users, super::PATIENT);
    for _ in 0..9 {
        let mut it = daemon.terminal();
        it.send("CONNECT {\"user\":\"u\",\"pass\":\"wrong\"}\r\nPING\r\n");
        drop(it);
    }
    let mut alice = enter(daemon.terminal(), "alice");
    eventually("the others are gone", || (daemon.varz()["connections"] == 1).then_some(()));
    alice.barrier();
}

#[test]
fn no_secret_is_ever_said() {
    let folder = harness::folder();
    let hashed = hash("opensesame");
    let users = format!("[[users]]\nname = \"ali\"\npassword = \"{hashed}\"\n");
    let mut daemon = daemon(&folder, &users, "log = \"trace\"\nauth_timeout = \"60s\"\n");
    let mut it = daemon.terminal();
    it.send("CONNECT {\"verbose\":false,\"user\":\"ali\",\"pass\":\"opensesame\",\"name\":\"me\"}\r\n");
    it.barrier();
    turned_away(daemon.terminal(), "CONNECT {\"user\":\"ali\",\"pass\":\"opensesam\"}\r\n", VIOLATION);
    turned_away(daemon.terminal(), "CONNECT {\"auth_token\":\"opensesame\"}\r\n", VIOLATION);
    let varz = daemon.varz().to_string();
    drop(it);
    daemon.stop();
    let said = daemon.child.said();
    assert!(said.contains("logged in"), "{said}");
    for secret in ["opensesam", &hashed] {
        assert!(!said.contains(secret) && !varz.contains(secret), "{said}");
    }
}

/// What `rowcall user` makes lets in, and only that.
#[test]
fn what_the_command_makes_is_of_use() {
    let run = |arguments: &[&str], stdin: &str| {
        let mut command = Command::new(harness::built("rowcall"));
        command
            .arg("user")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, hash) = run(&["hash", "--cost", "5"], "pass wörd\n");
    assert!(code == Some(0) && hash.starts_with("$2b$05$") && hash.lines().count() == 1, "{hash}");
    let (code, made) = run(&["token", "--json"], "");
    assert_eq!(code, Some(0));
    let made: Value = serde_json::from_str(&made).unwrap();
    let folder = harness::folder();
    let users = format!(
        "[[users]]\nname = \"p\"\npassword = \"{}\"\n[[users]]\nname = \"t\"\ntoken = {}\n",
        hash.trim_end(),
        made["digest"]
    );
    let daemon = daemon(&folder, &users, super::PATIENT);
    for shown in
        ["\"user\":\"p\",\"pass\":\"pass wörd\"".to_owned(), format!("\"auth_token\":{}", made["token"])]
    {
        let mut it = daemon.terminal();
        it.send(format!("CONNECT {{\"verbose\":false,{shown}}}\r\n"));
        it.barrier();
    }
    for (arguments, stdin) in
        [(&["hash"][..], ""), (&["hash"], "\n"), (&["hash", "--cost", "15"], "p"), (&[], "")]
    {
        assert_eq!(run(arguments, stdin), (Some(2), String::new()), "{arguments:?}");
    }
    assert_eq!(run(&["hash"], &"p".repeat(72)).0, Some(2));
}

/// The command logs in with what stands in its URL, and says so when that is wrong.
#[test]
fn the_command_logs_in() {
    let folder = harness::folder();
    let daemon = daemon(&folder, &users_file(&alice()), super::PATIENT);
    let notify = |credentials: &str| {
        let mut command = Command::new(harness::built("rowcall"));
        // Not as an argument, where everyone on the machine could read it.
        command.env("ROWCALL_SERVER", format!("nats://{credentials}{}", daemon.tcp));
        let output = command.args(["notify", "a", "x"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(notify("alice:alicealice@"), (Some(0), String::new()));
    for wrong in ["alice:wrong@", "alicealice@", ""] {
        let (code, said) = notify(wrong);
        assert_eq!(code, Some(5), "{said}");
        assert!(said.contains("Authorization Violation") && !said.contains("alice"), "{said}");
    }
}

/// What came before the end is done, although it was not known yet who it came from.
#[test]
fn who_publishes_and_hangs_up_is_heard() {
    let folder = harness::folder();
    let slow = bcrypt::hash("slow", 10).unwrap();
    let users = format!("{}[[users]]\nname = \"slow\"\npassword = \"{slow}\"\n", users_file(&alice()));
    let authority = Authority::new();
    let tls = authority.settings(folder.path()) + super::PATIENT;
    for secret in [false, true] {
        let daemon = daemon(&folder, &users, if secret { &tls } else { super::PATIENT });
        let open = || if secret { authority.terminal(&daemon.tcp) } else { daemon.terminal() };
        let mut alice = enter(open(), "alice");
        alice.send("SUB last.words 1\r\n");
        alice.barrier();
        let words =
            "CONNECT {\"verbose\":false,\"user\":\"slow\",\"pass\":\"slow\"}\r\nPUB last.words 3\r\nbye\r\n";
        open().last_words(words);
        alice.expect("MSG last.words 1 3\r\nbye\r\n");
    }
}
