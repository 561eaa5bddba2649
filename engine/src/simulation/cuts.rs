//! One script of all that accounts do, and the power cut during every call of the disk.

use std::collections::BTreeMap;

use super::world::World;
use crate::commit::CheckpointStep;
use crate::error::CommitError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{Uid, UnixSeconds};
use crate::sabotage::{self, Sabotage};
use crate::seal::Secret;
use crate::store::{Account, Mailbox, NewAccount, NewMessage, Store};
use crate::uid_set::UidSet;

/// Worlds that one cut is followed by.
const IMAGES: usize = 4;

/// What mailboxes hold: by mailbox and UID, the message and whether it was seen.
type Content = BTreeMap<(String, u32), (Vec<u8>, bool)>;

fn content_of(store: &Store) -> Content {
    let mut content = Content::new();
    let Some(account) = store.account("anna@example.org").unwrap() else { return content };
    for entry in &account.listing().unwrap().mailboxes {
        let mailbox = account.mailbox(&entry.name).unwrap().expect("it is listed");
        let view = mailbox.view().unwrap().expect("it is there");
        for row in view.rows_from(Uid(1), 1000).unwrap() {
            let bytes = account.message(&row).unwrap().read_all().unwrap();
            let seen = row.flags.contains(SystemFlags::SEEN);
            content.insert((entry.name.clone(), row.uid.0), (bytes, seen));
        }
    }
    content
}

fn message(number: usize) -> Vec<u8> {
    let mut text = format!("Subject: mail {number}\r\n\r\n").into_bytes();
    let mut noise = vec![0; 300 * (number % 5)];
    let key = blake3::hash(&number.to_le_bytes());
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut noise);
    text.extend(noise);
    text
}

struct Script<'a> {
    store: &'a Store,
    account: Account,
    /// After each step that was acknowledged.
    states: Vec<Content>,
}

impl Script<'_> {
    fn mailbox(&self, name: &str) -> Mailbox {
        self.account.mailbox(name).unwrap().unwrap()
    }

    fn append(&self, name: &str, numbers: &[usize]) -> Result<(), CommitError> {
        let new = |&number: &usize| self.new_message(number);
        let messages = numbers.iter().map(new).collect::<Result<_, _>>()?;
        self.mailbox(name).append(messages).wait().map(drop)
    }

    fn new_message(&self, number: usize) -> Result<NewMessage, CommitError> {
        let prepared = self.store.prepare(&message(number), &[self.account.number()])?;
        Ok(NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(7) })
    }

    fn flag(&self, name: &str, uid: u32, flag: SystemFlags) -> Result<(), CommitError> {
        let flags = FlagList { system: flag, keywords: Vec::new() };
        let ticket = self.mailbox(name).store_flags(&uids(&[uid]), FlagChange::Add, &flags, None);
        ticket.wait().map(drop)
    }

    /// One step; the first that fails ends the script, and so does its end.
    fn step(&self, number: usize) -> Result<(), CommitError> {
        let inbox = self.mailbox("INBOX");
        match number {
            0 => self.append("INBOX", &[0]),
            1 => self.append("INBOX", &[1, 2, 3]),
            2 => self.flag("INBOX", 2, SystemFlags::SEEN),
            3 => inbox.copy(&uids(&[1, 2]), &self.mailbox("Archive")).wait().map(drop),
            4 => {
                self.store.checkpoint();
                Ok(())
            }
            5 => inbox.move_to(&uids(&[3]), &self.mailbox("Archive")).wait().map(drop),
            6 => self.flag("INBOX", 1, SystemFlags::DELETED),
            7 => inbox.expunge(&uids(&[1])).wait().map(drop),
            8 => self.account.create_mailbox("Lists", None).wait().map(drop),
            9 => self.append("Lists", &[4]),
            10 => self.account.rename_mailbox("Lists", "Old").wait(),
            11 => self.append("Old", &[9, 14]),
            12 => {
                self.store.checkpoint();
                Ok(())
            }
            13 => self.account.delete_mailbox("Old").wait(),
            14 => {
                let new = self.new_message(24)?;
                inbox.replace(Uid(2), &self.mailbox("Archive"), new).wait().map(drop)
            }
            15 => self.append("INBOX", &[19]),
            _ => Err(CommitError::NoSuchMailbox),
        }
    }

    fn run(&mut self) {
        for number in 0.. {
            if self.step(number).is_err() {
                return;
            }
            // A checkpoint gives up in silence when the power is gone.
            if self.store.status().stopped.is_some() {
                return;
            }
            self.states.push(content_of(self.store));
        }
    }
}

fn uids(set: &[u32]) -> UidSet {
    set.iter().map(|&uid| Uid(uid)).collect()
}

fn populated(seed: u64) -> World {
    let world = World::new(seed);
    let (store, _) = world.open().unwrap();
    store.add_domain("example.org").unwrap();
    let password = Secret::new("secret".into());
    let name = "anna@example.org".to_owned();
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    store.close();
    world
}

#[test]
fn a_whole_store_keeps_what_it_acknowledged_wherever_the_power_is_cut() {
    let whole = {
        let world = populated(1);
        let (store, _) = world.open().unwrap();
        let account = store.account("anna@example.org").unwrap().unwrap();
        let states = vec![content_of(&store)];
        let mut script = Script { store: &store, account, states };
        script.run();
        script.states
    };
    assert_eq!(whole.len(), 17, "every step was done");
    for call in 1.. {
        let world = populated(call);
        let (store, _) = world.open().unwrap();
        let account = store.account("anna@example.org").unwrap().unwrap();
        world.disk.cut_power_at_call(world.disk.calls() + call);
        let mut script = Script { store: &store, account, states: vec![Content::new()] };
        script.run();
        let acknowledged = script.states.len() - 1;
        for image in world.after_power_loss(IMAGES) {
            let (store, _) =
                image.open().unwrap_or_else(|error| panic!("cut at call {call}: {error}"));
            let found = content_of(&store);
            let allowed = &whole[acknowledged..whole.len().min(acknowledged + 2)];
            assert!(allowed.contains(&found), "cut at call {call}, after step {acknowledged}");
            let report = store.check(&mut |_| {}).unwrap();
            assert_eq!(report.problems, [], "cut at call {call}");
        }
        if acknowledged + 1 == whole.len() {
            assert!(call > 30, "the script has calls enough to be worth it: {call}");
            break;
        }
    }
}

#[test]
fn damage_of_any_one_group_is_reported_and_costs_nothing_else() {
    let world = populated(3);
    let (store, _) = world.open().unwrap();
    let account = store.account("anna@example.org").unwrap().unwrap();
    let mut script = Script { store: &store, account, states: vec![content_of(&store)] };
    script.run();
    let whole = script.states.pop().unwrap();
    for path in world.segments() {
        for at in (8192..96 << 10).step_by(4096) {
            let image = world.after_kill();
            image.disk.flip_bit(&path, at + 300, 2);
            let (store, report) =
                image.open().unwrap_or_else(|error| panic!("{} {at}: {error}", path.display()));
            let checked = store.check(&mut |_| {}).unwrap();
            let is_noticed = !report.damage.is_empty() || checked.problem_count > 0;
            let account = store.account("anna@example.org").unwrap().unwrap();
            let is_whole = account.listing().unwrap().mailboxes.iter().all(|entry| {
                let view = account.mailbox(&entry.name).unwrap().unwrap().view().unwrap().unwrap();
                let mut rows = view.rows_from(Uid(1), 1000).unwrap().into_iter();
                rows.all(|row| {
                    let bytes = account.message(&row).and_then(|mut reader| reader.read_all());
                    let key = (entry.name.clone(), row.uid.0);
                    bytes.is_ok_and(|bytes| whole.get(&key).is_some_and(|(own, _)| *own == bytes))
                })
            });
            assert!(is_whole || is_noticed, "{} {at}", path.display());
        }
    }
}

#[test]
fn a_large_message_that_a_checkpoint_cut_in_two_is_read_after_a_power_cut() {
    // B4: its first chunks lie below state's position, its record above; replay begins above.
    let world = populated(4);
    let (store, _) = world.open().unwrap();
    let account = store.account("anna@example.org").unwrap().unwrap();
    let large = super::model::text(16);
    let prepared = store.prepare(&large, &[account.number()]).unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    store.want_checkpoint();
    let new = NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(7) };
    inbox.append(vec![new]).wait().unwrap();
    while store.steps().checkpoint() == CheckpointStep::Again {}
    let (state, open) = store.state_position().unwrap();
    assert!(open <= state, "the checkpoint was made while it was entering: {open} {state}");
    for image in world.after_power_loss(4) {
        let (store, report) = image.open().unwrap();
        assert!(report.record_count > 0, "its record is replayed");
        let content = content_of(&store);
        assert!(content.values().any(|(bytes, _)| *bytes == large), "and it is read whole");
        assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
    }
}

#[test]
fn a_checkpoint_that_was_written_and_not_flushed_counts_for_nothing() {
    // S7: only the stamp that is read back after the flush counts for replay.
    let world = populated(5);
    let (store, _) = world.open().unwrap();
    let account = store.account("anna@example.org").unwrap().unwrap();
    let script = Script { store: &store, account, states: Vec::new() };
    for number in 0..4 {
        script.step(number).unwrap();
    }
    let before = store.state_position().unwrap();
    store.want_checkpoint();
    store.steps().commit();
    for _ in 0..2 {
        // Taken over, written.
        assert_eq!(store.steps().checkpoint(), CheckpointStep::Again);
    }
    let expected = content_of(&store);
    let (again, _) = world.after_power_loss(1)[0].open().unwrap();
    assert_eq!(again.state_position().unwrap(), before, "the tables are as they were");
    assert_eq!(content_of(&again), expected, "and the log brings back the rest");
}

#[test]
fn a_full_disk_refuses_mail_then_changes_and_goes_on_by_itself_when_space_comes_back() {
    let reserve = 400_000;
    let world = populated(6).with_reserve(reserve);
    let (store, _) = world.open().unwrap();
    let account = store.account("anna@example.org").unwrap().unwrap();
    let script = Script { store: &store, account, states: Vec::new() };
    script.append("INBOX", &[1, 2, 3]).unwrap();
    let leave = |bytes: u64| world.disk.set_capacity_bytes(world.disk.used_bytes() + bytes);

    leave(reserve - 1);
    assert!(matches!(script.append("INBOX", &[4]), Err(CommitError::DiskFull)));
    let archive = script.mailbox("Archive");
    let copied = script.mailbox("INBOX").copy(&uids(&[1]), &archive).wait();
    assert!(matches!(copied, Err(CommitError::DiskFull)), "a copy is new, too");
    script.flag("INBOX", 1, SystemFlags::DELETED).unwrap();
    script.mailbox("INBOX").expunge(&uids(&[1])).wait().unwrap();
    script.mailbox("INBOX").move_to(&uids(&[2]), &archive).wait().unwrap();
    assert!(store.checkpoint(), "checkpoints work on the reserve");

    leave(reserve / 8);
    assert!(matches!(script.flag("INBOX", 3, SystemFlags::SEEN), Err(CommitError::DiskFull)));
    leave(0);
    assert!(matches!(script.flag("INBOX", 3, SystemFlags::SEEN), Err(CommitError::DiskFull)));
    store.steps().commit();
    assert_eq!(store.status().stopped, None, "not even the note of what is durable is tried");

    world.disk.set_capacity_bytes(u64::MAX);
    script.flag("INBOX", 3, SystemFlags::SEEN).unwrap();
    script.append("INBOX", &[5]).unwrap();
    let expected = content_of(&store);
    for image in world.after_power_loss(IMAGES) {
        assert_eq!(content_of(&image.open().unwrap().0), expected);
    }
}

/// Small groups: what one command writes is there as a whole or not at all, wherever the batch that
/// it shares with others was torn.
#[test]
fn the_records_of_one_command_are_never_torn_apart() {
    for call in 1..40 {
        let world = populated(7 + call).with_group_bytes(3000);
        let (store, _) = world.open().unwrap();
        let account = store.account("anna@example.org").unwrap().unwrap();
        let script = Script { store: &store, account, states: Vec::new() };
        script.append("INBOX", &[1, 2, 3]).unwrap();
        world.disk.cut_power_at_call(world.disk.calls() + call);
        let inbox = script.mailbox("INBOX");
        // All in one batch.
        let _filler = inbox.copy(&uids(&[1, 2, 3]), &script.mailbox("Archive"));
        let _renamed = script.account.rename_mailbox("INBOX", "Old");
        store.steps().commit();
        for image in world.after_power_loss(16) {
            let (store, _) = image.open().unwrap();
            let account = store.account("anna@example.org").unwrap().unwrap();
            let Some(old) = account.mailbox("Old").unwrap() else { continue };
            let moved = old.view().unwrap().unwrap().message_count();
            assert_eq!(moved, 3, "the new mailbox has the messages of INBOX, call {call}");
        }
    }
}

/// In how many images after a power cut a message is there that was to be replaced, what replaces
/// it, or both.
fn replaced_and_cut() -> [u32; 3] {
    let mut seen = [0; 3];
    for call in 1..16 {
        let world = populated(7 + call);
        let (store, _) = world.open().unwrap();
        let account = store.account("anna@example.org").unwrap().unwrap();
        let script = Script { store: &store, account, states: Vec::new() };
        script.append("INBOX", &[1, 2, 3]).unwrap();
        world.disk.cut_power_at_call(world.disk.calls() + call);
        // Small, so that some torn write has all of it.
        let (inbox, new) = (script.mailbox("INBOX"), script.new_message(5).unwrap());
        let _replaced = inbox.replace(Uid(1), &script.mailbox("Drafts"), new);
        store.steps().commit();
        for image in world.after_power_loss(100) {
            let content = content_of(&image.open().unwrap().0);
            let old = content.contains_key(&("INBOX".to_owned(), 1));
            let new = content.contains_key(&("Drafts".to_owned(), 1));
            assert!(old || new, "neither, call {call}");
            seen[usize::from(new) + usize::from(old && new)] += 1;
        }
    }
    seen
}

/// Nor is a message there twice, or not at all, that one command replaces.
#[test]
fn a_power_cut_leaves_a_message_or_what_replaces_it() {
    let [old, new, both] = replaced_and_cut();
    assert!(old > 0 && new > 0, "cuts before and after it: {old}, {new}");
    assert_eq!(both, 0);
    sabotage::set(Some(Sabotage::OneGroup));
    let [.., both] = replaced_and_cut();
    sabotage::set(None);
    assert!(both > 0, "two groups are torn apart, and that is seen");
}
