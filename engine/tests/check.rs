//! `check` of stores that were damaged by hand: each kind of damage is named, with what it costs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]
#![allow(missing_docs, clippy::type_complexity, reason = "tests, whose tables are tuples")]

#[path = "check/give_up.rs"]
mod give_up;

use std::path::{Path, PathBuf};

use engine::disk::{IoChoice, OpenMode, system_disk};
use engine::flags::FlagList;
use engine::ids::{Uid, UnixSeconds};
use engine::seal::{Argon2Cost, Secret};
use engine::uid_set::UidSet;
use engine::{
    Account, CheckReport, InitOptions, KeySource, Loss, Mailbox, NewAccount, NewMessage,
    OpenOptions, Store,
};

const NAME: &str = "anna@example.org";

fn options(directory: &Path) -> OpenOptions {
    let mut options = OpenOptions::new(KeySource::KeyFile(directory.with_extension("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.reclaim_bytes_per_second = 0;
    options.scrub_bytes_per_second = 0;
    // What plain calls wrote is damaged in tests/interrupted.rs; here what io_uring did.
    if directory.exists() && system_disk(IoChoice::Uring, directory).is_ok() {
        options.io = IoChoice::Uring;
    }
    options
}

fn open(directory: &Path) -> Store {
    Store::open(directory, options(directory)).unwrap().0
}

fn anna(store: &Store) -> Account {
    store.account(NAME).unwrap().unwrap()
}

fn inbox(store: &Store) -> Mailbox {
    anna(store).mailbox("INBOX").unwrap().unwrap()
}

/// Bytes that do not compress, another one for each seed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn append(store: &Store, message: &[u8]) -> Uid {
    let prepared = store.prepare(message, &[anna(store).number()]).unwrap();
    let new = NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(1_000) };
    inbox(store).append(vec![new]).wait().unwrap().uids[0]
}

/// A closed store in which messages 1 to 4 are there, and 5 was expunged; and the folder of its
/// log. Each message has its noise in a group of its own.
fn closed_store(folder: &Path) -> PathBuf {
    let directory = folder.join("data");
    let key = KeySource::KeyFile(directory.with_extension("key"));
    Store::init(&directory, &InitOptions { key }).unwrap();
    let store = open(&directory);
    store.add_domain("example.org").unwrap();
    let password = Secret::new("demo".into());
    store.create_account(NewAccount { name: NAME.into(), password, quota_bytes: None }).unwrap();
    for seed in 1..=5 {
        append(&store, &noise(seed, 20_000));
    }
    let gone: UidSet = [Uid(5)].into_iter().collect();
    let deleted = FlagList { system: engine::flags::SystemFlags::DELETED, keywords: Vec::new() };
    let mailbox = inbox(&store);
    mailbox.store_flags(&gone, engine::flags::FlagChange::Add, &deleted, None).wait().unwrap();
    mailbox.expunge(&gone).wait().unwrap();
    store.close();
    drop((store, mailbox));
    // The last segment of the run before is closed now, and another one is open.
    open(&directory).close();
    directory
}

fn log(directory: &Path) -> PathBuf {
    directory.join("volumes/main/log")
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(log(directory)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "segment"));
    paths.sort();
    paths
}

/// Where the groups of a file begin that bring so many bytes or more.
fn groups(content: &[u8], bytes: u32) -> Vec<usize> {
    let starts = (8192..content.len()).step_by(4096);
    let length = |at: usize| u32::from_le_bytes(content[at + 8..at + 12].try_into().unwrap());
    starts.filter(|&at| content[at..].starts_with(b"PBXg") && length(at) >= bytes).collect()
}

/// The file and the offset of the group that brought message `uid`.
fn group_of(directory: &Path, uid: usize) -> (PathBuf, usize) {
    let mut found = Vec::new();
    for path in segments(directory) {
        let content = std::fs::read(&path).unwrap();
        found.extend(groups(&content, 15_000).into_iter().map(|at| (path.clone(), at)));
    }
    found[uid - 1].clone()
}

fn flip(path: &Path, offset: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[offset] ^= 0x10;
    std::fs::write(path, content).unwrap();
}

/// As `pillarbox check` looks at a stopped store.
fn check(directory: &Path) -> CheckReport {
    let mut reading = options(directory);
    reading.mode = OpenMode::Read;
    let (store, _) = Store::open(directory, reading).unwrap();
    store.check(&mut |_| {}).unwrap()
}

fn sentences(report: &CheckReport) -> String {
    report.problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn a_whole_store_has_nothing_wrong_and_all_of_it_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let directory = closed_store(folder.path());
    let report = check(&directory);
    assert_eq!(report.problems, []);
    assert_eq!((report.message_count, report.unnamed_chunks), (4, 0));
    assert!(report.segment_count >= 2 && report.record_count > 10 && report.row_count > 10);
    assert!(report.log_bytes > 100_000, "{report:?}");
}

#[test]
fn each_kind_of_damage_in_the_log_is_named_with_what_it_costs() {
    let folder = tempfile::tempdir().unwrap();
    let whole = closed_store(folder.path());
    let first = segments(&whole)[0].clone();
    let size = std::fs::read(&first).unwrap().len();
    let (_, living) = group_of(&whole, 2);
    let (_, dead) = group_of(&whole, 5);
    let message = [Some(Uid(2)), None];
    // What is flipped, which UIDs are named, what the last problem says, its cost, and why.
    let table: [(usize, &[Option<Uid>], &str, Loss, &str); 8] = [
        (20, &[None], "copy 1 of the segment's header", Loss::Nothing, "there are two"),
        (4096 + 20, &[None], "copy 2 of the segment's header", Loss::Nothing, "there are two"),
        (size - 10, &[None], "no footer that is whole", Loss::Nothing, "groups say the same"),
        (living + 5000, &message, "does not have its hash", Loss::Pieces(1), "it is alive"),
        (dead + 5000, &[None], "no message has it any more", Loss::Nothing, "it was expunged"),
        (dead + 40, &[None], "positions", Loss::SecondCopy, "state has applied the group"),
        (living + 40, &[None], "positions", Loss::Pieces(1), "its header; the chunk is whole"),
        (living + 136 + 20, &[None], "positions", Loss::Pieces(1), "a chunk's header"),
    ];
    for (offset, uids, words, loss, reason) in table {
        let directory = folder.path().join("copy");
        copy(&whole, &directory);
        flip(&segments(&directory)[0], offset);
        let report = check(&directory);
        let about: Vec<_> = report.problems.iter().map(|problem| problem.uid).collect();
        assert_eq!(about, uids, "{reason}: {}", sentences(&report));
        let last = report.problems.last().unwrap();
        assert!(last.about.contains(".segment, offset"), "{reason}: {last}");
        assert!(last.what.contains(words), "{reason}: {last}");
        assert_eq!(last.loss, loss, "{reason}: {last}");
        if let [Some(_), _] = uids {
            assert_eq!(report.problems[0].about, format!("{NAME} INBOX"));
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn files_that_are_missing_cut_or_swapped_are_named_with_the_messages_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let whole = closed_store(folder.path());
    let changes: [(&str, fn(&[PathBuf])); 3] = [
        ("is not there", |files| std::fs::remove_file(&files[0]).unwrap()),
        ("copies of the segment's header", |files| std::fs::write(&files[0], b"short").unwrap()),
        ("holds segment", |files| {
            let other = files[0].with_extension("other");
            std::fs::rename(&files[0], &other).unwrap();
            std::fs::rename(&files[1], &files[0]).unwrap();
            std::fs::rename(&other, &files[1]).unwrap();
        }),
    ];
    for (words, change) in changes {
        let directory = folder.path().join("copy");
        copy(&whole, &directory);
        change(&segments(&directory));
        let mut reading = options(&directory);
        reading.mode = OpenMode::Read;
        match Store::open(&directory, reading) {
            Ok((store, _)) => {
                let report = store.check(&mut |_| {}).unwrap();
                let text = sentences(&report);
                let messages = report.problems.iter().filter(|problem| problem.uid.is_some());
                assert_eq!(messages.count(), 4, "{words}: {text}");
                assert!(report.problem_count > 4, "{words}: {text}");
            }
            // Then opening says so.
            Err(error) => assert!(error.to_string().contains("segment"), "{words}: {error}"),
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn the_scrub_of_a_running_store_heals_a_header_and_reports_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let directory = closed_store(folder.path());
    let whole = contents(&directory);
    let first = segments(&directory)[0].clone();
    flip(&first, 20);
    let table = directory.join("volumes/main/keys/table.b");
    let mut options = options(&directory);
    options.scrub_bytes_per_second = 1 << 30;
    let (store, _) = Store::open(&directory, options).unwrap();
    let key_table = std::fs::read(&table).unwrap();
    let mut flipped = key_table.clone();
    flipped[200] ^= 1;
    std::fs::write(&table, flipped).unwrap();
    while store.status().scrub_healed < 1 || store.status().scrubbed_segments < 1 {
        std::thread::yield_now();
    }
    assert_eq!(store.status().scrub_damaged, 0);
    let (name, content) = &whole[0];
    assert!(std::fs::read(first.with_file_name(name)).unwrap() == *content, "to the byte");
    store.close();
    drop(store);
    let (_, dead) = group_of(&directory, 5);
    flip(&first, dead + 5000);
    let mut options = self::options(&directory);
    options.scrub_bytes_per_second = 1 << 30;
    let (store, _) = Store::open(&directory, options).unwrap();
    while store.status().scrubbed_segments < 1 {
        std::thread::yield_now();
    }
    assert_eq!(store.status().scrub_damaged, 1);
    store.close();
    assert!(std::fs::read(&table).unwrap() == key_table, "loading heals the key table at latest");
}

/// The content of every segment.
fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let name = |path: &Path| PathBuf::from(path.file_name().unwrap());
    let paths = segments(directory);
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

#[test]
fn what_is_there_twice_is_mended_to_the_byte_and_a_second_time_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = closed_store(folder.path());
    let (_, living) = group_of(&whole, 2);
    let (_, dead) = group_of(&whole, 5);
    let size = std::fs::read(&segments(&whole)[0]).unwrap().len();
    // What is flipped, whether it takes a copy, and why.
    let table = [
        (vec![20], false, "the other copy of the header"),
        (vec![4096 + 20], false, "likewise"),
        (vec![size - 10], false, "the footer follows from the groups"),
        (vec![20, 4096 + 20], true, "both copies of the header"),
        (vec![living + 5000], true, "a chunk that is alive"),
        (vec![dead + 5000], true, "a dead one"),
        (vec![living + 40], true, "a group's header"),
        (vec![living + 136 + 64 + 300, dead + 136 + 20, 30], true, "several things"),
        (vec![usize::MAX], true, "the file is missing"),
    ];
    for (offsets, takes_copy, reason) in table {
        let directory = folder.path().join("copy");
        copy(&whole, &directory);
        let file = segments(&directory)[0].clone();
        for &offset in &offsets {
            match offset {
                usize::MAX => std::fs::remove_file(&file).unwrap(),
                offset => flip(&file, offset),
            }
        }
        let options = options(&directory);
        if takes_copy && reason != "both copies of the header" {
            let damaged = contents(&directory);
            let report = Store::repair(&directory, &options, None).unwrap();
            assert!(!report.left.is_empty(), "{reason}: {report:?}");
            assert!(contents(&directory) == damaged || offsets.len() > 1, "{reason}");
        }
        let from = takes_copy.then_some(whole.as_path());
        let report = Store::repair(&directory, &options, from).unwrap();
        assert_eq!(report.left, [] as [String; 0], "{reason}");
        assert!(!report.mended.is_empty(), "{reason}");
        if reason != "the footer follows from the groups" {
            assert!(contents(&directory) == contents(&whole), "{reason}");
        }
        let again = Store::repair(&directory, &options, from).unwrap();
        assert!(again.mended.is_empty() && again.left.is_empty(), "{reason}: {again:?}");
        assert_eq!(check(&directory).problems, [], "{reason}");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn without_its_state_a_store_is_made_anew_from_the_log_and_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let whole = closed_store(folder.path());
    let seen = |directory: &Path| {
        let store = open(directory);
        let mut seen = Vec::new();
        for entry in &anna(&store).listing().unwrap().mailboxes {
            let view = anna(&store).mailbox(&entry.name).unwrap().unwrap().view().unwrap().unwrap();
            let rows = view.rows_from(Uid(1), 100).unwrap();
            let read = |row| anna(&store).message(row).unwrap().read_all().unwrap();
            let bodies: Vec<_> = rows.iter().map(read).collect();
            let state = (view.uid_validity(), view.uid_next(), view.highest_modseq());
            seen.push((entry.name.clone(), state, rows, bodies));
        }
        store.close();
        seen
    };
    let expected = seen(&whole);
    let state = whole.join("volumes/main/state");
    for (bytes, loses) in [(64 << 20, false), (1, false), (1, true)] {
        if loses {
            std::fs::remove_dir_all(&state).unwrap();
        }
        let mut options = options(&whole);
        options.replay_checkpoint_bytes = bytes;
        let report = Store::rebuild(&whole, options, &mut |_, _| {}).unwrap();
        assert_eq!((report.message_count, report.account_count), (4, 1), "{report:?}");
        assert_eq!(report.compared, !loses, "{report:?}");
        assert_eq!(report.differences, [] as [String; 0]);
        assert!(!whole.join("volumes/main/state.old").exists());
        assert!(seen(&whole) == expected, "checkpoints at {bytes}, state lost: {loses}");
        assert_eq!(check(&whole).problems, []);
    }
    // A damaged log is refused, and nothing is changed.
    let (file, at) = group_of(&whole, 2);
    flip(&file, at + 40);
    let refused = Store::rebuild(&whole, options(&whole), &mut |_, _| {}).unwrap_err();
    assert!(refused.to_string().contains("nothing was changed"), "{refused}");
    assert!(state.exists() && !whole.join("volumes/main/state.old").exists());
}

/// Copies a data directory with its key file.
fn copy(from: &Path, to: &Path) {
    copy_folder(from, to);
    std::fs::copy(from.with_extension("key"), to.with_extension("key")).unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy_folder(&entry.path(), &target),
            kind if kind.is_file() => drop(std::fs::copy(entry.path(), target).unwrap()),
            _ => {}
        }
    }
}
