//! `rowcall exec`: a command for each event of a watched table, at least once where that is promised, and the
//! command's end, which is never taken for granted.

use super::{table, text, watch};
use harness::{Child, Kind, Site, eventually};
use nix::sys::signal::Signal;
use std::fs;

on_each_server!(a_command_is_run_for_each_row, an_event_is_done_when_its_command_says_so);

#[test]
fn a_command_that_does_not_end_is_ended() {
    let Some(site) = Site::start(Kind::MariaDb) else { return };
    // It and what it has started ignore being told to end, and hold what they were given.
    let script = "trap '' TERM; echo started; sleep 1000";
    let arguments = ["-n", "1", "--timeout", "100ms", "a", "--", "sh", "-c", script];
    let mut child = exec(&site, &arguments);
    assert!(site.rowcall(&["notify", "a", "x"]).status.success());
    child.prints("started");
    let status = child.wait();
    assert_eq!(status.code(), Some(1));
    let said = child.said();
    assert!(said.contains("signal: 9") && said.contains("1 of 1 events failed"), "{said}");
}

#[test]
fn a_second_interrupt_does_not_wait_for_the_command() {
    let Some(site) = Site::start(Kind::MariaDb) else { return };
    let file = site.folder.path().join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", file.display());
    let mut child = exec(&site, &["a", "--", "sh", "-c", &script]);
    assert!(site.rowcall(&["notify", "a", "x"]).status.success());
    let pid = eventually("it runs", || fs::read_to_string(&file).ok());
    child.signal(Signal::SIGINT);
    child.says("Ctrl-C again leaves at once");
    assert!(child.is_running());
    child.signal(Signal::SIGINT);
    eventually("it has left", || (!child.is_running()).then_some(()));
    // The command goes on, with the stdout that it was given.
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    assert_eq!(child.wait().code(), Some(130));
}

fn exec(site: &Site, arguments: &[&str]) -> Child {
    let child = Child::start("exec", &mut site.rowcall_command(&[&["exec"], arguments].concat()));
    child.says("running");
    child
}

fn a_command_is_run_for_each_row(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    let script = "cat > /dev/null; echo \"$ROWCALL_SUBJECT $ROWCALL_OP $ROWCALL_TABLE $ROWCALL_NEW_CUSTOMER $ROWCALL_OLD_TOTAL>$ROWCALL_NEW_TOTAL\"";
    let mut child = exec(&site, &["-n", "3", "test.orders.>", "--", "sh", "-c", script]);
    sql.query("INSERT INTO orders VALUES (1, 'O''Hara \"x\" $HOME', 12.50)").unwrap();
    sql.query("UPDATE orders SET total = 13").unwrap();
    sql.query("DELETE FROM orders").unwrap();
    let expected = [
        "test.orders.insert insert orders O'Hara \"x\" $HOME >12.50",
        "test.orders.update update orders O'Hara \"x\" $HOME 12.50>13.00",
        "test.orders.delete delete orders  13.00>",
    ];
    assert_eq!(child.printed(3), expected);
    assert!(child.wait().success());
}

fn an_event_is_done_when_its_command_says_so(kind: Kind) {
    let Some(site) = Site::committed(kind) else { return };
    let mut sql = site.connect();
    table(&mut sql);
    watch(&site, &["test.orders"]);
    let added = site.rowcall(&[
        "consumer",
        "add",
        "work",
        "test.orders.>",
        "--max-deliveries",
        "2",
        "--backoff",
        "10ms",
    ]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    // The first waits a little and works then, the second never works, the third at once.
    let folder = site.folder.path().join("tried");
    fs::create_dir(&folder).unwrap();
    let script = format!(
        "case $ROWCALL_NEW_ID in 1) mkdir {}/1 2>/dev/null && exit 75; exit 0;; 2) exit 3;; esac",
        folder.display()
    );
    let arguments = ["--consumer", "work", "--jobs", "2", "--retry-after", "20ms", "--", "sh", "-c", &script];
    let mut child = exec(&site, &arguments);
    sql.query("INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)").unwrap();
    eventually("two are done, and one is parked", || {
        let row =
            sql.query("SELECT settled, parked FROM rowcall.status WHERE consumer = 'work'").unwrap().rows;
        let numbers = row.first()?.iter().map(|value| text(value.as_deref().unwrap())).collect::<Vec<_>>();
        (numbers == ["2", "1"]).then_some(())
    });
    child.signal(Signal::SIGINT);
    assert_eq!(child.wait().code(), Some(1));
    let said = child.said();
    for words in [
        "exit code 75; it comes again after 20ms",
        "exit status: 3; it comes again after the consumer's pause",
        "3 of 5 events failed",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
