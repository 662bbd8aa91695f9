//! What the administrator wants: flags over environment over the configuration file over the
//! defaults. Every default and limit is here; nothing is opened here but the file. How single values
//! are written stands in config/values.rs.

mod values;

use crate::auth::{Access, file};
use crate::certificates;
use clap::Parser;
use rustls::ServerConfig;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
pub use values::{
    Address, ControlLine, Grace, HostPort, Level, Mode, OptionFile, Payload, Place, Size, Span, Tls,
};

/// Where the library inside the server looks for the daemon, unless it is told otherwise.
pub const SOCKET_DEFAULT: &str = "/run/rowcall/rowcall.sock";

/// The commented example, installed beside the daemon and shown by `--print-config`.
pub const EXAMPLE: &str = include_str!("../../dist/rowcalld.toml");

/// rowcalld: serves the SQL functions over a Unix socket, and subscribers and workers outside over
/// the NATS client protocol.
#[derive(Parser, Clone, Debug, Default)]
#[command(name = "rowcalld", version, after_help = AFTER_HELP)]
pub struct Flags {
    /// The Unix socket for the SQL functions and local clients, or "none"
    #[arg(long, value_name = "PATH", env = "ROWCALL_SOCKET")]
    pub socket: Option<Place>,

    /// The group that may use that socket besides its owner: the database server's
    #[arg(long, value_name = "GROUP", env = "ROWCALL_SOCKET_GROUP")]
    pub socket_group: Option<String>,

    /// Where NATS clients connect, or "none"; port 0 takes a free one and logs it
    #[arg(long, value_name = "HOST:PORT", env = "ROWCALL_LISTEN")]
    pub listen: Option<Address>,

    /// Where HTTP is spoken, or "none"; port 0 likewise
    #[arg(long, value_name = "HOST:PORT", env = "ROWCALL_HTTP")]
    pub http: Option<Address>,

    /// Committed mode: the option file (as the server's own clients have them) that says where the
    /// server is and as whom to connect to it, or "none"
    #[arg(long, value_name = "FILE", env = "ROWCALL_OUTBOX")]
    pub outbox: Option<OptionFile>,

    /// The file that says who may log in, and what they and SQL may do, or "none"
    #[arg(long, value_name = "FILE", env = "ROWCALL_USERS")]
    pub users: Option<OptionFile>,

    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "ROWCALL_CONFIG")]
    pub config: Option<PathBuf>,

    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "ROWCALL_LOG")]
    pub log: Option<Level>,

    /// Listen on addresses beyond this machine although nothing is encrypted
    #[arg(long, env = "ROWCALL_ALLOW_REMOTE")]
    pub allow_remote: bool,

    /// Show a configuration file with every key, its default and what it means
    #[arg(long)]
    pub print_config: bool,
}

const AFTER_HELP: &str = "\
Flags win over the environment, the environment over the file, the file over the defaults.
SIGTERM and SIGINT: tell the clients, go on for lame_duck so that they can act on it
(a second signal ends that), write what is owed (at most drain_timeout), leave.
SIGHUP: read the configuration, the file of users and the certificates again.

Exit codes: 0 left as asked; 1 could not start or go on; 2 wrong flags or configuration.";

/// All settings, whatever they came from.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The Unix socket.
    pub socket: Place,
    /// Its permissions. 0660: its owner and its group.
    pub socket_mode: Mode,
    /// Its group, if not the daemon's own; usually the server's, `mysql`.
    pub socket_group: Option<String>,
    /// After a start on a socket that was passed: how long what SQL says is put off, so that listeners come
    /// back first.
    pub sql_delay: Option<Span>,
    /// Where NATS clients connect.
    pub listen: Address,
    /// Where HTTP is spoken.
    pub http: Address,
    /// Further names that this host has in requests' `Host`.
    pub http_hosts: Vec<String>,
    /// Origins of web pages that may ask over HTTP.
    pub http_cors_origins: Vec<String>,
    /// HTTP connections at a time.
    pub max_http_connections: usize,
    /// The option file for the connection that reads the outbox; without one, nothing reads it. It is opened when
    /// it is needed (outbox/option_file.rs): instant mode goes on without it.
    pub outbox: OptionFile,
    /// The file that says who may log in and what they may do; without one, nobody has to.
    pub users: OptionFile,
    /// What it says.
    #[serde(skip)]
    pub(crate) access: Access,
    /// How long a connection may take to log in.
    pub auth_timeout: Span,
    /// Allows addresses beyond this machine.
    pub allow_remote: bool,
    /// The certificate that NATS clients on TCP are shown, with what stands between it and its authority.
    /// Without one, nobody speaks TLS.
    pub tls_cert: OptionFile,
    /// Its private key.
    pub tls_key: OptionFile,
    /// The authorities that sign the clients' certificates; without any, clients need none.
    pub tls_client_ca: OptionFile,
    /// What they hold; `None` if nobody is to speak TLS.
    #[serde(skip)]
    pub(crate) certificates: Option<Arc<ServerConfig>>,
    /// Who speaks TLS, once there is a certificate.
    pub tls: Tls,
    /// Whether HTTP is spoken in TLS, and only so, with the same certificate.
    pub http_tls: bool,
    /// How long a connection may take until its handshake is done.
    pub tls_timeout: Span,
    /// The name clients see.
    pub server_name: String,
    /// Bytes of headers and payload of a message.
    pub max_payload: Payload,
    /// Bytes of a control line that a client sends, without its verb.
    pub max_control_line: ControlLine,
    /// Bytes that a client may owe us reading of; over it, it is cut off as a slow consumer.
    pub max_pending: Size,
    /// How long a client that is owed something may take nothing; over it, it is cut off as well.
    pub write_deadline: Span,
    /// After so long without traffic, a client on TCP is asked whether it is still there.
    pub ping_interval: Span,
    /// How many such questions may stay open before the connection counts as dead.
    pub ping_max: u8,
    /// Connections at a time.
    pub max_connections: usize,
    /// Subscriptions of one connection; 0 is no limit.
    pub max_subscriptions: usize,
    /// How many submitted requests and their replies the mailbox keeps.
    pub mailbox_count: usize,
    /// Bytes of replies that it keeps.
    pub mailbox_bytes: Size,
    /// How long it keeps each, from when it was submitted.
    pub mailbox_time: Span,
    /// How long clients that were told that the daemon leaves may go on.
    pub lame_duck: Grace,
    /// How long leaving may take then.
    pub drain_timeout: Span,
    /// What to log.
    pub log: Level,
}

impl Default for Config {
    fn default() -> Self {
        let address = |port| Address(Some(HostPort { host: "127.0.0.1".into(), port }));
        Config {
            socket: Place(Some(SOCKET_DEFAULT.into())),
            socket_mode: Mode(0o660),
            socket_group: None,
            sql_delay: None,
            listen: address(4222),
            http: address(8222),
            http_hosts: Vec::new(),
            http_cors_origins: Vec::new(),
            max_http_connections: 1024,
            outbox: OptionFile(None),
            users: OptionFile(None),
            access: Access::default(),
            auth_timeout: Span(Duration::from_secs(2)),
            allow_remote: false,
            tls_cert: OptionFile(None),
            tls_key: OptionFile(None),
            tls_client_ca: OptionFile(None),
            certificates: None,
            tls: Tls::Required,
            http_tls: false,
            tls_timeout: Span(Duration::from_secs(2)),
            server_name: "rowcalld".into(),
            max_payload: Payload(rowcall_wire::PAYLOAD_MAX),
            max_control_line: ControlLine(rowcall_wire::CONTROL_LINE_MAX),
            max_pending: Size(64 << 20),
            write_deadline: Span(Duration::from_secs(10)),
            ping_interval: Span(Duration::from_secs(120)),
            ping_max: 2,
            max_connections: 65_536,
            max_subscriptions: 0,
            mailbox_count: 65_536,
            mailbox_bytes: Size(64 << 20),
            mailbox_time: Span(Duration::from_secs(600)),
            lame_duck: Grace(Duration::from_secs(2)),
            drain_timeout: Span(Duration::from_secs(5)),
            log: Level(tracing::Level::INFO),
        }
    }
}

/// Why there are no settings: a sentence for the administrator, with the file and the line.
#[derive(Debug)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    /// The file, if one is named, with the flags over it.
    ///
    /// # Errors
    /// What is wrong with the file or with what the settings amount to.
    pub fn from_flags(flags: Flags) -> Result<Config, Wrong> {
        let config = Config::read(flags)?;
        config.check_addresses()?;
        Ok(config)
    }

    /// The same, without asking DNS what addresses stand for.
    ///
    /// # Errors
    /// What is wrong with the files or with what the settings amount to.
    pub(crate) fn read(flags: Flags) -> Result<Config, Wrong> {
        let mut config = match &flags.config {
            Some(path) => Config::from_file(path)?,
            None => Config::default(),
        };
        config.socket = flags.socket.unwrap_or(config.socket);
        config.socket_group = flags.socket_group.or(config.socket_group);
        config.listen = flags.listen.unwrap_or(config.listen);
        config.http = flags.http.unwrap_or(config.http);
        config.outbox = flags.outbox.unwrap_or(config.outbox);
        config.users = flags.users.unwrap_or(config.users);
        config.log = flags.log.unwrap_or(config.log);
        config.allow_remote |= flags.allow_remote;
        config.check()?;
        config.certificates = certificates::load(&config).map_err(Wrong)?;
        if let Some(path) = &config.users.0 {
            config.access = Access::from_file(path).map_err(Wrong)?;
        }
        Ok(config)
    }

    fn from_file(path: &Path) -> Result<Config, Wrong> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Wrong(format!("cannot read the configuration file {}: {error}", path.display()))
        })?;
        Config::from_toml(&text).map_err(|error| Wrong(format!("{}: {error}", path.display())))
    }

    pub(crate) fn from_toml(text: &str) -> Result<Config, Wrong> {
        let config: Config = toml::from_str(text).map_err(|error| match text.contains("[[users]]") {
            // They belong elsewhere; but what stands there by mistake may be a secret all the same.
            true => {
                Wrong(format!("{} (users have a file of their own: users = FILE)", file::quiet(text, &error)))
            }
            false => Wrong(error.to_string().trim_end().to_owned()),
        })?;
        if config.max_pending.0 < config.max_payload.0 {
            return Err(Wrong(format!(
                "max_pending is {} bytes, less than max_payload, {}: no subscriber could take such a message",
                config.max_pending.0, config.max_payload.0
            )));
        }
        if let Some(origin) = config.http_cors_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(Wrong(format!(
                "http_cors_origins: {origin:?} is no origin such as \"https://shop.example\": a scheme, a host, perhaps a port"
            )));
        }
        Ok(config)
    }

    /// What neither the file nor the flags can tell alone.
    fn check(&self) -> Result<(), Wrong> {
        if self.socket.0.is_none() && self.listen.0.is_none() {
            return Err(Wrong("socket and listen are both \"none\": nobody could connect".into()));
        }
        Ok(())
    }

    /// Whether the addresses may be listened on. Asks DNS for names.
    pub(crate) fn check_addresses(&self) -> Result<(), Wrong> {
        for (name, address) in [("listen", &self.listen), ("http", &self.http)] {
            let Some(address) = &address.0 else { continue };
            let resolved =
                address.resolve().map_err(|error| Wrong(format!("{name} = \"{address}\": {error}")))?;
            let guarded = self.demands_tls(name) && self.access.has_users();
            let open = resolved.iter().any(|address| !address.ip().is_loopback());
            if open && !guarded && !self.allow_remote {
                let why = match self.access.has_users() {
                    true => "passwords and messages would go there unencrypted",
                    false => "nobody has to log in here",
                };
                return Err(Wrong(format!(
                    "{name} = \"{address}\" can be reached from other machines, and {why}; \
                     use TLS and users, or 127.0.0.1, or say --allow-remote if that is what you want"
                )));
            }
        }
        Ok(())
    }

    /// Whether nobody says anything in clear text at that address.
    fn demands_tls(&self, name: &str) -> bool {
        let demanded = if name == "http" { self.http_tls } else { self.tls != Tls::Optional };
        demanded && self.tls_cert.0.is_some() && self.tls != Tls::None
    }
}

/// Whether browsers would call a page's origin so. (`*` would let every page in the world publish.)
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(_, host)| host);
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', ',']) && text.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(toml: &str, line: &str, words: &[&str]) {
        let error = Config::from_toml(toml).expect_err(toml).to_string();
        for word in words.iter().chain([&line]) {
            assert!(error.contains(word), "{toml:?}: {word:?} not in {error:?}");
        }
    }

    #[test]
    fn the_example_is_the_defaults() {
        // Every key stands in the example, commented out or not, with its default.
        let uncommented: String =
            EXAMPLE.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
        let example = Config::from_toml(&uncommented).unwrap();
        let default = Config {
            socket_group: Some("mysql".into()),
            sql_delay: Some(Span(Duration::from_secs(3))),
            ..Config::default()
        };
        assert_eq!(format!("{example:?}"), format!("{default:?}"));
    }

    #[test]
    fn a_wrong_key_type_or_value_is_refused_with_its_line() {
        refused("listen = \"none\"\nlistn = \"a:1\"", "line 2", &["listn", "expected", "listen"]);
        refused("\n\nping_max = \"two\"", "line 3", &["invalid type", "u8"]);
        refused("max_payload = \"1 mile\"", "line 1", &["size such as", "1 mile"]);
        refused("max_payload = true", "line 1", &["string or a whole number"]);
        refused("max_payload = 0", "line 1", &["expected 1 to 67108864"]);
        refused("max_payload = \"65MiB\"", "line 1", &["expected 1 to 67108864"]);
        refused("max_payload = 10\nmax_pending = 9", "max_pending is 9", &["max_payload, 10"]);
        refused("write_deadline = \"-1s\"", "line 1", &["time such as"]);
        refused("listen = \"4222\"", "line 1", &["HOST:PORT"]);
        refused("socket = \"rowcall.sock\"", "line 1", &["absolute path"]);
        refused("socket_mode = \"rw\"", "line 1", &["octal"]);
        for wrong in ["*", "shop.example", "https://shop.example/", "https://", "https://*.example"] {
            refused(
                &format!("http_cors_origins = [{wrong:?}]"),
                "is no origin",
                &[wrong, "https://shop.example"],
            );
        }
        refused("log = \"loud\"", "line 1", &["error, warn, info"]);
        refused("listen =", "line 1", &["expected"]);
    }

    #[test]
    fn addresses_beyond_this_machine_need_a_word() {
        let mut config = Config::from_toml("listen = \"0.0.0.0:4222\"").unwrap();
        assert!(config.check_addresses().unwrap_err().to_string().contains("--allow-remote"));
        config.allow_remote = true;
        assert!(config.check_addresses().is_ok());
        let nobody = Config::from_toml("listen = \"none\"\nsocket = \"none\"").unwrap();
        assert!(nobody.check().is_err());
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = std::env::temp_dir().join(format!("rowcalld-config-test-{}", std::process::id()));
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"").unwrap();
        let flags = Flags { listen: "none".parse().ok(), config: Some(file.clone()), ..Flags::default() };
        let config = Config::from_flags(flags).unwrap();
        std::fs::remove_file(file).unwrap();
        assert!(config.listen.0.is_none());
        assert_eq!(config.http.0.unwrap().to_string(), "127.0.0.1:2");
        assert!(config.socket.0.is_some());
    }

    #[test]
    fn values() {
        assert_eq!("1MiB".parse(), Ok(Size(1 << 20)));
        assert_eq!("64 KiB".parse(), Ok(Size(64 << 10)));
        assert_eq!("100".parse(), Ok(Size(100)));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
        assert_eq!("0660".parse(), Ok(Mode(0o660)));
        assert_eq!("[::1]:4222".parse::<Address>().unwrap().0.unwrap().to_string(), "[::1]:4222");
        assert!("::1:4222".parse::<Address>().is_err());
        assert!("1GiBB".parse::<Size>().is_err());
        assert!("99999999999999999999".parse::<Size>().is_err());
    }
}
