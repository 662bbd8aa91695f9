//! Someone who speaks WebSocket by hand, over whatever carries bytes.

use crate::children::PATIENCE;
use crate::terminal::{Duplex, Terminal};
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// The key that a client makes up. The server answers to it, and that is all.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What the answer to it is.
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What frames are masked with.
const MASK: [u8; 4] = [0x5a, 0x00, 0xff, 0x31];

/// A connection after the handshake. Its end without a close frame is an error.
pub struct WebSocket<S> {
    stream: S,
    /// What has come and was not taken apart.
    input: Vec<u8>,
    /// What it carried and was not read.
    clear: Vec<u8>,
    /// The number in the server's close frame.
    pub closed: Option<u16>,
    /// What came in pongs.
    pub pongs: Vec<Vec<u8>>,
}

/// A request for WebSocket, with these further lines (each with its end).
pub fn request(more: &str) -> String {
    format!(
        "GET /any HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

/// A client's frame: its first byte, and what it carries.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

impl WebSocket<TcpStream> {
    /// Connects to an HTTP port.
    ///
    /// # Panics
    /// If nobody is there, or does not speak WebSocket.
    pub fn connect(address: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        WebSocket::over(stream)
    }
}

impl<S: Read + Write + Send + 'static> WebSocket<S> {
    /// Begins on a connection that is there.
    ///
    /// # Panics
    /// If the other end does not speak it.
    pub fn over(mut stream: S) -> WebSocket<S> {
        stream.write_all(request("").as_bytes()).expect("it takes a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("it answers");
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("an answer is text");
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT), "{head}");
        WebSocket { stream, input: Vec::new(), clear: Vec::new(), closed: None, pongs: Vec::new() }
    }

    /// Someone at a terminal within it.
    pub fn terminal(self) -> Terminal {
        Terminal::over(self)
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection takes bytes");
    }

    /// Takes a whole frame apart, if there is one.
    fn take_frame(&mut self) -> bool {
        let [first, second, rest @ ..] = &self.input[..] else { return false };
        assert_eq!((first & 0xf0, second & 0x80), (0x80, 0), "a server's frames are whole and not masked");
        let long = match second {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.len() < long {
            return false;
        }
        let length = match long {
            0 => usize::from(*second),
            _ => rest[..long].iter().fold(0, |length, &byte| length << 8 | usize::from(byte)),
        };
        let head = 2 + long;
        if self.input.len() < head + length {
            return false;
        }
        let (first, payload) = (*first, self.input[head..head + length].to_vec());
        self.input.drain(..head + length);
        match first & 0x0f {
            2 => self.clear.extend(payload),
            8 => self.closed = Some(u16::from_be_bytes([payload[0], payload[1]])),
            10 => self.pongs.push(payload),
            other => panic!("a frame of kind {other}"),
        }
        true
    }
}

impl<S: Read + Write + Send + 'static> Read for WebSocket<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.clear.is_empty() && self.closed.is_none() {
            if self.take_frame() {
                continue;
            }
            let mut more = [0; 64 << 10];
            match self.stream.read(&mut more)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.input.extend_from_slice(&more[..read]),
            }
        }
        let here = buffer.len().min(self.clear.len());
        buffer[..here].copy_from_slice(&self.clear[..here]);
        self.clear.drain(..here);
        Ok(here)
    }
}

impl<S: Read + Write + Send + 'static> Write for WebSocket<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write_all(&frame(0x82, bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Read + Write + Send + 'static> Duplex for WebSocket<S> {
    fn finish(&mut self) -> io::Result<()> {
        self.stream.write_all(&frame(0x88, &1000u16.to_be_bytes()))
    }
}
