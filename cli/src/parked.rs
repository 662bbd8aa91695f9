//! `rowcall parked`: events that were given up, in the table rowcall.parked. Sending them again is
//! asked for here and done by the daemon.

use crate::failure::Failure;
use crate::output;
use crate::server::{HEADING, ServerArgs};
use crate::tables::{Column, Kind, Record, Tables, hex};
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::{self, Display, Formatter};
use std::num::ParseIntError;
use std::str::FromStr;

const GROUP_HELP: &str = "\
Example:
  rowcall parked list

An event is parked when it can never be published, or when no worker of a
consumer took it in the deliveries that it has. What the outbox itself has
parked is of the consumer '' (--consumer ''). An event keeps its id: if several
consumers have given it up, it is parked once for each of them. Where an id has
come again (TRUNCATE, a restored dump), ID means all of them and ID.STAMP one
(its `stamp` in --json: created_at in microseconds since 1970).

The account needs SELECT, INSERT, UPDATE and DELETE on rowcall.*";

#[derive(Args)]
#[command(after_help = GROUP_HELP)]
pub(crate) struct Parked {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show which events are parked, and why
    #[command(after_help = "Examples:\n  rowcall parked list\n  rowcall parked list --consumer mail")]
    List(List),
    /// Show everything about an event: payload, headers, reason, history
    #[command(after_help = "Example:\n  rowcall parked show 7")]
    Show(Show),
    /// Send events again: to the consumer that gave them up, or from the outbox
    #[command(
        after_help = "Examples:\n  rowcall parked retry 7\n  rowcall parked retry --all --consumer mail"
    )]
    Retry(Several),
    /// Delete events for good
    #[command(after_help = "Examples:\n  rowcall parked drop 7\n  rowcall parked drop --all --yes")]
    Drop(Dropped),
}

#[derive(Args)]
struct List {
    /// Only what this consumer has given up
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    /// How many to show, the oldest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

#[derive(Args)]
struct Show {
    /// Id of the event, or ID.STAMP
    id: Id,

    /// Only as this consumer has given it up
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

#[derive(Args)]
struct Several {
    /// Ids of the events, or ID.STAMP
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<Id>,

    /// All of them
    #[arg(long)]
    all: bool,

    /// Only what this consumer has given up
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

#[derive(Args)]
struct Dropped {
    /// Together with --all: yes, really
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    several: Several,
}

/// An id, and perhaps the time that tells which of those that have it is meant.
#[derive(Clone, Copy, Debug)]
struct Id {
    id: u64,
    stamp: Option<u64>,
}

impl FromStr for Id {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Id, ParseIntError> {
        let (id, stamp) = text.split_once('.').map_or((text, None), |(id, stamp)| (id, Some(stamp)));
        Ok(Id { id: id.parse()?, stamp: stamp.map(str::parse).transpose()? })
    }
}

impl Display for Id {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        self.stamp.map_or(Ok(()), |stamp| write!(f, ".{stamp}"))
    }
}

/// When an event was written, in microseconds since 1970.
const STAMP: &str = "CAST(UNIX_TIMESTAMP(created_at) * 1000000 AS UNSIGNED)";

/// What there is of an event; a list shows the first of it.
static COLUMNS: [Column; 10] = [
    Column::new("id", Kind::Number, "id"),
    Column::new("consumer", Kind::Text, "consumer"),
    Column::new("subject", Kind::Text, "subject"),
    Column::new("reason", Kind::Text, "reason"),
    Column::new("parked_at", Kind::Time, "parked_at"),
    Column::new("created_at", Kind::Time, "created_at"),
    Column::new("stamp", Kind::Number, STAMP),
    Column::new("history", Kind::Text, "history"),
    Column::new("headers", Kind::Text, "headers"),
    Column::new("payload", Kind::Bytes, "payload"),
];

/// How many of them a list shows.
const LISTED: usize = 7;

/// Rows of a consumer that is not there any more: nobody could take them.
const ORPHANED: &str =
    "consumer <> '' AND NOT EXISTS (SELECT 1 FROM rowcall.consumers AS c WHERE c.name = consumer)";

impl Parked {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        match self.command {
            Command::List(list) => list.run(json),
            Command::Show(show) => show.run(json),
            Command::Retry(several) => several.retry(json),
            Command::Drop(dropped) => dropped.run(json),
        }
    }
}

impl List {
    fn run(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let chosen = chosen(&[], self.consumer.as_deref());
        let limit = u64::from(self.limit);
        let mut events = tables.records(
            &COLUMNS[..LISTED],
            &format!(
                "FROM rowcall.parked WHERE {chosen} ORDER BY id, consumer, created_at LIMIT {}",
                limit + 1
            ),
        )?;
        let more = events.len() as u64 > limit;
        events.truncate(self.limit as usize);
        if json {
            events.iter().try_for_each(|event| output::object(event.json()))?;
        } else if events.is_empty() && !more {
            output::line("Nothing is parked.")?;
        } else {
            let line = |event: &Record| {
                let subject = output::shortened(&event.text("subject"));
                [event.text("id"), owner(event), subject, event.text("reason"), event.time("parked_at")]
                    .into()
            };
            output::table(&["id", "consumer", "subject", "reason", "parked at"], events.iter().map(line))?;
        }
        if more {
            let all = tables.number(&format!("SELECT COUNT(*) FROM rowcall.parked WHERE {chosen}"))?;
            // Not to stdout, where programs expect events only.
            eprintln!("{} of {}; --limit shows more", events.len(), all.unwrap_or_default());
        }
        Ok(())
    }
}

impl Show {
    fn run(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let chosen = chosen(&[self.id], self.consumer.as_deref());
        let from = format!("FROM rowcall.parked WHERE {chosen} ORDER BY consumer, created_at");
        let events = tables.records(&COLUMNS, &from)?;
        if events.is_empty() {
            return Err(Failure::other(format!("no event {} is parked{}", self.id, whose(&self.consumer))));
        }
        for (at, event) in events.iter().enumerate() {
            if json {
                output::object(event.json())?;
                continue;
            }
            if at > 0 {
                output::line("")?;
            }
            show(event)?;
        }
        Ok(())
    }
}

impl Several {
    fn chosen(&self) -> String {
        chosen(&self.ids, self.consumer.as_deref())
    }

    fn count(&self, tables: &mut Tables, and: &str) -> Result<u64, Failure> {
        let chosen = self.chosen();
        let sql = format!("SELECT COUNT(*) FROM rowcall.parked WHERE {chosen} AND {and}");
        Ok(tables.number(&sql)?.unwrap_or_default())
    }

    /// Ids that mean nothing are a mistake; that there is nothing at all is none.
    fn refuse_nothing(&self, found: u64) -> Result<(), Failure> {
        if found > 0 || self.all {
            return Ok(());
        }
        let which = if self.ids.len() == 1 { "that event is not" } else { "none of these events is" };
        Err(Failure::other(format!("{which} parked{}", whose(&self.consumer))))
    }

    fn retry(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let stay = self.count(&mut tables, ORPHANED)?;
        let chosen = self.chosen();
        let going = self.count(&mut tables, &format!("NOT ({ORPHANED})"))?;
        self.refuse_nothing(going + stay)?;
        tables.run(&format!(
            "INSERT IGNORE INTO rowcall.retries (id, consumer, stamp) SELECT id, consumer, {STAMP} FROM rowcall.parked \
             WHERE {chosen} AND NOT ({ORPHANED})"
        ))?;
        let is_read = tables.is_read()?;
        if json {
            output::line(&json!({ "retried": going, "left": stay, "daemon": is_read }).to_string())?;
        } else {
            let when = if is_read { "" } else { ", as soon as a daemon reads" };
            output::line(&format!("{} will be sent again{when}", output::events(going)))?;
        }
        if stay == 0 {
            return Ok(());
        }
        Err(Failure::other(format!(
            "{} left as before: the consumer is not there any more (rowcall consumer list)",
            output::events(stay)
        )))
    }

    fn drop(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let dropped = tables.run(&format!("DELETE FROM rowcall.parked WHERE {}", self.chosen()))?;
        self.refuse_nothing(dropped)?;
        if json {
            return output::line(&json!({ "dropped": dropped }).to_string());
        }
        output::line(&format!("{} dropped", output::events(dropped)))
    }
}

impl Dropped {
    fn run(&self, json: bool) -> Result<(), Failure> {
        if !self.several.all || self.yes {
            return self.several.drop(json);
        }
        let mut tables = Tables::open(&self.several.server)?;
        let found = self.several.count(&mut tables, "TRUE")?;
        Err(Failure::other(format!(
            "nothing is dropped: with --all it would be {}; say --yes if that is meant",
            output::events(found)
        )))
    }
}

/// The condition for these ids, or for all of them.
fn chosen(ids: &[Id], consumer: Option<&str>) -> String {
    let mut condition = "TRUE".to_owned();
    if !ids.is_empty() {
        let one = |Id { id, stamp }: &Id| {
            stamp.map_or(format!("id = {id}"), |stamp| format!("id = {id} AND {STAMP} = {stamp}"))
        };
        let ids: Vec<String> = ids.iter().map(one).collect();
        condition += &format!(" AND ({})", ids.join(" OR "));
    }
    if let Some(consumer) = consumer {
        condition += &format!(" AND {}", is_of(consumer));
    }
    condition
}

/// The condition for what a consumer has given up. The column itself does not tell upper case from
/// lower case, names do.
pub(crate) fn is_of(consumer: &str) -> String {
    format!("CAST(consumer AS BINARY) = {}", hex(consumer))
}

/// Whose events were asked for, behind a sentence that found none.
fn whose(consumer: &Option<String>) -> String {
    match consumer.as_deref() {
        None => String::new(),
        Some("") => " by the outbox".to_owned(),
        Some(name) => format!(" for the consumer {name}"),
    }
}

fn owner(event: &Record) -> String {
    Some(event.text("consumer")).filter(|name| !name.is_empty()).unwrap_or_else(|| "(outbox)".to_owned())
}

fn show(event: &Record) -> Result<(), Failure> {
    let or_null = |name| match event.text(name) {
        _ if !event.has(name) => "(NULL)".to_owned(),
        text if text.is_empty() => "(empty)".to_owned(),
        text => text,
    };
    let mut lines = vec![
        ("id", event.text("id")),
        ("consumer", owner(event)),
        ("subject", or_null("subject")),
        ("reason", event.text("reason")),
        ("created", event.time("created_at")),
        ("parked", event.time("parked_at")),
    ];
    lines.extend(event.lines("history").into_iter().map(|line| ("history", line)));
    lines.extend(event.lines("headers").into_iter().map(|line| ("header", line)));
    lines.push(("payload", or_null("payload")));
    lines.iter().try_for_each(|(name, value)| output::line(&format!("{name:<9} {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_ids_and_consumer() {
        assert_eq!(chosen(&[], None), "TRUE");
        let ids: Vec<Id> = ["7", "8.50"].iter().map(|id| id.parse().unwrap()).collect();
        let expected =
            format!("TRUE AND (id = 7 OR id = 8 AND {STAMP} = 50) AND CAST(consumer AS BINARY) = x''");
        assert_eq!((chosen(&ids, Some("")), ids[1].to_string()), (expected, "8.50".to_owned()));
        assert!("7.".parse::<Id>().is_err() && "-7".parse::<Id>().is_err());
        assert_eq!(chosen(&[], Some("a'")), "TRUE AND CAST(consumer AS BINARY) = x'6127'");
    }
}
