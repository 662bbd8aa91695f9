//! The clerk: a thread with a connection of its own that asks the server what people ask about the tables of
//! committed mode, and does what they want done with what is parked. Who may ask, and how it is answered,
//! stands in http/tables.rs.
//!
//! What `rowcall status` and `rowcall parked` say and do, said and done for whoever has no account there. It is
//! not the reader's connection, so that a lock which a question waits for keeps no event waiting.

use super::desk::{Desk, Inquiry, News, Parked, Question, STAMP, Told};
use super::dial::Dial;
use super::ledger::{number, text};
use super::server::{Settings, prepare};
use super::trouble::Trouble;
use rowcall_mysql::{Connection, Error, Row as Values};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Without a question for so long, the connection is closed.
const IDLE: Duration = Duration::from_secs(60);

/// All who ask the same within this time share an answer: pages ask every two seconds.
const FRESH: Duration = Duration::from_secs(1);

/// Parked events that one answer lists, the latest.
const LISTED_MAX: usize = 100;

/// Bytes of each of their payloads, headers and histories: enough to know what it is.
const SHOWN_MAX: usize = 4096;

/// Parked events that are counted; more are told as so many. A row may fill pages of its own, and each is
/// walked over: a hundred thousand of 8 KiB took two seconds, a thousand take some twenty milliseconds.
const COUNTED_MAX: usize = 1000;

/// Numbers of `rowcall.status`, in the order in which they are asked for.
const NUMBERS: [&str; 7] = ["pending", "unacked", "delivered", "redelivered", "settled", "parked", "dropped"];

/// What the thread works with.
pub(super) struct Clerk {
    pub(super) desk: Arc<Desk>,
    pub(super) dial: Arc<Dial>,
}

/// A connection, and the reader's epoch in which it was made.
type Open = Option<(u64, Connection)>;

impl Clerk {
    /// Answers until the daemon leaves.
    pub(super) fn run(&self) {
        let (mut open, mut fresh) = (None, Vec::new());
        while !self.desk.is_leaving() {
            match self.desk.next_question(IDLE) {
                Some(question) => self.answer(&mut open, &mut fresh, question),
                None => open = None,
            }
        }
    }

    /// Puts the answer to a question on the desk. What the server refuses is an answer, too.
    fn answer(&self, open: &mut Open, fresh: &mut Vec<(Inquiry, Instant, Told)>, question: Question) {
        let changes = matches!(question.inquiry, Inquiry::Retry(_) | Inquiry::Drop(_));
        fresh.retain(|(_, since, _)| !changes && since.elapsed() < FRESH);
        let known = fresh.iter().find(|(inquiry, ..)| *inquiry == question.inquiry);
        let known = known.map(|(.., told)| told.clone());
        let is_new = known.is_none() && !changes;
        let ask = || {
            self.ask(open, &question).map_err(|trouble| {
                if trouble.is_lost() {
                    self.dial.lose_clerk(Instant::now());
                }
                trouble.to_string()
            })
        };
        let answer = known.map_or_else(ask, Ok);
        match &answer {
            Ok(told) if is_new => {
                fresh.push((question.inquiry, Instant::now(), told.clone()));
            }
            Ok(_) => {}
            // It may be lost, or in the middle of something.
            Err(_) => *open = None,
        }
        self.desk.tell(News::Told { client: question.client, number: question.number, answer });
    }

    fn ask(&self, open: &mut Open, question: &Question) -> Result<Told, Trouble> {
        let epoch = self.desk.epoch();
        // Where the reader has connected anew, it may be another server.
        let connection = match open.take().filter(|(since, _)| *since == epoch) {
            Some((_, connection)) => connection,
            None => self.connect()?,
        };
        let connection = &mut open.insert((epoch, connection)).1;
        match &question.inquiry {
            Inquiry::State => Ok(Told::State(state(connection)?)),
            Inquiry::List => Ok(list(connection)?),
            Inquiry::Retry(parked) | Inquiry::Drop(parked) => {
                let it = condition(parked);
                let rows = connection.query(format!("SELECT subject FROM rowcall.parked WHERE {it}"))?.rows;
                let subject = |row: &Values| row.first().cloned().flatten().unwrap_or_default();
                let may_see = |row| question.rights.may_see(&subject(row));
                match &question.inquiry {
                    _ if rows.is_empty() => Ok(Told::Done(0)),
                    _ if !rows.iter().all(may_see) => Ok(Told::Forbidden),
                    Inquiry::Drop(_) => Ok(Told::Done(drop_parked(connection, &it)?)),
                    _ => Ok(Told::Done(ask_for_retry(connection, parked, &it)?)),
                }
            }
        }
    }

    fn connect(&self) -> Result<Connection, Trouble> {
        let mut connection = self.dial.connect_clerk(Instant::now())?;
        prepare(&mut connection)?;
        Ok(connection)
    }
}

/// Asks for an event to be sent again, which happens with the reader's next sweep. An event whose consumer is
/// gone has nowhere to go.
fn ask_for_retry(connection: &mut Connection, parked: &Parked, it: &str) -> Result<u64, Error> {
    let name = hex(&parked.consumer);
    let known = format!("SELECT 1 FROM rowcall.consumers WHERE CAST(name AS BINARY) = {name}");
    if !parked.consumer.is_empty() && connection.value(known)?.is_none() {
        return Ok(0);
    }
    connection.query(format!(
        "INSERT IGNORE INTO rowcall.retries (id, consumer, stamp) \
         SELECT id, consumer, {STAMP} FROM rowcall.parked WHERE {it}"
    ))?;
    let asked = connection.value(format!("SELECT COUNT(*) FROM rowcall.parked WHERE {it}"))?;
    Ok(asked.and_then(|asked| asked.parse().ok()).unwrap_or_default())
}

fn drop_parked(connection: &mut Connection, it: &str) -> Result<u64, Error> {
    Ok(connection.query(format!("DELETE FROM rowcall.parked WHERE {it}"))?.affected)
}

/// The column itself does not tell upper case from lower case, names do. The id alone finds the row.
fn condition(parked: &Parked) -> String {
    let of_stamp = parked.of_stamp();
    format!("id = {} AND CAST(consumer AS BINARY) = {}{of_stamp}", parked.id, hex(&parked.consumer))
}

/// Bytes as SQL, whatever they are.
fn hex(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
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
             LEFT(headers, {SHOWN_MAX}), LEFT(payload, {SHOWN_MAX}), LENGTH(payload), {STAMP} FROM rowcall.parked \
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
        "stamp": number(row, 10),
    })
}
