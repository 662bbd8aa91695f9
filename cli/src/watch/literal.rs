//! SQL strings that stay what they are in information_schema's ACTION_STATEMENT, of which gh-ost and other tools
//! make triggers anew. It loses backslashes (both servers), doubled quotes (MySQL), introducers of character sets
//! and letters beyond the basic plane (both); and a tool's session may have another SQL mode. Pure.

use std::iter::Peekable;
use std::str::Chars;

/// The text as a string: plain where it can be, else as characters by their numbers. Either is as coercible as
/// a literal, so that comparisons keep the collation of the column.
pub(crate) fn quoted(text: &str) -> String {
    let mut pieces: Vec<String> = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.next() {
        let plain = is_plain(first);
        let mut run = String::from(first);
        while let Some(next) = characters.next_if(|&next| is_plain(next) == plain) {
            run.push(next);
        }
        pieces.push(if plain { format!("'{run}'") } else { numbered(&run) });
    }
    match &pieces[..] {
        [] => "''".into(),
        [piece] => piece.clone(),
        pieces => format!("CONCAT({})", pieces.join(", ")),
    }
}

fn is_plain(character: char) -> bool {
    !matches!(character, '\'' | '\\') && !character.is_control() && character <= '\u{ffff}'
}

fn numbered(text: &str) -> String {
    let number = |character: char| {
        let bytes = character
            .encode_utf8(&mut [0; 4])
            .bytes()
            .fold(0, |number: u32, byte| number << 8 | u32::from(byte));
        bytes.to_string()
    };
    let numbers: Vec<String> = text.chars().map(number).collect();
    format!("CHAR({} USING utf8mb4)", numbers.join(", "))
}

/// A condition whose strings are written so. What needs its string as it stands (`_latin1'…'`, `x'…'`,
/// `DATE'…'`, `->'…'`) keeps it.
pub(crate) fn condition(sql: &str) -> String {
    let mut text = String::new();
    let mut rest = sql.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '\'' | '"' => {
                let (source, value) = string(first, &mut rest);
                if takes_string_only(&text) { text.push_str(&source) } else { text.push_str(&quoted(&value)) }
            }
            '`' => until(&mut text, first, &mut rest, |read| read.ends_with('`')),
            '#' => until(&mut text, first, &mut rest, |read| read.ends_with('\n')),
            '-' if is_dashes(&rest) => until(&mut text, first, &mut rest, |read| read.ends_with('\n')),
            '/' if rest.peek() == Some(&'*') => {
                until(&mut text, first, &mut rest, |read| read.len() > 3 && read.ends_with("*/"))
            }
            other => text.push(other),
        }
    }
    text
}

/// Whether the text ends with what only a literal may follow.
fn takes_string_only(text: &str) -> bool {
    let before = text.trim_end();
    let word: String =
        before.chars().rev().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$')).collect();
    let word: String = word.chars().rev().collect::<String>().to_ascii_lowercase();
    let is_next = before.len() == text.len();
    before.ends_with('>') && before.trim_end_matches('>').ends_with('-')
        || word.starts_with('_')
        || matches!(word.as_str(), "date" | "time" | "timestamp")
        || is_next && matches!(word.as_str(), "n" | "x" | "b")
}

/// Whether a comment begins, after its first dash.
fn is_dashes(rest: &Peekable<Chars<'_>>) -> bool {
    let mut rest = rest.clone();
    rest.next() == Some('-') && rest.next().is_none_or(|next| next.is_whitespace() || next.is_control())
}

/// Copies what begins here until it has come to its end.
fn until(text: &mut String, first: char, rest: &mut Peekable<Chars<'_>>, is_over: impl Fn(&str) -> bool) {
    let mut read = String::from(first);
    for next in rest.by_ref() {
        read.push(next);
        if is_over(&read) {
            break;
        }
    }
    text.push_str(&read);
}

/// A string whose first quote was read, together with those behind it that make one with it: as it was written,
/// and its value.
fn string(quote: char, rest: &mut Peekable<Chars<'_>>) -> (String, String) {
    let (mut source, mut value) = (String::from(quote), String::new());
    while let Some(next) = rest.next() {
        source.push(next);
        match next {
            '\\' => {
                let Some(escaped) = rest.next() else { break };
                source.push(escaped);
                match escaped {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    'b' => value.push('\u{8}'),
                    '0' => value.push('\0'),
                    'Z' => value.push('\u{1a}'),
                    // Patterns of LIKE keep theirs.
                    '%' | '_' => value.extend(['\\', escaped]),
                    other => value.push(other),
                }
            }
            next if next == quote => {
                if let Some(doubled) = rest.next_if_eq(&quote) {
                    source.push(doubled);
                    value.push(doubled);
                    continue;
                }
                let mut ahead = rest.clone();
                let blanks: String = std::iter::from_fn(|| ahead.next_if(|c| c.is_whitespace())).collect();
                let Some(another) = ahead.next_if(|c| matches!(c, '\'' | '"')) else { break };
                *rest = ahead;
                let (more_source, more) = string(another, rest);
                source += &(blanks + &more_source);
                value += &more;
                break;
            }
            other => value.push(other),
        }
    }
    (source, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_hold_nothing_that_gets_lost() {
        for (text, sql) in [
            ("", "''"),
            ("größe \"x\"", "'größe \"x\"'"),
            ("it's", "CONCAT('it', CHAR(39 USING utf8mb4), 's')"),
            ("\\'", "CHAR(92, 39 USING utf8mb4)"),
            ("a\n😀", "CONCAT('a', CHAR(10, 4036991104 USING utf8mb4))"),
        ] {
            assert_eq!(quoted(text), sql);
        }
    }

    #[test]
    fn conditions_keep_their_meaning() {
        for (from, to) in [
            ("NEW.a <> 'it''s'", "NEW.a <> CONCAT('it', CHAR(39 USING utf8mb4), 's')"),
            (r"NEW.a LIKE '50\%' ", r"NEW.a LIKE CONCAT('50', CHAR(92 USING utf8mb4), '%') "),
            ("NEW.a IN (\"x\", \"a\"\"b\")", "NEW.a IN ('x', 'a\"b')"),
            ("NEW.a = 'a' \n 'b\\n' AND 1", "NEW.a = CONCAT('ab', CHAR(10 USING utf8mb4)) AND 1"),
            ("NEW.`it's` = 1 -- it's\n AND 2", "NEW.`it's` = 1 -- it's\n AND 2"),
            ("NEW.a = 1--1 /* 'it''s' */ # ''", "NEW.a = 1--1 /* 'it''s' */ # ''"),
            ("NEW.a = _latin1'\\'' OR x'27' OR N'\\''", "NEW.a = _latin1'\\'' OR x'27' OR N'\\''"),
            ("NEW.j->>'$.\"it''s\"' > DATE '2020-01-01'", "NEW.j->>'$.\"it''s\"' > DATE '2020-01-01'"),
            ("NEW.a > 'b'", "NEW.a > 'b'"),
            ("NEW.a = 'open", "NEW.a = 'open'"),
        ] {
            assert_eq!(condition(from), to, "{from}");
        }
    }
}
