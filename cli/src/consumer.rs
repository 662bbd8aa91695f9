//! `rowcall consumer`: durable consumers, as they stand in the table rowcall.consumers. What is
//! delivered to them is the daemon's business; how they all do shows `rowcall status`. How one is made
//! stands in consumer/add.rs.

mod add;

use crate::failure::Failure;
use crate::output;
use crate::parked;
use crate::server::{HEADING, ServerArgs};
use crate::span;
use crate::tables::{Column, Kind, Record, Tables, hex};
use add::Add;
use clap::{Args, Subcommand};
use serde_json::json;

const GROUP_HELP: &str = "\
Example:
  rowcall consumer add mail 'shop.orders.>'

A consumer is whoever each event of a filter waits for until a worker
acknowledges it. Its workers subscribe to rowcall.consumer.NAME at the daemon;
`rowcall reply` is one.

The account needs SELECT, INSERT, UPDATE and DELETE on rowcall.*";

#[derive(Args)]
#[command(after_help = GROUP_HELP)]
pub(crate) struct Consumer {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a consumer: events committed from now on wait for it
    Add(Add),
    /// Show all consumers and how they do
    #[command(after_help = "Example:\n  rowcall consumer list")]
    List(List),
    /// Show everything about one
    #[command(after_help = "Example:\n  rowcall consumer show mail")]
    Show(One),
    /// Remove one, and drop what waits for it
    #[command(after_help = "Example:\n  rowcall consumer rm mail --yes")]
    Rm(Remove),
    /// Deliver nothing to it for now; its events wait
    #[command(after_help = "Example:\n  rowcall consumer pause mail")]
    Pause(One),
    /// Deliver to it again
    #[command(after_help = "Example:\n  rowcall consumer resume mail")]
    Resume(One),
}

#[derive(Args)]
struct List {
    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

#[derive(Args)]
struct One {
    /// Name of the consumer
    name: String,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

#[derive(Args)]
struct Remove {
    /// Name of the consumer
    name: String,

    /// Also if events wait for it, which are dropped
    #[arg(long)]
    yes: bool,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

/// A consumer, its settings, and how it does; NULL for what the daemon has not written yet.
const COLUMNS: [Column; 24] = [
    Column::new("name", Kind::Text, "c.name"),
    Column::new("filter", Kind::Text, "c.filter"),
    Column::new("subject", Kind::Text, "CONCAT('rowcall.consumer.', c.name)"),
    Column::new("ack_wait_ms", Kind::Number, "c.ack_wait_ms"),
    Column::new("max_deliveries", Kind::Number, "c.max_deliveries"),
    Column::new("backoff_ms", Kind::Text, "c.backoff_ms"),
    Column::new("max_unacked", Kind::Number, "c.max_unacked"),
    Column::new("max_age_s", Kind::Number, "c.max_age_s"),
    Column::new("max_rows", Kind::Number, "c.max_rows"),
    Column::new("paused", Kind::Flag, "c.paused"),
    Column::new("created_at", Kind::Time, "c.created_at"),
    Column::new("taken_up_at", Kind::Time, "c.taken_up_at"),
    Column::new("pending", Kind::Number, "s.pending"),
    Column::new("oldest", Kind::Time, "s.oldest"),
    Column::new("oldest_age_s", Kind::Number, "GREATEST(TIMESTAMPDIFF(SECOND, s.oldest, NOW(6)), 0)"),
    Column::new("unacked", Kind::Number, "s.unacked"),
    Column::new("delivered", Kind::Number, "s.delivered"),
    Column::new("redelivered", Kind::Number, "s.redelivered"),
    Column::new("settled", Kind::Number, "s.settled"),
    Column::new("parked", Kind::Number, "s.parked"),
    Column::new("dropped", Kind::Number, "s.dropped"),
    Column::new("refreshed_at", Kind::Time, "s.refreshed_at"),
    Column::new(
        "refreshed_age_s",
        Kind::Number,
        "GREATEST(TIMESTAMPDIFF(SECOND, s.refreshed_at, NOW(6)), 0)",
    ),
    Column::new("id", Kind::Number, "c.id"),
];

/// A row of numbers that is older than the consumer is about an earlier one of that name.
const FROM: &str = "FROM rowcall.consumers AS c LEFT JOIN rowcall.status AS s \
                    ON s.consumer = c.name AND s.refreshed_at >= c.created_at";

impl Consumer {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        match self.command {
            Command::Add(add) => add.run(json),
            Command::List(list) => list.run(json),
            Command::Show(one) => one.show(json),
            Command::Rm(remove) => remove.run(json),
            Command::Pause(one) => one.pause(true, json),
            Command::Resume(one) => one.pause(false, json),
        }
    }
}

impl List {
    fn run(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let consumers = all(&mut tables)?;
        if json {
            return consumers.iter().try_for_each(|consumer| output::object(consumer.json()));
        }
        if consumers.is_empty() {
            return output::line("There are no consumers; `rowcall consumer add` makes one.");
        }
        let head = ["name", "filter", "pending", "unacked", "redelivered", "parked", "dropped", "paused"];
        let line = |consumer: &Record| {
            let mut line = vec![consumer.text("name"), output::shortened(&consumer.text("filter"))];
            line.extend(head[2..7].iter().map(|name| count(consumer, name)));
            line.push(yes(consumer.flag("paused")));
            line
        };
        output::table(&head, consumers.iter().map(line))
    }
}

impl One {
    fn show(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let consumer = find(&mut tables, &self.name)?;
        if json {
            return output::object(consumer.json());
        }
        settings(&consumer)
            .iter()
            .try_for_each(|(name, value)| output::line(&format!("{name:<14} {value}")))?;
        if !consumer.has("refreshed_at") {
            return output::line("The daemon has not written yet how it does.");
        }
        progress(&consumer).iter().try_for_each(|(name, value)| output::line(&format!("{name:<14} {value}")))
    }

    fn pause(&self, paused: bool, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let name = find(&mut tables, &self.name)?.text("name");
        let paused_now = u8::from(paused);
        tables.run(&format!(
            "UPDATE rowcall.consumers SET paused = {paused_now} WHERE name = {}",
            hex(&name)
        ))?;
        if json {
            return output::line(&json!({ "name": name, "paused": paused }).to_string());
        }
        output::line(&if paused {
            format!("consumer {name} is paused within a second: then its events wait")
        } else {
            format!("consumer {name} goes on within a second")
        })
    }
}

impl Remove {
    fn run(&self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let consumer = find(&mut tables, &self.name)?;
        let (name, id) = (consumer.text("name"), consumer.number("id").unwrap_or_default());
        let waiting = format!("SELECT COUNT(*) FROM rowcall.pending WHERE consumer = {id}");
        let waiting = tables.number(&waiting)?.unwrap_or_default();
        if waiting > 0 && !self.yes {
            let verb = if waiting == 1 { "waits for it and is" } else { "wait for it and are" };
            return Err(Failure::other(format!(
                "consumer {name} is not removed: {} {verb} dropped with it; say --yes if that is meant",
                output::events(waiting)
            )));
        }
        tables.run(&format!("DELETE FROM rowcall.consumers WHERE id = {id}"))?;
        let parked = format!("SELECT COUNT(*) FROM rowcall.parked WHERE {}", parked::is_of(&name));
        let kept = tables.number(&parked)?.unwrap_or_default();
        if json {
            let object = json!({ "name": name, "pending_dropped": waiting, "parked_kept": kept });
            return output::line(&object.to_string());
        }
        output::line(&format!("consumer {name} removed; {} dropped with it", output::events(waiting)))?;
        if kept == 0 {
            return Ok(());
        }
        output::line(&format!(
            "Parked for it and kept: {}\n  rowcall parked drop --all --yes --consumer {name}",
            output::events(kept)
        ))
    }
}

/// Every consumer, by name.
pub(crate) fn all(tables: &mut Tables) -> Result<Vec<Record>, Failure> {
    tables.records(&COLUMNS, &format!("{FROM} ORDER BY c.name"))
}

fn find(tables: &mut Tables, name: &str) -> Result<Record, Failure> {
    let mut found = tables.records(&COLUMNS, &format!("{FROM} WHERE c.name = {}", hex(name)))?;
    found.pop().ok_or_else(|| {
        Failure::other(format!(
            "there is no consumer {name}; `rowcall consumer list` shows those that are there"
        ))
    })
}

/// What was set, for people.
fn settings(consumer: &Record) -> Vec<(&'static str, String)> {
    let or = |name, zero: &str, show: &dyn Fn(u64) -> String| match consumer.number(name).unwrap_or_default()
    {
        0 => zero.to_owned(),
        number => show(number),
    };
    let backoff = consumer.text("backoff_ms");
    let backoff = backoff.split(',').map(|millis| millis.parse().map_or(millis.into(), span::exact));
    let taken_up = if consumer.has("taken_up_at") { consumer.time("taken_up_at") } else { "not yet".into() };
    vec![
        ("name", consumer.text("name")),
        ("filter", consumer.text("filter")),
        ("subject", consumer.text("subject")),
        ("ack-wait", or("ack_wait_ms", "0s", &span::exact)),
        ("max-deliveries", or("max_deliveries", "no limit", &|number| number.to_string())),
        ("backoff", backoff.collect::<Vec<String>>().join(",")),
        ("max-unacked", consumer.text("max_unacked")),
        ("max-age", or("max_age_s", "no limit", &|seconds| span::exact(seconds * 1000))),
        ("max-rows", or("max_rows", "no limit", &|number| number.to_string())),
        ("paused", yes(consumer.flag("paused"))),
        ("created", consumer.time("created_at")),
        ("taken up", taken_up),
    ]
}

/// How it does, for people.
fn progress(consumer: &Record) -> Vec<(&'static str, String)> {
    let names = ["pending", "unacked", "delivered", "redelivered", "settled", "parked", "dropped"];
    let mut lines: Vec<_> = names.map(|name| (name, count(consumer, name))).into();
    lines.insert(1, ("oldest", oldest(consumer)));
    lines.push(("as of", ago(consumer, "refreshed_age_s")));
    lines
}

/// A number of the status row, if there is one already.
pub(crate) fn count(record: &Record, name: &str) -> String {
    record.number(name).map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// How long the oldest event waits.
pub(crate) fn oldest(record: &Record) -> String {
    if record.number("pending") == Some(0) { "-".to_owned() } else { ago(record, "oldest_age_s") }
}

fn ago(record: &Record, name: &str) -> String {
    record.number(name).map_or_else(|| "-".to_owned(), |seconds| format!("{} ago", span::age(seconds)))
}

pub(crate) fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}
