//! Values of the tables, sealed.
//!
//! ```text
//! key generation u32, 0 for the volume's key; lsn u64 of the checkpoint; sealed object
//! ```
//! The generation tells which of the account's keys opens it; table, key and position are bound as
//! associated data.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::table::Table;
use crate::encoding::Decoder;
use crate::error::ReadError;
use crate::ids::{AccountNumber, KeyGeneration, Lsn};
use crate::seal::{Aad, KeyTable, Sealer, open, seal_into};

/// Seals and opens values.
pub(crate) struct Values {
    sealer: Sealer,
    keys: Arc<KeyTable>,
}

impl Values {
    pub(crate) fn new(sealer: Sealer, keys: Arc<KeyTable>) -> Values {
        Values { sealer, keys }
    }

    /// Whether the account's key is still there.
    pub(crate) fn has_account(&self, account: AccountNumber) -> bool {
        self.keys.snapshot().current(account).is_some()
    }

    /// A value sealed for its place; `None` if its account's key is destroyed.
    pub(crate) fn seal(
        &self,
        table: Table,
        key: &[u8],
        account: AccountNumber,
        lsn: Lsn,
        plain: &[u8],
    ) -> Option<Vec<u8>> {
        let keys = self.keys.snapshot();
        let (generation, parent) = if account == AccountNumber::VOLUME {
            (KeyGeneration(0), keys.volume_key())
        } else {
            keys.current(account)?
        };
        let mut value = Vec::with_capacity(12 + plain.len() + 80);
        value.extend_from_slice(&generation.0.to_le_bytes());
        value.extend_from_slice(&lsn.bits().to_le_bytes());
        let aad = Aad::StateValue { table: table.number(), key, lsn };
        seal_into(&self.sealer, parent, aad, plain, &mut value);
        Some(value)
    }

    /// The value sealed under the newest key of its account, if another sealed it; `None` if there
    /// is nothing to do.
    pub(crate) fn reseal(
        &self,
        table: Table,
        key: &[u8],
        account: AccountNumber,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let newest = self.keys.snapshot().current(account).map(|(generation, _)| generation);
        if newest.is_none_or(|newest| generation_of(value).is_ok_and(|own| own == newest)) {
            return Ok(None);
        }
        let undecodable = |why| ReadError::Undecodable { what: "sealed value", why };
        let mut from = Decoder::new(value.get(4..).unwrap_or_default());
        let lsn = from.lsn().map_err(undecodable)?;
        let plain = Zeroizing::new(self.open(table, key, account, value)?);
        Ok(self.seal(table, key, account, lsn, &plain))
    }

    /// The value, opened.
    pub(crate) fn open(
        &self,
        table: Table,
        key: &[u8],
        account: AccountNumber,
        value: &[u8],
    ) -> Result<Vec<u8>, ReadError> {
        let undecodable = |why| ReadError::Undecodable { what: "sealed value", why };
        let mut from = Decoder::new(value);
        let generation = KeyGeneration(u32::from_le_bytes(from.array().map_err(undecodable)?));
        let lsn = from.lsn().map_err(undecodable)?;
        let keys = self.keys.snapshot();
        let parent = if account == AccountNumber::VOLUME {
            Some(keys.volume_key())
        } else {
            keys.key(account, generation)
        };
        let not_opened = |why: String| ReadError::Sealed { what: table.name(), account, why };
        let missing = || format!("its key, generation {}, is not in the key table", generation.0);
        let parent = parent.ok_or_else(|| not_opened(missing()))?;
        let aad = Aad::StateValue { table: table.number(), key, lsn };
        let sealed = value.get(12..).unwrap_or_default();
        open(parent, aad, sealed).map_err(|error| not_opened(error.to_string()))
    }
}

/// The generation of the key that sealed a value.
pub(crate) fn generation_of(value: &[u8]) -> Result<KeyGeneration, ReadError> {
    let generation = value.first_chunk().map(|bytes| KeyGeneration(u32::from_le_bytes(*bytes)));
    generation.ok_or(ReadError::Undecodable { what: "sealed value", why: "it ends early" })
}
