//! The file of users.
//!
//! - No text makes a panic.
//! - What is accepted has users with names, and a rule for SQL that the library understands as it is meant.
//! - What is refused is refused in one line, and what stands there as a password, token or key is not quoted.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcall_wire::rule::Rule;
use rowcall_wire::subject::valid_filter;
use rowcalld::fuzz::users;

fuzz_target!(|text: &str| {
    match users(text) {
        Ok((names, sql)) => {
            assert!(names.iter().all(|name| !name.is_empty() && !name.contains(char::is_control)));
            assert!(sql.allow.iter().flatten().chain(&sql.deny).all(|filter| valid_filter(filter)));
            let line = sql.to_text();
            assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{line:?}");
            assert_eq!(Rule::from_text(&line), sql);
        }
        Err(why) => {
            assert!(!why.is_empty() && why.lines().count() == 1, "{why:?}");
            let quoted = secrets(text).find(|secret| why.contains(secret));
            assert_eq!(quoted, None, "{why:?}");
        }
    }
});

/// Words that can only be a secret: they stand behind its name at the beginning of a line, no word of an
/// error looks like them, and they stand nowhere else. Within a text of several lines such a line would be
/// a part of something else.
fn secrets(text: &str) -> impl Iterator<Item = &str> {
    let plain = !text.contains("\"\"\"") && !text.contains("'''");
    let lines = text.lines().filter(move |_| plain);
    let values = lines.filter_map(|line| {
        let (name, value) = line.trim_start().split_once('=')?;
        ["password", "token", "nkey"].contains(&name.trim_end()).then_some(value)
    });
    let words = values.flat_map(|value| value.split(|c: char| !c.is_ascii_alphanumeric()));
    words.filter(|word| {
        word.len() >= 7 && word.contains(|c: char| c.is_ascii_digit()) && text.matches(word).count() == 1
    })
}
