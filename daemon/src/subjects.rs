//! Who wants which subject: the index of subscriptions. Levels, a node per token, `*` and `>` as
//! fields of their own; and a cache of what published subjects led to. It holds keys, never
//! clients; the plain rule that it must agree with is `rowcall_wire::subject::matches`.

use foldhash::fast::RandomState;
use rowcall_wire::subject;
use std::collections::HashMap;
use std::rc::Rc;

/// How many published subjects are remembered. Each takes about 200 bytes with its matches, so
/// the cache stays below a megabyte; a busy shop has fewer subjects than that, and inboxes, which
/// are used once, are not remembered at all.
const CACHE_MAX: usize = 4096;

/// The prefix of subjects that are used once, by every client's convention.
pub(crate) const INBOX: &[u8] = b"_INBOX.";

type Map<K, V> = HashMap<K, V, RandomState>;

/// The index. `K` names a subscription.
#[derive(Debug)]
pub struct Subjects<K> {
    root: Level<K>,
    cache: Map<Box<[u8]>, Remembered<K>>,
    /// Counts the changes among filters with wildcards; what was remembered before the last of
    /// them may be wrong. A change of a literal filter makes only its own subject wrong.
    wild_changes: u64,
    activity: Activity,
}

/// What was asked of the index, and what it remembers of the answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity {
    /// Subscriptions taken in.
    pub inserts: u64,
    /// Subscriptions taken out.
    pub removes: u64,
    /// Subjects looked up.
    pub lookups: u64,
    /// Those of them that were remembered.
    pub hits: u64,
    /// Subjects that are remembered now.
    pub remembered: usize,
    /// To how many subscriptions they lead, all of them together.
    pub fanout: usize,
    /// And the one that leads to the most.
    pub fanout_max: usize,
}

/// Who gets a message: every plain subscription, and one member of each queue group.
#[derive(Debug)]
pub struct Matches<K> {
    /// Plain subscriptions.
    pub plain: Vec<K>,
    /// Queue groups, each with its members; a group's name alone makes it one, whatever the
    /// filters of its members.
    pub groups: Vec<Vec<K>>,
}

#[derive(Debug)]
struct Remembered<K> {
    matches: Rc<Matches<K>>,
    wild_changes: u64,
}

#[derive(Debug)]
struct Level<K> {
    tokens: Map<Box<[u8]>, Node<K>>,
    /// `*`
    any: Option<Box<Node<K>>>,
    /// `>`
    tail: Option<Box<Node<K>>>,
}

#[derive(Debug)]
struct Node<K> {
    next: Option<Box<Level<K>>>,
    members: Vec<Member<K>>,
}

#[derive(Debug)]
struct Member<K> {
    key: K,
    queue: Option<Rc<[u8]>>,
}

impl<K: Copy + PartialEq> Default for Subjects<K> {
    fn default() -> Self {
        Subjects { root: Level::new(), cache: Map::default(), wild_changes: 0, activity: Activity::default() }
    }
}

impl<K: Copy + PartialEq> Subjects<K> {
    /// Takes a subscription in. The filter must be valid.
    pub fn insert(&mut self, filter: &[u8], queue: Option<Rc<[u8]>>, key: K) {
        self.activity.inserts += 1;
        let mut level = &mut self.root;
        let mut tokens = subject::tokens(filter).peekable();
        while let Some(token) = tokens.next() {
            let node = level.node_or_new(token);
            if tokens.peek().is_none() {
                node.members.push(Member { key, queue });
                break;
            }
            level = node.next.get_or_insert_with(|| Box::new(Level::new()));
        }
        self.forget(filter);
    }

    /// Takes a subscription out; nodes that lead nowhere go with it.
    pub fn remove(&mut self, filter: &[u8], key: K) {
        self.activity.removes += 1;
        let mut tokens = subject::tokens(filter);
        if let Some(first) = tokens.next() {
            self.root.remove(first, &mut tokens, key);
        }
        self.forget(filter);
    }

    /// Who gets a message on this subject. A subject with an empty token reaches nobody.
    pub fn matches(&mut self, subject: &[u8]) -> Rc<Matches<K>> {
        self.activity.lookups += 1;
        if let Some(known) = self.cache.get(subject)
            && known.wild_changes == self.wild_changes
        {
            self.activity.hits += 1;
            return Rc::clone(&known.matches);
        }
        let matches = Rc::new(self.search(subject));
        if !subject.starts_with(INBOX) {
            self.remember(subject, &matches);
        }
        matches
    }

    /// What was asked of it so far. Looks at everything that is remembered.
    pub fn activity(&self) -> Activity {
        let fanout = |known: &Remembered<K>| {
            known.matches.plain.len() + known.matches.groups.iter().map(Vec::len).sum::<usize>()
        };
        Activity {
            remembered: self.cache.len(),
            fanout: self.cache.values().map(fanout).sum(),
            fanout_max: self.cache.values().map(fanout).max().unwrap_or(0),
            ..self.activity
        }
    }

    fn search(&self, subject: &[u8]) -> Matches<K> {
        let mut found = Found::nothing();
        if subject::tokens(subject).all(|token| !token.is_empty()) {
            self.root.search(subject, &mut found);
        }
        Matches { plain: found.plain, groups: found.groups.into_values().collect() }
    }

    fn remember(&mut self, subject: &[u8], matches: &Rc<Matches<K>>) {
        if self.cache.len() >= CACHE_MAX {
            self.cache.clear();
        }
        let matches = Rc::clone(matches);
        self.cache.insert(subject.into(), Remembered { matches, wild_changes: self.wild_changes });
    }

    fn forget(&mut self, filter: &[u8]) {
        if subject::is_literal(filter) {
            self.cache.remove(filter);
        } else {
            self.wild_changes += 1;
        }
    }
}

/// Matches while they are being collected.
struct Found<'a, K> {
    plain: Vec<K>,
    groups: Map<&'a [u8], Vec<K>>,
    /// How many levels were looked at.
    #[cfg(test)]
    levels: usize,
}

impl<K> Found<'_, K> {
    fn nothing() -> Self {
        Found {
            plain: Vec::new(),
            groups: Map::default(),
            #[cfg(test)]
            levels: 0,
        }
    }
}

impl<K: Copy + PartialEq> Level<K> {
    fn new() -> Self {
        Level { tokens: Map::default(), any: None, tail: None }
    }

    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.any.is_none() && self.tail.is_none()
    }

    fn node_or_new(&mut self, token: &[u8]) -> &mut Node<K> {
        match token {
            b"*" => self.any.get_or_insert_with(Box::default),
            b">" => self.tail.get_or_insert_with(Box::default),
            _ => self.tokens.entry_ref_or_default(token),
        }
    }

    fn search<'a>(&'a self, subject: &[u8], found: &mut Found<'a, K>) {
        #[cfg(test)]
        {
            found.levels += 1;
        }
        if let Some(node) = &self.tail {
            node.collect(found);
        }
        let dot = subject.iter().position(|&byte| byte == b'.');
        let (token, rest) = match dot {
            Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
            None => (subject, None),
        };
        for node in [self.any.as_deref(), self.tokens.get(token)].into_iter().flatten() {
            match (rest, &node.next) {
                (None, _) => node.collect(found),
                (Some(rest), Some(next)) => next.search(rest, found),
                (Some(_), None) => {}
            }
        }
    }

    fn remove<'t>(&mut self, token: &[u8], rest: &mut impl Iterator<Item = &'t [u8]>, key: K) {
        let node = match token {
            b"*" => self.any.as_deref_mut(),
            b">" => self.tail.as_deref_mut(),
            _ => self.tokens.get_mut(token),
        };
        let Some(node) = node else { return };
        node.remove(rest, key);
        if node.is_empty() {
            match token {
                b"*" => self.any = None,
                b">" => self.tail = None,
                _ => drop(self.tokens.remove(token)),
            }
        }
    }
}

impl<K> Default for Node<K> {
    fn default() -> Self {
        Node { next: None, members: Vec::new() }
    }
}

impl<K: Copy + PartialEq> Node<K> {
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.next.is_none()
    }

    fn collect<'a>(&'a self, found: &mut Found<'a, K>) {
        for member in &self.members {
            match &member.queue {
                None => found.plain.push(member.key),
                Some(queue) => found.groups.entry(queue).or_default().push(member.key),
            }
        }
    }

    fn remove<'t>(&mut self, rest: &mut impl Iterator<Item = &'t [u8]>, key: K) {
        let Some(token) = rest.next() else {
            if let Some(at) = self.members.iter().position(|member| member.key == key) {
                self.members.swap_remove(at);
            }
            return;
        };
        if let Some(next) = &mut self.next {
            next.remove(token, rest, key);
            if next.is_empty() {
                self.next = None;
            }
        }
    }
}

/// An entry looked up by a borrowed key and made owned only when it is new.
trait EntryRef<V> {
    fn entry_ref_or_default(&mut self, key: &[u8]) -> &mut V;
}

impl<V: Default> EntryRef<V> for Map<Box<[u8]>, V> {
    fn entry_ref_or_default(&mut self, key: &[u8]) -> &mut V {
        if !self.contains_key(key) {
            self.insert(key.into(), V::default());
        }
        self.get_mut(key).expect("it was there or was just put there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(subjects: &mut Subjects<u32>, subject: &str) -> Vec<u32> {
        let mut plain = subjects.matches(subject.as_bytes()).plain.clone();
        plain.sort_unstable();
        plain
    }

    fn random_subject(random: &mut fastrand::Rng, wildcards: bool) -> String {
        let tokens = 1 + random.usize(..4);
        let mut subject: Vec<&str> = (0..tokens)
            .map(|_| match random.u8(..if wildcards { 6 } else { 4 }) {
                0 => "a",
                1 => "b",
                2 => "c",
                3 => "dd",
                _ => "*",
            })
            .collect();
        if wildcards && random.u8(..4) == 0 {
            *subject.last_mut().unwrap() = ">";
        }
        subject.join(".")
    }

    /// Subscriptions come and go; after each change the index agrees with the plain rule, both on
    /// subjects it has seen before and on new ones.
    #[test]
    fn agrees_with_the_plain_rule() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut subjects = Subjects::default();
        let mut there: Vec<(String, u32)> = Vec::new();
        for round in 0..2000 {
            if there.len() > 40 || (!there.is_empty() && random.bool()) {
                let (filter, key) = there.swap_remove(random.usize(..there.len()));
                subjects.remove(filter.as_bytes(), key);
            } else {
                let filter = random_subject(&mut random, true);
                subjects.insert(filter.as_bytes(), None, round);
                there.push((filter, round));
            }
            for _ in 0..20 {
                let subject = random_subject(&mut random, false);
                let mut expected: Vec<u32> = there
                    .iter()
                    .filter(|(filter, _)| subject::matches(filter.as_bytes(), subject.as_bytes()))
                    .map(|&(_, key)| key)
                    .collect();
                expected.sort_unstable();
                assert_eq!(sorted(&mut subjects, &subject), expected, "{subject} among {there:?}");
            }
        }
        for (filter, key) in there {
            subjects.remove(filter.as_bytes(), key);
        }
        assert!(subjects.root.is_empty(), "nodes that lead nowhere are gone");
    }

    #[test]
    fn a_group_is_its_name_whatever_its_filters() {
        let mut subjects = Subjects::default();
        let queue = |name: &str| Some(Rc::from(name.as_bytes()));
        subjects.insert(b"a.b", queue("q"), 1);
        subjects.insert(b"a.*", queue("q"), 2);
        subjects.insert(b"a.>", queue("q"), 3);
        subjects.insert(b"a.b", queue("other"), 4);
        subjects.insert(b"a.b", None, 5);
        let matches = subjects.matches(b"a.b");
        let mut groups = matches.groups.clone();
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.sort();
        assert_eq!(groups, [vec![1, 2, 3], vec![4]]);
        assert_eq!(matches.plain, [5]);
    }

    #[test]
    fn an_empty_token_reaches_nobody_and_a_wildcard_is_a_token() {
        let mut subjects = Subjects::default();
        subjects.insert(b">", None, 1);
        subjects.insert(b"a.*", None, 2);
        subjects.insert(b"a.b", None, 3);
        for empty in ["", ".", "a.", ".a", "a..b"] {
            assert!(sorted(&mut subjects, empty).is_empty(), "{empty:?}");
        }
        assert_eq!(sorted(&mut subjects, "a.*"), [1, 2]);
    }

    /// A level is a map, so what a lookup costs is how many levels it looks at: at most one for each
    /// token, twice as many behind each `*` that is on the way, and none for subscriptions elsewhere.
    #[test]
    fn a_lookup_looks_at_no_more_levels_beside_a_million_subscriptions() {
        const MANY: u32 = 1_000_000;
        let mut subjects = Subjects::default();
        let levels = |subjects: &Subjects<u32>, subject: &str| {
            let mut found = Found::nothing();
            subjects.root.search(subject.as_bytes(), &mut found);
            (found.levels, found.plain.len())
        };
        for filter in ["shop.*.created", "shop.>", "*.orders.*"] {
            subjects.insert(filter.as_bytes(), None, MANY);
        }
        let one = |n: u32| format!("shop.orders.{n}");
        subjects.insert(one(7).as_bytes(), None, 7);
        let alone = levels(&subjects, &one(7));
        assert_eq!(alone, (6, 3), "the root, three of `orders` and `*`, two of `shop` and `*`");
        for n in (0..MANY).filter(|&n| n != 7) {
            subjects.insert(one(n).as_bytes(), None, n);
        }
        for n in [0, 7, MANY / 2, MANY - 1] {
            assert_eq!(levels(&subjects, &one(n)), alone);
        }
        assert_eq!(levels(&subjects, "elsewhere.7"), (2, 0));
    }

    #[test]
    fn the_cache_is_bounded_and_skips_inboxes() {
        let mut subjects: Subjects<u32> = Subjects::default();
        for n in 0..3 * CACHE_MAX {
            subjects.matches(format!("a.{n}").as_bytes());
            subjects.matches(format!("_INBOX.x.{n}").as_bytes());
        }
        assert!(subjects.cache.len() <= CACHE_MAX);
        assert!(!subjects.cache.keys().any(|subject| subject.starts_with(INBOX)));
    }
}
