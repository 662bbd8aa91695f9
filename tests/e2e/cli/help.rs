//! The help pages: each has an example, each example is run, nothing is wider than a terminal; and what shells
//! and manuals are told.

use super::desk::{Said, run};
use harness::receiver::Webhook;
use harness::{Child, Kind, Site, eventually};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What the narrowest terminal has.
const WIDTH: usize = 80;

/// Subcommands that stay until Ctrl-C, and what they say when they have begun.
const LASTING: [(&str, &str); 5] = [
    ("listen", "listening to"),
    ("exec", "running"),
    ("reply", "answering"),
    ("forward", "forwarding"),
    ("top", TOP),
];

/// The first thing that `rowcall top` shows.
const TOP: &str = "rowcalld ";

/// What is shown as it is, however wide: scripts and pages for programs, SQL, paths.
const WIDE: [&str; 5] = ["completions", "man ", "--print", "install", "user "];

/// Someone at a terminal that says nothing of itself.
fn help(subcommand: &str) -> String {
    let mut command = Command::new(harness::built("rowcall"));
    command.args(subcommand.split_whitespace()).arg("--help").env("COLUMNS", WIDTH.to_string());
    let said = run(&mut command, b"");
    assert_eq!(said.code, 0, "{subcommand}: {}", said.err);
    String::from_utf8(said.out).unwrap()
}

/// Every subcommand, as it is called.
fn subcommands() -> Vec<String> {
    fn below(prefix: &str, all: &mut Vec<String>) {
        all.push(prefix.to_owned());
        let text = help(prefix);
        let lines = text.lines().skip_while(|line| *line != "Commands:").skip(1);
        let lines = lines.take_while(|line| line.starts_with("  "));
        for line in lines.filter(|line| !line.starts_with("   ")) {
            let name = line.split_whitespace().next().unwrap();
            if name != "help" {
                below(format!("{prefix} {name}").trim(), all);
            }
        }
    }
    let mut all = Vec::new();
    below("", &mut all);
    assert!(all.len() > 25, "{all:?}");
    all
}

/// The lines below `Example:` or `Examples:`.
fn examples(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| !["Example:", "Examples:"].contains(line)).skip(1);
    lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

fn is_narrow(text: &str) -> bool {
    text.lines().all(|line| line.chars().count() <= WIDTH)
}

#[test]
fn each_page_has_an_example_and_fits_a_terminal() {
    for subcommand in subcommands() {
        let text = help(&subcommand);
        assert!(is_narrow(&text), "{subcommand} is wider than {WIDTH} columns:\n{text}");
        assert!(!text.contains('\x1b'), "{subcommand}");
        let examples = examples(&text);
        assert!(!examples.is_empty(), "{subcommand} has no example:\n{text}");
        assert!(examples.iter().all(|example| example.contains("rowcall ")), "{examples:?}");
    }
}

/// A machine on which everything is as the examples take it to be.
struct Machine {
    site: Site,
    webhook: Webhook,
}

impl Machine {
    fn new() -> Option<Machine> {
        let site = Site::committed(Kind::MariaDb)?;
        let home = site.folder.path().join("home");
        let script = |name: &str, text: &str| {
            fs::write(home.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        for folder in [".config/rowcall", ".config/fish/completions", ".zfunc", "bin"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        fs::create_dir_all(home.join(".local/share/bash-completion/completions")).unwrap();
        let options = format!("[client]\nuser=root\nsocket={}\n", site.server.socket.display());
        fs::write(home.join(".my.cnf"), options).unwrap();
        fs::write(home.join(".config/rowcall/config.toml"), "[contexts.prod]\n").unwrap();
        fs::write(home.join("picture.png"), b"\x89PNG").unwrap();
        fs::write(home.join("password.txt"), "secret\n").unwrap();
        fs::write(home.join("key"), "whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0\n").unwrap();
        script("send-mail.sh", "exec cat > /dev/null");
        script("approve.sh", "echo yes");
        script("bin/sudo", "exec \"$@\"");
        script("bin/man", "exec grep -q rowcall");
        std::os::unix::fs::symlink(harness::built("rowcall"), home.join("bin/rowcall")).unwrap();
        Some(Machine { site, webhook: Webhook::start(&[]) })
    }

    /// What the examples name is there; what they make is not.
    fn prepare(&self, example: &str) {
        let mut sql = self.site.connect();
        let mut sql = |text: &str| drop(sql.query(text).unwrap_or_else(|error| panic!("{text}: {error}")));
        sql("CREATE DATABASE IF NOT EXISTS shop");
        sql("CREATE TABLE IF NOT EXISTS shop.orders (id INT PRIMARY KEY, customer TEXT, total DECIMAL(9,2))");
        let there = self.site.connect().value("SELECT GROUP_CONCAT(name) FROM rowcall.consumers").unwrap();
        let there = there.unwrap_or_default();
        let run = |line: &str| assert_eq!(self.run(line).code, 0, "{line}");
        for name in ["mail", "ledger"] {
            let is_made = example.contains(&format!("consumer add {name}"));
            if is_made && there.contains(name) {
                run(&format!("rowcall consumer rm {name} --yes"));
            }
        }
        if !there.contains("mail") && !example.contains("consumer add") {
            run("rowcall consumer add mail 'shop.orders.>'");
        }
        sql("REPLACE INTO rowcall.parked (id, consumer, subject, payload, reason) VALUES \
             (7, 'mail', 'shop.orders.created', '{}', 'max_deliveries')");
    }

    fn shell(&self, line: &str) -> Command {
        let home = self.site.folder.path().join("home");
        let line = line
            .replace("https://example.org/hook", &self.webhook.url)
            .replace("https://example.org/x", &self.webhook.url)
            .replace("/run/mysqld/mysqld.sock", &self.site.server.socket.display().to_string())
            .replace("/etc/rowcall/outbox.cnf", &home.join("outbox.cnf").display().to_string());
        let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap());
        let server = format!("unix:{}", self.site.socket.display());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(&home).env("PATH", path).env("HOME", &home);
        command.env("ROWCALL_HTTP", format!("http://{}", self.site.daemon.as_ref().unwrap().http));
        command.env("ROWCALL_SERVER", server).env_remove("XDG_CONFIG_HOME").env_remove("MYSQL_PWD");
        command
    }

    fn run(&self, line: &str) -> Said {
        run(&mut self.shell(line), b"secret\n")
    }

    /// Someone who stays: begins, is there when a message comes, and leaves with Ctrl-C or by himself.
    fn stay(&self, example: &str, words: &str) {
        let mut child = Child::start(example, &mut self.shell(&format!("exec {example}")));
        if words == TOP {
            child.prints(words);
        } else {
            child.says(words);
        }
        if example.contains(" -n ") {
            let said = self.run("rowcall notify shop.orders.created '{\"id\":7}'");
            assert_eq!(said.code, 0, "{said:?}");
            eventually("it has had enough", || (!child.is_running()).then_some(()));
        } else {
            child.signal(Signal::SIGINT);
        }
        assert_eq!(child.wait().code(), Some(0), "{example}: {}", child.said());
    }
}

#[test]
fn each_example_does_what_it_says() {
    let Some(machine) = Machine::new() else { return };
    let worker =
        Child::start("worker", &mut machine.shell("exec rowcall reply shop.approve -- ./approve.sh"));
    worker.says("answering");
    // Sends mail, so that nothing waits for ever.
    let mailer =
        Child::start("mailer", &mut machine.shell("exec rowcall exec --consumer mail -- ./send-mail.sh"));
    mailer.says("running");
    let mut subcommands = subcommands();
    let mut wide = Vec::new();
    // The last thing that is done with an installation.
    subcommands.sort_by_key(|name| name == "uninstall");
    for subcommand in subcommands {
        for example in examples(&help(&subcommand)) {
            machine.prepare(&example);
            let lasts = LASTING.iter().find(|(name, _)| example.split(' ').nth(1) == Some(name));
            if let Some((_, words)) = lasts {
                machine.stay(&example, words);
                continue;
            }
            let said = machine.run(&example);
            assert_eq!(said.code, 0, "{example}: {said:?}");
            let out = String::from_utf8_lossy(&said.out);
            let is_wide = WIDE.iter().any(|word| example.contains(word)) || example.contains("--json");
            if !is_wide && !is_narrow(&(out.clone() + &*said.err)) {
                wide.push(format!("{example}:\n{out}{}", said.err));
            }
        }
    }
    assert!(wide.is_empty(), "wider than {WIDTH} columns:\n{}", wide.join("\n"));
}

#[test]
fn shells_and_manuals_know_each_subcommand() {
    let folder = harness::folder();
    let rowcall = |arguments: &[&str]| {
        let said = run(Command::new(harness::built("rowcall")).args(arguments), b"");
        assert_eq!(said.code, 0, "{}", said.err);
        String::from_utf8(said.out).unwrap()
    };
    rowcall(&["man", "--to", folder.path().to_str().unwrap()]);
    let page = |name: &str| fs::read_to_string(folder.path().join(format!("{name}.1")));
    for subcommand in subcommands() {
        let name = format!("rowcall {subcommand}").trim().replace(' ', "-");
        let page = page(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH NAME") && page.contains("Example"), "{name}:\n{page}");
    }
    let pages = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(pages, subcommands().len(), "none too many");
    for shell in ["bash", "zsh", "fish"] {
        let script = rowcall(&["completions", shell]);
        let unknown: Vec<String> = subcommands()
            .into_iter()
            .filter(|name| !name.split(' ').all(|word| script.contains(word)))
            .collect();
        assert!(unknown.is_empty(), "{shell}: {unknown:?}");
    }
    assert_completed(folder.path(), &rowcall(&["completions", "bash"]));
}

/// bash itself completes a line with it.
fn assert_completed(folder: &Path, script: &str) {
    fs::write(folder.join("rowcall.bash"), script).unwrap();
    let line = "source ./rowcall.bash; COMP_WORDS=(rowcall consumer pa); COMP_CWORD=2; \
                _rowcall rowcall pa consumer; echo \"${COMPREPLY[@]}\"";
    let said = run(Command::new("bash").args(["-c", line]).current_dir(folder), b"");
    said.is(0, "pause\n");
}
