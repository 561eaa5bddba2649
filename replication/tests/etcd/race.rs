//! Who comes first, thousands of times: exactly one does.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use replication::directory::Demand;
use replication::directory::error::{HoldError, OpenError};

use crate::server::Cluster;
use crate::{A, B, LONG, directory, epoch, options};

/// Races of each kind.
const RACES: u16 = 2000;

#[test]
fn of_degrading_and_promoting_exactly_one_succeeds() {
    let cluster = Cluster::start(1);
    let (primary, follower) =
        (directory(options(&cluster.urls())), directory(options(&cluster.urls())));
    let start = Barrier::new(2);
    let (mut degraded, mut promoted) = (0, 0);
    for race in 0..RACES {
        let now = epoch(2 * race + 1, A);
        let next = epoch(2 * race + 2, B);
        let holding = primary.open(&now, Demand::Nothing).unwrap();
        let holding = primary.set_in_sync(&holding, B).unwrap();
        let (cleared, opened) = thread::scope(|scope| {
            let clearing = scope.spawn(|| {
                start.wait();
                // The other reads first: so that each is the first sometimes.
                thread::sleep(Duration::from_micros(u64::from(race % 32) * 100));
                primary.clear_in_sync(&holding)
            });
            start.wait();
            let opened = follower.open(&next, Demand::InSync { followed: now.id() });
            (clearing.join().unwrap(), opened)
        });
        match (&cleared, &opened) {
            (Ok(cleared), Err(OpenError::NotInSync(Some(there)))) => {
                assert_eq!(cleared.standing, *there);
                degraded += 1;
            }
            (Err(HoldError::Deposed(Some(there))), Ok(opened)) => {
                assert_eq!(opened.standing, *there);
                promoted += 1;
            }
            _ => panic!("race {race}: {cleared:?}, {opened:?}"),
        }
    }
    println!("{degraded} degraded, {promoted} promoted");
    assert!(degraded > 0 && promoted > 0, "they met: {degraded} and {promoted}");
}

#[test]
fn of_binding_a_lease_and_opening_the_next_epoch_exactly_one_succeeds() {
    let cluster = Cluster::start(1);
    let connect = || directory(options(&cluster.urls()));
    let (primary, other) = (connect(), connect());
    let start = Barrier::new(2);
    let (mut bound, mut opened) = (0, 0);
    for race in 0..RACES / 4 {
        let holding = primary.open(&epoch(2 * race + 1, A), Demand::Nothing).unwrap();
        let lease = primary.client().grant(600, LONG).unwrap().lease;
        let next = epoch(2 * race + 2, B);
        let (binding, opening) = thread::scope(|scope| {
            let binding = scope.spawn(|| {
                start.wait();
                thread::sleep(Duration::from_micros(u64::from(race % 32) * 100));
                primary.bind(&holding, lease)
            });
            start.wait();
            let opening = other.open(&next, Demand::Nothing);
            (binding.join().unwrap(), opening)
        });
        match (&binding, &opening) {
            (Ok(_), Err(OpenError::Leased { lease: found, .. })) => {
                assert_eq!(*found, lease);
                bound += 1;
            }
            (Err(HoldError::Deposed(Some(there))), Ok(next)) => {
                assert_eq!(next.standing, *there);
                opened += 1;
            }
            _ => panic!("race {race}: {binding:?}, {opening:?}"),
        }
        primary.client().revoke(lease).unwrap();
    }
    println!("{bound} bound, {opened} opened");
    assert!(bound > 0 && opened > 0, "they met: {bound} and {opened}");
}

#[test]
fn of_several_nodes_one_opens_an_epoch() {
    const NODES: u8 = 4;
    let cluster = Cluster::start(1);
    let start = Barrier::new(usize::from(NODES));
    let open = |node: u8| {
        let etcd = directory(options(&cluster.urls()));
        let mut won = Vec::new();
        for number in 1..=RACES / 10 {
            start.wait();
            let epoch = epoch(number, engine::ids::NodeId([node; 16]));
            match etcd.open(&epoch, Demand::Nothing) {
                Ok(_) => won.push(number),
                Err(OpenError::NotAbove { .. }) => {}
                Err(other) => panic!("{other}"),
            }
            start.wait();
        }
        won
    };
    let won = thread::scope(|scope| {
        let open = &open;
        let threads: Vec<_> = (0..NODES).map(|node| scope.spawn(move || open(node))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    println!("{:?}", won.iter().map(Vec::len).collect::<Vec<_>>());
    let mut all: Vec<u16> = won.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (1..=RACES / 10).collect::<Vec<_>>(), "each was opened by one");
}
