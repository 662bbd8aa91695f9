//! Sending: a message's pieces, each from where it lies, whole or not at all.

use super::wait::Wait;
use super::{Connection, Fail, LINE_EXTRA, STALL, STALL_WAIT, broken, now, reserve, stalled};
use crate::bounded::Bounded;
use crate::counters::Reason;
use crate::socket::For;
use rowcall_wire::{CONTROL_LINE_MAX, encode};
use std::io::{ErrorKind, IoSlice};
use std::time::{Duration, Instant};

/// What a message consists of: what was written into the buffer, its header block first, and the rest
/// of the payload, which is handed to the kernel from where it lies.
pub(crate) struct Content<'a> {
    /// How many bytes of the buffer are the header block.
    pub(crate) header_len: usize,
    /// What follows the buffer.
    pub(crate) rest: &'a [u8],
}

impl Connection {
    /// Hands the frame and a message behind it to the kernel; tells how long its payload is. The caller
    /// writes what it has to, and nothing is written beyond what the daemon takes.
    pub(super) fn send_message<'a>(
        &mut self,
        subject: &[u8],
        reply: Option<&[u8]>,
        write: &impl Fn(&mut Bounded) -> Result<Content<'a>, Reason>,
    ) -> Result<usize, Fail> {
        let lines = subject.len() + reply.map_or(0, <[u8]>::len) + LINE_EXTRA;
        if lines > CONTROL_LINE_MAX {
            return Err(Fail::Call(Reason::BadSubject));
        }
        if !self.may_publish(subject)? {
            return Err(Fail::Call(Reason::Forbidden));
        }
        let limit = self.terms.as_ref().map_or(0, |terms| terms.max_payload);
        self.body.begin(limit);
        let Content { header_len, rest } = write(&mut self.body).map_err(Fail::Call)?;
        let len = self.body.len() + rest.len();
        if len > limit {
            return Err(Fail::Call(Reason::TooLarge));
        }
        reserve(&mut self.frame, lines).map_err(Fail::Call)?;
        encode::publish_line(&mut self.frame, subject, reply, header_len, len);
        self.send_pieces(rest, encode::LINE_END)?;
        Ok(len - header_len)
    }

    /// Hands the frame to the kernel, which has no message behind it.
    pub(super) fn send(&mut self) -> Result<(), Fail> {
        self.body.begin(0);
        self.send_pieces(b"", b"")
    }

    /// Hands the frame, the body, the rest of it and its end to the kernel, all of it or (as far as the
    /// daemon is concerned) nothing.
    fn send_pieces(&mut self, rest: &[u8], end: &[u8]) -> Result<(), Fail> {
        let mut pieces = [&self.frame, &*self.body, rest, end].map(IoSlice::new);
        let mut left = &mut pieces[..];
        // Pieces of no length go as well.
        IoSlice::advance_slices(&mut left, 0);
        let (mut sent, mut since) = (0, None);
        while !left.is_empty() {
            match self.socket.send(left) {
                Ok(n) => {
                    sent += n;
                    IoSlice::advance_slices(&mut left, n);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if sent == 0 && (self.full || STALL.is_on(now())) {
                        self.full = true;
                        return Err(stalled(Reason::Stalled));
                    }
                    let since = *since.get_or_insert_with(Instant::now);
                    let mut wait = Wait::until(since + patience(sent));
                    if let Err(reason) = wait.slice(&self.socket, For::Room) {
                        self.full = true;
                        // Half a frame must not be followed by another one.
                        return Err(if sent > 0 { broken(reason) } else { stalled(reason) });
                    }
                }
                Err(_) => return Err(Fail::Broken(Reason::NoDaemon)),
            }
        }
        if self.full {
            self.full = false;
            STALL.is_over();
        }
        Ok(())
    }
}

/// How long a frame may wait for room, once the daemon has taken so many bytes of it. One that
/// takes less than a mebibyte in that time counts as stalled: a long frame takes longer, but has
/// its bound as well.
fn patience(sent: usize) -> Duration {
    STALL_WAIT * (1 + (sent >> 20) as u32)
}

/// Content without headers.
pub(super) fn plain(payload: &[u8]) -> Content<'_> {
    Content { header_len: 0, rest: payload }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::greeting::Terms;
    use crate::socket::Socket;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    /// Sends a message whose body was written and is followed by the rest; gives what arrives of it.
    fn arrived(body: &[u8], rest: &[u8]) -> Result<Vec<u8>, Reason> {
        let path = std::env::temp_dir().join(format!("rowcall-sending-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let mut connection = Connection::new(Socket::connect(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        connection.terms = Some(Terms::plain(body.len() + rest.len()));
        let (mut peer, _) = listener.accept().unwrap();
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).unwrap();
            got
        });
        let sent = connection.send_message(b"a", None, &|out| {
            out.put(body)?;
            Ok(Content { header_len: 0, rest })
        });
        drop(connection);
        let got = reader.join().unwrap();
        assert_eq!(sent.map_err(Fail::reason)?, body.len() + rest.len());
        Ok(got)
    }

    /// A socket takes a long message in many parts, cut anywhere; what arrives is its pieces in order.
    #[test]
    fn what_the_kernel_takes_in_parts_arrives_whole() {
        let pattern =
            |len: usize, from: u8| -> Vec<u8> { (0..len).map(|n| (n % 251) as u8 ^ from).collect() };
        let (body, rest) = (pattern(3_000_001, 1), pattern(20_000_003, 7));
        // On a busy machine the reader may come too late: then the message was given up.
        let got = (0..100).find_map(|_| arrived(&body, &rest).ok()).unwrap();
        let line = format!("PUB a {}\r\n", body.len() + rest.len());
        assert!(got == [line.as_bytes(), &body, &rest, b"\r\n"].concat());
        assert_eq!(arrived(b"", b""), Ok(b"PUB a 0\r\n\r\n".to_vec()));
        assert_eq!(arrived(b"{}", b""), Ok(b"PUB a 2\r\n{}\r\n".to_vec()));
    }
}
