//! `rowcall listen --since`: what somebody has missed, out of the events that still wait for durable consumers.
//! The daemon tells it over HTTP as streams are resumed (docs/http.md); what comes is heard as always.

use crate::client::Received;
use crate::failure::Failure;
use crate::monitor::Monitor;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, Zoned};
use rowcall_wire::headers;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;
use url::form_urlencoded;

/// What a committed event has: its unique id, and when its row was written.
const ID: &str = "Nats-Msg-Id";
const TIME: &str = "Rowcall-Time";

/// What the daemon says when everything was sent that it has found, when not all was looked at, and when it
/// can find nothing.
const RESUMED: &str = ": resumed";
const INCOMPLETE: &str = ": resumed; of what has waited longest not everything was looked at";
const NOT_RESUMED: &str = ": not resumed";

/// A message as a stream has it in JSON.
#[derive(Deserialize)]
struct Told {
    subject: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// Events that were caught up with, so that those which come once more are known.
pub(crate) struct CaughtUp {
    pub(crate) events: Vec<Received>,
    ids: HashSet<Vec<u8>>,
}

/// How a stream ended.
enum Ended {
    /// The next one goes on behind this id.
    GoOn(String),
    /// All was sent.
    Whole,
}

impl CaughtUp {
    /// What was written since then and still waits, in the order in which it was read. Whoever calls it has subscribed before,
    /// so that nothing falls in between.
    pub(crate) fn ask(monitor: &Monitor, subjects: &[String], since: Timestamp) -> Result<CaughtUp, Failure> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("format", "json");
        query.extend_pairs(subjects.iter().map(|subject| ("subject", subject)));
        let path = format!("/events?{}", query.finish());
        let mut caught = CaughtUp { events: Vec::new(), ids: HashSet::new() };
        let mut after = "0".to_owned();
        while let Ended::GoOn(last) = caught.read(monitor.stream(&path, &after)?, since, &after)? {
            after = last;
        }
        Ok(caught)
    }

    /// Whether this has been shown already.
    pub(crate) fn has(&self, message: &Received) -> bool {
        headers::value(&message.headers, ID).is_some_and(|id| self.ids.contains(id))
    }

    fn read(&mut self, stream: impl BufRead, since: Timestamp, after: &str) -> Result<Ended, Failure> {
        let mut last = after.to_owned();
        for line in stream.lines() {
            let line =
                line.map_err(|error| Failure::daemon(format!("the stream of events broke: {error}")))?;
            if let Some(id) = line.strip_prefix("id: ") {
                last = id.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                self.keep(data, since)?;
            } else if line.starts_with(NOT_RESUMED) {
                return Err(Failure::daemon(
                    "--since: this daemon reads no outbox, so nothing is there to be caught up with",
                ));
            } else if line == INCOMPLETE {
                eprintln!("rowcall: so much waits that the oldest of it was not looked at");
            } else if line == RESUMED {
                return Ok(Ended::Whole);
            }
        }
        if last != after {
            return Ok(Ended::GoOn(last));
        }
        Err(Failure::daemon("--since: the daemon cannot read the tables now; its log says why"))
    }

    fn keep(&mut self, data: &str, since: Timestamp) -> Result<(), Failure> {
        let told: Told = serde_json::from_str(data)
            .map_err(|error| Failure::daemon(format!("an event of the stream makes no sense: {error}")))?;
        let time = told.headers.get(TIME).and_then(|time| time.parse::<Timestamp>().ok());
        if time.is_some_and(|time| time < since) {
            return Ok(());
        }
        if let Some(id) = told.headers.get(ID)
            && self.ids.insert(id.clone().into_bytes())
        {
            self.events.push(told.into());
        }
        Ok(())
    }
}

/// When an event's row was written; now, for whatever does not say.
pub(crate) fn time(message: &Received) -> Zoned {
    let time =
        headers::value(&message.headers, TIME).and_then(|time| std::str::from_utf8(time).ok()?.parse().ok());
    time.map_or_else(Zoned::now, |time: Timestamp| time.to_zoned(jiff::tz::TimeZone::system()))
}

impl From<Told> for Received {
    fn from(told: Told) -> Received {
        let mut block = String::from("NATS/1.0\r\n");
        told.headers.iter().for_each(|(name, value)| block.push_str(&format!("{name}: {value}\r\n")));
        block.push_str("\r\n");
        let payload = match (told.payload, told.payload_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, bytes) => STANDARD.decode(bytes.unwrap_or_default()).unwrap_or_default(),
        };
        Received { subject: told.subject.into_bytes(), reply: None, headers: block.into_bytes(), payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 2000\n\n\
        id: s/7.1\ndata: {\"subject\":\"a\",\"payload\":\"old\",\"headers\":{\"Nats-Msg-Id\":\"s/7.1\",\"Rowcall-Time\":\"2026-11-24T10:00:00Z\"}}\n\n\
        id: s/9.1\ndata: {\"subject\":\"a\",\"payload_base64\":\"/wA=\",\"headers\":{\"Nats-Msg-Id\":\"s/9.1\",\"Rowcall-Time\":\"2026-11-24T12:00:00Z\"}}\n\n";

    fn read(text: &str, after: &str) -> (CaughtUp, Result<Ended, Failure>) {
        let mut caught = CaughtUp { events: Vec::new(), ids: HashSet::new() };
        let ended = caught.read(text.as_bytes(), "2026-11-24T11:00:00Z".parse().unwrap(), after);
        (caught, ended)
    }

    #[test]
    fn what_is_younger_is_kept_until_all_was_sent() {
        let (caught, ended) = read(&format!("{STREAM}: resumed\n\nid: 10\ndata: not looked at"), "0");
        assert!(matches!(ended, Ok(Ended::Whole)));
        let [event] = caught.events.as_slice() else { panic!() };
        assert_eq!((event.subject.as_slice(), event.payload.as_slice()), (&b"a"[..], &b"\xff\0"[..]));
        assert!(caught.has(event));
        assert_eq!(time(event).timestamp().to_string(), "2026-11-24T12:00:00Z");
    }

    #[test]
    fn a_stream_that_ends_is_gone_on_with() {
        assert!(matches!(read(STREAM, "0").1, Ok(Ended::GoOn(last)) if last == "s/9.1"));
        assert!(read(STREAM, "s/9.1").1.is_err(), "it stands still");
        assert!(read(": not resumed, as this daemon reads no outbox\n\n", "0").1.is_err());
    }
}
