//! `rowcall top`: what goes through the daemon, now. What is shown stands in top/board.rs.

mod board;

use crate::address::{DAEMON, DaemonArgs};
use crate::client::{Client, Next};
use crate::failure::Failure;
use crate::monitor::{HttpUrl, Monitor};
use crate::output::{self, Color, Style};
use crate::span;
use board::{Board, Heard, Sample};
use clap::Args;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The size of a terminal that does not tell.
const WIDTH: u16 = 80;
const HEIGHT: u16 = 24;

/// To a page of its own and back, the cursor away and there again; to the beginning; to the end of a line, of all.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\n";
const REST: &str = "\x1b[J";

const AFTER_HELP: &str = "\
Examples:
  rowcall top
  rowcall top 'shop.>' --interval 5s
  rowcall top -n 1

It listens to the subjects itself, and so costs the daemon what one subscriber
to them costs. Numbers of the daemon come from its HTTP port (--http).";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Top {
    /// Which subjects to count
    #[arg(default_value = ">", value_name = "SUBJECT")]
    filter: String,

    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = span::parse)]
    interval: u64,

    /// Leave after this many looks
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,

    /// When to show colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,

    #[command(flatten)]
    http: HttpUrl,
}

/// A page of the terminal, as long as it is wanted; what was there before comes back.
struct Screen;

impl Top {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let style = Style::new(json, self.color);
        let interval = Duration::from_millis(self.interval.max(1));
        let monitor = Monitor::new(&self.http, &self.daemon)?;
        let mut client = Client::connect(&self.daemon)?;
        client.subscribe(&self.filter, None, 1)?;
        client.flush()?;
        let (mut heard, mut before) = (Heard::default(), None);
        let mut looked = Instant::now();
        before.replace(sample(&monitor)?);
        let is_screen = std::io::stdout().is_terminal() && self.count.is_none() && !json;
        let _screen = if is_screen { Some(Screen::enter()?) } else { None };
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            if !listen(&mut client, looked + interval, &mut heard)? {
                break;
            }
            let (now, seconds) = (sample(&monitor)?, looked.elapsed().as_secs_f64());
            looked = Instant::now();
            show(&Board { before: before.as_ref(), now: &now, heard: &heard, seconds }, style, is_screen)?;
            heard.turn();
            before = Some(now);
        }
        Ok(())
    }
}

fn sample(monitor: &Monitor) -> Result<Sample, Failure> {
    Ok(Sample {
        varz: monitor.page("/varz")?,
        connz: monitor.page("/connz?sort=pending&limit=5")?,
        outboxz: monitor.page_if_there("/outboxz")?,
    })
}

/// Counts what comes until then; false if Ctrl-C comes first.
fn listen(client: &mut Client, until: Instant, heard: &mut Heard) -> Result<bool, Failure> {
    loop {
        match client.next(Some(until))? {
            Next::Message(message) => heard.count(&message.subject, message.payload.len()),
            Next::Interrupted => return Ok(false),
            Next::Late => return Ok(true),
        }
        // A flood must not keep anybody from being told of it.
        if Instant::now() >= until {
            return Ok(true);
        }
    }
}

fn show(board: &Board<'_>, style: Style, is_screen: bool) -> Result<(), Failure> {
    let paint = match style {
        Style::Programs => return output::line(&board.json().to_string()),
        Style::People(paint) => paint,
    };
    if !is_screen {
        let lines = board.lines(WIDTH.into(), usize::MAX, paint);
        return output::line(&(lines.join("\n") + "\n"));
    }
    let size = terminal_size::terminal_size();
    let (width, height) = size.map_or((WIDTH, HEIGHT), |(width, height)| (width.0, height.0));
    // The last line stays empty, or the terminal would scroll.
    let lines = board.lines(width.into(), usize::from(height).saturating_sub(1), paint);
    let lines: String = lines.iter().map(|line| format!("{line}{END_OF_LINE}")).collect();
    output::bytes(format!("{HOME}{lines}{REST}").as_bytes())
}

impl Screen {
    fn enter() -> Result<Screen, Failure> {
        output::bytes(ENTER.as_bytes()).map(|()| Screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Best effort: the terminal may be gone.
        let _ = output::bytes(LEAVE.as_bytes());
    }
}
