//! Opened summaries, one by one and by page, within one budget of bytes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::ids::{AccountNumber, BlobId};
use crate::mailbox::{PageKey, SummaryPage};
use crate::message::StoredSummary;
use crate::width::{u64_of, usize_of};

/// What was opened since the start.
#[derive(Default)]
pub(super) struct OpenedFigures {
    /// Messages, for their bytes.
    pub(super) message_count: AtomicU64,
    /// Summaries that were not in the cache.
    pub(super) summary_count: AtomicU64,
    /// Summary pages that were not in the cache.
    pub(super) page_count: AtomicU64,
}

/// Opened summaries.
pub(super) struct SummaryCache {
    cache: Cache<Key, Kept, Weight>,
    opened: OpenedFigures,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Message(AccountNumber, BlobId),
    Run(PageKey),
}

#[derive(Clone)]
enum Kept {
    Summary(StoredSummary),
    Page(Arc<SummaryPage>),
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Kept> for Weight {
    fn weight(&self, _key: &Key, kept: &Kept) -> u64 {
        /// A key, the places of a summary, and what the cache keeps for an item.
        const BESIDE_BYTES: u64 = 128;
        BESIDE_BYTES
            + match kept {
                Kept::Summary(summary) => u64_of(summary.buffer_bytes()),
                Kept::Page(page) => u64_of(page.memory_bytes()),
            }
    }
}

impl SummaryCache {
    pub(super) fn new(budget_bytes: u64) -> SummaryCache {
        const TYPICAL_BYTES: u64 = 2048;
        let items = usize_of(budget_bytes / TYPICAL_BYTES).max(16);
        let cache = Cache::with_weighter(items, budget_bytes, Weight);
        SummaryCache { cache, opened: OpenedFigures::default() }
    }

    /// A message's summary.
    pub(super) fn find(&self, account: AccountNumber, blob: BlobId) -> Option<StoredSummary> {
        match self.cache.get(&Key::Message(account, blob)) {
            Some(Kept::Summary(summary)) => Some(summary),
            _ => None,
        }
    }

    /// Keeps a message's summary.
    pub(super) fn keep(&self, account: AccountNumber, blob: BlobId, summary: StoredSummary) {
        self.cache.insert(Key::Message(account, blob), Kept::Summary(summary));
    }

    /// The page of a run.
    pub(super) fn find_page(&self, run: PageKey) -> Option<Arc<SummaryPage>> {
        match self.cache.get(&Key::Run(run)) {
            Some(Kept::Page(page)) => Some(page),
            _ => None,
        }
    }

    /// Keeps the page of a run.
    pub(super) fn keep_page(&self, run: PageKey, page: Arc<SummaryPage>) {
        self.cache.insert(Key::Run(run), Kept::Page(page));
    }

    /// What readers have opened: what the cache is there to avoid.
    pub(super) fn opened(&self) -> &OpenedFigures {
        &self.opened
    }
}
