//! Where keys come from: no two sealed things share one.
//!
//! A sealed object's key and commitment are the 48 bytes of BLAKE3 (`derive_key` mode, a context of
//! its own per purpose) over its parent key and its [`Salt`], which is stored beside it:
//!
//! ```text
//! offset  size  field
//!      0    16  incarnation  of the process, random at every start
//!     16     8  serial       process-wide, one per sealed object, little-endian
//!     24    16  random       fresh from the system
//! ```
//!
//! Why both a serial and randomness: a repetition needs both to fail. A cloned virtual machine
//! repeats incarnation and serial but not the system's randomness; a poor random source still has
//! the serial. Why no position: sealing runs on the callers' cores, before the committer gives
//! positions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

use super::key::{KEY_BYTES, Key};
use crate::ids::Incarnation;

/// Bytes of a stored [`Salt`].
pub const SALT_BYTES: usize = 40;
/// Bytes of a salt whose randomness stands elsewhere: incarnation and serial.
pub(super) const SHORT_SALT_BYTES: usize = 24;
/// Bytes of a key commitment.
pub const COMMITMENT_BYTES: usize = 16;

/// A purpose for which keys or proofs are derived; one context text each, never reused or changed.
#[derive(Clone, Copy)]
pub(super) struct Purpose(&'static str);

impl Purpose {
    pub(super) const OBJECT: Purpose = Purpose("Pillarbox 2026 v1 sealed object");
    pub(super) const CONTENT_KEY: Purpose = Purpose("Pillarbox 2026 v1 blob content key");
    pub(super) const CONTENT_KEY_MASK: Purpose = Purpose("Pillarbox 2026 v1 blob content key mask");
    pub(super) const CHUNK: Purpose = Purpose("Pillarbox 2026 v1 blob chunk");
    pub(super) const BLOB_PROOF: Purpose = Purpose("Pillarbox 2026 v1 blob header proof");
    pub(super) const SPOOL_FILE: Purpose = Purpose("Pillarbox 2026 v1 spool file");
    pub(super) const SPOOL_BLOCK: Purpose = Purpose("Pillarbox 2026 v1 spool block");
    pub(super) const INDEX_FILE: Purpose = Purpose("Pillarbox 2026 v1 index file");
    pub(super) const INDEX_BLOCK: Purpose = Purpose("Pillarbox 2026 v1 index block");
    pub(super) const NAME_HASH: Purpose = Purpose("Pillarbox 2026 v1 keyed hash of names");
    pub(super) const CONTENT_HASH: Purpose = Purpose("Pillarbox 2026 v1 keyed hash of content");
    pub(super) const SCRAM_DECOY: Purpose =
        Purpose("Pillarbox 2026 v1 SCRAM keys of unknown names");
    pub(super) const KEY_FILE: Purpose = Purpose("Pillarbox 2026 v1 KEK from key file");
    pub(super) const RECOVERY: Purpose = Purpose("Pillarbox 2026 v1 KEK from recovery key");

    /// Fills `output` from the given material, one part after another; parts have fixed lengths.
    pub(super) fn derive(self, material: &[&[u8]], output: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key(self.0);
        for part in material {
            hasher.update(part);
        }
        hasher.finalize_xof().fill(output);
    }

    /// One key from the given material.
    pub(super) fn key(self, material: &[&[u8]]) -> Key {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        self.derive(material, bytes.as_mut_slice());
        Key::take(&mut bytes)
    }
}

/// A source of random bytes: the system's, or a simulator's.
pub trait Randomness: Send + Sync {
    /// Fills all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The system's random source.
pub struct SystemRandom;

impl Randomness for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Going on with predictable keys would be worse than stopping.
        getrandom::fill(bytes).expect("Linux gives random bytes to every running process");
    }
}

/// What makes a derived key unique, stored beside what it sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salt(pub [u8; SALT_BYTES]);

impl Salt {
    /// Key and commitment of the object with this salt.
    pub(super) fn object_key(&self, parent: &Key) -> (Key, [u8; COMMITMENT_BYTES]) {
        let mut output = Zeroizing::new([0; KEY_BYTES + COMMITMENT_BYTES]);
        Purpose::OBJECT.derive(&[parent.expose(), &self.0], output.as_mut_slice());
        let (key, commitment) = output.split_at(KEY_BYTES);
        let key = Key::from_slice(key).expect("split at the length of a key");
        (key, commitment.try_into().expect("the rest is a commitment"))
    }
}

/// Gives out salts: one per process, cheap to clone.
#[derive(Clone)]
pub struct Sealer(Arc<Source>);

struct Source {
    incarnation: Incarnation,
    serial: AtomicU64,
    random: Box<dyn Randomness>,
}

impl Sealer {
    /// A new incarnation on the given source; its serial starts at 0.
    pub fn new(random: Box<dyn Randomness>) -> Sealer {
        let mut incarnation = [0; 16];
        random.fill(&mut incarnation);
        let incarnation = Incarnation(incarnation);
        Sealer(Arc::new(Source { incarnation, serial: AtomicU64::new(0), random }))
    }

    /// A new incarnation on the system's random source.
    pub fn system() -> Sealer {
        Sealer::new(Box::new(SystemRandom))
    }

    /// The running process.
    pub fn incarnation(&self) -> Incarnation {
        self.0.incarnation
    }

    /// The source of randomness, for ids and tags.
    pub fn random(&self) -> &dyn Randomness {
        self.0.random.as_ref()
    }

    /// 16 fresh random bytes, as ids and tags want them.
    pub fn random_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.0.random.fill(&mut id);
        id
    }

    /// The next salt; no other is equal to it.
    pub fn salt(&self) -> Salt {
        let mut salt = [0; SALT_BYTES];
        let (short, random) = salt.split_at_mut(SHORT_SALT_BYTES);
        short.copy_from_slice(&self.short_salt());
        self.0.random.fill(random);
        Salt(salt)
    }

    /// The next salt without randomness, for whoever has it stored beside it already.
    pub(super) fn short_salt(&self) -> [u8; SHORT_SALT_BYTES] {
        let serial = self.0.serial.fetch_add(1, Ordering::Relaxed);
        let mut salt = [0; SHORT_SALT_BYTES];
        let (incarnation, serial_field) = salt.split_at_mut(16);
        incarnation.copy_from_slice(&self.0.incarnation.0);
        serial_field.copy_from_slice(&serial.to_le_bytes());
        salt
    }

    /// A fresh key that is stored only wrapped: random, and mixed with a salt against a poor
    /// source.
    pub(super) fn fresh_key(&self, purpose: Purpose) -> Key {
        let random = Key::random(self.random());
        purpose.key(&[random.expose(), &self.salt().0])
    }
}
