//! README.md is true: its quick start leads a stranger where it says, in as few commands.

mod session;

use harness::{Child, Kind, Shell, Site, eventually, shell};
use std::fs;
use std::os::unix::fs::PermissionsExt;

on_each_server!(a_stranger_gets_there);

/// Commands until the changes of a table are seen, and then until a script runs for each new row.
const SEEN: usize = 5;
const WORKED_ON: usize = 2;

/// An account that is nobody's own, and its group: the server runs as it, as packages have it run as mysql.
const ACCOUNT: &str = "nobody";
const GROUP: &str = "nogroup";

/// Fails once for each row, and then works.
const SCRIPT: &str = "#!/bin/sh
cat > /dev/null
mkdir \"$HOME/$ROWCALL_NEW_ID\" 2>/dev/null && exit 1
echo \"mail to $ROWCALL_NEW_CUSTOMER\"
";

/// A server as any machine has one, with a table, and nothing of ours.
fn machine(kind: Kind) -> Option<(Site, Shell)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can let the server run as another account");
        return None;
    }
    let mut site = Site::bare(kind, &[])?;
    site.server.run_as(ACCOUNT);
    let mut sql = site.connect();
    sql.query("CREATE DATABASE shop").unwrap();
    sql.query("CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, customer TEXT)").unwrap();
    let mut shell = Shell::new();
    shell.reach(&site.server.socket);
    shell.replace("--socket-group mysql", format!("--socket-group {GROUP}"));
    shell.set("ROWCALL_SOCKET", site.socket.display());
    shell.set("ROWCALL_SERVER", format!("unix:{}", site.socket.display()));
    shell.set("ROWCALL_LISTEN", "127.0.0.1:0");
    shell.set("ROWCALL_HTTP", "127.0.0.1:0");
    // The account that servers have without being asked for it is mysql; so the daemon is told.
    fs::write(
        shell.path("etc/rowcall/users.toml"),
        format!("[sql]\nsocket_peers = [\"root\", \"{ACCOUNT}\"]\n"),
    )
    .unwrap();
    shell.set("ROWCALL_USERS", shell.path("etc/rowcall/users.toml").display());
    fs::write(shell.path("root/send-mail.sh"), SCRIPT).unwrap();
    fs::set_permissions(shell.path("root/send-mail.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    Some((site, shell))
}

/// What stays until it is told to leave, and what it says once it is at work.
const LASTING: [(&str, &str); 3] =
    [("rowcalld", "outbox: reading"), ("rowcall listen", "listening"), ("rowcall exec", "running")];

/// Types the line; what stays is given back.
fn types(shell: &Shell, line: &str) -> Option<Child> {
    if line == "make install" {
        shell.make("files");
        return None;
    }
    let Some((_, words)) = LASTING.iter().find(|(name, _)| line.starts_with(name)) else {
        shell.run(line);
        return None;
    };
    let child = shell.start(line);
    child.says(words);
    Some(child)
}

fn a_stranger_gets_there(kind: Kind) {
    let Some((site, shell)) = machine(kind) else { return };
    let lines = shell::lines("README.md", "Quick start");
    let seen = lines.iter().position(|line| line.starts_with("rowcall listen")).unwrap() + 1;
    assert!(seen <= SEEN && lines.len() <= seen + WORKED_ON, "{lines:#?}");
    let mut sql = site.connect();

    let stay: Vec<Child> = lines[..seen].iter().filter_map(|line| types(&shell, line)).collect();
    sql.query("INSERT INTO shop.orders (customer) VALUES ('Ada')").unwrap();
    let heard = stay[1].printed(1);
    assert!(heard[0].ends_with("shop.orders.insert  + id: 1  customer: \"Ada\""), "{heard:?}");
    // The server, which is not root, may use the socket.
    let sent = sql.value("SELECT rowcall_notify('shop.orders.greeting', 'hello')").unwrap();
    assert_eq!(sent.as_deref(), Some("1"), "{}", stay[0].said());
    stay[1].prints("hello");

    assert!(types(&shell, &lines[seen]).is_none());
    sql.query("INSERT INTO shop.orders (customer) VALUES ('Grace'), ('Edsger')").unwrap();
    sql.query("UPDATE shop.orders SET customer = 'Dijkstra' WHERE id = 3").unwrap();
    let worker = types(&shell, &lines[seen + 1]).unwrap();
    let mut mails = worker.printed(2);
    mails.sort();
    assert_eq!(mails, ["mail to Edsger", "mail to Grace"]);
    eventually("each row was worked on", || {
        let done = sql.value("SELECT CONCAT(settled, '/', redelivered, '/', pending) FROM rowcall.status WHERE consumer = 'mail'");
        (done.unwrap().as_deref() == Some("2/2/0")).then_some(())
    });
}
