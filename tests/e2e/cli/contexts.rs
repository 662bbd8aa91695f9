//! The file of contexts: what is said there need not be said on the command line, and goes to nobody else.

use super::desk::{Said, rowcall, run};
use harness::receiver::Webhook;
use harness::{Daemon, Kind, Site};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The command, for somebody whose file of contexts is in this folder.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = rowcall("", arguments);
    command.env_remove("ROWCALL_SERVER").env("XDG_CONFIG_HOME", folder).env("HOME", folder);
    command
}

fn contexts(folder: &Path, text: &str) {
    fs::create_dir_all(folder.join("rowcall")).unwrap();
    fs::write(folder.join("rowcall/config.toml"), text).unwrap();
}

/// A daemon where one has to log in, and somebody who has a context for it and for another one.
struct Desk {
    daemon: Daemon,
    folder: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let folder = harness::folder();
        let users = folder.path().join("users.toml");
        // Of bcrypt, as `rowcall user hash --cost 4` gives it.
        let hash = run(&mut rowcall("", &["user", "hash", "--cost", "4"]), b"secret\n").out;
        let hash = String::from_utf8(hash).unwrap();
        fs::write(&users, format!("[[users]]\nname = \"ada\"\npassword = \"{}\"\n", hash.trim())).unwrap();
        let daemon = Daemon::with_settings(folder.path(), &format!("users = \"{}\"\n", users.display()));
        contexts(
            folder.path(),
            &format!(
                "context = \"prod\"\n[contexts.prod]\nserver = \"{}\"\nuser = \"ada\"\npassword_file = \"pw\"\n\
                 [contexts.lost]\nserver = \"127.0.0.1:1\"\n",
                daemon.tcp
            ),
        );
        // Beside the file of contexts.
        fs::write(folder.path().join("rowcall/pw"), "secret\n").unwrap();
        Desk { daemon, folder }
    }

    fn notify(&self, arguments: &[&str]) -> Said {
        run(&mut self.command(arguments), b"")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(self.folder.path(), &[&["notify", "a", "b"], arguments].concat())
    }
}

#[test]
fn the_context_says_which_daemon_and_as_whom() {
    let desk = Desk::new();
    desk.notify(&[]).is(0, "");
    desk.notify(&["--context", "prod"]).is(0, "");
    desk.notify(&["--context", "lost"]).fails(5, &["127.0.0.1:1"]);
    desk.notify(&["--context", "prd"]).fails(2, &["no context \"prd\"", "lost, prod"]);
    let mut elsewhere = desk.command(&[]);
    run(elsewhere.env("ROWCALL_CONTEXT", "lost"), b"").fails(5, &["127.0.0.1:1"]);
}

#[test]
fn flags_and_environment_outrank_it_and_another_daemon_hears_no_password() {
    let desk = Desk::new();
    let mut other = desk.command(&["--context", "lost"]);
    run(other.env("ROWCALL_SERVER", &desk.daemon.tcp), b"").fails(5, &["Authorization Violation"]);
    desk.notify(&["--server", &desk.daemon.tcp]).fails(5, &["Authorization Violation"]);
    // Somebody's password, and the context's user with its own.
    let mut other = desk.command(&[]);
    run(other.env("ROWCALL_PASSWORD", "wrong"), b"").is(0, "");
    let mut wrong = desk.command(&["--user", "ada"]);
    run(wrong.env("ROWCALL_PASSWORD", "wrong"), b"").fails(5, &["Authorization Violation"]);
    let mut token = desk.command(&[]);
    run(token.env("ROWCALL_TOKEN", "wrong"), b"").fails(5, &["Authorization Violation"]);
}

#[test]
fn a_context_s_password_goes_to_its_own_http_port_only() {
    let desk = Desk::new();
    let answers = ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"; 3];
    let stranger = Webhook::start(&answers);
    let top = |arguments: &[&str]| {
        run(&mut command(desk.folder.path(), &[&["top", "-n", "1"], arguments].concat()), b"")
    };
    let url = stranger.url.trim_end_matches("/hook");
    assert_ne!(top(&["--context", "prod", "--http", url]).code, 2);
    assert_eq!(stranger.call().header("authorization"), "");
    contexts(
        desk.folder.path(),
        &format!(
            "[contexts.prod]\nserver = \"{}\"\nhttp = \"http://{}\"\nuser = \"ada\"\npassword_file = \"pw\"\n\
             [contexts.far]\nserver = \"tls://db1.invalid\"\nuser = \"ada\"\npassword_file = \"pw\"\n\
             [contexts.open]\nserver = \"db1.invalid\"\nhttp = \"http://db1.invalid\"\nuser = \"ada\"\npassword_file = \"pw\"\n",
            desk.daemon.tcp, desk.daemon.http
        ),
    );
    assert_eq!(top(&["--context", "prod"]).code, 0);
    top(&["--context", "far"]).fails(2, &["db1.invalid", "--http"]);
    top(&["--context", "open"]).fails(2, &["http://db1.invalid", "https://"]);
}

#[test]
fn mistakes_in_the_file_are_told_with_their_line() {
    let folder = harness::folder();
    contexts(folder.path(), "[contexts.a]\nsever = 'x'\n");
    let said = run(&mut command(folder.path(), &["notify", "a", "b"]), b"");
    said.fails(2, &["rowcall/config.toml", "line 2", "sever", "server"]);
    let nobody = harness::folder();
    let said = run(&mut command(nobody.path(), &["notify", "a", "b", "--context", "a"]), b"");
    said.fails(2, &["rowcall/config.toml", "No such file"]);
}

#[test]
fn the_context_says_which_database_server() {
    let Some(site) = Site::with_tables(Kind::MariaDb) else { return };
    let folder = site.folder.path();
    fs::write(folder.join("prod.cnf"), "[client]\nuser=root\n").unwrap();
    let socket = site.server.socket.display();
    contexts(
        folder,
        &format!("[contexts.prod.database]\nsocket = \"{socket}\"\ndefaults_file = \"~/prod.cnf\"\n"),
    );
    let status = |arguments: &[&str]| run(&mut command(folder, &[&["status"], arguments].concat()), b"");
    assert_eq!(status(&["--context", "prod"]).code, 0);
    status(&["--context", "prod", "-u", "nobody"]).fails(6, &["nobody"]);
    status(&["--context", "prod", "-h", "127.0.0.1", "-P", "1"]).fails(6, &["127.0.0.1"]);
    status(&["--context", "prod", "-S", "/nonexistent/db.sock"]).fails(6, &["/nonexistent/db.sock"]);
    // As the server's own clients, it finds the home folder's option file.
    fs::write(folder.join(".my.cnf"), format!("[client]\nuser=root\nsocket={socket}\n")).unwrap();
    assert_eq!(status(&[]).code, 0);
}
