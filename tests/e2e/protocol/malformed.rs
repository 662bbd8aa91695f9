//! What cannot be followed is closed, with the words clients know or, where the reference says nothing,
//! without a word: the table of docs/protocol.md, line by line.

use super::everywhere;
use harness::repository;

/// A line of the table.
struct Case {
    sent: String,
    /// What is answered; nothing where it is closed without a word.
    answer: String,
    closed: bool,
}

#[test]
fn the_table_of_malformed_input_is_true() {
    let cases = table();
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

fn table() -> Vec<Case> {
    let text = std::fs::read_to_string(repository().join("docs/protocol.md")).unwrap();
    let (_, section) = text.split_once("\n### Malformed input\n").expect("the section is there");
    let (section, _) = section.split_once("\n### ").expect("another one follows");
    section.lines().filter(|line| line.starts_with("| `")).map(case).collect()
}

/// ``| `sent` | `answer`, closed |``; the answer, with its comma, may be missing.
fn case(line: &str) -> Case {
    let (sent, answer) = line.trim_matches(['|', ' ']).split_once(" | ").unwrap_or_else(|| panic!("{line}"));
    let sent = sent.trim_matches('`').replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0");
    let (answer, fate) = match answer.rsplit_once(", ") {
        Some((answer, fate)) => (format!("{}\r\n", answer.trim_matches('`')), fate),
        None => (String::new(), answer),
    };
    assert!(["closed", "stays"].contains(&fate), "{line}");
    Case { sent, answer, closed: fate == "closed" }
}
