//! A check from beginning to end: the log, every mailbox with every message, the tables.
//!
//! Every message of every mailbox is opened: hashes, seals, lengths, summary. Heads are compared
//! with their pages, counters with a recount; every row's reference must be in the tables, and
//! every reference must have a row.
//!
//! A running store changes meanwhile: what looks wrong is looked at once more after a checkpoint,
//! and counts only if it still does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::{CheckProgress, CheckReport, Loss, Problem};
use super::log::{LogSource, ReadGroup};
use super::segment::{Flaw, FlawKind};
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, Uid};
use crate::log::{Item, LogDamage, SegmentNumber};
use crate::mailbox::Row;
use crate::record::open_record;
use crate::seal::KeyTableSnapshot;
use crate::state::{
    AccountState, Committed, Saved, Table, mailbox_of_reference, reference_key, scan_references,
};
use crate::uid_set::UidSet;
use crate::width::u64_of;

/// Things that are looked at once more; beyond that, they are taken as they looked.
const DOUBTS_MAX: usize = 1000;

/// What a check needs.
pub(crate) struct CheckSetup<'a> {
    pub(crate) committed: &'a Committed,
    pub(crate) saved: &'a Saved,
    pub(crate) keys: Arc<KeyTableSnapshot>,
    pub(crate) log: LogSource,
    /// Groups that opening could not read.
    pub(crate) log_damage: &'a [LogDamage],
    /// The highest position that is known to be durable.
    pub(crate) durable: Lsn,
    /// Opens a message with every byte of it.
    pub(crate) verify: &'a dyn Fn(AccountNumber, &Row) -> Result<u64, ReadError>,
    /// A message's summary as its blob holds it.
    pub(crate) summary: &'a dyn Fn(AccountNumber, BlobId) -> Result<Vec<u8>, ReadError>,
    /// Brings the tables up to what readers see, where changes are taken.
    pub(crate) settle: &'a dyn Fn(),
    /// The tables lag behind what readers see, and nothing will change that.
    pub(crate) is_unsettled: bool,
    /// A checkpoint was begun that failed: what the tables hold is anybody's guess.
    pub(crate) is_torn: bool,
}

/// A check under way.
pub(crate) struct Check<'a> {
    pub(super) saved: &'a Saved,
    pub(super) settle: &'a dyn Fn(),
    pub(super) is_unsettled: bool,
    pub(super) report: CheckReport,
    /// Bytes of every segment's file.
    pub(super) segments: BTreeMap<u64, u64>,
    pub(super) setup: CheckSetup<'a>,
    /// What is damaged of the log by segment and first byte: its end, and living chunks in it.
    damaged: BTreeMap<(u64, u64), (u64, u64)>,
    progress: &'a mut dyn FnMut(CheckProgress),
    done: u64,
    total: u64,
    rows: u64,
    /// Rows whose reference was not found at first.
    bare: Vec<([u8; 36], Uid)>,
    /// References of messages that are kept after they were expunged, 36 bytes each.
    pub(super) kept: BTreeSet<[u8; 36]>,
    /// Parts that blobs name, each once for every blob.
    pub(super) part_names: u64,
    /// Blobs whose parts did not look right at first.
    pub(super) part_doubts: Vec<BlobId>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(
        setup: CheckSetup<'a>,
        progress: &'a mut dyn FnMut(CheckProgress),
    ) -> Check<'a> {
        let CheckSetup { saved, settle, is_unsettled, is_torn, .. } = setup;
        Check {
            saved,
            settle,
            is_unsettled: is_unsettled || is_torn,
            report: CheckReport::default(),
            segments: BTreeMap::new(),
            setup,
            damaged: BTreeMap::new(),
            progress,
            done: 0,
            total: 0,
            rows: 0,
            bare: Vec::new(),
            kept: BTreeSet::new(),
            part_names: 0,
            part_doubts: Vec::new(),
        }
    }

    /// Reads everything.
    ///
    /// # Errors
    /// [`ReadError`], if the log's folder or the list of references cannot be read at all.
    pub(crate) fn run(mut self) -> Result<CheckReport, ReadError> {
        (self.settle)();
        let accounts = self.setup.committed.accounts();
        self.total = accounts.iter().map(|account| account.usage.message_count).sum();
        let flaws = self.log()?;
        for account in &accounts {
            self.account(account);
        }
        self.tables();
        self.flaws(flaws);
        if !self.setup.is_torn {
            self.bare_rows()?;
            self.references()?;
        }
        Ok(self.report)
    }

    pub(super) fn problem(
        &mut self,
        about: &str,
        uid: Option<Uid>,
        what: impl Into<String>,
        loss: Loss,
    ) {
        self.report.add(Problem { about: about.to_owned(), uid, what: what.into(), loss });
    }

    fn step(&mut self) {
        self.done += 1;
        let (message_count, message_total) = (self.done, self.total.max(self.done));
        (self.progress)(CheckProgress { message_count, message_total });
    }

    /// Reads every segment; answers what is damaged, which is put into words when it is known what
    /// lies there.
    fn log(&mut self) -> Result<Vec<Flaw>, ReadError> {
        let switched = self.setup.committed.switched()?;
        let log = self.setup.log.clone();
        for number in log.segments(&switched)? {
            let path = number.path(log.directory());
            let file = log.disk.open(&path, crate::disk::OpenMode::Read);
            let byte_count = file.and_then(|file| file.byte_count()).unwrap_or_default();
            self.segments.insert(number.0, byte_count);
        }
        self.total += u64_of(self.segments.len());
        let lost = self.setup.log_damage.iter().map(|damage| damage.last);
        let durable = lost.fold(self.setup.durable, Lsn::max);
        let (mut at, mut highest) = (SegmentNumber(0), Lsn::ZERO);
        let keys = Arc::clone(&self.setup.keys);
        let found = log.read(&switched, durable, &mut |group| {
            if std::mem::replace(&mut at, group.segment) != group.segment {
                self.step();
            }
            let last = group.group.header.stamp.last_lsn;
            self.records(&keys, &group, last < highest);
            highest = highest.max(last);
        })?;
        self.report.segment_count = found.segment_count;
        self.report.log_bytes = found.byte_count;
        for flaw in &found.flaws {
            self.damaged.insert((flaw.segment.0, flaw.from), (flaw.to, 0));
        }
        if found.flaws.is_empty() {
            for damage in self.setup.log_damage {
                let what =
                    format!("{}; positions {} to {}", damage.damage, damage.first, damage.last);
                self.report.add(Problem {
                    about: "the log".to_owned(),
                    uid: None,
                    what,
                    loss: Loss::Changes,
                });
            }
        }
        self.report.problem_count += found.flaw_count - u64_of(found.flaws.len());
        Ok(found.flaws)
    }

    /// Opens every record of a group whose key is there. `is_earlier`: positions rise in all that
    /// is part of the log, so a group below those before it is of a recycled file's earlier life
    /// and shows only behind damage; keys of its records may be destroyed.
    fn records(&mut self, keys: &KeyTableSnapshot, read: &ReadGroup<'_>, is_earlier: bool) {
        for placed in read.group.items() {
            let Item::Record { header, payload } = placed.item else { continue };
            self.report.record_count += 1;
            if let Err(why) = open_record(keys, &header, payload)
                && !is_earlier
            {
                let about = self.segment_words(read.segment.0, read.offset);
                let what = format!("the record at {}: {why}", header.lsn);
                self.problem(&about, None, what, Loss::SecondCopy);
            }
        }
    }

    /// Notes that a living chunk lies in what is damaged, if it does.
    pub(super) fn touch(&mut self, segment: u64, (from, to): (u64, u64)) {
        if self.damaged.is_empty() {
            return;
        }
        let below = self.damaged.range_mut((segment, 0)..(segment, to));
        for (_, (end, count)) in below.rev() {
            if *end <= from {
                break;
            }
            *count += 1;
        }
    }

    /// Says of each flaw of the log what it costs.
    fn flaws(&mut self, flaws: Vec<Flaw>) {
        let applied = self.saved.stamp().ok().flatten().map_or(Lsn::ZERO, |stamp| stamp.lsn);
        let applied = applied.max(self.setup.durable);
        for flaw in flaws {
            let count = self.damaged.get(&(flaw.segment.0, flaw.from)).map_or(0, |(_, n)| *n);
            if flaw.last <= applied && self.setup.log.is_given_up(&flaw) {
                self.report.given_up_count += 1;
                continue;
            }
            let loss = match flaw.kind {
                FlawKind::HeaderCopy | FlawKind::Header | FlawKind::Footer => Loss::Nothing,
                FlawKind::Chunk if count == 0 => Loss::Nothing,
                _ if flaw.last > applied => Loss::Changes,
                _ if count > 0 => Loss::Pieces(count),
                _ => Loss::SecondCopy,
            };
            let about = self.segment_words(flaw.segment.0, flaw.from);
            let what = match flaw.kind {
                FlawKind::Group | FlawKind::Missing => {
                    format!("{} (positions {} to {})", flaw.what, flaw.first, flaw.last)
                }
                FlawKind::Chunk if count == 0 => {
                    format!("{}, and no message has it any more", flaw.what)
                }
                _ => flaw.what,
            };
            self.problem(&about, None, what, loss);
        }
    }

    /// A place in the log, in words.
    pub(super) fn segment_words(&self, segment: u64, offset: u64) -> String {
        let path = SegmentNumber(segment).path(self.setup.log.directory());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("segment {name}, offset {offset}")
    }

    /// Whether the file of a segment exists.
    pub(super) fn is_segment_there(&self, segment: u64) -> bool {
        let path = SegmentNumber(segment).path(self.setup.log.directory());
        self.setup.log.disk.exists(&path).unwrap_or(false)
    }

    /// The name of a mailbox.
    pub(super) fn name(&self, account: AccountNumber, mailbox: MailboxId) -> Option<String> {
        let account = self.setup.committed.account(account)?;
        account.names.name_of(mailbox).map(str::to_owned)
    }

    /// An account and its mailbox, in words.
    pub(super) fn words_of(
        &self,
        account: AccountNumber,
        mailbox: Option<MailboxId>,
    ) -> Option<String> {
        let state = self.setup.committed.account(account)?;
        let name = mailbox.and_then(|mailbox| state.names.name_of(mailbox)).unwrap_or_default();
        Some(format!("{} {name}", state.profile.name).trim_end().to_owned())
    }

    fn account(&mut self, account: &AccountState) {
        self.report.account_count += 1;
        let (mut count, mut bytes) = (0, 0);
        for entry in account.names.listing().mailboxes {
            let about = format!("{} {}", account.profile.name, entry.name);
            let (messages, message_bytes) = self.mailbox(&about, account.number, entry.id);
            count += messages;
            bytes += message_bytes;
        }
        self.retained(account);
        let now = self.setup.committed.account(account.number);
        let same = now.is_some_and(|now| now.usage == account.usage);
        if same && (count, bytes) != (account.usage.message_count, account.usage.message_bytes) {
            let what = format!(
                "{count} messages of {bytes} bytes are there, but its quota counts {} and {}",
                account.usage.message_count, account.usage.message_bytes
            );
            self.problem(&account.profile.name, None, what, Loss::Shown);
        }
    }

    /// Verifies a mailbox; answers how many messages and bytes it has.
    fn mailbox(&mut self, about: &str, account: AccountNumber, mailbox: MailboxId) -> (u64, u64) {
        self.report.mailbox_count += 1;
        let cell = match self.setup.committed.cell((account, mailbox)) {
            Ok(cell) => cell,
            Err(error) => {
                self.problem(about, None, error.to_string(), Loss::Shown);
                return (0, 0);
            }
        };
        let Some(view) = cell.and_then(|cell| cell.view()) else { return (0, 0) };
        for (uid, what) in view.wrong_heads() {
            self.problem(about, uid, what, Loss::Shown);
        }
        let (mut count, mut bytes) = (0, 0);
        let mut last = None;
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        let read = view.visit(&all, &mut |row| {
            if last >= Some(row.uid) {
                let what = "its UID is not above that before it";
                self.problem(about, Some(row.uid), what, Loss::Shown);
            }
            last = Some(row.uid);
            count += 1;
            bytes += u64::from(row.size);
            self.message(about, (account, mailbox), row);
            true
        });
        if let Err(error) = read {
            self.problem(about, None, error.to_string(), Loss::Shown);
        } else if count != u64::from(view.message_count()) || bytes != view.message_bytes() {
            let (heads, head_bytes) = (view.message_count(), view.message_bytes());
            let what = format!(
                "{count} messages of {bytes} bytes, but its heads say {heads} of {head_bytes}"
            );
            self.problem(about, None, what, Loss::Shown);
        }
        (count, bytes)
    }

    pub(super) fn message(
        &mut self,
        about: &str,
        (account, mailbox): (AccountNumber, MailboxId),
        row: &Row,
    ) {
        self.rows += 1;
        let key = reference_key(row.blob, account, mailbox, row.uid);
        let known = self.saved.tables.get(Table::Reference, &key);
        if known.is_ok_and(|found| found.is_none()) && self.bare.len() < DOUBTS_MAX {
            self.bare.push((key, row.uid));
        }
        if let Err(error) = (self.setup.verify)(account, row) {
            self.problem(about, Some(row.uid), error.to_string(), Loss::Message);
        }
        self.report.message_count += 1;
        self.report.message_bytes += u64::from(row.size);
        self.step();
    }

    /// Whether the row that a reference stands for is there now.
    fn has_row(&self, key: &[u8; 36]) -> bool {
        if let Some(is_named) = self.is_of_part(key) {
            return is_named;
        }
        let Some(of) = mailbox_of_reference(key) else { return false };
        let uid = key.last_chunk().map_or(0, |uid| u32::from_be_bytes(*uid));
        let view = self.setup.committed.cell(of).ok().flatten().and_then(|cell| cell.view());
        let row = view.and_then(|view| view.row(Uid(uid)).ok().flatten());
        row.is_some_and(|row| reference_key(row.blob, of.0, of.1, row.uid) == *key)
            || self.kept.contains(key)
    }

    /// Rows that had no reference at first.
    fn bare_rows(&mut self) -> Result<(), ReadError> {
        if !self.bare.is_empty() {
            (self.settle)();
        }
        for (key, uid) in std::mem::take(&mut self.bare) {
            let is_made = self.setup.committed.unsaved_reference(&key) == Some(true);
            let is_stored = self.saved.tables.get(Table::Reference, &key)?.is_some();
            if is_made || is_stored || !self.has_row(&key) {
                continue;
            }
            let of = mailbox_of_reference(&key);
            let about = of.and_then(|(account, mailbox)| self.words_of(account, Some(mailbox)));
            let what = "it has no reference to its blob, so reclaim would take it for dead";
            self.problem(&about.unwrap_or_default(), Some(uid), what, Loss::Nothing);
        }
        Ok(())
    }

    /// References without a row keep their blob's space for ever.
    fn references(&mut self) -> Result<(), ReadError> {
        let mut count = 0;
        scan_references(self.saved, &mut |_| count += 1)?;
        self.report.row_count += count;
        if self.is_unsettled || count == self.rows + self.part_names {
            return Ok(());
        }
        let mut doubts = Vec::new();
        scan_references(self.saved, &mut |key| {
            let owner = mailbox_of_reference(&key).map(|(account, _)| account);
            // Which rows the mailboxes of a destroyed account had, nobody can tell any more.
            let is_readable = owner.is_some_and(|owner| self.saved.values.has_account(owner));
            if is_readable && doubts.len() < DOUBTS_MAX && !self.has_row(&key) {
                doubts.push(key);
            }
        })?;
        if !doubts.is_empty() {
            (self.settle)();
        }
        for key in doubts {
            let is_stored = self.saved.tables.get(Table::Reference, &key)?.is_some();
            if is_stored && !self.has_row(&key) {
                let (about, uid) = self.words_of_reference(&key);
                let what = "a reference without a message keeps a blob's space";
                self.problem(&about, uid, what, Loss::Nothing);
            }
        }
        Ok(())
    }
}
