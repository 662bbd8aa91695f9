//! The database server on the command line, with the flags that its own clients have.

use crate::context::{self, Database};
use crate::failure::Failure;
use clap::Args;
use rowcall_mysql::{Connection, OptionFiles, Options, Session};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What stands above these flags in a help page.
pub(crate) const HEADING: &str = "Database server (the flags of the mysql and mariadb clients)";

#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Host to connect to
    #[arg(short = 'h', long)]
    host: Option<String>,

    /// TCP port to connect to
    #[arg(short = 'P', long)]
    port: Option<u16>,

    /// Unix socket to connect to
    #[arg(short = 'S', long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Account to connect as
    #[arg(short = 'u', long)]
    user: Option<String>,

    /// Its password, right behind the flag (-pSECRET); with the flag alone, it is asked for
    #[arg(short = 'p', long, num_args = 0..=1, require_equals = true, env = "MYSQL_PWD", hide_env_values = true)]
    password: Option<Option<String>>,

    /// Read this option file and no other; the groups are [client] and [rowcall]
    #[arg(long, value_name = "FILE")]
    defaults_file: Option<PathBuf>,

    /// Read no option files
    #[arg(long, conflicts_with = "defaults_file")]
    no_defaults: bool,

    /// Connect only if the connection is encrypted
    #[arg(long)]
    ssl: bool,

    /// Connect only if the server's certificate comes from this authority (PEM)
    #[arg(long, value_name = "FILE")]
    ssl_ca: Option<PathBuf>,
}

impl ServerArgs {
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        Connection::connect(&self.options()?)
            .map_err(|error| Failure::server("cannot connect to the server", &error))
    }

    /// What to connect with; asks for the password if it is wanted and not given.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let password = match &self.password {
            Some(Some(password)) => Some(password.clone()),
            Some(None) => {
                let asked = rpassword::prompt_password("Enter password: ");
                Some(asked.map_err(|error| Failure::other(format!("cannot ask for the password: {error}")))?)
            }
            None => None,
        };
        // What the context knows is for the server that it names: no other one is shown its password.
        let is_placed = self.host.is_some() || self.port.is_some() || self.socket.is_some();
        let context = if is_placed { Database::default() } else { context::current().database.clone() };
        let defaults_file = self.defaults_file.as_ref().or(context.defaults_file.as_ref());
        let option_files = match defaults_file {
            _ if self.no_defaults => OptionFiles::None,
            Some(path) if !path.exists() => {
                return Err(Failure::usage(format!("--defaults-file: there is no {}", path.display())));
            }
            Some(path) => OptionFiles::Only(path.clone()),
            None => OptionFiles::Usual,
        };
        Ok(Options {
            host: self.host.clone().or(context.host),
            port: self.port.or(context.port),
            socket: self.socket.clone().or(context.socket),
            user: self.user.as_ref().or(context.user.as_ref()).cloned(),
            password,
            option_files,
            require_tls: self.ssl || context.ssl,
            tls_ca: self.ssl_ca.as_ref().or(context.ssl_ca.as_ref()).cloned(),
            looks_elsewhere: true,
            connect_timeout: Some(CONNECT_TIMEOUT),
            session: Some(Session::default()),
            ..Options::default()
        })
    }
}

/// The servers' own clients take a password only right behind the flag: `-pSECRET`, while `-p` asks
/// for it. Written as `--password=SECRET` and `--password`, our parser understands the same.
pub(crate) fn joined_passwords(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut behind_dashes = false;
    let join = |argument: OsString| {
        behind_dashes |= argument == "--";
        match argument.as_bytes().strip_prefix(b"-p") {
            Some(b"") if !behind_dashes => "--password".into(),
            Some(secret) if !behind_dashes => OsString::from_vec([b"--password=", secret].concat()),
            _ => argument,
        }
    };
    arguments.into_iter().map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stands_right_behind_its_flag() {
        let check = |from: &[&str], to: &[&str]| {
            assert_eq!(joined_passwords(from.iter().map(OsString::from)), to);
        };
        check(&["rowcall", "install", "-p"], &["rowcall", "install", "--password"]);
        check(&["-psecret", "-P", "3306"], &["--password=secret", "-P", "3306"]);
        check(&["--print", "-u", "root"], &["--print", "-u", "root"]);
        check(&["reply", "a", "--", "mysql", "-px"], &["reply", "a", "--", "mysql", "-px"]);
    }
}
