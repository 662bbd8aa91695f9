//! The proof: SQL asks, this command answers as a worker would, and both are timed. And the daemon, which they
//! meet at.

use super::finding::{Finding, Trouble};
use super::functions;
use super::patient::Patient;
use crate::client::{Client, Next};
use crate::failure::Failure;
use crate::request::random;
use rowcall_mysql::{Connection, Error, quoted};
use rowcall_wire::Message;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// The subscription: the only one of its connection.
const SID: u64 = 1;

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
        Err(failure) => return Ok(vec![Finding::failure(&failure)]),
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

/// Times what SQL does, while a thread answers.
pub(super) fn measure(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let not = |why: &str| Ok(vec![Finding::note(format!("not measured: {why}"), "")]);
    if patient.status().is_none() {
        return not("the functions are not installed");
    }
    let Ok(client) = Client::connect(&patient.daemon) else {
        return not("this command cannot reach the daemon");
    };
    let subject = format!("rowcall.doctor.{:016x}", random());
    let heard = match answer(client, &subject) {
        Ok(heard) => heard,
        Err(failure) => return Ok(vec![Finding::failure(&failure)]),
    };
    let mut session = patient.connect()?;
    let mut findings = vec![request(&mut session, &subject)?];
    if patient.has_tables() && !patient.settings.is_read_only() {
        findings.push(committed(&mut session, &subject, &heard)?);
    }
    Ok(findings)
}

/// Answers whatever is asked below the subject, and tells when something else came. It ends with the command.
fn answer(mut client: Client, subject: &str) -> Result<Receiver<Instant>, Failure> {
    client.subscribe(&format!("{subject}.>"), None, SID)?;
    client.flush()?;
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || while answer_next(&mut client, &tell).is_some() {});
    Ok(heard)
}

fn answer_next(client: &mut Client, tell: &Sender<Instant>) -> Option<()> {
    let Ok(Next::Message(message)) = client.next(None) else { return None };
    match &message.reply {
        Some(reply) => client.publisher().publish(&Message::plain(reply, b"here")).ok(),
        None => tell.send(Instant::now()).ok(),
    }
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
    Ok(Finding::fault(format!("SQL asked and got no answer: {found} ({reason})."), advice))
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

/// How long after COMMIT an event is heard.
fn committed(session: &mut Connection, subject: &str, heard: &Receiver<Instant>) -> Result<Finding, Trouble> {
    session.query("SET autocommit = 1")?;
    session.query(format!("CALL rowcall.publish({}, '')", quoted(&format!("{subject}.committed"))))?;
    let committed = Instant::now();
    Ok(match heard.recv_timeout(PATIENCE) {
        Ok(at) => Finding::ok(format!(
            "a committed event was heard {} after its COMMIT had returned",
            shown(at.saturating_duration_since(committed))
        )),
        Err(_) => Finding::fault(
            format!(
                "a committed event was not heard within {} s; it waits in its table.",
                PATIENCE.as_secs()
            ),
            "See `reader` above, and whether this command speaks to the daemon that reads.",
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
