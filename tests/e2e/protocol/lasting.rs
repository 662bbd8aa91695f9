//! What happens to a connection in time: it is asked whether it lives, and told that the server leaves.
//! On TCP, by rowcalld and nats-server.

use harness::nats_server::NatsServer;
use harness::{Daemon, Terminal};
use nix::sys::signal::Signal;

#[test]
fn who_does_not_answer_is_stale() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "ping_interval = \"1s\"\nping_max = 2");
    let reference = NatsServer::start("ping_interval: \"1s\"\nping_max: 2");
    let scene = |terminal: Terminal| {
        std::thread::spawn(move || {
            let mut silent = terminal.hello();
            silent.expect("PING\r\nPING\r\n-ERR 'Stale Connection'\r\n");
            silent.expect_closed();
        })
    };
    for scene in [scene(daemon.terminal()), scene(reference.terminal())] {
        scene.join().unwrap();
    }
}

/// nats-server in its lame-duck mode, which is another signal; rowcalld on SIGTERM, and for less time.
#[test]
fn whoever_wants_later_info_is_told_that_the_server_leaves() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let reference = NatsServer::start("");
    for (open, child, signal) in [
        (&(|| daemon.terminal()) as &dyn Fn() -> Terminal, &daemon.child, Signal::SIGTERM),
        (&|| reference.terminal(), &reference.child, Signal::SIGUSR2),
    ] {
        let mut modern = open().hello();
        let mut old = open();
        old.send("CONNECT {\"verbose\":false}\r\n");
        old.barrier();
        child.signal(signal);
        let later = modern.line();
        // The whole of it again, and one thing more: clients replace what they knew.
        let without = later.replace(",\"ldm\":true", "").replace("\"ldm\":true,", "");
        assert_ne!(without, later);
        assert_eq!(in_order(&without), in_order(&modern.info));
        if signal == Signal::SIGTERM {
            modern.expect_closed();
            old.expect_closed();
        } else {
            old.barrier();
        }
    }
}

fn in_order(info: &str) -> serde_json::Value {
    serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap()
}
