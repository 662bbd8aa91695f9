//! `rowcall request`: publishes one request and shows its reply.

use crate::address::{DAEMON, DaemonArgs};
use crate::client::{Client, Next, Received};
use crate::failure::Failure;
use crate::output;
use crate::payload::Draft;
use crate::random;
use clap::Args;
use rowcall_wire::headers;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The subscription for the reply: the only one of the connection.
const SID: u64 = 1;

const AFTER_HELP: &str = "\
Example:
  rowcall request shop.approve '{\"amount\":12.50}'

The reply goes to stdout as it is; with --json, as an object with payload (or
payload_base64, if it is no text). Exit code 3: nobody answers to that subject;
4: no reply in time; 7: the worker answered that it failed.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Request {
    /// Subject to ask: shop.approve
    subject: String,

    /// Payload; - reads it from stdin
    payload: String,

    /// Header to send along; may be given more than once
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// How long to wait for the reply, in milliseconds
    #[arg(long, short, value_name = "MS", default_value_t = 2000)]
    timeout: u64,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,
}

impl Request {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let draft = Draft::new(&self.subject, &self.payload, &self.header)?;
        let mut client = Client::connect(&self.daemon)?;
        // Nobody should guess it: what is published there is taken for the reply.
        let inbox = format!("_INBOX.rowcall.{:016x}", random::number()?);
        client.subscribe(&inbox, None, SID)?;
        client.publisher().publish(&draft.message(Some(inbox.as_bytes())))?;
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
        show(&reply, json)?;
        match headers::value(&reply.headers, headers::SERVICE_ERROR) {
            Some(text) => {
                Err(Failure::worker(format!("the worker failed: {}", String::from_utf8_lossy(text))))
            }
            None => Ok(()),
        }
    }
}

/// A program gets the bytes as they are; a person's prompt starts on a line of its own.
fn show(reply: &Received, json: bool) -> Result<(), Failure> {
    if json {
        return output::line(&serde_json::Value::Object(output::payload(&reply.payload)).to_string());
    }
    output::bytes(&reply.payload)?;
    if std::io::stdout().is_terminal() && !reply.payload.ends_with(b"\n") {
        output::bytes(b"\n")?;
    }
    Ok(())
}
