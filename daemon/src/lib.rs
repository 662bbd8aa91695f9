//! rowcalld: all state in one struct, everything that can wake it in one table, and the loop that
//! joins the two. What each handler does stands in its own file; they meet only here.

mod activation;
mod auth;
mod certificates;
mod client;
pub mod config;
mod drain;
#[cfg(fuzzing)]
pub mod fuzz;
mod http;
mod listener;
pub mod log;
mod mail;
mod mailbox;
mod monitor;
mod operations;
mod outbox;
mod outbuf;
mod poll;
mod publish;
mod reload;
mod signals;
mod slots;
mod sql_delay;
mod stats;
mod subjects;
mod surplus;
mod timers;
mod transport;
mod websocket;

pub use activation::Passed;
use auth::User;
use auth::attempts::Attempts;
use auth::checker::Checker;
use auth::login::Source;
use client::{Client, Subscription};
use config::{Config, Flags};
use http::Http;
use listener::Listener;
use mail::Mail;
use mailbox::Limits;
use monitor::Usage;
use nix::errno::Errno;
use outbox::Outbox;
use outbuf::Round;
use poll::{Poll, Ready};
pub use signals::Signals;
use slots::{Key, Slots};
use stats::Stats;
use std::rc::Rc;
use std::time::{Duration, Instant};
use subjects::Subjects;
use timers::Timers;

/// Everything the daemon knows.
pub struct Daemon {
    /// What the administrator wants. Changes only as reload.rs says.
    config: Config,
    /// What it was read by, to read it again.
    flags: Flags,
    /// Names this run to clients.
    server_id: String,
    /// The one epoll instance.
    poll: Poll,
    /// When the run began.
    began: Instant,
    /// When this turn of the loop began: the clock is read once a turn.
    now: Instant,
    /// Deadlines of whomever; see [`Timer`].
    timers: Timers<Timer>,
    /// The sockets that take connections.
    listeners: Slots<Listener>,
    /// Connections: of those who speak the NATS client protocol, and of those who speak HTTP.
    clients: Slots<Client>,
    /// What is known of the latter together.
    http: Http,
    /// Signals as something to read.
    signals: Signals,
    /// Every subscription of every client.
    subscriptions: Slots<Subscription>,
    /// Which subject leads to which of them.
    subjects: Subjects<Key>,
    /// What this turn produces for clients.
    round: Round,
    /// Clients that this turn produced something for, each once.
    dirty: Vec<Key>,
    /// Clients whose connections shall end when the turn does, with the reason noted in them.
    leaving: Vec<Key>,
    /// Whom everyone counts as who does not have to log in.
    anyone: Rc<User>,
    /// Checks passwords, if there are any.
    checker: Option<Checker>,
    /// How often who has tried to log in and failed.
    attempts: Attempts<Source>,
    /// Committed mode, if it is switched on.
    outbox: Option<Outbox>,
    /// Replies that wait to be collected.
    mail: Mail,
    /// Whether what SQL says is put off, because subscribers are to come back first.
    delays_sql: bool,
    /// How many clients lag behind those who publish to them.
    lagging: usize,
    /// Subscriptions that reached their maximum with the current message.
    spent: Vec<Key>,
    /// The one buffer that is read into. No buffer belongs to a connection that has nothing
    /// under way.
    input: Vec<u8>,
    /// What TLS has decrypted of it. Empty as long as nobody speaks TLS.
    clear: Vec<u8>,
    /// Where small stretches are gathered for a write.
    gather: Vec<u8>,
    /// Picks members of queue groups.
    random: fastrand::Rng,
    /// The number of the latest client.
    last_client: u64,
    /// How many NATS clients there may be: the administrator's number, or what the limit of open
    /// files leaves of it.
    connections_max: usize,
    /// Counters.
    stats: Stats,
    /// What the process took of the machine when somebody last asked.
    usage: Usage,
    /// Until when clients have time to act on the news that the daemon leaves, once it was told to.
    lame_duck: Option<Instant>,
    /// How many clients were told so and are still there.
    warned: usize,
    /// When leaving must be over, once it has begun in earnest.
    leave_by: Option<Instant>,
}

/// Everything that can wake the daemon; the number stands in epoll's user-data.
#[repr(u8)]
enum Handler {
    Listener,
    Client,
    Signals,
    Outbox,
    Checker,
}

/// What each of them does when its descriptor is ready, in the order of [`Handler`].
const HANDLERS: [fn(&mut Daemon, Key, Ready); 5] =
    [Daemon::on_listener, Daemon::on_client, Daemon::on_signals, Daemon::on_outbox, Daemon::on_checker];

/// Who set a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Listener(Key),
    Client(Key),
    Outbox,
    Consumers,
    Mail,
    Sql,
    Leave,
}

/// A deadline that does not pass within this turn of the loop, and passes in the next.
const NEXT_TURN: Duration = Duration::from_nanos(1);

/// A read takes at most this much; it is also how long one busy client can keep the others
/// waiting. Larger reads were not faster (a 64 KiB write costs 4 to 7 microseconds already).
const INPUT_MAX: usize = 256 << 10;

impl Daemon {
    /// The main loop: wait, call, tidy up. It ends when the daemon has been told to leave and has
    /// done so.
    ///
    /// # Errors
    /// Those of waiting, which would be faults of this program.
    pub fn run(&mut self) -> Result<(), Errno> {
        let mut events = [nix::sys::epoll::EpollEvent::empty(); poll::EVENTS_MAX];
        while !self.has_left() {
            let n = self.poll.wait(&mut events, Instant::now(), self.timers.next())?;
            self.now = Instant::now();
            for event in &events[..n] {
                let (handler, key) = poll::split(event.data());
                HANDLERS[handler](self, key, event.events());
            }
            self.expire();
            self.serve_consumers();
            self.flush();
            self.end_leaving();
        }
        Ok(())
    }

    /// Opens what the configuration names and was not passed. With the flags that it came from, it can be
    /// read again.
    ///
    /// # Errors
    /// What could not be opened and why, for the administrator.
    pub fn new(config: Config, flags: Flags, signals: Signals, passed: Passed) -> Result<Daemon, String> {
        let poll = Poll::new().map_err(|errno| format!("cannot make an epoll instance: {errno}"))?;
        let mut random = fastrand::Rng::new();
        let server_id = (0..22).map(|_| random.alphanumeric()).collect::<String>().to_uppercase();
        let (connections_max, visitors_max) = listener::connections_max(&config);
        let kept = Limits {
            count: config.mailbox_count,
            bytes: config.mailbox_bytes.0,
            time: config.mailbox_time.0,
        };
        let now = Instant::now();
        let mut daemon = Daemon {
            config,
            flags,
            server_id,
            poll,
            began: now,
            now,
            timers: Timers::default(),
            listeners: Slots::default(),
            clients: Slots::default(),
            http: Http::new(visitors_max),
            signals,
            subscriptions: Slots::default(),
            subjects: Subjects::default(),
            round: Round::default(),
            dirty: Vec::new(),
            leaving: Vec::new(),
            anyone: User::anyone(),
            checker: None,
            attempts: Attempts::default(),
            outbox: None,
            mail: Mail::new(kept),
            delays_sql: false,
            lagging: 0,
            spent: Vec::new(),
            input: vec![0; INPUT_MAX],
            clear: Vec::new(),
            gather: Vec::new(),
            random,
            last_client: 0,
            connections_max,
            stats: Stats::new(),
            usage: Usage::new(now),
            lame_duck: None,
            warned: 0,
            leave_by: None,
        };
        daemon.watch_signals().map_err(|errno| format!("cannot watch for signals: {errno}"))?;
        daemon.open_checker()?;
        certificates::warn_of_open_key(&daemon.config);
        daemon.listen(passed)?;
        daemon.open_outbox()?;
        activation::is_ready();
        Ok(daemon)
    }

    /// Calls whoever's deadline has passed.
    fn expire(&mut self) {
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Client(key) => self.on_client_deadline(key),
                Timer::Listener(key) => self.resume_accepting(key),
                Timer::Outbox => self.answer_reader(),
                Timer::Consumers => self.on_consumers_deadline(),
                Timer::Mail => self.on_mail_deadline(),
                Timer::Sql => self.end_sql_delay(),
                // For the rest it is only there to wake the loop, which looks at `leave_by` itself.
                Timer::Leave => self.end_lame_duck(),
            }
        }
    }
}
