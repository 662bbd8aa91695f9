//! A connection to the daemon, or to any server of the NATS client protocol, blocking. One thread
//! reads; others may publish. Only what the subcommands need. What it goes over stands in stream.rs.

use crate::address::{Address, DaemonArgs, Place};
use crate::credentials::{Credentials, Login};
use crate::failure::Failure;
use crate::interrupt::{Interrupt, Woken};
use crate::stream::Stream;
use rowcall_wire::handshake::{Connect, Info};
use rowcall_wire::parse::{self, Limits, ServerOp, Step};
use rowcall_wire::{Message, PAYLOAD_CEILING, SERVER_LINE_MAX, VERSION_TAG, encode};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the daemon may take for a greeting, an answer to PING, or to take what is written.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much a server may send in one operation.
const LIMITS: Limits = Limits { control_line: SERVER_LINE_MAX, payload: PAYLOAD_CEILING, headers: true };

/// A way to wait for input: heeding signals, or not.
type Wait = fn(&Interrupt, BorrowedFd<'_>, Option<Instant>) -> Result<Woken, Failure>;

/// A connection.
pub(crate) struct Client {
    stream: Stream,
    /// What has come and was not looked at yet.
    input: Vec<u8>,
    /// The other half.
    publisher: Publisher,
    interrupt: Interrupt,
    /// As the server calls itself.
    version: String,
}

/// The half of a connection that is written to.
#[derive(Clone)]
pub(crate) struct Publisher {
    connection: Arc<Connection>,
    /// The most that the daemon takes in a message.
    max_payload: usize,
}

/// What all publishers of a connection share.
struct Connection {
    /// Locked for one operation at a time, so that none stands within another.
    stream: Mutex<Stream>,
    /// Nothing arrives at the other end any more.
    has_ended: AtomicBool,
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

impl Client {
    /// Connects, greets, and makes sure that the daemon listens.
    pub(crate) fn connect(daemon: &DaemonArgs) -> Result<Client, Failure> {
        let (mut address, credentials) = daemon.resolved()?;
        let login = credentials.login()?;
        if login != Login::default() {
            address.login = login;
        }
        let stream =
            Stream::dial(&address, PATIENCE).map_err(|error| Failure::daemon(address.not_there(&error)))?;
        let copy = stream.try_clone();
        let copy = copy.map_err(|error| Failure::other(format!("cannot share a connection: {error}")))?;
        let publisher = Publisher { connection: Connection::new(copy), max_payload: 0 };
        let mut client = Client {
            stream,
            input: Vec::new(),
            publisher,
            interrupt: Interrupt::new()?,
            version: String::new(),
        };
        if credentials.tls_first {
            client.secure(&address, &credentials)?;
        }
        let info = client.greeting()?;
        let wanted = address.tls || info.tls_required;
        if wanted && !client.stream.is_secure() {
            if !info.tls_required && !info.tls_available {
                return Err(Failure::daemon(format!("the daemon at {} does not speak TLS", address.place)));
            }
            client.secure(&address, &credentials)?;
        }
        client.publisher.max_payload = info.max_payload;
        client.version = info.version;
        client.introduce(address.login)?;
        Ok(client)
    }

    fn greeting(&mut self) -> Result<Box<Info>, Failure> {
        loop {
            match self.take()? {
                Some(Event::Info(info)) => return Ok(info),
                Some(_) => {
                    return Err(Failure::daemon(
                        "what listens there does not speak the NATS client protocol",
                    ));
                }
                None => self.await_answer("its greeting", Interrupt::wait)?,
            }
        }
    }

    /// Speaks TLS from now on. What came in clear text behind the greeting, from whomever, is not
    /// taken for what was said within.
    fn secure(&mut self, address: &Address, credentials: &Credentials) -> Result<(), Failure> {
        let Place::Tcp(host, _) = &address.place else {
            return Err(Failure::usage("TLS is for TCP; a Unix socket does without"));
        };
        if !self.input.is_empty() {
            return Err(Failure::daemon("something came between the daemon's greeting and TLS"));
        }
        let failed = |error| {
            Failure::daemon(format!(
                "no TLS with {}: {error}\n  The authority that signed its certificate is named with --tls-ca, the \
                 certificate must be for this host, and a daemon with tls = \"first\" wants --tls-first.",
                address.place
            ))
        };
        self.stream = self.stream.secured(host, credentials.tls()?, PATIENCE).map_err(failed)?;
        self.publisher.connection = Connection::new(self.stream.try_clone().map_err(failed)?);
        Ok(())
    }

    fn introduce(&mut self, login: Login) -> Result<(), Failure> {
        let connect = Connect {
            verbose: Some(false),
            pedantic: Some(false),
            headers: Some(true),
            no_responders: Some(true),
            protocol: Some(1),
            name: Some(format!("rowcall {}", std::process::id())),
            lang: Some("rowcall".into()),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            auth_token: login.token,
            user: login.user,
            pass: login.password,
            ..Connect::default()
        };
        let mut line = Vec::new();
        encode::json_line(&mut line, "CONNECT", &serde_json::to_string(&connect).unwrap_or_default());
        self.write(&line)?;
        self.flush().map(drop)
    }

    /// The daemon's version; nothing if it is another server of the protocol.
    pub(crate) fn daemon_version(&self) -> Option<&str> {
        self.version.split_once(VERSION_TAG).map(|(_, version)| version)
    }

    /// The half that publishes, for other threads as well.
    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Subscribes.
    pub(crate) fn subscribe(&mut self, filter: &str, queue: Option<&str>, sid: u64) -> Result<(), Failure> {
        let mut line = Vec::new();
        encode::sub(&mut line, filter.as_bytes(), queue.map(str::as_bytes), sid);
        self.write(&line)
    }

    /// Ends these subscriptions, also after Ctrl-C. Messages that come before that are given back.
    pub(crate) fn unsubscribe(&mut self, sids: impl Iterator<Item = u64>) -> Result<Vec<Received>, Failure> {
        let mut lines = Vec::new();
        sids.for_each(|sid| encode::unsub(&mut lines, sid, None));
        self.write(&lines)?;
        self.write(encode::PING)?;
        self.until_pong(Interrupt::wait_for_input)
    }

    /// Waits until the daemon has done everything it was sent. Messages that come meanwhile are
    /// given back.
    pub(crate) fn flush(&mut self) -> Result<Vec<Received>, Failure> {
        self.write(encode::PING)?;
        self.until_pong(Interrupt::wait)
    }

    fn until_pong(&mut self, wait: Wait) -> Result<Vec<Received>, Failure> {
        let mut messages = Vec::new();
        loop {
            match self.take()? {
                Some(Event::Pong) => return Ok(messages),
                Some(Event::Message(message)) => messages.push(message),
                Some(Event::Info(_) | Event::Ping) => {}
                None => self.await_answer("an answer", wait)?,
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
    pub(crate) fn pause(&self, time: Duration) -> Result<bool, Failure> {
        self.interrupt.pause(time)
    }

    fn await_answer(&mut self, what: &str, wait: Wait) -> Result<(), Failure> {
        match wait(&self.interrupt, self.stream.as_fd(), Some(Instant::now() + PATIENCE))? {
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
        self.stream.read(&mut self.input).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Failure::daemon("the daemon closed the connection"),
            _ => Failure::daemon(format!("the connection to the daemon broke: {error}")),
        })
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.publisher.write(bytes)
    }
}

impl Publisher {
    /// Publishes.
    pub(crate) fn publish(&self, message: &Message<'_>) -> Result<(), Failure> {
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

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stream = self.connection.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stream.write_all(bytes).map_err(|error| {
            // Half an operation may have been written, so that no other can follow.
            self.end();
            stream.end();
            Failure::daemon(format!("the connection to the daemon broke: {error}"))
        })
    }

    /// Marks the connection as ended.
    pub(crate) fn end(&self) {
        self.connection.has_ended.store(true, Relaxed);
    }

    /// True once a write has failed, or the reader has found the end.
    pub(crate) fn has_ended(&self) -> bool {
        self.connection.has_ended.load(Relaxed)
    }

    /// True if both write to the same connection.
    pub(crate) fn is(&self, other: &Publisher) -> bool {
        Arc::ptr_eq(&self.connection, &other.connection)
    }
}

impl Connection {
    fn new(stream: Stream) -> Arc<Connection> {
        Arc::new(Connection { stream: Mutex::new(stream), has_ended: AtomicBool::new(false) })
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
