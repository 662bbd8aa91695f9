//! The rights with which triggers run: those of the account that makes them, on MariaDB without any role but
//! PUBLIC, on MySQL with its default roles. An account whose session has more can make triggers that then fail
//! every write to the table, so each right is proved in a session that has what the triggers will have.

use super::catalog::Catalog;
use super::columns::{Column, identifier};
use super::plan::{Mode, Plan};
use super::table::Table;
use crate::failure::Failure;
use rowcall_mysql::{Error, quoted};
use std::collections::BTreeSet;

/// The server's numbers for: the account may not do that, to a database, table, column or procedure.
const REFUSED: [u32; 4] = [1044, 1142, 1143, 1370];

impl Catalog {
    /// Proves that the triggers of this plan may read the rows and write the event.
    pub(super) fn check_rights(
        &mut self,
        table: &Table,
        plan: &Plan,
        columns: &[Column],
    ) -> Result<(), Failure> {
        // An account that may not read a column does not see it in information_schema either.
        let all = plan.columns.is_empty().then(|| "*".to_owned());
        let named = columns.iter().map(|column| &column.name);
        let named =
            named.filter(|name| all.is_some() || plan.columns.contains(name) || plan.key.contains(name));
        let shown: Vec<String> = all.iter().cloned().chain(named.map(|name| identifier(name))).collect();
        let read = format!("SELECT {} FROM {} LIMIT 0", shown.join(", "), table.sql());
        // Rights are looked at before the arguments are.
        let publish = (plan.mode == Mode::Committed).then_some("CALL rowcall.publish_with()");
        let when = plan.when.as_ref().map(|condition| asked(condition, table));
        let (read, publish, when) = self.with_triggers_rights(|catalog| {
            let mut refusal = |sql: &str| catalog.connection().query(sql).err().filter(is_refusal);
            (refusal(&read), publish.and_then(&mut refusal), when.as_deref().and_then(&mut refusal))
        })?;
        if let Some(error) = read {
            return Err(self.lacks(
                table,
                &format!("SELECT ON {}", table.sql()),
                &format!("no event could show its row: {error}"),
            ));
        }
        if let Some(error) = publish {
            let right = "EXECUTE ON PROCEDURE rowcall.publish_with";
            return Err(self.lacks(table, right, &format!("no event could be written: {error}")));
        }
        match when {
            Some(error) => {
                let right = "what --when asks for";
                Err(self.lacks(table, right, &format!("--when would fail, and tell of every row: {error}")))
            }
            None => Ok(()),
        }
    }

    /// Proves the right TRIGGER, without which every write to the table fails (1142): the server shows triggers
    /// to those who have it. To be asked while nobody can write the table.
    pub(super) fn check_visible(&mut self, table: &Table, made: &[String]) -> Result<(), Failure> {
        let seen = self.with_triggers_rights(|catalog| catalog.triggers(table))??;
        if made.iter().all(|name| seen.iter().any(|trigger| trigger.name == *name)) {
            return Ok(());
        }
        Err(self.lacks(
            table,
            &format!("TRIGGER ON {}", table.sql()),
            "every write to the table would fail (error 1142)",
        ))
    }

    /// Whether this session has roles that its triggers will not have.
    pub(super) fn has_more_rights(&mut self) -> Result<bool, Failure> {
        let active = self.role()?;
        let then = self.with_triggers_rights(Catalog::role)??;
        Ok(active != then)
    }

    fn role(&mut self) -> Result<String, Failure> {
        let role = self.connection().value("SELECT CURRENT_ROLE()");
        Ok(role
            .map_err(|error| Failure::server("cannot ask for the roles", &error))?
            .unwrap_or("NONE".into()))
    }

    /// Does something with the rights that triggers have, and no more.
    fn with_triggers_rights<T>(&mut self, act: impl FnOnce(&mut Catalog) -> T) -> Result<T, Failure> {
        let role = self.role()?;
        let back = if self.is_mariadb() && role != "NONE" { identifier(&role) } else { role };
        self.run("SET ROLE NONE")?;
        if !self.is_mariadb() {
            // By itself, where there is no default role, it leaves the session the rights on *.* that it had.
            self.run("SET ROLE DEFAULT")?;
        }
        let done = act(self);
        self.run(&format!("SET ROLE {back}"))?;
        Ok(done)
    }

    fn lacks(&mut self, table: &Table, right: &str, so: &str) -> Failure {
        let account = self.connection().value("SELECT CURRENT_USER()").ok().flatten().unwrap_or_default();
        let (user, host) = account.rsplit_once('@').unwrap_or((&account, "%"));
        let account = format!("{}@{}", quoted(user), quoted(host));
        let roles = if self.is_mariadb() { "without its roles" } else { "with its default roles only" };
        Failure::other(format!(
            "{table}: triggers run as the account that makes them, {roles}, then {so}\n  \
             Nothing was changed. GRANT {right} TO {account}"
        ))
    }
}

fn is_refusal(error: &Error) -> bool {
    REFUSED.contains(&error.number)
}

/// SQL that asks for all that a condition reads, and reads nothing: NEW and OLD are the table itself there, in
/// each of the spellings that the condition has.
fn asked(condition: &str, table: &Table) -> String {
    let word = |word: &&str| word.eq_ignore_ascii_case("new") || word.eq_ignore_ascii_case("old");
    let words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
    let spelled: BTreeSet<&str> = words.filter(word).collect();
    let from: Vec<String> =
        spelled.iter().map(|name| format!("{} AS {}", table.sql(), identifier(name))).collect();
    format!("SELECT 1 FROM {} WHERE ({condition}\n) LIMIT 0", from.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_asked_about_without_a_row() {
        let table = Table { schema: "shop".into(), name: "orders".into() };
        assert_eq!(
            asked("new.a > OLD.b AND NEW.`a` = renew", &table),
            "SELECT 1 FROM `shop`.`orders` AS `NEW`, `shop`.`orders` AS `OLD`, `shop`.`orders` AS `new` \
             WHERE (new.a > OLD.b AND NEW.`a` = renew\n) LIMIT 0"
        );
    }
}
