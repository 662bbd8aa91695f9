//! Committed mode under load: sessions that write in every way a transaction can go, a listener, and
//! an account of each event, on good days and while the reader, the daemon or the server is killed.
//! Single promises stand in committed.rs.

mod account;

use harness::load::account::{Account, Fate};
use harness::load::listener::Listener;
use harness::load::writers::{END, WRITERS, Writers, kept};
use harness::outbox::{hold_reader, release_reader, until_empty};
use harness::{Kind, Site};
use rowcall_mysql::Connection;

on_each_server!(
    what_is_committed_is_heard_once_and_nothing_else_is,
    a_reader_that_is_killed_loses_nothing,
    a_daemon_that_is_killed_loses_nothing,
    a_server_that_is_killed_loses_nothing,
);

/// The number of the error "unknown thread id".
const NO_SUCH_THREAD: u32 = 1094;

/// Events to be heard before, between and after faults.
const SOME: usize = 300;

fn what_is_committed_is_heard_once_and_nothing_else_is(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let listener = Listener::start(site.daemon());
    let writers = Writers::start(&site, false);
    listener.hear_more(10 * SOME);
    settle("no fault", &mut site, writers, &listener, Account::default());
}

fn a_reader_that_is_killed_loses_nothing(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let listener = Listener::start(site.daemon());
    let writers = Writers::start(&site, false);
    let mut sql = beside_writers(&site);
    let mut faults = 0;
    while faults < 8 {
        listener.hear_more(SOME);
        let query = "SELECT id FROM information_schema.processlist WHERE user = 'rowcall'";
        let Some(reader) = sql.value(query).unwrap() else { continue };
        match sql.query(format!("KILL {reader}")) {
            Ok(_) => faults += 1,
            // The one that was killed before was still on its way out.
            Err(error) => assert_eq!(error.number, NO_SUCH_THREAD, "{error}"),
        }
    }
    listener.hear_more(SOME);
    settle("the reader killed", &mut site, writers, &listener, Account { faults, ..Account::default() });
}

/// A plain event that is handed on while nobody subscribes is gone, and that is not what is looked
/// at here. So each new daemon stands by, behind a lock of the test's, until the listener is there.
fn a_daemon_that_is_killed_loses_nothing(kind: Kind) {
    let Some(mut site) = Site::committed(kind) else { return };
    let mut listener = Listener::start(site.daemon());
    let writers = Writers::start(&site, false);
    let mut sql = beside_writers(&site);
    let faults = 3;
    for _ in 0..faults {
        listener.hear_more(SOME);
        site.daemon().kill();
        hold_reader(&mut sql, 60);
        site.start_committed_daemon_until("standing by");
        listener.follow(site.daemon());
        release_reader(&mut sql);
        site.daemon().child.says("outbox: reading");
    }
    listener.hear_more(SOME);
    settle("the daemon killed", &mut site, writers, &listener, Account { faults, ..Account::default() });
}

/// Without the binary log InnoDB shows a commit shortly before it is durable, so an event of each
/// transaction whose COMMIT was under way may have left although the crash undid it. What the
/// server has called committed must be there.
fn a_server_that_is_killed_loses_nothing(kind: Kind) {
    let durable = ["--innodb-flush-log-at-trx-commit=1"];
    let Some(mut site) = Site::committed_with(kind, &durable) else { return };
    let flush = site.connect().value("SELECT @@global.innodb_flush_log_at_trx_commit").unwrap();
    assert_eq!(flush.as_deref(), Some("1"));
    let listener = Listener::start(site.daemon());
    let writers = Writers::start(&site, true);
    listener.hear_more(3 * SOME);
    site.server.crash();
    listener.hear_more(3 * SOME);
    let account = Account { faults: 1, undone_at_most: WRITERS as usize, ..Account::default() };
    settle("the server killed", &mut site, writers, &listener, account);
}

/// A connection that does not begin with CREATE DATABASE, as the harness's do: on MySQL that waits for
/// every open transaction and makes new ones wait for it, and no deadlock detection sees it.
fn beside_writers(site: &Site) -> Connection {
    Connection::connect(&site.server.options()).unwrap()
}

/// Ends the writers, waits until everything has been heard, and closes the account.
fn settle(what: &str, site: &mut Site, writers: Writers, listener: &Listener, account: Account) {
    let written = writers.end();
    let mut sql = site.connect();
    until_empty(&mut sql);
    site.connect().query("CALL tell_end()").unwrap();
    let heard = listener.until(END);
    until_empty(&mut sql);
    assert_eq!(site.daemon().varz()["unheard_msgs"], 0, "something was handed on to nobody");

    let account = Account { written, kept: kept(&mut site.connect()), heard, ..account };
    let verdict = account.verdict();
    let fates = [Fate::Committed, Fate::RolledBack, Fate::Unknown]
        .map(|fate| account.written.iter().filter(|event| event.fate == fate).count());
    eprintln!(
        "{:?}, {what}, faults: {}: {} events written; committed, rolled back, unknown: {fates:?}; {} committed by the \
         tables, {} heard, {} of them repeated, {} undone by a crash",
        site.server.kind,
        account.faults,
        account.written.len(),
        account.kept.len(),
        account.heard.len(),
        verdict.repeated,
        verdict.undone.len(),
    );
    let few = &verdict.complaints[..verdict.complaints.len().min(20)];
    assert!(few.is_empty(), "{} complaints, such as {few:#?}", verdict.complaints.len());
    assert!(verdict.disordered.is_empty(), "{:#?}", verdict.disordered);
    // A load without these would prove little.
    assert!(fates[0] >= 1000 && fates[1] >= 100, "{fates:?}");
}
