//! `$SYS.REQ.USER.INFO`: as whom a client is here, and what it may do. nats-server has it since 2.10, so what is
//! compared is a later one.

use crate::users::{PATIENT, User, connect, users_file, write_users};
use harness::nats_server::NatsServer;
use harness::{Daemon, Terminal};
use serde_json::{Value, json};

/// Asks, and gives `data` of the answer; what else is in it is looked at here.
fn ask(it: &mut Terminal) -> Value {
    it.send("SUB in.* 1\r\nPUB $SYS.REQ.USER.INFO in.7 0\r\n\r\n");
    let answer = it.message();
    assert_eq!((&*answer.subject, &answer.reply, &*answer.headers), ("in.7", &None, ""));
    let mut answer: Value = serde_json::from_str(answer.text()).unwrap();
    let server = &answer["server"];
    for key in ["name", "host", "id", "ver", "time"] {
        assert!(it.info.contains(server[key].as_str().unwrap()) || key == "time", "{key}: {server:#}");
    }
    assert_eq!(server["jetstream"], false);
    it.barrier();
    answer["data"].take()
}

#[test]
fn everyone_is_the_same_without_users() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let later = NatsServer::start_later("");
    let open_later = later.iter().map(NatsServer::terminal);
    for mut it in [daemon.terminal(), Terminal::unix(&daemon.socket)].into_iter().chain(open_later) {
        it.send("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nPONG\r\n");
        if it.info.contains("\"port\":0,") {
            // On the Unix socket nobody has reached an address.
            it.info += "127.0.0.1";
        }
        assert_eq!(ask(&mut it), json!({ "user": "", "account": "$G", "account_name": "$G" }));
    }
    // It is a message like any other for those who subscribe, and without a place to answer.
    let (mut other, mut it) = (daemon.terminal().hello(), daemon.terminal().hello());
    other.send("SUB $SYS.> 1\r\n");
    other.barrier();
    it.send("SUB in 1\r\nPUB $SYS.REQ.USER.INFO 0\r\n\r\nPUB $SYS.REQ.USER.INFO elsewhere 0\r\n\r\n");
    it.barrier();
    other.expect("MSG $SYS.REQ.USER.INFO 1 0\r\n\r\nMSG $SYS.REQ.USER.INFO 1 elsewhere 0\r\n\r\n");
    other.barrier();
    let answer = daemon.visit().ask("POST /request/$SYS.REQ.USER.INFO", "", "");
    assert!(answer.status == 200 && answer.text().contains("\"account\":\"$G\""), "{answer:?}");
}

#[test]
fn users_are_told_their_name_and_their_lists() {
    let user = User::new;
    let users = [
        user("all", "", ""),
        user(
            "some",
            "publish = { allow = [\"a.>\", \"in.*\", \"$SYS.REQ.USER.INFO\"] }\n\
             subscribe = { allow = [\">\", \"q.> g\"], deny = [\"d\"] }\nallow_responses = true",
            "permissions: {publish: [\"a.>\", \"in.*\", \"$SYS.REQ.USER.INFO\"], \
             subscribe: {allow: [\">\", \"q.> g\"], deny: \"d\"}, allow_responses: true}",
        ),
        user("most", "publish = { deny = [\"x\"] }", "permissions: {publish: {deny: [\"x\"]}}"),
        user("none", "publish = { allow = [\"a\"] }", "permissions: {publish: [\"a\"]}"),
    ];
    let folder = harness::folder();
    let daemon =
        Daemon::with_settings(folder.path(), &(write_users(folder.path(), &users_file(&users)) + PATIENT));
    let later = NatsServer::start_later(&crate::users::theirs(&users));
    let told = |open: &dyn Fn() -> Terminal| -> Vec<Value> {
        let data = ["all", "some", "most"].map(|name| {
            let mut it = open();
            // The PONG stands for the one to the PING by which nats-server would measure the way.
            it.send(connect(name) + "PONG\r\n");
            let mut data = ask(&mut it);
            for lists in ["/permissions/publish/allow", "/permissions/subscribe/allow"] {
                if let Some(list) = data.pointer_mut(lists).and_then(Value::as_array_mut) {
                    list.sort_by_key(Value::to_string);
                }
            }
            data
        });
        let mut it = open();
        it.send(connect("none") + "SUB in 1\r\nPUB $SYS.REQ.USER.INFO in 0\r\n\r\n");
        it.expect("-ERR 'Permissions Violation for Publish to \"$SYS.REQ.USER.INFO\"'\r\n");
        data.into()
    };
    let ours = told(&|| daemon.terminal());
    assert_eq!(ours[0], json!({ "user": "all", "account": "$G", "account_name": "$G" }));
    assert_eq!(
        ours[1]["permissions"],
        json!({
            "publish": { "allow": ["$SYS.REQ.USER.INFO", "a.>", "in.*"] },
            "subscribe": { "allow": [">", "q.> g"], "deny": ["d"] },
            "responses": { "max": 1, "ttl": 120_000_000_000_u64 },
        })
    );
    if let Some(later) = later {
        assert_eq!(told(&|| later.terminal()), ours);
    }
}
