//! `rowcall notify`: publishes one message, and makes sure that the daemon has it.

use crate::address::DaemonArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::payload::Draft;
use clap::Args;

#[derive(Args)]
pub(crate) struct Notify {
    /// The subject to publish to: shop.orders.created
    subject: String,

    /// The payload; "-" reads it from stdin
    payload: String,

    /// A header, "Name: value"; may be given more than once
    #[arg(long, short = 'H', value_name = "HEADER")]
    header: Vec<String>,

    #[command(flatten)]
    daemon: DaemonArgs,
}

impl Notify {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let draft = Draft::new(&self.subject, &self.payload, &self.header)?;
        let mut client = Client::connect(&self.daemon)?;
        client.publish(&draft.message(None))?;
        client.flush().map(drop)
    }
}
