//! The age at which the password of the daemon's account stops being taken.

use super::finding::{Finding, Trouble};
use super::patient::Patient;

/// The account's own lifetime in days, or what stands for the server's; and whether it has expired.
const MYSQL: &str = "SELECT COALESCE(password_lifetime, @@global.default_password_lifetime), password_expired = 'Y' \
                     FROM mysql.user WHERE user = 'rowcall' AND host = 'localhost'";
const MARIADB: &str = "SELECT IF(COALESCE(JSON_VALUE(priv, '$.password_lifetime'), -1) < 0, \
                       @@global.default_password_lifetime, JSON_VALUE(priv, '$.password_lifetime')), \
                       COALESCE(JSON_VALUE(priv, '$.password_last_changed'), 1) = 0 \
                       FROM mysql.global_priv WHERE user = 'rowcall' AND host = 'localhost'";

/// Nothing if it never expires, or if there is no such account.
pub(super) fn check(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let query = if patient.settings.is_mariadb() { MARIADB } else { MYSQL };
    let rows: Vec<[String; 2]> = patient.rows(query)?;
    Ok(rows.iter().filter_map(|[days, expired]| finding(days, expired == "1")).collect())
}

fn finding(days: &str, expired: bool) -> Option<Finding> {
    if expired {
        return Some(Finding::fault(
            "the password of the daemon's account 'rowcall'@'localhost' has expired (errors 1820, 1862).",
            "Remove the daemon's option file and run `rowcall install --outbox FILE`: it makes a new one.",
        ));
    }
    (days.parse::<u64>() != Ok(0)).then(|| {
        Finding::warning(
            format!("the password of the daemon's account 'rowcall'@'localhost' expires when it is {days} days old."),
            "ALTER USER 'rowcall'@'localhost' PASSWORD EXPIRE NEVER; `rowcall install --outbox FILE` does that, too.",
        )
    })
}
