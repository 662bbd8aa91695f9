//! Leaving, in two steps. First nobody new comes in over TCP and clients are told, but everything goes on, so that
//! they can act on it (the reference's lame-duck mode); SQL notices nothing of it. Then what has arrived is done,
//! what is owed is written, and the loop ends.

use crate::activation;
use crate::client::Client;
use crate::listener::{Door, Peer};
use crate::outbox::Outbox;
use crate::slots::Key;
use crate::stats::Reason;
use crate::{Daemon, Timer};
use nix::sys::socket::Shutdown;

/// How many reads of one client are made when leaving begins. A socket's buffers hold less (a few
/// megabytes); only someone who never stops publishing would fill so many.
const LAST_READS_MAX: usize = 64;

impl Daemon {
    /// Begins to leave: gives clients time, if there are any that want it. A second signal ends that time.
    pub(crate) fn begin_leaving(&mut self) {
        let grace = self.config.lame_duck.0;
        if self.lame_duck.is_some() || grace.is_zero() {
            return self.begin_drain();
        }
        let until = self.now + grace;
        self.lame_duck = Some(until);
        activation::is_leaving(grace + self.config.drain_timeout.0);
        self.timers.set(until, Timer::Leave);
        self.stop_listening(Door::Tcp);
        for key in self.clients.keys() {
            self.warn(key);
        }
        tracing::info!(clients = self.warned, lame_duck = ?grace, "about to leave");
        self.end_lame_duck();
    }

    /// Tells a client that the daemon will leave, if it listens to that; it is waited for if it can act on it.
    fn warn(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key).filter(|client| client.wants.later_info) else { return };
        if !client.standing.is_library {
            client.is_warned = true;
            self.warned += 1;
        }
        self.send_info(key, true);
    }

    /// Goes on with leaving once all who were told have gone, or their time is over. What this produces for clients
    /// is written when the turn ends.
    pub(crate) fn end_lame_duck(&mut self) {
        if self.leave_by.is_none()
            && let Some(until) = self.lame_duck
            && (self.warned == 0 || until <= self.now)
        {
            self.begin_drain();
        }
    }

    /// Leaves in earnest.
    ///
    /// What had arrived by now is still done, so it is all read here. On a Unix socket nothing can
    /// arrive afterwards unnoticed: reading is shut first, and from then on the other end's send
    /// fails. So an SQL function never counts an event as sent that nobody will read.
    fn begin_drain(&mut self) {
        if self.leave_by.is_some() {
            return;
        }
        let deadline = self.now + self.config.drain_timeout.0;
        self.leave_by = Some(deadline);
        activation::is_leaving(self.config.drain_timeout.0);
        self.timers.set(deadline, Timer::Leave);
        self.end_sql_delay();
        self.stop_listening(Door::All);
        self.leave_outbox();
        for key in self.clients.keys() {
            self.read_the_last(key);
        }
        self.outbox.iter_mut().for_each(Outbox::finish);
        for key in self.clients.keys() {
            if self.lame_duck.is_none() && self.clients.get(key).is_some_and(|client| client.wants.later_info)
            {
                self.send_info(key, true);
            }
            self.send_visitor_away(key, "rowcalld is leaving");
            // From now on it ends as any connection does that is told something first: what it is
            // owed is written, and it may hang up by itself.
            self.leave(key, Reason::Leaving);
        }
        tracing::info!(clients = self.clients.len(), "leaving");
    }

    /// Whether the daemon was told to leave.
    pub(crate) fn is_leaving(&self) -> bool {
        self.lame_duck.is_some() || self.leave_by.is_some()
    }

    /// Reads what has arrived of a client; on a Unix socket nothing more can arrive.
    pub(crate) fn read_the_last(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if let Peer::Unix = client.peer {
            client.is_shut = true;
            // It fails only for a peer that is gone.
            let _ = client.transport.shut(Shutdown::Read);
        }
        self.let_go(key);
        for _ in 0..LAST_READS_MAX {
            self.resume(key);
            if self.read_client(key) == 0 {
                return;
            }
        }
    }

    /// Whether the daemon was told to leave and nobody needs it any more, or the time is over. Then it
    /// closes what is still open.
    ///
    /// Clients on TCP are needed to hang up: closing while they talk would throw away what the kernel
    /// still has for them. On a Unix socket it has been delivered once it is written.
    pub(crate) fn has_left(&mut self) -> bool {
        let Some(deadline) = self.leave_by else { return false };
        let needed = |client: &Client| !client.owed.is_empty() || !matches!(client.peer, Peer::Unix);
        let reading = || self.outbox.as_ref().is_some_and(|outbox| !outbox.has_ended());
        if self.now < deadline && (reading() || self.clients.iter().any(|(_, client)| needed(client))) {
            return false;
        }
        for key in self.clients.keys() {
            self.close_client(key);
        }
        tracing::info!(
            in_msgs = self.stats.in_msgs,
            out_msgs = self.stats.out_msgs,
            unheard_msgs = self.stats.unheard,
            lost_bytes = self.stats.lost_bytes,
            lost_mail = self.mail.len(),
            "left"
        );
        true
    }
}
