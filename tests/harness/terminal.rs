//! Someone at a terminal who speaks the NATS client protocol by hand.

use crate::children::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection, and what was not read of it yet.
pub struct Terminal {
    stream: Stream,
    input: Vec<u8>,
    /// The greeting.
    pub info: String,
    /// What was said so far, for whoever has to find out why a test failed.
    log: String,
}

/// What a MSG or HMSG carries.
#[derive(Debug)]
pub struct Message {
    /// What it was published to.
    pub subject: String,
    /// Where an answer is wanted.
    pub reply: Option<String>,
    /// The block of headers, or nothing.
    pub headers: String,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Message {
    /// The payload as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the payload is text")
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Other(Box<dyn Duplex>),
}

/// Something else that bytes go through, in both directions.
pub trait Duplex: Read + Write + Send {
    /// Closes the sending half.
    ///
    /// # Errors
    /// Those of the connection.
    fn finish(&mut self) -> std::io::Result<()>;
}

impl Terminal {
    /// Connects over TCP and reads the greeting.
    ///
    /// # Panics
    /// If nobody is there.
    pub fn tcp(address: &str) -> Terminal {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Terminal::greeted(Stream::Tcp(stream))
    }

    /// Connects over a Unix socket and reads the greeting.
    ///
    /// # Panics
    /// If nobody is there.
    pub fn unix(path: &Path) -> Terminal {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Terminal::greeted(Stream::Unix(stream))
    }

    /// Connects as the library inside the server does.
    ///
    /// # Panics
    /// If nobody is there.
    pub fn library(path: &Path) -> Terminal {
        let mut terminal = Terminal::unix(path);
        terminal.send(
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":0,\"lang\":\"sql\"}\r\n",
        );
        terminal.barrier();
        terminal
    }

    /// Takes over a connection and reads the greeting.
    ///
    /// # Panics
    /// If none comes.
    pub fn over(stream: impl Duplex + 'static) -> Terminal {
        Terminal::greeted(Stream::Other(Box::new(stream)))
    }

    /// Takes over a connection on which the greeting was read.
    pub fn after(info: String, stream: impl Duplex + 'static) -> Terminal {
        Terminal { stream: Stream::Other(Box::new(stream)), input: Vec::new(), info, log: String::new() }
    }

    fn greeted(stream: Stream) -> Terminal {
        let mut terminal = Terminal { stream, input: Vec::new(), info: String::new(), log: String::new() };
        terminal.info = terminal.line();
        assert!(terminal.info.starts_with("INFO {"), "{}", terminal.info);
        terminal
    }

    /// Says hello as clients do, quietly, and waits until that has been taken in.
    pub fn hello(mut self) -> Terminal {
        self.send(
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1}\r\n",
        );
        self.barrier();
        self
    }

    /// Sends text.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        self.log.push_str(&format!(">> {:?}\n", String::from_utf8_lossy(&text[..text.len().min(200)])));
        let sent = match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(text),
            Stream::Unix(stream) => stream.write_all(text),
            Stream::Other(stream) => stream.write_all(text).and_then(|()| stream.flush()),
        };
        sent.unwrap_or_else(|error| panic!("{error}\n{}", self.log));
    }

    /// Waits until everything sent so far has been dealt with and nothing but PONG comes back.
    pub fn barrier(&mut self) {
        self.send("PING\r\n");
        self.expect("PONG\r\n");
    }

    /// The next line, without its end.
    ///
    /// # Panics
    /// If there is none.
    pub fn line(&mut self) -> String {
        let line = self.line_or_end();
        let line = line.unwrap_or_else(|| panic!("closed while a line was awaited\n{}", self.log));
        self.log.push_str(&format!("<< {line:?}\n"));
        line
    }

    /// The next line, without its end; `None` once the other end has closed.
    pub fn line_or_end(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Expects exactly this text next.
    ///
    /// # Panics
    /// If something else comes.
    pub fn expect(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        while self.input.len() < text.len() && text.starts_with(&self.input) && self.read() {}
        let got = &self.input[..self.input.len().min(text.len())];
        let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        assert!(got == text, "expected {:?}, got {:?}\n{}", show(text), show(&self.input), self.log);
        self.log.push_str(&format!("<< {:?}\n", show(got)));
        self.input.drain(..text.len());
    }

    /// Expects a message next.
    ///
    /// # Panics
    /// If something else comes.
    pub fn message(&mut self) -> Message {
        let message = self.message_or_end();
        message.unwrap_or_else(|| panic!("closed while a message was awaited\n{}", self.log))
    }

    /// The same; `None` once the other end has closed.
    ///
    /// # Panics
    /// If something else comes.
    pub fn message_or_end(&mut self) -> Option<Message> {
        let line = self.line_or_end()?;
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<usize>().expect("a length is a number");
        let (subject, reply, header_len, len) = match words[..] {
            ["MSG", subject, _, len] => (subject, None, 0, number(len)),
            ["MSG", subject, _, reply, len] => (subject, Some(reply), 0, number(len)),
            ["HMSG", subject, _, header_len, len] => (subject, None, number(header_len), number(len)),
            ["HMSG", subject, _, reply, header_len, len] => {
                (subject, Some(reply), number(header_len), number(len))
            }
            _ => panic!("a message was awaited, not {line:?}\n{}", self.log),
        };
        while self.input.len() < len + 2 {
            assert!(self.read(), "closed within a message\n{}", self.log);
        }
        let payload = self.input[header_len..len].to_vec();
        let headers = String::from_utf8_lossy(&self.input[..header_len]).into_owned();
        self.input.drain(..len);
        self.expect("\r\n");
        Some(Message { subject: subject.to_owned(), reply: reply.map(str::to_owned), headers, payload })
    }

    /// The payload of the next message as text, without its headers.
    ///
    /// # Panics
    /// If something else comes.
    pub fn heard(&mut self) -> String {
        self.message().text().to_owned()
    }

    /// The id and the payload of the next event of committed mode, line by line, for payloads without
    /// a line's end in them: what a killed daemon has cut off is `None`, as if it had not come.
    ///
    /// # Panics
    /// If something else comes.
    pub fn event_or_end(&mut self) -> Option<(u64, String)> {
        let control = self.line_or_end()?;
        assert!(control.starts_with("HMSG "), "{control}");
        let mut id = None;
        loop {
            let line = self.line_or_end()?;
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("Rowcall-Id: ") {
                id = Some(value.parse().expect("an id is a number"));
            }
        }
        Some((id.expect("every event has an id"), self.line_or_end()?))
    }

    /// Answers a request.
    ///
    /// # Panics
    /// If no answer was wanted.
    pub fn answer(&mut self, request: &Message, payload: impl AsRef<[u8]>) {
        let (inbox, payload) = (request.reply.as_ref().expect("a request"), payload.as_ref());
        self.send([format!("PUB {inbox} {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat());
    }

    /// Expects that the other end closes, without saying more.
    ///
    /// # Panics
    /// If it does not.
    pub fn expect_closed(&mut self) {
        while self.read() {}
        assert!(self.input.is_empty(), "got {:?}\n{}", String::from_utf8_lossy(&self.input), self.log);
    }

    /// Closes the sending half.
    ///
    /// # Panics
    /// If it is closed already.
    pub fn finish(&mut self) {
        self.shut().expect("an open connection can be shut");
    }

    /// Says this and hangs up. Gives everything that still comes.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn last_words(mut self, text: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(text);
        // The other end may have closed already, because of what was said.
        let _ = self.shut();
        while self.read() {}
        self.input
    }

    fn shut(&mut self) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Other(stream) => stream.finish(),
        }
    }

    /// Reads some more; false at the end.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut buffer),
            Stream::Unix(stream) => stream.read(&mut buffer),
            Stream::Other(stream) => stream.read(&mut buffer),
        };
        match read {
            Ok(0) => false,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                true
            }
            Err(error) => panic!("{error}; so far {:?}\n{}", String::from_utf8_lossy(&self.input), self.log),
        }
    }
}
