//! What `rowcall top` shows, out of what was seen at two points in time. Pure.

use crate::change::Paint;
use crate::output::visible;
use crate::span;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Subjects that are counted by name; more of them are one, so that no publisher fills our memory.
const SUBJECTS_MAX: usize = 10_000;

/// What stands for those, and for the subjects of replies, each of which is used once.
const OTHERS: &str = "(others)";
const REPLIES: &str = "_INBOX.>";

/// Subscribers that are listed.
pub(crate) const SLOWEST: usize = 5;

/// Lines about the whole, above the tables; and of subjects, however small the screen is.
const HEAD: usize = 3;
const SUBJECTS_LEAST: usize = 5;

/// Columns of a table: with four numbers, 80.
const NAME_WIDTH: usize = 36;
const CELL_WIDTH: usize = 11;

/// Seconds that two looks are apart at least, for whoever divides by them.
const TICK_LEAST: f64 = 0.001;

/// What was heard of each subject: messages and bytes, in all and at the look before.
#[derive(Default)]
pub(crate) struct Heard(HashMap<String, Count>);

#[derive(Clone, Copy, Default)]
struct Count {
    messages: u64,
    bytes: u64,
    messages_before: u64,
    bytes_before: u64,
}

/// What the daemon told at one point in time.
pub(crate) struct Sample {
    pub(crate) varz: Value,
    /// Its connections, those first that are owed most.
    pub(crate) connz: Value,
    /// How committed mode goes; nothing if the daemon does not read it.
    pub(crate) outboxz: Option<Value>,
    /// Why that cannot be told now.
    pub(crate) trouble: Option<String>,
}

/// Everything for one look.
pub(crate) struct Board<'a> {
    pub(crate) before: Option<&'a Sample>,
    pub(crate) now: &'a Sample,
    pub(crate) heard: &'a Heard,
    /// Seconds between the two.
    pub(crate) seconds: f64,
}

impl Heard {
    pub(crate) fn count(&mut self, subject: &[u8], bytes: usize) {
        let subject =
            if subject.starts_with(b"_INBOX.") { REPLIES.into() } else { String::from_utf8_lossy(subject) };
        let is_full = self.0.len() >= SUBJECTS_MAX && !self.0.contains_key(&*subject);
        let subject = if is_full { OTHERS.into() } else { subject };
        let count = self.0.entry(subject.into_owned()).or_default();
        count.messages += 1;
        count.bytes += bytes as u64;
    }

    /// The look is over; the next one counts from here.
    pub(crate) fn turn(&mut self) {
        for count in self.0.values_mut() {
            (count.messages_before, count.bytes_before) = (count.messages, count.bytes);
        }
    }

    /// Those with the most messages since the look before, then the most in all.
    fn sorted(&self) -> Vec<(&str, Count)> {
        let mut all: Vec<(&str, Count)> =
            self.0.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        all.sort_by_key(|(name, count)| {
            (std::cmp::Reverse((count.messages - count.messages_before, count.messages)), *name)
        });
        all
    }
}

impl Sample {
    fn number(&self, path: &str) -> u64 {
        self.varz.pointer(path).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Everything that was lost, cut off or refused, by reason.
    fn drops(&self) -> Vec<(String, u64)> {
        const COUNTERS: [(&str, &str); 12] = [
            ("slow (owed too much)", "/closed/slow_pending"),
            ("slow (no progress)", "/closed/slow_write"),
            ("bytes lost with connections", "/lost_bytes"),
            ("nobody listened", "/unheard_msgs"),
            ("no responders", "/no_responders"),
            ("forbidden publish", "/forbidden/publish"),
            ("forbidden subscribe", "/forbidden/subscribe"),
            ("forbidden to SQL", "/forbidden/sql"),
            ("failed logins", "/auth_failures"),
            ("HTTP turned away", "/http/turned_away"),
            ("replies evicted (count)", "/mailbox/evicted_count"),
            ("replies evicted (time)", "/mailbox/evicted_time"),
        ];
        let mut drops: Vec<(String, u64)> =
            COUNTERS.iter().map(|(name, path)| ((*name).to_owned(), self.number(path))).collect();
        let reasons =
            self.outboxz.as_ref().and_then(|told| told["functions"]["dropped_by_reason"].as_object());
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        drops.extend(
            reasons.into_iter().flatten().map(|(reason, value)| (format!("SQL: {reason}"), number(value))),
        );
        drops.retain(|(_, count)| *count > 0);
        drops
    }
}

impl Board<'_> {
    /// How many more since the look before, in a second.
    fn rate(&self, path: &str) -> f64 {
        self.before.map_or(0.0, |before| {
            self.now.number(path).saturating_sub(before.number(path)) as f64 / self.seconds.max(TICK_LEAST)
        })
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let names = ["in_msgs", "in_bytes", "out_msgs", "out_bytes"];
        let rates: Map<String, Value> = names
            .iter()
            .map(|name| (format!("{name}_per_s"), json!(round(self.rate(&format!("/{name}"))))))
            .collect();
        let subjects = self.heard.sorted();
        let subject = |(name, count): &(&str, Count)| json!({ "subject": name, "msgs_per_s": round(self.per_second(*count)), "msgs": count.messages, "bytes": count.bytes });
        json!({
            "rates": rates,
            "subjects": subjects.iter().map(subject).collect::<Vec<_>>(),
            "consumers": self.now.outboxz.as_ref().map(|told| told["status"].clone()),
            "slowest": self.now.connz["connections"].as_array().map(|all| &all[..all.len().min(SLOWEST)]),
            "drops": self.now.drops().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "outbox": self.now.varz["outbox"]["state"],
            "outbox_trouble": self.now.trouble,
        })
    }

    fn per_second(&self, count: Count) -> f64 {
        (count.messages - count.messages_before) as f64 / self.seconds.max(TICK_LEAST)
    }

    /// For a terminal of this size.
    pub(crate) fn lines(&self, width: usize, height: usize, paint: Paint) -> Vec<String> {
        let blocks = [self.consumers(), self.slowest(), self.drops()].concat();
        // The subjects get what the others leave, and some lines at least.
        let room = height.saturating_sub(HEAD + 2 + blocks.len() + 1).max(SUBJECTS_LEAST);
        let lines = [self.head(), self.subjects(room), blocks].concat();
        let cut = |line: &String| line.chars().take(width).collect::<String>();
        let shown = lines.iter().take(height).map(cut);
        shown.map(|line| if is_heading(&line) { paint.dim(&line) } else { line }).collect()
    }

    fn head(&self) -> Vec<String> {
        let number = |path| grouped(self.now.number(path));
        let rate = |path| grouped(self.rate(path).round() as u64);
        let bytes = |path| scaled(self.rate(path));
        let text = |name: &str| visible(self.now.varz[name].as_str().unwrap_or("?").as_bytes());
        let outbox = self.now.varz["outbox"]["state"].as_str().unwrap_or("not read here");
        let outbox = visible(self.now.trouble.as_deref().unwrap_or(outbox).as_bytes());
        // A daemon of before had its own version under NATS's name.
        let version =
            if self.now.varz["rowcall_version"].is_string() { "rowcall_version" } else { "version" };
        let [version, uptime] = [version, "uptime"].map(text);
        let [connections, subscriptions] = ["/connections", "/subscriptions"].map(number);
        let [waiting, kept] = ["/mailbox/waiting", "/mailbox/kept"].map(number);
        let owed = scaled(self.now.number("/pending_bytes") as f64);
        vec![
            format!(
                "rowcalld {version}, up {uptime}: {connections} connections, {subscriptions} subscriptions"
            ),
            format!(
                "in {} msg/s, {}B/s; out {} msg/s, {}B/s; owed {owed}B",
                rate("/in_msgs"),
                bytes("/in_bytes"),
                rate("/out_msgs"),
                bytes("/out_bytes")
            ),
            format!("outbox: {outbox}; mailbox: {waiting} waiting, {kept} kept"),
        ]
    }

    fn subjects(&self, room: usize) -> Vec<String> {
        let all = self.heard.sorted();
        let row = |(name, count): &(&str, Count)| {
            let bytes = (count.bytes - count.bytes_before) as f64 / self.seconds.max(TICK_LEAST);
            let rate = grouped(self.per_second(*count).round() as u64);
            line(name, &[rate, scaled(bytes), grouped(count.messages), scaled(count.bytes as f64)])
        };
        let mut lines =
            block(HEADINGS[0], &["msg/s", "B/s", "messages", "bytes"], all.iter().take(room).map(row));
        match all.len() {
            0 => lines = vec![String::new(), "nothing was heard yet".into()],
            many if many > room => lines.push(format!("and {} more", many - room)),
            _ => {}
        }
        lines
    }

    fn consumers(&self) -> Vec<String> {
        let rows = self.now.outboxz.as_ref().and_then(|told| told["status"].as_array());
        let row = |row: &Value| {
            let number = |name: &str| row[name].as_u64().map_or("-".to_owned(), grouped);
            let oldest = row["oldest_ms"].as_u64().map_or("-".to_owned(), |age| span::age(age / 1000));
            let name = row["consumer"].as_str().filter(|name| !name.is_empty()).unwrap_or("(outbox)");
            line(name, &[number("pending"), oldest, number("unacked"), number("parked")])
        };
        block(HEADINGS[1], &["waiting", "oldest", "unacked", "parked"], rows.into_iter().flatten().map(row))
    }

    fn slowest(&self) -> Vec<String> {
        let all = self.now.connz["connections"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_owed = |one: &&Value| one["pending_bytes"].as_u64().unwrap_or_default() > 0;
        let row = |one: &Value| {
            let text = |name: &str| one[name].as_str().unwrap_or_default();
            let place = match text("ip") {
                "" => text("type").to_owned(),
                ip => format!("{ip}:{}", one["port"]),
            };
            let number = |name: &str| grouped(one[name].as_u64().unwrap_or_default());
            let owed = scaled(one["pending_bytes"].as_f64().unwrap_or_default());
            line(
                &format!("{place} {}", text("name")),
                &[owed, text("idle").to_owned(), number("out_msgs"), number("subscriptions")],
            )
        };
        let heads = ["owed", "idle", "messages", "listens to"];
        block(HEADINGS[2], &heads, all.iter().filter(is_owed).take(SLOWEST).map(row))
    }

    fn drops(&self) -> Vec<String> {
        let before: HashMap<String, u64> =
            self.before.map(Sample::drops).unwrap_or_default().into_iter().collect();
        let drops = self.now.drops();
        let row = |(name, count): &(String, u64)| {
            let more =
                self.before.map_or(0, |_| count.saturating_sub(before.get(name).copied().unwrap_or(0)));
            let rate = (more as f64 / self.seconds.max(TICK_LEAST)).round() as u64;
            line(name, &[grouped(rate), grouped(*count)])
        };
        block(HEADINGS[3], &["per s", "in all"], drops.iter().map(row))
    }
}

/// The headings of the tables; a subject may look like anything.
const HEADINGS: [&str; 4] = ["SUBJECT", "CONSUMER", "SLOWEST SUBSCRIBER", "DROPPED, OR HEARD BY NOBODY"];

fn is_heading(line: &str) -> bool {
    HEADINGS.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with("   ")))
}

/// A heading and rows; nothing without rows.
fn block(name: &str, heads: &[&str], rows: impl Iterator<Item = String>) -> Vec<String> {
    let rows: Vec<String> = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let heads: Vec<String> = heads.iter().map(|&head| head.to_owned()).collect();
    [vec![String::new(), line(name, &heads)], rows].concat()
}

/// A name and numbers, in columns that do not move from one look to the next.
fn line(name: &str, cells: &[String]) -> String {
    let name = visible(name.as_bytes());
    let name = match name.char_indices().nth(NAME_WIDTH - 1) {
        Some((end, _)) if name.chars().count() >= NAME_WIDTH => format!("{}…", &name[..end]),
        _ => name,
    };
    let cells: String = cells.iter().map(|cell| format!("{cell:>CELL_WIDTH$}")).collect();
    format!("{name:<NAME_WIDTH$}{cells}")
}

/// Of a number, one digit behind the point.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

/// 1234567 as 1.2M.
fn scaled(number: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut number, mut unit) = (number, 0);
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{number:.0}") } else { format!("{number:.1}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(messages: u64, lost: u64) -> Sample {
        Sample {
            varz: json!({
                "version": "0.1.0", "uptime": "3d", "connections": 2, "subscriptions": 3, "in_msgs": messages,
                "in_bytes": messages * 100, "lost_bytes": lost, "outbox": { "state": "reading" },
            }),
            connz: json!({ "connections": [
                { "ip": "10.0.0.7", "port": 4711, "name": "mail", "pending_bytes": 2_500_000, "idle": "3s", "out_msgs": 7, "subscriptions": 1 },
                { "type": "unix", "pending_bytes": 0 },
            ] }),
            outboxz: Some(json!({
                "status": [{ "consumer": "mail", "pending": 12_000, "oldest_ms": 90_000, "unacked": 4, "parked": 1 }],
                "functions": { "dropped_by_reason": { "stalled": 3 } },
            })),
            trouble: None,
        }
    }

    fn shown(height: usize, subjects: usize) -> Vec<String> {
        let mut heard = Heard::default();
        heard.turn();
        (0..subjects).for_each(|n| heard.count(format!("shop.{n:03}").as_bytes(), 50));
        let (before, now) = (sample(1000, 0), sample(3000, 10));
        let board = Board { before: Some(&before), now: &now, heard: &heard, seconds: 2.0 };
        board.lines(80, height, Paint(false))
    }

    #[test]
    fn everything_stands_on_a_screen() {
        let lines = shown(24, 3);
        let text = lines.join("\n");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert!(lines.len() <= 24, "{text}");
        assert!(lines[0].starts_with("rowcalld 0.1.0, up 3d: 2 connections"), "{text}");
        assert!(lines[1].starts_with("in 1,000 msg/s, 100.0kB/s; out 0"), "{text}");
        for words in
            ["shop.000", "mail                                     12,000         1m", "10.0.0.7:4711 mail"]
        {
            assert!(text.contains(words), "{words} is not in:\n{text}");
        }
        assert!(text.contains("bytes lost with connections                   5         10"), "{text}");
        assert!(text.contains("SQL: stalled                                  0          3"), "{text}");
    }

    #[test]
    fn nothing_that_is_told_reaches_the_terminal_as_it_is() {
        let mut now = sample(1, 0);
        now.varz["version"] = "\x1b[31m".into();
        now.trouble = Some("503 \x1b]0;x".into());
        let mut heard = Heard::default();
        heard.count("Shop.\u{202e}x".as_bytes(), 1);
        let board = Board { before: None, now: &now, heard: &heard, seconds: 1.0 };
        let lines = board.lines(80, 60, Paint(true));
        assert!(
            lines[0].contains("\\u{1b}[31m") && lines[2].starts_with("outbox: 503 \\u{1b}]0;x"),
            "{lines:?}"
        );
        let subject = lines.iter().find(|line| line.contains("Shop.")).unwrap();
        assert!(subject.starts_with("Shop.\\u{202e}x"), "no heading, and nothing turned around: {subject:?}");
        assert!(lines.iter().any(|line| line.starts_with("\x1b[2mSUBJECT")), "{lines:?}");
    }

    #[test]
    fn subjects_get_what_the_rest_leaves() {
        let count = |height| shown(height, 100).iter().filter(|line| line.starts_with("shop.")).count();
        assert_eq!(shown(60, 100).len(), 60);
        assert!(
            count(60) > count(40) && count(10) >= SUBJECTS_LEAST,
            "{} {} {}",
            count(60),
            count(40),
            count(10)
        );
        assert!(shown(60, 100).iter().any(|line| line.starts_with("and ") && line.ends_with(" more")));
        assert!(shown(24, 0).iter().any(|line| line == "nothing was heard yet"));
    }

    #[test]
    fn names_of_subjects_fill_no_memory() {
        let mut heard = Heard::default();
        (0..SUBJECTS_MAX + 10).for_each(|n| heard.count(n.to_string().as_bytes(), 1));
        assert_eq!(heard.0.len(), SUBJECTS_MAX + 1);
        assert_eq!(heard.0[OTHERS].messages, 10);
        heard.count(b"_INBOX.x.1", 1);
        heard.count(b"_INBOX.x.2", 1);
        assert_eq!(heard.0.get(REPLIES).map(|count| count.messages), None, "there was no room");
        assert_eq!(heard.0[OTHERS].messages, 12);
    }

    #[test]
    fn the_busiest_come_first() {
        let mut heard = Heard::default();
        (0..5).for_each(|_| heard.count(b"old", 1));
        heard.turn();
        heard.count(b"new", 1);
        let names: Vec<&str> = heard.sorted().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["new", "old"]);
    }

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 999.0, 1000.0, 1_234_567.0].map(scaled), ["0", "999", "1.0k", "1.2M"]);
    }
}
