//! What cannot be followed: closed, with the words clients know or, where the reference says
//! nothing, without a word; and the limits, on both sides of the line.

use super::{QUIET, everywhere, everywhere_with};

/// The most that a control line may have behind its verb.
const CONTROL_LINE_MAX: usize = 4096;

#[test]
fn unknown_operations() {
    everywhere(|open| {
        for input in [
            "GET / HTTP/1.1\r\n",
            "\r\n",
            "PX",
            "SUBa 1\r\n",
            "PUBLISH a 1\r\nx\r\n",
            "MSG a 1 1\r\nx\r\n",
            "\0\0\0\0",
            "PUB a 2\r\nhello\r\n",
            "PUB a 5\r\nhelloPING\r\n",
            "PUB a 2\r\nhi\n",
            "PUB a 2\r\nhi\r\r\n",
        ] {
            eprintln!("{input:?}");
            let mut it = open();
            it.send(QUIET);
            it.send(input);
            it.expect("-ERR 'Unknown Protocol Operation'\r\n");
            it.expect_closed();
        }
    });
}

#[test]
fn arguments_that_make_no_sense() {
    everywhere(|open| {
        for input in [
            "PUB a\r\n",
            "PUB a b c d 1\r\n",
            "PUB a x\r\n",
            "PUB a -1\r\n",
            "PUB a 10000000000\r\n",
            "HPUB a 9 5\r\nhello\r\n",
            "HPUB a x 5\r\nhello\r\n",
            "HPUB a 5\r\nhello\r\n",
            "SUB a\r\n",
            "SUB a b c d\r\n",
            "SUB \r\n",
            "UNSUB \r\n",
            "UNSUB 1 2 3\r\n",
            "-ERR 'no'\r\n",
        ] {
            eprintln!("{input:?}");
            let mut it = open().hello();
            it.send(input);
            it.expect_closed();
        }
    });
}

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
