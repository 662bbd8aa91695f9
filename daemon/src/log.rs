//! The log: lines on stderr. Where systemd's journal reads them, it knows the time itself, and a number in front
//! says how grave each one is (sd-daemon(3)).

use nix::sys::stat::fstat;
use std::env;
use std::fmt;
use std::io;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::fmt::format::{self, Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts it; a thread of its own writes the lines: their reader may be slow, and the loop never waits. The
/// guard writes the last of them when it is dropped.
pub fn start(level: Level) -> WorkerGuard {
    let (stderr, guard) = tracing_appender::non_blocking(io::stderr());
    let log = tracing_subscriber::fmt().with_writer(stderr).with_max_level(level).with_ansi(false);
    if is_journal() {
        let line = format::format().with_target(false).with_level(false).with_ansi(false).without_time();
        log.event_format(Journal(line)).init();
    } else {
        log.with_target(false).init();
    }
    guard
}

/// Says why there is no daemon, before there is a log.
pub fn complain(why: &str) {
    let priority = if is_journal() { priority(Level::ERROR) } else { "" };
    eprintln!("{priority}rowcalld: {why}");
}

/// Whether stderr is what systemd has connected with the journal, and not what someone has put in its place.
fn is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// The journal's number for a level, as it stands before a line.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Lines for the journal: each with its number, also where one event has several.
struct Journal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        text.lines().try_for_each(|line| writeln!(writer, "{priority}{line}"))
    }
}
