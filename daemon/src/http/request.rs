//! A request of HTTP/1.1 as it arrives: the head, parsed by httparse, then the body, piece by piece,
//! each within its limit. No socket, no clock; what a request asks for is another file's business.

use httparse::Status;

/// Bytes of a request's line and headers. Twice what browsers and proxies usually send at most.
pub(crate) const HEAD_MAX: usize = 16 << 10;

/// Headers of a request: what servers usually take.
const HEADERS_MAX: usize = 100;

/// Bytes of the line before a chunk, extensions included, which nobody uses.
const CHUNK_LINE_MAX: usize = 256;

/// Bytes of what may follow the last chunk, which is read and not looked at.
const TRAILERS_MAX: usize = 4 << 10;

/// Headers among it.
const TRAILERS_COUNT_MAX: usize = 16;

/// What a request does, as far as anything here can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Options,
    /// One that HTTP knows and nothing here allows.
    Other,
}

/// A request's line and headers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: Method,
    /// As it stands in the request's line.
    pub(crate) target: String,
    /// Whether it is HTTP/1.0.
    pub(crate) old: bool,
    /// Whether more may follow on the connection.
    pub(crate) keep: bool,
    /// Whether the body is only sent once it is asked for.
    pub(crate) asks_first: bool,
    framing: Framing,
    headers: Vec<(String, Vec<u8>)>,
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Why bytes are no request that anything here could answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is not HTTP/1.1; in these words.
    Malformed(&'static str),
    HeadTooLarge,
    BodyTooLarge,
    /// A method that HTTP does not know.
    Method,
    /// A body in another coding than chunked.
    Coding,
    /// A version that is spoken in another way.
    Version,
    /// An `Expect` other than `100-continue`.
    Expectation,
}

impl Flaw {
    /// The status of the answer, and what it says.
    pub(crate) fn answer(self) -> (u16, &'static str) {
        match self {
            Flaw::Malformed(why) => (400, why),
            Flaw::HeadTooLarge => {
                (431, "the request's line and headers have at most 16384 bytes, 100 headers")
            }
            Flaw::BodyTooLarge => (413, "a body has at most max_payload bytes, its message headers included"),
            Flaw::Method => (501, "there is no such method"),
            Flaw::Coding => (501, "the only Transfer-Encoding here is chunked"),
            Flaw::Version => (505, "this is HTTP/1.1"),
            Flaw::Expectation => (417, "the only Expect here is 100-continue"),
        }
    }
}

impl Head {
    /// The head at the beginning of the bytes and its length; `None` while its end has not come.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Flaw> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        // One byte more than it may have tells that it is too large, and nothing beyond makes a difference.
        let bytes = &bytes[..bytes.len().min(HEAD_MAX + 1)];
        match request.parse(bytes) {
            Ok(Status::Complete(used)) if used <= HEAD_MAX => Ok(Some((Head::of(&request)?, used))),
            Ok(Status::Partial) if bytes.len() <= HEAD_MAX => Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(Flaw::HeadTooLarge),
            Err(httparse::Error::Version) if names_version(bytes) => Err(Flaw::Version),
            Err(_) => Err(Flaw::Malformed("this is not HTTP/1.1")),
        }
    }

    fn of(request: &httparse::Request<'_, '_>) -> Result<Head, Flaw> {
        let headers: Vec<(String, Vec<u8>)> =
            request.headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect();
        let mut head = Head {
            method: method(request.method.unwrap_or_default())?,
            target: request.path.unwrap_or_default().to_owned(),
            old: request.version == Some(0),
            keep: false,
            asks_first: false,
            framing: Framing::Length(0),
            headers,
        };
        head.framing = head.find_framing()?;
        head.keep =
            if head.old { head.connection_says("keep-alive") } else { !head.connection_says("close") };
        head.asks_first = match head.value("expect") {
            Some(value) if !value.eq_ignore_ascii_case(b"100-continue") => return Err(Flaw::Expectation),
            expected => expected.is_some() && !head.old,
        };
        if head.values("host").count() > 1 {
            return Err(Flaw::Malformed("there is more than one Host"));
        }
        Ok(head)
    }

    /// Where the body ends. Two answers to that question are none: they are how one request is hidden in
    /// another.
    fn find_framing(&self) -> Result<Framing, Flaw> {
        let codings: Vec<_> = self.values("transfer-encoding").collect();
        let lengths: Vec<_> = self.values("content-length").collect();
        match (&codings[..], &lengths[..]) {
            ([], []) => Ok(Framing::Length(0)),
            ([], [length]) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
                let length = std::str::from_utf8(length).ok().and_then(|length| length.parse().ok());
                length.map(Framing::Length).ok_or(Flaw::BodyTooLarge)
            }
            ([], [_]) => Err(Flaw::Malformed("Content-Length is no number")),
            ([_, ..], _) if self.old => Err(Flaw::Malformed("HTTP/1.0 has no Transfer-Encoding")),
            ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            ([_, ..], []) => Err(Flaw::Coding),
            _ => Err(Flaw::Malformed("there is more than one length")),
        }
    }

    pub(crate) fn connection_says(&self, word: &str) -> bool {
        let mut words = self.values("connection").flat_map(|value| value.split(|&byte| byte == b','));
        words.any(|said| said.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The value of the first header of this name, in any case.
    pub(crate) fn value(&self, name: &'static str) -> Option<&[u8]> {
        self.values(name).next()
    }

    fn values(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        self.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names and values, in order, blanks around the values taken off.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.trim_ascii()))
    }

    /// Whether a body follows.
    pub(crate) fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// What is to be collected of the body.
    ///
    /// # Errors
    /// If it says itself that it has more than these bytes.
    pub(crate) fn body(&self, max: usize) -> Result<Body, Flaw> {
        let part = match self.framing {
            Framing::Length(length) if length > max => return Err(Flaw::BodyTooLarge),
            Framing::Length(length) => Part::Rest(length),
            Framing::Chunked => Part::ChunkLine,
        };
        Ok(Body { max, part, bytes: Vec::new() })
    }
}

fn method(name: &str) -> Result<Method, Flaw> {
    match name {
        "GET" => Ok(Method::Get),
        "HEAD" => Ok(Method::Head),
        "POST" => Ok(Method::Post),
        "OPTIONS" => Ok(Method::Options),
        "PUT" | "DELETE" | "PATCH" | "TRACE" | "CONNECT" => Ok(Method::Other),
        _ => Err(Flaw::Method),
    }
}

/// Whether the first line has a version of HTTP where it belongs.
fn names_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let third = line.and_then(|line| line.split(|&byte| byte == b' ').nth(2));
    third.is_some_and(|word| word.starts_with(b"HTTP/"))
}

/// A body on its way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// What it may have, in bytes.
    max: usize,
    /// What comes next of it.
    part: Part,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// So many bytes, and it is whole.
    Rest(usize),
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk(usize),
    /// The line's end behind a chunk.
    ChunkEnd,
    Trailers,
}

impl Body {
    /// Takes what there is of it, and says whether it is whole. What is left in `bytes` then belongs to
    /// the next request; before, it is the beginning of a line whose end has not come.
    ///
    /// # Errors
    /// Why it is no body, or too large.
    pub(crate) fn take(&mut self, bytes: &mut &[u8]) -> Result<bool, Flaw> {
        loop {
            let next = match self.part {
                Part::Rest(left) => {
                    let left = self.collect(bytes, left);
                    self.part = Part::Rest(left);
                    return Ok(left == 0);
                }
                Part::Chunk(left) => match self.collect(bytes, left) {
                    0 => Some(Part::ChunkEnd),
                    left => {
                        self.part = Part::Chunk(left);
                        None
                    }
                },
                Part::ChunkLine => self.chunk_line(bytes)?,
                Part::ChunkEnd => chunk_end(bytes)?,
                Part::Trailers => return trailers(bytes),
            };
            match next {
                Some(part) => self.part = part,
                None => return Ok(false),
            }
        }
    }

    /// The whole of it.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether nothing of it has come.
    pub(crate) fn is_untouched(&self) -> bool {
        self.bytes.is_empty() && matches!(self.part, Part::Rest(_) | Part::ChunkLine)
    }

    fn collect(&mut self, bytes: &mut &[u8], left: usize) -> usize {
        let taken = left.min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        *bytes = &bytes[taken..];
        left - taken
    }

    fn chunk_line(&mut self, bytes: &mut &[u8]) -> Result<Option<Part>, Flaw> {
        let wrong = Flaw::Malformed("a chunk does not begin with its size");
        // An empty line would pass for the size 0.
        if bytes.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        match httparse::parse_chunk_size(bytes) {
            Ok(Status::Complete((used, _))) if used > CHUNK_LINE_MAX => Err(wrong),
            Ok(Status::Complete((used, size))) => {
                *bytes = &bytes[used..];
                let room = self.max - self.bytes.len();
                match usize::try_from(size) {
                    Ok(0) => Ok(Some(Part::Trailers)),
                    Ok(size) if size <= room => Ok(Some(Part::Chunk(size))),
                    _ => Err(Flaw::BodyTooLarge),
                }
            }
            Ok(Status::Partial) if bytes.len() <= CHUNK_LINE_MAX => Ok(None),
            _ => Err(wrong),
        }
    }
}

fn chunk_end(bytes: &mut &[u8]) -> Result<Option<Part>, Flaw> {
    match bytes {
        [b'\r', b'\n', rest @ ..] => {
            *bytes = rest;
            Ok(Some(Part::ChunkLine))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err(Flaw::Malformed("a chunk does not end where its size says")),
    }
}

fn trailers(bytes: &mut &[u8]) -> Result<bool, Flaw> {
    let mut headers = [httparse::EMPTY_HEADER; TRAILERS_COUNT_MAX];
    match httparse::parse_headers(bytes, &mut headers) {
        Ok(Status::Complete((used, _))) if used <= TRAILERS_MAX => {
            *bytes = &bytes[used..];
            Ok(true)
        }
        Ok(Status::Partial) if bytes.len() <= TRAILERS_MAX => Ok(false),
        _ => Err(Flaw::Malformed("what follows the last chunk is no headers, or too much")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 20;

    /// One request and what is left behind it; `None` while more is needed.
    fn whole(bytes: &[u8]) -> Result<Option<(Head, Vec<u8>, usize)>, Flaw> {
        let Some((head, used)) = Head::parse(bytes)? else { return Ok(None) };
        let mut rest = &bytes[used..];
        let mut body = head.body(MAX)?;
        let whole = body.take(&mut rest)?;
        Ok(whole.then(|| (head, body.into_bytes(), rest.len())))
    }

    /// The same in two pieces.
    fn in_two(bytes: &[u8], at: usize) -> Result<Option<(Head, Vec<u8>, usize)>, Flaw> {
        let Some((head, used)) = Head::parse(&bytes[..at])? else { return whole(bytes) };
        let mut body = head.body(MAX)?;
        let mut first = &bytes[used..at];
        if body.take(&mut first)? {
            return Ok(Some((head, body.into_bytes(), bytes.len() - at + first.len())));
        }
        let mut rest = &bytes[at - first.len()..];
        let whole = body.take(&mut rest)?;
        Ok(whole.then(|| (head, body.into_bytes(), rest.len())))
    }

    const REQUESTS: [(&str, &str); 8] = [
        ("GET /a HTTP/1.1\r\nHost: x\r\n\r\n", ""),
        ("\r\nGET /a HTTP/1.1\nHost: x\n\n", ""),
        ("POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("POST /a HTTP/1.1\r\ncontent-length:  0 \r\n\r\n", ""),
        ("POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
        (
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n0003 \r\nllo\r\n0\r\nX: y\r\n\r\n",
            "hello",
        ),
        ("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
        (
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
        ),
    ];

    #[test]
    fn every_request_may_be_split_at_every_byte() {
        for (request, expected) in REQUESTS {
            let bytes = [request.as_bytes(), b"GET"].concat();
            let (head, body, left) = whole(&bytes).unwrap().unwrap();
            assert_eq!((String::from_utf8_lossy(&body).as_ref(), left), (expected, 3), "{request:?}");
            assert_eq!(head.target, "/a");
            for at in 0..bytes.len() {
                let (other, body, left) = in_two(&bytes, at).unwrap().unwrap();
                assert_eq!((&other, left), (&head, 3), "{request:?} at {at}");
                assert_eq!(String::from_utf8_lossy(&body), expected, "{request:?} at {at}");
            }
            for end in 0..request.len() {
                assert_eq!(whole(&bytes[..end]), Ok(None), "{request:?} up to {end}");
            }
        }
    }

    #[test]
    fn a_request_may_come_byte_by_byte() {
        for (request, expected) in REQUESTS {
            let (head, used) = Head::parse(request.as_bytes()).unwrap().unwrap();
            let mut body = head.body(MAX).unwrap();
            let (mut kept, mut is_whole) = (Vec::new(), used == request.len() && !head.has_body());
            for &byte in &request.as_bytes()[used..] {
                assert!(!is_whole, "{request:?}");
                kept.push(byte);
                let mut bytes = &kept[..];
                is_whole = body.take(&mut bytes).unwrap();
                kept = bytes.to_vec();
            }
            assert!(is_whole && kept.is_empty(), "{request:?}");
            assert_eq!(String::from_utf8(body.into_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let check = |request: &str, status: u16| {
            let flaw = whole(request.as_bytes()).expect_err(request);
            assert_eq!(flaw.answer().0, status, "{request:?}: {flaw:?}");
            // And as soon as it is seen at all.
            for end in 0..request.len() {
                let Err(flaw) = whole(&request.as_bytes()[..end]) else { continue };
                assert_eq!(flaw.answer().0, status, "{request:?} up to {end}: {flaw:?}");
            }
        };
        let post = |rest: &str| format!("POST /a HTTP/1.1\r\n{rest}");
        check("CONNECT {}\r\nPING\r\n", 400);
        check("\u{16}\u{3}\u{1}", 400);
        check("GET /a\r\n\r\n", 400);
        check("GET  /a HTTP/1.1\r\n\r\n", 400);
        check("GET /a HTTP/1.1\r\nno colon\r\n\r\n", 400);
        check("GET /a HTTP/1.1\r\nA : b\r\n\r\n", 400);
        check("GET /a HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400);
        check("GET /a HTTP/1.1\r\nA: b\rC: d\r\n\r\n", 400);
        check("GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
        check("GET /a b HTTP/1.1\r\n\r\n", 400);
        check("GET /a HTTP/2.0\r\n\r\n", 505);
        check("GET /a HTTP/1.2\r\n\r\n", 505);
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
        check("BREW /a HTTP/1.1\r\n\r\n", 501);
        check("get /a HTTP/1.1\r\n\r\n", 501);
        check(&post("Expect: a miracle\r\n\r\n"), 417);
        check(&post("Content-Length: -1\r\n\r\n"), 400);
        check(&post("Content-Length: +1\r\n\r\n"), 400);
        check(&post("Content-Length: 1, 1\r\n\r\n"), 400);
        check(&post("Content-Length: \r\n\r\n"), 400);
        check(&post("Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400);
        check(&post("Content-Length: 21\r\n\r\n"), 413);
        check(&post("Content-Length: 99999999999999999999\r\n\r\n"), 413);
        check(&post("Transfer-Encoding: gzip, chunked\r\n\r\n"), 501);
        check(&post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
        check(&post("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), 400);
        check("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
        let chunks = |rest: &str| post(&format!("Transfer-Encoding: chunked\r\n\r\n{rest}"));
        check(&chunks("x\r\n"), 400);
        check(&chunks("\r\n"), 400);
        check(&chunks("-1\r\n"), 400);
        check(&chunks("0x5\r\n"), 400);
        check(&chunks("15\r\n"), 413);
        check(&chunks("14\r\n01234567890123456789\r\n1\r\n"), 413);
        check(&chunks("ffffffffffffffff\r\n"), 413);
        check(&chunks("fffffffffffffffff\r\n"), 400);
        check(&chunks("1\r\nab\r\n"), 400);
        check(&chunks("1\r\na\n\n"), 400);
        check(&chunks(&format!("1;{}", "x".repeat(CHUNK_LINE_MAX))), 400);
        check(&chunks("0\r\nno colon\r\n\r\n"), 400);
        check(&chunks(&format!("0\r\nA: {}", "x".repeat(TRAILERS_MAX))), 400);
    }

    #[test]
    fn heads_have_a_limit() {
        let head = |filler: usize| format!("GET /a HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(filler));
        let fits = HEAD_MAX - head(0).len();
        assert!(Head::parse(head(fits).as_bytes()).unwrap().is_some());
        assert_eq!(Head::parse(head(fits + 1).as_bytes()), Err(Flaw::HeadTooLarge));
        let flawed = head(HEAD_MAX).replace("\r\n\r\n", "\r\nno colon\r\n\r\n");
        assert_eq!(
            Head::parse(flawed.as_bytes()),
            Err(Flaw::HeadTooLarge),
            "what is beyond is not looked at"
        );
        let endless = vec![b'x'; HEAD_MAX + 1];
        assert_eq!(Head::parse(&endless[..HEAD_MAX]), Ok(None));
        assert_eq!(Head::parse(&endless), Err(Flaw::HeadTooLarge));
        let many: String = (0..=HEADERS_MAX).map(|n| format!("H{n}: x\r\n")).collect();
        let many = format!("GET /a HTTP/1.1\r\n{many}\r\n");
        assert_eq!(Head::parse(many.as_bytes()), Err(Flaw::HeadTooLarge));
    }

    #[test]
    fn what_a_head_says() {
        let head = |lines: &str| Head::parse(lines.as_bytes()).unwrap().unwrap().0;
        assert!(head("GET / HTTP/1.1\r\n\r\n").keep);
        assert!(!head("GET / HTTP/1.1\r\nConnection: TE, Close\r\n\r\n").keep);
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep);
        assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep);
        assert!(head("POST / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n").asks_first);
        assert!(!head("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").asks_first);
        assert_eq!(head("DELETE / HTTP/1.1\r\n\r\n").method, Method::Other);
        let head = head("GET /a?b=> HTTP/1.1\r\nX-A:  1 2 \r\nx-a: 3\r\n\r\n");
        assert_eq!((head.target.as_str(), head.value("X-a")), ("/a?b=>", Some(&b"1 2"[..])));
        assert_eq!(head.values("x-A").count(), 2);
    }
}
