//! Damage that is given up, and the power cut during every call of the disk while it is.

use std::collections::BTreeMap;

use super::world::World;
use crate::error::OpenError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{Uid, UnixSeconds};
use crate::seal::Secret;
use crate::state::{Table, TableBatch, TableStore as _};
use crate::store::{Consent, NewAccount, NewMessage, Store};

const NAME: &str = "anna@example.org";
/// Messages of the store that is damaged.
const COUNT: u32 = 8;

fn text(number: u32) -> Vec<u8> {
    let mut text = format!("Subject: mail {number}\r\n\r\n").into_bytes();
    let mut noise = vec![0; 900];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
    text.extend(noise);
    text
}

fn append(store: &Store, number: u32) -> Uid {
    append_text(store, number, &text(number))
}

fn append_text(store: &Store, number: u32, text: &[u8]) -> Uid {
    let account = store.account(NAME).unwrap().unwrap();
    let prepared = store.prepare(text, &[account.number()]).unwrap();
    let new = NewMessage {
        prepared,
        flags: FlagList { system: SystemFlags::SEEN, keywords: Vec::new() },
        received: UnixSeconds(1000 + i64::from(number)),
    };
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    inbox.append(vec![new]).wait().unwrap().uids[0]
}

/// A message with an attachment that all of them have.
fn text_with_part(number: u32) -> Vec<u8> {
    let mut part = vec![0; 20_007];
    blake3::Hasher::new().update(b"attachment").finalize_xof().fill(&mut part);
    let mut text = text(number);
    text.extend(b"\r\n\r\n");
    for line in part.chunks(57) {
        text.extend(crate::seal::base64_for_tests(line));
        text.extend(b"\r\n");
    }
    text
}

/// A world that was killed: messages 1 to 3 are in state, 4 to 8 in the log alone.
fn world() -> World {
    let world = World::new(1).with_reserve(0);
    let (store, _) = world.open().unwrap();
    store.add_domain("example.org").unwrap();
    let password = Secret::new("secret".into());
    let new = NewAccount { name: NAME.into(), password, quota_bytes: None };
    store.create_account(new).unwrap();
    for number in 1..=3 {
        append(&store, number);
    }
    store.checkpoint();
    for number in 4..=COUNT {
        append(&store, number);
    }
    // What was durable is known from this one.
    store.steps().commit();
    world.after_kill()
}

/// Each mailbox with its messages by UID.
fn content(store: &Store) -> BTreeMap<String, BTreeMap<u32, Vec<u8>>> {
    let account = store.account(NAME).unwrap().unwrap();
    let mut content = BTreeMap::new();
    for entry in &account.listing().unwrap().mailboxes {
        let view = account.mailbox(&entry.name).unwrap().unwrap().view().unwrap().unwrap();
        let rows = view.rows_from(Uid(1), 1000).unwrap();
        let read = |row| (row, account.message(row).unwrap().read_all().unwrap());
        let messages = rows.iter().map(read).map(|(row, text)| (row.uid.0, text));
        content.insert(entry.name.clone(), messages.collect());
    }
    content
}

/// All that is expected of a store of which the group of message `lost` was given up.
fn assert_given_up(world: &World, lost: u32, is_readable: bool) {
    let (store, _) = world.open().unwrap();
    let status = store.status();
    assert_eq!(status.stopped, None);
    assert!(status.epoch >= 3, "a new epoch of the same parity: {}", status.epoch);
    let content = content(&store);
    let others = (1..=COUNT).filter(|number| *number != lost);
    let expected: BTreeMap<u32, Vec<u8>> = others.map(|number| (number, text(number))).collect();
    assert_eq!(content["INBOX"], expected, "under the UIDs that they had, and nothing twice");
    let recovered: Vec<_> = content.get("Recovered").into_iter().flatten().collect();
    let texts: Vec<_> = recovered.iter().map(|(_, text)| (*text).clone()).collect();
    assert_eq!(texts, if is_readable { vec![text(lost)] } else { Vec::new() });
    let report = store.check(&mut |_| {}).unwrap();
    assert_eq!(report.problems, []);
    let uid = append(&store, 99);
    assert!(uid.0 > COUNT + 65_536, "no UID that was lost is given again: {uid}");
    let account = store.account(NAME).unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let view = inbox.view().unwrap().unwrap();
    assert!(view.highest_modseq().epoch() >= 3);
    // A client that saw what was lost is told that everything may be different.
    let known = view.row(Uid(COUNT)).unwrap().unwrap().modseq;
    let flags = FlagList { system: SystemFlags::FLAGGED, keywords: Vec::new() };
    let uids = [Uid(COUNT)].into_iter().collect();
    let stored = inbox.store_flags(&uids, FlagChange::Add, &flags, Some(known)).wait().unwrap();
    assert!(stored.changed.is_empty(), "the client's MODSEQ is of no history");
    let since = Some(view.highest_modseq());
    let stored = inbox.store_flags(&uids, FlagChange::Add, &flags, since).wait().unwrap();
    assert!(!stored.changed.is_empty(), "one that was told since is");
    store.close();
}

/// Offsets of the groups that lie in the last segment, with the message that each brings.
fn groups(world: &World) -> (std::path::PathBuf, Vec<u64>) {
    let path = world.segments().last().unwrap().clone();
    let length = world.disk.length(&path);
    let starts = (8192..length).step_by(4096);
    let is_group = |at: &u64| {
        let bytes = world.disk.bytes(&path, *at..*at + 16).to_vec();
        let items = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        bytes.starts_with(b"PBXg") && items > 900
    };
    let found = starts.filter(is_group).collect();
    (path, found)
}

#[test]
fn damage_above_state_is_given_up_and_only_what_lay_there_is_lost() {
    let world = world();
    let (path, groups) = groups(&world);
    assert!(groups.len() >= 8, "{groups:?}");
    // A group for each message, the last eight.
    let of = |number: u32| groups[groups.len() - usize::try_from(COUNT - number).unwrap() - 1];
    // A byte of the group's header, one of a chunk's header, one that its hash covers.
    for (number, byte, changes_lost) in [(5, 60, true), (4, 140, true), (6, 300, false)] {
        let damaged = world.after_kill();
        damaged.disk.flip_bit(&path, of(number) + byte, 2);
        let (store, _) = damaged.open().unwrap();
        assert!(store.status().stopped.is_some(), "it is open for reading alone");
        drop(store);
        let before = damaged.disk.writes();
        let asked = damaged.give_up(Consent::Asked).unwrap();
        assert!(asked.changes_lost == changes_lost && !asked.is_done, "{asked:?}");
        let words = if changes_lost { "positions" } else { "INBOX UID 6: this message is lost" };
        assert!(asked.lost[0].contains(words), "{asked:?}");
        assert_eq!(damaged.disk.writes(), before, "asking writes nothing");
        let given = damaged.give_up(Consent::Given).unwrap();
        assert!(given.is_done, "{given:?}");
        if changes_lost {
            assert_given_up(&damaged, number, given.recovered_count == 1);
        } else {
            assert_replaced(&damaged, number);
        }
        let again = damaged.give_up(Consent::Given).unwrap();
        assert!(again.is_empty() && !again.is_done, "{again:?}");
    }
}

/// All that is expected where the bytes of one message alone were given up.
fn assert_replaced(world: &World, lost: u32) {
    let (store, _) = world.open().unwrap();
    assert_eq!((store.status().stopped, store.status().epoch), (None, 1));
    let mut inbox = content(&store).remove("INBOX").unwrap();
    let notice = String::from_utf8(inbox.remove(&(COUNT + 1)).unwrap()).unwrap();
    assert!(notice.contains(&format!("INBOX (UID {lost})")), "{notice}");
    let others = (1..=COUNT).filter(|number| *number != lost);
    assert_eq!(inbox, others.map(|number| (number, text(number))).collect());
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
    store.close();
}

#[test]
fn wherever_giving_up_is_interrupted_doing_it_again_finishes_it() {
    let world = world();
    let (path, groups) = groups(&world);
    let at = groups[groups.len() - 4];
    let damaged = || {
        let damaged = world.after_kill();
        damaged.disk.flip_bit(&path, at + 60, 2);
        damaged
    };
    for call in 1.. {
        let cut = damaged();
        cut.disk.cut_power_at_call(cut.disk.calls() + call);
        if cut.give_up(Consent::Given).is_ok() {
            assert!(call > 30, "there are calls enough to be worth it: {call}");
            break;
        }
        for image in cut.after_power_loss(2) {
            // Until it is finished, nothing else writes.
            match image.open() {
                Ok((store, _)) => {
                    let is_read_only = store.status().stopped.is_some();
                    assert!(is_read_only || store.status().epoch >= 3, "cut at call {call}");
                    drop(store);
                }
                Err(OpenError::Invalid(why)) => assert!(why.contains("--give-up"), "{why}"),
                Err(error) => panic!("cut at call {call}: {error}"),
            }
            image.give_up(Consent::Given).unwrap_or_else(|why| panic!("cut at {call}: {why}"));
            assert_given_up(&image, COUNT - 3, true);
        }
    }
}

#[test]
fn a_flipped_bit_in_a_value_of_state_is_found_and_the_log_brings_all_back() {
    let world = world();
    let (store, _) = world.open().unwrap();
    let account = store.account(NAME).unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let uids = [Uid(2)].into_iter().collect();
    let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
    inbox.store_flags(&uids, FlagChange::Add, &deleted, None).wait().unwrap();
    inbox.expunge(&uids).wait().unwrap();
    let expected = content(&store);
    store.close();
    drop((store, account, inbox));
    let mut tried = Vec::new();
    for table in Table::ALL {
        let mut rows = Vec::new();
        let mut keep = |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(true)
        };
        world.tables.scan_prefix(table, &[], &mut keep).unwrap();
        for (key, mut value) in rows.into_iter().filter(|(_, value)| !value.is_empty()).take(8) {
            let damaged = world.after_kill();
            let middle = value.len() / 2;
            value[middle] ^= 4;
            let mut batch = TableBatch::new();
            batch.put(table, &key, value);
            damaged.tables.write(batch).unwrap();
            damaged.tables.flush().unwrap();
            let is_found = damaged.open().map_or(true, |(store, _)| {
                store.check(&mut |_| {}).map_or(true, |report| report.problem_count > 0)
            });
            assert!(is_found, "table {}, key {key:?}", table.name());
            let (rebuilt, _) = damaged.after_kill().without_tables().open().unwrap();
            assert_eq!(content(&rebuilt), expected, "table {}", table.name());
            assert_eq!(rebuilt.check(&mut |_| {}).unwrap().problems, []);
            tried.push(table.name());
        }
    }
    tried.dedup();
    assert!(tried.len() >= 8, "{tried:?}");
}

/// A world that was killed with three messages of one attachment above state, of which the first
/// brings it, with the log's last segment and where in it they begin. With few `inline_bytes`, all
/// that the first brings is ahead of its record.
fn world_with_parts(inline_bytes: usize) -> (World, std::path::PathBuf, u64) {
    let world = World::new(2).with_reserve(0).with_inline_bytes(inline_bytes);
    let (store, _) = world.open().unwrap();
    store.add_domain("example.org").unwrap();
    let password = Secret::new("secret".into());
    let new = NewAccount { name: NAME.into(), password, quota_bytes: None };
    store.create_account(new).unwrap();
    store.checkpoint();
    let path = world.segments().last().unwrap().clone();
    let begin = groups(&world).1.last().map_or(8192, |at| at + 4096);
    for number in 1..=3 {
        append_text(&store, number, &text_with_part(number));
    }
    store.steps().commit();
    (world.after_kill(), path, begin)
}

/// What of the three there is after all, by mailbox, once nothing is wrong any more.
fn given_up_with_parts(damaged: &World, lost: &[String]) -> [Vec<u32>; 2] {
    let (store, _) = damaged.open().unwrap();
    assert_eq!(store.status().stopped, None, "{lost:?}");
    let content = content(&store);
    let there = ["INBOX", "Recovered"].map(|mailbox| {
        let mut found = Vec::new();
        for text in content.get(mailbox).into_iter().flat_map(BTreeMap::values) {
            let number = (1..=3).find(|number| *text == text_with_part(*number));
            assert!(number.is_some() || text.starts_with(b"From: Mail store"), "{lost:?}");
            found.extend(number);
        }
        found.sort_unstable();
        found
    });
    // With what is new nothing dead is shared.
    append_text(&store, 9, &text_with_part(9));
    for _ in 0..3 {
        assert!(store.checkpoint());
        assert_eq!(store.check(&mut |_| {}).unwrap().problems, [], "{lost:?}");
    }
    store.close();
    there
}

#[test]
fn messages_come_back_with_their_parts_or_are_named() {
    for inline_bytes in [1 << 20, 6 << 10] {
        let (world, path, begin) = world_with_parts(inline_bytes);
        let end = world.disk.length(&path);
        let (mut without, mut back) = (0, 0);
        for (at, more) in (begin..end).step_by(4096).flat_map(|at| [(at, 60), (at, 3000)]) {
            let damaged = world.after_kill();
            damaged.disk.flip_bit(&path, at + more, 2);
            let given = damaged.give_up(Consent::Given).unwrap();
            let [inbox, recovered] = given_up_with_parts(&damaged, &given.lost);
            let count = inbox.len() + recovered.len();
            let named = given.lost.iter().filter(|line| line.contains("this message is lost"));
            let unnamed = given.lost.iter().filter(|line| line.contains("does not come back"));
            let is_told = count + named.count() + unnamed.count() >= 3 || given.changes_lost;
            assert!(is_told, "{at} {more}: {inbox:?} {recovered:?} {given:?}");
            without += 3 - count;
            back += given.recovered_count;
        }
        assert!(without > 0 && back > 0);
    }
}

#[test]
fn a_part_is_found_in_another_message_of_which_the_group_is_lost_too() {
    let (world, path, begin) = world_with_parts(1 << 20);
    let starts = groups(&world).1;
    let damaged = world.after_kill();
    for at in starts.iter().filter(|at| **at >= begin) {
        damaged.disk.flip_bit(&path, at + 60, 2);
    }
    let given = damaged.give_up(Consent::Given).unwrap();
    let expected = [Vec::new(), vec![1, 2, 3]];
    assert_eq!(given_up_with_parts(&damaged, &given.lost), expected, "{given:?}");
}
