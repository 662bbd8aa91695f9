//! Someone who types HTTP by hand, and reads answers as they stand.

use crate::children::PATIENCE;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

/// A connection, and what was not read of it yet.
pub struct Http {
    stream: TcpStream,
    input: Vec<u8>,
    host: String,
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    /// Its number.
    pub status: u16,
    /// Everything before the body, the status line included.
    pub head: String,
    /// The rest.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whose name is in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

impl Http {
    /// Connects.
    ///
    /// # Panics
    /// If nobody is there.
    pub fn connect(address: &str) -> Http {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Http { stream, input: Vec::new(), host: address.to_owned() }
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the connection takes bytes");
    }

    /// Sends a request with these further headers (each with its line's end) and this body.
    pub fn request(&mut self, line: &str, headers: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let length = if body.is_empty() && line.starts_with("GET") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head = format!("{line} HTTP/1.1\r\nHost: {}\r\n{length}{headers}\r\n", self.host);
        self.send([head.as_bytes(), body].concat());
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, line: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request(line, headers, body);
        self.answer()
    }

    /// The next answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer.header("Content-Length").map(|length| length.parse().expect("a length"));
        answer.body = self.bytes(length.unwrap_or(0));
        answer
    }

    /// The next answer; `None` if the other end closes instead.
    ///
    /// # Panics
    /// If it closes within one.
    pub fn answer_or_end(&mut self) -> Option<Answer> {
        (!self.input.is_empty() || self.read()).then(|| self.answer())
    }

    /// The head of the next answer, whose body is read by other means, or is not there.
    ///
    /// # Panics
    /// If there is none.
    pub fn head(&mut self) -> Answer {
        let head = String::from_utf8(self.until(b"\r\n\r\n")).expect("a head is text");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {head:?}"));
        Answer { status, head, body: Vec::new() }
    }

    /// Everything up to these bytes and with them.
    ///
    /// # Panics
    /// If they do not come.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|bytes| bytes == end) {
                return self.input.drain(..at + end.len()).collect();
            }
            assert!(self.read(), "closed within an answer: {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.input.len() < count {
            assert!(self.read(), "closed within a body: {:?}", String::from_utf8_lossy(&self.input));
        }
        self.input.drain(..count).collect()
    }

    /// Expects that the other end closes, without saying more.
    ///
    /// # Panics
    /// If it does not.
    pub fn expect_closed(&mut self) {
        while self.read() {}
        assert!(self.input.is_empty(), "got {:?}", String::from_utf8_lossy(&self.input));
    }

    /// Another handle of the connection, for someone who sends while the answers are read.
    ///
    /// # Panics
    /// If there are no descriptors left.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a socket can be duplicated")
    }

    /// Closes the sending half.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection can be shut");
    }

    /// Ends the connection without the courtesy of closing it: the other end is told that it is gone.
    ///
    /// # Panics
    /// Never.
    pub fn reset(self) {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &at_once).expect("an option can be set");
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                true
            }
            Err(error) => panic!("{error}; so far {:?}", String::from_utf8_lossy(&self.input)),
        }
    }
}
