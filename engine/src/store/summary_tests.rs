//! Summary pages: made of runs that are full, read after a restart, gone with what is gone, and
//! nobody's loss when they are wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::summary_maker::MakerStep;
use super::*;
use crate::disk::PlainDisk;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{BlobId, Lsn, Uid, UnixSeconds};
use crate::mailbox::{PageKey, PagedSummary, Row, encode_summary_page};
use crate::message::Summary;
use crate::seal::Secret;
use crate::state::{Table, TableBatch};
use crate::uid_set::UidSet;

const ANNA: &str = "anna@example.org";
/// UIDs of a run, instead of 128.
const RUN: u32 = 8;

struct Site {
    folder: tempfile::TempDir,
    store: Option<Store>,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let key = KeySource::KeyFile(folder.path().join("key"));
        Store::init(&folder.path().join("data"), &InitOptions { key }).unwrap();
        let mut site = Site { folder, store: None };
        site.open();
        site.store().add_domain("example.org").unwrap();
        let (name, password) = (ANNA.to_owned(), Secret::new("x".into()));
        site.store().create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        site
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Without the thread that makes pages: these tests do it when they want some.
    fn open(&mut self) {
        self.open_with(0);
    }

    fn open_with(&mut self, reserve_bytes: u64) {
        let store = open_at(self.folder.path(), &self.data(), reserve_bytes);
        store.inner.committed.summary_pages.close();
        store.inner.driver.join("summary maker");
        self.store = Some(store);
    }

    fn restart(&mut self) {
        self.store.take().unwrap().close();
        self.open();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn account(&self) -> Account {
        self.store().account(ANNA).unwrap().unwrap()
    }

    fn mailbox(&self, name: &str) -> Mailbox {
        self.account().mailbox(name).unwrap().unwrap()
    }

    fn fill(&self, name: &str, numbers: std::ops::Range<u32>) {
        let account = self.account().number();
        let new = |number| NewMessage {
            prepared: self.store().prepare(text(number).as_bytes(), &[account]).unwrap(),
            flags: FlagList::default(),
            received: UnixSeconds(7),
        };
        self.mailbox(name).append(numbers.map(new).collect()).wait().unwrap();
    }

    fn expunge(&self, name: &str, uids: &[u32]) {
        let uids: UidSet = uids.iter().map(|&uid| Uid(uid)).collect();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
        let mailbox = self.mailbox(name);
        mailbox.store_flags(&uids, FlagChange::Add, &deleted, None).wait().unwrap();
        mailbox.expunge(&uids).wait().unwrap();
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        self.mailbox(name).view().unwrap().unwrap().rows_from(Uid(1), usize::MAX).unwrap()
    }

    /// Reads the summaries of a mailbox, which must be those of its messages; answers how many
    /// came out of blobs, and out of how many pages the others.
    fn read(&self, name: &str) -> (u64, u64) {
        let (account, rows) = (self.account(), self.rows(name));
        let before = self.store().opened();
        let uids = rows.iter().map(|row| row.uid).collect();
        let mut summaries = account.summaries(self.mailbox(name).id(), &uids);
        let read: Vec<_> = rows.iter().map(|row| summaries.of(row).unwrap()).collect();
        let after = self.store().opened();
        for (row, summary) in rows.iter().zip(read) {
            let whole = account.message(row).unwrap().read_all().unwrap();
            let expected = Summary::parse(&whole);
            assert_eq!(account.summary(row).unwrap().preview(), expected.preview);
            let paged = Summary::decode(&summary.without_preview()).unwrap();
            assert_eq!(paged, Summary { preview: String::new(), ..expected });
        }
        let pages = after.summary_page_count - before.summary_page_count;
        (after.summary_count - before.summary_count, pages)
    }

    /// Runs of the table, once all that is wanted is made and written.
    fn pages(&self) -> Vec<u32> {
        self.store().make_summary_pages(u64::MAX);
        assert!(self.store().checkpoint());
        let mut found = Vec::new();
        let tables = &self.store().inner.saved.tables;
        tables
            .scan_prefix(Table::Summary, &[], &mut |key, _| {
                found.push(PageKey::from_bytes(key).unwrap().first_uid.0);
                Ok(true)
            })
            .unwrap();
        found
    }

    fn key(&self, name: &str, run: u32) -> PageKey {
        let (account, mailbox) = (self.account().number(), self.mailbox(name).id());
        PageKey { account, mailbox, first_uid: Uid(run) }
    }

    /// Puts a value into the table, sealed, or with its last byte changed.
    fn put(&self, key: PageKey, value: &[u8], damaged: bool) {
        let saved = &self.store().inner.saved;
        let (bytes, lsn) = (key.to_bytes(), Lsn::ZERO);
        let sealed = saved.values.seal(Table::Summary, &bytes, key.account, lsn, value);
        let mut sealed = sealed.unwrap();
        *sealed.last_mut().unwrap() ^= u8::from(damaged);
        let mut batch = TableBatch::new();
        batch.put(Table::Summary, &bytes, sealed);
        saved.tables.write(batch).unwrap();
    }

    fn problems(&self) -> Vec<String> {
        let report = self.store().check(&mut |_| {}).unwrap();
        report.problems.iter().map(|problem| problem.what.clone()).collect()
    }
}

fn open_at(root: &Path, data: &Path, reserve_bytes: u64) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(root.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = reserve_bytes;
    let mut surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
    surroundings.summary_run_uids = RUN;
    Store::open_in(&surroundings, data, options).unwrap().0
}

fn text(number: u32) -> String {
    format!(
        "Subject: Kirschen {number}\r\nFrom: Bert <bert@example.org>\r\nMessage-ID: \
         <{number}@example.org>\r\nReferences: <1@example.org>\r\n\r\nSo many: {number}.\r\n"
    )
}

#[test]
fn after_a_restart_full_runs_are_read_from_their_pages() {
    let mut site = Site::new();
    // UIDs from 1 on: 0 to 7, 8 to 15, and 16 to 20, which may still grow.
    site.fill("INBOX", 0..20);
    assert_eq!(site.pages(), [0, 8]);
    site.restart();
    assert_eq!(site.read("INBOX"), (5, 2));
    assert_eq!(site.read("INBOX"), (0, 0), "and then from memory");
    site.fill("INBOX", 20..30);
    assert_eq!(site.pages(), [0, 8, 16]);
    assert_eq!(site.problems(), [] as [String; 0]);
}

#[test]
fn of_few_messages_of_a_run_none_is_read_from_a_page() {
    let mut site = Site::new();
    site.fill("INBOX", 0..40);
    assert_eq!(site.pages().len(), 5);
    site.restart();
    let opened = || {
        let opened = site.store().opened();
        (opened.summary_count, opened.summary_page_count)
    };
    let rows = site.rows("INBOX");
    let mut some = site.account().summaries_of_some(site.mailbox("INBOX").id());
    let mut read = |row: &Row| drop(some.of(row).unwrap());
    rows[8..12].iter().for_each(&mut read);
    assert_eq!(opened(), (4, 0));
    rows[12..15].iter().for_each(&mut read);
    assert_eq!(opened(), (4, 1));
    rows[15..39].iter().for_each(&mut read);
    assert_eq!(opened(), (4, 4), "those behind them are asked for likewise");
}

#[test]
fn what_is_gone_leaves_its_page_which_is_made_again_when_it_is_read() {
    let mut site = Site::new();
    site.fill("INBOX", 0..24);
    assert_eq!(site.pages(), [0, 8, 16]);
    site.expunge("INBOX", &[9, 10]);
    assert_eq!(site.pages(), [0, 16]);
    assert_eq!(site.problems(), [] as [String; 0]);
    site.restart();
    assert_eq!(site.read("INBOX"), (7, 2));
    assert_eq!(site.pages(), [0, 8, 16]);
    assert_eq!(site.problems(), [] as [String; 0]);
    // A page that was made of what went before it could be written.
    site.expunge("INBOX", &[1]);
    site.store().inner.committed.summary_pages.want(site.key("INBOX", 0), true);
    site.store().make_summary_pages(u64::MAX);
    site.expunge("INBOX", &[2]);
    assert_eq!(site.pages(), [8, 16]);
    assert_eq!(site.problems(), [] as [String; 0]);
}

#[test]
fn pages_go_with_their_mailbox_and_with_their_account() {
    let site = Site::new();
    site.account().create_mailbox("Obst", None).wait().unwrap();
    site.fill("INBOX", 0..10);
    site.fill("Obst", 0..10);
    assert_eq!(site.pages().len(), 2);
    site.account().delete_mailbox("Obst").wait().unwrap();
    assert_eq!(site.pages(), [0]);
    site.store().delete_account(site.account().number()).unwrap();
    assert!(site.pages().is_empty());
    assert_eq!(site.problems(), [] as [String; 0]);
}

#[test]
fn a_damaged_page_costs_nobody_an_answer_and_is_made_anew() {
    let mut site = Site::new();
    site.fill("INBOX", 0..10);
    assert_eq!(site.pages(), [0]);
    site.restart();
    site.put(site.key("INBOX", 0), b"nothing", true);
    let told = site.problems();
    assert!(told.len() == 1 && told[0].contains("does not open"), "{told:?}");
    assert_eq!(site.read("INBOX"), (10, 0));
    assert_eq!(site.pages(), [0]);
    assert_eq!(site.problems(), [] as [String; 0]);
    site.restart();
    assert_eq!(site.read("INBOX").1, 1);
}

#[test]
fn check_finds_a_page_that_says_something_else_than_its_messages() {
    let site = Site::new();
    site.fill("INBOX", 0..10);
    assert_eq!(site.pages(), [0]);
    let rows = site.rows("INBOX");
    let other = Summary::parse(b"Subject: Pflaumen\r\n\r\n").encode();
    let paged = |uid, blob| PagedSummary { uid, blob, summary: other.clone() };
    site.put(
        site.key("INBOX", 0),
        &encode_summary_page(&[paged(rows[2].uid, rows[2].blob)]),
        false,
    );
    let told = site.problems();
    assert!(told.len() == 1 && told[0].contains("UID 3 has another summary"), "{told:?}");
    let gone = BlobId(rows[2].blob.0.next().unwrap());
    site.put(site.key("INBOX", 0), &encode_summary_page(&[paged(rows[2].uid, gone)]), false);
    let told = site.problems();
    assert!(told.len() == 1 && told[0].contains("UID 3 is gone"), "{told:?}");
    assert_eq!(site.read("INBOX").0, 10, "a page of another blob is not believed");
}

#[test]
fn with_state_lost_pages_are_made_again_but_not_on_a_full_disk() {
    let mut site = Site::new();
    site.fill("INBOX", 0..40);
    assert_eq!(site.pages().len(), 5);
    for reserve_bytes in [u64::MAX / 2, 0] {
        site.store.take().unwrap().close();
        std::fs::remove_dir_all(site.data().join("volumes/main/state")).unwrap();
        site.open_with(reserve_bytes);
        let expected = if reserve_bytes > 0 { 0 } else { 5 };
        assert_eq!(site.pages().len(), expected);
    }
    assert_eq!(site.pages().len(), 5);
    assert_eq!(site.read("INBOX"), (1, 5));
    // A mailbox of copies has pages of its own.
    site.account().create_mailbox("Obst", None).wait().unwrap();
    let all = UidSet::from_ranges([(1, 40)]);
    site.mailbox("INBOX").copy(&all, &site.mailbox("Obst")).wait().unwrap();
    assert_eq!(site.pages().len(), 10);
    assert_eq!(site.problems(), [] as [String; 0]);
}

#[test]
fn a_thread_makes_pages_without_being_asked() {
    let mut site = Site::new();
    site.store.take().unwrap().close();
    site.store = Some(open_at(site.folder.path(), &site.data(), 0));
    site.fill("INBOX", 0..10);
    let is_made = || {
        site.store().checkpoint();
        let key = site.key("INBOX", 0);
        site.store().inner.saved.summary_page(key).unwrap().is_some()
    };
    let begun = std::time::Instant::now();
    while !is_made() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    }
    site.store().close();
}

/// The maker may hear of a run at once, while the committer still shows what it committed.
#[test]
fn a_run_is_seen_as_full_by_whoever_hears_that_it_is() {
    let site = Site::new();
    let inner = Arc::clone(&site.store().inner);
    let make = move || assert_ne!(inner.make_summary_page(), MakerStep::Full);
    *site.store().inner.committed.summary_pages.on_growth.lock() = Some(Box::new(make));
    site.fill("INBOX", 0..5);
    site.fill("INBOX", 5..10);
    site.fill("INBOX", 10..20);
    assert_eq!(site.pages(), [0, 8]);
    // It holds the store.
    *site.store().inner.committed.summary_pages.on_growth.lock() = None;
}

#[test]
fn a_volume_below_the_level_has_no_pages() {
    let site = Site::new();
    let committed = &site.store().inner.committed;
    // As if nobody had raised it.
    committed.set_format_level(crate::format_level::SUMMARY_PAGES - 1);
    site.fill("INBOX", 0..20);
    site.read("INBOX");
    assert_eq!(site.pages(), [] as [u32; 0]);
    committed.set_format_level(crate::format_level::SUMMARY_PAGES);
    site.read("INBOX");
    assert_eq!(site.pages(), [0, 8], "what is read gets them");
}
