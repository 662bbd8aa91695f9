//! The library inside a server and the daemon beside it may be of different versions, one minor version apart
//! (RELEASE.md). What each version's two halves say to each other is on record in versions/; here each half of
//! today is played the other one's part, as it was recorded and as other versions might say it.

use harness::{Daemon, Kind, Site, Terminal, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

on_each_server!(the_library_speaks_as_recorded, the_library_bears_daemons_of_other_versions);

/// A line of a record: who says it, and what.
type Line = (char, String);

/// What was said, by the version that said it.
fn records() -> Vec<(String, Vec<Line>)> {
    let folder = harness::repository().join("tests/e2e/versions");
    let read = |path: &Path| -> Vec<Line> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| (line.chars().next().unwrap(), line[2..].to_owned())).collect()
    };
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), read(&path))).collect()
}

/// What this version says.
fn of_today() -> Vec<Line> {
    let minor = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    let found = records().into_iter().find(|(version, _)| version == minor);
    found.unwrap_or_else(|| panic!("there is no tests/e2e/versions/{minor}.txt; see RELEASE.md")).1
}

/// What {name} stands for.
#[derive(Clone, Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn fill(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// Whether this is what was recorded. A name that is new stands for what is found there.
    fn agree(&mut self, recorded: &str, said: &str) -> bool {
        let recorded = self.fill(recorded);
        let name = |text: &str| -> Option<(usize, usize)> {
            let from = text.find('{')?;
            let to = from + text[from..].find('}')?;
            text[from + 1..to]
                .chars()
                .all(|c| c.is_ascii_lowercase())
                .then_some((from, to))
                .filter(|_| to > from + 1)
        };
        let Some((from, to)) = name(&recorded) else { return recorded == said };
        if said.get(..from) != Some(&recorded[..from]) {
            return false;
        }
        let end = said[from..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(said.len(), |at| from + at);
        self.0.insert(recorded[from + 1..to].to_owned(), said[from..end].to_owned());
        self.agree(&recorded, said)
    }
}

/// The JSON behind INFO or CONNECT.
fn json_of<'a>(line: &'a str, verb: &str) -> Option<&'a str> {
    line.strip_prefix(verb)?.strip_prefix(' ')
}

/// Plays a daemon for the one connection of a session, to the end of the record.
fn play_daemon(socket: &Path, mut lines: Vec<Line>, info: fn(&mut Value)) -> JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    lines.retain(|(who, _)| matches!(who, 'L' | 'D'));
    thread::spawn(move || {
        let mut names = Names([("server".to_owned(), "ABCDEFGHIJKLMNOPQRSTUV".to_owned())].into());
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut said = BufReader::new(stream.try_clone().unwrap()).lines();
        for (who, text) in lines {
            if let Some(recorded) = json_of(&text, "INFO") {
                let mut json: Value = serde_json::from_str(&names.fill(recorded)).unwrap();
                info(&mut json);
                stream.write_all(format!("INFO {json}\r\n").as_bytes()).unwrap();
            } else if who == 'D' {
                stream.write_all(format!("{}\r\n", names.fill(&text)).as_bytes()).unwrap();
            } else {
                let line = said.next().unwrap().unwrap();
                let same = match json_of(&text, "CONNECT") {
                    Some(recorded) => same_connect(recorded, &line),
                    None => names.agree(&text, line.trim_end_matches('\r')),
                };
                assert!(same, "recorded: {text}\nsaid:     {line}");
            }
        }
    })
}

/// Who and what it is may differ; what it wants may not.
fn same_connect(recorded: &str, line: &str) -> bool {
    let parse = |text: &str| -> Value {
        let mut json: Value = serde_json::from_str(text).unwrap();
        ["version", "name"].iter().for_each(|name| assert!(json[name].take().is_string()));
        json
    };
    json_of(line.trim_end(), "CONNECT").is_some_and(|said| parse(said) == parse(recorded))
}

/// Plays the record's daemon to a session, which asks what was asked then.
fn ask_as_recorded(kind: Kind, info: fn(&mut Value)) {
    let Some(site) = Site::without_daemon(kind) else { return };
    let lines = of_today();
    let daemon = play_daemon(&site.socket, lines.clone(), info);
    let mut sql = site.connect();
    let mut asked = lines.iter().filter(|(who, _)| matches!(who, 'S' | 'A'));
    let mut names = Names::default();
    while let (Some((_, ask)), Some((_, recorded))) = (asked.next(), asked.next()) {
        // On a busy machine the greeting may come too late for the first call.
        eventually(ask, || {
            let answer = sql.value(ask).unwrap().unwrap_or("NULL".into());
            (answer != "0")
                .then(|| assert!(names.agree(recorded, &answer), "{ask}: {answer}, not {recorded}"))
        });
    }
    daemon.join().unwrap();
    assert_eq!(site.status()["connects"], 1, "{}", site.status());
}

fn the_library_speaks_as_recorded(kind: Kind) {
    ask_as_recorded(kind, |_| {});
}

/// The next minor version may say more; the one before, and any NATS server, says less.
fn the_library_bears_daemons_of_other_versions(kind: Kind) {
    ask_as_recorded(kind, |info| {
        info["version"] = json!("2.11.3-rowcall.0.2.0");
        info["shards"] = json!({"max_payload_of_each": [1, {"server_id": 2}], "text": "\"}\\"});
        info["jetstream"] = json!(true);
        info["nothing"] = Value::Null;
    });
    ask_as_recorded(kind, |info| {
        *info = json!({"server_id": info["server_id"], "version": "2.9.0", "max_payload": 1_048_576});
    });
}

/// Plays a library to today's daemon.
fn answer_as_recorded(version: &str, lines: &[Line], connect: fn(&mut Value)) {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let listen = |subject: &str| {
        let mut terminal = daemon.terminal().hello();
        terminal.send(format!("SUB {subject} 1\r\n"));
        terminal.barrier();
        terminal
    };
    let (mut listener, mut worker, mut other) = (listen("shop.>"), listen("work"), daemon.terminal().hello());
    thread::spawn(move || {
        while let Some(request) = worker.message_or_end() {
            worker.answer(&request, [&request.payload[..], b" done"].concat());
        }
    });
    let mut library = Terminal::unix(&daemon.socket);
    let info: Value = serde_json::from_str(json_of(&library.info, "INFO").unwrap()).unwrap();
    let mut names = Names::default();
    for (name, value) in [
        ("server", info["server_id"].as_str().unwrap()),
        ("inbox", "0123456789abcdef"),
        ("secret", "fedcba9876543210"),
    ] {
        names.0.insert(name.into(), value.into());
    }
    for (who, text) in lines {
        let line = names.fill(text) + "\r\n";
        match who {
            'L' => match json_of(text, "CONNECT") {
                Some(recorded) => {
                    let mut json: Value = serde_json::from_str(recorded).unwrap();
                    connect(&mut json);
                    library.send(format!("CONNECT {json}\r\n"));
                }
                None => library.send(line),
            },
            'D' => match json_of(text, "INFO") {
                Some(recorded) => same_kinds(version, &names.fill(recorded), &info),
                None => library.expect(line),
            },
            'O' => {
                library.barrier();
                other.send(line);
            }
            'H' => listener.expect(line),
            _ => {}
        }
    }
    library.barrier();
}

/// Whether today's INFO has all that was in the recorded one, each of its kind.
fn same_kinds(version: &str, recorded: &str, info: &Value) {
    let recorded: Value = serde_json::from_str(recorded).unwrap();
    for (name, then) in recorded.as_object().unwrap() {
        let same = std::mem::discriminant(then) == std::mem::discriminant(&info[name]);
        assert!(same, "INFO's {name} was {then} in {version}, and is {}", info[name]);
    }
}

#[test]
fn the_daemon_speaks_as_recorded() {
    for (version, lines) in records() {
        answer_as_recorded(&version, &lines, |_| {});
    }
}

#[test]
fn the_daemon_bears_libraries_of_other_versions() {
    for (version, lines) in records() {
        answer_as_recorded(&version, &lines, |connect| {
            connect["version"] = json!("0.2.0");
            connect["wants"] = json!({"verbose": true, "list": [1, {}], "text": "\"}\\"});
            connect["nothing"] = Value::Null;
        });
        answer_as_recorded(&version, &lines, |connect| {
            for name in ["lang", "version", "name", "protocol", "pedantic"] {
                connect.as_object_mut().unwrap().remove(name);
            }
        });
    }
}

/// What a newer library may ask, and this daemon knows nothing of.
#[test]
fn what_the_daemon_does_not_know_is_answered_by_nobody() {
    let folder = harness::folder();
    let daemon = Daemon::start(&folder.path().join("rowcall.sock"));
    let mut library = Terminal::unix(&daemon.socket).hello();
    library.send("SUB _INBOX.rowcall.0123456789abcdef.* 1\r\nPUB _ROWCALL.unheard_of _INBOX.rowcall.0123456789abcdef.1 1\r\nx\r\n");
    library.expect("HMSG _INBOX.rowcall.0123456789abcdef.1 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n");
    library.barrier();
}

/// The checker can fail.
#[test]
fn what_differs_from_the_record_is_found() {
    let mut names = Names::default();
    assert!(names.agree("PUB a {x} 1", "PUB a 7f 1") && names.agree("{x}.{y}", "7f.8"));
    assert!(
        !names.agree("PUB {x}", "PUB 8")
            && !names.agree("PUB a", "PUB b")
            && !names.agree("PUB {z} 1", "SUB 1 1")
    );
    assert!(names.agree("{\"id\":7}", "{\"id\":7}"));
    assert!(!same_connect(
        r#"{"echo":true,"version":"","name":""}"#,
        r#"CONNECT {"echo":false,"version":"","name":""}"#
    ));
}
