//! Whether the server's clock agrees with the one here: events carry the server's times.

use super::finding::{Finding, Trouble};
use super::patient::Patient;
use jiff::Timestamp;
use std::time::Instant;

/// Clocks that somebody looks after differ by less.
const MOST_MS: i64 = 1000;

const SERVER_TIME: &str = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

pub(super) fn check(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let asked = Instant::now();
    let before = Timestamp::now().as_millisecond();
    let micros = patient.value(SERVER_TIME)?.and_then(|text| text.parse::<i64>().ok());
    let took = i64::try_from(asked.elapsed().as_millis()).unwrap_or(i64::MAX);
    let micros = micros.ok_or_else(|| Trouble::Other("the server did not tell its time".into()))?;
    Ok(vec![finding(skew(micros / 1000, before, took))])
}

/// By how much the server's clock is ahead, as far as that can be known: it was read at some time between
/// `before` and `took` later.
fn skew(server: i64, before: i64, took: i64) -> i64 {
    let after = before.saturating_add(took);
    if server < before { server - before } else { (server - after).max(0) }
}

fn finding(skew: i64) -> Finding {
    if skew.abs() <= MOST_MS {
        return Finding::ok("the server's agrees with this machine's");
    }
    let (by, way) = (skew.abs(), if skew > 0 { "ahead of" } else { "behind" });
    Finding::warning(
        format!(
            "the server's is {by} ms {way} this machine's: times in events, and ages, are wrong by that."
        ),
        "Let both machines keep time by NTP.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn what_an_answer_took_is_no_skew() {
        assert_eq!(skew(1_500, 1_000, 900), 0);
        assert_eq!(skew(4_000, 1_000, 900), 2_100);
        assert_eq!(skew(400, 1_000, 900), -600);
    }

    #[test]
    fn a_second_is_too_much() {
        assert_eq!(finding(MOST_MS).level, Level::Ok);
        assert_eq!(finding(-MOST_MS - 1).level, Level::Warning);
        assert!(finding(2_100).found.contains("2100 ms ahead of"));
    }
}
