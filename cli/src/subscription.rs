//! Subscriptions that outlive a connection: whoever listens or answers waits for a daemon that goes
//! away, until Ctrl-C.

use crate::address::DaemonArgs;
use crate::client::{Client, Next, Publisher, Received};
use crate::failure::Failure;
use rowcall_wire::subject;
use std::collections::VecDeque;
use std::time::Duration;

/// How long to wait before another attempt when the daemon has gone.
const AGAIN: Duration = Duration::from_millis(500);

/// For whoever got it wrong.
const FILTERS: &str = ": a subject is tokens with dots between them and without blanks; a token may be `*`, the last \
                       one `>`";

/// What whoever works on events subscribes to, and as one of which queue group: those who work for one durable
/// consumer are a group, so that each of its events goes to one of them.
pub(crate) fn wanted<'a>(
    consumer: Option<&str>,
    subject: Option<&str>,
    queue: Option<&'a str>,
    workers: &'a str,
) -> ([String; 1], Option<&'a str>) {
    match consumer {
        Some(name) => ([format!("{}{name}", subject::CONSUMER)], Some(workers)),
        None => ([subject.unwrap_or_default().to_owned()], queue),
    }
}

/// What to subscribe to, and the connection that does.
pub(crate) struct Subscription<'a> {
    daemon: &'a DaemonArgs,
    filters: &'a [String],
    queue: Option<&'a str>,
    client: Client,
    /// Messages that came while it was not yet certain that the daemon had subscribed us.
    early: VecDeque<Received>,
}

impl<'a> Subscription<'a> {
    /// Connects and subscribes. What fails now is a mistake, and told; only later is it waited out.
    pub(crate) fn new(
        daemon: &'a DaemonArgs,
        filters: &'a [String],
        queue: Option<&'a str>,
    ) -> Result<Subscription<'a>, Failure> {
        for filter in filters {
            if !subject::valid_filter(filter.as_bytes()) {
                return Err(Failure::usage(format!("\"{filter}\" cannot be subscribed to{FILTERS}")));
            }
        }
        if let Some(name) = queue.filter(|name| !is_one_word(name)) {
            return Err(Failure::usage(format!("--queue \"{name}\": the name of a group is one word")));
        }
        let client = Client::connect(daemon)?;
        let mut subscription = Subscription { daemon, filters, queue, client, early: VecDeque::new() };
        subscription.subscribe()?;
        Ok(subscription)
    }

    /// The next message; `None` if Ctrl-C comes first. `lost` is called when the connection has ended, and says
    /// what becomes of messages that came on it, if that is worth telling.
    pub(crate) fn next(&mut self, lost: &dyn Fn() -> Option<String>) -> Result<Option<Received>, Failure> {
        loop {
            if let Some(message) = self.early.pop_front() {
                return Ok(Some(message));
            }
            match self.client.next(None) {
                Ok(Next::Message(message)) => return Ok(Some(message)),
                Ok(Next::Interrupted) => return Ok(None),
                Ok(Next::Late) => {}
                Err(failure) if failure.is_daemon() => {
                    self.publisher().end();
                    let lost = lost().map_or_else(String::new, |lost| format!("; {lost}"));
                    eprintln!("rowcall: {failure}; trying again{lost}");
                    if !self.connect_again()? {
                        return Ok(None);
                    }
                    eprintln!("rowcall: connected again");
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Whether what comes are events of a durable consumer: nobody but the daemon publishes there.
    pub(crate) fn is_worker(&self) -> bool {
        self.filters.iter().any(|filter| is_consumer(filter))
    }

    /// Wants no more, and gives what had been sent until then.
    pub(crate) fn unsubscribe(&mut self) -> Result<Vec<Received>, Failure> {
        let mut rest = Vec::from(std::mem::take(&mut self.early));
        rest.extend(self.client.unsubscribe(1..=self.filters.len() as u64)?);
        Ok(rest)
    }

    /// Where to publish answers. After the daemon has been away it is another one.
    pub(crate) fn publisher(&self) -> &Publisher {
        self.client.publisher()
    }

    fn subscribe(&mut self) -> Result<(), Failure> {
        for (sid, filter) in (1..).zip(self.filters) {
            self.client.subscribe(filter, self.queue, sid)?;
        }
        self.early.extend(self.client.flush()?);
        Ok(())
    }

    /// Tries until it works; false if Ctrl-C comes first.
    fn connect_again(&mut self) -> Result<bool, Failure> {
        loop {
            if self.client.pause(AGAIN)? {
                return Ok(false);
            }
            let connected = Client::connect(self.daemon).and_then(|client| {
                self.client = client;
                self.subscribe()
            });
            match connected {
                Err(failure) if failure.is_daemon() => {}
                result => return result.map(|()| true),
            }
        }
    }
}

/// Whether this is where the workers of a durable consumer subscribe.
pub(crate) fn is_consumer(filter: &str) -> bool {
    filter.starts_with(subject::CONSUMER)
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}
