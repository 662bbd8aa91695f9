//! `/subsz`: the index of subscriptions and what is asked of it, as JSON, under the names that the
//! reference's tools read; on request, the subscriptions themselves.

use super::{LIMIT, limit, number, stamp};
use crate::subjects::Activity;
use rowcall_wire::subject;
use serde_json::{Value, json};
use std::time::SystemTime;

/// Subscriptions on one page, however many are asked for: writing them takes about a millisecond a
/// thousand, and everyone else waits meanwhile.
pub(super) const SHOWN_MAX: usize = 10_000;

/// One subscription.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) subject: &'a [u8],
    pub(super) queue: Option<&'a [u8]>,
    pub(super) sid: &'a [u8],
    pub(super) delivered: u64,
    pub(super) max: u64,
    pub(super) cid: u64,
}

impl Shown<'_> {
    pub(super) fn to_json(&self) -> Value {
        let text = |bytes| String::from_utf8_lossy(bytes);
        let mut json = json!({
            "subject": text(self.subject),
            "sid": text(self.sid),
            "msgs": self.delivered,
            "cid": self.cid,
        });
        if let Some(queue) = self.queue {
            json["qgroup"] = text(queue).into();
        }
        if self.max > 0 {
            json["max"] = self.max.into();
        }
        json
    }
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Whether to list them.
    pub(super) list: bool,
    /// Only those that a message on this subject would reach.
    test: Option<String>,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

impl Wanted {
    /// Reads the query.
    pub(super) fn from_query(query: &str) -> Result<Wanted, String> {
        let mut wanted = Wanted { list: false, test: None, offset: 0, limit: LIMIT };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "subs" => wanted.list = matches!(&*value, "1" | "t" | "true"),
                "offset" => wanted.offset = number(&name, &value)?,
                "limit" => wanted.limit = limit(&value)?,
                "test"
                    if subject::is_literal(value.as_bytes()) && subject::valid_filter(value.as_bytes()) =>
                {
                    wanted.test = Some(value.into_owned());
                }
                "test" => return Err(format!("test={value}: expected a subject without wildcards")),
                _ => {}
            }
        }
        wanted.limit = wanted.limit.min(SHOWN_MAX);
        Ok(wanted)
    }

    /// Whether a subscription with this filter is among them.
    pub(super) fn is_about(&self, filter: &[u8]) -> bool {
        self.test.as_ref().is_none_or(|test| subject::matches(filter, test.as_bytes()))
    }
}

/// The page. `listed` is how many there are to list, and those of them that are listed.
pub(super) fn render(
    server_id: &str,
    now: SystemTime,
    count: usize,
    index: &Activity,
    wanted: &Wanted,
    listed: Option<(usize, Vec<Shown<'_>>)>,
) -> String {
    let mut json = json!({
        "server_id": server_id,
        "now": stamp(now),
        "num_subscriptions": count,
        "num_cache": index.remembered,
        "num_inserts": index.inserts,
        "num_removes": index.removes,
        "num_matches": index.lookups,
        "cache_hit_rate": index.hits as f64 / index.lookups.max(1) as f64,
        "max_fanout": index.fanout_max,
        "avg_fanout": index.fanout as f64 / index.remembered.max(1) as f64,
        // Of a list that was not asked for, as the reference has it.
        "total": 0,
        "offset": wanted.offset,
        "limit": wanted.limit,
    });
    if let Some((total, shown)) = listed {
        json["total"] = total.into();
        json["subscriptions_list"] = shown.iter().map(Shown::to_json).collect();
    }
    format!("{json:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded_and_about_a_subject() {
        let wanted = Wanted::from_query("subs=1&limit=1000000&test=a.b").unwrap();
        assert!(wanted.list && wanted.limit == SHOWN_MAX);
        assert!(wanted.is_about(b"a.*") && !wanted.is_about(b"b.>"));
        assert!(Wanted::from_query("").is_ok_and(|wanted| !wanted.list && wanted.is_about(b"x")));
        assert!(Wanted::from_query("test=a.*").is_err() && Wanted::from_query("limit=-1").is_err());
    }
}
