//! Times as people write and read them: `500ms`, `30s`, `2m`, `1h`, `7d`. Points in time come from
//! the server.

/// Units, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads one, in milliseconds; a bare number is seconds.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = if unit.is_empty() { "s" } else { unit };
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    let millis = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(*factor));
    millis.ok_or_else(|| "expected a time such as 500ms, 30s, 2m, 1h or 7d".to_owned())
}

/// Writes one exactly.
pub(crate) fn exact(millis: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| millis > 0 && millis.checked_rem(*factor) == Some(0));
    unit.map_or_else(|| "0s".to_owned(), |(name, factor)| format!("{}{name}", millis / factor))
}

/// Writes how long ago something was, in whole units.
pub(crate) fn age(seconds: u64) -> String {
    let millis = seconds.saturating_mul(1000);
    let unit = UNITS.iter().find(|(_, factor)| millis >= *factor);
    unit.map_or_else(|| "0s".to_owned(), |(name, factor)| format!("{}{name}", millis / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["1ms", "500ms", "1s", "90s", "2m", "1h", "7d"] {
            assert_eq!(exact(parse(text).unwrap()), text);
        }
        assert_eq!((parse("30"), parse("0"), exact(0)), (Ok(30_000), Ok(0), "0s".into()));
        for wrong in ["", "s", "-1s", "1.5s", "1 s", "1w", "99999999999999999999d", "1S"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ages_are_round() {
        let ages = [0, 59, 60, 7199, 86_400 * 3].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "1h", "3d"]);
    }
}
