//! Numbers that nobody guesses, from the kernel. Drawing one never waits, reads no file and cannot fail, since a user's
//! statement waits for it.
//!
//! This is a door for `unsafe`: std's own source, `RandomState`, draws from the kernel once for each thread and counts
//! from there; where it has to, it opens /dev/urandom, and panics if it cannot.
#![allow(unsafe_code)]

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Random bytes that the kernel gives each program as it starts: AT_RANDOM of getauxval(3).
const START_LEN: usize = 16;

/// 64 bits.
pub(crate) fn secret() -> u64 {
    from_kernel().unwrap_or_else(from_start)
}

/// Draws from the kernel's generator: 0.4 microseconds. Nothing where it is not seeded yet (EAGAIN, early after boot), is
/// not there (ENOSYS, before Linux 3.17) or is shut by a filter of system calls (EPERM).
fn from_kernel() -> Option<u64> {
    let mut bytes = 0_u64.to_ne_bytes();
    // Not through the C library: an old one lacks the name, and the server would not load this library.
    // SAFETY: the kernel writes into the array, and no more than its length.
    let written =
        unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), libc::GRND_NONBLOCK) };
    (usize::try_from(written) == Ok(bytes.len())).then(|| u64::from_ne_bytes(bytes))
}

/// The fallback: what the kernel gave this program as it started, the time, and a number that never comes again, hashed
/// (SipHash). Who does not read the server's memory does not know the first of them.
fn from_start() -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let mut hasher = DefaultHasher::new();
    // SAFETY: no pointers are passed.
    let start = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const [u8; START_LEN];
    // SAFETY: it is null, or points to that many bytes, which stay as long as the program.
    if let Some(start) = unsafe { start.as_ref() } {
        hasher.write(start);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.write_u64(DRAWN.fetch_add(1, Relaxed));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// As many as are drawn here are alike once in 10^11 runs.
    const DRAWN: usize = 10_000;

    #[test]
    fn no_two_secrets_are_alike_whatever_they_come_from() {
        let check = |draw: &dyn Fn() -> u64| {
            let drawn: BTreeSet<u64> = (0..DRAWN).map(|_| draw()).collect();
            assert_eq!(drawn.len(), DRAWN);
            // Each bit is set in about half of them.
            for bit in 0..u64::BITS {
                let set = drawn.iter().filter(|number| *number >> bit & 1 == 1).count();
                assert!((DRAWN * 2 / 5..DRAWN * 3 / 5).contains(&set), "bit {bit}: {set}");
            }
        };
        check(&secret);
        check(&|| from_kernel().expect("this kernel has a generator"));
        check(&from_start);
    }
}
