//! A load on committed mode, and the account of it: sessions that write, those who hear or settle what
//! was committed, and what is wrong with it. Which loads there are stands with the tests that make them.

// Whoever fails here fails a test, and says so by panicking.
#![allow(clippy::unwrap_used)]

pub mod account;
pub mod crew;
pub mod durable;
pub mod listener;
pub mod settlement;
pub mod writers;
