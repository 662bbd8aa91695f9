//! A connection to the daemon, or to any server of the NATS client protocol: over a Unix socket or
//! TCP, one thread, blocking. Only what the subcommands need.

use crate::failure::Failure;
use crate::interrupt::{Interrupt, Woken};
use clap::Args;
use rowcall_wire::handshake::{Connect, Info};
use rowcall_wire::parse::{self, Limits, ServerOp, Step};
use rowcall_wire::{CONTROL_LINE_MAX, Message, PAYLOAD_CEILING, encode};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use url::Url;

/// How long the daemon may take for a greeting, an answer to PING, or to take what is written.
const PATIENCE: Duration = Duration::from_secs(5);

/// The port that NATS clients use.
const PORT_DEFAULT: u16 = 4222;

/// How much a server may send in one operation.
const LIMITS: Limits = Limits { control_line: 3 * CONTROL_LINE_MAX, payload: PAYLOAD_CEILING };

/// Where the daemon is.
#[derive(Args, Clone, Debug)]
pub(crate) struct DaemonArgs {
    /// The daemon: nats://[USER:PASSWORD@]HOST[:PORT], HOST:PORT or unix:PATH
    #[arg(
        long,
        short,
        value_name = "URL",
        env = "ROWCALL_SERVER",
        default_value = "unix:/run/rowcall/rowcall.sock",
        hide_env_values = true
    )]
    pub(crate) server: String,
}

/// A connection.
pub(crate) struct Client {
    stream: Stream,
    /// What has come and was not looked at yet.
    input: Vec<u8>,
    /// The most that the daemon takes in a message.
    max_payload: usize,
    interrupt: Interrupt,
}

/// A message, with bytes of its own.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) subject: Vec<u8>,
    pub(crate) reply: Option<Vec<u8>>,
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// What came next.
pub(crate) enum Next {
    /// A message for one of the subscriptions.
    Message(Received),
    /// Ctrl-C.
    Interrupted,
    /// Nothing, in the time given.
    Late,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Who the server is, and as whom to speak to it.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    place: Place,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp(String, u16),
}

impl Client {
    /// Connects, greets, and makes sure that the daemon listens.
    pub(crate) fn connect(daemon: &DaemonArgs) -> Result<Client, Failure> {
        let address = Address::parse(&daemon.server)?;
        let stream = address.dial().map_err(|error| Failure::daemon(not_there(&address, &error)))?;
        let mut client = Client { stream, input: Vec::new(), max_payload: 0, interrupt: Interrupt::new()? };
        client.greet(&address)?;
        Ok(client)
    }

    fn greet(&mut self, address: &Address) -> Result<(), Failure> {
        let info = loop {
            match self.take()? {
                Some(Event::Info(info)) => break info,
                Some(_) => {
                    return Err(Failure::daemon(
                        "what listens there does not speak the NATS client protocol",
                    ));
                }
                None => self.await_answer("its greeting")?,
            }
        };
        if info.tls_required {
            return Err(Failure::daemon("the server wants TLS, which this version cannot do"));
        }
        self.max_payload = info.max_payload;
        let token = address.password.is_none().then(|| address.user.clone()).flatten();
        let connect = Connect {
            verbose: Some(false),
            pedantic: Some(false),
            headers: Some(true),
            no_responders: Some(true),
            protocol: Some(1),
            name: Some(format!("rowcall {}", std::process::id())),
            lang: Some("rowcall".into()),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            auth_token: token,
            user: address.password.as_ref().and(address.user.clone()),
            pass: address.password.clone(),
            ..Connect::default()
        };
        let mut line = Vec::new();
        encode::json_line(&mut line, "CONNECT", &serde_json::to_string(&connect).unwrap_or_default());
        self.write(&line)?;
        self.flush().map(drop)
    }

    /// Publishes.
    pub(crate) fn publish(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        if message.body.len() > self.max_payload {
            let (size, most) = (message.body.len(), self.max_payload);
            return Err(Failure::other(format!(
                "the message has {size} bytes, the daemon takes {most} (max_payload)"
            )));
        }
        let mut bytes = Vec::new();
        encode::publish(&mut bytes, message);
        self.write(&bytes)
    }

    /// Subscribes.
    pub(crate) fn subscribe(&mut self, filter: &str, queue: Option<&str>, sid: u64) -> Result<(), Failure> {
        let mut line = Vec::new();
        encode::sub(&mut line, filter.as_bytes(), queue.map(str::as_bytes), sid);
        self.write(&line)
    }

    /// Waits until the daemon has done everything it was sent. Messages that come meanwhile are
    /// given back.
    pub(crate) fn flush(&mut self) -> Result<Vec<Received>, Failure> {
        self.write(encode::PING)?;
        let mut messages = Vec::new();
        loop {
            match self.take()? {
                Some(Event::Pong) => return Ok(messages),
                Some(Event::Message(message)) => messages.push(message),
                Some(Event::Info(_) | Event::Ping) => {}
                None => self.await_answer("an answer")?,
            }
        }
    }

    /// Waits for a message.
    pub(crate) fn next(&mut self, until: Option<Instant>) -> Result<Next, Failure> {
        loop {
            match self.take()? {
                Some(Event::Message(message)) => return Ok(Next::Message(message)),
                Some(_) => {}
                None => match self.interrupt.wait(self.stream.as_fd(), until)? {
                    Woken::Input => self.read()?,
                    Woken::Interrupted => return Ok(Next::Interrupted),
                    Woken::Late => return Ok(Next::Late),
                },
            }
        }
    }

    /// Waits for a while, unless Ctrl-C comes; says whether it came.
    pub(crate) fn pause(time: Duration) -> Result<bool, Failure> {
        Interrupt::new()?.pause(time)
    }

    fn await_answer(&mut self, what: &str) -> Result<(), Failure> {
        match self.interrupt.wait(self.stream.as_fd(), Some(Instant::now() + PATIENCE))? {
            Woken::Input => self.read(),
            Woken::Interrupted => Err(Failure::other("interrupted")),
            Woken::Late => {
                Err(Failure::daemon(format!("the daemon did not send {what} within {PATIENCE:?}")))
            }
        }
    }

    /// Takes the next operation that has come whole. PING is answered on the way.
    fn take(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            let (event, used) = match parse::server_op(&self.input, &LIMITS) {
                Ok(Step::More(_)) => return Ok(None),
                Ok(Step::Op(op, used)) => (Event::from(op)?, used),
                Err(_) => {
                    return Err(Failure::daemon(
                        "what listens there does not speak the NATS client protocol",
                    ));
                }
            };
            self.input.drain(..used);
            match event {
                Some(Event::Ping) => self.write(encode::PONG)?,
                Some(event) => return Ok(Some(event)),
                None => {}
            }
        }
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(Failure::daemon("the daemon closed the connection")),
            Ok(n) => {
                self.input.extend_from_slice(&buffer[..n]);
                Ok(())
            }
            Err(error) => Err(Failure::daemon(format!("the connection to the daemon broke: {error}"))),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream
            .write_all(bytes)
            .map_err(|error| Failure::daemon(format!("the connection to the daemon broke: {error}")))
    }
}

/// What a server said.
enum Event {
    Info(Box<Info>),
    Message(Received),
    Ping,
    Pong,
}

impl Event {
    fn from(op: ServerOp<'_>) -> Result<Option<Event>, Failure> {
        Ok(match op {
            ServerOp::Info(json) => {
                let info = serde_json::from_slice(json);
                let info =
                    info.map_err(|error| Failure::daemon(format!("the greeting makes no sense: {error}")))?;
                Some(Event::Info(Box::new(info)))
            }
            ServerOp::Msg { message, .. } => Some(Event::Message(Received {
                subject: message.subject.to_vec(),
                reply: message.reply.map(<[u8]>::to_vec),
                headers: message.headers().to_vec(),
                payload: message.payload().to_vec(),
            })),
            ServerOp::Ping => Some(Event::Ping),
            ServerOp::Pong => Some(Event::Pong),
            ServerOp::Ok => None,
            ServerOp::Err(text) => {
                return Err(Failure::daemon(format!(
                    "the daemon refused: {}",
                    String::from_utf8_lossy(text)
                )));
            }
        })
    }
}

impl Address {
    fn parse(text: &str) -> Result<Address, Failure> {
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        if let Some(path) = text.strip_prefix("unix:") {
            let place = Place::Unix(path.strip_prefix("//").unwrap_or(path).into());
            return Ok(Address { place, user: None, password: None });
        }
        let wrong = |why: &str| Failure::usage(format!("--server {}: {why}", without_secrets(text)));
        let whole = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
        let url = Url::parse(&whole).map_err(|error| wrong(&error.to_string()))?;
        if url.scheme() != "nats" {
            return Err(wrong("expected nats://HOST:PORT or unix:PATH"));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("there is no host in it"))?;
        let decoded = |text: &str| {
            url::form_urlencoded::parse(format!("x={}", text.replace('+', "%2B")).as_bytes())
                .next()
                .map(|(_, value)| value.into_owned())
        };
        Ok(Address {
            place: tcp(host.trim_matches(['[', ']']), url.port().unwrap_or(PORT_DEFAULT)),
            user: (!url.username().is_empty()).then(|| decoded(url.username())).flatten(),
            password: url.password().and_then(decoded),
        })
    }

    fn dial(&self) -> io::Result<Stream> {
        match &self.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Stream::Unix(stream))
            }
            Place::Tcp(host, port) => {
                let mut last = io::Error::other("the name has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(stream) => {
                            stream.set_write_timeout(Some(PATIENCE))?;
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
}

/// A URL as it may be shown.
fn without_secrets(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}…{}", &text[..scheme + 3], &text[at..]),
        (None, Some(at)) => format!("…{}", &text[at..]),
        _ => text.to_owned(),
    }
}

fn not_there(address: &Address, error: &io::Error) -> String {
    let place = match &address.place {
        Place::Unix(path) => path.display().to_string(),
        Place::Tcp(host, port) => format!("{host}:{port}"),
    };
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "your account may not use that socket (see socket_mode and socket_group)"
        }
        _ => "is rowcalld running? Name another place with --server",
    };
    format!("cannot reach the daemon at {place}: {error}; {advice}")
}

impl Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tcp(stream) => stream.as_fd(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tcp(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, place, user: Option<&str>, password: Option<&str>| {
            let expected =
                Address { place, user: user.map(str::to_owned), password: password.map(str::to_owned) };
            assert_eq!(Address::parse(text).unwrap(), expected, "{text}");
        };
        let tcp = |host: &str, port| Place::Tcp(host.to_owned(), port);
        check("unix:/run/x.sock", Place::Unix("/run/x.sock".into()), None, None);
        check("unix:///run/x.sock", Place::Unix("/run/x.sock".into()), None, None);
        check("nats://db:4333", tcp("db", 4333), None, None);
        check("db", tcp("db", 4222), None, None);
        check("127.0.0.1:4333", tcp("127.0.0.1", 4333), None, None);
        check("nats://[::1]:4333", tcp("::1", 4333), None, None);
        check("nats://u:p%40s+s@db", tcp("db", 4222), Some("u"), Some("p@s+s"));
        check("nats://token@db", tcp("db", 4222), Some("token"), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let error = Address::parse("http://user:secret@db").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("…@db"), "{error}");
    }
}
