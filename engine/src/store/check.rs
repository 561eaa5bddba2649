//! `check`: reads everything and says what is wrong, in words an operator understands.
//!
//! Every message of every mailbox is opened: hashes, seals, lengths, summary. Every row is counted
//! again and compared with the counters; every row's reference must be in the tables, and every
//! reference must have a row. Nothing is changed.

use std::collections::BTreeSet;

use crate::error::ReadError;
use crate::ids::{AccountNumber, MailboxId, Uid};
use crate::mailbox::Row;
use crate::state::{AccountState, mailbox_of_reference, reference_key, scan_references};
use crate::uid_set::UidSet;
use crate::width::u64_of;

use super::Store;
use super::check_retained::RETAINED;

/// How far a check is.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckProgress {
    /// Messages verified so far.
    pub message_count: u64,
    /// Of how many.
    pub message_total: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The account's name.
    pub account: String,
    /// The mailbox's name.
    pub mailbox: String,
    /// The message, if it is about one.
    pub uid: Option<Uid>,
    /// What is wrong with it, and where.
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.account, self.mailbox)?;
        if let Some(uid) = self.uid {
            write!(f, " UID {uid}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Accounts.
    pub account_count: u64,
    /// Mailboxes.
    pub mailbox_count: u64,
    /// Messages.
    pub message_count: u64,
    /// Bytes of messages, opened and counted.
    pub message_bytes: u64,
    /// What is wrong; at most 1,000 are listed.
    pub problems: Vec<Problem>,
    /// How many problems there are, listed or not.
    pub problem_count: u64,
}

/// Problems that a report lists.
const PROBLEMS_MAX: usize = 1000;

pub(super) struct Check<'a> {
    pub(super) store: &'a Store,
    report: CheckReport,
    total: u64,
    pub(super) references: BTreeSet<[u8; 36]>,
    account: String,
    pub(super) mailbox: String,
}

impl Store {
    /// Verifies all that is stored. Writes a checkpoint first where changes are taken, so that what
    /// the tables hold can be compared; mail that arrives meanwhile may or may not be looked at.
    ///
    /// # Errors
    /// [`ReadError`], if the tables themselves cannot be read.
    pub fn check(&self, progress: &mut dyn FnMut(CheckProgress)) -> Result<CheckReport, ReadError> {
        self.checkpoint();
        let mut check = Check {
            store: self,
            report: CheckReport::default(),
            total: self.status().message_count,
            references: BTreeSet::new(),
            account: String::new(),
            mailbox: String::new(),
        };
        for damage in &self.inner.log_damage {
            check.account = "(the log)".into();
            check.mailbox = format!("positions {} to {}", damage.first, damage.last);
            check.problem(None, damage.damage.to_string());
        }
        for account in self.inner.committed.accounts() {
            check.account(&account, progress);
        }
        check.references()?;
        Ok(check.report)
    }
}

impl Check<'_> {
    pub(super) fn problem(&mut self, uid: Option<Uid>, what: impl Into<String>) {
        self.report.problem_count += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(Problem {
                account: self.account.clone(),
                mailbox: self.mailbox.clone(),
                uid,
                what: what.into(),
            });
        }
    }

    fn account(&mut self, account: &AccountState, progress: &mut dyn FnMut(CheckProgress)) {
        self.report.account_count += 1;
        self.account.clone_from(&account.profile.name);
        let (mut count, mut bytes) = (0, 0);
        for entry in account.names.listing().mailboxes {
            self.mailbox.clone_from(&entry.name);
            let (messages, message_bytes) = self.mailbox(account.number, entry.id, progress);
            count += messages;
            bytes += message_bytes;
        }
        self.retained(account);
        self.mailbox = "(all mailboxes)".into();
        let now = self.store.inner.committed.account(account.number);
        let same = now.is_some_and(|now| now.usage == account.usage);
        if same && (count, bytes) != (account.usage.message_count, account.usage.message_bytes) {
            self.problem(
                None,
                format!(
                    "{count} messages of {bytes} bytes are there, but its counters say {} and {}",
                    account.usage.message_count, account.usage.message_bytes
                ),
            );
        }
    }

    /// Verifies a mailbox; answers how many messages and bytes it has.
    fn mailbox(
        &mut self,
        account: AccountNumber,
        mailbox: MailboxId,
        progress: &mut dyn FnMut(CheckProgress),
    ) -> (u64, u64) {
        self.report.mailbox_count += 1;
        let cell = match self.store.inner.committed.cell((account, mailbox)) {
            Ok(cell) => cell,
            Err(error) => {
                self.problem(None, error.to_string());
                return (0, 0);
            }
        };
        let Some(view) = cell.and_then(|cell| cell.view()) else { return (0, 0) };
        let mut rows: Vec<Row> = Vec::new();
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        let read = view.visit(&all, &mut |row| {
            rows.push(row.clone());
            true
        });
        if let Err(error) = read {
            self.problem(None, error.to_string());
        }
        let mut bytes = 0;
        let mut last = None;
        for row in &rows {
            if last >= Some(row.uid) {
                self.problem(Some(row.uid), "its UID is not above that before it");
            }
            last = Some(row.uid);
            self.references.insert(reference_key(row.blob, account, mailbox, row.uid));
            match self.store.inner.verify_blob(account, row) {
                Ok(_) => {}
                Err(error) => self.problem(Some(row.uid), error.to_string()),
            }
            bytes += u64::from(row.size);
            self.report.message_count += 1;
            self.report.message_bytes += u64::from(row.size);
            progress(CheckProgress {
                message_count: self.report.message_count,
                message_total: self.total,
            });
        }
        let count = u64_of(rows.len());
        if count != u64::from(view.message_count()) || bytes != view.message_bytes() {
            let (heads, head_bytes) = (view.message_count(), view.message_bytes());
            self.problem(
                None,
                format!(
                    "{count} messages of {bytes} bytes, but its heads say {heads} of {head_bytes}"
                ),
            );
        }
        (count, bytes)
    }

    /// Compares the references of the tables with those that rows make.
    fn references(&mut self) -> Result<(), ReadError> {
        let mut stored = BTreeSet::new();
        scan_references(&self.store.inner.saved, &mut |key| {
            stored.insert(key);
        })?;
        let inner = &self.store.inner;
        if inner.commit_status.stopped().is_some() {
            if inner.checkpoints.any_begun() {
                // One failed half-way: what it should have written is neither here nor there.
                return Ok(());
            }
            inner.committed.overlay_references(&mut stored)?;
        }
        let missing: Vec<[u8; 36]> = self.references.difference(&stored).copied().collect();
        for key in missing {
            let Some((account, mailbox)) = mailbox_of_reference(&key) else { continue };
            let account = self.store.inner.committed.account(account);
            let name = account.as_ref().and_then(|account| account.names.name_of(mailbox));
            self.mailbox = name.unwrap_or(RETAINED).to_owned();
            self.account = account.map(|account| account.profile.name.clone()).unwrap_or_default();
            let uid = key.last_chunk().map(|uid| Uid(u32::from_be_bytes(*uid)));
            self.problem(uid, "it has no reference to its blob, so reclaim would take it for dead");
        }
        Ok(())
    }
}
