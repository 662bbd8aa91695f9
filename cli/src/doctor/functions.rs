//! Whether the functions are in the server, and of which version; whether their library is where the server
//! looks for it.

use super::finding::{Finding, Trouble};
use super::patient::Patient;
use crate::install::{self, library_name};
use std::path::Path;

/// What puts things right.
const INSTALL: &str = "On the server's machine: sudo rowcall install";

/// What lets see the server's own file system.
pub(super) const AS_ROOT: &str = "Run this as root, or as the server's account.";

/// This program's.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn installed(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let (there, missing) = names(patient);
    if there.is_empty() {
        return Ok(vec![Finding::fault("none of the functions is installed on this server.", INSTALL)]);
    }
    if !missing.is_empty() {
        let found = format!("{} of the functions are missing: {}.", missing.len(), missing.join(", "));
        return Ok(vec![Finding::fault(found, INSTALL)]);
    }
    let status = patient.status().unwrap_or_default();
    let version = status["version"].as_str().unwrap_or_default();
    Ok(vec![versions(&format!("all {} functions, of version {version}", there.len()), version, INSTALL)])
}

/// Those that can be called, and those that cannot.
pub(super) fn names(patient: &mut Patient) -> (Vec<&'static str>, Vec<&'static str>) {
    install::functions()
        .map(|function| function.name)
        .partition(|name| install::is_known(patient.sql(), name))
}

/// What it means that something is of this version, with us being of ours.
pub(super) fn versions(found: &str, version: &str, advice: &str) -> Finding {
    match (minor(version), minor(VERSION)) {
        _ if version == VERSION => Finding::ok(found),
        (Some((major, minor)), Some((our_major, our_minor)))
            if major == our_major && minor.abs_diff(our_minor) <= 1 =>
        {
            Finding::note(format!("{found}; this command is of {VERSION}, and that goes together."), advice)
        }
        _ => Finding::warning(
            format!(
                "{found}; this command is of {VERSION}. Only one minor version's difference is promised to work."
            ),
            advice,
        ),
    }
}

fn minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn library(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let recorded: Vec<[String; 2]> = patient.rows(
        "SELECT dl, GROUP_CONCAT(name SEPARATOR ', ') FROM mysql.func WHERE name LIKE 'rowcall\\_%' GROUP BY dl",
    )?;
    let folder = Path::new(patient.settings.get("plugin_dir")).to_owned();
    let mut findings = Vec::new();
    for [library, names] in recorded {
        if library != library_name() {
            let found = format!("{names}: of {library}; this command brings {}.", library_name());
            findings.push(Finding::note(found, INSTALL));
        }
        let path = folder.join(&library);
        let seen = patient.process().map(|process| process.sees(&path));
        match seen {
            Err(trouble) => findings.push(trouble.into()),
            Ok(None) => findings.push(Finding::unseen(
                format!("not looked at: {}, in the server's file system", path.display()),
                AS_ROOT,
            )),
            Ok(Some(seen)) if seen.is_file() => findings.push(Finding::ok(path.display().to_string())),
            Ok(Some(_)) => findings.push(Finding::fault(
                format!("{} is not there. The functions work until the server restarts.", path.display()),
                INSTALL,
            )),
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn versions_go_together_one_minor_apart() {
        let (major, minor) = minor(VERSION).unwrap();
        let level = |version: &str| versions("x", version, "").level;
        assert_eq!(level(VERSION), Level::Ok);
        assert_eq!(level(&format!("{major}.{}.7", minor + 1)), Level::Note);
        assert_eq!(level(&format!("{major}.{}.0", minor + 2)), Level::Warning);
        assert_eq!(level(&format!("{}.{minor}.0", major + 1)), Level::Warning);
        assert_eq!(level(""), Level::Warning);
    }
}
