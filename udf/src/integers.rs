//! Numbers that a server has passed as text: the raw bytes that a BIT column comes as, and whole
//! numbers out of whatever text stands where a number is expected.

/// The longest text that is looked at for a number: a CHAR(255) of four bytes each, padded, and more
/// than a DECIMAL or a DOUBLE ever has.
const TEXT_MAX: usize = 1024;

/// What the server calls an integer comes as digits or, of a BIT column, as the raw bytes with the
/// most significant first: the value of these, `None` for digits. Bytes that could be either are
/// digits, unless the value that was seen when the statement began says otherwise.
pub(crate) fn raw(bytes: &[u8], seen: Option<i64>) -> Option<u64> {
    let raw = bytes.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    match digits(bytes) {
        // The digits of an unsigned number above 2^63 are the negative number that was seen.
        Some(value) if seen.is_none_or(|seen| seen == value as i64 || seen != raw as i64) => None,
        _ => Some(raw),
    }
}

/// The digits' value modulo 2^64, for digits and an optional minus.
fn digits(bytes: &[u8]) -> Option<u64> {
    let (digits, minus) = match bytes {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value =
        digits.iter().fold(0_u64, |n, digit| n.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    Some(if minus { value.wrapping_neg() } else { value })
}

/// The nearest whole number to a number that is written as SQL or JSON write it; `None` for any other
/// text. Zero bytes do not count: in UTF-16 and UTF-32, whichever byte comes first, a number is its
/// digits with zeroes between, and BINARY columns are filled up with them.
pub(crate) fn nearest(text: &[u8]) -> Option<i64> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let text: Vec<u8> = text.iter().copied().filter(|&byte| byte != 0).collect();
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    // What Rust reads as a number beyond this, "inf" and "nan", is none in SQL.
    let is_written_so = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(is_written_so))?;
    // The cast keeps within the type: what is larger becomes the largest.
    Some(text.parse::<f64>().ok()?.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_digits_unless_what_was_seen_says_otherwise() {
        for (bytes, seen) in [
            (&b"42"[..], None),
            (b"00042", Some(42)),
            (b"-9223372036854775808", None),
            (b"18446744073709551615", Some(-1)),
            (b"8", Some(7)),
        ] {
            assert_eq!(raw(bytes, seen), None, "{bytes:?}");
        }
        assert_eq!(raw(b"1", Some(49)), Some(49));
        assert_eq!(raw(&[1, 0], None), Some(256));
        assert_eq!(raw(&[0xff; 8], Some(-1)), Some(u64::MAX));
    }

    #[test]
    fn whatever_is_written_as_a_number_is_one() {
        for (text, number) in [
            ("20", 20),
            (" 20 ", 20),
            ("+20", 20),
            ("-20", -20),
            ("20.5", 21),
            (".4", 0),
            ("2e1", 20),
            ("2E+1", 20),
            ("\"20\"", 20),
            ("00020", 20),
            ("\x002\x000", 20),
            ("2\0\0\x000\0\0\0", 20),
            ("20\0\0\0", 20),
            ("99999999999999999999999", i64::MAX),
            ("-1e400", i64::MIN),
        ] {
            assert_eq!(nearest(text.as_bytes()), Some(number), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "", " ", "\"\"", "\"", "soon", "20ms", "2 0", "0x14", "inf", "nan", "infinity", "e", ".", "-",
            "1e",
        ] {
            assert_eq!(nearest(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(nearest("größe".as_bytes()), None);
        assert_eq!(nearest(b"2\xff"), None);
        assert_eq!(nearest(&[b'1'; 100_000]), None);
        assert_eq!(nearest(&[0; 100_000]), None);
    }
}
