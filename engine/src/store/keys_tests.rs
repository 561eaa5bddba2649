//! Keys of accounts change while mail comes: everything stays readable, also from the log alone,
//! and what is destroyed opens nothing that anybody copied.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::create::KeySource;
use super::layout::{Layout, NodeFile};
use super::live_copy::copy_live;
use super::surroundings::Surroundings;
use super::{InitOptions, NewAccount, NewMessage, OpenOptions, Store};
use crate::disk::{Disk, OpenMode, PlainDisk};
use crate::error::CommitError;
use crate::flags::FlagList;
use crate::ids::{AccountNumber, KeyGeneration, Uid, UnixSeconds};
use crate::log::{Item, KeyNames, NamedBy, SegmentFile, SegmentNumber};
use crate::seal::{
    Aad, Argon2Cost, BlobHeader, BlobOpener, KeyTable, KeyTableSnapshot, RootKeyFile, Sealer,
    Secret,
};
use crate::state::RocksTables;
use crate::store::DeliverTo;

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";
const SEGMENT_BYTES: u64 = 1 << 20;

struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> House {
        let house = House { folder: tempfile::tempdir().unwrap() };
        Store::init(&house.data(), &InitOptions { key: house.key() }).unwrap();
        let store = house.open();
        store.add_domain("example.org").unwrap();
        for name in [ANNA, BERT] {
            let password = Secret::new("x".into());
            let new = NewAccount { name: name.into(), password, quota_bytes: None };
            store.create_account(new).unwrap();
        }
        store.close();
        house
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn key(&self) -> KeySource {
        KeySource::KeyFile(self.folder.path().join("key"))
    }

    fn open(&self) -> Store {
        let mut surroundings = Surroundings::system(Arc::new(PlainDisk), SEGMENT_BYTES);
        surroundings.segment_bytes = SEGMENT_BYTES;
        let mut options = OpenOptions::new(self.key());
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = 0;
        options.reclaim_bytes_per_second = u64::MAX / 2_000_000;
        Store::open_in(&surroundings, &self.data(), options).unwrap().0
    }

    /// The key table as it is on disk now.
    fn keys(&self) -> Arc<KeyTableSnapshot> {
        let layout = Layout::of(&self.data());
        let text = std::fs::read_to_string(layout.node()).unwrap();
        let node = NodeFile::decode(&layout.node(), &text).unwrap();
        let root = RootKeyFile::load(&PlainDisk, &layout.root_key()).unwrap().unwrap();
        let root = self.key().unlock(&root).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(PlainDisk);
        let (volume, mode) = (node.volume, OpenMode::Read);
        let table = KeyTable::load(&disk, &layout.keys(), &Sealer::system(), &root, volume, mode)
            .unwrap()
            .0;
        table.snapshot()
    }
}

fn number(store: &Store, name: &str) -> AccountNumber {
    store.account(name).unwrap().unwrap().number()
}

fn text(number: u64) -> Vec<u8> {
    let key = blake3::hash(&number.to_le_bytes());
    let mut bytes = vec![0; 20_000];
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn append(store: &Store, name: &str, texts: std::ops::Range<u64>) {
    let account = number(store, name);
    let mailbox = store.account(name).unwrap().unwrap().mailbox("INBOX").unwrap().unwrap();
    for number in texts {
        let prepared = store.prepare(&text(number), &[account]).unwrap();
        let (flags, received) = (FlagList::default(), UnixSeconds(7));
        mailbox.append(vec![NewMessage { prepared, flags, received }]).wait().unwrap();
    }
}

/// One body for both.
fn deliver(store: &Store, to: &[&str], texts: std::ops::Range<u64>) {
    let accounts: Vec<AccountNumber> = to.iter().map(|name| number(store, name)).collect();
    for number in texts {
        let prepared = store.prepare(&text(number), &accounts).unwrap();
        let to = |account: &AccountNumber| DeliverTo {
            account: *account,
            mailbox: "INBOX".into(),
            flags: FlagList::default(),
        };
        let recipients = accounts.iter().map(to).collect();
        for answer in store.deliver(prepared, UnixSeconds(7), recipients).wait() {
            answer.unwrap();
        }
    }
}

/// INBOX holds these texts, in this order.
fn assert_texts(store: &Store, name: &str, texts: std::ops::Range<u64>) {
    let account = store.account(name).unwrap().unwrap();
    let view = account.mailbox("INBOX").unwrap().unwrap().view().unwrap().unwrap();
    let rows = view.rows_from(Uid(1), usize::MAX).unwrap();
    assert_eq!(u64::try_from(rows.len()).unwrap(), texts.end - texts.start, "{name}");
    for (row, number) in rows.iter().zip(texts) {
        let read = account.message(row).unwrap().read_all().unwrap();
        assert!(read == text(number), "{name} UID {}", row.uid);
    }
}

fn assert_sound(store: &Store) {
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut paths = PlainDisk.list(&Layout::of(data).log()).unwrap();
    paths.retain(|path| SegmentNumber::of(path).is_some());
    paths
}

/// Calls `visit` with every item of every closed segment.
fn visit_items(paths: &[PathBuf], visit: &mut dyn FnMut(Item<'_>)) {
    let mut buffer = Vec::new();
    for path in paths {
        let file = SegmentFile::open_cached(&PlainDisk, path).unwrap();
        let mut at = crate::log::format::segment::GROUPS_AT;
        let mut previous = file.header.previous;
        while let Ok((found, group)) = file.group_at(at, &mut buffer).unwrap() {
            // Recycled files go on with groups of their earlier life.
            if group.header.stamp.previous != previous {
                break;
            }
            group.items().for_each(|placed| visit(placed.item));
            (at, previous) = (found.end(), group.hash);
        }
    }
}

fn names(data: &Path) -> KeyNames {
    let mut names = KeyNames::default();
    visit_items(&segments(data), &mut |item| match item {
        Item::Record { header, payload } => names.note_record(header.account, payload),
        Item::Chunk { header, bytes: Some(bytes), .. } => names.note_chunk(header.number, bytes),
        Item::Chunk { .. } => {}
    });
    names
}

#[test]
fn all_comes_under_the_newest_key_and_the_log_alone_finds_it() {
    let house = House::new();
    let store = house.open();
    append(&store, ANNA, 0..100);
    deliver(&store, &[ANNA, BERT], 100..130);
    assert!(store.checkpoint());
    let (anna, bert) = (number(&store, ANNA), number(&store, BERT));
    store.rotate_account_keys(&[anna]).unwrap();
    append(&store, ANNA, 130..140);
    let mut told = Vec::new();
    let keys = store.rewrap(None, &mut |at| told.push(at)).unwrap();
    assert!(told.iter().any(|at| at.segment_total >= 2), "{told:?}");
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert_eq!((key.name.as_str(), key.generation), (ANNA, KeyGeneration(1)));
    assert!(key.is_destroyed, "nothing needs it: {key:?}");
    assert_eq!(store.status().retired_keys, []);
    let found = names(&house.data());
    assert_eq!(found.named_by(anna, KeyGeneration(1)), None);
    assert!(found.named_by(anna, KeyGeneration(2)).unwrap().has(NamedBy::HEADERS));
    assert!(found.named_by(bert, KeyGeneration(1)).unwrap().has(NamedBy::HEADERS));
    let mut running = Some(store);
    for round in ["running", "reopened", "from the log alone"] {
        let store = running.take().unwrap_or_else(|| house.open());
        assert_texts(&store, ANNA, 0..140);
        assert_texts(&store, BERT, 100..130);
        assert_sound(&store);
        assert_eq!(store.rewrap(None, &mut |_| {}).unwrap(), [], "{round}");
        store.close();
        drop(store);
        if round == "reopened" {
            std::fs::remove_dir_all(Layout::of(&house.data()).state()).unwrap();
        }
    }
}

#[test]
fn a_key_that_nothing_names_is_destroyed_and_what_it_sealed_late_is_refused() {
    let house = House::new();
    let store = house.open();
    append(&store, ANNA, 0..3);
    let anna = number(&store, ANNA);
    store.rotate_account_keys(&[anna]).unwrap();
    // Sealed under generation 2, and on its way for long.
    let late = store.prepare(&text(9), &[anna]).unwrap();
    let in_time = store.prepare(&text(3), &[anna]).unwrap();
    let mailbox = store.account(ANNA).unwrap().unwrap().mailbox("INBOX").unwrap().unwrap();
    store.rotate_account_keys(&[anna]).unwrap();
    let message = |prepared| {
        vec![NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(7) }]
    };
    mailbox.append(message(in_time)).wait().unwrap();
    // The one that came in time keeps generation 2 alive until its header is re-wrapped.
    let keys = store.rewrap(Some(anna), &mut |_| {}).unwrap();
    let gone: Vec<bool> = keys.iter().map(|key| key.is_destroyed).collect();
    assert_eq!(gone, [true, true], "{keys:?}");
    for generation in [KeyGeneration(1), KeyGeneration(2)] {
        assert!(house.keys().key(anna, generation).is_none());
    }
    let refused = mailbox.append(message(late)).wait().unwrap_err();
    assert!(matches!(refused, CommitError::QueueFull), "{refused}");
    append(&store, ANNA, 4..5);
    assert_texts(&store, ANNA, 0..5);
    assert_sound(&store);
    store.close();
    drop((store, mailbox));
    let store = house.open();
    assert_texts(&store, ANNA, 0..5);
    // What hashes content outlives every generation.
    assert!(house.keys().key(anna, KeyGeneration(0)).is_some());
    assert_eq!(store.status().retired_keys, []);
}

#[test]
fn accounts_that_are_not_there_have_no_keys_to_change() {
    let house = House::new();
    let store = house.open();
    let anna = number(&store, ANNA);
    let nobody = store.rotate_account_keys(&[AccountNumber(1)]).unwrap_err();
    assert!(matches!(nobody, CommitError::NoSuchAccount), "{nobody}");
    assert_eq!(store.rewrap(None, &mut |_| {}).unwrap(), []);
    store.rotate_account_keys(&[]).unwrap();
    assert_eq!(store.inner.keys.current(anna).unwrap().0, KeyGeneration(1));
}

/// B1: whoever copied the log and the tables before an account was deleted reads none of it with
/// the key table of afterwards, whatever key of it he tries; a co-recipient reads on.
#[test]
fn a_copy_from_before_a_deletion_is_unreadable_with_the_keys_of_after() {
    let house = House::new();
    let store = house.open();
    append(&store, ANNA, 0..20);
    deliver(&store, &[ANNA, BERT], 20..30);
    let (anna, bert) = (number(&store, ANNA), number(&store, BERT));
    store.rotate_account_keys(&[anna, bert]).unwrap();
    append(&store, ANNA, 30..40);
    store.close();
    drop(store);
    let (before, copy) = (house.keys(), house.folder.path().join("copy"));
    copy_live(&house.data(), &copy);

    let store = house.open();
    store.delete_account(anna).unwrap();
    let after = house.keys();
    assert!(house.keys().accounts().all(|account| account != anna));
    assert_texts(&store, BERT, 20..30);
    store.close();
    drop(store);

    let opened = opened_of(&copy, &before, (anna, bert));
    assert!(opened.iter().all(|(.., readable)| *readable), "with the keys of before it is read");
    let opened = opened_of(&copy, &after, (anna, bert));
    for kind in ["record", "blob", "value"] {
        let of_anna =
            opened.iter().filter(|(account, found, _)| *account == anna && *found == kind);
        let readable: Vec<bool> = of_anna.map(|(.., readable)| *readable).collect();
        assert!(readable.len() >= 10, "{kind}: there is something to try");
        assert!(!readable.contains(&true), "a {kind} of the deleted account opened");
        let of_bert =
            opened.iter().filter(|(account, found, _)| *account == bert && *found == kind);
        assert!(of_bert.clone().count() > 0 && of_bert.clone().all(|(.., readable)| *readable));
    }
}

/// The same for a generation that was destroyed while its account lives on: a thief who copied the
/// log and the tables before reads none of it with the key table of afterwards.
#[test]
fn a_copy_from_before_a_key_was_destroyed_is_unreadable_with_the_keys_of_after() {
    let house = House::new();
    let store = house.open();
    append(&store, ANNA, 0..20);
    deliver(&store, &[ANNA, BERT], 20..30);
    assert!(store.checkpoint());
    let (anna, bert) = (number(&store, ANNA), number(&store, BERT));
    store.close();
    drop(store);
    let (before, copy) = (house.keys(), house.folder.path().join("copy"));
    copy_live(&house.data(), &copy);

    let store = house.open();
    store.rotate_account_keys(&[anna]).unwrap();
    append(&store, ANNA, 30..40);
    let keys = store.rewrap(None, &mut |_| {}).unwrap();
    assert!(keys.iter().all(|key| key.is_destroyed) && keys.len() == 1, "{keys:?}");
    store.close();
    drop(store);
    let after = house.keys();

    let opened = opened_of(&copy, &before, (anna, bert));
    assert!(opened.iter().all(|(.., readable)| *readable), "with the keys of before it is read");
    let opened = opened_of(&copy, &after, (anna, bert));
    for kind in ["record", "blob", "value"] {
        let of = |account| {
            let of_kind =
                opened.iter().filter(move |(of, found, _)| (*of, *found) == (account, kind));
            of_kind.map(|(.., readable)| *readable).collect::<Vec<_>>()
        };
        assert!(of(anna).len() >= 10, "{kind}: there is something to try");
        assert!(!of(anna).contains(&true), "a copied {kind} opened under a key of afterwards");
        assert!(!of(bert).is_empty() && !of(bert).contains(&false), "{kind} of a co-recipient");
    }
    // What the store has instead opens.
    let own = opened_of(&house.data(), &after, (anna, bert));
    assert!(own.len() > 50 && own.iter().all(|(.., readable)| *readable));
}

/// Everything of two accounts in a data directory, and whether it opens with some key of a table.
fn opened_of(
    data: &Path,
    keys: &KeyTableSnapshot,
    (anna, bert): (AccountNumber, AccountNumber),
) -> Vec<(AccountNumber, &'static str, bool)> {
    let mut found = Vec::new();
    let mut all = vec![keys.volume_key()];
    for account in keys.accounts() {
        all.extend((0..9).filter_map(|generation| keys.key(account, KeyGeneration(generation))));
    }
    visit_items(&segments(data), &mut |item| match item {
        Item::Record { header, payload } if [anna, bert].contains(&header.account) => {
            let aad =
                Aad::Record { kind: header.record_type, account: header.account, lsn: header.lsn };
            let opens = all.iter().any(|key| crate::seal::open(key, aad, &payload[4..]).is_ok());
            found.push((header.account, "record", opens));
        }
        Item::Chunk { header, bytes: Some(bytes), .. } if header.number == 0 => {
            for entry in BlobHeader::parse(bytes).unwrap().entries {
                let opens = all.iter().any(|key| {
                    let lookup = |_, _| Some((*key).clone());
                    BlobOpener::open(bytes, header.tag, entry.account, &lookup).is_ok()
                });
                found.push((entry.account, "blob", opens));
            }
        }
        _ => {}
    });
    values(data, &mut |table, key, value| {
        let Some(account) =
            key.first_chunk().map(|bytes| AccountNumber(u64::from_be_bytes(*bytes)))
        else {
            return;
        };
        let lsn = u64::from_le_bytes(*value[4..].first_chunk().unwrap());
        let lsn = crate::ids::Lsn::from_bits(lsn).unwrap();
        let aad = Aad::StateValue { table: table.number(), key, lsn };
        let opens = all.iter().any(|parent| crate::seal::open(parent, aad, &value[12..]).is_ok());
        found.push((account, "value", opens));
    });
    found
}

/// Every value of the tables that is an account's.
fn values(data: &Path, visit: &mut impl FnMut(crate::state::Table, &[u8], &[u8])) {
    let state = Layout::of(data).state();
    if !state.exists() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    copy_live(&state, scratch.path());
    let tables = RocksTables::open_in(scratch.path(), OpenMode::ReadWrite).unwrap();
    for table in crate::state::Table::OF_ACCOUNTS {
        tables
            .scan_prefix(table, &[], &mut |key, value| {
                visit(table, key, value);
                Ok(true)
            })
            .unwrap();
    }
}
