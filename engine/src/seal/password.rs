//! A stored password: Argon2id for logins that send it, SCRAM-SHA-256 keys for those that do not.
//!
//! ```text
//! offset  size  field
//!      0     1  version      1
//!      1     1  salt_len     of SCRAM, 16 when made here
//!      2     2  phc_len
//!      4     4  iterations   of SCRAM
//!      8    32  StoredKey    (RFC 5802 section 3)
//!     40    32  ServerKey
//!     72     s  salt
//!   72+s     p  Argon2id as PHC string
//! ```
//!
//! Both from the first day, because SCRAM keys cannot be made from an Argon2id hash later. These
//! bytes are always stored inside something sealed.
//!
//! Both are made of the prepared password, see `prepared.rs`.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use super::derive::{Purpose, Sealer};
use super::error::{KeyError, SealError};
use super::fields::Fields;
use super::key::Key;
use super::passphrase::Argon2Cost;
use super::prepared::PreparedPassword;

/// Iterations of SCRAM; RFC 7677 section 4 asks for at least 4096. Clients pay it at every login,
/// we when a password is set.
pub const SCRAM_ITERATIONS: u32 = 20_000;
const SCRAM_ITERATIONS_MAX: u32 = 10_000_000;
const SCRAM_KEY_BYTES: usize = 32;
const SCRAM_SALT_BYTES: usize = 16;
const PHC_BYTES_MAX: usize = 512;
pub(super) const FORMAT_VERSION: u8 = 1;

/// What SCRAM-SHA-256 needs of a password (RFC 5802 section 3, RFC 7677).
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Salt, sent to the client.
    pub salt: Vec<u8>,
    /// Iterations, sent to the client.
    pub iterations: u32,
    /// H(ClientKey): proves the client.
    pub stored_key: [u8; SCRAM_KEY_BYTES],
    /// Proves the server.
    pub server_key: [u8; SCRAM_KEY_BYTES],
}

impl ScramKeys {
    /// Derives the keys of a password.
    pub fn derive(password: &PreparedPassword, salt: &[u8], iterations: NonZeroU32) -> ScramKeys {
        let mut salted = Zeroizing::new([0; SCRAM_KEY_BYTES]);
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations,
            salt,
            password.as_bytes(),
            salted.as_mut_slice(),
        );
        let client_key = Zeroizing::new(hmac_sha256(salted.as_slice(), b"Client Key"));
        ScramKeys {
            salt: salt.to_vec(),
            iterations: iterations.get(),
            stored_key: sha256(client_key.as_slice()),
            server_key: hmac_sha256(salted.as_slice(), b"Server Key"),
        }
    }

    /// What is answered for a name that has no account: the same at every asking and after every
    /// start, so that nobody learns from a salt who has one. No proof is right for it, because
    /// nobody knows what its StoredKey is the hash of.
    pub fn decoy(volume_key: &Key, name: &str) -> ScramKeys {
        let mut drawn = Zeroizing::new([0; SCRAM_SALT_BYTES + 2 * SCRAM_KEY_BYTES]);
        let name = blake3::hash(name.as_bytes());
        Purpose::SCRAM_DECOY.derive(&[volume_key.expose(), name.as_bytes()], drawn.as_mut_slice());
        let (salt, keys) = drawn.split_at(SCRAM_SALT_BYTES);
        let (stored_key, server_key) = keys.split_at(SCRAM_KEY_BYTES);
        ScramKeys {
            salt: salt.to_vec(),
            iterations: SCRAM_ITERATIONS,
            stored_key: stored_key.try_into().expect("split at its length"),
            server_key: server_key.try_into().expect("the rest is as long"),
        }
    }

    /// Checks a ClientProof over an AuthMessage; the ServerSignature if it is right.
    pub fn check_proof(&self, auth_message: &[u8], proof: &[u8]) -> Option<[u8; SCRAM_KEY_BYTES]> {
        let proof: &[u8; SCRAM_KEY_BYTES] = proof.try_into().ok()?;
        let mut client_key = Zeroizing::new(hmac_sha256(&self.stored_key, auth_message));
        for (byte, proof) in client_key.iter_mut().zip(proof) {
            *byte ^= proof;
        }
        let stored_key = sha256(client_key.as_slice());
        constant_time::verify_slices_are_equal(&stored_key, &self.stored_key).ok()?;
        Some(hmac_sha256(&self.server_key, auth_message))
    }
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys(…)")
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; SCRAM_KEY_BYTES] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn sha256(bytes: &[u8]) -> [u8; SCRAM_KEY_BYTES] {
    let hash = digest::digest(&digest::SHA256, bytes);
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// A password as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPassword {
    phc: Zeroizing<String>,
    scram: ScramKeys,
}

impl StoredPassword {
    /// Makes what is stored of a password.
    ///
    /// # Errors
    /// [`KeyError::Derivation`] if the cost is out of bounds or memory is short.
    pub fn make(
        sealer: &Sealer,
        password: &PreparedPassword,
        cost: Argon2Cost,
    ) -> Result<StoredPassword, KeyError> {
        let failed = |error: argon2::password_hash::Error| KeyError::Derivation {
            reason: error.to_string(),
        };
        let salt = sealer.random_id();
        let hash: PasswordHash =
            cost.hasher()?.hash_password_with_salt(password.as_bytes(), &salt).map_err(failed)?;
        let scram_salt: [u8; SCRAM_SALT_BYTES] = sealer.random_id();
        let iterations = NonZeroU32::new(SCRAM_ITERATIONS).expect("a constant that is not 0");
        let scram = ScramKeys::derive(password, &scram_salt, iterations);
        Ok(StoredPassword { phc: Zeroizing::new(hash.to_string()), scram })
    }

    /// Whether this is the password. Takes the same time for right and wrong.
    pub fn verify(&self, password: &PreparedPassword) -> bool {
        match PasswordHash::new(&self.phc) {
            Ok(hash) if costs_are_bounded(&hash) => {
                Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
            }
            _ => false,
        }
    }

    /// A keyed hash of this and of a password, to know again one that was right (decision 0032).
    pub(crate) fn keyed_hash(
        &self,
        password: &PreparedPassword,
        key: &[u8; blake3::KEY_LEN],
    ) -> Zeroizing<[u8; blake3::OUT_LEN]> {
        // What is stored says its own lengths, so nothing can move from it into the password.
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&self.encode()).update(password.as_bytes());
        Zeroizing::new(*hasher.finalize().as_bytes())
    }

    /// The keys for SCRAM-SHA-256.
    pub fn scram(&self) -> &ScramKeys {
        &self.scram
    }

    /// The bytes to be sealed.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(256));
        let salt_len = u8::try_from(self.scram.salt.len()).expect("bounded when made and decoded");
        let phc_len = u16::try_from(self.phc.len()).expect("bounded when made and decoded");
        bytes.extend_from_slice(&[FORMAT_VERSION, salt_len]);
        bytes.extend_from_slice(&phc_len.to_le_bytes());
        bytes.extend_from_slice(&self.scram.iterations.to_le_bytes());
        bytes.extend_from_slice(&self.scram.stored_key);
        bytes.extend_from_slice(&self.scram.server_key);
        bytes.extend_from_slice(&self.scram.salt);
        bytes.extend_from_slice(self.phc.as_bytes());
        bytes
    }

    /// Reads the bytes of [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::Truncated`]
    pub fn decode(bytes: &[u8]) -> Result<StoredPassword, SealError> {
        let malformed = |field, found| SealError::Malformed { field, found };
        let mut fields = Fields::new(bytes);
        let version = fields.u8()?;
        if version != FORMAT_VERSION {
            return Err(malformed("version of a password", u64::from(version)));
        }
        let salt_len = usize::from(fields.u8()?);
        let phc_len = fields.u16()?;
        if usize::from(phc_len) > PHC_BYTES_MAX {
            return Err(malformed("length of an Argon2id hash", u64::from(phc_len)));
        }
        let iterations = fields.u32()?;
        if iterations == 0 || iterations > SCRAM_ITERATIONS_MAX {
            return Err(malformed("iterations of SCRAM", u64::from(iterations)));
        }
        let stored_key = fields.array()?;
        let server_key = fields.array()?;
        let salt = fields.bytes(salt_len)?.to_vec();
        let phc = fields.bytes(usize::from(phc_len))?;
        fields.end()?;
        let phc = std::str::from_utf8(phc)
            .ok()
            .filter(|text| PasswordHash::new(text).is_ok())
            .ok_or(malformed("Argon2id hash", 0))?;
        let scram = ScramKeys { salt, iterations, stored_key, server_key };
        Ok(StoredPassword { phc: Zeroizing::new(phc.to_owned()), scram })
    }
}

impl std::fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredPassword(…)")
    }
}

/// A stored hash names how much memory to take; more than ours would be somebody's attack.
fn costs_are_bounded(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        let cost = Argon2Cost {
            memory_kib: params.m_cost(),
            passes: params.t_cost(),
            lanes: params.p_cost(),
        };
        cost.hasher().is_ok()
    })
}

/// Costs what [`StoredPassword::verify`] costs, for names that do not exist and for what cannot be
/// a password: so that time tells nobody who has an account. Always false.
pub fn dummy_verify(cost: Argon2Cost) -> bool {
    static SALT: OnceLock<[u8; 16]> = OnceLock::new();
    let salt = SALT.get_or_init(|| Sealer::system().random_id());
    let _ = cost.stretch("", salt);
    false
}
