//! The header block of a message, as the two ends read it.
//!
//! - No block makes a panic; its parts lie within it.
//! - The valid pairs that were read, written as a block, are read again.
//! - Whoever asks for a name gets the value of the first pair of that name.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcall_wire::headers;

fuzz_target!(|input: &[u8]| {
    let _ = headers::status(input);
    let pairs: Vec<(&[u8], &[u8])> = headers::pairs(input).collect();
    assert!(pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= input.len());
    for (name, _) in &pairs {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        let first = pairs.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        assert_eq!(headers::value(input, text), first.map(|(_, value)| *value));
    }
    let valid: Vec<_> =
        pairs.into_iter().filter(|(n, v)| headers::valid_name(n) && headers::valid_value(v)).collect();
    let mut block = b"before".to_vec();
    let length = headers::block(&mut block, valid.iter().copied());
    let block = &block[b"before".len()..];
    assert_eq!(length, block.len());
    assert!(block.ends_with(b"\r\n\r\n"));
    assert_eq!(headers::status(block), None);
    assert!(headers::pairs(block).eq(valid));
});
