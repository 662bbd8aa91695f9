//! A private PostgreSQL with a trigger that calls pg_notify: the peer of rowcall_notify.

use harness::Child;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use tempfile::TempDir;

/// A running server.
pub struct Postgres {
    child: Child,
    programs: PathBuf,
    folder: TempDir,
}

/// A session that speaks the protocol with as little effort as possible.
pub struct Session {
    stream: UnixStream,
    /// What was read and is not a whole message yet.
    held: Vec<u8>,
}

/// The system's account that the server runs as: it refuses to run as root.
const ACCOUNT: &str = "postgres";

impl Postgres {
    /// Starts one that neither syncs nor waits for its disk.
    pub fn start() -> Postgres {
        let folder = harness::folder();
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .expect("postgresql is installed (make bench does it)")
            .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
            .collect();
        versions.sort();
        let programs = versions.pop().expect("postgresql is installed");
        let data = folder.path().join("data");
        run(Command::new("chown").arg(ACCOUNT).arg(folder.path()));
        run(as_account(&programs.join("initdb")).args(["-A", "trust", "-D"]).arg(&data));
        let mut server = as_account(&programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        for setting in ["listen_addresses=", "fsync=off", "synchronous_commit=off", "max_connections=200"] {
            server.arg("-c").arg(setting);
        }
        let child = Child::start("postgres", &mut server);
        child.says("ready to accept connections");
        let postgres = Postgres { child, programs, folder };
        postgres.sql("CREATE TABLE plain (v text); CREATE TABLE noop (v text); CREATE TABLE told (v text)");
        postgres
            .sql("CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'");
        postgres.sql(
            "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_notify(''bench'', NEW.v); RETURN NULL; END'",
        );
        postgres.sql("CREATE TRIGGER t AFTER INSERT ON noop FOR EACH ROW EXECUTE FUNCTION nothing()");
        postgres.sql("CREATE TRIGGER t AFTER INSERT ON told FOR EACH ROW EXECUTE FUNCTION tell()");
        postgres
    }

    fn sql(&self, sql: &str) {
        run(self.tool("psql").args(["-q", "-c", sql]));
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.arg("-h").arg(self.folder.path()).args(["-U", ACCOUNT]).env("PGDATABASE", "postgres");
        command
    }

    /// Single-row INSERTs of 100 bytes into a table from 8 clients for some seconds; gives the
    /// server's processor time for each, in microseconds.
    pub fn cost_of_an_insert(&self, table: &str, seconds: u32) -> f64 {
        let script = self.folder.path().join("insert.sql");
        let row = "x".repeat(100);
        fs::write(&script, format!("INSERT INTO {table} VALUES ('{row}')"))
            .expect("the folder can be written");
        let before = self.processor_time();
        let output = self
            .tool("pgbench")
            .args(["-n", "-c", "8", "-j", "2", "-T", &seconds.to_string(), "-f"])
            .arg(&script)
            .output()
            .expect("pgbench runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find(|line| line.contains("transactions actually processed"));
        let count =
            line.and_then(|line| line.split_whitespace().last()?.split('/').next()?.parse::<f64>().ok());
        (self.processor_time() - before) / count.unwrap_or_else(|| panic!("pgbench: {said}"))
    }

    /// So many sessions that LISTEN, and read what they hear, until the server ends.
    pub fn listen(&self, count: usize) {
        for _ in 0..count {
            let mut session = self.connect();
            session.query("LISTEN bench");
            thread::spawn(move || {
                let mut buffer = [0; 64 << 10];
                while session.stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
            });
        }
    }

    /// A session, which may LISTEN.
    pub fn connect(&self) -> Session {
        let path = self.folder.path().join(".s.PGSQL.5432");
        let mut stream = UnixStream::connect(path).expect("it takes connections");
        let settings = format!("user\0{ACCOUNT}\0database\0postgres\0\0");
        let startup =
            [&(settings.len() as u32 + 8).to_be_bytes()[..], &196_608_u32.to_be_bytes(), settings.as_bytes()];
        stream.write_all(&startup.concat()).expect("it reads");
        let mut session = Session { stream, held: Vec::new() };
        session.read_until(READY);
        session
    }

    /// Processor time of the server and all its processes, ended ones included, in microseconds.
    fn processor_time(&self) -> f64 {
        let server = self.server_pid();
        let mut ticks = times(server, true);
        for entry in fs::read_dir("/proc").expect("there is /proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            if parent(pid) == Some(server) {
                ticks += times(pid, false);
            }
        }
        ticks as f64 * 10_000.0
    }

    /// The server's own process: behind the program that changed the account.
    fn server_pid(&self) -> u32 {
        let file =
            fs::read_to_string(self.folder.path().join("data/postmaster.pid")).expect("the server runs");
        file.lines().next().and_then(|line| line.parse().ok()).expect("its first line is the process")
    }
}

/// The types of the server's messages that matter: the statement is over; someone has notified.
const READY: u8 = b'Z';
const NOTIFICATION: u8 = b'A';

impl Session {
    /// Runs a statement to its end.
    pub fn query(&mut self, sql: &str) {
        let query = [b"Q", &(sql.len() as u32 + 5).to_be_bytes()[..], sql.as_bytes(), b"\0"];
        self.stream.write_all(&query.concat()).expect("it reads");
        self.read_until(READY);
    }

    /// Waits until at least one notification has come; gives how many.
    pub fn notifications(&mut self) -> usize {
        self.read_until(NOTIFICATION)
    }

    /// Reads until at least one message of this type has come; gives how many.
    fn read_until(&mut self, wanted: u8) -> usize {
        let mut buffer = [0; 64 << 10];
        let mut seen = 0;
        while seen == 0 {
            let n = self.stream.read(&mut buffer).expect("the server answers");
            assert!(n > 0, "the server hung up");
            self.held.extend_from_slice(&buffer[..n]);
            while let Some(kind) = self.take_message() {
                assert!(kind != b'E', "a statement failed");
                seen += usize::from(kind == wanted);
            }
        }
        seen
    }

    /// Takes a message that has come whole; gives its type.
    fn take_message(&mut self) -> Option<u8> {
        let &[kind, a, b, c, d] = self.held.first_chunk()?;
        let size = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        (self.held.len() >= size).then(|| self.held.drain(..size))?;
        Some(kind)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.server_pid().to_string()]).status();
        self.child.wait();
    }
}

/// User and system time in ticks of 10 ms; with those of ended children if asked for.
fn times(pid: u32, with_children: bool) -> u64 {
    let fields = stat(pid).unwrap_or_default();
    let number = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    number(11) + number(12) + if with_children { number(13) + number(14) } else { 0 }
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// The fields of /proc/PID/stat behind the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(") ")?;
    Some(behind.split(' ').map(str::to_owned).collect())
}

fn as_account(program: &Path) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", ACCOUNT, "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
