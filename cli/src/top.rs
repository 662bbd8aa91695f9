//! `rowcall top`: what goes through the daemon, now. What is shown stands in top/board.rs.

mod board;

use crate::address::{DAEMON, DaemonArgs};
use crate::client::{Client, Next};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::monitor::{HttpUrl, Monitor};
use crate::output::{self, Color, Style, visible};
use crate::span;
use board::{Board, Heard, SLOWEST, Sample};
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

/// Who looks, and at what; either may be away for a while.
struct Watcher<'a> {
    top: &'a Top,
    monitor: Monitor,
    client: Option<Client>,
    interrupt: Interrupt,
}

impl Top {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let style = Style::new(json, self.color);
        let interval = Duration::from_millis(self.interval.max(1));
        // What fails now is a mistake, and told; only later is it waited out.
        let monitor = Monitor::new(&self.http, &self.daemon)?;
        let client = Some(self.listen()?);
        let mut before = Some(sample(&monitor)?);
        let mut watcher = Watcher { top: &self, monitor, client, interrupt: Interrupt::new()? };
        let (mut heard, mut looked) = (Heard::default(), Instant::now());
        let is_screen = std::io::stdout().is_terminal() && self.count.is_none() && !json;
        let _screen = if is_screen { Some(Screen::enter()?) } else { None };
        for _ in 0..self.count.unwrap_or(u64::MAX) {
            if !watcher.wait(looked + interval, &mut heard)? {
                break;
            }
            let (sampled, seconds) = (sample(&watcher.monitor), looked.elapsed().as_secs_f64());
            looked = Instant::now();
            match sampled {
                Ok(now) => {
                    show(
                        &Board { before: before.as_ref(), now: &now, heard: &heard, seconds },
                        style,
                        is_screen,
                    )?;
                    before = Some(now);
                }
                Err(failure) => tell_away(&failure, is_screen)?,
            }
            heard.turn();
        }
        Ok(())
    }

    fn listen(&self) -> Result<Client, Failure> {
        let mut client = Client::connect(&self.daemon)?;
        client.subscribe(&self.filter, None, 1)?;
        client.flush()?;
        Ok(client)
    }
}

impl Watcher<'_> {
    /// Counts what comes until then; false if Ctrl-C comes first.
    fn wait(&mut self, until: Instant, heard: &mut Heard) -> Result<bool, Failure> {
        // A flood must not keep anybody from being told of it.
        while Instant::now() < until {
            let Some(client) = &mut self.client else {
                let is_over = self.interrupt.pause(until.saturating_duration_since(Instant::now()))?;
                self.client = self.top.listen().ok();
                return Ok(!is_over);
            };
            match client.next(Some(until)) {
                Ok(Next::Message(message)) => heard.count(&message.subject, message.payload.len()),
                Ok(Next::Interrupted) => return Ok(false),
                Ok(Next::Late) => break,
                Err(_) => self.client = None,
            }
        }
        Ok(true)
    }
}

/// What the daemon tells. Of committed mode it asks the database server, which may be away, or slow.
fn sample(monitor: &Monitor) -> Result<Sample, Failure> {
    let varz = monitor.page("/varz")?;
    let connz = monitor.page(&format!("/connz?sort=pending&limit={SLOWEST}"))?;
    let (outboxz, trouble) = match monitor.page_if_there("/outboxz") {
        Ok(told) => (told, None),
        Err(failure) => (None, Some(failure.to_string())),
    };
    Ok(Sample { varz, connz, outboxz, trouble })
}

/// The daemon does not answer now.
fn tell_away(failure: &Failure, is_screen: bool) -> Result<(), Failure> {
    let text = failure.to_string();
    let line = visible(text.lines().next().unwrap_or_default().as_bytes());
    if is_screen {
        return output::bytes(format!("{HOME}{line}{END_OF_LINE}").as_bytes());
    }
    eprintln!("rowcall: {line}");
    Ok(())
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
