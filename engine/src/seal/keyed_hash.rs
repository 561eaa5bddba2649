//! Keyed hashes: how keys of the table store name mailboxes and addresses without showing them.

use super::derive::Purpose;
use super::key::Key;

/// What is hashed; equal texts of different kinds have different hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashDomain {
    /// A mailbox's name, normalised.
    MailboxName,
    /// A mail address or login name, normalised.
    Address,
    /// A domain of the policy.
    Domain,
    /// A Message-ID, or a thread's subject.
    MessageId,
    /// Content of a message or part.
    Content,
    /// Bytes of a part that messages share.
    Part,
}

impl HashDomain {
    const fn byte(self) -> u8 {
        match self {
            HashDomain::MailboxName => 1,
            HashDomain::Address => 2,
            HashDomain::Domain => 3,
            HashDomain::MessageId => 4,
            HashDomain::Content => 5,
            HashDomain::Part => 6,
        }
    }
}

/// BLAKE3 under a secret key: equal inputs are seen as equal by who has the store, and by nobody
/// across volumes or accounts.
#[derive(Clone)]
pub struct KeyedHash(Key);

impl KeyedHash {
    /// The hash of names and addresses of a volume.
    pub fn of_volume(volume_key: &Key) -> KeyedHash {
        KeyedHash(Purpose::NAME_HASH.key(&[volume_key.expose()]))
    }

    /// The hash of an account's content. Derived from the first generation of its key by callers
    /// that want equal content to stay equal when the key changes.
    pub fn of_account(account_key: &Key) -> KeyedHash {
        KeyedHash(Purpose::CONTENT_HASH.key(&[account_key.expose()]))
    }

    /// 16 bytes for a key of the table store.
    pub fn hash(&self, domain: HashDomain, text: &[u8]) -> [u8; 16] {
        let mut hash = [0; 16];
        self.hasher(domain, text).finalize_xof().fill(&mut hash);
        hash
    }

    /// All 32 bytes, for content.
    pub fn hash_whole(&self, domain: HashDomain, text: &[u8]) -> [u8; 32] {
        self.hasher(domain, text).finalize().into()
    }

    fn hasher(&self, domain: HashDomain, text: &[u8]) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose());
        hasher.update(&[domain.byte()]);
        hasher.update(text);
        hasher
    }
}

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash(…)")
    }
}
