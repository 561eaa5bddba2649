//! Leases: whoever has none left finds out before anybody else can have one.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use replication::directory::clock::Moment;
use replication::directory::error::OpenError;
use replication::directory::keeping::{Keeping, perform};
use replication::directory::lease::{Deed, LeaseKeeper, Step};
use replication::directory::{Demand, Directory, Holding};

use crate::server::Cluster;
use crate::{A, B, LONG, directory, epoch, options, timed, until};

const SECONDS: u32 = 2;

/// A cluster, its directory, and the first epoch, opened by A.
fn opened() -> (Cluster, Arc<Directory>, Holding) {
    let cluster = Cluster::start(1);
    let etcd = directory(options(&cluster.urls()));
    let holding = etcd.open(&epoch(1, A), Demand::Nothing).unwrap();
    (cluster, Arc::new(etcd), holding)
}

fn keeping(etcd: &Arc<Directory>, holding: Holding) -> Keeping {
    let keeping = Keeping::start(etcd.clone(), holding, SECONDS).unwrap();
    until("the lease is held", || keeping.is_held(Moment::now()));
    keeping
}

/// Opens the second epoch for B as soon as no lease is in the way.
fn open_when_free(etcd: &Directory) -> (Holding, Duration) {
    let start = Instant::now();
    loop {
        match etcd.open(&epoch(2, B), Demand::Nothing) {
            Ok(holding) => return (holding, start.elapsed()),
            Err(OpenError::Leased { .. }) => assert!(start.elapsed() < LONG),
            Err(other) => panic!("{other}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_lease_that_is_kept_keeps_others_out() {
    let (_cluster, etcd, holding) = opened();
    let keeping = keeping(&etcd, holding);
    let end = Instant::now() + Duration::from_secs(3 * u64::from(SECONDS));
    while Instant::now() < end {
        let outcome = etcd.open(&epoch(2, B), Demand::Nothing);
        let Err(OpenError::Leased { there, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(there, Some(holding.standing));
        etcd.open(&epoch(1, A), Demand::Nothing).expect("its own is opened already");
        assert!(keeping.is_held(Moment::now()), "renewed in time");
        thread::sleep(Duration::from_millis(20));
    }
    let marked = etcd.set_in_sync(&holding, B).expect("marks go on beside it");
    assert!(etcd.read().unwrap().lease.is_some());
    let view = keeping.view();
    keeping.stop();
    assert!(!view.is_held(Moment::now()));
    let (_, waited) = timed(|| etcd.open(&epoch(2, B), Demand::Nothing).unwrap());
    assert!(waited < Duration::from_secs(1), "it was given back: {waited:?}");
    assert!(etcd.clear_in_sync(&marked).is_err());
}

#[test]
fn a_process_that_stops_finds_its_lease_gone_before_another_has_it() {
    let (_cluster, etcd, holding) = opened();
    // Without the thread: as if the process were paused after its last renewal.
    let mut keeper = LeaseKeeper::new(SECONDS, LONG);
    let mut renewals = 0;
    while renewals < 3 {
        let now = Moment::now();
        match keeper.step(now) {
            Step::Do(deed) => {
                let report = perform(&etcd, &holding, deed);
                keeper.report(Moment::now(), report);
                renewals += usize::from(matches!(deed, Deed::Renew { .. }));
            }
            Step::Wait(moment) => thread::sleep(moment.since(now)),
            Step::Over => panic!("nobody deposed it"),
        }
    }
    assert!(keeper.is_held(Moment::now()));
    let (other, waited) = open_when_free(&etcd);
    assert!(!keeper.is_held(Moment::now()), "another has it");
    println!("another had it after {waited:?}");
    assert!(waited >= Duration::from_millis(1500), "not before its time: {waited:?}");
    // It wakes.
    loop {
        match keeper.step(Moment::now()) {
            Step::Do(deed) => {
                keeper.report(Moment::now(), perform(&etcd, &holding, deed));
                assert!(!keeper.is_held(Moment::now()));
            }
            Step::Wait(_) => thread::sleep(Duration::from_millis(20)),
            Step::Over => break,
        }
    }
    assert_eq!(etcd.read().unwrap().standing, Some((other.standing, other.revision)));
}

#[test]
fn what_was_given_up_is_taken_over_at_once_lease_or_not() {
    let (_cluster, etcd, holding) = opened();
    let lease = etcd.client().grant(600, LONG).unwrap().lease;
    let bound = etcd.bind(&holding, lease).unwrap();
    assert!(matches!(etcd.open(&epoch(2, B), Demand::Nothing), Err(OpenError::Leased { .. })));
    etcd.give_up(&bound).unwrap();
    assert_eq!(etcd.read().unwrap().lease, Some(lease));
    etcd.open(&epoch(2, B), Demand::Nothing).unwrap();
    assert_eq!(etcd.read().unwrap().lease, None, "the old lease stands in nobody's way");
}

#[test]
fn a_nodes_own_lease_does_not_keep_it_from_its_next_epoch() {
    let (_cluster, etcd, holding) = opened();
    let lease = etcd.client().grant(600, LONG).unwrap().lease;
    etcd.bind(&holding, lease).unwrap();
    etcd.open(&epoch(2, A), Demand::Nothing).unwrap();
}

#[test]
fn a_lease_that_is_lost_is_granted_anew_unless_another_came() {
    let (_cluster, etcd, holding) = opened();
    let keeping = keeping(&etcd, holding);
    let lost = etcd.read().unwrap().lease.unwrap();
    etcd.client().revoke(lost).unwrap();
    until("another lease is bound", || {
        etcd.read().unwrap().lease.is_some_and(|lease| lease != lost)
    });
    until("it is held", || keeping.is_held(Moment::now()));
    assert!(!keeping.is_over());

    let lost = etcd.read().unwrap().lease.unwrap();
    etcd.client().revoke(lost).unwrap();
    etcd.open(&epoch(2, B), Demand::Nothing).unwrap();
    until("it is over", || keeping.is_over());
    assert!(!keeping.is_held(Moment::now()));
    assert_eq!(etcd.read().unwrap().lease, None);
}
