//! `rowcall drain`: waits until nothing waits any more, before a server is upgraded or taken over, say.

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{self, events};
use crate::progress::Progress;
use crate::server::{HEADING, ServerArgs};
use crate::span;
use crate::tables::{Tables, hex};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(200);

const AFTER_HELP: &str = "\
Examples:
  rowcall drain
  rowcall drain --consumer mail --timeout 5m

Nothing waits when the outbox is empty and every consumer has settled what it
had. Nobody is kept from publishing more meanwhile: stop the writers first.
Parked events count as settled. Exit code 4: something still waited when the
time was over. The account needs SELECT on rowcall.*";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Drain {
    /// Wait for this consumer's events only, and for the outbox
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    /// How long to wait; without it, for ever
    #[arg(long, value_name = "TIME", value_parser = span::parse)]
    timeout: Option<u64>,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

impl Drain {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let sql = self.sql(&mut tables)?;
        let until = self.timeout.map(|time| Instant::now() + Duration::from_millis(time));
        let interrupt = Interrupt::new()?;
        let mut most = 0;
        let mut progress = None;
        let waiting = loop {
            let waiting = tables.number(&sql)?.unwrap_or_default();
            // More may come while it is waited: then the bar begins anew.
            if waiting > most || progress.is_none() {
                most = waiting;
                progress = Some(Progress::new(most));
            }
            if let Some(progress) = &progress {
                progress.at(most - waiting, "events");
            }
            let is_late = until.is_some_and(|until| until <= Instant::now());
            if waiting == 0 || is_late {
                break waiting;
            }
            if interrupt.pause(INTERVAL)? {
                return Err(Failure::other(format!("interrupted; {} waiting", events(waiting))));
            }
        };
        drop(progress);
        if waiting > 0 {
            return Err(Failure::timeout(format!("not drained: {} still waiting", events(waiting))));
        }
        output::line(&if json { json!({ "waiting": 0 }).to_string() } else { "Nothing waits.".to_owned() })
    }

    /// How many events wait. One statement, so that none is on its way from one table to the other unseen.
    fn sql(&self, tables: &mut Tables) -> Result<String, Failure> {
        let of = match &self.consumer {
            None => String::new(),
            Some(name) => {
                let id =
                    tables.number(&format!("SELECT id FROM rowcall.consumers WHERE name = {}", hex(name)))?;
                let id = id.ok_or_else(|| Failure::other(format!("there is no consumer {name}")))?;
                format!(" WHERE consumer = {id}")
            }
        };
        Ok(format!(
            "SELECT (SELECT COUNT(*) FROM rowcall.outbox) + (SELECT COUNT(*) FROM rowcall.pending{of})"
        ))
    }
}
