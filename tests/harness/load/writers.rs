//! Sessions that write all at once, in every way that a transaction can go, and know of each event
//! whether it was committed.
//!
//! Whoever publishes about a key takes that key's row first, so a key's events have an order: that
//! of their commits. Within a transaction keys are taken in ascending order, so the load has no
//! deadlock of its own. Any error that was not provoked here is therefore somebody else's fault,
//! and ends the test.

use super::account::{Fate, Name, Place, Written};
use crate::{Kind, Site, eventually};
use rowcall_mysql::{Connection, Error, Options};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// How many write at once.
pub const WRITERS: u32 = 8;

/// Keys that short transactions take.
const KEYS: Range<u32> = 0..32;
/// Keys that long transactions take, one for each writer: nobody waits for these, and the short ones
/// overtake them.
const LONG_KEYS: Range<u32> = 32..32 + WRITERS;
/// The writers that also have long transactions. The others never pause, so that whatever is
/// killed is killed while they write.
const PATIENT: u32 = 2;

/// Transactions that have written something and stay open. MariaDB makes a snapshot by walking over
/// the open transactions while others commit: the longer the walk, the more happens meanwhile.
const ONLOOKERS: u32 = 200;

/// The number of the error "duplicate key".
const DUPLICATE: u32 = 1062;

/// What is published when everything else has been: `CALL tell_end()`.
pub const END: &str = "the end";

/// `tell` publishes about a key; a row in `orders` does so by its trigger. `published` says what was
/// committed. Nobody may insert the order (0, 0) again.
const TABLES: [&str; 8] = [
    "CREATE TABLE counters (k INT PRIMARY KEY, n BIGINT NOT NULL DEFAULT 0) ENGINE=InnoDB",
    "CREATE TABLE published (writer INT, number INT, k INT, n BIGINT, PRIMARY KEY (writer, number)) ENGINE=InnoDB",
    "CREATE TABLE orders (writer INT, number INT, k INT, PRIMARY KEY (writer, number)) ENGINE=InnoDB",
    "INSERT INTO orders VALUES (0, 0, 0)",
    "CREATE TABLE onlookers (number INT PRIMARY KEY) ENGINE=InnoDB",
    "CREATE PROCEDURE tell(IN writer INT, IN number INT, IN about INT) BEGIN
       DECLARE place BIGINT;
       UPDATE counters SET n = n + 1 WHERE k = about;
       SELECT n INTO place FROM counters WHERE k = about;
       INSERT INTO published VALUES (writer, number, about, place);
       CALL rowcall.publish_with(CONCAT('load.', about), CONCAT_WS('-', writer, number, about, place),
                                 CONCAT('Rowcall-Key: ', about));
     END",
    "CREATE TRIGGER told AFTER INSERT ON orders FOR EACH ROW CALL tell(NEW.writer, NEW.number, NEW.k)",
    "CREATE PROCEDURE tell_end() CALL rowcall.publish('load.end', 'the end')",
];

/// They write until they are told to end.
pub struct Writers {
    threads: Vec<JoinHandle<Vec<Written>>>,
    enough: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    /// Open as long as their connections are.
    _onlookers: Vec<Connection>,
}

impl Writers {
    /// Makes the tables and begins.
    ///
    /// # Panics
    /// If the server does not want that.
    pub fn start(site: &Site, the_server_may_crash: bool) -> Writers {
        let mut sql = site.connect();
        for statement in TABLES {
            sql.query(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        for key in KEYS.chain(LONG_KEYS) {
            sql.query(format!("INSERT INTO counters (k) VALUES ({key})")).unwrap();
        }
        let enough = Arc::new(AtomicBool::new(false));
        let committed = Arc::<AtomicUsize>::default();
        let start = |number| {
            let (options, kind, enough) = (site.server.options(), site.server.kind, Arc::clone(&enough));
            let writer = Writer::new(number, options, kind, Arc::clone(&committed));
            thread::spawn(move || writer.write(&enough, the_server_may_crash))
        };
        let _onlookers = (0..ONLOOKERS).map(|number| look_on(&site.server.options(), number)).collect();
        let threads = (1..=WRITERS).map(start).collect();
        Writers { threads, enough, committed, _onlookers }
    }

    /// How many events they know to be committed.
    pub fn committed(&self) -> usize {
        self.committed.load(Ordering::Relaxed)
    }

    /// Ends them between two transactions, and gives what they wrote.
    ///
    /// # Panics
    /// If one of them met an error that it had not provoked.
    pub fn end(self) -> Vec<Written> {
        self.enough.store(true, Ordering::Relaxed);
        let ended = self.threads.into_iter().map(|thread| thread.join().expect("a writer has failed"));
        ended.flatten().collect()
    }
}

/// What is committed, by the tables.
///
/// # Panics
/// If they contradict each other.
pub fn kept(sql: &mut Connection) -> BTreeMap<Name, Place> {
    let gaps = "SELECT COUNT(*) FROM counters WHERE n <> (SELECT COUNT(*) FROM published WHERE published.k = counters.k)";
    assert_eq!(sql.value(gaps).unwrap().as_deref(), Some("0"), "the tables contradict each other");
    let rows = sql.query("SELECT writer, number, k, n FROM published").unwrap().rows;
    let number = |row: &[Option<Vec<u8>>], column: usize| {
        std::str::from_utf8(row[column].as_ref().unwrap()).unwrap().parse::<u32>().unwrap()
    };
    rows.iter()
        .map(|row| ((number(row, 0), number(row, 1)), (number(row, 2), u64::from(number(row, 3)))))
        .collect()
}

struct Writer {
    number: u32,
    options: Options,
    kind: Kind,
    sql: Connection,
    random: fastrand::Rng,
    written: Vec<Written>,
    transaction: u32,
    /// Where the events are that COMMIT would commit now.
    live: Vec<usize>,
    committed: Arc<AtomicUsize>,
    /// The XA transaction that is open, and whether it was decided to commit it.
    branch: Option<(String, bool)>,
}

fn connect(options: &Options, kind: Kind) -> Result<Connection, Error> {
    let mut sql = Connection::connect(options)?;
    if kind == Kind::MySql {
        // Whoever rolls back to a savepoint there locks the end of the outbox, unless it is so.
        sql.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")?;
    }
    Ok(sql)
}

fn look_on(options: &Options, number: u32) -> Connection {
    let mut sql = Connection::connect(options).unwrap();
    sql.query("START TRANSACTION").unwrap();
    sql.query(format!("INSERT INTO onlookers VALUES ({number})")).unwrap();
    sql
}

impl Writer {
    fn new(number: u32, options: Options, kind: Kind, committed: Arc<AtomicUsize>) -> Writer {
        let sql = connect(&options, kind).unwrap();
        let random = fastrand::Rng::with_seed(number.into());
        let (written, live) = (Vec::new(), Vec::new());
        Writer { number, options, kind, sql, random, written, transaction: 0, live, committed, branch: None }
    }

    fn write(mut self, enough: &AtomicBool, the_server_may_crash: bool) -> Vec<Written> {
        while !enough.load(Ordering::Relaxed) {
            self.transaction += 1;
            self.live.clear();
            match self.transact() {
                Ok(()) => {}
                Err(error) if error.is_lost() && the_server_may_crash => self.come_back(),
                Err(error) => panic!("writer {}, transaction {}: {error}", self.number, self.transaction),
            }
        }
        self.written
    }

    /// Connects again. What XA has prepared outlives a crash and keeps its locks, also what was rolled
    /// back shortly before; so the writer does what a coordinator does: the one that it had decided to
    /// commit is committed, unless it is already, and all others are rolled back.
    fn come_back(&mut self) {
        let decided = self.branch.take().filter(|(_, decided)| *decided).map(|(name, _)| name);
        let (options, kind, mine) = (&self.options, self.kind, format!("{}-", self.number));
        self.sql = eventually("the server is back", || {
            let mut sql = connect(options, kind).ok()?;
            for row in sql.query("XA RECOVER").ok()?.rows {
                let name = String::from_utf8(row[3].clone()?).unwrap();
                if name.starts_with(&mine) {
                    let name = format!("'{name}'");
                    let verb = if decided.as_ref() == Some(&name) { "COMMIT" } else { "ROLLBACK" };
                    sql.query(format!("XA {verb} {name}")).ok()?;
                }
            }
            Some(sql)
        });
        if decided.is_some() {
            self.seal(Fate::Committed);
        }
    }

    /// One transaction of some kind.
    fn transact(&mut self) -> Result<(), Error> {
        match self.random.u8(..100) {
            0..30 => self.by_itself(1),
            30..40 => self.by_itself(5),
            40..52 => self.plain(20),
            52..64 => self.with_savepoint(),
            64..70 => self.with_failure(),
            70..74 => self.failing_by_itself(),
            74..84 => self.rolled_back(),
            84..86 if self.number <= PATIENT => self.long(),
            84..94 => self.xa(true),
            _ => self.xa(false),
        }
    }

    fn by_itself(&mut self, rows: usize) -> Result<(), Error> {
        let keys = self.keys(rows, KEYS);
        let statement = self.order(&keys);
        self.decide(&statement)
    }

    fn plain(&mut self, rows: usize) -> Result<(), Error> {
        let keys = self.keys(rows, KEYS);
        self.sql.query("START TRANSACTION")?;
        self.tell(&keys)?;
        self.decide("COMMIT")
    }

    fn with_savepoint(&mut self) -> Result<(), Error> {
        let keys = self.keys(8, KEYS);
        self.sql.query("START TRANSACTION")?;
        self.tell(&keys[..2])?;
        self.sql.query("SAVEPOINT s")?;
        let live = self.live.len();
        self.tell(&keys[2..6])?;
        self.sql.query("ROLLBACK TO s")?;
        self.live.truncate(live);
        self.tell(&keys[6..])?;
        self.decide("COMMIT")
    }

    fn with_failure(&mut self) -> Result<(), Error> {
        let keys = self.keys(8, KEYS);
        self.sql.query("START TRANSACTION")?;
        self.tell(&keys[..2])?;
        self.fail(&keys[2..6])?;
        self.tell(&keys[6..])?;
        self.decide("COMMIT")
    }

    fn failing_by_itself(&mut self) -> Result<(), Error> {
        let keys = self.keys(4, KEYS);
        self.fail(&keys)
    }

    fn rolled_back(&mut self) -> Result<(), Error> {
        let keys = self.keys(6, KEYS);
        self.sql.query("START TRANSACTION")?;
        self.tell(&keys)?;
        self.sql.query("ROLLBACK").map(drop)
    }

    /// Open for so long that others commit before it what they wrote after it.
    fn long(&mut self) -> Result<(), Error> {
        let keys = [LONG_KEYS.start + self.number - 1; 3];
        self.sql.query("START TRANSACTION")?;
        self.tell(&keys[..2])?;
        let open = self.random.u32(100..800);
        self.sql.query(format!("DO SLEEP({open} / 1000)"))?;
        self.tell(&keys[2..])?;
        self.decide("COMMIT")
    }

    fn xa(&mut self, commit: bool) -> Result<(), Error> {
        let keys = self.keys(4, KEYS);
        let name = format!("'{}-{}'", self.number, self.transaction);
        self.branch = Some((name.clone(), false));
        self.sql.query(format!("XA START {name}"))?;
        self.tell(&keys)?;
        self.sql.query(format!("XA END {name}"))?;
        self.sql.query(format!("XA PREPARE {name}"))?;
        if commit {
            self.branch = Some((name.clone(), true));
            self.decide(&format!("XA COMMIT {name}"))?;
        } else {
            self.sql.query(format!("XA ROLLBACK {name}"))?;
        }
        self.branch = None;
        Ok(())
    }

    fn keys(&mut self, count: usize, of: Range<u32>) -> Vec<u32> {
        let mut keys: Vec<u32> = (0..count).map(|_| self.random.u32(of.clone())).collect();
        keys.sort_unstable();
        keys
    }

    /// Publishes about each key, by a trigger or by a procedure.
    fn tell(&mut self, keys: &[u32]) -> Result<(), Error> {
        if self.random.bool() {
            let statement = self.order(keys);
            return self.sql.query(statement).map(drop);
        }
        for key in keys {
            let number = self.event();
            self.sql.query(format!("CALL tell({}, {number}, {key})", self.number))?;
        }
        Ok(())
    }

    /// A statement whose rows publish, and whose last row cannot be.
    fn fail(&mut self, keys: &[u32]) -> Result<(), Error> {
        let live = self.live.len();
        let statement = self.order(keys) + ", (0, 0, 0)";
        let failed = self.sql.query(&statement);
        self.live.truncate(live);
        match failed {
            Err(error) if error.number == DUPLICATE => Ok(()),
            Err(error) => Err(error),
            Ok(_) => panic!("{statement} did not fail"),
        }
    }

    /// A statement whose rows publish about these keys.
    fn order(&mut self, keys: &[u32]) -> String {
        let writer = self.number;
        let rows = keys.iter().map(|key| format!("({writer}, {}, {key})", self.event()));
        let rows: Vec<String> = rows.collect();
        format!("INSERT INTO orders VALUES {}", rows.join(", "))
    }

    /// Notes another event, and gives its number.
    fn event(&mut self) -> usize {
        self.live.push(self.written.len());
        let number = self.written.len() + 1;
        let name = (self.number, u32::try_from(number).unwrap());
        self.written.push(Written { name, transaction: self.transaction, fate: Fate::RolledBack });
        number
    }

    /// Runs the statement that commits what is live.
    fn decide(&mut self, statement: &str) -> Result<(), Error> {
        self.seal(Fate::Unknown);
        self.sql.query(statement)?;
        self.seal(Fate::Committed);
        Ok(())
    }

    fn seal(&mut self, fate: Fate) {
        for &event in &self.live {
            self.written[event].fate = fate;
        }
        if fate == Fate::Committed {
            self.committed.fetch_add(self.live.len(), Ordering::Relaxed);
        }
    }
}
