//! What the process takes of the machine, as the kernel tells it.

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};
use std::time::{Duration, Instant};

/// The share of a processor is taken over at least so long: over less it would be chance.
const SHARE_OVER: Duration = Duration::from_secs(1);

/// Processor time and memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Processor time of the whole run.
    pub(crate) processor: Duration,
    /// Hundredths of a processor, from the look before the latest one, which was at least a second
    /// before; over the whole run until there is one.
    pub(crate) percent: f64,
    /// Memory that is really there, in bytes.
    pub(crate) memory: u64,
    since: Instant,
    before: Duration,
}

impl Usage {
    /// A run begins.
    pub(crate) fn new(now: Instant) -> Usage {
        Usage { processor: Duration::ZERO, percent: 0.0, memory: 0, since: now, before: Duration::ZERO }
    }

    /// Asks the kernel. It is not a file on a disk that is read, so this does not block.
    pub(crate) fn look(&mut self, now: Instant) {
        self.processor = processor_time();
        self.memory = memory();
        let over = now.saturating_duration_since(self.since);
        if over >= SHARE_OVER {
            let used = self.processor.saturating_sub(self.before);
            self.percent = 100.0 * used.as_secs_f64() / over.as_secs_f64();
            (self.since, self.before) = (now, self.processor);
        }
    }
}

fn processor_time() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000))
        .sum()
}

fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    pages.unwrap_or(0) * size.unwrap_or(0) as u64
}
