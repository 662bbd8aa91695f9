//! What comes by HTTP: heads, what they ask for, bodies with a length and in chunks. The first byte says into
//! pieces of how many bytes the rest is cut, and whether it begins with chunks, behind a head that is always the
//! same. So that short inputs come far, some bytes in it stand for others: see [`spell_out`].
//!
//! - No input makes a panic.
//! - However it is cut, it is the same requests, and the same is left behind them.
//! - What the daemon says of its limits is so: no body is larger, and no more of a head is kept.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcalld::fuzz::requests;
use std::time::Instant;

/// What a body may have here.
const BODY_MAX: usize = 12;

/// What a head may have: docs/http.md.
const HEAD_MAX: usize = 16 << 10;

/// More than a head, a body and a chunk's line together.
const INPUT_MAX: usize = 20 << 10;

const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

/// About so many bytes are parsed: a head is parsed anew with each piece of it, so long ones come in larger
/// pieces.
const WORK_MAX: usize = 128 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let mut bytes = if choice & 0x80 == 0 { Vec::new() } else { CHUNKED.to_vec() };
    spell_out(rest, &mut bytes);
    let now = Instant::now();
    let whole = requests([&bytes[..]], BODY_MAX, now);
    assert!(whole.whole.iter().all(|(_, body)| body.len() <= BODY_MAX), "{whole:?}");
    assert!(whole.unread <= HEAD_MAX, "{whole:?}");
    let piece = 1 + usize::from(choice & 0x7f) + bytes.len() * bytes.len() / WORK_MAX;
    assert_eq!(requests(bytes.chunks(piece), BODY_MAX, now), whole);
});

/// A zero is a thousand more of the byte before; 0x80 to 0xbf are chunks of so many bytes, the last one of none.
fn spell_out(input: &[u8], bytes: &mut Vec<u8>) {
    for &byte in input {
        match (byte, bytes.last()) {
            (0, Some(&last)) => bytes.extend([last; 1000]),
            (0x80..=0xbf, _) => {
                let size = usize::from(byte & 0x3f);
                bytes.extend_from_slice(format!("{size:x}\r\n{:size$}\r\n", "").as_bytes());
            }
            _ => bytes.push(byte),
        }
    }
    bytes.truncate(INPUT_MAX);
}
