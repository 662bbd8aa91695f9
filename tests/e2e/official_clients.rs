//! Official clients of other languages work unchanged: each plays the same scenarios, in a script of
//! its own in tests/clients, against rowcalld and, so that a script which is wrong is found, against
//! Debian's nats-server. (async-nats has a module of its own.)

mod client;

use crate::consumers::workers::{number, publish, until_number, until_settled, with_consumer};
use client::Client;
use harness::nats_server::NatsServer;
use harness::{Authority, Child, Daemon, Kind, folder};
use std::path::Path;

/// What any server must do for a client.
const CORE: [&str; 9] =
    ["publish", "subscribe", "wildcards", "queue", "request", "no-responders", "headers", "drain", "restart"];

/// The digest of `a token`.
const A_TOKEN: &str = "e3316e2bafebb6103a3418e8778c0adc960d40213a03a7e7f4fcd3426ed807bf";

macro_rules! each_client_in_each_test {
    ($($module:ident: $client:ident),*) => {
        $(mod $module {
            use super::Client;
            #[test] fn works_with_rowcalld() { super::works_with_rowcalld(Client::$client) }
            #[test] fn works_with_nats_server() { super::works_with_nats_server(Client::$client) }
            #[test] fn works_for_a_durable_consumer() { super::works_for_a_durable_consumer(Client::$client) }
            #[test] fn logs_in() { super::logs_in(Client::$client) }
            #[test] fn speaks_tls() { super::speaks_tls(Client::$client) }
        })*
    };
}

each_client_in_each_test!(python: Python, javascript: JavaScript, c: C, go: Go);

fn works_with_rowcalld(client: Client) {
    let folder = folder();
    let mut daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let scenarios = [&CORE[..], &["leave"]].concat();
    let Some(script) = Script::start(client, &daemon.tcp, &scenarios) else { return };
    script.child.prints("please kill");
    daemon.kill();
    daemon = again(&daemon, &[]);
    script.child.prints("please stop");
    daemon.stop();
    daemon = again(&daemon, &[]);
    script.ends_well(&scenarios);
    drop(daemon);
}

/// A daemon in the place of one that is gone.
fn again(gone: &Daemon, arguments: &[&str]) -> Daemon {
    let place = ["--listen", &gone.tcp, "--http", "127.0.0.1:0"];
    Daemon::start_with(&gone.socket, &[&place, arguments].concat())
}

fn works_with_nats_server(client: Client) {
    let server = NatsServer::start("");
    let Some(script) = Script::start(client, &server.tcp, &CORE) else { return };
    script.child.prints("please kill");
    let _server = server.restart();
    script.ends_well(&CORE);
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

/// By password, again after the server's end, by key, and by a token; nats-server has no tokens beside other users.
fn logs_in(client: Client) {
    let pair = nkeys::KeyPair::new_user();
    let (key, seed) = (pair.public_key(), pair.seed().unwrap());
    let environment = [("NKEY", key.as_str()), ("NKEY_SEED", seed.as_str())];
    let folder = folder();
    let mut daemon = Daemon::with_settings(folder.path(), &users_file(folder.path(), &key));
    let theirs = format!(
        "authorization {{ users = [ {{ nkey: {key} }}, {{ user: alice, password: alicealice, \
         permissions: {{ publish: \"shop.>\", subscribe: \"shop.>\" }} }} ] }}"
    );
    let reference = NatsServer::start(&theirs);
    let scenarios = ["login", "login-again"];
    let start = |address: &str| Script::start_with(client, address, &scenarios, &environment);
    let Some(script) = start(&reference.tcp) else { return };
    script.child.prints("please kill");
    let _reference = reference.restart();
    script.ends_well(&scenarios);
    let Some(script) = start(&daemon.tcp) else { return };
    script.child.prints("please kill");
    daemon.kill();
    let config = folder.path().join("rowcalld.toml");
    daemon = again(&daemon, &["--config", config.to_str().unwrap()]);
    script.ends_well(&scenarios);
    let reference = NatsServer::start("authorization { token: \"a token\" }");
    for address in [&reference.tcp, &daemon.tcp] {
        let Some(script) = Script::start(client, address, &["token"]) else { return };
        script.ends_well(&["token"]);
    }
}

/// Writes the file of the same users for rowcalld, and gives the settings that name it.
pub fn users_file(folder: &Path, key: &str) -> String {
    let password = bcrypt::hash("alicealice", 4).unwrap();
    let text = format!(
        "[[users]]\nname = \"service\"\nnkey = \"{key}\"\n\
         [[users]]\nname = \"bot\"\ntoken = \"sha256:{A_TOKEN}\"\n\
         [[users]]\nname = \"alice\"\npassword = \"{password}\"\n\
         publish = {{ allow = [\"shop.>\"] }}\nsubscribe = {{ allow = [\"shop.>\"] }}\n"
    );
    let path = folder.join("users.toml");
    std::fs::write(&path, text).unwrap();
    format!("users = \"{}\"\n", path.display())
}

fn speaks_tls(client: Client) {
    let (authority, folder) = (Authority::new(), folder());
    let trusted = authority.file(folder.path());
    let environment = [("CA", trusted.to_str().unwrap())];
    let daemon = Daemon::with_settings(folder.path(), &authority.settings(folder.path()));
    let papers = authority.papers(folder.path(), "theirs");
    let reference = NatsServer::start(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        papers.certificate, papers.key
    ));
    for address in [&reference.tcp, &daemon.tcp] {
        let Some(script) = Script::start_with(client, address, &["tls"], &environment) else { return };
        script.ends_well(&["tls"]);
    }
}

/// A client's script under way.
struct Script {
    child: Child,
}

impl Script {
    /// Starts the client's script; `None` where the client cannot be had.
    fn start(client: Client, address: &str, scenarios: &[&str]) -> Option<Script> {
        Script::start_with(client, address, scenarios, &[])
    }

    /// The same with something in its environment.
    fn start_with(
        client: Client,
        address: &str,
        scenarios: &[&str],
        environment: &[(&str, &str)],
    ) -> Option<Script> {
        if !client.is_there() {
            return None;
        }
        let mut command = client.command();
        command.arg(format!("nats://{address}")).args(scenarios).envs(environment.iter().copied());
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
