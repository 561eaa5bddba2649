//! What two nodes say to each other: kinds, bounds, and their bytes.
//!
//! The payloads, without the head that `frame` puts before them:
//!
//! ```text
//! kind  name       payload
//!    1  Hello      see `hello`; the first frame in each direction
//!    2  Refuse     code 2, sentence (rest)
//!    3  Welcome    version 2: the peer's Hello was good
//!    4  Ping       number 8, sent_ms 8 (monotonic, means something to its sender only)
//!    5  Pong       the same, as they came
//!   16  Follow     lsn 8, hash 32: the last group that I have; ship what follows it
//!   17  Behind     oldest 8: what follows is no longer in my log, from here on it is
//!   18  Groups     whole groups as they lie in the log, without padding (rest)
//!   19  Noted      lsn 8, hash 32: durable on my disk up to this group
//!   20  Committed  lsn 8: what is up to here may be shown
//!   24  KeyTable   version 8, the file (rest)
//!   25  KeysNoted  version 8: durable on my disk
//!   32  Propose    request 16, changes (rest)
//!   33  Outcome    request 16, as_of 8, answer (rest)
//!   34  Withdraw   request 16
//!   40  HandOver   lsn 8, hash 32: from a primary: this is all, take over; from a follower: please
//!                  do, whatever the position
//!   64  CopyBegin    nothing: I need a full copy
//!   65  CopyOffer    what it consists of (rest), see `engine::full_copy`
//!   66  CopyAsk      file 4, offset 8, length 4: send me that piece
//!   67  CopyPiece    file 4, offset 8, bytes (rest)
//!   68  CopyCheck    file 4, length 8, hash 32: does it begin with so many bytes of that BLAKE3?
//!   69  CopyChecked  file 4, 1: yes or 0: no
//!   70  CopyRefused  sentence (rest): nothing is lent, and why
//!   80  Ask        number 8, question (rest): of what one node reads for the other; see
//!                  `node/inquiry`
//!   81  Told       number 8, answer (rest)
//!  120 …  joining, see `joining`
//! ```
//!
//! # Invariants
//! 1. Decoding takes each byte of a payload into account, or refuses it.
//! 2. What stands before a payload's rest has a fixed size, so the bound of a frame is the bound of
//!    its message.
//! 3. Messages from 16 on are about a volume, which the frame's head names; others about none.

mod fields;
mod hello;

use engine::ids::{KeyTableVersion, Lsn, RequestId};
use engine::limits::GROUP_BYTES_MAX;

pub use fields::Malformed;
pub(crate) use fields::{Fields, put_text};
pub use hello::{
    Acknowledgement, ClusterId, EPOCHS_MAX, Epoch, GroupEnd, HELLO_MAGIC, Hello, Parent, Role,
    VOLUMES_MAX, VolumeState,
};

use super::refusal::Refusal;

/// A volume as a connection numbers it: see [`super::checks::shared_volumes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VolumeNumber(pub u16);

/// About the connection itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Control {
    /// Who I am.
    Hello(Box<Hello>),
    /// I will not talk to you, and why.
    Refuse(Refusal),
    /// Your Hello was good.
    Welcome {
        /// The protocol version that we speak: the highest that both know.
        version: u16,
    },
    /// Are you there?
    Ping {
        /// Counts up.
        number: u64,
        /// The sender's monotonic clock.
        sent_ms: u64,
    },
    /// I am.
    Pong {
        /// The ping's.
        number: u64,
        /// The ping's.
        sent_ms: u64,
    },
}

/// About a volume: what is handed to the caller, and what it sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Ship me what follows this group.
    Follow(GroupEnd),
    /// What you asked for is gone: a full copy is needed.
    Behind {
        /// The oldest position that can be shipped; zero: it is not known.
        oldest: Lsn,
    },
    /// Whole groups, as they lie in the log.
    Groups(Vec<u8>),
    /// Durable on the sender's disk up to this group.
    Noted(GroupEnd),
    /// Committed up to this position.
    Committed(Lsn),
    /// The key table.
    KeyTable {
        /// Its version.
        version: KeyTableVersion,
        /// Its file.
        bytes: Vec<u8>,
    },
    /// That key table is durable on the sender's disk.
    KeysNoted(KeyTableVersion),
    /// From a primary that acknowledges nothing any more: this is all there is, open the next
    /// epoch. From a follower: please hand over.
    HandOver(GroupEnd),
    /// Changes that the sender's clients ask for.
    Propose {
        /// Names the request, so that it takes effect once.
        request: RequestId,
        /// The changes.
        bytes: Vec<u8>,
    },
    /// What became of a request.
    Outcome {
        /// The request.
        request: RequestId,
        /// The position as of which this is so.
        as_of: Lsn,
        /// The answer.
        bytes: Vec<u8>,
    },
    /// A question about what the receiver has.
    Ask {
        /// Counts up; its answer repeats it.
        number: u64,
        /// The question.
        bytes: Vec<u8>,
    },
    /// What a question is answered.
    Told {
        /// The question's.
        number: u64,
        /// The answer.
        bytes: Vec<u8>,
    },
    /// The sender answers its client that the request failed: it must not take effect any more.
    Withdraw(RequestId),
    /// The sender needs a full copy.
    CopyBegin,
    /// What a full copy consists of.
    CopyOffer(Vec<u8>),
    /// Send me that piece of a file.
    CopyAsk {
        /// The file's place in the offer.
        file: u32,
        /// Where in it.
        offset: u64,
        /// Bytes.
        length: u32,
    },
    /// The piece that was asked for.
    CopyPiece {
        /// The file's place in the offer.
        file: u32,
        /// Where in it.
        offset: u64,
        /// What is there.
        bytes: Vec<u8>,
    },
    /// Does the file begin with so many bytes of that hash?
    CopyCheck {
        /// The file's place in the offer.
        file: u32,
        /// Bytes.
        length: u64,
        /// Their BLAKE3.
        hash: [u8; 32],
    },
    /// Whether it does.
    CopyChecked {
        /// The file's place in the offer.
        file: u32,
        /// It does.
        is_same: bool,
    },
    /// Nothing is lent, and why.
    CopyRefused(String),
}

/// What one frame says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Something about the connection.
    Control(Control),
    /// Something about a volume.
    Volume(VolumeNumber, Message),
}

/// A kind of frame: its number on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the table above says what each is")]
pub enum Kind {
    Hello,
    Refuse,
    Welcome,
    Ping,
    Pong,
    Follow,
    Behind,
    Groups,
    Noted,
    Committed,
    KeyTable,
    KeysNoted,
    HandOver,
    Propose,
    Outcome,
    Withdraw,
    CopyBegin,
    CopyOffer,
    CopyAsk,
    CopyPiece,
    CopyCheck,
    CopyChecked,
    CopyRefused,
    Ask,
    Told,
    Join,
    Joined,
    Stored,
}

/// Bytes of a Hello: room for the histories of several volumes.
pub const HELLO_BYTES_MAX: usize = 4 << 20;
/// Bytes of a refusal's sentence.
pub const SENTENCE_BYTES_MAX: usize = 1024;
/// Bytes of Groups, at most: more than any single group of any segment.
pub const GROUPS_BYTES_CEILING: usize = 16 << 20;
/// Bytes of a key table, at most: one of a million accounts.
pub const KEY_TABLE_BYTES_CEILING: usize = 128 << 20;
/// Bytes of proposed changes: as much as a group can take.
pub const PROPOSE_BYTES_MAX: usize = GROUP_BYTES_MAX + (64 << 10);
/// Bytes of an answer to them.
pub const OUTCOME_BYTES_MAX: usize = 1 << 20;
/// Bytes of an offer of a full copy, at most: one of a million files.
pub const COPY_OFFER_BYTES_CEILING: usize = 64 << 20;
/// Bytes of a piece of a full copy, at most.
pub const COPY_PIECE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a question.
pub const ASK_BYTES_MAX: usize = 64 << 10;
/// Bytes of what it is answered: more than any chunk has.
pub const TOLD_BYTES_MAX: usize = 4 << 20;
/// Bytes of all other kinds.
pub const SMALL_BYTES_MAX: usize = 64;

const _: () = assert!(GROUPS_BYTES_CEILING >= GROUP_BYTES_MAX / 2 * 3 + (64 << 10));

/// Every kind with its number and name.
const KINDS: &[(Kind, u8, &str)] = &[
    (Kind::Hello, 1, "Hello"),
    (Kind::Refuse, 2, "Refuse"),
    (Kind::Welcome, 3, "Welcome"),
    (Kind::Ping, 4, "Ping"),
    (Kind::Pong, 5, "Pong"),
    (Kind::Follow, 16, "Follow"),
    (Kind::Behind, 17, "Behind"),
    (Kind::Groups, 18, "Groups"),
    (Kind::Noted, 19, "Noted"),
    (Kind::Committed, 20, "Committed"),
    (Kind::KeyTable, 24, "KeyTable"),
    (Kind::KeysNoted, 25, "KeysNoted"),
    (Kind::HandOver, 40, "HandOver"),
    (Kind::Propose, 32, "Propose"),
    (Kind::Outcome, 33, "Outcome"),
    (Kind::Withdraw, 34, "Withdraw"),
    (Kind::CopyBegin, 64, "CopyBegin"),
    (Kind::CopyOffer, 65, "CopyOffer"),
    (Kind::CopyAsk, 66, "CopyAsk"),
    (Kind::CopyPiece, 67, "CopyPiece"),
    (Kind::CopyCheck, 68, "CopyCheck"),
    (Kind::CopyChecked, 69, "CopyChecked"),
    (Kind::CopyRefused, 70, "CopyRefused"),
    (Kind::Ask, 80, "Ask"),
    (Kind::Told, 81, "Told"),
    (Kind::Join, 120, "Join"),
    (Kind::Joined, 121, "Joined"),
    (Kind::Stored, 122, "Stored"),
];

impl Kind {
    /// Its number.
    pub fn number(self) -> u8 {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or(0, |(_, number, _)| *number)
    }

    /// The kind of that number.
    pub fn from_number(number: u8) -> Option<Kind> {
        KINDS.iter().find(|(_, known, _)| *known == number).map(|(kind, ..)| *kind)
    }

    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., name)| name)
    }

    /// Whether a frame of this kind names a volume.
    pub fn about_volume(self) -> bool {
        (16..120).contains(&self.number())
    }

    /// Bytes of a payload, before its compression, at most, whatever is configured.
    pub fn bytes_max(self) -> usize {
        match self {
            Kind::Hello => HELLO_BYTES_MAX,
            Kind::Refuse => 2 + SENTENCE_BYTES_MAX,
            Kind::Groups => GROUPS_BYTES_CEILING,
            Kind::KeyTable => 8 + KEY_TABLE_BYTES_CEILING,
            Kind::Propose => PROPOSE_BYTES_MAX,
            Kind::Outcome => OUTCOME_BYTES_MAX,
            Kind::CopyOffer => COPY_OFFER_BYTES_CEILING,
            Kind::CopyPiece => 12 + COPY_PIECE_BYTES_MAX,
            Kind::CopyRefused => SENTENCE_BYTES_MAX,
            Kind::Ask => ASK_BYTES_MAX,
            Kind::Told => TOLD_BYTES_MAX,
            Kind::Join | Kind::Stored => 1024,
            Kind::Joined => KEY_TABLE_BYTES_CEILING + (1 << 20),
            _ => SMALL_BYTES_MAX,
        }
    }
}

impl Control {
    /// Its kind and payload.
    pub fn encode(&self) -> (Kind, Vec<u8>) {
        match self {
            Control::Hello(hello) => (Kind::Hello, hello.encode()),
            Control::Refuse(refusal) => (Kind::Refuse, refusal.encode()),
            Control::Welcome { version } => (Kind::Welcome, version.to_le_bytes().to_vec()),
            Control::Ping { number, sent_ms } => (Kind::Ping, numbers(&[*number, *sent_ms])),
            Control::Pong { number, sent_ms } => (Kind::Pong, numbers(&[*number, *sent_ms])),
        }
    }
}

impl Message {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Message::Follow(_) => Kind::Follow,
            Message::Behind { .. } => Kind::Behind,
            Message::Groups(_) => Kind::Groups,
            Message::Noted(_) => Kind::Noted,
            Message::Committed(_) => Kind::Committed,
            Message::KeyTable { .. } => Kind::KeyTable,
            Message::KeysNoted(_) => Kind::KeysNoted,
            Message::HandOver(_) => Kind::HandOver,
            Message::Propose { .. } => Kind::Propose,
            Message::Outcome { .. } => Kind::Outcome,
            Message::Withdraw(_) => Kind::Withdraw,
            Message::CopyBegin => Kind::CopyBegin,
            Message::CopyOffer(_) => Kind::CopyOffer,
            Message::CopyAsk { .. } => Kind::CopyAsk,
            Message::CopyPiece { .. } => Kind::CopyPiece,
            Message::CopyCheck { .. } => Kind::CopyCheck,
            Message::CopyChecked { .. } => Kind::CopyChecked,
            Message::CopyRefused(_) => Kind::CopyRefused,
            Message::Ask { .. } => Kind::Ask,
            Message::Told { .. } => Kind::Told,
        }
    }

    /// Bytes of its payload.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Message::Groups(bytes) => bytes.len(),
            Message::Follow(_) | Message::Noted(_) | Message::HandOver(_) => 40,
            Message::Behind { .. } | Message::Committed(_) | Message::KeysNoted(_) => 8,
            Message::KeyTable { bytes, .. } => 8 + bytes.len(),
            Message::Propose { bytes, .. } => 16 + bytes.len(),
            Message::Outcome { bytes, .. } => 24 + bytes.len(),
            Message::Withdraw(_) | Message::CopyAsk { .. } => 16,
            Message::CopyBegin => 0,
            Message::CopyOffer(bytes) => bytes.len(),
            Message::CopyPiece { bytes, .. } => 12 + bytes.len(),
            Message::CopyCheck { .. } => 44,
            Message::CopyChecked { .. } => 5,
            Message::CopyRefused(sentence) => sentence.len(),
            Message::Ask { bytes, .. } | Message::Told { bytes, .. } => 8 + bytes.len(),
        }
    }

    /// Its kind and payload; what is large is moved, not copied, where nothing stands before it.
    pub fn encode(self) -> (Kind, Vec<u8>) {
        match self {
            Message::Follow(after) => (Kind::Follow, group_end(&after)),
            Message::Behind { oldest } => (Kind::Behind, numbers(&[oldest.bits()])),
            Message::Groups(bytes) => (Kind::Groups, bytes),
            Message::Noted(upto) => (Kind::Noted, group_end(&upto)),
            Message::Committed(lsn) => (Kind::Committed, numbers(&[lsn.bits()])),
            Message::KeyTable { version, bytes } => {
                (Kind::KeyTable, [&version.0.to_le_bytes(), bytes.as_slice()].concat())
            }
            Message::KeysNoted(version) => (Kind::KeysNoted, numbers(&[version.0])),
            Message::HandOver(last) => (Kind::HandOver, group_end(&last)),
            Message::Propose { request, bytes } => {
                (Kind::Propose, [&request.0, bytes.as_slice()].concat())
            }
            Message::Outcome { request, as_of, bytes } => {
                let head = [&request.0[..], &as_of.bits().to_le_bytes()].concat();
                (Kind::Outcome, [head, bytes].concat())
            }
            Message::Withdraw(request) => (Kind::Withdraw, request.0.to_vec()),
            Message::CopyBegin => (Kind::CopyBegin, Vec::new()),
            Message::CopyOffer(bytes) => (Kind::CopyOffer, bytes),
            Message::CopyAsk { file, offset, length } => {
                (Kind::CopyAsk, [&place(file, offset)[..], &length.to_le_bytes()].concat())
            }
            Message::CopyPiece { file, offset, bytes } => {
                (Kind::CopyPiece, [&place(file, offset)[..], &bytes].concat())
            }
            Message::CopyCheck { file, length, hash } => {
                (Kind::CopyCheck, [&place(file, length)[..], &hash].concat())
            }
            Message::CopyChecked { file, is_same } => {
                (Kind::CopyChecked, [&file.to_le_bytes()[..], &[u8::from(is_same)]].concat())
            }
            Message::CopyRefused(sentence) => (Kind::CopyRefused, sentence.into_bytes()),
            Message::Ask { number, bytes } => {
                (Kind::Ask, [&number.to_le_bytes(), bytes.as_slice()].concat())
            }
            Message::Told { number, bytes } => {
                (Kind::Told, [&number.to_le_bytes(), bytes.as_slice()].concat())
            }
        }
    }
}

impl Said {
    /// Reads a frame's payload. Kinds of joining are not read here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(
        kind: Kind,
        volume: Option<VolumeNumber>,
        payload: Vec<u8>,
    ) -> Result<Said, Malformed> {
        match volume {
            Some(number) => Message::decode(kind, payload).map(|said| Said::Volume(number, said)),
            None => Control::decode(kind, &payload).map(Said::Control),
        }
    }
}

impl Control {
    fn decode(kind: Kind, payload: &[u8]) -> Result<Control, Malformed> {
        let mut fields = Fields::new(payload);
        let control = match kind {
            Kind::Hello => return Hello::decode(payload).map(|hello| Control::Hello(hello.into())),
            Kind::Refuse => return Refusal::decode(payload).map(Control::Refuse),
            Kind::Welcome => Control::Welcome { version: fields.u16("version")? },
            Kind::Ping => {
                Control::Ping { number: fields.u64("number")?, sent_ms: fields.u64("sent_ms")? }
            }
            Kind::Pong => {
                Control::Pong { number: fields.u64("number")?, sent_ms: fields.u64("sent_ms")? }
            }
            other => {
                let found = other.number().into();
                return Err(Malformed::Value { field: "kind, without a volume", found });
            }
        };
        fields.end()?;
        Ok(control)
    }
}

impl Message {
    fn decode(kind: Kind, mut payload: Vec<u8>) -> Result<Message, Malformed> {
        if kind == Kind::Groups {
            return Ok(Message::Groups(payload));
        }
        if (64..80).contains(&kind.number()) {
            return decode_of_copy(kind, payload);
        }
        let mut fields = Fields::new(&payload);
        let message = match kind {
            Kind::Follow => Message::Follow(read_group_end(&mut fields)?),
            Kind::Behind => Message::Behind { oldest: fields.lsn("oldest")? },
            Kind::Noted => Message::Noted(read_group_end(&mut fields)?),
            Kind::Committed => Message::Committed(fields.lsn("lsn")?),
            Kind::KeyTable => {
                let version = KeyTableVersion(fields.u64("version")?);
                payload.drain(..8);
                return Ok(Message::KeyTable { version, bytes: payload });
            }
            Kind::KeysNoted => Message::KeysNoted(KeyTableVersion(fields.u64("version")?)),
            Kind::HandOver => Message::HandOver(read_group_end(&mut fields)?),
            Kind::Propose => {
                let request = RequestId(fields.array("request")?);
                payload.drain(..16);
                return Ok(Message::Propose { request, bytes: payload });
            }
            Kind::Outcome => {
                let request = RequestId(fields.array("request")?);
                let as_of = fields.lsn("as_of")?;
                let bytes = fields.rest().to_vec();
                return Ok(Message::Outcome { request, as_of, bytes });
            }
            Kind::Withdraw => Message::Withdraw(RequestId(fields.array("request")?)),
            Kind::Ask => {
                let number = fields.u64("number")?;
                return Ok(Message::Ask { number, bytes: fields.rest().to_vec() });
            }
            Kind::Told => {
                let number = fields.u64("number")?;
                return Ok(Message::Told { number, bytes: fields.rest().to_vec() });
            }
            other => {
                let found = other.number().into();
                return Err(Malformed::Value { field: "kind, with a volume", found });
            }
        };
        fields.end()?;
        Ok(message)
    }
}

/// Messages of a full copy.
fn decode_of_copy(kind: Kind, mut payload: Vec<u8>) -> Result<Message, Malformed> {
    match kind {
        Kind::CopyOffer => return Ok(Message::CopyOffer(payload)),
        Kind::CopyRefused => {
            let sentence = String::from_utf8_lossy(&payload);
            let sentence = sentence.chars().filter(|letter| !letter.is_control()).collect();
            return Ok(Message::CopyRefused(sentence));
        }
        _ => {}
    }
    let mut fields = Fields::new(&payload);
    let message = match kind {
        Kind::CopyBegin => Message::CopyBegin,
        Kind::CopyAsk => Message::CopyAsk {
            file: fields.u32("file")?,
            offset: fields.u64("offset")?,
            length: fields.u32("length")?,
        },
        Kind::CopyPiece => {
            let (file, offset) = (fields.u32("file")?, fields.u64("offset")?);
            payload.drain(..12);
            return Ok(Message::CopyPiece { file, offset, bytes: payload });
        }
        Kind::CopyCheck => Message::CopyCheck {
            file: fields.u32("file")?,
            length: fields.u64("length")?,
            hash: fields.array("hash")?,
        },
        Kind::CopyChecked => Message::CopyChecked {
            file: fields.u32("file")?,
            is_same: match fields.u8("is same")? {
                0 => false,
                1 => true,
                other => {
                    let found = other.into();
                    return Err(Malformed::Value { field: "is same", found });
                }
            },
        },
        other => {
            let found = other.number().into();
            return Err(Malformed::Value { field: "kind, with a volume", found });
        }
    };
    fields.end()?;
    Ok(message)
}

fn place(file: u32, offset: u64) -> Vec<u8> {
    [&file.to_le_bytes()[..], &offset.to_le_bytes()].concat()
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn group_end(end: &GroupEnd) -> Vec<u8> {
    [&end.lsn.bits().to_le_bytes()[..], &end.hash].concat()
}

fn read_group_end(fields: &mut Fields<'_>) -> Result<GroupEnd, Malformed> {
    Ok(GroupEnd { lsn: fields.lsn("lsn")?, hash: fields.array("hash")? })
}

#[cfg(test)]
mod tests;
