//! Two protocols that talk to each other by hand: greetings, refusals, silence.

use engine::ids::{Incarnation, KeyTableVersion, Lsn};

use super::*;
use crate::pair::message::{Acknowledgement, ClusterId, GroupEnd, Role, VolumeState};

/// Makes a greeting wrong.
type Edit = fn(&mut Hello);

const WALL_MS: u64 = 1_795_000_000_000;

fn terms() -> Terms {
    Terms {
        bounds: FrameBounds::default(),
        handshake: Duration::from_secs(10),
        heartbeat: Duration::from_millis(250),
        silence: Duration::from_millis(1500),
        clock_skew_max: Duration::from_secs(60),
    }
}

fn volume(id: u8, role: Role) -> VolumeState {
    VolumeState {
        id: VolumeId([id; 16]),
        name: format!("v{id}"),
        reads_level: 8,
        level: 8,
        role,
        acknowledgement: Acknowledgement::Local,
        history: Vec::new(),
        last: GroupEnd::default(),
        durable: Lsn::ZERO,
        held: Lsn::ZERO,
        key_version: KeyTableVersion(0),
    }
}

fn hello(node: u8) -> Hello {
    let role = if node == 1 { Role::Primary } else { Role::Follower };
    Hello {
        lowest: 1,
        highest: 1,
        node: NodeId([node; 16]),
        cluster: ClusterId([9; 16]),
        incarnation: Incarnation([node; 16]),
        clock_ms: WALL_MS,
        software: "pillarbox".to_owned(),
        volumes: vec![volume(5, role), volume(4, role)],
    }
}

fn start(hello: Hello, expected: u8) -> Protocol {
    Protocol::new(terms(), hello, NodeId([expected; 16]), Duration::ZERO)
}

/// Carries one side's frames to the other.
fn carry(from: &mut Protocol, to: &mut Protocol, now: Duration) -> Result<Vec<Event>, Ending> {
    let bytes: Vec<u8> = from.output().iter().flat_map(EncodedFrame::to_bytes).collect();
    let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (used, event) = to.input(rest, now, WALL_MS)?;
        rest = &rest[used..];
        if let Some(Event::Greeted(_)) = &event {
            to.welcome();
        }
        events.extend(event);
    }
    Ok(events)
}

/// Two that are open.
fn pair() -> (Protocol, Protocol) {
    let (mut a, mut b) = (start(hello(1), 2), start(hello(2), 1));
    assert_eq!(carry(&mut a, &mut b, Duration::ZERO).unwrap(), [Event::Greeted(hello(1).into())]);
    let events = carry(&mut b, &mut a, Duration::ZERO).unwrap();
    assert_eq!(events[0], Event::Greeted(hello(2).into()));
    assert_eq!(events[1], Event::Open);
    assert_eq!(carry(&mut a, &mut b, Duration::ZERO).unwrap(), [Event::Open]);
    carry(&mut b, &mut a, Duration::ZERO).unwrap();
    carry(&mut a, &mut b, Duration::ZERO).unwrap();
    (a, b)
}

fn said(protocol: &Protocol, volume: VolumeId, message: Message) -> Vec<u8> {
    let (kind, payload) = message.encode();
    frame::encode(kind, protocol.number_of(volume), payload).to_bytes()
}

#[test]
fn both_number_shared_volumes_alike_and_hand_over_what_comes() {
    let (a, mut b) = pair();
    assert_eq!(a.agreement().volumes, [VolumeId([4; 16]), VolumeId([5; 16])]);
    assert_eq!(a.agreement().volumes, b.agreement().volumes);
    let message = Message::Committed(Lsn::new(1, 7).unwrap());
    let bytes = said(&a, VolumeId([5; 16]), message.clone());
    let (used, event) = b.input(&bytes, Duration::ZERO, WALL_MS).unwrap();
    let volume = VolumeId([5; 16]);
    assert_eq!(used, bytes.len());
    assert_eq!(event, Some(Event::Received { volume, message, bytes: 8 }));
}

#[test]
fn each_wrong_greeting_has_its_code_and_both_sides_hear_it() {
    let minute = 60_000;
    let edits: [(Edit, Cause, &str); 10] = [
        (|h| h.node = NodeId([1; 16]), Cause::OwnNode, "which is this node"),
        (|h| h.cluster = ClusterId([8; 16]), Cause::Cluster, "belongs to pair 0808"),
        (|h| h.node = NodeId([3; 16]), Cause::UnknownNode, "is node 0303"),
        (|h| h.clock_ms += 7_200_000, Cause::Clock, "7200 seconds ahead of"),
        (|h| h.clock_ms -= 7_200_000, Cause::Clock, "7200 seconds behind"),
        (|h| h.volumes.truncate(1), Cause::Volume, "v4 (04040404"),
        (|h| h.volumes.push(volume(6, Role::Follower)), Cause::Volume, "this node does not have"),
        (|h| h.volumes[0].level = 9, Cause::FormatLevel, "this node reads up to level 8"),
        (|h| h.volumes[0].reads_level = 7, Cause::FormatLevel, "the peer reads up to level 7"),
        (|h| (h.lowest, h.highest) = (2, 3), Cause::Version, "versions 2 to 3"),
    ];
    for (edit, cause, part) in edits {
        let mut other = hello(2);
        edit(&mut other);
        let (mut a, mut b) = (start(hello(1), 2), start(other, 1));
        let Err(Ending::Refused(refusal)) = carry(&mut b, &mut a, Duration::ZERO) else {
            panic!("{cause:?} was taken");
        };
        assert_eq!(refusal.cause, cause);
        assert!(refusal.sentence.contains(part), "{}", refusal.sentence);
        let mut outcome = a.output().into_iter().filter(|frame| frame.head[4] == 2);
        let refuse = outcome.next().expect("a Refuse is sent").to_bytes();
        let told = b.input(&refuse, Duration::ZERO, WALL_MS);
        assert_eq!(told, Err(Ending::RefusedByPeer(refusal)), "{cause:?}");
    }
    let fine: [(Edit, &str); 3] = [
        (|h| h.clock_ms += 60_000, "a minute"),
        (|h| h.volumes.push(volume(6, Role::Alone)), "a volume of its own"),
        (|h| h.volumes[0].reads_level = 20, "newer software"),
    ];
    for (edit, why) in fine {
        let mut other = hello(2);
        edit(&mut other);
        let (mut a, mut b) = (start(hello(1), 2), start(other, 1));
        assert!(carry(&mut b, &mut a, Duration::ZERO).is_ok(), "{why}");
    }
    // A greeting that was under way for a minute and a half is not taken for a wrong clock.
    let (mut a, mut b) = (start(hello(1), 2), start(hello(2), 1));
    let bytes: Vec<u8> = b.output().iter().flat_map(EncodedFrame::to_bytes).collect();
    let event = a.input(&bytes, Duration::ZERO, WALL_MS + minute + minute / 2);
    assert!(matches!(event, Ok((_, Some(Event::Greeted(_))))));
}

#[test]
fn what_comes_out_of_turn_is_refused() {
    let ping = || {
        let (kind, payload) = Control::Ping { number: 1, sent_ms: 1 }.encode();
        frame::encode(kind, None, payload).to_bytes()
    };
    let (open, mut b) = pair();
    let groups = said(&open, VolumeId([4; 16]), Message::Groups(vec![1; 10]));
    for early in [ping(), groups.clone()] {
        let mut fresh = start(hello(1), 2);
        let ending = fresh.input(&early, Duration::ZERO, WALL_MS).unwrap_err();
        assert!(matches!(&ending, Ending::Refused(r) if r.cause == Cause::TooEarly), "{ending}");
        let after = fresh.input(&groups, Duration::ZERO, WALL_MS);
        assert_eq!(after, Err(Ending::ClosedHere), "nothing comes after a refusal");
    }
    let second = start(hello(1), 2).output()[0].to_bytes();
    let ending = b.input(&second, Duration::ZERO, WALL_MS).unwrap_err();
    assert!(matches!(&ending, Ending::Refused(r) if r.cause == Cause::TooEarly), "{ending}");
    let (_, mut b) = pair();
    let unknown = frame::encode(Kind::Groups, Some(VolumeNumber(2)), vec![1]).to_bytes();
    let ending = b.input(&unknown, Duration::ZERO, WALL_MS).unwrap_err();
    assert!(matches!(&ending, Ending::Refused(r) if r.cause == Cause::UnknownVolume), "{ending}");
}

#[test]
fn pings_measure_the_way_and_silence_ends_it() {
    let (mut a, mut b) = pair();
    let ms = Duration::from_millis;
    a.tick(ms(250), Waiting::ForPeer).unwrap();
    carry(&mut a, &mut b, ms(260)).unwrap();
    carry(&mut b, &mut a, ms(280)).unwrap();
    assert_eq!(a.round_trip().last_us, 30_000);
    assert!(a.tick(ms(1779), Waiting::ForPeer).is_ok());
    assert!(a.tick(ms(1900), Waiting::ForCaller).is_ok(), "we did not read, so we did not hear");
    assert!(a.tick(ms(3399), Waiting::ForPeer).is_ok());
    assert_eq!(a.tick(ms(3400), Waiting::ForPeer), Err(Ending::Silent { silent_ms: 1500 }));
}

#[test]
fn a_greeting_has_its_time() {
    let mut a = start(hello(1), 2);
    assert!(a.tick(Duration::from_millis(9_999), Waiting::ForPeer).is_ok());
    let ending = a.tick(Duration::from_secs(10), Waiting::ForPeer).unwrap_err();
    assert!(matches!(&ending, Ending::Refused(r) if r.cause == Cause::TooSlow), "{ending}");
}
