//! How much mail an account may hold.

use engine::error::CommitError;
use engine::{Account, Store};
use serde::{Deserialize, Serialize};

/// What becomes of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum LimitChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is none.
    Lift,
    /// It is this.
    Set(u64),
}

/// What an account holds and may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct QuotaLine {
    /// Messages.
    pub(crate) message_count: u64,
    /// How many it may have.
    pub(crate) message_limit: Option<u64>,
    /// Bytes of them.
    pub(crate) byte_count: u64,
    /// How many it may have.
    pub(crate) byte_limit: Option<u64>,
}

impl LimitChange {
    /// The new limit; `None` if it stays.
    fn value(self) -> Option<Option<u64>> {
        match self {
            LimitChange::Keep => None,
            LimitChange::Lift => Some(None),
            LimitChange::Set(limit) => Some(Some(limit)),
        }
    }
}

/// Changes limits, and says what holds then.
pub(super) fn answer(
    store: &Store,
    account: &Account,
    bytes: LimitChange,
    messages: LimitChange,
) -> Result<QuotaLine, CommitError> {
    // First the one that an older volume refuses.
    if let Some(limit) = messages.value() {
        store.set_message_limit(account.number(), limit)?;
    }
    if let Some(limit) = bytes.value() {
        store.set_quota(account.number(), limit)?;
    }
    let usage = account.usage();
    Ok(QuotaLine {
        message_count: usage.message_count,
        message_limit: usage.message_limit,
        byte_count: usage.byte_count,
        byte_limit: usage.byte_limit,
    })
}
