//! The file `way-back/steps`: sealed, each step with the key of its account.
//!
//! ```text
//! header  magic "PBsteps" and a zero, version u16, zeros 6, epoch id 16 of the newest epoch of the
//!         suffix, LSN u64 and hash 32 of the common position, steps u64, BLAKE3 of all before
//! step    length u32 of what follows, account u64, key generation u32, sealed object:
//!         step as in step.rs; bound are the epoch id and the step's number
//! ```
//! What is written has no name until it is whole and flushed. A node that is deposed again before
//! its steps were done has several such files: those before are `steps.1`, `steps.2` and so on, and
//! are done in that order, for a later one names what an earlier one brought by its request.
//!
//! # What can go wrong
//! An account's key was destroyed since: its steps mean nothing any more and are passed over. A
//! damaged step is an error that names the offset: nothing behind it is done, and the file stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::step::Step;
use crate::disk::{Disk, DiskFile, OpenMode, durable};
use crate::encoding::{Decoder, Encoder};
use crate::error::{Damage, DiskError, ReadError};
use crate::ids::{AccountNumber, EpochId, KeyGeneration};
use crate::log::GroupHash;
use crate::pair::Position;
use crate::seal::{Aad, KeyTableSnapshot, Sealer, open, seal};
use crate::way_back::{STEPS, earlier_steps};
use crate::width::{u32_of, u64_of, usize_of_u32};

const MAGIC: [u8; 8] = *b"PBsteps\0";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 8 + 8 + 16 + 8 + 32 + 8 + 32;
/// Number among those of [`Aad::Named`].
const STEP: u8 = 3;
/// A message of the largest size that there is, and what stands beside it.
const STEP_BYTES_MAX: u32 = u32::MAX / 2;

/// Whose steps they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StepsHeader {
    /// The newest epoch of the suffix.
    pub(crate) epoch: EpochId,
    /// What both nodes have.
    pub(crate) common: Position,
    pub(crate) count: u64,
}

impl StepsHeader {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&MAGIC);
        out.raw(&VERSION.to_le_bytes());
        out.raw(&[0; 6]);
        out.raw(&self.epoch.0);
        out.lsn(self.common.lsn);
        out.raw(&self.common.hash.0);
        out.u64(self.count);
        out.checked()
    }

    fn decode(bytes: &[u8]) -> Option<StepsHeader> {
        let mut from = Decoder::checked(bytes)?;
        let magic: [u8; 8] = from.array().ok()?;
        let version = u16::from_le_bytes(from.array().ok()?);
        let _: [u8; 6] = from.array().ok()?;
        let epoch = EpochId(from.array().ok()?);
        let lsn = from.lsn().ok()?;
        let hash = GroupHash(from.array().ok()?);
        let count = from.u64().ok()?;
        from.end().ok()?;
        let common = Position { lsn, hash };
        (magic == MAGIC && version == VERSION).then_some(StepsHeader { epoch, common, count })
    }
}

/// Writes steps.
pub(crate) struct StepsWriter<'a> {
    disk: &'a dyn Disk,
    folder: PathBuf,
    sealer: &'a Sealer,
    keys: Arc<KeyTableSnapshot>,
    file: Box<dyn DiskFile>,
    header: StepsHeader,
    at: u64,
}

impl<'a> StepsWriter<'a> {
    /// Begins the file of a suffix; what another attempt left is gone.
    pub(crate) fn begin(
        disk: &'a dyn Disk,
        folder: &Path,
        (sealer, keys): (&'a Sealer, Arc<KeyTableSnapshot>),
        (epoch, common): (EpochId, Position),
    ) -> Result<StepsWriter<'a>, DiskError> {
        durable::create_dir_durable(disk, folder)?;
        let unfinished = durable::unfinished(&folder.join(STEPS));
        if disk.exists(&unfinished)? {
            disk.remove(&unfinished)?;
        }
        let file = disk.create(&unfinished)?;
        let header = StepsHeader { epoch, common, count: 0 };
        let folder = folder.to_path_buf();
        Ok(StepsWriter { disk, folder, sealer, keys, file, header, at: u64_of(HEADER_BYTES) })
    }

    /// Adds a step; answers its number. One of an account without a key means nothing.
    pub(crate) fn push(&mut self, account: AccountNumber, step: &Step) -> Result<(), DiskError> {
        let (generation, key) = match account {
            AccountNumber::VOLUME => (KeyGeneration(0), self.keys.volume_key()),
            account => match self.keys.current(account) {
                Some(current) => current,
                None => return Ok(()),
            },
        };
        let name = name_of(self.header.epoch, self.header.count);
        let aad = Aad::Named { purpose: STEP, name: &name };
        let sealed = seal(self.sealer, key, aad, &step.encode());
        let mut out = Encoder::default();
        out.raw(&u32_of(12 + sealed.len()).to_le_bytes());
        out.u64(account.0);
        out.raw(&generation.0.to_le_bytes());
        out.raw(&sealed);
        self.file.write_at(self.at, &out.bytes)?;
        self.at += u64_of(out.bytes.len());
        self.header.count += 1;
        Ok(())
    }

    /// The file gets its name, whole and flushed.
    pub(crate) fn finish(self) -> Result<u64, DiskError> {
        let path = self.folder.join(STEPS);
        self.file.write_at(0, &self.header.encode())?;
        self.file.sync_data()?;
        self.disk.rename(&durable::unfinished(&path), &path)?;
        self.disk.sync_dir(&self.folder)?;
        Ok(self.header.count)
    }
}

/// Steps that are to be done.
pub(crate) struct StepsFile {
    path: PathBuf,
    /// The node was deposed again since.
    pub(crate) is_earlier: bool,
    file: Box<dyn DiskFile>,
    pub(crate) header: StepsHeader,
}

impl StepsFile {
    /// The first that are to be done of a folder, if there are any.
    ///
    /// # Errors
    /// The disk; a header that cannot be read.
    pub(crate) fn open(disk: &dyn Disk, folder: &Path) -> Result<Option<StepsFile>, ReadError> {
        match earlier_steps(disk, folder)?.into_iter().next() {
            Some((_, path)) => StepsFile::open_at(disk, path),
            None => StepsFile::open_at(disk, folder.join(STEPS)),
        }
    }

    /// Steps of another suffix, which are not done, are kept beside those that are to be written.
    ///
    /// # Errors
    /// The disk.
    pub(crate) fn keep(disk: &dyn Disk, folder: &Path, epoch: EpochId) -> Result<(), ReadError> {
        let path = folder.join(STEPS);
        // What another attempt wrote of this suffix is written anew.
        let is_same = match StepsFile::open_at(disk, path.clone()) {
            Ok(None) => return Ok(()),
            Ok(Some(file)) => file.header.epoch == epoch,
            Err(ReadError::Damage(_)) => false,
            Err(error) => return Err(error),
        };
        if !is_same {
            let last = earlier_steps(disk, folder)?.last().map_or(0, |(number, _)| *number);
            disk.rename(&path, &folder.join(format!("{STEPS}.{}", last + 1)))?;
            disk.sync_dir(folder)?;
        }
        Ok(())
    }

    fn open_at(disk: &dyn Disk, path: PathBuf) -> Result<Option<StepsFile>, ReadError> {
        if !disk.exists(&path)? {
            return Ok(None);
        }
        let is_earlier = path.file_name().is_some_and(|name| name != STEPS);
        let file = disk.open(&path, OpenMode::Read)?;
        let mut bytes = vec![0; HEADER_BYTES];
        let found = file.read_at(0, &mut bytes)?;
        bytes.truncate(found);
        match StepsHeader::decode(&bytes) {
            Some(header) => Ok(Some(StepsFile { path, is_earlier, file, header })),
            None => Err(damage(&path, 0, "its header cannot be read").into()),
        }
    }

    /// All is done.
    pub(crate) fn remove(self, disk: &dyn Disk, folder: &Path) -> Result<(), DiskError> {
        disk.remove(&self.path)?;
        disk.sync_dir(folder)
    }

    /// Shows every step with its number, in order; those of destroyed accounts as `None`. An error
    /// of `visit` ends it and is handed on.
    pub(crate) fn visit<E: From<ReadError>>(
        &self,
        keys: &dyn Fn() -> Arc<KeyTableSnapshot>,
        visit: &mut dyn FnMut(u64, AccountNumber, Option<Step>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = u64_of(HEADER_BYTES);
        for number in 0..self.header.count {
            let (account, step, end) = self.step_at(at, number, &keys())?;
            visit(number, account, step)?;
            at = end;
        }
        Ok(())
    }

    fn step_at(
        &self,
        at: u64,
        number: u64,
        keys: &KeyTableSnapshot,
    ) -> Result<(AccountNumber, Option<Step>, u64), ReadError> {
        let broken = |what: String| damage(&self.path, at, &what);
        let mut head = [0; 16];
        if self.file.read_at(at, &mut head)? < head.len() {
            return Err(broken("it ends early".into()).into());
        }
        let mut from = Decoder::new(&head);
        let short = |_| broken("it ends early".into());
        let length = u32::from_le_bytes(from.array().map_err(short)?);
        let account = AccountNumber(from.u64().map_err(short)?);
        let generation = KeyGeneration(u32::from_le_bytes(from.array().map_err(short)?));
        let end = at + 4 + u64::from(length);
        let sealed_len = length.checked_sub(12).filter(|_| length <= STEP_BYTES_MAX);
        let sealed_len = sealed_len.filter(|_| end <= self.file.byte_count().unwrap_or(0));
        let sealed_len = sealed_len.ok_or_else(|| broken("a length is wrong".into()))?;
        let mut sealed = vec![0; usize_of_u32(sealed_len)];
        self.file.read_at(at + 16, &mut sealed)?;
        let key = match account {
            AccountNumber::VOLUME => keys.volume_key(),
            account => match keys.key(account, generation) {
                Some(key) => key,
                None => return Ok((account, None, end)),
            },
        };
        let name = name_of(self.header.epoch, number);
        let aad = Aad::Named { purpose: STEP, name: &name };
        let plain = open(key, aad, &sealed).map_err(|error| broken(error.to_string()))?;
        let step = Step::decode(&plain).map_err(|why| broken(why.to_owned()))?;
        Ok((account, Some(step), end))
    }
}

fn name_of(epoch: EpochId, number: u64) -> [u8; 24] {
    let mut name = [0; 24];
    let (id, rest) = name.split_at_mut(16);
    id.copy_from_slice(&epoch.0);
    rest.copy_from_slice(&number.to_le_bytes());
    name
}

fn damage(path: &Path, offset: u64, what: &str) -> Damage {
    Damage {
        file: path.to_path_buf(),
        offset,
        what: format!("what is to be merged is damaged: {what}; keep a copy of the file"),
    }
}
