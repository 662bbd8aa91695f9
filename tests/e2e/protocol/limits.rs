//! The limits of lines, messages and connections, on both sides of the line.

use super::{everywhere, everywhere_with};
use harness::nats_server::NatsServer;
use harness::{Daemon, Terminal};

/// The most that a control line may have behind its verb.
const CONTROL_LINE_MAX: usize = 4096;

#[test]
fn the_largest_message_and_one_more() {
    everywhere_with("max_payload = 100", "max_payload: 100", |open| {
        for settings in [100, 101, 999_999_999] {
            let mut it = open().hello();
            assert!(it.info.contains("\"max_payload\":100,"), "{}", it.info);
            it.send("SUB > 1\r\n");
            if settings == 100 {
                let payload = "x".repeat(100);
                it.send(format!("PUB a 100\r\n{payload}\r\n"));
                it.expect(format!("MSG a 1 100\r\n{payload}\r\n"));
                // Headers are part of it.
                let payload = "x".repeat(88);
                it.send(format!("HPUB a 12 100\r\nNATS/1.0\r\n\r\n{payload}\r\nHPUB a 12 101\r\n"));
                it.expect(format!("HMSG a 1 12 100\r\nNATS/1.0\r\n\r\n{payload}\r\n"));
            } else {
                // Refused from the line alone, whether the payload comes or not.
                it.send(format!("PUB a {settings}\r\n"));
            }
            it.expect("-ERR 'Maximum Payload Violation'\r\n");
            it.expect_closed();
        }
    });
}

#[test]
fn a_mebibyte_is_allowed_unless_said_otherwise() {
    everywhere(|open| {
        let mut it = open().hello();
        let payload = "x".repeat(1 << 20);
        it.send("SUB a 1\r\n");
        it.send(format!("PUB a 1048576\r\n{payload}\r\n"));
        it.expect(format!("MSG a 1 1048576\r\n{payload}\r\n"));
        it.send("PUB a 1048577\r\n");
        it.expect("-ERR 'Maximum Payload Violation'\r\n");
        it.expect_closed();
    });
}

#[test]
fn the_longest_control_line_and_one_more() {
    everywhere(|open| {
        let mut it = open().hello();
        let longest = "a".repeat(CONTROL_LINE_MAX - " 1".len());
        it.send(format!("SUB {longest} 1\r\nPUB {longest} 0\r\n\r\n"));
        it.expect(format!("MSG {longest} 1 0\r\n\r\n"));
        it.send(format!("SUB {longest}a 2\r\n"));
        it.expect("-ERR 'maximum control line exceeded'\r\n");
        it.expect_closed();
        for start in ["PUB ", "HPUB ", "SUB a.", "UNSUB ", "CONNECT {\"name\":\""] {
            eprintln!("{start:?} without an end");
            let mut it = open().hello();
            it.send(format!("{start}{}", "a".repeat(2 * CONTROL_LINE_MAX)));
            it.expect("-ERR 'maximum control line exceeded'\r\n");
            it.expect_closed();
        }
    });
}

/// On TCP; on the Unix socket a line may always be as long as the library in the server makes it.
#[test]
fn the_longest_control_line_may_be_another() {
    for longest in [1024, 65_536] {
        let folder = harness::folder();
        let daemon = Daemon::with_settings(folder.path(), &format!("max_control_line = {longest}"));
        let reference = NatsServer::start(&format!("max_control_line: {longest}"));
        let here = || Terminal::unix(&daemon.socket);
        for (open, longest) in [
            (&(|| daemon.terminal()) as &dyn Fn() -> Terminal, longest),
            (&|| reference.terminal(), longest),
            (&here, longest.max(CONTROL_LINE_MAX)),
        ] {
            let mut it = open().hello();
            let subject = "a".repeat(longest - " 1".len());
            it.send(format!("SUB {subject} 1\r\nPUB {subject} 0\r\n\r\n"));
            it.expect(format!("MSG {subject} 1 0\r\n\r\n"));
            it.send(format!("SUB {subject}a 2\r\n"));
            it.expect("-ERR 'maximum control line exceeded'\r\n");
            it.expect_closed();
        }
        assert_eq!(daemon.varz()["max_control_line"], longest);
    }
}

#[test]
fn one_connection_too_many() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "max_connections = 2");
    let reference = NatsServer::start("max_connections: 2");
    for open in [&(|| daemon.terminal()) as &dyn Fn() -> Terminal, &|| reference.terminal()] {
        let mut inside = [open().hello(), open().hello()];
        let mut three = open();
        three.expect("-ERR 'maximum connections exceeded'\r\n");
        three.expect_closed();
        inside.iter_mut().for_each(Terminal::barrier);
    }
}
