//! `rowcall consumer add`: what a consumer may look like, and when it counts as made.

use super::{COLUMNS, FROM};
use crate::failure::Failure;
use crate::output;
use crate::server::{HEADING, ServerArgs};
use crate::span;
use crate::tables::{Tables, hex};
use clap::Args;
use rowcall_wire::subject;
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

/// How long a daemon that reads may take to see a new consumer; it looks every second.
const TAKE_UP: Duration = Duration::from_secs(5);

/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// What `max_age_s` and `max_rows` can hold at most; `ack_wait_ms` likewise.
const U32: u64 = u32::MAX as u64;

const ADD_HELP: &str = "\
Examples:
  rowcall consumer add mail 'shop.orders.>'
  rowcall consumer add ledger shop.paid --ack-wait 2m --max-deliveries 0
  rowcall reply rowcall.consumer.mail -- ./send-mail.sh

Times are written 500ms, 30s, 2m, 1h, 7d. What is dropped for its age or number
is counted: dropped in `rowcall status`.";

#[derive(Args)]
#[command(after_help = ADD_HELP)]
pub(super) struct Add {
    /// Name: letters, digits, - and _, at most 64
    #[arg(value_parser = name)]
    name: String,

    /// Subjects of the events; may hold the wildcards * and >, then quote it
    #[arg(value_parser = filter)]
    filter: String,

    /// A delivery without an answer for so long has failed
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = ack_wait)]
    ack_wait: u64,

    /// After so many failed deliveries the event is parked (rowcall parked); 0 is never
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_deliveries: u32,

    /// Pauses after the first, second, … failed delivery; the last one holds for all further ones
    #[arg(long, value_name = "TIME,…", default_value = "1s,5s,30s,2m", value_parser = backoff)]
    backoff: String,

    /// So many events may be delivered and not settled at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_unacked: u32,

    /// Drop events that are older; 0 is no limit
    #[arg(long, value_name = "TIME", default_value = "0", hide_default_value = true, value_parser = max_age)]
    max_age: u64,

    /// Drop the oldest events beyond so many; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max_rows: u64,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

impl Add {
    pub(super) fn run(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        self.refuse_a_taken_name(&mut tables)?;
        tables.run(&format!(
            "INSERT INTO rowcall.consumers (name, filter, ack_wait_ms, max_deliveries, backoff_ms, max_unacked, \
             max_age_s, max_rows) VALUES ({}, {}, {}, {}, {}, {}, {}, {})",
            hex(&self.name),
            hex(&self.filter),
            self.ack_wait,
            self.max_deliveries,
            hex(&self.backoff),
            self.max_unacked,
            self.max_age,
            self.max_rows,
        ))?;
        let taken_up = self.await_daemon(&mut tables)?;
        let Add { name, filter, .. } = self;
        if json {
            let subject = format!("rowcall.consumer.{name}");
            let object = json!({ "name": name, "filter": filter, "subject": subject, "taken_up": taken_up });
            return output::line(&object.to_string());
        }
        output::line(&format!("consumer {name} added for {filter}"))?;
        output::line(if taken_up {
            "The daemon has taken it up: events committed from now on wait for it."
        } else {
            "No daemon reads at the moment; one will take it up when it runs.\nNothing that is committed from now on is missed."
        })?;
        output::line(&format!(
            "Its workers subscribe to rowcall.consumer.{name}, for example:\n  rowcall exec --consumer {name} -- COMMAND"
        ))
    }

    /// Names that differ in case only would be one name among the parked events.
    fn refuse_a_taken_name(&self, tables: &mut Tables) -> Result<(), Failure> {
        let lower = hex(&self.name.to_ascii_lowercase());
        let there = tables.records(&COLUMNS, &format!("{FROM} WHERE LOWER(c.name) = {lower}"))?;
        let Some(there) = there.first() else { return Ok(()) };
        let (name, filter) = (there.text("name"), there.text("filter"));
        let alike = if name == self.name { "" } else { ", and names must differ in more than case" };
        Err(Failure::other(format!(
            "there is a consumer {name} already, for {filter}{alike}\n  `rowcall consumer show {name}` shows it, \
             `rowcall consumer rm {name}` removes it."
        )))
    }

    /// Waits until the daemon has seen the consumer, if there is one; says whether it has.
    fn await_daemon(&self, tables: &mut Tables) -> Result<bool, Failure> {
        let until = Instant::now() + TAKE_UP;
        let taken_up = format!(
            "SELECT COUNT(*) FROM rowcall.consumers WHERE name = {} AND taken_up_at IS NOT NULL",
            hex(&self.name)
        );
        loop {
            if tables.number(&taken_up)? == Some(1) {
                return Ok(true);
            }
            if !tables.is_read()? {
                return Ok(false);
            }
            if Instant::now() >= until {
                return Err(Failure::other(format!(
                    "consumer {0} is added, but the daemon that reads did not take it up within {1:?}, so events \
                     may pass it by: see the daemon's log, and `rowcall consumer show {0}`",
                    self.name, TAKE_UP
                )));
            }
            thread::sleep(LOOK);
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(fine) {
        return Ok(text.to_owned());
    }
    Err("a name is 1 to 64 letters, digits, - and _".to_owned())
}

fn filter(text: &str) -> Result<String, String> {
    if text.len() <= 1000 && subject::valid_filter(text.as_bytes()) {
        return Ok(text.to_owned());
    }
    Err("a filter is tokens with dots between them and without blanks, at most 1000 bytes; a token may be `*`, the \
         last one `>`"
        .to_owned())
}

fn ack_wait(text: &str) -> Result<u64, String> {
    match span::parse(text)? {
        millis @ 1..=U32 => Ok(millis),
        _ => Err("expected 1ms to 49d".to_owned()),
    }
}

/// As the table has it: milliseconds with commas between them.
fn backoff(text: &str) -> Result<String, String> {
    let pauses: Vec<u64> =
        text.split(',').map(|pause| span::parse(pause.trim())).collect::<Result<_, _>>()?;
    let written = pauses.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    if written.len() > 200 || pauses.iter().any(|&pause| pause > U32) {
        return Err("expected at most 20 pauses of at most 49d".to_owned());
    }
    Ok(written)
}

/// In seconds; a part of one is a whole one, since 0 is no limit.
fn max_age(text: &str) -> Result<u64, String> {
    let seconds = span::parse(text)?.div_ceil(1000);
    if seconds <= U32 { Ok(seconds) } else { Err("expected at most 49710d".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for fine in ["a", "mail-2", "A_b", &"x".repeat(64)] {
            assert!(name(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "a.b", "a b", "größe", "a'", "*", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn filters_are_those_of_subscriptions() {
        assert!(filter("shop.*.>").is_ok());
        for wrong in ["", "a..b", "a.>.b", "a b", &"x".repeat(1001)] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_fit_into_their_columns() {
        assert_eq!((ack_wait("30s"), ack_wait("49d")), (Ok(30_000), Ok(4_233_600_000)));
        assert!(ack_wait("0").is_err() && ack_wait("50d").is_err());
        assert_eq!(backoff("1s,5s, 30s,2m").as_deref(), Ok("1000,5000,30000,120000"));
        for wrong in ["", "1s,", "1s;2s", "50d", &"1d,".repeat(30)] {
            assert!(backoff(wrong).is_err(), "{wrong}");
        }
        assert_eq!((max_age("7d"), max_age("1ms"), max_age("0")), (Ok(604_800), Ok(1), Ok(0)));
        assert!(max_age("50000d").is_err());
    }
}
