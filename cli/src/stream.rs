//! The bytes to and from a daemon: over a Unix socket, TCP, or TLS on TCP; blocking. What they mean
//! stands in client.rs.

use crate::address::{Address, Place};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One end of a connection. Copies are the same connection: one reads, another writes.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(TcpStream, Arc<Mutex<ClientConnection>>),
}

impl Stream {
    /// Connects; each step, and later each write, may take so long.
    pub(crate) fn dial(address: &Address, patience: Duration) -> io::Result<Stream> {
        match &address.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(patience))?;
                Ok(Stream::Unix(stream))
            }
            Place::Tcp(host, port) => {
                let mut last = io::Error::other("the name has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, patience) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(patience))?;
                            stream.set_nodelay(true)?;
                            return Ok(Stream::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    /// Speaks TLS on this TCP connection from now on, with whoever can show that it is this host.
    pub(crate) fn secured(&self, host: &str, config: ClientConfig, patience: Duration) -> io::Result<Stream> {
        let Stream::Tcp(stream) = self else {
            return Err(io::Error::other("TLS is for TCP, and spoken once"));
        };
        let mut stream = stream.try_clone()?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        stream.set_read_timeout(Some(patience))?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).map_err(|error| match error.kind() {
                ErrorKind::WouldBlock => io::Error::other(format!("no answer within {patience:?}")),
                _ => error,
            })?;
        }
        Ok(Stream::Tls(stream, Arc::new(Mutex::new(session))))
    }

    pub(crate) fn is_secure(&self) -> bool {
        matches!(self, Stream::Tls(..))
    }

    pub(crate) fn try_clone(&self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Tls(stream, session) => Stream::Tls(stream.try_clone()?, Arc::clone(session)),
        })
    }

    /// Reads once, which waits only if nothing has come, and appends it. No bytes may come of it:
    /// TLS has talk of its own.
    pub(crate) fn read(&mut self, input: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 64 << 10];
        let read = match self {
            Stream::Unix(stream) => stream.read(&mut buffer)?,
            Stream::Tcp(stream) => stream.read(&mut buffer)?,
            Stream::Tls(stream, session) => {
                let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
                return read_secure(stream, &mut session, input);
            }
        };
        input.extend_from_slice(&buffer[..read]);
        if read == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Tls(stream, session) => {
                let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
                let mut rest = bytes;
                while !rest.is_empty() {
                    // It takes 64 KiB at a time.
                    let taken = session.writer().write(rest)?;
                    rest = &rest[taken..];
                    send(stream, &mut session)?;
                }
                Ok(())
            }
        }
    }

    /// Ends our side of the connection. The other end closes it then, and its reader comes to the end.
    pub(crate) fn end(&self) {
        // It fails if there is no connection any more.
        let _ = match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tcp(stream) | Stream::Tls(stream, _) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) | Stream::Tls(stream, _) => stream.as_fd(),
        }
    }
}

/// All that TLS has decrypted is taken from it, so that whoever waits may wait for the socket.
fn read_secure(
    stream: &mut TcpStream,
    session: &mut ClientConnection,
    input: &mut Vec<u8>,
) -> io::Result<()> {
    let (read, before) = (session.read_tls(stream)?, input.len());
    let processed = session.process_new_packets();
    // It ends with "would block", having appended what there is.
    let _ = session.reader().read_to_end(input);
    // An alert, perhaps, which whoever is gone will not miss.
    let sent = send(stream, session);
    let closed = processed.map_err(io::Error::other)?.peer_has_closed();
    sent?;
    if input.len() == before && (read == 0 || closed) {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn send(stream: &mut TcpStream, session: &mut ClientConnection) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(stream)?;
    }
    Ok(())
}
