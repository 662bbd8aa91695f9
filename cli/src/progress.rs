//! How far long work has come, for whoever waits at a terminal; anybody else sees nothing of it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// Work that is over sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar on stderr; it goes away with its value.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: std::time::Instant,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} {wide_msg}");
        // The template is ours and sound; a test makes one.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress { bar, begun: std::time::Instant::now() }
    }

    /// So much is done; these words say what is next.
    pub(crate) fn at(&self, done: u64, words: &str) {
        if self.begun.elapsed() >= PATIENCE {
            self.bar.set_message(words.to_owned());
            self.bar.set_position(done);
        }
    }

    /// Writes to stdout, without the bar in between.
    pub(crate) fn without<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_sound() {
        assert!(ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} {wide_msg}").is_ok());
        let progress = Progress::new(3);
        progress.at(1, "one");
        assert_eq!(progress.without(|| 7), 7);
    }
}
