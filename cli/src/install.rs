//! `rowcall install`: the library into the server's plugin directory, the functions into the
//! server. What is there already stays; what it did is said line by line.

use crate::failure::Failure;
use crate::server::{HEADING, ServerArgs};
use crate::{output, remaining, replace, schema, span};
use clap::Args;
use rowcall_mysql::{Connection, quoted};
use serde_json::json;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The statements of an installation by hand; the functions' names and types are read from it, so
/// that they stand in one place.
const INSTALL_SQL: &str = include_str!("../../sql/install.sql");

const AFTER_HELP: &str = "\
Examples:
  sudo rowcall install
  sudo rowcall install --outbox /etc/rowcall/outbox.cnf
  sudo rowcall install -S /run/mysqld/mysqld.sock -u root --no-copy

Run it on the server's machine, as an account that may write into the plugin
directory. A second run changes nothing that is already in place. While no daemon
reads the outbox, --outbox ends with the commands that are left to do for that:
the file's owner, the daemon's configuration, its restart.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Install {
    /// Library to install, if it is not the one that came with this program
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,

    /// Only create the functions: the library is in the plugin directory already
    #[arg(long)]
    no_copy: bool,

    /// Change nothing; show the SQL that creates the functions by hand
    #[arg(long)]
    print: bool,

    /// How long to wait for statements that use the functions which were there before (MySQL alone)
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span::parse)]
    wait: u64,

    // Last: a heading holds for all that follows.
    /// For committed mode: create the schema `rowcall` and the daemon's account as well, and write an
    /// option file that names the account, for `rowcalld --outbox`
    #[arg(long, value_name = "FILE")]
    outbox: Option<PathBuf>,

    /// For committed mode: what the unique ids of events begin with (a random name if there is none yet).
    /// The same on a source and its replicas, another one where a copy goes its own way
    #[arg(long, value_name = "NAME", requires = "outbox", value_parser = schema::site)]
    site: Option<String>,

    #[command(flatten, next_help_heading = HEADING)]
    pub(crate) server: ServerArgs,
}

/// Said of what needs nothing to be done.
const THERE: &str = "already there";

/// A function as install.sql creates it.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// INTEGER or STRING.
    returns: &'static str,
}

/// What was done, for people or for programs.
pub(crate) struct Report {
    pub(crate) json: bool,
}

impl Install {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        if self.print {
            return output::bytes(INSTALL_SQL.as_bytes());
        }
        let report = Report { json };
        let mut connection = self.server.connect()?;
        let version = ask(&mut connection, "SELECT VERSION()")?;
        report.say("server", &version, "connected")?;
        // First what an account without rights stumbles over: then nothing was changed.
        switch_off_binlog(&mut connection)?;
        if !self.no_copy {
            self.put_library(&mut connection, &report)?;
        }
        let mut has_created = false;
        for function in functions() {
            let done = create(&mut connection, &function)?;
            has_created |= done != THERE;
            report.say("function", function.name, done)?;
        }
        let wait = Duration::from_millis(self.wait);
        replace::settle(&mut connection, &version, has_created, wait, &report)?;
        check_version(&mut connection)?;
        let Some(file) = &self.outbox else { return Ok(()) };
        if version.starts_with("5.") {
            return Err(Failure::other("--outbox: committed mode needs MySQL 8.0 or MariaDB 10.6 at least"));
        }
        schema::put(&mut connection, &report)?;
        if let Some(site) = &self.site {
            schema::put_site(&mut connection, site, &report)?;
        }
        schema::put_account(&mut connection, file, &report)?;
        let is_read = schema::is_read(&mut connection).unwrap_or(false);
        if is_read { Ok(()) } else { remaining::tell(file, &report) }
    }

    fn put_library(&self, connection: &mut Connection, report: &Report) -> Result<(), Failure> {
        let from = self.find_library()?;
        let directory = plugin_directory(connection)?;
        let to = directory.join(library_name());
        let bytes = fs::read(&from)
            .map_err(|error| Failure::other(format!("cannot read {}: {error}", from.display())))?;
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            return report.say("library", &to.display().to_string(), "already there");
        }
        write_and_rename(&to, &bytes).map_err(|error| {
            Failure::other(format!(
                "cannot write {}: {error}\n  Run this on the server's machine as an account that may write there (sudo), \
                 or copy {} there yourself and use --no-copy.",
                to.display(),
                from.display()
            ))
        })?;
        report.say("library", &to.display().to_string(), "written")
    }

    /// Beside this program in a build's folder, or where packages put it.
    fn find_library(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.library {
            return Ok(path.clone());
        }
        let program = std::env::current_exe();
        let program =
            program.map_err(|error| Failure::other(format!("cannot tell where this program is: {error}")))?;
        let here = program.parent().unwrap_or(Path::new("."));
        let places = [here.join("librowcall.so"), here.join("../lib/rowcall").join(library_name())];
        let found = places.iter().find(|path| path.is_file());
        found.cloned().ok_or_else(|| {
            let [first, second] = places.map(|path| path.display().to_string());
            Failure::other(format!("there is no library at {first} or {second}; name it with --library"))
        })
    }
}

/// Every function that install.sql creates.
pub(crate) fn functions() -> impl Iterator<Item = Function> {
    INSTALL_SQL.lines().filter_map(|line| {
        let mut words = line.strip_prefix("CREATE FUNCTION ")?.split(' ');
        Some(Function { name: words.next()?, returns: words.nth(1)? })
    })
}

/// The library's file name in a plugin directory. It holds the version: a server that has loaded a
/// file keeps it, so a new version needs a new name.
pub(crate) fn library_name() -> String {
    format!("rowcall_{}.so", env!("CARGO_PKG_VERSION").replace('.', "_"))
}

/// The server's plugin directory, which must be on this machine.
pub(crate) fn plugin_directory(connection: &mut Connection) -> Result<PathBuf, Failure> {
    let directory = PathBuf::from(ask(connection, "SELECT @@plugin_dir")?);
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(Failure::other(format!(
        "the server's plugin directory {} is not on this machine; run this on the server's machine, or copy the \
         library there yourself and use --no-copy",
        directory.display()
    )))
}

/// Functions are installed on each server by itself: a replica that replayed CREATE FUNCTION
/// without having the library would stop.
pub(crate) fn switch_off_binlog(connection: &mut Connection) -> Result<(), Failure> {
    let result = connection.query("SET SESSION sql_log_bin = 0");
    result
        .map(drop)
        .map_err(|error| Failure::server("cannot switch off the binary log for this session", &error))
}

/// One value from the server.
pub(crate) fn ask(connection: &mut Connection, sql: &str) -> Result<String, Failure> {
    let value = connection.value(sql).map_err(|error| Failure::server(sql, &error))?;
    value.ok_or_else(|| Failure::other(format!("{sql}: the server answered NULL")))
}

/// The library that the server has on record for a function, if it has the function.
pub(crate) fn recorded_library(connection: &mut Connection, name: &str) -> Result<Option<String>, Failure> {
    let sql = format!("SELECT dl FROM mysql.func WHERE name = {}", quoted(name));
    connection.value(&sql).map_err(|error| Failure::server("cannot read mysql.func", &error))
}

/// Creates a function, or replaces the one of another version; says what it did.
pub(crate) fn create(connection: &mut Connection, function: &Function) -> Result<&'static str, Failure> {
    let (name, library) = (function.name, library_name());
    let recorded = recorded_library(connection, name)?;
    let is_known = recorded.is_some() && is_known(connection, name);
    if recorded.as_deref() == Some(&library) && is_known {
        return Ok(THERE);
    }
    let definition = format!("FUNCTION {name} RETURNS {} SONAME {}", function.returns, quoted(&library));
    if is_known && connection.query(format!("CREATE OR REPLACE {definition}")).is_ok() {
        // MariaDB can: at no moment is the function missing.
        return Ok("replaced");
    }
    if recorded.is_some() {
        drop_function(connection, name)?;
    }
    let sql = format!("CREATE {definition}");
    connection.query(&sql).map_err(|error| Failure::server(&sql, &error))?;
    Ok(if recorded.is_some() { "replaced" } else { "created" })
}

/// Whether the server really has a function that it has on record: one whose library was missing
/// when the server started is on record only.
pub(crate) fn is_known(connection: &mut Connection, name: &str) -> bool {
    /// "FUNCTION does not exist", from MySQL and from MariaDB; and "No database selected", from a
    /// server that goes on to look for a stored function of that name.
    const UNKNOWN: [u32; 3] = [1305, 1128, 1046];
    // Called without arguments most of them refuse, but they are there.
    let result = connection.query(format!("DO {name}()"));
    !result.is_err_and(|error| UNKNOWN.contains(&error.number))
}

/// Drops a function, even one that is only on record.
pub(crate) fn drop_function(connection: &mut Connection, name: &str) -> Result<(), Failure> {
    let sql = format!("DROP FUNCTION IF EXISTS {name}");
    connection.query(&sql).map_err(|error| Failure::server(&sql, &error))?;
    if recorded_library(connection, name)?.is_some() {
        // MySQL does not drop what it could not load; the row would stay for ever.
        let sql = format!("DELETE FROM mysql.func WHERE name = {}", quoted(name));
        connection.query(&sql).map_err(|error| Failure::server(&sql, &error))?;
    }
    Ok(())
}

/// The server may hold an older library of the same name in memory.
fn check_version(connection: &mut Connection) -> Result<(), Failure> {
    let running = ask(connection, "SELECT CONVERT(rowcall_version() USING utf8mb4)")?;
    let running = running.split(' ').next().unwrap_or_default();
    let ours = env!("CARGO_PKG_VERSION");
    if running == ours {
        return Ok(());
    }
    Err(Failure::other(format!(
        "the server runs version {running} of the library, not {ours}: restart the server"
    )))
}

/// Never over the file itself: a server that has it loaded would crash. The rename leaves the old
/// file to those who have it.
fn write_and_rename(to: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = to.with_extension(format!("so.{}", std::process::id()));
    let result = (|| {
        // What lies there is left over, or laid there: a link would lead a write by root elsewhere.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&temporary, to)
    })();
    if result.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(&temporary);
    }
    result
}

impl Report {
    /// One line: what kind of thing, which, and what was done with it.
    pub(crate) fn say(&self, kind: &str, what: &str, done: &str) -> Result<(), Failure> {
        let line = if self.json {
            json!({ "kind": kind, "name": what, "done": done }).to_string()
        } else {
            format!("{kind:<9} {what:<45} {done}")
        };
        output::line(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_those_of_the_script() {
        let functions: Vec<Function> = functions().collect();
        assert_eq!(functions.len(), INSTALL_SQL.matches("CREATE FUNCTION").count());
        assert!(functions.iter().all(|function| ["INTEGER", "STRING"].contains(&function.returns)));
        assert!(INSTALL_SQL.contains(&library_name()), "install.sql names another version");
    }

    #[test]
    fn a_link_in_the_way_of_the_library_is_not_followed() {
        let folder = std::env::temp_dir().join(format!("rowcall-install-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (library, elsewhere) = (folder.join("x.so"), folder.join("elsewhere"));
        fs::write(&elsewhere, "precious").unwrap();
        let temporary = library.with_extension(format!("so.{}", std::process::id()));
        std::os::unix::fs::symlink(&elsewhere, temporary).unwrap();
        write_and_rename(&library, b"new").unwrap();
        let (written, other) = (fs::read(&library).unwrap(), fs::read(&elsewhere).unwrap());
        fs::remove_dir_all(folder).unwrap();
        assert_eq!((written, other), (b"new".to_vec(), b"precious".to_vec()));
    }
}
