//! rowcalld against nats-server: processor time for each published message, in the modes and with
//! the goals that the project set itself. 128-byte payloads.

use crate::load::{self, Connection, Place};
use crate::peers::{ALL, Peers, Who};
use crate::report;
use harness::process;
use std::thread;
use std::time::{Duration, Instant};

/// How often each mode is run with each of the three.
const ROUNDS: usize = 7;

const SIZE: usize = 128;

/// One mode: what it is called, how it runs, and its goals over TCP and over the Unix socket.
struct Mode {
    name: &'static str,
    run: fn(&Place, u64) -> Figures,
    /// Messages in one run.
    count: u64,
    goal_tcp: f64,
    goal_unix: f64,
}

/// What one run shows besides processor time.
pub struct Figures {
    /// Messages published.
    pub messages: u64,
    /// Latencies in microseconds, where they are measured.
    latencies: Vec<f64>,
}

const MODES: [Mode; 6] = [
    Mode {
        name: "pub, nobody subscribed",
        run: publish_only,
        count: 4_000_000,
        goal_tcp: 0.50,
        goal_unix: 0.50,
    },
    Mode {
        name: "pubsub 1 -> 1",
        run: |place, n| fan_out(place, n, 1),
        count: 1_500_000,
        goal_tcp: 0.40,
        goal_unix: 0.35,
    },
    Mode {
        name: "pubsub 1 -> 10",
        run: |place, n| fan_out(place, n, 10),
        count: 300_000,
        goal_tcp: 0.35,
        goal_unix: 0.35,
    },
    Mode { name: "queue group of 4", run: queue_group, count: 1_500_000, goal_tcp: 0.35, goal_unix: 0.25 },
    Mode {
        name: "request/reply, 16 clients",
        run: request_reply,
        count: 60_000,
        goal_tcp: 0.50,
        goal_unix: 0.30,
    },
    Mode { name: "1000 events/s -> 1", run: paced, count: 2_000, goal_tcp: 0.30, goal_unix: 0.20 },
];

pub fn run() {
    report::heading(
        "rowcalld / nats-server: CPU for each published message (median of the ratios of neighbouring runs)",
    );
    let peers = Peers::start();
    for mode in &MODES {
        let mut cpu = [const { Vec::new() }; 3];
        let mut rate = [const { Vec::new() }; 3];
        let mut p50 = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (n, who) in ALL.into_iter().enumerate() {
                let (before, start) = (process::nanoseconds(peers.pid(who)), Instant::now());
                let figures = (mode.run)(&peers.place(who), mode.count);
                let spent = process::nanoseconds(peers.pid(who)) - before;
                cpu[n].push(spent as f64 / 1000.0 / figures.messages as f64);
                rate[n].push(figures.messages as f64 / start.elapsed().as_secs_f64());
                if !figures.latencies.is_empty() {
                    p50[n].push(report::median(&figures.latencies));
                }
            }
        }
        for (n, goal) in [(1, mode.goal_tcp), (2, mode.goal_unix)] {
            let (ratio, least, greatest) = report::ratio(&cpu[n], &cpu[0]);
            let transport = if ALL[n] == Who::Tcp { "TCP" } else { "Unix" };
            let (ours, theirs) = (report::median(&cpu[n]), report::median(&cpu[0]));
            let (rate, _, _) = report::ratio(&rate[n], &rate[0]);
            let mut beside =
                format!("{least:.2}..{greatest:.2}; {ours:.3} / {theirs:.3} us; rate x {rate:.2}");
            if !p50[n].is_empty() {
                beside +=
                    &format!("; p50 {:.0} / {:.0} us", report::median(&p50[n]), report::median(&p50[0]));
            }
            report::at_most(&format!("{}, {transport}", mode.name), ratio, goal, &beside);
        }
    }
}

fn publish_only(place: &Place, count: u64) -> Figures {
    let mut publisher = Connection::open(place);
    load::publish(&mut publisher, "bench.nobody", count, SIZE);
    Figures { messages: count, latencies: Vec::new() }
}

fn subscribers(place: &Place, count: usize, queue: &str) -> Vec<Connection> {
    let subscribe = |_| {
        let mut subscriber = Connection::open(place);
        subscriber.subscribe(&format!("bench.stream{queue}"));
        subscriber
    };
    (0..count).map(subscribe).collect()
}

pub fn fan_out(place: &Place, count: u64, subscribers_count: usize) -> Figures {
    let mut subscribers = subscribers(place, subscribers_count, "");
    let mut publisher = Connection::open(place);
    thread::scope(|scope| {
        let heard = scope.spawn(|| load::hear(&mut subscribers, count * subscribers_count as u64));
        load::publish(&mut publisher, "bench.stream", count, SIZE);
        let heard = heard.join().expect("nothing was lost or out of order");
        assert!(heard.counts.iter().all(|&n| n == count));
    });
    Figures { messages: count, latencies: Vec::new() }
}

fn queue_group(place: &Place, count: u64) -> Figures {
    let mut members = subscribers(place, 4, " group");
    let mut publisher = Connection::open(place);
    thread::scope(|scope| {
        let heard = scope.spawn(|| load::hear(&mut members, count));
        load::publish(&mut publisher, "bench.stream", count, SIZE);
        let heard = heard.join().expect("nothing was out of order");
        assert_eq!(heard.sum, count * (count - 1) / 2, "each message was heard once");
    });
    Figures { messages: count, latencies: Vec::new() }
}

/// Sixteen requesters, each with one request under way, and one worker that gives back what it gets.
fn request_reply(place: &Place, count: u64) -> Figures {
    const CLIENTS: usize = 16;
    let mut worker = Connection::open(place);
    worker.subscribe("bench.echo");
    let mut clients: Vec<Connection> = (0..CLIENTS).map(|_| Connection::open(place)).collect();
    let latencies = thread::scope(|scope| {
        scope.spawn(|| echo(&mut worker, count));
        ask(&mut clients, count)
    });
    Figures { messages: count, latencies }
}

/// All requesters, on one thread: it costs the machine less than sixteen.
fn ask(clients: &mut [Connection], count: u64) -> Vec<f64> {
    let inbox = |n: usize| format!("_INBOX.bench{n}");
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&inbox(n));
    }
    let request = |n: usize, number: u64| {
        [format!("PUB bench.echo {} {SIZE}\r\n", inbox(n)).as_bytes(), &load::payload(number, SIZE), b"\r\n"]
            .concat()
    };
    let mut asked = vec![(0, Instant::now()); clients.len()];
    let mut latencies = Vec::new();
    let mut next = 0;
    for (n, client) in clients.iter_mut().enumerate() {
        asked[n] = (next, Instant::now());
        client.send(&request(n, next));
        next += 1;
    }
    while (latencies.len() as u64) < count {
        for n in load::ready(clients) {
            assert!(clients[n].read() > 0, "the server hung up");
            let mut answer = None;
            clients[n].messages(|payload| answer = Some(load::number(payload)));
            let Some(answer) = answer else { continue };
            assert_eq!(answer, asked[n].0);
            latencies.push(asked[n].1.elapsed().as_secs_f64() * 1e6);
            if next < count {
                asked[n] = (next, Instant::now());
                clients[n].send(&request(n, next));
                next += 1;
            }
        }
    }
    latencies
}

fn echo(worker: &mut Connection, count: u64) {
    let mut done = 0;
    while done < count {
        assert!(worker.read() > 0, "the server hung up");
        let mut replies = Vec::new();
        worker.requests(|reply, payload| {
            replies.extend_from_slice(format!("PUB {reply} {}\r\n", payload.len()).as_bytes());
            replies.extend_from_slice(payload);
            replies.extend_from_slice(b"\r\n");
            done += 1;
        });
        worker.send(&replies);
    }
}

/// One event a millisecond, from one publisher to one subscriber.
pub fn paced(place: &Place, count: u64) -> Figures {
    let mut subscriber = Connection::open(place);
    subscriber.subscribe("bench.stream");
    let mut publisher = Connection::open(place);
    let epoch = Instant::now();
    let latencies = thread::scope(|scope| {
        let heard = scope.spawn(move || {
            let mut latencies = Vec::new();
            while (latencies.len() as u64) < count {
                assert!(subscriber.read() > 0, "the server hung up");
                let now = epoch.elapsed();
                subscriber.messages(|payload| {
                    latencies.push((now - Duration::from_nanos(load::number(payload))).as_secs_f64() * 1e6);
                });
            }
            latencies
        });
        let head = format!("PUB bench.stream {SIZE}\r\n");
        for n in 0..count {
            let due = Duration::from_millis(n);
            thread::sleep(due.saturating_sub(epoch.elapsed()));
            let now = epoch.elapsed().as_nanos() as u64;
            publisher.send(&[head.as_bytes(), &load::payload(now, SIZE), b"\r\n"].concat());
        }
        heard.join().expect("every event is heard")
    });
    Figures { messages: count, latencies }
}
