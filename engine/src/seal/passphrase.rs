//! Argon2id (RFC 9106), with its costs bounded: they come from files, and name memory.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::error::KeyError;
use super::key::{KEY_BYTES, Key};

const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 16;

/// What one run of Argon2id costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Argon2Cost {
    /// Memory in KiB, at most 1 GiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Cost {
    /// For passwords of accounts: 19 MiB, 2 passes, checked at every login.
    pub const PASSWORD: Argon2Cost = Argon2Cost { memory_kib: 19 << 10, passes: 2, lanes: 1 };
    /// For the passphrase of the store: 64 MiB, 3 passes, once at start.
    pub const PASSPHRASE: Argon2Cost = Argon2Cost { memory_kib: 64 << 10, passes: 3, lanes: 1 };
    /// For tests only: worthless against guessing.
    pub const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 8, passes: 1, lanes: 1 };

    /// The library's form of it.
    ///
    /// # Errors
    /// [`KeyError::Derivation`] if a cost is out of bounds.
    pub(super) fn hasher(self) -> Result<Argon2<'static>, KeyError> {
        let out_of_bounds =
            self.memory_kib > MEMORY_KIB_MAX || self.passes > PASSES_MAX || self.lanes > LANES_MAX;
        if out_of_bounds {
            let reason = "its stored costs are out of bounds".to_owned();
            return Err(KeyError::Derivation { reason });
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES));
        let params = params.map_err(|error| KeyError::Derivation { reason: error.to_string() })?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    /// Stretches a text to a key.
    ///
    /// # Errors
    /// [`KeyError::Derivation`] if a cost is out of bounds or memory is short.
    pub(super) fn stretch(self, text: &str, salt: &[u8; 16]) -> Result<Key, KeyError> {
        let mut output = Zeroizing::new([0; KEY_BYTES]);
        self.hasher()?
            .hash_password_into(text.as_bytes(), salt, output.as_mut_slice())
            .map_err(|error| KeyError::Derivation { reason: error.to_string() })?;
        Ok(Key::take(&mut output))
    }
}
