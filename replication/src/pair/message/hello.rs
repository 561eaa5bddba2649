//! Hello: who a node is and what its volumes are like, before anything else is said.
//!
//! ```text
//! offset  size  field         meaning
//!      0     8  magic         "PBXpair\n"
//!      8     2  lowest        protocol version that the sender speaks
//!     10     2  highest
//!     12    16  node
//!     28    16  cluster       random, made with the first node of the pair
//!     44    16  incarnation   of the running process, random at every start
//!     60     8  clock_ms      since 1970, when this was written
//!     68  1+n   software      name and version, for messages
//!      …     2  volume_count  at most VOLUMES_MAX
//!
//!  a volume:
//!      0    16  id
//!     16  1+n   name
//!      …     4  reads_level   highest format level that this binary reads
//!      …     4  level         in force
//!      …     1  role          0 alone, 1 primary, 2 follower
//!      …     1  mode          of acknowledgement: 0 local, 1 durable
//!      …  8+32  last          position and hash of the last group in its log
//!      …     8  durable       position up to which that is on its disk
//!      …     8  held          position of the held checkpoint
//!      …     8  key_version   of its key table
//!      …     4  epoch_count   at most EPOCHS_MAX
//!
//!  an epoch of its history, oldest first:
//!      0     2  number
//!      2    16  id
//!     18     1  has_parent    0 or 1; then parent's id 16 and fork 8
//!      …    16  node          that opened it
//!      …     8  first         its first position
//! ```
//!
//! # Invariants
//! 1. Magic and versions stay where they are in every version, and nothing behind them is read
//!    where no version is shared.
//! 2. A newer version may add fields at the end; who does not know them passes over them.
//! 3. No volume is named twice: volumes are numbered by the order of their ids.

use engine::ids::{EpochId, Incarnation, KeyTableVersion, Lsn, NodeId, VolumeId};

use super::fields::{Fields, Malformed, put_text};
use crate::pair::{PROTOCOL_HIGHEST, PROTOCOL_LOWEST};

/// First bytes of every Hello.
pub const HELLO_MAGIC: [u8; 8] = *b"PBXpair\n";
/// Volumes of one node.
pub const VOLUMES_MAX: usize = 256;
/// Epochs of one volume's history: every number that there is.
pub const EPOCHS_MAX: usize = 1 << 16;

/// A pair's identity: random, made with its first node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClusterId(pub [u8; 16]);

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Where a log ends: the last position of a group, and the hash of that group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupEnd {
    /// The group's `last_lsn`.
    pub lsn: Lsn,
    /// BLAKE3 of its header, which the next group repeats.
    pub hash: [u8; 32],
}

/// What a node is for a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The volume is on this node only.
    Alone,
    /// It takes changes and ships them.
    Primary,
    /// It takes what is shipped.
    Follower,
}

/// When a change is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acknowledgement {
    /// When it is on the primary's disk.
    Local,
    /// When it is on both disks.
    Durable,
}

/// Where an epoch came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parent {
    /// The epoch before.
    pub id: EpochId,
    /// The last position inherited from it.
    pub fork: Lsn,
}

/// An epoch of a volume's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// Its number.
    pub number: u16,
    /// Its identity.
    pub id: EpochId,
    /// Where it came from; `None` for a volume's first.
    pub parent: Option<Parent>,
    /// Who opened it.
    pub node: NodeId,
    /// Its first position.
    pub first: Lsn,
}

/// How a volume is on the node that says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeState {
    /// The volume.
    pub id: VolumeId,
    /// What people call it.
    pub name: String,
    /// The highest format level that the binary reads.
    pub reads_level: u32,
    /// The format level in force.
    pub level: u32,
    /// What the node is for it.
    pub role: Role,
    /// When changes are acknowledged.
    pub acknowledgement: Acknowledgement,
    /// All epochs, oldest first.
    pub history: Vec<Epoch>,
    /// Where the log ends.
    pub last: GroupEnd,
    /// Up to where the log is on disk.
    pub durable: Lsn,
    /// The held checkpoint.
    pub held: Lsn,
    /// The key table.
    pub key_version: KeyTableVersion,
}

/// Who a node is, and how its volumes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The lowest protocol version that it speaks.
    pub lowest: u16,
    /// The highest.
    pub highest: u16,
    /// The node.
    pub node: NodeId,
    /// Its pair.
    pub cluster: ClusterId,
    /// The running process: a connection to an earlier one is dead, whatever it looks like.
    pub incarnation: Incarnation,
    /// The wall clock.
    pub clock_ms: u64,
    /// Name and version of the software.
    pub software: String,
    /// Its volumes.
    pub volumes: Vec<VolumeState>,
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend_from_slice(&HELLO_MAGIC);
        payload.extend_from_slice(&self.lowest.to_le_bytes());
        payload.extend_from_slice(&self.highest.to_le_bytes());
        payload.extend_from_slice(&self.node.0);
        payload.extend_from_slice(&self.cluster.0);
        payload.extend_from_slice(&self.incarnation.0);
        payload.extend_from_slice(&self.clock_ms.to_le_bytes());
        put_text(&self.software, &mut payload);
        let count = u16::try_from(self.volumes.len()).unwrap_or(u16::MAX);
        payload.extend_from_slice(&count.to_le_bytes());
        for volume in &self.volumes {
            volume.encode(&mut payload);
        }
        payload
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Hello, Malformed> {
        let mut fields = Fields::new(payload);
        if fields.array("magic").map_err(|_| Malformed::Magic)? != HELLO_MAGIC {
            return Err(Malformed::Magic);
        }
        let (lowest, highest) = (fields.u16("lowest")?, fields.u16("highest")?);
        if lowest > highest || lowest > PROTOCOL_HIGHEST || highest < PROTOCOL_LOWEST {
            return Err(Malformed::Version { lowest, highest });
        }
        let mut hello = Hello {
            lowest,
            highest,
            node: NodeId(fields.array("node")?),
            cluster: ClusterId(fields.array("cluster")?),
            incarnation: Incarnation(fields.array("incarnation")?),
            clock_ms: fields.u64("clock_ms")?,
            software: fields.text("software")?,
            volumes: Vec::new(),
        };
        let count = fields.u16("volume_count")?;
        if usize::from(count) > VOLUMES_MAX {
            return Err(Malformed::Value { field: "volume_count", found: count.into() });
        }
        for _ in 0..count {
            let volume = VolumeState::decode(&mut fields)?;
            if hello.volumes.iter().any(|known| known.id == volume.id) {
                return Err(Malformed::Value { field: "volume named twice", found: count.into() });
            }
            hello.volumes.push(volume);
        }
        if highest <= PROTOCOL_HIGHEST {
            fields.end()?;
        }
        Ok(hello)
    }
}

impl VolumeState {
    fn encode(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.id.0);
        put_text(&self.name, payload);
        payload.extend_from_slice(&self.reads_level.to_le_bytes());
        payload.extend_from_slice(&self.level.to_le_bytes());
        payload.push(match self.role {
            Role::Alone => 0,
            Role::Primary => 1,
            Role::Follower => 2,
        });
        payload.push(match self.acknowledgement {
            Acknowledgement::Local => 0,
            Acknowledgement::Durable => 1,
        });
        payload.extend_from_slice(&self.last.lsn.bits().to_le_bytes());
        payload.extend_from_slice(&self.last.hash);
        payload.extend_from_slice(&self.durable.bits().to_le_bytes());
        payload.extend_from_slice(&self.held.bits().to_le_bytes());
        payload.extend_from_slice(&self.key_version.0.to_le_bytes());
        let count = u32::try_from(self.history.len()).unwrap_or(u32::MAX);
        payload.extend_from_slice(&count.to_le_bytes());
        for epoch in &self.history {
            epoch.encode(payload);
        }
    }

    fn decode(fields: &mut Fields<'_>) -> Result<VolumeState, Malformed> {
        let id = VolumeId(fields.array("volume")?);
        let name = fields.text("name")?;
        let (reads_level, level) = (fields.u32("reads_level")?, fields.u32("level")?);
        let role = match fields.u8("role")? {
            0 => Role::Alone,
            1 => Role::Primary,
            2 => Role::Follower,
            found => return Err(Malformed::Value { field: "role", found: found.into() }),
        };
        let acknowledgement = match fields.u8("mode")? {
            0 => Acknowledgement::Local,
            1 => Acknowledgement::Durable,
            found => return Err(Malformed::Value { field: "mode", found: found.into() }),
        };
        let last = GroupEnd { lsn: fields.lsn("last")?, hash: fields.array("hash of last")? };
        let (durable, held) = (fields.lsn("durable")?, fields.lsn("held")?);
        let key_version = KeyTableVersion(fields.u64("key_version")?);
        let count = fields.u32("epoch_count")?;
        if count > u32::from(u16::MAX) + 1 {
            return Err(Malformed::Value { field: "epoch_count", found: count.into() });
        }
        // Grows with what is there, not with what was announced.
        let mut history = Vec::new();
        for _ in 0..count {
            history.push(Epoch::decode(fields)?);
        }
        Ok(VolumeState {
            id,
            name,
            reads_level,
            level,
            role,
            acknowledgement,
            history,
            last,
            durable,
            held,
            key_version,
        })
    }
}

impl Epoch {
    fn encode(&self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.number.to_le_bytes());
        payload.extend_from_slice(&self.id.0);
        payload.push(u8::from(self.parent.is_some()));
        if let Some(parent) = &self.parent {
            payload.extend_from_slice(&parent.id.0);
            payload.extend_from_slice(&parent.fork.bits().to_le_bytes());
        }
        payload.extend_from_slice(&self.node.0);
        payload.extend_from_slice(&self.first.bits().to_le_bytes());
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Epoch, Malformed> {
        let (number, id) = (fields.u16("epoch")?, EpochId(fields.array("epoch's id")?));
        let parent = match fields.u8("has_parent")? {
            0 => None,
            1 => {
                let id = EpochId(fields.array("parent")?);
                Some(Parent { id, fork: fields.lsn("fork")? })
            }
            found => return Err(Malformed::Value { field: "has_parent", found: found.into() }),
        };
        let node = NodeId(fields.array("epoch's node")?);
        Ok(Epoch { number, id, parent, node, first: fields.lsn("epoch's first")? })
    }
}
