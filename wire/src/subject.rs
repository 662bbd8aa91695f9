//! Subjects: what may be published to, what may be subscribed to, and which filter matches what.
//! The daemon's index of subscriptions is elsewhere (daemon/src/subjects.rs); [`matches`] is the
//! plain rule that its tests compare it with.

/// Where the library inside the server tells the daemon, and nobody else, that it has written a row to
/// the outbox; the payload is the row's id, in digits.
pub const POKE: &[u8] = b"_ROWCALL.poke";

/// What the subject of a reply begins with that the daemon shall keep; the ticket follows.
pub const MAIL: &[u8] = b"_ROWCALL.mail.";

/// Where the library asks the daemon for a reply that it keeps; the payload is how many milliseconds
/// to wait for it, a blank, and the ticket.
pub const RESULT: &[u8] = b"_ROWCALL.result";

/// Where the library says that it has the reply; the payload is the ticket.
pub const TAKEN: &[u8] = b"_ROWCALL.taken";

/// Where the workers of a durable consumer subscribe; its name follows.
pub const CONSUMER: &str = "rowcall.consumer.";

/// What the reply subject of each delivery to such a worker begins with: there it says what became of
/// the event. The form is JetStream's.
pub const ACK: &[u8] = b"$JS.ACK.rowcall.";

/// What the subjects begin with that are rights, named in the file of users, and carry no messages.
pub const RIGHTS: &[u8] = b"$ROWCALL.";

/// Subjects that a message from outside the daemon neither goes to nor asks to be answered on. A worker
/// would take what came on [`CONSUMER`] for a committed event; on [`ACK`] only workers speak, and the
/// daemon looks at each of them.
pub fn is_reserved(subject: &[u8]) -> bool {
    [CONSUMER.as_bytes(), ACK, RIGHTS].iter().any(|prefix| subject.starts_with(prefix))
}

/// Whether this is where the library speaks to the daemon itself: [`POKE`], [`RESULT`], [`TAKEN`].
pub fn is_for_daemon(subject: &[u8]) -> bool {
    [POKE, RESULT, TAKEN].contains(&subject)
}

/// Why a subject cannot be published to. Stricter than the reference, which takes anything from
/// clients: ours refuse early what could only go wrong later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No bytes at all.
    Empty,
    /// Two dots in a row, or one at either end.
    EmptyToken,
    /// `*` or `>`, which only filters may hold.
    Wildcard,
    /// A blank, a line end or another control character.
    Unprintable,
}

impl Flaw {
    /// What is wrong, for people.
    pub fn text(self) -> &'static str {
        match self {
            Flaw::Empty => "is empty",
            Flaw::EmptyToken => "has an empty token (two dots in a row, or one at an end)",
            Flaw::Wildcard => "holds a wildcard, which only subscriptions may",
            Flaw::Unprintable => "holds a blank or a control character",
        }
    }
}

/// Whether our own clients publish to this subject. Its length is bounded by the control line.
///
/// # Errors
/// The first [`Flaw`] found.
pub fn publishable(subject: &[u8]) -> Result<(), Flaw> {
    if subject.is_empty() {
        return Err(Flaw::Empty);
    }
    let mut before = b'.';
    for &byte in subject {
        match byte {
            b'.' if before == b'.' => return Err(Flaw::EmptyToken),
            b'*' | b'>' => return Err(Flaw::Wildcard),
            0..=b' ' | 0x7f => return Err(Flaw::Unprintable),
            _ => before = byte,
        }
    }
    if before == b'.' { Err(Flaw::EmptyToken) } else { Ok(()) }
}

/// Whether a filter may be subscribed to, by the reference's rule: no empty token, nothing behind
/// a `>`. (`a*` is an ordinary token.)
pub fn valid_filter(filter: &[u8]) -> bool {
    let mut tail = false;
    tokens(filter).all(|token| {
        let fine = !token.is_empty() && !tail && !token.iter().any(|b| b.is_ascii_whitespace());
        tail = token == b">";
        fine
    })
}

/// Whether the filter is matched by nothing but itself.
pub fn is_literal(filter: &[u8]) -> bool {
    tokens(filter).all(|token| token != b"*" && token != b">")
}

/// Whether a message on `subject` goes to a subscription on `filter`.
pub fn matches(filter: &[u8], subject: &[u8]) -> bool {
    let mut subject = tokens(subject);
    for wanted in tokens(filter) {
        match (wanted, subject.next()) {
            (b">", Some(_)) => return true,
            (b"*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

/// Whether everything that `narrow` matches is matched by `wide` as well.
pub fn covers(wide: &[u8], narrow: &[u8]) -> bool {
    let mut narrow = tokens(narrow);
    for wanted in tokens(wide) {
        match (wanted, narrow.next()) {
            (b">", Some(_)) => return true,
            (_, Some(b">")) => return false,
            (b"*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// Whether there is a subject that both filters match.
pub fn overlap(one: &[u8], other: &[u8]) -> bool {
    let (mut one, mut other) = (tokens(one), tokens(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(b">"), Some(_)) | (Some(_), Some(b">")) => return true,
            (Some(b"*"), Some(_)) | (Some(_), Some(b"*")) => {}
            (Some(token), Some(same)) if token == same => {}
            _ => return false,
        }
    }
}

/// The tokens between the dots.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|&byte| byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_published_to() {
        for fine in ["a", "shop.orders.created", "_INBOX.1.2", "größe.€", "$SYS.x"] {
            assert_eq!(publishable(fine.as_bytes()), Ok(()), "{fine}");
        }
        let check = |subject: &[u8], flaw| assert_eq!(publishable(subject), Err(flaw), "{subject:?}");
        check(b"", Flaw::Empty);
        check(b".", Flaw::EmptyToken);
        check(b".a", Flaw::EmptyToken);
        check(b"a.", Flaw::EmptyToken);
        check(b"a..b", Flaw::EmptyToken);
        check(b"a.*", Flaw::Wildcard);
        check(b"a.>", Flaw::Wildcard);
        check(b"a*b", Flaw::Wildcard);
        check(b"a b", Flaw::Unprintable);
        check(b"a\r\nPUB x 0", Flaw::Unprintable);
        check(b"a\0", Flaw::Unprintable);
        check(b"a\x7f", Flaw::Unprintable);
    }

    #[test]
    fn what_is_reserved() {
        for reserved in
            ["rowcall.consumer.mail", "rowcall.consumer.a.b", "$JS.ACK.rowcall.mail.1", "$ROWCALL.x"]
        {
            assert!(is_reserved(reserved.as_bytes()), "{reserved}");
        }
        for free in
            ["rowcall.consumer", "rowcall.consumers.a", "$JS.ACK.orders.mail", "$JS.API.INFO", "_ROWCALL.x"]
        {
            assert!(!is_reserved(free.as_bytes()), "{free}");
        }
    }

    #[test]
    fn what_may_be_subscribed_to() {
        for fine in ["a", "a.*", "*.b", "a.>", ">", "*", "a*", "*a", ">>", "a.**"] {
            assert!(valid_filter(fine.as_bytes()), "{fine}");
        }
        for wrong in ["", ".", "a.", ".a", "a..b", "a.>.b", ">.a", "a b"] {
            assert!(!valid_filter(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn literal_means_no_wildcard_token() {
        for literal in ["a", "a.b", "a*", ">>"] {
            assert!(is_literal(literal.as_bytes()), "{literal}");
        }
        for wild in ["*", ">", "a.*", "a.>"] {
            assert!(!is_literal(wild.as_bytes()), "{wild}");
        }
    }

    #[test]
    fn which_filter_matches() {
        let check = |filter: &str, subject: &str, expected: bool| {
            assert_eq!(matches(filter.as_bytes(), subject.as_bytes()), expected, "{filter} {subject}");
        };
        check("a", "a", true);
        check("a", "A", false);
        check("a", "a.b", false);
        check("a.*", "a.b", true);
        check("a.*", "a", false);
        check("a.*", "a.b.c", false);
        check("*.b", "a.b", true);
        check("a.>", "a.b", true);
        check("a.>", "a.b.c", true);
        check("a.>", "a", false);
        check(">", "a", true);
        check("*.*.c", "a.b.c", true);
        check("a*", "ab", false);
    }

    #[test]
    fn which_filter_covers_and_meets_which() {
        let check = |wide: &str, narrow: &str, covered: bool, met: bool| {
            let (wide, narrow) = (wide.as_bytes(), narrow.as_bytes());
            let names = format!("{} {}", String::from_utf8_lossy(wide), String::from_utf8_lossy(narrow));
            assert_eq!(covers(wide, narrow), covered, "{names}");
            assert_eq!(overlap(wide, narrow), met, "{names}");
            assert_eq!(overlap(narrow, wide), met, "{names}, the other way round");
        };
        check("a.b", "a.b", true, true);
        check("a.b", "a.c", false, false);
        check("a.*", "a.b", true, true);
        check("a.b", "a.*", false, true);
        check("a.*", "a.*", true, true);
        check("a.*", "a.>", false, true);
        check("a.>", "a.*", true, true);
        check("a.>", "a.>", true, true);
        check("a.>", "a", false, false);
        check(">", "a.*.>", true, true);
        check("*", ">", false, true);
        check("*.b", "a.*", false, true);
        check("a.*.c", "a.b.>", false, true);
        check("a.*", "a.b.c", false, false);
        check("a.*.>", "a.b", false, false);
    }

    /// The two are what they say, tried with every filter and every subject of three tokens of `a`, `b`
    /// and wildcards.
    #[test]
    fn covering_and_meeting_agree_with_matching() {
        let all = |words: &[&str]| {
            let mut found: Vec<String> = Vec::new();
            for length in 1..=3 {
                let count = words.len().pow(length);
                found.extend((0..count).map(|mut n| {
                    let tokens: Vec<&str> = (0..length)
                        .map(|_| {
                            let word = words[n % words.len()];
                            n /= words.len();
                            word
                        })
                        .collect();
                    tokens.join(".")
                }));
            }
            found.retain(|filter| valid_filter(filter.as_bytes()));
            found
        };
        let filters = all(&["a", "b", "*", ">"]);
        // What lies behind the third token, or is neither a nor b, is told apart as well.
        let mut subjects = all(&["a", "b", "c"]);
        subjects.extend(subjects.clone().iter().map(|subject| format!("{subject}.d")));
        for wide in &filters {
            for narrow in &filters {
                let is = |filter: &str, subject: &str| matches(filter.as_bytes(), subject.as_bytes());
                let covered = subjects.iter().all(|subject| !is(narrow, subject) || is(wide, subject));
                let met = subjects.iter().any(|subject| is(narrow, subject) && is(wide, subject));
                assert_eq!(covers(wide.as_bytes(), narrow.as_bytes()), covered, "{wide} {narrow}");
                assert_eq!(overlap(wide.as_bytes(), narrow.as_bytes()), met, "{wide} {narrow}");
            }
        }
    }
}
