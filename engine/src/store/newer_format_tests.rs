//! Scenario S19, "upgrading a pair": a store that a newer binary wrote to is refused whole, with
//! one sentence, before anything in its log changes.
//!
//! The newer binary is played with our own keys: it may write what we do not read, and that is all
//! that we know of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::create::{KeySource, log_setup};
use super::layout::{Layout, NodeFile};
use super::surroundings::Surroundings;
use super::{InitOptions, NewAccount, OpenOptions, Store};
use crate::disk::{Disk, OpenMode, PlainDisk};
use crate::error::OpenError;
use crate::format_level::{self, NEWEST};
use crate::ids::{AccountNumber, Stamp};
use crate::log::format::segment::{Footer, TRAILER_BYTES};
use crate::log::{GroupBuilder, GroupHash, GroupStamp, RecordHeader, RecoverError, StateStamp};
use crate::record::{Body, Record};
use crate::seal::{Aad, KeyTable, RootKeyFile, Sealer, Secret, seal};
use crate::state::{RocksTables, Saved, Values, put_volume_value};
use crate::width::{u64_of, usize_of};

fn key(directory: &Path) -> KeySource {
    KeySource::KeyFile(directory.with_extension("key"))
}

fn new_store(directory: &Path) {
    Store::init(directory, &InitOptions { key: key(directory) }).unwrap();
    open(directory).unwrap().close();
}

fn open(directory: &Path) -> Result<Store, OpenError> {
    Store::open(directory, OpenOptions::new(key(directory))).map(|(store, _)| store)
}

/// Names and bytes of the log's files.
fn log_of(directory: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let files = PlainDisk.list(&Layout::of(directory).log()).unwrap().into_iter();
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn refused(directory: &Path, expected: &str) {
    let before = log_of(directory);
    let mut reading = OpenOptions::new(key(directory));
    reading.mode = OpenMode::Read;
    let error = Store::open(directory, reading).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { .. }), "{error:?}");
    let error = open(directory).map(|_| ()).unwrap_err();
    let OpenError::NewerFormat { found, known, .. } = error else { panic!("{error:?}") };
    // Formats of state and levels are counted apart.
    assert!((found, known) == (2, 1) || (found, known) == (NEWEST + 1, NEWEST), "{error:?}");
    let sentence = error.to_string();
    assert!(sentence.contains(expected), "{sentence}");
    let end = format!("reads up to {known}; install a newer one");
    assert!(sentence.ends_with(&end), "{sentence}");
    assert!(log_of(directory) == before, "the log was changed");
}

fn keys_of(directory: &Path) -> (NodeFile, Sealer, KeyTable) {
    let layout = Layout::of(directory);
    let text = std::fs::read_to_string(layout.node()).unwrap();
    let node = NodeFile::decode(&layout.node(), &text).unwrap();
    let root = RootKeyFile::load(&PlainDisk, &layout.root_key()).unwrap().unwrap();
    let root = key(directory).unlock(&root).unwrap();
    let Surroundings { disk, sealer, .. } =
        Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
    let mode = OpenMode::Read;
    let keys = KeyTable::load(&disk, &layout.keys(), &sealer, &root, node.volume, mode).unwrap();
    (node, sealer, keys.0)
}

fn saved_of(directory: &Path) -> Saved {
    let (_, sealer, keys) = keys_of(directory);
    let tables = std::sync::Arc::new(RocksTables::open(&Layout::of(directory).state()).unwrap());
    Saved { tables, values: std::sync::Arc::new(Values::new(sealer, keys.into())) }
}

/// Appends a record of that type to the log of a closed store.
fn append_record(directory: &Path, kind: u8, payload: &[u8]) {
    let (node, sealer, keys) = keys_of(directory);
    let stamp = saved_of(directory).stamp().unwrap().unwrap();
    let state = StateStamp {
        lsn: stamp.lsn,
        open_lsn: stamp.open_lsn,
        group_hash: GroupHash(stamp.group_hash),
    };
    let setup = log_setup(
        &Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES),
        &Layout::of(directory),
        node.volume,
    )
    .unwrap();
    let visit = |_: crate::log::Replayed<'_>| Ok::<(), RecoverError>(());
    let recovered = crate::log::recover(setup, Some(state), OpenMode::ReadWrite, visit).unwrap();
    let mut writer = recovered.writer.unwrap();
    let end = writer.end();
    let lsn = end.last_lsn.next().unwrap();
    let account = AccountNumber::VOLUME;
    let aad = Aad::Record { kind, account, lsn };
    let sealed = seal(&sealer, &keys.volume_key(), aad, payload);
    let mut builder = GroupBuilder::new();
    let header = RecordHeader { record_type: kind, account, lsn, lsn_count: 1 };
    builder.push_record(&header, &[[0; 4].as_slice(), &sealed].concat());
    let group = builder.finish(GroupStamp {
        flags: 0,
        volume: node.volume,
        first_lsn: lsn,
        last_lsn: lsn,
        durable_lsn: end.durable_lsn,
        open_lsn: lsn.next().unwrap(),
        key_version: keys.version(),
        previous: end.hash,
    });
    writer.append(&[group]).unwrap();
}

fn level_record(level: u32) -> Vec<u8> {
    Record::new(Stamp(1), Body::FormatLevel(level)).encode()
}

#[test]
fn s19_a_level_record_above_ours_is_refused_before_the_log_changes() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    new_store(&directory);
    append_record(&directory, Body::FORMAT_LEVEL, &level_record(NEWEST));
    open(&directory).expect("our own level again changes nothing").close();
    append_record(&directory, Body::FORMAT_LEVEL, &level_record(NEWEST + 1));
    refused(&directory, "volume main, since ");
}

#[test]
fn a_volume_of_the_first_level_is_written_without_dictionaries() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    new_store(&directory);
    let message = b"Subject: small\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello,\r\n";
    let sealed_bytes = || {
        let store = open(&directory).unwrap();
        let account = store.account("anna@example.org").unwrap().unwrap().number();
        let prepared = store.prepare(message, &[account]).unwrap();
        store.close();
        prepared.sealed.chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>()
    };
    let store = open(&directory).unwrap();
    store.add_domain("example.org").unwrap();
    let (name, password) = ("anna@example.org".into(), Secret::new("a password".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    store.close();
    drop(store);
    let with_dictionaries = sealed_bytes();
    append_record(&directory, Body::FORMAT_LEVEL, &level_record(1));
    let without = sealed_bytes();
    assert!(with_dictionaries < without, "{with_dictionaries} bytes, {without} of level 1");
}

/// Versions of the footers of closed segments, in the order of the log.
fn footers_of(directory: &Path) -> Vec<u16> {
    let version = |bytes: &Vec<u8>| {
        let trailer = bytes.get(bytes.len() - TRAILER_BYTES..)?;
        let (at, _) = Footer::locate(trailer, u64_of(bytes.len())).ok()?;
        let at = usize_of(at);
        Some(u16::from_le_bytes([bytes[at + 8], bytes[at + 9]]))
    };
    log_of(directory).values().filter_map(version).collect()
}

#[test]
fn a_volume_below_level_5_is_written_with_headers_and_footers_that_its_binaries_read() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    Store::init(&directory, &InitOptions { key: key(&directory) }).unwrap();
    let store = open(&directory).unwrap();
    store.add_domain("example.org").unwrap();
    let (name, password) = ("anna@example.org".into(), Secret::new("a password".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    store.close();
    drop(store);
    append_record(&directory, Body::FORMAT_LEVEL, &level_record(4));
    open(&directory).unwrap().close();
    let versions_before = footers_of(&directory).len();
    let add = |store: &Store| {
        let account = store.account("anna@example.org").unwrap().unwrap();
        let prepared = store.prepare(b"Subject: x\r\n\r\n", &[account.number()]).unwrap();
        let version = prepared.sealed.chunks[0].bytes[4];
        let (flags, received) = (crate::flags::FlagList::default(), crate::ids::UnixSeconds(1));
        let message = crate::NewMessage { prepared, flags, received };
        let inbox = account.mailbox("INBOX").unwrap().unwrap();
        inbox.append(vec![message]).wait().unwrap();
        version
    };
    let store = open(&directory).unwrap();
    assert_eq!(add(&store), 2, "the header of a packed blob of level 4");
    store.close();
    drop(store);
    let store = open(&directory).unwrap();
    let below = footers_of(&directory).split_off(versions_before);
    assert!(!below.is_empty() && below.iter().all(|version| *version == 1), "{below:?}");
    store.finish_upgrade().unwrap();
    assert_eq!(add(&store), 3);
    store.close();
    drop(store);
    let store = open(&directory).unwrap();
    assert_eq!(footers_of(&directory).last(), Some(&2));
    let report = store.check(&mut |_| {}).unwrap();
    assert_eq!((report.problems, report.message_count), (Vec::new(), 2));
    store.close();
}

#[test]
fn a_volume_below_the_level_keeps_no_expunged_mail_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    new_store(&directory);
    append_record(&directory, Body::FORMAT_LEVEL, &level_record(2));
    let store = open(&directory).unwrap();
    let setting = crate::state::RetentionSetting::Seconds(5);
    let retention = crate::state::VolumeRetention { setting, shortened: false };
    let refused = store.set_retention(retention).unwrap_err().to_string();
    assert!(refused.contains("format level below 3"), "{refused}");
    store.close();
}

#[test]
fn a_volume_below_level_6_takes_no_metadata_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    new_store(&directory);
    append_record(&directory, Body::FORMAT_LEVEL, &level_record(5));
    let store = open(&directory).unwrap();
    let refused = store.set_message_limit(AccountNumber(1), None).unwrap_err().to_string();
    assert!(refused.contains("'pillarbox upgrade finish'"), "{refused}");
    store.close();
}

#[test]
fn a_level_is_raised_once_and_stays_after_a_restart_and_without_state() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    new_store(&directory);
    append_record(&directory, Body::FORMAT_LEVEL, &level_record(2));
    let store = open(&directory).unwrap();
    let status = store.status();
    assert_eq!((status.format_level, status.format_level_newest), (2, NEWEST));
    let refused = store.rotate_account_keys(&[AccountNumber(1)]).unwrap_err().to_string();
    assert!(refused.contains("'pillarbox upgrade finish'"), "{refused}");
    let upgrade = store.finish_upgrade().unwrap();
    assert_eq!((upgrade.before, upgrade.now), (2, NEWEST));
    let position = store.status().last_lsn;
    let again = store.finish_upgrade().unwrap();
    assert_eq!((again.before, again.now), (NEWEST, NEWEST));
    assert_eq!(store.status().last_lsn, position, "the second changes nothing");
    store.close();
    drop(store);
    let state = Layout::of(&directory).state();
    for lost in [false, true] {
        if lost {
            std::fs::rename(&state, folder.path().join("state")).unwrap();
        }
        let store = open(&directory).unwrap();
        assert_eq!(store.status().format_level, NEWEST, "state lost: {lost}");
        store.close();
    }
}

#[test]
fn s19_a_record_of_an_unknown_type_is_refused_before_the_log_changes() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    new_store(&directory);
    append_record(&directory, 99, b"whatever it means");
    refused(&directory, "volume main, with type 99 at ");
}

#[test]
fn s19_state_of_a_higher_level_or_a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let next = NEWEST + 1;
    let of_level = format!("the volume has format {next}");
    let cases = [
        // Format, then the level.
        ("volume", (1, u8::try_from(next).unwrap()), of_level.as_str()),
        ("volume", (0, 2), "a stored volume row has format 2"),
        ("policy", (0, 2), "a stored policy has format 2"),
        ("stamp", (0, 2), "a stored checkpoint stamp has format 2"),
    ];
    for (number, (key, change, expected)) in cases.into_iter().enumerate() {
        let directory = folder.path().join(format!("data{number}"));
        new_store(&directory);
        let store = open(&directory).unwrap();
        store.add_domain("example.org").unwrap();
        store.close();
        drop(store);
        put_volume_value(&saved_of(&directory), key.as_bytes(), change);
        refused(&directory, expected);
    }
}

#[test]
fn s19_a_table_that_we_do_not_know_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    new_store(&directory);
    RocksTables::add_table(&Layout::of(&directory).state(), "tomorrow");
    let next = NEWEST + 1;
    refused(&directory, &format!("which has a table \"tomorrow\", has format {next}"));
}

#[test]
fn every_record_that_we_write_has_a_level() {
    for kind in 0..=u8::MAX {
        // What decodes at all is of a type that we know, whatever is wrong with its body.
        let unknown = Record::decode(kind, &[0; 9]).is_err_and(|why| why.contains("type"));
        assert_eq!(format_level::of_record(kind).is_none(), unknown, "type {kind}");
        assert!(format_level::of_record(kind).is_none_or(|level| level <= NEWEST));
    }
}
