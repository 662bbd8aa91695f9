//! `sql_delay`: after a start on a socket that was passed, SQL's connections are taken in and greeted at once
//! like all others, and what they say is put off for a time, so that those who listen are subscribed by then.
//!
//! The library's CONNECT tells its connections from others on the same socket. What came in one read with it
//! (at most [`INPUT_MAX`](crate::INPUT_MAX) bytes) is kept here, the rest waits in the kernel.

use crate::client::Client;
use crate::slots::Key;
use crate::{Daemon, Timer};
use std::time::Duration;

impl Daemon {
    /// What SQL says from now on is put off, until the time is over or the daemon leaves.
    pub(crate) fn delay_sql(&mut self, delay: Duration) {
        self.delays_sql = true;
        self.timers.set(self.now + delay, Timer::Sql);
    }

    /// The connection is SQL's: it is not read from until the delay is over.
    pub(crate) fn put_off(&mut self, key: Key) {
        if !self.delays_sql {
            return;
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.is_put_off = true;
            self.watch(key);
        }
    }

    /// The delay is over: what was put off is done, and nothing more is put off.
    pub(crate) fn end_sql_delay(&mut self) {
        self.delays_sql = false;
        for key in self.clients.keys() {
            self.resume(key);
        }
    }

    /// Does what a connection has said while it was put off, if it was.
    pub(crate) fn resume(&mut self, key: Key) {
        let is_put_off = |client: &mut Client| std::mem::take(&mut client.is_put_off);
        if self.clients.get_mut(key).is_some_and(is_put_off) {
            self.watch(key);
            self.feed_kept(key);
        }
    }
}
