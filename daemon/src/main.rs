//! rowcalld, the program: arguments and passed sockets to configuration, the log, run, exit code. What the daemon does
//! stands in the library.

use clap::Parser;
use nix::errno::Errno;
use rowcalld::config::{Config, EXAMPLE, Flags};
use rowcalld::{Daemon, Passed, Signals, log};
use std::process::ExitCode;

/// Wrong flags or configuration; the number clap uses too.
const EXIT_WRONG: u8 = 2;

fn main() -> ExitCode {
    let mut flags = Flags::parse();
    if flags.print_config {
        print!("{EXAMPLE}");
        return ExitCode::SUCCESS;
    }
    let passed = Passed::from_environment().and_then(|passed| passed.name_in(&mut flags).map(|()| passed));
    let config = Config::from_flags(flags.clone()).map_err(|wrong| wrong.to_string());
    let (passed, config) = match passed.and_then(|passed| Ok((passed, config?))) {
        Ok(both) => both,
        Err(wrong) => {
            log::complain(&wrong);
            return ExitCode::from(EXIT_WRONG);
        }
    };
    // Before any thread is started: threads inherit which signals are blocked.
    let signals = Signals::new();
    let _log = log::start(config.log.0);
    match serve(config, flags, signals, passed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(
    config: Config,
    flags: Flags,
    signals: Result<Signals, Errno>,
    passed: Passed,
) -> Result<(), String> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "rowcalld starts");
    let signals = signals.map_err(|errno| format!("cannot receive signals: {errno}"))?;
    let mut daemon = Daemon::new(config, flags, signals, passed)?;
    daemon.run().map_err(|errno| format!("cannot wait for events: {errno}"))
}
