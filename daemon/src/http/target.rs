//! What a request asks for: its target taken apart, path and query decoded. Which calls there are, and
//! with which methods and parameters; what they do stands in http/exchange.rs.

use super::live::{self, File};
use super::request::Method;
use crate::config::Span;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use std::time::Duration;

/// A target, as it stands in a request's line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The host that it names itself, as requests to proxies do.
    pub(crate) authority: Option<&'a str>,
    path: &'a str,
    /// What stands behind the question mark, as it stands there.
    pub(crate) query: &'a str,
}

/// What can be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A page about the daemon, by its path.
    Page(&'static str),
    /// A file of the live page.
    File(&'static File),
    /// Who asks.
    Whoami,
    /// Publishing to a subject.
    Publish(Vec<u8>),
    /// A request on a subject, and its reply.
    Request(Vec<u8>),
    /// How it goes with the tables of committed mode.
    Outbox,
    /// What is parked.
    Parked,
    /// A parked event is to be sent again.
    Retry,
    /// A parked event is to be deleted.
    Drop,
    /// The next message of a filter.
    Next(Vec<u8>),
    /// A stream of all messages of the filters in the query.
    Events,
    /// The next request, or event of a durable consumer, of a filter, for a worker.
    Work(Vec<u8>),
    /// Answering a request that was taken, by its token.
    Reply(String),
    /// Saying what has become of an event that was taken, by its token.
    Settle(Verdict, String),
}

/// What a worker says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Ack,
    /// It could not be done now.
    Nak,
    /// It can never be done.
    Term,
    /// It is being done.
    Progress,
}

impl<'a> Target<'a> {
    /// Takes it apart; `None` if it is none.
    pub(crate) fn parse(target: &'a str) -> Option<Target<'a>> {
        let (authority, rest) = match target.split_once("://") {
            Some(("http" | "https", rest)) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            _ if target.starts_with('/') => (None, target),
            _ => return None,
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Some(Target { authority, path, query })
    }

    /// What it asks for, if there is such a thing.
    pub(crate) fn call(&self) -> Option<Call> {
        if let Some(page) = super::pages::PATHS.iter().find(|page| **page == self.path) {
            return Some(Call::Page(page));
        }
        if let Some(file) = live::file(self.path) {
            return Some(Call::File(file));
        }
        match self.path {
            "/events" => return Some(Call::Events),
            "/whoami" => return Some(Call::Whoami),
            "/outboxz" => return Some(Call::Outbox),
            "/parked" => return Some(Call::Parked),
            "/parked/retry" => return Some(Call::Retry),
            "/parked/drop" => return Some(Call::Drop),
            _ => {}
        }
        let (name, rest) = self.path.strip_prefix('/')?.split_once('/')?;
        let (token, rest) = (rest.to_owned(), || percent_decode_str(rest).collect());
        match name {
            "publish" => Some(Call::Publish(rest())),
            "request" => Some(Call::Request(rest())),
            "next" => Some(Call::Next(rest())),
            "work" => Some(Call::Work(rest())),
            "reply" => Some(Call::Reply(token)),
            "ack" => Some(Call::Settle(Verdict::Ack, token)),
            "nak" => Some(Call::Settle(Verdict::Nak, token)),
            "term" => Some(Call::Settle(Verdict::Term, token)),
            "progress" => Some(Call::Settle(Verdict::Progress, token)),
            _ => None,
        }
    }

    /// What its query says, decoded.
    ///
    /// # Errors
    /// The name of the first parameter that is not among the known ones, so that a slip of the pen does
    /// not pass for a wish.
    pub(crate) fn parameters(&self, known: &[&str]) -> Result<Parameters<'a>, String> {
        let pairs: Vec<_> = form_urlencoded::parse(self.query.as_bytes()).collect();
        match pairs.iter().find(|(name, _)| !known.contains(&name.as_ref())) {
            Some((name, _)) => Err(format!("there is no parameter {name:?} here; there is {}", list(known))),
            None => Ok(Parameters { pairs }),
        }
    }
}

fn list(known: &[&str]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}

/// What the query of a request says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameters<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl Parameters<'_> {
    /// All values of this name, in order.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    /// The time of this name, or the usual one.
    ///
    /// # Errors
    /// If it is none, or longer than allowed.
    pub(crate) fn time(&self, name: &str, usual: Duration, most: Duration) -> Result<Duration, String> {
        let Some(text) = self.all(name).next() else { return Ok(usual) };
        let Span(time) = text.parse().map_err(|error| format!("{name}: {error}"))?;
        if time > most {
            return Err(format!("{name}: at most {} s, found {text:?}", most.as_secs()));
        }
        Ok(time)
    }
}

impl Call {
    /// Whether it can be asked for with this method.
    pub(crate) fn takes(&self, method: Method) -> bool {
        match self {
            _ if method == Method::Options => true,
            Call::Page(_) | Call::File(_) | Call::Whoami => matches!(method, Method::Get | Method::Head),
            Call::Next(_) | Call::Events | Call::Outbox | Call::Parked => method == Method::Get,
            _ => method == Method::Post,
        }
    }

    /// With which methods it can be asked for, as `Allow` says it.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Call::Page(_) | Call::File(_) | Call::Whoami => "GET, HEAD, OPTIONS",
            Call::Next(_) | Call::Events | Call::Outbox | Call::Parked => "GET, OPTIONS",
            _ => "POST, OPTIONS",
        }
    }

    /// Whether it only tells how the daemon is, or is something that everybody may have.
    pub(crate) fn is_page(&self) -> bool {
        matches!(self, Call::Page(_) | Call::File(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(target: &str) -> Option<Call> {
        Target::parse(target).unwrap().call()
    }

    #[test]
    fn paths() {
        assert_eq!(call("/healthz?verbose=1"), Some(Call::Page("/healthz")));
        assert_eq!(call("/publish/shop.orders.>"), Some(Call::Publish(b"shop.orders.>".to_vec())));
        assert_eq!(call("/publish/a%2eb%3E?x"), Some(Call::Publish(b"a.b>".to_vec())));
        assert_eq!(call("/request/gr%C3%B6%C3%9Fe"), Some(Call::Request("größe".into())));
        assert_eq!(call("/next/a/b"), Some(Call::Next(b"a/b".to_vec())));
        assert_eq!(call("http://host:1/next/a"), Some(Call::Next(b"a".to_vec())));
        assert_eq!(call("/events?subject=a"), Some(Call::Events));
        assert!(
            matches!(call("/?x"), Some(Call::File(_)))
                && matches!(call("/page/page.js"), Some(Call::File(_)))
        );
        assert_eq!(call("/work/a.%3E?queue=q"), Some(Call::Work(b"a.>".to_vec())));
        assert_eq!(call("/reply/0123"), Some(Call::Reply("0123".into())));
        assert_eq!(call("/nak/0123?delay=1s"), Some(Call::Settle(Verdict::Nak, "0123".into())));
        assert_eq!((call("/parked?x"), call("/parked/drop?id=7")), (Some(Call::Parked), Some(Call::Drop)));
        assert_eq!(call("/publish/"), Some(Call::Publish(Vec::new())));
        for nothing in [
            "/page",
            "/page/",
            "/publish",
            "/parked/",
            "/healthz/",
            "/nothing/a",
            "/../etc/passwd",
            "//publish/a",
        ] {
            assert_eq!(call(nothing), None, "{nothing}");
        }
        for none in ["*", "host:1", "", "ftp://host/"] {
            assert_eq!(Target::parse(none), None, "{none}");
        }
        assert_eq!(Target::parse("http://host?a").unwrap().authority, Some("host"));
    }

    #[test]
    fn queries() {
        let target = Target::parse("/x?subject=a.%3E&subject=b.>&timeout=2s").unwrap();
        let parameters = target.parameters(&["subject", "timeout"]).unwrap();
        assert_eq!(parameters.all("subject").collect::<Vec<_>>(), ["a.>", "b.>"]);
        let second = Duration::from_secs(1);
        assert_eq!(parameters.time("timeout", second, 9 * second), Ok(2 * second));
        assert_eq!(parameters.time("other", second, second), Ok(second));
        assert!(parameters.time("timeout", second, second).unwrap_err().contains("at most 1 s"));
        assert!(parameters.time("subject", second, second).unwrap_err().contains("expected a time"));
        let error = target.parameters(&["timeout"]).unwrap_err();
        assert!(error.contains("\"subject\"") && error.contains("timeout"), "{error}");
        assert!(Target::parse("/x").unwrap().parameters(&[]).is_ok());
    }
}
