//! What clients are owed: bytes on their way out. No fd lives here; writing is a function that the
//! caller brings.
//!
//! Everything produced in a turn of the loop stands once in the turn's [`Round`]; a client owes
//! its share as spans of it ([`Owed`]). A message for a hundred subscribers is written down once,
//! and a hundred pairs of numbers point at it. Spans that touch grow together, so a subscriber who
//! gets everything has one span, and its write is the round itself.
//!
//! ```text
//!   round   | MSG a 1 2 hi | MSG b 1 2 ho | MSG b 7 2 ho | +OK |
//!   client A  [----------------------------]
//!   client B                                [-------------]
//!   client C                                               [---]
//! ```
//!
//! What a socket does not take stays owed: as a share of the round where that is most of it, as a
//! copy where it is little, so that a client never pins more than [`PIN_FACTOR`] times what it is
//! owed.

use rowcall_wire::{Message, encode};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

/// A round is held on to, instead of being copied from, while it is at most this many times as
/// large as what the client is owed of it.
pub const PIN_FACTOR: usize = 4;

/// From this size on, a payload is written down once for all its receivers even if their control
/// lines differ. Below, a second copy costs less than a second slice in a write.
const SHARED_BODY_MIN: usize = 512;

/// Spans shorter than this are gathered into one slice before a write; copying so little costs
/// less than what the kernel spends on a slice of its own.
const SLICE_MIN: usize = 1024;

/// Slices in one write. With [`SLICE_MIN`] at least 64 KiB go out at a time, which is where a
/// larger write stops being cheaper for each byte.
const SLICES_MAX: usize = 64;

/// Bytes gathered for one write, for the same reason.
const GATHER_MAX: usize = 64 << 10;

/// A round's buffer is given back to the allocator above this capacity; what a turn usually
/// produces, one full read of input sent to a few subscribers, stays below.
const ROUND_KEEP: usize = 4 << 20;

/// A copy that is owed is added to, up to this size, before another one is begun.
const COPY_MAX: usize = 64 << 10;

/// Spans that a client keeps room for between turns.
const SPANS_KEEP: usize = 4;

/// Forms of a message other than the protocol's.
pub const FORMS: usize = 2;

/// A stretch of the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn len(self) -> usize {
        self.end - self.start
    }
}

/// What one turn of the loop produces, for whomever.
#[derive(Debug, Default)]
pub struct Round {
    /// Shared only with clients that could not be written to in an earlier turn; then the next
    /// turn starts another one.
    bytes: Rc<Vec<u8>>,
    /// The latest writing-down of the current message, with headers and without.
    written: [Option<Written>; 2],
    /// The writing-down of it in other forms, which are the same for all who want them.
    shared: [Option<Span>; FORMS],
    /// How many messages there were, with the current one.
    number: u64,
}

/// A message as it stands in the round.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// Where the subscription's id stands in the control line.
    sid: Span,
    /// The control line and, if `body` is none, all that follows.
    head: Span,
    /// The body and its line end where they stand apart, so as to be shared.
    body: Option<Span>,
}

impl Round {
    /// Begins a turn: nothing is produced yet.
    pub fn begin(&mut self) {
        match Rc::get_mut(&mut self.bytes) {
            Some(bytes) if bytes.capacity() <= ROUND_KEEP => bytes.clear(),
            _ => self.bytes = Rc::default(),
        }
        self.begin_message();
    }

    /// How much was produced so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Puts bytes for one client down.
    pub fn push(&mut self, bytes: &[u8]) -> Span {
        self.write(|out| out.extend_from_slice(bytes))
    }

    /// Puts down what the function appends.
    pub fn write(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> Span {
        let out = self.out();
        let start = out.len();
        append(out);
        Span { start, end: out.len() }
    }

    /// Says that another message begins, so that [`Self::message`] writes it down anew.
    pub fn begin_message(&mut self) {
        self.written = [None, None];
        self.shared = [None; FORMS];
        self.number += 1;
    }

    /// Tells the current message from all others.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Puts the current message down in this form, or finds it there from the receiver before.
    pub fn shared(&mut self, form: usize, append: impl FnOnce(&mut Vec<u8>)) -> Span {
        let span = self.shared[form].unwrap_or_else(|| self.write(append));
        self.shared[form] = Some(span);
        span
    }

    /// Puts the current message down for the subscription `sid`, or finds it there from the
    /// subscriber before, and tells `owed` where it stands. A receiver that does not understand
    /// headers gets it without.
    pub fn message(&mut self, owed: &mut Owed, sid: &[u8], message: &Message<'_>, headers: bool) {
        let variant = usize::from(headers);
        let known = self.written[variant];
        let written = match known {
            Some(known) if self.bytes[known.sid.start..known.sid.end] == *sid => known,
            _ if headers || message.header_len == 0 => self.put(sid, message, known),
            _ => {
                let bare = Message { body: message.payload(), header_len: 0, ..*message };
                self.put(sid, &bare, known)
            }
        };
        self.written[variant] = Some(written);
        owed.add(written.head);
        if let Some(body) = written.body {
            owed.add(body);
        }
    }

    /// Writes the message down; its body only if it is small or stands nowhere yet.
    fn put(&mut self, sid: &[u8], message: &Message<'_>, known: Option<Written>) -> Written {
        let out = self.out();
        let start = out.len();
        encode::msg_line(out, sid, message);
        let verb = if message.header_len > 0 { "HMSG " } else { "MSG " };
        let sid_start = start + verb.len() + message.subject.len() + 1;
        let sid = Span { start: sid_start, end: sid_start + sid.len() };
        let line_end = out.len();
        if let Some(Written { body: Some(_), .. }) = known {
            return Written { sid, head: Span { start, end: line_end }, body: known.and_then(|k| k.body) };
        }
        out.extend_from_slice(message.body);
        out.extend_from_slice(b"\r\n");
        let end = out.len();
        if message.body.len() < SHARED_BODY_MIN {
            return Written { sid, head: Span { start, end }, body: None };
        }
        let body = Some(Span { start: line_end, end });
        Written { sid, head: Span { start, end: line_end }, body }
    }

    fn out(&mut self) -> &mut Vec<u8> {
        Rc::get_mut(&mut self.bytes).expect("a round is shared only after it has ended")
    }
}

/// What one client is owed. Empty, it holds no buffer.
#[derive(Debug, Default)]
pub struct Owed {
    /// Of earlier turns, the oldest first.
    backlog: VecDeque<Piece>,
    /// Of the current turn, in order; none touches the next.
    due: Vec<Span>,
    /// Of both, and what is sealed, in bytes.
    bytes: usize,
    /// Bytes that left here encrypted, and that the socket has not taken yet: TLS has them.
    sealed: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Rc<Vec<u8>>,
    span: Span,
}

impl Owed {
    /// Owes a stretch of the current round as well.
    #[inline]
    pub fn add(&mut self, span: Span) {
        self.bytes += span.len();
        match self.due.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            _ => self.due.push(span),
        }
    }

    /// Bytes owed.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Says how many bytes TLS has ready that the socket has not taken. They are owed like the rest.
    pub fn set_sealed(&mut self, bytes: usize) {
        self.bytes = self.bytes - self.sealed + bytes;
        self.sealed = bytes;
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Writes what is owed until the socket takes no more, and says how many bytes it took.
    /// `gather` is a buffer of the caller's for small spans.
    ///
    /// # Errors
    /// Those of `write`, except that it would block.
    pub fn write(
        &mut self,
        round: &Round,
        gather: &mut Vec<u8>,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let before = self.bytes;
        while self.bytes > self.sealed {
            let plan = self.plan(round, gather);
            let slices = plan.slices(self, round, gather);
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            let taken = match write(&slices) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.advance(taken);
            if taken < offered {
                break;
            }
        }
        Ok(before - self.bytes)
    }

    /// Ends the turn: what is still due of the round becomes backlog.
    pub fn settle(&mut self, round: &Round) {
        let due: usize = self.due.iter().map(|span| span.len()).sum();
        let pin = due * PIN_FACTOR >= round.len();
        for at in 0..self.due.len() {
            let span = self.due[at];
            if pin {
                self.backlog.push_back(Piece { bytes: Rc::clone(&round.bytes), span });
            } else {
                self.keep_copy(&round.bytes[span.start..span.end]);
            }
        }
        self.due.clear();
        self.due.shrink_to(SPANS_KEEP);
        if self.backlog.is_empty() {
            self.backlog = VecDeque::new();
        }
    }

    fn keep_copy(&mut self, bytes: &[u8]) {
        if let Some(last) = self.backlog.back_mut()
            && last.span.end == last.bytes.len()
            && last.bytes.len() + bytes.len() <= COPY_MAX
            && let Some(copy) = Rc::get_mut(&mut last.bytes)
        {
            copy.extend_from_slice(bytes);
            last.span.end = copy.len();
            return;
        }
        let span = Span { start: 0, end: bytes.len() };
        self.backlog.push_back(Piece { bytes: Rc::new(bytes.to_vec()), span });
    }

    /// The bytes owed, stretch by stretch, in order.
    fn stretches<'a>(&'a self, round: &'a Round) -> impl Iterator<Item = &'a [u8]> {
        let old = self.backlog.iter().map(|piece| &piece.bytes[piece.span.start..piece.span.end]);
        old.chain(self.due.iter().map(|span| &round.bytes[span.start..span.end]))
    }

    /// Decides what one write offers, and gathers the small stretches of it.
    fn plan(&self, round: &Round, gather: &mut Vec<u8>) -> Plan {
        gather.clear();
        let mut plan = Plan { parts: [Part::Whole(0); SLICES_MAX], count: 0 };
        for (at, bytes) in self.stretches(round).enumerate() {
            if bytes.len() >= SLICE_MIN {
                if !plan.push(Part::Whole(at)) {
                    break;
                }
                continue;
            }
            if gather.len() + bytes.len() > GATHER_MAX || !plan.push_gathered(gather.len(), bytes.len()) {
                break;
            }
            gather.extend_from_slice(bytes);
        }
        plan
    }

    fn advance(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(piece) = self.backlog.front_mut() {
            if taken < piece.span.len() {
                piece.span.start += taken;
                return;
            }
            taken -= piece.span.len();
            self.backlog.pop_front();
        }
        let mut whole = 0;
        for span in &mut self.due {
            if taken < span.len() {
                span.start += taken;
                break;
            }
            taken -= span.len();
            whole += 1;
        }
        self.due.drain(..whole);
    }
}

/// One write: which stretches go out as they are, and which stretches of the gathered bytes.
struct Plan {
    parts: [Part; SLICES_MAX],
    count: usize,
}

#[derive(Clone, Copy)]
enum Part {
    /// The n-th stretch owed.
    Whole(usize),
    /// A stretch of the gathered bytes, which stands for several small ones.
    Gathered(Span),
}

impl Plan {
    fn push(&mut self, part: Part) -> bool {
        let Some(free) = self.parts.get_mut(self.count) else { return false };
        *free = part;
        self.count += 1;
        true
    }

    fn push_gathered(&mut self, start: usize, len: usize) -> bool {
        if let Some(Part::Gathered(span)) = self.parts[..self.count].last_mut() {
            span.end += len;
            return true;
        }
        self.push(Part::Gathered(Span { start, end: start + len }))
    }

    fn slices<'a>(&self, owed: &'a Owed, round: &'a Round, gathered: &'a [u8]) -> Vec<IoSlice<'a>> {
        let mut stretches = owed.stretches(round).enumerate();
        let parts = self.parts[..self.count].iter();
        let bytes = parts.filter_map(|part| match part {
            Part::Whole(at) => stretches.find(|(n, _)| n == at).map(|(_, bytes)| bytes),
            Part::Gathered(span) => Some(&gathered[span.start..span.end]),
        });
        bytes.map(IoSlice::new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes so many bytes and then is full.
    struct Socket {
        got: Vec<u8>,
        room: usize,
    }

    impl Socket {
        fn new(room: usize) -> Self {
            Socket { got: Vec::new(), room }
        }

        fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut taken = 0;
            for slice in slices {
                let n = slice.len().min(self.room);
                self.got.extend_from_slice(&slice[..n]);
                self.room -= n;
                taken += n;
            }
            Ok(taken)
        }
    }

    fn flush(owed: &mut Owed, round: &Round, socket: &mut Socket) {
        owed.write(round, &mut Vec::new(), |slices| socket.write(slices)).unwrap();
    }

    #[test]
    fn one_message_for_many_stands_once() {
        let mut round = Round::default();
        let mut clients: Vec<Owed> = (0..100).map(|_| Owed::default()).collect();
        for n in 0..10 {
            round.begin_message();
            let payload = format!("message {n}");
            let message = Message::plain(b"a.b", payload.as_bytes());
            for owed in &mut clients {
                round.message(owed, b"1", &message, true);
            }
        }
        let once = "MSG a.b 1 9\r\nmessage 0\r\n".len();
        assert_eq!(round.len(), 10 * once);
        for owed in &mut clients {
            assert_eq!(owed.due.len(), 1, "spans that touch have grown together");
            let mut socket = Socket::new(usize::MAX);
            flush(owed, &round, &mut socket);
            assert_eq!(socket.got, *round.bytes);
        }
    }

    #[test]
    fn a_large_body_is_shared_by_lines_that_differ() {
        let mut round = Round::default();
        let payload = vec![b'x'; 10_000];
        let message = Message::plain(b"a", &payload);
        round.begin_message();
        let mut clients: Vec<Owed> = (0..10).map(|_| Owed::default()).collect();
        for (n, owed) in clients.iter_mut().enumerate() {
            round.message(owed, n.to_string().as_bytes(), &message, true);
        }
        assert!(round.len() < 11_000);
        for (n, owed) in clients.iter_mut().enumerate() {
            let mut socket = Socket::new(usize::MAX);
            flush(owed, &round, &mut socket);
            let expected = format!("MSG a {n} 10000\r\n{}\r\n", "x".repeat(10_000));
            assert_eq!(String::from_utf8(socket.got).unwrap(), expected);
        }
    }

    #[test]
    fn headers_are_cut_for_those_who_do_not_know_them() {
        let mut round = Round::default();
        let body = b"NATS/1.0\r\nA: b\r\n\r\npayload";
        let message = Message { header_len: 18, ..Message::plain(b"a", body) };
        let check = |round: &mut Round, headers, expected: &str| {
            let mut owed = Owed::default();
            round.message(&mut owed, b"1", &message, headers);
            let mut socket = Socket::new(usize::MAX);
            flush(&mut owed, round, &mut socket);
            assert_eq!(String::from_utf8(socket.got).unwrap(), expected);
        };
        round.begin_message();
        for _ in 0..2 {
            check(&mut round, false, "MSG a 1 7\r\npayload\r\n");
            check(&mut round, true, "HMSG a 1 18 25\r\nNATS/1.0\r\nA: b\r\n\r\npayload\r\n");
        }
    }

    /// Any number of turns, any sizes, any room in the socket: what comes out is what went in, and
    /// the client never pins more than it may.
    #[test]
    fn nothing_is_lost_or_reordered_by_a_slow_reader() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let (mut round, mut owed, mut socket) = (Round::default(), Owed::default(), Socket::new(0));
            let mut expected = Vec::new();
            for turn in 0..30 {
                round.begin();
                for n in 0..random.usize(..40) {
                    let size = if random.u8(..8) == 0 { random.usize(..20_000) } else { random.usize(..300) };
                    let bytes = vec![(turn * 40 + n) as u8; size];
                    let span = round.push(&bytes);
                    if random.u8(..3) > 0 {
                        owed.add(span);
                        expected.extend_from_slice(&bytes);
                    }
                }
                socket.room = if random.bool() { random.usize(..100_000) } else { 0 };
                flush(&mut owed, &round, &mut socket);
                owed.settle(&round);
                assert_eq!(owed.len(), expected.len() - socket.got.len());
            }
            socket.room = usize::MAX;
            round.begin();
            flush(&mut owed, &round, &mut socket);
            owed.settle(&round);
            assert!(socket.got == expected);
            assert!(owed.is_empty() && owed.backlog.capacity() == 0 && owed.due.capacity() <= SPANS_KEEP);
        }
    }

    #[test]
    fn a_small_debt_does_not_pin_a_large_round() {
        let mut round = Round::default();
        let mut owed = Owed::default();
        for _ in 0..1000 {
            round.begin();
            round.push(&vec![0; 100_000]);
            let span = round.push(b"for the slow one");
            owed.add(span);
            owed.settle(&round);
        }
        let pinned: usize = owed.backlog.iter().map(|piece| piece.bytes.capacity()).sum();
        assert!(pinned <= PIN_FACTOR * owed.len(), "{pinned} bytes pinned for {}", owed.len());
    }

    #[test]
    fn an_error_of_the_socket_is_told() {
        let mut round = Round::default();
        let mut owed = Owed::default();
        owed.add(round.push(b"hello"));
        let result = owed.write(&round, &mut Vec::new(), |_| Err(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
