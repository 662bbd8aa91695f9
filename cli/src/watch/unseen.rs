//! What triggers do not see, and what clients notice of them: told when a table is watched.

use super::catalog::Catalog;
use super::table::Table;
use crate::failure::Failure;

/// What triggers do not see, whatever the table.
pub(super) fn blind(cascades: Option<bool>) -> String {
    let cascades = match cascades {
        Some(true) => " in sessions with\n  enable_cascade_triggers=OFF",
        _ => "",
    };
    format!(
        "not seen by triggers: TRUNCATE, partitions dropped, truncated or exchanged,\n  \
         rows that foreign keys change{cascades}, rows that replication brings"
    )
}

/// What clients notice of an update trigger on a table with AUTO_INCREMENT.
pub(super) const INSERT_IDS: &str = "\
insert id 0 is the answer to ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id) that changes
  nothing; SELECT LAST_INSERT_ID() has the id";

/// In words, whether triggers see what a foreign key does; `fire` is the server's setting, if it has one.
pub(super) fn seen_cascade(cascade: &str, fire: Option<bool>) -> String {
    match fire {
        None => format!("its triggers do not see {cascade}"),
        Some(false) => {
            format!("its triggers do not see {cascade}, but in sessions with enable_cascade_triggers=ON")
        }
        Some(true) => format!("its triggers see {cascade}, but in sessions with enable_cascade_triggers=OFF"),
    }
}

impl Catalog {
    /// Foreign keys that change its rows, each in words.
    pub(crate) fn cascades(&mut self, table: &Table) -> Result<Vec<String>, Failure> {
        let rule = |when: &str| {
            format!("IF({when}_RULE IN ('CASCADE', 'SET NULL'), CONCAT('ON {when} ', {when}_RULE), NULL)")
        };
        let rows = self.rows(&format!(
            "SELECT CONCAT(CONCAT_WS(' and ', {}, {}), ' from ', REFERENCED_TABLE_NAME) FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE {} AND (DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL')) ORDER BY 1",
            rule("DELETE"),
            rule("UPDATE"),
            self.names().are(table, "CONSTRAINT_SCHEMA", "TABLE_NAME")
        ))?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Whether foreign keys fire triggers by default; nothing on servers where they never do. Each session may
    /// set it for itself.
    pub(crate) fn cascade_triggers(&mut self) -> Result<Option<bool>, Failure> {
        let rows = self.rows("SHOW GLOBAL VARIABLES LIKE 'enable_cascade_triggers'")?;
        Ok(rows.first().map(|row| row.get(1).is_some_and(|value| value == "ON")))
    }

    /// Whether it has an AUTO_INCREMENT column.
    pub(crate) fn counts(&mut self, table: &Table) -> Result<bool, Failure> {
        let rows = self.rows(&format!(
            "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE {} AND EXTRA LIKE '%auto_increment%'",
            self.names().are(table, "TABLE_SCHEMA", "TABLE_NAME")
        ))?;
        Ok(rows.concat() != ["0"])
    }
}
