//! Events that a consumer gives up, on their way to the dead letters in `parked`. One that cannot be parked
//! now waits here: it is delivered no more, and keeps no other event waiting.

use super::{Clock, Ledger, history, place};
use crate::outbox::desk::{Desk, Fate, News, Note};
use crate::outbox::transaction::in_transaction;
use rowcall_mysql::{Connection, Error, quoted};

impl Ledger {
    /// Takes those that are given up out of what became of events. While they have to wait, their deliveries
    /// are written down, so that they count when the daemon ends before they are parked.
    pub(in crate::outbox) fn take_given_up(&mut self, notes: Vec<Note>, clock: Clock) -> Vec<Note> {
        let waits = self.given_up.rests(clock());
        let mut others = Vec::with_capacity(notes.len());
        for note in notes {
            if !matches!(note.fate, Fate::Parked { .. }) {
                others.push(note);
                continue;
            }
            others.extend(note.deliveries().filter(|_| waits));
            self.given_up.add(note);
        }
        others
    }

    /// So many wait to be parked that no more is to be given up.
    pub(in crate::outbox) fn is_full(&self) -> bool {
        self.given_up.is_full()
    }

    /// The number of those that wait for the server, and why.
    pub(in crate::outbox) fn trouble(&self) -> Option<(usize, &str)> {
        self.given_up.trouble().or(self.wanted.trouble())
    }

    /// Parks what is given up.
    pub(in crate::outbox) fn park_given_up(
        &mut self,
        connection: &mut Connection,
        desk: &Desk,
        clock: Clock,
    ) -> Result<(), Error> {
        while let Some(mut note) = self.given_up.due(clock()) {
            let began = clock();
            match in_transaction(connection, |connection| self.park(connection, &note)) {
                Ok(()) => {
                    self.given_up.done();
                    let confirm: Vec<_> = note.confirm.take().into_iter().collect();
                    if !confirm.is_empty() {
                        desk.tell(News::Written(confirm));
                    }
                }
                Err(error) if error.is_lost() => return Err(error),
                Err(error) => {
                    let took = clock() - began;
                    if let Some(delivered) = note.deliveries() {
                        // Best effort: it is written down again with the next attempt.
                        let write = |connection: &mut Connection| self.write(connection, &[delivered]);
                        let _ = in_transaction(connection, write);
                    }
                    let (id, why) = (note.id, error.to_string());
                    if self.given_up.failed(note, &why, took, clock()) {
                        tracing::warn!(id, why, "an event that was given up cannot be parked; it is held");
                    }
                }
            }
        }
        Ok(())
    }

    fn park(&self, connection: &mut Connection, note: &Note) -> Result<(), Error> {
        let Fate::Parked { deliveries, reason, why } = note.fate else { return Ok(()) };
        let Some(consumer) = self.consumer(note.consumer) else { return Ok(()) };
        let (name, history) =
            (quoted(&consumer.settings.name), history(&deliveries.to_string(), &quoted(why)));
        connection.query(format!(
            "REPLACE INTO rowcall.parked \
             (id, consumer, subject, payload, headers, created_at, uncommitted_us, reason, history) \
             SELECT id, {name}, subject, payload, headers, created_at, uncommitted_us, '{reason}', {history} \
             FROM rowcall.pending WHERE {}",
            place(note)
        ))?;
        let gone = connection.query(format!("DELETE FROM rowcall.pending WHERE {}", place(note)))?.affected;
        self.recount(connection, note.consumer, gone, "parked")?;
        tracing::warn!(
            consumer = consumer.settings.name,
            id = note.id,
            reason,
            deliveries,
            "an event was given up; it is in rowcall.parked"
        );
        Ok(())
    }
}

impl Note {
    /// Of an event that is given up, the number of its deliveries.
    fn deliveries(&self) -> Option<Note> {
        let &Note { consumer, position, id, .. } = self;
        match self.fate {
            Fate::Parked { deliveries, .. } if deliveries > 0 => {
                Some(Note { consumer, position, id, fate: Fate::Delivered(deliveries), confirm: None })
            }
            _ => None,
        }
    }
}
