//! The only file that knows epoll: add, want, remove, wait, and the packing of user-data. What a
//! handler's number means is decided in lib.rs.

use crate::slots::Key;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// What a descriptor is ready for, or is wanted to be.
pub type Ready = EpollFlags;

/// To be told when there is something to read.
pub const READ: Ready = EpollFlags::EPOLLIN;
/// To be told when there is room to write.
pub const WRITE: Ready = EpollFlags::EPOLLOUT;
/// To be told that the peer has closed its half, while nothing is read that would tell it.
pub const HALF_CLOSED: Ready = EpollFlags::EPOLLRDHUP;
/// To be told only that the peer is gone altogether, which epoll always tells.
pub const NOTHING: Ready = EpollFlags::empty();

/// The same once, and not again and again: for somebody who is not to be looked at before something
/// else has happened.
pub const GONE_ONCE: Ready = EpollFlags::EPOLLET;

/// How many events one turn takes. More stay with the kernel for the next turn; the number only
/// bounds how long a turn gets.
pub const EVENTS_MAX: usize = 256;

/// Events of one turn.
pub type Events = [EpollEvent; EVENTS_MAX];

/// One epoll instance.
#[derive(Debug)]
pub struct Poll {
    epoll: Epoll,
}

impl Poll {
    /// Makes one.
    ///
    /// # Errors
    /// Those of epoll_create1(2): no descriptor or no memory left.
    pub fn new() -> Result<Poll, Errno> {
        Ok(Poll { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Watches a descriptor: events for it lead to the handler of this number, with this key.
    ///
    /// # Errors
    /// Those of epoll_ctl(2): no memory, or too many watches for this user.
    pub fn add(&self, fd: impl AsFd, handler: u8, key: Key, ready: Ready) -> Result<(), Errno> {
        self.epoll.add(fd, EpollEvent::new(ready, pack(handler, key)))
    }

    /// Changes what is wanted of a watched descriptor.
    ///
    /// # Errors
    /// Those of epoll_ctl(2), which does not fail for a descriptor that is watched.
    pub fn want(&self, fd: impl AsFd, handler: u8, key: Key, ready: Ready) -> Result<(), Errno> {
        self.epoll.modify(fd, &mut EpollEvent::new(ready, pack(handler, key)))
    }

    /// Stops watching. Closing a descriptor does it too, but not for one that was duplicated.
    pub fn remove(&self, fd: impl AsFd) {
        // It is watched, so this cannot fail; and if it did, the key would be stale anyway.
        let _ = self.epoll.delete(fd);
    }

    /// Sleeps until something is ready, or until the deadline if there is one, and says how many
    /// events there are. A signal that is not ours ends the sleep early.
    ///
    /// # Errors
    /// Those of epoll_wait(2), all of which would be faults of this program.
    pub fn wait(&self, events: &mut Events, now: Instant, until: Option<Instant>) -> Result<usize, Errno> {
        match self.epoll.wait(events, timeout(now, until)) {
            Err(Errno::EINTR) => Ok(0),
            result => result,
        }
    }
}

/// The handler's number and the key out of an event's user-data.
pub fn split(data: u64) -> (usize, Key) {
    ((data >> 56) as usize, Key::from_bits(data))
}

fn pack(handler: u8, key: Key) -> u64 {
    u64::from(handler) << 56 | key.to_bits()
}

/// Milliseconds to sleep, rounded up: waking before the deadline would mean another turn for nothing.
fn timeout(now: Instant, until: Option<Instant>) -> EpollTimeout {
    let Some(until) = until else { return EpollTimeout::NONE };
    let left = until.saturating_duration_since(now) + Duration::from_micros(999);
    EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    #[test]
    fn user_data_holds_handler_and_key() {
        let mut slots = Slots::default();
        for _ in 0..100 {
            let key = slots.insert(());
            assert_eq!(split(pack(7, key)), (7, key));
            if key.to_bits() % 3 == 0 {
                slots.remove(key);
            }
        }
    }

    #[test]
    fn a_sleep_ends_at_the_deadline_and_not_before() {
        let now = Instant::now();
        assert_eq!(timeout(now, None), EpollTimeout::NONE);
        assert_eq!(timeout(now, Some(now)), EpollTimeout::ZERO);
        assert_eq!(timeout(now, Some(now + Duration::from_micros(1))), EpollTimeout::from(1u8));
        assert_eq!(timeout(now, Some(now + Duration::from_millis(5))), EpollTimeout::from(5u8));
    }
}
