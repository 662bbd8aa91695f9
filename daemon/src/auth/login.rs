//! Logging in: what someone shows, who they are by it, and what comes of that. However the credentials
//! came (CONNECT, or a header of HTTP), the outcome is dealt with in one place, [`Daemon::on_login`].

use super::checker::{Answer, Checker, Question, random};
use super::{Proof, User};
use crate::client::Client;
use crate::listener::Peer;
use crate::poll::{READ, Ready};
use crate::slots::{Key, Slots};
use crate::{Daemon, Handler};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rowcall_wire::handshake::Connect;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What everyone is told whose credentials are wrong or missing, whichever it is.
pub(crate) const VIOLATION: &str = "Authorization Violation";

/// What someone is told who came too late, or when there is no time to look. Clients try again after
/// it, where two violations in a row would end them.
pub(crate) const TIMEOUT: &str = "Authentication Timeout";

/// Bytes in a nonce, as many as the reference's has.
const NONCE: usize = 11;

/// What someone shows.
pub(crate) enum Credentials {
    Password {
        name: String,
        password: String,
    },
    Token(String),
    /// A public key, and the signature of the connection's nonce that fits it.
    Nkey {
        key: String,
        signature: String,
    },
    Nothing,
}

/// Who someone is by what was shown.
pub(crate) enum Outcome {
    Welcome(Rc<User>),
    Wrong,
    /// There is no time to look.
    Busy,
}

/// The part of an address that stands for whoever is behind it: all of an IPv4 address, the first half
/// of another, which is what one customer is given.
pub(crate) type Source = u64;

impl Credentials {
    /// What CONNECT holds. A key counts before a name, and a name before a token.
    pub(crate) fn of(connect: &mut Connect) -> Credentials {
        let mut given = |field: fn(&mut Connect) -> &mut Option<String>| {
            field(connect).take().filter(|text| !text.is_empty())
        };
        let (key, name) = (given(|it| &mut it.nkey), given(|it| &mut it.user));
        let (signature, password) = (given(|it| &mut it.sig), given(|it| &mut it.pass));
        match (key, name, given(|it| &mut it.auth_token)) {
            (Some(key), ..) => Credentials::Nkey { key, signature: signature.unwrap_or_default() },
            (_, Some(name), _) => Credentials::Password { name, password: password.unwrap_or_default() },
            (.., Some(token)) => Credentials::Token(token),
            _ => Credentials::Nothing,
        }
    }

    /// Whether anything was shown.
    pub(crate) fn are_shown(&self) -> bool {
        !matches!(self, Credentials::Nothing)
    }
}

impl Daemon {
    /// Someone wants to come in with this. What comes of it is told to [`Daemon::on_login`], now or, for
    /// passwords, a little later; until then the connection is not read from.
    pub(crate) fn log_in(&mut self, key: Key, shown: Credentials) {
        let Some(client) = self.clients.get(key) else { return };
        let source = source_of(client.peer);
        let outcome = match shown {
            Credentials::Nothing => Outcome::Wrong,
            // Nobody guesses a signature, so these attempts are not limited.
            Credentials::Nkey { key: shown, signature } => match self.config.access.by_nkey(&shown) {
                Some(user) if signs(&shown, client.standing.nonce.as_bytes(), &signature) => {
                    Outcome::Welcome(Rc::clone(user))
                }
                _ => Outcome::Wrong,
            },
            // A right one is let in however many wrong ones came before: nobody guesses it.
            Credentials::Token(token) => match self.config.access.by_token(&token).map(Rc::clone) {
                Some(user) => Outcome::Welcome(user),
                None if self.may_attempt(source) => Outcome::Wrong,
                None => Outcome::Busy,
            },
            Credentials::Password { name, password } => {
                match self.check_password(key, source, name, password) {
                    Some(outcome) => outcome,
                    None => return,
                }
            }
        };
        self.on_login(key, outcome);
    }

    /// Tells at once what can be told at once, and asks for the rest.
    fn check_password(
        &mut self,
        key: Key,
        source: Option<Source>,
        name: String,
        password: String,
    ) -> Option<Outcome> {
        let user = self.config.access.user(&name).map(Rc::clone);
        let hash = match user.as_deref().map(|user| &user.proof) {
            Some(Proof::Password(hash)) => Some(Arc::clone(hash)),
            _ => None,
        };
        // Without any hash there is nothing that could be told from anything.
        let Some(checker) = &self.checker else { return Some(Outcome::Wrong) };
        if let (Some(user), Some(hash)) = (user, &hash)
            && checker.knows(hash, &password)
        {
            return Some(Outcome::Welcome(user));
        }
        if !self.may_attempt(source) {
            return Some(Outcome::Busy);
        }
        let checker = self.checker.as_ref()?;
        if !checker.ask(Question { client: key, name: name.into(), hash, password }) {
            self.attempt_was_right(source);
            return Some(Outcome::Busy);
        }
        self.begin_waiting(key);
        None
    }

    /// Someone's credentials turned out to be right, or not: what this leads to, whoever it is and
    /// however they came.
    pub(crate) fn on_login(&mut self, key: Key, outcome: Outcome) {
        match &outcome {
            Outcome::Welcome(user) => {
                tracing::debug!(
                    client = self.clients.get(key).map(|it| it.id),
                    user = &*user.name,
                    "logged in"
                );
                self.stats.logins += 1;
                self.become_user(key, Rc::clone(user));
                self.on_welcome(key);
            }
            Outcome::Wrong => {
                self.stats.auth_failures += 1;
                self.turn_down(key, &outcome, VIOLATION);
            }
            Outcome::Busy => {
                self.stats.auth_timeouts += 1;
                self.turn_down(key, &outcome, TIMEOUT);
            }
        }
        self.end_waiting(key);
    }

    fn turn_down(&mut self, key: Key, outcome: &Outcome, text: &'static str) {
        match self.clients.get(key) {
            Some(client) if client.visit.is_some() => self.answer_login(key, outcome),
            _ => self.refuse(key, text),
        }
    }

    /// The thread has checked some passwords.
    pub(crate) fn on_checker(&mut self, _: Key, _: Ready) {
        let answers = self.checker.as_ref().map(Checker::answers).unwrap_or_default();
        for Answer { client: key, name, fits } in answers {
            let Some(client) = self.clients.get(key) else { continue };
            if fits.is_some() {
                let source = source_of(client.peer);
                self.attempt_was_right(source);
            }
            // The file may have been read anew meanwhile.
            let user = self.config.access.user(&name);
            let user = user
                .filter(|user| matches!(&user.proof, Proof::Password(hash) if fits.as_ref() == Some(hash)));
            let outcome = user.map_or(Outcome::Wrong, |user| Outcome::Welcome(Rc::clone(user)));
            if self.clients.get(key).is_some_and(|client| client.is_open() && client.is_waiting()) {
                self.on_login(key, outcome);
            }
        }
    }

    /// Starts the thread that checks passwords, if there are any to be checked and it is not there yet.
    pub(crate) fn open_checker(&mut self) -> Result<(), String> {
        if self.checker.is_none() && self.config.access.hashes().next().is_some() {
            let checker = Checker::start()?;
            // There is one such descriptor and its handler needs no key.
            let key = Slots::default().insert(());
            let added = self.poll.add(checker.bell(), Handler::Checker as u8, key, READ);
            added.map_err(|errno| format!("cannot watch the bell of the passwords: {errno}"))?;
            self.checker = Some(checker);
        }
        if let Some(checker) = &self.checker {
            checker.set_hashes(self.config.access.hashes());
        }
        Ok(())
    }

    fn may_attempt(&mut self, source: Option<Source>) -> bool {
        source.is_none_or(|source| self.attempts.take(source, self.now))
    }

    fn attempt_was_right(&mut self, source: Option<Source>) {
        if let Some(source) = source {
            self.attempts.give_back(source, self.now);
        }
    }
}

impl Client {
    /// What this connection is to sign, if somebody may log in by that.
    pub(crate) fn prepare_nonce(&mut self) {
        match random::<NONCE>() {
            Ok(nonce) => self.standing.nonce = URL_SAFE_NO_PAD.encode(nonce).into(),
            Err(error) => {
                tracing::error!(%error, "no random bytes for a nonce: nobody can log in with a key");
            }
        }
    }
}

fn source_of(peer: Peer) -> Option<Source> {
    peer.addresses().map(|(peer, _)| match peer.ip().to_canonical() {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    })
}

/// Whether the signature, in base64 of either kind, is that key's of the nonce's text.
fn signs(key: &str, nonce: &[u8], signature: &str) -> bool {
    let bare = signature.trim_end_matches('=');
    let signature = URL_SAFE_NO_PAD.decode(bare).or_else(|_| STANDARD_NO_PAD.decode(bare));
    let key = nkeys::KeyPair::from_public_key(key);
    !nonce.is_empty()
        && key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify(nonce, &signature).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connect_shows() {
        let shown = |json: &str| Credentials::of(&mut Connect::from_json(json.as_bytes()).unwrap());
        assert!(!shown("{}").are_shown());
        assert!(!shown(r#"{"user":"","auth_token":""}"#).are_shown());
        assert!(
            matches!(shown(r#"{"user":"u"}"#), Credentials::Password { password, .. } if password.is_empty())
        );
        assert!(matches!(shown(r#"{"auth_token":"t"}"#), Credentials::Token(token) if token == "t"));
        let all = r#"{"user":"u","pass":"p","auth_token":"t","nkey":"U1","sig":"s"}"#;
        assert!(matches!(shown(all), Credentials::Nkey { .. }));
        assert!(matches!(shown(r#"{"user":"u","pass":"p","auth_token":"t"}"#), Credentials::Password { .. }));
    }

    #[test]
    fn signatures() {
        let (pair, other) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
        let signature = pair.sign(b"nonce").unwrap();
        let (one, two) = (URL_SAFE_NO_PAD.encode(&signature), STANDARD_NO_PAD.encode(&signature) + "==");
        for text in [&one, &two] {
            assert!(signs(&pair.public_key(), b"nonce", text));
            assert!(!signs(&pair.public_key(), b"other", text));
            assert!(!signs(&other.public_key(), b"nonce", text));
        }
        assert!(!signs(&pair.public_key(), b"nonce", ""));
        assert!(!signs("U", b"nonce", &one) && !signs("", b"nonce", &one));
        // Without a nonce anybody's recording would do.
        assert!(!signs(&pair.public_key(), b"", &URL_SAFE_NO_PAD.encode(pair.sign(b"").unwrap())));
    }
}
