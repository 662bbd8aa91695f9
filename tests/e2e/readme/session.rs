//! The session in README.md is what the commands print today, times aside. `make pictures` writes it anew
//! (ROWCALL_PICTURES).

use harness::{Child, Kind, Shell, Site, repository};
use std::fs::{self, File};
use std::io::Write;
use std::process::Stdio;

/// What is typed, and the words in the last line that comes of it.
const TYPED: [(&str, &str); 8] = [
    ("rowcall watch shop.orders", "rows that replication brings"),
    ("rowcall listen -n 3 'shop.orders.*' &", "listening to"),
    ("mariadb shop -e \"INSERT INTO orders (customer, total) VALUES ('Ada', 12.50)\"", "insert"),
    ("mariadb shop -e \"UPDATE orders SET total = 13.99 WHERE id = 1\"", "update"),
    ("mariadb shop -e \"DELETE FROM orders WHERE id = 1\"", "delete"),
    ("rowcall consumer add mail shop.orders.insert", "-- COMMAND"),
    ("rowcall exec --consumer mail -- sh -c 'echo \"mail to $ROWCALL_NEW_CUSTOMER\"' &", "running"),
    ("mariadb shop -e \"INSERT INTO orders (customer, total) VALUES ('Grace', 99)\"", "mail to"),
];

/// Between these lines it stands.
const BEGINS: &str = "<!-- What follows is written by make pictures. -->\n```console\n";
const ENDS: &str = "```\n<!-- What was written by make pictures ends here. -->\n";

/// The terminal, with everything that was typed and printed.
fn session() -> Option<String> {
    let site = Site::committed(Kind::MariaDb)?;
    let mut shell = Shell::new();
    shell.make("files");
    shell.reach(&site.server.socket);
    shell.set("ROWCALL_SERVER", format!("unix:{}", site.socket.display()));
    let mut sql = site.connect();
    sql.query("CREATE DATABASE shop").unwrap();
    sql.query(
        "CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, customer TEXT, total DECIMAL(10,2))",
    )
    .unwrap();

    let (keyboard, typed) = nix::unistd::pipe().unwrap();
    let mut typed = File::from(typed);
    let mut bash = shell.command("exec bash 2>&1");
    let terminal = Child::start("terminal", bash.stdin(Stdio::from(keyboard)));
    let (mut session, mut shown) = (String::new(), 0);
    for (line, last_words) in TYPED {
        writeln!(typed, "{line}").unwrap();
        session += &format!("$ {line}\n");
        loop {
            shown += 1;
            let printed = &terminal.printed(shown)[shown - 1];
            session += &format!("{printed}\n");
            if printed.contains(last_words) {
                break;
            }
        }
    }
    // The worker stays until its terminal is gone.
    writeln!(typed, "kill %2").unwrap();
    drop(typed);
    Some(session)
}

/// The same without the times at the beginnings of lines.
fn timeless(session: &str) -> String {
    let is_time = |word: &str| {
        word.len() == "14:39:19.454".len()
            && word.bytes().all(|byte| byte.is_ascii_digit() || b":.".contains(&byte))
    };
    let line = |line: &str| match line.split_once(' ') {
        Some((time, rest)) if is_time(time) => format!("HH:MM:SS.mmm {rest}\n"),
        _ => format!("{line}\n"),
    };
    session.lines().map(line).collect()
}

#[test]
fn is_what_the_commands_print() {
    let Some(session) = session() else { return };
    let path = repository().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGINS).expect("README.md has a session");
    let (written, after) = rest.split_once(ENDS).expect("the session has an end");
    if std::env::var_os("ROWCALL_PICTURES").is_some() {
        fs::write(&path, [before, BEGINS, &session, ENDS, after].concat()).unwrap();
        return;
    }
    assert_eq!(timeless(written), timeless(&session), "README.md shows another session: make pictures");
}

#[test]
fn times_do_not_matter_and_words_do() {
    let (one, other) = ("$ a\n14:39:19.454  x\n", "$ a\n08:00:00.001  x\n");
    assert_eq!(timeless(one), timeless(other));
    assert_ne!(timeless(one), timeless("$ a\n14:39:19.454  y\n"));
    assert_ne!(timeless(one), timeless("$ b\n14:39:19.454  x\n"));
}
