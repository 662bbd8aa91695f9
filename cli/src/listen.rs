//! `rowcall listen`: shows messages as they come, or the events of a durable consumer, which it then
//! acknowledges. A daemon that goes away is waited for.

use crate::address::{DAEMON, DaemonArgs};
use crate::crew::{self, Plan, Work};
use crate::failure::Failure;
use crate::monitor::{HttpUrl, Monitor};
use crate::output::{self, Color, Style};
use crate::settle::Verdict;
use crate::since::{self, CaughtUp};
use crate::span;
use crate::subscription::Subscription;
use clap::Args;
use jiff::{Timestamp, Zoned};
use rowcall_wire::subject;

const AFTER_HELP: &str = "\
Examples:
  rowcall listen 'shop.orders.>'
  rowcall listen --json -n 1 shop.orders.created
  rowcall listen --consumer mail
  rowcall listen --since 10m 'shop.>'

A message is shown as time, subject, payload, and headers in brackets if it has
any; an event of a watched table as what has become of the row: + new, - gone,
~ old → new. With --json it is an object with time, subject, payload (or
payload_base64, if it is no text), reply and headers.

--since shows what some durable consumer has not settled yet; other events are
gone once they were handed on. It asks the daemon over HTTP (--http).";

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

    /// First show what was committed in so long a time and still waits for a durable consumer
    #[arg(long, value_name = "TIME", value_parser = span::parse, conflicts_with = "consumer")]
    since: Option<u64>,

    /// When to show colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,

    #[command(flatten)]
    http: HttpUrl,
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
        // Subscribed already: nothing falls between what was and what comes.
        let missed = self.missed(&subjects)?;
        for event in missed.iter().flat_map(|missed| &missed.events).take(left as usize) {
            output::message(event, style, &since::time(event))?;
            left -= 1;
        }
        if subscription.is_worker() {
            // One job: what is shown is shown in its order, and read on meanwhile, however slowly the output goes.
            let show =
                |work: &Work| output::message(&work.message, style, &Zoned::now()).map(|()| Verdict::Done);
            let plan = Plan { jobs: 1, count: left, answers: false };
            return crew::run(&mut subscription, &plan, show).map(drop);
        }
        while left > 0 {
            let Some(message) = subscription.next(&|| None)? else { break };
            if missed.as_ref().is_some_and(|missed| missed.has(&message)) {
                continue;
            }
            output::message(&message, style, &Zoned::now())?;
            left -= 1;
        }
        Ok(())
    }

    /// What --since asks for.
    fn missed(&self, subjects: &[String]) -> Result<Option<CaughtUp>, Failure> {
        let Some(span) = self.since else { return Ok(None) };
        let since = Timestamp::now().as_millisecond().saturating_sub(i64::try_from(span).unwrap_or(i64::MAX));
        let since = Timestamp::from_millisecond(since).unwrap_or(Timestamp::MIN);
        CaughtUp::ask(&Monitor::new(&self.http, &self.daemon)?, subjects, since).map(Some)
    }
}
