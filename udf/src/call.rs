//! What a call of each function means: arguments to an operation, its answer to a value, a failure
//! to a counted reason. `rowcall_emit` stands in call/emit.rs, the functions that ask for something in
//! call/ask.rs. How an operation reaches the daemon is link.rs's business.

mod ask;
mod emit;

use crate::abi::{Args, Function, IntegerFunction, TextFunction};
use crate::bounded::Bounded;
use crate::counters::{self, Reason, SENT, SENT_BYTES};
use crate::json::{self, Shape};
use crate::link::{self, Content};
pub(crate) use ask::{Collect, Listen, Request, Submit};
pub(crate) use emit::Emit;
use rowcall_wire::{headers, subject};
use std::ffi::c_ulong;
use std::sync::atomic::Ordering::Relaxed;

/// How long 1 and 0 are. MySQL makes no table of a longer integer.
const ONE_DIGIT: c_ulong = 1;

/// The longest text of the status: each counter of each reason takes less than 50 bytes, and the
/// daemon's version and the socket's path are shorter than a control line.
const STATUS_MAX: usize = 64 << 10;

/// The longest number of a row in the outbox: the digits of 2^64.
const ID_MAX: usize = 20;

/// `rowcall_notify(subject, payload [, header, value]…)`
pub(crate) struct Notify;

/// `rowcall_poke(id)`
pub(crate) struct Poke;

/// `rowcall_last_error()`
pub(crate) struct LastError;

/// `rowcall_status()`
pub(crate) struct Status {
    text: String,
}

/// `rowcall_version()`
pub(crate) struct Version {
    text: String,
}

impl Function for Notify {
    const RESULT_MAX: c_ulong = ONE_DIGIT;

    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        if args.len() < 2 || !args.len().is_multiple_of(2) {
            return Err("rowcall_notify(subject, payload [, header, value]...)");
        }
        all_as_text(args);
        Ok(Notify)
    }
}

impl IntegerFunction for Notify {
    fn call(&mut self, args: &Args<'_>) -> i64 {
        event(|| {
            let subject = subject(args)?;
            let payload = args.bytes(1).ok_or(Reason::NullPayload)?;
            link::with(|link| {
                link.publish(subject, |body| {
                    let header_len = put_headers(args, body)?;
                    Ok(Content { header_len, rest: payload })
                })
            })
        })
    }
}

impl Function for Poke {
    const RESULT_MAX: c_ulong = ONE_DIGIT;

    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        if args.len() != 1 {
            return Err("rowcall_poke(id)");
        }
        all_as_text(args);
        Ok(Poke)
    }
}

impl IntegerFunction for Poke {
    /// It only saves time: nothing is lost when it is not sent, so it is no event that is counted. NULL
    /// says that there was no table to write an event into, and that is.
    fn call(&mut self, args: &Args<'_>) -> i64 {
        let Some(id) = args.bytes(0) else {
            counters::drop_one(Reason::NoOutbox);
            return 0;
        };
        let sent =
            id.len() <= ID_MAX && link::may_poke() && link::with(|link| link.tell(subject::POKE, id)).is_ok();
        i64::from(sent)
    }
}

impl Function for LastError {
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        without_arguments(args, "rowcall_last_error()")?;
        Ok(LastError)
    }
}

impl TextFunction for LastError {
    fn call(&mut self, _: &Args<'_>) -> Option<&[u8]> {
        counters::last().map(|reason| reason.name().as_bytes())
    }
}

impl Function for Status {
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        without_arguments(args, "rowcall_status()")?;
        Ok(Status { text: String::new() })
    }
}

impl TextFunction for Status {
    fn call(&mut self, _: &Args<'_>) -> Option<&[u8]> {
        let mut text = Bounded::new(STATUS_MAX);
        put_status(&mut text).ok()?;
        self.text = String::from_utf8(std::mem::take(text.bytes_mut())).ok()?;
        Some(self.text.as_bytes())
    }
}

fn put_status(text: &mut Bounded) -> Result<(), Reason> {
    text.put(b"{\"version\":\"")?;
    text.put(env!("CARGO_PKG_VERSION").as_bytes())?;
    text.put(b"\",\"daemon_version\":")?;
    json::value(text, Shape::Text, link::daemon_version().as_deref().map(str::as_bytes))?;
    text.put(b",\"socket\":")?;
    json::value(text, Shape::Text, Some(link::socket_path().as_bytes()))?;
    text.put(format!(",\"state\":\"{}\",", link::state()).as_bytes())?;
    text.put(counters::json_members().as_bytes())?;
    text.put(b"}")
}

impl Function for Version {
    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        without_arguments(args, "rowcall_version()")?;
        Ok(Version { text: String::new() })
    }
}

impl TextFunction for Version {
    fn call(&mut self, _: &Args<'_>) -> Option<&[u8]> {
        self.text = match link::daemon_version() {
            Some(daemon) => format!("{} (daemon {daemon})", env!("CARGO_PKG_VERSION")),
            None => env!("CARGO_PKG_VERSION").to_owned(),
        };
        Some(self.text.as_bytes())
    }
}

/// Sends one event and answers 1, or counts why not and answers 0.
fn event(send: impl FnOnce() -> Result<usize, Reason>) -> i64 {
    i64::from(was_sent(send))
}

/// Sends a message, counts it or why not, and says whether it was sent.
fn was_sent(send: impl FnOnce() -> Result<usize, Reason>) -> bool {
    let result = send();
    match result {
        Ok(bytes) => {
            counters::count(&SENT);
            SENT_BYTES.fetch_add(bytes as u64, Relaxed);
            counters::clear_last();
        }
        Err(reason) => counters::drop_one(reason),
    }
    result.is_ok()
}

fn subject<'a>(args: &'a Args<'_>) -> Result<&'a [u8], Reason> {
    let subject = args.bytes(0).ok_or(Reason::BadSubject)?;
    subject::publishable(subject).map_err(|_| Reason::BadSubject)?;
    Ok(subject)
}

/// Every function takes bytes; whatever was given is passed as its text.
fn all_as_text(args: &mut Args<'_>) {
    (0..args.len()).for_each(|n| args.coerce_to_text(n));
}

fn without_arguments(args: &Args<'_>, usage: &'static str) -> Result<(), &'static str> {
    if args.len() == 0 { Ok(()) } else { Err(usage) }
}

/// Appends the headers that follow subject and payload, and tells how long the block is.
fn put_headers(args: &Args<'_>, body: &mut Bounded) -> Result<usize, Reason> {
    if args.len() == 2 {
        return Ok(0);
    }
    for n in (2..args.len()).step_by(2) {
        let name = args.bytes(n).is_some_and(headers::valid_name);
        let value = args.bytes(n + 1).is_some_and(headers::valid_value);
        if !name || !value {
            return Err(Reason::BadHeader);
        }
    }
    let pairs = (2..args.len()).step_by(2).filter_map(|n| Some((args.bytes(n)?, args.bytes(n + 1)?)));
    let len = pairs.clone().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>() + 12;
    Ok(headers::block(body.room(len)?, pairs))
}
