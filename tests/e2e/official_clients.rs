//! Official clients of other languages work unchanged: each plays the same scenarios, in a script of
//! its own in tests/clients, against rowcalld and, so that a script which is wrong is found, against
//! Debian's nats-server. (async-nats has a module of its own.)

mod client;

use crate::consumers::workers::{number, publish, until_number, until_settled, with_consumer};
use client::Client;
use harness::nats_server::NatsServer;
use harness::{Child, Daemon, Kind, folder};
use std::fs;

/// What any server must do for a client.
const CORE: [&str; 9] =
    ["publish", "subscribe", "wildcards", "queue", "request", "no-responders", "headers", "drain", "restart"];

macro_rules! each_client_in_each_test {
    ($($module:ident: $client:ident),*) => {
        $(mod $module {
            use super::Client;
            #[test] fn works_with_rowcalld() { super::works_with_rowcalld(Client::$client) }
            #[test] fn works_with_nats_server() { super::works_with_nats_server(Client::$client) }
            #[test] fn logs_in() { super::logs_in(Client::$client) }
            #[test] fn works_for_a_durable_consumer() { super::works_for_a_durable_consumer(Client::$client) }
        })*
    };
}

each_client_in_each_test!(python: Python, javascript: JavaScript, c: C, go: Go);

fn works_with_rowcalld(client: Client) {
    let folder = folder();
    let mut daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let scenarios = [&CORE[..], &["leave"]].concat();
    let Some(script) = Script::start(client, &daemon.tcp, &scenarios) else { return };
    let again =
        |gone: &Daemon| Daemon::start_with(&gone.socket, &["--listen", &gone.tcp, "--http", "127.0.0.1:0"]);
    script.child.prints("please kill");
    daemon.kill();
    daemon = again(&daemon);
    script.child.prints("please stop");
    daemon.stop();
    daemon = again(&daemon);
    script.ends_well(&scenarios);
    drop(daemon);
}

fn works_with_nats_server(client: Client) {
    let server = NatsServer::start("");
    let Some(script) = Script::start(client, &server.tcp, &CORE) else { return };
    script.child.prints("please kill");
    let _server = server.restart();
    script.ends_well(&CORE);
}

/// With a password, with a token; comes back after a restart as who it was; is told what it may not do, and
/// that a password is wrong.
fn logs_in(client: Client) {
    let folder = folder();
    let (users, theirs) = login_files();
    fs::write(folder.path().join("users.toml"), users).unwrap();
    let settings = format!("users = \"{}/users.toml\"\nauth_timeout = \"60s\"\n", folder.path().display());
    let mut daemon = Daemon::with_settings(folder.path(), &settings);
    let reference = NatsServer::start(&theirs);
    for address in [&daemon.tcp, &reference.tcp] {
        for (who, scenarios) in
            [("guest:guest", &["rights"][..]), ("guest:wrong", &["refused"]), ("nobody:guest", &["refused"])]
        {
            let Some(script) = Script::start(client, &format!("{who}@{address}"), scenarios) else { return };
            script.ends_well(scenarios);
        }
    }
    let scenarios = ["subscribe", "request", "drain"];
    let Some(script) = Script::start(client, &format!("token@{}", daemon.tcp), &scenarios) else { return };
    script.ends_well(&scenarios);
    let Some(script) = Script::start(client, &format!("all:all@{}", daemon.tcp), &["restart"]) else {
        return;
    };
    script.child.prints("please kill");
    daemon.kill();
    let config = folder.path().join("rowcalld.toml");
    let arguments = ["--listen", &daemon.tcp, "--http", "127.0.0.1:0", "--config", config.to_str().unwrap()];
    let _daemon = Daemon::start_with(&daemon.socket, &arguments);
    script.ends_well(&["restart"]);
}

/// A guest and someone who may do everything, each with the name as the password, in rowcalld's words and in
/// nats-server's; and someone with the token `token`.
fn login_files() -> (String, String) {
    let hash = |password| bcrypt::hash(password, 4).unwrap();
    let guest = "publish = { allow = [\"open.>\"] }\nsubscribe = { allow = [\"open.>\"] }";
    let ours = format!(
        "[[users]]\nname = \"guest\"\npassword = \"{}\"\n{guest}\n[[users]]\nname = \"all\"\npassword = \"{}\"\n\
         [[users]]\nname = \"bot\"\ntoken = \"sha256:3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0\"\n",
        hash("guest"),
        hash("all")
    );
    let guest = "permissions: { publish: \"open.>\", subscribe: \"open.>\" }";
    let theirs = format!("authorization {{ users = [ {{ user: guest, password: guest, {guest} }} ] }}");
    (ours, theirs)
}

fn works_for_a_durable_consumer(client: Client) {
    let Some(site) = with_consumer(Kind::MariaDb, &["--backoff", "1ms"]) else { return };
    let mut sql = site.connect();
    for deed in ["ack", "confirm", "nak", "term", "last"] {
        publish(&mut sql, deed);
    }
    let tcp = &site.daemon.as_ref().unwrap().tcp;
    let Some(script) = Script::start(client, tcp, &["consumer"]) else { return };
    script.ends_well(&["consumer"]);
    until_settled(&mut sql);
    until_number(&mut sql, "mail", "settled", 4);
    until_number(&mut sql, "mail", "redelivered", 1);
    assert_eq!(number(&mut sql, "mail", "parked"), 1);
    let parked = sql.value("SELECT CONCAT(payload, ' ', reason) FROM rowcall.parked").unwrap();
    assert_eq!(parked.as_deref(), Some("term terminated"));
}

/// A client's script under way.
struct Script {
    child: Child,
}

impl Script {
    /// Starts the client's script; `None` where the client cannot be had.
    fn start(client: Client, address: &str, scenarios: &[&str]) -> Option<Script> {
        if !client.is_there() {
            return None;
        }
        let mut command = client.command();
        command.arg(format!("nats://{address}")).args(scenarios);
        Some(Script { child: Child::start(&format!("{client:?}'s script"), &mut command) })
    }

    /// It has said "ok" to each of these, and found nothing to complain of.
    #[track_caller]
    fn ends_well(mut self, scenarios: &[&str]) {
        let status = self.child.wait();
        assert!(status.success(), "{status}:\n{}", self.child.said());
        let said = self.child.said();
        let expected: Vec<_> = scenarios.iter().map(|name| format!("ok {name}")).collect();
        let passed: Vec<_> = said.lines().filter(|line| line.starts_with("ok ")).collect();
        assert_eq!(passed, expected, "{said}");
    }
}
