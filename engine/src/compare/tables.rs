//! The tables of one node as of one position, cut into parts that have hashes.

use std::cell::Cell;

use blake3::Hasher;

use super::question::{Parts, Whole};
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, Uid};
use crate::mailbox::{VanishedEntry, hash_of_mailbox, hashes_of_page};
use crate::state::{Saved, Table, is_node_local, mailbox_of_reference};
use crate::uid_set::UidSet;
use crate::width::u64_of;

/// Parts of an answer.
const PARTS_MAX: usize = 1000;
/// Bytes of rows that are read for an answer, if it has a part.
const BYTES_MAX: u64 = 16 << 20;
/// UIDs of a bucket.
const UIDS_IN_BUCKET: u32 = 1024;
/// Positions of a bucket of blobs.
const BLOBS_IN_BUCKET: u64 = 4096;
/// Accounts that are looked up at a time.
const ACCOUNTS_AT_A_TIME: usize = 256;

/// What begins the name of a part; see [`Whole`].
pub(super) const OWN: u8 = 1;
pub(super) const MAILBOX: u8 = 2;
pub(super) const KEPT: u8 = 3;
pub(super) const VOLUME: u8 = 4;
pub(super) const ROW: u8 = 1;
pub(super) const GONE: u8 = 2;
pub(super) const MESSAGES: u8 = 3;

type Hash = [u8; 32];

/// Of what a part is, its name, and its hash.
#[cfg(test)]
pub(crate) type Listed = Vec<(String, Vec<u8>, Hash)>;

/// Tables that were kept as they were at a position.
pub(crate) struct HeldTables {
    saved: Saved,
    lsn: Lsn,
    bytes: Cell<u64>,
}

/// Collects parts until there are enough.
struct Collected<'a> {
    parts: Parts,
    from: &'a [u8],
    until: Option<&'a [u8]>,
    begun: u64,
    bytes: &'a Cell<u64>,
}

impl Collected<'_> {
    /// Whether a part of that name belongs to this answer; else it may be where the next begins.
    fn wants(&mut self, name: &[u8]) -> bool {
        if name < self.from || self.is_over() {
            return false;
        }
        if let Some(until) = self.until {
            return name < until;
        }
        let is_full = self.parts.list.len() >= PARTS_MAX
            || (!self.parts.list.is_empty() && self.bytes.get() - self.begun >= BYTES_MAX);
        if is_full {
            self.parts.next = Some(name.to_vec());
        }
        !is_full
    }

    fn is_over(&self) -> bool {
        self.parts.next.is_some()
    }

    fn add(&mut self, name: &[u8], hash: Hash) {
        if self.parts.list.is_empty() {
            // What was read to get as far as the first is not counted.
            self.begun = self.bytes.get();
        }
        self.parts.list.push((name.to_vec(), hash));
    }
}

impl HeldTables {
    pub(crate) fn new(saved: Saved, lsn: Lsn) -> HeldTables {
        HeldTables { saved, lsn, bytes: Cell::new(0) }
    }

    /// As of which position they are.
    pub(crate) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Bytes of rows that were read.
    pub(crate) fn byte_count(&self) -> u64 {
        self.bytes.get()
    }

    /// Every part of accounts and mailboxes, and of blobs.
    #[cfg(test)]
    pub(crate) fn list(&self) -> Result<Listed, ReadError> {
        let all = Some(&[u8::MAX; 9][..]);
        let mut list = Vec::new();
        for (name, _) in self.parts(Whole::Accounts, &[], all)?.list {
            let account = AccountNumber(u64::from_be_bytes(*name.first_chunk().unwrap()));
            for (name, hash) in self.parts(Whole::Account(account), &[], all)?.list {
                list.push((format!("account {account}"), name.clone(), hash));
                if let [MAILBOX, id @ ..] = name.as_slice() {
                    let mailbox = MailboxId(id.try_into().unwrap());
                    let parts = self.parts(Whole::Mailbox(account, mailbox), &[], all)?.list;
                    let about = format!("mailbox {mailbox}");
                    list.extend(parts.into_iter().map(|(name, hash)| (about.clone(), name, hash)));
                }
            }
        }
        let blobs = self.parts(Whole::Blobs, &[], all)?.list;
        list.extend(blobs.into_iter().map(|(name, hash)| ("blobs".to_owned(), name, hash)));
        Ok(list)
    }

    /// Parts of something from a name on: so many as one answer has, or all below `until`.
    ///
    /// # Errors
    /// The tables cannot be read at all.
    pub(crate) fn parts(
        &self,
        whole: Whole,
        from: &[u8],
        until: Option<&[u8]>,
    ) -> Result<Parts, ReadError> {
        let (parts, begun) = (Parts::default(), self.bytes.get());
        let mut into = Collected { parts, from, until, begun, bytes: &self.bytes };
        match whole {
            Whole::Accounts => self.accounts(&mut into)?,
            Whole::Account(account) => self.account(account, &mut into)?,
            Whole::Mailbox(account, mailbox) => self.mailbox(account, mailbox, &mut into)?,
            Whole::Messages(account, mailbox, bucket) => {
                let inside = |uid: Uid| uid.0 / UIDS_IN_BUCKET == bucket;
                self.messages((account, mailbox), &mut |uid, hash| {
                    let name = uid.0.to_be_bytes();
                    if inside(uid) && into.wants(&name) {
                        into.add(&name, hash);
                    }
                    !into.is_over()
                })?;
            }
            Whole::Blobs => self.blobs(&mut into)?,
            Whole::BlobsOf(bucket) => self.blobs_of(bucket, &mut |blob, hash| {
                let name = blob.0.bits().to_be_bytes();
                if into.wants(&name) {
                    into.add(&name, hash);
                }
            })?,
        }
        Ok(into.parts)
    }

    /// Whether there is an account of that number.
    pub(super) fn has_row(&self, account: AccountNumber) -> Result<bool, ReadError> {
        let row = self.saved.tables.get(Table::Account, &account.0.to_be_bytes())?;
        Ok(row.is_some())
    }

    /// Who names a blob first.
    pub(super) fn named_by(
        &self,
        blob: BlobId,
    ) -> Result<Option<(AccountNumber, MailboxId, Uid)>, ReadError> {
        let mut found = None;
        self.scan(Table::Reference, &blob.0.bits().to_be_bytes(), &mut |key, _| {
            let uid = key.get(32..).and_then(|uid| uid.first_chunk()).copied();
            if let (Some((account, mailbox)), Some(uid)) = (mailbox_of_reference(key), uid) {
                found = Some((account, mailbox, Uid(u32::from_be_bytes(uid))));
            }
            found.is_none()
        })?;
        Ok(found)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.scan_from(table, prefix, prefix, visit)
    }

    fn scan_from(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.saved.tables.scan_from(table, prefix, from, &mut |key, value| {
            self.bytes.set(self.bytes.get() + u64_of(key.len() + value.len()));
            Ok(visit(key, value))
        })
    }

    fn open(
        &self,
        table: Table,
        account: AccountNumber,
        (key, sealed): (&[u8], &[u8]),
    ) -> Result<Vec<u8>, ReadError> {
        self.saved.values.open(table, key, account, sealed)
    }

    /// The hash of a row's value; of one that does not open, that of its sealed bytes, which are
    /// those of no other node.
    fn value(&self, table: Table, account: AccountNumber, (key, sealed): (&[u8], &[u8])) -> Hash {
        let plain = self.open(table, account, (key, sealed));
        plain.map_or_else(|_| unreadable(sealed), |plain| *blake3::hash(&plain).as_bytes())
    }

    fn accounts(&self, into: &mut Collected<'_>) -> Result<(), ReadError> {
        let volume = AccountNumber::VOLUME;
        let name = volume.0.to_be_bytes();
        if into.wants(&name) {
            into.add(&name, self.hash_of(Whole::Account(volume))?);
        }
        let mut from = into.from.to_vec();
        loop {
            let mut accounts = Vec::new();
            let mut next = None;
            self.scan_from(Table::Account, &[], &from, &mut |key, _| {
                if let Ok(number) = <[u8; 8]>::try_from(key) {
                    if accounts.len() >= ACCOUNTS_AT_A_TIME {
                        next = Some(number.to_vec());
                        return false;
                    }
                    accounts.push(number);
                }
                true
            })?;
            for name in accounts {
                let account = AccountNumber(u64::from_be_bytes(name));
                // What belongs to a destroyed key goes with the next checkpoint.
                let is_there = self.saved.values.has_account(account);
                if is_there && into.wants(&name) {
                    into.add(&name, self.hash_of(Whole::Account(account))?);
                }
            }
            match next {
                Some(next) if !into.is_over() && into.until.is_none_or(|end| *next < *end) => {
                    from = next;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The hash of all parts of something.
    fn hash_of(&self, whole: Whole) -> Result<Hash, ReadError> {
        let mut hasher = Hasher::new();
        // No name of a part of an account or a mailbox is above it.
        for (name, hash) in self.parts(whole, &[], Some(&[u8::MAX]))?.list {
            hasher.update(&u64_of(name.len()).to_le_bytes());
            hasher.update(&name);
            hasher.update(&hash);
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn account(&self, account: AccountNumber, into: &mut Collected<'_>) -> Result<(), ReadError> {
        let prefix = account.0.to_be_bytes();
        self.scan(Table::Account, &prefix, &mut |key, sealed| {
            let name = [&[OWN], key.get(8..).unwrap_or_default()].concat();
            if into.wants(&name) {
                into.add(&name, self.value(Table::Account, account, (key, sealed)));
            }
            !into.is_over()
        })?;
        let mut mailboxes = Vec::new();
        self.scan(Table::Mailbox, &prefix, &mut |key, _| {
            mailboxes.extend(key.get(8..).and_then(|id| id.first_chunk()).copied());
            true
        })?;
        for id in mailboxes {
            let name = [&[MAILBOX], id.as_slice()].concat();
            if into.wants(&name) {
                into.add(&name, self.hash_of(Whole::Mailbox(account, MailboxId(id)))?);
            }
            if into.is_over() {
                return Ok(());
            }
        }
        if into.wants(&[KEPT]) {
            let mut hasher = Hasher::new();
            self.scan(Table::Retained, &prefix, &mut |key, sealed| {
                hasher.update(key);
                hasher.update(&self.value(Table::Retained, account, (key, sealed)));
                true
            })?;
            into.add(&[KEPT], *hasher.finalize().as_bytes());
        }
        if account == AccountNumber::VOLUME {
            self.scan(Table::Volume, &[], &mut |key, sealed| {
                let name = [&[VOLUME], key].concat();
                if !is_node_local(key) && into.wants(&name) {
                    into.add(&name, self.value(Table::Volume, account, (key, sealed)));
                }
                !into.is_over()
            })?;
        }
        Ok(())
    }

    fn mailbox(
        &self,
        account: AccountNumber,
        mailbox: MailboxId,
        into: &mut Collected<'_>,
    ) -> Result<(), ReadError> {
        let key = [account.0.to_be_bytes().as_slice(), &mailbox.0].concat();
        if into.wants(&[ROW])
            && let Some(sealed) = self.saved.tables.get(Table::Mailbox, &key)?
        {
            let row = self.open(Table::Mailbox, account, (&key, &sealed));
            let hash = row.and_then(|row| hash_of_mailbox(&row));
            into.add(&[ROW], hash.unwrap_or_else(|_| unreadable(&sealed)));
        }
        if into.wants(&[GONE]) {
            into.add(&[GONE], self.gone(account, &key)?);
        }
        let mut bucket: Option<(u32, Hasher)> = None;
        let mut end = |bucket: Option<(u32, Hasher)>| {
            let Some((number, hasher)) = bucket else { return true };
            let name = [&[MESSAGES], number.to_be_bytes().as_slice()].concat();
            if into.wants(&name) {
                into.add(&name, *hasher.finalize().as_bytes());
            }
            !into.is_over()
        };
        self.messages((account, mailbox), &mut |uid, hash| {
            let number = uid.0 / UIDS_IN_BUCKET;
            let mut goes_on = true;
            if bucket.as_ref().is_none_or(|(open, _)| *open != number) {
                goes_on = end(bucket.replace((number, Hasher::new())));
            }
            if let Some((_, hasher)) = &mut bucket {
                hasher.update(&uid.0.to_be_bytes());
                hasher.update(&hash);
            }
            goes_on
        })?;
        end(bucket);
        Ok(())
    }

    /// All UIDs that went: how they are listed depends on when checkpoints were made.
    fn gone(&self, account: AccountNumber, prefix: &[u8]) -> Result<Hash, ReadError> {
        let (mut ranges, mut hasher) = (Vec::new(), Hasher::new());
        self.scan(Table::Vanished, prefix, &mut |key, sealed| {
            let plain = self.open(Table::Vanished, account, (key, sealed));
            match plain.and_then(|plain| VanishedEntry::decode(Lsn::ZERO, &plain)) {
                Ok(entry) => ranges.extend_from_slice(entry.uids.ranges()),
                Err(_) => drop(hasher.update(&unreadable(sealed))),
            }
            true
        })?;
        for (first, last) in UidSet::from_ranges(ranges).ranges() {
            hasher.update(&first.to_be_bytes());
            hasher.update(&last.to_be_bytes());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Each message of a mailbox with its hash. Of a page that does not open, its first UID stands
    /// for all.
    fn messages(
        &self,
        (account, mailbox): (AccountNumber, MailboxId),
        visit: &mut dyn FnMut(Uid, Hash) -> bool,
    ) -> Result<(), ReadError> {
        let prefix = [account.0.to_be_bytes().as_slice(), &mailbox.0].concat();
        let mut failed = None;
        self.scan(Table::Page, &prefix, &mut |key, sealed| {
            let hashes = self.saved.tables.get(Table::Ids, key).map(|ids| {
                let page = self.open(Table::Page, account, (key, sealed))?;
                let ids = ids.as_ref().map(|ids| {
                    self.bytes.set(self.bytes.get() + u64_of(ids.len()));
                    self.open(Table::Ids, account, (key, ids))
                });
                hashes_of_page(&page, ids.transpose()?.as_deref())
            });
            match hashes {
                Ok(Ok(hashes)) => hashes.into_iter().all(|(uid, hash)| visit(uid, hash)),
                Ok(Err(_)) => {
                    let first = key.get(24..).and_then(|uid| uid.first_chunk()).copied();
                    let first = Uid(u32::from_be_bytes(first.unwrap_or_default()));
                    visit(first, unreadable(sealed))
                }
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn blobs(&self, into: &mut Collected<'_>) -> Result<(), ReadError> {
        let mut from = into.from.to_vec();
        loop {
            let mut next = None;
            self.scan_from(Table::Reference, &[], &first_of(&from), &mut |key, _| {
                next = key.first_chunk().copied().map(u64::from_be_bytes);
                false
            })?;
            // A blob that nobody names is there as well.
            self.scan_from(Table::Blob, &[], &first_of(&from), &mut |key, _| {
                let found = key.first_chunk().copied().map(u64::from_be_bytes);
                next = next.into_iter().chain(found).min();
                false
            })?;
            let Some(bucket) = next.map(|blob| blob / BLOBS_IN_BUCKET) else { return Ok(()) };
            let name = bucket.to_be_bytes();
            if !into.wants(&name) {
                return Ok(());
            }
            let mut hasher = Hasher::new();
            self.blobs_of(bucket, &mut |blob, hash| {
                hasher.update(&blob.0.bits().to_be_bytes());
                hasher.update(&hash);
            })?;
            into.add(&name, *hasher.finalize().as_bytes());
            from = (bucket + 1).to_be_bytes().to_vec();
        }
    }

    /// Each blob of a bucket, by its row and who names it.
    fn blobs_of(&self, bucket: u64, visit: &mut dyn FnMut(BlobId, Hash)) -> Result<(), ReadError> {
        let mut hashers = std::collections::BTreeMap::<u64, Hasher>::new();
        let first = (bucket * BLOBS_IN_BUCKET).to_be_bytes();
        let volume = AccountNumber::VOLUME;
        let inside = |key: &[u8]| {
            let blob = key.first_chunk().copied().map(u64::from_be_bytes)?;
            (blob / BLOBS_IN_BUCKET == bucket).then_some(blob)
        };
        self.scan_from(Table::Blob, &[], &first, &mut |key, sealed| {
            let Some(blob) = inside(key) else { return false };
            let hash = self.value(Table::Blob, volume, (key, sealed));
            hashers.entry(blob).or_default().update(&hash);
            true
        })?;
        self.scan_from(Table::Reference, &[], &first, &mut |key, _| {
            let Some(blob) = inside(key) else { return false };
            hashers.entry(blob).or_default().update(key);
            true
        })?;
        for (blob, hasher) in hashers {
            if let Some(lsn) = Lsn::from_bits(blob) {
                visit(BlobId(lsn), *hasher.finalize().as_bytes());
            }
        }
        Ok(())
    }
}

/// The first blob of a bucket, as a key.
fn first_of(bucket: &[u8]) -> Vec<u8> {
    let number = bucket.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default();
    number.saturating_mul(BLOBS_IN_BUCKET).to_be_bytes().to_vec()
}

fn unreadable(sealed: &[u8]) -> Hash {
    *Hasher::new().update(b"unreadable").update(sealed).finalize().as_bytes()
}
