//! Numbers from elsewhere stay what they are, whatever happens around them.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::PlainDisk;
use crate::flags::FlagList;
use crate::ids::{Uid, UidValidity, UnixSeconds};
use crate::seal::Secret;
use crate::uid_set::UidSet;

const ANNA: &str = "anna@example.org";

fn open(folder: &Path) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    let surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
    Store::open_in(&surroundings, &folder.join("data"), options).unwrap().0
}

fn new_store(folder: &Path) -> Store {
    let key = KeySource::KeyFile(folder.join("key"));
    Store::init(&folder.join("data"), &InitOptions { key }).unwrap();
    let store = open(folder);
    store.add_domain("example.org").unwrap();
    let (name, password) = (ANNA.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    store
}

fn anna(store: &Store) -> Account {
    store.account(ANNA).unwrap().unwrap()
}

fn inbox(store: &Store) -> Mailbox {
    anna(store).mailbox("INBOX").unwrap().unwrap()
}

fn message(store: &Store, text: &str) -> NewMessage {
    let text = format!("Subject: {text}\r\n\r\n");
    let prepared = store.prepare(text.as_bytes(), &[anna(store).number()]).unwrap();
    NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(5) }
}

fn bring(store: &Store, next: u32, uids: &[u32]) -> Vec<Result<Vec<Uid>, CommitError>> {
    let messages = uids.iter().map(|uid| (Uid(*uid), message(store, &uid.to_string()))).collect();
    let answers = inbox(store).append_numbered(Uid(next), messages).into_iter();
    answers.map(|ticket| ticket.wait().map(|appended| appended.uids)).collect()
}

fn take(store: &Store, next: u32, uids: &[u32]) {
    for (result, uid) in bring(store, next, uids).into_iter().zip(uids) {
        assert_eq!(result.unwrap(), [Uid(*uid)]);
    }
}

fn state(store: &Store) -> (u32, Option<u32>, Vec<u32>) {
    let view = inbox(store).view().unwrap().unwrap();
    let rows = view.rows_from(Uid(1), 10_000).unwrap();
    (
        view.uid_validity().0,
        view.uid_next().map(|uid| uid.0),
        rows.iter().map(|row| row.uid.0).collect(),
    )
}

fn renumber(store: &Store, uid_validity: u32, standing: Standing) -> Result<(), CommitError> {
    let made = anna(store).create_numbered("inbox", UidValidity(uid_validity), None, standing);
    made.wait().map(drop)
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().map(|uid| Uid(*uid)).collect()
}

#[test]
fn numbers_from_elsewhere_stay_through_restarts_and_a_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    renumber(&store, 7, Standing::Unused).unwrap();
    // More than a page, with holes.
    let many: Vec<u32> = (0..700).map(|number| 100 + 3 * number).collect();
    take(&store, 1, &[9, 12]);
    take(&store, 13, &many);
    inbox(&store).leave_out(Uid(2198), Uid(3000)).wait().unwrap();
    inbox(&store).remove(&set(&[9, 10, 100])).wait().unwrap();
    let kept: Vec<u32> = std::iter::once(12).chain(many.into_iter().skip(1)).collect();
    let expected = (7, Some(3000), kept);
    assert_eq!(state(&store), expected);
    let checked = store.check(&mut |_| {}).unwrap();
    assert!(checked.problems.is_empty(), "{:?}", checked.problems);
    store.close();
    drop(store);
    let store = open(folder.path());
    assert_eq!(state(&store), expected, "after a restart");
    store.close();
    drop(store);
    std::fs::remove_dir_all(folder.path().join("data/volumes/main/state")).unwrap();
    let store = open(folder.path());
    assert_eq!(state(&store), expected, "made anew from the log");
    let own = inbox(&store).append(vec![message(&store, "own")]).wait().unwrap();
    assert_eq!(own.uids, [Uid(3000)], "what was left out is never given");
    let view = inbox(&store).view().unwrap().unwrap();
    let gone = inbox(&store).vanished_after(&view, crate::ids::Lsn::ZERO).unwrap();
    assert!(gone.is_none_or(|gone| gone.contains(Uid(9)) && !gone.contains(Uid(12))));
}

#[test]
fn nobody_gives_a_uid_a_second_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    renumber(&store, 7, Standing::Unused).unwrap();
    take(&store, 1, &[5]);
    inbox(&store).append(vec![message(&store, "delivered here")]).wait().unwrap();
    let parted = bring(&store, 6, &[6, 8]);
    assert!(matches!(parted[0], Err(CommitError::OtherNumbers { .. })), "{parted:?}");
    assert!(parted[1].is_err(), "7 is next, but 6 is not what was brought: {parted:?}");
    let again = bring(&store, 7, &[5]).remove(0);
    assert!(matches!(again, Err(CommitError::NotPermitted { .. })), "below the next one");
    let twice = bring(&store, 7, &[9, 9]);
    assert!(twice[0].is_ok() && twice[1].is_err(), "one after the other");
    let behind = inbox(&store).leave_out(Uid(9), Uid(20)).wait();
    assert!(matches!(behind, Err(CommitError::OtherNumbers { .. })));
    inbox(&store).leave_out(Uid(10), Uid(3)).wait().unwrap();
    assert_eq!(state(&store), (7, Some(10), vec![5, 6, 9]), "it never falls");
}

#[test]
fn none_is_taken_after_one_that_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    renumber(&store, 7, Standing::Unused).unwrap();
    store.set_message_limit(anna(&store).number(), Some(2)).unwrap();
    let results = bring(&store, 1, &[3, 6, 7, 8]);
    let taken: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, true, false, false]);
    assert_eq!(state(&store), (7, Some(7), vec![3, 6]));
}

#[test]
fn only_a_mailbox_that_was_never_used_gives_way_unless_an_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let old = inbox(&store);
    renumber(&store, 7, Standing::Unused).unwrap();
    assert!(old.view().unwrap().is_none(), "whoever had it open sees that it is gone");
    take(&store, 1, &[5]);
    assert!(renumber(&store, 8, Standing::Unused).is_err());
    assert!(renumber(&store, 8, Standing::Empty).is_err(), "no mail goes");
    inbox(&store).remove(&set(&[5])).wait().unwrap();
    assert!(renumber(&store, 8, Standing::Unused).is_err(), "UID 5 had a meaning");
    renumber(&store, 8, Standing::Empty).unwrap();
    assert_eq!(state(&store), (8, Some(1), vec![]));
    assert!(renumber(&store, 0, Standing::Empty).is_err());
}

#[test]
fn the_office_of_a_mailbox_stays_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let anna = anna(&store);
    anna.create_numbered("Sent", UidValidity(3), None, Standing::Unused).wait().unwrap();
    let listing = anna.listing().unwrap();
    let sent = listing.mailboxes.iter().find(|entry| entry.name == "Sent").unwrap();
    assert_eq!(sent.special_use, Some(SpecialUse::Sent));
    let made =
        anna.create_numbered("Gesendet", UidValidity(4), Some(SpecialUse::Sent), Standing::Unused);
    assert!(made.wait().is_err(), "one mailbox for one use");
    anna.create_numbered("A/B", UidValidity(4), None, Standing::Unused).wait().unwrap();
    let view = anna.mailbox("A/B").unwrap().unwrap().view().unwrap().unwrap();
    assert_eq!(view.uid_validity(), UidValidity(4));
}
