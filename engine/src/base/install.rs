//! Making state from base images: where there is no state, it begins with what images hold.
//!
//! The log is read twice for it: once to find each account's newest image, once for the dumps that
//! these name; then records above each image are applied as ever.
//!
//! # Invariants
//! 1. An image counts only if all of its records are there.
//! 2. A dump counts only if its rows have the hash that the image names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::unit::owner;
use crate::error::ReadError;
use crate::ids::{AccountNumber, Lsn};
use crate::log::RecordHeader;
use crate::record::base::{BasePart, DumpedRow, unit_hash};
use crate::record::{Body, Record};
use crate::state::{AccountState, BaseImage, Changes, Committed, Saved, Table, TableBatch};

/// Rows are written to the tables when so many bytes are collected.
const BATCH_BYTES: usize = 4 << 20;

/// Collects base images, and writes what they hold.
#[derive(Default)]
pub(crate) struct Installer {
    /// Images of which not all records were seen yet.
    partial: HashMap<AccountNumber, BaseImage>,
    images: HashMap<AccountNumber, BaseImage>,
    /// Dumps that images name and that were not seen yet.
    missing: HashMap<Lsn, (AccountNumber, [u8; 32])>,
    /// Accounts that the volume's image knows.
    accounts: HashSet<AccountNumber>,
    batch: TableBatch,
    batch_bytes: usize,
    is_finished: bool,
}

impl Installer {
    /// Sees a record that stands in the log; only images matter.
    pub(crate) fn see(&mut self, header: &RecordHeader, record: &Record) {
        let Body::BaseImage(part) = &record.body else { return };
        self.part(header, record, part);
    }

    fn part(&mut self, header: &RecordHeader, record: &Record, part: &BasePart) {
        let account = header.account;
        let before = self.partial.remove(&account);
        if before.is_none() && !part.first {
            return;
        }
        let image = BaseImage::with_part(before.as_ref(), part, header.lsn);
        if record.run.is_none_or(|run| run.last) {
            self.images.insert(account, image);
        } else {
            self.partial.insert(account, image);
        }
    }

    /// Whether dumps are to be looked for.
    pub(crate) fn wants_dumps(&mut self) -> bool {
        for (account, image) in &self.images {
            let named = image.units.iter().map(|unit| (unit.lsn, (*account, unit.hash)));
            self.missing.extend(named);
        }
        !self.images.is_empty()
    }

    /// Whether the dump at that position is one that an image names.
    pub(crate) fn is_named(&self, header: &RecordHeader) -> bool {
        self.missing.get(&header.lsn).is_some_and(|(account, _)| *account == header.account)
    }

    /// Takes the rows of a dump.
    ///
    /// # Errors
    /// Why they are not what the image names, or cannot be written.
    pub(crate) fn dump(
        &mut self,
        saved: &Saved,
        header: &RecordHeader,
        rows: Vec<DumpedRow>,
    ) -> Result<(), ReadError> {
        let wrong = |why| ReadError::Undecodable { what: "dump of a base image", why };
        let named = self.missing.remove(&header.lsn);
        if named.is_none_or(|(_, hash)| unit_hash(&rows) != hash) {
            return Err(wrong("it does not have the hash that the image names"));
        }
        for row in rows {
            self.row(saved, header, row).map_err(wrong)?;
        }
        if self.batch_bytes >= BATCH_BYTES {
            self.write(saved)?;
        }
        Ok(())
    }

    fn row(
        &mut self,
        saved: &Saved,
        header: &RecordHeader,
        row: DumpedRow,
    ) -> Result<(), &'static str> {
        let DumpedRow { table, key, value } = row;
        let table = Table::of_number(table).ok_or("it names a table that there is not")?;
        let account = header.account;
        if account == AccountNumber::VOLUME && table == Table::Account {
            let bytes = key.as_slice().try_into().map_err(|_| "an account's number is wrong")?;
            self.accounts.insert(AccountNumber(u64::from_be_bytes(bytes)));
            return Ok(());
        }
        let key_of = match table {
            Table::Volume if account == AccountNumber::VOLUME => AccountNumber::VOLUME,
            Table::Blob => AccountNumber::VOLUME,
            _ if owner(table, &key) == Some(account) => account,
            _ => return Err("it has a row of another account"),
        };
        let stored = match table {
            Table::Reference => Some(value),
            _ => saved.values.seal(table, &key, key_of, header.lsn, &value),
        };
        if let Some(stored) = stored {
            self.batch_bytes += key.len() + stored.len();
            self.batch.put(table, &key, stored);
        }
        Ok(())
    }

    fn write(&mut self, saved: &Saved) -> Result<(), ReadError> {
        self.batch_bytes = 0;
        saved.tables.write(std::mem::take(&mut self.batch))
    }

    /// Everything was seen: state is now what the images hold.
    ///
    /// # Errors
    /// [`ReadError::Undecodable`], if a dump is missing.
    pub(crate) fn finish(&mut self, saved: &Saved, committed: &Committed) -> Result<(), ReadError> {
        self.is_finished = true;
        if self.images.is_empty() {
            return Ok(());
        }
        if !self.missing.is_empty() {
            let why = "a dump that it names is not in the log";
            return Err(ReadError::Undecodable { what: "base image", why });
        }
        self.write(saved)?;
        committed.reload()?;
        let mut changes = Changes::default();
        for account in &self.accounts {
            // Its own records, or its own image, say the rest.
            let is_there = committed.account(*account).is_some();
            if !is_there && saved.values.has_account(*account) {
                changes.accounts.insert(*account, Some(AccountState::new(*account)));
            }
        }
        for (account, image) in &self.images {
            changes.bases.insert(*account, Some(Arc::new(image.clone())));
        }
        committed.publish(changes);
        Ok(())
    }

    /// The dump of that record is not what its image names.
    pub(crate) fn spoil(&mut self, header: &RecordHeader) {
        self.missing.insert(header.lsn, (header.account, [0; 32]));
    }

    /// Images of which a dump is missing count for nothing: half an account would be read as a
    /// whole one. Its rows go again, but for those that say whose it is.
    ///
    /// # Errors
    /// The tables.
    pub(crate) fn leave_out_broken(&mut self, saved: &Saved) -> Result<(), ReadError> {
        self.write(saved)?;
        let broken: HashSet<AccountNumber> =
            self.missing.drain().map(|(_, (account, _))| account).collect();
        for account in broken {
            self.images.remove(&account);
            let mut batch = TableBatch::new();
            for table in super::unit::tables() {
                let prefix: &[u8] =
                    if table == Table::Reference { &[] } else { &account.0.to_be_bytes() };
                saved.tables.scan_prefix(table, prefix, &mut |key, _| {
                    if owner(table, key) == Some(account) {
                        batch.delete(table, key);
                    }
                    Ok(true)
                })?;
            }
            saved.tables.write(batch)?;
        }
        Ok(())
    }

    /// Up to where each account's image says what there is.
    pub(crate) fn floors(&self) -> HashMap<AccountNumber, Lsn> {
        self.images.iter().map(|(account, image)| (*account, image.begun)).collect()
    }

    /// The highest position that an image covers records up to.
    pub(crate) fn begun(&self) -> Lsn {
        self.images.values().map(|image| image.begun).max().unwrap_or(Lsn::ZERO)
    }

    /// Whether [`Installer::finish`] was called.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Whether a record says nothing that the images do not hold.
    pub(crate) fn covers(&self, header: &RecordHeader) -> bool {
        let begun = |account| self.images.get(&account).map_or(Lsn::ZERO, |image| image.begun);
        let (account, lsn) = (header.account, header.lsn);
        let is_of_deleted = account != AccountNumber::VOLUME
            && lsn <= begun(AccountNumber::VOLUME)
            && !self.accounts.contains(&account);
        lsn <= begun(account) || is_of_deleted
    }
}
