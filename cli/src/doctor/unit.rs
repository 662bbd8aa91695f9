//! What systemd says of the daemon's unit: whether it runs, and as which account.

use std::process::Command;

/// The unit, as packages and `make install` name it.
const UNIT: &str = "rowcalld.service";

/// One sentence, or nothing where there is no systemd or no such unit.
pub(super) fn told() -> Option<String> {
    let properties = "--property=LoadState,ActiveState,Result,User";
    let output = Command::new("systemctl").args(["show", UNIT, properties]).output().ok()?;
    sentence(&String::from_utf8_lossy(&output.stdout))
}

fn sentence(shown: &str) -> Option<String> {
    let value = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.filter(|value| !value.is_empty())
    };
    if value("LoadState") != Some("loaded") {
        return None;
    }
    let (state, user) = (value("ActiveState").unwrap_or("unknown"), value("User").unwrap_or("root"));
    let result = value("Result").filter(|result| *result != "success");
    let result = result.map(|result| format!(" ({result})")).unwrap_or_default();
    Some(format!(
        "systemd says that {UNIT} is {state}{result}, with the account {user}: journalctl -u {UNIT}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows() {
        let failed = "LoadState=loaded\nActiveState=failed\nResult=exit-code\nUser=rowcall\n";
        let said = sentence(failed).unwrap();
        assert!(said.contains("is failed (exit-code), with the account rowcall"), "{said}");
        let active = sentence("LoadState=loaded\nActiveState=active\nResult=success\nUser=\n").unwrap();
        assert!(active.contains("is active, with the account root"), "{active}");
        assert_eq!(sentence("LoadState=not-found\nActiveState=inactive\n"), None);
        assert_eq!(sentence(""), None);
    }
}
