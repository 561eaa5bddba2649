//! What breaks between two nodes that are content with each other.

use std::sync::Arc;
use std::time::Duration;

use replication::pair::host::Connection;
use replication::pair::message::Message;
use replication::pair::protocol::Ending;

use crate::forwarder::{Forwarder, Mode};
use crate::node::{MAIN, Node, lsn, two};

/// Two with a forwarder between them: the second dials the first through it.
async fn through() -> (Node, Node, Forwarder, Arc<Connection>, Arc<Connection>) {
    let (a, mut b) = two();
    let mut a = a.start().await;
    let forwarder = Forwarder::to(a.address()).await;
    b.options.dial = forwarder.address.to_string();
    let mut b = b.start().await;
    let (to_b, to_a) = (a.connected().await, b.connected().await);
    (a, b, forwarder, to_b, to_a)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_in_small_pieces_carries_the_same() {
    let (mut a, mut b, forwarder, to_b, to_a) = through().await;
    forwarder.set(Mode::Split(7));
    let mut noise = vec![0; 50_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    for connection in [&to_b, &to_a] {
        connection.send(MAIN, Message::Groups(noise.clone())).unwrap();
    }
    assert_eq!(a.received().await, (MAIN, Message::Groups(noise.clone())));
    assert_eq!(b.received().await, (MAIN, Message::Groups(noise)));
    forwarder.set(Mode::Delay(Duration::from_millis(30)));
    a.figures("the way is measured", |f| f.round_trip.last_us >= 60_000).await;
    to_a.send(MAIN, Message::Committed(lsn(1))).unwrap();
    assert_eq!(a.received().await, (MAIN, Message::Committed(lsn(1))));
    b.assert_quiet("a slow line is no broken one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupted_byte_ends_the_connection_and_is_handed_to_nobody() {
    let (mut a, mut b, forwarder, _to_b, to_a) = through().await;
    forwarder.set(Mode::CorruptOne);
    to_a.send(MAIN, Message::Committed(lsn(1))).unwrap();
    let first = a.next().await;
    assert!(matches!(&first, crate::node::Seen::Lost(_)), "altered: {first:?}");
    b.lost().await;
    assert_eq!(forwarder.mode(), Mode::Pass);
    a.connected().await;
    let to_a = b.connected().await;
    to_a.send(MAIN, Message::Committed(lsn(2))).unwrap();
    assert_eq!(a.received().await, (MAIN, Message::Committed(lsn(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_heard_of_is_gone_and_comes_back() {
    let (mut a, mut b, forwarder, _, _) = through().await;
    for mode in [Mode::Stop, Mode::CutForth, Mode::CutBack] {
        forwarder.set(mode);
        let (at_a, at_b) = (a.lost().await, b.lost().await);
        let silent = |ending: &Ending| matches!(ending, Ending::Silent { .. });
        // With one direction cut, one side hears nothing; the other may hear it go.
        let heard = match mode {
            Mode::Stop => silent(&at_a) && silent(&at_b),
            Mode::CutForth => silent(&at_a),
            _ => silent(&at_b),
        };
        assert!(heard, "{mode:?}: {at_a}; {at_b}");
        forwarder.set(Mode::Pass);
        let (_, to_a) = (a.connected().await, b.connected().await);
        to_a.send(MAIN, Message::Committed(lsn(3))).unwrap();
        assert_eq!(a.received().await, (MAIN, Message::Committed(lsn(3))), "after {mode:?}");
    }
}
