//! Metadata, rights and limits: within their bounds, after restarts, and after what they name is
//! gone.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::PlainDisk;
use crate::flags::FlagList;
use crate::ids::{AccountNumber, UnixSeconds};
use crate::limits::{
    ACL_ENTRIES_MAX, MAILBOX_ANNOTATION_BYTES_MAX, METADATA_ENTRIES_MAX, METADATA_NAME_BYTES_MAX,
    METADATA_VALUE_BYTES_MAX,
};
use crate::rights::{Grantee, Identifier, Rights, Sign};
use crate::seal::Secret;

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const CARL: &str = "carl@example.org";

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
    for name in [ANNA, BERT, CARL] {
        let (name, password) = (name.to_owned(), Secret::new("x".into()));
        store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    }
    store
}

fn account(store: &Store, name: &str) -> Account {
    store.account(name).unwrap().unwrap()
}

fn rights(letters: &str) -> Rights {
    Rights::from_letters(letters).unwrap()
}

fn change(name: &str, value: Option<&[u8]>) -> MetadataChange {
    let value = value.map(<[u8]>::to_vec);
    MetadataChange { scope: MetadataScope::Shared, name: name.to_owned(), value }
}

fn append(store: &Store, name: &str) -> Result<Appended, CommitError> {
    let account = account(store, name);
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let prepared = store.prepare(b"Subject: x\r\n\r\n", &[account.number()]).unwrap();
    let (flags, received) = (FlagList::default(), UnixSeconds(5));
    inbox.append(vec![NewMessage { prepared, flags, received }]).wait()
}

#[test]
fn what_an_account_gives_another_one_sees_after_a_restart_and_without_state() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let (anna, bert) = (account(&store, ANNA), account(&store, BERT));
    let inbox = anna.mailbox("INBOX").unwrap().unwrap().id();
    let who = Identifier::account(bert.number());
    anna.set_rights(inbox, who, Some(rights("lrs"))).wait().unwrap();
    anna.set_metadata(None, vec![change("/comment", Some(b"mine"))]).wait().unwrap();
    store.set_message_limit(anna.number(), Some(5)).unwrap();
    assert!(store.checkpoint());
    let taken = Identifier { grantee: Grantee::Account(bert.number()), sign: Sign::Negative };
    anna.set_rights(inbox, taken, Some(rights("s"))).wait().unwrap();
    store.close();
    drop((store, anna, bert));
    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(folder.path().join("data/volumes/main/state")).unwrap();
        }
        let store = open(folder.path());
        let (anna, bert) = (account(&store, ANNA), account(&store, BERT));
        let owners: Vec<String> = bert.sharing_with().iter().map(Account::name).collect();
        assert_eq!(owners, [ANNA], "state lost: {lost}");
        assert_eq!(anna.rights_of(inbox, bert.number()), rights("lr"));
        assert_eq!(anna.rights_of(inbox, anna.number()), Rights::ALL);
        assert_eq!(account(&store, CARL).sharing_with().len(), 0);
        assert_eq!(anna.metadata(None, bert.number())[0].value, b"mine");
        assert_eq!(anna.usage().message_limit, Some(5));
        assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        store.close();
    }
}

#[test]
fn who_was_deleted_has_no_rights_and_what_was_deleted_has_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let (anna, bert) = (account(&store, ANNA), account(&store, BERT));
    anna.create_mailbox("Work", None).wait().unwrap();
    let work = anna.mailbox("Work").unwrap().unwrap().id();
    anna.set_rights(work, Identifier::account(bert.number()), Some(rights("lr"))).wait().unwrap();
    let below = anna.create_mailbox("Work/2026/July", None).wait().unwrap();
    assert_eq!(anna.rights_of(below, bert.number()), rights("lr"), "as the one above it");
    let gone = bert.number();
    store.delete_account(gone).unwrap();
    assert_eq!(anna.access_list(work), []);
    // The next change of the list takes the entry out for good.
    anna.set_rights(work, Identifier::ANYONE, Some(rights("l"))).wait().unwrap();
    assert_eq!(anna.access_list(work).len(), 1);
    assert_eq!(anna.rights_of(work, gone), rights("l"));
    let carl = account(&store, CARL);
    assert_eq!(carl.sharing_with().len(), 1);
    for name in ["Work", "Work/2026/July"] {
        anna.delete_mailbox(name).wait().unwrap();
    }
    assert_eq!(carl.sharing_with().len(), 0);
    assert_eq!(anna.rights_of(work, carl.number()), Rights::NONE);
    let late = anna.set_rights(work, Identifier::ANYONE, Some(rights("l"))).wait();
    assert!(matches!(late, Err(CommitError::NoSuchMailbox)), "{late:?}");
    assert!(store.checkpoint());
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
    store.close();
}

#[test]
fn guests_leave_each_other_and_the_owner_room_for_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let [anna, bert, carl] = [ANNA, BERT, CARL].map(|name| account(&store, name));
    let inbox = anna.mailbox("INBOX").unwrap().unwrap().id();
    let of = |who: &Account, name: &str, bytes: Option<usize>| MetadataChange {
        scope: MetadataScope::Private(who.number()),
        name: name.to_owned(),
        value: bytes.map(|bytes| vec![7; bytes]),
    };
    let set = |changes| anna.set_metadata_within(Some(inbox), changes, 3).wait();
    for name in ["/a", "/b", "/c"] {
        set(vec![of(&bert, name, Some(1))]).unwrap();
    }
    let error = set(vec![of(&bert, "/d", Some(1))]).unwrap_err();
    assert!(matches!(error, CommitError::TooManyEntries { limit: 3 }), "{error}");
    set(vec![of(&bert, "/a", Some(2))]).unwrap();
    set(vec![of(&bert, "/a", None), of(&bert, "/d", Some(1))]).unwrap();
    set(vec![of(&carl, "/a", Some(1))]).unwrap();
    let many = |count: usize| (0..count).map(|number| change(&format!("/e{number}"), Some(b"x")));
    set(many(METADATA_ENTRIES_MAX).collect())
        .expect("those of guests do not count with the owner's");
    set((0..METADATA_ENTRIES_MAX).map(|number| change(&format!("/e{number}"), None)).collect())
        .unwrap();
    // Guests together have half of the bytes.
    let large = METADATA_VALUE_BYTES_MAX - 600;
    set(vec![of(&bert, "/b", Some(large))]).unwrap();
    set(vec![of(&carl, "/a", Some(large))]).unwrap();
    let error = set(vec![of(&carl, "/b", Some(large))]).unwrap_err();
    assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
    let half = MAILBOX_ANNOTATION_BYTES_MAX / 2;
    let own = (0..2).map(|number| of(&anna, &format!("/own{number}"), Some(half / 2 - 100)));
    set(own.collect()).expect("the other half is the owner's");
    assert!(store.checkpoint());
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
    store.close();
}

#[test]
fn what_stands_beside_a_mailbox_has_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let anna = account(&store, ANNA);
    let inbox = anna.mailbox("INBOX").unwrap().unwrap().id();
    let set = |changes| anna.set_metadata(Some(inbox), changes).wait();
    let long = vec![0; METADATA_VALUE_BYTES_MAX + 1];
    let name = "x".repeat(METADATA_NAME_BYTES_MAX + 1);
    for refused in [change("/a", Some(&long)), change(&name, Some(b""))] {
        let error = set(vec![refused]).unwrap_err();
        assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
    }
    let many = |count: usize, bytes: usize| {
        let value = vec![7; bytes];
        let one = |number| change(&format!("/e{number}"), Some(&value));
        (0..count).map(one).collect::<Vec<_>>()
    };
    set(many(METADATA_ENTRIES_MAX, 10)).unwrap();
    let error = set(vec![change("/other", Some(b""))]).unwrap_err();
    assert!(matches!(error, CommitError::TooManyEntries { limit: 500 }), "{error}");
    let error = set(many(9, METADATA_VALUE_BYTES_MAX)).unwrap_err();
    assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
    set((0..METADATA_ENTRIES_MAX).map(|number| change(&format!("/e{number}"), None)).collect())
        .unwrap();
    assert_eq!(anna.metadata(Some(inbox), anna.number()), []);
    for number in 0..8 {
        anna.create_mailbox(&format!("m{number}"), None).wait().unwrap();
    }
    let listing = anna.listing().unwrap();
    let filled = listing
        .mailboxes
        .iter()
        .map(|entry| anna.set_metadata(Some(entry.id), many(2, METADATA_VALUE_BYTES_MAX)).wait());
    assert!(filled.collect::<Result<Vec<_>, _>>().is_ok(), "14 of them are below 2 MiB");
    for number in 8..12 {
        anna.create_mailbox(&format!("m{number}"), None).wait().unwrap();
    }
    let listing = anna.listing().unwrap();
    let filled = listing
        .mailboxes
        .iter()
        .map(|entry| anna.set_metadata(Some(entry.id), many(2, METADATA_VALUE_BYTES_MAX)).wait());
    assert!(filled.collect::<Result<Vec<_>, _>>().is_err(), "18 of them are not");
    // The list of an account that there is not goes with the next change, so one is enough here.
    assert_eq!(ACL_ENTRIES_MAX, 1000);
    store.close();
    drop((store, anna));
    open(folder.path()).close();
}

#[test]
fn an_account_has_no_more_messages_than_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let anna = account(&store, ANNA);
    store.set_message_limit(anna.number(), Some(2)).unwrap();
    append(&store, ANNA).unwrap();
    append(&store, ANNA).unwrap();
    let refused = append(&store, ANNA).unwrap_err();
    assert!(matches!(refused, CommitError::TooManyMessages { limit: 2 }), "{refused}");
    let inbox = anna.mailbox("INBOX").unwrap().unwrap();
    let all = crate::uid_set::UidSet::from_ranges([(1, 9)]);
    assert!(inbox.copy(&all, &inbox).wait().is_err(), "a copy is a message");
    store.set_message_limit(anna.number(), None).unwrap();
    append(&store, ANNA).unwrap();
    append(&store, BERT).unwrap();
    let nobody = store.set_message_limit(AccountNumber(77), None).unwrap_err();
    assert!(matches!(nobody, CommitError::NoSuchAccount), "{nobody}");
    store.close();
}

#[test]
fn who_watches_an_account_hears_of_names_and_metadata_and_of_what_others_share() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let (anna, bert, carl) = (account(&store, ANNA), account(&store, BERT), account(&store, CARL));
    let counters = [(); 3].map(|()| Arc::new(AtomicU32::new(0)));
    let watch = |account: &Account, counter: &Arc<AtomicU32>| {
        let counter = Arc::clone(counter);
        account.on_change(Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        }))
    };
    let _hers = watch(&anna, &counters[0]);
    let his = watch(&bert, &counters[1]);
    let _carls = watch(&carl, &counters[2]);
    let heard = || [0, 1, 2].map(|who: usize| counters[who].swap(0, Ordering::Relaxed));
    append(&store, ANNA).unwrap();
    assert_eq!(heard(), [0, 0, 0], "mail is for who watches the mailbox");
    anna.create_mailbox("Work", None).wait().unwrap();
    anna.subscribe("Work").wait().unwrap();
    let before = anna.metadata_state();
    anna.set_metadata(None, vec![change("/comment", Some(b"mine"))]).wait().unwrap();
    assert_eq!(heard(), [3, 0, 0]);
    let changed = anna.metadata_state().changed_since(&before, bert.number());
    assert_eq!(changed, [(None, MetadataScope::Shared, "/comment".to_owned())]);
    let inbox = anna.mailbox("INBOX").unwrap().unwrap().id();
    let who = Identifier::account(bert.number());
    anna.set_rights(inbox, who, Some(rights("lr"))).wait().unwrap();
    anna.delete_mailbox("Work").wait().unwrap();
    anna.set_rights(inbox, who, None).wait().unwrap();
    assert_eq!(heard(), [3, 3, 0], "the first right, a name, the last right");
    anna.create_mailbox("Work", None).wait().unwrap();
    assert_eq!(heard(), [1, 0, 0], "nothing is shared any more");
    anna.set_rights(inbox, Identifier::ANYONE, Some(rights("l"))).wait().unwrap();
    assert_eq!(heard(), [1, 1, 1]);
    drop(his);
    anna.delete_mailbox("Work").wait().unwrap();
    assert_eq!(heard(), [1, 0, 1], "who let go of the watch hears no more");
}
