//! The pages in docs/examples listen to a table without any library: one in PHP, one in a browser.

use super::subscriptions;
use harness::{Child, Kind, PATIENCE, Site, repository};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};

fn site() -> Option<Site> {
    let site = Site::committed(Kind::MariaDb)?;
    site.server.run_script(&repository().join("sql/examples/orders.sql"));
    Some(site)
}

fn example(name: &str) -> std::path::PathBuf {
    repository().join("docs/examples").join(name)
}

#[test]
fn a_page_in_php_listens_to_a_table() {
    let Some(mut site) = site() else { return };
    let mut command = Command::new("php");
    command.arg(example("orders.php")).env("ROWCALL_HTTP", &site.daemon().http);
    let page = Child::start("php", &mut command);
    page.prints("listening");
    let mut sql = site.connect();
    sql.query("INSERT INTO orders (customer, total) VALUES ('Ada', 12.50)").unwrap();
    sql.query("UPDATE orders SET state = 'paid'").unwrap();
    sql.query("DELETE FROM orders").unwrap();
    let lines = page.printed(4);
    assert_eq!(
        lines,
        ["listening", "shop.orders.created 1 new", "shop.orders.changed 1 paid", "shop.orders.deleted 1"]
    );
    drop(page);
    subscriptions(site.daemon(), 0);
}

/// Put behind the page: it tells the test what the page shows.
const WITNESS: &str = "<script>
const tell = () => fetch('/seen', { method: 'POST', body: document.body.innerText });
new MutationObserver(tell).observe(document.body, { childList: true, subtree: true, characterData: true });
tell();
</script>";

/// A web server with the page, that hears what it shows.
fn serve(listener: TcpListener, seen: Sender<String>) {
    let page = fs::read_to_string(example("orders.html")).unwrap() + WITNESS;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A browser opens connections ahead and says nothing on them, so each has a thread.
            let (page, seen) = (page.clone(), seen.clone());
            std::thread::spawn(move || answer(stream, &page, &seen));
        }
    });
}

fn answer(mut stream: TcpStream, page: &str, seen: &Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(reader.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let mut pairs = head.lines().filter_map(|line| line.split_once(": "));
    let length = pairs.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let page = match head.split(' ').nth(1) {
        Some("/seen") => {
            let _ = seen.send(String::from_utf8(body).unwrap());
            ""
        }
        Some(path) if path.starts_with("/orders.html") => page,
        _ => "",
    };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
    // Whoever has hung up does not want it.
    let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
}

/// A headless browser with the page, at a daemon that lists it or does not.
fn browse(page: &str, daemon: &str, profile: &std::path::Path) -> Child {
    let mut command = Command::new("chromium");
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args(["--disable-background-networking", "--disable-component-update"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("{page}/orders.html?daemon=http://{daemon}"));
    Child::start("chromium", &mut command)
}

#[track_caller]
fn until_shown(seen: &Receiver<String>, words: &[&str]) {
    let mut latest = String::new();
    while !words.iter().all(|word| latest.contains(word)) {
        latest = seen.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{words:?} not in {latest:?}"));
    }
}

#[test]
fn a_page_in_a_browser_listens_to_a_table() {
    let Some(mut site) = site() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (sender, seen) = mpsc::channel();
    serve(listener, sender);
    let profiles = harness::folder();
    // A page that is not listed hears nothing.
    let browser = browse(&origin, &site.daemon().http, &profiles.path().join("refused"));
    until_shown(&seen, &["refused"]);
    drop(browser);
    site.daemon().stop();
    site.start_committed_daemon_with(&format!("http_cors_origins = [{origin:?}]"), "outbox: reading");
    let _browser = browse(&origin, &site.daemon().http, &profiles.path().join("listed"));
    until_shown(&seen, &["listening"]);
    let mut sql = site.connect();
    sql.query("INSERT INTO orders (customer, total) VALUES ('<b>Ada</b>', 12.50)").unwrap();
    until_shown(&seen, &["created", "new"]);
    sql.query("UPDATE orders SET state = 'paid'").unwrap();
    until_shown(&seen, &["changed", "paid"]);
}
