//! Three mistakes that the reader does not make, for tests that show that they would be found
//! (tests/e2e/sabotage.rs). An environment variable asks for one, and only a debug build reads it: in a
//! release nothing does.

use super::event::Event;
use super::statements;
use rowcall_mysql::{Connection, Error};
use std::cell::Cell;

/// The mistake to make, if any.
pub(super) struct Sabotage {
    mistake: Option<Mistake>,
    /// The largest id that was read.
    cursor: Cell<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    /// Reads on behind the last row, as if nothing could be committed before it any more.
    Cursor,
    /// Deletes from the first row to the last, as if nothing else could be there by then.
    Range,
    /// Deletes before it hands on, as if nobody could be killed in between.
    Early,
}

impl Sabotage {
    /// What is asked for.
    pub(super) fn asked() -> Sabotage {
        let mistake = asked();
        if let Some(mistake) = mistake {
            tracing::warn!(?mistake, "outbox: SABOTAGE, for tests: events will be lost");
        }
        Sabotage { mistake, cursor: Cell::new(0) }
    }

    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// What is left of what was read.
    pub(super) fn skim(&self, events: &mut Vec<Event>) {
        if self.is(Mistake::Cursor) {
            events.retain(|event| event.id > self.cursor.get());
            self.cursor.set(events.last().map_or(self.cursor.get(), |event| event.id));
        }
    }

    /// Before these are handed on.
    pub(super) fn before(&self, connection: &mut Connection, ids: &[u64]) -> Result<(), Error> {
        if self.is(Mistake::Early) {
            connection.query(statements::delete(ids))?;
        }
        Ok(())
    }

    /// What deletes these.
    pub(super) fn delete(&self, ids: &[u64]) -> String {
        match (ids.first(), ids.last()) {
            (Some(first), Some(last)) if self.is(Mistake::Range) => {
                format!("DELETE FROM rowcall.outbox WHERE id BETWEEN {first} AND {last}")
            }
            _ => statements::delete(ids),
        }
    }
}

#[cfg(debug_assertions)]
fn asked() -> Option<Mistake> {
    match std::env::var("ROWCALL_SABOTAGE").ok()?.as_str() {
        "cursor" => Some(Mistake::Cursor),
        "range" => Some(Mistake::Range),
        "early" => Some(Mistake::Early),
        _ => None,
    }
}

#[cfg(not(debug_assertions))]
fn asked() -> Option<Mistake> {
    None
}
