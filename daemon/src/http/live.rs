//! The live page: its files, which are part of the program, and what it asks about whoever looks at it.
//! Everything else that it shows it gets as any other visitor would.

use super::answer::Answer;
use crate::Daemon;
use crate::auth::permissions::Entry;
use crate::slots::Key;
use serde_json::{Value, json};

/// One file of the page. They hold nothing that is not in the source, so everybody may have them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    path: &'static str,
    kind: &'static str,
    content: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($path:literal, $kind:expr, $name:literal) => {
        File { path: $path, kind: $kind, content: include_str!(concat!("../../page/", $name)) }
    };
}

static FILES: [File; 15] = [
    file!("/", "text/html; charset=utf-8", "index.html"),
    file!("/page/page.css", "text/css; charset=utf-8", "page.css"),
    file!("/page/icon.svg", "image/svg+xml", "icon.svg"),
    file!("/page/page.js", SCRIPT, "page.js"),
    file!("/page/door.js", SCRIPT, "door.js"),
    file!("/page/stream.js", SCRIPT, "stream.js"),
    file!("/page/events.js", SCRIPT, "events.js"),
    file!("/page/change.js", SCRIPT, "change.js"),
    file!("/page/detail.js", SCRIPT, "detail.js"),
    file!("/page/charts.js", SCRIPT, "charts.js"),
    file!("/page/state.js", SCRIPT, "state.js"),
    file!("/page/subjects.js", SCRIPT, "subjects.js"),
    file!("/page/outbox.js", SCRIPT, "outbox.js"),
    file!("/page/parked.js", SCRIPT, "parked.js"),
    file!("/page/dom.js", SCRIPT, "dom.js"),
];

/// What a browser lets the page do: load what is beside it and ask this daemon, and nothing else. No other
/// page may show it in a frame and borrow someone's clicks.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file of this path.
pub(super) fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

impl File {
    pub(super) fn answer(&self) -> Answer<'static> {
        Answer::file(self.kind, self.content)
            .field("Content-Security-Policy", POLICY)
            .field("Cross-Origin-Resource-Policy", "same-origin")
            .field("Referrer-Policy", "no-referrer")
    }
}

impl Daemon {
    /// Who asks, and what may be heard as whom: so that the page asks for nothing that is refused.
    pub(super) fn whoami(&self, key: Key) -> Answer<'static> {
        let Some(client) = self.clients.get(key) else { return Answer::empty(401) };
        let Some(rights) = client.standing.rights() else { return Answer::empty(401) };
        let json = json!({
            "user": client.standing.name(),
            "subscribe": {
                "allow": rights.subscribe.allow.as_deref().map(plain),
                "deny": plain(&rights.subscribe.deny),
            },
        });
        Answer::json(format!("{json:#}\n"))
    }
}

/// The filters that hold for whoever is in no queue group.
fn plain(entries: &[Entry]) -> Value {
    let plain = entries.iter().filter(|entry| entry.queue.is_none());
    plain.map(|entry| String::from_utf8_lossy(&entry.filter).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file that the page names is served, and every file that is served begins by saying what it
    /// is for.
    #[test]
    fn the_page_is_whole() {
        let names = |text: &str| -> Vec<String> {
            let after = ["href=\"/page/", "src=\"/page/", "from './"].iter().flat_map(|before| {
                text.split(before)
                    .skip(1)
                    .filter_map(|rest| rest.split(['"', '\'']).next())
                    .map(str::to_owned)
            });
            after.collect()
        };
        for file in &FILES {
            for name in names(file.content) {
                assert!(super::file(&format!("/page/{name}")).is_some(), "{}: {name}", file.path);
            }
            let first = file.content.lines().next().unwrap();
            let says =
                ["// ", "/* ", "<!doctype html>", "<svg "].iter().any(|start| first.starts_with(start));
            assert!(says && file.content.lines().count() <= 400, "{}: {first}", file.path);
            assert!(!file.content.contains("innerHTML"), "{}: text is text", file.path);
        }
        assert_eq!(names("import { a } from './b.js'; <a href=\"/page/c\">"), ["c", "b.js"]);
    }
}
