//! What someone may have missed, out of the events that wait for durable consumers: those with an id above
//! the last one that he has heard. Only the reader's thread asks the server; who hears it stands in
//! http/resume.rs.

use super::{Ledger, SAME, number, places};
use crate::outbox::desk::{Desk, News, Recall, Recalled};
use crate::outbox::event::Row;
use crate::outbox::portion::BYTES_MAX;
use rowcall_mysql::{Connection, Error};
use rowcall_wire::subject;
use std::collections::BTreeMap;
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
                (Recalled { client, events: Vec::new(), more: false, complete: false }, Err(error))
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
        let list: Vec<String> = found.values().take(RECALLED_MAX).cloned().collect();
        let mut recalled =
            Recalled { client: recall.client, events: Vec::new(), more: found.len() > list.len(), complete };
        if !list.is_empty() {
            let (mut bytes, more) = (0, &mut recalled.more);
            let sql = format!(
                "SELECT p.id, p.subject, p.payload, p.headers, p.created_at FROM {} \
                 STRAIGHT_JOIN rowcall.pending AS p FORCE INDEX (PRIMARY) ON {SAME} ORDER BY p.id",
                places(&list)
            );
            connection.each_row(sql, |row| {
                if bytes >= BYTES_MAX {
                    *more = true;
                    return ControlFlow::Break(());
                }
                if let &[id, subject, payload, headers, Some(created_at)] = row
                    && let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok())
                    && let Ok(event) = (Row { id, subject, payload, headers, created_at }).event(max_payload)
                {
                    bytes += event.body.len();
                    recalled.events.push(event);
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(recalled)
    }

    /// The places of what is wanted, by id, each once however many consumers it waits for; and whether
    /// everything was looked at that might be.
    fn find(
        &self,
        connection: &mut Connection,
        recall: &Recall,
    ) -> Result<(BTreeMap<u64, String>, bool), Error> {
        let limit = LOOKED_AT_MAX / self.consumers.len().clamp(1, LOOKED_AT_MAX);
        let (mut found, mut complete) = (BTreeMap::new(), true);
        for consumer in &self.consumers {
            let consumer = consumer.settings.id;
            let rows = connection.query(format!(
                "SELECT position, id, subject FROM rowcall.pending WHERE consumer = {consumer} \
                 ORDER BY position DESC LIMIT {limit}"
            ))?;
            let reached = rows.rows.last().is_none_or(|row| number(row, 1) <= recall.after);
            complete &= reached || rows.rows.len() < limit;
            for row in &rows.rows {
                let (position, id) = (number(row, 0), number(row, 1));
                let subject = row.get(2).and_then(Option::as_deref).unwrap_or_default();
                if id > recall.after && recall.filters.iter().any(|filter| subject::matches(filter, subject))
                {
                    found.entry(id).or_insert_with(|| format!("[{consumer},{position},{id}]"));
                }
            }
        }
        Ok((found, complete))
    }
}
