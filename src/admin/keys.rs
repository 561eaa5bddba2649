//! What can be asked of a store about keys, and how it is answered.

use std::path::PathBuf;

use engine::seal::Secret;
use engine::{RetiredKey, Store};
use serde::{Deserialize, Serialize};

use super::operation::{Answer, find_account};
use crate::failure::Failure;
use crate::store_access::KeySource;

/// A request about keys. Not `Debug`: some carry passphrases.
#[derive(Serialize, Deserialize)]
#[serde(tag = "key", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum KeyRequest {
    /// Puts a new key in the place of the one that opens the store.
    Change { new: NewKey },
    /// Makes a new recovery key.
    Backup,
    /// Begins a new generation of the key of an account, or of all.
    Rotate { account: Option<String> },
    /// Takes over what retired keys seal, of an account or of all.
    Rewrap { account: Option<String> },
    /// Ends that.
    StopRewrap,
}

/// What is to open the store. Not `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum NewKey {
    /// A key file; made if it does not exist.
    File { path: PathBuf },
    /// A passphrase.
    Passphrase { text: String },
    /// A systemd credential that was passed to the server when it started.
    Credential { name: String },
}

impl From<NewKey> for KeySource {
    fn from(new: NewKey) -> KeySource {
        match new {
            NewKey::File { path } => KeySource::KeyFile(path),
            NewKey::Passphrase { text } => KeySource::Passphrase(Secret::new(text)),
            NewKey::Credential { name } => KeySource::Credential(name),
        }
    }
}

/// A key that is shown to whoever asked for it, and printed by nothing else.
#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct ShownKey(pub(crate) String);

impl std::fmt::Debug for ShownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownKey(…)")
    }
}

/// A retired key after re-wrapping.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RetiredLine {
    /// The account's name.
    pub(crate) account: String,
    /// Which of its keys.
    pub(crate) generation: u32,
    /// It is destroyed.
    pub(crate) destroyed: bool,
    /// Segments with records that it sealed.
    pub(crate) record_segments: u64,
    /// Segments with headers that it opens.
    pub(crate) header_segments: u64,
    /// Segments of which nobody knows.
    pub(crate) unread_segments: u64,
    /// Values of state that it sealed.
    pub(crate) value_count: u64,
}

impl From<RetiredKey> for RetiredLine {
    fn from(key: RetiredKey) -> RetiredLine {
        RetiredLine {
            account: key.name,
            generation: key.generation.0,
            destroyed: key.is_destroyed,
            record_segments: key.record_segments,
            header_segments: key.header_segments,
            unread_segments: key.unread_segments,
            value_count: key.value_count,
        }
    }
}

/// Answers a request about keys.
pub(super) fn answer(
    store: &Store,
    request: KeyRequest,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Answer, Failure> {
    Ok(match request {
        KeyRequest::Change { new } => {
            store.change_key(&new.into())?;
            Answer::Done
        }
        KeyRequest::Backup => {
            let text = store.new_recovery_key()?.expose().to_owned();
            Answer::RecoveryKey { text: ShownKey(text) }
        }
        KeyRequest::Rotate { account } => {
            let numbers = match account {
                Some(name) => vec![find_account(store, &name)?.number()],
                None => store.accounts()?.into_iter().map(|entry| entry.number).collect(),
            };
            store.rotate_account_keys(&numbers)?;
            Answer::Done
        }
        KeyRequest::Rewrap { account } => {
            let only = account.map(|name| find_account(store, &name)).transpose()?;
            let only = only.map(|account| account.number());
            let keys =
                store.rewrap(only, &mut |at| progress(at.segment_count, at.segment_total))?;
            Answer::Rewrapped { keys: keys.into_iter().map(RetiredLine::from).collect() }
        }
        KeyRequest::StopRewrap => {
            store.stop_rewrap();
            Answer::Done
        }
    })
}
