//! What random runs, or somebody by reading, found once: each as a script of its own, which stays
//! what it is however the drawing of runs changes. Each was seen to fail without its mend.

use super::house::{ANNA, BERT, House, inbox};
use super::node::Node;
use super::way_back::ship;
use crate::disk::simulated::Fault;
use crate::error::CommitError;
use crate::pair::{Acknowledgement, Away};
use crate::reclaim::ReclaimStep;
use crate::seal::Secret;
use crate::store::{NewAccount, Store};

/// Type of the record that an account's key is destroyed.
const ACCOUNT_DESTROYED: u8 = 6;

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

/// Seed 1 of `wired_pair`: a promotion that was cut short had begun its epoch in the key table
/// alone. The node could not be promoted any more, and took no newer table of its primary, so that
/// mail of a new account was not on it. Seed 4: or its log said that it is primary, and had no
/// epoch of its own: then two nodes gave the same positions and UIDs.
#[test]
fn a_promotion_that_the_power_cut_short_leaves_a_follower_or_a_primary() {
    let mut followers = 0;
    for call in 1.. {
        let mode = Acknowledgement::Local;
        let [primary, mut other] = Node::two(90, mode);
        ship(&primary.store, &other.store).unwrap();
        let disk = other.world.disk.clone();
        disk.cut_power_at_call(disk.calls() + call);
        let is_promoted = other.store.promote(2).is_ok();
        if is_promoted && !disk.is_off() {
            break;
        }
        other.cut();
        let standing = other.store.standing();
        if !standing.follows {
            assert_eq!(standing.history.last().unwrap().number, 2, "cut at {call}");
            continue;
        }
        followers += 1;
        // As if the other node had said that it has the account, too.
        primary.store.end_pair();
        let (name, password) = (BERT.to_owned(), Secret::new("x".into()));
        primary.store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
        let inbox = primary.store.account(BERT).unwrap().unwrap().mailbox("INBOX");
        assert!(inbox.unwrap().is_some());
        ship(&primary.store, &other.store).unwrap();
        let there =
            other.store.account(BERT).unwrap().expect("the account is there, cut at {call}");
        assert!(there.mailbox("INBOX").unwrap().is_some());
        other.store.promote(2).unwrap();
        assert_eq!(other.store.check(&mut |_| {}).unwrap().problems, []);
    }
    assert!(followers > 3, "{followers}");
}

/// A node whose disk failed as it was promoted said that it had opened an epoch, for which the
/// other one stood down; after a restart none was primary.
#[test]
fn a_node_whose_disk_fails_as_it_is_promoted_deposes_nobody() {
    let [primary, other] = Node::two(91, Acknowledgement::Local);
    ship(&primary.store, &other.store).unwrap();
    let disk = &other.world.disk;
    for ahead in 1..30 {
        disk.inject(Fault::Flush(disk.flushes() + ahead));
    }
    assert!(other.store.promote(2).is_err());
    let newest = |store: &Store| store.standing().history.last().unwrap().number;
    assert_eq!(newest(&other.store), newest(&primary.store));
}

/// Seed 10 of `wired_pair`: what state was stamped with while the first group of an epoch waited
/// for the other node is no position of the log, and the store did not open any more.
#[test]
fn a_new_primary_that_waits_for_the_other_node_opens_again_after_a_checkpoint() {
    let mode = Acknowledgement::Durable(Away::Refuse);
    let [primary, mut other] = Node::two(92, mode);
    ship(&primary.store, &other.store).unwrap();
    other.store.promote(2).unwrap();
    assert!(other.store.checkpoint());
    other.cut();
    assert_eq!(other.store.standing().history.last().unwrap().number, 2);
    assert_eq!(other.store.check(&mut |_| {}).unwrap().problems, []);
}

/// Seed 21 of `wired_pair`: a node that had gone back from its epoch, and was promoted again,
/// opened one of the same number, and gave the same UIDs to other messages.
#[test]
fn a_node_that_went_back_from_its_epoch_never_opens_one_of_that_number_again() {
    let [mut first, mut second] = Node::two(93, Acknowledgement::Local);
    ship(&first.store, &second.store).unwrap();
    assert!(first.store.checkpoint() && second.store.checkpoint());
    let common = first.store.position().lsn;
    second.store.promote(second.store.newest_epoch() + 1).unwrap();
    second.store.go_back(common).unwrap();
    second.cut();
    let standing = second.store.standing();
    assert_eq!((standing.follows, standing.position.lsn), (true, common));
    assert_eq!(second.store.newest_epoch(), 2, "it is not forgotten");
    assert!(second.store.promote(2).is_err());
    second.store.promote(second.store.newest_epoch() + 1).unwrap();
    first.cut();
}
