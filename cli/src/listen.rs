//! `rowcall listen`: shows messages as they come. A daemon that goes away is waited for.

use crate::address::DaemonArgs;
use crate::client::{Client, Next, Received};
use crate::failure::Failure;
use crate::output;
use clap::Args;
use jiff::Zoned;
use rowcall_wire::subject;
use std::time::Duration;

/// How long to wait before another attempt when the daemon has gone.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Listen {
    /// What to listen to; `*` stands for one token, `>` for all the rest: 'shop.orders.>'
    #[arg(required = true, value_name = "SUBJECT")]
    subjects: Vec<String>,

    /// Share the messages with all listeners of this queue group: each goes to one of them
    #[arg(long, short)]
    queue: Option<String>,

    /// Leave after so many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    #[command(flatten)]
    daemon: DaemonArgs,
}

/// Why listening to one connection ended.
enum End {
    /// Ctrl-C, or all that was asked for has come.
    Done,
    /// The daemon has gone.
    Lost(Failure),
}

impl Listen {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        for filter in &self.subjects {
            if !subject::valid_filter(filter.as_bytes()) {
                return Err(Failure::usage(format!("\"{filter}\" cannot be subscribed to")));
            }
        }
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut client = Client::connect(&self.daemon)?;
        loop {
            match self.hear(&mut client, &mut left, json)? {
                End::Done => return Ok(()),
                End::Lost(failure) => eprintln!("rowcall: {failure}; trying again"),
            }
            drop(client);
            client = match self.reconnect()? {
                Some(client) => client,
                None => return Ok(()),
            };
        }
    }

    fn hear(&self, client: &mut Client, left: &mut u64, json: bool) -> Result<End, Failure> {
        let early = match self.subscribe(client) {
            Ok(early) => early,
            Err(failure) if failure.is_daemon() => return Ok(End::Lost(failure)),
            Err(failure) => return Err(failure),
        };
        eprintln!("listening to {}", self.subjects.join(", "));
        for message in early {
            if show(&message, left, json)? {
                return Ok(End::Done);
            }
        }
        loop {
            match client.next(None) {
                Ok(Next::Message(message)) => {
                    if show(&message, left, json)? {
                        return Ok(End::Done);
                    }
                }
                Ok(Next::Interrupted) => return Ok(End::Done),
                Ok(Next::Late) => {}
                Err(failure) if failure.is_daemon() => return Ok(End::Lost(failure)),
                Err(failure) => return Err(failure),
            }
        }
    }

    fn subscribe(&self, client: &mut Client) -> Result<Vec<Received>, Failure> {
        for (sid, filter) in (1..).zip(&self.subjects) {
            client.subscribe(filter, self.queue.as_deref(), sid)?;
        }
        client.flush()
    }

    /// Tries until it works, or until Ctrl-C.
    fn reconnect(&self) -> Result<Option<Client>, Failure> {
        loop {
            if Client::pause(AGAIN)? {
                return Ok(None);
            }
            match Client::connect(&self.daemon) {
                Err(failure) if failure.is_daemon() => {}
                result => return result.map(Some),
            }
        }
    }
}

/// Shows one message, and says whether it was the last that was asked for.
fn show(message: &Received, left: &mut u64, json: bool) -> Result<bool, Failure> {
    if *left > 0 {
        let now = Zoned::now();
        let line = if json { output::for_programs(message, &now) } else { output::for_people(message, &now) };
        output::line(&line).map_err(|error| Failure::other(format!("cannot write to stdout: {error}")))?;
        *left -= 1;
    }
    Ok(*left == 0)
}
