//! `rowcall reply`: a worker. Each request runs a command with the payload on its stdin; what it
//! writes to stdout is the reply. A command that fails is answered with an error, so that the
//! requester need not wait. How it is run stands in command.rs, how several work at a time in crew.rs.

use crate::address::{DAEMON, DaemonArgs};
use crate::client::{Publisher, Received};
use crate::command::{self, Stdout};
use crate::crew::{self, Plan, Work};
use crate::failure::Failure;
use crate::output::{self, Color, Style};
use crate::settle::Verdict;
use crate::subscription::{self, Subscription};
use clap::Args;
use jiff::Zoned;
use rowcall_wire::{Message, headers};

const AFTER_HELP: &str = "\
Example:
  rowcall reply shop.approve -- ./approve.sh

The command gets the payload on stdin and the request's subject in
ROWCALL_SUBJECT; what it writes to stdout is the reply, without anything added
or taken away. If it ends with another exit code than 0, whoever asked is told
that the worker failed: rowcall_request() returns NULL then, and
rowcall_last_error() says 'failed'.

As a worker of a durable consumer (rowcall consumer add):
  rowcall reply rowcall.consumer.mail -- ./send-mail.sh

Then nobody waits for a reply: an event is acknowledged when the command ends
with exit code 0, and delivered again, after a pause, when it does not. What
the command writes to stdout is shown (with --json, on stderr). It may run for
as long as it likes: the daemon is told at each third of the consumer's
--ack-wait that the event is being worked on or is next. While the command
cannot be run, events are held, and none counts as delivered.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Reply {
    /// Subject to answer; may hold the wildcards * and >, then quote it
    subject: String,

    /// Queue group to be one of: each request goes to only one of those who give the same name
    #[arg(long, short, value_name = "NAME", default_value = "rowcall-reply")]
    queue: String,

    /// How many requests to work on at a time
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,

    /// Command to run for each request, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Reply {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let filters = [self.subject.clone()];
        // Whoever asks is told that the command cannot be run. Events nobody asks for, and they are left alone.
        if subscription::is_consumer(&self.subject) {
            command::check(&self.command)?;
        }
        let mut subscription = Subscription::new(&self.daemon, &filters, Some(&self.queue))?;
        eprintln!("answering {} with {}", self.subject, self.command.join(" "));
        let style = Style::new(json, Color::Auto);
        let plan = Plan { jobs: self.jobs, count: u64::MAX, answers: true };
        let tally = crew::run(&mut subscription, &plan, |work| {
            output::message(&work.message, style, &Zoned::now())?;
            if work.is_event {
                return self.process(work, json);
            }
            if let Err(failure) = self.answer(&work.message, &work.publisher) {
                eprintln!("rowcall: {failure}; a reply was lost");
            }
            Ok(Verdict::Done)
        });
        // Whoever asked was told of each failure.
        tally.map(drop)
    }

    /// Works on an event of a durable consumer.
    fn process(&self, work: &Work, json: bool) -> Result<Verdict, Failure> {
        // Nobody receives what the command writes; with --json, stdout is for objects only.
        let stdout = if json { Stdout::Stderr } else { Stdout::Ours };
        let status = match command::run_held(&self.command, work, stdout, None)? {
            None => return Ok(Verdict::Untried),
            Some(output) if output.status.success() => return Ok(Verdict::Done),
            Some(output) => output.status,
        };
        eprintln!("rowcall: {status}; the event will be delivered again");
        Ok(Verdict::Again(None))
    }

    fn answer(&self, request: &Received, publisher: &Publisher) -> Result<(), Failure> {
        let result = command::run(&self.command, request, Stdout::Kept, None);
        // A message that is no request is worked on all the same; nobody waits for the answer.
        let Some(reply) = &request.reply else { return Ok(()) };
        let (body, header_len) = match result {
            Ok(output) if output.status.success() => (output.stdout, 0),
            Ok(output) => {
                error_reply(output.status.code().unwrap_or(-1), &output.status.to_string(), output.stdout)
            }
            Err(error) => error_reply(-1, &command::cannot_run(&self.command, &error), Vec::new()),
        };
        match publisher.publish(&Message { subject: reply, reply: None, body: &body, header_len }) {
            // The daemon takes no such reply: say so instead, or the requester waits in vain.
            Err(failure) if !failure.is_daemon() => {
                let (body, header_len) = error_reply(-1, &failure.to_string(), Vec::new());
                publisher.publish(&Message { subject: reply, reply: None, body: &body, header_len })
            }
            result => result,
        }
    }
}

/// The body of an answer that says that the work was not done, and the length of its headers.
fn error_reply(code: i32, text: &str, output: Vec<u8>) -> (Vec<u8>, usize) {
    let text = text.replace(['\r', '\n', '\0'], " ");
    let code = code.to_string();
    let mut body = Vec::new();
    let pairs = [(headers::SERVICE_ERROR, text.as_str()), (headers::SERVICE_ERROR_CODE, code.as_str())];
    let header_len =
        headers::block(&mut body, pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    body.extend_from_slice(&output);
    (body, header_len)
}
