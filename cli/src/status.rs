//! `rowcall status`: how the outbox and the consumers do, and whether a daemon looks after them. What
//! the functions inside the server have done says rowcall_status(), in SQL.

use crate::address::{DAEMON, DaemonUrl};
use crate::consumer::{self, count, oldest, yes};
use crate::failure::Failure;
use crate::monitor::{HttpUrl, Monitor};
use crate::output;
use crate::server::{HEADING, ServerArgs};
use crate::span;
use crate::tables::{Column, Kind, Record, Tables};
use clap::Args;
use serde_json::{Value, json};

/// Numbers that are older are not refreshed any more: the daemon does it every 10 s at least.
pub(crate) const FRESH_S: u64 = 15;

const AFTER_HELP: &str = "\
Examples:
  rowcall status
  rowcall status --json

pending: events that wait; oldest: since when the first of them does; unacked:
of them, delivered and not settled; settled, parked, dropped: ever since.
The account needs SELECT on rowcall.* If no daemon reads, rowcalld is asked over
HTTP why.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Status {
    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonUrl,

    #[command(flatten)]
    http: HttpUrl,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

/// Nobody wants more events than that counted; it stands for that many or more.
const OUTBOX_MANY: u64 = 100_000;

/// The outbox. What waits there is looked at itself: that is right without a daemon, too.
const OUTBOX: [Column; 5] = [
    Column::new(
        "pending",
        Kind::Number,
        "(SELECT COUNT(*) FROM (SELECT 1 FROM rowcall.outbox LIMIT 100000) AS o)",
    ),
    Column::new("oldest", Kind::Time, "w.created_at"),
    Column::new("oldest_age_s", Kind::Number, "GREATEST(TIMESTAMPDIFF(SECOND, w.created_at, NOW(6)), 0)"),
    Column::new("parked", Kind::Number, "s.parked"),
    Column::new(
        "refreshed_age_s",
        Kind::Number,
        "GREATEST(TIMESTAMPDIFF(SECOND, s.refreshed_at, NOW(6)), 0)",
    ),
];

const FROM: &str = "FROM (SELECT 1) AS one LEFT JOIN rowcall.status AS s ON s.consumer = '' \
                    LEFT JOIN (SELECT created_at FROM rowcall.outbox ORDER BY id LIMIT 1) AS w ON TRUE";

impl Status {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let mut tables = Tables::open(&self.server)?;
        let is_read = tables.is_read()?;
        let outbox = tables.records(&OUTBOX, FROM)?;
        let outbox = outbox.first().ok_or_else(|| Failure::other("the server gave no row"))?;
        let consumers = consumer::all(&mut tables)?;
        // The oldest of all: what one line says must hold for each number.
        let rows = consumers.iter().chain([outbox]);
        let age = rows.filter_map(|row| row.number("refreshed_age_s")).max();
        let is_fresh = age.is_some_and(|age| age <= FRESH_S);
        let why = if is_read { None } else { Monitor::why_unread(&self.http, &self.daemon.into()) };
        if json {
            let consumers: Vec<Value> = consumers.iter().map(|row| row.json().into()).collect();
            let outbox = outbox.json();
            return output::line(
                &json!({
                    "daemon": is_read,
                    "why": why,
                    "fresh": is_fresh,
                    "outbox": outbox,
                    "consumers": consumers,
                })
                .to_string(),
            );
        }
        output::line(match is_read {
            true => "A daemon reads.",
            false => "No daemon reads: events wait, and nothing is delivered.",
        })?;
        if let Some(why) = why {
            output::line(&format!("rowcalld says: {why}"))?;
        }
        match age {
            None => output::line("No daemon has written numbers yet.")?,
            Some(age) if !is_fresh => {
                output::line(&format!("The numbers are old: written {} ago.", span::age(age)))?;
            }
            Some(_) => {}
        }
        output::line("")?;
        show(outbox, &consumers)
    }
}

fn show(outbox: &Record, consumers: &[Record]) -> Result<(), Failure> {
    let head = ["", "pending", "oldest", "unacked", "settled", "parked", "dropped", "paused"];
    let line = |consumer: &Record| {
        let mut line = vec![consumer.text("name"), count(consumer, "pending"), oldest(consumer)];
        line.extend(head[3..7].iter().map(|name| count(consumer, name)));
        line.push(yes(consumer.flag("paused")));
        line
    };
    let mut first = line(outbox);
    first[0] = "(outbox)".to_owned();
    if outbox.number("pending") == Some(OUTBOX_MANY) {
        first[1].push('+');
    }
    // What was never counted for it stands as `-` already.
    first[7] = "-".to_owned();
    output::table(&head, [first].into_iter().chain(consumers.iter().map(line)))
}
