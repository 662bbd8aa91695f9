//! Doors for the fuzz targets in tests/fuzz, which say what must hold: the parts of the daemon that read
//! what comes from outside, as functions of bytes. Compiled for them alone (`--cfg fuzzing`).

use crate::auth::Access;
use crate::config::{Config, Wrong};
use crate::http::target::Target;
use crate::http::visit::{Step, Visit};
use crate::subjects::Subjects;
use crate::websocket::{Code, WebSocket};
use rowcall_wire::rule::Rule;
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// What came of the bytes of an HTTP connection.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// The requests that came whole: the head and what it asks for, spelled out, and the body.
    pub whole: Vec<(String, Vec<u8>)>,
    /// The status of the answer to what is no request.
    pub refused: Option<u16>,
    /// Whether a request was the last.
    pub ended: bool,
    /// Bytes that wait for those behind them.
    pub unread: usize,
}

/// Reads the requests in these bytes, as an HTTP connection does to which they come in these pieces, and
/// which answers each at once.
pub fn requests<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, body_max: usize, now: Instant) -> Requests {
    let (mut visit, mut unread, mut read) = (Visit::new(now), Vec::new(), Requests::default());
    for piece in pieces {
        unread.extend_from_slice(piece);
        let mut bytes = &unread[..];
        loop {
            match visit.take(&mut bytes, now, body_max) {
                Ok(Step::Wait) => break,
                Ok(Step::Head) => {}
                Ok(Step::Whole(head, body)) => {
                    read.whole.push((format!("{head:?} {}", asked(&head.target)), body));
                    if !visit.manner().keep {
                        return Requests { ended: true, unread: 0, ..read };
                    }
                    visit.answered(now);
                }
                Err(flaw) => {
                    return Requests { refused: Some(flaw.answer().0), unread: 0, ..read };
                }
            }
        }
        unread = bytes.to_vec();
        read.unread = unread.len();
    }
    read
}

fn asked(target: &str) -> String {
    let target = Target::parse(target);
    let call = target.as_ref().and_then(Target::call);
    let parameters = target.as_ref().map(|target| target.parameters(&["subject", "timeout"]));
    let time = |usual, most| Some(parameters.as_ref()?.as_ref().ok()?.time("timeout", usual, most));
    let time = time(Duration::from_secs(1), Duration::from_secs(60));
    format!("{target:?} {call:?} {parameters:?} {time:?}")
}

/// The server's end of a WebSocket.
#[derive(Default)]
pub struct Frames(WebSocket);

impl Frames {
    /// Takes bytes that have come, and appends what they carry; says whether they were without a mistake.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.take(bytes, out).is_ok()
    }

    /// Whether the peer has said that no more will come.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// Bytes of its own that wait to be written.
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }

    /// Writes what is owed in a frame, to a socket that takes at most so many bytes; says how many of those
    /// that are owed it took.
    pub fn send(&mut self, owed: &[u8], most: usize, socket: &mut Vec<u8>) -> usize {
        let sent = self.0.send(&[IoSlice::new(owed)], |slices| {
            let before = socket.len();
            socket.extend(slices.iter().flat_map(|slice| slice.iter()).take(most));
            Ok(socket.len() - before)
        });
        sent.expect("this socket has no errors")
    }

    /// Says that no more will come, unless a frame is under way; says whether it has.
    pub fn close(&mut self) -> bool {
        self.0.close(Code::Normal)
    }
}

/// The settings in a configuration file.
///
/// # Errors
/// What is wrong with it.
pub fn config(text: &str) -> Result<Config, Wrong> {
    Config::from_toml(text)
}

/// The names of the users in a file of users, and what SQL may publish.
///
/// # Errors
/// What is wrong with it.
pub fn users(text: &str) -> Result<(Vec<String>, Rule), String> {
    let access = Access::from_toml(text)?;
    Ok((access.users.keys().map(|name| name.to_string()).collect(), access.sql.rights.publish.clone()))
}

/// Subscriptions by what they ask for.
#[derive(Default)]
pub struct Index(Subjects<usize>);

impl Index {
    /// The subscription of this number wants what matches the filter.
    pub fn insert(&mut self, filter: &[u8], number: usize) {
        self.0.insert(filter, None, number);
    }

    /// It does not any more.
    pub fn remove(&mut self, filter: &[u8], number: usize) {
        self.0.remove(filter, number);
    }

    /// The numbers of those that want this subject, in order.
    pub fn matches(&mut self, subject: &[u8]) -> Vec<usize> {
        let mut numbers = self.0.matches(subject).plain.clone();
        numbers.sort_unstable();
        numbers
    }
}
