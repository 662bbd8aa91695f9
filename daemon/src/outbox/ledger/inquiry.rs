//! What people ask about the tables of committed mode, and what they want done with what is parked. Only
//! the reader's thread asks the server; who may ask, and how it is answered, stands in http/tables.rs.
//!
//! What `rowcall status` and `rowcall parked` say and do, said and done for whoever has no account there.

use super::{Ledger, number, text};
use crate::outbox::desk::{Desk, Inquiry, News, Parked, Question, Told};
use crate::outbox::server::Settings;
use rowcall_mysql::{Connection, Error, Row as Values};
use serde_json::{Map, Value, json};

/// Parked events that one answer lists, the latest. They are read while everyone's events wait.
const LISTED_MAX: usize = 100;

/// Bytes of each of their payloads, headers and histories: enough to know what it is.
const SHOWN_MAX: usize = 4096;

/// Parked events that are counted; more are told as so many. A row may fill pages of its own, and each is
/// walked over: a hundred thousand of 8 KiB took two seconds, a thousand take some twenty milliseconds.
const COUNTED_MAX: usize = 1000;

/// Numbers of `rowcall.status`, in the order in which they are asked for.
const NUMBERS: [&str; 7] = ["pending", "unacked", "delivered", "redelivered", "settled", "parked", "dropped"];

impl Ledger {
    /// Puts the answer to a question on the desk. What the server refuses is an answer, too.
    pub(in crate::outbox) fn answer(
        &self,
        connection: &mut Connection,
        desk: &Desk,
        question: Question,
    ) -> Result<(), Error> {
        let answer = match &question.inquiry {
            Inquiry::State => state(connection).map(Told::State),
            Inquiry::List => list(connection),
            Inquiry::Retry(parked) => self.ask_for_retry(connection, parked).map(Told::Done),
            Inquiry::Drop(parked) => drop_parked(connection, parked).map(Told::Done),
        };
        let lost = answer.as_ref().err().filter(|error| error.is_lost()).cloned();
        let answer = answer.map_err(|error| error.to_string());
        desk.tell(News::Told { client: question.client, number: question.number, answer });
        lost.map_or(Ok(()), Err)
    }

    /// Asks for an event to be sent again, which happens with the next sweep. An event whose consumer is gone
    /// has nowhere to go.
    fn ask_for_retry(&self, connection: &mut Connection, parked: &Parked) -> Result<u64, Error> {
        let known = self.consumers.iter().any(|consumer| consumer.settings.name == parked.consumer);
        if !known && !parked.consumer.is_empty() {
            return Ok(0);
        }
        let it = condition(parked);
        let found = connection.query(format!("SELECT id FROM rowcall.parked WHERE {it}"))?.rows.len() as u64;
        connection.query(format!(
            "INSERT IGNORE INTO rowcall.retries (id, consumer) SELECT id, consumer FROM rowcall.parked WHERE {it}"
        ))?;
        Ok(found)
    }
}

fn drop_parked(connection: &mut Connection, parked: &Parked) -> Result<u64, Error> {
    Ok(connection.query(format!("DELETE FROM rowcall.parked WHERE {}", condition(parked)))?.affected)
}

/// The column itself does not tell upper case from lower case, names do. The id alone finds the row.
fn condition(parked: &Parked) -> String {
    let name: String = parked.consumer.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("id = {} AND CAST(consumer AS BINARY) = x'{name}'", parked.id)
}

/// How it goes, what the server is set to, and what the functions have counted.
fn state(connection: &mut Connection) -> Result<Value, Error> {
    let age = "TIMESTAMPDIFF(MICROSECOND, oldest, CURRENT_TIMESTAMP(6)) DIV 1000";
    let numbers = NUMBERS.join(", ");
    let rows = connection
        .query(format!("SELECT consumer, {age}, {numbers} FROM rowcall.status ORDER BY consumer"))?
        .rows;
    let settings = Settings::read(connection)?;
    // They may not be installed, or not for this account.
    let functions = match connection.value("SELECT CONVERT(rowcall_status() USING utf8mb4)") {
        Ok(status) => status.and_then(|status| serde_json::from_str(&status).ok()),
        Err(error) if error.is_lost() => return Err(error),
        Err(_) => None,
    };
    Ok(json!({
        "status": rows.iter().map(status).collect::<Vec<_>>(),
        "server": settings.to_json(),
        "functions": functions.unwrap_or(Value::Null),
    }))
}

fn status(row: &Values) -> Value {
    let mut json = Map::new();
    json.insert("consumer".into(), text(row, 0).into());
    let waits = row.get(1).is_some_and(Option::is_some);
    json.insert("oldest_ms".into(), if waits { number(row, 1).into() } else { Value::Null });
    json.extend(
        NUMBERS.iter().enumerate().map(|(at, name)| ((*name).to_owned(), number(row, at + 2).into())),
    );
    json.into()
}

/// The latest of what is parked, each with its subject, and how many there are. Their order is the primary
/// key's, backwards: in any other the server reads and sorts the whole table.
fn list(connection: &mut Connection) -> Result<Told, Error> {
    let rows = connection
        .query(format!(
            "SELECT subject, id, consumer, reason, created_at, parked_at, LEFT(history, {SHOWN_MAX}), \
             LEFT(headers, {SHOWN_MAX}), LEFT(payload, {SHOWN_MAX}), LENGTH(payload) FROM rowcall.parked \
             ORDER BY id DESC, consumer DESC LIMIT {LISTED_MAX}"
        ))?
        .rows;
    let count = connection
        .value(format!("SELECT COUNT(*) FROM (SELECT 1 FROM rowcall.parked LIMIT {COUNTED_MAX}) AS some"))?;
    let count = count.and_then(|count| count.parse().ok()).unwrap_or_default();
    let event = |row: &Values| (row.first().cloned().flatten().unwrap_or_default(), parked(row));
    Ok(Told::Parked { events: rows.iter().map(event).collect(), count })
}

fn parked(row: &Values) -> Value {
    let or_null =
        |at: usize| if row.get(at).is_some_and(Option::is_some) { text(row, at).into() } else { Value::Null };
    let time = |at: usize| text(row, at).replace(' ', "T") + "Z";
    json!({
        "subject": or_null(0),
        "id": number(row, 1),
        "consumer": text(row, 2),
        "reason": text(row, 3),
        "created_at": time(4),
        "parked_at": time(5),
        "history": or_null(6),
        "headers": or_null(7),
        "payload": or_null(8),
        "payload_bytes": number(row, 9),
    })
}
