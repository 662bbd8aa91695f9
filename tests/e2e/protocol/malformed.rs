//! What cannot be followed is closed, with the words clients know or, where the reference says nothing,
//! without a word: the table of docs/protocol.md, line by line.

use super::everywhere;
use harness::repository;

/// A line of a table.
pub(super) struct Case {
    pub(super) sent: String,
    /// What is answered; nothing where it is closed without a word.
    pub(super) answer: String,
    pub(super) closed: bool,
}

#[test]
fn the_table_of_malformed_input_is_true() {
    let cases = cases("Malformed input");
    assert!(cases.len() > 50, "{} lines were found", cases.len());
    everywhere(|open| {
        for case in &cases {
            eprintln!("{:?}", case.sent);
            let mut it = open().hello();
            it.send(&case.sent);
            it.expect(&case.answer);
            if case.closed {
                it.expect_closed();
            } else {
                it.barrier();
            }
        }
    });
}

/// The lines of the table in this section of docs/protocol.md.
pub(super) fn cases(section: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(repository().join("docs/protocol.md")).unwrap();
    let (_, rest) = text.split_once(&format!("\n### {section}\n")).expect("the section is there");
    let (table, _) = rest.split_once("\n### ").expect("another one follows");
    let cases: Vec<_> = table.lines().filter(|line| line.starts_with("| `")).map(case).collect();
    assert!(!cases.is_empty(), "{section}");
    cases
}

/// ``| `sent` | `answer`, closed |``; the answer, with its comma, may be missing, and a remark may follow.
fn case(line: &str) -> Case {
    let mut columns = line.trim_matches(['|', ' ']).split(" | ");
    let (Some(sent), Some(answer)) = (columns.next(), columns.next()) else { panic!("{line}") };
    let sent = sent.trim_matches('`').replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0");
    let (answer, fate) = match answer.rsplit_once(", ") {
        Some((answer, fate)) => (format!("{}\r\n", answer.trim_matches('`')), fate),
        None => (String::new(), answer),
    };
    assert!(["closed", "stays"].contains(&fate), "{line}");
    Case { sent, answer, closed: fate == "closed" }
}
