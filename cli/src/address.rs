//! The daemon on the command line: where it is, and as whom to speak to it. How it is spoken to
//! stands in client.rs.

use crate::failure::Failure;
use clap::Args;
use std::io;
use std::path::PathBuf;
use url::Url;

/// The port that NATS clients use.
const PORT_DEFAULT: u16 = 4222;

/// Where the daemon is.
#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonArgs {
    /// Where the daemon listens: unix:PATH, HOST:PORT or nats://[USER:PASSWORD@]HOST[:PORT]
    #[arg(
        long,
        short,
        value_name = "URL",
        env = "ROWCALL_SERVER",
        default_value = "unix:/run/rowcall/rowcall.sock",
        hide_env_values = true
    )]
    pub(crate) server: String,
}

/// Who the server is, and as whom to speak to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) place: Place,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, Failure> {
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        let wrong = |why: &str| Failure::usage(format!("--server \"{}\": {why}", without_secrets(text)));
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(wrong("there is no path in it"));
            }
            return Ok(Address { place: Place::Unix(path.into()), user: None, password: None });
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
        let url = Url::parse(&whole).map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != "nats" {
            return Err(wrong("expected nats://HOST:PORT or unix:PATH"));
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
        Ok(Address {
            place: tcp(host.trim_matches(['[', ']']), url.port().unwrap_or(PORT_DEFAULT)),
            user: (!url.username().is_empty()).then(|| decoded(url.username())).flatten(),
            password: url.password().and_then(decoded),
        })
    }

    /// Why the daemon cannot be reached, and what to do about it.
    pub(crate) fn not_there(&self, error: &io::Error) -> String {
        let place = match &self.place {
            Place::Unix(path) => path.display().to_string(),
            Place::Tcp(host, port) => format!("{host}:{port}"),
        };
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "Your account may not use that socket (see socket_mode and socket_group in rowcalld's configuration)."
            }
            _ => "Is rowcalld running? If it listens elsewhere, say where with --server.",
        };
        format!("cannot reach the daemon at {place}: {error}\n  {advice}")
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
            let expected =
                Address { place, user: user.map(str::to_owned), password: password.map(str::to_owned) };
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        };
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        check("unix:/run/x.sock", Place::Unix("/run/x.sock".into()), None, None);
        check("unix:///run/x.sock", Place::Unix("/run/x.sock".into()), None, None);
        check("nats://db:4333", tcp("db", 4333), None, None);
        check("db", tcp("db", 4222), None, None);
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
