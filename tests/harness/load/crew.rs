//! Workers of a durable consumer, good ones and bad ones, who write down each delivery that they read and
//! each acknowledgement that they give. Each is a thread with a connection. It is killed by having its
//! connection shut, which is what the daemon sees of a process that is killed, and stopped by not reading
//! or answering, which is what it sees of one that is stopped. What is wrong with a log is found in
//! load/settlement.rs.

use super::settlement::{Conduct, Delivery, Line};
use super::writers::END;
use crate::{Daemon, PATIENCE};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a worker waits for something to read before it looks what else there is to do.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes that are read at a time. Fewer mean that nothing more was there.
const READ: usize = 64 << 10;

/// All workers of one consumer.
pub struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    consumer: String,
    ack_wait: Duration,
    /// Where the daemon listens, while there is one: its port may be somebody else's afterwards.
    address: Mutex<Option<String>>,
    log: Mutex<Vec<Line>>,
    deliveries: AtomicUsize,
    /// Whether they may misbehave.
    moody: AtomicBool,
    /// Whether they say nothing at all.
    mute: AtomicBool,
    leaving: AtomicBool,
    hands: Vec<Hand>,
}

/// Where the outside takes hold of a worker.
#[derive(Default)]
struct Hand {
    stopped: AtomicBool,
    stream: Mutex<Option<TcpStream>>,
}

impl Crew {
    /// So many workers of this consumer, whose deliveries have so long.
    pub fn start(daemon: &Daemon, consumer: &str, ack_wait: Duration, workers: usize, seed: u64) -> Crew {
        let shared = Arc::new(Shared {
            consumer: consumer.to_owned(),
            ack_wait,
            address: Mutex::new(Some(daemon.tcp.clone())),
            log: Mutex::default(),
            deliveries: AtomicUsize::new(0),
            moody: AtomicBool::new(true),
            mute: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            hands: (0..workers).map(|_| Hand::default()).collect(),
        });
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            let random = fastrand::Rng::with_seed(seed.wrapping_add(number as u64));
            thread::spawn(move || Worker { shared: &shared, number, random, owed: Vec::new() }.work())
        };
        let threads = (0..workers).map(start).collect();
        Crew { shared, threads }
    }

    /// How many deliveries they have read.
    pub fn deliveries(&self) -> usize {
        self.shared.deliveries.load(SeqCst)
    }

    /// Whether this was read, and whether it was acknowledged.
    pub fn knows(&self, payload: &str) -> (bool, bool) {
        let log = self.shared.log.lock().unwrap();
        let is_it = |line: &Line| matches!(line, Line::Delivered(event) if event.payload == payload);
        let acknowledged = |line: &Line| matches!(line, Line::Acknowledged(at) if is_it(&log[*at]));
        (log.iter().rev().any(is_it), log.iter().rev().any(acknowledged))
    }

    /// The daemon is to be killed.
    pub fn leave_daemon(&self) {
        *self.shared.address.lock().unwrap() = None;
    }

    /// There is a new one.
    pub fn follow(&self, daemon: &Daemon) {
        *self.shared.address.lock().unwrap() = Some(daemon.tcp.clone());
    }

    /// The reader, its daemon or its server is about to be harmed.
    pub fn fault_begins(&self) {
        self.shared.log.lock().unwrap().push(Line::FaultBegins);
    }

    /// The reader is at work again.
    pub fn fault_ends(&self) {
        self.shared.log.lock().unwrap().push(Line::FaultEnds);
    }

    /// How many workers there are.
    pub fn size(&self) -> usize {
        self.threads.len()
    }

    /// One is killed, with whatever it has; another takes its place.
    pub fn kill(&self, worker: usize) {
        self.shared.note(Line::WorkerHarmed);
        if let Some(stream) = &*self.shared.hands[worker].stream.lock().unwrap() {
            // It may have hung up by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// One is stopped, or goes on.
    pub fn stop(&self, worker: usize, stopped: bool) {
        self.shared.note(Line::WorkerHarmed);
        self.shared.hands[worker].stopped.store(stopped, SeqCst);
    }

    /// From now on nobody answers, or they answer again.
    pub fn be_mute(&self, mute: bool) {
        self.shared.mute.store(mute, SeqCst);
    }

    /// From now on all behave.
    pub fn behave(&self) {
        self.shared.moody.store(false, SeqCst);
    }

    /// Ends them, and gives what they have written down.
    ///
    /// # Panics
    /// If one of them met something that it did not expect.
    pub fn end(self) -> Vec<Line> {
        self.shared.leaving.store(true, SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a worker has failed"));
        std::mem::take(&mut self.shared.log.lock().unwrap())
    }
}

impl Shared {
    fn note(&self, line: Line) -> usize {
        let mut log = self.log.lock().unwrap();
        log.push(line);
        log.len() - 1
    }

    fn noted(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    number: usize,
    random: fastrand::Rng,
    /// Acknowledgements for later: when, where to, of which line.
    owed: Vec<(Instant, String, usize)>,
}

impl Worker<'_> {
    fn work(mut self) {
        while !self.shared.leaving.load(SeqCst) {
            match self.connect() {
                Some(wire) => self.serve(wire),
                None => thread::sleep(LOOK),
            }
            *self.hand().stream.lock().unwrap() = None;
        }
    }

    fn hand(&self) -> &Hand {
        &self.shared.hands[self.number]
    }

    fn connect(&self) -> Option<Wire> {
        let address = self.shared.address.lock().unwrap().clone()?;
        let mut wire = Wire::open(&address, self.shared.noted())?;
        *self.hand().stream.lock().unwrap() = wire.stream.try_clone().ok();
        let hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";
        let wants = format!("{hello}SUB rowcall.consumer.{} workers 1\r\n", self.shared.consumer);
        wire.send(&wants).then_some(wire)
    }

    /// Works until the connection ends, or until it is time to leave.
    fn serve(&mut self, mut wire: Wire) {
        while !self.shared.leaving.load(SeqCst) {
            if self.hand().stopped.load(SeqCst) {
                thread::sleep(LOOK);
                continue;
            }
            let goes_on = self.acknowledge_late(&mut wire)
                && match wire.next() {
                    Some(message) => self.take(&mut wire, message),
                    None => wire.read(self.shared),
                };
            if !goes_on {
                return;
            }
        }
    }

    fn acknowledge_late(&mut self, wire: &mut Wire) -> bool {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.owed).into_iter().partition(|(at, ..)| *at <= now);
        self.owed = later;
        let due: Vec<(Instant, String, usize)> = due;
        due.iter().all(|(_, reply, line)| self.acknowledge(wire, reply, *line))
    }

    /// It is written down before it is said: whatever follows from it comes later.
    fn acknowledge(&self, wire: &mut Wire, reply: &str, line: usize) -> bool {
        self.shared.note(Line::Acknowledged(line));
        wire.say(reply, "+ACK")
    }

    /// Does with a delivery what comes to its mind; says whether the connection is still there.
    fn take(&mut self, wire: &mut Wire, message: Message) -> bool {
        let Message { id, payload, reply, again, since } = message;
        let conduct = if payload == END { Conduct::Prompt } else { self.conduct() };
        let line = self.shared.note(Line::Delivered(Delivery { id, payload, again, since, conduct }));
        self.shared.deliveries.fetch_add(1, SeqCst);
        let ack_wait = self.shared.ack_wait;
        let mut later = |wait| self.owed.push((Instant::now() + wait, reply.clone(), line));
        match conduct {
            Conduct::Prompt => self.acknowledge(wire, &reply, line),
            Conduct::Twice => self.acknowledge(wire, &reply, line) && self.acknowledge(wire, &reply, line),
            Conduct::Busy => {
                later(ack_wait / 10);
                wire.say(&reply, "+WPI")
            }
            Conduct::Refuses if self.random.bool() => wire.say(&reply, "-NAK"),
            Conduct::Refuses => wire.say(&reply, "-NAK {\"delay\": 5000000}"),
            Conduct::Late => {
                later(ack_wait + ack_wait / 5);
                true
            }
            Conduct::Silent => true,
            Conduct::HangsUp => false,
        }
    }

    fn conduct(&mut self) -> Conduct {
        if self.shared.mute.load(SeqCst) {
            return Conduct::Silent;
        }
        if !self.shared.moody.load(SeqCst) {
            return Conduct::Prompt;
        }
        match self.random.u16(..1000) {
            0..20 => Conduct::Twice,
            20..30 => Conduct::Busy,
            30..60 => Conduct::Refuses,
            60..65 => Conduct::Late,
            65..68 => Conduct::Silent,
            68..70 => Conduct::HangsUp,
            _ => Conduct::Prompt,
        }
    }
}

/// A connection to the daemon that may end at any time.
struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
    /// How much of it was looked at.
    at: usize,
    /// How many lines the log had when there was nothing to read for the last time: what was read
    /// since then was sent later.
    drained: usize,
    /// The same for what is in `input`.
    since: usize,
}

struct Message {
    id: u64,
    payload: String,
    reply: String,
    again: bool,
    since: usize,
}

impl Wire {
    fn open(address: &str, noted: usize) -> Option<Wire> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(LOOK)).ok()?;
        // A daemon that is stopped does not read; it goes on before this is over.
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Wire { stream, input: Vec::new(), at: 0, drained: noted, since: noted })
    }

    fn send(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).is_ok()
    }

    fn say(&mut self, reply: &str, word: &str) -> bool {
        self.send(&format!("PUB {reply} {}\r\n{word}\r\n", word.len()))
    }

    /// Reads some more, if something comes soon; says whether the connection is still there.
    fn read(&mut self, shared: &Shared) -> bool {
        self.input.drain(..self.at);
        self.at = 0;
        if self.input.is_empty() {
            self.since = self.drained;
        }
        let mut buffer = [0; READ];
        let read = match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => return false,
        };
        if read < buffer.len() {
            self.drained = shared.noted();
        }
        self.input.extend_from_slice(&buffer[..read]);
        true
    }

    /// The next delivery, if all of it has been read.
    fn next(&mut self) -> Option<Message> {
        loop {
            let rest = &self.input[self.at..];
            let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            let words: Vec<&str> = line.split(' ').collect();
            let ["HMSG", _, _, reply, header_len, len] = words[..] else {
                assert!(["INFO", "PONG", "PING"].contains(&words[0]), "{line}");
                self.at += end + 2;
                if words[0] == "PING" && !self.send("PONG\r\n") {
                    return None;
                }
                continue;
            };
            let (header_len, len): (usize, usize) = (header_len.parse().unwrap(), len.parse().unwrap());
            let body = rest.get(end + 2..end + 2 + len + 2)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (headers, payload) = (text(&body[..header_len]), text(&body[header_len..len]));
            let id = headers.split("Rowcall-Id: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let id = id.and_then(|id| id.parse().ok()).expect("every event has an id");
            let again = headers.contains("Rowcall-Deliveries: ");
            let message = Message { id, payload, reply: reply.to_owned(), again, since: self.since };
            self.at += end + 2 + len + 2;
            return Some(message);
        }
    }
}
