//! What connections cost that do nothing: memory for each, and whether an event costs more beside
//! many of them than beside few. Each has one subscription of its own, which nothing matches.

use crate::load::{Connection, Place};
use crate::report;
use crate::streams;
use harness::{Daemon, process};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

const FEW: usize = 10;

/// As many as the limit of open files allows, up to this: the goals speak of 19,000.
const MANY: usize = 19_000;

/// Descriptors for everything else.
const OTHERS: u64 = 64;

const ROUNDS: usize = 7;

/// A daemon and the connections that do nothing.
struct Crowded {
    daemon: Daemon,
    idle: Vec<Connection>,
    _folder: TempDir,
}

pub fn run() {
    let many = possible();
    report::heading(&format!("{many} idle connections beside {FEW}, over TCP"));
    let mut few = Crowded::start();
    few.add(FEW);
    let mut crowd = Crowded::start();
    crowd.add(FEW);
    let before = process::resident(crowd.daemon.child.pid());
    let opening = process::nanoseconds(crowd.daemon.child.pid());
    crowd.add(many - FEW);
    let opened = (many - FEW) as f64;
    let memory = (process::resident(crowd.daemon.child.pid()) - before) as f64 / opened / 1024.0;
    report::at_most("memory for an idle connection, KiB", memory, 1.5, "");
    let opening = (process::nanoseconds(crowd.daemon.child.pid()) - opening) as f64 / opened / 1000.0;
    report::plain("CPU to open one, us", opening, "CONNECT, PING, SUB, PING");
    let resident = process::resident(crowd.daemon.child.pid()) as f64 / 1048576.0;
    report::plain("memory of the whole daemon, MiB", resident, "");
    compare("1 -> 1 stream", &few, &crowd, |place| streams::fan_out(place, 500_000, 1).messages);
    compare("1000 events/s", &few, &crowd, |place| streams::paced(place, 2_000).messages);
    assert_eq!((few.idle.len(), crowd.idle.len()), (FEW, many));
}

fn compare(name: &str, few: &Crowded, crowd: &Crowded, load: impl Fn(&Place) -> u64) {
    let mut costs = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (n, who) in [few, crowd].into_iter().enumerate() {
            let before = process::nanoseconds(who.daemon.child.pid());
            let messages = load(&Place::Tcp(who.daemon.tcp.clone()));
            costs[n].push(
                (process::nanoseconds(who.daemon.child.pid()) - before) as f64 / 1000.0 / messages as f64,
            );
        }
    }
    let (ratio, least, greatest) = report::ratio(&costs[1], &costs[0]);
    let beside = format!(
        "{least:.2}..{greatest:.2}; {:.3} / {:.3} us",
        report::median(&costs[1]),
        report::median(&costs[0])
    );
    report::at_most(&format!("{name}: CPU for an event, many over few"), ratio, 1.25, &beside);
}

impl Crowded {
    fn start() -> Crowded {
        let folder = harness::folder();
        // What HTTP does not need of the descriptors is left for these.
        let daemon = Daemon::with_settings(folder.path(), "max_http_connections = 16\n");
        Crowded { daemon, idle: Vec::new(), _folder: folder }
    }

    fn add(&mut self, count: usize) {
        for _ in 0..count {
            let mut connection = Connection::open(&Place::Tcp(self.daemon.tcp.clone()));
            connection.subscribe(&format!("bench.idle.{}", self.idle.len()));
            connection.forget_input();
            self.idle.push(connection);
        }
    }
}

/// How many connections this process may hold, and so the daemon.
fn possible() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the limit can be raised to what it may be");
    MANY.min(hard.saturating_sub(OTHERS) as usize)
}
