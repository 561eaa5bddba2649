//! The format level of a volume: how new its contents may be, and so who can read them.
//!
//! A record in the log states it, and the volume's row in state repeats it. A new volume has the
//! newest level of the binary that makes it; an older one is raised by a record, when no older
//! binary needs to read it any more.
//!
//! ```text
//! level  allows
//!     1  groups 1, segments 1, values of state 1, records of types 4 to 7 and 16 to 25
//!     2  chunks that need a dictionary of the binary: 39b76e2ab1abb571, 97de3891a1e52853
//!     3  records of types 26 to 28 and 32 to 35, the tables of base images and of kept messages;
//!        remnants, segments that reclaim made of several; chunks without their base64 (codec 3)
//!        keys that change: records of types 36 and 37, re-wrapped headers of blobs in rewritten
//!        segments (`log/format/item.rs`), keys that segments name (`state/key_use.rs`)
//!     4  parts kept once: chunks that name them (codec 4, `seal/parts.rs`), arrivals with parts in
//!        records of type 17, format 2 of a blob's row, the table of parts (`state/part.rs`)
//!     4  packed blobs: headers of version 2, which summary and first chunk follow, and chunks that
//!        go on from the summary (codecs 6 and 7);
//!        files of released segments become the next ones (`log/spare.rs`)
//!     5  digests of mailboxes, in format 2 of their rows (`mailbox/digest.rs`),
//!        footers of segments that do not list the chunks (`log/format/segment.rs`),
//!        headers of blobs with masked content keys, version 3 (`seal/blob.rs`)
//!     6  records of types 38 to 40, rows of metadata, rights and limits
//!        (`record/sharing.rs`, `state/annotations.rs`)
//!     7  the table of summary pages (`mailbox/summary_page.rs`)
//!     8  digests of mailboxes that add up what changes of a row for itself, in format 3 of their
//!        rows (`mailbox/digest.rs`)
//!     9  changes that other nodes propose: request ids in records, records of type 41, the table
//!        of answered requests (`commit/proposal/`, `state/answered.rs`); records of type 42: UIDs
//!        that no message of ours had (`store/numbered.rs`)
//! ```
//! Types 1 to 3 (epoch, members, format level) begin every volume and are read by every binary.
//!
//! # Invariants
//! 1. Nothing above the volume's level is written: records are checked where they are assigned,
//!    and the versions of everything else are asserted below; `store/prepare.rs` asks for the level
//!    before it uses a dictionary.
//! 2. What is above [`NEWEST`] is not opened. It is told from damage (a hash that is right for the
//!    version that a bit flip made of ours), never cut as a torn tail, and found before opening
//!    changes anything.

use crate::log::format::group::GROUP_VERSION;
use crate::log::format::segment::{FOOTER_VERSION, SEGMENT_VERSION};

/// The newest level that this binary reads and writes.
pub(crate) const NEWEST: u32 = 9;
/// The level from which on chunks may need the dictionaries of the binary (`seal/dictionary.rs`).
pub(crate) const DICTIONARIES: u32 = 2;
/// The level from which on there are base images, and reclaim drops records and joins segments.
pub(crate) const BASE_IMAGES: u32 = 3;
/// The level from which on chunks may be kept without their base64 (`seal/recipe.rs`).
pub(crate) const RECIPES: u32 = 3;
/// The level from which on equal parts of an account's messages are kept once (`state/part.rs`).
pub(crate) const PARTS: u32 = 4;
/// The level from which on header, summary and first chunk of a message are one item of the log
/// (`seal/blob.rs`), and the chunk goes on from the summary (`seal/stream.rs`).
pub(crate) const PACKED_BLOBS: u32 = 4;
/// The level from which on footers of segments do not list the chunks.
pub(crate) const SHORT_FOOTERS: u32 = 5;
/// The level from which on headers of packed blobs mask content keys instead of sealing them.
pub(crate) const MASKED_KEYS: u32 = 5;
/// The level from which on accounts' keys have generations that come and go.
pub(crate) const KEY_GENERATIONS: u32 = 3;
/// The level from which on files of released segments become the next ones (`log/spare.rs`).
pub(crate) const SPARES: u32 = 4;
/// The level from which on a mailbox's row has its digest (`mailbox/digest.rs`).
pub(crate) const MAILBOX_DIGESTS: u32 = 5;

const _: () = assert!(
    GROUP_VERSION == 1 && SEGMENT_VERSION == 1 && FOOTER_VERSION == 2,
    "a new version of a format belongs to a new level: add its row above, and write the old \
     version to volumes below it"
);

/// The level from which on mailboxes have metadata and access control lists.
pub(crate) const SHARING: u32 = 6;
/// The level from which on summaries lie together in pages, beside their blobs
/// (`mailbox/summary_page.rs`).
pub(crate) const SUMMARY_PAGES: u32 = 7;
/// The level from which on a mailbox that gets its first message has a digest that costs little
/// when flags change (`mailbox/digest.rs`).
pub(crate) const SPLIT_DIGESTS: u32 = 8;
/// The level from which on other nodes propose changes, and the log knows what they were answered.
pub(crate) const PROPOSALS: u32 = 9;
/// The level from which on a mailbox can leave out UIDs that were given elsewhere.
pub(crate) const NUMBERED: u32 = 9;
/// The level from which on messages can be kept after they were expunged.
pub(crate) const RETENTION: u32 = 3;

/// The level from which on records of this type may be written; `None` for a type that a newer
/// binary must have written.
pub(crate) const fn of_record(kind: u8) -> Option<u32> {
    match kind {
        1..=3 => Some(0),
        4..=7 | 16..=25 => Some(1),
        26..=28 => Some(BASE_IMAGES),
        32..=35 => Some(RETENTION),
        36 | 37 => Some(KEY_GENERATIONS),
        38..=40 => Some(SHARING),
        41 => Some(PROPOSALS),
        42 => Some(NUMBERED),
        _ => None,
    }
}
