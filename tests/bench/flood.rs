//! Crowds at the doors while publishing goes on: connections that come and go, that never say
//! anything, that say it a byte at a time. The same crowd before another server on this machine is the
//! measure: what it costs there is the machine's.

use crate::load::Place;
use crate::peers::Peers;
use crate::report;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections that come and go during one run.
const COMING: usize = 20_000;

/// How fast they come: a thousand clients that lost their server come back within a second or two.
const COMING_EACH: Duration = Duration::from_micros(300);

/// Connections that stay and never say anything.
const SILENT: usize = 2_000;

/// Connections that send a byte at a time, on each port.
const DRIPPING: usize = 400;

/// How often each of them does.
const DRIP: Duration = Duration::from_millis(100);

const COUNT: u64 = 3_000_000;
const ROUNDS: usize = 3;

/// The goal: publishing goes on within 20 % of its speed, the machine's share in it taken off.
const GOAL: f64 = 0.8;

/// What a crowd does: to these addresses, until it is told to stop. It says when all of it has come, and in
/// the end how many that were.
type Crowd = fn(&[String], &AtomicBool, &AtomicBool) -> usize;

const CROWDS: [(&str, Crowd); 3] = [
    ("20,000 connections that come and go", come_and_go),
    ("2,000 silent ones", silent),
    ("800 that drip", drip),
];

pub fn run() {
    report::heading(
        "crowds at the doors, TCP and HTTP, while 1 -> 1 is published: the rate over that beside the same crowd before nats-server",
    );
    let peers = Peers::start();
    let place = Place::Tcp(peers.ours.tcp.clone());
    let ours = [peers.ours.tcp.clone(), peers.ours.http.clone()];
    let theirs = [peers.nats.tcp.clone()];
    for (name, crowd) in CROWDS {
        let (mut quiet, mut here, mut elsewhere, mut came) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            quiet.push(stream(&place));
            let (rate, count) = beside(crowd, &ours, &place);
            here.push(rate);
            came = count;
            elsewhere.push(beside(crowd, &theirs, &place).0);
        }
        let (ratio, least, greatest) = report::ratio(&here, &elsewhere);
        let over_quiet = report::ratio(&here, &quiet).0;
        let note =
            format!("{least:.2}..{greatest:.2}; {came} came; over the rate without a crowd: {over_quiet:.2}");
        report::at_least(name, ratio, GOAL, &note);
    }
}

/// Messages a second.
fn stream(place: &Place) -> f64 {
    let start = Instant::now();
    crate::streams::fan_out(place, COUNT, 1);
    COUNT as f64 / start.elapsed().as_secs_f64()
}

/// Messages a second while the crowd is there, all of it; and how many it were.
fn beside(crowd: Crowd, addresses: &[String], place: &Place) -> (f64, usize) {
    let (stop, all_there) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd(addresses, &all_there, &stop));
        let mut rates = vec![stream(place)];
        while !all_there.load(Ordering::Relaxed) {
            rates.push(stream(place));
        }
        stop.store(true, Ordering::Relaxed);
        (report::median(&rates), crowd.join().expect("the doors are open"))
    })
}

fn come_and_go(addresses: &[String], all_there: &AtomicBool, _: &AtomicBool) -> usize {
    let start = Instant::now();
    for came in 1..=COMING {
        drop(open(&addresses[came % addresses.len()]));
        thread::sleep((COMING_EACH * came as u32).saturating_sub(start.elapsed()));
    }
    all_there.store(true, Ordering::Relaxed);
    COMING
}

fn silent(addresses: &[String], all_there: &AtomicBool, stop: &AtomicBool) -> usize {
    let there: Vec<_> = (0..SILENT).map(|n| open(&addresses[n % addresses.len()])).collect();
    all_there.store(true, Ordering::Relaxed);
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(DRIP);
    }
    there.len()
}

/// Each says one operation, or one request, over and over, a byte at a time.
fn drip(addresses: &[String], all_there: &AtomicBool, stop: &AtomicBool) -> usize {
    let words = [&b"PUB a.b.c.d 5\r\nhello\r\n"[..], b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"];
    let mut sent = 0;
    let mut there: Vec<_> = (0..DRIPPING * addresses.len())
        .map(|n| (open(&addresses[n % addresses.len()]), words[n % addresses.len()]))
        .collect();
    all_there.store(true, Ordering::Relaxed);
    while !stop.load(Ordering::Relaxed) {
        // One that was sent away for taking too long stays away.
        there.retain_mut(|(stream, words)| stream.write_all(&words[sent % words.len()..][..1]).is_ok());
        sent += 1;
        thread::sleep(DRIP);
    }
    there.len()
}

fn open(address: &str) -> TcpStream {
    TcpStream::connect(address).expect("the door is open")
}
