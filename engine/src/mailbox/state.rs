//! A mailbox as the committer has it: its content and what its row says.
//!
//! A clone shares everything, so the assigned head, the committed state, the frozen state of a
//! checkpoint and every view are clones of each other at different moments. Changes are in
//! `change.rs`.
//!
//! The mailbox's row in the table store (name, office and subscription are the account's affair):
//!
//! ```text
//! size  field            meaning
//!    1  format           3; 2 with a digest of kind `One`, as all have below format level 8;
//!                        1 below level 5, and of mailboxes whose digest is not known
//!    n  uid_validity     number
//!    n  uid_next         number: one above the highest UID ever given, at most 2^32
//!    n  uid_epoch        number: the epoch that UID was given in, or of the mailbox's creation
//!    n  highest_modseq   number: of any change to its messages
//!    n  page_version     number: the highest version that a page of the mailbox ever had
//!    n  keyword_count    number
//!    …  keywords         each: length, name as first set; a row names them by index
//!    n  block_count      number of head blocks
//!    n  block_messages   number of messages in them
//!    1  tail             1: the head of the tail page follows, as in a head block; 0: no tail page
//!   32  digest           of its messages (digest.rs); not in format 1
//! ```
//!
//! Invariants:
//! 1. UIDs of all rows are below `uid_next`.
//! 2. No row names a keyword that is not in the list; the list only grows.
//! 3. Every page that is changed gets a version that no page of this mailbox had before.
//! 4. The digest, where it is known, is that of the messages.

use std::sync::Arc;

use crate::error::ReadError;
use crate::flags::Keyword;
use crate::format_level;
use crate::ids::{AccountNumber, Lsn, MailboxId, Uid, UidValidity};
use crate::limits::{EPOCH_UID_GAP, KEYWORD_BYTES_MAX, MAILBOX_KEYWORDS_MAX};
use crate::mailbox::content::{Block, MailboxContent, Slot};
use crate::mailbox::digest::{DIGEST_BYTES, DigestKind, MailboxDigest};
use crate::mailbox::dirty::DirtyPages;
use crate::mailbox::head::{self, Counts, PageHead};
use crate::mailbox::keywords::KeywordTable;
use crate::mailbox::source::{BlockKey, Columns, PageCell, PageKey, PageReader};
use crate::mailbox::varint::{self, Reader};
use crate::mailbox::view::View;
use crate::width::u64_of;

const FORMAT: u8 = 1;
const FORMAT_WITH_DIGEST: u8 = 2;
pub(super) const FORMAT_WITH_SPLIT_DIGEST: u8 = 3;
const UID_NEXT_MAX: u64 = 1 << 32;

/// A mailbox at one moment. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MailboxState {
    pub(super) account: AccountNumber,
    pub(super) mailbox: MailboxId,
    pub(super) uid_validity: UidValidity,
    pub(super) uid_next: u64,
    pub(super) uid_epoch: u16,
    pub(super) highest_modseq: Lsn,
    pub(super) page_version: u64,
    pub(super) keywords: Arc<KeywordTable>,
    pub(super) content: MailboxContent,
    /// Not known of a mailbox that has messages from before there were digests.
    pub(super) digest: Option<MailboxDigest>,
    pub(super) reader: PageReader,
}

impl MailboxState {
    /// An empty mailbox, made at position `created`.
    pub(crate) fn new(
        (account, mailbox): (AccountNumber, MailboxId),
        uid_validity: UidValidity,
        created: Lsn,
        reader: PageReader,
    ) -> MailboxState {
        MailboxState {
            account,
            mailbox,
            uid_validity,
            uid_next: 1,
            uid_epoch: created.epoch(),
            highest_modseq: created,
            page_version: 0,
            keywords: Arc::default(),
            content: MailboxContent::default(),
            digest: Some(MailboxDigest::default()),
            reader,
        }
    }

    /// The first message is coming: takes the kind of digest that a format level has. One that says
    /// that there should be messages stays, for it tells of a mistake.
    pub(crate) fn begin_digest(&mut self, format_level: u32) {
        let is_empty = self.content.counts.messages == 0;
        if is_empty && self.digest.is_some_and(|digest| digest.is_zero()) {
            self.digest = Some(MailboxDigest::new(DigestKind::of_level(format_level)));
        }
    }

    /// Which it is.
    pub(crate) fn mailbox(&self) -> MailboxId {
        self.mailbox
    }

    /// UIDVALIDITY.
    pub(crate) fn uid_validity(&self) -> UidValidity {
        self.uid_validity
    }

    /// The next UID to give in `epoch`; `None` when none are left. An epoch begins
    /// [`EPOCH_UID_GAP`] above for each number that lies between it and that of the last UID.
    pub(crate) fn uid_next(&self, epoch: u16) -> Option<Uid> {
        let epochs = u64::from(epoch.saturating_sub(self.uid_epoch));
        let next = self.uid_next + u64::from(EPOCH_UID_GAP) * epochs;
        u32::try_from(next).ok().map(Uid)
    }

    /// UIDs below `next` were given, elsewhere: no message here will have them.
    pub(crate) fn leave_out(&mut self, next: u64, lsn: Lsn, dirty: &mut DirtyPages) {
        let next = next.min(UID_NEXT_MAX);
        if next > self.uid_next {
            self.uid_next = next;
            self.uid_epoch = self.uid_epoch.max(lsn.epoch());
            dirty.mailboxes.insert((self.account, self.mailbox));
        }
    }

    /// No UID from this one on was ever given.
    pub(crate) fn given_below(&self) -> u64 {
        self.uid_next
    }

    /// Whether that UID was given before: to a message that is here, or that was.
    pub(crate) fn is_given(&self, uid: Uid) -> bool {
        u64::from(uid.0) < self.uid_next
    }

    /// The position of the last change to any of its messages, or of its creation.
    pub(crate) fn highest_modseq(&self) -> Lsn {
        self.highest_modseq
    }

    /// Messages, unseen, deleted, bytes.
    pub(crate) fn counts(&self) -> Counts {
        self.content.counts
    }

    /// The keywords that rows name by index.
    pub(crate) fn keywords(&self) -> &[Keyword] {
        self.keywords.names()
    }

    /// The same, to keep while the mailbox goes on.
    pub(crate) fn keyword_table(&self) -> Arc<KeywordTable> {
        Arc::clone(&self.keywords)
    }

    /// The index of a keyword, if it is known.
    pub(crate) fn keyword_index(&self, keyword: &Keyword) -> Option<u16> {
        self.keywords.index_of(keyword)
    }

    /// The index of a keyword, added to the list if it is new; `None` when the list is full. A new
    /// one changes the mailbox's row alone.
    pub(crate) fn intern_keyword(
        &mut self,
        keyword: &Keyword,
        dirty: &mut DirtyPages,
    ) -> Option<u16> {
        if let Some(index) = self.keyword_index(keyword) {
            return Some(index);
        }
        if self.keywords.names().len() >= MAILBOX_KEYWORDS_MAX {
            return None;
        }
        let index = Arc::make_mut(&mut self.keywords).push(keyword.clone())?;
        dirty.mailboxes.insert((self.account, self.mailbox));
        Some(index)
    }

    /// What readers get. `epoch_begin` is the first position of the current epoch: UIDNEXT includes
    /// the UIDs that the epoch skips, and HIGHESTMODSEQ is not below it.
    pub(crate) fn view(&self, epoch_begin: Lsn) -> Arc<View> {
        Arc::new(View::new(self.clone(), epoch_begin))
    }

    pub(super) fn page_key(&self, first_uid: Uid) -> PageKey {
        PageKey { account: self.account, mailbox: self.mailbox, first_uid }
    }

    pub(super) fn block_key(&self, first_uid: Uid) -> BlockKey {
        BlockKey { account: self.account, mailbox: self.mailbox, first_uid }
    }

    /// The mailbox's row as it is stored.
    pub(crate) fn encode_row(&self, format_level: u32) -> Vec<u8> {
        let has_digests = format_level >= format_level::MAILBOX_DIGESTS;
        let digest = self.digest.filter(|_| has_digests);
        let mut out = vec![match digest.map(|digest| digest.kind()) {
            None => FORMAT,
            Some(DigestKind::One) => FORMAT_WITH_DIGEST,
            Some(DigestKind::Split) => FORMAT_WITH_SPLIT_DIGEST,
        }];
        varint::put(&mut out, u64::from(self.uid_validity.0));
        varint::put(&mut out, self.uid_next);
        varint::put(&mut out, u64::from(self.uid_epoch));
        varint::put(&mut out, self.highest_modseq.bits());
        varint::put(&mut out, self.page_version);
        varint::put(&mut out, u64_of(self.keywords().len()));
        for keyword in self.keywords() {
            varint::put_bytes(&mut out, keyword.as_str().as_bytes());
        }
        let tail = self.content.tail.as_ref().map(|slot| &slot.head);
        let in_tail = tail.map_or(0, |head| head.counts.messages);
        varint::put(&mut out, u64_of(self.content.blocks.len()));
        varint::put(&mut out, u64::from(self.content.counts.messages - in_tail));
        out.push(u8::from(tail.is_some()));
        if let Some(head) = tail {
            head.put(&mut out, None);
        }
        out.extend(digest.into_iter().flat_map(MailboxDigest::to_bytes));
        out
    }

    /// A head block as it is stored; `None` if there is no such block.
    pub(crate) fn encode_block(&self, key: BlockKey) -> Option<Vec<u8>> {
        let block = self.content.blocks.iter().find(|block| block.first_uid == key.first_uid)?;
        Some(head::encode_block(block.first_uid, block.slots.iter().map(|slot| &slot.head)))
    }

    /// A page's columns as they are stored; `None` if there is no such page.
    pub(crate) fn encode_page(
        &self,
        key: PageKey,
        columns: Columns,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(slot) = self.slot_of_key(key) else { return Ok(None) };
        Ok(Some(match columns {
            Columns::Rows => slot.rows.page(&self.reader)?.encode(),
            Columns::Ids => slot.ids.page(&self.reader)?.encode(),
        }))
    }

    fn slot_of_key(&self, key: PageKey) -> Option<&Slot> {
        self.content.slots_from(key.first_uid).next().filter(|s| s.head.first_uid == key.first_uid)
    }

    /// Tells the pages of this state that what `dirty` names has been written and flushed as this
    /// state has it: the cache may forget them from now on. Call it on the state that was frozen
    /// for the checkpoint.
    pub(crate) fn flushed(&self, dirty: &DirtyPages) {
        let mine = self.page_key(Uid(0))..=self.page_key(Uid(u32::MAX));
        for (&key, _) in dirty.rows.range(mine.clone()) {
            if let Some(slot) = self.slot_of_key(key) {
                slot.rows.flushed(&self.reader.cache);
            }
        }
        for (&key, _) in dirty.ids.range(mine) {
            if let Some(slot) = self.slot_of_key(key) {
                slot.ids.flushed(&self.reader.cache);
            }
        }
    }

    /// Opens a mailbox from its row and its head blocks in the order of their keys; reads no page.
    pub(crate) fn open<'a>(
        account: AccountNumber,
        mailbox: MailboxId,
        row: &[u8],
        blocks: impl IntoIterator<Item = &'a [u8]>,
        reader: PageReader,
    ) -> Result<MailboxState, ReadError> {
        let stored = StoredRow::decode(row)?;
        let mut state =
            MailboxState::new((account, mailbox), stored.uid_validity, Lsn::ZERO, reader);
        state.uid_next = stored.uid_next;
        state.uid_epoch = stored.uid_epoch;
        state.highest_modseq = stored.highest_modseq;
        state.page_version = stored.page_version;
        state.keywords = Arc::new(KeywordTable::new(stored.keywords));
        let StoredRow { block_count, block_messages, tail, digest, .. } = stored;
        state.open_blocks(blocks)?;
        let wrong = |why| ReadError::Undecodable { what: "mailbox", why };
        if u64_of(state.content.blocks.len()) != block_count
            || state.content.counts.messages != block_messages
        {
            return Err(wrong("its head blocks are not those that its row counts"));
        }
        if let Some(head) = tail {
            state.content.counts.add(head.counts);
            state.content.tail = Some(state.slot_of_head(head));
        }
        let is_empty = state.content.counts.messages == 0;
        state.digest = digest.or_else(|| is_empty.then(MailboxDigest::default));
        if !state.ascends() {
            return Err(wrong("its pages overlap or pass UIDNEXT"));
        }
        Ok(state)
    }

    fn open_blocks<'a>(
        &mut self,
        blocks: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), ReadError> {
        let mut opened = Vec::new();
        for bytes in blocks {
            let (first_uid, heads) = head::decode_block(bytes)?;
            let slots: Vec<Slot> = heads.into_iter().map(|head| self.slot_of_head(head)).collect();
            let mut counts = Counts::default();
            slots.iter().for_each(|slot| counts.add(slot.head.counts));
            self.content.counts.add(counts);
            opened.push(Arc::new(Block { first_uid, slots, counts }));
        }
        self.content.blocks = Arc::new(opened);
        Ok(())
    }

    fn slot_of_head(&self, head: PageHead) -> Slot {
        let key = self.page_key(head.first_uid);
        let rows = PageCell::clean(key, head.version);
        let ids = PageCell::clean(key, head.ids_version);
        Slot { head, rows, ids }
    }

    /// Whether slots and blocks ascend and stay below UIDNEXT.
    fn ascends(&self) -> bool {
        let heads = self.content.slots().map(|slot| &slot.head);
        let ascending =
            heads.clone().zip(heads.clone().skip(1)).all(|(a, b)| a.last_uid < b.first_uid);
        let keyed = self.content.blocks.iter().all(|block| {
            block.slots.first().is_some_and(|slot| block.first_uid <= slot.head.first_uid)
        });
        let below = self.content.slots().next_back();
        let below = below.is_none_or(|slot| u64::from(slot.head.last_uid.0) < self.uid_next);
        ascending && keyed && below
    }
}

/// A mailbox's row as it is stored.
struct StoredRow {
    uid_validity: UidValidity,
    uid_next: u64,
    uid_epoch: u16,
    highest_modseq: Lsn,
    page_version: u64,
    keywords: Vec<Keyword>,
    block_count: u64,
    block_messages: u32,
    tail: Option<PageHead>,
    digest: Option<MailboxDigest>,
}

impl StoredRow {
    fn decode(row: &[u8]) -> Result<StoredRow, ReadError> {
        let mut bytes = Reader::new(row, "mailbox row");
        bytes.format(FORMAT_WITH_SPLIT_DIGEST)?;
        let uid_validity = UidValidity(bytes.number32()?);
        let uid_next = bytes.number()?;
        if !(1..=UID_NEXT_MAX).contains(&uid_next) {
            return Err(bytes.wrong("UIDNEXT is out of range"));
        }
        let uid_epoch = bytes.number16()?;
        let highest_modseq = bytes.position()?;
        let page_version = bytes.number()?;
        let keywords = take_keywords(&mut bytes)?;
        let block_count = bytes.number()?;
        let block_messages = bytes.number32()?;
        let tail = match bytes.byte()? {
            0 => None,
            1 => Some(PageHead::take(&mut bytes, None)?),
            _ => return Err(bytes.wrong("its mark of a tail page is neither 0 nor 1")),
        };
        let kind = match row.first() {
            Some(&FORMAT_WITH_DIGEST) => Some(DigestKind::One),
            Some(&FORMAT_WITH_SPLIT_DIGEST) => Some(DigestKind::Split),
            _ => None,
        };
        let digest = match kind {
            Some(kind) => {
                let stored = bytes.bytes(DIGEST_BYTES)?.first_chunk().copied();
                stored.map(|stored| MailboxDigest::from_bytes(kind, stored))
            }
            None => None,
        };
        bytes.end()?;
        Ok(StoredRow {
            uid_validity,
            uid_next,
            uid_epoch,
            highest_modseq,
            page_version,
            keywords,
            block_count,
            block_messages,
            tail,
            digest,
        })
    }
}

/// The digest that a stored row has, if it is known.
pub(super) fn digest_of_row(row: &[u8]) -> Result<Option<MailboxDigest>, ReadError> {
    StoredRow::decode(row).map(|row| row.digest)
}

/// What a stored row says of its mailbox, and not of how its pages lie: the same wherever the same
/// was changed.
pub(super) fn content_of_row(row: &[u8]) -> Result<Vec<u8>, ReadError> {
    let stored = StoredRow::decode(row)?;
    let mut out = Vec::new();
    varint::put(&mut out, u64::from(stored.uid_validity.0));
    varint::put(&mut out, stored.uid_next);
    varint::put(&mut out, u64::from(stored.uid_epoch));
    varint::put(&mut out, stored.highest_modseq.bits());
    varint::put(&mut out, u64_of(stored.keywords.len()));
    for keyword in &stored.keywords {
        varint::put_bytes(&mut out, keyword.as_str().as_bytes());
    }
    Ok(out)
}

fn take_keywords(bytes: &mut Reader<'_>) -> Result<Vec<Keyword>, ReadError> {
    let count = bytes.length(MAILBOX_KEYWORDS_MAX)?;
    let mut keywords = Vec::new();
    for _ in 0..count {
        let length = bytes.length(KEYWORD_BYTES_MAX)?;
        let name = std::str::from_utf8(bytes.bytes(length)?).ok();
        let keyword = name.and_then(Keyword::new);
        keywords.push(keyword.ok_or_else(|| bytes.wrong("a keyword is not an atom"))?);
    }
    Ok(keywords)
}
