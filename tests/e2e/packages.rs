//! Debian's packages, in a clean Debian of their own: installing, upgrading under a running server, removing,
//! purging. The same input makes the same packages.

mod distribution;

use harness::{Child, eventually, repository};
use nix::sys::signal::Signal;
use rowcall_mysql::{Connection, Options};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The library of the version that is built.
const LIBRARY: &str = concat!(
    "rowcall_",
    env!("CARGO_PKG_VERSION_MAJOR"),
    "_",
    env!("CARGO_PKG_VERSION_MINOR"),
    "_",
    env!("CARGO_PKG_VERSION_PATCH"),
    ".so"
);

/// The library of the version before, which is the same but for its name.
const OLD_LIBRARY: &str = "rowcall_0_0_9.so";

/// Where Debian's servers look for libraries.
const PLUGINS: &str = "usr/lib/mysql/plugin";

/// What the administrator has changed.
const CONFIG: &str = "etc/rowcall/rowcalld.toml";

/// A Debian of its own, copied from the one that tests/debian.sh brings.
struct Root {
    folder: tempfile::TempDir,
}

impl Root {
    /// `None`, and a word about it, where it cannot be had: without root, without a mirror.
    fn copy() -> Option<Root> {
        let from = harness::cache().join("debian/root");
        if !(from.is_dir() && nix::unistd::geteuid().is_root()) {
            let text = format!("{} is not there, or this is not root: run tests/debian.sh", from.display());
            assert!(std::env::var_os("CI").is_none(), "{text}");
            eprintln!("SKIPPED: {text}");
            return None;
        }
        let root = Root { folder: harness::folder() };
        succeeds(Command::new("cp").arg("-a").arg(from).arg(root.path("")));
        // It need not survive a crash.
        fs::write(root.path("etc/dpkg/dpkg.cfg.d/quick"), "force-unsafe-io\n").unwrap();
        Some(root)
    }

    /// A file in it, as it is called from outside.
    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join("r").join(inside)
    }

    /// A command inside, with a /proc of its own that goes when it has ended.
    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("unshare");
        let enter = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" sh -euc \"$1\"";
        command.args(["--mount", "sh", "-c", enter]).arg(self.path("").as_os_str()).arg(script);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs it to its end; what it said.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let output = succeeds(&mut self.command(&format!("exec 2>&1\n{script}")));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everything that is there, but for what dpkg writes about it and what runs leave behind.
    fn files(&self) -> Vec<String> {
        let skipped = ["/proc", "/dev", "/var/lib/dpkg", "/var/log", "/tmp", "/srv"];
        let skipped: Vec<String> = skipped.iter().map(|path| format!("-path {path} -prune")).collect();
        let found = self.run(&format!("find / {} -o -print | sort", skipped.join(" -o ")));
        found.lines().map(str::to_owned).collect()
    }

    fn plugins(&self) -> Vec<String> {
        let files = fs::read_dir(self.path(PLUGINS)).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut ours: Vec<_> = names.filter(|name| name.starts_with("rowcall_")).collect();
        ours.sort();
        ours
    }

    /// Starts the server that is in there.
    fn server(&self) -> Child {
        let child = Child::start(
            "mariadbd",
            &mut self.command(
                "exec mariadbd --no-defaults --user=root --datadir=/srv/data --socket=/srv/db.sock \
                 --skip-networking --innodb-buffer-pool-size=32M --innodb-log-file-size=8M --performance-schema=OFF",
            ),
        );
        child.says("ready for connections");
        child
    }

    fn connect(&self) -> Connection {
        let options = Options {
            socket: Some(self.path("srv/db.sock")),
            user: Some("root".into()),
            ..Options::default()
        };
        Connection::connect(&options).unwrap()
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    output
}

/// The folder of what was built beside the tests, whose name is that of the profile.
fn profile() -> PathBuf {
    harness::built("rowcall").canonicalize().unwrap().parent().unwrap().to_owned()
}

/// Makes the packages of what was built beside the tests.
fn make(out: &Path) -> Vec<PathBuf> {
    let profile = profile();
    let mut command = Command::new(repository().join("dist/deb.sh"));
    command.arg(profile.file_name().unwrap()).arg(out);
    succeeds(command.env("CARGO_TARGET_DIR", profile.parent().unwrap()).env("COMPRESS", "gzip"));
    let mut made: Vec<_> = fs::read_dir(out).unwrap().map(|file| file.unwrap().path()).collect();
    made.sort();
    assert_eq!(made.len(), 2, "{made:?}");
    made
}

/// Makes the package of an older version out of one: other numbers, another library, another default.
const AGE: &str = r#"
dpkg-deb -R "$1" "$2/old"
sed -i 's/^Version:.*/Version: 0.0.9-1/' "$2/old/DEBIAN/control"
sed -i '/rowcall_0/d; /rowcalld.toml/d' "$2/old/DEBIAN/md5sums"
for library in "$2"/old/usr/lib/rowcall/*.so; do
    [ ! -e "$library" ] || mv "$library" "$2/old/usr/lib/rowcall/rowcall_0_0_9.so"
done
[ ! -e "$2/old/etc" ] || echo '# As it was.' >>"$2/old/etc/rowcall/rowcalld.toml"
dpkg-deb -Zgzip -b "$2/old" "$3"
rm -r "$2/old"
"#;

#[test]
fn packages_are_installed_upgraded_and_removed() {
    let Some(root) = Root::copy() else { return };
    let bare = root.files();
    let work = harness::folder();
    for (package, name) in make(work.path()).iter().zip(["udf", "rowcall"]) {
        fs::copy(package, root.path("tmp").join(format!("{name}.deb"))).unwrap();
        let old = root.path("tmp").join(format!("{name}-old.deb"));
        succeeds(Command::new("sh").args(["-euc", AGE, "age"]).args([package.as_path(), work.path(), &old]));
    }

    root.run("dpkg -i /tmp/rowcall-old.deb /tmp/udf-old.deb");
    installed(&root);
    root.run(MAKE_DATA);
    let mut server = root.server();
    let uses = |sql: &mut Connection| {
        sql.value("SELECT GROUP_CONCAT(DISTINCT dl) FROM mysql.func").unwrap().unwrap_or_default()
    };
    let works = |sql: &mut Connection| sql.value("SELECT CONVERT(rowcall_version() USING utf8mb4)").is_ok();
    root.run(&format!(
        "sed s/{LIBRARY}/{OLD_LIBRARY}/ /usr/share/rowcall/sql/install.sql | \
         mariadb --no-defaults --socket=/srv/db.sock --user=root mysql"
    ));

    upgraded(&root);
    let mut sql = root.connect();
    assert!(works(&mut sql), "the server has not noticed");
    server.signal(Signal::SIGTERM);
    server.wait();
    server = root.server();
    let mut sql = root.connect();
    assert!(works(&mut sql), "nor has it after a restart");
    assert_eq!(uses(&mut sql), OLD_LIBRARY);
    root.run("rowcall install --no-defaults -S /srv/db.sock -uroot");
    assert!(works(&mut sql));
    assert_eq!(uses(&mut sql), LIBRARY);
    assert_eq!(an_event(&root, &mut sql), "it works");

    let said = root.run("dpkg -r rowcall rowcall-udf");
    assert!(said.contains("the library stays in /usr/lib/mysql/plugin"), "{said}");
    assert!(works(&mut sql));
    assert!(!root.path("usr/bin/rowcalld").exists() && !root.path("run/rowcall").exists());
    assert!(root.path(CONFIG).exists(), "configuration stays until it is purged");

    let said = root.run("dpkg -P rowcall rowcall-udf");
    assert!(said.contains(LIBRARY) && said.contains("so it stays"), "{said}");
    assert_eq!(root.plugins(), [OLD_LIBRARY, LIBRARY], "the server has both loaded");
    server.signal(Signal::SIGTERM);
    server.wait();
    root.run("dpkg -i /tmp/udf.deb && dpkg -P rowcall-udf");
    let left: Vec<_> = root.files().into_iter().filter(|path| !bare.contains(path)).collect();
    // The files of accounts that were changed, as they were before.
    let backups = ["/etc/group-", "/etc/gshadow-", "/etc/passwd-", "/etc/shadow-", "/etc/.pwd.lock"];
    // And the profile that this test has put there.
    let ours = |path: &&String| path.starts_with("/etc/apparmor.d");
    let left: Vec<_> = left.iter().filter(|path| !backups.contains(&path.as_str()) && !ours(path)).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert!(!root.path("etc/apparmor.d/abstractions").exists());
    assert_eq!(fs::read_to_string(root.path("etc/apparmor.d/local/usr.sbin.mysqld")).unwrap(), "# Mine.\n");
}

/// What is there after an installation.
fn installed(root: &Root) {
    let account = root.run("getent passwd rowcall && getent group rowcall mysql");
    assert!(account.contains(":/usr/sbin/nologin"), "{account}");
    assert_eq!(account.lines().count(), 3, "{account}");
    let modes = root.run(&format!(
        "stat -c '%U:%G %a %n' /run/rowcall /etc/rowcall /etc/rowcall/rowcalld.toml /usr/bin/rowcalld \
         /usr/lib/systemd/system/rowcalld.service /{PLUGINS}/{OLD_LIBRARY}"
    ));
    let owned =
        ["755 /run/rowcall", "755 /etc/rowcall", "644 /etc/rowcall/rowcalld.toml", "755 /usr/bin/rowcalld"];
    for line in owned {
        assert!(modes.contains(&format!("root:root {line}\n")), "{modes}");
    }
    assert!(modes.contains(&format!("root:root 644 /{PLUGINS}/{OLD_LIBRARY}")), "{modes}");
    let version =
        root.run("rowcalld --version; rowcall --version; rowcalld --print-config | cmp - /dev/null || true");
    assert!(version.starts_with(concat!("rowcalld ", env!("CARGO_PKG_VERSION"))), "{version}");
    assert!(!root.path("etc/apparmor.d/local").exists(), "nothing is confined here");
    // What dpkg has on record is what is there.
    assert_eq!(root.run("dpkg -V rowcall rowcall-udf").replace("??5??????", ""), "");
}

/// The next version comes; the administrator has made changes meanwhile.
fn upgraded(root: &Root) {
    let config = root.path(CONFIG);
    let mine = fs::read_to_string(&config).unwrap() + "# Mine.\n";
    fs::write(&config, &mine).unwrap();
    let (profile, local) = (root.path("etc/apparmor.d/usr.sbin.mysqld"), root.path("etc/apparmor.d/local"));
    fs::write(profile, "/usr/sbin/mysqld {\n  #include <local/usr.sbin.mysqld>\n}\n").unwrap();
    fs::create_dir(&local).unwrap();
    fs::write(local.join("usr.sbin.mysqld"), "# Mine.\n").unwrap();

    let said = root.run("dpkg --force-confdef --force-confold -i /tmp/rowcall.deb /tmp/udf.deb");
    assert!(said.contains("`rowcall install` changes them over"), "{said}");
    assert_eq!(fs::read_to_string(&config).unwrap(), mine);
    assert!(root.path("etc/rowcall/rowcalld.toml.dpkg-dist").exists(), "the new defaults lie beside it");
    assert_eq!(root.plugins(), [OLD_LIBRARY, LIBRARY]);
    assert!(!root.path("usr/lib/rowcall").join(OLD_LIBRARY).exists());
    let rules = "# Mine.\ninclude if exists <abstractions/rowcall>\n";
    for _ in 0..2 {
        assert_eq!(fs::read_to_string(local.join("usr.sbin.mysqld")).unwrap(), rules);
        // The same again changes nothing.
        root.run("dpkg --force-confold -i /tmp/rowcall.deb");
    }
}

/// What a listener hears of an event, with the daemon of the package between.
fn an_event(root: &Root, sql: &mut Connection) -> String {
    let daemon = Child::start("rowcalld", &mut root.command("exec rowcalld --listen none --http none"));
    daemon.says("listening transport=\"unix\"");
    let listener =
        Child::start("rowcall", &mut root.command("exec rowcall listen --json --count 1 it.works"));
    eventually("a listener", || {
        sql.query("SELECT rowcall_notify('it.works', 'it works')").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        listener.said().contains("it works").then_some(())
    });
    let line = listener.prints("it works");
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    daemon.signal(Signal::SIGTERM);
    event["payload"].as_str().unwrap().to_owned()
}

/// What `rowcall install --outbox` prints, run as it is printed, leaves a daemon in committed mode. systemd is
/// played: its folder is there, and `systemctl` writes down what it was asked for.
#[test]
fn what_install_leaves_to_do_is_printed_and_works() {
    let Some(root) = Root::copy() else { return };
    let work = harness::folder();
    for (package, name) in make(work.path()).iter().zip(["udf", "rowcall"]) {
        fs::copy(package, root.path("tmp").join(format!("{name}.deb"))).unwrap();
    }
    root.run("dpkg -i /tmp/rowcall.deb /tmp/udf.deb");
    root.run(MAKE_DATA);
    let _server = root.server();
    root.run(
        "mkdir -p /run/systemd/system
         printf '#!/bin/sh\necho \"$*\" >>/srv/asked\n' >/usr/bin/systemctl
         chmod 755 /usr/bin/systemctl",
    );
    let install =
        "rowcall install --no-defaults -S /srv/db.sock -uroot --outbox /etc/rowcall/outbox.cnf 2>/dev/null";
    let said = root.run(install);
    let (_, commands) = said.split_once("Left to do, so that the daemon reads the outbox:\n\n").unwrap();
    root.run(commands);
    let asked = root.run("cat /srv/asked");
    assert_eq!(asked, "restart rowcalld\n", "{commands}");
    let file = root.run("stat -c '%U %a' /etc/rowcall/outbox.cnf");
    assert_eq!(file, "rowcall 600\n", "the daemon reads it, and nobody else");
    // As the unit has it, but for what systemd listens to.
    let unit = "export ROWCALL_CONFIG=/etc/rowcall/rowcalld.toml
                exec setpriv --reuid rowcall --regid rowcall --init-groups \
                     rowcalld --socket /tmp/rowcall.sock --listen none --http none";
    let daemon = Child::start("rowcalld", &mut root.command(unit));
    daemon.says("outbox: reading");
    let said = root.run(install);
    assert!(!said.contains("Left to do"), "{said}");
}

/// A server's data, where the server in the root looks for it.
const MAKE_DATA: &str = "mkdir /srv/data && mariadb-install-db --no-defaults --user=root --datadir=/srv/data \
                         --auth-root-authentication-method=normal --skip-test-db --force --innodb-log-file-size=8M";

#[test]
fn the_same_input_makes_the_same_packages() {
    let (one, two) = (harness::folder(), harness::folder());
    for (one, two) in make(one.path()).iter().zip(make(two.path())) {
        assert_eq!(one.file_name(), two.file_name());
        assert!(fs::read(one).unwrap() == fs::read(&two).unwrap(), "{} differs", two.display());
    }
}
