//! The NATS client protocol, both directions: bytes to operations and back. No socket and no clock
//! live here, and nothing of ours is imported; the daemon, the library inside mysqld and the
//! command all stand on it.
//!
//! docs/protocol.md describes the protocol as Rowcall speaks it.

#![forbid(unsafe_code)]

pub mod encode;
#[cfg(feature = "json")]
pub mod handshake;
pub mod headers;
pub mod parse;
pub mod rule;
pub mod subject;

/// The longest control line, in bytes, without its verb and its line end, that a server takes unless its
/// administrator says otherwise. The reference server's default; subjects, reply subjects and sizes all
/// have to fit in it.
pub const CONTROL_LINE_MAX: usize = 4096;

/// The smallest value an administrator may give the limit above. The official clients' `CONNECT`, with a
/// key and its signature, has some 500 bytes, and a name of the user's own choice.
pub const CONTROL_LINE_LEAST: usize = 1024;

/// The largest: a connection that has not logged in may make the server keep that much of an unfinished
/// line, 64 MiB for a thousand of them.
pub const CONTROL_LINE_CEILING: usize = 64 << 10;

/// The longest control line of a server: it holds the subject, the reply subject and the subscription's id,
/// each of which came to it on a line of its own.
pub const SERVER_LINE_MAX: usize = 3 * CONTROL_LINE_CEILING;

/// The largest message, headers included, in bytes, that a server takes unless its administrator
/// says otherwise. The reference server's default.
pub const PAYLOAD_MAX: usize = 1 << 20;

/// The largest value an administrator may give the limit above: what the reference allows, and far
/// below the nine digits a size may have on a control line.
pub const PAYLOAD_CEILING: usize = 64 << 20;

/// What `INFO` calls the protocol's version. Clients compare features with it, and from 2.10 on
/// they expect habits that a single core server does not have.
pub const PROTOCOL_VERSION: &str = "2.9.0";

/// What stands between [`PROTOCOL_VERSION`] and our own version in `INFO`. It makes the whole a
/// semantic version with a tag, and tells our own clients that they talk to rowcalld.
pub const VERSION_TAG: &str = "-rowcall.";

/// One message as it travels: the subject, where to answer, and a body whose first
/// [`header_len`](Self::header_len) bytes are the header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The subject published to.
    pub subject: &'a [u8],
    /// The subject on which an answer is awaited, if any.
    pub reply: Option<&'a [u8]>,
    /// Header block and payload, one behind the other as on the wire.
    pub body: &'a [u8],
    /// How many bytes of the body are the header block; 0 for none.
    pub header_len: usize,
}

impl<'a> Message<'a> {
    /// A message without headers and without a reply subject.
    pub fn plain(subject: &'a [u8], payload: &'a [u8]) -> Self {
        Message { subject, reply: None, body: payload, header_len: 0 }
    }

    /// The header block, `NATS/1.0` line and empty line included; empty without headers.
    pub fn headers(&self) -> &'a [u8] {
        &self.body[..self.header_len]
    }

    /// The body behind the header block.
    pub fn payload(&self) -> &'a [u8] {
        &self.body[self.header_len..]
    }
}
