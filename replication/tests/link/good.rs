//! What works: messages each way, both dialling, flow control, restarts.

use std::sync::Arc;
use std::time::Duration;

use engine::ids::{KeyTableVersion, RequestId};
use replication::pair::host::{Connection, SendError};
use replication::pair::message::{GroupEnd, Message};
use replication::pair::protocol::Ending;

use crate::forwarder::{Forwarder, Mode};
use crate::node::{MAIN, Node, SECOND, Seen, loopback, lsn, pair, two, volume};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_says_everything_each_way() {
    let (mut a, mut b, to_b, to_a) = pair().await;
    assert_eq!(to_b.peer().node.0, [2; 16]);
    assert_eq!(to_a.peer().node.0, [1; 16]);
    assert_eq!(to_a.peer().volumes.len(), 2);
    assert_eq!(to_a.agreement().volumes, [MAIN, SECOND]);
    let end = GroupEnd { lsn: lsn(7), hash: [9; 32] };
    let request = RequestId([3; 16]);
    let messages = [
        Message::Follow(end),
        Message::Behind { oldest: lsn(3) },
        Message::Groups(vec![1; 300_000]),
        Message::Noted(end),
        Message::Committed(lsn(7)),
        Message::KeyTable { version: KeyTableVersion(2), bytes: vec![2; 100_000] },
        Message::KeysNoted(KeyTableVersion(2)),
        Message::Propose { request, bytes: b"append".to_vec() },
        Message::Outcome { request, as_of: lsn(8), bytes: b"uid".to_vec() },
        Message::Withdraw(request),
    ];
    for volume in [MAIN, SECOND] {
        for message in &messages {
            to_b.send(volume, message.clone()).unwrap();
            to_a.send(volume, message.clone()).unwrap();
        }
    }
    for volume in [MAIN, SECOND] {
        for message in &messages {
            assert_eq!(b.received().await, (volume, message.clone()));
            assert_eq!(a.received().await, (volume, message.clone()));
        }
    }
    let figures = a.figures("a round trip", |figures| figures.round_trip.last_us > 0).await;
    assert_eq!((figures.sent_messages, figures.received_messages), (20, 20));
    assert!(figures.compressed_to_bytes * 10 < figures.compressed_from_bytes, "{figures:?}");
    assert!(figures.sent_bytes < 50_000 && figures.received_bytes < 50_000, "{figures:?}");
    assert!(figures.round_trip.smoothed_us > 0 && figures.connections == 1);
    let stranger = engine::ids::VolumeId([77; 16]);
    let unknown = to_a.send(stranger, Message::Committed(lsn(1)));
    assert_eq!(unknown, Err(SendError::UnknownVolume(stranger)));
    let large = to_a.send(MAIN, Message::Groups(vec![0; (16 << 20) + 1]));
    assert!(matches!(large, Err(SendError::TooLarge { .. })));
}

/// Sends numbers, in messages of many sizes, waiting for room.
fn send_numbers(connection: &Connection, count: u64) {
    for number in 0..count {
        let mut bytes = number.to_le_bytes().to_vec();
        // Sizes from a few bytes to 256 KiB, most of them small; noise, as sealed mail is.
        let size = if number.is_multiple_of(100) { 256 << 10 } else { number as usize % 3000 };
        bytes.resize(8 + size, 0);
        blake3::Hasher::new().update(&bytes[..8]).finalize_xof().fill(&mut bytes[8..]);
        let mut message = Message::Groups(bytes);
        loop {
            match connection.send(MAIN, message) {
                Ok(()) => break,
                Err(SendError::Full(back)) => {
                    connection.wait_for_room(back.payload_bytes(), Duration::from_secs(1));
                    message = *back;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

async fn receive_numbers(node: &mut Node, count: u64) {
    for number in 0..count {
        let (_, Message::Groups(bytes)) = node.received().await else { panic!("Groups") };
        assert_eq!(bytes[..8], number.to_le_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_messages_each_way_arrive_in_order() {
    const COUNT: u64 = 10_000;
    let (a, mut b) = two();
    let mut a = a.start().await;
    (b.options.dial, b.options.queue_bytes_max) = (a.address(), 1 << 20);
    let mut b = b.start().await;
    let (to_b, to_a) = (a.connected().await, b.connected().await);
    let senders = [to_b, to_a]
        .map(|connection| tokio::task::spawn_blocking(move || send_numbers(&connection, COUNT)));
    tokio::join!(receive_numbers(&mut a, COUNT), receive_numbers(&mut b, COUNT));
    for sender in senders {
        sender.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_connections_that_of_the_lower_node_stays() {
    for _ in 0..10 {
        let (mut a, mut b) = two();
        b.options.listen = loopback();
        // Addresses are known only when both listen, so both are told their peer afterwards.
        let (peer_of_a, peer_of_b) = (a.peer.take().unwrap(), b.peer.take().unwrap());
        let (mut a, mut b) = (a.start().await, b.start().await);
        let (from_a, from_b) = (Forwarder::to(b.address()).await, Forwarder::to(a.address()).await);
        let with_address = |record, forwarder: &Forwarder| {
            Some(replication::pair::peer::PeerRecord {
                address: forwarder.address.to_string(),
                ..record
            })
        };
        // Both have dialled before either hears of the other.
        from_a.set(Mode::Stop);
        from_b.set(Mode::Stop);
        a.link.set_peer(with_address(peer_of_a, &from_a));
        b.link.set_peer(with_address(peer_of_b, &from_b));
        a.figures("both have dialled", |_| from_a.open() == 1 && from_b.open() == 1).await;
        from_b.set(Mode::Pass);
        from_a.set(Mode::Pass);
        let settled = |_: &_| from_a.open() == 1 && from_b.open() == 0;
        a.figures("the lower node's connection alone is left", settled).await;
        // The one that is left works, whatever came before it.
        let to_b = last_connected(&mut a).await;
        to_b.send(MAIN, Message::Committed(lsn(99))).unwrap();
        loop {
            match b.next().await {
                Seen::Received(_, message) => {
                    assert_eq!(message, Message::Committed(lsn(99)));
                    break;
                }
                Seen::Connected(_) => {}
                Seen::Lost(ending) => {
                    assert!(
                        matches!(ending, Ending::Replaced | Ending::RefusedByPeer(_))
                            || ending == Ending::Closed,
                        "{ending}"
                    );
                }
            }
        }
    }
}

/// The newest connection of those that the host was told of, which is not lost.
async fn last_connected(node: &mut Node) -> Arc<Connection> {
    let mut connection = node.connected().await;
    while let Ok(seen) = node.events.try_recv() {
        match seen {
            Seen::Lost(_) => connection = node.connected().await,
            other => panic!("{other:?}"),
        }
    }
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_noted_is_counted_for_flow_control() {
    let (mut a, mut b, to_b, to_a) = pair().await;
    for group in 1..=5 {
        to_b.send_groups(MAIN, lsn(group * 10), vec![7; 1000]).unwrap();
    }
    to_b.send_groups(SECOND, lsn(10), vec![7; 500]).unwrap();
    assert_eq!((to_b.unnoted_bytes(MAIN), to_b.unnoted_bytes(SECOND)), (5000, 500));
    for _ in 0..6 {
        b.received().await;
    }
    let note = |sequence| Message::Noted(GroupEnd { lsn: lsn(sequence), hash: [0; 32] });
    for (sequence, left) in [(20, 3000), (25, 3000), (50, 0)] {
        to_a.send(MAIN, note(sequence)).unwrap();
        assert_eq!(a.received().await, (MAIN, note(sequence)));
        assert_eq!(to_b.unnoted_bytes(MAIN), left, "noted up to {sequence}");
    }
    assert_eq!(to_b.unnoted_bytes(SECOND), 500);
    assert!(to_b.send_groups(MAIN, lsn(60), vec![0; (16 << 20) + 1]).is_err());
    assert_eq!(to_b.unnoted_bytes(MAIN), 0, "what was not sent is not counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_blocks_stops_the_sender_and_not_the_signs_of_life() {
    let (mut a, mut b) = two();
    (a.options.queue_bytes_max, b.options.received_bytes_max) = (1 << 20, 1 << 20);
    // Sockets of loopback take some megabytes; only then does the sender stall.
    a.options.stall = crate::node::PATIENCE;
    let mut a = a.start().await;
    b.options.dial = a.address();
    let mut b = b.start().await;
    let (to_b, _to_a) = (a.connected().await, b.connected().await);
    let host = Arc::clone(&b.host);
    let gate = host.gate.lock();
    let mut noise = vec![0; 64 << 10];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let mut sent = 0;
    let mut full = std::time::Instant::now();
    // Full for three times the silence: nothing more fits anywhere, and nobody is gone.
    while full.elapsed() < Duration::from_millis(2400) && sent < 1000 {
        match to_b.send(MAIN, Message::Groups(noise.clone())) {
            Ok(()) => (sent, full) = (sent + 1, std::time::Instant::now()),
            Err(SendError::Full(_)) => {
                let _ = to_b.wait_for_room(64 << 10, Duration::from_millis(50));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(sent > 16 && sent < 1000, "{sent} messages of 64 KiB are in queues");
    assert!(to_b.waiting_bytes() <= 1 << 20);
    drop(gate);
    for _ in 0..sent {
        assert!(matches!(b.received().await, (MAIN, Message::Groups(_))));
    }
    a.assert_quiet("the connection has stayed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_says_goodbye_and_is_found_again() {
    let (mut a, mut b) = two();
    let first = a.start().await;
    let address = first.link.local_address();
    b.options.dial = first.address();
    let mut b = b.start().await;
    let connection = b.connected().await;
    first.link.stop().await;
    assert_eq!(b.lost().await, Ending::Closed);
    assert_eq!(connection.send(MAIN, Message::Committed(lsn(1))), Err(SendError::Closed));
    a.options.listen = address;
    let mut again = a.start().await;
    let (_, to_a) = (again.connected().await, b.connected().await);
    to_a.send(MAIN, Message::Committed(lsn(5))).unwrap();
    assert_eq!(again.received().await, (MAIN, Message::Committed(lsn(5))));
    b.figures("it dialled again", |figures| figures.connections == 2).await;
}

#[test]
fn a_killed_node_is_lost_at_once_and_found_again() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (mut a, mut b) = two();
    // So long that only the system can have told.
    b.options.silence = crate::node::PATIENCE;
    let (killed, alive) = (runtime(), runtime());
    let first = killed.block_on(a.start());
    let address = first.link.local_address();
    b.options.dial = first.address();
    let mut b = alive.block_on(b.start());
    alive.block_on(b.connected());
    // All of its tasks and sockets are gone with its runtime, without a word.
    killed.shutdown_timeout(Duration::from_secs(10));
    let ending = alive.block_on(b.lost());
    assert!(matches!(ending, Ending::Closed | Ending::Broken { .. }), "{ending}");
    a.options.listen = address;
    let mut again = alive.block_on(a.start());
    alive.block_on(again.connected());
    alive.block_on(b.connected());
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_say_how_their_volumes_are_at_each_connection() {
    let (mut a, mut b, to_b, _) = pair().await;
    let role = replication::pair::message::Role::Follower;
    let mut changed = volume(MAIN, role);
    changed.durable = lsn(500);
    *b.host.volumes.lock() = vec![changed.clone(), volume(SECOND, role)];
    to_b.close();
    assert_eq!(a.lost().await, Ending::ClosedHere);
    assert_eq!(b.lost().await, Ending::Closed);
    assert_eq!(a.connected().await.peer().volumes[0], changed);
    b.connected().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_forgotten_is_cut_and_not_let_in_again() {
    let (mut a, mut b, to_b, _) = pair().await;
    a.link.set_peer(None);
    assert_eq!(a.lost().await, Ending::ClosedHere);
    assert_eq!(b.lost().await, Ending::Closed);
    assert_eq!(to_b.send(MAIN, Message::Committed(lsn(1))), Err(SendError::Closed));
    a.refusals(replication::pair::refusal::Cause::Certificate, 2).await;
    a.assert_quiet("it was forgotten");
    b.assert_quiet("it was forgotten");
}
