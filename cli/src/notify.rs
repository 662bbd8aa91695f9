//! `rowcall notify`: publishes one message, and makes sure that the daemon has it.

use crate::address::{DAEMON, DaemonArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::payload::Draft;
use clap::Args;

const AFTER_HELP: &str = "\
Examples:
  rowcall notify shop.orders.created '{\"id\":7}'
  rowcall notify shop.pictures - -H 'Type: image/png' < picture.png

It is done (exit code 0) when the daemon has the message, whether anybody
listens or not.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Notify {
    /// Subject to publish to: shop.orders.created
    subject: String,

    /// Payload; - reads it from stdin
    payload: String,

    /// Header to send along; may be given more than once
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,

    #[command(flatten, next_help_heading = DAEMON)]
    daemon: DaemonArgs,
}

impl Notify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let draft = Draft::new(&self.subject, &self.payload, &self.header)?;
        let mut client = Client::connect(&self.daemon)?;
        client.publisher().publish(&draft.message(None))?;
        client.flush().map(drop)
    }
}
