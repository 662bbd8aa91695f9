//! `rowcall bench`: what this machine's server and daemon do, in a line that can be compared with another machine's.
//! How Rowcall does beside others is measured by `make bench`.

use crate::address::{DAEMON, DaemonArgs, DaemonUrl};
use crate::client::Client;
use crate::echo;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::random;
use crate::server::{HEADING, ServerArgs};
use clap::Args;
use rowcall_mysql::{Connection, quoted};
use serde_json::{Value, json};
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of each payload: about a row as JSON.
const PAYLOAD: usize = 100;

/// Calls of rowcall_notify in one statement: they fit the socket of a thread on any machine, so that nothing is
/// dropped while the daemon has no processor.
const NOTIFY_BATCH: u64 = 200;

/// Committed events in one transaction, when it is measured how many go through.
const BATCH: u64 = 1000;

/// Rounds whose time is not counted.
const WARM_UP: u64 = 20;

/// How long anything may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);

const AFTER_HELP: &str = "\
Examples:
  rowcall bench
  rowcall bench --rounds 2000 --json

It puts load on server and daemon for some seconds: it publishes to
rowcall.bench.> and hears that itself, at --rounds a call each; committed events
go through rowcall.outbox, if it is there. Times depend on what else the machine
does: compare lines that were made while it did little.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Bench {
    /// How often each is done
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(20..=1_000_000))]
    rounds: u64,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonUrl,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

/// Both, and what was heard.
struct Bed {
    sql: Connection,
    subject: String,
    heard: Receiver<Instant>,
    rounds: u64,
}

/// Times that were measured, sorted.
struct Times(Vec<Duration>);

impl Bench {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let mut bed = Bed::new(&self)?;
        let steps = Progress::new(4);
        steps.at(0, "notify");
        let notify = bed.notify()?;
        steps.at(1, "request");
        let request = bed.request()?;
        let is_committed = bed.sql.query("SELECT number FROM rowcall.edition").is_ok();
        steps.at(2, "committed");
        let committed = if is_committed { Some(bed.committed()?) } else { None };
        steps.at(3, "events");
        let events = if is_committed { Some(bed.events()?) } else { None };
        drop(steps);
        let server = bed.value("SELECT VERSION()")?;
        if json {
            let us = |times: &Times, share| times.at(share).as_micros() as u64;
            let both = |times: &Times| json!({ "p50_us": us(times, 0.5), "p99_us": us(times, 0.99) });
            let line = json!({
                "version": env!("CARGO_PKG_VERSION"), "server": server, "processors": processors(), "processor": processor(),
                "notify_ns": notify.as_nanos() as u64, "request": both(&request),
                "committed": committed.as_ref().map_or(Value::Null, both), "committed_per_s": events,
            });
            return output::line(&line.to_string());
        }
        let both = |times: &Times| format!("{} (99 %: {})", shown(times.at(0.5)), shown(times.at(0.99)));
        output::line(&format!("rowcall {} with {server}", env!("CARGO_PKG_VERSION")))?;
        output::line(&format!("{} x {}", processors(), processor()))?;
        output::line(&format!("notify, a call       {}", shown(notify)))?;
        output::line(&format!("request and reply    {}", both(&request)))?;
        match (&committed, events) {
            (Some(times), Some(events)) => {
                output::line(&format!("COMMIT until heard   {}", both(times)))?;
                output::line(&format!("committed events     {events} a second"))
            }
            _ => output::line("committed mode is not set up on this server"),
        }
    }
}

impl Bed {
    fn new(bench: &Bench) -> Result<Bed, Failure> {
        let mut sql = bench.server.connect()?;
        let subject = format!("rowcall.bench.{:016x}", random::number()?);
        let daemon = DaemonArgs::from(bench.daemon.clone());
        let heard = echo::start(Client::connect(&daemon)?, &subject)?;
        sql.query("SET autocommit = 1").map_err(|error| refused(&error))?;
        Ok(Bed { sql, subject, heard, rounds: bench.rounds })
    }

    fn value(&mut self, sql: &str) -> Result<String, Failure> {
        Ok(self.sql.value(sql).map_err(|error| refused(&error))?.unwrap_or_default())
    }

    fn run(&mut self, sql: &str) -> Result<(), Failure> {
        self.sql.query(sql).map(drop).map_err(|error| refused(&error))
    }

    fn quoted(&self, what: &str) -> String {
        quoted(&format!("{}.{what}", self.subject))
    }

    /// How long a call takes that tells somebody.
    fn notify(&mut self) -> Result<Duration, Failure> {
        let call = format!("rowcall_notify({}, REPEAT('x', {PAYLOAD}))", self.quoted("notify"));
        if self.value(&format!("SELECT {call}"))? != "1" {
            let reason = self.value("SELECT CONVERT(rowcall_last_error() USING utf8mb4)")?;
            return Err(Failure::other(format!("SQL cannot publish ({reason}): rowcall doctor says why")));
        }
        self.hear(1)?;
        let mut best = Duration::MAX;
        // The quickest batch: in others somebody else had the processor. Each is heard before the next begins.
        for _ in 0..self.rounds.div_ceil(NOTIFY_BATCH).max(3) {
            let begun = Instant::now();
            self.run(&format!("DO BENCHMARK({NOTIFY_BATCH}, {call})"))?;
            best = best.min(begun.elapsed());
            self.hear(NOTIFY_BATCH)?;
        }
        Ok(best / NOTIFY_BATCH as u32)
    }

    /// SQL asks, and is answered here.
    fn request(&mut self) -> Result<Times, Failure> {
        let sql =
            format!("SELECT rowcall_request({}, REPEAT('x', {PAYLOAD}), 5000) IS NULL", self.quoted("ask"));
        let mut times = Vec::new();
        for _ in 0..WARM_UP + self.rounds {
            let begun = Instant::now();
            if self.value(&sql)? != "0" {
                return Err(Failure::timeout("SQL asked and was not answered: rowcall doctor says why"));
            }
            times.push(begun.elapsed());
        }
        Ok(Times::new(times))
    }

    /// From the return of COMMIT until the event is here.
    fn committed(&mut self) -> Result<Times, Failure> {
        let sql = format!("CALL rowcall.publish({}, REPEAT('x', {PAYLOAD}))", self.quoted("committed"));
        let mut times = Vec::new();
        for _ in 0..WARM_UP + self.rounds {
            self.run(&sql)?;
            let committed = Instant::now();
            let at = self.hear(1)?;
            times.push(at.saturating_duration_since(committed));
        }
        Ok(Times::new(times))
    }

    /// How many go through in a second, from many transactions' first row to the last event.
    fn events(&mut self) -> Result<u64, Failure> {
        let subject = self.quoted("events");
        let row = format!("({subject}, REPEAT('x', {PAYLOAD}))");
        let rows = vec![row; BATCH as usize].join(", ");
        let insert = format!("INSERT INTO rowcall.outbox (subject, payload) VALUES {rows}");
        let batches = self.rounds.div_ceil(BATCH).max(20);
        let begun = Instant::now();
        for _ in 0..batches {
            self.run(&insert)?;
            self.run("DO rowcall_poke(LAST_INSERT_ID())")?;
        }
        let end = self.hear(batches * BATCH)?;
        let seconds = end.saturating_duration_since(begun).as_secs_f64();
        Ok((batches as f64 * BATCH as f64 / seconds.max(f64::MIN_POSITIVE)) as u64)
    }

    /// Waits for so many; gives when the last one came.
    fn hear(&mut self, many: u64) -> Result<Instant, Failure> {
        let mut last = Instant::now();
        for _ in 0..many {
            last = self.heard.recv_timeout(PATIENCE).map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    Failure::timeout("an event did not come in time: rowcall doctor says why")
                }
                RecvTimeoutError::Disconnected => Failure::daemon("the connection to the daemon ended"),
            })?;
        }
        Ok(last)
    }
}

impl Times {
    fn new(mut times: Vec<Duration>) -> Times {
        times.drain(..(WARM_UP as usize).min(times.len()));
        times.sort();
        Times(times)
    }

    /// The one that so much of them do not exceed.
    fn at(&self, share: f64) -> Duration {
        let at = (self.0.len() as f64 * share) as usize;
        self.0.get(at.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

fn refused(error: &rowcall_mysql::Error) -> Failure {
    Failure::server("the server refused", error)
}

fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        _ if micros < 10.0 => format!("{micros:.2} µs"),
        _ if micros < 1000.0 => format!("{micros:.0} µs"),
        _ => format!("{:.2} ms", micros / 1000.0),
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// As it calls itself.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or("processor", |line| line.trim_start_matches([' ', '\t', ':'])).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sorted_and_without_the_first_ones() {
        let times = (1..=WARM_UP + 100).rev().map(Duration::from_micros).collect();
        let times = Times::new(times);
        assert_eq!(times.at(0.5), Duration::from_micros(51));
        assert_eq!((times.at(0.99), times.at(1.0)), (Duration::from_micros(100), Duration::from_micros(100)));
        assert_eq!(Times::new(Vec::new()).at(0.5), Duration::ZERO);
    }

    #[test]
    fn times_are_shown_in_their_unit() {
        let all = [1_234, 123_400, 12_340_000].map(|nanos| shown(Duration::from_nanos(nanos)));
        assert_eq!(all, ["1.23 µs", "123 µs", "12.34 ms"]);
    }
}
