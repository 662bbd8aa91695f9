//! Why a subcommand did not do what it was asked, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// A sentence for a person and a number for a script.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    /// Anything that has no code of its own.
    pub(crate) fn other(text: impl Into<String>) -> Failure {
        Failure { code: 1, text: text.into() }
    }

    /// The arguments make no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure { code: 2, text: text.into() }
    }

    /// Whoever read our stdout has seen enough: no failure to speak of.
    pub(crate) fn reader_left() -> Failure {
        Failure { code: 0, text: String::new() }
    }

    /// What is at fault was said already.
    pub(crate) fn told() -> Failure {
        Failure { code: 1, text: String::new() }
    }

    /// Nobody subscribes to the subject of the request.
    pub(crate) fn no_responders(subject: &str) -> Failure {
        Failure { code: 3, text: format!("nobody answers to {subject} (no responders)") }
    }

    /// No reply came in time.
    pub(crate) fn timeout(text: impl Into<String>) -> Failure {
        Failure { code: 4, text: text.into() }
    }

    /// The daemon cannot be reached, or has gone, or refused.
    pub(crate) fn daemon(text: impl Into<String>) -> Failure {
        Failure { code: 5, text: text.into() }
    }

    /// The database server cannot be reached, or refused.
    pub(crate) fn server(doing: &str, error: &rowcall_mysql::Error) -> Failure {
        Failure { code: 6, text: format!("{doing}: {error}{}", advice(error.number)) }
    }

    /// The tables of committed mode cannot be read or written.
    pub(crate) fn tables(error: &rowcall_mysql::Error) -> Failure {
        let text = match error.number {
            // No database selected, unknown database, no such table.
            1046 | 1049 | 1146 => NO_TABLES.to_owned(),
            1044 | 1142 | 1143 => format!("{error}\n  {TABLE_RIGHTS}"),
            number => format!("{error}{}", advice(number)),
        };
        Failure { code: 6, text }
    }

    /// The worker answered that it failed.
    pub(crate) fn worker(text: impl Into<String>) -> Failure {
        Failure { code: 7, text: text.into() }
    }

    /// The same, with more to say about it.
    pub(crate) fn with(mut self, more: &str) -> Failure {
        self.text.push_str(more);
        self
    }

    /// The number for the script.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Whether there is something to tell.
    pub(crate) fn is_worth_telling(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether trying again later may help: the daemon was away.
    pub(crate) fn is_daemon(&self) -> bool {
        self.code == 5
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Committed mode was never set up on this server.
const NO_TABLES: &str =
    "the tables of committed mode are not on this server: `rowcall install --outbox FILE` makes them";

const TABLE_RIGHTS: &str = "The account needs SELECT, INSERT, UPDATE and DELETE on rowcall.*";

/// What to do about the errors that people meet when they install.
fn advice(number: u32) -> &'static str {
    match number {
        1045 | 1698 => "\n  Name an account with -u and -p; as root, `sudo rowcall …` often needs neither.",
        1044 | 1142 | 1227 => {
            "\n  The account needs SELECT, INSERT and DELETE on the database mysql, and the right to switch off the \
             binary log for its session (MySQL: SYSTEM_VARIABLES_ADMIN or SUPER; MariaDB: BINLOG ADMIN)."
        }
        1125 => {
            "\n  The server was started while the library was missing, and cannot forget the function: restart it, \
             then run this again."
        }
        1126 => {
            "\n  The server cannot load the library. Is this command running on the server's machine, and may \
             the server's account read the file?"
        }
        1290 => "\n  The server is read-only, or was started with an option that forbids this.",
        2002 | 2003 => {
            "\n  Is the server running there? Name its socket with -S, or its host with -h and -P."
        }
        _ => "",
    }
}
