//! Who is examined: the database server, with what the checks ask it all the time, and the daemon.

use super::finding::Trouble;
use super::process::{self, Process};
use super::settings::Settings;
use crate::address::DaemonArgs;
use crate::failure::Failure;
use crate::monitor::HttpUrl;
use crate::server::ServerArgs;
use rowcall_mysql::{Connection, Options, Session};
use serde_json::Value;
use std::time::Duration;

pub(crate) struct Patient {
    pub(crate) daemon: DaemonArgs,
    pub(crate) http: HttpUrl,
    pub(crate) settings: Settings,
    /// Both ends of the connection are on this machine.
    pub(crate) is_local: bool,
    /// The server's process, or why it cannot be seen from here.
    process: Result<Process, String>,
    options: Options,
    sql: Connection,
}

impl Patient {
    pub(crate) fn new(server: &ServerArgs, daemon: DaemonArgs, http: HttpUrl) -> Result<Patient, Failure> {
        let session = Session { lock_wait: LOCK_WAIT, ..Session::default() };
        let options = Options { session: Some(session), ..server.options()? };
        let mut sql = connect(&options)?;
        let settings = Settings::of(&mut sql);
        let settings =
            settings.map_err(|error| Failure::server("cannot read the server's settings", &error))?;
        let socket = sql.socket().filter(|&socket| process::is_local(socket));
        let process = match socket {
            Some(socket) => Process::behind(socket, &settings),
            None => Err("run this on its machine, through its Unix socket (-S)".into()),
        };
        let is_local = socket.is_some();
        Ok(Patient { daemon, http, settings, is_local, process, options, sql })
    }

    /// The server's process, where it can be seen from here.
    pub(crate) fn process(&self) -> Result<&Process, Trouble> {
        let unseen = |why| Trouble::Other(format!("the server's process cannot be seen: {why}"));
        self.process.as_ref().map_err(unseen)
    }

    /// One more session.
    pub(crate) fn connect(&self) -> Result<Connection, Trouble> {
        connect(&self.options).map_err(|failure| Trouble::Other(failure.to_string()))
    }

    /// One value, or NULL.
    pub(crate) fn value(&mut self, sql: &str) -> Result<Option<String>, Trouble> {
        Ok(self.sql.value(sql)?)
    }

    /// Rows of text; NULL is nothing.
    pub(crate) fn rows<const N: usize>(&mut self, sql: &str) -> Result<Vec<[String; N]>, Trouble> {
        let row = |row: Vec<String>| {
            let mut values = row.into_iter();
            std::array::from_fn(|_| values.next().unwrap_or_default())
        };
        Ok(self.sql.texts(sql)?.into_iter().map(row).collect())
    }

    /// Whether this succeeds.
    pub(crate) fn succeeds(&mut self, sql: &str) -> bool {
        self.sql.query(sql).is_ok()
    }

    pub(crate) fn sql(&mut self) -> &mut Connection {
        &mut self.sql
    }

    /// What the functions say of themselves; nothing where they are not installed.
    pub(crate) fn status(&mut self) -> Option<Value> {
        let text = self.sql.value("SELECT CONVERT(rowcall_status() USING utf8mb4)").ok()??;
        serde_json::from_str(&text).ok()
    }

    /// Whether the tables of committed mode are there.
    pub(crate) fn has_tables(&mut self) -> bool {
        self.succeeds("SELECT number FROM rowcall.edition")
    }
}

/// Nothing that is asked waits long for a lock that another session holds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

fn connect(options: &Options) -> Result<Connection, Failure> {
    Connection::connect(options).map_err(|error| Failure::server("cannot connect to the server", &error))
}
