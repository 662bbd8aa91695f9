//! Reads the source: which files may be unsafe, who imports whom, names that must agree. Style is
//! a test here, so that no reviewer has to be one. What the text of Rust is made of stands in
//! tidy/lexer.rs.

mod lexer;

use harness::repository;
use lexer::code_of;
use std::fs;
use std::path::Path;

/// Files that may be unsafe; each says at its head which promise of whom it rests on.
const DOORS: [&str; 6] = [
    "mysql/src/lib.rs",
    "udf/src/abi.rs",
    "udf/src/entry.rs",
    "udf/src/killed.rs",
    "udf/src/random.rs",
    "udf/src/socket.rs",
];

/// The daemon's structures that know nothing of the world.
const PURE: [&str; 13] = [
    "daemon/src/http/answer.rs",
    "daemon/src/http/events.rs",
    "daemon/src/http/request.rs",
    "daemon/src/http/target.rs",
    "daemon/src/http/tokens.rs",
    "daemon/src/http/visit.rs",
    "daemon/src/mailbox.rs",
    "daemon/src/outbuf.rs",
    "daemon/src/slots.rs",
    "daemon/src/subjects.rs",
    "daemon/src/timers.rs",
    "daemon/src/transport/tls.rs",
    "daemon/src/websocket.rs",
];

/// Where the daemon may look at a clock: once a turn, for how long it has been up, and on the threads
/// of the reader and the clerk, which no loop tells the time.
const CLOCKS: [&str; 4] =
    ["daemon/src/lib.rs", "daemon/src/stats.rs", "daemon/src/outbox/reader.rs", "daemon/src/outbox/clerk.rs"];

/// Words that read a clock.
const CLOCK_WORDS: [&str; 3] = ["Instant::now", "SystemTime::now", ".elapsed("];

/// Words that a pure structure does without.
const WORLD_WORDS: [&str; 9] =
    ["Daemon", "nix", "std::os", "std::net", "std::fs", "OwnedFd", "BorrowedFd", "RawFd", "AsFd"];

/// Words that a guest inside mysqld does without: no files, no names to resolve, no threads,
/// nothing on the server's stderr.
const GUEST_WORDS: [&str; 6] =
    ["std::fs", "ToSocketAddrs", "thread::spawn", "println!", "eprintln!", "eprint!"];

/// Words that are left behind by mistake.
const LEFTOVERS: [&str; 4] = ["todo!", "dbg!", "unimplemented!", "#[ignore"];

/// Lines of a function, its braces included.
const FUNCTION_MAX: usize = 70;

/// Lines of a file before its tests.
const FILE_MAX: usize = 400;

/// Lines of the daemon's main loop: it fits a screen.
const LOOP_MAX: usize = 25;

/// Everything that is wrong with one source file, each as `path:line: what`.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut complain = |line: usize, what: &str| found.push(format!("{path}:{line}: {what}"));
    if !text.starts_with("//! ") {
        complain(1, "the first line says what lives here: //!");
    }
    let code = code_of(text);
    let tests_from = code.lines().position(|line| line.trim() == "#[cfg(test)]");
    let tests_from = tests_from.unwrap_or(if is_test(path) { 0 } else { usize::MAX });
    for (at, line) in code.lines().enumerate() {
        for what in wrong_words(path, line, at >= tests_from) {
            complain(at + 1, &what);
        }
    }
    let lines = code.lines().count().min(if is_test(path) { usize::MAX } else { tests_from });
    if lines > FILE_MAX {
        complain(lines, &format!("more than {FILE_MAX} lines before the tests"));
    }
    for (name, line, length) in functions(&code) {
        let (most, why) = match (path, name) {
            ("daemon/src/lib.rs", "run") => (LOOP_MAX, "the main loop"),
            _ => (FUNCTION_MAX, "a function"),
        };
        if length > most {
            complain(line, &format!("{name} has {length} lines; {why} has at most {most}"));
        }
    }
    if DOORS.contains(&path) && !code.contains("#![allow(unsafe_code)]") {
        complain(1, "is on the list of doors for unsafe code, but is none");
    }
    found
}

/// Words in a line of code that do not belong there.
fn wrong_words(path: &str, line: &str, in_tests: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut forbid = |words: &[&str], why: &str| {
        let held = words.iter().filter(|word| holds(line, word));
        wrong.extend(held.map(|word| format!("{word}: {why}")));
    };
    if !DOORS.contains(&path) {
        forbid(&["unsafe", "allow(unsafe_code)"], "not outside the doors that tidy.rs lists");
    }
    forbid(&LEFTOVERS, "left behind");
    if in_tests {
        return wrong;
    }
    forbid(&[".unwrap()"], "say with expect() why it cannot fail, or handle it");
    if PURE.contains(&path) {
        forbid(&WORLD_WORDS, "a pure structure does without");
    }
    if path.starts_with("daemon/") && !CLOCKS.contains(&path) {
        forbid(&CLOCK_WORDS, "time is an argument; the loop reads the clock");
    }
    if path.starts_with("daemon/src/monitor") {
        forbid(&["as_u64", "as_i64", "as_f64"], "numbers are written as JSON, not read back out of it");
    }
    if !path.starts_with("daemon/") {
        forbid(&["RandomState"], "is for hash tables; a secret comes from the system's generator");
    }
    if path.starts_with("wire/") {
        forbid(&CLOCK_WORDS, "the protocol has no clock");
        forbid(&["std::net", "std::os", "std::fs"], "the protocol has no socket");
    }
    if path.starts_with("udf/src/") {
        forbid(&GUEST_WORDS, "not inside someone else's server");
    }
    wrong
}

/// Whether the line has the word, and not merely as a part of another word.
fn holds(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        let goes_on_before = part(before) && part(word.chars().next());
        let goes_on_after = part(after) && part(word.chars().next_back());
        !goes_on_before && !goes_on_after
    })
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
}

/// Every function with a body: its name, its first line, its length. As rustfmt leaves them: the
/// brace that ends one stands under its beginning.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else { continue };
        let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
        if !before.split_whitespace().all(|word| modifiers.contains(&word) || word == "\"\"") {
            continue;
        }
        let name = after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let ends = |line: &&str| indent(line) == indent(lines[at]) && line.trim_end().ends_with(['}', ';']);
        let length = lines[at..].iter().position(ends).map_or(1, |last| last + 1);
        found.push((name, at + 1, length));
    }
    found
}

/// Every source file of ours: its path from the repository's folder, and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(repository(), &mut found);
    assert!(found.len() > 50, "only {} source files were found", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, found);
        } else if name.ends_with(".rs") {
            let from_here = path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned();
            found.push((from_here, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_source_is_tidy() {
    let wrong: Vec<String> = sources().iter().flat_map(|(path, text)| complaints(path, text)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A rule about a file that is not there, or about a loop of another name, would hold for ever.
#[test]
fn what_the_rules_are_about_is_there() {
    let sources = sources();
    for path in DOORS.iter().chain(&PURE).chain(&CLOCKS) {
        assert!(sources.iter().any(|(there, _)| there == path), "{path} is not there");
    }
    let code = code_of(&read("daemon/src/lib.rs"));
    assert!(functions(&code).iter().any(|(name, ..)| *name == "run"), "where is the main loop?");
}

#[test]
fn the_protocol_forbids_unsafe_code() {
    assert!(code_of(&read("wire/src/lib.rs")).contains("#![forbid(unsafe_code)]"));
}

#[test]
fn clippy_keeps_the_same_wall() {
    let settings: toml::Table = read(".clippy.toml").parse().unwrap();
    assert_eq!(settings["too-many-lines-threshold"].as_integer(), Some(FUNCTION_MAX as i64));
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let manifest = format!("{}/Cargo.toml", member.as_str().unwrap());
        let table: toml::Table = read(&manifest).parse().unwrap();
        assert_eq!(table["lints"]["workspace"].as_bool(), Some(true), "{manifest} has lints of its own");
    }
}

/// Who may use whom: everything of ours that a member's manifest names, whatever for.
#[test]
fn the_arrows_between_members_run_one_way() {
    let check = |member: &str, expected: &[&str]| {
        let manifest: toml::Table = read(&format!("{member}/Cargo.toml")).parse().unwrap();
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        let tables = kinds.iter().filter_map(|kind| manifest.get(*kind)?.as_table());
        let mut ours: Vec<&str> = tables.flat_map(|table| table.keys()).map(String::as_str).collect();
        ours.retain(|name| name.starts_with("rowcall") || *name == "mysqlclient-sys");
        ours.sort_unstable();
        assert_eq!(ours, expected, "{member}/Cargo.toml");
    };
    check("wire", &[]);
    check("mysql", &["mysqlclient-sys"]);
    check("udf", &["rowcall-wire"]);
    check("daemon", &["rowcall-mysql", "rowcall-wire"]);
    check("cli", &["rowcall-mysql", "rowcall-wire"]);
    check("tests", &["rowcall-mysql", "rowcall-wire"]);
    check("tests/fuzz", &["rowcall-wire", "rowcalld"]);
}

#[test]
fn the_functions_are_the_same_in_the_scripts_and_in_the_library() {
    let named = |path: &str, prefix: &str| -> Vec<String> {
        let text = read(path);
        let names = text.lines().filter_map(|line| line.strip_prefix(prefix));
        names.map(|rest| rest.split([' ', ';']).next().unwrap().to_owned()).collect()
    };
    let entry = code_of(&read("udf/src/entry.rs"));
    let words = entry.split(|c: char| !c.is_alphanumeric() && c != '_');
    let mut exported: Vec<&str> = words.filter(|word| word.starts_with("rowcall_")).collect();
    exported.retain(|name| !name.ends_with("_init") && !name.ends_with("_deinit"));
    assert!(exported.contains(&"rowcall_notify"), "{exported:?}");
    assert_eq!(named("sql/install.sql", "CREATE FUNCTION "), exported);
    assert_eq!(named("sql/install.sql", "DROP FUNCTION IF EXISTS "), exported);
    assert_eq!(named("sql/uninstall.sql", "DROP FUNCTION IF EXISTS "), exported);
}

#[test]
fn the_scripts_name_the_library_of_this_version() {
    let library = format!("'rowcall_{}.so'", env!("CARGO_PKG_VERSION").replace('.', "_"));
    let script = read("sql/install.sql");
    let creating: Vec<&str> = script.lines().filter(|line| line.starts_with("CREATE FUNCTION")).collect();
    assert!(!creating.is_empty() && creating.iter().all(|line| line.contains(&library)), "{creating:#?}");
}

/// Every source file has its line in the tour, under its whole path, so that it can be searched for.
#[test]
fn the_source_tour_names_every_file() {
    let readme = read("README.md");
    let (_, tour) = readme.split_once("Source tour").expect("README.md has a source tour");
    let missing: Vec<String> =
        sources().into_iter().map(|(path, _)| path).filter(|path| !holds(tour, path)).collect();
    assert!(missing.is_empty(), "not in README.md's source tour:\n{}", missing.join("\n"));
}

/// A target that is not built, or has nothing to begin with, would find nothing.
#[test]
fn every_fuzz_target_is_built_and_has_a_corpus() {
    let stems = |folder: &str| -> Vec<String> {
        let files = fs::read_dir(repository().join(folder)).unwrap();
        let mut stems: Vec<_> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        stems.sort();
        stems
    };
    let manifest: toml::Table = read("tests/fuzz/Cargo.toml").parse().unwrap();
    let mut built: Vec<_> =
        manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap()).collect();
    built.sort_unstable();
    let targets = stems("tests/fuzz/fuzz_targets");
    assert_eq!(built, targets);
    assert_eq!(stems("tests/fuzz/corpus"), targets);
}

/// The fuzz targets have a lock file of their own. What they find is about the crates that are released.
#[test]
fn what_is_fuzzed_is_locked_to_the_same_versions() {
    let packages = |path: &str| -> Vec<(String, String)> {
        let lock: toml::Table = read(path).parse().unwrap();
        let text = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
        let packages = lock["package"].as_array().unwrap();
        packages.iter().map(|package| (text(package, "name"), text(package, "version"))).collect()
    };
    let (released, fuzzed) = (packages("Cargo.lock"), packages("tests/fuzz/Cargo.lock"));
    let known = |name: &str| released.iter().any(|(other, _)| other == name);
    let others: Vec<_> =
        fuzzed.iter().filter(|package| known(&package.0) && !released.contains(package)).collect();
    let daemon: toml::Table = read("daemon/Cargo.toml").parse().unwrap();
    let needed = daemon["dependencies"].as_table().unwrap().keys();
    let missing: Vec<_> = needed.filter(|name| !fuzzed.iter().any(|(other, _)| other == *name)).collect();
    assert!(
        others.is_empty() && missing.is_empty(),
        "tests/fuzz/Cargo.lock: others than in Cargo.lock: {others:?}; missing: {missing:?}; to mend it: \
         cp Cargo.lock tests/fuzz && cargo metadata --manifest-path tests/fuzz/Cargo.toml >/dev/null"
    );
}

/// The checker can fail, and says where.
#[test]
fn what_is_untidy_is_found() {
    let check = |path: &str, text: &str, expected: &[&str]| {
        let found = complaints(path, text);
        let agree = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.contains(expected));
        assert!(agree, "{path}: {text:?}: {found:#?}");
    };
    let plain = "daemon/src/client.rs";
    check(plain, "//! Head.\n", &[]);
    check(plain, "// Head.\n", &["client.rs:1: the first line"]);
    check(plain, "//! Head.\nunsafe { f() }\n", &["client.rs:2: unsafe"]);
    check(plain, "//! Head.\n#![allow(unsafe_code)]\n", &["client.rs:2: allow(unsafe_code)"]);
    check(plain, "//! Head, not unsafe.\n// unsafe\nlet x = \"unsafe\"; // unsafe\n", &[]);
    check("udf/src/abi.rs", "//! Head.\n#![allow(unsafe_code)]\nunsafe { f() }\n", &[]);
    check("udf/src/abi.rs", "//! Head.\n", &["abi.rs:1: is on the list of doors"]);
    check("udf/src/call.rs", "//! Head.\neprintln!();\n", &["call.rs:2: eprintln!"]);
    check("udf/src/call.rs", "//! Head.\nuse std::fs::File;\n", &["call.rs:2: std::fs"]);
    check(plain, "//! Head.\nf().unwrap();\n#[cfg(test)]\nf().unwrap();\n", &["client.rs:2: .unwrap()"]);
    check("tests/e2e/cli.rs", "//! Head.\nf().unwrap();\n", &[]);
    check("tests/e2e/cli.rs", "//! Head.\n#[ignore]\n", &["cli.rs:2: #[ignore"]);
    check(plain, "//! Head.\ntodo!(); dbg!(x);\n", &[":2: todo!", ":2: dbg!"]);
    check("daemon/src/slots.rs", "//! Head.\nfn f(daemon: &Daemon) {}\n", &["slots.rs:2: Daemon"]);
    check("daemon/src/slots.rs", "//! Head.\nfn f(fd: OwnedFd) {}\n", &["slots.rs:2: OwnedFd"]);
    check("daemon/src/timers.rs", "//! Head.\nInstant::now();\n", &["timers.rs:2: Instant::now"]);
    check("daemon/src/timers.rs", "//! Head.\n#[cfg(test)]\nInstant::now();\n", &[]);
    check(plain, "//! Head.\nstart.elapsed();\n", &["client.rs:2: .elapsed("]);
    check("daemon/src/lib.rs", "//! Head.\nInstant::now();\n", &[]);
    check("wire/src/parse.rs", "//! Head.\nuse std::net::TcpStream;\n", &["parse.rs:2: std::net"]);
    let function =
        |lines: usize| format!("//! Head.\npub fn run() {{\n{}}}\n", "    f();\n".repeat(lines - 2));
    check(plain, &function(70), &[]);
    check(plain, &function(71), &["client.rs:2: run has 71 lines"]);
    check("daemon/src/lib.rs", &function(25), &[]);
    check("daemon/src/lib.rs", &function(26), &["lib.rs:2: run has 26 lines; the main loop"]);
    let file = |lines: usize| format!("//! Head.\n{}#[cfg(test)]\nmod tests {{}}\n", "\n".repeat(lines - 1));
    check(plain, &file(400), &[]);
    check(plain, &file(401), &["client.rs:401: more than 400 lines"]);
}
