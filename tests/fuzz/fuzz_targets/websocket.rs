//! Frames of WebSocket, from a client that is sent back what it sends. The first byte says into pieces of how
//! many bytes the rest is cut, the second how many bytes the socket takes at a time.
//!
//! - No input makes a panic.
//! - However it is cut, it carries the same, ends in the same place, and is answered the same.
//! - What is written is frames: they carry all that was owed, in order, however little the socket takes; a
//!   pong stands between frames and never within one; and a close frame is the last.
//! - What waits to be written does not grow with the pings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcalld::fuzz::Frames;

/// A pong on its way, the next one, and the head of a frame.
const WAITING_MAX: usize = 2 * (2 + 125) + (2 + 8);

fuzz_target!(|input: &[u8]| {
    let [piece, most, bytes @ ..] = input else { return };
    let (mut whole, mut carried) = (Frames::default(), Vec::new());
    let sound = whole.take(bytes, &mut carried);
    let (mut frames, mut echo) = (Frames::default(), Echo::new(usize::from(*most) + 1));
    let pieces = bytes.chunks(usize::from(*piece) + 1);
    let mut fine = true;
    for piece in pieces {
        // After a mistake nothing more is read.
        fine = fine && frames.take(piece, &mut echo.owed);
        echo.write(&mut frames);
        assert!(frames.waiting() <= WAITING_MAX);
    }
    assert_eq!((fine, frames.has_ended()), (sound, whole.has_ended()));
    assert_eq!(echo.owed, carried);
    echo.finish(&mut frames);
    assert_eq!(payload(&echo.socket), carried);
});

/// What is sent back, and how far it has come.
struct Echo {
    most: usize,
    owed: Vec<u8>,
    taken: usize,
    socket: Vec<u8>,
}

impl Echo {
    fn new(most: usize) -> Echo {
        Echo { most, owed: Vec::new(), taken: 0, socket: Vec::new() }
    }

    fn write(&mut self, frames: &mut Frames) {
        self.taken += frames.send(&self.owed[self.taken..], self.most, &mut self.socket);
    }

    /// Writes what is left, and says farewell.
    fn finish(&mut self, frames: &mut Frames) {
        while self.taken < self.owed.len() || frames.waiting() > 0 {
            self.write(frames);
        }
        assert!(frames.close() && !frames.close(), "once");
        while frames.waiting() > 0 {
            self.write(frames);
        }
    }
}

/// What the frames carry that a server has written.
fn payload(mut bytes: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    loop {
        let (&[first, second], rest) = bytes.split_first_chunk().expect("a close frame is the last");
        let (length, rest) = match second {
            126 => {
                let (&length, rest) = rest.split_first_chunk().expect("a length");
                (usize::from(u16::from_be_bytes(length)), rest)
            }
            _ => (usize::from(second), rest),
        };
        let (here, rest) = rest.split_at(length);
        match first {
            0x82 => payload.extend_from_slice(here),
            0x8a => assert!(length <= 125),
            0x88 => {
                assert_eq!((here, rest), (&1000u16.to_be_bytes()[..], &[][..]));
                return payload;
            }
            _ => panic!("an unknown frame: {first:#x}"),
        }
        bytes = rest;
    }
}
