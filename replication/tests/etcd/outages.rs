//! etcd killed, paused, parted, and what stands in its place: errors in time, and no hang.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use replication::directory::Demand;
use replication::directory::client::Client;
use replication::directory::clock::Moment;
use replication::directory::error::{DirectoryError, EtcdError, OpenError, Why};
use replication::directory::gateway::{LeaseId, Term};
use replication::directory::keeping::Keeping;

use crate::impostor::{self, Manner};
use crate::server::Cluster;
use crate::{A, B, LONG, directory, epoch, hurried, options, timed, until};

const PATIENCE: Duration = Duration::from_millis(300);
/// What a machine that builds at the same time may add.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn what_stands_there_outlives_a_kill() {
    let mut cluster = Cluster::start(1);
    let etcd = directory(options(&cluster.urls()));
    let mut holding = etcd.open(&epoch(1, A), Demand::Nothing).unwrap();
    for round in 0..5 {
        holding = match round % 2 {
            0 => etcd.set_in_sync(&holding, B).unwrap(),
            _ => etcd.clear_in_sync(&holding).unwrap(),
        };
        cluster.members[0].kill();
        let outcome = etcd.read();
        let Err(DirectoryError::Etcd(EtcdError::Unreachable(attempts))) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(attempts[0].endpoint, cluster.urls()[0]);
        assert!(matches!(attempts[0].why, Why::Connection(_)), "{attempts:?}");
        cluster.members[0].start();
        cluster.members[0].answers(etcd.client());
        assert_eq!(etcd.read().unwrap().standing, Some((holding.standing, holding.revision)));
    }
}

#[test]
fn a_lease_lapses_while_etcd_stands_still_and_is_held_again_afterwards() {
    let cluster = Cluster::start(1);
    let etcd = Arc::new(directory(hurried(&cluster.urls(), Duration::from_secs(2))));
    let holding = etcd.open(&epoch(1, A), Demand::Nothing).unwrap();
    let keeping = Keeping::start(etcd.clone(), holding, 2).unwrap();
    until("held", || keeping.is_held(Moment::now()));
    cluster.members[0].pause();
    let (outcome, waited) = timed(|| etcd.read());
    assert!(waited < Duration::from_secs(2) + SLACK, "{waited:?}");
    let Err(DirectoryError::Etcd(EtcdError::Unreachable(attempts))) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(attempts[0].why, Why::Late(Duration::from_secs(2)));
    until("lapsed", || !keeping.is_held(Moment::now()));
    cluster.members[0].resume();
    until("held again", || keeping.is_held(Moment::now()));
    assert!(!keeping.is_over());
    assert!(matches!(etcd.open(&epoch(2, B), Demand::Nothing), Err(OpenError::Leased { .. })));
}

#[test]
fn a_cluster_goes_on_without_its_leader() {
    let mut cluster = Cluster::start(3);
    until("there is a leader", || cluster.leader().is_some());
    let leader = cluster.leader().unwrap();
    // Asked in the order that is worst: the leader first.
    let mut urls = cluster.urls();
    urls.rotate_left(leader);
    let urls: Vec<String> = urls.into_iter().map(str::to_owned).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let etcd = Arc::new(directory(hurried(&urls, Duration::from_secs(1))));
    let holding = etcd.open(&epoch(1, A), Demand::Nothing).unwrap();
    let keeping = Keeping::start(etcd.clone(), holding, 15).unwrap();
    until("held", || keeping.is_held(Moment::now()));

    cluster.members[leader].kill();
    let mut holding = holding;
    let (_, waited) = timed(|| {
        until("marked without the leader", || match etcd.set_in_sync(&holding, B) {
            Ok(marked) => {
                holding = marked;
                true
            }
            Err(_) => false,
        });
    });
    println!("marked {waited:?} after the leader was killed");
    let outcome = etcd.open(&epoch(2, B), Demand::Nothing);
    assert!(matches!(outcome, Err(OpenError::Leased { .. })), "{outcome:?}");
    until("there is another leader", || cluster.leader().is_some_and(|other| other != leader));
    assert!(keeping.is_held(Moment::now()), "the election was shorter than the lease");

    let other = cluster.leader().unwrap();
    cluster.members[other].kill();
    let (outcome, waited) = timed(|| etcd.clear_in_sync(&holding));
    assert!(outcome.is_err(), "one of three decides nothing: {outcome:?}");
    assert!(waited < 3 * Duration::from_secs(1) + SLACK, "{waited:?}");
    cluster.members[leader].start();
    cluster.members[other].start();
    until("cleared", || etcd.clear_in_sync(&holding).is_ok());
    until("held", || keeping.is_held(Moment::now()));
    let there = etcd.read().unwrap().standing.unwrap().0;
    assert_eq!((there.epoch, there.in_sync), (holding.standing.epoch, None));
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again() {
    let cluster = Cluster::start(1);
    let real = cluster.urls()[0];
    let etcd = || {
        // Whatever changes something is done, and its answer is lost.
        let url = impostor::forward(real, |request| request.contains("request_put"));
        directory(options(&[&url, real]))
    };
    let holding = etcd().open(&epoch(1, A), Demand::Nothing).unwrap();
    assert_eq!(holding.standing.epoch, epoch(1, A));
    let lease = etcd().client().grant(600, LONG).unwrap().lease;
    etcd().bind(&holding, lease).unwrap();
    let marked = etcd().set_in_sync(&holding, B).unwrap();
    assert_eq!(marked.standing.in_sync, Some(B));
    let cleared = etcd().clear_in_sync(&marked).unwrap();
    assert_eq!(cleared.standing.in_sync, None);
    let given_up = etcd().give_up(&cleared).unwrap();
    assert!(given_up.standing.given_up);
    let alone = impostor::forward(real, |request| request.contains("request_put"));
    let alone = directory(options(&[&alone]));
    let outcome = alone.open(&epoch(2, B), Demand::Nothing);
    let Err(OpenError::Directory(DirectoryError::Etcd(EtcdError::Unreachable(_)))) = outcome else {
        panic!("{outcome:?}")
    };
    // It cannot know, but it asks again.
    let opened = alone.open(&epoch(2, B), Demand::Nothing).unwrap();
    assert_eq!(opened.standing.epoch, epoch(2, B));
}

#[test]
fn a_renewal_of_an_earlier_leaders_term_counts_as_none() {
    let client = Client::new(options(&[&impostor::start(Manner::Renews)])).unwrap();
    let lease = LeaseId::new(7).unwrap();
    assert_eq!(client.keep_alive(lease, Term(2), LONG).unwrap().seconds, Some(60));
    let error = client.keep_alive(lease, Term(3), LONG).unwrap_err();
    assert!(error.to_string().contains("behind the other members"), "{error}");
}

/// The same with a real one. Debian's 3.4.23 sometimes renews what it no longer rules (etcd issue
/// 15247), sometimes keeps silent: both are told.
#[test]
fn a_leader_that_was_paused_renews_nothing_for_us() {
    let cluster = Cluster::start(3);
    until("there is a leader", || cluster.leader().is_some());
    let old = cluster.leader().unwrap();
    let urls = cluster.urls();
    let alone = Client::new(hurried(&[urls[old]], Duration::from_secs(1))).unwrap();
    let others: Vec<&str> = (0..3).filter(|other| *other != old).map(|other| urls[other]).collect();
    let others = Client::new(hurried(&others, Duration::from_secs(1))).unwrap();
    let grant = alone.grant(60, LONG).unwrap();
    cluster.members[old].pause();
    let mut term = grant.term;
    until("another leads", || {
        let outcome = others.keep_alive(grant.lease, grant.term, PATIENCE);
        outcome.is_ok_and(|renewal| {
            term = renewal.term;
            term > grant.term
        })
    });
    let others: Vec<_> = cluster.members.iter().enumerate().filter(|(at, _)| *at != old).collect();
    others.iter().for_each(|(_, member)| member.pause());
    // What was asked while it was paused, it answers first.
    let ask = |term| {
        let alone = Client::new(hurried(&[urls[old]], Duration::from_secs(3))).unwrap();
        thread::spawn(move || alone.keep_alive(grant.lease, term, Duration::from_secs(3)))
    };
    let (unaware, aware) = (ask(grant.term), ask(term));
    thread::sleep(PATIENCE);
    cluster.members[old].resume();
    let (believed, refused) = (unaware.join().unwrap(), aware.join().unwrap());
    others.iter().for_each(|(_, member)| member.resume());
    println!("who does not look at the term is told: {believed:?}");
    let Err(EtcdError::Unreachable(attempts)) = refused else { panic!("{refused:?}") };
    println!("who does: {attempts:?}");
    until("they have met", || alone.keep_alive(grant.lease, term, PATIENCE).is_ok());
}

#[test]
fn what_is_no_etcd_is_told_in_time_and_passed_over() {
    let cluster = Cluster::start(1);
    let real = cluster.urls()[0];
    let table = [
        (Manner::Closed, "refused"),
        (Manner::Silent, "no answer within 300 ms"),
        (Manner::HangsUp, "disconnected"),
        (Manner::Trickles, "no answer within 300 ms"),
        (Manner::HalfAnAnswer, "no answer within 300 ms"),
        (Manner::Smtp, "not understood"),
        (Manner::Page, "not understood: expected value"),
        (Manner::OtherJson, "not understood: missing field `header`"),
        (Manner::OtherRows, "not understood: other rows than were asked for"),
        (Manner::Endless, "not understood"),
        (Manner::EndlessHead, "not understood"),
        (Manner::Redirects, "not understood: status 307"),
    ];
    for (number, (manner, expected)) in (1..).zip(table) {
        let url = impostor::start(manner);
        let alone = directory(hurried(&[&url], PATIENCE));
        let (outcome, waited) = timed(|| alone.read());
        let Err(DirectoryError::Etcd(error)) = outcome else { panic!("{manner:?}: {outcome:?}") };
        let said = error.to_string();
        assert!(said.contains(expected) && said.contains(&url), "{manner:?}: {said}");
        let is_other = matches!(error, EtcdError::Unintelligible(_));
        assert_eq!(is_other, expected.contains("not understood"), "{manner:?}: {error:?}");
        assert!(waited < PATIENCE + SLACK, "{manner:?}: {waited:?}");

        // The wrong one first, then the right one: only the first request pays for it.
        let beside = directory(hurried(&[&url, real], Duration::from_secs(2)));
        beside.open(&epoch(number, A), Demand::Nothing).unwrap();
        let (_, waited) = timed(|| beside.read().unwrap());
        assert!(waited < Duration::from_secs(1), "{manner:?}: {waited:?}");
    }
}
