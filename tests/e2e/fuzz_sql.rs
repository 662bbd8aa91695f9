//! Calls through SQL that nobody would write: any number of arguments of any type, value and name, in
//! statements, prepared statements and triggers, on both servers. `make test` makes them for two seconds,
//! `make fuzz ONLY=sql SECONDS=600` for longer; ROWCALL_FUZZ_SEED makes the same again.

use fastrand::Rng;
use harness::{Kind, Site, Terminal};
use rowcall_mysql::Connection;
use std::fmt::Write;
use std::time::{Duration, Instant};

on_each_server!(no_call_fails_a_statement_unless_its_arguments_are_too_many_or_too_few);

/// How long, unless ROWCALL_FUZZ_SECONDS says otherwise.
const SECONDS: u64 = 2;

/// Statements between two looks at what the daemon got.
const BATCH: u64 = 50;

/// Statements that the server itself refuses: 1241, a row as an argument; 1059 and 1166, a name that is
/// none; 3507, a trigger whose text MySQL cannot keep, if a name with backticks in it is no ASCII.
const OF_THE_SERVER: [u32; 4] = [1241, 1059, 1166, 3507];

/// The functions; how many arguments each may have; in what steps.
const FUNCTIONS: [(&str, usize, usize, usize); 10] = [
    ("rowcall_notify", 2, 60, 2),
    ("rowcall_emit", 2, 60, 1),
    ("rowcall_request", 2, 3, 1),
    ("rowcall_submit", 2, 2, 1),
    ("rowcall_result", 1, 2, 1),
    ("rowcall_wait", 1, 2, 1),
    ("rowcall_poke", 1, 1, 1),
    ("rowcall_last_error", 0, 0, 1),
    ("rowcall_status", 0, 0, 1),
    ("rowcall_version", 0, 0, 1),
];

/// Values of every type. The columns are those of the table `types`, or NEW's.
const VALUES: [&str; 46] = [
    "NULL",
    "TRUE",
    "0",
    "1",
    "-1",
    "20",
    "9223372036854775807",
    "18446744073709551615",
    "-9223372036854775808",
    "99999999999999999999999999999999999999",
    "1.50",
    "-0.0",
    "1e0",
    "1.7e308",
    "-2e-300",
    "''",
    "'20'",
    "'abc'",
    "' 2e1 '",
    "'a\"b\\\\c'",
    "'größe 🦀'",
    "'\\0\\n\\r\\t\\Z'",
    "_latin1 0xe9",
    "_utf16 0x00320030",
    "X''",
    "0xff00fe",
    "b'10100'",
    "DATE'2026-02-28'",
    "TIME'-838:59:59'",
    "TIMESTAMP'2026-02-28 12:00:00.5'",
    "JSON_OBJECT('a', NULL)",
    "JSON_EXTRACT('{\"ms\":\"20\"}', '$.ms')",
    "'{\"a\":'",
    "POINT(1, 2)",
    "IF(1, 5, 'x')",
    "(SELECT 1)",
    "(1, 2)",
    "@text",
    "@number",
    "@never_set",
    "REPEAT('x', 70000)",
    "REPEAT(CHAR(1), 200000)",
    "UUID()",
    "NOW(6)",
    "RAND()",
    "CONNECTION_ID()",
];

/// Types of the columns c0, c1, …, each with a value.
const COLUMNS: [(&str, &str); 12] = [
    ("BIGINT UNSIGNED", "18446744073709551615"),
    ("BIT(64)", "b'110001'"),
    ("DECIMAL(30, 10)", "1.5"),
    ("DOUBLE", "1e300"),
    ("VARCHAR(20) CHARACTER SET utf16", "'20'"),
    ("VARCHAR(20) CHARACTER SET latin1", "'größe'"),
    ("BLOB", "0xff00"),
    ("JSON", "'{\"a\": \"b\"}'"),
    ("ENUM('20', 'b')", "'20'"),
    ("DATETIME(6)", "'2026-02-28'"),
    ("YEAR", "2026"),
    ("INT ZEROFILL", "20"),
];

/// What is in names, of which any may be alone.
const NAMES: [&str; 14] =
    ["id", "id", "id_2", "a b", "NEW.id", "größe", "€", "\"", "\\", "'", ":json", ":base64", "a.b", "``"];

/// One call, and whether its number of arguments is right.
struct Call {
    text: String,
    is_refused: bool,
}

/// The values for one call's parameters, or none where it has no parameters.
struct Made {
    call: Call,
    parameters: Vec<String>,
}

fn value(rng: &mut Rng, columns: &str) -> String {
    if !columns.is_empty() && rng.bool() {
        return format!("{columns}c{}", rng.usize(..COLUMNS.len()));
    }
    (*rng.choice(VALUES.iter()).unwrap()).to_owned()
}

fn alias(rng: &mut Rng) -> String {
    let parts: String = (0..rng.usize(1..4)).map(|_| *rng.choice(NAMES.iter()).unwrap()).collect();
    if rng.u8(..) == 0 { format!(" AS `{}`", "x".repeat(300)) } else { format!(" AS `{parts}`") }
}

/// A number of arguments, more often right than wrong, and seldom large.
fn count(rng: &mut Rng, least: usize, most: usize, step: usize) -> usize {
    if rng.u8(..) < 20 {
        return rng.usize(..6);
    }
    let most = if rng.u8(..) < 250 { most.min(least + 8) } else { most };
    let right = rng.usize(least..=most);
    right - (right - least) % step
}

/// A call. Functions that wait have a place where they wait for nothing long: nobody answers, no such
/// ticket, a subject that cannot be.
fn make(rng: &mut Rng, columns: &str, with_parameters: bool) -> Made {
    let (name, least, most, step) = *rng.choice(FUNCTIONS.iter()).unwrap();
    let count = count(rng, least, most, step);
    let is_refused = !(least..=most).contains(&count) || !(count - least).is_multiple_of(step);
    let first = match name {
        "rowcall_emit" => format!("'fuzz.emit.{}'", count.saturating_sub(1)),
        "rowcall_wait" => "'no..subject'".to_owned(),
        "rowcall_result" => "rowcall_submit('nobody', 'x')".to_owned(),
        _ if rng.bool() => "'fuzz.nobody'".to_owned(),
        _ => value(rng, columns),
    };
    let (mut arguments, mut parameters) = (String::new(), Vec::new());
    for n in 0..count {
        let value = if n == 0 { first.clone() } else { value(rng, columns) };
        let separator = if n == 0 { "" } else { ", " };
        let alias = if n > 0 && rng.u8(..) < 80 { alias(rng) } else { String::new() };
        if with_parameters && rng.bool() && value != "(1, 2)" {
            parameters.push(value);
            write!(arguments, "{separator}?{alias}").unwrap();
        } else {
            write!(arguments, "{separator}{value}{alias}").unwrap();
        }
    }
    Made { call: Call { text: format!("{name}({arguments})"), is_refused }, parameters }
}

/// Makes statements of one session, and looks at what became of them.
struct Fuzz {
    rng: Rng,
    sql: Connection,
    what: String,
}

impl Fuzz {
    fn set_up(&mut self) {
        let columns: Vec<String> =
            COLUMNS.iter().enumerate().map(|(n, (what, _))| format!("c{n} {what}")).collect();
        let values = COLUMNS.map(|(_, value)| value).join(", ");
        for table in ["types", "triggered"] {
            self.must(&format!(
                "CREATE TABLE {table} ({}) DEFAULT CHARACTER SET utf8mb4",
                columns.join(", ")
            ));
        }
        self.must(&format!("INSERT INTO types VALUES ({values})"));
        self.must("SET @text = 'größe', @number = 20.5");
    }

    fn must(&mut self, statement: &str) {
        self.sql.query(statement).unwrap_or_else(|error| panic!("{}: {error}: {statement:.500}", self.what));
    }

    /// Runs a statement with a call, which fails for the number of its arguments alone. Tells whether it ran.
    fn run(&mut self, call: &Call, statement: &str) -> bool {
        let error = self.sql.query(statement).err();
        let complaint = match error {
            None if call.is_refused => "a wrong number of arguments is not refused".to_owned(),
            Some(error) if error.number == 1123 && call.is_refused => return false,
            Some(error) if OF_THE_SERVER.contains(&error.number) => return false,
            Some(error) => error.to_string(),
            None => return true,
        };
        panic!("{}: {complaint}: {statement:.1000}", self.what);
    }

    fn statement(&mut self) {
        match self.rng.u8(..8) {
            0 => self.trigger(),
            1 | 2 => self.prepared(),
            3 => {
                let Made { call, .. } = make(&mut self.rng, "types.", false);
                self.run(&call, &format!("SELECT {} FROM types", call.text));
            }
            _ => {
                let Made { call, .. } = make(&mut self.rng, "", false);
                let verb = if self.rng.bool() { "DO" } else { "SELECT" };
                self.run(&call, &format!("{verb} {}", call.text));
            }
        }
    }

    fn prepared(&mut self) {
        let Made { call, parameters } = make(&mut self.rng, "", true);
        let quoted = call.text.replace('\\', "\\\\").replace('\'', "\\'");
        // A wrong number is refused here by MariaDB, and by MySQL not before it is executed.
        let prepare = format!("PREPARE s FROM 'SELECT {quoted}'");
        match self.sql.query(&prepare) {
            Ok(_) => {}
            Err(error)
                if OF_THE_SERVER.contains(&error.number) || (error.number == 1123 && call.is_refused) =>
            {
                return;
            }
            Err(error) => panic!("{}: {error}: {prepare:.1000}", self.what),
        }
        let mut using: Vec<String> = Vec::new();
        for (n, value) in parameters.iter().enumerate() {
            self.must(&format!("SET @p{n} = {value}"));
            using.push(format!("@p{n}"));
        }
        let using = if using.is_empty() { String::new() } else { format!(" USING {}", using.join(", ")) };
        self.run(&call, &format!("EXECUTE s{using}"));
    }

    fn trigger(&mut self) {
        let Made { call, .. } = make(&mut self.rng, "NEW.", false);
        let create = format!("CREATE TRIGGER f AFTER INSERT ON triggered FOR EACH ROW DO {}", call.text);
        match self.sql.query(&create) {
            Ok(_) => {}
            Err(error) if OF_THE_SERVER.contains(&error.number) => return,
            Err(error) => panic!("{}: {error}: {create:.1000}", self.what),
        }
        self.run(&call, "INSERT INTO triggered SELECT * FROM types");
        self.must("DROP TRIGGER f");
    }

    /// Looks at all that has come since: objects, of as many members as there were values.
    fn check(&mut self, listener: &mut Terminal, batch: u64) -> u64 {
        self.must(&format!("DO rowcall_notify('fuzz.end', '{batch}')"));
        let mut objects = 0;
        loop {
            let message = listener.message();
            if message.subject == "fuzz.end" && message.text() == batch.to_string() {
                return objects;
            }
            let Some(members) = message.subject.strip_prefix("fuzz.emit.") else { continue };
            let object: Result<serde_json::Map<_, _>, _> = serde_json::from_slice(&message.payload);
            let object =
                object.unwrap_or_else(|error| panic!("{}: {error}: {:.1000}", self.what, message.text()));
            assert_eq!(object.len().to_string(), members, "{}: {:.1000}", self.what, message.text());
            objects += 1;
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn no_call_fails_a_statement_unless_its_arguments_are_too_many_or_too_few(kind: Kind) {
    let Some(mut site) = Site::start(kind) else { return };
    let mut listener = site.listener(&["fuzz.emit.*", "fuzz.end"]);
    let seed = from_environment("ROWCALL_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let limit = Duration::from_secs(from_environment("ROWCALL_FUZZ_SECONDS").unwrap_or(SECONDS));
    let what = format!("ROWCALL_FUZZ_SEED={seed} on {kind:?}");
    let mut fuzz = Fuzz { rng: Rng::with_seed(seed), sql: site.connect(), what };
    fuzz.set_up();
    let (began, mut batches, mut objects) = (Instant::now(), 0, 0);
    while began.elapsed() < limit {
        for _ in 0..BATCH {
            fuzz.statement();
        }
        objects += fuzz.check(&mut listener, batches);
        batches += 1;
    }
    eprintln!("{}: {} statements, {objects} objects", fuzz.what, batches * BATCH);
    assert!(objects > 0, "{}: nothing was emitted", fuzz.what);
    assert_eq!(site.status()["dropped_by_reason"]["panic"], serde_json::Value::Null, "{}", fuzz.what);
    site.server.assert_alive();
}
