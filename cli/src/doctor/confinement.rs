//! What AppArmor or SELinux let the server do: whether one of them confines it, whether its rules know of us,
//! whether the log tells of something that was denied.

use super::finding::{Finding, Trouble};
use super::patient::Patient;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where denials are written down; the journal is asked as well.
const LOGS: [&str; 3] = ["/var/log/audit/audit.log", "/var/log/kern.log", "/var/log/syslog"];

/// Only the end of a log is read: about a day of a busy one.
const LOG_TAIL: u64 = 4 << 20;

const APPARMOR_LINE: &str = "/{,var/}run/rowcall/*.sock rw,";

/// Which of them confines a process, as its label says.
#[derive(Debug, PartialEq, Eq)]
enum Confinement<'a> {
    None,
    /// The profile, if it forbids anything.
    AppArmor {
        profile: &'a str,
        enforced: bool,
    },
    /// The domain.
    SeLinux {
        domain: &'a str,
    },
}

pub(super) fn check(patient: &mut Patient) -> Result<Vec<Finding>, Trouble> {
    let label = patient.process()?.confinement().map_err(Trouble::Other)?;
    let confinement = confinement(&label);
    let logs = logs();
    let mut findings = vec![match confinement {
        Confinement::None => Finding::ok("neither AppArmor nor SELinux confines the server"),
        Confinement::AppArmor { profile, enforced: false } => {
            Finding::ok(format!("AppArmor's profile {profile} only complains"))
        }
        Confinement::AppArmor { profile, .. } => app_armor(profile),
        Confinement::SeLinux { domain } => se_linux(domain),
    }];
    if confinement != Confinement::None && logs.is_empty() {
        findings
            .push(Finding::unseen("not looked at: denials, as none of the kernel's logs can be read", ""));
    }
    // The same one may stand in several of them.
    let denials: BTreeSet<&str> = logs.iter().flat_map(|log| denials(log)).collect();
    if let Some(last) = denials.last() {
        findings.push(Finding::warning(
            format!("the log tells of {} denials, one of them: {last}", denials.len()),
            "If they are from before the rules were changed, the round trip below succeeds.",
        ));
    }
    Ok(findings)
}

fn confinement(label: &str) -> Confinement<'_> {
    if let Some((profile, mode)) = label.strip_suffix(')').and_then(|label| label.rsplit_once(" (")) {
        return Confinement::AppArmor { profile, enforced: mode != "complain" };
    }
    match label.split(':').nth(2) {
        Some(domain) if !domain.starts_with("unconfined") => Confinement::SeLinux { domain },
        _ => Confinement::None,
    }
}

/// The file of a site's own rules for a profile: `/usr/sbin/mysqld` has `usr.sbin.mysqld`.
fn local_rules(profile: &str) -> PathBuf {
    Path::new("/etc/apparmor.d/local").join(profile.trim_start_matches('/').replace('/', "."))
}

fn app_armor(profile: &str) -> Finding {
    let path = local_rules(profile);
    match fs::read_to_string(&path) {
        Ok(rules) if is_ruled(&rules) => {
            return Finding::ok(format!(
                "AppArmor's profile {profile} knows of the socket ({})",
                path.display()
            ));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let why =
                format!("AppArmor's profile {profile} confines the server, and {}: {error}", path.display());
            return Trouble::Other(why).into();
        }
        _ => {}
    }
    Finding::warning(
        format!(
            "AppArmor's profile {profile} confines the server, and {} says nothing of the socket.",
            path.display()
        ),
        format!("Write the line `{APPARMOR_LINE}` there, and load the profile again: apparmor_parser -r"),
    )
}

/// True if one of the rules, comments aside, is about us.
fn is_ruled(rules: &str) -> bool {
    rules.lines().filter_map(|line| line.split('#').next()).any(|rule| rule.contains("rowcall"))
}

fn se_linux(domain: &str) -> Finding {
    if fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "0") {
        return Finding::ok(format!("SELinux has the server in {domain}, and is permissive"));
    }
    Finding::note(
        format!(
            "SELinux has the server in {domain}; it needs `write` on the socket and `connectto` on the daemon"
        ),
        "If the round trip fails: ausearch -m avc -c mysqld, mariadbd",
    )
}

/// What tells of us and was denied, by either of them.
fn denials(log: &str) -> impl Iterator<Item = &str> {
    let denied = |line: &&str| line.contains("apparmor=\"DENIED\"") || line.contains("avc:  denied");
    log.lines().filter(denied).filter(|line| line.contains("rowcall"))
}

/// Whatever of the logs may be read.
fn logs() -> Vec<String> {
    let journal = Command::new("journalctl")
        .args(["-k", "--since", "-1 day", "-n", "5000", "--no-pager", "-o", "cat"])
        .output();
    let journal = journal
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    LOGS.iter().filter_map(|path| tail(Path::new(path))).chain(journal).collect()
}

fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_who_confines() {
        let enforced = |profile| Confinement::AppArmor { profile, enforced: true };
        assert_eq!(confinement("unconfined"), Confinement::None);
        assert_eq!(confinement(""), Confinement::None);
        assert_eq!(confinement("/usr/sbin/mysqld (enforce)"), enforced("/usr/sbin/mysqld"));
        assert_eq!(
            confinement("mariadbd (complain)"),
            Confinement::AppArmor { profile: "mariadbd", enforced: false }
        );
        assert_eq!(confinement("system_u:system_r:mysqld_t:s0"), Confinement::SeLinux { domain: "mysqld_t" });
        assert_eq!(confinement("u:r:unconfined_t:s0"), Confinement::None);
    }

    #[test]
    fn profiles_have_files() {
        let check = |profile, file| assert_eq!(local_rules(profile).to_str(), Some(file));
        check("/usr/sbin/mysqld", "/etc/apparmor.d/local/usr.sbin.mysqld");
        check("mariadbd", "/etc/apparmor.d/local/mariadbd");
    }

    #[test]
    fn a_comment_is_no_rule() {
        assert!(is_ruled("# ours\n/{,var/}run/rowcall/*.sock rw,\n"));
        assert!(!is_ruled("# /{,var/}run/rowcall/*.sock rw,\n/run/other rw, # not rowcall\n"));
    }

    #[test]
    fn denials_of_others_are_not_ours() {
        let log = "audit: apparmor=\"DENIED\" operation=\"connect\" profile=\"/usr/sbin/mysqld\" name=\"/run/rowcall/rowcall.sock\"\n\
                   audit: apparmor=\"ALLOWED\" name=\"/run/rowcall/rowcall.sock\"\n\
                   audit: apparmor=\"DENIED\" name=\"/etc/shadow\"\n\
                   type=AVC msg=audit(1:2): avc:  denied  { connectto } for comm=\"mysqld\" path=\"/run/rowcall/rowcall.sock\"\n";
        assert_eq!(denials(log).count(), 2);
    }
}
