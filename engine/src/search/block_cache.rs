//! Opened blocks of splits, of all accounts, within one budget of bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::seal::IndexFileId;
use crate::width::{u64_of, usize_of};

/// A block of a file.
pub(crate) type BlockKey = (IndexFileId, u32);

/// Opened blocks.
pub(crate) struct BlockCache {
    cache: Cache<BlockKey, Arc<[u8]>, Weight>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<BlockKey, Arc<[u8]>> for Weight {
    fn weight(&self, _key: &BlockKey, block: &Arc<[u8]>) -> u64 {
        /// A key, and what the cache keeps for an item.
        const BESIDE_BYTES: u64 = 128;
        BESIDE_BYTES + u64_of(block.len())
    }
}

impl BlockCache {
    pub(crate) fn new(budget_bytes: u64) -> Arc<BlockCache> {
        let items = usize_of(budget_bytes / u64_of(super::block::SPLIT_BLOCK_BYTES)).max(16);
        Arc::new(BlockCache { cache: Cache::with_weighter(items, budget_bytes, Weight) })
    }

    pub(super) fn find(&self, key: BlockKey) -> Option<Arc<[u8]>> {
        self.cache.get(&key)
    }

    pub(super) fn keep(&self, key: BlockKey, block: Arc<[u8]>) {
        self.cache.insert(key, block);
    }
}
