//! `check` of what is kept after it was expunged: bytes, references, counters.

use super::RetainedEntry;
use super::check::Check;
use crate::state::{AccountState, RetainedKey, reference_key};

/// In the place of a mailbox's name.
pub(super) const RETAINED: &str = "(kept after expunge)";

impl Check<'_> {
    /// Verifies every kept message of an account, and its counters.
    pub(super) fn retained(&mut self, account: &AccountState) {
        self.mailbox = RETAINED.to_owned();
        let inner = std::sync::Arc::clone(&self.store.inner);
        let (mut count, mut bytes) = (0, 0);
        let visited =
            inner.committed.visit_retained(account.number, RetainedKey::FIRST, &mut |key, met| {
                let message = match met.open() {
                    Ok(message) => message,
                    Err(error) => {
                        self.problem(Some(key.uid), error.to_string());
                        return Ok(true);
                    }
                };
                let reference = reference_key(message.blob, account.number, key.mailbox, key.uid);
                self.references.insert(reference);
                let row = RetainedEntry::new(key, &message).row();
                if let Err(error) = inner.verify_blob(account.number, &row) {
                    self.mailbox = format!("{} {RETAINED}", message.mailbox_name);
                    self.problem(Some(key.uid), error.to_string());
                }
                count += 1;
                bytes += u64::from(row.size);
                Ok(true)
            });
        self.mailbox = RETAINED.to_owned();
        if let Err(error) = visited {
            self.problem(None, error.to_string());
        }
        let now = inner.committed.account(account.number);
        let same = now.is_some_and(|now| now.retention == account.retention);
        let told = (account.retention.message_count, account.retention.message_bytes);
        if same && (count, bytes) != told {
            let what = format!(
                "{count} messages of {bytes} bytes are kept, but its counters say {} and {}",
                told.0, told.1
            );
            self.problem(None, what);
        }
    }
}
