//! What stands in etcd of one volume: which epoch it is in, who opened it, and who may follow.
//!
//! One line of JSON, so that an operator can read it with `etcdctl get`:
//!
//! ```text
//! {"version":1,"epoch":7,"epoch_id":"…","node":"…","in_sync":"…","fork":"6.1234","given_up":false}
//!
//! version   of this format
//! epoch     the epoch's number
//! epoch_id  its 128 random bits, in hexadecimal digits: two epochs of equal number differ here
//! node      who opened it: the primary
//! in_sync   the node that has on its disk all that the primary acknowledges, null if none
//! fork      the last position that the epoch inherited, epoch.sequence; 0.0 for the first of all
//! given_up  whether the primary laid it down, so that the next need not wait for its lease
//! ```
//!
//! `in_sync` names its node: of a pair of which one node was replaced, the old one, coming back,
//! must not take the new one's mark for its own.
//!
//! # Invariants
//! 1. `fork` is of an earlier epoch.
//! 2. Who does not know the version changes nothing.

use std::fmt::{self, Display};

use engine::ids::{EpochId, Lsn, NodeId};
use serde::{Deserialize, Serialize};

/// Version of the format.
pub const STANDING_VERSION: u32 = 1;
/// Bytes of it at most.
pub const STANDING_BYTES_MAX: usize = 1024;

/// An epoch, as the node that opens it describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    number: u16,
    id: EpochId,
    node: NodeId,
    fork: Lsn,
}

/// The fork of an epoch is not of an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("epoch {number} cannot begin at {fork}, which is not of an earlier epoch")]
pub struct ForkAbove {
    /// The number of the epoch.
    pub number: u16,
    /// Where it was to begin.
    pub fork: Lsn,
}

impl Epoch {
    /// The epoch `number`, opened by `node` after `fork`.
    ///
    /// # Errors
    /// When the fork is not of an earlier epoch.
    pub fn new(number: u16, id: EpochId, node: NodeId, fork: Lsn) -> Result<Epoch, ForkAbove> {
        match fork.epoch() < number || fork == Lsn::ZERO {
            true => Ok(Epoch { number, id, node, fork }),
            false => Err(ForkAbove { number, fork }),
        }
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Its identity.
    pub const fn id(&self) -> EpochId {
        self.id
    }

    /// Who opened it.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The last position that it inherited.
    pub const fn fork(&self) -> Lsn {
        self.fork
    }
}

/// What stands there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The epoch, with its primary.
    pub epoch: Epoch,
    /// The node that has all that the primary acknowledges, and so may be promoted unasked.
    pub in_sync: Option<NodeId>,
    /// Whether the primary laid the epoch down.
    pub given_up: bool,
}

/// The members, in the order in which they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    epoch: u16,
    epoch_id: String,
    node: String,
    in_sync: Option<String>,
    fork: String,
    given_up: bool,
}

/// The one member that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Why a value is none of ours.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StandingFlaw {
    /// A later Pillarbox wrote it.
    #[error("it is of version {0}, and this Pillarbox knows version {STANDING_VERSION}")]
    Version(u32),
    /// Longer than any of ours.
    #[error("it has {0} bytes, and at most {STANDING_BYTES_MAX} are allowed")]
    Long(usize),
    /// No JSON of these members.
    #[error("it is not what Pillarbox writes: {0}")]
    Form(String),
    /// A member does not hold what it should.
    #[error("its member {0} does not hold what it should")]
    Member(&'static str),
    /// Invariant 1.
    #[error(transparent)]
    Fork(ForkAbove),
}

impl Standing {
    /// As it is written.
    pub fn encode(&self) -> Vec<u8> {
        let written = Written {
            version: STANDING_VERSION,
            epoch: self.epoch.number,
            epoch_id: self.epoch.id.to_string(),
            node: self.epoch.node.to_string(),
            in_sync: self.in_sync.map(|node| node.to_string()),
            fork: self.epoch.fork.to_string(),
            given_up: self.given_up,
        };
        serde_json::to_vec(&written).expect("numbers, words and texts are written as JSON")
    }

    /// From what was written.
    ///
    /// # Errors
    /// When it is none of ours, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Standing, StandingFlaw> {
        if bytes.len() > STANDING_BYTES_MAX {
            return Err(StandingFlaw::Long(bytes.len()));
        }
        let form = |flaw: serde_json::Error| StandingFlaw::Form(flaw.to_string());
        let Versioned { version } = serde_json::from_slice(bytes).map_err(form)?;
        if version != STANDING_VERSION {
            return Err(StandingFlaw::Version(version));
        }
        let written: Written = serde_json::from_slice(bytes).map_err(form)?;
        let member = |name| StandingFlaw::Member(name);
        let id = hexadecimal(&written.epoch_id).ok_or(member("epoch_id"))?;
        let node = hexadecimal(&written.node).ok_or(member("node"))?;
        let in_sync = match &written.in_sync {
            Some(node) => Some(NodeId(hexadecimal(node).ok_or(member("in_sync"))?)),
            None => None,
        };
        let fork = position(&written.fork).ok_or(member("fork"))?;
        let epoch = Epoch::new(written.epoch, EpochId(id), NodeId(node), fork)
            .map_err(StandingFlaw::Fork)?;
        Ok(Standing { epoch, in_sync, given_up: written.given_up })
    }
}

impl Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} of node {}", self.epoch.number, self.epoch.node)?;
        match self.in_sync {
            Some(node) => write!(f, ", node {node} in sync")?,
            None => write!(f, ", nobody in sync")?,
        }
        if self.given_up { write!(f, ", given up") } else { Ok(()) }
    }
}

/// 128 bits of 32 lower-case digits.
fn hexadecimal(text: &str) -> Option<[u8; 16]> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_id = text.len() == 32 && text.bytes().all(is_digit);
    is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

/// A position of `epoch.sequence`, as [`Lsn`] is displayed.
fn position(text: &str) -> Option<Lsn> {
    let (epoch, sequence) = text.split_once('.')?;
    let lsn = Lsn::new(epoch.parse().ok()?, sequence.parse().ok()?)?;
    (lsn.to_string() == text).then_some(lsn)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn example() -> Standing {
        let fork = Lsn::new(6, 1234).unwrap();
        let epoch = Epoch::new(7, EpochId([0xE7; 16]), NodeId([0x0A; 16]), fork).unwrap();
        Standing { epoch, in_sync: Some(NodeId([0x0B; 16])), given_up: false }
    }

    #[test]
    fn the_format_stays_as_it_was() {
        let golden = include_str!("../../tests/golden/standing_1.json");
        let none = Standing { in_sync: None, given_up: true, ..example() };
        let found = [example(), none].map(|standing| String::from_utf8(standing.encode()).unwrap());
        assert_eq!(golden, found.join("\n") + "\n");
        for (line, expected) in golden.lines().zip([example(), none]) {
            assert_eq!(Standing::decode(line.as_bytes()), Ok(expected));
        }
    }

    #[test]
    fn what_is_none_of_ours_is_refused() {
        let good = String::from_utf8(example().encode()).unwrap();
        let member = |name| Err(StandingFlaw::Member(name));
        let fork = ForkAbove { number: 7, fork: Lsn::new(7, 1234).unwrap() };
        let table = [
            ("\"version\":1", "\"version\":2", Err(StandingFlaw::Version(2)), "a later version"),
            ("\"version\":1", "\"version\":2,\"more\":3", Err(StandingFlaw::Version(2)), "more"),
            ("0a0a", "0A0A", member("node"), "capital digits"),
            ("e7e7", "e7e", member("epoch_id"), "a digit less"),
            ("e7e7", "+7e7", member("epoch_id"), "a sign"),
            ("\"0b0b", "\"0b0x", member("in_sync"), "no digit"),
            ("6.1234", "6.01234", member("fork"), "a zero before"),
            ("6.1234", "6", member("fork"), "half a position"),
            ("6.1234", "6.140737488355328", member("fork"), "47 bits"),
            ("6.1234", "7.1234", Err(StandingFlaw::Fork(fork)), "its own epoch"),
        ];
        for (from, to, expected, reason) in table {
            let text = good.replacen(from, to, 1);
            assert_eq!(Standing::decode(text.as_bytes()), expected, "{reason}: {text}");
        }
        let form = ["", "{", "[]", "{}", "\u{0}", &good[1..], &format!("{good} x"), "null"];
        let unknown = good.replacen("\"node\"", "\"nodes\"", 1);
        let number = good.replacen("\"epoch\":7", "\"epoch\":65536", 1);
        for text in form.into_iter().chain([unknown.as_str(), &number]) {
            let found = Standing::decode(text.as_bytes());
            assert!(matches!(found, Err(StandingFlaw::Form(_))), "{text}: {found:?}");
        }
        let long = format!("{good}{}", " ".repeat(STANDING_BYTES_MAX));
        assert_eq!(Standing::decode(long.as_bytes()), Err(StandingFlaw::Long(long.len())));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (number, below, id, node) in any::<(u16, u16, [u8; 16], [u8; 16])>(),
            sequence in 0..1_u64 << 47,
            (in_sync, given_up) in any::<(Option<[u8; 16]>, bool)>(),
        ) {
            let epoch = if number == 0 { 0 } else { below % number };
            let sequence = if number == 0 { 0 } else { sequence };
            let fork = Lsn::new(epoch, sequence).unwrap();
            let epoch = Epoch::new(number, EpochId(id), NodeId(node), fork).unwrap();
            let standing = Standing { epoch, in_sync: in_sync.map(NodeId), given_up };
            let bytes = standing.encode();
            prop_assert!(bytes.len() <= STANDING_BYTES_MAX);
            prop_assert_eq!(Standing::decode(&bytes), Ok(standing));
        }
    }
}
