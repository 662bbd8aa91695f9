//! What `rowcall install --outbox FILE` leaves to the administrator, who may want to look first: the file's owner,
//! the daemon's configuration, the restart. Said as commands that can be pasted, and only those that are needed.

use crate::failure::Failure;
use crate::install::Report;
use crate::output;
use nix::unistd::{User, geteuid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The account of rowcalld.service, which rowcall.sysusers makes.
const ACCOUNT: &str = "rowcall";

/// The configuration that rowcalld.service names.
const CONFIG: &str = "/etc/rowcall/rowcalld.toml";

/// There while systemd runs the machine.
const SYSTEMD: &str = "/run/systemd/system";

/// The unit is started with the machine.
const ENABLED: &str = "/etc/systemd/system/multi-user.target.wants/rowcalld.service";

/// Says it, with each command on a line of its own.
pub(crate) fn tell(file: &Path, report: &Report) -> Result<(), Failure> {
    let absolute =
        std::path::absolute(file).map_err(|error| Failure::other(format!("{}: {error}", file.display())))?;
    let commands = Machine::here(&absolute).commands(&absolute);
    if report.json {
        return commands.iter().try_for_each(|command| report.say("command", command, "left to do"));
    }
    output::line(&format!("\nLeft to do, so that the daemon reads the outbox:\n\n{}", commands.join("\n")))
}

/// What the commands depend on.
struct Machine {
    /// The file belongs to another account than the daemon's.
    is_foreign: bool,
    /// What the configuration file says, if it is there.
    config: Option<String>,
    has_systemd: bool,
    is_enabled: bool,
    /// `sudo ` for those who came by it.
    prefix: &'static str,
}

impl Machine {
    fn here(file: &Path) -> Machine {
        let account = User::from_name(ACCOUNT).ok().flatten();
        let owner = fs::metadata(file).map(|found| found.uid()).ok();
        let is_sudo = !geteuid().is_root() || std::env::var_os("SUDO_USER").is_some();
        Machine {
            is_foreign: account.is_some_and(|account| owner != Some(account.uid.as_raw())),
            config: fs::read_to_string(CONFIG).ok(),
            has_systemd: Path::new(SYSTEMD).is_dir(),
            is_enabled: fs::symlink_metadata(ENABLED).is_ok(),
            prefix: if is_sudo { "sudo " } else { "" },
        }
    }

    fn commands(&self, file: &Path) -> Vec<String> {
        let (prefix, path) = (self.prefix, quoted(&file.display().to_string()));
        let Some(config) = &self.config else { return vec![format!("rowcalld --outbox {path}")] };
        let mut commands = Vec::new();
        if self.is_foreign {
            commands.push(format!("{prefix}chown {ACCOUNT} {path}"));
        }
        commands
            .extend(edit(config, file).map(|script| format!("{prefix}sed -i {} {CONFIG}", quoted(&script))));
        if !self.has_systemd {
            commands.push("# and restart rowcalld in the way in which it is started here".to_owned());
            return commands;
        }
        if !self.is_enabled {
            commands.push(format!("{prefix}systemctl enable rowcalld"));
        }
        commands.push(format!("{prefix}systemctl restart rowcalld"));
        commands
    }
}

/// A script for sed that makes the configuration name the file, unless it does.
fn edit(config: &str, file: &Path) -> Option<String> {
    let name = file.display().to_string();
    let settings = config.parse::<toml::Table>().unwrap_or_default();
    if settings.get("outbox").and_then(toml::Value::as_str) == Some(&name) {
        return None;
    }
    let line = format!("outbox = {}", toml::Value::String(name));
    let is_key =
        |line: &str| line.strip_prefix("outbox").is_some_and(|rest| rest.trim_start().starts_with('='));
    // The signs that mean something in a replacement.
    let text = line.replace('\\', "\\\\").replace('&', "\\&").replace(',', "\\,");
    Some(match config.lines().any(is_key) {
        true => format!("s,^outbox *=.*,{text},"),
        // Before the first line: behind the last one there may be a table.
        false => format!("1s,^,{text}\\n,"),
    })
}

/// An argument as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const FILE: &str = "/etc/rowcall/outbox.cnf";

    fn machine(config: Option<&str>) -> Machine {
        let config = config.map(str::to_owned);
        Machine { is_foreign: true, config, has_systemd: true, is_enabled: true, prefix: "" }
    }

    #[test]
    fn only_what_is_needed_is_left_to_do() {
        let all = machine(Some("log = \"info\"\noutbox = \"none\"\n"));
        assert_eq!(
            all.commands(Path::new(FILE)),
            [
                "chown rowcall /etc/rowcall/outbox.cnf",
                "sed -i 's,^outbox *=.*,outbox = \"/etc/rowcall/outbox.cnf\",' /etc/rowcall/rowcalld.toml",
                "systemctl restart rowcalld",
            ]
        );
        let named = Some("outbox = \"/etc/rowcall/outbox.cnf\"\n");
        let done = Machine { is_foreign: false, ..machine(named) };
        assert_eq!(done.commands(Path::new(FILE)), ["systemctl restart rowcalld"]);
        let sudo = Machine { is_foreign: false, is_enabled: false, prefix: "sudo ", ..machine(named) };
        assert_eq!(
            sudo.commands(Path::new(FILE)),
            ["sudo systemctl enable rowcalld", "sudo systemctl restart rowcalld"]
        );
        assert_eq!(machine(None).commands(Path::new("/a b")), ["rowcalld --outbox '/a b'"]);
    }

    /// By sed itself, also where a name has signs that sed, the shell or the file reads as something else.
    #[test]
    fn the_configuration_names_the_file_then() {
        for file in [FILE, "/a,b&c/d's \"e\"\\f.cnf"] {
            for config in
                ["outbox = \"none\"\nlog = \"info\"\n", "log = \"info\"\n", "outbox=\"none\" # why\n"]
            {
                let script = quoted(&edit(config, Path::new(file)).unwrap());
                let sed = format!("printf %s {} | sed {script}", quoted(config));
                let output = Command::new("sh").args(["-c", &sed]).output().unwrap();
                let changed = String::from_utf8(output.stdout).unwrap();
                let table: toml::Table = changed.parse().unwrap();
                assert_eq!(table["outbox"].as_str(), Some(file), "{sed}: {changed}");
                assert_eq!(edit(&changed, Path::new(file)), None, "{changed}");
            }
        }
    }
}
