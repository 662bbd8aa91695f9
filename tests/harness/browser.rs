//! A headless Chromium and someone who looks at a page in it: clicks, types, looks at what is there. Spoken
//! to by the DevTools protocol, over WebSocket.

use crate::children::{Child, PATIENCE};
use crate::eventually;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// A browser with one page.
pub struct Browser {
    socket: WebSocket<TcpStream>,
    /// The page, as the protocol names it.
    session: String,
    /// The number of the latest command.
    latest: u64,
    /// What the page's console was told that it should not: errors, exceptions, what the policy forbids.
    pub complaints: Vec<String>,
    _child: Child,
    _profile: TempDir,
}

/// What makes Chromium headless, quiet, and fit for a container.
const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-port=0",
    "--force-prefers-reduced-motion",
];

/// A node of what a screen reader is told.
#[derive(Debug)]
pub struct Node {
    /// What it is: button, heading, table …
    pub role: String,
    /// What it is called.
    pub name: String,
    /// Its level, if it is a heading.
    pub level: Option<u64>,
}

impl Browser {
    /// Starts one and opens this address.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn open(address: &str) -> Browser {
        let profile = crate::folder();
        let mut command = Command::new("chromium");
        command.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let child = Child::start("chromium", &mut command);
        let line = child.says("DevTools listening on ");
        let url = line.split("listening on ").nth(1).expect("it says where").trim().to_owned();
        let host = url.trim_start_matches("ws://").split('/').next().expect("an address has a host");
        let stream = TcpStream::connect(host).expect("the browser takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let (socket, _) = tungstenite::client(url.as_str(), stream).expect("the browser speaks WebSocket");
        let mut browser = Browser {
            socket,
            session: String::new(),
            latest: 0,
            complaints: Vec::new(),
            _child: child,
            _profile: profile,
        };
        let target = browser.command("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().expect("a session has a name").to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.command(&format!("{domain}.enable"), json!({}));
        }
        browser.command("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        browser.command("Emulation.setScrollbarsHidden", json!({ "hidden": true }));
        browser.resize(1280, 900);
        browser.go(address);
        browser
    }

    /// Opens another address.
    pub fn go(&mut self, address: &str) {
        self.command("Page.navigate", json!({ "url": address }));
        self.until(
            "the page is loaded",
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        );
    }

    /// Says something to the browser, and gives what it answers.
    ///
    /// # Panics
    /// If it answers with an error.
    pub fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.latest += 1;
        let mut command = json!({ "id": self.latest, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(command.to_string())).expect("the browser listens");
        loop {
            let message = self.socket.read().expect("the browser answers");
            let Ok(text) = message.to_text() else { continue };
            let said: Value = serde_json::from_str(text).expect("it speaks JSON");
            if said["id"] == self.latest {
                assert!(said["error"].is_null(), "{method}: {}", said["error"]);
                return said["result"].clone();
            }
            self.hear(&said);
        }
    }

    fn hear(&mut self, said: &Value) {
        let complaint = match said["method"].as_str() {
            Some("Runtime.exceptionThrown") => &said["params"]["exceptionDetails"],
            Some("Log.entryAdded") if said["params"]["entry"]["level"] == "error" => &said["params"]["entry"],
            Some("Runtime.consoleAPICalled") if said["params"]["type"] == "error" => &said["params"]["args"],
            _ => return,
        };
        self.complaints.push(complaint.to_string());
    }

    /// The value of an expression in the page; of a promise, what comes of it.
    ///
    /// # Panics
    /// If it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.command("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// If it does not become so; with what the page shows instead.
    #[track_caller]
    pub fn until(&mut self, what: &str, expression: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.value(&format!("Boolean({expression})")) != true {
            if std::time::Instant::now() > deadline {
                let shown = self.value("document.body.innerText");
                panic!(
                    "in vain: {what}: {expression}\n{}\n{:#?}",
                    shown.as_str().unwrap_or("-"),
                    self.complaints
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Waits until what this selector finds shows these words.
    #[track_caller]
    pub fn until_shown(&mut self, selector: &str, words: &str) {
        let words = json!(words);
        self.until(
            &format!("{words} in {selector}"),
            &format!("[...document.querySelectorAll({})].some(it => it.checkVisibility() && it.innerText.includes({words}))", json!(selector)),
        );
    }

    /// What the element shows.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on the middle of the first element that this selector finds, as a mouse would.
    pub fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const it = document.querySelector({}); it?.scrollIntoView({{ block: 'center' }}); \
             const box = it?.getClientRects()[0]; return box && [box.x + Math.min(box.width / 2, 20), box.y + box.height / 2]; }})()",
            json!(selector)
        );
        let at = eventually(&format!("{selector} is there"), || {
            let at = self.value(&place);
            at.is_array().then_some(at)
        });
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.command("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses a key: Tab, Enter, Escape or Space.
    ///
    /// # Panics
    /// If it is another one.
    pub fn press(&mut self, key: &str) {
        let (key, code, number, text) = match key {
            "Tab" => ("Tab", "Tab", 9, ""),
            "Enter" => ("Enter", "Enter", 13, "\r"),
            "Escape" => ("Escape", "Escape", 27, ""),
            "Space" => (" ", "Space", 32, " "),
            other => panic!("{other} is not on this keyboard"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({
                "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "text": text,
            });
            self.command("Input.dispatchKeyEvent", event);
        }
    }

    /// Puts a text in place of what is in this input.
    pub fn fill(&mut self, selector: &str, text: &str) {
        self.value(&format!(
            "(() => {{ const it = document.querySelector({}); it.focus(); it.select(); }})()",
            json!(selector)
        ));
        self.command("Input.insertText", json!({ "text": text }));
    }

    /// Gives the page another size.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", size);
    }

    /// Says what the person likes better: light or dark.
    pub fn prefer(&mut self, scheme: &str) {
        let feature = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": feature }));
    }

    /// Keeps what is seen as target/screenshots/NAME.png: the page in its whole length, or what is seen
    /// of it around a dialog.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn photograph(&mut self, name: &str) {
        let folder = crate::repository().join("target/screenshots");
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let whole = self.value("document.querySelector('dialog[open]') === null");
        let image = self.command("Page.captureScreenshot", json!({ "captureBeyondViewport": whole }));
        write(
            &folder.join(name).with_extension("png"),
            image["data"].as_str().expect("a picture is text in base64"),
        );
    }

    /// What a screen reader is told of the page.
    pub fn spoken(&mut self) -> Vec<Node> {
        let tree = self.command("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let level = |node: &Value| {
            let properties = node["properties"].as_array()?;
            properties.iter().find(|property| property["name"] == "level")?["value"]["value"].as_u64()
        };
        nodes
            .iter()
            .filter(|node| node["ignored"] != true)
            .map(|node| Node { role: text(&node["role"]), name: text(&node["name"]), level: level(node) })
            .collect()
    }
}

fn write(path: &Path, base64: &str) {
    let bytes = STANDARD.decode(base64).expect("it is base64");
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
