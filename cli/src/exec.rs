//! `rowcall exec`: runs a command for each event. How it is run stands in command.rs, how several work at a time
//! in crew.rs.

use crate::address::{DAEMON, DaemonArgs};
use crate::command::{self, Stdout};
use crate::crew::{self, Plan, Work};
use crate::failure::Failure;
use crate::settle::Verdict;
use crate::span;
use crate::subscription::{self, Subscription};
use clap::Args;
use std::time::Duration;

/// The exit code that says that it may work later: EX_TEMPFAIL of sysexits.h.
const TEMPORARY: i32 = 75;

const AFTER_HELP: &str = "\
Examples:
  rowcall exec 'shop.orders.>' -- sh -c 'echo \"$ROWCALL_OP $ROWCALL_NEW_ID\"'
  rowcall exec --consumer mail --jobs 4 --timeout 30s -- ./send-mail.sh

The command gets the payload on stdin and in its environment ROWCALL_SUBJECT, a
ROWCALL_HEADER_NAME for each header and, of a watched table's event, ROWCALL_OP
(insert, update, delete), ROWCALL_DB, ROWCALL_TABLE and ROWCALL_NEW_COLUMN and
ROWCALL_OLD_COLUMN for each column that is not NULL; of another JSON object
ROWCALL_FIELD_NAME. Values of more than 32 KiB are on stdin only. No other
ROWCALL_ variable and no MYSQL_PWD is inherited.

With --consumer each event is worked on at least once: exit code 0 acknowledges
it, 75 asks for it again after --retry-after, any other after the consumer's
pause; after the consumer's --max-deliveries it is parked. Without, events are
for those who listen now, and a failure is told and counted. A command that
cannot be run at all is no event's fault: exec does not begin, or holds what it
has and tries again, and no delivery counts. (126 and 127 are what a shell ends
with whose own command could not be run: codes like any other.)";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Exec {
    /// Subject to run it for; may hold the wildcards * and >, then quote it
    #[arg(required_unless_present = "consumer")]
    subject: Option<String>,

    /// Work for this durable consumer
    #[arg(long, value_name = "NAME", conflicts_with_all = ["subject", "queue"])]
    consumer: Option<String>,

    /// Be one of a queue group: each event goes to only one of those who give the same name
    #[arg(long, short, value_name = "NAME")]
    queue: Option<String>,

    /// How many events to work on at a time
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,

    /// How long a command may take before it is told to end, and killed 5 s later; 0 is for ever
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = span::parse)]
    timeout: u64,

    /// After how long an event comes again when the command ends with exit code 75
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span::parse, requires = "consumer")]
    retry_after: u64,

    /// Leave after this many events
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,

    /// Command to run for each event, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (filters, queue) = subscription::wanted(
            self.consumer.as_deref(),
            self.subject.as_deref(),
            self.queue.as_deref(),
            "rowcall-exec",
        );
        command::check(&self.command)?;
        let mut subscription = Subscription::new(&self.daemon, &filters, queue)?;
        eprintln!("running {} for {}", self.command.join(" "), filters[0]);
        let count = self.count.unwrap_or(u64::MAX);
        let plan = Plan { jobs: self.jobs, count, answers: false };
        let tally = crew::run(&mut subscription, &plan, |work| self.work_on(work))?;
        tally.or_failure("events failed")
    }

    fn work_on(&self, work: &Work) -> Result<Verdict, Failure> {
        let limit = (self.timeout > 0).then(|| Duration::from_millis(self.timeout));
        let ended = command::run_held(&self.command, work, Stdout::Ours, limit)?;
        let Some(status) = ended.map(|output| output.status) else { return Ok(Verdict::Untried) };
        let (why, pause) = match status.code() {
            Some(0) => return Ok(Verdict::Done),
            Some(TEMPORARY) => ("exit code 75".into(), Some(Duration::from_millis(self.retry_after))),
            _ => (status.to_string(), None),
        };
        let subject = crate::output::visible(&work.message.subject);
        let then = match (&self.consumer, pause) {
            (None, _) => "it does not come again".to_owned(),
            (Some(_), None) => "it comes again after the consumer's pause".to_owned(),
            (Some(_), Some(_)) => format!("it comes again after {}", span::exact(self.retry_after)),
        };
        eprintln!("rowcall: {subject}: {why}; {then}");
        Ok(Verdict::Again(pause))
    }
}
