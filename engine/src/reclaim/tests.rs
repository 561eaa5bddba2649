//! A steady coming and going of mail: the disk holds little more than what is alive.

use std::path::Path;
use std::sync::Arc;

use crate::disk::PlainDisk;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{Uid, UnixSeconds};
use crate::log::SegmentNumber;
use crate::seal::{Argon2Cost, Secret};
use crate::store::{
    InitOptions, KeySource, Mailbox, NewAccount, NewMessage, OpenOptions, Store, Surroundings,
};
use crate::uid_set::UidSet;

const SEGMENT_BYTES: u64 = 2 << 20;
const MESSAGE_BYTES: usize = 40_000;

fn options(folder: &Path) -> OpenOptions {
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.reclaim_bytes_per_second = u64::MAX / 2_000_000;
    options
}

fn open(folder: &Path) -> Store {
    let mut surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
    surroundings.segment_bytes = SEGMENT_BYTES;
    surroundings.image_bytes_min = 64 << 10;
    Store::open_in(&surroundings, &folder.join("data"), options(folder)).unwrap().0
}

/// Noise that neither compresses nor repeats.
fn message(number: u64) -> Vec<u8> {
    let key = blake3::hash(&number.to_le_bytes());
    let mut bytes = vec![0; MESSAGE_BYTES];
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

struct Flow {
    store: Store,
    mailbox: Mailbox,
    next: u64,
}

impl Flow {
    fn new(store: Store) -> Flow {
        let account = store.account("anna@example.org").unwrap().unwrap();
        let mailbox = account.mailbox("INBOX").unwrap().unwrap();
        Flow { store, mailbox, next: 0 }
    }

    fn append(&mut self, count: u64) {
        let account = self.store.account("anna@example.org").unwrap().unwrap().number();
        for number in self.next..self.next + count {
            let prepared = self.store.prepare(&message(number), &[account]).unwrap();
            let (flags, received) = (FlagList::default(), UnixSeconds(7));
            self.mailbox.append(vec![NewMessage { prepared, flags, received }]).wait().unwrap();
        }
        self.next += count;
    }

    /// Expunges all but every fifth of the messages up to `last`.
    fn expunge_up_to(&self, last: u64) {
        let last = u32::try_from(last).unwrap();
        let going: UidSet = (1..=last).filter(|uid| uid % 5 != 0).map(Uid).collect();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
        self.mailbox.store_flags(&going, FlagChange::Add, &deleted, None).wait().unwrap();
        self.mailbox.expunge(&going).wait().unwrap();
    }

    fn check(&self) {
        let view = self.mailbox.view().unwrap().unwrap();
        let account = self.store.account("anna@example.org").unwrap().unwrap();
        for row in view.rows_from(Uid(1), usize::MAX).unwrap() {
            let bytes = account.message(&row).unwrap().read_all().unwrap();
            assert!(bytes == message(u64::from(row.uid.0) - 1), "UID {}", row.uid);
        }
        assert_eq!(self.store.check(&mut |_| {}).unwrap().problems, []);
    }
}

fn log_bytes(folder: &Path) -> u64 {
    let log = folder.join("data/volumes/main/log");
    let files = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap());
    let segments = files.filter(|file| SegmentNumber::of(&file.path()).is_some());
    segments.map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn under_a_steady_coming_and_going_the_log_stays_near_what_is_alive() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeySource::KeyFile(folder.path().join("key"));
    Store::init(&folder.path().join("data"), &InitOptions { key }).unwrap();
    let store = open(folder.path());
    store.add_domain("example.org").unwrap();
    let (name, password) = ("anna@example.org".to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let mut flow = Flow::new(store);
    for round in 1..=4 {
        flow.append(500);
        flow.expunge_up_to(round * 500);
    }
    // Until reclaim has nothing more to do: each checkpoint shows it what died.
    let mut before = u64::MAX;
    while log_bytes(folder.path()) < before {
        before = log_bytes(folder.path());
        assert!(flow.store.checkpoint());
        flow.store.wait_for_reclaim();
    }
    let live = flow.store.status().live_bytes.expect("a checkpoint has counted");
    assert!(live >= 400 * u64::try_from(MESSAGE_BYTES).unwrap(), "a fifth of 2,000 is alive");
    let limit = live * 3 / 2 + 2 * SEGMENT_BYTES;
    let found = log_bytes(folder.path());
    assert!(found < limit, "{found} bytes of log for {live} alive");
    let status = flow.store.status();
    assert!(status.reclaimed_segments > 10, "{status:?}");
    println!("{status:?}, {found} bytes of log");
    flow.check();
    flow.store.close();
    drop(flow);
    let flow = Flow::new(open(folder.path()));
    flow.check();
}

#[test]
fn base_images_let_records_go_and_the_log_alone_still_brings_back_everything() {
    // S4: images are made once for many records, and of what changed.
    let folder = tempfile::tempdir().unwrap();
    let key = KeySource::KeyFile(folder.path().join("key"));
    Store::init(&folder.path().join("data"), &InitOptions { key }).unwrap();
    let store = open(folder.path());
    store.add_domain("example.org").unwrap();
    let (name, password) = ("anna@example.org".to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let mut flow = Flow::new(store);
    flow.append(50);
    let seen = FlagList { system: SystemFlags::SEEN, keywords: Vec::new() };
    for round in 0..4 {
        for number in 0..750 {
            let uid: UidSet = [Uid(number % 50 + 1)].into_iter().collect();
            let is_added = number / 50 % 2 == 0;
            let change = if is_added { FlagChange::Add } else { FlagChange::Remove };
            let ticket = flow.mailbox.store_flags(&uid, change, &seen, None);
            ticket.wait().unwrap();
        }
        flow.append(u64::from(round % 2 == 0));
        assert!(flow.store.checkpoint());
        flow.store.wait_for_reclaim();
    }
    let mut before = u64::MAX;
    while log_bytes(folder.path()) < before {
        before = log_bytes(folder.path());
        assert!(flow.store.checkpoint());
        flow.store.wait_for_reclaim();
    }
    let status = flow.store.status();
    println!("{status:?}, {} bytes of log", log_bytes(folder.path()));
    assert!(status.image_rounds >= 1, "{status:?}");
    let limit = status.live_bytes.unwrap() * 3 / 2 + 2 * SEGMENT_BYTES;
    assert!(log_bytes(folder.path()) < limit, "3,000 records of flags are gone: {status:?}");
    let rows =
        |flow: &Flow| flow.mailbox.view().unwrap().unwrap().rows_from(Uid(1), usize::MAX).unwrap();
    let expected = rows(&flow);
    flow.store.close();
    drop(flow);
    std::fs::remove_dir_all(folder.path().join("data/volumes/main/state")).unwrap();
    let flow = Flow::new(open(folder.path()));
    assert!(rows(&flow) == expected, "every flag and MODSEQ is there");
    flow.check();
}

#[test]
fn a_reader_that_looked_up_a_place_before_its_segment_was_released_reads_on() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeySource::KeyFile(folder.path().join("key"));
    Store::init(&folder.path().join("data"), &InitOptions { key }).unwrap();
    let store = open(folder.path());
    store.add_domain("example.org").unwrap();
    let (name, password) = ("anna@example.org".to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let mut flow = Flow::new(store);
    flow.append(200);
    let view = flow.mailbox.view().unwrap().unwrap();
    let account = flow.store.account("anna@example.org").unwrap().unwrap();
    let opened: Vec<_> = view
        .rows_from(Uid(1), usize::MAX)
        .unwrap()
        .into_iter()
        .filter(|row| row.uid.0 % 5 == 0)
        .map(|row| (row.uid, account.message(&row).unwrap()))
        .collect();
    flow.expunge_up_to(200);
    for _ in 0..3 {
        assert!(flow.store.checkpoint());
        flow.store.wait_for_reclaim();
    }
    assert!(flow.store.status().reclaimed_segments > 1);
    for (uid, mut reader) in opened {
        assert!(reader.read_all().unwrap() == message(u64::from(uid.0) - 1), "UID {uid}");
    }
}
