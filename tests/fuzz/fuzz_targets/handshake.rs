//! The JSON of CONNECT and INFO.
//!
//! - No input makes a panic.
//! - What was understood, written down and read again, is written down the same; and on one line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcall_wire::handshake::{Connect, Info};

fuzz_target!(|input: &[u8]| {
    if let Some(connect) = Connect::from_json(input) {
        let text = serde_json::to_string(&connect).unwrap();
        let again = Connect::from_json(text.as_bytes()).expect("it was written by us");
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        assert!(!text.contains('\n'));
    }
    if let Ok(info) = serde_json::from_slice::<Info>(input) {
        let text = serde_json::to_string(&info).unwrap();
        let again: Info = serde_json::from_str(&text).expect("it was written by us");
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
        assert!(!text.contains('\n'));
    }
});
