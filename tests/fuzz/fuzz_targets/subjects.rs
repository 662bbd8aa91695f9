//! Subjects and filters, one on each line; on the lines with a minus in front, filters that go again.
//!
//! - No line makes a panic.
//! - The daemon's index finds what the plain rule finds, while filters come and go, whatever was asked
//!   before; and is empty in the end.
//! - What covers a filter matches whatever that one matches, and what meets it nowhere matches none of it.
//! - What our own clients publish to is a filter that matches itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rowcall_wire::subject::{covers, is_literal, matches, overlap, publishable, valid_filter};
use rowcalld::fuzz::Index;

/// Of more lines nothing new is learned.
const LINES_MAX: usize = 12;

fuzz_target!(|input: &[u8]| {
    let lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').take(LINES_MAX).collect();
    let mut index = Index::default();
    let mut there: Vec<(&[u8], usize)> = Vec::new();
    for (key, &line) in lines.iter().enumerate() {
        if let Some(gone) = line.strip_prefix(b"-") {
            if let Some(at) = there.iter().position(|(filter, _)| *filter == gone) {
                let (filter, key) = there.swap_remove(at);
                index.remove(filter, key);
            }
        } else if valid_filter(line) {
            index.insert(line, key);
            there.push((line, key));
        }
        for subject in &lines {
            let asked = there.iter().filter(|(filter, _)| reaches(filter, subject));
            let mut expected: Vec<usize> = asked.map(|(_, key)| *key).collect();
            expected.sort_unstable();
            assert_eq!(index.matches(subject), expected);
        }
    }
    lines.iter().for_each(|line| alone(line));
    for (one, _) in &there {
        for (other, _) in &there {
            together(one, other, &lines);
        }
    }
    for (filter, key) in there.drain(..) {
        index.remove(filter, key);
    }
    assert!(lines.iter().all(|subject| index.matches(subject).is_empty()));
});

/// The plain rule, and that a subject with an empty token reaches nobody.
fn reaches(filter: &[u8], subject: &[u8]) -> bool {
    subject.split(|&byte| byte == b'.').all(|token| !token.is_empty()) && matches(filter, subject)
}

fn alone(subject: &[u8]) {
    if publishable(subject).is_ok() {
        assert!(valid_filter(subject) && is_literal(subject) && matches(subject, subject));
    }
    if valid_filter(subject) {
        assert!(covers(subject, subject) && covers(b">", subject) && overlap(subject, subject));
    }
}

fn together(one: &[u8], other: &[u8], subjects: &[&[u8]]) {
    assert_eq!(overlap(one, other), overlap(other, one));
    assert!(!covers(one, other) || overlap(one, other));
    for subject in subjects.iter().filter(|subject| reaches(other, subject)) {
        // A wildcard in a subject is a token like any other, which the rules for filters do not mean.
        if is_literal(subject) {
            assert!(!covers(one, other) || matches(one, subject));
            assert!(overlap(one, other) || !matches(one, subject));
        }
    }
}
