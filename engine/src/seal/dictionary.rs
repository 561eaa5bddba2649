//! Dictionaries of zstd: what most mail repeats, so that a small one need not say it again.
//!
//! ```text
//! dictionaries/mail.dict      for chunks of messages
//! dictionaries/summary.dict   for summaries
//! ```
//!
//! Both were trained by `examples/dictionary` on text that we wrote: a dictionary holds pieces of
//! what it is trained on, outlives the shredding of every account, and is the same for all of them.
//! One from a user's mail may exist only as a blob of that account.
//!
//! # Invariants
//! 1. A dictionary that a release wrote with stays in [`BUILT_IN`] for good: without it nobody
//!    opens what it compressed. A better one is a new file beside it, and a new format level.
//! 2. Its number in zstd's header is 0, so that frames do not repeat it: the chunk has the hash.

use std::sync::{Arc, LazyLock};

use zstd::zstd_safe::{CDict, DDict};

/// Largest dictionary.
pub const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a dictionary's name.
const HASH_BYTES: usize = 8;
/// zstd's level for the chunks that most mail consists of: above that size it costs twice the CPU
/// of level 1. docs/benchmarks.md has the figures.
const SMALL_LEVEL: i32 = 3;
/// Largest chunk of that level.
const SMALL_CHUNK_BYTES_MAX: usize = 16 << 10;
/// zstd's level for larger chunks.
const LARGE_LEVEL: i32 = 1;

/// The name of a dictionary: the first 8 bytes of its BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DictionaryHash(pub [u8; HASH_BYTES]);

/// A dictionary of zstd, prepared for one level. One from a user's mail holds pieces of it: it is
/// stored sealed.
pub struct Dictionary {
    hash: DictionaryHash,
    pub(super) compress: CDict<'static>,
    pub(super) decompress: DDict<'static>,
}

impl Dictionary {
    /// Prepares a dictionary; `None` if it is empty, too large, or zstd refuses it.
    pub fn new(bytes: &[u8], level: i32) -> Option<Dictionary> {
        if bytes.is_empty() || bytes.len() > DICTIONARY_BYTES_MAX {
            return None;
        }
        let hash = *blake3::hash(bytes).as_bytes().first_chunk()?;
        Some(Dictionary {
            hash: DictionaryHash(hash),
            compress: CDict::try_create(bytes, level)?,
            decompress: DDict::try_create(bytes)?,
        })
    }

    /// Its name.
    pub fn hash(&self) -> DictionaryHash {
        self.hash
    }
}

/// Bytes of a dictionary, and what is prepared from them when it is first needed, once for all
/// threads.
type BuiltIn = LazyLock<Arc<Dictionary>>;

const MAIL_BYTES: &[u8] = include_bytes!("dictionaries/mail.dict");
const SUMMARY_BYTES: &[u8] = include_bytes!("dictionaries/summary.dict");

static MAIL: BuiltIn = LazyLock::new(|| prepared(MAIL_BYTES, SMALL_LEVEL));
static LARGE_MAIL: BuiltIn = LazyLock::new(|| prepared(MAIL_BYTES, LARGE_LEVEL));
static SUMMARY: BuiltIn = LazyLock::new(|| prepared(SUMMARY_BYTES, SMALL_LEVEL));

/// Every dictionary that a binary ever wrote with, by name. Lines are added, never taken away.
static BUILT_IN: &[(DictionaryHash, &BuiltIn)] = &[
    (DictionaryHash([0x39, 0xB7, 0x6E, 0x2A, 0xB1, 0xAB, 0xB5, 0x71]), &MAIL),
    (DictionaryHash([0x97, 0xDE, 0x38, 0x91, 0xA1, 0xE5, 0x28, 0x53]), &SUMMARY),
];

fn prepared(bytes: &[u8], level: i32) -> Arc<Dictionary> {
    Arc::new(Dictionary::new(bytes, level).expect("a test prepares every dictionary of the binary"))
}

/// What a chunk of a message is compressed with now; of all sizes they open with the same.
pub(super) fn mail(chunk_len: usize) -> &'static Dictionary {
    if chunk_len <= SMALL_CHUNK_BYTES_MAX { &MAIL } else { &LARGE_MAIL }
}

/// The dictionary of [`mail`] for the higher level, whatever the size.
pub(super) fn small_mail() -> &'static Dictionary {
    &MAIL
}

/// The dictionary that summaries are compressed with now.
pub(super) fn summary() -> &'static Dictionary {
    &SUMMARY
}

/// The dictionary of the binary that has this name.
pub(super) fn built_in(hash: DictionaryHash) -> Option<&'static Arc<Dictionary>> {
    BUILT_IN.iter().find(|(name, _)| *name == hash).map(|(_, dictionary)| &***dictionary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionaries_of_the_binary_are_those_that_mail_was_written_with() {
        for (name, dictionary) in BUILT_IN {
            assert_eq!(dictionary.hash(), *name, "a dictionary changed: mail would not open");
            assert!(built_in(*name).is_some_and(|found| found.hash() == *name));
        }
        assert_eq!(mail(1).hash(), mail(SMALL_CHUNK_BYTES_MAX + 1).hash());
        for bytes in [MAIL_BYTES, SUMMARY_BYTES] {
            assert_eq!(bytes[4..8], [0; 4], "frames would repeat zstd's number of the dictionary");
        }
        assert!(built_in(DictionaryHash([0; HASH_BYTES])).is_none());
    }
}
