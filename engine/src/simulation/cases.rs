//! What random runs, or somebody by reading, found once: each as a script of its own, which stays
//! what it is however the drawing of runs changes. Each was seen to fail without its mend.

use std::path::Path;

use super::world::World;
use crate::disk::simulated::Fault;
use crate::error::{CommitError, ReadError};
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{AccountNumber, Uid, UnixSeconds};
use crate::log::format::segment::GROUPS_AT;
use crate::log::{Item, SegmentFile};
use crate::reclaim::ReclaimStep;
use crate::seal::Secret;
use crate::store::{NewAccount, NewMessage, Store};
use crate::uid_set::UidSet;

pub(super) const ANNA: &str = "anna@example.org";
pub(super) const BERT: &str = "bert@example.org";
/// Type of the record that an account's key is destroyed.
const ACCOUNT_DESTROYED: u8 = 6;

/// A store with two accounts and small segments.
pub(super) struct House {
    pub(super) world: World,
    pub(super) store: Store,
}

fn text(number: u64) -> Vec<u8> {
    let key = blake3::hash(&number.to_le_bytes());
    let mut bytes = vec![0; 4000];
    blake3::Hasher::new_keyed(key.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl House {
    pub(super) fn new(seed: u64, reserve_bytes: u64) -> House {
        let world = World::new(seed)
            .with_segment_bytes(64 << 10)
            .with_group_bytes(6 << 10)
            .with_reserve(reserve_bytes);
        let (store, _) = world.open().unwrap();
        store.add_domain("example.org").unwrap();
        for name in [ANNA, BERT] {
            let (name, password) = (name.to_owned(), Secret::new("x".into()));
            store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        }
        House { world, store }
    }

    pub(super) fn number(&self, name: &str) -> AccountNumber {
        self.store.account(name).unwrap().unwrap().number()
    }

    pub(super) fn append(
        &self,
        name: &str,
        texts: std::ops::Range<u64>,
    ) -> Result<(), CommitError> {
        let account = self.store.account(name).unwrap().unwrap();
        let inbox = account.mailbox("INBOX").unwrap().unwrap();
        for number in texts {
            let prepared = self.store.prepare(&text(number), &[account.number()])?;
            let (flags, received) = (FlagList::default(), UnixSeconds(7));
            inbox.append(vec![NewMessage { prepared, flags, received }]).wait()?;
        }
        Ok(())
    }

    /// What was appended as the first, second, ... goes where `goes` says so of its number.
    pub(super) fn expunge(&self, name: &str, goes: impl Fn(u32) -> bool) {
        let account = self.store.account(name).unwrap().unwrap();
        let inbox = account.mailbox("INBOX").unwrap().unwrap();
        let going: UidSet = (1..200).filter(|uid| goes(*uid)).map(Uid).collect();
        let deleted = FlagList { system: SystemFlags::DELETED, keywords: Vec::new() };
        inbox.store_flags(&going, FlagChange::Add, &deleted, None).wait().unwrap();
        inbox.expunge(&going).wait().unwrap();
    }

    /// Steps of reclaim until it waits for a checkpoint.
    fn reclaim_until_published(&self) {
        loop {
            match self.store.steps().reclaim().unwrap() {
                ReclaimStep::Waiting => return,
                ReclaimStep::Copied(_) => {}
                ReclaimStep::Idle => panic!("there is something to reclaim"),
            }
        }
    }

    /// Reclaims until nothing is left to do; answers how often it failed.
    pub(super) fn reclaim_all(&self) -> u32 {
        let (mut failures, mut rests) = (0, 0);
        while rests < 3 {
            match self.store.steps().reclaim() {
                Ok(ReclaimStep::Copied(_)) => {}
                Ok(ReclaimStep::Waiting) => assert!(self.store.checkpoint()),
                Ok(ReclaimStep::Idle) => {
                    rests += 1;
                    assert!(self.store.checkpoint());
                }
                Err(_) => failures += 1,
            }
        }
        failures
    }

    /// Makes base images.
    pub(super) fn make_images(&self) {
        let before = self.store.status().image_rounds;
        for _ in 0..1000 {
            // Taken up when reclaim is at nothing else.
            self.store.steps().want_images();
            self.store.steps().commit();
            self.store.steps().checkpoint();
            self.store.steps().reclaim().unwrap();
            if self.store.status().image_rounds > before {
                return;
            }
        }
        panic!("no images were made");
    }

    /// INBOX of whoever it is, also after a kill and after power cuts, is what it was.
    pub(super) fn assert_whole(&self, name: &str) {
        let expected = inbox(&self.store, name).unwrap();
        let mut worlds = self.world.after_power_loss(3);
        worlds.push(self.world.after_kill());
        worlds.push(self.world.after_kill().without_tables());
        for world in worlds {
            let (store, report) = world.open().unwrap();
            assert_eq!(report.damage, []);
            assert!(inbox(&store, name).unwrap() == expected);
            assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        }
    }

    /// Records of that type in the log.
    fn records(&self, kind: u8) -> usize {
        let mut count = 0;
        let mut buffer = Vec::new();
        for path in self.world.segments() {
            let file = SegmentFile::open_cached(&self.world.disk, Path::new(&path)).unwrap();
            let mut at = GROUPS_AT;
            while let Ok((found, group)) = file.group_at(at, &mut buffer).unwrap() {
                for placed in group.items() {
                    if let Item::Record { header, .. } = placed.item {
                        count += usize::from(header.record_type == kind);
                    }
                }
                at = found.end();
            }
        }
        count
    }
}

/// UIDs and texts.
pub(super) fn inbox(store: &Store, name: &str) -> Result<Vec<(u32, Vec<u8>)>, ReadError> {
    let account = store.account(name)?.unwrap();
    let view = account.mailbox("INBOX")?.unwrap().view()?.unwrap();
    let rows = view.rows_from(Uid(1), usize::MAX)?.into_iter();
    rows.map(|row| Ok((row.uid.0, account.message(&row)?.read_all()?))).collect()
}

/// Seed 427: the segment was chosen again, and its new generation written over.
#[test]
fn a_rewritten_segment_whose_old_file_stays_is_not_written_over() {
    let house = House::new(1, 0);
    house.append(ANNA, 0..60).unwrap();
    house.expunge(ANNA, |uid| uid % 5 != 0);
    assert!(house.store.checkpoint());
    house.reclaim_until_published();
    let [removes, ..] = house.world.disk.other_calls();
    house.world.disk.inject(Fault::Remove(removes + 1));
    assert_eq!(house.reclaim_all(), 1, "one removal failed");
    assert_eq!(inbox(&house.store, ANNA).unwrap().len(), 12);
    house.assert_whole(ANNA);
}

/// Seed 30181: a copy that had its name and was not published was rewritten with its neighbours,
/// and opening took what came of it for what is alive.
#[test]
fn a_rewritten_segment_that_could_not_be_published_is_no_part_of_the_log() {
    for copied in 0..3 {
        let house = House::new(2, 0);
        house.append(ANNA, 0..90).unwrap();
        house.expunge(ANNA, |uid| uid % 5 != 0);
        assert!(house.store.checkpoint());
        for _ in 0..copied {
            house.reclaim_until_published();
            assert!(house.store.checkpoint());
            assert!(matches!(house.store.steps().reclaim(), Ok(ReclaimStep::Copied(0))));
        }
        let [_, _, syncs, _] = house.world.disk.other_calls();
        house.world.disk.inject(Fault::SyncDir(syncs + 1));
        let failed = loop {
            match house.store.steps().reclaim() {
                Ok(ReclaimStep::Copied(_)) => {}
                Ok(_) => break false,
                Err(_) => break true,
            }
        };
        assert!(failed, "the copy has its name and is not published");
        // More dies, so that its neighbours are worth it.
        house.expunge(ANNA, |uid| uid % 10 != 0);
        house.reclaim_all();
        assert_eq!(inbox(&house.store, ANNA).unwrap().len(), 9);
        house.assert_whole(ANNA);
    }
}

/// Seed 10113, and what was left of it: a full disk met the deletion of an account half-way, and
/// whoever asked was told that there is no room, of an account that was gone.
#[test]
fn an_account_is_deleted_or_not_however_full_the_disk_is() {
    const RESERVE: u64 = 256 << 10;
    let (mut refused, mut postponed) = (0, 0);
    for more in (0..40_000).step_by(1500) {
        let house = House::new(3, RESERVE);
        house.append(ANNA, 0..8).unwrap();
        house.append(BERT, 8..10).unwrap();
        let anna = house.number(ANNA);
        let used = house.world.disk.used_bytes();
        house.world.disk.set_capacity_bytes(used + RESERVE / 8 + more);
        let deleted = house.store.delete_account(anna);
        let is_there = house.store.account(ANNA).unwrap().is_some();
        let records = house.records(ACCOUNT_DESTROYED);
        match deleted {
            Ok(()) => assert!(!is_there),
            Err(CommitError::DiskFull) => {
                refused += 1;
                assert!(is_there, "{more}: there is no room, and it is gone");
                assert_eq!(inbox(&house.store, ANNA).unwrap().len(), 8);
            }
            Err(error) => panic!("{more}: {error}"),
        }
        postponed += u32::from(!is_there && records == 0);
        assert_eq!(house.store.status().stopped, None, "{more}");
        house.world.disk.set_capacity_bytes(u64::MAX);
        house.store.steps().commit();
        let records = house.records(ACCOUNT_DESTROYED);
        assert_eq!(records, usize::from(!is_there), "{more}: it is said when there is room");
        house.assert_whole(BERT);
    }
    assert!(refused > 0 && postponed > 0, "{refused} were refused, {postponed} certified later");
}

/// What reclaim has written anew counts until it is gone, and nothing is unknown on the way.
#[test]
fn what_segments_name_is_known_while_they_are_rewritten() {
    let house = House::new(4, 0);
    house.append(ANNA, 0..60).unwrap();
    house.store.rotate_account_keys(&[house.number(ANNA)]).unwrap();
    house.append(ANNA, 60..70).unwrap();
    house.expunge(ANNA, |uid| uid % 5 != 0);
    assert!(house.store.checkpoint());
    let assert_known = |when: &str| {
        let keys = house.store.status().retired_keys;
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!(key.unread_segments, 0, "{when}: {key:?}");
    };
    assert_known("before");
    house.reclaim_until_published();
    assert_known("published");
    assert!(house.store.checkpoint());
    assert_known("in flushed state");
    house.reclaim_all();
    assert_known("released");
    let keys = house.store.rewrap(None, &mut |_| {}).unwrap();
    assert_eq!((keys[0].header_segments, keys[0].unread_segments), (0, 0), "{keys:?}");
    house.assert_whole(ANNA);
}

/// Seed 60412: on a full disk a segment was copied over and over, and whoever had asked for it
/// waited for ever.
#[test]
fn rewrapping_on_a_full_disk_ends_and_goes_on_when_there_is_room() {
    let house = House::new(6, 0);
    house.append(ANNA, 0..60).unwrap();
    house.store.rotate_account_keys(&[house.number(ANNA)]).unwrap();
    // These are enough, so that nothing but copies needs room.
    house.make_images();
    assert!(house.store.checkpoint());
    // Room for records and for half a copy.
    house.world.disk.set_capacity_bytes(house.world.disk.used_bytes() + (32 << 10));
    let refused = house.store.rewrap(None, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    assert_eq!(house.store.status().stopped, None);
    house.world.disk.set_capacity_bytes(u64::MAX);
    let keys = house.store.rewrap(None, &mut |_| {}).unwrap();
    assert!(keys[0].is_destroyed, "{keys:?}");
    house.assert_whole(ANNA);
}

/// The spool leaves the reserve alone, with which deleting works.
#[test]
fn a_message_is_not_spooled_into_the_reserve() {
    const RESERVE: u64 = 256 << 10;
    let house = House::new(5, RESERVE);
    let used = house.world.disk.used_bytes();
    house.world.disk.set_capacity_bytes(used + RESERVE + 100_000);
    let mut spool = house.store.spool().unwrap();
    spool.write_block(&[7; 60_000]).unwrap();
    // The simulated disk counts files that have a name, which the spool's has no longer.
    house.world.disk.set_capacity_bytes(used + RESERVE + 40_000);
    let refused = spool.write_block(&[7; 60_000]).unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    spool.write_block(&[7; 30_000]).unwrap();
    house.world.disk.set_capacity_bytes(used);
    assert!(matches!(house.store.spool(), Err(CommitError::DiskFull)));
    // Another process was quicker than the question.
    house.world.disk.set_hidden_capacity_bytes(used);
    let refused = spool.write_block(&[7; 60_000]).unwrap_err();
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    let mut read = Vec::new();
    spool.read_block(0, &mut read).unwrap();
    assert_eq!(read, [7; 60_000], "what was taken is there");
}

/// Its key's removal failed, the record of its deletion is gone under images: an image of before
/// must not bring it back (seed 90236).
#[test]
fn an_account_whose_deletion_was_not_finished_does_not_come_back_with_an_old_image() {
    // The number of the call that gives the key table its name.
    let half_deleted = (1..100).find_map(|rename| {
        let house = House::new(6, 0);
        house.append(ANNA, 0..8).unwrap();
        house.append(BERT, 8..10).unwrap();
        house.make_images();
        house.world.disk.inject(Fault::Rename(rename));
        house.store.delete_account(house.number(ANNA)).is_err().then_some(house)
    });
    let house = half_deleted.expect("a rename fails in a deletion");
    assert!(house.store.account(ANNA).unwrap().is_none(), "it is gone");
    house.make_images();
    let world = house.world.after_kill().without_tables();
    let (store, _) = world.open().unwrap();
    assert!(store.account(ANNA).unwrap().is_none(), "and stays gone");
    assert_eq!(inbox(&store, BERT).unwrap().len(), 2);
    assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
}
