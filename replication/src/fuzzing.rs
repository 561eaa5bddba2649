//! Every parser of bytes from another node, from a person who carries a token, and of the file that
//! names the peer: functions from bytes to nothing that panic when a promise breaks.
//!
//! Called by the fuzz targets in `fuzz/` and, on committed inputs, by `tests/fuzz_corpus.rs`. In
//! one hidden list as in the engine, see `engine::fuzzing`.

use std::time::Duration;

use engine::ids::{Incarnation, NodeId, VolumeId};

use crate::directory;
use crate::pair::frame::{AHEAD_BYTES_MAX, FrameBounds, FrameDecoder};
use crate::pair::invitation::Invitation;
use crate::pair::joining::{Answer, Join};
use crate::pair::message::{
    Acknowledgement, ClusterId, Control, GroupEnd, Hello, Kind, Message, Role, Said, VolumeNumber,
    VolumeState,
};
use crate::pair::peer::PeerRecord;
use crate::pair::protocol::{Event, Protocol, Terms};
use crate::pair::{PROTOCOL_HIGHEST, frame};

/// The body of a target: panics when a promise breaks.
pub type Body = fn(&[u8]);

/// Every target with its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("etcd_answer", directory::fuzzing::answer),
    ("etcd_standing", directory::fuzzing::standing),
    ("pair_connection", connection),
    ("pair_frames", frames),
    ("pair_invitation", invitation),
    ("pair_joining", joining),
    ("pair_message", message),
    ("pair_peer_file", peer_file),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or a promise breaks: both are what the caller wants to know.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = found.expect("fuzz/ names targets of the list above");
    body(bytes);
}

/// Small, so that bounds are met.
const BOUNDS: FrameBounds = FrameBounds { groups_bytes_max: 1 << 16, key_table_bytes_max: 1 << 16 };

/// A stream of frames, whole and in pieces as its first byte says: the same frames either way.
fn frames(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let read = |piece: usize| {
        let (mut decoder, mut found) = (FrameDecoder::new(BOUNDS), Vec::new());
        for mut piece in stream.chunks(piece.max(1)) {
            while !piece.is_empty() {
                let (used, frame) = match decoder.take(piece) {
                    Ok(taken) => taken,
                    Err(refusal) => return (found, Some(refusal)),
                };
                assert!(decoder.held_bytes() <= (2 * stream.len()).max(AHEAD_BYTES_MAX));
                piece = piece.get(used..).unwrap_or_default();
                found.extend(frame);
            }
        }
        (found, None)
    };
    let (found, refusal) = read(stream.len());
    assert_eq!((found.clone(), refusal), read(piece.into()));
    for frame in found {
        assert!(frame.payload.len() <= BOUNDS.of(frame.kind));
        let again = frame::encode(frame.kind, frame.volume, frame.payload.clone());
        let mut decoder = FrameDecoder::new(BOUNDS);
        let again = decoder.take(&again.to_bytes()).expect("what we encode is read");
        assert_eq!(again.1.map(|again| again.payload), Some(frame.payload));
    }
}

/// A message: its kind, whether it is about a volume, its payload.
fn message(bytes: &[u8]) {
    let Some(([kind, about], payload)) = bytes.split_first_chunk::<2>() else { return };
    let Some(kind) = Kind::from_number(*kind) else { return };
    let volume = (*about > 0).then_some(VolumeNumber(7));
    let Ok(said) = Said::decode(kind, volume, payload.to_vec()) else { return };
    let (again_kind, again) = match said.clone() {
        Said::Control(control) => control.encode(),
        Said::Volume(_, message) => message.encode(),
    };
    assert_eq!(again_kind, kind);
    let from_the_future =
        matches!(&said, Said::Control(Control::Hello(h)) if h.highest > PROTOCOL_HIGHEST);
    if kind != Kind::Refuse && !from_the_future {
        assert_eq!(again, payload, "each byte of a payload counts");
    }
    assert_eq!(Said::decode(kind, volume, again), Ok(said));
}

/// A token as a person pastes it.
fn invitation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(invitation) = Invitation::parse(text) {
        assert_eq!(Invitation::parse(&invitation.to_token()), Ok(invitation));
    }
}

/// The messages of joining; the first byte says which.
fn joining(bytes: &[u8]) {
    let Some((&which, payload)) = bytes.split_first() else { return };
    if which == 0 {
        if let Ok(join) = Join::decode(payload) {
            assert_eq!(join.encode(), payload);
        }
    } else if let Ok(answer) = Answer::decode(payload) {
        assert_eq!(answer.encode(), payload);
    }
}

/// The file that names the peer.
fn peer_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(peer) = PeerRecord::parse(text) {
        assert_eq!(peer.to_text(), text);
    }
}

fn hello() -> Hello {
    let volume = VolumeState {
        id: VolumeId([4; 16]),
        name: "main".to_owned(),
        reads_level: 8,
        level: 8,
        role: Role::Alone,
        acknowledgement: Acknowledgement::Local,
        history: Vec::new(),
        last: GroupEnd::default(),
        durable: engine::ids::Lsn::ZERO,
        held: engine::ids::Lsn::ZERO,
        key_version: engine::ids::KeyTableVersion(0),
    };
    Hello {
        lowest: 1,
        highest: 1,
        node: NodeId([2; 16]),
        cluster: ClusterId([2; 16]),
        incarnation: Incarnation([3; 16]),
        clock_ms: 1_795_000_000_000,
        software: "pillarbox".to_owned(),
        volumes: vec![volume],
    }
}

/// What a peer sends on one connection, whole and in pieces as the first byte says: the same
/// events, and none after the end or before the greeting.
fn connection(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let whole = talk(stream, stream.len());
    assert_eq!(whole, talk(stream, piece.into()));
    let opened = whole.iter().position(|event| event == "open");
    let first = whole.iter().position(|event| event.starts_with("received"));
    assert!(first.is_none() || opened < first, "something was handed over before the greeting");
}

/// The events and the ending, as texts.
fn talk(stream: &[u8], piece: usize) -> Vec<String> {
    let second = Duration::from_secs(1);
    let terms = Terms {
        bounds: BOUNDS,
        handshake: second,
        heartbeat: second,
        silence: second,
        clock_skew_max: second * 60,
    };
    let mut protocol = Protocol::new(terms, hello(), NodeId([1; 16]), Duration::ZERO);
    let mut told = Vec::new();
    for mut piece in stream.chunks(piece.max(1)) {
        while !piece.is_empty() {
            let (used, event) = match protocol.input(piece, Duration::ZERO, 1_795_000_000_000) {
                Ok(taken) => taken,
                Err(ending) => {
                    told.push(format!("over: {ending}"));
                    return told;
                }
            };
            piece = piece.get(used..).unwrap_or_default();
            match event {
                None => {}
                Some(Event::Greeted(hello)) => {
                    assert_eq!(hello.node, NodeId([1; 16]));
                    protocol.welcome();
                    told.push("greeted".to_owned());
                }
                Some(Event::Open) => told.push("open".to_owned()),
                Some(Event::Received { message, .. }) => told.push(received(&message)),
            }
            // Pings are answered, and the answers are taken as the driver takes them.
            drop(protocol.output());
        }
    }
    told
}

fn received(message: &Message) -> String {
    format!("received {} of {} bytes", message.kind().name(), message.payload_bytes())
}

/// Inputs to begin with: valid ones of each kind. Written by a test, see there.
#[cfg(test)]
mod seeds {
    use super::*;
    use crate::pair::credentials::Fingerprint;
    use crate::pair::invitation::InvitationSecret;
    use crate::pair::joining::Keys;
    use crate::pair::peer::Parity;
    use crate::pair::refusal::{Cause, Refusal};
    use std::path::Path;

    fn peer_hello() -> Hello {
        Hello { node: NodeId([1; 16]), ..hello() }
    }

    fn control(control: &Control) -> Vec<u8> {
        let (kind, payload) = control.encode();
        frame::encode(kind, None, payload).to_bytes()
    }

    fn said(message: Message) -> Vec<u8> {
        let (kind, payload) = message.encode();
        frame::encode(kind, Some(VolumeNumber(0)), payload).to_bytes()
    }

    fn conversation() -> Vec<u8> {
        let greeting = [
            control(&Control::Hello(Box::new(peer_hello()))),
            control(&Control::Welcome { version: 1 }),
            control(&Control::Ping { number: 1, sent_ms: 1 }),
        ];
        let messages = [
            said(Message::Groups(vec![0; 300])),
            said(Message::Committed(engine::ids::Lsn::ZERO)),
            control(&Control::Refuse(Refusal::new(Cause::Stopping, "bye"))),
        ];
        [greeting.concat(), messages.concat()].concat()
    }

    fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
        let golden = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            std::fs::read(folder.join(name)).unwrap()
        };
        let invitation = Invitation {
            cluster: ClusterId([1; 16]),
            fingerprint: Fingerprint([2; 32]),
            secret: InvitationSecret::of([3; 16]),
            address: "[::1]:4190".to_owned(),
        };
        let join = Join {
            node: NodeId([1; 16]),
            proof: [2; 32],
            address: "b:1".to_owned(),
            software: "p".to_owned(),
        };
        let answer = Answer {
            node: NodeId([1; 16]),
            cluster: ClusterId([1; 16]),
            parity: Parity::Odd,
            proof: [2; 32],
            keys: Keys { root_key: vec![1; 10].into(), key_table: vec![2; 10] },
        };
        let peer = PeerRecord {
            cluster: ClusterId([1; 16]),
            node: NodeId([0xAB; 16]),
            fingerprint: Fingerprint([3; 32]),
            parity: Parity::Odd,
            address: "b.example.org:4190".to_owned(),
        };
        let in_pieces = |piece: u8, stream: Vec<u8>| [vec![piece], stream].concat();
        let raw_hello = |node: u8| {
            let hello = Hello { node: NodeId([node; 16]), ..peer_hello() };
            let (_, payload) = Control::Hello(Box::new(hello)).encode();
            let mut frame = frame::encode(Kind::Hello, None, Vec::new()).to_bytes();
            frame[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            [frame, payload].concat()
        };
        vec![
            ("pair_connection", "good", in_pieces(5, conversation())),
            ("pair_connection", "plain_hello", in_pieces(9, raw_hello(1))),
            ("pair_connection", "stranger", in_pieces(9, raw_hello(3))),
            ("pair_frames", "golden", in_pieces(3, golden("link_1.bin"))),
            ("pair_frames", "compressed", in_pieces(1, said(Message::Groups(vec![7; 5000])))),
            ("pair_invitation", "good", invitation.to_token().as_bytes().to_vec()),
            ("pair_joining", "join", in_pieces(0, join.encode())),
            ("pair_joining", "joined", in_pieces(1, answer.encode())),
            ("pair_message", "hello", [vec![1, 0], golden("hello_1.bin")].concat()),
            ("pair_message", "follow", [vec![16, 1], vec![0; 40]].concat()),
            ("pair_message", "refuse", b"\x02\x00\x06\x00clocks".to_vec()),
            ("pair_message", "outcome", [vec![33, 1], vec![0; 40]].concat()),
            ("pair_message", "propose", [vec![32, 1], vec![1; 40]].concat()),
            ("pair_peer_file", "good", peer.to_text().into_bytes()),
        ]
    }

    #[test]
    fn seeds_are_read_as_what_they_are() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (target, name, bytes) in seeds() {
            let path = folder.join(target).join(name);
            if std::env::var_os("PILLARBOX_WRITE_GOLDEN").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            assert!(path.exists(), "{target}/{name} is committed");
            run(target, &bytes);
        }
        let told = talk(&conversation(), 5);
        let expected =
            ["greeted", "open", "received Groups of 300 bytes", "received Committed of 8 bytes"];
        assert_eq!(told[..4], expected);
        assert!(told[4].contains("bye"), "{told:?}");
        assert!(talk(&seeds()[2].2[1..], 9)[0].contains("is node 0303"));
    }
}
