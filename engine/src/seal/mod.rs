//! Keys and sealing: nothing readable leaves this folder for a disk or a wire.
//!
//! ```text
//! KEK (passphrase, key file, credential) ─┐
//! recovery key (on paper) ────────────────┴─ wraps ► root key          root_key.rs
//!                                                └ wraps ► volume key, account keys   key_table.rs
//!   volume key  ► sealed objects of account 0, keyed hashes of names   object.rs, keyed_hash.rs
//!   account key ► sealed objects, content keys of blobs                object.rs, blob.rs
//!   content key ► chunks of one blob                                   blob.rs
//!   spool key   ► blocks of one spool file, in memory only             spool.rs
//!   index key   ► blocks of one file of the full-text index            index_file.rs
//! ```
//!
//! # Invariants
//! 1. A key encrypts once. Every sealed object has a key of its own, derived from its parent, the
//!    process's incarnation, a process-wide serial and 128 fresh random bits ([`Salt`]); a chunk's
//!    or block's is derived from a fresh key and its number, which is given once. So the nonce is
//!    constant.
//! 2. Every key is committed to: AES-GCM alone opens under more than one key, so 16 bytes derived
//!    beside the key are compared first. A wrong key and altered bytes are different errors.
//! 3. What an object *is* (kind, account, position, number) is associated data; where it lies is
//!    not.
//! 4. Keys are wiped when dropped and print nothing.
//!
//! What leaks is sizes.

mod aad;
pub mod aead;
mod blob;
mod compress;
mod derive;
mod dictionary;
mod error;
mod fields;
mod files;
pub(crate) mod fuzzing;
mod index_file;
mod key;
mod key_table;
mod keyed_hash;
mod object;
mod parts;
mod passphrase;
mod password;
mod prepared;
mod provider;
mod recipe;
mod recovery_key;
mod root_key;
mod secret;
mod spool;
mod stream;

pub use aad::{Aad, WrappedKey};
pub use blob::{
    BLOB_HEADER_BYTES_MAX, BlobEntry, BlobHeader, BlobOpener, BlobSealer, Piece, SealedChunk,
    chunk_count,
};
pub use compress::Compression;
pub(crate) use compress::decompress_frame;
pub use derive::{COMMITMENT_BYTES, Randomness, SALT_BYTES, Salt, Sealer, SystemRandom};
pub use dictionary::{DICTIONARY_BYTES_MAX, Dictionary, DictionaryHash};
pub use error::{KeyError, SealError};
pub use index_file::{INDEX_BLOCK_OVERHEAD_BYTES, INDEX_HEADER_BYTES, IndexFile, IndexFileId};
pub use key::{KEY_BYTES, Key};
pub use key_table::{AccountKey, KeyTable, KeyTableReport, KeyTableSnapshot, TableCopy};
pub use keyed_hash::{HashDomain, KeyedHash};
pub use object::{OBJECT_OVERHEAD_BYTES, open, seal, seal_into};
pub use parts::{MessageParts, NoParts, PART_BYTES_MIN, Part, PartSource, append_range};
pub use passphrase::Argon2Cost;
pub use password::{SCRAM_ITERATIONS, ScramKeys, StoredPassword, dummy_verify};
pub use prepared::PreparedPassword;
pub use provider::{Credential, KeyFile, KeyProvider, Passphrase, ProviderKind};
pub use recovery_key::RecoveryKey;
pub use root_key::{RootKey, RootKeyFile};
pub use secret::Secret;
pub use spool::{SPOOL_BLOCK_BYTES, SPOOL_BLOCK_OVERHEAD_BYTES, SpoolSealer};

/// The formats of keys and sealed things, for the list in `tests/golden/constants.txt`.
#[cfg(test)]
pub(crate) const FORMATS: [(&str, u16); 5] = [
    ("blob", blob::VERSION),
    ("index file", index_file::VERSION),
    ("key table", key_table::FORMAT_VERSION),
    ("root key file", root_key::FORMAT_VERSION),
    ("stored password", password::FORMAT_VERSION as u16),
];

/// A line of base64, for messages of tests.
#[cfg(test)]
pub(crate) fn base64_for_tests(bytes: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    recipe::encode(bytes, 1 << 20, recipe::LineEnd::CrLf, &mut line);
    line
}

#[cfg(test)]
mod tests;
