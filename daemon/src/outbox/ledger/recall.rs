//! What someone may have missed, out of the events that wait for durable consumers: those after the last one
//! that was heard. Only the reader's thread asks the server; who hears it stands in
//! http/resume.rs.

use super::{Ledger, SAME, number, places};
use crate::outbox::desk::STAMP;
use crate::outbox::desk::{Desk, News, Recall, Recalled};
use crate::outbox::event::{Event, Row};
use crate::outbox::portion::BYTES_MAX;
use rowcall_mysql::{Connection, Error, Row as Values};
use rowcall_wire::subject;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Rows that are looked at for one question, of all consumers together, the latest of each: some ten
/// milliseconds, for which everyone's events wait. There is no index by id, as only this would need it.
const LOOKED_AT_MAX: usize = 10_000;

/// Events in one answer. Whoever wants more asks again, from the last of these.
const RECALLED_MAX: usize = 1000;

impl Ledger {
    /// Puts on the desk what is wanted of what waits. Where the server refuses, that is nothing, and not all.
    pub(in crate::outbox) fn recall(
        &self,
        connection: &mut Connection,
        desk: &Desk,
        recall: &Recall,
        max_payload: usize,
    ) -> Result<(), Error> {
        let recalled = self.recalled(connection, recall, max_payload);
        let (recalled, done) = match recalled {
            Ok(recalled) => (recalled, Ok(())),
            Err(error) => {
                let client = recall.client;
                (Recalled { client, events: Vec::new(), more: None, complete: false }, Err(error))
            }
        };
        desk.tell(News::Recalled(recalled));
        done
    }

    fn recalled(
        &self,
        connection: &mut Connection,
        recall: &Recall,
        max_payload: usize,
    ) -> Result<Recalled, Error> {
        let (found, complete) = self.find(connection, recall)?;
        let list: Vec<String> = found.iter().take(RECALLED_MAX).map(|(_, place)| place.clone()).collect();
        let (mut events, mut more, mut last) = (Vec::new(), found.len() > list.len(), 0);
        if !list.is_empty() {
            let mut bytes = 0;
            let sql = format!(
                "SELECT p.position, p.id, p.subject, p.payload, p.headers, p.created_at FROM {} \
                 STRAIGHT_JOIN rowcall.pending AS p FORCE INDEX (PRIMARY) ON {SAME} ORDER BY p.position",
                places(&list)
            );
            connection.each_row(sql, |row| {
                if bytes >= BYTES_MAX {
                    more = true;
                    return ControlFlow::Break(());
                }
                let number = |value: Option<&[u8]>| std::str::from_utf8(value?).ok()?.parse().ok();
                if let &[position, id, subject, payload, headers, Some(created_at)] = row
                    && let (Some(position), Some(id)) = (number(position), number(id))
                    && let Ok(event) =
                        (Row { id, subject, payload, headers, created_at, is_too_large: false })
                            .event(&self.site, max_payload)
                {
                    bytes += event.body.len();
                    last = position;
                    events.push(event);
                }
                ControlFlow::Continue(())
            })?;
        }
        let end = |event: &Event| format!("{}/{}.{}/{last}", self.site, event.id, event.stamp);
        let more = events.last().filter(|_| more).map(end);
        Ok(Recalled { client: recall.client, events, more, complete })
    }

    /// The places of what is wanted, by position, each once however many consumers it waits for; and
    /// whether everything was looked at that might be.
    fn find(
        &self,
        connection: &mut Connection,
        recall: &Recall,
    ) -> Result<(Vec<(u64, String)>, bool), Error> {
        let limit = LOOKED_AT_MAX / self.consumers.len().clamp(1, LOOKED_AT_MAX);
        let (mut found, mut complete) = (HashMap::new(), true);
        for consumer in &self.consumers {
            let consumer = consumer.settings.id;
            let rows = connection.query(format!(
                "SELECT position, id, subject, {STAMP} FROM rowcall.pending WHERE consumer = {consumer} \
                 ORDER BY position DESC LIMIT {limit}"
            ))?;
            let precedes = |row: &Values| {
                let event = (number(row, 1), number(row, 3) as i64);
                recall.after.precedes(&self.site, event, number(row, 0))
            };
            let reached = rows.rows.last().is_none_or(|row| !precedes(row));
            complete &= reached || rows.rows.len() < limit;
            for row in &rows.rows {
                let (position, id, stamp) = (number(row, 0), number(row, 1), number(row, 3));
                let subject = row.get(2).and_then(Option::as_deref).unwrap_or_default();
                if precedes(row) && recall.filters.iter().any(|filter| subject::matches(filter, subject)) {
                    // What was sent again to one consumer stands there behind everything.
                    let place = (position, format!("[{consumer},{position},{id}]"));
                    let first = found.entry((id, stamp)).or_insert_with(|| place.clone());
                    *first = place.min(first.clone());
                }
            }
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_unstable();
        Ok((found, complete))
    }
}
