//! The page obeys the file of users: it asks to log in, and shows what the user may see.

use super::{page, publish, rows, until_live};
use crate::users::{User, users_file, write_users};
use harness::{Browser, Daemon};
use sha2::{Digest, Sha256};

/// A token of the user who may do everything.
const TOKEN: &str = "a long random token";

fn users() -> String {
    let digest: String = Sha256::digest(TOKEN.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    users_file(&[
        User::new("ada", "subscribe = { allow = [\"shop.>\", \"ask crew\"], deny = [\"shop.secret\"] }", ""),
        User::new("bob", "subscribe = { allow = [] }", ""),
    ]) + &format!("[[users]]\nname = \"all\"\ntoken = \"sha256:{digest}\"\n")
}

fn guarded() -> (tempfile::TempDir, Daemon, Browser) {
    let folder = harness::folder();
    let settings = write_users(folder.path(), &users()) + crate::users::PATIENT;
    let daemon = Daemon::with_settings(folder.path(), &settings);
    let browser = Browser::open(&format!("http://{}/", daemon.http));
    (folder, daemon, browser)
}

fn log_in(browser: &mut Browser, name: &str, password: &str) {
    browser.until_shown("#login", "Log in to rowcalld");
    browser.fill("#name", name);
    browser.fill("#password", password);
    browser.click("#login button");
}

/// Publishes as the user who may.
fn say(daemon: &Daemon, subject: &str) {
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(daemon.visit().ask(&format!("POST /publish/{subject}"), &headers, "1").status, 200);
}

#[test]
fn the_page_asks_to_log_in_and_shows_what_the_user_may_see() {
    let (_folder, daemon, mut browser) = guarded();
    log_in(&mut browser, "ada", "wrong");
    browser.until_shown("#login-wrong", "That is not right");
    browser.photograph("login");
    log_in(&mut browser, "ada", "adaada");
    until_live(&mut browser);
    browser.until_shown("#user", "logged in as ada");
    assert_eq!(browser.value("document.querySelector('#subjects').value"), "shop.>");
    for subject in ["elsewhere", "shop.secret", "shop.orders"] {
        say(&daemon, subject);
    }
    browser.until_shown("#rows tr", "shop.orders");
    assert_eq!(rows(&mut browser), 1);
    browser.fill("#subjects", ">");
    browser.click("#filter button");
    browser.until_shown("#filter-wrong", "this user may not subscribe to this subject");
    // The tab knows who it is after it was loaded anew, and no longer once it was told to forget.
    let address = format!("http://{}/", daemon.http);
    browser.go(&address);
    until_live(&mut browser);
    browser.click("#logout");
    browser.until_shown("#login", "Log in to rowcalld");
}

#[test]
fn who_may_hear_nothing_is_told_so() {
    let (_folder, daemon, mut browser) = guarded();
    log_in(&mut browser, "bob", "bobbob");
    browser.until_shown("#filter-wrong", "the user bob may listen to no subject");
    browser.until_shown("#user", "bob");
    browser.click("#logout");
    browser.until_shown("#login", "Log in to rowcalld");
    browser.fill("#token", TOKEN);
    browser.press("Enter");
    until_live(&mut browser);
    say(&daemon, "elsewhere");
    browser.until_shown("#rows tr", "elsewhere");
}

#[test]
fn whoami_says_what_may_be_heard() {
    let (_folder, daemon, _) = guarded();
    let mut http = daemon.visit();
    assert_eq!(http.ask("GET /whoami", "", "").status, 401);
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    let answer = http.ask("GET /whoami", &headers, "");
    let said: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(said, serde_json::json!({ "user": "all", "subscribe": { "allow": null, "deny": [] } }));
    // The page itself holds nothing, and is there before anyone has logged in; other pages may not frame it.
    let answer = http.ask("GET /", "", "");
    let policy = answer.header("Content-Security-Policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && answer.header("X-Content-Type-Options") == Some("nosniff"));
    assert_eq!(http.ask("POST /", "", "").status, 405);
}

#[test]
fn without_users_nobody_is_asked() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    publish(&daemon, "shop.orders", "1");
    browser.until_shown("#rows tr", "shop.orders");
    assert_eq!(browser.value("document.querySelector('#login').open"), false);
}
