//! Beside Debian's own packages: ours can be installed with each server's, and the C library's package need not
//! be there.

use super::{make, profile, succeeds};
use harness::{Kind, Server, repository};
use std::fs;
use std::process::{Command, Output};

/// The apt that tests/servers.sh makes: it knows Debian's unstable branch, and nothing as installed.
fn apt(arguments: &[&str]) -> Option<Output> {
    let config = harness::cache().join("servers/apt/apt.conf");
    if !config.is_file() {
        let text = format!("{} is not there: run tests/servers.sh", config.display());
        assert!(std::env::var_os("CI").is_none(), "{text}");
        eprintln!("SKIPPED: {text}");
        return None;
    }
    Some(Command::new("apt-get").env("APT_CONFIG", config).args(arguments).output().unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn the_command_can_be_installed_beside_each_server() {
    let work = harness::folder();
    let [_udf, package] = &make(work.path())[..] else { unreachable!("there are two") };
    let package = package.to_str().unwrap();
    for server in ["mysql-server", "mariadb-server"] {
        let Some(output) = apt(&["-s", "install", package, server]) else { return };
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        for installed in ["Inst rowcall ", &format!("Inst {server} ")] {
            assert!(said.contains(installed), "{said}");
        }
    }
    // With the shared C library it could not.
    let output = apt(&["-s", "install", package, "mysql-server", "libmariadb3"]).unwrap();
    assert!(!output.status.success(), "{}", said(&output));
}

/// What is installed, used where the package of the shared C library is not.
#[test]
fn passwords_are_shown_without_the_package_of_the_c_library() {
    if !nix::unistd::geteuid().is_root() || !Kind::MySql.is_there() {
        assert!(std::env::var_os("CI").is_none(), "not root, or no MySQL");
        return eprintln!("SKIPPED: not root, or no MySQL");
    }
    let folder = harness::folder();
    let prefix = folder.path().join("usr");
    let profile = profile();
    let mut make = Command::new("make");
    make.args(["-s", "-C"]).arg(repository()).arg("files");
    make.arg(format!("DESTDIR={}", folder.path().display())).arg("PREFIX=/usr");
    make.arg(format!("PROFILE={}", profile.file_name().unwrap().display()));
    succeeds(make.env("CARGO_TARGET_DIR", profile.parent().unwrap()));
    let server = Server::start(Kind::MySql, folder.path(), &folder.path().join("rowcall.sock"));
    let account = "CREATE USER shop@localhost IDENTIFIED WITH caching_sha2_password BY 'secret'";
    server.connect().query(account).unwrap();
    let socket = server.options().socket.unwrap();
    let log_in = || {
        let hide =
            "mount -t tmpfs none \"$1\" && exec \"$2\" watch --list --no-defaults -S \"$3\" -ushop -psecret";
        let modules = succeeds(Command::new("mariadb_config").arg("--plugindir")).stdout;
        let modules = String::from_utf8(modules).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", hide, "hide", modules.trim()]);
        said(&command.arg(prefix.join("bin/rowcall")).arg(&socket).output().unwrap())
    };
    let said = log_in();
    assert!(!said.contains("plugin") && !said.contains("Access denied for user"), "{said}");
    fs::remove_dir_all(prefix.join("libexec/rowcall/plugin")).unwrap();
    let said = log_in();
    assert!(said.contains("caching_sha2_password"), "without our modules there are none: {said}");
}
