//! The `rowcall` schema, as `rowcall install` puts it in place, and the account that the daemon reads
//! it with. The statements stand in sql/schema.sql.

use crate::failure::Failure;
use crate::install::{Report, ask};
use crate::random;
use rowcall_mysql::{Connection, Error, quoted};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const SCHEMA_SQL: &str = include_str!("../../sql/schema.sql");

/// What the last statement of the script writes down.
const EDITION: &str = "3";

/// Editions that the script makes this one of.
const EARLIER: [&str; 2] = ["1", "2"];

/// The procedures that the account may call in whose name they write. DROP DATABASE takes the rights
/// with it, and a dump of the database brings neither these nor the account back.
const WRITERS: &str = "SELECT COUNT(*) FROM mysql.user AS u JOIN mysql.procs_priv AS p ON p.user = u.user \
                       AND p.host = u.host WHERE u.user = 'rowcall_writer' AND u.host = 'localhost' AND p.db = 'rowcall'";

/// `publish` and `publish_with`.
const PROCEDURES: &str = "2";

/// Whether unique ids have a site to begin with.
const SITE: &str = "SELECT COUNT(*) FROM rowcall.site";

/// The daemon's account.
const ACCOUNT: &str = "'rowcall'@'localhost'";

/// `default_password_lifetime` would end the daemon's work on the day that the password is so old.
const NO_EXPIRY: &str = "PASSWORD EXPIRE NEVER";

/// Makes the procedures' account before the script does: where passwords are checked, an account without one
/// is refused (error 1819), though nobody can log in as it.
fn writer(password: &str) -> String {
    format!(
        "CREATE USER IF NOT EXISTS 'rowcall_writer'@'localhost' IDENTIFIED BY {} {NO_EXPIRY} ACCOUNT LOCK",
        quoted(password)
    )
}

/// Puts the schema in place, unless it is there, or upgrades it: the script adds what an earlier
/// edition has not. Unlike the functions it is written to the binary
/// log: replicas need the tables for the rows that will come, and the same site.
pub(crate) fn put(connection: &mut Connection, report: &Report) -> Result<(), Failure> {
    let here = connection.value("SELECT number FROM rowcall.edition").ok().flatten();
    let done = match here.as_deref() {
        Some(EDITION)
            if ask(connection, WRITERS)? == PROCEDURES && ask(connection, SITE).is_ok_and(|n| n != "0") =>
        {
            return report.say("schema", "rowcall", "already there");
        }
        // As a restored dump leaves it: accounts are in no database.
        Some(EDITION) => "mended",
        Some(edition) if EARLIER.contains(&edition) => "upgraded",
        Some(edition) => {
            return Err(Failure::other(format!(
                "the schema rowcall is of edition {edition}, this version of the command knows {EDITION}: \
                 use the version that put it there, or a later one"
            )));
        }
        None => "created",
    };
    let site = format!("SET @rowcall_site = {}", quoted(&random_site()?));
    let mut all = vec![site, writer(&password()?)];
    all.extend(statements(SCHEMA_SQL));
    run_logged(connection, &all)?;
    report.say("schema", "rowcall", done)
}

/// Gives unique ids another site, for a server that goes its own way from now on.
pub(crate) fn put_site(connection: &mut Connection, name: &str, report: &Report) -> Result<(), Failure> {
    if ask(connection, "SELECT name FROM rowcall.site")? == name {
        return report.say("site", name, "already there");
    }
    run_logged(connection, &[format!("UPDATE rowcall.site SET name = {}", quoted(name))])?;
    report.say("site", name, "set; the daemon takes it when it connects the next time")
}

/// A site's name as an argument.
pub(crate) fn site(text: &str) -> Result<String, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || text.len() > SITE_MAX || !text.bytes().all(fine) {
        return Err(format!("expected up to {SITE_MAX} letters, digits, - and _"));
    }
    Ok(text.to_owned())
}

/// As much as the column takes.
const SITE_MAX: usize = 64;

/// Letters and digits that nobody else has drawn: 62 bits of them.
fn random_site() -> Result<String, Failure> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    const LENGTH: u32 = 12;
    let random = random::number()?;
    let digit = |at: u32| DIGITS[(random / 36_u64.pow(at) % 36) as usize] as char;
    Ok((0..LENGTH).map(digit).collect())
}

/// Whether the tables are there, and are those that this version knows.
pub(crate) fn check(connection: &mut Connection) -> Result<(), Failure> {
    let here = connection.value("SELECT number FROM rowcall.edition");
    let here = here.map_err(|error| Failure::tables(&error))?.unwrap_or_default();
    if here == EDITION {
        return Ok(());
    }
    let advice = if EARLIER.contains(&here.as_str()) {
        "`rowcall install --outbox FILE` makes it that"
    } else {
        "use the version that put it there, or a later one"
    };
    Err(Failure::other(format!(
        "the schema rowcall is of edition {here}, this version of the command knows {EDITION}: {advice}"
    )))
}

/// Whether a daemon reads the outbox: it holds a lock as long as it does.
pub(crate) fn is_read(connection: &mut Connection) -> Result<bool, Error> {
    Ok(connection.value("SELECT IS_USED_LOCK('rowcall.reader')")?.is_some())
}

/// Makes the daemon's account and an option file that names it, unless the file is there.
pub(crate) fn put_account(connection: &mut Connection, file: &Path, report: &Report) -> Result<(), Failure> {
    let name = file.display().to_string();
    if file.exists() {
        run_logged(connection, &[format!("ALTER USER IF EXISTS {ACCOUNT} {NO_EXPIRY}")])?;
        return report.say("account", &name, "already there");
    }
    let password = password()?;
    let socket = ask(connection, "SELECT @@socket")?;
    let text =
        format!("# For rowcalld's --outbox.\n[client]\nuser=rowcall\npassword={password}\nsocket={socket}\n");
    write_secret(file, &text).map_err(|error| Failure::other(format!("cannot write {name}: {error}")))?;
    let made = make_account(connection, &password);
    if made.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(file);
    }
    made?;
    report.say("account", &name, "created")
}

fn make_account(connection: &mut Connection, password: &str) -> Result<(), Failure> {
    let password = quoted(password);
    run_logged(
        connection,
        &[
            format!("CREATE USER IF NOT EXISTS {ACCOUNT} IDENTIFIED BY {password} {NO_EXPIRY}"),
            format!("ALTER USER {ACCOUNT} IDENTIFIED BY {password} {NO_EXPIRY}"),
            format!("GRANT SELECT, INSERT, UPDATE, DELETE ON rowcall.* TO {ACCOUNT}"),
        ],
    )
}

/// Runs statements that are written to the binary log, in a session whose others are not. They mean the
/// same whatever SQL mode the server gives its sessions; the script says so itself for those who run it by hand.
fn run_logged(connection: &mut Connection, statements: &[String]) -> Result<(), Failure> {
    run(connection, "SET SESSION sql_log_bin = 1")?;
    run(connection, "SET SESSION sql_mode = ''")?;
    for statement in statements {
        run(connection, statement)?;
    }
    run(connection, "SET SESSION sql_log_bin = 0")
}

fn run(connection: &mut Connection, sql: &str) -> Result<(), Failure> {
    let first_line = sql.lines().next().unwrap_or_default();
    // A password must not be shown with the statement that sets it.
    let shown = first_line.split(" IDENTIFIED BY ").next().unwrap_or_default();
    connection.query(sql).map(drop).map_err(|error| Failure::server(shown, &error))
}

/// New, and readable for its owner only.
fn write_secret(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())
}

/// Signs of a password, a kind after the other: so it has each kind that password rules count, eight times, and
/// no word of a dictionary or of an account. None of them means anything in an option file.
const SIGNS: [&[u8]; 4] = [b"BCDFGHJKMPQRTVWX", b"bcdfghjkmpqrtvwx", b"23456789", b"-_.+:,@%"];

/// Bytes of a password, which some servers cut at 32: 8 times 4 + 4 + 3 + 3 random bits.
const PASSWORD_LEN: usize = 32;

/// A password of 112 random bits.
fn password() -> Result<String, Failure> {
    let mut random = [0; PASSWORD_LEN];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::other(format!("the system gives no random bytes: {error}")))?;
    let sign = |(at, byte): (usize, u8)| {
        let signs = SIGNS[at % SIGNS.len()];
        char::from(signs[usize::from(byte) % signs.len()])
    };
    Ok(random.into_iter().enumerate().map(sign).collect())
}

/// The statements of a script for the servers' own client, which DELIMITER is for.
fn statements(script: &str) -> Vec<String> {
    let (mut statements, mut delimiter, mut statement) = (Vec::new(), ";", String::new());
    for line in script.lines() {
        if let Some(next) = line.strip_prefix("DELIMITER ") {
            delimiter = next;
            continue;
        }
        if line.trim_start().starts_with("--") || line.trim().is_empty() {
            continue;
        }
        match line.trim_end().strip_suffix(delimiter) {
            Some(end) => statements.push(std::mem::take(&mut statement) + end),
            None => statement += &format!("{line}\n"),
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_falls_into_statements() {
        let script = "-- first\nA;\nDELIMITER //\nB\nBEGIN\n  -- why\n  C;\nEND //\nDELIMITER ;\n\nD\n  E;\n";
        assert_eq!(statements(script), ["A", "B\nBEGIN\n  C;\nEND ", "D\n  E"]);
    }

    #[test]
    fn the_schema_is_of_the_edition_that_is_known() {
        let all = statements(SCHEMA_SQL);
        let last = all.last().unwrap();
        assert_eq!(last, &format!("REPLACE INTO rowcall.edition (only, number) VALUES (1, {EDITION})"));
        assert!(all.iter().all(|statement| !statement.contains("DELIMITER")));
    }

    #[test]
    fn sites_differ_and_can_be_told_from_other_text() {
        let [one, other] = [random_site().unwrap(), random_site().unwrap()];
        assert_ne!(one, other);
        assert_eq!(site(&one), Ok(one));
        for wrong in ["", "a/b", "a.b", "a b", "größe", &"a".repeat(65)] {
            assert!(site(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn passwords_differ_and_have_each_kind_of_sign() {
        let all: Vec<String> = (0..100).map(|_| password().unwrap()).collect();
        assert_ne!(all[0], all[1]);
        for password in all {
            assert_eq!(password.len(), PASSWORD_LEN);
            for kind in [char::is_uppercase as fn(char) -> bool, char::is_lowercase, char::is_numeric] {
                assert_eq!(password.chars().filter(|&sign| kind(sign)).count(), 8, "{password}");
            }
            assert_eq!(password.chars().filter(char::is_ascii_punctuation).count(), 8, "{password}");
            assert!(!password.contains(['#', '"', '\'', '\\', ' ', '=']), "{password}");
        }
    }
}
