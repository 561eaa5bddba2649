//! Where pages are: in memory because nobody else has them, in the cache, or in the table store.
//!
//! A slot of a mailbox refers to its page through a [`PageCell`], which every view that shares the
//! slot shares too:
//!
//! ```text
//!   made by a change ──► Dirty ──(checkpoint flushed)──► Clean ──(changed again)──► Superseded
//!                          └───────────(changed again before)──────────────────────────┘
//! ```
//!
//! *Clean*: the store has this very version, so the cache may forget it. *Dirty* and *superseded*:
//! the store has an older or a newer version, or none, so the cell keeps the page itself for as
//! long as any view refers to it. This is why a view that was taken before a change reads what it
//! was taken of, even after that change has reached the store.
//!
//! Invariant: a page read from the store has the version that its cell names; if not, the cell has
//! been superseded meanwhile, and its own page is the answer.

use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::ReadError;
use crate::ids::{AccountNumber, MailboxId, Uid};
use crate::mailbox::at_hand::{self, May};
use crate::mailbox::ids_page::IdsPage;
use crate::mailbox::page::Page;
use crate::width::u64_of;

/// Bytes of a page's or head block's key in the table store.
pub(crate) const PAGE_KEY_BYTES: usize = 28;

/// Names a page for ever: `first_uid` is that of its first row when it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PageKey {
    /// Whose.
    pub(crate) account: AccountNumber,
    /// Of which mailbox.
    pub(crate) mailbox: MailboxId,
    /// No row of the page is below.
    pub(crate) first_uid: Uid,
}

impl PageKey {
    /// From the table store's key.
    pub(crate) fn from_bytes(key: &[u8]) -> Option<PageKey> {
        let (account, rest) = key.split_first_chunk()?;
        let (mailbox, uid) = rest.split_first_chunk()?;
        Some(PageKey {
            account: AccountNumber(u64::from_be_bytes(*account)),
            mailbox: MailboxId(*mailbox),
            first_uid: Uid(u32::from_be_bytes(uid.try_into().ok()?)),
        })
    }

    /// As the table store's key: sorts by account, mailbox, UID.
    pub(crate) fn to_bytes(self) -> [u8; PAGE_KEY_BYTES] {
        let mut key = [0; PAGE_KEY_BYTES];
        let (account, rest) = key.split_at_mut(8);
        let (mailbox, uid) = rest.split_at_mut(16);
        account.copy_from_slice(&self.account.0.to_be_bytes());
        mailbox.copy_from_slice(&self.mailbox.0);
        uid.copy_from_slice(&self.first_uid.0.to_be_bytes());
        key
    }
}

/// Names a head block for ever: `first_uid` is that of its first page when it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct BlockKey {
    /// Whose.
    pub(crate) account: AccountNumber,
    /// Of which mailbox.
    pub(crate) mailbox: MailboxId,
    /// No page of the block is below.
    pub(crate) first_uid: Uid,
}

impl BlockKey {
    /// As the table store's key: sorts by account, mailbox, UID.
    pub(crate) fn to_bytes(self) -> [u8; PAGE_KEY_BYTES] {
        let BlockKey { account, mailbox, first_uid } = self;
        PageKey { account, mailbox, first_uid }.to_bytes()
    }
}

/// Which columns of a page: they are stored apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Columns {
    /// What commands ask for often.
    Rows,
    /// The 16-byte ids.
    Ids,
}

/// Reads stored pages.
pub(crate) trait PageSource: Send + Sync {
    /// The page's bytes as [`Page::encode`] or [`IdsPage::encode`] made them, as last written. An
    /// error if there is no such page.
    fn load(&self, key: PageKey, columns: Columns) -> Result<Vec<u8>, ReadError>;
}

/// Opened clean pages of all mailboxes, within a budget of bytes.
pub(crate) struct PageCache {
    rows: Cache<(PageKey, u64), Arc<Page>, PageWeight>,
    ids: Cache<(PageKey, u64), Arc<IdsPage>, PageWeight>,
}

#[derive(Clone)]
struct PageWeight;

impl<P: StoredPage> Weighter<(PageKey, u64), Arc<P>> for PageWeight {
    fn weight(&self, _key: &(PageKey, u64), page: &Arc<P>) -> u64 {
        u64_of(page.memory_bytes()) + 64
    }
}

impl PageCache {
    /// With a budget for all columns together; ids get a quarter of it.
    pub(crate) fn new(budget_bytes: u64) -> Arc<PageCache> {
        const TYPICAL_PAGE_BYTES: u64 = 24 << 10;
        let ids_bytes = budget_bytes / 4;
        let rows_bytes = budget_bytes - ids_bytes;
        let items = |bytes: u64| crate::width::usize_of(bytes / TYPICAL_PAGE_BYTES).max(16);
        Arc::new(PageCache {
            rows: Cache::with_weighter(items(rows_bytes), rows_bytes, PageWeight),
            ids: Cache::with_weighter(items(ids_bytes), ids_bytes, PageWeight),
        })
    }
}

/// What the two kinds of page have in common.
pub(crate) trait StoredPage: Sized {
    /// Which columns it holds.
    const COLUMNS: Columns;
    /// From what is stored.
    fn decode_stored(bytes: &[u8]) -> Result<Self, ReadError>;
    /// Which version it is.
    fn version(&self) -> u64;
    /// Bytes in memory.
    fn memory_bytes(&self) -> usize;
    /// The cached page of that key and version.
    fn cached(cache: &PageCache, key: &(PageKey, u64)) -> Option<Arc<Self>>;
    /// Puts it into the cache.
    fn put_into(cache: &PageCache, key: (PageKey, u64), page: Arc<Self>);
}

impl StoredPage for Page {
    const COLUMNS: Columns = Columns::Rows;

    fn decode_stored(bytes: &[u8]) -> Result<Page, ReadError> {
        Page::decode(bytes)
    }

    fn version(&self) -> u64 {
        Page::version(self)
    }

    fn memory_bytes(&self) -> usize {
        Page::memory_bytes(self)
    }

    fn cached(cache: &PageCache, key: &(PageKey, u64)) -> Option<Arc<Page>> {
        cache.rows.get(key)
    }

    fn put_into(cache: &PageCache, key: (PageKey, u64), page: Arc<Page>) {
        cache.rows.insert(key, page);
    }
}

impl StoredPage for IdsPage {
    const COLUMNS: Columns = Columns::Ids;

    fn decode_stored(bytes: &[u8]) -> Result<IdsPage, ReadError> {
        IdsPage::decode(bytes)
    }

    fn version(&self) -> u64 {
        IdsPage::version(self)
    }

    fn memory_bytes(&self) -> usize {
        IdsPage::memory_bytes(self)
    }

    fn cached(cache: &PageCache, key: &(PageKey, u64)) -> Option<Arc<IdsPage>> {
        cache.ids.get(key)
    }

    fn put_into(cache: &PageCache, key: (PageKey, u64), page: Arc<IdsPage>) {
        cache.ids.insert(key, page);
    }
}

/// The way to stored pages: source and cache together.
#[derive(Clone)]
pub(crate) struct PageReader {
    /// The table store, opened.
    pub(crate) source: Arc<dyn PageSource>,
    /// What was opened already.
    pub(crate) cache: Arc<PageCache>,
}

enum Residence<P> {
    Clean,
    Dirty(Arc<P>),
    Superseded(Arc<P>),
}

/// One version of one page, wherever it is.
pub(crate) struct PageCell<P> {
    key: PageKey,
    version: u64,
    residence: Mutex<Residence<P>>,
}

impl<P: StoredPage> PageCell<P> {
    /// A page that a change made and the store does not have.
    pub(crate) fn dirty(key: PageKey, page: P) -> Arc<PageCell<P>> {
        let version = page.version();
        Arc::new(PageCell { key, version, residence: Mutex::new(Residence::Dirty(Arc::new(page))) })
    }

    /// A page that the store has.
    pub(crate) fn clean(key: PageKey, version: u64) -> Arc<PageCell<P>> {
        Arc::new(PageCell { key, version, residence: Mutex::new(Residence::Clean) })
    }

    /// Its key.
    pub(crate) fn key(&self) -> PageKey {
        self.key
    }

    /// Its version.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn resident(&self) -> Option<Arc<P>> {
        match &*self.residence.lock() {
            Residence::Clean => None,
            Residence::Dirty(page) | Residence::Superseded(page) => Some(page.clone()),
        }
    }

    /// Whether the page is in memory.
    pub(crate) fn is_at_hand(&self, reader: &PageReader) -> bool {
        self.resident().is_some() || P::cached(&reader.cache, &(self.key, self.version)).is_some()
    }

    /// The page, read if need be and if the thread may wait for that.
    pub(crate) fn page(&self, reader: &PageReader) -> Result<Arc<P>, ReadError> {
        let may = at_hand::look_at_one()?;
        if let Some(page) = self.resident() {
            return Ok(page);
        }
        let cache_key = (self.key, self.version);
        if let Some(page) = P::cached(&reader.cache, &cache_key) {
            return Ok(page);
        }
        if may == May::Not {
            return Err(ReadError::NotAtHand);
        }
        let read = reader.source.load(self.key, P::COLUMNS).and_then(|b| P::decode_stored(&b));
        match read {
            Ok(page) if page.version() == self.version => {
                let page = Arc::new(page);
                P::put_into(&reader.cache, cache_key, page.clone());
                Ok(page)
            }
            // Changed and written while we read: then the cell has its page by now.
            Ok(_) => self.resident().ok_or(ReadError::Undecodable {
                what: "mailbox page",
                why: "it has another version than its head says",
            }),
            Err(error) => self.resident().ok_or(error),
        }
    }

    /// A newer version has taken its place; `page` is this one.
    pub(crate) fn supersede(&self, page: Arc<P>) {
        *self.residence.lock() = Residence::Superseded(page);
    }

    /// The store has it now, durably.
    pub(crate) fn flushed(&self, cache: &PageCache) {
        let mut residence = self.residence.lock();
        if let Residence::Dirty(page) = &*residence {
            P::put_into(cache, (self.key, self.version), page.clone());
            *residence = Residence::Clean;
        }
    }
}
