//! Failures that the design's rules answer, each told as it would happen to somebody's mail.
//! `docs/reliability.md` lists them with the tests that tell the others.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use engine::flags::FlagList;
use engine::ids::{Uid, UnixSeconds};
use engine::message::Summary;
use engine::message::generator::Generator;
use engine::message::text::SearchText;
use engine::seal::{Argon2Cost, Secret};
use engine::uid_set::UidSet;
use engine::{
    Account, AliasEntry, InitOptions, KeySource, Mailbox, NewAccount, NewMessage, OpenOptions,
    OpenReport, Resolution, Store,
};

const ANNA: &str = "anna@example.org";
const BERT: &str = "bert@example.org";

fn key(directory: &Path) -> KeySource {
    KeySource::KeyFile(directory.with_extension("key"))
}

fn options(key: KeySource) -> OpenOptions {
    let mut options = OpenOptions::new(key);
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options
}

fn open(directory: &Path) -> (Store, OpenReport) {
    Store::open(directory, options(key(directory))).unwrap()
}

/// A new store with a domain and two accounts.
fn new_store(directory: &Path) -> Store {
    Store::init(directory, &InitOptions { key: key(directory) }).unwrap();
    let (store, _) = open(directory);
    store.add_domain("example.org").unwrap();
    for name in [ANNA, BERT] {
        new_account(&store, name);
    }
    store
}

fn new_account(store: &Store, name: &str) {
    let password = Secret::new("secret".into());
    store.create_account(NewAccount { name: name.into(), password, quota_bytes: None }).unwrap();
}

fn account(store: &Store, name: &str) -> Account {
    store.account(name).unwrap().unwrap()
}

fn mailbox(store: &Store, name: &str, mailbox: &str) -> Mailbox {
    account(store, name).mailbox(mailbox).unwrap().unwrap()
}

/// Appends messages with one command.
fn append(store: &Store, name: &str, messages: &[&[u8]]) -> Vec<Uid> {
    let number = account(store, name).number();
    let new = |message: &&[u8]| NewMessage {
        prepared: store.prepare(message, &[number]).unwrap(),
        flags: FlagList::default(),
        received: UnixSeconds(1),
    };
    let messages = messages.iter().map(new).collect();
    mailbox(store, name, "INBOX").append(messages).wait().unwrap().uids
}

fn read(store: &Store, name: &str, folder: &str, uid: Uid) -> Vec<u8> {
    let row = mailbox(store, name, folder).view().unwrap().unwrap().row(uid).unwrap().unwrap();
    account(store, name).message(&row).unwrap().read_all().unwrap()
}

fn check(store: &Store) {
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
}

/// What a kill leaves: files as they are, nothing closed. The key file beside it comes along.
fn image(directory: &Path, name: &str) -> PathBuf {
    let copy = directory.with_file_name(name);
    copy_directory(directory, &copy);
    std::fs::copy(directory.with_extension("key"), copy.with_extension("key")).unwrap();
    copy
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(directory: &Path, folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

const KEYS: &str = "volumes/main/keys";
const LOG: &str = "volumes/main/log";

/// B1 (a): a thief with the passphrase and a copy of the log from before an account was deleted
/// reads nothing of it, because account keys never enter the log, wrapped or not.
#[test]
fn a_log_from_before_a_deletion_is_unreadable_with_the_keys_of_after() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    append(&store, ANNA, &[b"Subject: private\r\n\r\nof Anna\r\n"]);
    append(&store, BERT, &[b"Subject: other\r\n\r\nof Bert\r\n"]);
    assert_log_without_keys(&directory);

    let before = image(&directory, "before");
    store.delete_account(account(&store, ANNA).number()).unwrap();
    store.close();
    for table in files(&directory, KEYS) {
        std::fs::copy(&table, before.join(KEYS).join(table.file_name().unwrap())).unwrap();
    }
    // Opening the old log with the new keys may refuse; what it must not do is show the mail.
    if let Ok((store, _)) = Store::open(&before, options(key(&before))) {
        let row = store.account(ANNA).unwrap().and_then(|anna| {
            let row = anna.mailbox("INBOX").ok()??.view().ok()??.row(Uid(1)).ok()??;
            anna.message(&row).ok()?.read_all().ok()
        });
        assert_eq!(row, None, "the deleted mail was read");
        assert!(read(&store, BERT, "INBOX", Uid(1)).ends_with(b"of Bert\r\n"));
    }
}

/// No piece of a wrapped key of the key tables lies in the log.
fn assert_log_without_keys(directory: &Path) {
    // As engine/src/seal/key_table.rs draws it: wrapped keys of 104 bytes, the volume's at 40,
    // those of accounts behind 12 bytes of each entry.
    const WRAPPED: usize = 104;
    const HEAD: usize = 144;
    const ENTRY: usize = 12 + WRAPPED;
    const CHECKSUM: usize = 32;
    const PIECE: usize = 24;
    let mut pieces: HashSet<[u8; PIECE]> = HashSet::new();
    for table in files(directory, KEYS) {
        let bytes = std::fs::read(table).unwrap();
        let entries = bytes[HEAD..bytes.len() - CHECKSUM].chunks(ENTRY);
        let keys = entries.map(|entry| &entry[ENTRY - WRAPPED..]).chain([&bytes[40..HEAD]]);
        let all = keys.flat_map(|key| key.windows(PIECE));
        pieces.extend(all.map(|piece| <[u8; PIECE]>::try_from(piece).unwrap()));
    }
    assert!(pieces.len() > 2 * WRAPPED, "of the volume and of two accounts");
    for segment in files(directory, LOG) {
        let bytes = std::fs::read(&segment).unwrap();
        let leaked = bytes.windows(PIECE).filter(|piece| pieces.contains(*piece)).count();
        assert_eq!(leaked, 0, "pieces of wrapped keys lie in {segment:?}");
    }
}

/// B1 (b): the recovery key is written down in January, five accounts come in February, the key
/// file burns in March: the recovery key opens them all, because it wraps the root key alone.
#[test]
fn a_recovery_key_opens_accounts_that_were_made_after_it_was_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    store.close();
    drop(store);
    let recovery = Store::key_backup(&directory, &key(&directory)).unwrap();
    let (store, _) = open(&directory);
    let names: Vec<String> = (0..5).map(|number| format!("february{number}@example.org")).collect();
    for name in &names {
        new_account(&store, name);
        append(&store, name, &[name.as_bytes()]);
    }
    store.close();
    drop(store);
    std::fs::remove_file(directory.with_extension("key")).unwrap();
    let typed = KeySource::RecoveryKey(Secret::new(recovery.expose().to_owned()));
    let (store, _) = Store::open(&directory, options(typed)).unwrap();
    for name in &names {
        assert_eq!(read(&store, name, "INBOX", Uid(1)), name.as_bytes());
    }
    check(&store);
}

/// B1 (c): one flipped bit in a key table costs nobody an account: the other copy heals it, and
/// opening says so. Two damaged copies are said and left alone.
#[test]
fn a_flipped_bit_in_a_key_table_is_healed_from_its_other_copy() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    append(&store, ANNA, &[b"kept"]);
    store.close();
    drop(store);
    let tables = files(&directory, KEYS);
    assert_eq!(tables.len(), 2, "two copies: {tables:?}");
    let flip = |table: &Path, at: usize| {
        let mut bytes = std::fs::read(table).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1;
        std::fs::write(table, bytes).unwrap();
    };
    for (round, table) in tables.iter().cycle().take(8).enumerate() {
        flip(table, round * 37 + 5);
        let (store, report) = open(&directory);
        assert!(report.healed_key_table.is_some(), "round {round}: the operator hears of it");
        assert_eq!(read(&store, ANNA, "INBOX", Uid(1)), b"kept");
        store.close();
        drop(store);
        let copies = [&tables[0], &tables[1]].map(|table| std::fs::read(table).unwrap());
        assert!(copies[0] == copies[1], "round {round}: healed");
    }
    tables.iter().for_each(|table| flip(table, 50));
    let damaged = [&tables[0], &tables[1]].map(|table| std::fs::read(table).unwrap());
    let refused = Store::open(&directory, options(key(&directory))).err().expect("refused");
    assert!(refused.to_string().contains("key table"), "{refused}");
    let after = [&tables[0], &tables[1]].map(|table| std::fs::read(table).unwrap());
    assert!(after == damaged, "what may still be repaired is not written over");
}

/// S2: one record brings three messages, another copies them all, and the originals go. Each has
/// an id of its own, copies share their content's, and the log alone brings all of it back.
#[test]
fn messages_of_one_command_keep_their_own_ids_and_bytes_when_the_log_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let texts: [&[u8]; 3] = [b"one", b"two", b"three"];
    append(&store, ANNA, &texts);
    let all = UidSet::from_ranges([(1, 3)]);
    let inbox = mailbox(&store, ANNA, "INBOX");
    inbox.copy(&all, &mailbox(&store, ANNA, "Archive")).wait().unwrap();
    let ids = |store: &Store, folder: &str| {
        let view = mailbox(store, ANNA, folder).view().unwrap().unwrap();
        [1, 2, 3].map(|uid| view.ids(Uid(uid)).unwrap().unwrap())
    };
    let (originals, copies) = (ids(&store, "INBOX"), ids(&store, "Archive"));
    let instances: BTreeSet<_> =
        originals.iter().chain(&copies).map(|ids| ids.instance.0).collect();
    assert_eq!(instances.len(), 6, "six messages");
    let emails: BTreeSet<_> = originals.iter().map(|ids| ids.email.0).collect();
    assert_eq!(emails.len(), 3, "three contents");
    inbox.expunge(&all).wait().unwrap();

    let copy = image(&directory, "copy");
    let (store, report) = open(&copy);
    assert!(report.record_count > 0, "the log is replayed");
    let replayed = ids(&store, "Archive");
    for ((text, uid), (before, after)) in texts.iter().zip(1..).zip(copies.iter().zip(&replayed)) {
        assert_eq!(read(&store, ANNA, "Archive", Uid(uid)), *text);
        assert_eq!((before.instance, before.email), (after.instance, after.email));
    }
    for (original, copy) in originals.iter().zip(&replayed) {
        assert_eq!(original.email, copy.email);
    }
    check(&store);
}

/// S6: ENVELOPE and BODYSTRUCTURE were made when the message came and travel in a chunk of their
/// own: they are answered while the body's bytes are damaged, so nobody reads or parses it again.
#[test]
fn an_envelope_is_answered_without_the_body() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let mut noise = Generator::new(6);
    let letters = (0..60_000).map(|_| format!("{:016x}\r\n", noise.number()));
    let message = format!("Subject: large\r\n\r\n{}", letters.collect::<String>());
    append(&store, ANNA, &[message.as_bytes()]);
    store.close();
    drop(store);
    let (store, _) = open(&directory);
    let view = mailbox(&store, ANNA, "INBOX").view().unwrap().unwrap();
    let row = view.row(Uid(1)).unwrap().unwrap();
    for segment in files(&directory, LOG) {
        let mut bytes = std::fs::read(&segment).unwrap();
        if bytes.len() > 400_000 {
            bytes[300_000] ^= 1;
            std::fs::write(&segment, bytes).unwrap();
        }
    }
    let anna = account(&store, ANNA);
    assert!(anna.message(&row).unwrap().read_all().is_err(), "the body is damaged");
    let summary = anna.summary(&row).unwrap();
    assert_eq!(summary.bytes(), Summary::parse(message.as_bytes()).encode());
}

/// S9: a group's padding is a matter of its place: it is in no hash, so it is not shipped either,
/// and whatever stands there harms nothing.
#[test]
fn what_stands_in_the_padding_of_a_group_harms_nothing() {
    const BLOCK: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    append(&store, ANNA, &[b"small"]);
    let copy = image(&directory, "copy");
    let segment = files(&copy, LOG).pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    let end = (last / BLOCK + 1) * BLOCK;
    assert!(end - last > 100, "the last group of this store is padded");
    bytes.resize(bytes.len().max(end), 0);
    bytes[end - 1] ^= 0xff;
    std::fs::write(&segment, bytes).unwrap();
    let (store, report) = open(&copy);
    assert_eq!(report.log.cut_bytes, 0);
    assert_eq!(read(&store, ANNA, "INBOX", Uid(1)), b"small");
    check(&store);
}

/// S20: the other machine gets the data directory and no configuration: it takes mail for the same
/// domains, aliases and catch-alls, and everybody logs in with their password.
#[test]
fn a_copy_of_the_directory_alone_takes_the_same_mail_and_the_same_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("data");
    let store = new_store(&directory);
    let alias = |address: &str, target: &str| {
        let (address, targets) = (address.to_owned(), vec![target.to_owned()]);
        store.add_alias(AliasEntry { address, targets }).unwrap();
    };
    alias("info@example.org", ANNA);
    alias("@example.org", BERT);
    let (anna, bert) = (account(&store, ANNA).number(), account(&store, BERT).number());
    // Once from the log, once from a checkpoint.
    let killed = image(&directory, "killed");
    store.close();
    let closed = image(&directory, "closed");
    for copy in [killed, closed] {
        let (store, _) = open(&copy);
        for (address, number) in
            [(ANNA, anna), ("info@example.org", anna), ("anything@example.org", bert)]
        {
            let Resolution::Accounts { accounts, .. } = store.resolve(address).unwrap() else {
                panic!("{address} bounces after the failover");
            };
            assert_eq!(accounts, [number], "{address}");
        }
        for name in [ANNA, BERT] {
            assert!(store.authenticate(name, &Secret::new("secret".into())).is_ok());
            assert!(store.authenticate(name, &Secret::new("guess".into())).is_err());
        }
    }
}

/// M11: ten thousand parts or messages within each other do not end the process: a stack overflow
/// cannot be caught, so depth is bounded before anything recurses.
#[test]
fn ten_thousand_levels_of_mime_need_little_stack() {
    let multiparts: String = (0..10_000)
        .map(|level| {
            format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n")
        })
        .collect();
    let same = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(10_000);
    let messages =
        "Content-Type: message/rfc822\r\n\r\n".repeat(10_000) + "Subject: inmost\r\n\r\nx";
    let comments = format!("From: {}\r\n\r\n", "(".repeat(10_000));
    let groups = format!("To: {}\r\n\r\n", "a:".repeat(10_000));
    for (name, message) in [
        ("multiparts", multiparts),
        ("multiparts of one boundary", same),
        ("messages", messages),
        ("comments", comments),
        ("groups", groups),
    ] {
        let parse = move || {
            let summary = Summary::parse(message.as_bytes());
            let text = SearchText::new(message.as_bytes(), &summary.structure);
            assert!(!text.body_contains("zyzzyva"));
        };
        let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(parse).unwrap();
        thread.join().unwrap_or_else(|_| panic!("{name}"));
    }
}
