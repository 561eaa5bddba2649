//! Page heads: what STATUS, SELECT, CHANGEDSINCE and "first unseen" need, without any row.
//!
//! Heads lie together in head blocks of at most [`BLOCK_HEADS_MAX`]; the head of the tail page lies
//! in the mailbox's row, so that a delivery rewrites no block. A block as stored:
//!
//! ```text
//! size  field           meaning
//!    1  format          1
//!    n  first_uid       number: the block's key
//!    n  count           number: heads, 1 to BLOCK_HEADS_MAX
//!    …  heads           each as follows
//!         n  first_uid    number: difference to the one before (the first: to 0); the page's key
//!         n  span         number: highest UID − first_uid
//!         n  count        number: rows, 1 to PAGE_ROWS_MAX
//!         n  unseen       number: rows without \Seen
//!         n  deleted      number: rows with \Deleted
//!         n  bytes        number: sum of the rows' sizes
//!         n  modseq       signed: highest of the rows, difference to the one before
//!         n  version      signed: of the rows, likewise
//!         n  ids_version  signed: of the ids, difference to this head's version
//! ```
//!
//! Invariants:
//! 1. Pages ascend: each `first_uid` is above the `last_uid` before it.
//! 2. `count`, `unseen`, `deleted`, `bytes`, `highest_modseq`, `last_uid` are those of the page's
//!    rows.

use crate::error::ReadError;
use crate::flags::SystemFlags;
use crate::ids::{Lsn, Uid};
use crate::limits::{BLOCK_HEADS_MAX, PAGE_ROWS_MAX};
use crate::mailbox::page::{Page, row_count};
use crate::mailbox::varint::{self, Reader};
use crate::width::u64_of;

pub(super) const FORMAT: u8 = 1;

/// How many messages, and which bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// All.
    pub(crate) messages: u32,
    /// Without `\Seen`.
    pub(crate) unseen: u32,
    /// With `\Deleted`.
    pub(crate) deleted: u32,
    /// Sum of RFC822.SIZE.
    pub(crate) bytes: u64,
}

impl Counts {
    /// Of a page's rows.
    pub(crate) fn of(page: &Page) -> Counts {
        let mut counts = Counts { messages: row_count(page), ..Counts::default() };
        for flags in page.flags() {
            counts.unseen += u32::from(!flags.contains(SystemFlags::SEEN));
            counts.deleted += u32::from(flags.contains(SystemFlags::DELETED));
        }
        counts.bytes = page.sizes().iter().map(|&size| u64::from(size)).sum();
        counts
    }

    /// Both together. Saturates: a sum past the width is a stored lie, which `check` reports.
    pub(crate) fn add(&mut self, other: Counts) {
        self.messages = self.messages.saturating_add(other.messages);
        self.unseen = self.unseen.saturating_add(other.unseen);
        self.deleted = self.deleted.saturating_add(other.deleted);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// These without the others.
    pub(crate) fn subtract(&mut self, other: Counts) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.unseen = self.unseen.saturating_sub(other.unseen);
        self.deleted = self.deleted.saturating_sub(other.deleted);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What is known of a page without opening it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageHead {
    /// The page's key; its lowest UID may be higher by now.
    pub(crate) first_uid: Uid,
    /// Its highest UID.
    pub(crate) last_uid: Uid,
    /// Of its rows.
    pub(crate) counts: Counts,
    /// Of its rows.
    pub(crate) highest_modseq: Lsn,
    /// Of its rows as stored; rises with every change of the page.
    pub(crate) version: u64,
    /// Of its ids as stored; rises when rows come or go.
    pub(crate) ids_version: u64,
}

impl PageHead {
    /// Of a page that has rows.
    pub(crate) fn of(first_uid: Uid, page: &Page, ids_version: u64) -> PageHead {
        PageHead {
            first_uid,
            last_uid: page.uids().last().map_or(first_uid, |&uid| Uid(uid)),
            counts: Counts::of(page),
            highest_modseq: page.versions().map(|(_, modseq)| modseq).max().unwrap_or(Lsn::ZERO),
            version: page.version(),
            ids_version,
        }
    }

    /// Appends it, as the one after `before`.
    pub(crate) fn put(&self, out: &mut Vec<u8>, before: Option<&PageHead>) {
        let (uid, modseq, version) =
            before.map_or((0, 0, 0), |b| (b.first_uid.0, b.highest_modseq.bits(), b.version));
        let difference = |new: u64, old: u64| new.wrapping_sub(old).cast_signed();
        varint::put(out, u64::from(self.first_uid.0.saturating_sub(uid)));
        varint::put(out, u64::from(self.last_uid.0.saturating_sub(self.first_uid.0)));
        varint::put(out, u64::from(self.counts.messages));
        varint::put(out, u64::from(self.counts.unseen));
        varint::put(out, u64::from(self.counts.deleted));
        varint::put(out, self.counts.bytes);
        varint::put_signed(out, difference(self.highest_modseq.bits(), modseq));
        varint::put_signed(out, difference(self.version, version));
        varint::put_signed(out, difference(self.ids_version, self.version));
    }

    /// Takes the one after `before`.
    pub(crate) fn take(
        reader: &mut Reader<'_>,
        before: Option<&PageHead>,
    ) -> Result<PageHead, ReadError> {
        let (uid, modseq, version) =
            before.map_or((0, 0, 0), |b| (b.first_uid.0, b.highest_modseq.bits(), b.version));
        let too_high = |reader: &Reader<'_>| reader.wrong("a UID has more than 32 bits");
        let first = reader.number32()?;
        let first = uid.checked_add(first).ok_or_else(|| too_high(reader))?;
        let span = reader.number32()?;
        let last = first.checked_add(span).ok_or_else(|| too_high(reader))?;
        if before.is_some_and(|before| first <= before.last_uid.0) {
            return Err(reader.wrong("its pages overlap"));
        }
        let counts = Counts {
            messages: reader.number32()?,
            unseen: reader.number32()?,
            deleted: reader.number32()?,
            bytes: reader.number()?,
        };
        let rows_max = u32::try_from(PAGE_ROWS_MAX).unwrap_or(u32::MAX);
        if !(1..=rows_max).contains(&counts.messages)
            || counts.unseen > counts.messages
            || counts.deleted > counts.messages
        {
            return Err(reader.wrong("a page head counts what cannot be"));
        }
        let highest = modseq.wrapping_add(reader.signed()?.cast_unsigned());
        let highest_modseq =
            Lsn::from_bits(highest).ok_or_else(|| reader.wrong("a position has 64 bits"))?;
        let version = version.wrapping_add(reader.signed()?.cast_unsigned());
        let ids_version = version.wrapping_add(reader.signed()?.cast_unsigned());
        Ok(PageHead {
            first_uid: Uid(first),
            last_uid: Uid(last),
            counts,
            highest_modseq,
            version,
            ids_version,
        })
    }
}

/// A head block as it is stored.
pub(crate) fn encode_block<'a>(
    first_uid: Uid,
    heads: impl ExactSizeIterator<Item = &'a PageHead>,
) -> Vec<u8> {
    let mut out = vec![FORMAT];
    varint::put(&mut out, u64::from(first_uid.0));
    varint::put(&mut out, u64_of(heads.len()));
    let mut before = None;
    for head in heads {
        head.put(&mut out, before);
        before = Some(head);
    }
    out
}

/// A head block's key and heads from what is stored.
pub(crate) fn decode_block(bytes: &[u8]) -> Result<(Uid, Vec<PageHead>), ReadError> {
    let mut reader = Reader::new(bytes, "head block");
    reader.format(FORMAT)?;
    let first_uid = Uid(reader.number32()?);
    let count = reader.length(BLOCK_HEADS_MAX)?;
    if count == 0 {
        return Err(reader.wrong("it has no heads"));
    }
    let mut heads: Vec<PageHead> = Vec::with_capacity(count);
    for _ in 0..count {
        let head = PageHead::take(&mut reader, heads.last())?;
        heads.push(head);
    }
    reader.end()?;
    Ok((first_uid, heads))
}
