//! The full-text index in the store: it says what the messages say, whatever becomes of its files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::disk::PlainDisk;
use crate::error::ReadError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{AccountNumber, BlobId, Uid, UnixSeconds};
use crate::mailbox::Row;
use crate::message::text::{SearchText, fold};
use crate::seal::Secret;
use crate::search::{Extractor, IndexerStep, Mail, Needle, Scope, Verdict};
use crate::state::IndexBounds;
use crate::uid_set::UidSet;

#[path = "document_tests.rs"]
mod documents;

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
/// Instead of 512 messages, and so on.
const BOUNDS: IndexBounds = IndexBounds {
    tail_messages: 4,
    tail_bytes: 1 << 20,
    split_messages: 1000,
    merged_splits: 3,
    builder_bytes: 8 << 20,
};
const WORDS: [&str; 8] = ["apple", "pear", "plum", "Zürich", "東京", "cherry", "banana", "grape"];

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
        for name in [ANNA, BERT] {
            let (name, password) = (name.to_owned(), Secret::new("x".into()));
            site.store().create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        }
        site
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn index(&self) -> PathBuf {
        self.data().join("volumes/main/index")
    }

    fn files(&self) -> Vec<PathBuf> {
        // The first file makes the folder.
        let entries = std::fs::read_dir(self.index()).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    /// Without the thread that indexes: these tests do it when they want it.
    fn open(&mut self) {
        self.store = Some(open_at(self.folder.path(), &self.data(), 64 << 20));
    }

    fn restart(&mut self) {
        self.store.take().unwrap().close();
        self.open();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn account(&self, name: &str) -> Account {
        self.store().account(name).unwrap().unwrap()
    }

    fn fill(&self, name: &str, mailbox: &str, numbers: std::ops::Range<u64>) {
        self.fill_with(name, mailbox, numbers, text);
    }

    fn fill_with(
        &self,
        name: &str,
        mailbox: &str,
        numbers: std::ops::Range<u64>,
        text: impl Fn(u64) -> String,
    ) {
        let account = self.account(name);
        let new = |number| NewMessage {
            prepared: self.store().prepare(text(number).as_bytes(), &[account.number()]).unwrap(),
            flags: FlagList::default(),
            received: UnixSeconds(7),
        };
        let mailbox = account.mailbox(mailbox).unwrap().unwrap();
        mailbox.append(numbers.map(new).collect()).wait().unwrap();
    }

    fn expunge(&self, name: &str, goes: impl Fn(u32) -> bool) {
        let mailbox = self.account(name).mailbox("INBOX").unwrap().unwrap();
        let uids: UidSet = (1..500).filter(|uid| goes(*uid)).map(Uid).collect();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
        mailbox.store_flags(&uids, FlagChange::Add, &deleted, None).wait().unwrap();
        mailbox.expunge(&uids).wait().unwrap();
    }

    fn make(&self) {
        while self.store().make_index(1000) > 0 {}
    }

    fn status(&self, name: &str) -> IndexStatus {
        self.account(name).index_status().unwrap()
    }

    /// Every needle finds what a scan finds; answers how many messages had to be asked whether they
    /// have a word.
    fn compare(&self, name: &str) -> usize {
        compare(&self.account(name))
    }
}

fn open_at(root: &Path, data: &Path, index_cache_bytes: u64) -> Store {
    open_with(root, data, index_cache_bytes, None)
}

fn open_with(
    root: &Path,
    data: &Path,
    index_cache_bytes: u64,
    extractor: Option<Arc<dyn Extractor>>,
) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(root.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.index_cache_bytes = index_cache_bytes;
    options.index_bounds = BOUNDS;
    options.index_drive = IndexDrive::Caller;
    options.extractor = extractor;
    let surroundings = Surroundings::system(Arc::new(PlainDisk), 1 << 20);
    Store::open_in(&surroundings, data, options).unwrap().0
}

fn word(number: u64) -> &'static str {
    WORDS[usize::try_from(number % 8).unwrap()]
}

fn text(number: u64) -> String {
    format!(
        "From: Someone <someone{number}@example.org>\r\nTo: anna@example.org\r\n\
         Subject: about {} {number}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         The {} and the {}, number {number}.\r\nOnce more: {}{}.\r\n",
        word(number),
        word(number / 2),
        word(number / 3),
        word(number),
        word(number / 5),
    )
}

fn needles() -> Vec<Needle> {
    let texts =
        ["apple", "ppl", "the pear", "zürich", "京", "number 1", "1", "about plum 2", "none"];
    let scopes = || {
        [Scope::Body, Scope::Text, Scope::Header("subject".into()), Scope::Header("from".into())]
    };
    let all = texts.iter().flat_map(|text| {
        scopes().map(|scope| Needle { text: fold(text), scope, reads_addresses: false })
    });
    all.collect()
}

fn rows(account: &Account) -> Vec<Row> {
    let mut rows = Vec::new();
    for mailbox in &account.listing().unwrap().mailboxes {
        let mailbox = account.mailbox_by_id(mailbox.id).unwrap().unwrap();
        let view = mailbox.view().unwrap().unwrap();
        rows.extend(view.rows_from(Uid(1), usize::MAX).unwrap());
    }
    rows
}

fn text_of(account: &Account, row: &Row) -> Arc<SearchText> {
    let structure = account.summary(row).unwrap().structure_tree();
    account.search_texts().of(row, &structure).unwrap()
}

fn contains(text: &SearchText, needle: &Needle) -> bool {
    match &needle.scope {
        Scope::Body => text.body_contains(&needle.text),
        Scope::Text => text.text_contains(&needle.text),
        Scope::Header(name) => text.header_contains(name, &needle.text),
    }
}

fn compare(account: &Account) -> usize {
    let texts: Vec<(BlobId, Arc<SearchText>)> =
        rows(account).iter().map(|row| (row.blob, text_of(account, row))).collect();
    let mut asked = 0;
    for needle in needles() {
        let answer = account.find_text(&needle).unwrap();
        for (blob, text) in &texts {
            let is_in = contains(text, &needle);
            match answer.verdict(*blob) {
                Verdict::Ask => asked += usize::from(needle == needles()[0]),
                Verdict::Contains => assert!(is_in, "{needle:?} is not in {blob}"),
                Verdict::Lacks => assert!(!is_in, "{needle:?} is missed in {blob}"),
            }
        }
    }
    asked
}

#[test]
fn the_index_says_what_the_messages_say() {
    let mut site = Site::new();
    site.fill(ANNA, "INBOX", 0..4);
    site.make();
    assert_eq!(site.files(), [] as [PathBuf; 0], "little mail has no index");
    let answer = site.account(ANNA).find_text(&needles()[0]).unwrap();
    assert!(!answer.is_closed());

    site.fill(ANNA, "INBOX", 4..40);
    site.account(ANNA).create_mailbox("Other", None).wait().unwrap();
    site.make();
    assert_eq!(site.files().len(), 1);
    let asked = site.compare(ANNA);
    assert_eq!(asked, 0);
    let status = site.status(ANNA);
    assert_eq!((status.figures.indexed_count, status.waiting_count), (40, 0));

    // What comes later is known at once.
    site.fill(ANNA, "Other", 40..43);
    assert_eq!(site.status(ANNA).waiting_count, 3);
    assert_eq!(site.compare(ANNA), 3);

    // Copies and moves concern it not, expunged messages are nobody's business.
    {
        let account = site.account(ANNA);
        let inbox = account.mailbox("INBOX").unwrap().unwrap();
        let other = account.mailbox("Other").unwrap().unwrap();
        let some = |range: std::ops::Range<u32>| range.map(Uid).collect::<UidSet>();
        inbox.copy(&some(1..20), &other).wait().unwrap();
        inbox.move_to(&some(30..35), &other).wait().unwrap();
    }
    site.expunge(ANNA, |uid| uid % 3 == 0);
    assert_eq!(site.status(ANNA).waiting_count, 3);
    site.compare(ANNA);
    for _ in 0..2 {
        site.restart();
        assert_eq!(site.status(ANNA).waiting_count, 3);
        site.compare(ANNA);
        site.make();
        assert_eq!(site.store().index_status().made_count, 0, "nothing is indexed twice");
    }
    assert_eq!(site.store().check(&mut |_| {}).unwrap().problems, []);
}

#[test]
fn a_message_in_several_accounts_is_indexed_in_each() {
    let site = Site::new();
    let accounts = [ANNA, BERT].map(|name| site.account(name).number());
    for number in 0..10 {
        let prepared = site.store().prepare(text(number).as_bytes(), &accounts).unwrap();
        let to = accounts.map(|account| DeliverTo {
            account,
            mailbox: "INBOX".into(),
            flags: FlagList::default(),
        });
        let answers = site.store().deliver(prepared, UnixSeconds(7), to.into()).wait();
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    }
    site.make();
    for name in [ANNA, BERT] {
        assert_eq!(site.status(name).figures.indexed_count, 10);
        assert_eq!(site.compare(name), 0);
    }
    // One lets go of it, the other does not.
    site.expunge(ANNA, |_| true);
    site.fill(ANNA, "INBOX", 10..20);
    site.make();
    assert_eq!(site.status(ANNA).figures.indexed_count, 10);
    assert_eq!(site.compare(BERT), 0);
}

#[test]
fn splits_are_few_and_the_dead_leave_them() {
    let site = Site::new();
    for round in 0..30 {
        site.fill(ANNA, "INBOX", round * 5..round * 5 + 5);
        site.make();
        assert!(site.files().len() <= 7, "{} files in round {round}", site.files().len());
    }
    assert_eq!(site.compare(ANNA), 0);
    site.expunge(ANNA, |uid| uid % 2 == 0);
    site.make();
    let status = site.status(ANNA);
    assert!(status.figures.indexed_count <= 100, "{status:?}");
    assert_eq!(site.compare(ANNA), 0);
    site.expunge(ANNA, |_| true);
    site.make();
    assert_eq!(site.files(), [] as [PathBuf; 0], "nothing is left");
}

#[test]
fn a_kept_message_that_comes_back_is_found() {
    let site = Site::new();
    let account = site.account(ANNA);
    let setting = RetentionSetting::Seconds(30 * 24 * 3600);
    site.store().set_account_retention(account.number(), setting).unwrap();
    site.fill(ANNA, "INBOX", 0..20);
    site.make();
    site.expunge(ANNA, |uid| uid <= 10);
    site.fill(ANNA, "INBOX", 20..30);
    site.make();
    let kept = account.retained(RetainedKey::FIRST, 100).unwrap();
    assert_eq!(kept.len(), 10);
    account.undelete(kept.iter().map(|entry| entry.key).collect()).wait().unwrap();
    assert_eq!(site.compare(ANNA), 0, "it never left the index");
}

#[test]
fn damage_costs_time_and_no_answer() {
    let mut site = Site::new();
    // Words that no other has, so that there are blocks which opening does not read.
    let long = |number: u64| {
        let word = |count: u64| blake3::hash(&[number.to_le_bytes(), count.to_le_bytes()].concat());
        let words: String =
            (0..600).map(|count| format!("w{}\r\n", word(count).to_hex())).collect();
        text(number) + &words
    };
    site.fill_with(ANNA, "INBOX", 0..60, long);
    site.make();
    let [file] = &site.files()[..] else { panic!("there is one file") };
    let whole = std::fs::read(file).unwrap();
    // A split that stays whole, so that what is not in it is not asked for want of any.
    site.fill(ANNA, "INBOX", 60..70);
    site.make();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    let intact: Vec<(PathBuf, Vec<u8>)> = site.files().into_iter().map(read).collect();
    assert_eq!(intact.len(), 2);
    let parts = (1..12).map(|part| whole.len() * part / 12);
    let (mut met, mut unmet) = (0, 0);
    for at in [0, 30, 100, 141, whole.len() - 40, whole.len() - 2].into_iter().chain(parts) {
        site.store.take().unwrap().close();
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(file, &damaged).unwrap();
        site.open();
        site.compare(ANNA);
        // Pieces of it are in nearly every leaf, so that much is read.
        let needle = Needle { text: "0a1b2".into(), scope: Scope::Body, reads_addresses: false };
        site.account(ANNA).find_text(&needle).unwrap();
        let damaged_count = site.store().check(&mut |_| {}).unwrap().index_damaged_count;
        site.make();
        let is_made = site.store().index_status().made_count > 0;
        assert!(is_made || damaged_count > 0, "damage at {at} was not noticed");
        met += u64::from(is_made);
        unmet += u64::from(!is_made);
        assert_eq!(site.compare(ANNA), 0, "damage at {at}");
        // What was made of it lies under another name.
        site.files().iter().for_each(|file| std::fs::remove_file(file).unwrap());
        intact.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }
    assert!(met > 6 && unmet > 0, "{met} were met when something was sought, {unmet} by check");
    for length in [0, 100, 139, 150, whole.len() - 1] {
        site.store.take().unwrap().close();
        std::fs::write(file, &whole[..length]).unwrap();
        site.open();
        assert_eq!(site.compare(ANNA), 60, "cut to {length}");
        std::fs::write(file, &whole).unwrap();
    }
}

#[test]
fn only_whole_files_of_living_accounts_stay() {
    let mut site = Site::new();
    site.fill(ANNA, "INBOX", 0..20);
    site.fill(BERT, "INBOX", 0..20);
    site.make();
    let files = site.files();
    assert_eq!(files.len(), 2);
    site.store.take().unwrap().close();
    let copy = |from: &Path, name: String| std::fs::copy(from, site.index().join(name)).unwrap();
    copy(&files[0], "0000000000000123-000102030405060708090a0b0c0d0e0f.split".into());
    copy(&files[0], "0000000000000123-000102030405060708090a0b0c0d0e0f.new".into());
    copy(&files[0], "notes.txt".into());
    // Bert's under Anna's name.
    let own = |path: &Path| path.file_name().unwrap().to_str().unwrap()[..17].to_owned();
    let strange = "00010203040506070809aaaaaaaaaaaa.split";
    copy(&files[1], format!("{}{strange}", own(&files[0])));
    site.open();
    for name in [ANNA, BERT] {
        assert_eq!(site.compare(name), 0);
    }
    let left: Vec<PathBuf> =
        site.files().into_iter().filter(|path| !path.ends_with("notes.txt")).collect();
    assert_eq!(left, files);

    site.store().delete_account(site.account(ANNA).number()).unwrap();
    site.make();
    assert_eq!(site.files().len(), 2, "Bert's, and the notes");
}

#[test]
fn a_file_from_another_time_is_none() {
    let mut site = Site::new();
    site.fill(ANNA, "INBOX", 0..20);
    site.make();
    site.store.take().unwrap().close();
    let copy = site.folder.path().join("copy");
    crate::store::live_copy::copy_live(&site.data(), &copy);
    site.open();
    site.fill(ANNA, "INBOX", 20..40);
    site.make();
    let before: Vec<BlobId> = rows(&site.account(ANNA)).iter().map(|row| row.blob).collect();
    site.store.take().unwrap().close();
    // The store is brought back from a copy, and the index is not.
    let newer = site.index();
    let kept = site.folder.path().join("kept");
    std::fs::rename(&newer, &kept).unwrap();
    std::fs::remove_dir_all(site.data()).unwrap();
    std::fs::rename(&copy, site.data()).unwrap();
    std::fs::remove_dir_all(&newer).unwrap();
    std::fs::rename(&kept, &newer).unwrap();
    assert_eq!(site.files().len(), 2);
    site.open();
    site.fill(ANNA, "INBOX", 60..80);
    let now: Vec<BlobId> = rows(&site.account(ANNA)).iter().map(|row| row.blob).collect();
    assert_eq!(now, before, "the same positions, and other messages");
    site.compare(ANNA);
    assert_eq!(site.files().len(), 1, "one of them knows only what is still so");
    site.make();
    assert_eq!(site.compare(ANNA), 0);
}

#[test]
fn no_word_of_a_message_is_readable_in_a_file() {
    let site = Site::new();
    site.fill(ANNA, "INBOX", 0..60);
    site.make();
    for file in site.files() {
        let bytes = std::fs::read(file).unwrap();
        for word in ["apple", "pear", "cherry", "about", "someone", "example.org", ANNA] {
            assert!(memchr::memmem::find(&bytes, word.as_bytes()).is_none(), "{word}");
        }
    }
}

#[test]
fn a_new_key_takes_the_index_along() {
    let mut site = Site::new();
    site.fill(ANNA, "INBOX", 0..20);
    site.make();
    let number = site.account(ANNA).number();
    let before = std::fs::read(&site.files()[0]).unwrap();
    site.store().rotate_account_keys(&[number]).unwrap();
    let after = std::fs::read(&site.files()[0]).unwrap();
    assert_ne!(before[..140], after[..140]);
    assert_eq!(before[140..], after[140..]);
    assert_eq!(site.compare(ANNA), 0);
    let keys = site.store().rewrap(Some(number), &mut |_| {}).unwrap();
    assert!(keys.iter().all(|key| key.is_destroyed), "{keys:?}");
    site.restart();
    assert_eq!(site.compare(ANNA), 0);
    site.make();
    assert_eq!(site.store().index_status().made_count, 0, "it was not made anew");
}

#[test]
fn a_message_that_cannot_be_read_is_asked() {
    let site = Site::new();
    site.fill(ANNA, "INBOX", 0..20);
    let bad = rows(&site.account(ANNA))[7].blob;
    let inner = &site.store().inner;
    let whole = |account: AccountNumber, blob: BlobId| {
        if blob == bad {
            return Err(ReadError::Table("it is damaged".into()));
        }
        inner.message_and_summary(account, blob)
    };
    let mail = Mail { whole: &whole, summary: &|account, blob| inner.summary(account, blob) };
    while inner.indexing.indexer.lock().step(&mail, &mut || true) == IndexerStep::Again {}
    let status = site.status(ANNA);
    assert_eq!((status.figures.indexed_count, status.waiting_count), (19, 1));
    assert_eq!(status.figures.skipped_count, 1);
    assert_eq!(site.compare(ANNA), 1);
    // After a start nobody knows, and one more try does it no harm.
    let mut site = site;
    site.restart();
    assert_eq!(site.status(ANNA).figures.skipped_count, 0);
    site.fill(ANNA, "INBOX", 20..24);
    site.make();
    let status = site.status(ANNA);
    assert_eq!((status.figures.indexed_count, status.waiting_count), (24, 0));
}

/// It was waited for the next change while a split was being gathered.
#[test]
fn what_came_at_once_is_indexed_though_nothing_comes_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let key = || KeySource::KeyFile(folder.path().join("key"));
    let data = folder.path().join("data");
    Store::init(&data, &InitOptions { key: key() }).unwrap();
    let mut options = OpenOptions::new(key());
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.index_bounds = BOUNDS;
    let store = Store::open(&data, options).unwrap().0;
    store.add_domain("example.org").unwrap();
    let (name, password) = (ANNA.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let mut site = Site { folder, store: Some(store) };
    site.fill(ANNA, "INBOX", 0..100);
    let begun = std::time::Instant::now();
    while site.status(ANNA).waiting_count > 0 {
        assert!(begun.elapsed().as_secs() < 60, "{:?}", site.store().index_status());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(site.compare(ANNA), 0);
    assert_eq!(site.store().index_status().behind_count, 0);
    site.store.take().unwrap().close();
}

/// They were taken for messages that cannot be read.
#[test]
fn attachments_that_are_kept_once_are_no_messages_of_their_own() {
    let site = Site::new();
    let with_attachment = |number: u64| {
        let mut noise = vec![0; 2 * crate::seal::PART_BYTES_MIN];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
        let mut text = format!("Subject: plum {number}\r\n\r\nplum\r\n\r\n");
        for line in noise.chunks(57) {
            let line = crate::seal::base64_for_tests(line);
            text.push_str(&format!("{}\r\n", String::from_utf8(line).unwrap()));
        }
        text
    };
    site.fill_with(ANNA, "INBOX", 0..10, with_attachment);
    site.make();
    site.fill_with(ANNA, "INBOX", 10..20, with_attachment);
    assert_eq!(site.store().index_status().behind_count, 10, "as many as have come");
    site.make();
    let status = site.store().index_status();
    assert_eq!((status.made_skipped_count, status.waiting_count), (0, 0), "{status:?}");
    assert_eq!(site.compare(ANNA), 0);
    site.expunge(ANNA, |uid| uid % 2 == 0);
    site.make();
    assert_eq!(site.store().index_status().made_skipped_count, 0);
    assert_eq!(site.compare(ANNA), 0);
}

#[test]
fn how_far_the_index_is_behind_is_known() {
    let site = Site::new();
    site.fill(BERT, "INBOX", 0..3);
    let behind = |site: &Site| {
        let status = site.store().index_status();
        (status.waiting_count, status.behind_count)
    };
    assert_eq!(behind(&site), (3, 0), "little mail lies outside for ever");
    site.fill(ANNA, "INBOX", 0..20);
    assert_eq!(behind(&site), (23, 20));
    let status = site.store().index_status();
    assert!(status.behind_bytes > 20 * 100 && status.behind_for > std::time::Duration::ZERO);
    site.make();
    assert_eq!(behind(&site), (3, 0));
    assert_eq!(site.store().index_status().behind_for, std::time::Duration::ZERO);
    // What came while a split was made is younger than what is in it.
    let begun = std::time::Instant::now();
    let pause = std::time::Duration::from_millis(50);
    site.fill(ANNA, "INBOX", 20..30);
    std::thread::sleep(pause);
    site.store().make_index(1);
    site.fill(ANNA, "INBOX", 30..40);
    while site.store().index_status().behind_count == 20 {
        assert_eq!(site.store().make_index(1), 1);
    }
    site.store().make_index(1);
    assert_eq!(behind(&site), (13, 10));
    let waiting = site.store().index_status().behind_for;
    assert!(waiting + pause <= begun.elapsed(), "{waiting:?} of {:?}", begun.elapsed());
    site.store().delete_account(site.account(ANNA).number()).unwrap();
    site.make();
    assert_eq!(behind(&site), (3, 0), "what is gone waits for nothing");
}

#[test]
fn a_store_that_takes_no_changes_shows_the_figures_of_its_files() {
    let mut site = Site::new();
    for name in [ANNA, BERT] {
        site.fill(name, "INBOX", 0..20);
        site.make();
        site.fill(name, "INBOX", 20..22);
    }
    site.make();
    let (before, of_anna) = (site.store().index_status(), site.status(ANNA));
    assert_eq!((before.figures.indexed_count, before.waiting_count), (40, 4));
    site.store.take().unwrap().close();
    let mut options = OpenOptions::new(KeySource::KeyFile(site.folder.path().join("key")));
    options.mode = crate::disk::OpenMode::Read;
    options.index_bounds = BOUNDS;
    site.store = Some(Store::open(&site.data(), options).unwrap().0);
    let now = site.store().index_status();
    assert_eq!(now.figures, before.figures);
    assert_eq!(now.waiting_count, before.waiting_count);
    assert_eq!(site.status(ANNA), of_anna);
}

/// As if an indexer had mixed up two messages: every seal and every length is right.
#[test]
fn a_split_that_says_what_is_not_so_is_found_by_check() {
    let site = Site::new();
    site.fill(ANNA, "INBOX", 0..20);
    site.fill(BERT, "INBOX", 0..20);
    let blobs: Vec<BlobId> = rows(&site.account(ANNA)).iter().map(|row| row.blob).collect();
    let inner = &site.store().inner;
    let whole = |account: AccountNumber, blob: BlobId| {
        let read = if blob == blobs[7] { blobs[12] } else { blob };
        inner.message_and_summary(account, read)
    };
    let mail = Mail { whole: &whole, summary: &|account, blob| inner.summary(account, blob) };
    while inner.indexing.indexer.lock().step(&mail, &mut || true) == IndexerStep::Again {}
    let report = site.store().check(&mut |_| {}).unwrap();
    assert_eq!((report.index_file_count, report.index_damaged_count), (2, 0));
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    let words = problem.to_string();
    assert!(words.contains("index rebuild anna@example.org"), "{words}");
    assert!(words.contains(&blobs[7].to_string()), "{words}");
    // What the problem says mends it.
    inner.indexing.index.forget(site.account(ANNA).number());
    inner.committed.index_feed.want(site.account(ANNA).number());
    site.make();
    assert_eq!(site.store().check(&mut |_| {}).unwrap().problems, []);
    assert_eq!(site.compare(ANNA), 0);
}

/// A message more than there is in it: found by what its neighbour has.
#[test]
fn a_split_that_finds_too_much_is_found_by_check() {
    let site = Site::new();
    site.fill(ANNA, "INBOX", 0..20);
    let blobs: Vec<BlobId> = rows(&site.account(ANNA)).iter().map(|row| row.blob).collect();
    let both = text(7).replace("Subject: ", "Subject: about plum 6 ");
    let prepared = site.store().prepare(both.as_bytes(), &[site.account(BERT).number()]).unwrap();
    let (flags, received) = (FlagList::default(), UnixSeconds(7));
    let inbox = site.account(BERT).mailbox("INBOX").unwrap().unwrap();
    inbox.append(vec![NewMessage { prepared, flags, received }]).wait().unwrap();
    let other = (site.account(BERT).number(), rows(&site.account(BERT))[0].blob);
    let inner = &site.store().inner;
    let whole = |account: AccountNumber, blob: BlobId| match blob == blobs[7] {
        true => inner.message_and_summary(other.0, other.1),
        false => inner.message_and_summary(account, blob),
    };
    let mail = Mail { whole: &whole, summary: &|account, blob| inner.summary(account, blob) };
    while inner.indexing.indexer.lock().step(&mail, &mut || true) == IndexerStep::Again {}
    let report = site.store().check(&mut |_| {}).unwrap();
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert!(problem.to_string().contains("by a word that it lacks"), "{problem}");
}

#[test]
fn an_index_is_made_anew_while_serving() {
    let site = Site::new();
    site.fill(ANNA, "INBOX", 0..20);
    site.make();
    let before = site.files();
    let (store, number) = (site.store(), site.account(ANNA).number());
    std::thread::scope(|scope| {
        let rebuilding = scope.spawn(|| {
            let mut told = Vec::new();
            store.rebuild_index(number, &mut |done, total| told.push((done, total))).unwrap();
            told
        });
        while !rebuilding.is_finished() {
            site.compare(ANNA);
            store.make_index(1);
        }
        let told = rebuilding.join().unwrap();
        assert_eq!(told[0], (0, 20));
    });
    assert_eq!(site.compare(ANNA), 0);
    assert_ne!(site.files(), before);
}

#[test]
fn indexes_that_do_not_fit_into_memory_are_closed_and_opened_again() {
    let mut site = Site::new();
    site.store.take().unwrap().close();
    site.store = Some(open_at(site.folder.path(), &site.data(), 1));
    for round in 0..6 {
        for name in [ANNA, BERT] {
            site.fill(name, "INBOX", round * 10..round * 10 + 7);
            site.compare(name);
        }
        site.make();
        for name in [ANNA, BERT] {
            assert_eq!(site.compare(name), 0);
        }
    }
}

#[test]
fn what_is_committed_before_the_question_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeySource::KeyFile(folder.path().join("key"));
    let data = folder.path().join("data");
    Store::init(&data, &InitOptions { key }).unwrap();
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.path().join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.index_cache_bytes = 1;
    options.index_bounds = BOUNDS;
    let surroundings = Surroundings::system(Arc::new(PlainDisk), 1 << 20);
    let store = Store::open_in(&surroundings, &data, options).unwrap().0;
    store.add_domain("example.org").unwrap();
    let (name, password) = (ANNA.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    std::thread::scope(|scope| {
        for first in [0, 1000] {
            let store = &store;
            scope.spawn(move || {
                let account = store.account(ANNA).unwrap().unwrap();
                let inbox = account.mailbox("INBOX").unwrap().unwrap();
                for number in first..first + 60 {
                    let prepared =
                        store.prepare(text(number).as_bytes(), &[account.number()]).unwrap();
                    let (flags, received) = (FlagList::default(), UnixSeconds(7));
                    inbox.append(vec![NewMessage { prepared, flags, received }]).wait().unwrap();
                    if number % 7 == 0 {
                        compare_some(&account);
                    }
                }
            });
        }
    });
    let account = store.account(ANNA).unwrap().unwrap();
    compare(&account);
    store.close();
}

/// As [`compare`], with few needles.
fn compare_some(account: &Account) {
    let seen = rows(account);
    let needle = Needle { text: "apple".into(), scope: Scope::Body, reads_addresses: false };
    let answer = account.find_text(&needle).unwrap();
    for row in seen {
        let verdict = answer.verdict(row.blob);
        if verdict != Verdict::Ask {
            let is_in = contains(&text_of(account, &row), &needle);
            assert_eq!(verdict == Verdict::Contains, is_in, "{}", row.blob);
        }
    }
}
