//! rowcall, the command for people: arguments, the choice of the subcommand, the exit code. Each
//! subcommand has a file of its own.

mod address;
mod bench;
mod change;
mod client;
mod command;
mod consumer;
mod context;
mod credentials;
mod crew;
mod doctor;
mod drain;
mod echo;
mod exec;
mod failure;
mod forward;
mod https;
mod install;
mod interrupt;
mod listen;
mod manual;
mod monitor;
mod notify;
mod output;
mod parked;
mod payload;
mod progress;
mod random;
mod remaining;
mod replace;
mod reply;
mod request;
mod schema;
mod server;
mod settle;
mod since;
mod span;
mod status;
mod stream;
mod subscription;
mod tables;
mod top;
mod uninstall;
mod unwatch;
mod user;
mod watch;
mod webhook;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// LISTEN/NOTIFY and request/reply for MySQL and MariaDB.
#[derive(Parser)]
#[command(name = "rowcall", version, disable_help_flag = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// Write JSON, one object a line, for programs
    #[arg(long, global = true, display_order = 900)]
    json: bool,

    /// Take daemon, server and accounts from this context of ~/.config/rowcall/config.toml
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "ROWCALL_CONTEXT",
        hide_env = true,
        display_order = 901
    )]
    context: Option<String>,

    /// Show help
    // Without its usual short name: -h is the host, as in the servers' own clients.
    #[arg(long, short = '?', action = ArgAction::Help, global = true, display_order = 902)]
    help: Option<bool>,
}

#[derive(Subcommand)]
enum Command {
    /// Put the library into the server's plugin directory and create the SQL functions
    Install(install::Install),
    /// Drop the SQL functions and remove the library
    Uninstall(uninstall::Uninstall),
    /// Tell of a table's changes: write the triggers that do
    Watch(watch::Watch),
    /// Tell of them no more
    Unwatch(unwatch::Unwatch),
    /// Show messages as they come, until Ctrl-C
    Listen(listen::Listen),
    /// Publish one message
    Notify(notify::Notify),
    /// Publish one request, wait for its reply and show it
    Request(request::Request),
    /// Answer requests by running a command for each
    Reply(reply::Reply),
    /// Run a command for each event
    Exec(exec::Exec),
    /// Call a webhook for each event
    Forward(forward::Forward),
    /// Make, show, pause and remove durable consumers
    Consumer(consumer::Consumer),
    /// Show events that were given up, send them again, delete them
    Parked(parked::Parked),
    /// Look for what is wrong, and say what to do about it
    Doctor(doctor::Doctor),
    /// Show how the outbox and the consumers do
    Status(status::Status),
    /// Wait until nothing waits any more
    Drain(drain::Drain),
    /// Show what goes through the daemon, live
    Top(top::Top),
    /// Measure what this machine does, for comparison
    Bench(bench::Bench),
    /// Make what the daemon's file of users holds: hashes of passwords, tokens
    User(user::User),
    /// Print what a shell needs to complete command lines
    Completions(manual::Completions),
    /// Print the manual, or write all of its pages
    Man(manual::Man),
}

const AFTER_HELP: &str = "\
Examples:
  rowcall watch shop.orders
  rowcall listen 'shop.orders.*'
  rowcall --context prod status

listen, notify, request, reply, exec, forward and top speak to the daemon,
rowcalld: found with --server, ROWCALL_SERVER or a context, else at
unix:/run/rowcall/rowcall.sock. user, completions and man speak to nobody, the
others to the database server, with the flags and option files of the mysql and
mariadb clients; doctor and bench to both.

Exit codes:
  0  done, or left with Ctrl-C
  1  failed
  2  wrong arguments
  3  nobody answers to that subject
  4  no reply in time
  5  the daemon cannot be reached, or refused
  6  the database server cannot be reached, or refused
  7  the worker answered that it failed";

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(server::joined_passwords(std::env::args_os()));
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.is_worth_telling() {
                eprintln!("rowcall: {failure}");
            }
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let json = arguments.json;
    context::choose(arguments.context.as_deref())?;
    match arguments.command {
        Command::Install(install) => install.run(json),
        Command::Uninstall(uninstall) => uninstall.run(json),
        Command::Watch(watch) => watch.run(json),
        Command::Unwatch(unwatch) => unwatch.run(json),
        Command::Listen(listen) => listen.run(json),
        Command::Notify(notify) => notify.run(),
        Command::Request(request) => request.run(json),
        Command::Reply(reply) => reply.run(json),
        Command::Exec(exec) => exec.run(),
        Command::Forward(forward) => forward.run(),
        Command::Consumer(consumer) => consumer.run(json),
        Command::Parked(parked) => parked.run(json),
        Command::Doctor(doctor) => doctor.run(json),
        Command::Status(status) => status.run(json),
        Command::Drain(drain) => drain.run(json),
        Command::Bench(bench) => bench.run(json),
        Command::Top(top) => top.run(json),
        Command::User(user) => user.run(json),
        Command::Completions(completions) => completions.run(Arguments::command()),
        Command::Man(man) => man.run(Arguments::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn server_flags_are_those_of_the_mysql_client() {
        let line = ["rowcall", "install", "-h", "db1", "-P", "3307", "-u", "root", "-psecret"];
        let arguments =
            Arguments::try_parse_from(server::joined_passwords(line.map(OsString::from))).unwrap();
        let Command::Install(install) = arguments.command else { panic!() };
        let options = install.server.options().unwrap();
        assert_eq!(options.host.as_deref(), Some("db1"));
        assert_eq!((options.port, options.user.as_deref()), (Some(3307), Some("root")));
        assert_eq!(options.password.as_deref(), Some("secret"));
    }
}
