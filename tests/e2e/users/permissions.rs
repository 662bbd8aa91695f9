//! What each may publish and subscribe to; and that nobody receives what is not allowed, whichever way it
//! might come.

use super::{User, enter, everywhere, users_file, write_users};
use harness::{Daemon, Terminal};

/// Says that a subscription is refused, and that the sid stays free.
fn refused(terminal: &mut Terminal, subscription: &str, quoted: &str) {
    terminal.send(format!("SUB {subscription} 99\r\n"));
    terminal.expect(format!("-ERR 'Permissions Violation for Subscription to {quoted}'\r\n"));
}

fn forbidden(terminal: &mut Terminal, subject: &str) {
    terminal.send(format!("PUB {subject} 2\r\nhi\r\n"));
    terminal.expect(format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n"));
}

#[test]
fn lists_for_publishing() {
    let users = [
        User::new(
            "some",
            "publish = { allow = [\"a.*\", \"b.>\"], deny = [\"b.secret\", \"b.x.>\"] }",
            "permissions: { publish: { allow: [\"a.*\", \"b.>\"], deny: [\"b.secret\", \"b.x.>\"] } }",
        ),
        User::new("none", "publish = { allow = [] }", "permissions: { publish: { deny: \">\" } }"),
        User::new("all", "", ""),
    ];
    everywhere(&users, |open| {
        let (mut some, mut none, mut all) =
            (enter(open(), "some"), enter(open(), "none"), enter(open(), "all"));
        all.send("SUB > 1\r\n");
        all.barrier();
        for fine in ["a.1", "b.1", "b.1.2", "b.secret.x"] {
            some.send(format!("PUB {fine} 2\r\nhi\r\n"));
            some.barrier();
            all.expect(format!("MSG {fine} 1 2\r\nhi\r\n"));
        }
        for wrong in ["a", "a.1.2", "c", "b.secret", "b.x.1", "b"] {
            forbidden(&mut some, wrong);
            forbidden(&mut none, wrong);
        }
        some.barrier();
        all.barrier();
        // In place of +OK, and the complaint of a pedantic one besides.
        some.send("CONNECT {\"verbose\":true,\"pedantic\":true}\r\nPUB a.1 1\r\nx\r\nPUB c 1\r\nx\r\nPUB c.* 1\r\nx\r\nPING\r\n");
        some.expect("+OK\r\n+OK\r\n-ERR 'Permissions Violation for Publish to \"c\"'\r\n");
        some.expect("-ERR 'Invalid Publish Subject'\r\n-ERR 'Permissions Violation for Publish to \"c.*\"'\r\nPONG\r\n");
        all.expect("MSG a.1 1 1\r\nx\r\n");
        all.barrier();
        // As Go quotes it: clients take it apart.
        some.send("PUB c\"\\\x01 1\r\nx\r\n");
        some.expect("-ERR 'Permissions Violation for Publish to \"c\\\"\\\\\\x01\"'\r\n");
        some.send("PUB größe.€ 1\r\nx\r\n");
        some.expect("-ERR 'Permissions Violation for Publish to \"größe.€\"'\r\n");
    });
}

#[test]
fn lists_for_subscribing() {
    let users = [
        User::new(
            "some",
            "subscribe = { allow = [\"a.*\", \"b.>\"], deny = [\"b.secret\"] }",
            "permissions: { subscribe: { allow: [\"a.*\", \"b.>\"], deny: \"b.secret\" } }",
        ),
        User::new("all", "", ""),
    ];
    everywhere(&users, |open| {
        let (mut some, mut all) = (enter(open(), "some"), enter(open(), "all"));
        some.send("SUB a.* 1\r\nSUB a.1 2\r\nSUB b.> q 3\r\n");
        some.barrier();
        for wrong in ["c", "a", "a.1.2", "*", ">", "*.1", "b", "b.secret"] {
            refused(&mut some, wrong, &format!("\"{wrong}\""));
        }
        refused(&mut some, "c.> q1", "\"c.>\" using queue \"q1\"");
        // What is allowed comes before what is valid.
        refused(&mut some, "c..d", "\"c..d\"");
        all.send("PUB a.2 1\r\nx\r\nPUB b.secret 1\r\nx\r\nPUB b.other 1\r\nx\r\nPUB c 1\r\nx\r\n");
        all.barrier();
        some.expect("MSG a.2 1 1\r\nx\r\nMSG b.other 3 1\r\nx\r\n");
        some.barrier();
        some.send("CONNECT {\"verbose\":true}\r\nSUB a.3 7\r\nSUB c 8\r\nPING\r\n");
        some.expect("+OK\r\n+OK\r\n-ERR 'Permissions Violation for Subscription to \"c\"'\r\nPONG\r\n");
    });
}

#[test]
fn queue_groups_in_the_lists() {
    let users = [User::new(
        "some",
        "subscribe = { allow = [\"work crew\", \"work v1.*\", \"free\"] }",
        "permissions: { subscribe: { allow: [\"work crew\", \"work v1.*\", \"free\"] } }",
    )];
    everywhere(&users, |open| {
        let mut some = enter(open(), "some");
        some.send("SUB work crew 1\r\nSUB work v1.x 2\r\nSUB free 3\r\nSUB free any 4\r\n");
        some.barrier();
        refused(&mut some, "work", "\"work\"");
        refused(&mut some, "work other", "\"work\" using queue \"other\"");
    });
}

#[test]
fn what_is_denied_within_a_wider_subscription_is_left_out() {
    let users = [
        User::new(
            "some",
            "subscribe = { deny = [\"secret.>\", \"b.x\"] }",
            "permissions: { subscribe: { deny: [\"secret.>\", \"b.x\"] } }",
        ),
        User::new("all", "", ""),
    ];
    everywhere(&users, |open| {
        let (mut some, mut all) = (enter(open(), "some"), enter(open(), "all"));
        some.send("SUB > 1\r\nSUB b.* 2\r\nSUB *.x q 3\r\nUNSUB 2 1\r\n");
        some.barrier();
        refused(&mut some, "secret.a", "\"secret.a\"");
        all.send("PUB secret.a 1\r\nx\r\nPUB b.x 1\r\nx\r\nPUB secret.x 1\r\nx\r\nPUB last 1\r\nx\r\n");
        all.barrier();
        some.expect("MSG last 1 1\r\nx\r\n");
        some.barrier();
    });
}

#[test]
fn a_request_may_be_answered_by_whoever_was_given_it() {
    let users = [
        User::new("worker", "allow_responses = true", "permissions: { allow_responses: true }"),
        User::new(
            "twice",
            "publish = { allow = [\"log\"] }\nallow_responses = { max = 2, ttl = \"1m\" }",
            "permissions: { publish: { allow: \"log\" }, allow_responses: { max: 2, expires: \"1m\" } }",
        ),
        User::new("all", "", ""),
    ];
    everywhere(&users, |open| {
        let (mut worker, mut twice, mut all) =
            (enter(open(), "worker"), enter(open(), "twice"), enter(open(), "all"));
        worker.send("SUB once 1\r\n");
        twice.send("SUB twice 1\r\n");
        all.send("SUB in.> 1\r\n");
        [&mut worker, &mut twice, &mut all].into_iter().for_each(Terminal::barrier);
        // Before it was asked, and somewhere else, it may not.
        forbidden(&mut worker, "in.1");
        all.send("PUB once in.1 1\r\nx\r\n");
        worker.expect("MSG once 1 in.1 1\r\nx\r\n");
        forbidden(&mut worker, "in.2");
        worker.send("PUB in.1 2\r\nhi\r\n");
        all.expect("MSG in.1 1 2\r\nhi\r\n");
        forbidden(&mut worker, "in.1");
        all.send("PUB twice in.3 1\r\nx\r\n");
        twice.expect("MSG twice 1 in.3 1\r\nx\r\n");
        twice.send("PUB in.3 1\r\n1\r\nPUB in.3 1\r\n2\r\nPUB log 1\r\nx\r\n");
        all.expect("MSG in.3 1 1\r\n1\r\nMSG in.3 1 1\r\n2\r\n");
        forbidden(&mut twice, "in.3");
        forbidden(&mut twice, "other");
        all.barrier();
    });
}

#[test]
fn answers_have_bounds() {
    let folder = harness::folder();
    let users = users_file(&[
        User::new("worker", "allow_responses = true", ""),
        User::new("none", "allow_responses = { max = 0 }", ""),
        User::new("all", "", ""),
    ]);
    let daemon = Daemon::with_settings(folder.path(), &write_users(folder.path(), &users));
    let (mut worker, mut none, mut all) = (
        enter(daemon.terminal(), "worker"),
        enter(daemon.terminal(), "none"),
        enter(daemon.terminal(), "all"),
    );
    worker.send("SUB ask 1\r\n");
    none.send("SUB ask 1\r\n");
    all.send("SUB in.> 1\r\n");
    [&mut worker, &mut none, &mut all].into_iter().for_each(Terminal::barrier);
    // What is longer is not remembered.
    let (longest, longer) = (format!("in.{}", "x".repeat(509)), format!("in.{}", "x".repeat(510)));
    for inbox in [&longer, &longest] {
        all.send(format!("PUB ask {inbox} 1\r\nx\r\n"));
        for it in [&mut worker, &mut none] {
            assert_eq!(it.message().reply.as_ref(), Some(inbox));
        }
        forbidden(&mut none, inbox);
    }
    forbidden(&mut worker, &longer);
    worker.send(format!("PUB {longest} 2\r\nhi\r\n"));
    all.expect(format!("MSG {longest} 1 2\r\nhi\r\n"));
    all.barrier();
}

/// A user who may listen to `open.>` and to an inbox, and one who may do everything.
fn guarded(folder: &tempfile::TempDir) -> (Daemon, Terminal, Terminal) {
    let users = users_file(&[
        User::new("guest", "subscribe = { allow = [\"open.>\", \"mine.>\"], deny = [\"open.not\"] }", ""),
        User::new("all", "", ""),
    ]);
    let daemon = Daemon::with_settings(folder.path(), &write_users(folder.path(), &users));
    let (guest, all) = (enter(daemon.terminal(), "guest"), enter(daemon.terminal(), "all"));
    (daemon, guest, all)
}

/// Directly, by a wildcard that would overlap, by a queue group, by a reply subject: nothing comes.
#[test]
fn nobody_receives_what_is_not_allowed() {
    let folder = harness::folder();
    let (daemon, mut guest, mut all) = guarded(&folder);
    guest.send("SUB secret 1\r\nSUB > 2\r\nSUB * 3\r\nSUB secret q 4\r\nSUB open.not 5\r\nSUB *.not 6\r\nSUB theirs.> 7\r\n");
    guest.send("SUB secret. 8\r\nSUB .> 9\r\nSUB open.>.x 10\r\n");
    for _ in 0..9 {
        let line = guest.line();
        assert!(line.starts_with("-ERR 'Permissions Violation for Subscription to "), "{line}");
    }
    // Covered by what is allowed, or by nothing: it makes no difference, the filter is none.
    guest.line();
    guest.send("SUB open.> 11\r\nSUB open.* crew 12\r\nSUB open.* crew 13\r\n");
    guest.barrier();
    all.send(
        "PUB secret 1\r\nx\r\nPUB open.not 1\r\nx\r\nPUB secret theirs.in 1\r\nx\r\nPUB theirs.in 1\r\nx\r\n",
    );
    all.barrier();
    guest.barrier();
    // The group's other member is chosen, each time.
    all.send("SUB open.* crew 1\r\n");
    all.barrier();
    for _ in 0..50 {
        all.send("PUB open.not 1\r\nx\r\n");
        all.expect("MSG open.not 1 1\r\nx\r\n");
    }
    // With nobody else it is as if nobody were there.
    all.send("UNSUB 1\r\nSUB in 2\r\nPUB open.not in 1\r\nx\r\n");
    all.expect("HMSG in 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
    guest.barrier();
    assert_eq!(daemon.varz()["forbidden"]["subscribe"], 9);
}

/// The publisher's own rights do not reach through a reply subject: what the guest may not hear, a worker's
/// answer does not bring.
#[test]
fn an_answer_goes_to_nobody_who_may_not_hear_it() {
    let folder = harness::folder();
    let (_daemon, mut guest, mut all) = guarded(&folder);
    guest.send("SUB open.> 1\r\n");
    guest.barrier();
    all.send("SUB ask 1\r\n");
    all.barrier();
    guest.send("PUB ask open.not 1\r\nx\r\nPUB ask open.fine 1\r\nx\r\n");
    for reply in ["open.not", "open.fine"] {
        let request = all.message();
        assert_eq!(request.reply.as_deref(), Some(reply));
        all.answer(&request, "yes");
    }
    guest.expect("MSG open.fine 1 3\r\nyes\r\n");
    guest.barrier();
}

/// Without a file of users nothing of this is in the way.
#[test]
fn without_users_nobody_has_to_log_in() {
    let folder = harness::folder();
    let daemon = Daemon::with_settings(folder.path(), "");
    let mut it = daemon.terminal();
    assert!(!it.info.contains("auth_required") && !it.info.contains("nonce"));
    it.send("CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\nSUB > 1\r\nPUB a 1\r\nx\r\n");
    it.expect("MSG a 1 1\r\nx\r\n");
    it.barrier();
}

/// Neither the right to publish to everything, nor that it is given by its name: there, nobody publishes.
#[test]
fn what_is_reserved_is_nobodys() {
    let folder = harness::folder();
    let users = [
        User::new("all", "publish = { allow = [\">\"] }", ""),
        User::new(
            "named",
            "publish = { allow = [\"rowcall.consumer.>\", \"$JS.ACK.rowcall.>\", \"$ROWCALL.>\"] }",
            "",
        ),
    ];
    let daemon = Daemon::with_settings(folder.path(), &write_users(folder.path(), &users_file(&users)));
    let mut listener = enter(daemon.terminal(), "all");
    listener.send("SUB > 1\r\n");
    listener.barrier();
    for name in ["all", "named"] {
        let mut it = enter(daemon.terminal(), name);
        for subject in ["rowcall.consumer.mail", "$JS.ACK.rowcall.mail.1.1.1.0.0", "$ROWCALL.parked.retry"] {
            forbidden(&mut it, subject);
        }
        it.send("PUB free rowcall.consumer.mail 1\r\nx\r\n");
        it.expect("-ERR 'Permissions Violation for Publish to \"free\"'\r\n");
        it.barrier();
    }
    listener.barrier();
}
