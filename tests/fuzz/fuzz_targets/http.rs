//! What comes by HTTP: heads, what they ask for, bodies with a length and in chunks. The first byte says into
//! pieces of how many bytes the rest is cut. In the rest a zero byte stands for a thousand more of the byte
//! before it, so that short inputs reach the limits.
//!
//! - No input makes a panic.
//! - However it is cut, it is the same requests, and the same is left behind them.
//! - What the daemon says of its limits is so: no body is larger, and no more of a head is kept.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcalld::fuzz::requests;
use std::time::Instant;

/// What a body may have here.
const BODY_MAX: usize = 64;

/// What a head may have: docs/http.md.
const HEAD_MAX: usize = 16 << 10;

/// More than a head, a body and a chunk's line together.
const INPUT_MAX: usize = 20 << 10;

/// About so many bytes are parsed: a head is parsed anew with each piece of it, so long ones come in larger
/// pieces.
const WORK_MAX: usize = 128 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, rest)) = input.split_first() else { return };
    let bytes = stretched(rest);
    let now = Instant::now();
    let whole = requests([&bytes[..]], BODY_MAX, now);
    assert!(whole.whole.iter().all(|(_, body)| body.len() <= BODY_MAX), "{whole:?}");
    assert!(whole.unread <= HEAD_MAX, "{whole:?}");
    let piece = 1 + usize::from(choice) + bytes.len() * bytes.len() / WORK_MAX;
    assert_eq!(requests(bytes.chunks(piece), BODY_MAX, now), whole);
});

fn stretched(input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &byte in input {
        match bytes.last() {
            Some(&last) if byte == 0 => bytes.extend([last; 1000]),
            _ => bytes.push(byte),
        }
    }
    bytes.truncate(INPUT_MAX);
    bytes
}
