//! The last event that someone has heard (`Last-Event-ID`), and which others come after it. No
//! connection lives here; who asks stands in http/resume.rs, what is found in outbox/ledger/recall.rs.

/// The last event that someone has heard, as an id of the stream names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// A row's id, as people write it. 0 comes before everything.
    Id(u64),
    /// A unique id.
    Event { site: String, id: u64, stamp: i64 },
    /// The end of what was sent at once: a unique id, and behind it the event's position.
    Position { site: String, position: u64 },
}

impl After {
    /// What `7`, `SITE/7.MICROSECONDS` or `SITE/7.MICROSECONDS/POSITION` names.
    pub(crate) fn parse(text: &str) -> Option<After> {
        let Some((site, rest)) = text.split_once('/') else { return text.parse().ok().map(After::Id) };
        let site = site.to_owned();
        if let Some((_, position)) = rest.split_once('/') {
            return Some(After::Position { site, position: position.parse().ok()? });
        }
        let (id, stamp) = rest.split_once('.')?;
        Some(After::Event { site, id: id.parse().ok()?, stamp: stamp.parse().ok()? })
    }

    /// Whether an event of this site comes after it. Ids begin anew after TRUNCATE, and then the time
    /// says it: an event may come once more, and none is passed over. Of another site all come.
    pub(in crate::outbox) fn precedes(&self, here: &str, event: (u64, i64), at: u64) -> bool {
        match self {
            After::Id(id) => event.0 > *id,
            After::Event { site, id, stamp } => site != here || event.0 > *id || event.1 > *stamp,
            After::Position { site, position } => site != here || at > *position,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_an_event() {
        let after = |text: &str, event, at| After::parse(text).unwrap().precedes("here", event, at);
        assert!(after("0", (1, 50), 1) && !after("7", (7, 90), 9));
        assert!(!after("here/7.50", (7, 50), 1) && !after("here/7.50", (6, 49), 1));
        assert!(after("here/7.50", (8, 49), 1), "its statement began earlier");
        assert!(after("here/7.50", (1, 51), 1), "ids have begun anew");
        assert!(after("there/7.50", (1, 1), 1), "another site's");
        assert!(after("here/7.50/9", (1, 1), 10) && !after("here/7.50/9", (8, 60), 9));
        for wrong in ["an-hour-ago", "here/7", "here/7.x", "here/7.50/x", ""] {
            assert_eq!(After::parse(wrong), None, "{wrong}");
        }
    }
}
