//! The first exchange: what CONNECT sets, what it may not ask for, and who gets +OK when.

use super::everywhere;
use serde_json::Value;
use std::cell::RefCell;

/// Keys that nats-server has and rowcalld does not: these clients do without.
const NOT_OURS: [&str; 1] = ["git_commit"];

#[test]
fn info_has_the_same_keys_and_kinds_of_values() {
    let greetings = RefCell::new(Vec::new());
    everywhere(|open| {
        let it = open();
        let info: Value = serde_json::from_str(it.info.strip_prefix("INFO ").unwrap()).unwrap();
        greetings.borrow_mut().push(info);
    });
    let [reference, tcp, tls, web, unix]: [Value; 5] = greetings.into_inner().try_into().unwrap();
    let kind = |value: &Value| std::mem::discriminant(value);
    for (key, value) in reference.as_object().unwrap() {
        if !NOT_OURS.contains(&key.as_str()) {
            assert_eq!(kind(value), kind(&tcp[key]), "{key}: {value} and {}", tcp[key]);
        }
    }
    for key in tcp.as_object().unwrap().keys() {
        assert!(reference.get(key).is_some(), "{key}");
    }
    let keys = |info: &Value| info.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&tcp), keys(&web));
    assert!(keys(&tls).iter().all(|key| key == "tls_required" || tcp.get(key).is_some()), "{tls}");
    // There, nobody has an address.
    for key in unix.as_object().unwrap().keys() {
        assert!(key != "client_ip" && tcp.get(key).is_some(), "{key}");
    }
    for key in ["proto", "headers", "max_payload", "host", "client_ip"] {
        assert_eq!(tcp[key], reference[key], "{key}");
    }
}

#[test]
fn defaults_without_connect_and_with_an_empty_one() {
    everywhere(|open| {
        for connect in ["", "CONNECT {}\r\n", "CONNECT{}\r\n"] {
            let mut it = open();
            it.send(connect);
            it.expect(if connect.is_empty() { "" } else { "+OK\r\n" });
            // Verbose, pedantic, echo. The complaint comes besides, the message is processed.
            it.send("SUB a 1\r\nPUB a 2\r\nhi\r\nPUB a.* 1\r\nx\r\nPUB a..b 1\r\nx\r\n");
            it.expect("+OK\r\n+OK\r\nMSG a 1 2\r\nhi\r\n");
            it.expect("-ERR 'Invalid Publish Subject'\r\n+OK\r\n-ERR 'Invalid Publish Subject'\r\n+OK\r\n");
            it.barrier();
            // No headers: whoever publishes with some is cut off without a word.
            it.send("HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n");
            it.expect_closed();
        }
    });
}

#[test]
fn options() {
    everywhere(|open| {
        let mut it = open();
        it.send(
            "CONNECT {\"verbose\":true,\"pedantic\":false,\"lang\":\"hand\",\"version\":\"1\",\"name\":\"me\",\
             \"protocol\":1,\"headers\":true,\"no_responders\":true,\"tls_required\":false,\"user\":\"u\",\
             \"pass\":\"p\",\"no_such_key\":[1,{}]}\r\nPING\r\n",
        );
        it.expect("+OK\r\nPONG\r\n");
        it.send("PUB a..b 1\r\nx\r\nHPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n");
        it.expect("+OK\r\n+OK\r\n");
        // A second one replaces what it names and leaves the rest.
        it.send(
            "CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB a 1\r\nPUB a..b 1\r\nx\r\nPUB a 1\r\nx\r\n",
        );
        it.send("HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\n");
        it.barrier();
        it.send("CONNECT {\"echo\":true}\r\nPUB a 1\r\nx\r\n");
        it.expect("MSG a 1 1\r\nx\r\n");
        it.barrier();
    });
}

#[test]
fn ok_comes_once_for_each_and_never_for_ping() {
    everywhere(|open| {
        let mut it = open();
        it.send("CONNECT {\"verbose\":true,\"pedantic\":false}\r\n");
        it.send("SUB a 1\r\nSUB a 1\r\nUNSUB 1 3\r\nUNSUB nobody\r\nPING\r\nPONG\r\n");
        it.send("SUB b 2\r\nPUB b r 2\r\nhi\r\nUNSUB 2\r\nSUB a..b 3\r\nPING\r\n");
        it.expect("+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\nPONG\r\n");
        it.expect("+OK\r\n+OK\r\nMSG b 2 r 2\r\nhi\r\n+OK\r\n-ERR 'Invalid Subject'\r\nPONG\r\n");
    });
}

#[test]
fn what_cannot_be_met_is_refused_and_the_words_arrive() {
    everywhere(|open| {
        for (connect, words) in [
            ("{\"protocol\":2}", "invalid client protocol"),
            ("{\"protocol\":-1}", "invalid client protocol"),
            ("{\"no_responders\":true}", "no responders requires headers support"),
            ("{\"account\":\"other\"}", "Authorization Violation"),
            ("{\"account\":\"other\",\"new_account\":true}", "Authorization Violation"),
        ] {
            let mut it = open();
            // Clients send PING in the same write; the words must not be lost over it.
            it.send(format!("CONNECT {connect}\r\nPING\r\n"));
            it.expect(format!("-ERR '{words}'\r\n"));
            it.expect_closed();
        }
    });
}
