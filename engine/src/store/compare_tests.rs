//! Two nodes are compared; what was altered in the tables of one is named.

use super::pair_tests::{NAME, Two, append, inbox, make_account};
use super::*;
use crate::compare::{CompareReport, Difference};
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{AccountNumber, Lsn, Uid};
use crate::mailbox::with_flag_in_first_row;
use crate::state::{Table, TableBatch};
use crate::uid_set::UidSet;

fn compare(two: &mut Two) -> CompareReport {
    let first = two.first.clone();
    let mut seat = CompareSeat::default();
    let mut ask = |question: &[u8]| {
        two.ship();
        two.second.answer_compare(&mut seat, question)
    };
    first.compare(&mut ask, &mut |_| {}).unwrap()
}

/// Replaces or removes the last row of a table, as a fault would.
fn alter(store: &Store, table: Table, alter: &dyn Fn(&[u8]) -> Option<Vec<u8>>) {
    let saved = &store.inner.saved;
    let mut last = None;
    let tables = &saved.tables;
    tables
        .scan_prefix(table, &[], &mut |key, value| {
            last = Some((key.to_vec(), value.to_vec()));
            Ok(true)
        })
        .unwrap();
    let (key, sealed) = last.unwrap_or_else(|| panic!("{table:?} has no rows"));
    let account = match table {
        Table::Blob | Table::Reference => AccountNumber::VOLUME,
        _ => AccountNumber(u64::from_be_bytes(*key.first_chunk().unwrap())),
    };
    let mut batch = TableBatch::new();
    let plain = match table {
        Table::Reference => Vec::new(),
        _ => saved.values.open(table, &key, account, &sealed).unwrap(),
    };
    match alter(&plain) {
        Some(plain) => {
            let sealed = saved.values.seal(table, &key, account, Lsn::ZERO, &plain).unwrap();
            batch.put(table, &key, sealed);
        }
        None => batch.delete(table, &key),
    }
    tables.write(batch).unwrap();
    tables.flush().unwrap();
}

pub(super) fn with_mail() -> Two {
    let mut two = Two::new();
    two.first.add_domain("example.org").unwrap();
    make_account(&two.first, "other@example.org");
    make_account(&two.first, NAME);
    for number in 0..40 {
        append(&two.first, number).unwrap();
        if number % 9 == 0 {
            // Neither checkpoints nor restarts make a difference.
            two.ship();
            two.first.checkpoint();
            two.reopen_second();
        }
    }
    let uids: UidSet = [2, 5, 6].into_iter().map(Uid).collect();
    let flags = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
    inbox(&two.first).store_flags(&uids, FlagChange::Add, &flags, None).wait().unwrap();
    inbox(&two.first).expunge(&uids).wait().unwrap();
    two
}

fn found(report: &CompareReport) -> Vec<String> {
    report.differences.iter().map(Difference::to_string).collect()
}

/// What becomes of a row's value; `None`: the row goes.
type Change<'c> = &'c dyn Fn(&[u8]) -> Option<Vec<u8>>;

#[test]
fn nodes_that_hold_the_same_agree_whatever_their_pages_and_checkpoints() {
    let mut two = with_mail();
    let report = compare(&mut two);
    assert_eq!(found(&report), Vec::<String>::new());
    assert_eq!((report.account_count, report.lsn), (2, two.first.position().lsn));
    // While more comes: it is compared as of one position.
    append(&two.first, 77).unwrap();
    assert_eq!(found(&compare(&mut two)), Vec::<String>::new());
    two.reopen_second();
    let report = compare(&mut two);
    assert_eq!((found(&report), report.difference_count), (Vec::new(), 0));
}

#[test]
fn what_is_altered_on_one_node_is_named_by_account_mailbox_and_message() {
    let table: &[(Table, Change<'_>, &str)] = &[
        (
            Table::Page,
            &|page| Some(with_flag_in_first_row(page)),
            "anna@example.org INBOX UID 33: the message differs",
        ),
        (
            Table::Page,
            &|_| None,
            "anna@example.org INBOX UID 33: the message is on this node alone",
        ),
        (Table::Ids, &|_| None, "anna@example.org INBOX UID 33: the message differs"),
        (Table::Vanished, &|_| None, "anna@example.org INBOX: the list of UIDs that went differs"),
        (Table::Mailbox, &|_| None, "is on this node alone"),
        (Table::Account, &|_| None, "is on this node alone"),
        (Table::Reference, &|_| None, "is made of, or who names it, differs"),
    ];
    for (which, change, expected) in table {
        let mut two = with_mail();
        two.ship();
        assert!(two.second.checkpoint());
        alter(&two.second, *which, *change);
        let found = found(&compare(&mut two));
        let is_named = found.iter().any(|difference| difference.ends_with(expected));
        assert!(is_named, "{which:?}, {expected:?}: {found:#?}");
    }
}
