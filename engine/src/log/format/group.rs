//! The commit group: what one flush makes durable, and what is shipped as it is.
//!
//! ```text
//! offset  size  field         meaning
//!      0     4  magic         "PBXg"
//!      4     2  version       of this format: 1
//!      6     2  flags         bit 0: an archive extent may begin here; others zero, or refused
//!      8     4  body_len      bytes of items when nothing is left out, at most GROUP_BYTES_MAX
//!     12     4  item_count    zero in a group that only carries a watermark
//!     16    16  volume
//!     32     8  first_lsn
//!     40     8  last_lsn
//!     48     8  durable_lsn   highest position its writer knew durable on its own disk
//!     56     8  open_lsn      first chunk of the oldest message still entering, else next LSN
//!     64     8  key_version   of the key table that it needs
//!     72    32  previous      BLAKE3 of the header before this one; zero in a volume's first
//!    104    32  content       BLAKE3 of bytes 0..104, of records, and of headers of chunks
//!    136        items         see `item`
//! ```
//!
//! Why the content hash comes last: everything before it is one slice. It reaches a chunk's bytes
//! through the hash in the chunk's header, so the chain verifies when reclaim left those bytes out.
//! The
//! group's own hash, which the next one repeats, is BLAKE3 of these 136 bytes.
//!
//! A group does not know where it lies: padding belongs to the segment and is neither hashed nor
//! shipped.
//!
//! # Remnants
//! What reclaim leaves of a run of groups whose records base images cover: their living chunks,
//! and the chain. Only in reclaimed segments, from format level 3 on.
//!
//! ```text
//! offset  size  field         meaning
//!      0     4  magic         "PBXr"
//!      4   132  as above      first_lsn, durable_lsn and previous of the run's first group;
//!                             last_lsn, open_lsn, key_version of its last; no records
//!    136    32  stands_for    hash of the run's last group: the chain goes on from it
//!    168        chunks        content covers bytes 0..104, stands_for, headers of chunks
//! ```
//!
//! Magic, version and volume stay where they are in every version, so that a reader knows a group
//! that is newer than itself. New flags and new kinds of items come with a new version: whoever
//! finds one in a group of a version that it knows has found damage.
//!
//! # Invariants
//! 1. `first_lsn` is the successor of the previous group's `last_lsn`, or lies in a later epoch.
//! 2. A group without items has `last_lsn` right before `first_lsn`: it takes no position.
//! 3. `durable_lsn < first_lsn`, and it never falls from one group to the next.
//!
//! # What can be wrong
//! A bad group at or below a durable position found elsewhere was acknowledged: damage, reported
//! with its place, never cut. Above it, it is a torn tail: recovery cuts it and says so.

use super::item::{self, Item, Parsed};
use super::{Fields, FormatError};
use crate::ids::{KeyTableVersion, Lsn, VolumeId};
use crate::limits::GROUP_BYTES_MAX;
use crate::sabotage::{Sabotage, breaks};
use crate::width::{u32_of, usize_of_u32};

/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 136;
/// Version of this format.
pub const GROUP_VERSION: u16 = 1;
/// First bytes of every group.
pub const GROUP_MAGIC: [u8; 4] = *b"PBXg";
/// First bytes of every remnant.
pub const REMNANT_MAGIC: [u8; 4] = *b"PBXr";
/// Bytes of a remnant's header.
pub const REMNANT_HEADER_BYTES: usize = GROUP_HEADER_BYTES + 32;
/// Flag: an archive extent may begin here.
pub const EXTENT_MAY_BEGIN: u16 = 1;
/// Items of one group; more are refused before anything is allocated for them.
pub const GROUP_ITEMS_MAX: u32 = u32_of(GROUP_BYTES_MAX / item::RECORD_HEADER_BYTES);

/// Bytes of a group with its header, at most, in any segment: hashes of re-wrapped headers of
/// blobs, 32 beside 64 of a chunk's header, are not counted by `body_len`.
pub(crate) const GROUP_STORED_BYTES_MAX: usize = REMNANT_HEADER_BYTES + GROUP_BYTES_MAX / 2 * 3;

const WHAT: &str = "a group";
const VERSION_AT: usize = 4;
const VOLUME_AT: usize = 16;
const CONTENT_AT: usize = 104;
const _: () = assert!(VERSION_AT + 2 + 2 + 4 + 4 == VOLUME_AT);
const _: () = assert!(4 + 2 + 2 + 4 + 4 + 16 + 8 * 5 + 32 == CONTENT_AT);
const _: () = assert!(CONTENT_AT + 32 == GROUP_HEADER_BYTES);

/// BLAKE3 of a group's header; what the next group names as its previous one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct GroupHash(pub [u8; 32]);

impl GroupHash {
    /// Before the first group of a volume.
    pub const NONE: GroupHash = GroupHash([0; 32]);
}

impl std::fmt::Debug for GroupHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// What the committer says about a group; lengths, counts and hashes follow from its items.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupStamp {
    /// Bits of [`EXTENT_MAY_BEGIN`].
    pub flags: u16,
    /// The volume whose log it is.
    pub volume: VolumeId,
    /// First position taken here.
    pub first_lsn: Lsn,
    /// Last position taken here; right before `first_lsn` in a group without items.
    pub last_lsn: Lsn,
    /// Highest position that the writer knows durable on its own disk.
    pub durable_lsn: Lsn,
    /// First chunk of the oldest message still entering, else the position after `last_lsn`.
    pub open_lsn: Lsn,
    /// Version of the key table that the group needs.
    pub key_version: KeyTableVersion,
    /// Hash of the group before.
    pub previous: GroupHash,
}

/// A group's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupHeader {
    /// What the committer said.
    pub stamp: GroupStamp,
    /// Bytes of the items when nothing is left out.
    pub body_len: u32,
    /// Number of the items.
    pub item_count: u32,
    /// Hash over bytes 0..104, records, and headers of chunks.
    pub content: [u8; 32],
    /// Of a remnant: the hash of the last group of the run that it stands for.
    pub stands_for: Option<GroupHash>,
}

impl GroupHeader {
    /// Reads a header; says nothing yet about the items.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<GroupHeader, FormatError> {
        let mut fields = Fields::new(WHAT, bytes);
        let is_remnant = match fields.array()? {
            GROUP_MAGIC => false,
            REMNANT_MAGIC => true,
            _ => return Err(FormatError::Magic { what: WHAT }),
        };
        fields.version(GROUP_VERSION)?;
        let refuse = |field| Err(FormatError::Field { what: WHAT, field });
        let flags = fields.u16()?;
        if flags & !EXTENT_MAY_BEGIN != 0 {
            return refuse("flags");
        }
        let body_len = fields.u32()?;
        if usize_of_u32(body_len) > GROUP_BYTES_MAX {
            return refuse("body_len");
        }
        let item_count = fields.u32()?;
        if item_count > GROUP_ITEMS_MAX || (item_count == 0) != (body_len == 0) {
            return refuse("item_count");
        }
        let stamp = GroupStamp {
            flags,
            volume: VolumeId(fields.array()?),
            first_lsn: fields.lsn("first_lsn")?,
            last_lsn: fields.lsn("last_lsn")?,
            durable_lsn: fields.lsn("durable_lsn")?,
            open_lsn: fields.lsn("open_lsn")?,
            key_version: KeyTableVersion(fields.u64()?),
            previous: GroupHash(fields.array()?),
        };
        let content = fields.array()?;
        let stands_for = if is_remnant { Some(GroupHash(fields.array()?)) } else { None };
        let is_ordered = match stands_for {
            // A run of groups that take no position, or of several epochs.
            Some(_) => stamp.last_lsn.next().is_some_and(|next| next >= stamp.first_lsn),
            None => stamp.is_ordered(item_count),
        };
        if !is_ordered {
            return refuse("last_lsn");
        }
        if stamp.durable_lsn >= stamp.first_lsn {
            return refuse("durable_lsn");
        }
        Ok(GroupHeader { stamp, body_len, item_count, content, stands_for })
    }

    /// Bytes of the header.
    pub const fn byte_count(&self) -> usize {
        if self.stands_for.is_some() { REMNANT_HEADER_BYTES } else { GROUP_HEADER_BYTES }
    }

    /// The header's bytes, but for what a remnant stands for.
    pub fn encode(&self) -> [u8; GROUP_HEADER_BYTES] {
        let mut bytes = [0; GROUP_HEADER_BYTES];
        let stamp = &self.stamp;
        item::fill(
            &mut bytes,
            &[
                if self.stands_for.is_some() { &REMNANT_MAGIC } else { &GROUP_MAGIC },
                &GROUP_VERSION.to_le_bytes(),
                &stamp.flags.to_le_bytes(),
                &self.body_len.to_le_bytes(),
                &self.item_count.to_le_bytes(),
                &stamp.volume.0,
                &stamp.first_lsn.bits().to_le_bytes(),
                &stamp.last_lsn.bits().to_le_bytes(),
                &stamp.durable_lsn.bits().to_le_bytes(),
                &stamp.open_lsn.bits().to_le_bytes(),
                &stamp.key_version.0.to_le_bytes(),
                &stamp.previous.0,
                &self.content,
            ],
        );
        bytes
    }

    /// The group's hash; of a remnant, that of the last group that it stands for.
    pub fn hash(&self) -> GroupHash {
        self.stands_for.unwrap_or_else(|| GroupHash(*blake3::hash(&self.encode()).as_bytes()))
    }

    /// The most bytes that the group takes anywhere: in a segment that was rewritten, a blob's
    /// header may be longer by the hash of its bytes now.
    pub(crate) fn stored_len_max(&self) -> usize {
        let items = usize_of_u32(self.item_count).saturating_mul(item::NOW_BYTES);
        self.byte_count() + usize_of_u32(self.body_len) + items
    }

    /// Begins the content hash with bytes 0..104 of this header.
    pub(crate) fn content_hasher(&self) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new();
        let bytes = self.encode();
        hasher.update(bytes.get(..CONTENT_AT).unwrap_or_default());
        if let Some(hash) = &self.stands_for {
            hasher.update(&hash.0);
        }
        hasher
    }
}

impl GroupStamp {
    fn is_ordered(&self, item_count: u32) -> bool {
        if item_count == 0 {
            return self.last_lsn.next() == Some(self.first_lsn);
        }
        self.first_lsn <= self.last_lsn && self.first_lsn.epoch() == self.last_lsn.epoch()
    }

    /// Whether a group with this stamp may follow one that ended at `last_lsn`.
    pub(crate) fn follows(&self, last_lsn: Lsn) -> bool {
        last_lsn.next() == Some(self.first_lsn) || self.first_lsn.epoch() > last_lsn.epoch()
    }
}

/// A group whose header, records and chunk headers were verified.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// Its header.
    pub header: GroupHeader,
    /// Its hash.
    pub hash: GroupHash,
    body: &'a [u8],
}

/// An item with the offset of its payload or bytes from the start of the group.
#[derive(Clone, Copy, Debug)]
pub struct PlacedItem<'a> {
    /// The item.
    pub item: Item<'a>,
    /// Where its payload or bytes begin, counted from the group's header.
    pub offset: u32,
}

impl<'a> Group<'a> {
    /// Verifies the group at the start of `bytes`, which may be followed by anything.
    ///
    /// The bytes of chunks are not compared with their hashes: see [`Group::verify_chunks`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &'a [u8]) -> Result<Group<'a>, FormatError> {
        let header = GroupHeader::decode(bytes)?;
        let rest = bytes.get(header.byte_count()..).ok_or(FormatError::Short { what: WHAT })?;
        let mut hasher = header.content_hasher();
        let mut stored_len = 0;
        let mut whole_len = 0;
        for _ in 0..header.item_count {
            let parsed = item::parse(rest.get(stored_len..).unwrap_or_default())?;
            if header.stands_for.is_some() && matches!(parsed.item, Item::Record { .. }) {
                return Err(FormatError::Field { what: "a remnant", field: "kind of an item" });
            }
            item::hash_item(&mut hasher, parsed.hashed);
            stored_len += parsed.stored_len;
            whole_len += parsed.whole_len;
            if whole_len > usize_of_u32(header.body_len) {
                return Err(FormatError::Field { what: WHAT, field: "body_len" });
            }
        }
        if whole_len != usize_of_u32(header.body_len) {
            return Err(FormatError::Field { what: WHAT, field: "body_len" });
        }
        if *hasher.finalize().as_bytes() != header.content && !breaks(Sabotage::Hash) {
            return Err(FormatError::Hash { what: WHAT });
        }
        let body = rest.get(..stored_len).ok_or(FormatError::Short { what: WHAT })?;
        Ok(Group { header, hash: header.hash(), body })
    }

    /// Whether bytes whose version is above ours are a group of ours after all, whose version was
    /// damaged: its hash is right as soon as the version is.
    pub(crate) fn is_ours_but_for_its_version(bytes: &[u8]) -> bool {
        let mut ours = bytes.to_vec();
        ours.iter_mut()
            .skip(VERSION_AT)
            .zip(GROUP_VERSION.to_le_bytes())
            .for_each(|(at, b)| *at = b);
        Group::decode(&ours).is_ok()
    }

    /// Whether a header of any version names this volume.
    pub(crate) fn names_volume(header: &[u8], volume: VolumeId) -> bool {
        header.get(VOLUME_AT..).is_some_and(|rest| rest.starts_with(&volume.0))
    }

    /// Compares the bytes of every chunk with the hash in its header.
    ///
    /// # Errors
    /// [`FormatError::Hash`] if one differs.
    pub fn verify_chunks(&self) -> Result<(), FormatError> {
        for placed in self.items() {
            if let Item::Chunk { header, bytes: Some(bytes), rewrapped, .. } = placed.item
                && *blake3::hash(bytes).as_bytes() != rewrapped.unwrap_or(header.hash)
                && !breaks(Sabotage::Hash)
            {
                return Err(FormatError::Hash { what: "a chunk" });
            }
        }
        Ok(())
    }

    /// Bytes of header and items as they lie here, without padding.
    pub fn stored_len(&self) -> usize {
        self.header.byte_count() + self.body.len()
    }

    /// The items in order.
    pub fn items(&self) -> impl Iterator<Item = PlacedItem<'a>> + use<'a> {
        let body = self.body;
        let begin = self.header.byte_count();
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
            let Parsed { item, stored_len, .. } = item::parse(rest).ok()?;
            let offset = u32_of(begin + at + item.header_len());
            at += stored_len;
            Some(PlacedItem { item, offset })
        })
    }
}
