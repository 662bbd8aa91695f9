//! HTTPS as those who call others speak it: whom they trust. Whom a NATS client trusts stands in credentials.rs.

use crate::credentials::certificates;
use crate::failure::Failure;
use std::path::Path;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Trusts the authorities in this file, which a flag has named, or those of the system.
pub(crate) fn trust(flag: &str, file: Option<&Path>) -> Result<TlsConfig, Failure> {
    let ders = match file {
        Some(file) => certificates(flag, file)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let roots: Vec<Certificate<'static>> =
        ders.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).build())
}
