//! The worker: opens a store, does what its standard input says, and answers.

use std::fmt::Write as _;
use std::io::{BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ledger::{Seen, Shelf, words};
use crate::disk::{Disk, IoChoice, PlainDisk, system_disk};
use crate::error::OpenError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{Uid, UnixSeconds};
use crate::seal::{Argon2Cost, Secret};
use crate::search::{Needle, Scope, Verdict};
use crate::state::IndexBounds;
use crate::store::{
    Account, DeliverTo, IndexDrive, InitOptions, KeySource, Mailbox, NewAccount, NewMessage,
    OpenOptions, Store, Surroundings,
};
use crate::uid_set::UidSet;

/// The test that is the worker, as this binary knows it.
pub(super) const NAME: &str = "store::kill_tests::worker::works_where_it_is_told_to";
/// Where it works.
pub(super) const FOLDER: &str = "PILLARBOX_KILL_WORKER";
/// Its log is written by io_uring.
pub(super) const OVER_URING: &str = "PILLARBOX_KILL_WORKER_URING";
pub(super) const USERS: [&str; 2] = ["anna@example.org", "bert@example.org"];
/// Comes and goes.
pub(super) const GUEST: &str = "guest@example.org";

const SEGMENT_BYTES: u64 = 256 << 10;
/// Longer messages enter ahead of their record.
const INLINE_BYTES: usize = 20_000;

/// Changes of flags in a churn: an odd number, so that the last ones stay.
const CHURN: u32 = 201;

/// Which one it is stands in its first line.
fn message(number: u64) -> Vec<u8> {
    let mut text = format!("Subject: {number}\r\n\r\n").into_bytes();
    let length = match number % 16 {
        0 => 60_000,
        1..=4 => 12_000,
        _ => 600,
    };
    let mut noise = vec![0; length];
    let key = blake3::hash(&number.to_le_bytes());
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut noise);
    text.extend(noise);
    text
}

fn number_of(text: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\r').next()?;
    let number = std::str::from_utf8(line).ok()?.strip_prefix("Subject: ")?.parse().ok()?;
    (message(number) == text).then_some(number)
}

fn open(disk: Arc<dyn Disk>, data: &Path, reclaim_rate: u64) -> Result<Store, OpenError> {
    let mut surroundings = Surroundings::system(disk, SEGMENT_BYTES);
    surroundings.inline_message_bytes_max = INLINE_BYTES;
    surroundings.image_bytes_min = 2 << 10;
    surroundings.spare_part = 1;
    let mut options = OpenOptions::new(KeySource::KeyFile(key_of(data)));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.scrub_bytes_per_second = 0;
    options.reclaim_bytes_per_second = reclaim_rate;
    // Small, so that splits are written, merged and removed all the time.
    options.index_bounds = IndexBounds {
        tail_messages: 2,
        tail_bytes: 1 << 20,
        split_messages: 40,
        merged_splits: 2,
        builder_bytes: 64 << 10,
    };
    // Who only looks does it when nothing else happens.
    options.index_drive = if reclaim_rate == 0 { IndexDrive::Caller } else { IndexDrive::Thread };
    Ok(Store::open_in(&surroundings, data, options)?.0)
}

/// The key lies beside all copies of a store.
fn key_of(data: &Path) -> PathBuf {
    let folders = data.ancestors().find(|folder| folder.join("key").exists());
    folders.unwrap_or(data.parent().expect("it lies in a folder")).join("key")
}

/// A new store, closed, in that folder.
pub(super) fn make(folder: &Path) -> Seen {
    let data = folder.join("data");
    Store::init(&data, &InitOptions { key: KeySource::KeyFile(key_of(&data)) }).unwrap();
    let store = open(Arc::new(PlainDisk), &data, 0).unwrap();
    store.add_domain("example.org").unwrap();
    USERS.iter().for_each(|name| enlist(&store, name));
    let seen = seen(&store).unwrap();
    store.close();
    seen
}

fn enlist(store: &Store, name: &str) {
    let (name, password) = (name.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
}

/// All that a store shows.
fn seen(store: &Store) -> Result<Seen, String> {
    let mut seen = Seen::new();
    for entry in store.accounts().map_err(|error| error.to_string())? {
        let account = account(store, &entry.name);
        for listed in &account.listing().unwrap().mailboxes {
            let mailbox = account.mailbox(&listed.name).unwrap().expect("it is listed");
            let view = mailbox.view().unwrap().expect("it is there");
            let mut shelf = shelf(&mailbox);
            for row in view.rows_from(Uid(1), usize::MAX).map_err(|error| error.to_string())? {
                let about = format!("{} {} UID {}", entry.name, listed.name, row.uid.0);
                let text = account.message(&row).and_then(|mut reader| reader.read_all());
                let text = text.map_err(|error| format!("{about}: {error}"))?;
                let number = number_of(&text).ok_or(format!("{about} has other bytes"))?;
                shelf.messages.insert(row.uid.0, (number, row.flags.0));
            }
            seen.insert((entry.name.clone(), listed.name.clone()), shelf);
        }
    }
    Ok(seen)
}

/// A mailbox without its messages.
fn shelf(mailbox: &Mailbox) -> Shelf {
    let view = mailbox.view().unwrap().expect("it is there");
    Shelf {
        uid_validity: view.uid_validity().0,
        uid_next: view.uid_next().expect("there are UIDs left").0,
        highest_modseq: view.highest_modseq().bits(),
        messages: std::collections::BTreeMap::new(),
    }
}

fn account(store: &Store, name: &str) -> Account {
    store.account(name).unwrap().expect("the account is there")
}

fn mailbox(store: &Store, name: &str, mailbox: &str) -> Mailbox {
    account(store, name).mailbox(mailbox).unwrap().expect("the mailbox is there")
}

/// Opens a store and answers what it shows, if nothing is wrong with it and it takes mail.
pub(super) fn look(data: &Path) -> Result<Seen, String> {
    let store = open(Arc::new(PlainDisk), data, 0);
    let store = store.map_err(|error| format!("it does not open: {error}"))?;
    let seen = examine(&store);
    store.close();
    match store.status().stopped {
        Some(why) if seen.is_ok() => Err(why),
        _ => seen,
    }
}

fn examine(store: &Store) -> Result<Seen, String> {
    let seen = seen(store)?;
    let report = store.check(&mut |_| {}).map_err(|error| error.to_string())?;
    if !report.problems.is_empty() {
        return Err(format!("check finds {:?}", report.problems));
    }
    ask_index(store)?;
    while store.index_step() {}
    ask_index(store)?;
    store.compare_index_files();
    let uid = append(store, USERS[0], "INBOX", 5, 0);
    let shelf = &seen[&(USERS[0].to_owned(), "INBOX".to_owned())];
    if uid < shelf.uid_next || shelf.messages.contains_key(&uid) {
        return Err(format!("a new message has UID {uid} after {}", shelf.uid_next));
    }
    Ok(seen)
}

/// What the index says of messages is what is in their first lines.
fn ask_index(store: &Store) -> Result<(), String> {
    for entry in store.accounts().unwrap() {
        let account = account(store, &entry.name);
        for sought in ["1", "7", "23", "subject"] {
            let scope = Scope::Header("subject".into());
            let needle = Needle { text: sought.to_owned(), scope, reads_addresses: false };
            let answer = account.find_text(&needle).map_err(|error| error.to_string())?;
            for listed in &account.listing().unwrap().mailboxes {
                let view = mailbox(store, &entry.name, &listed.name).view().unwrap();
                for row in view.expect("it is there").rows_from(Uid(1), usize::MAX).unwrap() {
                    let text = account.message(&row).unwrap().read_all().unwrap();
                    let number = number_of(&text).expect("it was looked at before").to_string();
                    let verdict = answer.verdict(row.blob);
                    if verdict != Verdict::Ask
                        && (verdict == Verdict::Contains) != number.contains(sought)
                    {
                        return Err(format!("{sought:?} in message {number}: {verdict:?}"));
                    }
                }
            }
        }
    }
    Ok(())
}

fn append(store: &Store, name: &str, to: &str, number: u64, flags: u8) -> u32 {
    let prepared = store.prepare(&message(number), &[account(store, name).number()]).unwrap();
    let flags = FlagList { system: SystemFlags(flags), keywords: Vec::new() };
    let new = NewMessage { prepared, flags, received: UnixSeconds(7) };
    mailbox(store, name, to).append(vec![new]).wait().unwrap().uids[0].0
}

fn deliver(store: &Store, number: u64) -> Vec<u32> {
    let accounts = USERS.map(|name| account(store, name).number());
    let prepared = store.prepare(&message(number), &accounts).unwrap();
    let to = |account| DeliverTo { account, mailbox: "INBOX".into(), flags: FlagList::default() };
    let recipients = accounts.map(to).to_vec();
    let answers = store.deliver(prepared, UnixSeconds(7), recipients).wait();
    answers.into_iter().map(|answer| answer.unwrap().uids[0].0).collect()
}

/// Many records of a message that has no other flags than before or than those in the end.
fn churn(mailbox: &Mailbox, uid: &str, flags: &str) {
    let uid = Uid(uid.parse().unwrap());
    let uids: UidSet = [uid].into_iter().collect();
    let row = mailbox.view().unwrap().expect("it is there").row(uid).unwrap();
    let before = row.expect("the message is there").flags;
    let list = |system| FlagList { system, keywords: Vec::new() };
    let after = list(SystemFlags(flags.parse().unwrap()));
    let before = list(before);
    let turns = (0..CHURN).map(|turn| if turn % 2 == 0 { &after } else { &before });
    let tickets = turns.map(|flags| mailbox.store_flags(&uids, FlagChange::Replace, flags, None));
    let tickets: Vec<_> = tickets.collect();
    tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
}

/// Does what an order says; answers UIDs.
fn work(store: &Store, order: &[&str]) -> Vec<u32> {
    let set = |uid: &str| -> UidSet { [Uid(uid.parse().unwrap())].into_iter().collect() };
    match order {
        ["append", name, to, number, flags] => {
            let (number, flags) = (number.parse().unwrap(), flags.parse().unwrap());
            return vec![append(store, name, to, number, flags)];
        }
        ["deliver", number] => return deliver(store, number.parse().unwrap()),
        ["flags", name, of, uid, flags] => {
            let system = SystemFlags(flags.parse().unwrap());
            let flags = FlagList { system, keywords: Vec::new() };
            let mailbox = mailbox(store, name, of);
            mailbox.store_flags(&set(uid), FlagChange::Replace, &flags, None).wait().unwrap();
        }
        ["churn", name, of, uid, flags] => churn(&mailbox(store, name, of), uid, flags),
        ["expunge", name, of] => {
            let all = UidSet::from_ranges([(1, u32::MAX)]);
            mailbox(store, name, of).expunge(&all).wait().unwrap();
        }
        [verb @ ("copy" | "move"), name, of, uid, to] => {
            let (from, to) = (mailbox(store, name, of), mailbox(store, name, to));
            let ticket = match *verb {
                "copy" => from.copy(&set(uid), &to),
                _ => from.move_to(&set(uid), &to),
            };
            let copied = ticket.wait().unwrap();
            return copied.destination.iter().map(|uid| uid.0).collect();
        }
        ["create", name, of] => {
            account(store, name).create_mailbox(of, None).wait().unwrap();
        }
        ["delete", name, of] => account(store, name).delete_mailbox(of).wait().unwrap(),
        ["rename", name, from, to] => {
            account(store, name).rename_mailbox(from, to).wait().unwrap();
        }
        ["enlist"] => enlist(store, GUEST),
        ["dismiss"] => store.delete_account(account(store, GUEST).number()).unwrap(),
        ["checkpoint"] => assert!(store.checkpoint()),
        ["reclaim"] => {
            assert!(store.checkpoint());
            store.wait_for_reclaim();
        }
        ["index"] => {
            while store.index_status().behind_count > 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        _ => assert_eq!(order, ["close"]),
    }
    Vec::new()
}

/// One line a mailbox, and what was reclaimed since the answer before.
fn figures(store: &Store, before: &mut (u64, u64)) -> String {
    let mut answer = String::new();
    for entry in store.accounts().unwrap() {
        let account = account(store, &entry.name);
        for listed in &account.listing().unwrap().mailboxes {
            let shelf = shelf(&account.mailbox(&listed.name).unwrap().expect("it is listed"));
            let Shelf { uid_validity, uid_next, highest_modseq, .. } = shelf;
            let (name, mailbox) = (&entry.name, &listed.name);
            let figures = format!("{uid_validity} {uid_next} {highest_modseq}");
            writeln!(answer, "@box {name} {mailbox} {figures}").unwrap();
        }
    }
    let status = store.status();
    let now = (status.reclaimed_segments, status.image_rounds);
    writeln!(answer, "@reclaimed {} {}", now.0 - before.0, now.1 - before.1).unwrap();
    *before = now;
    answer
}

#[test]
fn works_where_it_is_told_to() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let disk: Arc<dyn Disk> = match std::env::var_os(OVER_URING) {
        None => Arc::new(PlainDisk),
        Some(_) => system_disk(IoChoice::Uring, folder).unwrap().0,
    };
    let store = open(disk, &folder.join("data"), u64::MAX / 2_000_000).unwrap();
    // One write each, so that a kill leaves all of an answer or nothing.
    let say = |answer: &str| std::io::stdout().write_all(answer.as_bytes()).unwrap();
    say("\n@done\n");
    let mut reclaimed = (0, 0);
    for order in std::io::stdin().lock().lines() {
        let order = order.unwrap();
        let order = words(&order);
        let uids = work(&store, &order);
        let mut answer = figures(&store, &mut reclaimed);
        if order == ["close"] {
            store.close();
        }
        let uids: Vec<String> = uids.iter().map(u32::to_string).collect();
        writeln!(answer, "@done {}", uids.join(" ")).unwrap();
        say(&answer);
    }
}
