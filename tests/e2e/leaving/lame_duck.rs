//! The time between the news that the daemon leaves and its leaving: clients act on it, and SQL notices nothing.

use harness::nats_server::NatsServer;
use harness::{Daemon, Terminal};
use nix::sys::signal::Signal;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longer than any test takes: who waits for its end has failed.
const LONG: &str = "lame_duck = \"10m\"";

fn told(it: &mut Terminal) {
    let info = it.line();
    assert!(info.starts_with("INFO {") && info.contains("\"ldm\":true"), "{info}");
}

/// What a client does when it is told; the same of both.
fn finish_in_peace(mut it: Terminal, address: &str) {
    told(&mut it);
    assert!(TcpStream::connect(address).is_err(), "nobody new comes in");
    it.send("SUB work 2\r\nPUB work 4\r\nlast\r\n");
    it.expect("MSG work 2 4\r\nlast\r\n");
    it.barrier();
}

#[test]
fn clients_are_given_time_and_the_last_one_ends_it() {
    let reference = NatsServer::start("lame_duck_duration: \"10m\"\nlame_duck_grace_period: \"9m\"");
    let it = reference.terminal().hello();
    reference.child.signal(Signal::SIGUSR2);
    finish_in_peace(it, &reference.tcp);

    let folder = harness::folder();
    let mut daemon = Daemon::with_settings(folder.path(), LONG);
    let (it, mut other) = (daemon.terminal().hello(), daemon.terminal().hello());
    let mut old = daemon.terminal();
    old.send("CONNECT {\"verbose\":false}\r\n");
    old.barrier();
    let mut http = daemon.visit();
    assert_eq!(http.ask("GET /readyz", "", "").status, 200);
    daemon.child.signal(Signal::SIGTERM);
    finish_in_peace(it, &daemon.tcp);
    assert!(TcpStream::connect(&daemon.http).is_err(), "nobody new comes in");
    let ready = http.ask("GET /readyz", "", "");
    assert!(ready.status == 503 && ready.text().contains("rowcalld is leaving"), "{ready:?}");
    // One of two has hung up: the other still has its time. Those who cannot be told are not waited for.
    told(&mut other);
    other.barrier();
    old.barrier();
    drop(other);
    old.expect_closed();
    assert!(daemon.child.wait().success());
}

/// The socket of the SQL functions takes connections and is served until the daemon leaves in earnest.
#[test]
fn sql_is_served_meanwhile_and_not_waited_for() {
    let sql = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1,\"lang\":\"sql\"}\r\n";
    let folder = harness::folder();
    let mut daemon = Daemon::with_settings(folder.path(), LONG);
    let mut thread = Terminal::unix(&daemon.socket);
    thread.send(sql);
    thread.barrier();
    let mut worker = daemon.terminal().hello();
    worker.send("SUB work 1\r\n");
    worker.barrier();
    daemon.child.signal(Signal::SIGTERM);
    told(&mut worker);
    told(&mut thread);
    let mut another = Terminal::unix(&daemon.socket);
    assert!(another.info.contains("\"ldm\":true"), "{}", another.info);
    another.send(sql);
    for (thread, inbox) in [(&mut thread, "in.1"), (&mut another, "in.2")] {
        thread.send(format!("SUB {inbox} 1\r\nPUB work {inbox} 1\r\n?\r\n"));
        let request = worker.message();
        worker.answer(&request, "yes");
        assert_eq!(thread.message().text(), "yes");
    }
    drop(worker);
    thread.expect_closed();
    another.expect_closed();
    assert!(daemon.child.wait().success());
    // With nobody but SQL there is nothing to wait for.
    let mut daemon = Daemon::with_settings(folder.path(), LONG);
    let mut thread = Terminal::unix(&daemon.socket);
    thread.send(sql);
    thread.barrier();
    daemon.stop();
}

#[test]
fn a_second_signal_or_its_time_ends_it() {
    let folder = harness::folder();
    let mut daemon = Daemon::with_settings(folder.path(), LONG);
    let mut it = daemon.terminal().hello();
    daemon.child.signal(Signal::SIGTERM);
    told(&mut it);
    it.barrier();
    daemon.child.signal(Signal::SIGINT);
    it.expect_closed();
    drop(it);
    assert!(daemon.child.wait().success());

    let mut daemon = Daemon::with_settings(folder.path(), "lame_duck = \"300ms\"");
    let mut it = daemon.terminal().hello();
    let asked = Instant::now();
    daemon.child.signal(Signal::SIGTERM);
    told(&mut it);
    it.expect_closed();
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
    drop(it);
    assert!(daemon.child.wait().success());
}
