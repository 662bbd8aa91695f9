//! `rowcall request`: publishes one request and shows its reply.

use crate::address::DaemonArgs;
use crate::client::{Client, Next, Received};
use crate::failure::Failure;
use crate::output;
use crate::payload::Draft;
use clap::Args;
use rowcall_wire::headers;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The subscription for the reply: the only one of the connection.
const SID: u64 = 1;

#[derive(Args)]
pub(crate) struct Request {
    /// The subject to ask: shop.approve
    subject: String,

    /// The payload; "-" reads it from stdin
    payload: String,

    /// A header, "Name: value"; may be given more than once
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<String>,

    /// How long to wait for the reply, in milliseconds
    #[arg(long, short, value_name = "MS", default_value_t = 2000)]
    timeout: u64,

    #[command(flatten)]
    daemon: DaemonArgs,
}

impl Request {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let draft = Draft::new(&self.subject, &self.payload, &self.header)?;
        let mut client = Client::connect(&self.daemon)?;
        let inbox = format!("_INBOX.rowcall.{:016x}", random());
        client.subscribe(&inbox, None, SID)?;
        client.publish(&draft.message(Some(inbox.as_bytes())))?;
        let until = Instant::now() + Duration::from_millis(self.timeout);
        let reply = match client.next(Some(until))? {
            Next::Message(reply) => reply,
            Next::Interrupted => return Err(Failure::other("interrupted")),
            Next::Late => {
                return Err(Failure::timeout(format!(
                    "no reply from {} within {} ms",
                    self.subject, self.timeout
                )));
            }
        };
        if headers::status(&reply.headers) == Some(headers::STATUS_NO_RESPONDERS) && reply.payload.is_empty()
        {
            return Err(Failure::no_responders(&self.subject));
        }
        show(&reply, json).map_err(|error| Failure::other(format!("cannot write to stdout: {error}")))?;
        match headers::value(&reply.headers, headers::SERVICE_ERROR) {
            Some(text) => {
                Err(Failure::worker(format!("the worker failed: {}", String::from_utf8_lossy(text))))
            }
            None => Ok(()),
        }
    }
}

/// A program gets the bytes as they are; a person's prompt starts on a line of its own.
fn show(reply: &Received, json: bool) -> std::io::Result<()> {
    if json {
        return output::line(&serde_json::Value::Object(output::payload(&reply.payload)).to_string());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(&reply.payload)?;
    if out.is_terminal() && !reply.payload.ends_with(b"\n") {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Nobody should guess an inbox: what is published there is taken for the reply.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
