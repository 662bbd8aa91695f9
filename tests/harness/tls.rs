//! An authority that signs certificates, and someone at a terminal who speaks TLS, by rustls.

use crate::children::PATIENCE;
use crate::terminal::{Duplex, Terminal};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The versions of TLS, one by one.
pub static VERSIONS: [[&SupportedProtocolVersion; 1]; 2] = [[&TLS12], [&TLS13]];

/// Whoever trusts it trusts what it has signed.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
pub struct Papers {
    /// The certificate's.
    pub certificate: PathBuf,
    /// The key's.
    pub key: PathBuf,
}

/// A client's side of TLS, to be changed before it is used.
pub struct Speaker {
    roots: RootCertStore,
    papers: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    versions: &'static [&'static SupportedProtocolVersion],
    dribbles: bool,
}

// What fails here is this file's fault.
impl Default for Authority {
    fn default() -> Self {
        Authority::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// Never, unless there are no random numbers.
    pub fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("good names");
        // With the authority's own name, which is the default, OpenSSL would take it for self-signed.
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate, key)
    }

    /// Signs a certificate for this machine, good for servers and clients, into files of this name.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn papers(&self, folder: &Path, name: &str) -> Papers {
        let (certificate, key) = self.sign();
        let papers = Papers {
            certificate: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&papers.certificate, certificate.pem()).expect("a file can be written");
        std::fs::write(&papers.key, key.serialize_pem()).expect("a file can be written");
        papers
    }

    /// Its own certificate in a file, for those who shall trust it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        std::fs::write(&path, self.certificate.pem()).expect("a file can be written");
        path
    }

    /// Settings of a daemon with a certificate of this authority.
    pub fn settings(&self, folder: &Path) -> String {
        let papers = self.papers(folder, "server");
        format!("tls_cert = {:?}\ntls_key = {:?}\n", papers.certificate, papers.key)
    }

    /// A client that trusts it.
    ///
    /// # Panics
    /// Never.
    pub fn speaker(&self) -> Speaker {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("a good certificate");
        Speaker { roots, papers: None, versions: rustls::ALL_VERSIONS, dribbles: false }
    }

    /// Someone at a terminal who trusts it and speaks TLS after the greeting, which was read.
    pub fn terminal(&self, address: &str) -> Terminal {
        self.speaker().terminal(address)
    }
}

impl Speaker {
    /// Shows a certificate that this authority has signed.
    pub fn signed_by(mut self, authority: &Authority) -> Speaker {
        let (certificate, key) = authority.sign();
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a good key");
        self.papers = Some((certificate.der().clone(), key));
        self
    }

    /// Speaks these versions only.
    pub fn versions(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Speaker {
        self.versions = versions;
        self
    }

    /// Sends every byte in a packet of its own.
    pub fn dribbling(mut self) -> Speaker {
        self.dribbles = true;
        self
    }

    fn config(self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .expect("good versions")
            .with_root_certificates(self.roots);
        match self.papers {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                builder.with_client_auth_cert(vec![certificate], key).expect("a good certificate")
            }
        }
    }

    /// Reads the greeting in clear text, and begins to speak TLS.
    ///
    /// # Panics
    /// If nobody is there or no greeting comes.
    pub fn terminal(self, address: &str) -> Terminal {
        let stream = connect(address);
        let mut info = String::new();
        // One byte at a time is buffered: behind the greeting nothing comes unasked.
        BufReader::with_capacity(1, &stream).read_line(&mut info).expect("a greeting");
        Terminal::after(info.trim_end().to_owned(), self.upgrade(stream))
    }

    /// Speaks TLS from the first byte, and reads the greeting inside.
    ///
    /// # Panics
    /// If nobody is there or no greeting comes.
    pub fn terminal_first(self, address: &str) -> Terminal {
        Terminal::over(self.upgrade(connect(address)))
    }

    /// Speaks TLS on a connection from now on; the handshake is made with the first read or write.
    ///
    /// # Panics
    /// Never.
    pub fn upgrade(self, stream: TcpStream) -> Secret {
        let socket = Socket { stream, dribbles: self.dribbles };
        let name = ServerName::try_from("localhost").expect("a good name");
        let session = ClientConnection::new(Arc::new(self.config()), name).expect("a good configuration");
        Secret { stream: StreamOwned::new(session, socket) }
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("an option can be set");
    stream
}

/// A connection that speaks TLS. Its end without a word within TLS is an error.
pub struct Secret {
    stream: StreamOwned<ClientConnection, Socket>,
}

struct Socket {
    stream: TcpStream,
    dribbles: bool,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = if self.dribbles { 1 } else { bytes.len() };
        self.stream.write(&bytes[..most])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for Secret {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Secret {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Duplex for Secret {
    fn finish(&mut self) -> io::Result<()> {
        self.stream.conn.send_close_notify();
        self.stream.flush()
    }
}

impl Secret {
    /// Its socket, and what the two ends have agreed upon.
    pub fn parts(&mut self) -> (&TcpStream, &ClientConnection) {
        (&self.stream.sock.stream, &self.stream.conn)
    }
}
