//! Checks passwords on a thread of its own: that takes a tenth of a second of a processor on purpose, and
//! the loop waits for nobody. What is asked and what comes of it stands in auth/login.rs.
//!
//! A password that was right is remembered as a keyed digest, so that it is right at once the next time: a
//! hundred workers that come back after a restart do not wait for each other. Names that nobody has are
//! checked against a hash that no password fits, so that they cannot be told from others by the time.

use crate::slots::Key;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use subtle::ConstantTimeEq;

/// Passwords that may wait to be checked. At a tenth of a second each, more would wait for longer than
/// `auth_timeout`.
const QUEUE_MAX: usize = 64;

/// Bytes of a secret key or of a password that nobody knows.
const SECRET: usize = 32;

/// The loop's end.
pub(crate) struct Checker {
    desk: Arc<Desk>,
}

/// A password to be checked.
pub(crate) struct Question {
    /// Whose connection it came on.
    pub(crate) client: Key,
    /// The user whose name came with it.
    pub(crate) name: Box<str>,
    /// What that user's password must fit; `None` if nobody is called so.
    pub(crate) hash: Option<Arc<str>>,
    /// What was shown.
    pub(crate) password: String,
}

/// What came of it.
pub(crate) struct Answer {
    pub(crate) client: Key,
    pub(crate) name: Box<str>,
    /// The hash that the password fits, if it fits.
    pub(crate) fits: Option<Arc<str>>,
}

/// What both sides share.
struct Desk {
    papers: Mutex<Papers>,
    /// There is a question.
    asked: Condvar,
    /// There is an answer, for the loop.
    bell: EventFd,
    /// Makes digests that mean nothing to anyone else.
    key: [u8; SECRET],
}

#[derive(Default)]
struct Papers {
    questions: VecDeque<Question>,
    answers: Vec<Answer>,
    /// Digests of passwords that were right, by the hash that they fit.
    known: HashMap<Arc<str>, [u8; 32]>,
    /// What the hash of nobody's password must cost.
    cost: u32,
}

impl Checker {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system could not give, for the administrator.
    pub(crate) fn start() -> Result<Checker, String> {
        let cannot = |what: &str, why: &dyn std::fmt::Display| format!("cannot {what}: {why}");
        let bell = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
        let bell = bell.map_err(|errno: Errno| cannot("make an eventfd", &errno))?;
        let key = random().map_err(|error| cannot("get random bytes from the system", &error))?;
        let desk = Arc::new(Desk { papers: Mutex::default(), asked: Condvar::new(), bell, key });
        let theirs = Arc::clone(&desk);
        thread::Builder::new()
            .name("passwords".into())
            .spawn(move || theirs.check_on())
            .map_err(|error| cannot("start a thread", &error))?;
        Ok(Checker { desk })
    }

    /// The descriptor that tells the loop to look.
    pub(crate) fn bell(&self) -> &EventFd {
        &self.desk.bell
    }

    /// The hashes there are by now: what is known of others is forgotten.
    pub(crate) fn set_hashes<'a>(&self, hashes: impl Iterator<Item = &'a Arc<str>>) {
        let hashes: HashSet<Arc<str>> = hashes.map(Arc::clone).collect();
        let costs = hashes.iter().filter_map(|hash| cost_of(hash));
        let mut papers = self.desk.papers();
        papers.cost = costs.max().unwrap_or(bcrypt::DEFAULT_COST);
        papers.known.retain(|hash, _| hashes.contains(hash));
        drop(papers);
        self.desk.asked.notify_all();
    }

    /// Whether the password is known to fit; that it is not says nothing.
    pub(crate) fn knows(&self, hash: &str, password: &str) -> bool {
        self.desk.papers().knows(hash, &self.desk.digest(password))
    }

    /// Puts a question, if not too many wait already.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let mut papers = self.desk.papers();
        let room = papers.questions.len() < QUEUE_MAX;
        if room {
            papers.questions.push_back(question);
            drop(papers);
            self.desk.asked.notify_all();
        }
        room
    }

    /// Whoever has asked is gone: what has not been checked need not be.
    pub(crate) fn forget(&self, client: Key) {
        self.desk.papers().questions.retain(|question| question.client != client);
    }

    /// Takes what has been answered.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        // Whoever rings again after this is heard again.
        let _ = self.desk.bell.read();
        std::mem::take(&mut self.desk.papers().answers)
    }
}

impl Papers {
    fn knows(&self, hash: &str, digest: &[u8; 32]) -> bool {
        self.known.get(hash).is_some_and(|known| known.ct_eq(digest).into())
    }
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn digest(&self, password: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.key).chain_update(password.as_bytes()).finalize().into()
    }

    /// The thread: it ends with the program.
    fn check_on(&self) {
        let mut nobody: Option<(u32, String)> = None;
        loop {
            let idle = |papers: &mut Papers| papers.questions.is_empty() && made(&nobody, papers.cost);
            let mut papers =
                self.asked.wait_while(self.papers(), idle).unwrap_or_else(PoisonError::into_inner);
            let (cost, question) = (papers.cost, papers.questions.pop_front());
            drop(papers);
            // Before it is needed, so that the first who needs it does not wait for longer.
            if !made(&nobody, cost) {
                nobody = Some((cost, nobodys_hash(cost)));
            }
            let Some(question) = question else { continue };
            let hash_of_nobody = nobody.as_ref().map_or("", |(_, hash)| hash.as_str());
            let answer = self.answer(question, hash_of_nobody);
            self.papers().answers.push(answer);
            // It fails only when it was rung 2^64 times without being heard.
            let _ = self.bell.write(1);
        }
    }

    fn answer(&self, question: Question, hash_of_nobody: &str) -> Answer {
        let Question { client, name, hash, password } = question;
        let digest = self.digest(&password);
        let known = hash.as_deref().is_some_and(|hash| self.papers().knows(hash, &digest));
        let fits =
            known || bcrypt::verify(&password, hash.as_deref().unwrap_or(hash_of_nobody)).unwrap_or(false);
        let fits = hash.filter(|_| fits);
        if let Some(hash) = &fits {
            self.papers().known.insert(Arc::clone(hash), digest);
        }
        Answer { client, name, fits }
    }
}

/// Whether the hash of nobody's password is there, and costs this much.
fn made(nobody: &Option<(u32, String)>, cost: u32) -> bool {
    cost == 0 || nobody.as_ref().is_some_and(|(made, _)| *made == cost)
}

/// A hash of a password that was forgotten at once.
fn nobodys_hash(cost: u32) -> String {
    let hash = random().ok().and_then(|secret: [u8; SECRET]| bcrypt::hash(secret, cost).ok());
    hash.unwrap_or_default()
}

/// What a bcrypt hash says that it costs.
pub(crate) fn cost_of(hash: &str) -> Option<u32> {
    hash.parse().ok().map(|parts: bcrypt::HashParts| parts.get_cost())
}

/// Bytes that nobody can foresee.
///
/// # Errors
/// The system's, which has none at this moment.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    fn wait(checker: &Checker) -> Answer {
        loop {
            if let Some(answer) = checker.answers().pop() {
                return answer;
            }
            thread::yield_now();
        }
    }

    #[test]
    fn right_wrong_and_nobody() {
        let hash: Arc<str> = bcrypt::hash("right", 4).unwrap().into();
        let checker = Checker::start().unwrap();
        checker.set_hashes([&hash].into_iter());
        let client = Slots::default().insert(());
        let ask = |hash: Option<&Arc<str>>, password: &str| {
            let hash = hash.map(Arc::clone);
            assert!(checker.ask(Question { client, name: "n".into(), hash, password: password.into() }));
            wait(&checker).fits
        };
        assert!(!checker.knows(&hash, "right"));
        assert_eq!(ask(Some(&hash), "wrong"), None);
        assert_eq!(ask(None, "right"), None);
        assert_eq!(ask(None, ""), None);
        assert!(!checker.knows(&hash, "right"));
        assert_eq!(ask(Some(&hash), "right"), Some(Arc::clone(&hash)));
        assert!(checker.knows(&hash, "right") && !checker.knows(&hash, "wrong"));
        // Once the hash is gone, nothing is known of it.
        checker.set_hashes([].into_iter());
        assert!(!checker.knows(&hash, "right"));
    }

    #[test]
    fn nobodys_hash_is_one_and_costs_as_much() {
        let hash = nobodys_hash(5);
        assert_eq!(cost_of(&hash), Some(5));
        assert!(!bcrypt::verify("", &hash).unwrap());
        assert_eq!(cost_of("secret"), None);
    }

    #[test]
    fn only_so_many_wait() {
        let checker = Checker::start().unwrap();
        let hash: Arc<str> = bcrypt::hash("right", 10).unwrap().into();
        let client = Slots::default().insert(());
        let full = (0..2 * QUEUE_MAX).any(|_| {
            let hash = Some(Arc::clone(&hash));
            !checker.ask(Question { client, name: "n".into(), hash, password: "wrong".into() })
        });
        assert!(full);
    }
}
