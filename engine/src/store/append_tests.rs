//! Messages that come together: one record, and each judged for itself.

use std::path::Path;

use super::*;
use crate::flags::{FlagList, Keyword};
use crate::ids::{Uid, UnixSeconds};
use crate::seal::{Argon2Cost, Secret};

const NAME: &str = "anna@example.org";

fn open(directory: &Path) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(directory.with_extension("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    Store::open(directory, options).unwrap().0
}

fn new_store(directory: &Path) -> Store {
    let key = KeySource::KeyFile(directory.with_extension("key"));
    Store::init(directory, &InitOptions { key }).unwrap();
    let store = open(directory);
    store.add_domain("example.org").unwrap();
    let (name, password) = (NAME.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    store
}

fn account(store: &Store) -> Account {
    store.account(NAME).unwrap().unwrap()
}

fn inbox(store: &Store) -> Mailbox {
    account(store).mailbox("INBOX").unwrap().unwrap()
}

/// A text of so many bytes that says its number and does not compress.
fn text(number: usize, length: usize) -> Vec<u8> {
    let mut text = format!("Subject: number {number}\r\n\r\n").into_bytes();
    let mut bytes = blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof();
    let mut noise = vec![0; length];
    bytes.fill(&mut noise);
    text.extend(noise.iter().map(|byte| b' ' + byte % 90));
    text
}

fn new_message(store: &Store, text: &[u8], keyword_count: usize) -> NewMessage {
    let prepared = store.prepare(text, &[account(store).number()]).unwrap();
    let keyword = |number: usize| Keyword::new(&format!("k{number}")).unwrap();
    let keywords = (0..keyword_count).map(keyword).collect();
    let flags = FlagList { keywords, ..FlagList::default() };
    NewMessage { prepared, flags, received: UnixSeconds(7) }
}

fn append_each(store: &Store, texts: &[(Vec<u8>, usize)]) -> Vec<Result<Uid, CommitError>> {
    let messages = texts.iter().map(|(text, keywords)| new_message(store, text, *keywords));
    let tickets = inbox(store).append_each(messages.collect());
    tickets.into_iter().map(|ticket| ticket.wait().map(|appended| appended.uids[0])).collect()
}

/// Nothing is wrong; answers how many records the log has.
fn checked(store: &Store) -> u64 {
    store.checkpoint();
    let report = store.check(&mut |_| {}).unwrap();
    assert_eq!(report.problems, []);
    report.record_count
}

fn read(store: &Store, uid: Uid) -> Vec<u8> {
    let row = inbox(store).view().unwrap().unwrap().row(uid).unwrap().unwrap();
    account(store).message(&row).unwrap().read_all().unwrap()
}

#[test]
fn messages_that_come_together_share_a_record_and_keep_their_own_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let mut store = new_store(&directory);
    let before = checked(&store);
    let texts: Vec<_> = (0..100).map(|number| (text(number, 300 + number * 40), 0)).collect();
    let uids: Vec<Uid> = append_each(&store, &texts).into_iter().map(Result::unwrap).collect();
    assert_eq!(uids, (1..=100).map(Uid).collect::<Vec<_>>());
    assert_eq!(checked(&store), before + 1, "one record for all");
    for lost in ["nothing", "state"] {
        for (uid, (text, _)) in uids.iter().zip(&texts) {
            assert!(read(&store, *uid) == *text, "{uid:?}, lost {lost}");
        }
        store.close();
        drop(store);
        if lost == "nothing" {
            std::fs::remove_dir_all(directory.join("volumes/main/state")).unwrap();
        }
        store = open(&directory);
    }
    checked(&store);
}

#[test]
fn what_is_refused_refuses_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let small = |number| (text(number, 400), 0);
    store.set_quota(account(&store).number(), Some(10_000)).unwrap();
    let texts = [small(1), (text(2, 20_000), 0), (text(3, 400), 1001), small(4)];
    let answers = append_each(&store, &texts);
    assert!(matches!(answers[1], Err(CommitError::OverQuota { .. })), "{answers:?}");
    assert!(matches!(answers[2], Err(CommitError::TooLarge { .. })), "{answers:?}");
    assert_eq!(answers[0].as_ref().unwrap(), &Uid(1));
    assert_eq!(answers[3].as_ref().unwrap(), &Uid(2), "no number is left out");
    assert!(read(&store, Uid(1)) == texts[0].0 && read(&store, Uid(2)) == texts[3].0);
    // The quota counts what came before in the same batch.
    let texts: Vec<_> = (10..20).map(|number| (text(number, 2_000), 0)).collect();
    let taken = append_each(&store, &texts).iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(taken, 4);
    assert_eq!(inbox(&store).view().unwrap().unwrap().message_count(), 6);
    checked(&store);
}

#[test]
fn messages_that_are_large_together_enter_ahead_and_leave_nothing_when_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let texts: Vec<_> = (0..4).map(|number| (text(number, 600_000), 0)).collect();
    for answer in append_each(&store, &texts) {
        let uid = answer.unwrap();
        let number = usize::try_from(uid.0 - 1).unwrap();
        assert!(read(&store, uid) == texts[number].0);
    }
    checked(&store);
    let live = || {
        assert!(store.checkpoint() && store.checkpoint());
        store.recount(&mut || true).unwrap().expect("nobody stops it");
        store.status().live_bytes.unwrap()
    };
    let before = live();
    let number = account(&store).number();
    let used = account(&store).quota().unwrap().0;
    store.set_quota(number, Some(used + 700_000)).unwrap();
    let texts: Vec<_> = (4..8).map(|number| (text(number, 600_000), 0)).collect();
    let answers = append_each(&store, &texts);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    let more = live() - before;
    assert!(more < 700_000, "{more} bytes more are alive, of one message");
    checked(&store);
}

#[test]
fn a_message_that_is_replaced_gives_its_room_and_its_place_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(&folder.path().join("data"));
    let trash = account(&store).mailbox("Trash").unwrap().unwrap();
    let texts = [text(1, 5000), text(2, 5000), text(3, 1_500_000)];
    let [small, other, large] = &texts;
    append_each(&store, &[(small.clone(), 0), (other.clone(), 0)]);
    // Full to the byte: another of the same size fits only in place of one.
    let full = u64::try_from(small.len() + other.len()).unwrap();
    store.set_quota(account(&store).number(), Some(full)).unwrap();
    let replace = |uid, to: &Mailbox, text: &[u8]| {
        inbox(&store).replace(Uid(uid), to, new_message(&store, text, 1)).wait()
    };
    assert!(matches!(replace(1, &inbox(&store), large), Err(CommitError::OverQuota { .. })));
    assert_eq!(replace(1, &inbox(&store), other).unwrap().uids, [Uid(3)]);
    assert!(matches!(replace(1, &trash, other), Err(CommitError::MessagesGone)));
    store.set_quota(account(&store).number(), None).unwrap();
    assert_eq!(replace(2, &trash, large).unwrap().uids, [Uid(1)]);
    let uids = |mailbox: &Mailbox| -> Vec<Uid> {
        let rows = mailbox.view().unwrap().unwrap().rows_from(Uid(1), 9).unwrap();
        rows.iter().map(|row| row.uid).collect()
    };
    assert_eq!((uids(&inbox(&store)), uids(&trash)), (vec![Uid(3)], vec![Uid(1)]));
    let row = trash.view().unwrap().unwrap().row(Uid(1)).unwrap().unwrap();
    assert!(account(&store).message(&row).unwrap().read_all().unwrap() == *large);
    checked(&store);
}
