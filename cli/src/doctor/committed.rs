//! Committed mode: its tables, and whether a daemon reads them.

use super::finding::{Finding, Trouble};
use super::patient::Patient;
use super::unit;
use crate::monitor::Monitor;
use crate::output::events;
use crate::schema;
use crate::span;
use crate::status::FRESH_S;

const TABLES: [&str; 8] =
    ["consumers", "edition", "outbox", "parked", "pending", "retries", "site", "status"];

/// No such schema or table.
const ABSENT: [u32; 2] = [1049, 1146];

pub(super) fn tables(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    match patient.value("SELECT number FROM rowcall.edition") {
        Ok(_) => {}
        Err(Trouble::Sql(error)) if ABSENT.contains(&error.number) => {
            let old = patient.settings.is_old();
            let advice = if old { "" } else { "If you want it: rowcall install --outbox FILE" };
            return Ok(vec![Finding::note("committed mode is not set up on this server", advice)]);
        }
        Err(trouble) => return Err(trouble),
    }
    if let Err(failure) = schema::check(patient.sql()) {
        return Ok(vec![Finding::failure(&failure)]);
    }
    let engines: Vec<[String; 2]> = patient.rows(
        "SELECT TABLE_NAME, COALESCE(ENGINE, 'none') FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'rowcall'",
    )?;
    Ok(wrong_tables(&engines))
}

fn wrong_tables(engines: &[[String; 2]]) -> Vec<Finding> {
    let engine =
        |name: &str| engines.iter().find(|[table, _]| table == name).map(|[_, engine]| engine.as_str());
    let wrong = TABLES.iter().filter_map(|name| match engine(name) {
        Some("InnoDB") => None,
        None => Some(Finding::fault(
            format!("the table rowcall.{name} is missing, or this account may not see it."),
            "sql/schema.sql may be run again: it adds what is missing.",
        )),
        Some(engine) => Some(Finding::fault(
            format!("the table rowcall.{name} is of the engine {engine}, which has no transactions: what is rolled back would stay."),
            format!("ALTER TABLE rowcall.{name} ENGINE = InnoDB"),
        )),
    });
    let wrong: Vec<Finding> = wrong.collect();
    if wrong.is_empty() { vec![Finding::ok("those of committed mode, all InnoDB")] } else { wrong }
}

/// Whether a daemon reads the outbox of this server.
pub(super) fn is_read(patient: &mut Patient) -> bool {
    !patient.settings.is_read_only()
        && patient.has_tables()
        && schema::is_read(patient.sql()).unwrap_or(false)
}

/// The reader, and how fresh the numbers are that it writes down.
pub(super) fn reader(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    if !patient.has_tables() || patient.settings.is_read_only() {
        return Ok(Vec::new());
    }
    let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
    let waiting =
        number(patient.value("SELECT COUNT(*) FROM (SELECT 1 FROM rowcall.outbox LIMIT 100000) AS o")?);
    let waiting = events(waiting.unwrap_or_default());
    if !schema::is_read(patient.sql())? {
        return Ok(vec![unread(patient, &waiting)]);
    }
    let age = patient.value(
        "SELECT GREATEST(TIMESTAMPDIFF(SECOND, refreshed_at, NOW(6)), 0) FROM rowcall.status WHERE consumer = ''",
    )?;
    let mut findings = vec![match number(age) {
        Some(age) if age > FRESH_S => Finding::warning(
            format!("a daemon has the outbox, and has written nothing down for {}.", span::age(age)),
            "Its log says what it waits for; a daemon that hangs is replaced by another one that stands by.",
        ),
        Some(_) => Finding::ok(format!("a daemon reads the outbox; {waiting} in it")),
        None => Finding::unseen(
            format!("a daemon has the outbox, {waiting} in it; when it last wrote anything down is not told"),
            "",
        ),
    }];
    findings.extend(parked(patient).unwrap_or_else(|trouble| Some(trouble.into())));
    Ok(findings)
}

/// Why no daemon reads, as far as the daemon and systemd say.
fn unread(patient: &Patient, waiting: &str) -> Finding {
    let why = Monitor::why_unread(&patient.http, &patient.daemon);
    let why = why.map(|why| format!(" rowcalld says: {why}")).unwrap_or_default();
    let found = format!("no daemon reads the outbox: {waiting} in it, and nothing is delivered.{why}");
    let advice = "rowcalld --outbox FILE, or `outbox` in its configuration; `rowcall install --outbox FILE` writes the \
                  file, which the daemon's account must be able to read; it looks again every two seconds.";
    let unit = unit::told().map(|told| format!(" {told}")).unwrap_or_default();
    Finding::fault(found, format!("{advice}{unit}"))
}

/// There may be millions, which nobody wants counted.
fn parked(patient: &mut Patient) -> Result<Option<Finding>, Trouble> {
    let count = patient.value("SELECT COUNT(*) FROM (SELECT 1 FROM rowcall.parked LIMIT 1000) AS p")?;
    let count = count.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let more = if count == 1000 { "or more " } else { "" };
    Ok((count > 0).then(|| {
        Finding::note(
            format!("{} {more}given up", events(count)),
            "rowcall parked list says why, rowcall parked retry sends them again.",
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn each_table_is_there_and_has_transactions() {
        let mut engines: Vec<[String; 2]> = TABLES.map(|name| [name.into(), "InnoDB".into()]).into();
        assert_eq!(wrong_tables(&engines)[0].level, Level::Ok);
        engines[2][1] = "MyISAM".into();
        engines.remove(0);
        let found: Vec<String> = wrong_tables(&engines).into_iter().map(|finding| finding.found).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("consumers is missing") && found[1].contains("MyISAM"), "{found:?}");
    }
}
