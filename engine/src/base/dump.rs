//! Writing the images of a round: reads the snapshot, cuts units, commits those that are new.

use std::collections::{HashMap, HashSet, VecDeque};

use super::proof::Proof;
use super::unit::{Cutter, owner, tables};
use super::{Abandon, BaseSetup, Spans, submit};
use crate::commit::Change;
use crate::error::{CommitError, ReadError};
use crate::ids::{AccountNumber, BlobId, Lsn};
use crate::record::base::{BasePart, BaseUnit, DumpedRow, digest, unit_hash};
use crate::state::{Saved, Table, is_node_local};
use crate::ticket::Ticket;
use crate::width::{u32_of, u64_of};

/// Bytes of rows that one step reads.
const STEP_BYTES: usize = 256 << 10;
/// Bytes of units that are committed together.
const COMMIT_BYTES: usize = 512 << 10;
/// Units that one record of an image names.
const PART_UNITS_MAX: usize = 10_000;

/// What a step did.
pub(super) enum DumpStep {
    Worked(u64),
    Waiting,
    Done,
    Abandoned(Abandon),
}

/// The images of a round.
pub(super) struct Dump {
    setup: BaseSetup,
    /// State as of `begun`.
    saved: Saved,
    begun: Lsn,
    images: HashMap<AccountNumber, Making>,
    source: Source,
    /// Accounts whose own tables are still to be read.
    left: VecDeque<AccountNumber>,
    new: Vec<(AccountNumber, Vec<NewUnit>)>,
    new_bytes: usize,
    waiting: Vec<Wait>,
    /// Accounts that got no image.
    refused: u64,
}

/// An image that is being made.
#[derive(Default)]
struct Making {
    cutter: Cutter,
    proof: Proof,
    /// The blob whose references are being collected.
    blob: Option<[u8; 8]>,
    units: Vec<BaseUnit>,
    /// Units of the account's last image.
    known: HashMap<[u8; 32], BaseUnit>,
}

struct NewUnit {
    /// Which of the image's units it is.
    index: usize,
    rows: Vec<DumpedRow>,
}

/// What is read next.
enum Source {
    /// References of all accounts with their blobs, from that key on.
    References(Vec<u8>),
    /// Tables of an account, by index, from that key on.
    Account(AccountNumber, usize, Vec<u8>),
    /// All of an account is read.
    Read(AccountNumber),
    /// Nothing is left but the volume's.
    Volume,
    End,
}

enum Wait {
    Units(AccountNumber, Vec<usize>, Ticket<Result<Vec<Lsn>, CommitError>>),
    Image(Ticket<Result<(), CommitError>>),
}

impl Dump {
    pub(super) fn new(
        setup: BaseSetup,
        saved: Saved,
        begun: Lsn,
        accounts: Vec<AccountNumber>,
        anew: &Spans,
    ) -> Result<Dump, ReadError> {
        let there: HashSet<AccountNumber> = saved.accounts()?.into_keys().collect();
        let accounts: VecDeque<AccountNumber> =
            accounts.into_iter().filter(|account| there.contains(account)).collect();
        let mut images = HashMap::new();
        for account in accounts.iter().copied().chain([AccountNumber::VOLUME]) {
            let last = setup.committed.base(account);
            let units = last.iter().flat_map(|image| &image.units);
            let units = units.filter(|unit| !anew.has(unit.lsn));
            let known = units.map(|unit| (unit.hash, *unit)).collect();
            images.insert(account, Making { known, ..Making::default() });
        }
        Ok(Dump {
            setup,
            saved,
            begun,
            images,
            source: Source::References(Vec::new()),
            left: accounts,
            new: Vec::new(),
            new_bytes: 0,
            waiting: Vec::new(),
            refused: 0,
        })
    }

    /// Accounts that got no image, because their rows did not agree.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Commits what is ready, or reads on.
    pub(super) fn step(&mut self) -> Result<DumpStep, ReadError> {
        if !self.waiting.is_empty() {
            return Ok(self.collect());
        }
        let is_end = matches!(self.source, Source::Read(_) | Source::End);
        if self.new_bytes >= COMMIT_BYTES || (is_end && !self.new.is_empty()) {
            return Ok(self.commit());
        }
        match std::mem::replace(&mut self.source, Source::End) {
            Source::References(from) => self.references(&from),
            Source::Account(account, table, from) => self.account(account, table, &from),
            Source::Read(account) => Ok(self.image(account)),
            Source::Volume => self.volume(),
            Source::End => Ok(DumpStep::Done),
        }
    }

    /// Takes the answers that are there.
    fn collect(&mut self) -> DumpStep {
        let mut still = Vec::new();
        for wait in std::mem::take(&mut self.waiting) {
            match wait {
                Wait::Units(account, indexes, ticket) => match ticket.now() {
                    Err(ticket) => still.push(Wait::Units(account, indexes, ticket)),
                    Ok(Ok(positions)) => self.place(account, &indexes, &positions),
                    Ok(Err(CommitError::NoSuchAccount)) => self.forget(account),
                    Ok(Err(error)) => return DumpStep::Abandoned(Abandon::of(&error)),
                },
                Wait::Image(ticket) => match ticket.now() {
                    Err(ticket) => still.push(Wait::Image(ticket)),
                    Ok(Ok(()) | Err(CommitError::NoSuchAccount)) => {}
                    Ok(Err(error)) => return DumpStep::Abandoned(Abandon::of(&error)),
                },
            }
        }
        let waits = !still.is_empty();
        self.waiting = still;
        if waits { DumpStep::Waiting } else { DumpStep::Worked(0) }
    }

    /// Units are in the log, at those positions.
    fn place(&mut self, account: AccountNumber, indexes: &[usize], positions: &[Lsn]) {
        let Some(making) = self.images.get_mut(&account) else { return };
        for (index, lsn) in indexes.iter().zip(positions) {
            if let Some(unit) = making.units.get_mut(*index) {
                unit.lsn = *lsn;
            }
        }
    }

    /// The account was deleted.
    fn forget(&mut self, account: AccountNumber) {
        self.images.remove(&account);
        self.new.retain(|(of, _)| *of != account);
    }

    fn commit(&mut self) -> DumpStep {
        let bytes = u64_of(std::mem::take(&mut self.new_bytes));
        for (account, new) in std::mem::take(&mut self.new) {
            let (mut indexes, mut units) = (Vec::new(), Vec::new());
            for NewUnit { index, rows } in new {
                indexes.push(index);
                units.push(rows);
            }
            let ticket =
                submit(&self.setup, |promise| Change::BaseDump { account, units, promise });
            let Some(ticket) = ticket else { return DumpStep::Abandoned(Abandon::Otherwise) };
            self.waiting.push(Wait::Units(account, indexes, ticket));
        }
        DumpStep::Worked(bytes)
    }

    /// Adds a unit to an image: named again if the last image has it, else to be committed.
    fn add(&mut self, account: AccountNumber, rows: Vec<DumpedRow>) {
        let Some(making) = self.images.get_mut(&account) else { return };
        let hash = unit_hash(&rows);
        if let Some(known) = making.known.get(&hash) {
            making.units.push(*known);
            return;
        }
        let bytes: usize = rows.iter().map(|row| row.key.len() + row.value.len() + 4).sum();
        let index = making.units.len();
        making.units.push(BaseUnit { hash, lsn: Lsn::ZERO, bytes: u32_of(bytes) });
        self.new_bytes += bytes;
        let unit = NewUnit { index, rows };
        match self.new.iter_mut().find(|(of, _)| *of == account) {
            Some((_, units)) => units.push(unit),
            None => self.new.push((account, vec![unit])),
        }
    }

    /// Reads references with the blobs that they name.
    fn references(&mut self, from: &[u8]) -> Result<DumpStep, ReadError> {
        let (keys, next) = self.read(Table::Reference, &[], from, STEP_BYTES / 8)?;
        let bytes = keys.iter().map(|(key, _)| key.len() * 3).sum::<usize>();
        for (key, _) in keys {
            let Some(account) = owner(Table::Reference, &key) else { continue };
            let Some(making) = self.images.get_mut(&account) else { continue };
            let blob = key.first_chunk().copied();
            let is_other = making.blob != blob;
            let mut ended = Vec::new();
            if is_other && let Some(id) = blob {
                making.blob = blob;
                let undecodable =
                    || ReadError::Undecodable { what: "reference", why: "it names no blob" };
                let blob = Lsn::from_bits(u64::from_be_bytes(id)).map(BlobId);
                let blob = blob.ok_or_else(undecodable)?;
                let row = self.saved.blob(blob)?.ok_or_else(undecodable)?;
                making.proof.blob(blob, &row);
                ended.extend(making.cutter.push(Table::Blob, &id, row.encode(), true));
            }
            making.proof.reference(&key);
            ended.extend(making.cutter.push(Table::Reference, &key, Vec::new(), false));
            ended.into_iter().for_each(|rows| self.add(account, rows));
        }
        match next {
            Some(next) => self.source = Source::References(next),
            None => {
                let all: Vec<AccountNumber> = self.images.keys().copied().collect();
                all.into_iter().for_each(|account| self.end_unit(account));
                self.next_account();
            }
        }
        Ok(DumpStep::Worked(u64_of(bytes)))
    }

    fn end_unit(&mut self, account: AccountNumber) {
        let ended = self.images.get_mut(&account).and_then(|making| making.cutter.end());
        ended.into_iter().for_each(|rows| self.add(account, rows));
    }

    fn next_account(&mut self) {
        self.source = match self.left.pop_front() {
            Some(account) => Source::Account(account, 0, Vec::new()),
            None => Source::Volume,
        };
    }

    /// Reads tables of one account.
    fn account(
        &mut self,
        account: AccountNumber,
        index: usize,
        from: &[u8],
    ) -> Result<DumpStep, ReadError> {
        let is_gone = !self.images.contains_key(&account) || !self.has_key(account);
        let Some(table) = tables().nth(index).filter(|_| !is_gone) else {
            self.source = Source::Read(account);
            return Ok(DumpStep::Worked(0));
        };
        let prefix = account.0.to_be_bytes();
        let (rows, next) = self.read(table, &prefix, from, STEP_BYTES)?;
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        for (key, sealed) in rows {
            let value = match self.saved.values.open(table, &key, account, &sealed) {
                Ok(value) => value,
                // Destroyed just now.
                Err(_) if !self.has_key(account) => {
                    self.forget(account);
                    break;
                }
                Err(error) => return Err(error),
            };
            let Some(making) = self.images.get_mut(&account) else { break };
            making.proof.row(account, table, &key, &value)?;
            let ended = making.cutter.push(table, &key, value, true);
            ended.into_iter().for_each(|rows| self.add(account, rows));
        }
        self.source = match next {
            Some(next) => Source::Account(account, index, next),
            None => {
                self.end_unit(account);
                Source::Account(account, index + 1, Vec::new())
            }
        };
        Ok(DumpStep::Worked(u64_of(bytes)))
    }

    fn has_key(&self, account: AccountNumber) -> bool {
        self.saved.values.has_account(account)
    }

    /// The volume's own rows, and which accounts there are.
    fn volume(&mut self) -> Result<DumpStep, ReadError> {
        let volume = AccountNumber::VOLUME;
        let (rows, _) = self.read(Table::Volume, &[], &[], usize::MAX)?;
        let mut cutter = Cutter::default();
        let mut units = Vec::new();
        for (key, sealed) in rows.into_iter().filter(|(key, _)| !is_node_local(key)) {
            let value = self.saved.values.open(Table::Volume, &key, volume, &sealed)?;
            units.extend(cutter.push(Table::Volume, &key, value, true));
        }
        let prefix = volume.0.to_be_bytes();
        for table in [Table::Retained, Table::Answered] {
            let (rows, _) = self.read(table, &prefix, &[], usize::MAX)?;
            for (key, sealed) in rows {
                let value = self.saved.values.open(table, &key, volume, &sealed)?;
                units.extend(cutter.push(table, &key, value, true));
            }
        }
        let mut accounts: Vec<AccountNumber> = self.saved.accounts()?.into_keys().collect();
        accounts.sort_unstable_by_key(|account| account.0);
        for account in accounts {
            units.extend(cutter.push(Table::Account, &account.0.to_be_bytes(), Vec::new(), true));
        }
        units.extend(cutter.end());
        units.into_iter().for_each(|rows| self.add(volume, rows));
        self.source = Source::Read(volume);
        Ok(DumpStep::Worked(0))
    }

    /// Commits an account's image.
    fn image(&mut self, account: AccountNumber) -> DumpStep {
        self.source = Source::End;
        if account != AccountNumber::VOLUME {
            self.next_account();
        }
        let Some(Making { units, proof, .. }) = self.images.remove(&account) else {
            return DumpStep::Worked(0);
        };
        // Of one that is deleted just now not all rows were read, and it gets no image anyway.
        if let Some(objection) = proof.objection().filter(|_| self.has_key(account)) {
            tracing::error!(
                "no base image is made of account {account}, and its records stay in the log: \
                 {objection}; run 'pillarbox check'"
            );
            self.refused += 1;
            return DumpStep::Worked(0);
        }
        let (begun, digest) = (self.begun, digest(&units));
        let mut chunks = units.chunks(PART_UNITS_MAX);
        let first = chunks.next().unwrap_or_default().to_vec();
        let mut parts = vec![BasePart { begun, first: true, digest, units: first }];
        parts.extend(chunks.map(|units| BasePart {
            begun,
            first: false,
            digest,
            units: units.to_vec(),
        }));
        let ticket = submit(&self.setup, |promise| Change::BaseImage { account, parts, promise });
        let Some(ticket) = ticket else { return DumpStep::Abandoned(Abandon::Otherwise) };
        self.waiting.push(Wait::Image(ticket));
        DumpStep::Worked(0)
    }

    /// Rows of a table from a key on, about so many bytes of them, and the key to go on from.
    #[expect(clippy::type_complexity, reason = "rows, and where to go on")]
    fn read(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        bytes_max: usize,
    ) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, Option<Vec<u8>>), ReadError> {
        let (mut rows, mut bytes, mut next) = (Vec::new(), 0, None);
        self.saved.tables.scan_from(table, prefix, from, &mut |key, value| {
            if bytes >= bytes_max {
                next = Some(key.to_vec());
                return Ok(false);
            }
            bytes += key.len() + value.len();
            rows.push((key.to_vec(), value.to_vec()));
            Ok(true)
        })?;
        Ok((rows, next))
    }
}
