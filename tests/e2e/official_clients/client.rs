//! The official clients: where each comes from, and how its script in tests/clients is run. What the
//! scripts do is theirs.

use harness::{built, cache, repository};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where Debian's packages put the sources of Go's libraries.
const GO_LIBRARIES: &str = "/usr/share/gocode";

/// A client by its language.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// nats-py.
    Python,
    /// nats.js, in Node.js.
    JavaScript,
    /// nats.c.
    C,
    /// nats.go.
    Go,
}

impl Client {
    /// What is there if the client is: tests/clients.sh and tests/packages.sh bring it. If not, that is
    /// a failure in CI, and a loud skip elsewhere.
    pub fn is_there(self) -> bool {
        let wanted = self.what_must_be_there();
        let there = wanted.exists();
        if !there {
            let text = format!("the client of {self:?} is not there ({}): run make test", wanted.display());
            assert!(std::env::var_os("CI").is_none(), "{text}");
            eprintln!("SKIPPED: {text}");
        }
        there
    }

    fn what_must_be_there(self) -> PathBuf {
        match self {
            Client::Python => cache().join("clients/python/requirements.txt"),
            Client::JavaScript => cache().join("clients/node/package-lock.json"),
            Client::C => "/usr/include/nats/nats.h".into(),
            Client::Go => Path::new(GO_LIBRARIES).join("src/github.com/nats-io/nats.go"),
        }
    }

    /// The script, to be given a URL and the scenarios.
    pub fn command(self) -> Command {
        match self {
            Client::Python => interpreted(cache().join("clients/python/bin/python"), "check.py"),
            Client::JavaScript => {
                let mut command = interpreted("node".into(), "check.js");
                command.env("NODE_PATH", cache().join("clients/node/node_modules"));
                command
            }
            Client::C => Command::new(compiled_c()),
            Client::Go => Command::new(compiled_go()),
        }
    }
}

fn source(name: &str) -> PathBuf {
    repository().join("tests/clients").join(name)
}

fn interpreted(interpreter: PathBuf, script: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(source(script));
    command
}

/// The program, which is compiled anew once in each run of the tests.
fn compiled_c() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = place("check-c");
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-o"]).arg(&program);
        compile(compiler.arg(source("check.c")).args(["-lnats", "-pthread"]));
        program
    })
}

/// Likewise; Go knows by itself when nothing has changed.
fn compiled_go() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = place("check-go");
        let mut compiler = Command::new("go");
        // Debian's libraries are made for the time before modules, and nothing is fetched that way.
        compiler.envs([("GO111MODULE", "off"), ("GOPATH", GO_LIBRARIES)]);
        compile(compiler.args(["build", "-o"]).arg(&program).args(["check.go", "login.go"].map(source)));
        program
    })
}

/// In `target/clients`.
fn place(program: &str) -> PathBuf {
    let daemon = built("rowcalld");
    let folder = daemon.ancestors().nth(2).expect("it was built in target/…").join("clients");
    std::fs::create_dir_all(&folder).expect("target is writable");
    folder.join(program)
}

fn compile(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}
