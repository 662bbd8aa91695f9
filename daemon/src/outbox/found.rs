//! What one read of the outbox has found: events, and rows that can never be published. No connection lives
//! here.

use super::event::{Event, Flaw, Row};
use rowcall_wire::rule::Rule;
use std::time::Instant;

/// A row that can never be published, and why.
pub(super) type Flawed = (u64, &'static str);

/// What one read has found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) events: Vec<Event>,
    pub(super) flawed: Vec<Flawed>,
    pub(super) bytes: usize,
    /// The id of the last row.
    pub(super) last: u64,
    /// Whether it reached the end of the table.
    pub(super) is_whole: bool,
    /// When the look began, if it saw the whole table.
    pub(super) looked: Option<Instant>,
}

impl Found {
    /// Takes in a row, which SQL may publish as far as the rule permits it.
    pub(super) fn add(&mut self, row: &[Option<&[u8]>], site: &str, max_payload: usize, rule: &Rule) {
        let &[id, subject, payload, headers, created_at, is_too_large] = row else { return };
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
        let (Some(id), Some(created_at)) = (id, created_at) else { return };
        self.last = id;
        let is_too_large = is_too_large == Some(b"1");
        match (Row { id, subject, payload, headers, created_at, is_too_large }).event(site, max_payload) {
            // Anyone may call rowcall.publish, who may not publish there with rowcall_notify.
            Ok(event) if !rule.permits(&event.subject) => self.flawed.push((id, Flaw::Forbidden.name())),
            Ok(event) => {
                self.bytes += event.body.len();
                self.events.push(event);
            }
            Err(flaw) => self.flawed.push((id, flaw.name())),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.events.len() + self.flawed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0
    }
}
