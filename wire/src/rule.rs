//! What may be published: filters that allow, filters that deny. The daemon decides by it; it tells it
//! to the library inside mysqld in one line of text, so that SQL hears of a refusal at once. What may be
//! subscribed to is the daemon's business alone (daemon/src/auth/permissions.rs).

use crate::subject;

/// Which subjects are allowed. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Only what one of these filters matches; `None` is everything.
    pub allow: Option<Vec<Box<[u8]>>>,
    /// But never what one of these matches.
    pub deny: Vec<Box<[u8]>>,
}

impl Rule {
    /// Whether everything is allowed.
    pub fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }

    /// Whether this subject is allowed.
    pub fn permits(&self, subject: &[u8]) -> bool {
        let matched = |filters: &[Box<[u8]>]| filters.iter().any(|filter| subject::matches(filter, subject));
        self.allow.as_deref().is_none_or(matched) && !matched(&self.deny)
    }

    /// The rule in a line: filters between blanks, `+` before those that allow, `-` before those that
    /// deny. A bare `+` says that only what is named is allowed, even if nothing is named.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut push = |sign: char, filter: &[u8]| {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push(sign);
            escape(&mut text, filter);
        };
        if let Some(allow) = &self.allow {
            push('+', b"");
            allow.iter().for_each(|filter| push('+', filter));
        }
        self.deny.iter().for_each(|filter| push('-', filter));
        text
    }

    /// Reads such a line.
    pub fn from_text(text: &str) -> Rule {
        let mut rule = Rule::default();
        for word in text.split(' ') {
            match word.as_bytes().split_first() {
                Some((b'+', [])) => drop(rule.allow.get_or_insert_default()),
                Some((b'+', filter)) => rule.allow.get_or_insert_default().push(unescaped(filter)),
                Some((b'-', filter)) => rule.deny.push(unescaped(filter)),
                _ => {}
            }
        }
        rule
    }
}

/// What would not stand as it is in a JSON string, or between blanks, becomes `%` and two digits.
fn escape(text: &mut String, filter: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in filter {
        if byte.is_ascii_graphic() && !matches!(byte, b'%' | b'"' | b'\\') {
            text.push(byte.into());
        } else {
            text.push('%');
            text.push(DIGITS[usize::from(byte >> 4)].into());
            text.push(DIGITS[usize::from(byte & 15)].into());
        }
    }
}

fn unescaped(mut text: &[u8]) -> Box<[u8]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut filter = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        text = rest;
        match rest {
            [high, low, behind @ ..] if *first == b'%' => {
                let byte = digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low) as u8);
                filter.push(byte.unwrap_or(b'%'));
                text = behind;
            }
            _ => filter.push(*first),
        }
    }
    filter.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: Option<&[&str]>, deny: &[&str]) -> Rule {
        let filters = |list: &[&str]| list.iter().map(|filter| filter.as_bytes().into()).collect();
        Rule { allow: allow.map(filters), deny: filters(deny) }
    }

    #[test]
    fn what_is_allowed() {
        let check = |rule: &Rule, subject: &str, expected| {
            assert_eq!(rule.permits(subject.as_bytes()), expected, "{rule:?} {subject}");
        };
        let open = Rule::default();
        assert!(open.is_open());
        check(&open, "a", true);
        let nothing = rule(Some(&[]), &[]);
        assert!(!nothing.is_open());
        check(&nothing, "a", false);
        let some = rule(Some(&["shop.>", "log.*"]), &["shop.secret.>", "log.x"]);
        check(&some, "shop.a", true);
        check(&some, "shop.secret.a", false);
        check(&some, "log.y", true);
        check(&some, "log.x", false);
        check(&some, "log.y.z", false);
        check(&some, "other", false);
        let most = rule(None, &["secret.>"]);
        assert!(!most.is_open());
        check(&most, "a", true);
        check(&most, "secret.a", false);
    }

    #[test]
    fn a_rule_survives_its_text() {
        for it in [
            Rule::default(),
            rule(Some(&[]), &[]),
            rule(Some(&[]), &["a.>"]),
            rule(Some(&["a.*", "größe.€", "100%.\"\\"]), &["+a", "-b", "a%20b"]),
            rule(None, &["x"]),
        ] {
            let text = it.to_text();
            assert!(!text.contains(['"', '\\']) && text.is_ascii(), "{text}");
            assert_eq!(Rule::from_text(&text), it, "{text}");
        }
        assert_eq!(Rule::from_text("nonsense %% +%zz"), rule(Some(&["%"]), &[]));
    }
}
