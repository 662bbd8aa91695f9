//! The lines in docs/http.md do what stands below them.

use super::daemon;
use harness::{Child, Daemon, repository};
use std::process::Command;

/// The command lines of the page's consoles, each with what it prints.
fn consoles() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(repository().join("docs/http.md")).unwrap();
    let blocks = page.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1));
    commands.map(|command| command.split_once('\n').unwrap()).map(|(a, b)| (a.into(), b.into())).collect()
}

/// A worker as the page has it.
fn worker(daemon: &Daemon) -> Child {
    let mut command = Command::new(harness::built("rowcall"));
    command.args(["reply", "shop.price", "-s", &format!("nats://{}", daemon.tcp), "--", "echo", "2.50"]);
    let worker = Child::start("worker", &mut command);
    worker.says("answering");
    worker
}

#[test]
fn the_page_says_what_is_so() {
    let (_folder, daemon) = daemon("");
    let _worker = worker(&daemon);
    let consoles = consoles();
    assert!(consoles.len() >= 3, "{consoles:#?}");
    for (line, expected) in consoles {
        let command = line.replace("127.0.0.1:8222", &daemon.http);
        let ran = Command::new("timeout").args(["20", "sh", "-c", &command]).output().unwrap();
        let printed = String::from_utf8(ran.stdout).unwrap().replace("\r\n", "\n");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(printed.trim_end(), expected.trim_end(), "{line}\n{said}");
    }
}
