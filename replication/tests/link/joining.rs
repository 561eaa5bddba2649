//! Joining by an invitation: good, wrong, used twice, with somebody in between.

use engine::ids::NodeId;
use parking_lot::Mutex;
use replication::pair::credentials::Fingerprint;
use replication::pair::invitation::{Invitation, InvitationSecret};
use replication::pair::joining::{Joined, Joiner, join};
use replication::pair::message::Message;
use replication::pair::peer::{Parity, PeerRecord};
use replication::pair::refusal::{Cause, Refusal};

use crate::node::{CLUSTER, MAIN, Node, Plan, loopback, lsn};

/// A node without a peer, and one that wants to join it.
async fn alone() -> (Node, Plan) {
    let mut plan = Plan::new(1);
    plan.options.listen = loopback();
    (plan.start().await, Plan::new(2))
}

fn invite(node: &Node) -> Invitation {
    let invitation = node.link.invite(&node.address()).unwrap();
    // As it is carried over.
    Invitation::parse(&invitation.to_token()).unwrap()
}

/// Joins, and says what there was to store.
async fn try_join(
    plan: &Plan,
    invitation: &Invitation,
    store: Result<(), String>,
) -> (Result<PeerRecord, Refusal>, Option<Joined>) {
    let stored = Mutex::new(None);
    let credentials = plan.credentials();
    let joiner = Joiner {
        credentials: &credentials,
        node: NodeId([plan.number; 16]),
        address: "127.0.0.1:1".to_owned(),
        software: "test".to_owned(),
    };
    let outcome = join(invitation, joiner, |joined| {
        *stored.lock() = Some(joined);
        store
    });
    (outcome.await, stored.into_inner())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_invited_gets_keys_and_both_know_each_other() {
    let (mut a, mut b) = alone().await;
    let invitation = invite(&a);
    let (outcome, stored) = try_join(&b, &invitation, Ok(())).await;
    let (peer, stored) = (outcome.unwrap(), stored.unwrap());
    assert_eq!((peer.node, peer.cluster), (NodeId([1; 16]), CLUSTER));
    assert_eq!((peer.parity, stored.parity), (Parity::Odd, Parity::Even));
    assert_eq!(stored.keys.root_key.as_slice(), [0x52; 48]);
    assert_eq!(stored.keys.key_table, vec![0x4B; 300_000]);
    a.figures("the sponsor knows", |figures| figures.joined == 1).await;
    let known = a.giver.joined.lock()[0].clone();
    assert_eq!(known, a.giver.stored.lock()[0]);
    assert_eq!((known.node, known.parity), (NodeId([2; 16]), Parity::Even));
    assert_eq!(known.fingerprint, b.credentials().fingerprint());
    assert_eq!(a.link.peer(), Some(known));
    // A second use, by anybody.
    let (again, stored) = try_join(&Plan::new(3), &invitation, Ok(())).await;
    assert_eq!(again.unwrap_err().cause, Cause::NoInvitation);
    assert!(stored.is_none());
    a.refusals(Cause::NoInvitation, 1).await;
    // And now they are a pair.
    b.peer = Some(peer);
    let mut b = b.start().await;
    let to_b = a.connected().await;
    b.connected().await;
    to_b.send(MAIN, Message::Committed(lsn(1))).unwrap();
    assert_eq!(b.received().await, (MAIN, Message::Committed(lsn(1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_refused_counted_and_slowed_down() {
    let (mut a, b) = alone().await;
    let nobody = Invitation {
        cluster: CLUSTER,
        fingerprint: invite(&a).fingerprint,
        secret: InvitationSecret::of([1; 16]),
        address: a.address(),
    };
    a.link.withdraw_invitation();
    let (outcome, _) = try_join(&b, &nobody, Ok(())).await;
    assert_eq!(outcome.unwrap_err().cause, Cause::NoInvitation);
    let right = invite(&a);
    let wrong = nobody;
    let (outcome, _) = try_join(&b, &wrong, Ok(())).await;
    assert_eq!(outcome.unwrap_err().cause, Cause::WrongSecret);
    let (outcome, _) = try_join(&b, &right, Ok(())).await;
    assert_eq!(outcome.unwrap_err().cause, Cause::TooManyAttempts, "within the second");
    for cause in [Cause::NoInvitation, Cause::WrongSecret, Cause::TooManyAttempts] {
        a.refusals(cause, 1).await;
    }
    assert!(a.giver.stored.lock().is_empty() && a.link.peer().is_none());
    tokio::time::sleep(replication::pair::invitation::ATTEMPT_PAUSE).await;
    let (outcome, _) = try_join(&b, &right, Ok(())).await;
    assert!(outcome.is_ok(), "the right one is still good");
    a.assert_quiet("joining is no connection of the pair");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_in_between_is_not_taken_for_the_one_who_invited() {
    let (a, b) = alone().await;
    let mut between = Plan::new(3);
    between.options.listen = loopback();
    let between = between.start().await;
    // It answers at the address, and has an invitation open, but another certificate.
    invite(&between);
    let mut invitation = invite(&a);
    invitation.address = between.address();
    let (outcome, stored) = try_join(&b, &invitation, Ok(())).await;
    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.cause, Cause::Certificate, "{refusal}");
    assert!(stored.is_none());
    // Were the token altered on its way to name that certificate: the proof is of no use there.
    invitation.fingerprint = between.link.invite("").unwrap().fingerprint;
    let (outcome, stored) = try_join(&b, &invitation, Ok(())).await;
    assert_eq!(outcome.unwrap_err().cause, Cause::WrongSecret);
    assert!(stored.is_none());
    assert_ne!(invitation.fingerprint, Fingerprint([0; 32]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_is_said_to_the_other_side() {
    let (a, b) = alone().await;
    *a.giver.fails.lock() = Some("the disk of the first node is full".to_owned());
    let (outcome, stored) = try_join(&b, &invite(&a), Ok(())).await;
    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.cause, Cause::SponsorFailed);
    assert!(refusal.sentence.contains("disk of the first node"), "{refusal}");
    assert!(stored.is_none(), "no keys for a node that is not known");
    assert_eq!(a.link.peer(), None);
    *a.giver.fails.lock() = None;
    let full = Err("the disk of the second node is full".to_owned());
    let (outcome, _) = try_join(&b, &invite(&a), full).await;
    assert!(outcome.unwrap_err().sentence.contains("second node"));
    a.refusals(Cause::Other, 1).await;
    assert!(a.giver.joined.lock().is_empty(), "it was told that this failed");
    // A new invitation mends it.
    let (outcome, _) = try_join(&b, &invite(&a), Ok(())).await;
    assert!(outcome.is_ok());
    a.figures("joined", |figures| figures.joined == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_first_node_cannot_join_it() {
    let mut plan = Plan::new(1);
    plan.options.listen = loopback();
    let a = plan.start().await;
    let (outcome, _) = try_join(&Plan::new(1), &invite(&a), Ok(())).await;
    assert_eq!(outcome.unwrap_err().cause, Cause::OwnNode);
    let (outcome, _) = try_join(&plan, &invite(&a), Ok(())).await;
    let refusal = outcome.unwrap_err();
    assert!(refusal.sentence.contains("own certificate"), "{refusal}");
    assert_eq!(refusal.cause, Cause::Certificate);
}
