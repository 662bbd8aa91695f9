//! The shell of a machine of a document: runs the lines that stand in the document, as they are written, with its
//! paths, addresses and accounts replaced by those of the test. Which lines those are is read here, too.

use crate::children::{Child, PATIENCE};
use crate::repository;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A machine as documents take it to be: programs below /usr/local, settings in /etc/rowcall, the home of root.
pub struct Shell {
    /// Where all of it lives, open to other accounts.
    pub folder: TempDir,
    replaced: Vec<(String, String)>,
    environment: Vec<(&'static str, String)>,
}

impl Shell {
    /// One without anything installed.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Shell {
        let folder = crate::folder();
        let root = folder.path();
        std::fs::create_dir_all(root.join("root")).expect("a folder can be made");
        std::fs::create_dir_all(root.join("etc/rowcall")).expect("a folder can be made");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(root, open).expect("it is ours");
        let path =
            format!("{}:{}", root.join("usr/local/bin").display(), std::env::var("PATH").expect("PATH"));
        let environment = vec![("PATH", path), ("HOME", root.join("root").display().to_string())];
        let replaced = vec![
            ("/usr/local/".to_owned(), format!("{}/usr/local/", root.display())),
            ("/etc/rowcall".to_owned(), format!("{}/etc/rowcall", root.display())),
        ];
        Shell { folder, replaced, environment }
    }

    /// The file of that name, as it is called from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside.trim_start_matches('/'))
    }

    /// From now on these words of a document stand for something else.
    pub fn replace(&mut self, words: &str, by: impl ToString) {
        self.replaced.insert(0, (words.to_owned(), by.to_string()));
    }

    /// Sets a variable of its environment.
    pub fn set(&mut self, name: &'static str, value: impl ToString) {
        self.environment.push((name, value.to_string()));
    }

    /// The server that commands find without being told: what root's ~/.my.cnf says.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn reach(&self, server: &Path) {
        let options = format!("[client]\nuser=root\nsocket={}\n", server.display());
        std::fs::write(self.path("root/.my.cnf"), options).expect("a file can be written");
    }

    /// A line of a document, to be started.
    pub fn command(&self, line: &str) -> Command {
        self.dress(Command::new("bash"), line)
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn output(&self, line: &str) -> Output {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string()).arg("bash");
        self.dress(command, line).output().expect("bash is there")
    }

    fn dress(&self, mut bash: Command, line: &str) -> Command {
        bash.args(["-c", &format!("set -o pipefail; {}", self.here(line))]).current_dir(self.path("root"));
        for name in ["SERVER", "HTTP", "CONTEXT"] {
            bash.env_remove(format!("ROWCALL_{name}"));
        }
        bash.env_remove("XDG_CONFIG_HOME").env_remove("MYSQL_PWD");
        bash.envs(self.environment.iter().map(|(name, value)| (name, value)));
        bash
    }

    /// The line with the words of this machine, each put in place once: what is put in may hold such words.
    fn here(&self, line: &str) -> String {
        let (mut here, mut rest) = (String::new(), line);
        while let Some(first) = rest.chars().next() {
            let found = self.replaced.iter().find(|(from, _)| rest.starts_with(from.as_str()));
            let (done, put) = match found {
                Some((from, to)) => (from.len(), to.as_str()),
                None => (first.len_utf8(), &rest[..first.len_utf8()]),
            };
            here += put;
            rest = &rest[done..];
        }
        here
    }

    /// Runs it to its end; what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        let output = self.output(line);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{}\n{printed}{said}", output.status);
        printed
    }

    /// Starts what stays: the line may end in `&`, as it does in a terminal that is used for more.
    pub fn start(&self, line: &str) -> Child {
        let line = line.trim_end_matches(['&', ' ']);
        Child::start(line, &mut self.command(&format!("exec {line}")))
    }

    /// A target of the Makefile, for this machine and what was built beside the tests: `files` is what `make
    /// install` does once everything is built.
    ///
    /// # Panics
    /// If it fails.
    pub fn make(&self, target: &str) {
        let built = crate::built("rowcall").canonicalize().expect("it is there");
        let profile = built.parent().expect("it is in a folder");
        let name = profile.file_name().expect("that has a name").to_string_lossy();
        let mut make = Command::new("make");
        make.arg(target)
            .arg(format!("PROFILE={name}"))
            .arg(format!("DESTDIR={}", self.folder.path().display()));
        make.current_dir(repository()).env("CARGO_TARGET_DIR", profile.parent().expect("it is below target"));
        make.env_remove("MAKEFLAGS").env_remove("PREFIX");
        let output = make.output().expect("make is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Default for Shell {
    fn default() -> Shell {
        Shell::new()
    }
}

/// The lines of the `sh` blocks below a heading of a document, without the remarks behind them.
///
/// # Panics
/// If there is no such heading.
pub fn lines(document: &str, heading: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(document)).expect("the document is there");
    let section = text.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("{document} has no section {heading:?}"));
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" # ").next().unwrap_or(line).trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}
