//! Who gets what: wildcards, queue groups, and subscriptions that end after so many messages.

use super::{QUIET, everywhere, everywhere_with};

#[test]
fn wildcards() {
    everywhere(|open| {
        let mut it = open();
        it.send(QUIET);
        for (filter, subject, heard) in [
            ("a", "a", true),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("*.*", "a.b", true),
            ("*.>", "a.b.c", true),
            ("*.>", "a", false),
            // Only whole tokens are wildcards.
            ("a*", "ab", false),
            ("a*", "a*", true),
            (">>", "a", false),
            ("a.**", "a.b", false),
            // Published, a wildcard is a token like any other.
            ("a.*", "a.*", true),
            ("a.>", "a.>", true),
            ("a.b", "a.*", false),
            (">", "a..b", false),
            (">", ".a", false),
            (">", "a.", false),
            ("$SYS.x", "$SYS.x", true),
        ] {
            eprintln!("{filter} {subject}");
            it.send(format!("SUB {filter} 1\r\nPUB {subject} 1\r\nx\r\nUNSUB 1\r\n"));
            if heard {
                it.expect(format!("MSG {subject} 1 1\r\nx\r\n"));
            }
            it.barrier();
        }
        for wrong in ["a..b", ".a", "a.", ".", "a.>.b", ">.a"] {
            it.send(format!("SUB {wrong} 1\r\n"));
            it.expect("-ERR 'Invalid Subject'\r\n");
            it.barrier();
        }
        // The sid was not taken by any of them.
        it.send("SUB a 1\r\nPUB a 1\r\nx\r\n");
        it.expect("MSG a 1 1\r\nx\r\n");
    });
}

#[test]
fn a_sid_in_use_stays_with_the_first() {
    everywhere(|open| {
        let mut it = open();
        it.send(QUIET);
        it.send("SUB a one\r\nSUB b one\r\nPUB b 1\r\nx\r\nPUB a 1\r\nx\r\n");
        it.expect("MSG a one 1\r\nx\r\n");
        it.send("UNSUB one\r\nSUB b one\r\nPUB a 1\r\nx\r\nPUB b 1\r\nx\r\n");
        it.expect("MSG b one 1\r\nx\r\n");
        it.barrier();
    });
}

#[test]
fn unsub_counts_from_the_sub() {
    everywhere(|open| {
        let mut it = open();
        it.send(QUIET);
        let mut run = |script: &str, heard: usize| {
            eprintln!("{script}");
            it.send(script.replace("PUB", "PUB a 1\r\nx").replace("; ", "\r\n") + "\r\n");
            for _ in 0..heard {
                it.expect("MSG a 1 1\r\nx\r\n");
            }
            it.barrier();
            it.send("UNSUB 1\r\n");
        };
        run("SUB a 1; UNSUB 1 2; PUB; PUB; PUB", 2);
        run("SUB a 1; PUB; PUB; UNSUB 1 3; PUB; PUB", 3);
        // As many or more were delivered already: it ends now.
        run("SUB a 1; PUB; PUB; UNSUB 1 2; PUB", 2);
        run("SUB a 1; PUB; PUB; UNSUB 1 1; PUB", 2);
        // The later one counts.
        run("SUB a 1; UNSUB 1 1; UNSUB 1 3; PUB; PUB; PUB; PUB", 3);
        run("SUB a 1; UNSUB 1 3; PUB; UNSUB 1; PUB", 1);
        // None of these is a number of messages.
        run("SUB a 1; UNSUB 1 0; PUB", 0);
        run("SUB a 1; UNSUB 1 -3; PUB", 0);
        run("SUB a 1; UNSUB 1 two; PUB", 0);
        // Afterwards the sid is free.
        run("SUB a 1; UNSUB 1 1; PUB; PUB; SUB a 1; PUB", 2);
    });
}

#[test]
fn a_queue_group_is_its_name_whatever_its_filters() {
    everywhere(|open| {
        let mut members = [open().hello(), open().hello(), open().hello()];
        for (member, filter) in members.iter_mut().zip(["g.b", "g.*", "g.>"]) {
            member.send(format!("SUB {filter} q 1\r\n"));
            member.barrier();
        }
        let mut others = open().hello();
        others.send("SUB g.b other 1\r\nSUB g.b 2\r\n");
        others.barrier();
        let mut publisher = open().hello();
        publisher.send("PUB g.b 1\r\nx\r\n".repeat(300));
        publisher.barrier();
        // Another name is another group, and plain subscriptions get theirs besides.
        let mut sids = [0; 3];
        for _ in 0..600 {
            let line = others.line();
            sids[line.split(' ').nth(2).unwrap().parse::<usize>().unwrap()] += 1;
            others.line();
        }
        assert_eq!(sids, [0, 300, 300]);
        // Together the members get each once, and none of them goes without.
        let counts = members.map(|mut member| {
            member.send("PING\r\n");
            let lines: Vec<_> =
                std::iter::repeat_with(|| member.line()).take_while(|l| l != "PONG").collect();
            assert!(lines.chunks(2).all(|two| two == ["MSG g.b 1 1", "x"]), "{lines:?}");
            lines.len() / 2
        });
        assert_eq!(counts.iter().sum::<usize>(), 300, "{counts:?}");
        assert!(counts.iter().all(|&count| (50..150).contains(&count)), "{counts:?}");
    });
}

#[test]
fn a_member_that_has_had_enough_is_no_longer_chosen() {
    everywhere(|open| {
        let mut it = open();
        it.send(QUIET);
        it.send("SUB j q 1\r\nUNSUB 1 5\r\nSUB j q 2\r\n");
        it.send("PUB j 1\r\nx\r\n".repeat(100));
        let mut counts = [0; 3];
        for _ in 0..100 {
            let line = it.line();
            counts[line.split(' ').nth(2).unwrap().parse::<usize>().unwrap()] += 1;
            it.expect("x\r\n");
        }
        assert_eq!(counts, [0, 5, 95], "nothing is lost by it");
        it.barrier();
    });
}

#[test]
fn so_many_subscriptions_and_no_more() {
    everywhere_with("max_subscriptions = 2", "max_subscriptions: 2", |open| {
        let mut it = open();
        it.send(QUIET);
        it.send("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n");
        it.expect("-ERR 'maximum subscriptions exceeded'\r\n");
        it.send("PUB c 1\r\nx\r\nPUB b 1\r\nx\r\nUNSUB 1\r\nSUB c 3\r\nPUB c 1\r\nx\r\n");
        it.expect("MSG b 2 1\r\nx\r\nMSG c 3 1\r\nx\r\n");
        it.barrier();
    });
}
