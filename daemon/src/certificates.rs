//! The certificate, its key and the authorities of clients: from the files that the configuration names
//! to what rustls works with. Who speaks TLS when is decided in client/secrecy.rs.

use crate::config::{Config, OptionFile, Tls};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// A private key's file must not have this among its permissions: everybody may read it.
const READABLE_BY_ALL: u32 = 0o004;

/// What TLS works with, or `None` if nobody shall speak it.
///
/// # Errors
/// Which setting is wrong, and what about it, for the administrator.
pub(crate) fn load(config: &Config) -> Result<Option<Arc<ServerConfig>>, String> {
    let (cert, key) = match (&config.tls_cert.0, &config.tls_key.0) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(cert), None) => {
            return Err(format!("tls_cert = \"{}\" has no tls_key beside it", cert.display()));
        }
        (None, Some(key)) => {
            return Err(format!("tls_key = \"{}\" has no tls_cert beside it", key.display()));
        }
        (None, None) if config.http_tls => {
            return Err("http_tls = true needs a certificate: tls_cert and tls_key".into());
        }
        (None, None) if config.tls_client_ca.0.is_some() => {
            return Err("tls_client_ca is of use only with tls_cert and tls_key".into());
        }
        (None, None) => return Ok(None),
    };
    if config.tls == Tls::None && config.http_tls {
        return Err("http_tls = true is of no use with tls = \"none\"".into());
    }
    if config.tls == Tls::None {
        return Ok(None);
    }
    let chain = certificates("tls_cert", cert)?;
    let private = private_key(key)?;
    let provider = Arc::new(ring::default_provider());
    let wrong = |error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "tls_key = \"{}\" does not belong to the first certificate in tls_cert = \"{}\"",
            key.display(),
            cert.display()
        ),
        error => format!("tls_cert = \"{}\", tls_key = \"{}\": {error}", cert.display(), key.display()),
    };
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let verifier = verifier(&config.tls_client_ca, provider)?;
    let builder = builder.map_err(wrong)?.with_client_cert_verifier(verifier);
    let mut server = builder.with_single_cert(chain, private).map_err(wrong)?;
    // Connections last for days: there is nothing to be won by resuming one, and so nothing to be kept.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Some(Arc::new(server)))
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{setting} = \"{}\": {error}", path.display());
    let text = fs::read(path).map_err(|error| wrong(&format!("cannot read it: {error}")))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| wrong(&format!("it is no PEM: {error}")))?;
    if found.is_empty() {
        return Err(wrong(&"there is no certificate in it (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let wrong = |error: &str| format!("tls_key = \"{}\": {error}", path.display());
    let text = fs::read(path).map_err(|error| wrong(&format!("cannot read it: {error}")))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if holds(&text, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
            wrong("the key in it is encrypted, and nobody is there to be asked for its password")
        }
        pem::Error::NoItemsFound => wrong("there is no private key in it (-----BEGIN PRIVATE KEY-----)"),
        // Without what it says: that might be a part of the key.
        _ => wrong("it is no PEM"),
    })
}

fn holds(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

/// Who decides whether a client's certificate is good.
fn verifier(
    authorities: &OptionFile,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(path) = &authorities.0 else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let wrong = |error: String| format!("tls_client_ca = \"{}\": {error}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls_client_ca", path)? {
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    built.map(|verifier| verifier as Arc<dyn ClientCertVerifier>).map_err(|error| wrong(error.to_string()))
}

/// Says so if the private key is none, as everybody may read it.
pub(crate) fn warn_of_open_key(config: &Config) {
    if let (Some(_), Some(key)) = (&config.certificates, &config.tls_key.0)
        && fs::metadata(key).is_ok_and(|found| found.permissions().mode() & READABLE_BY_ALL != 0)
    {
        tracing::warn!(tls_key = %key.display(), "everybody on this machine may read the private key; chmod 0640 it");
    }
}
