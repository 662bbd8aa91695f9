//! SIGHUP: users, permissions and limits change, and nobody is dropped who may stay; a file that is wrong
//! changes nothing.

use super::{User, connect, enter, hash, users_file, users_path, write_users};
use harness::nats_server::NatsServer;
use harness::websocket::WebSocket;
use harness::{Authority, Daemon, Http, Terminal, eventually};
use nix::sys::signal::Signal;
use std::fs;
use tempfile::TempDir;

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

/// A daemon with these users; the file may be written again.
fn daemon(folder: &TempDir, users: &str) -> Daemon {
    Daemon::with_settings(folder.path(), &(write_users(folder.path(), users) + super::PATIENT))
}

/// Has the files read again, and waits until it has been said what came of that, in these words.
fn reload(daemon: &Daemon, words: &str) -> String {
    let said = || daemon.child.said();
    let count = |said: &str| said.matches(words).count();
    let before = count(&said());
    daemon.child.signal(Signal::SIGHUP);
    eventually(words, || (count(&said()) > before).then(said))
}

fn read_again(daemon: &Daemon, folder: &TempDir, users: &str) {
    write_users(folder.path(), users);
    reload(daemon, "read the configuration again");
}

#[test]
fn who_is_still_allowed_stays_and_who_is_not_goes() {
    let folder = harness::folder();
    let all = ["stays", "goes", "changes"].map(|name| User::new(name, "", ""));
    let before = users_file(&all);
    let daemon = daemon(&folder, &before);
    let mut stays = enter(daemon.terminal(), "stays");
    let (mut goes, mut changes) = (enter(daemon.terminal(), "goes"), enter(daemon.terminal(), "changes"));
    stays.send("SUB a 1\r\n");
    stays.barrier();
    // The same hash, another one for the same password, and none.
    let hash_of_stays = before.lines().find(|line| line.starts_with("password")).unwrap();
    let after = format!(
        "[[users]]\nname = \"stays\"\n{hash_of_stays}\n[[users]]\nname = \"changes\"\npassword = \"{}\"\n\
         [[users]]\nname = \"comes\"\npassword = \"{}\"\n",
        hash("changeschanges"),
        hash("comescomes")
    );
    read_again(&daemon, &folder, &after);
    for gone in [&mut goes, &mut changes] {
        gone.expect(VIOLATION);
        gone.expect_closed();
    }
    let mut comes = enter(daemon.terminal(), "comes");
    comes.send("PUB a 2\r\nhi\r\n");
    stays.expect("MSG a 1 2\r\nhi\r\n");
    stays.barrier();
    enter(daemon.terminal(), "changes").barrier();
    let mut gone = daemon.terminal();
    gone.send(connect("goes"));
    gone.expect(VIOLATION);
}

#[test]
fn rights_change_for_those_who_are_there() {
    let folder = harness::folder();
    let text = |ours: &'static str| {
        let all = users_file(&[User::new("some", ours, ""), User::new("all", "", "")]);
        // The same hashes each time.
        all.lines().filter(|line| !line.starts_with("password")).collect::<Vec<_>>().join("\n")
    };
    let hashes = [hash("somesome"), hash("allall")];
    let with_hashes = |text: String| {
        let text =
            text.replacen("name = \"some\"", &format!("name = \"some\"\npassword = \"{}\"", hashes[0]), 1);
        text.replacen("name = \"all\"", &format!("name = \"all\"\npassword = \"{}\"", hashes[1]), 1)
    };
    let file = |ours| with_hashes(text(ours));
    let daemon = daemon(&folder, &file(""));
    let (mut some, mut all) = (enter(daemon.terminal(), "some"), enter(daemon.terminal(), "all"));
    some.send("SUB a 1\r\nSUB > 2\r\nSUB c.* crew 3\r\n");
    some.barrier();
    read_again(&daemon, &folder, &file("subscribe = { allow = [\"a\"] }\npublish = { deny = [\"x\"] }"));
    let mut lost = [some.line(), some.line()];
    lost.sort();
    assert_eq!(
        lost,
        [
            "-ERR 'Permissions Violation for Subscription to \">\"'",
            "-ERR 'Permissions Violation for Subscription to \"c.*\" using queue \"crew\"'",
        ]
    );
    all.send("PUB b 1\r\nx\r\nPUB c.d 1\r\nx\r\nPUB a 1\r\nx\r\n");
    some.expect("MSG a 1 1\r\nx\r\n");
    some.send("PUB x 1\r\nx\r\n");
    some.expect("-ERR 'Permissions Violation for Publish to \"x\"'\r\n");
    some.barrier();
    // What is left of a subscription is told apart message by message from now on.
    read_again(&daemon, &folder, &file(""));
    some.send("SUB > 4\r\nPUB x 1\r\nx\r\n");
    some.expect("MSG x 4 1\r\nx\r\n");
    read_again(&daemon, &folder, &file("subscribe = { deny = [\"secret\"] }"));
    all.send("PUB secret 1\r\nx\r\nPUB other 1\r\nx\r\n");
    some.expect("MSG other 4 1\r\nx\r\n");
    some.barrier();
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let folder = harness::folder();
    let good = users_file(&[User::new("alice", "", "")]);
    let daemon = daemon(&folder, &good);
    let mut alice = enter(daemon.terminal(), "alice");
    let wrong = "[[users]]\nname = \"alice\"\npassword = \"hunter2\"\n";
    write_users(folder.path(), wrong);
    let said = reload(&daemon, "nothing is changed: ");
    let line = said.lines().rfind(|line| line.contains("nothing is changed")).unwrap();
    assert!(line.contains("users.toml: line 3: password is no bcrypt hash"), "{line}");
    assert!(!said.contains("hunter2"), "{said}");
    alice.barrier();
    enter(daemon.terminal(), "alice").barrier();
    fs::remove_file(users_path(folder.path())).unwrap();
    reload(&daemon, "cannot read the file of users");
    enter(daemon.terminal(), "alice").barrier();
    let config = folder.path().join("rowcalld.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{settings}listn = 1\n")).unwrap();
    write_users(folder.path(), &good);
    let said = reload(&daemon, "unknown field `listn`");
    assert!(said.contains("nothing is changed: "), "{said}");
    alice.barrier();
}

#[test]
fn limits_change_and_what_cannot_is_named() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "max_subscriptions = 2\nserver_name = \"one\"\n");
    let mut it = daemon.terminal().hello();
    it.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
    it.expect("-ERR 'maximum subscriptions exceeded'\r\n");
    let config = folder.path().join("rowcalld.toml");
    fs::write(&config, "max_subscriptions = 3\nserver_name = \"two\"\nmax_connections = 1\n").unwrap();
    let said = reload(&daemon, "read the configuration again");
    let warned: Vec<_> = said.lines().filter(|line| line.contains("with a restart only")).collect();
    assert!(matches!(warned[..], [line] if line.contains("server_name")), "{said}");
    it.send("SUB c 3\r\n");
    it.barrier();
    let mut second = daemon.terminal();
    assert!(second.info.contains("\"server_name\":\"one\""), "{}", second.info);
    second.expect("-ERR 'maximum connections exceeded'\r\n");
}

/// nats-server closes any of them; here SQL stays, and of the others those who came last go.
#[test]
fn a_lowered_limit_closes_the_surplus() {
    const TOO_MANY: &str = "-ERR 'maximum connections exceeded'\r\n";
    let reference = NatsServer::start("max_connections: 5");
    let theirs: Vec<_> = (0..5).map(|_| reference.terminal().hello()).collect();
    reference.reload("max_connections: 2");
    let closed = theirs.into_iter().map(|mut it| {
        it.send("PING\r\n");
        it.line()
    });
    assert_eq!(closed.filter(|line| *line == TOO_MANY.trim()).count(), 3);

    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "max_connections = 10\nmax_http_connections = 5\n");
    let mut sql = Terminal::unix(&daemon.socket);
    sql.send("CONNECT {\"verbose\":false,\"protocol\":1,\"lang\":\"sql\"}\r\n");
    sql.barrier();
    let [mut first, mut second] = [daemon.terminal().hello(), daemon.terminal().hello()];
    let mut latest = [daemon.terminal().hello(), WebSocket::connect(&daemon.http).terminal().hello()];
    let mut local = Terminal::unix(&daemon.socket);
    local.send("CONNECT {\"verbose\":false,\"lang\":\"other\"}\r\n");
    local.barrier();
    let mut new = Terminal::unix(&daemon.socket);
    second.send("SUB a 1\r\nPUB a 1\r\nx\r\n");
    second.expect("MSG a 1 1\r\nx\r\n");
    let config = folder.path().join("rowcalld.toml");
    fs::write(&config, "max_connections = 4\nmax_http_connections = 5\n").unwrap();
    reload(&daemon, "read the configuration again");
    for gone in latest.iter_mut().chain([&mut local]) {
        gone.expect(TOO_MANY);
        gone.expect_closed();
    }
    for stays in [&mut first, &mut second, &mut sql] {
        stays.barrier();
    }
    drop((latest, local));
    // Fewer than SQL has: the rest of the others go, and who may be SQL stays.
    fs::write(&config, "max_connections = 1\nmax_http_connections = 5\n").unwrap();
    reload(&daemon, "read the configuration again");
    for gone in [&mut first, &mut second] {
        gone.expect(TOO_MANY);
    }
    sql.barrier();
    new.send("CONNECT {\"verbose\":false,\"lang\":\"sql\"}\r\n");
    new.barrier();
}

#[test]
fn a_lowered_limit_closes_the_surplus_of_http() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "max_http_connections = 5\n");
    let mut stream = daemon.visit();
    stream.request("GET /events?subject=a", "", "");
    stream.until(b"\r\n\r\n");
    let mut poll = daemon.visit();
    poll.request("GET /next/b", "", "");
    eventually("both listen", || (daemon.varz()["subscriptions"] == 2).then_some(()));
    let mut idle = [daemon.visit(), daemon.visit()];
    for http in &mut idle {
        assert_eq!(http.ask("GET /healthz", "", "").status, 200);
    }
    eventually("nobody else is there", || (daemon.varz()["http"]["connections"] == 5).then_some(()));
    let config = folder.path().join("rowcalld.toml");
    fs::write(&config, "max_http_connections = 2\n").unwrap();
    reload(&daemon, "read the configuration again");
    // Those who ask nothing go first.
    idle.iter_mut().for_each(Http::expect_closed);
    fs::write(&config, "max_http_connections = 1\n").unwrap();
    reload(&daemon, "read the configuration again");
    let answer = poll.answer();
    assert!(answer.status == 503 && answer.text().contains("max_http_connections"), "{answer:?}");
    poll.expect_closed();
    let mut publisher = daemon.terminal().hello();
    publisher.send("PUB a 2\r\nhi\r\n");
    stream.until(b"data: hi\n\n");
}

/// A deadline that was set for later does not keep to the old time.
#[test]
fn a_shorter_time_holds_at_once() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "ping_interval = \"10m\"\n");
    let mut silent = daemon.terminal().hello();
    fs::write(folder.path().join("rowcalld.toml"), "ping_interval = \"100ms\"\nping_max = 1\n").unwrap();
    reload(&daemon, "read the configuration again");
    silent.expect("PING\r\n-ERR 'Stale Connection'\r\n");
}

#[test]
fn the_first_users_and_the_last() {
    let folder = harness::folder();
    let daemon = daemon(&folder, "");
    let mut anyone = daemon.terminal().hello();
    let mut local = Terminal::unix(&daemon.socket).hello();
    anyone.barrier();
    // From now on everyone has to be someone.
    read_again(&daemon, &folder, &users_file(&[User::new("alice", "", "")]));
    anyone.expect(VIOLATION);
    anyone.expect_closed();
    local.barrier();
    let mut alice = enter(daemon.terminal(), "alice");
    // Whoever has not said who he is may go on when nobody has to.
    let mut late = daemon.terminal();
    read_again(&daemon, &folder, "");
    late.send("CONNECT {\"verbose\":false}\r\n");
    late.barrier();
    alice.barrier();
    daemon.terminal().hello().barrier();
    // The accounts that may use the socket are looked at anew as well.
    read_again(&daemon, &folder, "[sql]\nsocket_peers = [4294967294]\n");
    local.expect(VIOLATION);
    local.expect_closed();
    alice.barrier();
}

/// The last users cannot be taken away while others than this machine may come in.
#[test]
fn an_open_address_is_not_left_without_users() {
    let folder = harness::folder();
    let authority = Authority::new();
    let settings = format!("{}{}", authority.settings(folder.path()), super::PATIENT)
        + &write_users(folder.path(), &users_file(&[User::new("alice", "", "")]));
    let config = folder.path().join("rowcalld.toml");
    fs::write(&config, settings).unwrap();
    let arguments = ["--listen", "0.0.0.0:0", "--http", "127.0.0.1:0", "--config", config.to_str().unwrap()];
    let daemon = Daemon::start_with(&folder.path().join("rowcall.sock"), &arguments);
    let near = daemon.tcp.replace("0.0.0.0", "127.0.0.1");
    let mut alice = enter(authority.terminal(&near), "alice");
    write_users(folder.path(), "");
    let said = reload(&daemon, "nothing is changed: ");
    let line = said.lines().rfind(|line| line.contains("nothing is changed")).unwrap();
    assert!(line.contains("0.0.0.0:0") && line.contains("nobody has to log in here"), "{line}");
    alice.barrier();
    let mut stranger = authority.terminal(&near);
    stranger.send("PING\r\n");
    stranger.expect(VIOLATION);
    enter(authority.terminal(&near), "alice").barrier();
}

/// A password whose check is under way counts by the file that is there when the check is done.
#[test]
fn a_check_that_is_under_way() {
    let folder = harness::folder();
    let user = |cost: u32| {
        let hash = bcrypt::hash("p", cost).unwrap();
        format!("[[users]]\nname = \"u\"\npassword = \"{hash}\"\n")
    };
    let daemon = daemon(&folder, &user(11));
    let mut it = daemon.terminal();
    it.send("CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\nPING\r\n");
    read_again(&daemon, &folder, &user(4));
    // Right by the old hash, which counts no more; or, if the check was faster, dropped with the others.
    let line = it.line();
    if line == "PONG" {
        it.expect(VIOLATION);
    } else {
        assert_eq!(line + "\r\n", VIOLATION);
    }
    it.expect_closed();
    let mut it = daemon.terminal();
    it.send("CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\n");
    it.barrier();
}
