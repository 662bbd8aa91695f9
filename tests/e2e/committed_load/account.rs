//! The account of a load (harness/load/account.rs) can fail: everything that may be wrong with one is
//! reported, and nothing else is.

use harness::load::account::{Account, Fate, Heard, Written};

/// Four events, all as they should be: the third was rolled back and not heard.
fn sound() -> Account {
    let fates = [Fate::Committed, Fate::Committed, Fate::RolledBack, Fate::Unknown];
    let written =
        (1..).zip(fates).map(|(number, fate)| Written { name: (1, number), transaction: number, fate });
    let kept = [((1, 1), (7, 1)), ((1, 2), (7, 2)), ((1, 4), (8, 1))];
    let mut account = Account { written: written.collect(), kept: kept.into(), ..Account::default() };
    for (id, payload) in [(10, "1-1-7-1"), (11, "1-2-7-2"), (13, "1-4-8-1")] {
        hear(&mut account, id, payload);
    }
    account
}

fn hear(account: &mut Account, id: u64, payload: &str) {
    account.heard.push(Heard { id, payload: payload.into() });
}

/// The only complaint about an account that was sound until it was changed like this.
fn complaint(change: impl FnOnce(&mut Account)) -> String {
    let mut account = sound();
    change(&mut account);
    let complaints = account.verdict().complaints;
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    complaints[0].clone()
}

#[test]
fn a_sound_account_is_not_complained_of() {
    assert!(sound().verdict().complaints.is_empty() && sound().verdict().disordered.is_empty());
    let mut repeated = Account { faults: 1, ..sound() };
    hear(&mut repeated, 10, "1-1-7-1");
    hear(&mut repeated, 11, "1-2-7-2");
    let verdict = repeated.verdict();
    assert!(verdict.complaints.is_empty(), "{verdict:?}");
    assert_eq!(verdict.repeated, 2);
}

#[test]
fn a_lost_event_is_reported() {
    assert_eq!(complaint(|account| drop(account.heard.remove(0))), "event 1 of writer 1: lost");
    // Also where nobody was told of the commit.
    assert_eq!(complaint(|account| drop(account.heard.pop())), "event 4 of writer 1: lost");
}

#[test]
fn what_was_rolled_back_and_heard_is_reported() {
    let complaint = complaint(|account| hear(account, 12, "1-3-7-3"));
    assert_eq!(complaint, "event 3 of writer 1: rolled back, and heard");
}

#[test]
fn a_swapped_order_is_reported() {
    let mut account = sound();
    account.heard.swap(0, 1);
    let verdict = account.verdict();
    assert!(verdict.complaints.is_empty(), "{:?}", verdict.complaints);
    let [disordered] = &verdict.disordered[..] else { panic!("{:?}", verdict.disordered) };
    assert!(disordered.ends_with("place 1 of key 7 (id 10) came after place 2 (id 11)"), "{disordered}");
}

#[test]
fn a_repetition_without_a_reason_is_reported() {
    let mut account = sound();
    hear(&mut account, 10, "1-1-7-1");
    let expected = ["event 1 of writer 1: repeated without a reason", "1 repetitions are too many"];
    assert_eq!(account.verdict().complaints, expected);
    let twice = complaint(|account| {
        account.faults = 1;
        hear(account, 10, "1-1-7-1");
        hear(account, 10, "1-1-7-1");
    });
    assert_eq!(twice, "event 1 of writer 1: repeated without a reason");
}

#[test]
fn what_nobody_wrote_is_reported() {
    assert_eq!(
        complaint(|account| hear(account, 14, "2-1-9-1")),
        "event 1 of writer 2: heard, and written by nobody"
    );
    assert!(complaint(|account| hear(account, 14, "?")).starts_with("heard what nobody writes"));
}

#[test]
fn a_foreign_id_is_reported() {
    let complaint = complaint(|account| account.heard[1].id = 10);
    assert_eq!(complaint, "event 2 of writer 1: heard with the id 10, which is not its own");
}

#[test]
fn an_acknowledged_commit_that_is_not_in_the_tables_is_reported() {
    let complaint = complaint(|account| {
        account.kept.remove(&(1, 2));
        account.heard.remove(1);
    });
    assert_eq!(complaint, "event 2 of writer 1: committed, and not in the tables");
}

#[test]
fn more_undone_by_a_crash_than_were_under_way_is_reported() {
    let undo = |account: &mut Account| {
        account.kept.remove(&(1, 4));
    };
    assert!(complaint(undo).starts_with("heard and undone by a crash"));
    let mut account = Account { undone_at_most: 1, ..sound() };
    undo(&mut account);
    let verdict = account.verdict();
    assert!(verdict.complaints.is_empty(), "{verdict:?}");
    assert_eq!(verdict.undone.len(), 1);
}
