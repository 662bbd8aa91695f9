//! `rowcall listen`: shows messages as they come, or the events of a durable consumer, which it then
//! acknowledges. A daemon that goes away is waited for.

use crate::address::{DAEMON, DaemonArgs};
use crate::failure::Failure;
use crate::output::{self, Color, Style};
use crate::settle;
use crate::subscription::Subscription;
use clap::Args;
use rowcall_wire::subject;

const AFTER_HELP: &str = "\
Examples:
  rowcall listen 'shop.orders.>'
  rowcall listen --json -n 1 shop.orders.created
  rowcall listen --consumer mail

A message is shown as time, subject, payload, and headers in brackets if it has
any; an event of a watched table as what has become of the row: + new, - gone,
~ old → new. With --json it is an object with time, subject, payload (or
payload_base64, if it is no text), reply and headers.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Listen {
    /// What to listen to: tokens with dots between them; * stands for any one token, > at the end
    /// for one or more. Quote it, or the shell takes * and > for itself: 'shop.orders.>'
    #[arg(required_unless_present = "consumer", value_name = "SUBJECT")]
    subjects: Vec<String>,

    /// Be a worker of this durable consumer: an event that has been shown is acknowledged, and does not
    /// come again
    #[arg(long, value_name = "NAME", conflicts_with_all = ["subjects", "queue"])]
    consumer: Option<String>,

    /// Be one of a queue group: each message goes to only one of those who give the same name
    #[arg(long, short, value_name = "NAME")]
    queue: Option<String>,

    /// Leave after this many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    /// When to show colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,
}

impl Listen {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let style = Style::new(json, self.color);
        let (subjects, queue) = match &self.consumer {
            // Of all who work for it, each event goes to one.
            Some(name) => (vec![format!("{}{name}", subject::CONSUMER)], Some("rowcall-listen")),
            None => (self.subjects.clone(), self.queue.as_deref()),
        };
        let mut subscription = Subscription::new(&self.daemon, &subjects, queue)?;
        eprintln!("listening to {}", subjects.join(", "));
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(message) = subscription.next()? else { break };
            output::message(&message, style)?;
            if settle::is_event(&message) {
                settle::acknowledge(&message, subscription.publisher())?;
            }
            left -= 1;
        }
        Ok(())
    }
}
