//! `rowcall forward`: calls a webhook for each event. Signatures and pauses stand in webhook.rs, how several calls
//! go on at a time in crew.rs.

use crate::address::{DAEMON, DaemonArgs};
use crate::client::Received;
use crate::crew::{self, Plan, Work};
use crate::failure::Failure;
use crate::https;
use crate::interrupt::Interrupt;
use crate::output::visible;
use crate::random;
use crate::settle::Verdict;
use crate::span;
use crate::subscription::{self, Subscription};
use crate::webhook::{Secrets, pause, retry_after};
use clap::Args;
use jiff::Timestamp;
use rowcall_wire::headers;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use ureq::Agent;
use ureq::http::StatusCode;

const AFTER_HELP: &str = "\
Examples:
  rowcall forward 'shop.orders.>' --to https://example.org/hook
  rowcall forward --consumer mail --secret-file key --to https://example.org/x

Each event is a POST with the payload as its body, rowcall-subject, and as in
the Standard Webhooks specification webhook-id (the same at each attempt),
webhook-timestamp and, with a secret, webhook-signature. Any answer of 200 to
299 within --timeout is success; redirections are not followed.

What fails is tried again after 1 s, 2 s, 4 s and so on, up to 10 min, or what
Retry-After says, in seconds or as a date; after 429, 502, 503 and 504 all calls
wait so long. 410 (Gone) ends forward: the receiver wants no more, and what was
not taken stays where it is. With --consumer the event is given back meanwhile, delivered
at least once, and parked after the consumer's --max-deliveries (rowcall
parked). Without, it is given up after --attempts, told and counted.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Forward {
    /// Subject whose events to forward; may hold the wildcards * and >, then quote it
    #[arg(required_unless_present = "consumer")]
    subject: Option<String>,

    /// Work for this durable consumer
    #[arg(long, value_name = "NAME", conflicts_with_all = ["subject", "queue", "attempts"])]
    consumer: Option<String>,

    /// Where to: http:// or https://
    #[arg(long, value_name = "URL", value_parser = destination)]
    to: String,

    /// A file with the secret to sign with: whsec_ and base64, a line; two while one replaces the other
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Send this header as well, or in place of ours of this name; webhook-id, -timestamp and -signature,
    /// and what frames the body, stay ours
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// Trust certificates of these authorities (PEM), instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Be one of a queue group: each event goes to only one of those who give the same name
    #[arg(long, short, value_name = "NAME")]
    queue: Option<String>,

    /// How many calls to make at a time
    #[arg(long, short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,

    /// How long a call may take
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = span::parse)]
    timeout: u64,

    /// How often to try, without --consumer
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,

    /// Leave after this many events
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,
}

/// Someone who is called.
struct Receiver<'a> {
    to: &'a str,
    agent: Agent,
    secrets: Option<Secrets>,
    headers: BTreeMap<String, &'a str>,
    /// Until when it is not called, as it has much to do.
    busy_until: Mutex<Instant>,
}

/// Why a call failed.
struct Refusal {
    why: String,
    /// What the receiver answered, if it did.
    status: Option<StatusCode>,
    /// When it wants to be called again.
    retry_after: Option<Duration>,
}

/// Headers that are ours whatever is asked for: the specification's, and those that say where the body ends.
const OURS: [&str; 8] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "content-length",
    "transfer-encoding",
    "connection",
    "trailer",
    "expect",
];

/// Answers by which a receiver says that it has too much to do.
const BUSY: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

impl Forward {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (filters, queue) = subscription::wanted(
            self.consumer.as_deref(),
            self.subject.as_deref(),
            self.queue.as_deref(),
            "rowcall-forward",
        );
        let receiver = self.receiver()?;
        let mut subscription = Subscription::new(&self.daemon, &filters, queue)?;
        eprintln!("forwarding {} to {}", filters[0], without_secrets(&self.to));
        let count = self.count.unwrap_or(u64::MAX);
        let plan = Plan { jobs: self.jobs, count, answers: false };
        let tally = crew::run(&mut subscription, &plan, |work| self.forward(work, &receiver))?;
        tally.or_failure(if self.consumer.is_some() { "calls failed" } else { "events were given up" })
    }

    fn receiver(&self) -> Result<Receiver<'_>, Failure> {
        let secrets = self.secret_file.as_deref().map(|file| {
            let wrong = |why: &dyn std::fmt::Display| {
                Failure::usage(format!("--secret-file {}: {why}", file.display()))
            };
            let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
            Secrets::read(&text).map_err(|why| wrong(&why))
        });
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(self.timeout)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("rowcall/", env!("CARGO_PKG_VERSION")))
            .tls_config(https::trust("--ca", self.ca.as_deref())?)
            .build();
        Ok(Receiver {
            to: &self.to,
            agent: config.into(),
            secrets: secrets.transpose()?,
            headers: self.headers(),
            busy_until: Mutex::new(Instant::now()),
        })
    }

    /// What -H asks for, each once, by names in lower case.
    fn headers(&self) -> BTreeMap<String, &str> {
        let asked = self.header.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()));
        let mut headers: BTreeMap<_, _> = asked.collect();
        for name in OURS {
            if headers.remove(name).is_some() {
                eprintln!("rowcall: -H {name} is not sent: that header is forward's own");
            }
        }
        headers
    }

    fn forward(&self, work: &Work, receiver: &Receiver<'_>) -> Result<Verdict, Failure> {
        let (event, id) = (&work.message, id(&work.message)?);
        let shown = visible(&event.subject);
        // On an ordinary subject that number is only what the sender says.
        let mut attempts = if work.is_event { deliveries(event) } else { 1 };
        loop {
            if receiver.is_left_alone()? || work.is_obsolete() {
                return Ok(Verdict::Untried);
            }
            let Err(refusal) = receiver.call(event, &id) else { return Ok(Verdict::Done) };
            if refusal.status == Some(StatusCode::GONE) {
                let to = without_secrets(&self.to);
                return Err(Failure::other(format!(
                    "{to} answered 410 Gone: it wants no more events, so none is sent to it any more"
                )));
            }
            let pause = pause(attempts, refusal.retry_after, chance()?);
            if refusal.status.is_some_and(|status| BUSY.contains(&status)) {
                receiver.leave_alone(pause);
            }
            let later = span::exact(pause.as_millis() as u64);
            if self.consumer.is_some() {
                eprintln!("rowcall: {shown}: {}; it comes again after {later}", refusal.why);
                return Ok(Verdict::Again(Some(pause)));
            }
            if attempts >= self.attempts {
                eprintln!("rowcall: {shown}: {}; given up after {attempts} attempts", refusal.why);
                return Ok(Verdict::Again(None));
            }
            eprintln!("rowcall: {shown}: {}; again after {later}", refusal.why);
            if Interrupt::new()?.pause(pause)? {
                return Ok(Verdict::Again(None));
            }
            attempts += 1;
        }
    }
}

impl Receiver<'_> {
    /// Waits while it has too much to do; says whether Ctrl-C came first.
    fn is_left_alone(&self) -> Result<bool, Failure> {
        loop {
            let until = *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            if Interrupt::new()?.pause(left)? {
                return Ok(true);
            }
        }
    }

    /// It is not called for so long, whatever is to be sent.
    fn leave_alone(&self, time: Duration) {
        let mut until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now() + time);
    }

    fn call(&self, event: &Received, id: &str) -> Result<(), Refusal> {
        let now = Timestamp::now().as_second().unsigned_abs();
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&event.payload).is_ok();
        let subject = visible(&event.subject);
        let kind = if is_json { "application/json" } else { "application/octet-stream" };
        let mut headers = BTreeMap::from([("content-type", kind), ("rowcall-subject", &subject)]);
        headers.extend(self.headers.iter().map(|(name, value)| (name.as_str(), *value)));
        let mut request =
            self.agent.post(self.to).header("webhook-id", id).header("webhook-timestamp", now.to_string());
        if let Some(secrets) = &self.secrets {
            request = request.header("webhook-signature", secrets.signature(id, now, &event.payload));
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send(&event.payload[..]);
        let no_answer =
            |error: ureq::Error| Refusal { why: error.to_string(), status: None, retry_after: None };
        let answer = answer.map_err(no_answer)?;
        if answer.status().is_success() {
            return Ok(());
        }
        let asked = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
        Err(Refusal {
            why: format!("answered {}", answer.status()),
            status: Some(answer.status()),
            retry_after: asked.and_then(|asked| retry_after(asked, SystemTime::now())),
        })
    }
}

/// What tells an event from all others, at each attempt the same: a committed event's unique id, without the
/// full stop that separates the parts of what is signed.
fn id(event: &Received) -> Result<String, Failure> {
    let fine = |id: &&str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/.".contains(&byte));
    match (text(event, "Rowcall-Id"), text(event, "Nats-Msg-Id").filter(fine)) {
        (Some(_), Some(id)) => Ok(format!("rowcall-{}", id.replace(['/', '.'], "-"))),
        _ => Ok(format!("rowcall-{:016x}", random::number()?)),
    }
}

/// Which delivery of it this is.
fn deliveries(event: &Received) -> u32 {
    text(event, "Rowcall-Deliveries").and_then(|number| number.parse().ok()).unwrap_or(1)
}

fn text<'a>(event: &'a Received, name: &str) -> Option<&'a str> {
    std::str::from_utf8(headers::value(&event.headers, name)?).ok()
}

/// From 0 to 1.
fn chance() -> Result<f64, Failure> {
    Ok(random::number()? as f64 / u64::MAX as f64)
}

fn destination(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(text.to_owned()),
        Ok(_) => Err("expected http:// or https://".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// An address as it may be shown.
fn without_secrets(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected \"Name: value\"")?;
    let fits = headers::valid_name(name.as_bytes()) && headers::valid_value(value.as_bytes());
    if fits { Ok((name.to_owned(), value.trim().to_owned())) } else { Err("expected \"Name: value\"".into()) }
}
