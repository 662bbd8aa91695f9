//! `rowcall reply`: a worker. Each request runs a command with the payload on its stdin; what it
//! writes to stdout is the reply. A command that fails is answered with an error, so that the
//! requester need not wait.

use crate::address::DaemonArgs;
use crate::client::{Client, Next, Received};
use crate::failure::Failure;
use crate::output;
use clap::Args;
use jiff::Zoned;
use rowcall_wire::{Message, headers, subject};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// How long to wait before another attempt when the daemon has gone.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Reply {
    /// The requests to answer; may hold wildcards
    subject: String,

    /// The queue group: each request goes to one of its members
    #[arg(long, short, default_value = "rowcall-reply")]
    queue: String,

    /// How many requests to work on at a time
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,

    #[command(flatten)]
    daemon: DaemonArgs,

    /// The command, and its arguments; ROWCALL_SUBJECT in its environment is the request's subject
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Reply {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        if !subject::valid_filter(self.subject.as_bytes()) {
            return Err(Failure::usage(format!("\"{}\" cannot be subscribed to", self.subject)));
        }
        // Every job is a member of the queue group with a connection of its own: the daemon
        // spreads the requests. All connect before any works, so that a mistake is told at once.
        let clients = (0..self.jobs).map(|_| self.connect()).collect::<Result<Vec<_>, _>>()?;
        eprintln!("answering {} with {}", self.subject, self.command.join(" "));
        thread::scope(|scope| {
            let jobs: Vec<_> =
                clients.into_iter().map(|client| scope.spawn(|| self.work(client, json))).collect();
            jobs.into_iter()
                .try_for_each(|job| job.join().unwrap_or_else(|_| Err(Failure::other("a job panicked"))))
        })
    }

    fn connect(&self) -> Result<Client, Failure> {
        let mut client = Client::connect(&self.daemon)?;
        client.subscribe(&self.subject, Some(&self.queue), 1)?;
        // A request that comes before the PONG would be thrown away here; its requester waits in
        // vain, as it would have a moment earlier. So none is: they are few, and answered first.
        for request in client.flush()? {
            self.answer(&mut client, &request, false)?;
        }
        Ok(client)
    }

    fn work(&self, mut client: Client, json: bool) -> Result<(), Failure> {
        loop {
            match self.serve(&mut client, json) {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is_daemon() => eprintln!("rowcall: {failure}; trying again"),
                Err(failure) => return Err(failure),
            }
            drop(client);
            client = loop {
                if Client::pause(AGAIN)? {
                    return Ok(());
                }
                match self.connect() {
                    Err(failure) if failure.is_daemon() => {}
                    result => break result?,
                }
            };
        }
    }

    fn serve(&self, client: &mut Client, json: bool) -> Result<(), Failure> {
        loop {
            match client.next(None)? {
                Next::Message(request) => self.answer(client, &request, json)?,
                Next::Interrupted => return Ok(()),
                Next::Late => {}
            }
        }
    }

    fn answer(&self, client: &mut Client, request: &Received, json: bool) -> Result<(), Failure> {
        let now = Zoned::now();
        let line = if json { output::for_programs(request, &now) } else { output::for_people(request, &now) };
        output::line(&line).map_err(|error| Failure::other(format!("cannot write to stdout: {error}")))?;
        let result = self.execute(request);
        // A message that is no request is worked on all the same; nobody waits for the answer.
        let Some(reply) = &request.reply else { return Ok(()) };
        let (body, header_len) = match result {
            Ok(output) if output.status.success() => (output.stdout, 0),
            Ok(output) => {
                error_reply(output.status.code().unwrap_or(-1), &output.status.to_string(), output.stdout)
            }
            Err(error) => error_reply(-1, &format!("cannot run {}: {error}", self.command[0]), Vec::new()),
        };
        match client.publish(&Message { subject: reply, reply: None, body: &body, header_len }) {
            // The daemon takes no such reply: say so instead, or the requester waits in vain.
            Err(failure) if !failure.is_daemon() => {
                let (body, header_len) = error_reply(-1, &failure.to_string(), Vec::new());
                client.publish(&Message { subject: reply, reply: None, body: &body, header_len })
            }
            result => result,
        }
    }

    fn execute(&self, request: &Received) -> std::io::Result<Output> {
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .env("ROWCALL_SUBJECT", String::from_utf8_lossy(&request.subject).as_ref())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
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
