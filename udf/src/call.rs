//! What a call of each function means: arguments to an operation, its answer to a value, a failure
//! to a counted reason. The functions that ask for something stand in call/ask.rs. How an operation
//! reaches the daemon is link.rs's business.

mod ask;

use crate::abi::{Args, Function, IntegerFunction, Kind, TextFunction};
use crate::counters::{self, Reason, SENT, SENT_BYTES};
use crate::json::{self, Shape};
use crate::link;
pub(crate) use ask::{Collect, Listen, Request, Submit};
use rowcall_wire::{headers, subject};
use std::ffi::c_ulong;
use std::sync::atomic::Ordering::Relaxed;

/// How long 1 and 0 are. MySQL makes no table of a longer integer.
const ONE_DIGIT: c_ulong = 1;

/// `rowcall_notify(subject, payload [, header, value]…)`
pub(crate) struct Notify;

/// `rowcall_emit(subject, value AS name, …)`
pub(crate) struct Emit {
    /// `"name":` of each value, one behind the other.
    names: Vec<u8>,
    /// Where each of them ends, and what the value is.
    values: Vec<(usize, Shape)>,
}

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
        all_as_text(args)?;
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
                    link::copy(body, payload)?;
                    Ok(header_len)
                })
            })
        })
    }
}

impl Function for Emit {
    const RESULT_MAX: c_ulong = ONE_DIGIT;

    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        if args.len() < 2 {
            return Err("rowcall_emit(subject, value AS name [, value AS name]...)");
        }
        let mut emit = Emit { names: Vec::new(), values: Vec::with_capacity(args.len() - 1) };
        for n in 1..args.len() {
            let (name, shape) = named(args, n)?;
            let name = emit.unused(name);
            json::name(&mut emit.names, &name);
            emit.values.push((emit.names.len(), shape));
        }
        all_as_text(args)?;
        Ok(emit)
    }
}

impl IntegerFunction for Emit {
    fn call(&mut self, args: &Args<'_>) -> i64 {
        event(|| {
            let subject = subject(args)?;
            link::with(|link| link.publish(subject, |body| self.object(args, body)))
        })
    }
}

impl Emit {
    /// The name, or, so that no value hides another, the name with a number.
    fn unused(&self, name: &[u8]) -> Vec<u8> {
        let taken = |name: &[u8]| {
            let mut quoted = Vec::new();
            json::name(&mut quoted, name);
            let mut start = 0;
            self.values.iter().any(|&(end, _)| self.names[std::mem::replace(&mut start, end)..end] == quoted)
        };
        let mut unused = name.to_vec();
        let mut number = 2;
        while taken(&unused) {
            unused = [name, format!("_{number}").as_bytes()].concat();
            number += 1;
        }
        unused
    }

    fn object(&self, args: &Args<'_>, out: &mut Vec<u8>) -> Result<usize, Reason> {
        let (mut separator, mut start) = (b'{', 0);
        for (n, &(end, shape)) in self.values.iter().enumerate() {
            let value = args.bytes(n + 1);
            // The most that a byte can become is \u00xx.
            link::reserve(out, end - start + 6 * value.map_or(4, <[u8]>::len) + 3)?;
            out.push(separator);
            out.extend_from_slice(&self.names[start..end]);
            json::value(out, shape, value);
            (separator, start) = (b',', end);
        }
        out.push(b'}');
        Ok(0)
    }
}

impl Function for Poke {
    const RESULT_MAX: c_ulong = ONE_DIGIT;

    fn init(args: &mut Args<'_>) -> Result<Self, &'static str> {
        if args.len() != 1 {
            return Err("rowcall_poke(id)");
        }
        all_as_text(args)?;
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
        let sent = link::may_poke()
            && link::with(|link| link.tell(subject::POKE, |body| link::copy(body, id))).is_ok();
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
        let mut text = b"{\"version\":\"".to_vec();
        text.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
        text.extend_from_slice(b"\",\"daemon_version\":");
        json::value(&mut text, Shape::Text, link::daemon_version().as_deref().map(str::as_bytes));
        text.extend_from_slice(b",\"socket\":");
        json::value(&mut text, Shape::Text, Some(link::socket_path().as_bytes()));
        text.extend_from_slice(format!(",\"state\":\"{}\",", link::state()).as_bytes());
        text.extend_from_slice(counters::json_members().as_bytes());
        text.push(b'}');
        self.text = String::from_utf8(text).ok()?;
        Some(self.text.as_bytes())
    }
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

/// Every function that sends takes bytes; whatever was given is passed as its text.
fn all_as_text(args: &mut Args<'_>) -> Result<(), &'static str> {
    for n in 0..args.len() {
        if args.kind(n) == Kind::Other {
            return Err("rowcall: an argument is of a type that cannot be sent");
        }
        args.coerce(n, Kind::Text);
    }
    Ok(())
}

fn without_arguments(args: &Args<'_>, usage: &'static str) -> Result<(), &'static str> {
    if args.len() == 0 { Ok(()) } else { Err(usage) }
}

/// Appends the headers that follow subject and payload, and tells how long the block is.
fn put_headers(args: &Args<'_>, body: &mut Vec<u8>) -> Result<usize, Reason> {
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
    link::reserve(body, pairs.clone().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>() + 12)?;
    Ok(headers::block(body, pairs))
}

/// The member name of the n-th argument, and what its value is.
fn named<'a>(args: &'a Args<'_>, n: usize) -> Result<(&'a [u8], Shape), &'static str> {
    let name = plain_name(args.name(n));
    Ok(match args.kind(n) {
        Kind::Int => (name, Shape::Integer(args.integer(n))),
        Kind::Real | Kind::Decimal => (name, Shape::Number),
        Kind::Text => match (name.strip_suffix(b":json"), name.strip_suffix(b":base64")) {
            (Some(name), _) => (name, Shape::Json),
            (_, Some(name)) => (name, Shape::Base64),
            _ => (name, Shape::Text),
        },
        Kind::Other => return Err("rowcall_emit: an argument is of a type that cannot be sent"),
    })
}

/// An alias is the name as it stands. A column without one comes as it was written, `NEW.id` say:
/// then its last part is the name. (An alias that reads like that cannot be told from it.)
fn plain_name(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        match identifier(rest) {
            Some((name, [])) => return name,
            Some((_, [b'.', behind @ ..])) => rest = behind,
            _ => return text,
        }
    }
}

/// The identifier that the text begins with, without its quotes, and what is behind it.
fn identifier(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"`") {
        let end = quoted.iter().position(|&byte| byte == b'`')?;
        return Some((&quoted[..end], &quoted[end + 1..]));
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || *byte >= 0x80;
    let (name, behind) = text.split_at(text.iter().take_while(|byte| plain(byte)).count());
    // Nothing, or a number.
    if name.iter().all(u8::is_ascii_digit) { None } else { Some((name, behind)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_and_aliases() {
        let check =
            |text: &str, name: &str| assert_eq!(plain_name(text.as_bytes()), name.as_bytes(), "{text}");
        check("id", "id");
        check("NEW.id", "id");
        check("new.`id`", "id");
        check("shop.orders.größe", "größe");
        check("`odd`", "odd");
        check("new.`größe in cm. ca`", "größe in cm. ca");
        check("`NEW`.`a``b`", "`NEW`.`a``b`");
        check("NEW.a + 1.5", "NEW.a + 1.5");
        check("1.5", "1.5");
        check("t.", "t.");
        check("doc:json", "doc:json");
        check("", "");
    }

    #[test]
    fn no_value_hides_another() {
        let mut emit = Emit { names: Vec::new(), values: Vec::new() };
        for expected in ["id", "id_2", "id_3"] {
            let name = emit.unused(b"id");
            assert_eq!(name, expected.as_bytes());
            json::name(&mut emit.names, &name);
            emit.values.push((emit.names.len(), Shape::Text));
        }
        assert_eq!(emit.unused(b"other"), b"other");
    }
}
