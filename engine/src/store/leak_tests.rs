//! Space that nothing names is given back: chunks of messages that never came to be, and the mail
//! of accounts whose keys are gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::deliver::first_ahead;
use super::live_copy::copy_live;
use super::*;
use crate::disk::PlainDisk;
use crate::flags::FlagList;
use crate::ids::{AccountNumber, UnixSeconds};
use crate::log::SegmentNumber;
use crate::seal::Secret;
use crate::state::{Table, TableBatch};

const USERS: [&str; 2] = ["anna@example.org", "bert@example.org"];
const SEGMENT_BYTES: u64 = 256 << 10;
const INLINE_BYTES: usize = 20_000;
const LARGE_BYTES: usize = 1_000_000;

struct Site {
    _folder: tempfile::TempDir,
    root: PathBuf,
    store: Store,
}

/// Bytes a second that reclaim copies, unless a test wants the log to stay as it is.
const RECLAIM_RATE: u64 = 1 << 40;

impl Site {
    fn new() -> Site {
        Site::with_reclaim(RECLAIM_RATE)
    }

    fn with_reclaim(rate: u64) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_path_buf();
        let key = KeySource::KeyFile(root.join("key"));
        Store::init(&root.join("data"), &InitOptions { key }).unwrap();
        let store = open_with(&root, &root.join("data"), rate);
        store.add_domain("example.org").unwrap();
        for name in USERS {
            let (name, password) = (name.to_owned(), Secret::new("x".into()));
            store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        }
        Site { _folder: folder, root, store }
    }

    /// The store as a kill at this moment leaves it.
    fn after_kill(&self, name: &str) -> Store {
        let image = self.root.join(name);
        self.store.wait_for_reclaim();
        copy_live(&self.root.join("data"), &image);
        open(&self.root, &image)
    }

    fn account(&self, name: &str) -> AccountNumber {
        self.store.account(name).unwrap().unwrap().number()
    }

    /// Chunks of a large message, without its record.
    fn enter(&self, number: u64) -> PreparedMessage {
        let account = self.account(USERS[0]);
        let mut prepared = self.store.prepare(&noise(number, LARGE_BYTES), &[account]).unwrap();
        self.store.inner.enter_ahead_if_large(&mut prepared.sealed, 0).unwrap();
        assert!(first_ahead(&prepared.sealed).is_some());
        prepared
    }
}

fn open(root: &Path, data: &Path) -> Store {
    open_with(root, data, RECLAIM_RATE)
}

fn open_with(root: &Path, data: &Path, reclaim_rate: u64) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(root.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.reclaim_bytes_per_second = reclaim_rate;
    let mut surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
    surroundings.segment_bytes = SEGMENT_BYTES;
    surroundings.inline_message_bytes_max = INLINE_BYTES;
    Store::open_in(&surroundings, data, options).unwrap().0
}

/// Neither compresses nor repeats.
fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let key = blake3::hash(&number.to_le_bytes());
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn deliver(store: &Store, names: &[&str], number: u64, length: usize) {
    let accounts: Vec<AccountNumber> =
        names.iter().map(|name| store.account(name).unwrap().unwrap().number()).collect();
    let to = |account: &AccountNumber| DeliverTo {
        account: *account,
        mailbox: "INBOX".into(),
        flags: FlagList::default(),
    };
    let prepared = store.prepare(&noise(number, length), &accounts).unwrap();
    let answers = store.deliver(prepared, UnixSeconds(7), accounts.iter().map(to).collect()).wait();
    answers.into_iter().for_each(|answer| drop(answer.unwrap()));
}

fn live_bytes(store: &Store) -> u64 {
    assert!(store.checkpoint());
    assert!(store.checkpoint());
    store.compare_space();
    let report = store.recount(&mut || true).unwrap().expect("it was not told to stop");
    assert_eq!(report.differences, [] as [String; 0]);
    store.status().live_bytes.unwrap()
}

/// What is on disk once reclaim has nothing more to do. The open segment is never rewritten, so
/// something is appended until what lies before is in closed ones.
fn log_bytes_reclaimed(store: &Store) -> u64 {
    for number in 0..40 {
        deliver(store, &[USERS[1]], 900 + number, INLINE_BYTES - 3000);
    }
    for _ in 0..4 {
        assert!(store.checkpoint());
        store.wait_for_reclaim();
    }
    let files = std::fs::read_dir(store.inner.directory.join("volumes/main/log")).unwrap();
    let segments = files.map(Result::unwrap).filter(|f| SegmentNumber::of(&f.path()).is_some());
    segments.map(|file| file.metadata().unwrap().len()).sum()
}

/// No more than is alive, some segments that are not worth it, and their headers and footers.
fn assert_given_back(store: &Store) {
    let on_disk = log_bytes_reclaimed(store);
    let live = live_bytes(store);
    assert!(on_disk < live * 3 / 2 + 3 * SEGMENT_BYTES, "{on_disk} on disk, {live} alive");
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
}

#[test]
fn a_difference_raises_an_alarm_and_changes_nothing() {
    let site = Site::new();
    deliver(&site.store, &[USERS[0], USERS[1]], 1, 5000);
    deliver(&site.store, &[USERS[0]], 2, 5000);
    let live = live_bytes(&site.store);
    let report = site.store.status().recount.expect("it was counted");
    assert_eq!((report.message_count, report.reference_count), (3, 3));
    assert_eq!(report.live_bytes, live);
    assert_eq!(site.store.recount(&mut || true).unwrap().unwrap().differences.len(), 0);
    // A reference is lost, and a place.
    let tables = &site.store.inner.saved.tables;
    let first = |table| {
        let mut first = None;
        tables
            .scan_prefix(table, &[], &mut |key, _| {
                first = Some(key.to_vec());
                Ok(false)
            })
            .unwrap();
        first.unwrap()
    };
    let (reference, place) = (first(Table::Reference), first(Table::Placement));
    let mut batch = TableBatch::new();
    batch.delete(Table::Reference, &reference);
    batch.delete(Table::Placement, &place);
    tables.write(batch).unwrap();
    let report = site.store.recount(&mut || true).unwrap().unwrap();
    let told = report.differences.join("\n");
    for expected in [
        "rows without a reference: 1 counted",
        "references: 2 counted, 3 expected",
        "chunks without a place: 1 counted",
        "living bytes of segment",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(site.store.status().recount, Some(report));
    assert!(tables.get(Table::Reference, &reference).unwrap().is_none(), "nothing was mended");
}

#[test]
fn chunks_of_a_message_that_was_given_up_die() {
    let site = Site::new();
    deliver(&site.store, &[USERS[0]], 1, 5000);
    let before = live_bytes(&site.store);
    for number in 0..3 {
        let prepared = site.enter(number);
        assert!(live_bytes(&site.store) > before + 900_000, "it may still come");
        let first = first_ahead(&prepared.sealed).unwrap();
        site.store.inner.queue.push_now(Change::EndAhead { first });
        assert_eq!(live_bytes(&site.store), before, "its sender gave up");
    }
    assert_given_back(&site.store);
}

#[test]
fn chunks_of_a_message_that_was_refused_die_and_hold_nothing_back() {
    let site = Site::new();
    let account = site.account(USERS[0]);
    let before = live_bytes(&site.store);
    site.store.set_quota(account, Some(1000)).unwrap();
    let inbox = site.store.account(USERS[0]).unwrap().unwrap().mailbox("INBOX").unwrap().unwrap();
    let message = |number| NewMessage {
        prepared: site.store.prepare(&noise(number, LARGE_BYTES), &[account]).unwrap(),
        flags: FlagList::default(),
        received: UnixSeconds(7),
    };
    inbox.append(vec![message(1), message(2)]).wait().unwrap_err();
    let prepared = site.store.prepare(&noise(3, LARGE_BYTES), &[account]).unwrap();
    let to = DeliverTo { account, mailbox: "INBOX".into(), flags: FlagList::default() };
    let answers = site.store.deliver(prepared, UnixSeconds(7), vec![to]).wait();
    assert!(answers.iter().all(Result::is_err), "over quota");
    assert_eq!(live_bytes(&site.store), before);
    let (lsn, open_lsn) = site.store.state_position().unwrap();
    assert!(open_lsn > lsn, "no message is entering any more");
    assert_given_back(&site.store);
}

#[test]
fn of_several_messages_of_a_command_none_stays_entering_when_the_queue_takes_no_more() {
    let site = Site::new();
    let account = site.account(USERS[0]);
    let before = live_bytes(&site.store);
    let message = |number| NewMessage {
        prepared: site.store.prepare(&noise(number, LARGE_BYTES), &[account]).unwrap(),
        flags: FlagList::default(),
        received: UnixSeconds(7),
    };
    let messages = vec![message(1), message(2)];
    // A message has four items here; the second one's third finds no room.
    site.store.inner.queue.refuse_after(6);
    assert!(matches!(site.store.inner.pending(messages), Err(CommitError::QueueFull)));
    site.store.inner.queue.refuse_after(usize::MAX);
    assert_eq!(live_bytes(&site.store), before);
    let (lsn, open_lsn) = site.store.state_position().unwrap();
    assert!(open_lsn > lsn, "nothing holds the log back");
}

#[test]
fn after_a_kill_chunks_that_no_record_named_are_dead_and_the_others_are_not() {
    let site = Site::new();
    deliver(&site.store, &[USERS[0]], 1, LARGE_BYTES);
    let before = live_bytes(&site.store);
    // Of one the chunks are in the tables, of the other only in the log.
    drop(site.enter(2));
    assert!(live_bytes(&site.store) > before + 900_000);
    drop(site.enter(3));
    deliver(&site.store, &[USERS[0], USERS[1]], 4, LARGE_BYTES);
    let opened = site.after_kill("image");
    let live = live_bytes(&opened);
    assert!(live > before + 900_000 && live < before + 1_100_000, "{live}, {before} before");
    assert_given_back(&opened);
    // With state lost, the log alone tells the same.
    let image = site.root.join("without");
    site.store.wait_for_reclaim();
    copy_live(&site.root.join("data"), &image);
    std::fs::remove_dir_all(image.join("volumes/main/state")).unwrap();
    assert_eq!(live_bytes(&open(&site.root, &image)), live);
}

#[test]
fn mail_of_an_account_whose_key_went_before_its_rows_were_read_dies() {
    // An old state goes beside the log below, which so must not have been rewritten since.
    let site = Site::with_reclaim(0);
    deliver(&site.store, &[USERS[1]], 1, 15_000);
    let before = live_bytes(&site.store);
    for number in 10..50 {
        deliver(&site.store, &[USERS[0]], number, 15_000);
    }
    deliver(&site.store, &[USERS[0], USERS[1]], 2, 15_000);
    live_bytes(&site.store);
    // The tables as they are now, the log and the key table as they will be.
    let old_state = site.root.join("old-state");
    copy_live(&site.root.join("data/volumes/main/state"), &old_state);
    site.store.delete_account(site.account(USERS[0])).unwrap();
    let after = live_bytes(&site.store);
    assert!(after > before && after < before + 20_000, "what is shared lives on");
    for (name, state) in [("older", Some(&old_state)), ("none", None)] {
        let image = site.root.join(name);
        copy_live(&site.root.join("data"), &image);
        std::fs::remove_dir_all(image.join("volumes/main/state")).unwrap();
        if let Some(state) = state {
            copy_live(state, &image.join("volumes/main/state"));
        }
        let opened = open(&site.root, &image);
        assert_eq!(live_bytes(&opened), after, "{name} tables");
        assert_given_back(&opened);
        let inbox = opened.account(USERS[1]).unwrap().unwrap().mailbox("INBOX").unwrap().unwrap();
        assert_eq!(inbox.view().unwrap().unwrap().message_count(), 42);
    }
}
