//! The proof: SQL asks, this command answers as a worker would, and both are timed. And the daemon, which they
//! meet at.

use super::committed;
use super::finding::{Finding, Level, Trouble};
use super::functions;
use super::patient::Patient;
use super::unit;
use crate::client::Client;
use crate::echo;
use crate::failure::Failure;
use crate::random;
use rowcall_mysql::{Connection, Error, quoted};
use rowcall_wire::subject;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

/// What helps who is not let in.
const LOGIN: &str =
    "Say who you are with ROWCALL_USER and ROWCALL_PASSWORD, with ROWCALL_TOKEN, or with a context.";

/// Requests that are timed, and those before them that are not.
const REQUESTS: usize = 20;
const WARM_UP: usize = 3;

/// After so long the functions look for a daemon again that they did not find; they do every 100 ms.
const BACK_OFF: Duration = Duration::from_millis(150);

/// How long SQL waits for each, and this command for an event.
const PATIENCE: Duration = Duration::from_secs(3);

/// The daemon, as this command finds it.
pub(super) fn daemon(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let client = match Client::connect(&patient.daemon) {
        Ok(client) => client,
        Err(failure) if failure.to_string().contains("Authorization") => {
            return Ok(vec![Finding::unseen(format!("it wants to know who asks: {failure}"), LOGIN)]);
        }
        Err(failure) => return Ok(vec![away(&failure)]),
    };
    Ok(vec![match client.daemon_version() {
        Some(version) => functions::versions(
            &format!("of version {version}"),
            version,
            "Upgrade both, and restart the daemon.",
        ),
        None => Finding::note(
            "what answers there is another server of the NATS client protocol, not rowcalld",
            "Committed mode, rowcall_submit and rowcall_result need rowcalld.",
        ),
    }])
}

/// It cannot be reached; systemd may know more.
fn away(failure: &Failure) -> Finding {
    let Finding { found, advice, .. } = Finding::failure(failure);
    Finding::fault(found, format!("{advice} {}", unit::told().unwrap_or_default()).trim())
}

/// Times what SQL does, while a thread answers.
pub(super) fn measure(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let not = |why: &str| Ok(vec![Finding::note(format!("not measured: {why}"), "")]);
    if patient.status().is_none() {
        return not("the functions are not installed");
    }
    let Ok(client) = Client::connect(&patient.daemon) else {
        return not("this command cannot reach the daemon");
    };
    let number = random::number().map_err(|failure| Trouble::Other(failure.to_string()))?;
    let subject = format!("rowcall.doctor.{number:016x}");
    let heard = match echo::start(client, &subject) {
        Ok(heard) => heard,
        Err(failure) => {
            let found = format!("not measured, as this command may not listen to {subject}.>: {failure}");
            return Ok(vec![Finding::unseen(found, LOGIN)]);
        }
    };
    let mut session = patient.connect()?;
    let request = request(&mut session, &subject)?;
    let is_answered = request.level == Level::Ok;
    let mut findings = vec![request];
    // What SQL may not publish would be parked.
    if is_answered && committed::is_read(patient) {
        let measured = committed(patient, &mut session, &subject, &heard);
        findings.push(measured.unwrap_or_else(Finding::from));
    }
    Ok(findings)
}

fn request(session: &mut Connection, subject: &str) -> Result<Finding, Trouble> {
    let subject = quoted(&format!("{subject}.ask"));
    let wait = PATIENCE.as_millis();
    let sql = format!("SELECT rowcall_request({subject}, '', {wait})");
    if session.value(&sql)?.is_none() {
        // It may know from a moment ago that there is no daemon.
        thread::sleep(BACK_OFF);
    }
    let mut times = Vec::new();
    for _ in 0..WARM_UP + REQUESTS {
        let asked = Instant::now();
        if session.value(&sql)?.is_none() {
            return Ok(no_answer(session)?);
        }
        times.push(asked.elapsed());
    }
    let time = median(times.split_off(WARM_UP));
    Ok(Finding::ok(format!(
        "SQL asked, the daemon passed it on, this command answered, SQL had it: {} (median of {REQUESTS})",
        shown(time)
    )))
}

/// Why SQL got none, and what to do about that.
fn no_answer(session: &mut Connection) -> Result<Finding, Error> {
    let reason = session.value("SELECT CONVERT(rowcall_last_error() USING utf8mb4)")?.unwrap_or_default();
    let errno =
        session.value("SELECT JSON_EXTRACT(CONVERT(rowcall_status() USING utf8mb4), '$.connect_errno')");
    let errno = errno.ok().flatten().unwrap_or_default();
    let (found, advice) = explained(&reason, &errno);
    let found = format!("SQL asked and got no answer: {found} ({reason}).");
    // What was forbidden on purpose is no fault.
    Ok(if reason == "forbidden" { Finding::note(found, advice) } else { Finding::fault(found, advice) })
}

fn explained(reason: &str, errno: &str) -> (String, &'static str) {
    let (found, advice) = match (reason, errno) {
        ("no_daemon", "2") => ("there is no socket where the functions look for it", "See `socket` above."),
        ("no_daemon", "13") => (
            "the server may not use the socket",
            "See `socket` and `confinement` above: group and mode of the socket, AppArmor, SELinux.",
        ),
        ("no_daemon", "111") => ("nobody listens on the socket", "Start rowcalld."),
        ("no_daemon", "88" | "91") => {
            ("what the functions look for is no stream socket", "See `socket` above.")
        }
        ("no_daemon", errno) => {
            let found = format!("the functions cannot connect (errno {errno})");
            return (found, "See `socket` above.");
        }
        ("no_responders", _) => (
            "the server's functions and this command speak to two different daemons",
            "Name the server's with --server (rowcall_status() shows its socket), or set ROWCALL_SOCKET for the server.",
        ),
        ("forbidden", _) => (
            "the daemon's file of users does not let SQL publish there",
            "Allow SQL to publish to rowcall.doctor.>, if this shall be measured.",
        ),
        ("refused", _) => (
            "the daemon refused the server's connection",
            "Its log says why: is the server's account among socket_peers?",
        ),
        ("stalled" | "timeout", _) => (
            "the daemon is there and does not answer in time",
            "Is it stopped, or the machine overloaded? Its log tells.",
        ),
        _ => ("something is wrong between them", "The daemon's log may tell."),
    };
    (found.to_owned(), advice)
}

/// How long after COMMIT an event is heard. None is published that a consumer would get: its workers would do
/// something with it.
fn committed(
    patient: &mut Patient,
    session: &mut Connection,
    subject: &str,
    heard: &Receiver<Instant>,
) -> Result<Finding, Trouble> {
    let subject = format!("{subject}.committed");
    let consumers: Vec<[String; 2]> = patient.rows("SELECT name, filter FROM rowcall.consumers")?;
    let wants = |[_, filter]: &&[String; 2]| subject::matches(filter.as_bytes(), subject.as_bytes());
    if let Some([name, _]) = consumers.iter().find(wants) {
        return Ok(Finding::note(
            format!("COMMIT until heard was not measured: the consumer {name} would get that event"),
            "",
        ));
    }
    session.query("SET autocommit = 1")?;
    session.query(format!("CALL rowcall.publish({}, '')", quoted(&subject)))?;
    let committed = Instant::now();
    Ok(match heard.recv_timeout(PATIENCE) {
        Ok(at) => Finding::ok(format!(
            "a committed event was heard {} after its COMMIT had returned",
            shown(at.saturating_duration_since(committed))
        )),
        Err(_) => Finding::fault(
            format!("a committed event ({subject}) was not heard within {} s.", PATIENCE.as_secs()),
            "See `reader` above; does this command speak to the daemon that reads? The event is in rowcall.outbox, or \
             rowcall parked list has it.",
        ),
    })
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn shown(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_one_counts() {
        let times = [5, 1, 9].map(Duration::from_micros).into();
        assert_eq!(median(times), Duration::from_micros(5));
        assert_eq!(shown(Duration::from_micros(214)), "0.21 ms");
    }

    #[test]
    fn each_reason_has_advice() {
        for (reason, errno) in [("no_daemon", "2"), ("no_daemon", "7"), ("forbidden", "0"), ("panic", "0")] {
            let (found, advice) = explained(reason, errno);
            assert!(!found.is_empty() && !advice.is_empty(), "{reason} {errno}");
        }
        assert!(explained("no_daemon", "7").0.contains("errno 7"));
    }
}
