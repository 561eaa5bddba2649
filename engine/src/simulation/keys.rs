//! Keys of accounts that begin and end in a simulated world: what names a retired key goes, at
//! whatever point that is interrupted, and the key then.

use std::path::Path;

use super::house::{ANNA, BERT, House, inbox};
use super::run::Run;
use crate::disk::simulated::SimulatedDisk;
use crate::error::CommitError;
use crate::ids::{AccountNumber, KeyGeneration};
use crate::log::format::group::Group;
use crate::log::format::segment::GROUPS_AT;
use crate::log::{Item, SegmentFile};
use crate::reclaim::ReclaimStep;
use crate::sabotage::{self, Sabotage};
use crate::state::RetentionSetting;
use crate::store::{RetiredKey, Store};

const FIRST: KeyGeneration = KeyGeneration(1);

/// Calls `visit` with every group of every segment, and whether it is a remnant.
fn visit_groups(house: &House, visit: &mut dyn FnMut(&Group<'_>, bool)) {
    let disk: &SimulatedDisk = &house.world.disk;
    let mut buffer = Vec::new();
    for path in house.world.segments() {
        let file = SegmentFile::open_cached(disk, Path::new(&path)).unwrap();
        let (mut at, mut previous) = (GROUPS_AT, file.header.previous);
        while let Ok((found, group)) = file.group_at(at, &mut buffer).unwrap() {
            // Recycled files go on with groups of their earlier life.
            if group.header.stamp.previous != previous {
                break;
            }
            visit(&group, group.header.stands_for.is_some());
            (at, previous) = (found.end(), group.hash);
        }
    }
}

/// Headers of blobs that were re-wrapped: in remnants, and in other groups.
fn rewrapped_headers(house: &House) -> (usize, usize) {
    let (mut in_remnants, mut in_others) = (0, 0);
    visit_groups(house, &mut |group, is_remnant| {
        let is_rewrapped = |item: &Item<'_>| matches!(item, Item::Chunk { rewrapped: Some(_), .. });
        let count = group.items().filter(|placed| is_rewrapped(&placed.item)).count();
        *if is_remnant { &mut in_remnants } else { &mut in_others } += count;
    });
    (in_remnants, in_others)
}

/// Re-wraps; every retired key is destroyed then, and nothing is left of it.
fn rewrap_wholly(store: &Store, when: &str) -> usize {
    let keys = store.rewrap(None, &mut |_| {}).unwrap();
    for key in &keys {
        assert!(key.is_destroyed, "{when}: {key:?}");
        let left = store.what_is_left_of(key.account, key.generation);
        assert_eq!(left, (false, 0, 0), "{when}: {key:?}");
    }
    store.compare_key_names();
    keys.len()
}

impl House {
    /// Mail of two accounts in the same segments, under base images, some of it kept after it was
    /// expunged.
    fn furnished(seed: u64, reserve_bytes: u64) -> House {
        let house = House::new(seed, reserve_bytes);
        let setting = RetentionSetting::Hold;
        house.store.set_account_retention(house.number(ANNA), setting).unwrap();
        for part in 0..4 {
            house.append(ANNA, part * 20..part * 20 + 10).unwrap();
            house.append(BERT, part * 20 + 10..part * 20 + 20).unwrap();
        }
        house.expunge(ANNA, |uid| uid % 5 == 0);
        house.make_images();
        house.append(ANNA, 80..90).unwrap();
        assert!(house.store.checkpoint());
        house
    }

    fn rotate(&self, names: &[&str]) {
        let numbers: Vec<AccountNumber> = names.iter().map(|name| self.number(name)).collect();
        self.store.rotate_account_keys(&numbers).unwrap();
    }
}

/// Dumps of both accounts that base images named kept the old generation before, and records kept
/// it until images came by themselves.
#[test]
fn after_rewrapping_nothing_is_left_of_the_old_key_and_all_mail_is_read() {
    let house = House::furnished(11, 0);
    let anna = house.number(ANNA);
    house.rotate(&[ANNA]);
    house.append(ANNA, 90..95).unwrap();
    let before = house.store.what_is_left_of(anna, FIRST);
    assert!(before.0 && before.1 > 1 && before.2 > 0, "there is something to do: {before:?}");
    let mut told = Vec::new();
    let keys = house.store.rewrap(None, &mut |at| told.push(at)).unwrap();
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    assert!(key.is_destroyed, "{key:?}");
    assert_eq!(house.store.what_is_left_of(anna, FIRST), (false, 0, 0));
    // Progress: images, then one segment after the other.
    assert!(told.first().unwrap().is_imaging && !told.last().unwrap().is_imaging);
    assert!(told.iter().any(|at| at.segment_count > 0 && !at.is_imaging), "{told:?}");
    assert!(told.is_sorted_by_key(|at| (!at.is_imaging, at.segment_count)), "{told:?}");
    house.store.compare_key_names();
    house.assert_whole(ANNA);
    house.assert_whole(BERT);
    assert_eq!(house.store.rewrap(None, &mut |_| {}).unwrap(), []);
}

#[test]
fn headers_in_remnants_are_rewrapped_and_once_more_with_the_next_key() {
    let house = House::furnished(12, 0);
    for round in 1..4 {
        house.rotate(&[ANNA, BERT]);
        assert_eq!(rewrap_wholly(&house.store, "both"), 2);
        let (in_remnants, _) = rewrapped_headers(&house);
        assert!(in_remnants > 50, "round {round}: {in_remnants} headers in remnants");
        house.assert_whole(ANNA);
        house.assert_whole(BERT);
    }
}

#[test]
fn a_segment_made_of_several_names_what_they_named() {
    let house = House::new(13, 0);
    // Whoever begins a key begins a segment: many small ones.
    for part in 0..12 {
        house.append(ANNA, part * 2..part * 2 + 1).unwrap();
        house.append(BERT, part * 2 + 1..part * 2 + 2).unwrap();
        house.rotate(&[BERT]);
    }
    house.rotate(&[ANNA]);
    assert!(house.store.checkpoint());
    let before = house.world.segments().len();
    house.reclaim_all();
    let joined = house.world.segments().len();
    assert!(joined + 8 < before, "{before} segments became {joined}");
    house.store.compare_key_names();
    let anna = house.number(ANNA);
    let shown = house.store.status().retired_keys;
    let of_anna = shown.iter().find(|key| key.account == anna).unwrap();
    assert_eq!((of_anna.header_segments, of_anna.unread_segments), (0, 0), "{of_anna:?}");
    assert!(of_anna.record_segments > 0, "its records are there: {of_anna:?}");
    let (store, _) = house.world.after_kill().open().unwrap();
    store.compare_key_names();
    assert_eq!(rewrap_wholly(&house.store, "joined"), 13);
    house.assert_whole(ANNA);
    house.assert_whole(BERT);
}

/// The copy has the records of what it is made of, which was what had been ordered.
#[test]
fn what_was_being_copied_before_there_were_images_is_copied_once_more() {
    let house = House::new(17, 0);
    house.append(ANNA, 0..60).unwrap();
    house.rotate(&[ANNA]);
    house.expunge(ANNA, |uid| uid % 4 != 0);
    assert!(house.store.checkpoint());
    let mut groups = 0;
    while groups < 3 {
        match house.store.steps().reclaim().unwrap() {
            ReclaimStep::Copied(bytes) => groups += u32::from(bytes > 0),
            other => panic!("there is something to copy: {other:?}"),
        }
    }
    assert_eq!(rewrap_wholly(&house.store, "while a copy was made"), 1);
    house.assert_whole(ANNA);
}

#[test]
fn whenever_the_power_fails_rewrapping_goes_on_afterwards_and_ends() {
    let mut cuts = 0;
    for ahead in (1..).step_by(7) {
        let house = House::furnished(14, 0);
        house.rotate(&[ANNA]);
        let expected = [ANNA, BERT].map(|name| inbox(&house.store, name).unwrap());
        house.world.disk.cut_power_at_call(house.world.disk.calls() + ahead);
        let ended = house.store.rewrap(None, &mut |_| {});
        if !house.world.disk.is_off() {
            assert!(ended.unwrap().iter().all(|key| key.is_destroyed));
            break;
        }
        cuts += 1;
        let mut worlds = house.world.after_power_loss(3);
        worlds.push(house.world.after_kill().without_tables());
        for world in worlds {
            let (store, report) = world.open().unwrap();
            assert_eq!(report.damage, [], "cut {ahead} calls after");
            let found = [ANNA, BERT].map(|name| inbox(&store, name).unwrap());
            assert!(found == expected, "cut {ahead} calls after");
            rewrap_wholly(&store, "after a cut");
            let found = [ANNA, BERT].map(|name| inbox(&store, name).unwrap());
            assert!(found == expected, "cut {ahead} calls after, and re-wrapped");
            assert_eq!(store.check(&mut |_| {}).unwrap().problems, []);
        }
    }
    assert!(cuts > 20, "{cuts} cuts");
}

#[test]
fn however_full_the_disk_is_rewrapping_ends_with_an_answer() {
    const RESERVE: u64 = 256 << 10;
    let (mut refused, mut done) = (0, 0);
    for more in (0..RESERVE + 200_000).step_by(24_000) {
        let house = House::furnished(15, RESERVE);
        house.rotate(&[ANNA]);
        house.world.disk.set_capacity_bytes(house.world.disk.used_bytes() + more);
        match house.store.rewrap(None, &mut |_| {}) {
            Ok(keys) => {
                assert!(keys.iter().all(|key| key.is_destroyed), "{more}: {keys:?}");
                done += 1;
            }
            Err(CommitError::DiskFull) => refused += 1,
            Err(error) => panic!("{more}: {error}"),
        }
        assert_eq!(house.store.status().stopped, None, "{more}");
        house.world.disk.set_capacity_bytes(u64::MAX);
        rewrap_wholly(&house.store, "with room again");
        house.assert_whole(ANNA);
    }
    assert!(refused > 0 && done > 0, "{refused} refused, {done} done");
}

/// Nobody asks for re-wrapping, and yet the key goes when reclaim has removed what it sealed.
#[test]
fn a_key_that_reclaim_has_left_unnamed_is_destroyed_unasked() {
    let house = House::new(16, 0);
    let anna = house.number(ANNA);
    house.append(ANNA, 0..60).unwrap();
    assert!(house.store.checkpoint());
    house.rotate(&[ANNA]);
    house.append(ANNA, 60..70).unwrap();
    let is_there = || house.store.what_is_left_of(anna, FIRST).0;
    house.store.end_unnamed_keys();
    assert!(is_there(), "segments name it");
    house.expunge(ANNA, |uid| uid % 3 != 0);
    house.make_images();
    house.reclaim_all();
    let left = house.store.what_is_left_of(anna, FIRST);
    assert!(left.0 && left.1 == 0 && left.2 > 0, "only values name it: {left:?}");
    house.store.end_unnamed_keys();
    assert_eq!(house.store.what_is_left_of(anna, FIRST), (false, 0, 0));
    house.assert_whole(ANNA);
}

/// Re-wrapping is stopped as soon as it has begun: what it says of the key, and what is left of it.
fn stopped_rewrap() -> (RetiredKey, (bool, usize, u64)) {
    let house = House::furnished(18, 0);
    house.rotate(&[ANNA]);
    house.append(ANNA, 90..95).unwrap();
    let keys = house.store.rewrap(None, &mut |_| house.store.stop_rewrap()).unwrap();
    let [key] = keys.try_into().expect("one was retired");
    (key, house.store.what_is_left_of(house.number(ANNA), FIRST))
}

/// Random runs met it once in sixty seeds.
#[test]
fn a_key_that_something_names_stays_and_it_is_noticed_if_not() {
    let (key, left) = stopped_rewrap();
    assert!(!key.is_destroyed && left.0 && left.1 > 0, "{key:?}, {left:?}");
    sabotage::set(Some(Sabotage::Key));
    let (key, left) = stopped_rewrap();
    sabotage::set(None);
    assert!(key.is_destroyed && !left.0 && left.1 > 0, "breaking this was not noticed: {left:?}");
}

impl Run {
    /// What the answer to re-wrapping says is so.
    pub(super) fn verify_ended(&mut self, keys: &[RetiredKey]) {
        if self.world.disk.is_off() || self.store.status().stopped.is_some() {
            return;
        }
        for key in keys {
            if key.is_destroyed {
                self.tally.keys_destroyed += 1;
                let left = self.store.what_is_left_of(key.account, key.generation);
                assert_eq!(left, (false, 0, 0), "it is told to be destroyed: {key:?}");
                continue;
            }
            self.tally.keys_kept += 1;
            // Where an account's deletion was interrupted, the next opening destroys all its keys;
            // after a failed call the next opening takes the segment up again.
            let is_excused = key.name.is_empty() || self.store.steps().leaves_segments_alone();
            assert!(is_excused || key.record_segments == 0, "records of it were to go: {key:?}");
        }
        self.store.compare_key_names();
        self.verify();
    }
}
