//! A byte buffer with a limit. The memory is the server's, and any account may call the functions
//! with values of any length: what is built here stops growing where the daemon stops taking it.

use crate::counters::Reason;
use std::ops::Deref;

/// The bytes, and how many they may become.
#[derive(Debug)]
pub(crate) struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Bounded {
    /// An empty buffer, which has not allocated.
    pub(crate) const fn new(limit: usize) -> Bounded {
        Bounded { bytes: Vec::new(), limit }
    }

    /// Empties it, and sets another limit. What was allocated stays.
    pub(crate) fn begin(&mut self, limit: usize) {
        self.bytes.clear();
        self.limit = limit;
    }

    /// Appends bytes.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.room(bytes.len())?.extend_from_slice(bytes);
        Ok(())
    }

    /// The buffer, with room for so many bytes more, which the caller keeps to.
    #[inline]
    pub(crate) fn room(&mut self, more: usize) -> Result<&mut Vec<u8>, Reason> {
        if more > self.limit.saturating_sub(self.bytes.len()) {
            return Err(Reason::TooLarge);
        }
        if more > self.bytes.capacity() - self.bytes.len() {
            self.grow(self.bytes.len() + more)?;
        }
        Ok(&mut self.bytes)
    }

    /// Twice as much each time, so that appending costs what was appended; the limit at most.
    fn grow(&mut self, needed: usize) -> Result<(), Reason> {
        let wanted = needed.max(2 * self.bytes.capacity()).min(self.limit);
        // An allocation that fails must not abort the server.
        self.bytes.try_reserve_exact(wanted - self.bytes.len()).map_err(|_| Reason::NoMemory)
    }

    /// The buffer as it is, to be given back or counted.
    pub(crate) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Deref for Bounded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allocated_beyond_the_limit() {
        let mut buffer = Bounded::new(1000);
        for _ in 0..10 {
            buffer.put(&[b'x'; 100]).unwrap();
            assert!(buffer.bytes.capacity() <= 1000, "{}", buffer.bytes.capacity());
        }
        assert_eq!(buffer.put(b"y"), Err(Reason::TooLarge));
        assert_eq!((buffer.len(), buffer.put(b"")), (1000, Ok(())));
        assert_eq!(buffer.room(usize::MAX).map(|_| ()), Err(Reason::TooLarge));
        buffer.begin(10);
        assert_eq!(buffer.put(&[0; 11]), Err(Reason::TooLarge));
        assert_eq!((buffer.put(&[0; 10]), buffer.len()), (Ok(()), 10));
    }

    #[test]
    fn appending_allocates_seldom() {
        let (mut buffer, mut allocations) = (Bounded::new(1 << 20), 0);
        for _ in 0..1 << 20 {
            let before = buffer.bytes.capacity();
            buffer.put(b"x").unwrap();
            allocations += usize::from(buffer.bytes.capacity() != before);
        }
        assert!(allocations <= 21, "{allocations}");
    }
}
