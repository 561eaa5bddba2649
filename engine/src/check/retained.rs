//! What is kept after it was expunged: bytes, references, counters.

use super::finding::Loss;
use super::mail::Check;
use crate::state::{AccountState, RetainedKey, reference_key};
use crate::store::RetainedEntry;

impl Check<'_> {
    /// Verifies every kept message of an account, and its counters.
    pub(super) fn retained(&mut self, account: &AccountState) {
        let committed = self.setup.committed;
        let about = format!("{} (kept after expunge)", account.profile.name);
        let (mut count, mut bytes) = (0, 0);
        let number = account.number;
        let visited = committed.visit_retained(number, RetainedKey::FIRST, &mut |key, met| {
            let message = match met.open() {
                Ok(message) => message,
                Err(error) => {
                    self.problem(&about, Some(key.uid), error.to_string(), Loss::Shown);
                    return Ok(true);
                }
            };
            let row = RetainedEntry::new(key, &message).row();
            self.kept.insert(reference_key(message.blob, number, key.mailbox, key.uid));
            let about = format!("{about} {}", message.mailbox_name);
            self.message(&about, (number, key.mailbox), &row);
            count += 1;
            bytes += u64::from(row.size);
            Ok(true)
        });
        if let Err(error) = visited {
            self.problem(&about, None, error.to_string(), Loss::Shown);
        }
        let now = committed.account(number);
        let same = now.is_some_and(|now| now.retention == account.retention);
        let told = (account.retention.message_count, account.retention.message_bytes);
        if same && (count, bytes) != told {
            let what = format!(
                "{count} messages of {bytes} bytes are kept, but its counters say {} and {}",
                told.0, told.1
            );
            self.problem(&about, None, what, Loss::Shown);
        }
    }
}
