//! How the page looks, on a desk and on a phone, by day and by night; and how it is without eyes or
//! without a mouse.

use super::{page, publish, until_live};
use harness::Browser;
use harness::browser::Node;

/// A change as a watched table tells of it.
fn change(n: u64) -> String {
    format!(
        "{{\"before\":{{\"id\":{n},\"customer\":\"Ada Lovelace\",\"total\":12.50,\"state\":\"new\"}},\
         \"after\":{{\"id\":{n},\"customer\":\"Ada Lovelace\",\"total\":13.00,\"state\":\"paid\"}},\
         \"source\":{{\"db\":\"shop\",\"table\":\"orders\"}},\"op\":\"u\",\"ts_ms\":1795752000123}}"
    )
}

/// Nothing of the page is beside the screen.
fn fits(browser: &mut Browser) {
    let wide = "[document.documentElement.scrollWidth, innerWidth]";
    let measured = browser.value(wide);
    assert!(measured[0].as_u64() <= measured[1].as_u64(), "wider than the screen: {measured}");
}

#[test]
fn it_fits_every_screen_by_day_and_by_night() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    browser.prefer("light");
    browser.photograph("empty-light");
    browser.resize(360, 740);
    fits(&mut browser);
    browser.photograph("empty-phone");
    for n in 0..12 {
        publish(&daemon, "shop.orders.update", &change(n));
        publish(&daemon, &format!("a.subject.that.is.{}", "long".repeat(30)), &"word".repeat(100));
    }
    browser.until("all of them", "document.querySelectorAll('#rows tr').length === 24");
    let ground = "getComputedStyle(document.body).backgroundColor";
    for (scheme, brightness) in [("light", 244), ("dark", 16)] {
        browser.prefer(scheme);
        let color = format!("Number({ground}.match(/\\d+/)[0])");
        assert_eq!(browser.value(&color), brightness, "{scheme}");
        for (name, width, height) in [("phone", 360, 740), ("desk", 1280, 900)] {
            browser.resize(width, height);
            fits(&mut browser);
            browser.photograph(&format!("{name}-{scheme}"));
        }
    }
    // The check can fail.
    browser.value("document.body.append(Object.assign(document.createElement('div'), { style: 'width: 3000px; height: 1px' }))");
    assert_ne!(browser.value("document.documentElement.scrollWidth"), browser.value("innerWidth"));
}

/// What is wrong with a page for whoever hears it.
fn unspeakable(nodes: &[Node]) -> Vec<String> {
    let named = ["button", "textbox", "link", "table", "region", "image", "dialog", "form"];
    let mut wrong: Vec<String> = nodes
        .iter()
        .filter(|node| named.contains(&node.role.as_str()) && node.name.trim().is_empty())
        .map(|node| format!("a {} without a name", node.role))
        .collect();
    let first = nodes.iter().filter(|node| node.role == "heading" && node.level == Some(1)).count();
    if first != 1 {
        wrong.push(format!("{first} headings of the first level"));
    }
    for landmark in ["main", "banner", "region", "status"] {
        if !nodes.iter().any(|node| node.role == landmark) {
            wrong.push(format!("no {landmark}"));
        }
    }
    wrong
}

#[test]
fn it_can_be_heard() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    publish(&daemon, "shop.orders.update", &change(1));
    browser.until_shown("#rows tr", "shop.orders.update");
    let nodes = browser.spoken();
    assert_eq!(unspeakable(&nodes), Vec::<String>::new(), "{nodes:#?}");
    for (role, name) in [("table", "Events"), ("image", "Messages"), ("button", "shop.orders.update")] {
        let there = nodes.iter().any(|node| node.role == role && node.name.contains(name));
        assert!(there, "no {role} {name}: {nodes:#?}");
    }
    // On a phone the list is laid out otherwise, and is a table all the same.
    browser.resize(360, 740);
    let nodes = browser.spoken();
    let cells = nodes.iter().filter(|node| node.role == "cell" || node.role == "gridcell").count();
    assert!(cells >= 3, "{nodes:#?}");
    browser.click("#rows .open");
    browser.until_shown("#event-title", "shop.orders.update");
    // What stands behind an open dialog is not there.
    let nodes = browser.spoken();
    assert!(
        nodes.iter().any(|node| node.role == "dialog" && node.name == "shop.orders.update"),
        "{nodes:#?}"
    );
    // The list does not shout: only what is said on purpose is.
    let live = "[...document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')].map(it => it.id)";
    assert_eq!(
        browser.value(live),
        serde_json::json!(["announcer", "down", "filter-wrong", "parked-said", "login-wrong"])
    );
    // The check can fail.
    browser.press("Escape");
    browser.value("document.body.append(document.createElement('button'), document.createElement('h1'))");
    assert_eq!(unspeakable(&browser.spoken()), ["a button without a name", "2 headings of the first level"]);
}

/// Goes on to an element by the Tab key alone.
fn tab_to(browser: &mut Browser, selector: &str) {
    for _ in 0..40 {
        browser.press("Tab");
        if browser.value(&format!("document.activeElement.matches('{selector}')")) == true {
            let outline = "getComputedStyle(document.activeElement).outlineStyle";
            assert_eq!(browser.value(outline), "solid", "where the focus is must be seen");
            return;
        }
    }
    panic!("no way to {selector} by keyboard");
}

#[test]
fn it_needs_no_mouse() {
    let (_folder, daemon, mut browser) = page("");
    until_live(&mut browser);
    publish(&daemon, "shop.orders.update", &change(1));
    browser.until_shown("#rows tr", "shop.orders.update");
    tab_to(&mut browser, ".skip");
    browser.press("Enter");
    tab_to(&mut browser, "#subjects");
    tab_to(&mut browser, "#pause");
    browser.press("Space");
    browser.until_shown("#events-note", "Paused");
    browser
        .until("it is said", "document.querySelector('#announcer').textContent === 'The list stands still.'");
    browser.press("Space");
    browser.until("it goes on", "document.querySelector('#events-note').textContent === ''");
    tab_to(&mut browser, "#rows .open");
    // What comes now does not take the focus away.
    publish(&daemon, "shop.other", "1");
    browser.until_shown("#rows tr:first-child", "shop.other");
    browser.press("Enter");
    browser.until_shown("#event .difference ins", "13.00");
    browser.press("Escape");
    browser.until("it is closed", "!document.querySelector('#event').open");
    browser.until(
        "the focus is where it was",
        "document.activeElement.matches('#rows .open') && document.activeElement.innerText === 'shop.orders.update'",
    );
}
