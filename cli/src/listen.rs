//! `rowcall listen`: shows messages as they come. A daemon that goes away is waited for.

use crate::address::DaemonArgs;
use crate::failure::Failure;
use crate::output;
use crate::subscription::Subscription;
use clap::Args;

const AFTER_HELP: &str = "\
Examples:
  rowcall listen 'shop.orders.>'
  rowcall listen --json -n 1 shop.orders.created

A message is shown as time, subject, payload, and headers in brackets if it has any. With --json it
is an object with time, subject, payload (or payload_base64, if it is no text), reply and headers.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Listen {
    /// What to listen to: tokens with dots between them; * stands for any one token, > at the end
    /// for one or more. Quote it, or the shell takes * and > for itself: 'shop.orders.>'
    #[arg(required = true, value_name = "SUBJECT")]
    subjects: Vec<String>,

    /// Be one of a queue group: each message goes to only one of those who give the same name
    #[arg(long, short, value_name = "NAME")]
    queue: Option<String>,

    /// Leave after this many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    #[command(flatten)]
    daemon: DaemonArgs,
}

impl Listen {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let mut subscription = Subscription::new(&self.daemon, &self.subjects, self.queue.as_deref())?;
        eprintln!("listening to {}", self.subjects.join(", "));
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(message) = subscription.next()? else { break };
            output::message(&message, json)?;
            left -= 1;
        }
        Ok(())
    }
}
