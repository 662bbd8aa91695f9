//! `rowcall reply`: a worker. Each request runs a command with the payload on its stdin; what it
//! writes to stdout is the reply. A command that fails is answered with an error, so that the
//! requester need not wait. What is answered to events of durable consumers stands in settle.rs.

use crate::address::DaemonArgs;
use crate::client::{Publisher, Received};
use crate::failure::Failure;
use crate::output::{self, Color, Style};
use crate::settle::{self, Unsettled};
use crate::subscription::Subscription;
use clap::Args;
use rowcall_wire::{Message, headers};
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Requests that may wait for a free job; more wait in the connection. Whoever asked them will have
/// given up long before.
const WAITING_MAX: usize = 256;

const AFTER_HELP: &str = "\
Example:
  rowcall reply shop.approve -- ./approve.sh

The command gets the payload on stdin and the request's subject in ROWCALL_SUBJECT; what it writes
to stdout is the reply, without anything added or taken away. If it ends with another exit code than
0, whoever asked is told that the worker failed: rowcall_request() returns NULL then, and
rowcall_last_error() says 'failed'.

As a worker of a durable consumer (rowcall consumer add):
  rowcall reply rowcall.consumer.mail -- ./send-mail.sh

Then nobody waits for a reply: an event is acknowledged when the command ends with exit code 0, and
delivered again, after a pause, when it does not. What the command writes to stdout is shown (with
--json, on stderr). It may run for as long as it likes: every 10 s the daemon is told that the event
is being worked on or is next, so --ack-wait of the consumer must be longer than 10 s.";

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

    #[command(flatten)]
    daemon: DaemonArgs,

    /// Command to run for each request, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A request, and where its answer goes.
struct Work {
    request: Received,
    publisher: Publisher,
}

impl Reply {
    /// One thread reads requests, the others work on them: so whichever job is free takes the next,
    /// and the daemon's questions whether we are there are answered while commands run.
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let filters = [self.subject.clone()];
        let mut subscription = Subscription::new(&self.daemon, &filters, Some(&self.queue))?;
        eprintln!("answering {} with {}", self.subject, self.command.join(" "));
        let (queue, work) = mpsc::sync_channel(WAITING_MAX);
        let work = Mutex::new(work);
        let leaving = AtomicBool::new(false);
        let unsettled = Unsettled::default();
        thread::scope(|scope| {
            let jobs = (0..self.jobs).map(|_| scope.spawn(|| self.work(&work, &leaving, &unsettled, json)));
            let jobs: Vec<_> = jobs.collect();
            scope.spawn(|| unsettled.keep_waiting());
            let result = take_in(&mut subscription, &queue, &unsettled, json);
            // What has begun is finished; what has not, another worker may still be asked. The jobs
            // may all be busy, so that is given back from here as well.
            leaving.store(true, Relaxed);
            drop(queue);
            self.work(&work, &leaving, &unsettled, json);
            jobs.into_iter().for_each(|job| drop(job.join()));
            unsettled.end();
            result
        })
    }

    /// One job: whatever comes next, until we leave.
    fn work(&self, work: &Mutex<Receiver<Work>>, leaving: &AtomicBool, unsettled: &Unsettled, json: bool) {
        loop {
            let next = work.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Work { request, publisher }) = next else { return };
            let event = settle::is_event(&request);
            let done = match leaving.load(Relaxed) {
                true if event => unsettled.settle(&request, &publisher, false),
                true => Ok(()),
                false if event => unsettled.settle(&request, &publisher, self.process(&request, json)),
                false => self.answer(&request, &publisher),
            };
            if let Err(failure) = done {
                eprintln!("rowcall: {failure}; a reply was lost");
            }
        }
    }

    /// Works on an event of a durable consumer; says whether it is done.
    fn process(&self, event: &Received, json: bool) -> bool {
        // Nobody receives what the command writes; with --json, stdout is for objects only.
        let stdout = if json { io::stderr().into() } else { Stdio::inherit() };
        let why = match self.execute(event, stdout) {
            Ok(output) if output.status.success() => return true,
            Ok(output) => output.status.to_string(),
            Err(error) => format!("cannot run {}: {error}", self.command[0]),
        };
        eprintln!("rowcall: {why}; the event will be delivered again");
        false
    }

    fn answer(&self, request: &Received, publisher: &Publisher) -> Result<(), Failure> {
        let result = self.execute(request, Stdio::piped());
        // A message that is no request is worked on all the same; nobody waits for the answer.
        let Some(reply) = &request.reply else { return Ok(()) };
        let (body, header_len) = match result {
            Ok(output) if output.status.success() => (output.stdout, 0),
            Ok(output) => {
                error_reply(output.status.code().unwrap_or(-1), &output.status.to_string(), output.stdout)
            }
            Err(error) => error_reply(-1, &format!("cannot run {}: {error}", self.command[0]), Vec::new()),
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

    fn execute(&self, request: &Received, stdout: Stdio) -> io::Result<Output> {
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .env("ROWCALL_SUBJECT", String::from_utf8_lossy(&request.subject).as_ref())
            .stdin(Stdio::piped())
            .stdout(stdout)
            .spawn()?;
        let stdin = child.stdin.take();
        thread::scope(|scope| {
            // A thread of its own: the command may write before it has read everything, or not
            // read at all, which is no error.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(&request.payload)));
            child.wait_with_output()
        })
    }
}

/// Shows each request that comes and puts it on the list, until Ctrl-C.
fn take_in(
    subscription: &mut Subscription<'_>,
    queue: &SyncSender<Work>,
    unsettled: &Unsettled,
    json: bool,
) -> Result<(), Failure> {
    while let Some(request) = subscription.next()? {
        unsettled.add(&request, subscription.publisher());
        output::message(&request, Style::new(json, Color::Auto))?;
        // It fails only if every job has panicked.
        let work = Work { request, publisher: subscription.publisher().clone() };
        queue.send(work).map_err(|_| Failure::other("no job is left"))?;
    }
    Ok(())
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
