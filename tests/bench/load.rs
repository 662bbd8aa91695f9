//! The load: publishers, subscribers, requesters and workers that speak the protocol with as little
//! effort as possible, and check that nothing is lost, doubled or out of order.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where a server is.
#[derive(Clone, Debug)]
pub enum Place {
    Tcp(String),
    Unix(PathBuf),
}

/// A connection that has said hello.
pub struct Connection {
    stream: Stream,
    /// Where input goes; it is not cleared between reads, which would cost as much as reading.
    buffer: Vec<u8>,
    /// How much of it was read and not looked at yet.
    held: usize,
}

/// Room for input beside what is held.
const READ: usize = 256 << 10;

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How much a publisher writes at a time.
const WRITE: usize = 64 << 10;

/// Digits of the number at the beginning of each payload.
pub const DIGITS: usize = 12;

impl Connection {
    /// Connects and says hello.
    pub fn open(place: &Place) -> Connection {
        let stream = match place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).expect("the server takes connections");
                stream.set_nodelay(true).expect("an option can be set");
                Stream::Tcp(stream)
            }
            Place::Unix(path) => {
                Stream::Unix(UnixStream::connect(path).expect("the server takes connections"))
            }
        };
        let mut connection = Connection { stream, buffer: Vec::new(), held: 0 };
        connection.send(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n",
        );
        connection.barrier();
        connection
    }

    /// Sends bytes, all of them.
    pub fn send(&mut self, bytes: &[u8]) {
        let sent = match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        };
        sent.expect("the server takes what is sent");
    }

    /// Waits until everything sent so far was dealt with. Only before messages are awaited: what
    /// comes before the PONG is thrown away.
    pub fn barrier(&mut self) {
        self.send(b"PING\r\n");
        while !self.buffer[..self.held].ends_with(b"PONG\r\n") {
            assert!(self.read() > 0, "the server hung up");
        }
        self.held = 0;
    }

    /// Subscribes.
    pub fn subscribe(&mut self, subject: &str) {
        self.send(format!("SUB {subject} 1\r\n").as_bytes());
        self.barrier();
    }

    /// Gives back the buffer of a connection that will not be read from any more.
    pub fn forget_input(&mut self) {
        (self.buffer, self.held) = (Vec::new(), 0);
    }

    /// Takes what has come as read.
    pub fn forget_messages(&mut self) {
        self.held = 0;
    }

    /// Reads some more; 0 at the end, or where nothing is there and reading does not wait.
    pub fn read(&mut self) -> usize {
        if self.buffer.len() < self.held + READ {
            self.buffer.resize(self.held + READ, 0);
        }
        let buffer = &mut self.buffer[self.held..];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        };
        let read = match read {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset) => 0,
            Err(error) => panic!("{error}"),
        };
        self.held += read;
        read
    }

    /// Calls `each` with the payload of every message that has come whole.
    pub fn messages(&mut self, mut each: impl FnMut(&[u8])) {
        self.requests(|_, payload| each(payload));
    }

    /// Calls `each` with the reply subject and the payload of every message that has come whole.
    pub fn requests(&mut self, mut each: impl FnMut(&str, &[u8])) {
        let input = &self.buffer[..self.held];
        let mut at = 0;
        while let Some(end) = input[at..].iter().position(|&byte| byte == b'\n') {
            let line = &input[at..at + end];
            if line.first() != Some(&b'M') {
                at += end + 1;
                continue;
            }
            // MSG subject sid [reply] size
            let line = std::str::from_utf8(&line[..end - 1]).expect("a line is text");
            let mut fields = line.rsplit(' ');
            let size: usize =
                fields.next().and_then(|size| size.parse().ok()).expect("the size is the last field");
            let body = at + end + 1;
            let Some(payload) = input.get(body..body + size + 2) else { break };
            each(fields.next().unwrap_or_default(), &payload[..size]);
            at = body + size + 2;
        }
        self.buffer.copy_within(at..self.held, 0);
        self.held -= at;
    }

    fn set_nonblocking(&self) {
        let set = match &self.stream {
            Stream::Tcp(stream) => stream.set_nonblocking(true),
            Stream::Unix(stream) => stream.set_nonblocking(true),
        };
        set.expect("an option can be set");
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The number at the beginning of a payload.
pub fn number(payload: &[u8]) -> u64 {
    payload[..DIGITS].iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
}

/// A payload of this size that begins with this number.
pub fn payload(number: u64, size: usize) -> Vec<u8> {
    let mut payload = format!("{number:0DIGITS$}").into_bytes();
    payload.resize(size.max(DIGITS), b'x');
    payload
}

/// Publishes so many numbered messages as fast as they are taken, and waits until they were.
pub fn publish(connection: &mut Connection, subject: &str, count: u64, size: usize) {
    let head = format!("PUB {subject} {size}\r\n");
    let one = [head.as_bytes(), &payload(0, size), b"\r\n"].concat();
    let batch = (WRITE / one.len()).max(1);
    let mut bytes = one.repeat(batch);
    let mut next = 0;
    while next < count {
        let now = batch.min((count - next) as usize);
        for n in 0..now {
            let start = n * one.len() + head.len();
            write_number(&mut bytes[start..start + DIGITS], next + n as u64);
        }
        connection.send(&bytes[..now * one.len()]);
        next += now as u64;
    }
    connection.barrier();
}

fn write_number(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Waits until something has come for one of the connections, and tells for which; for none after a
/// minute.
pub fn ready(connections: &[Connection]) -> Vec<usize> {
    let mut fds: Vec<PollFd<'_>> =
        connections.iter().map(|c| PollFd::new(c.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut fds, PollTimeout::from(60_000u16)).expect("poll works");
    (0..fds.len()).filter(|&n| fds[n].any() == Some(true)).collect()
}

/// What several subscribers heard.
pub struct Heard {
    /// Messages of each.
    pub counts: Vec<u64>,
    /// The sum of their numbers.
    pub sum: u64,
    /// The longest time between two of them, at any one subscriber.
    pub longest_gap: Duration,
}

/// Reads for all these subscribers until they have heard so many messages together. The numbers
/// must rise at each of them.
pub fn hear(connections: &mut [Connection], total: u64) -> Heard {
    connections.iter().for_each(Connection::set_nonblocking);
    let mut heard = Heard { counts: vec![0; connections.len()], sum: 0, longest_gap: Duration::ZERO };
    let mut next = vec![0; connections.len()];
    let mut last = vec![None::<Instant>; connections.len()];
    while heard.counts.iter().sum::<u64>() < total {
        let ready = ready(connections);
        assert!(!ready.is_empty(), "nothing came for a minute: {:?} of {total}", heard.counts);
        let now = Instant::now();
        for n in ready {
            let connection = &mut connections[n];
            assert!(connection.read() > 0, "the server hung up");
            let gap = last[n].replace(now).map_or(Duration::ZERO, |last| now - last);
            heard.longest_gap = heard.longest_gap.max(gap);
            connection.messages(|payload| {
                let number = number(payload);
                assert!(number >= next[n], "{number} came after {}", next[n]);
                next[n] = number + 1;
                heard.counts[n] += 1;
                heard.sum += number;
            });
        }
    }
    heard
}
