//! The configuration file.
//!
//! - No text makes a panic.
//! - What is accepted keeps to the limits that the rest of the daemon relies on.
//! - What is refused is refused with words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcall_wire::PAYLOAD_CEILING;
use rowcalld::fuzz::config;

fuzz_target!(|text: &str| {
    match config(text) {
        Ok(config) => {
            assert!((1..=PAYLOAD_CEILING).contains(&config.max_payload.0));
            assert!(config.max_pending.0 >= config.max_payload.0);
        }
        Err(wrong) => assert!(!wrong.to_string().trim().is_empty()),
    }
});
