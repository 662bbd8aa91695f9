//! What the doctor found: how bad it is, what it is, what to do about it; and how that is shown. Pure.

use crate::failure::Failure;
use crate::output::{Style, visible};
use serde_json::json;

/// How bad it is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Could not be looked at.
    Unseen,
    /// It works, and promises less than it could, or will stop working one day.
    Warning,
    /// It does not work.
    Fault,
}

/// One thing that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) found: String,
    /// What to do, or nothing.
    pub(crate) advice: String,
}

/// Why something could not be looked at.
pub(crate) enum Trouble {
    /// The server refused, or has gone.
    Sql(rowcall_mysql::Error),
    /// Anything else, in words.
    Other(String),
}

/// Characters of a line for people.
const WIDTH: usize = 80;

/// And of what stands before the text.
const MARGIN: usize = 20;

/// Of that, how bad it is.
const MARK: usize = 7;

impl Finding {
    pub(crate) fn ok(found: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, found: found.into(), advice: String::new() }
    }

    pub(crate) fn note(found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Note, found: found.into(), advice: advice.into() }
    }

    pub(crate) fn unseen(found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Unseen, found: found.into(), advice: advice.into() }
    }

    pub(crate) fn warning(found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, found: found.into(), advice: advice.into() }
    }

    pub(crate) fn fault(found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Fault, found: found.into(), advice: advice.into() }
    }

    /// A sentence with advice behind its first line, as failures have it.
    pub(crate) fn failure(failure: &Failure) -> Finding {
        let text = failure.to_string();
        let (found, advice) = text.split_once('\n').unwrap_or((&text, ""));
        Finding::fault(found, advice.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// For a program, or for a person: what was looked at, what was found, and below it what to do.
    pub(crate) fn shown(&self, check: &str, style: Style) -> String {
        let paint = match style {
            Style::Programs => {
                let (level, found, advice) = (self.level.name(), &self.found, &self.advice);
                return json!({ "check": check, "level": level, "found": found, "advice": advice })
                    .to_string();
            }
            Style::People(paint) => paint,
        };
        let mark = format!("{:<MARK$}", self.level.name());
        let mark = match self.level {
            Level::Ok => paint.green(&mark),
            Level::Note | Level::Unseen => paint.dim(&mark),
            Level::Warning => paint.yellow(&mark),
            Level::Fault => paint.red(&mark),
        };
        let mut lines = wrapped(&visible(self.found.as_bytes()), WIDTH - MARGIN);
        if !self.advice.is_empty() {
            lines.extend(wrapped(&format!("> {}", visible(self.advice.as_bytes())), WIDTH - MARGIN));
        }
        let room = MARGIN - MARK;
        format!("{mark}{check:<room$}{}", lines.join(&format!("\n{:MARGIN$}", "")))
    }
}

impl From<Trouble> for Finding {
    fn from(trouble: Trouble) -> Finding {
        let why = match trouble {
            Trouble::Sql(error) => error.to_string(),
            Trouble::Other(why) => why,
        };
        Finding::unseen(format!("not looked at: {why}"), "")
    }
}

impl From<rowcall_mysql::Error> for Trouble {
    fn from(error: rowcall_mysql::Error) -> Trouble {
        Trouble::Sql(error)
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Unseen => "unseen",
            Level::Warning => "warn",
            Level::Fault => "FAULT",
        }
    }
}

/// The text in lines of so many characters, broken at blanks. A word that is longer has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Paint;

    #[test]
    fn people_read_lines_of_eighty_characters() {
        let finding = Finding::warning("word ".repeat(40).trim_end(), "x".repeat(30));
        let shown = finding.shown("durability", Style::People(Paint(false)));
        assert!(shown.starts_with("warn   durability   word word"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
        assert!(shown.ends_with(&format!("\n{:20}> {}", "", "x".repeat(30))), "{shown}");
        let shown = Finding::ok("yes").shown("reader", Style::People(Paint(false)));
        assert_eq!(shown, "ok     reader       yes");
    }

    #[test]
    fn a_long_word_stands_alone() {
        assert_eq!(wrapped("a /a/long/path b", 6), ["a", "/a/long/path", "b"]);
    }

    #[test]
    fn programs_read_objects() {
        let shown = Finding::fault("no", "do").shown("socket", Style::Programs);
        assert_eq!(shown, r#"{"advice":"do","check":"socket","found":"no","level":"FAULT"}"#);
    }

    #[test]
    fn a_failure_s_advice_is_told_from_it() {
        let failure = Failure::daemon("cannot reach it\n  Is it\n  running?");
        assert_eq!(Finding::failure(&failure), Finding::fault("cannot reach it", "Is it running?"));
    }
}
