//! `rowcall install` and `rowcall uninstall` on real servers, and the scripts that do the same by
//! hand.

use harness::{Kind, Site};
use rowcall_mysql::Connection;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};

on_each_server!(
    install_and_uninstall_say_what_they_do,
    the_binary_log_holds_nothing_of_it,
    a_library_is_never_written_over,
    functions_of_another_library_are_replaced,
    functions_whose_library_was_missing_are_repaired,
    the_scripts_do_it_by_hand,
    accounts_and_option_files_are_those_of_the_servers_clients,
    what_goes_wrong_is_told_with_advice,
);

const FUNCTIONS: [&str; 10] = [
    "rowcall_notify",
    "rowcall_emit",
    "rowcall_request",
    "rowcall_submit",
    "rowcall_result",
    "rowcall_wait",
    "rowcall_poke",
    "rowcall_last_error",
    "rowcall_status",
    "rowcall_version",
];

/// Runs it and gives its lines, of which each is a kind, a name, and what was done.
#[track_caller]
fn done(site: &Site, arguments: &[&str]) -> Vec<[String; 3]> {
    let output = site.rowcall(arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (name, done) = rest.trim().split_once(' ').unwrap();
        [kind, name, done.trim()].map(str::to_owned)
    };
    text.lines().map(line).collect()
}

/// What it should say: about the server, the library, and each function.
fn expected(site: &Site, library: Option<&str>, function: &str) -> Vec<[String; 3]> {
    let version = site.connect().value("SELECT VERSION()").unwrap().unwrap();
    let path = library_path(site).display().to_string();
    let line = |line: [&str; 3]| line.map(str::to_owned);
    let mut lines = vec![line(["server", &version, "connected"])];
    lines.extend(library.map(|done| line(["library", &path, done])));
    lines.extend(FUNCTIONS.map(|name| line(["function", name, function])));
    lines
}

fn library_path(site: &Site) -> PathBuf {
    site.server.plugins.join(format!("rowcall_{}.so", env!("CARGO_PKG_VERSION").replace('.', "_")))
}

/// The library's name that the server has on record for each function.
fn recorded(sql: &mut Connection) -> Vec<String> {
    let rows = sql.query("SELECT dl FROM mysql.func WHERE name LIKE 'rowcall%'").unwrap().rows;
    rows.iter().map(|row| String::from_utf8(row[0].clone().unwrap()).unwrap()).collect()
}

fn works(sql: &mut Connection) -> bool {
    let version = sql.value("SELECT CONVERT(rowcall_version() USING utf8mb4)");
    version.is_ok_and(|version| version.is_some_and(|text| text.starts_with(env!("CARGO_PKG_VERSION"))))
}

#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    let agree = output.status.code() == Some(code) && words.iter().all(|words| text.contains(words));
    assert!(agree, "expected {code} and {words:?}: {}, {text}", output.status);
}

fn install_and_uninstall_say_what_they_do(kind: Kind) {
    let Some(mut site) = Site::bare(kind, &[]) else { return };
    assert_eq!(done(&site, &["install"]), expected(&site, Some("written"), "created"));
    let inode = fs::metadata(library_path(&site)).unwrap().ino();
    assert!(works(&mut site.connect()));

    assert_eq!(done(&site, &["install"]), expected(&site, Some("already there"), "already there"));
    assert_eq!(fs::metadata(library_path(&site)).unwrap().ino(), inode);

    let json = String::from_utf8(site.rowcall(&["install", "--json"]).stdout).unwrap();
    let object = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        ["kind", "name", "done"].map(|key| object[key].as_str().unwrap().to_owned())
    };
    let lines: Vec<_> = json.lines().map(object).collect();
    assert_eq!(lines, expected(&site, Some("already there"), "already there"));

    // Somebody else's functions and files stay.
    let foreign = site.server.plugins.join("rowcall_of_mine.so");
    fs::copy(library_path(&site), &foreign).unwrap();
    let mut sql = site.connect();
    sql.query("DROP FUNCTION rowcall_emit").unwrap();
    sql.query("CREATE FUNCTION sum_of_mine (a INT) RETURNS INT DETERMINISTIC RETURN a + 1").unwrap();

    let mut lines = expected(&site, None, "dropped");
    lines[2][2] = "was not there".into();
    lines.push(["library".into(), library_path(&site).display().to_string(), "removed".into()]);
    assert_eq!(done(&site, &["uninstall"]), lines);
    assert!(!library_path(&site).exists() && foreign.exists());
    assert_eq!(recorded(&mut sql), [""; 0]);
    assert_eq!(sql.value("SELECT sum_of_mine(1)").unwrap().as_deref(), Some("2"));

    assert_eq!(done(&site, &["uninstall"]), expected(&site, None, "was not there"));
    site.server.assert_alive();
}

/// A replica that replayed it without having the library would stop.
fn the_binary_log_holds_nothing_of_it(kind: Kind) {
    let Some(site) = Site::bare(kind, &["--log-bin=binlog", "--server-id=1"]) else { return };
    let mut sql = site.connect();
    done(&site, &["install"]);
    site.server.run_script(&harness::repository().join("sql/install.sql"));
    sql.query("CREATE TABLE is_logged (a INT)").unwrap();
    site.server.run_script(&harness::repository().join("sql/uninstall.sql"));
    done(&site, &["uninstall"]);
    let logs = sql.query("SHOW BINARY LOGS").unwrap().rows;
    let mut logged = String::new();
    for log in logs {
        let name = String::from_utf8(log[0].clone().unwrap()).unwrap();
        for event in sql.query(format!("SHOW BINLOG EVENTS IN '{name}'")).unwrap().rows {
            logged += &String::from_utf8_lossy(event[5].as_deref().unwrap_or_default());
            logged.push('\n');
        }
    }
    assert!(logged.contains("CREATE TABLE is_logged"), "{logged}");
    assert!(!logged.contains("FUNCTION") && !logged.contains("rowcall"), "{logged}");
}

fn a_library_is_never_written_over(kind: Kind) {
    let Some(mut site) = Site::bare(kind, &[]) else { return };
    done(&site, &["install"]);
    let (path, mut sql) = (library_path(&site), site.connect());
    assert!(works(&mut sql), "and the server has it loaded");
    let before = fs::read(&path).unwrap();
    let mut old = File::open(&path).unwrap();

    // What is not read at run time may differ.
    let newer = site.folder.path().join("newer.so");
    fs::write(&newer, [&before[..], b"newer"].concat()).unwrap();
    let lines = done(&site, &["install", "--library", newer.to_str().unwrap()]);
    assert_eq!(lines, expected(&site, Some("written"), "already there"));

    assert_eq!(fs::read(&path).unwrap(), fs::read(&newer).unwrap());
    let mut kept = Vec::new();
    old.read_to_end(&mut kept).unwrap();
    assert!(kept == before, "the file that the server has open has changed");
    assert_eq!(old.metadata().unwrap().nlink(), 0);
    assert_ne!(old.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
    let mode = fs::metadata(&path).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o644, "{mode:o}");
    assert_eq!(fs::read_dir(&site.server.plugins).unwrap().count(), 1, "nothing else is left there");
    site.server.assert_alive();
    assert!(works(&mut sql));
}

fn functions_of_another_library_are_replaced(kind: Kind) {
    let Some(site) = Site::bare(kind, &[]) else { return };
    let mut sql = site.connect();
    let older = site.server.plugins.join("rowcall_0_0_9.so");
    fs::copy(harness::built("librowcall.so"), &older).unwrap();
    sql.query("CREATE FUNCTION rowcall_notify RETURNS INTEGER SONAME 'rowcall_0_0_9.so'").unwrap();

    let mut lines = expected(&site, Some("written"), "created");
    lines[2][2] = "replaced".into();
    assert_eq!(done(&site, &["install"]), lines);
    let ours = library_path(&site).file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(recorded(&mut sql), [&ours; FUNCTIONS.len()].map(String::as_str));

    // Libraries of older versions go as well, unless a function is still made of them.
    done(&site, &["uninstall", "--no-remove"]);
    assert!(library_path(&site).exists() && older.exists());
    done(&site, &["uninstall"]);
    assert!(!library_path(&site).exists() && !older.exists());
}

/// Makes the server start without the library: it keeps the functions on record only.
fn orphan(site: &mut Site) {
    done(site, &["install"]);
    fs::remove_file(library_path(site)).unwrap();
    site.server.restart();
    let mut sql = site.connect();
    assert!(!works(&mut sql));
    assert_eq!(recorded(&mut sql).len(), FUNCTIONS.len());
}

fn functions_whose_library_was_missing_are_repaired(kind: Kind) {
    let Some(mut site) = Site::bare(kind, &[]) else { return };
    orphan(&mut site);
    assert_eq!(done(&site, &["install"]), expected(&site, Some("written"), "replaced"));
    assert!(works(&mut site.connect()));

    orphan(&mut site);
    assert_eq!(done(&site, &["uninstall"]), expected(&site, None, "dropped"));
    assert_eq!(recorded(&mut site.connect()), [""; 0]);
    assert_eq!(done(&site, &["install"]), expected(&site, Some("written"), "created"));
    assert!(works(&mut site.connect()));
}

/// MySQL 5.6 remembers such functions until it is restarted, whatever is done to its record.
#[test]
fn an_old_server_has_to_be_restarted_for_that() {
    let Some(mut site) = Site::bare(Kind::MySql56, &[]) else { return };
    orphan(&mut site);
    fails(&site.rowcall(&["install"]), 6, &["1125", "restart it"]);
    site.server.restart();
    done(&site, &["install"]);
    assert!(works(&mut site.connect()));
}

fn the_scripts_do_it_by_hand(kind: Kind) {
    let Some(site) = Site::bare(kind, &[]) else { return };
    let mut sql = site.connect();
    let install = harness::repository().join("sql/install.sql");
    let uninstall = harness::repository().join("sql/uninstall.sql");
    // Printing takes no server, and changes nothing.
    assert_eq!(site.rowcall(&["install", "--print", "-h", "nowhere"]).stdout, fs::read(&install).unwrap());
    assert_eq!(site.rowcall(&["uninstall", "--print"]).stdout, fs::read(&uninstall).unwrap());
    assert_eq!(recorded(&mut sql), [""; 0]);

    fs::copy(harness::built("librowcall.so"), library_path(&site)).unwrap();
    for _ in 0..2 {
        site.server.run_script(&install);
        assert_eq!(recorded(&mut sql).len(), FUNCTIONS.len());
        assert!(works(&mut sql));
    }
    assert_eq!(done(&site, &["install", "--no-copy"]), expected(&site, None, "already there"));
    for _ in 0..2 {
        site.server.run_script(&uninstall);
        assert_eq!(recorded(&mut sql), [""; 0]);
    }
    assert!(library_path(&site).exists());
}

/// `rowcall install` with nothing but these arguments and this environment.
fn install_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(harness::built("rowcall"));
    command.arg("install").args(arguments).env_remove("MYSQL_PWD").envs(environment.iter().copied());
    command.output().unwrap()
}

fn accounts_and_option_files_are_those_of_the_servers_clients(kind: Kind) {
    let Some(site) = Site::bare(kind, &[]) else { return };
    let mut sql = site.connect();
    // What the advice for an account without rights tells to grant, and no more.
    sql.query("CREATE USER dba@localhost IDENTIFIED BY 'p#s \"w'").unwrap();
    sql.query("GRANT SELECT, INSERT, DELETE ON mysql.* TO dba@localhost").unwrap();
    let binlog = if kind == Kind::MariaDb { "BINLOG ADMIN" } else { "SYSTEM_VARIABLES_ADMIN" };
    sql.query(format!("GRANT {binlog} ON *.* TO dba@localhost")).unwrap();

    let socket = site.server.socket.to_str().unwrap();
    let by_flags = ["--no-defaults", "-S", socket, "-u", "dba"];
    let works_with = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = install_with(arguments, environment);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    works_with(&[&by_flags[..], &["-pp#s \"w"]].concat(), &[]);
    works_with(&[&by_flags[..], &["--password=p#s \"w"]].concat(), &[]);
    works_with(&by_flags, &[("MYSQL_PWD", "p#s \"w")]);
    fails(&install_with(&by_flags, &[("MYSQL_PWD", "wrong")]), 6, &["Access denied", "-u and -p"]);

    let file = site.folder.path().join("my.cnf");
    let defaults = format!("--defaults-file={}", file.display());
    fs::write(&file, format!("[client]\nsocket={socket}\nuser=dba\npassword='p#s \"w'\n")).unwrap();
    works_with(&[&defaults], &[]);
    fs::write(&file, format!("[client]\nsocket={socket}\nuser=dba\n[rowcall]\npassword='p#s \"w'\n"))
        .unwrap();
    works_with(&[&defaults], &[]);
    // A flag counts more than the file.
    fails(&install_with(&[&defaults, "-pwrong"], &[]), 6, &["Access denied"]);
    fs::write(&file, "[client]\nsocket=/nonexistent\nuser=nobody\npassword='p#s \"w'\n").unwrap();
    works_with(&[&defaults, "-S", socket, "--user", "dba"], &[]);
    let both = install_with(&[&defaults, "--no-defaults"], &[]);
    fails(&both, 2, &["--defaults-file", "--no-defaults"]);
}

fn what_goes_wrong_is_told_with_advice(kind: Kind) {
    let Some(mut site) = Site::bare(kind, &[]) else { return };
    let mut sql = site.connect();
    let socket = site.server.socket.display().to_string();
    sql.query("CREATE USER nothing@localhost IDENTIFIED BY 'right'").unwrap();
    let as_nothing = ["--no-defaults", "-S", &socket, "-u", "nothing"];

    let output = install_with(&[&as_nothing[..], &["-pSECRET"]].concat(), &[]);
    fails(&output, 6, &["cannot connect to the server", "1045", "-u and -p", "sudo"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("SECRET"));
    let output = install_with(&[&as_nothing[..], &["-pright"]].concat(), &[]);
    fails(&output, 6, &["binary log", "SELECT, INSERT and DELETE", "BINLOG ADMIN"]);
    assert_eq!(fs::read_dir(&site.server.plugins).unwrap().count(), 0, "nothing was changed");
    let output = install_with(&["--no-defaults", "-S", "/nonexistent.sock"], &[]);
    fails(&output, 6, &["/nonexistent.sock", "Is the server running", "-S", "-h and -P"]);

    fails(&site.rowcall(&["install", "--no-copy"]), 6, &["rowcall_notify", "1126", "server's machine"]);
    fails(&site.rowcall(&["install", "--library", "/nonexistent.so"]), 1, &["/nonexistent.so"]);

    // Something that cannot be written to, for root neither.
    fs::create_dir(library_path(&site)).unwrap();
    let path = library_path(&site).display().to_string();
    fails(&site.rowcall(&["install"]), 1, &["cannot write", &path, "sudo", "--no-copy"]);
    assert_eq!(fs::read_dir(&site.server.plugins).unwrap().count(), 1, "no half of it is left");
    fs::remove_dir(library_path(&site)).unwrap();

    fs::write(library_path(&site), "this is no library").unwrap();
    fails(&site.rowcall(&["install", "--no-copy"]), 6, &["1126", "cannot load the library"]);
    assert_eq!(recorded(&mut sql), [""; 0]);
    site.server.assert_alive();
    done(&site, &["install"]);
}
