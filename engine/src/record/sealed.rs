//! A record as it lies in the log: the generation of its key, then a sealed object.
//!
//! ```text
//! payload  key generation u32, 0 for the volume's key; sealed object
//! ```
//! Type, account and position are bound as associated data.

use super::Record;
use crate::ids::{AccountNumber, KeyGeneration};
use crate::log::RecordHeader;
use crate::seal::{Aad, KeyTableSnapshot, open};

/// The opened record; `None` if its account's key is destroyed.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn open_record(
    keys: &KeyTableSnapshot,
    header: &RecordHeader,
    payload: &[u8],
) -> Result<Option<Record>, String> {
    let account = header.account;
    if account != AccountNumber::VOLUME && keys.current(account).is_none() {
        return Ok(None);
    }
    let aad = Aad::Record { kind: header.record_type, account, lsn: header.lsn };
    let (generation, sealed) = payload.split_first_chunk().ok_or("it ends early")?;
    let generation = KeyGeneration(u32::from_le_bytes(*generation));
    let key = match account {
        AccountNumber::VOLUME => Some(keys.volume_key()),
        account => keys.key(account, generation),
    };
    let key = key.ok_or_else(|| {
        format!(
            "the key of account {account}, generation {}, is not in the key table; put the newest \
             copy of volumes/main/keys back",
            generation.0
        )
    })?;
    let plain = open(key, aad, sealed).map_err(|error| error.to_string())?;
    let record = Record::decode(header.record_type, &plain);
    record.map(Some).map_err(|why| format!("it does not decode: {why}"))
}
