//! Associated data: what a sealed object is, so that it cannot pass for another.
//!
//! Encoded as one domain byte and then fields of fixed size, little-endian; the one field of
//! variable size stands last. So no two different values encode to the same bytes.
//!
//! ```text
//! domain  fields
//!      1  record      kind 1, account 8, lsn 8
//!      2  state value table 1, lsn 8, key (rest)
//!      3  chunk       version 2, tag 16, number 4, count 4
//!      4  blob key    tag 16, account 8, generation 4
//!      5  wrapped key purpose 1, then for a root key its id 16, for a volume key volume 16,
//!                     for an account key volume 16, account 8, generation 4
//!      6  spool       file 16, block 8
//!      7  named       purpose 1, name (rest): other small objects, numbered by their owner
//! ```

use crate::ids::{AccountNumber, BlobTag, KeyGeneration, Lsn, VolumeId};

/// What a sealed object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aad<'a> {
    /// A record's payload.
    Record {
        /// The record's type.
        kind: u8,
        /// Whose record.
        account: AccountNumber,
        /// Its position.
        lsn: Lsn,
    },
    /// A value of the table store.
    StateValue {
        /// The table (column family).
        table: u8,
        /// The value's key.
        key: &'a [u8],
        /// The position that the value reflects, which readers know from elsewhere; zero if they do
        /// not.
        lsn: Lsn,
    },
    /// A chunk of a blob.
    Chunk {
        /// The blob.
        tag: BlobTag,
        /// Which chunk, from 0.
        number: u32,
        /// Chunks of the blob.
        count: u32,
        /// Format of the blob.
        version: u16,
    },
    /// A blob's content key, under an account's key.
    BlobKey {
        /// The blob.
        tag: BlobTag,
        /// Whose key seals it.
        account: AccountNumber,
        /// Which of its keys.
        generation: KeyGeneration,
    },
    /// A key under another key.
    WrappedKey(WrappedKey),
    /// A block of a spool file.
    Spool {
        /// The file, random.
        file: [u8; 16],
        /// Which block, from 0.
        block: u64,
    },
    /// Another small object: an index file's key, a stored credential outside of a record.
    Named {
        /// What kind of object; its owner keeps the numbers.
        purpose: u8,
        /// Which one.
        name: &'a [u8],
    },
}

/// Which key is wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WrappedKey {
    /// The root key under a node's KEK.
    RootUnderNode {
        /// Id of the root key.
        root: [u8; 16],
    },
    /// The root key under a recovery key.
    RootUnderRecovery {
        /// Id of the root key.
        root: [u8; 16],
    },
    /// A volume's key under the root key.
    Volume {
        /// The volume.
        volume: VolumeId,
    },
    /// An account's key under the root key.
    Account {
        /// The account's volume.
        volume: VolumeId,
        /// The account.
        account: AccountNumber,
        /// Which of its keys.
        generation: KeyGeneration,
    },
}

impl Aad<'_> {
    /// The bytes that are bound.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        let mut put = |field: &[u8]| bytes.extend_from_slice(field);
        match self {
            Aad::Record { kind, account, lsn } => {
                put(&[1, *kind]);
                put(&account.0.to_le_bytes());
                put(&lsn.bits().to_le_bytes());
            }
            Aad::StateValue { table, key, lsn } => {
                put(&[2, *table]);
                put(&lsn.bits().to_le_bytes());
                put(key);
            }
            Aad::Chunk { tag, number, count, version } => {
                put(&[3]);
                put(&version.to_le_bytes());
                put(&tag.0);
                put(&number.to_le_bytes());
                put(&count.to_le_bytes());
            }
            Aad::BlobKey { tag, account, generation } => {
                put(&[4]);
                put(&tag.0);
                put(&account.0.to_le_bytes());
                put(&generation.0.to_le_bytes());
            }
            Aad::WrappedKey(key) => key.encode(&mut put),
            Aad::Spool { file, block } => {
                put(&[6]);
                put(file);
                put(&block.to_le_bytes());
            }
            Aad::Named { purpose, name } => {
                put(&[7, *purpose]);
                put(name);
            }
        }
        bytes
    }
}

impl WrappedKey {
    fn encode(&self, put: &mut impl FnMut(&[u8])) {
        match self {
            WrappedKey::RootUnderNode { root } => {
                put(&[5, 1]);
                put(root);
            }
            WrappedKey::RootUnderRecovery { root } => {
                put(&[5, 2]);
                put(root);
            }
            WrappedKey::Volume { volume } => {
                put(&[5, 3]);
                put(&volume.0);
            }
            WrappedKey::Account { volume, account, generation } => {
                put(&[5, 4]);
                put(&volume.0);
                put(&account.0.to_le_bytes());
                put(&generation.0.to_le_bytes());
            }
        }
    }
}
