//! Sessions made by chance, of every operation with every kind of mistake: rowcalld answers each of
//! them as nats-server does. Where they are known to differ, nothing is made of it (docs/protocol.md,
//! "Where it differs").

use super::everywhere_with;
use fastrand::Rng;
use std::cell::RefCell;

/// How many sessions each server is told; about a second's worth.
const SESSIONS: u64 = 1000;

#[test]
fn whatever_is_said_the_answer_is_the_same() {
    let heard = RefCell::new(Vec::new());
    everywhere_with("max_payload = 100", "max_payload: 100", |open| {
        let answers = (0..SESSIONS).map(|seed| in_one_order(&open().last_words(session(seed))));
        heard.borrow_mut().push(answers.collect::<Vec<_>>());
    });
    let heard = heard.into_inner();
    let (reference, ours) = heard.split_first().unwrap();
    for seed in 0..SESSIONS as usize {
        for answers in ours {
            let said = String::from_utf8_lossy(&session(seed as u64)).into_owned();
            assert_eq!(answers[seed], reference[seed], "session {seed}: {said:?}");
        }
    }
    // They are no silent sessions, and no two differ by nothing.
    let different: std::collections::HashSet<_> = reference.iter().collect();
    assert!(different.len() > SESSIONS as usize / 3, "{}", different.len());
}

/// What was said as operations; of messages that came one after the other nobody promises which is
/// first, when they are for several subscriptions.
fn in_one_order(mut said: &[u8]) -> Vec<String> {
    let mut operations = Vec::new();
    let mut sorted_to = 0;
    while !said.is_empty() {
        let line = said.iter().position(|&byte| byte == b'\n').map_or(said.len(), |end| end + 1);
        let text = String::from_utf8_lossy(&said[..line]).into_owned();
        let is_message = text.starts_with("MSG ") || text.starts_with("HMSG ");
        let body = text.trim_end().rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
        let length = if is_message { line + body.unwrap() + "\r\n".len() } else { line };
        if !is_message {
            operations[sorted_to..].sort();
            sorted_to = operations.len() + 1;
        }
        operations.push(String::from_utf8_lossy(&said[..length]).into_owned());
        said = &said[length..];
    }
    operations[sorted_to..].sort();
    operations
}

fn session(seed: u64) -> Vec<u8> {
    let mut it = Speaker { random: Rng::with_seed(seed), text: Vec::new() };
    if it.chance(85) {
        let [verbose, pedantic] = [30, 30].map(|percent| it.chance(percent));
        let headers = it.chance(85);
        let no_responders = headers && it.random.bool();
        it.say(&format!(
            "CONNECT {{\"verbose\":{verbose},\"pedantic\":{pedantic},\"headers\":{headers},\"no_responders\":{no_responders}}}\r\n"
        ));
    }
    for _ in 0..it.random.usize(4..16) {
        it.operation();
    }
    it.text
}

/// Someone who says whatever comes to mind.
struct Speaker {
    random: Rng,
    text: Vec<u8>,
}

const SUBJECTS: &[&str] = &[
    "a", "a.b", "a.*", "a.>", ">", "*", "*.b", "a..b", ".a", "a.", "a.>.b", "a*", "$SYS.a", "_INBOX.x", "b",
    "A", "in", "a.b.c", "in.1", "ä.b",
];
const SIDS: &[&str] = &["1", "2", "3", "x", "01", "1.0", "-1"];
/// What is a size, but not of what follows, or none.
const SIZES: &[&str] = &["-1", "x", "1000000000", "999999999", "1e3", "+1", "101"];
const BLOCKS: &[&str] = &["NATS/1.0\r\n\r\n", "NATS/1.0\r\nA: b\r\n\r\n", "", "abc", "NATS/1.0 503\r\n\r\n"];
const ODD: &[&str] = &[
    "\r\n",
    "\n",
    " ",
    "\0",
    "P\r\n",
    "+O\r\n",
    "-E\r\n",
    "S",
    "H",
    "PINGS\r\n",
    "PINGPONG\r\n",
    "SUBX\r\n",
    "CONNECTX\r\n",
    "+OKx\r\n",
    "-ERR\r\n",
    "-ERR x\r\n",
    "MSG a 1 0\r\n\r\n",
    "PUB\r\n",
    "HPUB\r\n",
    "SUB\r\n",
    "UNSUB\r\n",
    "SUB a\r\n",
    "SUB a b c d\r\n",
    "PUB a b c 1\r\n",
    "HPUB a b 1 2 3\r\n",
    "UNSUB 1 2 3\r\n",
    "PUB b 1\nx\r\n",
    "PUB b 1\r\nx\n",
    "PUB b 1\r\nxPING\r\n",
    "A+ x\r\n",
    "LS+ a\r\n",
    "RS+ a b\r\n",
    "RMSG\r\n",
];

impl Speaker {
    fn chance(&mut self, percent: u8) -> bool {
        self.random.u8(..100) < percent
    }

    fn one_of(&mut self, these: &[&'static str]) -> &'static str {
        these[self.random.usize(..these.len())]
    }

    fn say(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn say_one_of(&mut self, these: &[&'static str]) {
        let it = self.one_of(these);
        self.say(it);
    }

    fn blank(&mut self) {
        self.say_one_of(&[" ", " ", " ", "  ", "\t"]);
    }

    fn operation(&mut self) {
        match self.random.u8(..100) {
            0..5 => self.connect(),
            5..35 => self.sub(),
            35..60 => self.publish(false),
            60..75 => self.publish(true),
            75..90 => self.unsub(),
            90..98 => {
                self.say_one_of(&["PING\r\n", "ping\n", "PONG\r\n", "PING x\r\n", "+OK\r\n", "PONG\tx\r\n"])
            }
            _ => self.say_one_of(ODD),
        }
    }

    fn connect(&mut self) {
        if self.chance(10) {
            return self.say_one_of(&[
                "CONNECT\r\n",
                "CONNECT []\r\n",
                "CONNECT {\r\n",
                "CONNECT {} x\r\n",
                "CONNECT \"\"\r\n",
            ]);
        }
        let mut members = Vec::new();
        for name in ["verbose", "pedantic", "echo", "headers", "no_responders"] {
            let value = self.one_of(&["", "", "true", "false", "true", "false", "null"]);
            let value = if self.chance(3) { self.one_of(&["1", "\"x\"", "[]"]) } else { value };
            if !value.is_empty() {
                members.push(format!("\"{name}\":{value}"));
            }
        }
        if self.chance(20) {
            let value = self.one_of(&["0", "1", "2", "-1", "\"1\"", "1.5", "null"]);
            members.push(format!("\"protocol\":{value}"));
        }
        if self.chance(15) {
            let others = [
                "\"x\":{}",
                "\"account\":\"\"",
                "\"account\":\"a\"",
                "\"new_account\":true",
                "\"name\":null",
                "\"lang\":[1]",
            ];
            members.push(self.one_of(&others).to_owned());
        }
        self.say("CONNECT");
        self.say_one_of(&[" ", " ", "  ", "", "\t"]);
        self.say(&format!("{{{}}}\r\n", members.join(",")));
    }

    fn sub(&mut self) {
        self.say("SUB");
        self.blank();
        self.say_one_of(SUBJECTS);
        self.blank();
        if self.chance(20) {
            // Each is alone in its group, so that it does not matter who is chosen.
            let name = self.one_of(&["q", "*", ">", "a.b", "a..b"]);
            let number = self.random.u32(..);
            self.say(&format!("{name}{number} "));
        }
        self.say_one_of(SIDS);
        self.say_one_of(&["\r\n", "\r\n", "\r\n", " \r\n", "\n"]);
    }

    fn publish(&mut self, with_headers: bool) {
        let block = if with_headers { self.one_of(BLOCKS) } else { "" };
        let payload: String =
            (0..self.random.usize(..6)).map(|_| self.one_of(&["a", "b", "\r", "\n", " ", "\0"])).collect();
        self.say(if with_headers { "HPUB" } else { "PUB" });
        self.blank();
        self.say_one_of(SUBJECTS);
        self.blank();
        if self.chance(40) {
            self.say_one_of(SUBJECTS);
            self.blank();
        }
        for size in with_headers.then_some(block.len()).into_iter().chain([block.len() + payload.len()]) {
            if self.chance(2) {
                self.say_one_of(SIZES);
            } else {
                self.say(&size.to_string());
            }
            self.say_one_of(&["", "", " "]);
            self.say(" ");
        }
        self.say("\r\n");
        self.say(block);
        self.say(&payload);
        self.say("\r\n");
    }

    fn unsub(&mut self) {
        self.say("UNSUB");
        self.blank();
        self.say_one_of(SIDS);
        if self.chance(50) {
            self.say(" ");
            self.say_one_of(&["0", "1", "2", "3", "-1", "x", "007", "1000000000", "+1"]);
        }
        self.say("\r\n");
    }
}
