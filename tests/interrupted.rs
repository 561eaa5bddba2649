//! `check --rebuild`, `--repair` and `--give-up` killed in a system call, and run again: the second
//! run finishes, its result is that of an undisturbed one, and in between nothing is worse than it
//! was.
//!
//! The real binary under strace (`support/traced.rs`). `PILLARBOX_KILL_POINTS` says in how many
//! calls each is killed, spread over all that change the store.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use engine::disk::OpenMode;
use engine::flags::{FlagChange, FlagList, SystemFlags};
use engine::ids::{Uid, UnixSeconds};
use engine::seal::{Argon2Cost, Secret};
use engine::uid_set::UidSet;
use engine::{Account, InitOptions, KeySource, NewAccount, NewMessage, OpenOptions, Store};

use crate::support::site::{files_below, text_of};
use crate::support::tool::{self, Ended};
use crate::support::traced::{self, Point};

const NAME: &str = "anna@example.org";
const MESSAGE_BYTES: usize = 20_000;
/// Points of a command, unless the environment says otherwise.
const POINTS: usize = 10;
const DEADLINE: Duration = Duration::from_secs(120);

/// What a mailbox shows: by UID, flags and text; `None`: it cannot be read.
type Shelf = BTreeMap<u32, (u8, Option<Vec<u8>>)>;
type Content = BTreeMap<String, Shelf>;

/// A command that mends a store, and what for.
struct Mending<'a> {
    /// The damaged store, which stays so.
    damaged: PathBuf,
    arguments: Vec<&'a str>,
    /// Whether what comes back lies at the same UIDs however often the command was run.
    keeps_uids: bool,
}

/// A new folder, and its path.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn options(data: &Path, mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new(KeySource::KeyFile(data.with_extension("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.reclaim_bytes_per_second = 0;
    options.scrub_bytes_per_second = 0;
    options.mode = mode;
    options
}

fn open(data: &Path) -> Store {
    Store::open(data, options(data, OpenMode::ReadWrite)).unwrap().0
}

fn anna(store: &Store) -> Account {
    store.account(NAME).unwrap().unwrap()
}

fn noise(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn append(store: &Store, mailbox: &str, seed: u8) {
    let prepared = store.prepare(&noise(seed), &[anna(store).number()]).unwrap();
    let new = NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(1_000) };
    let mailbox = anna(store).mailbox(mailbox).unwrap().unwrap();
    mailbox.append(vec![new]).wait().unwrap();
}

fn flag(store: &Store, uid: u32, system: SystemFlags) {
    let uids: UidSet = [Uid(uid)].into_iter().collect();
    let mailbox = anna(store).mailbox("INBOX").unwrap().unwrap();
    let flags = FlagList { system, keywords: Vec::new() };
    mailbox.store_flags(&uids, FlagChange::Add, &flags, None).wait().unwrap();
}

fn expunge(store: &Store, uid: u32) {
    flag(store, uid, SystemFlags::DELETED);
    let inbox = anna(store).mailbox("INBOX").unwrap().unwrap();
    inbox.expunge(&[Uid(uid)].into_iter().collect()).wait().unwrap();
}

/// A closed store of three segments: messages 1 to 7, of which 3 was expunged and 6 and 7 lie in a
/// mailbox that changed its name.
fn whole_store(folder: &Path) -> PathBuf {
    let data = folder.join("whole");
    let key = KeySource::KeyFile(data.with_extension("key"));
    Store::init(&data, &InitOptions { key }).unwrap();
    let store = open(&data);
    store.add_domain("example.org").unwrap();
    let password = Secret::new("demo".into());
    store.create_account(NewAccount { name: NAME.into(), password, quota_bytes: None }).unwrap();
    (1..=3).for_each(|seed| append(&store, "INBOX", seed));
    store.close();
    drop(store);
    let store = open(&data);
    flag(&store, 1, SystemFlags::SEEN);
    expunge(&store, 3);
    (4..=5).for_each(|seed| append(&store, "INBOX", seed));
    anna(&store).create_mailbox("Old", None).wait().unwrap();
    store.close();
    drop(store);
    let store = open(&data);
    (6..=7).for_each(|seed| append(&store, "Old", seed));
    anna(&store).rename_mailbox("Old", "New").wait().unwrap();
    store.close();
    data
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from).unwrap() {
        let target = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file, target).unwrap();
    }
    std::fs::copy(from.with_extension("key"), to.with_extension("key")).unwrap();
}

fn state(data: &Path) -> PathBuf {
    data.join("volumes/main/state")
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let mut files = files_below(&data.join("volumes/main/log")).unwrap();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "segment"));
    files
}

fn flip(file: &Path, offset: usize) {
    let mut content = std::fs::read(file).unwrap();
    content[offset] ^= 0x10;
    std::fs::write(file, content).unwrap();
}

/// Flips a bit of the n-th group that brings a message, so many bytes from its begin.
fn flip_group(data: &Path, number: usize, offset: usize) {
    let mut found = 0;
    for file in segments(data) {
        let content = std::fs::read(&file).unwrap();
        for at in (8192..content.len()).step_by(4096) {
            let is_group = content[at..].starts_with(b"PBXg");
            let length = content.get(at + 8..at + 12).map(|bytes| bytes.try_into().unwrap());
            let length = length.map_or(0, u32::from_le_bytes);
            if is_group && length > 15_000 {
                found += 1;
                if found == number {
                    return flip(&file, at + offset);
                }
            }
        }
    }
    panic!("there are {found} groups with a message");
}

/// What a store shows that is opened for reading.
fn content(data: &Path) -> Content {
    let (store, _) = Store::open(data, options(data, OpenMode::Read)).unwrap();
    let mut content = Content::new();
    let Some(account) = store.account(NAME).unwrap() else { return content };
    for entry in &account.listing().unwrap().mailboxes {
        let mailbox = account.mailbox(&entry.name).unwrap().unwrap();
        let view = mailbox.view().unwrap().unwrap();
        let rows = view.rows_from(Uid(1), usize::MAX).unwrap();
        let text = |row| account.message(row).and_then(|mut reader| reader.read_all()).ok();
        let shelf = rows.iter().map(|row| (row.uid.0, (row.flags.0, text(row)))).collect();
        content.insert(entry.name.clone(), shelf);
    }
    content
}

/// Whether everything that can be read in `before` can be read in `now`, where it was.
fn assert_not_worse(before: &Content, now: &Content, about: &str) {
    for (mailbox, shelf) in before {
        let there = now.get(mailbox).unwrap_or_else(|| panic!("{about}: {mailbox} is gone"));
        for (uid, (_, text)) in shelf.iter().filter(|(_, (_, text))| text.is_some()) {
            let found = there.get(uid).map(|(_, text)| text);
            assert!(found == Some(text), "{about}: {mailbox} UID {uid} could be read before");
        }
    }
}

/// A content without the UIDs of what is not in `known`.
fn without_new_uids(content: &Content, known: &Content) -> BTreeMap<String, Vec<(u32, Vec<u8>)>> {
    let of_shelf = |(mailbox, shelf): (&String, &Shelf)| {
        let is_known = |uid: &u32| known.get(mailbox).is_some_and(|shelf| shelf.contains_key(uid));
        let uid = |uid: &u32| if is_known(uid) { *uid } else { 0 };
        let texts = shelf.iter().map(|(at, (_, text))| (uid(at), text.clone().unwrap_or_default()));
        let mut texts: Vec<(u32, Vec<u8>)> = texts.collect();
        texts.sort();
        (mailbox.clone(), texts)
    };
    content.iter().map(of_shelf).collect()
}

fn run(mut command: Command, arguments: &[&str], data: &Path) -> Ended {
    command.args(arguments).arg("--data").arg(data);
    command.arg("--key-file").arg(data.with_extension("key"));
    tool::run(&mut command, b"", DEADLINE)
}

fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_pillarbox")
}

/// Some of these points.
fn chosen(points: Vec<Point>) -> Vec<Point> {
    let wanted = match std::env::var("PILLARBOX_KILL_POINTS").as_deref() {
        Ok(number) => number.parse().unwrap(),
        Err(_) => POINTS,
    };
    let step = points.len().div_ceil(wanted).max(1);
    // Each run of the test begins elsewhere.
    let first = std::process::id() as usize % step;
    points.into_iter().skip(first).step_by(step).collect()
}

/// `folder` has no symbolic links, as strace shows paths.
fn attack(name: &str, folder: &Path, mending: &Mending<'_>) {
    if let Some(why) = traced::refusal() {
        tool::skipped(name, &why);
        return;
    }
    let Mending { damaged, arguments, keeps_uids } = mending;
    let log = folder.join("calls");
    let traced = |point: Option<&Point>| {
        let mut command = traced::command(&log, point);
        command.arg(binary());
        command
    };
    let before = content(damaged);
    let undisturbed = folder.join("undisturbed");
    copy(damaged, &undisturbed);
    let ended = run(traced(None), arguments, &undisturbed).well(name);
    let points = chosen(traced::points(&traced::calls(&log), &undisturbed));
    let expected = content(&undisturbed);
    let begun = Instant::now();
    let mut killed = 0;
    for point in &points {
        let about = format!("{name}, killed in {point:?}");
        let data = folder.join("data");
        copy(damaged, &data);
        let stopped = run(traced(Some(point)), arguments, &data);
        killed += usize::from(stopped.code.is_none());
        let in_between = folder.join("in-between");
        copy(&data, &in_between);
        assert_not_worse(&before, &content(&in_between), &about);
        let again = run(Command::new(binary()), arguments, &data);
        assert_eq!(again.code, ended.code, "{about}: {}", again.output());
        let found = content(&data);
        if *keeps_uids {
            assert!(found == expected, "{about}: another result\n{}", again.output());
        } else {
            let without = |content| without_new_uids(content, &before);
            assert!(without(&found) == without(&expected), "{about}: {}", again.output());
        }
        run(Command::new(binary()), &["check"], &data).well(&about);
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::remove_dir_all(&in_between).unwrap();
    }
    println!("{name}: {killed} of {} points killed it, {:.1?}", points.len(), begun.elapsed());
    assert!(killed * 2 > points.len(), "most points are reached");
}

#[test]
fn a_rebuild_of_a_lost_state_that_is_killed_is_finished_by_the_next() {
    let (_own, folder) = folder();
    let damaged = whole_store(&folder);
    std::fs::remove_dir_all(state(&damaged)).unwrap();
    let arguments = vec!["check", "--rebuild"];
    let mending = Mending { damaged, arguments, keeps_uids: true };
    attack("rebuild without state", &folder, &mending);
}

#[test]
fn a_rebuild_beside_the_old_state_that_is_killed_is_finished_by_the_next() {
    let (_own, folder) = folder();
    let damaged = whole_store(&folder);
    let arguments = vec!["check", "--rebuild"];
    let mending = Mending { damaged, arguments, keeps_uids: true };
    attack("rebuild", &folder, &mending);
}

#[test]
fn a_repair_from_a_copy_that_is_killed_is_finished_by_the_next() {
    let (_own, folder) = folder();
    let whole = whole_store(&folder);
    let damaged = folder.join("damaged");
    copy(&whole, &damaged);
    let files = segments(&damaged);
    flip(&files[0], 20);
    flip_group(&damaged, 2, 5000);
    flip_group(&damaged, 4, 40);
    flip(&damaged.join("volumes/main/keys/table.b"), 200);
    let length = std::fs::metadata(&files[1]).unwrap().len();
    flip(&files[1], length as usize - 10);
    let from = text_of(&whole);
    let arguments = vec!["check", "--repair", "--from", &from];
    let mending = Mending { damaged, arguments, keeps_uids: true };
    attack("repair from a copy", &folder, &mending);
}

#[test]
fn giving_up_a_message_that_is_killed_is_finished_by_the_next() {
    let (_own, folder) = folder();
    let damaged = whole_store(&folder);
    flip_group(&damaged, 2, 5000);
    flip_group(&damaged, 6, 5000);
    let arguments = vec!["check", "--repair", "--give-up"];
    let mending = Mending { damaged, arguments, keeps_uids: true };
    attack("giving up messages", &folder, &mending);
}

#[test]
fn giving_up_changes_that_is_killed_is_finished_by_the_next() {
    let (_own, folder) = folder();
    let damaged = whole_store(&folder);
    std::fs::remove_dir_all(state(&damaged)).unwrap();
    flip_group(&damaged, 2, 40);
    flip_group(&damaged, 4, 5000);
    let arguments = vec!["check", "--repair", "--give-up"];
    let mending = Mending { damaged, arguments, keeps_uids: false };
    attack("giving up changes", &folder, &mending);
}
