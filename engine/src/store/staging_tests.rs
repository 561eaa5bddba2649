//! Staged messages are seen all at once or never, whatever ends in between.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::PlainDisk;
use crate::flags::FlagList;
use crate::ids::UnixSeconds;
use crate::seal::Secret;

const ANNA: &str = "anna@example.org";

fn open(folder: &Path) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    let surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
    Store::open_in(&surroundings, &folder.join("data"), options).unwrap().0
}

fn anna(store: &Store) -> Account {
    store.account(ANNA).unwrap().unwrap()
}

fn new_store(folder: &Path) -> Store {
    let key = KeySource::KeyFile(folder.join("key"));
    Store::init(&folder.join("data"), &InitOptions { key }).unwrap();
    let store = open(folder);
    store.add_domain("example.org").unwrap();
    let (name, password) = (ANNA.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    store
        .set_retention(VolumeRetention {
            setting: RetentionSetting::Seconds(3600),
            ..VolumeRetention::default()
        })
        .unwrap();
    store
}

fn stage(store: &Store, count: u32) -> Staging {
    let anna = anna(store);
    let staging = anna.staged(anna.stage().wait().unwrap()).unwrap();
    for number in 0..count {
        let text = format!("Subject: {number}\r\n\r\n");
        let prepared = store.prepare(text.as_bytes(), &[anna.number()]).unwrap();
        let message = NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(5) };
        staging.append(vec![message]).wait().unwrap();
    }
    staging
}

fn messages(store: &Store) -> (u64, u32) {
    let inbox = anna(store).mailbox("INBOX").unwrap().unwrap();
    let count = inbox.view().unwrap().unwrap().message_count();
    (anna(store).usage().message_count, count)
}

#[test]
fn staged_messages_are_handed_over_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    let before = anna(&store).listing().unwrap();
    let staging = stage(&store, 5);
    assert_eq!(messages(&store), (5, 0), "they count, and nobody sees them");
    assert_eq!(anna(&store).listing().unwrap(), before);
    let inbox = anna(&store).mailbox("INBOX").unwrap().unwrap();
    let copied = staging.hand_over(&inbox).wait().unwrap();
    assert_eq!(copied.destination.len(), 5);
    drop(staging);
    assert_eq!(messages(&store), (5, 5));
    // One that is given up goes; a change that waits for another is committed behind it.
    drop(stage(&store, 3));
    anna(&store).subscribe("x").wait().unwrap();
    assert_eq!(messages(&store), (5, 5));
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
    store.close();
}

#[test]
fn what_a_process_left_staged_goes_when_the_store_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = new_store(folder.path());
    std::mem::forget(stage(&store, 5));
    assert_eq!(messages(&store), (5, 0));
    let retained = anna(&store).retained_usage();
    store.close();
    // The handle that was forgotten keeps the lock: the directory is opened as a copy.
    let copy = tempfile::tempdir().unwrap();
    copy_all(folder.path(), copy.path());
    let store = open(copy.path());
    assert_eq!(messages(&store), (0, 0));
    assert_eq!(
        store
            .inner
            .committed
            .accounts()
            .iter()
            .map(|one| one.names.staging().count())
            .sum::<usize>(),
        0
    );
    assert_eq!(anna(&store).retained_usage(), retained);
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
    store.close();
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => {
                std::fs::create_dir(&to).unwrap();
                copy_all(&entry.path(), &to);
            }
            false if entry.file_type().unwrap().is_file() => {
                std::fs::copy(entry.path(), to).map(drop).unwrap();
            }
            false => {}
        }
    }
}
