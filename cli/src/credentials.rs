//! As whom to speak to a daemon, and whom to trust to be one: from flags, files and the environment. A
//! secret is never an argument of the program, where everybody on the machine would see it.

use crate::context::Context;
use crate::failure::Failure;
use clap::Args;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Credentials, and what TLS needs.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// The user to log in as; the password is in --password-file or ROWCALL_PASSWORD
    #[arg(long, value_name = "NAME", env = "ROWCALL_USER", hide_env_values = true)]
    user: Option<String>,

    /// A file whose first line is the password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,

    /// A file whose first line is the token to log in with; or else ROWCALL_TOKEN
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    token_file: Option<PathBuf>,

    /// TLS: the authorities that the daemon's certificate may come from (PEM), instead of the
    /// system's
    #[arg(long, value_name = "FILE", env = "ROWCALL_TLS_CA", hide_env_values = true)]
    tls_ca: Option<PathBuf>,

    /// TLS: our own certificate (PEM), for a daemon that asks for one
    #[arg(long, value_name = "FILE", env = "ROWCALL_TLS_CERT", hide_env_values = true, requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// TLS: the key of our certificate (PEM)
    #[arg(long, value_name = "FILE", env = "ROWCALL_TLS_KEY", hide_env_values = true, requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// TLS from the first byte, for a daemon with tls = "first"
    #[arg(long)]
    pub(crate) tls_first: bool,
}

/// What a daemon is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) token: Option<String>,
}

impl Credentials {
    /// As the environment says.
    pub(crate) fn from_environment() -> Credentials {
        let path = |name| variable(name).map(PathBuf::from);
        Credentials {
            user: variable("ROWCALL_USER"),
            tls_ca: path("ROWCALL_TLS_CA"),
            tls_cert: path("ROWCALL_TLS_CERT"),
            tls_key: path("ROWCALL_TLS_KEY"),
            ..Credentials::default()
        }
    }

    /// What is not said here, as the context says it. Whoever says who to be says all of it.
    pub(crate) fn or(mut self, context: &Context) -> Credentials {
        if self.user.is_none() && self.token_file.is_none() && variable("ROWCALL_TOKEN").is_none() {
            self.user = context.user.clone();
            self.token_file = context.token_file.clone();
            self.password_file = context.password_file.clone();
        }
        if self.tls_cert.is_none() {
            (self.tls_cert, self.tls_key) = (context.tls_cert.clone(), context.tls_key.clone());
        }
        self.tls_ca = self.tls_ca.or_else(|| context.tls_ca.clone());
        self.tls_first |= context.tls_first;
        self
    }

    /// Who to be, or nobody in particular.
    pub(crate) fn login(&self) -> Result<Login, Failure> {
        self.login_with(variable)
    }

    fn login_with(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Login, Failure> {
        let secret = |flag, file: &Option<PathBuf>, name| match file {
            Some(file) => first_line(flag, file).map(Some),
            None => Ok(environment(name)),
        };
        if self.user.is_none() {
            let token = secret("--token-file", &self.token_file, "ROWCALL_TOKEN")?;
            return Ok(Login { token, ..Login::default() });
        }
        let password = secret("--password-file", &self.password_file, "ROWCALL_PASSWORD")?;
        if password.is_none() {
            return Err(Failure::usage(
                "--user needs a password: name a file that holds it with --password-file, or set ROWCALL_PASSWORD",
            ));
        }
        Ok(Login { user: self.user.clone(), password, token: None })
    }

    /// TLS as a client speaks it.
    pub(crate) fn tls(&self) -> Result<ClientConfig, Failure> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::other(format!("cannot speak TLS: {error}")))?
            .with_root_certificates(self.trusted()?);
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(builder.with_no_client_auth());
        };
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| Failure::usage(format!("--tls-key {}: {error}", key.display())))?;
        builder
            .with_client_auth_cert(certificates("--tls-cert", cert)?, private)
            .map_err(|error| Failure::usage(format!("--tls-cert {}: {error}", cert.display())))
    }

    /// The file with the authorities that the daemon's certificate may come from.
    pub(crate) fn tls_ca(&self) -> Option<&Path> {
        self.tls_ca.as_deref()
    }

    fn trusted(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        match &self.tls_ca {
            Some(file) => {
                for certificate in certificates("--tls-ca", file)? {
                    roots
                        .add(certificate)
                        .map_err(|error| Failure::usage(format!("--tls-ca {}: {error}", file.display())))?;
                }
            }
            // Some of a system's may be odd, and none may be there: then nobody is trusted.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        Ok(roots)
    }
}

pub(crate) fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{flag} {}: {error}", file.display()));
    let text = std::fs::read(file).map_err(|error| wrong(&error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong(&"there is no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(&error)),
    }
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn first_line(flag: &str, file: &Path) -> Result<String, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{flag} {}: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(wrong(&"its first line is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_files_and_the_environment() {
        let file = std::env::temp_dir().join(format!("rowcall-credentials-test-{}", std::process::id()));
        std::fs::write(&file, "from file \nmore\n").unwrap();
        let some = |text: &str| Some(text.to_owned());
        let environment = |name: &str| name.starts_with("ROWCALL_").then(|| name.to_lowercase());
        let nobody = Credentials::default();
        assert_eq!(nobody.login_with(|_| None).unwrap(), Login::default());
        assert_eq!(nobody.login_with(environment).unwrap().token, some("rowcall_token"));
        let token = Credentials { token_file: Some(file.clone()), ..Credentials::default() };
        assert_eq!(token.login_with(environment).unwrap().token, some("from file "));
        let mut user = Credentials { user: some("ada"), ..Credentials::default() };
        assert!(user.login_with(|_| None).unwrap_err().to_string().contains("--password-file"));
        let login = user.login_with(environment).unwrap();
        assert_eq!((login.user, login.password, login.token), (some("ada"), some("rowcall_password"), None));
        user.password_file = Some(file.clone());
        assert_eq!(user.login_with(environment).unwrap().password, some("from file "));
        std::fs::write(&file, "").unwrap();
        assert!(user.login_with(environment).unwrap_err().to_string().contains("its first line is empty"));
        std::fs::remove_file(file).unwrap();
    }
}
