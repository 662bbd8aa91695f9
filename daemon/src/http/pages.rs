//! The pages about the daemon, as answers. What they say stands in monitor.rs.

use super::answer::Answer;
use crate::Daemon;

/// Their paths.
pub(super) const PATHS: [&str; 6] = ["/healthz", "/readyz", "/varz", "/connz", "/subsz", "/metrics"];

impl Daemon {
    /// The page of this path, with what stands behind the question mark.
    pub(super) fn page(&mut self, path: &str, query: &str) -> Answer<'static> {
        match self.monitored(path, query) {
            Some(page) => Answer::page(page.status, page.kind, page.body),
            None => Answer::text(404, "there is no such page"),
        }
    }
}
