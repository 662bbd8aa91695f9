//! What each request does: who may ask, publishing, requests and their replies, waiting for a message.
//! How bytes become requests and answers stands beside this file.

use super::answer::{Answer, HEADER_PREFIX};
use super::events::Form;
use super::guard::Rules;
use super::request::{Head, Method};
use super::target::{Call, Parameters, Target, Verdict};
use super::visit::Awaited;
use super::work::QUEUE;
use crate::Daemon;
use crate::auth::checker::random;
use crate::client::Client;
use crate::config::HostPort;
use crate::outbox::After;
use crate::slots::Key;
use rowcall_wire::{Message, headers, subject};
use std::time::Duration;

/// How long a reply is waited for unless the request says otherwise, and at most: what the SQL function
/// waits at most.
const REQUEST_TIME: Duration = Duration::from_secs(5);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// How long the next message is waited for unless the request says otherwise, and at most. Proxies often
/// give up after a minute.
const NEXT_TIME: Duration = Duration::from_secs(30);
const NEXT_TIME_MAX: Duration = Duration::from_secs(300);

/// Bytes of a subject. Two of them and the sizes fit the line that a message's receivers take.
const SUBJECT_MAX: usize = (rowcall_wire::CONTROL_LINE_MAX - 96) / 2;

/// After how long an event can be asked for again at most.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);

/// Subjects of one stream. Each is a subscription.
const STREAM_SUBJECTS_MAX: usize = 64;

/// How long a browser need not ask again whether it may.
const PREFLIGHT_AGE: &str = "600";

/// The name of an HTTP peer's subscription. It has one at a time.
const SID: &[u8] = b"1";

/// An answer at once; or none, as one will come later.
pub(super) type Outcome = Result<Option<Answer<'static>>, Answer<'static>>;

impl Daemon {
    /// Whether a request is looked at, judged by its head: it comes from where it may, and asks for what
    /// there is. Says which web page's origin the answer names.
    pub(super) fn admit(&self, client: &Client, head: &Head) -> Result<Option<String>, Answer<'static>> {
        let target = Target::parse(&head.target);
        let call = target.as_ref().and_then(Target::call);
        let page = call.as_ref().is_none_or(Call::is_page);
        let origin = self.admit_origin(client, head, page)?;
        if head.method == Method::Options {
            return Ok(origin);
        }
        let call =
            call.ok_or_else(|| Answer::text(404, "there is nothing here; docs/http.md says what there is"))?;
        if !call.takes(head.method) {
            let methods = call.methods();
            return Err(Answer::text(405, &format!("only {methods}")).field("Allow", methods));
        }
        Ok(origin)
    }

    /// Whether a request comes from where it may, and which web page's origin the answer names. `page`
    /// says that it only asks how the daemon is.
    pub(super) fn admit_origin(
        &self,
        client: &Client,
        head: &Head,
        page: bool,
    ) -> Result<Option<String>, Answer<'static>> {
        let rules = Rules {
            hosts: &self.config.http_hosts,
            address: self.config.http.0.as_ref().map_or("", HostPort::host),
            origins: &self.config.http_cors_origins,
            loopback: client.peer.is_near(),
            users: self.config.access.has_users(),
            secret: self.is_secret(client.peer),
        };
        let target = Target::parse(&head.target);
        let authority = target.as_ref().and_then(|target| target.authority);
        rules.admit(head, authority, page).map_err(|stranger| {
            let (status, why) = stranger.answer();
            Answer::text(status, why)
        })
    }

    /// Does what a request asks for that has come whole; one that publishes waits until all who hear it
    /// have room.
    pub(super) fn on_request(&mut self, key: Key, head: Box<Head>, body: Vec<u8>) {
        if let Some(subject) = self.published_to(key, &head)
            && let Some(reader) = self.full_reader(key, &subject)
            && let Some(visit) = self.visit(key)
        {
            visit.put_off(head, body);
            return self.hold(key, reader);
        }
        match self.act(key, &head, &body) {
            Ok(Some(answer)) | Err(answer) => self.answer(key, &answer),
            Ok(None) => {}
        }
    }

    fn act(&mut self, key: Key, head: &Head, body: &[u8]) -> Outcome {
        let target = Target::parse(&head.target);
        let call = target.as_ref().and_then(Target::call);
        if head.method == Method::Options {
            return Ok(Some(options(head, call.as_ref())));
        }
        let (Some(target), Some(call)) = (target, call) else { return Err(Answer::empty(404)) };
        match call {
            Call::Page(path) => Ok(Some(self.page(path, target.query))),
            Call::File(file) => Ok(Some(file.answer())),
            Call::Whoami => {
                target.parameters(&[]).map_err(bad_request)?;
                Ok(Some(self.whoami(key)))
            }
            Call::Outbox | Call::Parked | Call::Retry | Call::Drop => self.on_tables(key, &call, &target),
            Call::Publish(subject) => {
                target.parameters(&[]).map_err(bad_request)?;
                self.post_publish(key, &subject, head, body)
            }
            Call::Request(subject) => {
                let parameters = target.parameters(&["timeout"]).map_err(bad_request)?;
                let time = parameters.time("timeout", REQUEST_TIME, REQUEST_TIME_MAX).map_err(bad_request)?;
                self.post_request(key, &subject, time, head, body)
            }
            Call::Next(filter) => {
                let parameters = target.parameters(&["timeout"]).map_err(bad_request)?;
                let time = parameters.time("timeout", NEXT_TIME, NEXT_TIME_MAX).map_err(bad_request)?;
                self.get_next(key, &filter, time)
            }
            Call::Work(filter) => {
                let parameters = target.parameters(&["timeout", "queue"]).map_err(bad_request)?;
                let time = parameters.time("timeout", NEXT_TIME, NEXT_TIME_MAX).map_err(bad_request)?;
                self.post_work(key, &filter, parameters.all("queue").next().unwrap_or(QUEUE), time)
            }
            Call::Reply(token) => {
                target.parameters(&[]).map_err(bad_request)?;
                self.post_reply(key, &token, head, body)
            }
            Call::Settle(verdict, token) => {
                let known: &[&str] = if verdict == Verdict::Nak { &["delay"] } else { &[] };
                let parameters = target.parameters(known).map_err(bad_request)?;
                let delay =
                    parameters.all("delay").next().map(|_| parameters.time("delay", DELAY_MAX, DELAY_MAX));
                self.post_verdict(key, verdict, &token, delay.transpose().map_err(bad_request)?)
            }
            Call::Events => {
                let parameters = target.parameters(&["subject", "format"]).map_err(bad_request)?;
                self.get_events(key, head, &parameters)
            }
        }
    }

    /// The subject that a request publishes to.
    fn published_to(&self, key: Key, head: &Head) -> Option<Vec<u8>> {
        match Target::parse(&head.target)?.call()? {
            _ if head.method != Method::Post => None,
            Call::Publish(subject) | Call::Request(subject) => Some(subject.to_vec()),
            Call::Reply(token) => self.awaits_answer(key, &token),
            _ => None,
        }
    }

    fn post_publish(&mut self, key: Key, subject: &[u8], head: &Head, body: &[u8]) -> Outcome {
        self.permit_publish(key, subject)?;
        let (body, header_len) = self.message_of(subject, head, body)?;
        let heard = self.on_permitted(key, &Message { subject, reply: None, body: &body, header_len });
        Ok(Some(Answer::json(format!("{{\"heard\":{heard}}}\n"))))
    }

    fn post_request(
        &mut self,
        key: Key,
        subject: &[u8],
        time: Duration,
        head: &Head,
        body: &[u8],
    ) -> Outcome {
        self.permit_publish(key, subject)?;
        let (body, header_len) = self.message_of(subject, head, body)?;
        let secret =
            secret().map_err(|error| Answer::text(503, &format!("there is no randomness: {error}")))?;
        let inbox = format!("_INBOX.{secret}");
        self.await_message(key, inbox.as_bytes(), None, Awaited::Reply, time);
        let message = Message { subject, reply: Some(inbox.as_bytes()), body: &body, header_len };
        if self.on_permitted(key, &message) {
            return Ok(None);
        }
        self.unsubscribe_all(key);
        self.stats.no_responders += 1;
        Err(Answer::text(503, "nobody answers on this subject (no responders)"))
    }

    fn get_next(&mut self, key: Key, filter: &[u8], time: Duration) -> Outcome {
        self.check_listening(filter)?;
        self.permit_subscribe(key, filter, None)?;
        self.await_message(key, filter, None, Awaited::Message, time);
        Ok(None)
    }

    /// Whether someone may listen to this who will not acknowledge what he hears.
    fn check_listening(&self, filter: &[u8]) -> Result<(), Answer<'static>> {
        check_filter(filter)?;
        if self.is_for_workers(filter) {
            let why = "a durable consumer's events go to workers, who acknowledge them: POST /work";
            return Err(bad_request(why.into()));
        }
        Ok(())
    }

    fn get_events(&mut self, key: Key, head: &Head, parameters: &Parameters<'_>) -> Outcome {
        let filters: Vec<&[u8]> = parameters.all("subject").map(str::as_bytes).collect();
        if filters.is_empty() || filters.len() > STREAM_SUBJECTS_MAX {
            let why = format!("name 1 to {STREAM_SUBJECTS_MAX} subjects, as ?subject=shop.%3E&subject=…");
            return Err(bad_request(why));
        }
        let form = Form::named(parameters.all("format").next());
        let form = form.ok_or_else(|| bad_request("format: expected \"payload\" or \"json\"".into()))?;
        for filter in &filters {
            self.check_listening(filter)?;
            self.permit_subscribe(key, filter, None)?;
        }
        let filters = filters.into_iter().map(<[u8]>::to_vec).collect();
        // What is no id of ours is that of something which nobody keeps.
        let after = head.value("last-event-id").and_then(|id| After::parse(std::str::from_utf8(id).ok()?));
        self.begin_events(key, form, filters, after);
        Ok(None)
    }

    /// The next message of this filter will be the answer.
    pub(super) fn await_message(
        &mut self,
        key: Key,
        filter: &[u8],
        queue: Option<&[u8]>,
        what: Awaited,
        time: Duration,
    ) {
        let until = self.now + time;
        let found = self.subscribe(key, filter, queue, SID);
        if let Some(subscription) = found.and_then(|found| self.subscriptions.get_mut(found)) {
            subscription.max = 1;
        }
        if let Some(visit) = self.visit(key) {
            visit.wait_for(what, until);
        }
    }

    /// The body of the message that a request brings, and how much of it is headers: those of the request
    /// that begin with [`HEADER_PREFIX`].
    pub(super) fn message_of(
        &self,
        subject: &[u8],
        head: &Head,
        payload: &[u8],
    ) -> Result<(Vec<u8>, usize), Answer<'static>> {
        if let Err(flaw) = subject::publishable(subject) {
            return Err(bad_request(format!("the subject {}", flaw.text())));
        }
        check_length(subject)?;
        let carried: Vec<_> =
            head.headers().filter_map(|(name, value)| Some((carried(name)?, value))).collect();
        let mut body = Vec::with_capacity(payload.len());
        let header_len = if carried.is_empty() { 0 } else { headers::block(&mut body, carried) };
        body.extend_from_slice(payload);
        if body.len() > self.config.max_payload.0 {
            let (status, why) = super::request::Flaw::BodyTooLarge.answer();
            return Err(Answer::text(status, why));
        }
        Ok((body, header_len))
    }
}

/// The name of the message's header that a header of a request carries, if it carries one.
fn carried(name: &str) -> Option<&[u8]> {
    let (prefix, name) = name.split_at_checked(HEADER_PREFIX.len())?;
    let fits = prefix.eq_ignore_ascii_case(HEADER_PREFIX) && headers::valid_name(name.as_bytes());
    fits.then_some(name.as_bytes())
}

pub(super) fn check_filter(filter: &[u8]) -> Result<(), Answer<'static>> {
    let printable = filter.iter().all(|&byte| byte > b' ' && byte != 0x7f);
    if !printable || !subject::valid_filter(filter) {
        let why = "has an empty token, something behind a \">\", a blank or a control character";
        return Err(bad_request(format!("the subject {why}")));
    }
    check_length(filter)
}

fn check_length(subject: &[u8]) -> Result<(), Answer<'static>> {
    if subject.len() > SUBJECT_MAX {
        return Err(bad_request(format!(
            "a subject has at most {SUBJECT_MAX} bytes, this one {}",
            subject.len()
        )));
    }
    Ok(())
}

pub(super) fn bad_request(why: String) -> Answer<'static> {
    Answer::text(400, &why)
}

/// What there is, for whoever asks with OPTIONS; a browser asks so before its page does.
fn options(head: &Head, call: Option<&Call>) -> Answer<'static> {
    let methods = call.map_or("GET, HEAD, POST, OPTIONS", Call::methods);
    let answer = Answer::empty(204).field("Allow", methods);
    if head.value("access-control-request-method").is_none() {
        return answer;
    }
    let wanted =
        head.value("access-control-request-headers").and_then(|names| std::str::from_utf8(names).ok());
    answer
        .field("Access-Control-Allow-Methods", methods)
        .field("Access-Control-Allow-Headers", wanted.unwrap_or("Content-Type"))
        .field("Access-Control-Max-Age", PREFLIGHT_AGE)
}

/// What nobody can guess: 128 bits, in digits of a subject's token.
pub(super) fn secret() -> Result<String, getrandom::Error> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random()?)))
}
