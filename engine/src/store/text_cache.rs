//! Texts of messages that the index leaves to be asked, kept for the next search.
//!
//! The newest messages of an account are in no split, so every search asks them again. Within one
//! budget of bytes their texts stay in memory, and asking some hundred of them takes a millisecond.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::ids::{AccountNumber, BlobId};
use crate::limits::SEARCH_TEXTS_BYTES_MAX;
use crate::message::text::SearchText;
use crate::width::u64_of;

/// Documents of a message may have been read for one account and not for another.
pub(super) type TextKey = (AccountNumber, BlobId);

/// The texts, those that were asked least recently go first.
pub(super) struct TextCache {
    cache: Cache<TextKey, Arc<SearchText>, Weight>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<TextKey, Arc<SearchText>> for Weight {
    fn weight(&self, _key: &TextKey, text: &Arc<SearchText>) -> u64 {
        /// A key, and what the cache keeps for an item.
        const BESIDE_BYTES: u64 = 160;
        /// A string in a list.
        const STRING_BYTES: u64 = 32;
        let bytes = |text: &str| STRING_BYTES + u64_of(text.len());
        let bodies: u64 = text.body_texts().map(bytes).sum();
        let fields = text.own_fields().chain(text.part_fields());
        BESIDE_BYTES + bodies + fields.map(|(name, value)| bytes(name) + bytes(value)).sum::<u64>()
    }
}

impl TextCache {
    pub(super) fn new() -> TextCache {
        /// What a message has, about.
        const TEXT_BYTES: usize = 4 << 10;
        let items = crate::width::usize_of(SEARCH_TEXTS_BYTES_MAX) / TEXT_BYTES;
        TextCache { cache: Cache::with_weighter(items, SEARCH_TEXTS_BYTES_MAX, Weight) }
    }

    pub(super) fn find(&self, key: TextKey) -> Option<Arc<SearchText>> {
        self.cache.get(&key)
    }

    pub(super) fn keep(&self, key: TextKey, text: &Arc<SearchText>) {
        self.cache.insert(key, Arc::clone(text));
    }
}
