//! Durable consumers as their tests see them: how one is made, who works for it, and what the tables say
//! of it. What is promised stands in the tests.

use async_nats::jetstream::{self, AckKind};
use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use harness::outbox::until_empty;
use harness::{Kind, PATIENCE, Site, Terminal, eventually};
use rowcall_mysql::Connection;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// A site with one consumer, `mail`, of everything below `shop`.
pub fn with_consumer(kind: Kind, settings: &[&str]) -> Option<Site> {
    let site = Site::committed(kind)?;
    add(&site, "mail", "shop.>", settings);
    Some(site)
}

pub fn add(site: &Site, name: &str, filter: &str, settings: &[&str]) {
    let added = run(site, &[&["consumer", "add", name, filter], settings].concat());
    assert!(added.contains("taken it up"), "{added}");
}

#[track_caller]
pub fn run(site: &Site, arguments: &[&str]) -> String {
    let output = site.rowcall(arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

pub fn publish(sql: &mut Connection, payload: &str) {
    sql.query(format!("CALL rowcall.publish('shop.orders', '{payload}')")).unwrap();
}

/// So many events in one transaction: 1, 2, 3 and so on.
pub fn publish_many(sql: &mut Connection, count: u64) {
    sql.query("START TRANSACTION").unwrap();
    (1..=count).for_each(|n| publish(sql, &n.to_string()));
    sql.query("COMMIT").unwrap();
}

pub fn publish_with_key(sql: &mut Connection, key: &str, payload: &str) {
    sql.query(format!("CALL rowcall.publish_with('shop.orders', '{payload}', 'Rowcall-Key: {key}')"))
        .unwrap();
}

/// A number of a consumer's row of the status.
pub fn number(sql: &mut Connection, consumer: &str, column: &str) -> u64 {
    let value = sql.value(format!("SELECT {column} FROM rowcall.status WHERE consumer = '{consumer}'"));
    value
        .unwrap()
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{consumer} has no {column}"))
}

pub fn until_number(sql: &mut Connection, consumer: &str, column: &str, expected: u64) {
    eventually(&format!("{column} of {consumer} is {expected}"), || {
        (number(sql, consumer, column) == expected).then_some(())
    });
}

/// Rows that wait for consumers.
pub fn pending(sql: &mut Connection) -> u64 {
    sql.value("SELECT COUNT(*) FROM rowcall.pending").unwrap().unwrap().parse().unwrap()
}

pub fn until_settled(sql: &mut Connection) {
    until_empty(sql);
    eventually("nothing is pending", || (pending(sql) == 0).then_some(()));
}

/// A worker at a terminal, who answers when the test says so. What waits comes at once.
pub fn worker(site: &Site, consumer: &str) -> Terminal {
    let mut worker = site.listener(&[]);
    worker.send(format!("SUB rowcall.consumer.{consumer} workers 1\r\n"));
    worker
}

/// An official client that works for `mail`.
pub struct Official {
    pub runtime: Runtime,
    pub context: jetstream::Context,
    events: Subscriber,
}

impl Official {
    pub fn start(site: &Site) -> Official {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = &site.daemon.as_ref().unwrap().tcp;
        let (context, events) = runtime.block_on(async {
            let client: Client = async_nats::connect(address).await.unwrap();
            let events = client.queue_subscribe("rowcall.consumer.mail", "workers".into()).await.unwrap();
            client.flush().await.unwrap();
            (jetstream::new(client), events)
        });
        Official { runtime, context, events }
    }

    pub fn next(&mut self) -> jetstream::Message {
        let message = self.runtime.block_on(async { timeout(PATIENCE, self.events.next()).await });
        let message = message.expect("an event comes").expect("it is not the end");
        jetstream::Message { message, context: self.context.clone() }
    }

    pub fn answer(&self, message: &jetstream::Message, kind: AckKind) {
        self.runtime.block_on(message.ack_with(kind)).unwrap();
    }
}

pub fn payload(message: &jetstream::Message) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

pub fn deliveries(message: &jetstream::Message) -> Option<&str> {
    message.headers.as_ref()?.get("Rowcall-Deliveries").map(|value| value.as_str())
}
