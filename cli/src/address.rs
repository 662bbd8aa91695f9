//! The daemon on the command line: where it is. As whom to speak to it stands in credentials.rs, how
//! it is spoken to in client.rs.

use crate::context;
use crate::credentials::{Credentials, Login};
use crate::failure::Failure;
use clap::Args;
use std::fmt;
use std::io;
use std::path::PathBuf;
use url::Url;

/// Where the daemon is unless anybody says otherwise.
const SERVER_DEFAULT: &str = "unix:/run/rowcall/rowcall.sock";

/// What stands above these flags in a help page.
pub(crate) const DAEMON: &str = "Daemon (rowcalld)";

/// The port that NATS clients use.
const PORT_DEFAULT: u16 = 4222;

/// Where the daemon is, and as whom to speak to it.
#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonArgs {
    #[command(flatten)]
    pub(crate) url: DaemonUrl,

    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

/// Where the daemon is. By itself it is for subcommands that speak to the database server as well: the flags for
/// users and certificates mean that one there, and the environment says as whom to speak to the daemon.
#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonUrl {
    /// Where the daemon listens: unix:PATH, HOST:PORT, nats://HOST[:PORT], or tls://HOST[:PORT],
    /// which insists on TLS; unix:/run/rowcall/rowcall.sock unless told. Before the host may stand
    /// USER:PASSWORD@ or TOKEN@, but in an argument everybody sees them
    #[arg(long, short, value_name = "URL", env = "ROWCALL_SERVER", hide_env_values = true)]
    server: Option<String>,
}

impl DaemonArgs {
    /// Whether the context says where the daemon is, if anybody does.
    pub(crate) fn is_of_context(&self) -> bool {
        self.url.server.is_none()
    }

    /// Where the daemon is, and as whom to speak to it, as flags, environment and context say. What the context
    /// knows is for the daemon that it names: no other one is shown its password.
    pub(crate) fn resolved(&self) -> Result<(Address, Credentials), Failure> {
        let credentials = self.credentials.clone();
        if let Some(server) = &self.url.server {
            return Ok((Address::parse(server)?, credentials));
        }
        let context = context::current();
        let server = context.server.as_deref().unwrap_or(SERVER_DEFAULT);
        Ok((Address::parse(server)?, credentials.or(context)))
    }
}

impl From<DaemonUrl> for DaemonArgs {
    fn from(url: DaemonUrl) -> DaemonArgs {
        DaemonArgs { url, credentials: Credentials::from_environment() }
    }
}

/// Who the server is, and as whom to speak to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) place: Place,
    /// Whether TLS is insisted on.
    pub(crate) tls: bool,
    pub(crate) login: Login,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl Address {
    fn parse(text: &str) -> Result<Address, Failure> {
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        let wrong = |why: &str| Failure::usage(format!("--server \"{}\": {why}", without_secrets(text)));
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(wrong("there is no path in it"));
            }
            return Ok(Address { place: Place::Unix(path.into()), tls: false, login: Login::default() });
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
        let url = Url::parse(&whole).map_err(|error| wrong(&error.to_string()))?;
        if !["nats", "tls"].contains(&url.scheme()) {
            return Err(wrong("expected nats://HOST:PORT, tls://HOST:PORT or unix:PATH"));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("there is no host in it"))?;
        let decoded = |text: &str| {
            // What means something in a form means itself here.
            let text = text.replace('+', "%2B").replace('&', "%26");
            url::form_urlencoded::parse(format!("x={text}").as_bytes())
                .next()
                .map(|(_, value)| value.into_owned())
        };
        let user = (!url.username().is_empty()).then(|| decoded(url.username())).flatten();
        // As all clients have it: a user without a password is a token.
        let login = match url.password().and_then(decoded) {
            None => Login { token: user, ..Login::default() },
            password => Login { user, password, token: None },
        };
        let place = tcp(host.trim_matches(['[', ']']), url.port().unwrap_or(PORT_DEFAULT));
        Ok(Address { place, tls: url.scheme() == "tls", login })
    }

    /// Why the daemon cannot be reached, and what to do about it.
    pub(crate) fn not_there(&self, error: &io::Error) -> String {
        let place = self.place.to_string();
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "Your account may not use that socket (see socket_mode and socket_group in rowcalld's configuration)."
            }
            _ => "Is rowcalld running? If it listens elsewhere, say where with --server.",
        };
        format!("cannot reach the daemon at {place}: {error}\n  {advice}")
    }
}

impl Place {
    /// Whether it is on this machine, as far as its name says.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Place::Unix(_) => true,
            Place::Tcp(host, _) => is_loopback(host),
        }
    }
}

/// Whether a host, as it stands in a URL or by itself, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => path.display().fmt(f),
            Place::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// A URL as it may be shown.
fn without_secrets(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}…{}", &text[..scheme + 3], &text[at..]),
        (None, Some(at)) => format!("…{}", &text[at..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, place, user: Option<&str>, password: Option<&str>| {
            let (user, password) = (user.map(str::to_owned), password.map(str::to_owned));
            let login = match password {
                None => Login { token: user, ..Login::default() },
                password => Login { user, password, token: None },
            };
            let expected = Address { place, tls: text.starts_with("tls"), login };
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        };
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        check("unix:/run/x.sock", Place::Unix("/run/x.sock".into()), None, None);
        check("unix:///run/x.sock", Place::Unix("/run/x.sock".into()), None, None);
        check("nats://db:4333", tcp("db", 4333), None, None);
        check("db", tcp("db", 4222), None, None);
        check("tls://u:p@db:4333", tcp("db", 4333), Some("u"), Some("p"));
        check("127.0.0.1:4333", tcp("127.0.0.1", 4333), None, None);
        check("nats://[::1]:4333", tcp("::1", 4333), None, None);
        check("nats://u:p%40s+s@db", tcp("db", 4222), Some("u"), Some("p@s+s"));
        check("nats://u:p&q=r;s@db", tcp("db", 4222), Some("u"), Some("p&q=r;s"));
        check("nats://token@db", tcp("db", 4222), Some("token"), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let error = Address::parse("http://user:secret@db").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("…@db"), "{error}");
    }
}
