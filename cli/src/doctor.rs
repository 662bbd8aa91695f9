//! `rowcall doctor`: what is wrong with an installation, and what to do about it. Here is what is looked at, in
//! which order, and how it is shown; the checks stand in the files below.

mod access;
mod clock;
mod committed;
mod confinement;
mod finding;
mod functions;
mod password;
mod patient;
mod process;
mod round_trip;
mod settings;
mod socket;
mod triggers;
mod unit;

use crate::address::{DAEMON, DaemonUrl};
use crate::failure::Failure;
use crate::monitor::HttpUrl;
use crate::output::{self, Color, Style};
use crate::server::{HEADING, ServerArgs};
use clap::Args;
use finding::{Finding, Level, Trouble};
use patient::Patient;

/// Looks at one thing.
type Check = fn(&mut Patient) -> Result<Vec<Finding>, Trouble>;

/// Everything that is looked at, in the order in which it is shown.
const CHECKS: [(&str, Check); 20] = [
    ("server", settings::server),
    ("durability", settings::durability),
    ("binary log", settings::binary_log),
    ("isolation", settings::isolation),
    ("threads", settings::threads),
    ("clock", clock::check),
    ("functions", functions::installed),
    ("library", functions::library),
    ("account", process::account),
    ("confinement", confinement::check),
    ("socket", socket::check),
    ("send buffer", socket::send_buffer),
    ("daemon", round_trip::daemon),
    ("tables", committed::tables),
    ("reader", committed::reader),
    ("password", password::check),
    ("triggers", triggers::missing_functions),
    ("definers", triggers::definers),
    ("watched", triggers::watched),
    ("round trip", round_trip::measure),
];

const AFTER_HELP: &str = "\
Example:
  sudo rowcall doctor

It changes no setting and no table of yours. It publishes a few messages to
rowcall.doctor.> and hears them itself, and so does whoever listens to >; none
is committed that a durable consumer would get. Run it as root on the server's
machine, or it cannot look at everything; it says what it could not see. As
whom to speak to the daemon is said by ROWCALL_USER, ROWCALL_PASSWORD and the
like, or by a context.

Exit code: 0 if nothing is at fault (warnings do not count), 1 otherwise, 6 if
the database server cannot be reached.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Doctor {
    /// When to show colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonUrl,

    #[command(flatten)]
    http: HttpUrl,

    #[command(flatten, next_help_heading = HEADING)]
    server: ServerArgs,
}

impl Doctor {
    pub(crate) fn run(self, json: bool) -> Result<(), Failure> {
        let style = Style::new(json, self.color);
        let mut patient = Patient::new(&self.server, self.daemon.into(), self.http)?;
        let mut worst = Vec::new();
        for (name, check) in CHECKS {
            let findings = check(&mut patient).unwrap_or_else(|trouble| vec![trouble.into()]);
            for finding in findings {
                output::line(&finding.shown(name, style))?;
                worst.push(finding.level);
            }
        }
        let count = |level| worst.iter().filter(|&&one| one == level).count();
        let (faults, warnings) = (count(Level::Fault), count(Level::Warning));
        if let Style::People(_) = style {
            output::line(&summary(faults, warnings, count(Level::Unseen)))?;
        }
        if faults > 0 { Err(Failure::told()) } else { Ok(()) }
    }
}

fn summary(faults: usize, warnings: usize, unseen: usize) -> String {
    let many = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    match (faults, warnings) {
        (0, 0) if unseen == 0 => "\nAll is well.".to_owned(),
        (0, 0) => "\nAll that could be looked at is well.".to_owned(),
        _ => format!("\n{}, {}.", many(faults, "fault"), many(warnings, "warning")),
    }
}
