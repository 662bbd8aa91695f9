//! As whom a connection is here, from its first moment on: nobody yet, someone whose password is being
//! checked, or a user with rights.

use super::login::VIOLATION;
use super::permissions::Rights;
use super::replies::Replies;
use super::{Proof, User};
use crate::Daemon;
use crate::client::Client;
use crate::listener::Peer;
use crate::slots::Key;
use nix::sys::socket::{getsockopt, sockopt};
use rowcall_wire::Message;
use rowcall_wire::handshake::Connect;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// As whom a connection is here.
pub(crate) struct Standing {
    /// Who it is; `None` until it has logged in.
    user: Option<Rc<User>>,
    /// Whether it may publish to everything, so that nothing need be asked.
    pub(crate) publishes_freely: bool,
    /// Whether each delivery to it must be looked at.
    pub(crate) is_looked_at: bool,
    /// Whether what it is told of a refusal must be something that the library understands.
    pub(crate) is_library: bool,
    /// The requests it may answer.
    replies: Box<Replies>,
    /// What it is to sign if it logs in with a key. Empty if nobody does.
    pub(crate) nonce: Box<str>,
    /// Whether a password that it has shown is being checked.
    waiting: bool,
    /// The CONNECT that the check is about, to be gone on with afterwards.
    pub(crate) connect: Option<Box<Connect>>,
    /// When it came.
    pub(crate) since: Instant,
}

impl Standing {
    /// Someone who has just come.
    pub(crate) fn new(user: Option<Rc<User>>, now: Instant) -> Standing {
        let mut standing = Standing {
            user: None,
            publishes_freely: false,
            is_looked_at: false,
            is_library: false,
            replies: Box::default(),
            nonce: Box::default(),
            waiting: false,
            connect: None,
            since: now,
        };
        standing.set_user(user);
        standing
    }

    fn set_user(&mut self, user: Option<Rc<User>>) {
        let rights = user.as_ref().map(|user| &user.rights);
        self.publishes_freely = rights.is_some_and(|rights| rights.publish.is_open());
        self.is_looked_at = rights.is_some_and(|rights| rights.withholds() || rights.responses.is_some());
        self.user = user;
    }

    /// As whom it has logged in, if it had to.
    pub(crate) fn name(&self) -> Option<&str> {
        let user = self.user.as_deref()?;
        (!matches!(user.proof, Proof::None)).then_some(&*user.name)
    }

    /// What it may do. Someone who has not logged in may do nothing, and is not asked.
    pub(crate) fn rights(&self) -> Option<&Rights> {
        self.user.as_deref().map(|user| &user.rights)
    }

    /// Whether a message may be delivered to it. A request may be answered from then on.
    pub(crate) fn takes(&mut self, message: &Message<'_>, now: Instant) -> bool {
        let Some(rights) = self.user.as_deref().map(|user| &user.rights) else { return false };
        let may = rights.may_receive(message.subject);
        if may && let (Some(reply), Some(how)) = (message.reply, rights.responses) {
            self.replies.grant(reply, how, now);
        }
        may
    }

    /// Whether it may publish to this.
    pub(crate) fn may_publish(&mut self, subject: &[u8], now: Instant) -> bool {
        let Some(rights) = self.user.as_deref().map(|user| &user.rights) else { return false };
        rights.may_publish(subject) || (rights.responses.is_some() && self.replies.take(subject, now))
    }
}

impl Client {
    /// Whether it has to log in before anything else.
    #[inline]
    pub(crate) fn is_stranger(&self) -> bool {
        self.standing.user.is_none()
    }

    /// Whether its password is being checked.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.standing.waiting
    }
}

impl Daemon {
    /// As whom a new connection begins; `None` if that is to be found out.
    pub(crate) fn first_user(&self, peer: Peer) -> Option<Rc<User>> {
        match peer {
            Peer::Unix => Some(Rc::clone(&self.config.access.sql)),
            _ if self.config.access.has_users() => None,
            _ => Some(Rc::clone(&self.anyone)),
        }
    }

    /// Whether the account that this connection comes from may use the Unix socket. The kernel says which
    /// one it is.
    pub(crate) fn may_use_socket(&self, fd: &impl AsFd) -> bool {
        let uid = getsockopt(fd, sockopt::PeerCredentials).map(|credentials| credentials.uid());
        let may = uid.is_ok_and(|uid| self.config.access.socket_peers.contains(&uid));
        if !may {
            tracing::info!(uid = uid.ok(), "this account may not use the socket (socket_peers)");
        }
        may
    }

    /// From now on this connection is this user. What it has subscribed to and may not any more, it is
    /// told of and loses.
    pub(crate) fn become_user(&mut self, key: Key, user: Rc<User>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let unchanged = client.standing.rights() == Some(&user.rights);
        client.standing.set_user(Some(Rc::clone(&user)));
        if unchanged {
            return;
        }
        if client.awaits_reply() {
            return;
        }
        let all: Vec<Key> = client.subscriptions.iter().copied().collect();
        for found in all {
            let Some(subscription) = self.subscriptions.get(found) else { continue };
            let (filter, queue) = (subscription.filter.clone(), subscription.queue.clone());
            if !user.rights.may_subscribe(&filter, queue.as_deref()) {
                let sid = subscription.sid.clone();
                self.unsubscribe(found);
                self.forbid_subscription(key, &filter, queue.as_deref(), &sid);
            }
        }
    }

    /// The connection is not read from until it is known who it is.
    pub(crate) fn begin_waiting(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.standing.waiting = true;
        }
        self.watch(key);
    }

    /// It is known: goes on with what has come meanwhile.
    pub(crate) fn end_waiting(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && std::mem::take(&mut client.standing.waiting)
        {
            self.watch(key);
            self.feed_kept(key);
        }
    }

    /// When a connection must have logged in, if it has to. A handshake has its own time.
    pub(crate) fn login_due(&self, client: &Client) -> Option<Instant> {
        let handshake = if client.transport.is_plain() { Duration::ZERO } else { self.config.tls_timeout.0 };
        client.is_stranger().then(|| client.standing.since + self.config.auth_timeout.0 + handshake)
    }

    /// Everyone is looked at anew, after the file of users was read again: whoever is still what he was
    /// goes on, with the rights that he has now.
    pub(crate) fn revise_everyone(&mut self) {
        for key in self.clients.keys() {
            let Some(client) = self.clients.get(key).filter(|client| client.is_open()) else { continue };
            match self.user_now(client) {
                Ok(Some(user)) => self.become_user(key, user),
                Ok(None) => {}
                Err(()) => {
                    if let Peer::Unix = client.peer {
                        // What SQL was told is sent is still passed on; what it sends now fails there.
                        self.read_the_last(key);
                    }
                    self.stats.auth_failures += 1;
                    self.refuse(key, VIOLATION);
                    self.end_waiting(key);
                }
            }
        }
    }

    /// Who a connection is by now; `Err` if it may not go on.
    fn user_now(&self, client: &Client) -> Result<Option<Rc<User>>, ()> {
        match (client.peer, &client.standing.user) {
            (Peer::Unix, _) if !self.may_use_socket(&client.transport) => Err(()),
            (Peer::Unix, _) => Ok(self.first_user(client.peer)),
            // Someone who has not logged in yet does so by the new file.
            (_, None) => Ok((!self.config.access.has_users()).then(|| Rc::clone(&self.anyone))),
            (_, Some(_)) if !self.config.access.has_users() => Ok(Some(Rc::clone(&self.anyone))),
            (_, Some(user)) => {
                let same = self.config.access.user(&user.name).filter(|now| now.proof == user.proof);
                same.map(|user| Some(Rc::clone(user))).ok_or(())
            }
        }
    }
}
