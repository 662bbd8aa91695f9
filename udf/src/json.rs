//! Named values to a JSON object. Values come as text with a note of what they were; how SQL types
//! become that is call/emit.rs's business.

use crate::bounded::Bounded;
use crate::counters::Reason;
use crate::integers;

/// What a value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An integer, and its value if it was known when the statement began. A BIT column comes as
    /// raw bytes instead of digits; the value tells, even if the bytes look like digits.
    Integer(Option<i64>),
    /// A decimal or a floating-point number.
    Number,
    /// Text; base64 if it is not UTF-8.
    Text,
    /// Bytes: always base64.
    Base64,
    /// JSON: as it stands, if it is JSON.
    Json,
}

/// Appends `"name":` with the name escaped.
pub(crate) fn name(out: &mut Bounded, name: &[u8]) -> Result<(), Reason> {
    text(out, name)?;
    out.put(b":")
}

/// Appends a value; `None` is null.
pub(crate) fn value(out: &mut Bounded, shape: Shape, bytes: Option<&[u8]>) -> Result<(), Reason> {
    let Some(bytes) = bytes else { return out.put(b"null") };
    match shape {
        Shape::Integer(seen) => match integers::raw(bytes, seen) {
            Some(raw) => out.put(raw.to_string().as_bytes()),
            None => number(out, bytes),
        },
        Shape::Number => number(out, bytes),
        Shape::Text => text(out, bytes),
        Shape::Base64 => base64(out, bytes),
        Shape::Json if is_json(bytes) => out.put(bytes),
        Shape::Json => text(out, bytes),
    }
}

/// A number as SQL writes it is a number of JSON but for the leading zeroes of ZEROFILL columns.
/// What is no number after all becomes text.
fn number(out: &mut Bounded, bytes: &[u8]) -> Result<(), Reason> {
    let (minus, digits) = match bytes {
        [b'-', digits @ ..] => (&b"-"[..], digits),
        digits => (&b""[..], digits),
    };
    let zeroes = digits.iter().take_while(|&&byte| byte == b'0').count();
    let keep =
        if digits.get(zeroes).is_some_and(u8::is_ascii_digit) { zeroes } else { zeroes.saturating_sub(1) };
    let digits = &digits[keep..];
    if Scan::new(digits).number().is_some_and(|scan| scan.rest.is_empty()) {
        out.put(minus)?;
        out.put(digits)
    } else {
        text(out, bytes)
    }
}

/// A string. Bytes that are no UTF-8 become base64.
fn text(out: &mut Bounded, bytes: &[u8]) -> Result<(), Reason> {
    if std::str::from_utf8(bytes).is_err() {
        return base64(out, bytes);
    }
    out.put(b"\"")?;
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.put(&bytes[plain..at])?;
        plain = at + 1;
        match byte {
            b'"' => out.put(b"\\\"")?,
            b'\\' => out.put(b"\\\\")?,
            b'\n' => out.put(b"\\n")?,
            b'\r' => out.put(b"\\r")?,
            b'\t' => out.put(b"\\t")?,
            _ => {
                out.put(b"\\u00")?;
                out.put(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])?;
            }
        }
    }
    out.put(&bytes[plain..])?;
    out.put(b"\"")
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(out: &mut Bounded, bytes: &[u8]) -> Result<(), Reason> {
    // Four digits for each three bytes, and the quotes.
    let out = out.room(bytes.len().div_ceil(3).saturating_mul(4).saturating_add(2))?;
    out.push(b'"');
    for group in bytes.chunks(3) {
        let bits = u32::from(group[0]) << 16
            | u32::from(*group.get(1).unwrap_or(&0)) << 8
            | u32::from(*group.get(2).unwrap_or(&0));
        for n in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * n)) as usize & 63];
            out.push(if n <= group.len() { digit } else { b'=' });
        }
    }
    out.push(b'"');
    Ok(())
}

/// How deep arrays and objects may be nested; the scanner recurses, on a stack that is not ours.
const DEPTH_MAX: u8 = 100;

/// Whether the bytes are one JSON value.
fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
        && Scan::new(bytes).value(DEPTH_MAX).is_some_and(|scan| scan.blank().rest.is_empty())
}

/// What of some JSON has not been looked at yet. Each step gives what is left behind it, or `None`
/// where the bytes are not what they should be.
#[derive(Clone, Copy)]
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Scan { rest }
    }

    fn blank(self) -> Self {
        Scan { rest: &self.rest[self.count(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))..] }
    }

    fn count(self, wanted: impl Fn(u8) -> bool) -> usize {
        self.rest.iter().take_while(|&&byte| wanted(byte)).count()
    }

    fn skip(self, word: &[u8]) -> Option<Self> {
        self.rest.strip_prefix(word).map(Scan::new)
    }

    fn digits(self) -> Option<Self> {
        let n = self.count(|byte| byte.is_ascii_digit());
        (n > 0).then(|| Scan { rest: &self.rest[n..] })
    }

    fn value(self, depth: u8) -> Option<Self> {
        let this = self.blank();
        match this.rest.first()? {
            b'{' => this.list(b"{", b"}", depth, |scan, depth| {
                scan.blank().string()?.blank().skip(b":")?.value(depth)
            }),
            b'[' => this.list(b"[", b"]", depth, Scan::value),
            b'"' => this.string(),
            b't' => this.skip(b"true"),
            b'f' => this.skip(b"false"),
            b'n' => this.skip(b"null"),
            _ => this.number(),
        }
    }

    fn list(
        self,
        open: &[u8],
        close: &[u8],
        depth: u8,
        item: impl Fn(Self, u8) -> Option<Self>,
    ) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let mut scan = self.skip(open)?;
        if let Some(end) = scan.blank().skip(close) {
            return Some(end);
        }
        loop {
            scan = item(scan, depth)?.blank();
            if let Some(end) = scan.skip(close) {
                return Some(end);
            }
            scan = scan.skip(b",")?;
        }
    }

    fn string(self) -> Option<Self> {
        let mut scan = self.skip(b"\"")?;
        loop {
            let plain = scan.count(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
            scan.rest = &scan.rest[plain..];
            match scan.rest {
                [b'"', rest @ ..] => return Some(Scan { rest }),
                [b'\\', b'u', a, b, c, d, rest @ ..]
                    if [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()) =>
                {
                    scan.rest = rest;
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => {
                    scan.rest = rest
                }
                _ => return None,
            }
        }
    }

    fn number(self) -> Option<Self> {
        let scan = self.skip(b"-").unwrap_or(self);
        let mut scan = scan.skip(b"0").or_else(|| scan.digits())?;
        if let Some(fraction) = scan.skip(b".") {
            scan = fraction.digits()?;
        }
        if let Some(exponent) = scan.skip(b"e").or_else(|| scan.skip(b"E")) {
            let sign = exponent.skip(b"+").or_else(|| exponent.skip(b"-"));
            scan = sign.unwrap_or(exponent).digits()?;
        }
        Some(scan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: Shape, bytes: &[u8], expected: &str) {
        let mut out = Bounded::new(1 << 20);
        value(&mut out, shape, Some(bytes)).unwrap();
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected, "{shape:?} {bytes:?}");
    }

    #[test]
    fn integers() {
        check(Shape::Integer(None), b"42", "42");
        check(Shape::Integer(Some(42)), b"42", "42");
        check(Shape::Integer(None), b"-9223372036854775808", "-9223372036854775808");
        check(Shape::Integer(Some(-1)), b"18446744073709551615", "18446744073709551615");
        check(Shape::Integer(None), b"00042", "42");
        check(Shape::Integer(None), b"000", "0");
        check(Shape::Integer(Some(7)), b"8", "8");
    }

    #[test]
    fn bits() {
        check(Shape::Integer(None), &[5], "5");
        check(Shape::Integer(None), &[1, 0], "256");
        check(Shape::Integer(Some(49)), b"1", "49");
        check(Shape::Integer(Some(-1)), &[0xff; 8], "18446744073709551615");
        check(Shape::Integer(None), &[0xff; 8], "18446744073709551615");
    }

    #[test]
    fn numbers() {
        check(Shape::Number, b"12.34000", "12.34000");
        check(Shape::Number, b"-0.5", "-0.5");
        check(Shape::Number, b"1e300", "1e300");
        check(Shape::Number, b"-1.5e-10", "-1.5e-10");
        check(Shape::Number, b"0012.5", "12.5");
        check(Shape::Number, b"00.5", "0.5");
        check(Shape::Number, b"nan", "\"nan\"");
        check(Shape::Number, b".5", "\".5\"");
        check(Shape::Number, b"", "\"\"");
    }

    #[test]
    fn texts() {
        check(Shape::Text, b"", "\"\"");
        check(Shape::Text, "grün \"5\" \\".as_bytes(), "\"grün \\\"5\\\" \\\\\"");
        check(Shape::Text, b"a\nb\r\t\x01\x1f\0", "\"a\\nb\\r\\t\\u0001\\u001f\\u0000\"");
        check(Shape::Text, b"\xe9", "\"6Q==\"");
    }

    #[test]
    fn bytes() {
        check(Shape::Base64, b"", "\"\"");
        check(Shape::Base64, b"f", "\"Zg==\"");
        check(Shape::Base64, b"fo", "\"Zm8=\"");
        check(Shape::Base64, b"foo", "\"Zm9v\"");
        check(Shape::Base64, b"foobar", "\"Zm9vYmFy\"");
        check(Shape::Base64, &[0xfb, 0xff], "\"+/8=\"");
    }

    #[test]
    fn json_stands_as_it_is_if_it_is_json() {
        for json in [
            "{}",
            "[]",
            " {\"a\": [1, -2.5e+3, true, false, null, \"x\\u00e9\\n\"]} ",
            "0",
            "\"text\"",
            "{\"a\":{\"b\":{}}}",
        ] {
            check(Shape::Json, json.as_bytes(), json);
        }
        for not in ["", "{", "[1,]", "{\"a\"}", "{a:1}", "01", "1.", "tru", "\"\\x\"", "1 2", "\"\x01\"", "-"]
        {
            let mut expected = Bounded::new(1 << 20);
            text(&mut expected, not.as_bytes()).unwrap();
            check(Shape::Json, not.as_bytes(), std::str::from_utf8(&expected).unwrap());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(is_json(deep(usize::from(DEPTH_MAX)).as_bytes()));
        assert!(!is_json(deep(usize::from(DEPTH_MAX) + 1).as_bytes()));
        assert!(!is_json("[".repeat(1_000_000).as_bytes()));
    }

    #[test]
    fn null_and_names() {
        let mut out = Bounded::new(1 << 20);
        name(&mut out, b"a\"b").unwrap();
        value(&mut out, Shape::Text, None).unwrap();
        assert_eq!(*out, *b"\"a\\\"b\":null");
    }

    #[test]
    fn writing_stops_at_the_limit() {
        for (shape, longest) in [(Shape::Text, 6), (Shape::Base64, 2), (Shape::Json, 6), (Shape::Number, 6)] {
            let long = vec![1; 100_000];
            let mut out = Bounded::new(1000);
            assert_eq!(value(&mut out, shape, Some(&long)), Err(Reason::TooLarge), "{shape:?}");
            assert!(out.bytes_mut().capacity() <= 1000, "{shape:?}");
            let mut out = Bounded::new(longest * long.len());
            assert_eq!(value(&mut out, shape, Some(&long[..long.len() - 1])), Ok(()), "{shape:?}");
        }
    }
}
