//! The server's settings, and what they make of the promises. What is concluded from them is pure.

use super::finding::{Finding, Trouble};
use super::patient::Patient;
use rowcall_mysql::{Connection, Error};
use std::collections::BTreeMap;

/// Settings by their names, as far as this server has them.
#[derive(Default)]
pub(crate) struct Settings(BTreeMap<String, String>);

/// Those that matter here.
const NAMES: [&str; 17] = [
    "binlog_format",
    "datadir",
    "hostname",
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "pid_file",
    "plugin_dir",
    "read_only",
    "slave_run_triggers_for_rbr",
    "super_read_only",
    "sync_binlog",
    "thread_cache_size",
    "thread_handling",
    "transaction_isolation",
    "tx_isolation",
    "version",
    "version_comment",
];

impl Settings {
    pub(crate) fn of(sql: &mut Connection) -> Result<Settings, Error> {
        let names: Vec<String> = NAMES.iter().map(|name| rowcall_mysql::quoted(name)).collect();
        let names = names.join(", ");
        let rows = sql.texts(format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})"))?;
        Ok(Settings(
            rows.into_iter()
                .filter_map(|row| row.try_into().ok())
                .map(|[name, value]: [String; 2]| (name, value))
                .collect(),
        ))
    }

    /// One of them; empty if this server has none of that name.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn is_on(&self, name: &str) -> bool {
        ["ON", "1", "YES"].contains(&self.get(name))
    }

    pub(crate) fn is_mariadb(&self) -> bool {
        self.get("version").contains("MariaDB")
    }

    /// Committed mode needs MySQL 8.0 or MariaDB 10.6.
    pub(crate) fn is_old(&self) -> bool {
        self.get("version").starts_with("5.")
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.is_on("read_only") || self.is_on("super_read_only")
    }

    fn server(&self) -> Finding {
        let name = if self.is_mariadb() { "" } else { "MySQL " };
        let found = format!("{name}{} on {}", self.get("version"), self.get("hostname"));
        if self.is_old() {
            return Finding::note(
                format!("{found}: only the instant functions work there"),
                "Committed mode and `rowcall watch` need MySQL 8.0 or MariaDB 10.6.",
            );
        }
        if self.is_read_only() {
            return Finding::note(
                format!("{found}, read-only: events of committed mode are read at its source"),
                "",
            );
        }
        Finding::ok(found)
    }

    fn durability(&self) -> Vec<Finding> {
        let flush = self.get("innodb_flush_log_at_trx_commit");
        let sync = self.get("sync_binlog");
        let lost = "a crash of the server may take back what was committed in the last second, and its events \
                    may have left by then";
        let mut findings = Vec::new();
        if flush != "1" {
            let found = format!("innodb_flush_log_at_trx_commit is {flush}: {lost}.");
            findings.push(Finding::warning(
                found,
                "SET GLOBAL innodb_flush_log_at_trx_commit = 1, and in my.cnf",
            ));
        }
        if self.is_on("log_bin") && sync != "1" {
            let found = format!("sync_binlog is {sync}: {lost}.");
            findings.push(Finding::warning(found, "SET GLOBAL sync_binlog = 1, and in my.cnf"));
        }
        if findings.is_empty() && !self.is_on("log_bin") {
            let found = "innodb_flush_log_at_trx_commit is 1; without a binary log an event may leave about 0.1 ms \
                         before its transaction is on disk.";
            findings.push(Finding::note(found, ""));
        }
        if findings.is_empty() {
            findings.push(Finding::ok("what is committed survives a crash of the server"));
        }
        findings
    }

    fn binary_log(&self) -> Finding {
        let runs_triggers = self.get("slave_run_triggers_for_rbr");
        if runs_triggers == "ENFORCE" {
            return Finding::warning(
                "slave_run_triggers_for_rbr is ENFORCE: on a replica triggers fire once more, and announce \
                 everything twice.",
                "Set it to NO, unless other triggers need it.",
            );
        }
        if !self.is_on("log_bin") {
            return Finding::ok("off: nothing is replicated from here");
        }
        match self.get("binlog_format") {
            "STATEMENT" => Finding::warning(
                "binlog_format is STATEMENT: on replicas triggers fire once more and announce everything twice, \
                 and events may have other numbers there.",
                "SET GLOBAL binlog_format = 'ROW' (or MIXED), and in my.cnf",
            ),
            // MySQL 9 may have done away with the setting, and logs rows.
            format => Finding::ok(format!(
                "{}: triggers fire on the source only",
                if format.is_empty() { "ROW" } else { format }
            )),
        }
    }

    fn isolation(&self) -> Finding {
        let level = [self.get("transaction_isolation"), self.get("tx_isolation")].concat();
        if !self.is_mariadb() && level == "REPEATABLE-READ" {
            return Finding::note(
                "REPEATABLE-READ: a transaction that publishes and rolls back to a savepoint, or one of whose \
                 statements fails, makes others wait that publish, until it ends (MySQL does so with any \
                 AUTO_INCREMENT).",
                "READ-COMMITTED in sessions that publish avoids it.",
            );
        }
        if level.is_empty() {
            return Finding::unseen("the server does not tell its isolation level", "");
        }
        Finding::ok(level)
    }

    fn threads(&self) -> Finding {
        if !["one-thread-per-connection", "no-threads"].contains(&self.get("thread_handling")) {
            return Finding::warning(
                format!(
                    "thread_handling is {}: rowcall_request, rowcall_result and rowcall_wait hold a thread of the \
                     pool while they wait.",
                    self.get("thread_handling")
                ),
                "Let thread_pool_size be larger than the number of calls that wait at a time.",
            );
        }
        if self.get("thread_cache_size") == "0" {
            return Finding::note(
                "thread_cache_size is 0: each session has a new thread, and its first call connects to the daemon",
                "",
            );
        }
        Finding::ok(format!("one for each session; {} are kept", self.get("thread_cache_size")))
    }
}

pub(super) fn server(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    Ok(vec![patient.settings.server()])
}

/// Only committed mode promises anything that it matters for.
pub(super) fn durability(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    Ok(if patient.has_tables() { patient.settings.durability() } else { Vec::new() })
}

pub(super) fn binary_log(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    Ok(vec![patient.settings.binary_log()])
}

pub(super) fn isolation(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    Ok(if patient.has_tables() { vec![patient.settings.isolation()] } else { Vec::new() })
}

pub(super) fn threads(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    Ok(vec![patient.settings.threads()])
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn what_a_crash_may_take_back() {
        let levels = |flush, log_bin, sync| {
            let settings = settings(&[
                ("innodb_flush_log_at_trx_commit", flush),
                ("log_bin", log_bin),
                ("sync_binlog", sync),
            ]);
            settings.durability().iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels("1", "ON", "1"), [Level::Ok]);
        assert_eq!(levels("1", "OFF", "0"), [Level::Note]);
        assert_eq!(levels("2", "OFF", "0"), [Level::Warning]);
        assert_eq!(levels("1", "ON", "0"), [Level::Warning]);
        assert_eq!(levels("0", "ON", "1000"), [Level::Warning, Level::Warning]);
    }

    #[test]
    fn where_triggers_fire_twice() {
        let level = |pairs: &[(&str, &str)]| settings(pairs).binary_log().level;
        assert_eq!(level(&[("log_bin", "OFF"), ("binlog_format", "STATEMENT")]), Level::Ok);
        assert_eq!(level(&[("log_bin", "ON"), ("binlog_format", "STATEMENT")]), Level::Warning);
        assert_eq!(level(&[("log_bin", "ON"), ("binlog_format", "MIXED")]), Level::Ok);
        assert_eq!(level(&[("log_bin", "ON")]), Level::Ok);
        assert_eq!(level(&[("log_bin", "OFF"), ("slave_run_triggers_for_rbr", "ENFORCE")]), Level::Warning);
    }

    #[test]
    fn whose_threads_wait() {
        let level = |handling, cache| {
            settings(&[("thread_handling", handling), ("thread_cache_size", cache)]).threads().level
        };
        assert_eq!(level("one-thread-per-connection", "9"), Level::Ok);
        assert_eq!(level("one-thread-per-connection", "0"), Level::Note);
        assert_eq!(level("pool-of-threads", "9"), Level::Warning);
        assert_eq!(level("loaded-dynamically", "9"), Level::Warning);
    }

    #[test]
    fn what_may_be_expected_of_a_server() {
        let level = |pairs: &[(&str, &str)]| settings(pairs).server().level;
        assert_eq!(level(&[("version", "10.11.19-MariaDB"), ("read_only", "OFF")]), Level::Ok);
        assert_eq!(level(&[("version", "9.7.4"), ("super_read_only", "ON")]), Level::Note);
        assert_eq!(level(&[("version", "5.6.24")]), Level::Note);
    }

    #[test]
    fn isolation_matters_on_mysql() {
        let level = |version, name, level| settings(&[("version", version), (name, level)]).isolation().level;
        assert_eq!(level("9.7.4", "transaction_isolation", "REPEATABLE-READ"), Level::Note);
        assert_eq!(level("9.7.4", "transaction_isolation", "READ-COMMITTED"), Level::Ok);
        assert_eq!(level("10.11.19-MariaDB", "tx_isolation", "REPEATABLE-READ"), Level::Ok);
    }
}
