//! Bytes to operations: what a client sends ([`client_op`]) and what a server sends
//! ([`server_op`]). A prefix is "not yet", never an error; nonsense is answered with the exact
//! words the reference server would send. No buffer is kept here: the caller holds the bytes.

use crate::Message;

/// What a piece of input turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<Op> {
    /// A whole operation, and how many bytes of the input it took.
    Op(Op, usize),
    /// Not yet: the operation is at least this many bytes long, counted from the input's start.
    More(usize),
}

/// What a peer may send in one operation.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a control line without its verb.
    pub control_line: usize,
    /// Bytes of headers and payload together.
    pub payload: usize,
    /// Whether a client may send `HPUB`: its `CONNECT` has said so.
    pub headers: bool,
}

/// Why the stream cannot go on. All of them end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A verb that is none, or a payload that does not end where it said.
    UnknownOperation,
    /// A control line over its limit, finished or not.
    ControlLine,
    /// A payload over its limit, known from the control line alone.
    Payload,
    /// A known verb with arguments that make no sense. The reference closes without a word.
    Malformed,
}

impl Violation {
    /// The text between the quotes of `-ERR`, or `None` where the reference says nothing.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Violation::UnknownOperation => Some("Unknown Protocol Operation"),
            Violation::ControlLine => Some("maximum control line exceeded"),
            Violation::Payload => Some("Maximum Payload Violation"),
            Violation::Malformed => None,
        }
    }
}

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientOp<'a> {
    /// `CONNECT` with its JSON, unparsed.
    Connect(&'a [u8]),
    /// `PUB`.
    Pub(Message<'a>),
    /// `HPUB`.
    Hpub(Message<'a>),
    /// `SUB`.
    Sub {
        /// The subject, with or without wildcards; not validated here.
        subject: &'a [u8],
        /// The queue group, if any.
        queue: Option<&'a [u8]>,
        /// The client's own name for the subscription: any token.
        sid: &'a [u8],
    },
    /// `UNSUB`.
    Unsub {
        /// Which subscription.
        sid: &'a [u8],
        /// End it after so many messages since its `SUB`; 0 means now.
        max: u64,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK` or `INFO`, which mean nothing coming from a client and are passed over.
    Nothing,
}

/// What a server sends.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerOp<'a> {
    /// `INFO` with its JSON, unparsed.
    Info(&'a [u8]),
    /// `MSG` or `HMSG`.
    Msg {
        /// The subscription it came for.
        sid: &'a [u8],
        /// The message.
        message: Message<'a>,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR` with its text, quotes taken off.
    Err(&'a [u8]),
}

/// Reads one operation of a client from the start of `input`.
///
/// # Errors
/// A [`Violation`] says that the stream cannot be followed any further; the caller sends its text
/// and closes.
pub fn client_op<'a>(input: &'a [u8], limits: &Limits) -> Result<Step<ClientOp<'a>>, Violation> {
    let Some((verb, at)) = verb(input, CLIENT_VERBS)? else {
        return Ok(Step::More(input.len() + 1));
    };
    match verb {
        Verb::Pub | Verb::Hpub => publish(input, at, verb, limits),
        Verb::Sub => Ok(fields(input, at, limits)?.try_map(|line| match *line.fields() {
            [subject, sid] => Ok(ClientOp::Sub { subject, queue: None, sid }),
            [subject, queue, sid] => Ok(ClientOp::Sub { subject, queue: Some(queue), sid }),
            _ => Err(Violation::Malformed),
        })?),
        Verb::Unsub => Ok(fields(input, at, limits)?.try_map(|line| match *line.fields() {
            [sid] => Ok(ClientOp::Unsub { sid, max: 0 }),
            // Negative, too long or no number at all: the reference ends the subscription now.
            [sid, max] => Ok(ClientOp::Unsub { sid, max: number(max).unwrap_or(0) as u64 }),
            _ => Err(Violation::Malformed),
        })?),
        Verb::Ping => Ok(rest(input, at, limits)?.map(|_| ClientOp::Ping)),
        Verb::Pong => Ok(rest(input, at, limits)?.map(|_| ClientOp::Pong)),
        Verb::Connect => Ok(rest(input, at, limits)?.map(ClientOp::Connect)),
        Verb::Ok | Verb::Info => Ok(rest(input, at, limits)?.map(|_| ClientOp::Nothing)),
        Verb::Err => Ok(fields(input, at, limits)?.try_map(|_| Err(Violation::Malformed))?),
        Verb::Msg | Verb::Hmsg => Err(Violation::UnknownOperation),
    }
}

/// Reads one operation of a server from the start of `input`.
///
/// # Errors
/// As for [`client_op`]; a client can only hang up.
pub fn server_op<'a>(input: &'a [u8], limits: &Limits) -> Result<Step<ServerOp<'a>>, Violation> {
    let Some((verb, at)) = verb(input, SERVER_VERBS)? else {
        return Ok(Step::More(input.len() + 1));
    };
    match verb {
        Verb::Msg | Verb::Hmsg => delivery(input, at, verb, limits),
        Verb::Ping => Ok(rest(input, at, limits)?.map(|_| ServerOp::Ping)),
        Verb::Pong => Ok(rest(input, at, limits)?.map(|_| ServerOp::Pong)),
        Verb::Ok => Ok(rest(input, at, limits)?.map(|_| ServerOp::Ok)),
        Verb::Info => Ok(rest(input, at, limits)?.map(ServerOp::Info)),
        Verb::Err => Ok(rest(input, at, limits)?.map(|text| ServerOp::Err(unquoted(text)))),
        _ => Err(Violation::UnknownOperation),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Connect,
    Err,
    Hmsg,
    Hpub,
    Info,
    Msg,
    Ok,
    Ping,
    Pong,
    Pub,
    Sub,
    Unsub,
}

// The commonest first: the table is searched from the top.
const CLIENT_VERBS: &[(&[u8], Verb)] = &[
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::Hpub),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"CONNECT", Verb::Connect),
    (b"+OK", Verb::Ok),
    (b"INFO", Verb::Info),
    (b"-ERR", Verb::Err),
];

const SERVER_VERBS: &[(&[u8], Verb)] = &[
    (b"MSG", Verb::Msg),
    (b"HMSG", Verb::Hmsg),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"+OK", Verb::Ok),
    (b"INFO", Verb::Info),
    (b"-ERR", Verb::Err),
];

/// The verb at the start of the input and where its arguments begin; `None` while more than one
/// verb, or only the start of one, is there.
fn verb(input: &[u8], table: &[(&[u8], Verb)]) -> Result<Option<(Verb, usize)>, Violation> {
    let mut undecided = false;
    for &(name, verb) in table {
        let seen = name.len().min(input.len());
        if input[..seen].eq_ignore_ascii_case(&name[..seen]) {
            if seen == name.len() {
                return Ok(Some((verb, seen)));
            }
            undecided = true;
        }
    }
    if undecided { Ok(None) } else { Err(Violation::UnknownOperation) }
}

/// `PUB subject [reply] size` and `HPUB subject [reply] headers size`, with the body behind.
fn publish<'a>(
    input: &'a [u8],
    at: usize,
    verb: Verb,
    limits: &Limits,
) -> Result<Step<ClientOp<'a>>, Violation> {
    let (line, end) = match fields(input, at, limits)? {
        Step::Op(line, end) => (line, end),
        Step::More(n) => return Ok(Step::More(n)),
    };
    if verb == Verb::Hpub && !limits.headers {
        return Err(Violation::Malformed);
    }
    let (subject, reply, headers, size) = match (verb, line.fields()) {
        (Verb::Pub, &[subject, size]) => (subject, None, None, size),
        (Verb::Pub, &[subject, reply, size]) => (subject, Some(reply), None, size),
        (_, &[subject, headers, size]) => (subject, None, Some(headers), size),
        (_, &[subject, reply, headers, size]) => (subject, Some(reply), Some(headers), size),
        _ => return Err(Violation::Malformed),
    };
    let header_len = headers.map_or(Ok(0), |digits| number(digits).ok_or(Violation::Malformed))?;
    Ok(body(input, end, header_len, size, limits)?.map(|body| {
        let message = Message { subject, reply, body, header_len };
        if verb == Verb::Pub { ClientOp::Pub(message) } else { ClientOp::Hpub(message) }
    }))
}

/// `MSG subject sid [reply] size` and `HMSG subject sid [reply] headers size`, with the body behind.
fn delivery<'a>(
    input: &'a [u8],
    at: usize,
    verb: Verb,
    limits: &Limits,
) -> Result<Step<ServerOp<'a>>, Violation> {
    let (line, end) = match fields(input, at, limits)? {
        Step::Op(line, end) => (line, end),
        Step::More(n) => return Ok(Step::More(n)),
    };
    let (subject, sid, reply, headers, size) = match (verb, line.fields()) {
        (Verb::Msg, &[subject, sid, size]) => (subject, sid, None, None, size),
        (Verb::Msg, &[subject, sid, reply, size]) => (subject, sid, Some(reply), None, size),
        (Verb::Hmsg, &[subject, sid, headers, size]) => (subject, sid, None, Some(headers), size),
        (Verb::Hmsg, &[subject, sid, reply, headers, size]) => {
            (subject, sid, Some(reply), Some(headers), size)
        }
        _ => return Err(Violation::Malformed),
    };
    let header_len = headers.map_or(Ok(0), |digits| number(digits).ok_or(Violation::Malformed))?;
    let body = body(input, end, header_len, size, limits)?;
    Ok(body.map(|body| ServerOp::Msg { sid, message: Message { subject, reply, body, header_len } }))
}

/// The most fields a control line has: `HMSG subject sid reply headers size`.
const FIELDS_MAX: usize = 5;

struct Line<'a> {
    fields: [&'a [u8]; FIELDS_MAX],
    count: usize,
}

impl<'a> Line<'a> {
    fn fields(&self) -> &[&'a [u8]] {
        &self.fields[..self.count]
    }
}

/// The blank-separated fields of a control line, in one pass over its bytes. The pass is most of
/// what parsing a small message costs, so the line end is looked for in the same loop.
fn fields<'a>(input: &'a [u8], at: usize, limits: &Limits) -> Result<Step<Line<'a>>, Violation> {
    match input.get(at) {
        None => return Ok(Step::More(at + 1)),
        Some(b' ' | b'\t') => {}
        Some(_) => return Err(Violation::UnknownOperation),
    }
    let line_max = at + limits.control_line + LINE_SLACK;
    let mut line = Line { fields: [&[]; FIELDS_MAX], count: 0 };
    let mut start = at + 1;
    for (i, &byte) in input.iter().enumerate().skip(at + 1) {
        // Blanks and line ends are all below '!', and few bytes of a line are.
        if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            continue;
        }
        if i > start {
            *line.fields.get_mut(line.count).ok_or(Violation::Malformed)? = &input[start..i];
            line.count += 1;
        }
        start = i + 1;
        if byte == b'\n' {
            return if i > line_max { Err(Violation::ControlLine) } else { Ok(Step::Op(line, i + 1)) };
        }
    }
    unfinished(input, line_max)
}

/// Everything behind the verb up to the line end, blanks around it taken off.
fn rest<'a>(input: &'a [u8], at: usize, limits: &Limits) -> Result<Step<&'a [u8]>, Violation> {
    let line_max = at + limits.control_line + LINE_SLACK;
    match input[at..].iter().position(|&byte| byte == b'\n') {
        Some(n) if at + n > line_max => Err(Violation::ControlLine),
        Some(n) => Ok(Step::Op(input[at..at + n].trim_ascii(), at + n + 1)),
        None => unfinished(input, line_max),
    }
}

/// The blank behind the verb and the CR before the LF, which do not count as arguments.
const LINE_SLACK: usize = 2;

/// A line whose end has not come: not yet, or already too long.
fn unfinished<T>(input: &[u8], line_max: usize) -> Result<Step<T>, Violation> {
    if input.len() > line_max { Err(Violation::ControlLine) } else { Ok(Step::More(input.len() + 1)) }
}

/// The body that a control line announced, and the CR LF behind it. Sizes that cannot be are refused
/// from the line alone: the bytes may never come.
fn body<'a>(
    input: &'a [u8],
    start: usize,
    header_len: usize,
    size: &[u8],
    limits: &Limits,
) -> Result<Step<&'a [u8]>, Violation> {
    let size = number(size).ok_or(Violation::Malformed)?;
    if header_len > size {
        return Err(Violation::Malformed);
    }
    if size > limits.payload {
        return Err(Violation::Payload);
    }
    let end = start + size;
    // A wrong byte is refused when it comes: whoever miscounted may wait for an answer.
    match input.get(end..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(Step::Op(&input[start..end], end + 2)),
        [] | [b'\r'] => Ok(Step::More(end + 2)),
        _ => Err(Violation::UnknownOperation),
    }
}

/// One to nine decimal digits, no sign.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |n, digit| match digit {
        b'0'..=b'9' => Some(n * 10 + usize::from(digit - b'0')),
        _ => None,
    })
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

impl<Op> Step<Op> {
    fn map<To>(self, to: impl FnOnce(Op) -> To) -> Step<To> {
        match self {
            Step::Op(op, used) => Step::Op(to(op), used),
            Step::More(n) => Step::More(n),
        }
    }

    fn try_map<To>(self, to: impl FnOnce(Op) -> Result<To, Violation>) -> Result<Step<To>, Violation> {
        Ok(match self {
            Step::Op(op, used) => Step::Op(to(op)?, used),
            Step::More(n) => Step::More(n),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { control_line: crate::CONTROL_LINE_MAX, payload: 64, headers: true };

    fn client(input: &[u8]) -> Result<Step<ClientOp<'_>>, Violation> {
        client_op(input, &LIMITS)
    }

    fn check(input: &str, expected: ClientOp<'_>) {
        assert_eq!(client(input.as_bytes()), Ok(Step::Op(expected, input.len())), "{input:?}");
    }

    fn message<'a>(subject: &'a str, reply: Option<&'a str>, body: &'a str) -> Message<'a> {
        Message {
            subject: subject.as_bytes(),
            reply: reply.map(str::as_bytes),
            body: body.as_bytes(),
            header_len: 0,
        }
    }

    #[test]
    fn publishes() {
        check("PUB a 5\r\nhello\r\n", ClientOp::Pub(message("a", None, "hello")));
        check("pub a b 0\r\n\r\n", ClientOp::Pub(message("a", Some("b"), "")));
        // nats-py sends two blanks where there is no reply subject.
        check("PUB a  2\r\nhi\r\n", ClientOp::Pub(message("a", None, "hi")));
        check("PUB\ta\tb\t2 \nhi\r\n", ClientOp::Pub(message("a", Some("b"), "hi")));
        // The payload may hold line ends of its own.
        check("PUB a 4\r\n\r\n\r\n\r\n", ClientOp::Pub(message("a", None, "\r\n\r\n")));
    }

    #[test]
    fn publishes_with_headers() {
        let block = "NATS/1.0\r\nA: b\r\n\r\n";
        let input = format!("HPUB s r {} {}\r\n{block}hi\r\n", block.len(), block.len() + 2);
        let Ok(Step::Op(ClientOp::Hpub(message), used)) = client(input.as_bytes()) else {
            panic!("{input:?}");
        };
        assert_eq!(used, input.len());
        assert_eq!(message.headers(), block.as_bytes());
        assert_eq!(message.payload(), b"hi");
        assert_eq!(message.reply, Some(&b"r"[..]));
    }

    #[test]
    fn subscribes_and_leaves() {
        let (subject, sid) = (&b"a.*"[..], &b"x1"[..]);
        check("SUB a.* x1\r\n", ClientOp::Sub { subject, queue: None, sid });
        check("SUB a.* q x1\r\n", ClientOp::Sub { subject, queue: Some(b"q"), sid });
        check("UNSUB x1\r\n", ClientOp::Unsub { sid, max: 0 });
        check("UNSUB x1 12\r\n", ClientOp::Unsub { sid, max: 12 });
        check("UNSUB x1 -3\r\n", ClientOp::Unsub { sid, max: 0 });
    }

    #[test]
    fn lines_without_fields() {
        check("PING\r\n", ClientOp::Ping);
        check("ping whatever\r\n", ClientOp::Ping);
        check("PONG\n", ClientOp::Pong);
        check("CONNECT {}\r\n", ClientOp::Connect(b"{}"));
        check("CONNECT{}\r\n", ClientOp::Connect(b"{}"));
        check("+OK\r\n", ClientOp::Nothing);
    }

    #[test]
    fn nonsense_is_answered_with_the_words_clients_know() {
        let refuse = |input: &str, expected| {
            assert_eq!(client(input.as_bytes()), Err(expected), "{input:?}");
        };
        refuse("GET / HTTP/1.1\r\n", Violation::UnknownOperation);
        refuse("\r\n", Violation::UnknownOperation);
        refuse("PX", Violation::UnknownOperation);
        refuse("SUBa 1\r\n", Violation::UnknownOperation);
        refuse("PUB a 2\r\nhello\r\n", Violation::UnknownOperation);
        refuse("PUB a 2\r\nhi\n", Violation::UnknownOperation);
        refuse("PUB a 65\r\n", Violation::Payload);
        refuse("PUB a 999999999\r\n", Violation::Payload);
        refuse("PUB a 10000000000\r\n", Violation::Malformed);
        refuse("PUB a x\r\n", Violation::Malformed);
        refuse("PUB a\r\n", Violation::Malformed);
        refuse("PUB a b c d 1\r\n", Violation::Malformed);
        refuse("PUB a b c d e f 1\r\n", Violation::Malformed);
        refuse("HPUB a 9 5\r\nhello\r\n", Violation::Malformed);
        refuse("SUB a\r\n", Violation::Malformed);
        refuse("-ERR 'no'\r\n", Violation::Malformed);
        assert_eq!(server_op(b"PUB a 1\r\n1\r\n", &LIMITS), Err(Violation::UnknownOperation));
    }

    #[test]
    fn a_control_line_has_a_limit_even_when_it_never_ends() {
        let longest = format!("SUB {} 1\r\n", "a".repeat(crate::CONTROL_LINE_MAX - 2));
        assert!(matches!(client(longest.as_bytes()), Ok(Step::Op(..))));
        let over = format!("SUB {} 1\r\n", "a".repeat(crate::CONTROL_LINE_MAX));
        assert_eq!(client(over.as_bytes()), Err(Violation::ControlLine));
        let endless = format!("SUB {}", "a".repeat(2 * crate::CONTROL_LINE_MAX));
        assert_eq!(client(endless.as_bytes()), Err(Violation::ControlLine));
        let endless = format!("PING {}", "a".repeat(2 * crate::CONTROL_LINE_MAX));
        assert_eq!(client(endless.as_bytes()), Err(Violation::ControlLine));
    }

    #[test]
    fn a_server_speaks() {
        let check = |input: &str, expected| {
            let step = server_op(input.as_bytes(), &LIMITS);
            assert_eq!(step, Ok(Step::Op(expected, input.len())), "{input:?}");
        };
        let sid = &b"7"[..];
        check("MSG a 7 2\r\nhi\r\n", ServerOp::Msg { sid, message: message("a", None, "hi") });
        check("MSG a 7 r 2\r\nhi\r\n", ServerOp::Msg { sid, message: message("a", Some("r"), "hi") });
        check("INFO {\"a\":1} \r\n", ServerOp::Info(b"{\"a\":1}"));
        check("-ERR 'Stale Connection'\r\n", ServerOp::Err(b"Stale Connection"));
        let none = "HMSG r 7 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        let Ok(Step::Op(ServerOp::Msg { message, .. }, _)) = server_op(none.as_bytes(), &LIMITS) else {
            panic!("{none:?}");
        };
        assert_eq!(crate::headers::status(message.headers()), Some(503));
    }

    /// Every operation, cut at every byte: each prefix is "not yet", asks for no more than there
    /// will be, and the whole is the operation.
    #[test]
    fn sizes_that_cannot_be_are_refused_from_the_line() {
        for line in ["HPUB a 9 5\r\n", "HPUB a 99 98\r\n", "PUB a b c 99\r\n", "PUB a -1\r\n"] {
            assert_eq!(client(line.as_bytes()), Err(Violation::Malformed), "{line:?}");
        }
        assert_eq!(client(b"HPUB a 5 99\r\n"), Err(Violation::Payload));
        let old = Limits { headers: false, ..LIMITS };
        for line in ["HPUB a 0 0\r\n", "HPUB a 5 99\r\n"] {
            assert_eq!(client_op(line.as_bytes(), &old), Err(Violation::Malformed), "{line:?}");
        }
    }

    #[test]
    fn every_prefix_is_not_yet() {
        let operations = [
            "CONNECT {\"verbose\":false}\r\n",
            "PUB a.b 5\r\nhello\r\n",
            "PUB a.b reply.to 5\r\nhello\r\n",
            "HPUB a.b 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
            "HPUB a.b r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            "SUB a.* queue 12\r\n",
            "UNSUB 12 5\r\n",
            "PING\r\n",
            "PONG\r\n",
        ];
        for operation in operations {
            for cut in 0..operation.len() {
                match client(&operation.as_bytes()[..cut]) {
                    Ok(Step::More(n)) => assert!(n > cut && n <= operation.len(), "{operation:?}"),
                    other => panic!("{operation:?} cut at {cut}: {other:?}"),
                }
            }
            assert!(matches!(client(operation.as_bytes()), Ok(Step::Op(_, n)) if n == operation.len()));
        }
        let operations = [
            "INFO {}\r\n",
            "MSG a.b 1 5\r\nhello\r\n",
            "MSG a.b 1 reply.to 0\r\n\r\n",
            "HMSG a.b 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n",
            "HMSG a.b 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
            "PING\r\n",
            "PONG\r\n",
            "+OK\r\n",
            "-ERR 'text'\r\n",
        ];
        for operation in operations {
            let read = |bytes: &'static str| server_op(bytes.as_bytes(), &LIMITS);
            for cut in 0..operation.len() {
                match read(&operation[..cut]) {
                    Ok(Step::More(n)) => assert!(n > cut && n <= operation.len(), "{operation:?}"),
                    other => panic!("{operation:?} cut at {cut}: {other:?}"),
                }
            }
            assert!(matches!(read(operation), Ok(Step::Op(_, n)) if n == operation.len()));
        }
    }

    /// Whatever the bytes are, the answer is one of the three and the parser does not run past them.
    #[test]
    fn random_bytes_never_panic() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let alphabet = b"PUBHSNMG CONET{}+OK-ERI\r\n\t0123456789a.*>\0\xff";
        for _ in 0..200_000 {
            let length = random() % 48;
            let input: Vec<u8> = (0..length).map(|_| alphabet[random() as usize % alphabet.len()]).collect();
            for step in
                [client(&input).map(|s| s.map(|_| ())), server_op(&input, &LIMITS).map(|s| s.map(|_| ()))]
            {
                if let Ok(Step::Op((), used)) = step {
                    assert!(used <= input.len() && used > 0, "{input:?}");
                }
            }
        }
    }
}
