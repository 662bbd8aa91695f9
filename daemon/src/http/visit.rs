//! What one HTTP connection is doing: reading a request, waiting for a reply or a message, or nothing;
//! and how long it may. Pure: bytes and the time are given; sockets, subscriptions and what a request
//! does are other files' business.

use super::answer::{self, Answer, Manner};
use super::events::{self, Form};
use super::request::{Body, Flaw, Head, Method};
use crate::outbuf::{Owed, Round};
use rowcall_wire::{Message, headers};
use std::time::{Duration, Instant};

/// How long a head may take, from its first byte: it fits a few packets.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long a body may take: a mebibyte at 35 kB a second.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How long a connection may do nothing between two requests. Browsers and libraries look for another
/// one without a word.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How often a stream says something if only to be known to be alive. Those who carry it often give up
/// on one that was silent for a minute, or half of one.
const COMMENT_TIME: Duration = Duration::from_secs(15);

/// How long a stream waits for what it may have missed. It usually comes within milliseconds, and after
/// this the stream ends, to be tried again.
const RESUME_TIME: Duration = Duration::from_secs(10);

/// One connection that speaks HTTP.
#[derive(Debug)]
pub(crate) struct Visit {
    doing: Doing,
    /// Since when.
    since: Instant,
    /// How the answer to the current request is given, and what becomes of the connection then.
    manner: Manner,
}

#[derive(Debug)]
enum Doing {
    /// Nothing of another request has come.
    Nothing,
    /// The start of a head has come.
    Head,
    /// A head has come, and its body is on its way.
    Body(Box<Head>, Body),
    /// A request is being answered.
    Answering,
    /// A request waits until those it publishes to have room.
    PutOff(Box<Head>, Vec<u8>),
    /// A message is awaited, to answer with.
    Awaiting { what: Awaited, until: Instant },
    /// Everything that is published to some subjects is sent as it comes, to the connection's end.
    /// `latest` is the number of the latest message of them.
    Streaming { form: Form, latest: u64 },
    /// A stream waits for what it may have missed before it goes on.
    Resuming { form: Form, filters: Vec<Vec<u8>> },
    /// The answer was given; what comes next is looked at once it is written, in another turn.
    Answered,
}

/// Which message is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The reply to a request.
    Reply,
    /// Whatever is published next.
    Message,
    /// The same for a worker, who will answer it.
    Work,
    /// No message, but the answer to the question of this number about the tables of committed mode.
    Tables(u64),
}

/// What has come of a request.
#[derive(Debug)]
pub(crate) enum Step {
    /// Not enough; or it has to wait.
    Wait,
    /// The head: [`Visit::head`] shows it.
    Head,
    /// All of it.
    Whole(Box<Head>, Vec<u8>),
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It was the answer that was awaited.
    Answer,
    /// It was sent as an event.
    Event,
    /// It was sent already, for another of the subjects.
    Before,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The next request may be looked at.
    Next,
    /// The connection has had its last answer, or asks nothing any more.
    End,
    /// The request did not come in time.
    Late,
    /// What was awaited did not.
    TimedOut(Awaited),
    /// A stream was silent for long enough.
    Comment,
    /// What a stream may have missed did not come.
    NotResumed,
}

impl Visit {
    pub(crate) fn new(now: Instant) -> Visit {
        Visit { doing: Doing::Nothing, since: now, manner: Manner::default() }
    }

    /// Goes on with the bytes that have come, and takes from them what it has understood. The rest is to
    /// be shown again with what comes next.
    ///
    /// # Errors
    /// Why they are no request.
    pub(crate) fn take(&mut self, bytes: &mut &[u8], now: Instant, body_max: usize) -> Result<Step, Flaw> {
        match &mut self.doing {
            Doing::Nothing | Doing::Head => match Head::parse(bytes)? {
                Some((head, used)) => {
                    *bytes = &bytes[used..];
                    self.manner = Manner {
                        keep: head.keep,
                        old: head.old,
                        bare: head.method == Method::Head,
                        ..Manner::default()
                    };
                    let body = head.body(body_max)?;
                    self.begin(Doing::Body(Box::new(head), body), now);
                    Ok(Step::Head)
                }
                None => {
                    if matches!(self.doing, Doing::Nothing) && !bytes.is_empty() {
                        self.begin(Doing::Head, now);
                    }
                    Ok(Step::Wait)
                }
            },
            Doing::Body(_, body) => {
                if !body.take(bytes)? {
                    return Ok(Step::Wait);
                }
                match std::mem::replace(&mut self.doing, Doing::Answering) {
                    Doing::Body(head, body) => Ok(Step::Whole(head, body.into_bytes())),
                    other => {
                        self.doing = other;
                        Ok(Step::Wait)
                    }
                }
            }
            Doing::Answering | Doing::PutOff(..) | Doing::Awaiting { .. } | Doing::Answered => Ok(Step::Wait),
            // Nothing that comes will ever be answered.
            Doing::Streaming { .. } | Doing::Resuming { .. } => {
                *bytes = &[];
                Ok(Step::Wait)
            }
        }
    }

    fn begin(&mut self, doing: Doing, now: Instant) {
        self.doing = doing;
        self.since = now;
    }

    /// The head whose body is on its way.
    pub(crate) fn head(&self) -> Option<&Head> {
        match &self.doing {
            Doing::Body(head, _) => Some(head),
            _ => None,
        }
    }

    /// Whether the sender of a body is to be asked for it now. He is asked once.
    pub(crate) fn asks_for_body(&mut self) -> bool {
        match &mut self.doing {
            Doing::Body(head, body) if head.has_body() && body.is_untouched() => {
                std::mem::take(&mut head.asks_first)
            }
            _ => false,
        }
    }

    /// The request that was just given out has to wait.
    pub(crate) fn put_off(&mut self, head: Box<Head>, body: Vec<u8>) {
        self.doing = Doing::PutOff(head, body);
    }

    /// Gives it out again.
    pub(crate) fn take_up(&mut self) -> Option<(Box<Head>, Vec<u8>)> {
        match std::mem::replace(&mut self.doing, Doing::Answering) {
            Doing::PutOff(head, body) => Some((head, body)),
            other => {
                self.doing = other;
                None
            }
        }
    }

    /// How the answer is given.
    pub(crate) fn manner(&self) -> &Manner {
        &self.manner
    }

    /// The answer names this origin.
    pub(crate) fn name_origin(&mut self, origin: Option<String>) {
        self.manner.origin = origin;
    }

    /// The answer to the current request is its last: its rest is not read.
    pub(crate) fn keep_no_more(&mut self) {
        self.manner.keep = false;
    }

    /// A message is awaited to answer with.
    pub(crate) fn wait_for(&mut self, what: Awaited, until: Instant) {
        self.doing = Doing::Awaiting { what, until };
    }

    /// A stream has begun.
    pub(crate) fn stream(&mut self, form: Form, now: Instant) {
        self.begin(Doing::Streaming { form, latest: 0 }, now);
    }

    /// A stream of these filters waits for what it may have missed.
    pub(crate) fn resume(&mut self, form: Form, filters: Vec<Vec<u8>>, now: Instant) {
        self.begin(Doing::Resuming { form, filters }, now);
    }

    /// That has come: the stream's form and filters, if it still waits for it.
    pub(crate) fn resumed(&mut self) -> Option<(Form, Vec<Vec<u8>>)> {
        match &mut self.doing {
            Doing::Resuming { form, filters } => Some((*form, std::mem::take(filters))),
            _ => None,
        }
    }

    /// Whether it waits for that.
    fn is_resuming(&self) -> bool {
        matches!(self.doing, Doing::Resuming { .. })
    }

    /// Whether the reader's thread has been asked something for it.
    pub(crate) fn is_asking(&self) -> bool {
        self.is_resuming() || matches!(self.awaits(), Some(Awaited::Tables(_)))
    }

    /// Whether it is a stream.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.doing, Doing::Streaming { .. } | Doing::Resuming { .. })
    }

    /// The answer was given, and another request may come.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.begin(Doing::Nothing, now);
    }

    /// Lets what was sent ahead wait, if a request has just been answered; says whether one has.
    pub(crate) fn pause(&mut self, now: Instant) -> bool {
        let answered = matches!(self.doing, Doing::Nothing) && self.manner.keep;
        if answered {
            self.begin(Doing::Answered, now);
        }
        answered
    }

    /// Whether the next request waits for the latest answer to be written.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.doing, Doing::Answered)
    }

    /// Whether what comes now has to wait.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.doing, Doing::Answering | Doing::PutOff(..) | Doing::Awaiting { .. } | Doing::Answered)
    }

    /// What is awaited.
    pub(crate) fn awaits(&self) -> Option<Awaited> {
        match self.doing {
            Doing::Awaiting { what, .. } => Some(what),
            _ => None,
        }
    }

    /// Whether the beginning of its answer would tell whether it is still there.
    pub(crate) fn may_be_knocked_at(&self) -> bool {
        self.awaits().is_some() && !self.manner.begun
    }

    /// What someone is told who has closed his half, to see whether he is still there; `None` if he waits
    /// for nothing. `last` says that he has sent nothing ahead, and so this answer is his last.
    pub(crate) fn knock(&mut self, last: bool) -> Option<&'static [u8]> {
        match self.doing {
            Doing::Awaiting { .. } => {
                self.manner.keep &= !last;
                let begun = std::mem::replace(&mut self.manner.begun, true);
                Some(if begun { b"" } else { answer::BEGINNING })
            }
            Doing::Streaming { .. } | Doing::Resuming { .. } => Some(events::COMMENT),
            _ => None,
        }
    }

    /// Answers with the message, and the token by which a worker answers it, or sends it as an event; `None` if nobody waits for one.
    pub(crate) fn deliver(
        &mut self,
        round: &mut Round,
        owed: &mut Owed,
        message: &Message<'_>,
        ours: bool,
        token: Option<&str>,
    ) -> Option<Delivered> {
        match &mut self.doing {
            Doing::Awaiting { what: Awaited::Tables(_), .. } => None,
            Doing::Awaiting { what, .. } => {
                let answer = answer_with(*what, message, token);
                owed.add(round.write(|out| answer.write(out, &self.manner)));
                self.doing = Doing::Answered;
                Some(Delivered::Answer)
            }
            Doing::Streaming { latest, .. } if *latest == round.number() => Some(Delivered::Before),
            Doing::Streaming { form, latest } => {
                *latest = round.number();
                let form = *form;
                owed.add(round.shared(form as usize, |out| events::event(out, form, message, ours)));
                Some(Delivered::Event)
            }
            _ => None,
        }
    }

    /// When something is due.
    pub(crate) fn next_due(&self) -> Instant {
        match self.doing {
            // Once the answer is written, the next request is looked at, whatever stands here.
            Doing::Nothing | Doing::Answered => self.since + IDLE_TIME,
            Doing::Head => self.since + HEAD_TIME,
            Doing::Body(..) => self.since + BODY_TIME,
            Doing::Awaiting { until, .. } => until,
            Doing::Streaming { .. } => self.since + COMMENT_TIME,
            Doing::Resuming { .. } => self.since + RESUME_TIME,
            Doing::Answering | Doing::PutOff(..) => self.since,
        }
    }

    /// What is due by now. `owing` says that the last answer has not been taken yet: then nobody is idle.
    pub(crate) fn due(&mut self, now: Instant, owing: bool) -> Option<Due> {
        match self.doing {
            Doing::Answered if owing => {
                self.since = now;
                None
            }
            Doing::Answered if self.manner.keep => {
                self.answered(now);
                Some(Due::Next)
            }
            Doing::Answered => Some(Due::End),
            _ if self.next_due() > now => None,
            Doing::Nothing | Doing::Streaming { .. } if owing => {
                self.since = now;
                None
            }
            Doing::Streaming { .. } => {
                self.since = now;
                Some(Due::Comment)
            }
            Doing::Nothing => Some(Due::End),
            Doing::Head | Doing::Body(..) => Some(Due::Late),
            Doing::Awaiting { what, .. } => Some(Due::TimedOut(what)),
            Doing::Resuming { .. } => Some(Due::NotResumed),
            Doing::Answering | Doing::PutOff(..) => None,
        }
    }
}

fn answer_with<'a>(what: Awaited, message: &Message<'a>, token: Option<&str>) -> Answer<'a> {
    let subject = || Answer::message(200, message).subject("Rowcall-Subject", message.subject);
    match (what, message.reply, token) {
        (Awaited::Reply, ..) => Answer::message(reply_status(message), message),
        (Awaited::Message, Some(reply), _) => subject().subject("Rowcall-Reply", reply),
        (Awaited::Work, _, Some(token)) => subject().field("Rowcall-Token", token),
        _ => subject(),
    }
}

/// A worker that says that it has failed is a gateway's bad server.
fn reply_status(reply: &Message<'_>) -> u16 {
    if headers::value(reply.headers(), headers::SERVICE_ERROR).is_some() { 502 } else { 200 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(visit: &mut Visit, bytes: &mut &[u8], now: Instant) -> String {
        match visit.take(bytes, now, 100) {
            Ok(Step::Wait) => "wait".into(),
            Ok(Step::Head) => format!("head {}", visit.head().unwrap().target),
            Ok(Step::Whole(head, body)) => format!("{} {}", head.target, String::from_utf8_lossy(&body)),
            Err(flaw) => format!("{flaw:?}"),
        }
    }

    #[test]
    fn requests_come_one_after_the_other() {
        let now = Instant::now();
        let mut visit = Visit::new(now);
        let mut bytes = &b"POST /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /2 HTTP/1.1\r\n\r\nGET /3"[..];
        assert_eq!(taken(&mut visit, &mut bytes, now), "head /1");
        assert_eq!(taken(&mut visit, &mut bytes, now), "/1 hi");
        assert_eq!(taken(&mut visit, &mut bytes, now), "wait");
        assert!(visit.is_busy());
        visit.wait_for(Awaited::Reply, now + SECOND);
        assert_eq!((taken(&mut visit, &mut bytes, now), visit.is_busy()), ("wait".into(), true));
        visit.answered(now);
        assert_eq!(taken(&mut visit, &mut bytes, now), "head /2");
        assert_eq!(taken(&mut visit, &mut bytes, now), "/2 ");
        visit.answered(now);
        assert_eq!((taken(&mut visit, &mut bytes, now), bytes), ("wait".into(), &b"GET /3"[..]));
    }

    #[test]
    fn a_body_is_asked_for_while_nothing_of_it_has_come() {
        let now = Instant::now();
        let head = b"POST /1 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        let mut visit = Visit::new(now);
        assert_eq!(taken(&mut visit, &mut &head[..], now), "head /1");
        assert!(visit.asks_for_body());
        assert!(!visit.asks_for_body(), "once");
        assert_eq!(taken(&mut visit, &mut &b"hi"[..], now), "/1 hi");
        visit.answered(now);
        assert_eq!(taken(&mut visit, &mut &head[..], now), "head /1");
        assert_eq!(taken(&mut visit, &mut &b"h"[..], now), "wait");
        assert!(!visit.asks_for_body());
        visit.answered(now);
        let chunked = b"POST /2 HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(taken(&mut visit, &mut &chunked[..], now), "head /2");
        assert_eq!(taken(&mut visit, &mut &b"2\r\n"[..], now), "wait");
        assert!(!visit.asks_for_body(), "it is on its way");
    }

    #[test]
    fn everything_has_its_time() {
        let start = Instant::now();
        let mut visit = Visit::new(start);
        assert_eq!(visit.due(start + IDLE_TIME - SECOND, false), None);
        assert_eq!(visit.due(start + IDLE_TIME, true), None, "who takes an answer slowly is not idle");
        assert_eq!(visit.due(start + IDLE_TIME, false), None);
        assert_eq!(visit.due(start + IDLE_TIME * 2, false), Some(Due::End));
        taken(&mut visit, &mut &b"GET"[..], start);
        taken(&mut visit, &mut &b"GET /"[..], start + SECOND);
        assert_eq!(visit.next_due(), start + HEAD_TIME, "from its first byte");
        assert_eq!(visit.due(start + HEAD_TIME, false), Some(Due::Late));
        let mut visit = Visit::new(start);
        taken(&mut visit, &mut &b"POST /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n"[..], start);
        taken(&mut visit, &mut &b"h"[..], start + SECOND);
        assert_eq!(visit.due(start + BODY_TIME, false), Some(Due::Late));
        visit.wait_for(Awaited::Message, start + SECOND);
        assert_eq!(visit.due(start, false), None);
        assert_eq!(visit.due(start + SECOND, false), Some(Due::TimedOut(Awaited::Message)));
    }

    #[test]
    fn one_message_is_the_answer_to_one_request() {
        let now = Instant::now();
        let (mut round, mut owed) = (Round::default(), Owed::default());
        let message = Message { reply: Some(b"in"), ..Message::plain(b"a.b", b"hi") };
        let mut visit = Visit::new(now);
        assert_eq!(visit.deliver(&mut round, &mut owed, &message, true, None), None, "nobody asked");
        taken(&mut visit, &mut &b"GET /next/a HTTP/1.1\r\n\r\n"[..], now);
        visit.wait_for(Awaited::Message, now + SECOND);
        assert_eq!(visit.deliver(&mut round, &mut owed, &message, true, None), Some(Delivered::Answer));
        assert_eq!(visit.deliver(&mut round, &mut owed, &message, true, None), None);
        assert_eq!(visit.due(now, true), None, "the answer is not written yet");
        assert_eq!(visit.due(now, false), Some(Due::Next));
        let mut out = Vec::new();
        let taken = owed.write(&round, &mut Vec::new(), |slices| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(out.len())
        });
        let out = String::from_utf8(out).unwrap();
        assert_eq!(taken.unwrap(), out.len());
        assert!(out.starts_with("HTTP/1.1 200 OK\r\n") && out.ends_with("\r\n\r\nhi"), "{out}");
        assert!(out.contains("Rowcall-Subject: a.b\r\nRowcall-Reply: in\r\n"), "{out}");
    }

    #[test]
    fn a_stream_has_each_message_once_and_never_goes_silent() {
        let start = Instant::now();
        let (mut round, mut owed) = (Round::default(), Owed::default());
        let mut visits = [Visit::new(start), Visit::new(start)];
        visits.iter_mut().for_each(|visit| visit.stream(Form::Payload, start));
        let message = Message::plain(b"a.b", b"hi");
        for number in 1..=2 {
            round.begin_message();
            for visit in &mut visits {
                assert_eq!(
                    visit.deliver(&mut round, &mut owed, &message, true, None),
                    Some(Delivered::Event)
                );
                assert_eq!(
                    visit.deliver(&mut round, &mut owed, &message, true, None),
                    Some(Delivered::Before)
                );
            }
            assert_eq!(round.len(), number * "data: hi\n\n".len(), "written down once for both");
        }
        let [visit, _] = &mut visits;
        let mut bytes = &b"GET /healthz HTTP/1.1\r\n\r\n"[..];
        assert_eq!(
            (taken(visit, &mut bytes, start), bytes.len(), visit.is_busy()),
            ("wait".into(), 0, false)
        );
        assert_eq!(visit.due(start + COMMENT_TIME - SECOND, false), None);
        assert_eq!(visit.due(start + COMMENT_TIME, false), Some(Due::Comment));
        assert_eq!(visit.due(start + COMMENT_TIME, false), None);
        assert_eq!(visit.due(start + COMMENT_TIME * 2, true), None, "it has something to read");
        assert_eq!(visit.due(start + COMMENT_TIME * 3, false), Some(Due::Comment));
        visit.resume(Form::Json, vec![b"a".to_vec()], start);
        assert_eq!(
            visit.deliver(&mut round, &mut owed, &message, true, None),
            None,
            "not before what was missed"
        );
        assert_eq!(visit.due(start + RESUME_TIME, false), Some(Due::NotResumed));
        assert_eq!(visit.resumed(), Some((Form::Json, vec![b"a".to_vec()])));
    }

    #[test]
    fn an_answer_may_have_begun() {
        let now = Instant::now();
        let mut visit = Visit::new(now);
        assert_eq!(visit.knock(true), None, "it waits for nothing");
        taken(&mut visit, &mut &b"GET /next/a HTTP/1.1\r\n\r\n"[..], now);
        visit.wait_for(Awaited::Message, now + SECOND);
        assert_eq!((visit.may_be_knocked_at(), visit.knock(false)), (true, Some(answer::BEGINNING)));
        assert_eq!(
            (visit.may_be_knocked_at(), visit.manner.keep),
            (false, true),
            "more may have been sent ahead"
        );
        assert_eq!(
            (visit.knock(true), visit.manner.keep),
            (Some(&b""[..]), false),
            "once, and this is the last"
        );
        let mut out = Vec::new();
        Answer::empty(204).write(&mut out, visit.manner());
        assert!(out.starts_with(b"204 No Content\r\n"), "{}", out.escape_ascii());
        visit.stream(Form::Payload, now);
        assert_eq!(visit.knock(true), Some(events::COMMENT));
    }

    #[test]
    fn a_worker_that_has_failed_is_a_bad_gateway() {
        let block = b"NATS/1.0\r\nNats-Service-Error: no\r\n\r\n";
        let message = Message { subject: b"in", reply: None, body: block, header_len: block.len() };
        assert_eq!(reply_status(&message), 502);
        assert_eq!(reply_status(&Message::plain(b"in", b"")), 200);
    }
}
