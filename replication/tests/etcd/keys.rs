//! What stands in etcd, and who may change it.

use replication::directory::error::{DirectoryError, EtcdError, HoldError, OpenError};
use replication::directory::gateway::{LeaseId, Revision};
use replication::directory::standing::{Standing, StandingFlaw};
use replication::directory::{Demand, Holding};

use crate::server::Cluster;
use crate::{A, B, C, LONG, directory, epoch, options, place};

#[test]
fn an_epoch_is_opened_marked_given_up_and_followed_by_the_next() {
    let cluster = Cluster::start(1);
    let etcd = directory(options(&cluster.urls()));
    let (first, second) = (epoch(1, A), epoch(2, B));
    let follow = |followed| Demand::InSync { followed };

    assert_eq!(etcd.read().unwrap().standing, None);
    let unseen = etcd.open(&first, follow(first.id()));
    assert_eq!(unseen, Err(OpenError::NotInSync(None)), "nobody says that it is in sync");
    let opened = etcd.open(&first, Demand::Nothing).unwrap();
    let there = Standing { epoch: first, in_sync: None, given_up: false };
    assert_eq!(opened.standing, there);
    let seen = etcd.read().unwrap();
    assert_eq!((seen.standing, seen.lease), (Some((there, opened.revision)), None));
    assert_eq!(etcd.open(&first, Demand::Nothing), Ok(opened), "asked again");

    let equal = etcd.open(&epoch(1, B), Demand::Nothing);
    assert_eq!(equal, Err(OpenError::NotAbove { number: 1, there }));
    let early = etcd.open(&second, follow(first.id()));
    assert_eq!(early, Err(OpenError::NotInSync(Some(there))), "not marked yet");
    let marked = etcd.set_in_sync(&opened, B).unwrap();
    let there = Standing { in_sync: Some(B), ..there };
    assert_eq!(marked.standing, there);
    let refused = [(second, second.id(), "another epoch"), (epoch(2, C), first.id(), "no mark")];
    for (epoch, followed, reason) in refused {
        let outcome = etcd.open(&epoch, follow(followed));
        assert_eq!(outcome, Err(OpenError::NotInSync(Some(there))), "{reason}");
    }
    let cleared = etcd.clear_in_sync(&opened).unwrap();
    assert_eq!(cleared.standing.in_sync, None, "by what was known before the mark, too");
    let marked = etcd.set_in_sync(&cleared, B).unwrap();
    let given_up = etcd.give_up(&marked).unwrap();
    assert_eq!(etcd.give_up(&marked), Ok(given_up), "asked again");
    let over = Err(HoldError::Deposed(Some(given_up.standing)));
    assert_eq!(etcd.clear_in_sync(&marked), over, "nothing after it was given up");

    let next = etcd.open(&second, follow(first.id())).unwrap();
    assert_eq!(next.standing, Standing { epoch: second, in_sync: None, given_up: false });
    let over = Err(HoldError::Deposed(Some(next.standing)));
    let lease = etcd.client().grant(5, LONG).unwrap().lease;
    assert_eq!(etcd.clear_in_sync(&marked), over);
    assert_eq!(etcd.set_in_sync(&marked, C), over);
    assert_eq!(etcd.give_up(&opened), over);
    assert_eq!(etcd.bind(&marked, lease), over);
    assert_eq!(etcd.read().unwrap().standing, Some((next.standing, next.revision)));
}

#[test]
fn what_another_version_wrote_is_left_alone() {
    let cluster = Cluster::start(1);
    let etcd = directory(options(&cluster.urls()));
    let holding = etcd.open(&epoch(1, A), Demand::Nothing).unwrap();
    let place = place("main");
    for (value, flaw) in
        [(r#"{"version":2,"epoch":"eight"}"#, Some(StandingFlaw::Version(2))), ("by hand", None)]
    {
        let client = etcd.client();
        let written = client.put(place.primary(), value.as_bytes(), None).unwrap();
        let foreign = |error: DirectoryError| match error {
            DirectoryError::Foreign { key, flaw: found } => {
                assert_eq!(key, place.primary());
                assert!(flaw.as_ref().is_none_or(|flaw| *flaw == found), "{found}");
            }
            other => panic!("{other}"),
        };
        foreign(etcd.read().unwrap_err());
        match etcd.open(&epoch(9, B), Demand::Nothing).unwrap_err() {
            OpenError::Directory(error) => foreign(error),
            other => panic!("{other}"),
        }
        match etcd.clear_in_sync(&holding).unwrap_err() {
            HoldError::Directory(error) => foreign(error),
            other => panic!("{other}"),
        }
        let row = client.range(place.primary()).unwrap().unwrap();
        assert_eq!((row.value.as_slice(), row.changed), (value.as_bytes(), written));
    }
}

#[test]
fn each_volume_stands_for_itself() {
    let cluster = Cluster::start(1);
    let main = directory(options(&cluster.urls()));
    let client = replication::directory::client::Client::new(options(&cluster.urls())).unwrap();
    let other = replication::directory::Directory::new(client, place("other"));
    let holding = main.open(&epoch(3, A), Demand::Nothing).unwrap();
    other.open(&epoch(1, B), Demand::Nothing).unwrap();
    assert_eq!(main.read().unwrap().standing, Some((holding.standing, holding.revision)));
    let stale = Holding { revision: Revision(1), ..holding };
    main.set_in_sync(&stale, B).expect("a primary that forgot the revision reads it");
}

#[test]
fn the_client_says_what_etcd_says() {
    let cluster = Cluster::start(1);
    let etcd = directory(options(&cluster.urls()));
    let client = etcd.client();
    assert_eq!(client.range("absent").unwrap(), None);
    let value: Vec<u8> = (0..=255).collect();
    let revision = client.put("present", &value, None).unwrap();
    let row = client.range("present").unwrap().unwrap();
    assert_eq!((row.value, row.changed, row.lease), (value, revision, None));

    let grant = client.grant(1, LONG).unwrap();
    assert_eq!(grant.seconds, 2, "etcd's own minimum");
    let lease = client.grant(60, LONG).unwrap().lease;
    client.put("leased", b"x", Some(lease)).unwrap();
    assert_eq!(client.range("leased").unwrap().unwrap().lease, Some(lease));
    let left = client.time_to_live(lease).unwrap();
    assert!(left.seconds.is_some_and(|seconds| seconds <= 60), "{left:?}");
    assert_eq!(left.keys, [b"leased"]);
    let renewal = client.keep_alive(lease, grant.term, LONG).unwrap();
    assert_eq!(renewal.seconds, Some(60));
    client.revoke(lease).unwrap();
    assert_eq!(client.range("leased").unwrap(), None);

    let never = LeaseId::new(4711).unwrap();
    for lease in [lease, never] {
        let unknown = EtcdError::LeaseUnknown(lease);
        assert_eq!(client.put("leased", b"x", Some(lease)), Err(unknown.clone()));
        assert_eq!(client.keep_alive(lease, grant.term, LONG), Err(unknown.clone()));
        assert_eq!(client.revoke(lease), Err(unknown.clone()));
        assert_eq!(client.time_to_live(lease).unwrap().seconds, None);
        let holding = etcd.open(&epoch(1, A), Demand::Nothing).unwrap();
        let bound = etcd.bind(&holding, lease);
        assert_eq!(bound, Err(HoldError::Directory(DirectoryError::Etcd(unknown))));
    }
    let refused = client.put("", b"x", None).unwrap_err();
    let EtcdError::Refused { endpoint, code, words } = refused else { panic!("{refused}") };
    assert_eq!((endpoint.as_str(), code), (cluster.urls()[0], 3));
    assert_eq!(words, "etcdserver: key is not provided");
}
