//! The settings of a session, all of those that our statements rely on. A server gives each new session
//! its global settings, and an administrator may set any of them for other reasons: after
//! `SET GLOBAL sql_select_limit = 1` a reader that inherits it sees one consumer, under
//! `completion_type = CHAIN` it commits nothing. So nothing is inherited: [`Session::assignments`] is the one
//! place that says how each session begins. The lists were read off MariaDB 10.11 and MySQL 9.7; what
//! stands in none of them changes speed, logs or the text of a message.

use crate::{Connection, Error};
use std::time::Duration;

/// The settings in which sessions of ours differ. The default is that of a command: strict, repeatable
/// reads (InnoDB refuses to write in READ COMMITTED where the binary log holds statements), and patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Refuse a value that does not fit its column; otherwise it is cut.
    pub strict: bool,
    /// How transactions see each other's rows.
    pub isolation: Isolation,
    /// The longest wait for a lock, of a row or of a table.
    pub lock_wait: Duration,
    /// The server ends a session that has said nothing for so long.
    pub idle: Duration,
    /// The server ends a session that has taken nothing of an answer for so long, or has stopped in the
    /// middle of a statement.
    pub stalled: Duration,
    /// The longest that a statement may take, where the server can limit it; `None` is no limit.
    pub statement: Option<Duration>,
}

/// Isolation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what is committed when it begins.
    ReadCommitted,
    /// Each transaction sees what is committed when it begins.
    RepeatableRead,
}

impl Default for Session {
    fn default() -> Self {
        Session {
            strict: true,
            isolation: Isolation::RepeatableRead,
            lock_wait: Duration::from_secs(50),
            idle: Duration::from_secs(8 * 3600),
            stalled: Duration::from_secs(60),
            statement: None,
        }
    }
}

/// Settings of every server. `autocommit` goes through 0, which commits what `init_connect` has begun. A
/// limit that a statement of ours passes is an error or, worse, fewer rows.
const EVERYWHERE: [&str; 28] = [
    "completion_type = 0",
    "autocommit = 0",
    "autocommit = 1",
    "time_zone = '+00:00'",
    "character_set_client = utf8mb4",
    "character_set_results = utf8mb4",
    "character_set_connection = utf8mb4",
    "collation_connection = utf8mb4_general_ci",
    "sql_select_limit = 18446744073709551615",
    "max_join_size = 18446744073709551615",
    "sql_big_selects = 1",
    "sql_safe_updates = 0",
    "sql_auto_is_null = 0",
    "sql_buffer_result = 0",
    "sql_quote_show_create = 1",
    "group_concat_max_len = 1048576",
    "div_precision_increment = 4",
    "max_sort_length = 1024",
    "sort_buffer_size = 2097152",
    "join_buffer_size = 262144",
    "tmp_table_size = 16777216",
    "max_heap_table_size = 16777216",
    "foreign_key_checks = 1",
    "unique_checks = 1",
    "old_alter_table = 0",
    "default_week_format = 0",
    "lc_time_names = 'en_US'",
    "net_retry_count = 1",
];

/// Settings that only MariaDB has. `DEFAULT` of `system_versioning_asof` is now, whatever is set globally.
const MARIADB: [&str; 13] = [
    "innodb_snapshot_isolation = 0",
    "max_session_mem_used = 9223372036854775807",
    "tmp_disk_table_size = 18446744073709551615",
    "query_cache_type = 0",
    "idle_transaction_timeout = 0",
    "idle_readonly_transaction_timeout = 0",
    "idle_write_transaction_timeout = 0",
    "system_versioning_asof = DEFAULT",
    "check_constraint_checks = 1",
    "sql_if_exists = 0",
    "old_passwords = 0",
    "join_cache_level = 2",
    "optimizer_max_sel_arg_weight = 32000",
];

/// Settings that only MySQL has, from 8.0 on. Not `explicit_defaults_for_timestamp`: it cannot be set in a
/// transaction, which `init_connect` may have begun (error 1766), so our tables say NULL or a default of each
/// TIMESTAMP.
const MYSQL: [&str; 2] = ["range_optimizer_max_mem_size = 8388608", "cte_max_recursion_depth = 1000"];

/// SQL modes. Neither has a mode in it that gives a quote or a backslash another meaning.
const STRICT: &str = "'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION'";
/// No mode at all; where an empty text is NULL, only the number says it.
const LAX: &str = "0";

/// A server does not know a setting (error 1193), or gives it to administrators only (1227). Nothing of the
/// lists was so on the servers that they were read off.
const NOT_HERE: [u32; 2] = [1193, 1227];

impl Session {
    /// The assignments for a server of this version, in their order.
    fn assignments(&self, version: &str) -> Vec<String> {
        let mode = if self.strict { STRICT } else { LAX };
        let (lock, idle, stalled) = (seconds(self.lock_wait), seconds(self.idle), seconds(self.stalled));
        let limit = self.statement.unwrap_or_default();
        let mut all = vec![format!("sql_mode = {mode}")];
        all.extend(EVERYWHERE.map(str::to_owned));
        all.extend(["innodb_lock_wait_timeout", "lock_wait_timeout"].map(|name| format!("{name} = {lock}")));
        all.extend(["net_write_timeout", "net_read_timeout"].map(|name| format!("{name} = {stalled}")));
        all.push(format!("wait_timeout = {idle}"));
        if version.contains("MariaDB") {
            all.extend(MARIADB.map(str::to_owned));
            all.push(format!("max_statement_time = {}", limit.as_secs_f64()));
        } else if !version.starts_with("5.") {
            all.extend(MYSQL.map(str::to_owned));
            all.push(format!("max_execution_time = {}", limit.as_millis()));
        }
        all
    }

    /// How its transactions begin. No list of assignments can hold it on every server.
    fn transactions(&self) -> String {
        let level = match self.isolation {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
        };
        format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}, READ WRITE")
    }
}

impl Connection {
    /// Makes a session that has just begun what it is to be: two statements, unless the server is of a
    /// version that lacks one of the settings.
    pub(crate) fn begin(&mut self, session: &Session) -> Result<(), Error> {
        let version = self.version();
        let all = session.assignments(&version);
        match self.query(format!("SET SESSION {}", all.join(", "))) {
            Err(error) if NOT_HERE.contains(&error.number) => {
                all.iter().try_for_each(|one| self.set_if_there(one))?;
            }
            done => drop(done?),
        }
        self.query(session.transactions()).map(drop)
    }

    fn set_if_there(&mut self, assignment: &str) -> Result<(), Error> {
        match self.query(format!("SET SESSION {assignment}")) {
            Err(error) if !NOT_HERE.contains(&error.number) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whole seconds, as servers count; at least one.
fn seconds(time: Duration) -> u128 {
    time.as_millis().div_ceil(1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_what_it_knows() {
        let session = Session { statement: Some(Duration::from_millis(1500)), ..Session::default() };
        let all = |version| session.assignments(version);
        let has = |version, one: &str| all(version).iter().any(|assignment| assignment == one);
        assert!(has("10.11.19-MariaDB", "max_statement_time = 1.5"));
        assert!(has("9.7.4", "max_execution_time = 1500"));
        assert!(!has("9.7.4", "query_cache_type = 0") && !has("10.11.19-MariaDB", MYSQL[0]));
        for version in ["10.11.19-MariaDB", "9.7.4", "5.6.24"] {
            // An empty text may be NULL until this has been set.
            assert_eq!(all(version)[0], format!("sql_mode = {STRICT}"));
            assert!(has(version, "sql_select_limit = 18446744073709551615"));
        }
        assert_eq!(all("5.6.24").len(), EVERYWHERE.len() + 6);
    }

    #[test]
    fn times_are_whole_seconds_and_never_none() {
        assert_eq!([0, 1, 1000, 1001].map(|ms| seconds(Duration::from_millis(ms))), [1, 1, 1, 2]);
    }
}
