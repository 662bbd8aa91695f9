//! `rowcall uninstall`: drops the functions and removes the libraries that no function needs.

use crate::failure::Failure;
use crate::install::{
    self, Report, drop_function, functions, plugin_directory, recorded_library, switch_off_binlog,
};
use crate::output;
use crate::server::{HEADING, ServerArgs};
use clap::Args;
use rowcall_mysql::Connection;
use std::fs;
use std::path::PathBuf;

const UNINSTALL_SQL: &str = include_str!("../../sql/uninstall.sql");

const AFTER_HELP: &str = "\
Example:
  sudo rowcall uninstall

Triggers that call the functions fail afterwards, unless they call them as
sql/examples does: drop them first.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Uninstall {
    /// Only drop the functions: leave the library in the plugin directory
    #[arg(long)]
    no_remove: bool,

    /// Change nothing; show the SQL that drops the functions by hand
    #[arg(long)]
    print: bool,

    // Last: a heading holds for all that follows.
    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

impl Uninstall {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        if self.print {
            return output::bytes(UNINSTALL_SQL.as_bytes());
        }
        let report = Report { json };
        let mut connection = self.server.connect()?;
        report.say("server", &install::ask(&mut connection, "SELECT VERSION()")?, "connected")?;
        switch_off_binlog(&mut connection)?;
        for function in functions() {
            let there = recorded_library(&mut connection, function.name)?.is_some();
            drop_function(&mut connection, function.name)?;
            report.say("function", function.name, if there { "dropped" } else { "was not there" })?;
        }
        if self.no_remove {
            return Ok(());
        }
        remove_libraries(&mut connection, &report)
    }
}

fn remove_libraries(connection: &mut Connection, report: &Report) -> Result<(), Failure> {
    let used = connection.query("SELECT DISTINCT dl FROM mysql.func");
    let used = used.map_err(|error| Failure::server("cannot read mysql.func", &error))?;
    let used: Vec<&[u8]> = used.rows.iter().filter_map(|row| row.first()?.as_deref()).collect();
    for path in our_libraries(&plugin_directory(connection)?)? {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let done = if used.contains(&name) {
            "still used"
        } else {
            // A server that has the file mapped keeps it; only the name goes.
            fs::remove_file(&path)
                .map_err(|error| Failure::other(format!("cannot remove {}: {error}", path.display())))?;
            "removed"
        };
        report.say("library", &path.display().to_string(), done)?;
    }
    Ok(())
}

/// Every version of the library in the directory.
fn our_libraries(directory: &std::path::Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| Failure::other(format!("cannot look into {}: {error}", directory.display()));
    let mut libraries = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.strip_prefix("rowcall_").and_then(|rest| rest.strip_suffix(".so"));
        if version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')) {
            libraries.push(path);
        }
    }
    Ok(libraries)
}
