//! Webhooks in the style of the Standard Webhooks specification: signatures, and how long to wait before another
//! attempt. Pure; who is called with them stands in forward.rs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, sign};
use std::time::{Duration, SystemTime};

/// What a secret begins with, as the specification writes it.
const PREFIX: &str = "whsec_";

/// Bytes of a secret, by the specification.
const SECRET_MIN: usize = 24;
const SECRET_MAX: usize = 64;

/// The pause after the first attempt; after each further one it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, also when a receiver asks for a longer one: so long an event is kept from others.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// Secrets that are valid at the same time: while one is replaced by another there are two.
pub(crate) struct Secrets(Vec<Key>);

impl Secrets {
    /// Reads them, one a line.
    pub(crate) fn read(text: &str) -> Result<Secrets, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err("there is no secret in it".into()) } else { Ok(Secrets(keys)) }
    }

    /// The value of `webhook-signature`: one for each secret.
    pub(crate) fn signature(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        let one = |key| format!("v1,{}", STANDARD.encode(sign(key, &signed)));
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

fn key(text: &str) -> Result<Key, String> {
    // What is wrong is said without what was written.
    let bytes = text.strip_prefix(PREFIX).and_then(|secret| STANDARD.decode(secret).ok());
    match bytes {
        Some(bytes) if (SECRET_MIN..=SECRET_MAX).contains(&bytes.len()) => Ok(Key::new(HMAC_SHA256, &bytes)),
        _ => Err(format!("expected {PREFIX} and base64 of {SECRET_MIN} to {SECRET_MAX} bytes on each line")),
    }
}

/// The time that `Retry-After` asks for, by RFC 9110, 10.2.3: seconds, or a date in any of three forms (one that
/// is past asks for none). What is neither says nothing.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than fits into a number is longer than anyone waits.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// How long to wait after so many attempts: what the receiver asked for, or twice as long each time; `chance`,
/// from 0 to 1, keeps those who failed together from coming back together.
pub(crate) fn pause(attempts: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let least = asked.unwrap_or(doubled / 2).min(PAUSE_MAX);
    (least + doubled.mul_f64(chance.clamp(0.0, 1.0) / 2.0)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The example that its libraries are tested with.
        let secrets = Secrets::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature =
            secrets.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both =
            Secrets::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
                .unwrap();
        assert_eq!(both.signature("a", 1, b"").split(' ').count(), 2);
    }

    #[test]
    fn what_is_no_secret_is_not_repeated() {
        for wrong in ["", "\n", "hunter2", "whsec_hunter2", "whsec_AAAA"] {
            let Err(why) = Secrets::read(wrong) else { panic!("{wrong}") };
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let seconds = |attempts, asked: Option<u64>, chance| {
            pause(attempts, asked.map(Duration::from_secs), chance).as_secs_f64()
        };
        assert_eq!((seconds(1, None, 0.0), seconds(1, None, 1.0)), (0.5, 1.0));
        assert_eq!((seconds(4, None, 0.0), seconds(4, None, 1.0)), (4.0, 8.0));
        assert_eq!((seconds(99, None, 0.0), seconds(1, Some(u64::MAX), 1.0)), (600.0, 600.0));
        assert_eq!((seconds(1, Some(7), 0.0), seconds(1, Some(0), 0.0)), (7.0, 0.0));
    }

    #[test]
    fn receivers_ask_for_seconds_or_for_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_773_600);
        let asked = |value| retry_after(value, now).map(|time| time.as_secs());
        // Each of the three forms, 90 s from now.
        for date in
            ["Fri, 27 Nov 2026 10:01:30 GMT", "Friday, 27-Nov-26 10:01:30 GMT", "Fri Nov 27 10:01:30 2026"]
        {
            assert_eq!(asked(date), Some(90), "{date}");
        }
        assert_eq!(asked("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(asked("Fri, 31 Dec 9999 23:59:59 GMT").map(|time| time > 1 << 32), Some(true));
        assert_eq!(
            (asked("0"), asked(" 120 "), asked("99999999999999999999999")),
            (Some(0), Some(120), Some(u64::MAX))
        );
        for neither in ["", "-1", "+1", "1.5", "soon", "Fri, 27 Nov 2026", "2026-11-27T10:01:30Z"] {
            assert_eq!(asked(neither), None, "{neither}");
        }
    }
}
