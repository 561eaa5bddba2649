//! A sealed object: record payloads, state values, wrapped keys.
//!
//! ```text
//! offset  size  field
//!      0    40  salt        see derive.rs
//!     40    16  commitment  to the key derived from parent and salt
//!     56     n  ciphertext  as long as the plain bytes
//!   56+n    16  tag         of AES-256-GCM
//! ```
//!
//! It carries no version: what holds it (record, table, file) has one, and says what it is by
//! [`Aad`].

use super::aad::Aad;
use super::aead::{Aead, AwsLc, NONCE, TAG_BYTES};
use super::derive::{COMMITMENT_BYTES, SALT_BYTES, Salt, Sealer};
use super::error::SealError;
use super::fields::Fields;
use super::key::Key;

/// Bytes that sealing adds.
pub const OBJECT_OVERHEAD_BYTES: usize = SALT_BYTES + COMMITMENT_BYTES + TAG_BYTES;
const _: () = assert!(OBJECT_OVERHEAD_BYTES == 72);

/// Seals `plain` under a key derived from `parent`.
pub fn seal(sealer: &Sealer, parent: &Key, aad: Aad<'_>, plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(plain.len() + OBJECT_OVERHEAD_BYTES);
    seal_into(sealer, parent, aad, plain, &mut sealed);
    sealed
}

/// Like [`seal`], appending to `sealed`.
pub fn seal_into(sealer: &Sealer, parent: &Key, aad: Aad<'_>, plain: &[u8], sealed: &mut Vec<u8>) {
    let salt = sealer.salt();
    let (key, commitment) = salt.object_key(parent);
    sealed.reserve(plain.len() + OBJECT_OVERHEAD_BYTES);
    sealed.extend_from_slice(&salt.0);
    sealed.extend_from_slice(&commitment);
    let start = sealed.len();
    sealed.extend_from_slice(plain);
    let (_, text) = sealed.split_at_mut(start);
    let tag = AwsLc.seal_in_place(key.expose(), &NONCE, &aad.encode(), text);
    sealed.extend_from_slice(&tag);
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`SealError::WrongKey`] if `parent` did not seal it (or the salt was altered),
/// [`SealError::Altered`] if its bytes or `aad` differ, [`SealError::Truncated`] if it is too
/// short.
pub fn open(parent: &Key, aad: Aad<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let Some(length) = sealed.len().checked_sub(OBJECT_OVERHEAD_BYTES) else {
        return Err(SealError::Truncated { expected: OBJECT_OVERHEAD_BYTES, found: sealed.len() });
    };
    let mut fields = Fields::new(sealed);
    let salt = Salt(fields.array()?);
    let commitment: [u8; COMMITMENT_BYTES] = fields.array()?;
    let ciphertext = fields.bytes(length)?;
    let tag = fields.array()?;
    let (key, expected) = salt.object_key(parent);
    if aws_lc_rs::constant_time::verify_slices_are_equal(&commitment, &expected).is_err() {
        return Err(SealError::WrongKey);
    }
    let mut plain = ciphertext.to_vec();
    AwsLc.open_in_place(key.expose(), &NONCE, &aad.encode(), &mut plain, &tag)?;
    Ok(plain)
}
