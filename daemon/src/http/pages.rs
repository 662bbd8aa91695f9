//! The pages about the daemon: `/healthz` and `/varz`.

use super::answer::Answer;
use crate::Daemon;

/// Their paths.
pub(super) const PATHS: [&str; 2] = ["/healthz", "/varz"];

impl Daemon {
    /// The page of this path.
    pub(super) fn page(&self, path: &str) -> Answer<'static> {
        match path {
            "/healthz" => Answer::json("{\"status\":\"ok\"}\n"),
            "/varz" => Answer::json(self.varz()),
            _ => Answer::text(404, "there is no such page"),
        }
    }

    fn varz(&self) -> String {
        self.stats.to_json(
            &self.server_id,
            self.clients.len() - self.http.open,
            self.subscriptions.len(),
            self.outbox_json(),
            self.mail.to_json(),
            self.http_json(),
        )
    }
}
