//! AES-256-GCM behind one trait, with two implementations that must agree.
//!
//! [`AwsLc`] is the default: it is in the program for TLS anyway and measured six times faster.
//! [`AesGcmReference`] (RustCrypto) stands for cross-checks in tests and benches. Neither knows
//! keys from keys: that a nonce never repeats under a key is the promise of this module's callers.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::error::SealError;
use super::key::KEY_BYTES;

/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// The nonce everywhere: every key encrypts once (invariant 1 of the folder).
pub(super) const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// Authenticated encryption with AES-256-GCM.
pub trait Aead: Send + Sync {
    /// The name that a start-up line or bench shows.
    fn name(&self) -> &'static str;

    /// Encrypts `text` where it lies, and returns its tag.
    fn seal_in_place(
        &self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES];

    /// Decrypts `text` where it lies.
    ///
    /// # Errors
    /// [`SealError::Altered`] if the tag does not fit; `text` then holds nothing of use.
    fn open_in_place(
        &self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), SealError>;
}

/// AWS-LC, the default.
pub struct AwsLc;

impl AwsLc {
    fn key(key: &[u8; KEY_BYTES]) -> LessSafeKey {
        LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes is what AES-256 takes"),
        )
    }
}

impl Aead for AwsLc {
    fn name(&self) -> &'static str {
        "AWS-LC"
    }

    fn seal_in_place(
        &self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let tag = AwsLc::key(key)
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), text)
            .expect("no object comes near the 64 GiB that GCM takes");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open_in_place(
        &self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), SealError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        match AwsLc::key(key).open_in_place_separate_tag(nonce, Aad::from(aad), tag, text) {
            Ok(_) => Ok(()),
            Err(_) => Err(SealError::Altered),
        }
    }
}

/// RustCrypto, for cross-checks.
pub struct AesGcmReference;

impl Aead for AesGcmReference {
    fn name(&self) -> &'static str {
        "RustCrypto"
    }

    fn seal_in_place(
        &self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        Aes256Gcm::new(key.into())
            .encrypt_inout_detached(nonce.into(), aad, text.into())
            .expect("no object comes near the 64 GiB that GCM takes")
            .into()
    }

    fn open_in_place(
        &self,
        key: &[u8; KEY_BYTES],
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), SealError> {
        Aes256Gcm::new(key.into())
            .decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into())
            .map_err(|_| SealError::Altered)
    }
}
