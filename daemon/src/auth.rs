//! Who may come in and what they may do: what the administrator has decided, as types. The file that
//! says so is read in auth/file.rs; the rules stand in auth/permissions.rs and auth/replies.rs; logging
//! in, in auth/login.rs; as whom a connection is here, in auth/standing.rs; where the daemon asks the
//! rules, in auth/enforce.rs; what it tells someone of himself, in auth/user_info.rs.

pub(crate) mod attempts;
pub(crate) mod checker;
pub(crate) mod enforce;
pub(crate) mod file;
pub(crate) mod login;
pub(crate) mod permissions;
pub(crate) mod replies;
mod standing;
pub(crate) mod user_info;

use permissions::Rights;
use sha2::{Digest, Sha256};
pub(crate) use standing::Standing;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Everything that the administrator has decided about it. The default: nobody has to log in, SQL may
/// do everything.
#[derive(Clone)]
pub struct Access {
    /// Who may log in. While there is nobody, nobody has to.
    pub(crate) users: HashMap<Box<str>, Rc<User>>,
    /// Whom everyone on the Unix socket counts as.
    pub(crate) sql: Rc<User>,
    /// Which accounts of the system may connect to the Unix socket, by their numbers.
    pub(crate) socket_peers: Vec<u32>,
}

/// Someone who may do something.
pub(crate) struct User {
    /// What the log calls them.
    pub(crate) name: Box<str>,
    /// How they prove it.
    pub(crate) proof: Proof,
    /// What they may do.
    pub(crate) rights: Rights,
}

/// How a user proves to be one. No passwords and no tokens are kept, only what they are checked with;
/// even that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Not at all: they cannot log in.
    None,
    /// A password, by its bcrypt hash.
    Password(Arc<str>),
    /// A long random token, by its SHA-256 digest.
    Token([u8; 32]),
    /// A signature that fits this public key.
    Nkey(Box<str>),
}

impl Access {
    /// Whether anyone who comes from outside has to log in.
    pub(crate) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// The user of this name.
    pub(crate) fn user(&self, name: &str) -> Option<&Rc<User>> {
        self.users.get(name)
    }

    /// The user with this token. All of them are looked at, whichever it is.
    pub(crate) fn by_token(&self, token: &str) -> Option<&Rc<User>> {
        let shown = Sha256::digest(token.as_bytes());
        let mut found = None;
        for user in self.users.values() {
            if let Proof::Token(digest) = &user.proof
                && bool::from(digest.as_slice().ct_eq(shown.as_slice()))
            {
                found = Some(user);
            }
        }
        found
    }

    /// The user with this public key, which is no secret.
    pub(crate) fn by_nkey(&self, shown: &str) -> Option<&Rc<User>> {
        self.users.values().find(|user| matches!(&user.proof, Proof::Nkey(key) if **key == *shown))
    }

    /// Whether anyone logs in by signing what the greeting holds.
    pub(crate) fn has_nkeys(&self) -> bool {
        self.users.values().any(|user| matches!(user.proof, Proof::Nkey(_)))
    }

    /// The bcrypt hashes there are.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.users.values().filter_map(|user| match &user.proof {
            Proof::Password(hash) => Some(hash),
            _ => None,
        })
    }
}

impl User {
    /// Whoever does not have to log in.
    pub(crate) fn anyone() -> Rc<User> {
        Rc::new(User { name: "anyone".into(), proof: Proof::None, rights: Rights::default() })
    }
}

/// Without what it takes to be someone.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.users.keys().collect();
        names.sort();
        f.debug_struct("Access").field("users", &names).field("socket_peers", &self.socket_peers).finish()
    }
}
