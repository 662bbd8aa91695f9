//! What the daemon tells of itself over HTTP, as docs/monitoring.md has it. Messages do not come this way.

use crate::address::{DaemonArgs, is_loopback};
use crate::context;
use crate::credentials::Login;
use crate::failure::Failure;
use crate::https;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::time::Duration;
use ureq::Agent;
use ureq::Body;
use ureq::http::Response;

/// Where it is unless anybody says otherwise.
const HTTP_DEFAULT: &str = "http://127.0.0.1:8222";

/// How long a page may take: they are made at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where it is.
#[derive(Args)]
pub(crate) struct HttpUrl {
    /// Where the daemon's HTTP port is; http://127.0.0.1:8222 unless told
    #[arg(long, value_name = "URL", env = "ROWCALL_HTTP", hide_env_values = true)]
    http: Option<String>,
}

/// The HTTP port, to whoever looks at its pages.
pub(crate) struct Monitor {
    url: String,
    authorization: Option<String>,
    agent: Agent,
}

impl Monitor {
    /// What a context knows of a daemon goes to the HTTP port that the same context names, and to no other.
    pub(crate) fn new(http: &HttpUrl, daemon: &DaemonArgs) -> Result<Monitor, Failure> {
        let (address, resolved) = daemon.resolved()?;
        let of_context = if daemon.is_of_context() { context::current().http.as_deref() } else { None };
        let (url, credentials) = match (http.http.as_deref(), of_context) {
            (Some(url), _) => (url, daemon.credentials.clone()),
            (None, Some(url)) => (url, resolved),
            (None, None) if address.place.is_local() => (HTTP_DEFAULT, daemon.credentials.clone()),
            (None, None) => {
                return Err(Failure::usage(format!(
                    "where is the HTTP port of {}? Name it with --http, or as http in the context",
                    address.place
                )));
            }
        };
        let login = match credentials.login()? {
            login if login == Login::default() => address.login,
            login => login,
        };
        let url = url.trim_end_matches('/').to_owned();
        if login != Login::default() && !is_private(&url) {
            return Err(Failure::usage(format!(
                "{url}: a password would be read by everybody on the way; use https://"
            )));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(https::trust("--tls-ca", credentials.tls_ca())?)
            .build();
        Ok(Monitor { url, authorization: authorization(&login), agent: config.into() })
    }

    /// Why the daemon does not read the outbox of a server whose outbox nobody reads, if it can be asked.
    pub(crate) fn why_unread(http: &HttpUrl, daemon: &DaemonArgs) -> Option<String> {
        let varz = Monitor::new(http, daemon).ok()?.page("/varz").ok()?;
        let outbox = varz.get("outbox")?;
        Some(match outbox["state"].as_str() {
            None => "it runs without `outbox`, in instant mode alone".to_owned(),
            Some("reading" | "standing_by") => "its `outbox` names another server".to_owned(),
            Some(state) => outbox["why"].as_str().unwrap_or(state).to_owned(),
        })
    }

    /// A page, as JSON.
    pub(crate) fn page(&self, path: &str) -> Result<Value, Failure> {
        self.page_if_there(path)?.ok_or_else(|| {
            Failure::daemon(format!("{}{path}: what answers there has no such page", self.url))
        })
    }

    /// The same; nothing where the daemon says that it has none.
    pub(crate) fn page_if_there(&self, path: &str) -> Result<Option<Value>, Failure> {
        let mut response = self.get(path, &[])?;
        let text = response.body_mut().read_to_string().map_err(|error| self.failed(path, &error))?;
        if response.status() == 404 {
            return Ok(None);
        }
        serde_json::from_str(&text).map(Some).map_err(|error| self.failed(path, &error))
    }

    /// A stream of events, of what comes after the one of this id.
    pub(crate) fn stream(&self, path: &str, after: &str) -> Result<impl BufRead + use<>, Failure> {
        let response = self.get(path, &[("Last-Event-ID", after)])?;
        if response.status() == 404 {
            return Err(self.failed(path, &"there is no such page"));
        }
        Ok(BufReader::new(response.into_body().into_reader()))
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        let authorization = self.authorization.as_deref().map(|value| ("Authorization", value));
        for (name, value) in headers.iter().copied().chain(authorization) {
            request = request.header(name, value);
        }
        let mut response = request.call().map_err(|error| {
            let advice = "\n  Is rowcalld running? Its HTTP port is named with --http or ROWCALL_HTTP.";
            self.failed(path, &error).with(advice)
        })?;
        match response.status().as_u16() {
            200 | 404 => Ok(response),
            401 => {
                Err(self.failed(path, &"one has to log in (--user with --password-file, or --token-file)"))
            }
            status => {
                let text = response.body_mut().read_to_string().unwrap_or_default();
                Err(self.failed(path, &format!("{status} {}", text.trim())))
            }
        }
    }

    fn failed(&self, path: &str, why: &dyn std::fmt::Display) -> Failure {
        Failure::daemon(format!("{}{path}: {why}", self.url))
    }
}

/// Whether what is sent there is read by nobody on the way: in TLS, or within this machine.
fn is_private(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| url.scheme() == "https" || url.host_str().is_some_and(is_loopback))
}

fn authorization(login: &Login) -> Option<String> {
    match login {
        Login { token: Some(token), .. } => Some(format!("Bearer {token}")),
        Login { user: Some(user), password, .. } => {
            let both = format!("{user}:{}", password.as_deref().unwrap_or_default());
            Some(format!("Basic {}", STANDARD.encode(both)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_sent_where_nobody_reads_them() {
        let private = ["https://db1:8222", "http://127.0.0.1:8222", "http://localhost", "http://[::1]:1"];
        assert!(private.iter().all(|url| is_private(url)));
        let open = ["http://db1:8222", "http://10.0.0.1", "http://localhost.example.org", "db1"];
        assert!(!open.iter().any(|url| is_private(url)));
    }
}
