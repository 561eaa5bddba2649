//! A key of 256 bits: wiped when dropped, shown to nobody.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::derive::Randomness;

/// Bytes of every key here.
pub const KEY_BYTES: usize = 32;

/// 32 secret bytes.
///
/// Boxed, so that moving a key moves a pointer and leaves no copy behind on the stack.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key(Box<[u8; KEY_BYTES]>);

impl Key {
    /// Takes the bytes over and wipes where they came from.
    pub fn take(bytes: &mut [u8; KEY_BYTES]) -> Key {
        let key = Key(Box::new(*bytes));
        bytes.zeroize();
        key
    }

    /// From a slice of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Key> {
        let mut key = Key(Box::new([0; KEY_BYTES]));
        if bytes.len() != KEY_BYTES {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// A fresh key.
    pub fn random(random: &dyn Randomness) -> Key {
        let mut key = Key(Box::new([0; KEY_BYTES]));
        random.fill(key.0.as_mut_slice());
        key
    }

    /// The bytes themselves, for ciphers and wrapping.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}
