//! Two thousand events a second, and the page is still there for whoever clicks.

use super::{page, until_live};
use harness::Daemon;
use std::thread;
use std::time::Duration;

/// Events in all, and how many of them at a time, so often: 2,000 a second for five seconds.
const EVENTS: u64 = 10_000;
const AT_ONCE: u64 = 40;
const PAUSE: Duration = Duration::from_millis(20);

/// The longest the page may be deaf, in milliseconds: generous, as other browsers share the processors in tests.
const DEAF_MAX: f64 = 2000.0;

/// Notes how long it takes from one frame to the next.
const METER: &str = "window.gaps = []; (() => { let before = performance.now(); const next = now => { \
                     gaps.push(now - before); before = now; requestAnimationFrame(next); }; requestAnimationFrame(next); })()";

fn flood(daemon: &Daemon) -> thread::JoinHandle<()> {
    let mut terminal = daemon.terminal().hello();
    thread::spawn(move || {
        for n in 0..EVENTS / AT_ONCE {
            let line = |m: u64| {
                let id = n * AT_ONCE + m;
                let payload = format!(
                    "{{\"before\":null,\"after\":{{\"id\":{id},\"customer\":\"Ada\",\"total\":12.50}},\
                     \"source\":{{\"db\":\"shop\",\"table\":\"orders\"}},\"op\":\"c\",\"ts_ms\":1795752000123}}"
                );
                format!("PUB shop.orders.{} {}\r\n{payload}\r\n", id % 7, payload.len())
            };
            terminal.send((0..AT_ONCE).map(line).collect::<String>());
            thread::sleep(PAUSE);
        }
        terminal.barrier();
    })
}

#[test]
fn two_thousand_events_a_second_do_not_freeze_it() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    browser.value(METER);
    let flood = flood(&daemon);
    // Somebody pauses and goes on in the midst of it.
    browser.until("events come", "document.querySelectorAll('#rows tr').length > 100");
    browser.click("#pause");
    browser.until_shown("#events-note", "came since");
    browser.click("#pause");
    flood.join().unwrap();
    browser.until_shown("#heard-note", "10,000 events heard");
    let gaps = "gaps.sort((a, b) => a - b), [gaps.length, gaps.at(-1), gaps[Math.floor(gaps.length * 0.95)]]";
    let gaps = browser.value(gaps);
    println!("frames, longest, 95 % (ms): {gaps}");
    assert!(gaps[1].as_f64().unwrap() < DEAF_MAX, "{gaps}");
    assert!(browser.value("document.querySelectorAll('#rows tr').length").as_u64().unwrap() <= 200);
    assert_eq!(daemon.varz()["slow_consumers"], 0);
    // The meter can tell.
    browser.value("window.gaps.length = 0; new Promise(done => requestAnimationFrame(() => { const until = performance.now() + 2500; \
                   while (performance.now() < until); requestAnimationFrame(() => requestAnimationFrame(done)); }))");
    assert!(browser.value("Math.max(...gaps)").as_f64().unwrap() > DEAF_MAX);
}
