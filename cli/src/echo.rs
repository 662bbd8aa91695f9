//! Somebody at the other end for what doctor and bench measure: answers what is asked below a subject, and tells
//! when something else came.

use crate::client::{Client, Next};
use crate::failure::Failure;
use rowcall_wire::Message;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

/// The subscription: the only one of its connection.
const SID: u64 = 1;

/// The exit code of whoever was interrupted, as shells have it.
const INTERRUPTED: i32 = 130;

/// Begins; it ends with the command, or with the connection.
pub(crate) fn start(mut client: Client, subject: &str) -> Result<Receiver<Instant>, Failure> {
    client.subscribe(&format!("{subject}.>"), None, SID)?;
    client.flush()?;
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || while next(&mut client, &tell).is_some() {});
    Ok(heard)
}

fn next(client: &mut Client, tell: &Sender<Instant>) -> Option<()> {
    let message = match client.next(None) {
        Ok(Next::Message(message)) => message,
        // The other thread may be waiting for a server that does not answer; nothing is left half done.
        Ok(Next::Interrupted) => std::process::exit(INTERRUPTED),
        Ok(Next::Late) | Err(_) => return None,
    };
    match &message.reply {
        Some(reply) => client.publisher().publish(&Message::plain(reply, &message.payload)).ok(),
        None => tell.send(Instant::now()).ok(),
    }
}
