//! Whether the rows that an image would be made of are what was changed: asked before an image lets
//! records go, for until then the log can make state anew.
//!
//! ```text
//! pages, ids pages ─► added up ═ the digest in each mailbox's row (mailbox/digest.rs)
//! pages, kept rows, parts that blobs name ─► the references they ask for ═ those that there are
//! pages, kept rows ─► messages, bytes ═ the account's counters
//! ```
//! One pass over rows that are read for the image anyway; nothing is held but sums and a few
//! numbers a mailbox. It is as good as the digest is independent of tables, checkpoints and pages;
//! a change that was applied wrongly is what the model test looks for.
//!
//! # What can go wrong
//! An account whose rows do not agree gets no image, and its records stay: whoever runs
//! `pillarbox check --rebuild` gets its state from them.

use std::collections::HashMap;

use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, MailboxId};
use crate::mailbox::{DigestProof, NOT_ITS_DIGEST};
use crate::state::{
    AccountRetention, BlobRow, RetainedKey, RetainedMessage, Table, USAGE_KEY_BYTES, Usage,
    decoded, part_reference_key, reference_key,
};

/// What is known of an account's rows.
#[derive(Default)]
pub(super) struct Proof {
    mailboxes: HashMap<MailboxId, DigestProof>,
    /// References that there are.
    found: ReferenceSum,
    /// References that rows ask for.
    named: ReferenceSum,
    messages: Counted,
    kept: Counted,
}

/// References, whatever their order.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct ReferenceSum(u128);

impl ReferenceSum {
    fn add(&mut self, key: &[u8]) {
        let hash = blake3::hash(key);
        let number = hash.as_bytes().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        self.0 = self.0.wrapping_add(number);
    }
}

/// Messages and bytes: counted, and as the account's own row says.
#[derive(Default)]
struct Counted {
    counted: (u64, u64),
    told: (u64, u64),
}

impl Counted {
    fn add(&mut self, bytes: u32) {
        self.counted.0 += 1;
        self.counted.1 += u64::from(bytes);
    }
}

impl Proof {
    /// Takes a reference.
    pub(super) fn reference(&mut self, key: &[u8]) {
        self.found.add(key);
    }

    /// Takes the row of a blob, once.
    pub(super) fn blob(&mut self, id: BlobId, row: &BlobRow) {
        let (account, parts) = row.role.named();
        parts.iter().for_each(|named| self.named.add(&part_reference_key(named.part, account, id)));
    }

    /// Takes a row of a table of the account, opened.
    ///
    /// # Errors
    /// It does not decode.
    pub(super) fn row(
        &mut self,
        account: AccountNumber,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), ReadError> {
        let mailbox = key.get(8..24).and_then(|bytes| bytes.try_into().ok()).map(MailboxId);
        match (table, mailbox) {
            (Table::Mailbox, Some(mailbox)) => self.of(mailbox).mailbox(value),
            (Table::Ids, Some(mailbox)) => self.of(mailbox).ids(value),
            (Table::Page, Some(mailbox)) => {
                for (uid, blob, size) in self.of(mailbox).page(value)? {
                    self.named.add(&reference_key(blob, account, mailbox, uid));
                    self.messages.add(size);
                }
                Ok(())
            }
            (Table::Account, _) if key.len() == USAGE_KEY_BYTES => {
                let usage = decoded("usage row", Usage::decode(value))?;
                self.messages.told = (usage.message_count, usage.message_bytes);
                Ok(())
            }
            (Table::Retained, _) => self.kept(account, key, value),
            _ => Ok(()),
        }
    }

    fn of(&mut self, mailbox: MailboxId) -> &mut DigestProof {
        self.mailboxes.entry(mailbox).or_default()
    }

    fn kept(&mut self, account: AccountNumber, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let Some((_, retained)) = RetainedKey::from_bytes(key) else {
            let retention = decoded("retention", AccountRetention::decode(value))?;
            self.kept.told = (retention.message_count, retention.message_bytes);
            return Ok(());
        };
        let message = decoded("kept message", RetainedMessage::decode(value))?;
        self.named.add(&reference_key(message.blob, account, retained.mailbox, retained.uid));
        self.kept.add(message.row.size);
        Ok(())
    }

    /// Why no image may be made of the account; `None` if all agrees.
    pub(super) fn objection(&self) -> Option<String> {
        let wrong = self.mailboxes.values().find(|proof| !proof.agrees());
        if wrong.is_some() {
            return Some(format!("of a mailbox, {NOT_ITS_DIGEST}"));
        }
        if self.found != self.named {
            return Some("its messages ask for other references than there are".to_owned());
        }
        let counted = [("messages", &self.messages), ("kept messages", &self.kept)];
        let wrong = counted.into_iter().find(|(_, counted)| counted.counted != counted.told);
        wrong.map(|(what, Counted { counted, told })| {
            format!(
                "{} {what} of {} bytes are there, and its counters say {} of {}",
                counted.0, counted.1, told.0, told.1
            )
        })
    }
}
