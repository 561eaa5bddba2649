//! Retention: what is expunged is gone for clients and kept all the same; it comes back whole, and
//! goes for good when its time is over and not before.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::disk::{Clock, PlainDisk};
use crate::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use crate::ids::{Uid, UnixSeconds};
use crate::seal::Secret;
use crate::uid_set::UidSet;

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const DAY: u64 = 86_400;

/// A clock that stands still until it is set.
#[derive(Clone)]
struct Seconds(Arc<AtomicU64>);

impl Clock for Seconds {
    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 1000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

struct Site {
    folder: tempfile::TempDir,
    clock: Seconds,
    reserve_bytes: u64,
    store: Option<Store>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let key = KeySource::KeyFile(folder.path().join("key"));
        Store::init(&folder.path().join("data"), &InitOptions { key }).unwrap();
        let clock = Seconds(Arc::new(AtomicU64::new(1_800_000_000)));
        let mut site = Site { folder, clock, reserve_bytes: 0, store: None };
        site.open();
        site.store().add_domain("example.org").unwrap();
        for name in [ANNA, BERT] {
            let (name, password) = (name.to_owned(), Secret::new("x".into()));
            site.store().create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        }
        site
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn open(&mut self) {
        let mut options = OpenOptions::new(KeySource::KeyFile(self.folder.path().join("key")));
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = self.reserve_bytes;
        let mut surroundings =
            Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
        surroundings.clock = Arc::new(self.clock.clone());
        self.store = Some(Store::open_in(&surroundings, &self.directory(), options).unwrap().0);
    }

    fn restart(&mut self) {
        self.store.take().unwrap().close();
        self.open();
    }

    /// With state lost: what is kept is told by the log alone.
    fn restart_without_state(&mut self) {
        self.store.take().unwrap().close();
        std::fs::remove_dir_all(self.directory().join("volumes/main/state")).unwrap();
        self.open();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn account(&self, name: &str) -> Account {
        self.store().account(name).unwrap().unwrap()
    }

    fn keep(&self, name: &str, setting: RetentionSetting) {
        let number = self.account(name).number();
        self.store().set_account_retention(number, setting).unwrap();
    }

    fn append(&self, name: &str, mailbox: &str, numbers: std::ops::Range<u32>) {
        let account = self.account(name);
        let mailbox = account.mailbox(mailbox).unwrap().unwrap();
        for number in numbers {
            let prepared = self.store().prepare(&text(number), &[account.number()]).unwrap();
            let flags = FlagList {
                system: SystemFlags::SEEN,
                keywords: vec![Keyword::new("$Work").unwrap()],
            };
            let received = UnixSeconds(i64::from(number));
            mailbox.append(vec![NewMessage { prepared, flags, received }]).wait().unwrap();
        }
    }

    fn expunge(&self, name: &str, mailbox: &str, uids: &[u32]) {
        let uids: UidSet = uids.iter().map(|&uid| Uid(uid)).collect();
        let mailbox = self.account(name).mailbox(mailbox).unwrap().unwrap();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
        mailbox.store_flags(&uids, FlagChange::Add, &deleted, None).wait().unwrap();
        assert_eq!(mailbox.expunge(&uids).wait().unwrap(), uids);
    }

    fn uids(&self, name: &str, mailbox: &str) -> Vec<u32> {
        let view = self.account(name).mailbox(mailbox).unwrap().unwrap().view().unwrap().unwrap();
        view.rows_from(Uid(1), 1000).unwrap().iter().map(|row| row.uid.0).collect()
    }

    fn kept(&self, name: &str) -> Vec<RetainedEntry> {
        self.account(name).retained(RetainedKey::FIRST, 1000).unwrap()
    }

    fn kept_uids(&self, name: &str) -> Vec<(String, u32)> {
        let kept = self.kept(name);
        let mut uids: Vec<_> = kept.iter().map(|e| (e.mailbox.clone(), e.uid.0)).collect();
        uids.sort();
        uids
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
        self.store().wait_for_purge();
        self.store().wait_for_purge();
    }

    fn live_bytes(&self) -> u64 {
        assert!(self.store().checkpoint());
        assert!(self.store().checkpoint());
        self.store().compare_space();
        let report = self.store().recount(&mut || true).unwrap().unwrap();
        assert_eq!(report.differences, [] as [String; 0]);
        self.store().status().live_bytes.unwrap()
    }

    fn check(&self) {
        assert_eq!(self.store().check(&mut |_| {}).unwrap().problems, []);
    }
}

fn text(number: u32) -> Vec<u8> {
    let key = blake3::hash(&number.to_le_bytes());
    let mut noise = vec![0; 4000];
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut noise);
    let mut text = format!("Subject: mail {number}\r\n\r\n").into_bytes();
    text.extend(noise);
    text
}

#[test]
fn expunged_mail_is_gone_for_clients_kept_for_the_operator_and_comes_back() {
    let mut site = Site::new();
    site.keep(ANNA, RetentionSetting::Seconds(30 * DAY));
    site.append(ANNA, "INBOX", 0..5);
    site.expunge(ANNA, "INBOX", &[2, 4]);
    assert_eq!(site.uids(ANNA, "INBOX"), [1, 3, 5]);
    let three = (0..5).filter(|n| n % 2 == 0).map(|n| text(n).len() as u64).sum::<u64>();
    assert_eq!(site.account(ANNA).quota().unwrap().0, three, "quota does not count what is kept");
    let expected = [("INBOX".to_owned(), 2), ("INBOX".to_owned(), 4)];
    assert_eq!(site.kept_uids(ANNA), expected);
    for has_checkpoint in [false, true] {
        if has_checkpoint {
            site.live_bytes();
        }
        site.restart();
        assert_eq!(site.kept_uids(ANNA), expected);
        site.check();
    }
    site.restart_without_state();
    assert_eq!(site.kept_uids(ANNA), expected, "the log alone tells it");
    let kept = site.kept(ANNA);
    assert_eq!(kept[0].until, Some(UnixSeconds(1_800_000_000 + 30 * 86_400)));
    assert_eq!(site.account(ANNA).retained_usage().0, 2);
    let keys = kept.iter().map(|entry| entry.key).collect();
    let back = site.account(ANNA).undelete(keys).wait().unwrap();
    assert_eq!((back.mailbox.as_str(), back.uids.as_slice()), ("INBOX", &[Uid(6), Uid(7)][..]));
    assert_eq!(site.uids(ANNA, "INBOX"), [1, 3, 5, 6, 7]);
    assert!(site.kept(ANNA).is_empty());
    assert_eq!(site.account(ANNA).retained_usage(), (0, 0));
    site.check();
    site.restart();
    let account = site.account(ANNA);
    let view = account.mailbox("INBOX").unwrap().unwrap().view().unwrap().unwrap();
    for (uid, number) in [(6, 1), (7, 3)] {
        let row = view.row(Uid(uid)).unwrap().unwrap();
        assert!(account.message(&row).unwrap().read_all().unwrap() == text(number));
        assert_eq!(row.flags, SystemFlags::SEEN, "its flags but for the one that removed it");
        assert_eq!(row.received, UnixSeconds(i64::from(number)));
        assert_eq!(view.keywords()[usize::from(row.keywords[0])].as_str(), "$Work");
    }
    site.check();
}

#[test]
fn a_deleted_mailbox_comes_back_with_its_messages_under_a_new_uidvalidity() {
    let mut site = Site::new();
    let retention = VolumeRetention { setting: RetentionSetting::Seconds(DAY), shortened: false };
    site.store().set_retention(retention).unwrap();
    let account = site.account(ANNA);
    account.create_mailbox("Old/Töpfe", None).wait().unwrap();
    site.append(ANNA, "Old/Töpfe", 0..40);
    let validity = |site: &Site| {
        let mailbox = site.account(ANNA).mailbox("Old/Töpfe").unwrap().unwrap();
        mailbox.view().unwrap().unwrap().uid_validity()
    };
    let before = validity(&site);
    site.expunge(ANNA, "Old/Töpfe", &[3]);
    site.live_bytes();
    account.delete_mailbox("Old/Töpfe").wait().unwrap();
    drop(account);
    assert!(site.account(ANNA).mailbox("Old/Töpfe").unwrap().is_none());
    assert_eq!(site.kept(ANNA).len(), 40, "also what was expunged before");
    let live = site.live_bytes();
    site.check();
    site.restart();
    let mut kept = site.kept(ANNA);
    kept.sort_by_key(|entry| entry.uid);
    let keys: Vec<RetainedKey> = kept.iter().map(|entry| entry.key).collect();
    let back = site.account(ANNA).undelete(keys.clone()).wait().unwrap();
    assert_eq!(back.mailbox, "Old/Töpfe");
    assert_eq!(back.uids.len(), 40);
    assert!(validity(&site) > before);
    assert!(site.live_bytes() <= live, "the same blobs are named");
    let again = site.account(ANNA).undelete(keys).wait().unwrap();
    assert!(again.uids.is_empty(), "what has come back is not kept any more");
    let account = site.account(ANNA);
    let view = account.mailbox("Old/Töpfe").unwrap().unwrap().view().unwrap().unwrap();
    for row in view.rows_from(Uid(1), 100).unwrap() {
        assert!(account.message(&row).unwrap().read_all().unwrap() == text(row.uid.0 - 1));
    }
    drop((account, view));
    site.check();
    site.restart_without_state();
    assert_eq!(site.uids(ANNA, "Old/Töpfe").len(), 40);
    site.check();
}

#[test]
fn what_is_over_time_goes_for_good_and_gives_its_space_back() {
    let mut site = Site::new();
    site.keep(ANNA, RetentionSetting::Seconds(10 * DAY));
    site.append(ANNA, "INBOX", 0..1000);
    let before = site.live_bytes();
    site.expunge(ANNA, "INBOX", &(1..=700).collect::<Vec<_>>());
    site.pass(5 * DAY);
    site.expunge(ANNA, "INBOX", &[701]);
    site.append(BERT, "INBOX", 0..1);
    site.expunge(BERT, "INBOX", &[1]);
    assert!(site.kept(BERT).is_empty(), "the store keeps nothing by itself");
    assert_eq!(site.live_bytes(), before, "what is kept is alive");
    site.pass(6 * DAY);
    assert_eq!(site.kept_uids(ANNA), [("INBOX".to_owned(), 701)]);
    let after = site.live_bytes();
    assert!(after < before / 3, "{after} of {before}");
    site.check();
    site.restart_without_state();
    assert_eq!(site.kept_uids(ANNA), [("INBOX".to_owned(), 701)]);
    assert_eq!(site.live_bytes(), after);
    site.check();
}

#[test]
fn a_hold_keeps_everything_until_it_is_lifted() {
    let mut site = Site::new();
    site.keep(ANNA, RetentionSetting::Seconds(DAY));
    site.append(ANNA, "INBOX", 0..3);
    site.expunge(ANNA, "INBOX", &[1]);
    site.keep(ANNA, RetentionSetting::Hold);
    site.expunge(ANNA, "INBOX", &[2]);
    site.pass(100 * DAY);
    assert_eq!(site.kept(ANNA).len(), 2, "also what was kept for a day before the hold");
    let number = site.account(ANNA).number();
    let refused = site.store().delete_account(number).unwrap_err();
    assert!(refused.to_string().contains("legal hold"), "{refused}");
    // Low space shortens what is kept, where the store says so; never a hold.
    let retention = VolumeRetention { setting: RetentionSetting::Off, shortened: true };
    site.store().set_retention(retention).unwrap();
    site.keep(BERT, RetentionSetting::Seconds(1000 * DAY));
    site.append(BERT, "INBOX", 0..3);
    site.expunge(BERT, "INBOX", &[1, 2]);
    site.pass(1);
    assert_eq!(site.kept(BERT).len(), 2, "space is not low");
    // Low, but not so low that nothing at all is written any more.
    let free = PlainDisk.free_bytes(&site.store().inner.directory).unwrap();
    site.reserve_bytes = free * 2;
    site.restart();
    site.pass(1);
    assert_eq!((site.kept(BERT).len(), site.kept(ANNA).len()), (0, 2));
    site.keep(ANNA, RetentionSetting::Off);
    site.pass(1);
    assert!(site.kept(ANNA).is_empty(), "the hold is lifted, and nothing else keeps it");
    site.check();
    site.store().delete_account(number).unwrap();
}

#[test]
fn an_account_that_is_deleted_takes_what_it_kept_along() {
    let mut site = Site::new();
    let empty = site.live_bytes();
    site.keep(ANNA, RetentionSetting::Seconds(DAY));
    site.append(ANNA, "INBOX", 0..30);
    site.live_bytes();
    site.expunge(ANNA, "INBOX", &(1..=20).collect::<Vec<_>>());
    site.live_bytes();
    site.append(ANNA, "Archive", 30..40);
    site.expunge(ANNA, "Archive", &[1, 2]);
    site.store().delete_account(site.account(ANNA).number()).unwrap();
    assert_eq!(site.live_bytes(), empty);
    site.restart();
    assert_eq!(site.live_bytes(), empty);
    site.check();
}
