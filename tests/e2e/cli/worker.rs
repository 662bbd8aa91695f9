//! `rowcall reply` as a worker of a durable consumer. The consumer is JetStream's own, so that it is
//! the real protocol; what the daemon does with answers stands elsewhere.

use super::desk::{Desk, interrupt, json, rowcall, run, until};
use harness::nats_server::NatsServer;
use harness::{Child, Daemon};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// A stream, a durable consumer, and someone who hears what its workers answer.
struct JetStream {
    nats: NatsServer,
    answers: Child,
    folder: TempDir,
}

impl JetStream {
    fn start() -> JetStream {
        let folder = harness::folder();
        let nats = NatsServer::start(&format!("jetstream {{ store_dir: \"{}\" }}", folder.path().display()));
        let stream = r#"{"name":"S","subjects":["shop.>"],"storage":"memory"}"#;
        let consumer = r#"{"stream_name":"S","config":{"durable_name":"c","ack_policy":"explicit",
            "deliver_subject":"rowcall.consumer.c","deliver_group":"rowcall-reply"}}"#;
        for (call, body) in [("STREAM.CREATE.S", stream), ("CONSUMER.DURABLE.CREATE.S.c", consumer)] {
            let said = run(&mut rowcall(&nats.tcp, &["request", &format!("$JS.API.{call}"), body]), b"");
            let answer = json(&String::from_utf8_lossy(&said.out));
            assert!(answer["created"].is_string(), "{answer}");
        }
        let answers = Child::start("listen", &mut rowcall(&nats.tcp, &["listen", "--json", "$JS.ACK.>"]));
        answers.says("listening");
        JetStream { nats, answers, folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = rowcall(&self.nats.tcp, arguments);
        command.current_dir(self.folder.path());
        command
    }

    fn worker(&self, arguments: &[&str], script: &str) -> Child {
        let arguments = [&["reply", "rowcall.consumer.c"], arguments, &["--", "sh", "-c", script]].concat();
        let child = Child::start("reply", &mut self.command(&arguments));
        child.says("answering");
        child
    }

    fn publish(&self, subject: &str, payload: &str) {
        run(&mut self.command(&["notify", subject, payload]), b"").is(0, "");
    }

    /// So many answers: to which event, and which.
    fn answers(&self, number: usize) -> Vec<String> {
        let answer = |line: &String| {
            let message = json(line);
            let event = message["subject"].as_str().unwrap().split('.').nth(5).unwrap().to_owned();
            format!("{event} {}", message["payload"].as_str().unwrap())
        };
        self.answers.printed(number).iter().map(answer).collect()
    }
}

#[test]
fn events_are_acknowledged_or_handed_back() {
    let jetstream = JetStream::start();
    let script = r#"read x; echo "got $x of $ROWCALL_SUBJECT"; [ -e good ] || { touch good; exit 3; }"#;
    let plain = jetstream.worker(&[], script);
    jetstream.publish("shop.a", "one\n");
    assert_eq!(jetstream.answers(2), ["1 -NAK", "1 +ACK"]);
    plain.says("exit status: 3; the event will be delivered again");
    plain.prints("got one of shop.a");
    interrupt(plain);
    // With --json nothing but objects is on stdout.
    let programs = jetstream.worker(&["--json"], script);
    jetstream.publish("shop.b", "two\n");
    assert_eq!(jetstream.answers(3)[2], "2 +ACK");
    programs.says("got two of shop.b");
    assert_eq!(json(&programs.printed(1)[0])["payload"], "two\n");
    interrupt(programs);
}

/// The answer is there when the command ends, whatever it has started meanwhile.
#[test]
fn what_a_command_leaves_behind_holds_up_no_answer() {
    let desk = Desk::new();
    let _worker = desk.worker(&["a", "--", "sh", "-c", "echo 2.50; sleep 60 &"]);
    desk.run(&["request", "a", "x", "-t", "30000"]).is(0, "2.50\n");
}

/// A request that had not begun when its connection ended is not worked on: nobody would hear the answer.
#[test]
fn requests_of_an_ended_connection_are_dropped() {
    let mut desk = Desk::new();
    let [runs, go] = ["runs", "go"].map(|name| desk.folder.path().join(name));
    let script = format!("cat >> {}; until [ -e {} ]; do sleep 0.01; done", runs.display(), go.display());
    let worker = desk.worker(&["a", "--", "sh", "-c", &script]);
    let mut caller = desk.daemon.terminal().hello();
    for n in 1..=4 {
        caller.send(format!("PUB a answers 2\r\n{n}\n\r\n"));
    }
    // What nobody waits for is worked on.
    caller.send("PUB a 2\r\n5\n\r\n");
    caller.barrier();
    until("one has begun", || fs::read_to_string(&runs).is_ok_and(|runs| runs == "1\n"));
    desk.daemon.stop();
    worker.says("trying again; 3 requests that had not begun are dropped: no answer would arrive");
    desk.daemon = Daemon::start(&desk.daemon.socket);
    worker.says("connected again");
    fs::write(&go, "").unwrap();
    desk.run(&["request", "a", "6\n", "-t", "30000"]).is(0, "");
    assert_eq!(fs::read_to_string(&runs).unwrap(), "1\n5\n6\n", "{}", worker.said());
}

/// Neither what an outer command was told nor what we were told ourselves.
#[test]
fn a_command_is_told_of_its_own_message_only() {
    let desk = Desk::new();
    let mut worker =
        desk.command(&["reply", "a", "--", "sh", "-c", "env | grep -e ROWCALL -e SQL -e hidden | sort"]);
    for name in ["NEW_ID", "HEADER_ROWCALL_KEY", "OP", "FIELD_ID", "PASSWORD", "TOKEN", "USER"] {
        worker.env(format!("ROWCALL_{name}"), "hidden");
    }
    let worker = Child::start("reply", worker.env("MYSQL_PWD", "hidden"));
    worker.says("answering");
    desk.run(&["request", "a", "{\"id\":7}"]).is(0, "ROWCALL_FIELD_ID=7\nROWCALL_SUBJECT=a\n");
}

/// Neither an event that is worked on nor one that waits for a job is to be delivered again; when the
/// worker leaves, it gives back what it has not begun.
#[test]
fn a_worker_says_that_it_is_still_at_it() {
    let jetstream = JetStream::start();
    let mut worker = jetstream.worker(&[], "touch begun; until [ -e go ]; do sleep 0.01; done");
    for _ in 0..2 {
        jetstream.publish("shop.a", "x");
    }
    let mut progress = jetstream.answers(2);
    progress.sort();
    assert_eq!(progress, ["1 +WPI", "2 +WPI"]);
    until("it has begun", || jetstream.folder.path().join("begun").exists());
    worker.signal(Signal::SIGTERM);
    assert_eq!(jetstream.answers(3)[2], "2 -NAK");
    fs::write(jetstream.folder.path().join("go"), "").unwrap();
    assert_eq!(jetstream.answers(4)[3], "1 +ACK");
    assert_eq!(worker.wait().code(), Some(0));
}
