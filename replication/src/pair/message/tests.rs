//! Messages both ways: golden bytes, any values, and what is refused.

use std::path::Path;

use engine::ids::{EpochId, Incarnation, NodeId, VolumeId};
use proptest::prelude::*;

use super::*;
use crate::pair::refusal::Cause;

fn lsn(sequence: u64) -> Lsn {
    Lsn::new(3, sequence).unwrap()
}

fn volume(number: u8, name: &str) -> VolumeState {
    let epoch = |number: u16, parent| Epoch {
        number,
        id: EpochId([number as u8; 16]),
        parent,
        node: NodeId([1; 16]),
        first: Lsn::new(number, 1).unwrap(),
    };
    let fork = Lsn::new(1, 99).unwrap();
    VolumeState {
        id: VolumeId([number; 16]),
        name: name.to_owned(),
        reads_level: 8,
        level: 7,
        role: Role::Primary,
        acknowledgement: Acknowledgement::Durable,
        history: vec![epoch(1, None), epoch(3, Some(Parent { id: EpochId([1; 16]), fork }))],
        last: GroupEnd { lsn: lsn(500), hash: [9; 32] },
        durable: lsn(500),
        held: lsn(100),
        key_version: KeyTableVersion(3 << 48 | 5),
    }
}

fn hello() -> Hello {
    Hello {
        lowest: 1,
        highest: 1,
        node: NodeId([1; 16]),
        cluster: ClusterId([2; 16]),
        incarnation: Incarnation([3; 16]),
        clock_ms: 1_795_000_000_000,
        software: "pillarbox 0.1.0".to_owned(),
        volumes: vec![volume(4, "main"), volume(5, "second")],
    }
}

/// One of each, as it was decided.
fn examples() -> Vec<Said> {
    let about = |message| Said::Volume(VolumeNumber(1), message);
    let end = GroupEnd { lsn: lsn(7), hash: [8; 32] };
    let request = RequestId([6; 16]);
    let refusal = Refusal::new(Cause::Clock, "the clocks are two hours apart");
    vec![
        Said::Control(Control::Hello(Box::new(hello()))),
        Said::Control(Control::Refuse(refusal)),
        Said::Control(Control::Welcome { version: 1 }),
        Said::Control(Control::Ping { number: 1, sent_ms: 2 }),
        Said::Control(Control::Pong { number: 1, sent_ms: 2 }),
        about(Message::Follow(end)),
        about(Message::Behind { oldest: lsn(20) }),
        about(Message::Groups(b"PBXg, and so on".to_vec())),
        about(Message::Noted(end)),
        about(Message::Committed(lsn(21))),
        about(Message::KeyTable { version: KeyTableVersion(22), bytes: b"PBKT".to_vec() }),
        about(Message::KeysNoted(KeyTableVersion(22))),
        about(Message::HandOver(end)),
        about(Message::Propose { request, bytes: b"append".to_vec() }),
        about(Message::Outcome { request, as_of: lsn(23), bytes: b"uid 5".to_vec() }),
        about(Message::Withdraw(request)),
        about(Message::CopyBegin),
        about(Message::CopyOffer(b"PBcopy".to_vec())),
        about(Message::CopyAsk { file: 3, offset: 1 << 20, length: 262_144 }),
        about(Message::CopyPiece { file: 3, offset: 1 << 20, bytes: b"sealed".to_vec() }),
        about(Message::CopyCheck { file: 4, length: 99, hash: [9; 32] }),
        about(Message::CopyChecked { file: 4, is_same: true }),
        about(Message::CopyRefused("the disk is full".to_owned())),
        about(Message::Ask { number: 24, bytes: b"what of 5?".to_vec() }),
        about(Message::Told { number: 24, bytes: b"five".to_vec() }),
    ]
}

/// As frames.
fn framed(said: &Said) -> Vec<u8> {
    let (volume, (kind, payload)) = match said.clone() {
        Said::Control(control) => (None, control.encode()),
        Said::Volume(number, message) => (Some(number), message.encode()),
    };
    crate::pair::frame::encode(kind, volume, payload).to_bytes()
}

fn read(mut stream: &[u8]) -> Vec<Said> {
    let mut decoder = crate::pair::frame::FrameDecoder::new(Default::default());
    let mut said = Vec::new();
    while !stream.is_empty() {
        let (used, frame) = decoder.take(stream).unwrap();
        stream = &stream[used..];
        let frame = frame.unwrap();
        said.push(Said::decode(frame.kind, frame.volume, frame.payload).unwrap());
    }
    said
}

#[test]
fn the_messages_are_those_of_the_golden_file() {
    let stream: Vec<u8> = examples().iter().flat_map(framed).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/link_1.bin");
    if std::env::var_os("PILLARBOX_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &stream).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert_eq!(read(&golden), examples(), "what an older version says is still understood");
    // The Hello is compressed, and zstd may do so differently some day.
    assert_eq!(read(&stream), read(&golden));
    let (_, payload) = Control::Hello(Box::new(hello())).encode();
    let path = path.with_file_name("hello_1.bin");
    if std::env::var_os("PILLARBOX_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &payload).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == payload, "Hello changed: a new protocol version");
}

#[test]
fn a_cut_or_longer_message_is_refused() {
    for said in examples() {
        let (volume, (kind, payload)) = match said.clone() {
            Said::Control(control) => (None, control.encode()),
            Said::Volume(number, message) => (Some(number), message.encode()),
        };
        let open_ended = [
            Kind::Refuse,
            Kind::Groups,
            Kind::KeyTable,
            Kind::Propose,
            Kind::Outcome,
            Kind::CopyOffer,
            Kind::CopyPiece,
            Kind::CopyRefused,
            Kind::Ask,
            Kind::Told,
        ]
        .contains(&kind);
        let longer = [payload.as_slice(), &[0]].concat();
        let refused = Said::decode(kind, volume, longer).is_err();
        assert_eq!(refused, !open_ended, "{kind:?} with a byte more");
        if !open_ended && !payload.is_empty() {
            let cut = payload[..payload.len() - 1].to_vec();
            assert!(Said::decode(kind, volume, cut).is_err(), "{kind:?} with a byte less");
        }
    }
}

#[test]
fn a_hello_of_another_time_says_so() {
    let payload = hello().encode();
    let decode = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut payload = payload.clone();
        edit(&mut payload);
        Hello::decode(&payload)
    };
    assert_eq!(decode(&|p| p[0] = b'X'), Err(Malformed::Magic));
    assert_eq!(decode(&|p| p.truncate(3)), Err(Malformed::Magic));
    let newer = Err(Malformed::Version { lowest: 2, highest: 3 });
    let edit = |p: &mut Vec<u8>| {
        (p[8], p[10]) = (2, 3);
        p.truncate(12);
    };
    assert_eq!(decode(&edit), newer, "nothing behind the versions was read");
    let both = decode(&|p| {
        p[10] = 2;
        p.extend_from_slice(b"a field of version 2");
    });
    assert_eq!(both.unwrap().volumes, hello().volumes, "what a newer version adds is passed over");
    assert!(decode(&|p| p.push(0)).is_err());
    let twice = Hello { volumes: vec![volume(4, "a"), volume(4, "b")], ..hello() };
    assert!(Hello::decode(&twice.encode()).is_err());
}

fn any_end() -> impl Strategy<Value = GroupEnd> {
    (any::<u16>(), 0..1_u64 << 47, any::<[u8; 32]>())
        .prop_map(|(epoch, at, hash)| GroupEnd { lsn: Lsn::new(epoch, at).unwrap(), hash })
}

fn any_message() -> impl Strategy<Value = Message> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..2000);
    let request = || any::<[u8; 16]>().prop_map(RequestId);
    let version = || any::<u64>().prop_map(KeyTableVersion);
    prop_oneof![
        any_end().prop_map(Message::Follow),
        any_end().prop_map(|end| Message::Behind { oldest: end.lsn }),
        bytes().prop_map(Message::Groups),
        any_end().prop_map(Message::Noted),
        any_end().prop_map(|end| Message::Committed(end.lsn)),
        (version(), bytes()).prop_map(|(version, bytes)| Message::KeyTable { version, bytes }),
        version().prop_map(Message::KeysNoted),
        any_end().prop_map(Message::HandOver),
        (request(), bytes()).prop_map(|(request, bytes)| Message::Propose { request, bytes }),
        (request(), any_end(), bytes()).prop_map(|(request, end, bytes)| Message::Outcome {
            request,
            as_of: end.lsn,
            bytes
        }),
        request().prop_map(Message::Withdraw),
        Just(Message::CopyBegin),
        bytes().prop_map(Message::CopyOffer),
        any::<(u32, u64, u32)>().prop_map(|(file, offset, length)| Message::CopyAsk {
            file,
            offset,
            length
        }),
        (any::<(u32, u64)>(), bytes()).prop_map(|((file, offset), bytes)| Message::CopyPiece {
            file,
            offset,
            bytes
        }),
        any::<(u32, u64, [u8; 32])>().prop_map(|(file, length, hash)| Message::CopyCheck {
            file,
            length,
            hash
        }),
        any::<(u32, bool)>().prop_map(|(file, is_same)| Message::CopyChecked { file, is_same }),
        "[a-z ü]{0,80}".prop_map(Message::CopyRefused),
        (any::<u64>(), bytes()).prop_map(|(number, bytes)| Message::Ask { number, bytes }),
        (any::<u64>(), bytes()).prop_map(|(number, bytes)| Message::Told { number, bytes }),
    ]
}

proptest! {
    #[test]
    fn any_message_comes_back(number in 0..u16::MAX, message in any_message()) {
        let (kind, payload) = message.clone().encode();
        prop_assert_eq!((message.kind(), message.payload_bytes()), (kind, payload.len()));
        let said = Said::Volume(VolumeNumber(number), message);
        prop_assert_eq!(read(&framed(&said)), vec![said]);
    }

    #[test]
    fn any_hello_comes_back(
        ids in prop::collection::btree_set(any::<[u8; 16]>(), 0..5),
        name in "[a-zé]{0,40}",
        end in any_end(),
        epochs in 0..4_u16,
        clock_ms in any::<u64>(),
    ) {
        let state = |id: &[u8; 16]| {
            let mut state = volume(1, &name);
            state.id = VolumeId(*id);
            state.last = end;
            state.held = end.lsn;
            state.history.truncate(epochs.into());
            state
        };
        let volumes = ids.iter().map(state).collect();
        let hello = Hello { clock_ms, software: name.clone(), volumes, ..hello() };
        prop_assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }

    #[test]
    fn foreign_bytes_never_panic(
        kind in 0..KINDS.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (kind, ..) = KINDS[kind];
        let _ = Said::decode(kind, None, bytes.clone());
        let _ = Said::decode(kind, Some(VolumeNumber(0)), bytes);
    }
}
