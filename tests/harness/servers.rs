//! Private database servers: MariaDB from the system, MySQL and MySQL 5.6 from the folder that
//! tests/servers.sh fills. Each listens on a Unix socket only and lives in a folder of its own,
//! copied from a data directory that was initialised once.

use crate::activation;
use crate::children::Child;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use rowcall_mysql::{Connection, Options};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MariaDB, as the system has it.
    MariaDb,
    /// MySQL, as Debian's unstable branch has it.
    MySql,
    /// MySQL 5.6.
    MySql56,
}

/// A running server.
pub struct Server {
    /// The process.
    pub child: Child,
    /// Which one it is.
    pub kind: Kind,
    /// Its socket.
    pub socket: PathBuf,
    /// Its plugin directory, its own.
    pub plugins: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The account that it runs as.
    account: String,
    /// Its socket, while this process holds it as systemd does.
    pub held: Option<UnixListener>,
}

impl Kind {
    /// Whether the server can be had. If not, that is a failure in CI, and a loud skip elsewhere.
    ///
    /// # Panics
    /// In CI, if it cannot.
    pub fn is_there(self) -> bool {
        let program = self.program();
        let there = program.is_absolute() && program.is_file();
        if !there {
            let text =
                format!("{self:?} is not there ({}): run tests/servers.sh, or make test", program.display());
            assert!(std::env::var_os("CI").is_none(), "{text}");
            eprintln!("SKIPPED: {text}");
        }
        there
    }

    fn root(self) -> PathBuf {
        crate::cache().join("servers").join(match self {
            Kind::MySql => "mysql/root/usr",
            Kind::MariaDb | Kind::MySql56 => "mysql56/package/server",
        })
    }

    fn program(self) -> PathBuf {
        match self {
            Kind::MariaDb => {
                let places = ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/local/sbin/mariadbd"];
                places.iter().map(PathBuf::from).find(|path| path.is_file()).unwrap_or("mariadbd".into())
            }
            Kind::MySql => self.root().join("sbin/mysqld"),
            Kind::MySql56 => self.root().join("mysqld"),
        }
    }

    /// The server's program with what it needs to run at all. MySQL's is started through its own C
    /// library, which is newer than the system's.
    fn command(self) -> Command {
        let (root, program) = (self.root(), self.program());
        let mut command = match self {
            Kind::MariaDb => Command::new(program),
            Kind::MySql => {
                let libraries = root.join("lib/x86_64-linux-gnu");
                let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
                command.arg("--library-path").arg(format!(
                    "{0}:{1}/lib/mysql/private",
                    libraries.display(),
                    root.display()
                ));
                command.arg(program);
                command
            }
            Kind::MySql56 => {
                let mut command = Command::new(program);
                command.env("LD_LIBRARY_PATH", &root);
                command
            }
        };
        command.arg("--no-defaults").arg("--innodb-buffer-pool-size=32M");
        match self {
            Kind::MariaDb => command.arg("--innodb-log-file-size=8M"),
            Kind::MySql => command.args(["--innodb-redo-log-capacity=16M", "--mysqlx=OFF"]).args([
                format!("--lc-messages-dir={}/share/mysql", root.display()),
                format!("--character-sets-dir={}/share/mysql/charsets", root.display()),
            ]),
            Kind::MySql56 => command
                .args(["--innodb-log-file-size=4M", "--explicit-defaults-for-timestamp"])
                .arg(format!("--lc-messages-dir={}/share", root.display())),
        };
        command
    }

    /// A data directory that was initialised once, to be copied.
    fn template(self) -> PathBuf {
        let folder = crate::cache().join("data");
        fs::create_dir_all(&folder).expect("the cache can be written");
        let lock = File::create(folder.join("lock")).expect("the cache can be written");
        let _lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .expect("a file can be locked");
        // Another build of the server may want another data directory.
        let stamp =
            fs::metadata(self.program()).and_then(|file| file.modified()).expect("the server is there");
        let seconds = stamp.duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let template = folder.join(format!("{self:?}-{seconds}"));
        if !template.exists() {
            let new = folder.join(format!("{self:?}.new"));
            let _ = fs::remove_dir_all(&new);
            self.initialise(&new);
            fs::rename(&new, &template).expect("the cache can be written");
        }
        template
    }

    fn initialise(self, data: &Path) {
        let at = format!("--datadir={}", data.display());
        match self {
            Kind::MariaDb => run(Command::new("mariadb-install-db")
                .args(["--no-defaults", "--user=root", "--auth-root-authentication-method=normal"])
                .args(["--skip-test-db", "--innodb-log-file-size=8M", &at])),
            Kind::MySql => run(self.command().args(["--user=root", "--initialize-insecure", &at])),
            Kind::MySql56 => {
                copy(&self.root().join("data/mysql"), data);
            }
        }
    }
}

impl Server {
    /// Starts one in this folder, whose functions will look for the daemon at this socket.
    pub fn start(kind: Kind, folder: &Path, daemon_socket: &Path) -> Server {
        Server::start_with(kind, folder, daemon_socket, &[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_with(kind: Kind, folder: &Path, daemon_socket: &Path, arguments: &[&str]) -> Server {
        let plugins = folder.join("plugins");
        fs::create_dir_all(&plugins).expect("the folder can be written");
        copy(&kind.template(), &folder.join("data"));
        // The server's identity, which a replica must not share with its source.
        let _ = fs::remove_file(folder.join("data/auto.cnf"));
        let environment = vec![("ROWCALL_SOCKET".to_owned(), daemon_socket.display().to_string())];
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let socket = folder.join("db.sock");
        let account = "root".to_owned();
        let child = spawn(kind, folder, &account, &arguments, &environment, None);
        let folder = folder.to_owned();
        Server { child, kind, socket, plugins, folder, arguments, environment, account, held: None }
    }

    /// How to connect to it.
    pub fn options(&self) -> Options {
        Options {
            socket: Some(self.socket.clone()),
            user: Some("root".into()),
            database: Some("test".into()),
            ..Options::default()
        }
    }

    /// A connection, as root, to the database `test`, which is made if it is not there.
    ///
    /// # Panics
    /// If it cannot be had.
    pub fn connect(&self) -> Connection {
        let options = Options { database: None, ..self.options() };
        let mut connection =
            Connection::connect(&options).unwrap_or_else(|error| panic!("{error}:\n{}", self.child.said()));
        connection
            .query("CREATE DATABASE IF NOT EXISTS test DEFAULT CHARACTER SET utf8mb4")
            .expect("root may do that");
        connection.query("USE test").expect("it is there");
        connection
    }

    /// Runs a script as a person would: with a client that knows DELIMITER.
    ///
    /// # Panics
    /// If it fails.
    pub fn run_script(&self, path: &Path) {
        drop(self.connect());
        let script = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut client = Command::new("mariadb");
        let client = client.args(["--no-defaults", "--user=root", "--socket"]).arg(&self.socket).arg("test");
        let output = client.stdin(script).output().expect("the mariadb client is there");
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }

    /// Stops it in an orderly way and starts it again.
    pub fn restart(&mut self) {
        self.restart_after(Signal::SIGTERM);
    }

    /// Ends it without a word, as a crash does, and starts it again.
    pub fn crash(&mut self) {
        self.restart_after(Signal::SIGKILL);
    }

    fn restart_after(&mut self, signal: Signal) {
        self.end(signal);
        self.start_again();
    }

    fn end(&mut self, signal: Signal) {
        self.child.signal(signal);
        self.child.wait();
    }

    /// Stops it in an orderly way.
    pub fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Starts it after it was stopped.
    pub fn start_again(&mut self) {
        let Server { kind, folder, account, arguments, environment, held, .. } = self;
        self.child = spawn(*kind, folder, account, arguments, environment, held.as_ref());
    }

    /// Stops it and starts it again with these arguments as well, on a socket that this process holds from now on,
    /// as systemd does.
    ///
    /// # Panics
    /// If that cannot be done.
    pub fn hold_socket(&mut self, arguments: &[&str]) {
        self.stop();
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let _ = fs::remove_file(&self.socket);
        let held = UnixListener::bind(&self.socket).expect("the path is free");
        fs::set_permissions(&self.socket, fs::Permissions::from_mode(0o666)).expect("it is ours");
        self.held = Some(held);
        self.start_again();
    }

    /// Stops it and starts it again as another account, which its folder then belongs to.
    pub fn run_as(&mut self, account: &str) {
        run(Command::new("chown").arg("-R").arg(account).arg(&self.folder));
        self.account = account.to_owned();
        self.restart();
    }

    /// Fails unless the server is still the process that was started.
    ///
    /// # Panics
    /// If it has ended.
    pub fn assert_alive(&mut self) {
        assert!(self.child.is_running(), "the server has ended:\n{}", self.child.said());
        let one = self.connect().value("SELECT 1");
        assert_eq!(one.expect("the server answers").as_deref(), Some("1"));
    }
}

fn spawn(
    kind: Kind,
    folder: &Path,
    account: &str,
    arguments: &[String],
    environment: &[(String, String)],
    held: Option<&UnixListener>,
) -> Child {
    // MariaDB clears its folder for temporary files when it starts, whoever else uses it.
    fs::create_dir_all(folder.join("tmp")).expect("the folder can be written");
    let mut command = kind.command();
    command
        .arg(format!("--user={account}"))
        .arg(format!("--tmpdir={}/tmp", folder.display()))
        .arg(format!("--datadir={}/data", folder.display()))
        .arg(format!("--plugin-dir={}/plugins", folder.display()))
        .arg(format!("--socket={}/db.sock", folder.display()))
        .arg(format!("--pid-file={}/db.pid", folder.display()))
        .args(["--skip-networking", "--innodb-flush-log-at-trx-commit=0", "--max-connections=300"])
        .args([
            "--max-allowed-packet=256M",
            "--performance-schema=OFF",
            "--skip-name-resolve",
            "--secure-file-priv=",
        ])
        .args(if kind == Kind::MySql56 { &[][..] } else { &["--skip-log-bin"] })
        .args(arguments)
        .envs(environment.iter().cloned());
    if let Some(held) = held {
        command = activation::pass(&[held.as_fd()], "", &command);
    }
    let child = Child::start(&format!("{kind:?}"), &mut command);
    child.says("ready for connections");
    child
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-r").arg(from).arg(to));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
}
