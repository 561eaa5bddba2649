//! The node that has it: a checkpoint is put aside for the copy, and read in pieces.
//!
//! # What can go wrong
//! Second names cannot be made, or the disk is full: there is no loan, and it is said why. The disk
//! becomes full while it is lent: it is ended, the copy begins anew when there is room.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::arrival::{arrives, drop_arrival, empty_copy};
use super::offer::{Folder, Offer, OfferedFile, PIECE_BYTES_MAX};
use crate::disk::{Disk, DiskFile, OpenMode, durable};
use crate::error::{DiskError, ReadError};
use crate::ids::Lsn;
use crate::log::{GroupHash, SegmentFile, SegmentNumber};
use crate::pair::{Position, offset_behind};
use crate::seal::Sealer;
use crate::state::{CheckpointStamp, KeptTables, TableStore};
use crate::way_back::{HeldFolders, link_all};
use crate::width::{u64_of, usize_of, usize_of_u32};

const LENT: &str = "lent";
/// Bytes of an offer's file.
pub(super) const OFFER_BYTES_MAX: usize = 64 << 20;
/// Bytes that are hashed at a time.
const HASH_BYTES: usize = 1 << 20;

/// Why nothing is lent.
#[derive(Debug, thiserror::Error)]
pub enum LoanError {
    /// There is no loan, or not any more.
    #[error("nothing is lent for a full copy; it has to begin anew")]
    NotLent,
    /// No checkpoint could be made to be lent.
    #[error("no checkpoint could be put aside for a full copy: {0}")]
    NotMade(String),
    /// The file is not part of it.
    #[error("file {file} at {offset} is not part of what is lent")]
    NoSuchPiece {
        /// The file's place in the offer.
        file: u32,
        /// Where in it.
        offset: u64,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What is lent, if anything.
pub(crate) struct Loan {
    disk: Arc<dyn Disk>,
    kept: Arc<dyn KeptTables>,
    folders: HeldFolders,
    sealer: Sealer,
    current: Mutex<Option<Arc<Offer>>>,
    /// The next checkpoint is to be lent.
    wanted: AtomicBool,
    /// Why the last one could not be.
    failed: Mutex<Option<String>>,
    /// The file that was read last.
    open: Mutex<Option<(PathBuf, Box<dyn DiskFile>)>>,
}

impl Loan {
    /// What an opening found.
    pub(crate) fn load(
        (disk, kept): (&Arc<dyn Disk>, &Arc<dyn KeptTables>),
        folders: HeldFolders,
        sealer: &Sealer,
    ) -> Result<Loan, DiskError> {
        let path = folders.held.join(LENT);
        let current = read_offer(disk.as_ref(), &path)?;
        Ok(Loan {
            disk: Arc::clone(disk),
            kept: Arc::clone(kept),
            folders,
            sealer: sealer.clone(),
            current: Mutex::new(current.map(Arc::new)),
            wanted: AtomicBool::new(false),
            failed: Mutex::default(),
            open: Mutex::default(),
        })
    }

    /// Removes files of a copy that nothing names, as an end leaves them that a stop cut short.
    pub(crate) fn remove_leftovers(&self) -> Result<(), DiskError> {
        let (disk, held) = (self.disk.as_ref(), &self.folders.held);
        match self.current().is_some() || arrives(disk, held)? {
            true => Ok(()),
            false => empty_copy(disk, self.kept.as_ref(), held),
        }
    }

    fn copy(&self) -> PathBuf {
        self.folders.held.join(super::arrival::COPY)
    }

    /// What is lent.
    pub(crate) fn current(&self) -> Option<Arc<Offer>> {
        self.current.lock().clone()
    }

    /// Everything above that stays as it was written; [`Lsn::MAX`]: nothing must.
    pub(crate) fn floor(&self) -> Lsn {
        self.current.lock().as_ref().map_or(Lsn::MAX, |offer| offer.at.lsn)
    }

    /// Whether a segment keeps its bytes for the sake of what is lent.
    pub(crate) fn has_segment(&self, number: SegmentNumber) -> Result<bool, DiskError> {
        if self.current.lock().is_none() {
            return Ok(false);
        }
        self.disk.exists(&number.path(&self.copy().join(Folder::Log.name())))
    }

    /// The next checkpoint is lent.
    pub(crate) fn want(&self) {
        *self.failed.lock() = None;
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Why it was not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.lock().take()
    }

    /// A checkpoint was flushed: it is lent, if that is wanted.
    pub(crate) fn renew(&self, stamp: CheckpointStamp, tables: &dyn TableStore) {
        if !self.wanted.swap(false, Ordering::SeqCst) {
            return;
        }
        match self.make(stamp, tables) {
            Ok(offer) => *self.current.lock() = Some(Arc::new(offer)),
            Err(error) => {
                tracing::warn!(%error, "no checkpoint could be put aside for a full copy");
                *self.failed.lock() = Some(error.to_string());
            }
        }
    }

    fn make(&self, stamp: CheckpointStamp, tables: &dyn TableStore) -> Result<Offer, ReadError> {
        let (disk, copy) = (self.disk.as_ref(), self.copy());
        self.end()?;
        // A copy that this node wanted is of no use to a primary.
        drop_arrival(disk, &self.folders.held)?;
        empty_copy(disk, self.kept.as_ref(), &self.folders.held)?;
        let folder = |folder: Folder| copy.join(folder.name());
        let at = Position { lsn: stamp.lsn, hash: GroupHash(stamp.group_hash) };
        let linked = link_all(disk, &self.folders.log, &folder(Folder::Log))?;
        if disk.exists(&self.folders.index)? {
            link_all(disk, &self.folders.index, &folder(Folder::Index))?;
        }
        tables.keep(&folder(Folder::State))?;
        self.kept.export(disk, &folder(Folder::State))?;
        let mut files = self.segments(&linked, at)?;
        for of in [Folder::Index, Folder::State] {
            files.extend(self.files(of, &folder(of))?);
        }
        files.sort_unstable();
        let offer = Offer { id: self.sealer.random_id(), at, files };
        let bytes = offer.encode();
        // What is too large to be read again is too large to be lent.
        if bytes.len() > OFFER_BYTES_MAX || Offer::decode(&bytes).is_err() {
            return Err(ReadError::Table("it has more files than a copy may have".to_owned()));
        }
        durable::replace_file(disk, &self.folders.held.join(LENT), &bytes)?;
        Ok(offer)
    }

    /// The segments up to the checkpoint, the last one cut behind it.
    fn segments(&self, linked: &[PathBuf], at: Position) -> Result<Vec<OfferedFile>, ReadError> {
        let disk = self.disk.as_ref();
        let numbers = linked.iter().filter_map(|path| SegmentNumber::of(path));
        let mut numbers: Vec<SegmentNumber> = numbers.collect();
        numbers.sort_unstable_by_key(|number| (number.place(), number.generation()));
        let own = self.copy().join(Folder::Log.name());
        let offered = |number: SegmentNumber, bytes| OfferedFile {
            folder: Folder::Log,
            name: name_of(&number.path(&own)),
            bytes,
        };
        let mut files = Vec::new();
        while let Some(number) = numbers.pop() {
            let file = SegmentFile::open_cached(disk, &number.path(&own))?;
            let is_behind = files.is_empty();
            match offset_behind(&file, at)? {
                Some(end) if is_behind => files.push(offered(number, end)),
                // It begins behind the checkpoint.
                None if is_behind => {}
                _ => files.push(offered(number, file.byte_count)),
            }
        }
        if files.is_empty() {
            return Err(ReadError::Table(format!("the group at {} is not in the log", at.lsn)));
        }
        Ok(files)
    }

    fn files(&self, of: Folder, folder: &Path) -> Result<Vec<OfferedFile>, DiskError> {
        let disk = self.disk.as_ref();
        if !disk.exists(folder)? {
            return Ok(Vec::new());
        }
        let file = |path: PathBuf| -> Result<OfferedFile, DiskError> {
            let bytes = disk.open(&path, OpenMode::Read)?.byte_count()?;
            Ok(OfferedFile { folder: of, name: name_of(&path), bytes })
        };
        disk.list(folder)?.into_iter().map(file).collect()
    }

    /// A piece of a file.
    ///
    /// # Errors
    /// [`LoanError`].
    pub(crate) fn piece(&self, file: u32, offset: u64, length: u32) -> Result<Vec<u8>, LoanError> {
        let no_such = LoanError::NoSuchPiece { file, offset };
        let (path, bytes) = self.offered(file, offset)?;
        let left = bytes.saturating_sub(offset).min(u64::from(length.min(PIECE_BYTES_MAX)));
        if left == 0 {
            return Err(no_such);
        }
        let mut piece = vec![0; usize_of(left)];
        let mut open = self.open.lock();
        let opened = match open.take().filter(|(opened, _)| *opened == path) {
            Some((_, opened)) => opened,
            None => self.disk.open(&path, OpenMode::Read)?,
        };
        let found = opened.read_at(offset, &mut piece)?;
        *open = Some((path, opened));
        if found < piece.len() {
            return Err(no_such);
        }
        Ok(piece)
    }

    /// Whether a file begins with that many bytes of that hash.
    ///
    /// # Errors
    /// [`LoanError`].
    pub(crate) fn begins_with(
        &self,
        file: u32,
        length: u64,
        hash: [u8; 32],
    ) -> Result<bool, LoanError> {
        let (path, bytes) = self.offered(file, length)?;
        if length > bytes {
            return Ok(false);
        }
        let opened = self.disk.open(&path, OpenMode::Read)?;
        Ok(hash_of(opened.as_ref(), length)? == Some(hash))
    }

    fn offered(&self, file: u32, offset: u64) -> Result<(PathBuf, u64), LoanError> {
        let offer = self.current().ok_or(LoanError::NotLent)?;
        let offered = offer.files.get(usize_of_u32(file));
        let offered = offered.ok_or(LoanError::NoSuchPiece { file, offset })?;
        Ok((offered.path(&self.copy()), offered.bytes))
    }

    /// Nothing is lent any more; its files lose their second names.
    pub(crate) fn end(&self) -> Result<bool, DiskError> {
        let was_lent = self.current.lock().take().is_some();
        *self.open.lock() = None;
        let path = self.folders.held.join(LENT);
        if self.disk.exists(&path)? {
            self.disk.remove(&path)?;
            self.disk.sync_dir(&self.folders.held)?;
        }
        if was_lent {
            empty_copy(self.disk.as_ref(), self.kept.as_ref(), &self.folders.held)?;
        }
        Ok(was_lent)
    }

    /// Ends it where the disk has no more room than `reserve`.
    pub(crate) fn end_if_short(&self, free: u64, reserve: u64) -> Result<(), DiskError> {
        if reserve > 0 && free < reserve && self.end()? {
            tracing::warn!("the disk is nearly full: the full copy for the other node is given up");
        }
        Ok(())
    }
}

/// The offer in a file; one that cannot be read counts as none.
pub(super) fn read_offer(disk: &dyn Disk, path: &Path) -> Result<Option<Offer>, DiskError> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let bytes = durable::read_file(disk, path, OFFER_BYTES_MAX)?;
    Ok(bytes.and_then(|bytes| Offer::decode(&bytes).ok()))
}

/// BLAKE3 of a file's first bytes, if it has so many.
pub(super) fn hash_of(file: &dyn DiskFile, length: u64) -> Result<Option<[u8; 32]>, DiskError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASH_BYTES];
    let mut at = 0;
    while at < length {
        let wanted = usize_of((length - at).min(u64_of(HASH_BYTES)));
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        let found = file.read_at(at, piece)?;
        if found < wanted {
            return Ok(None);
        }
        hasher.update(piece);
        at += u64_of(found);
    }
    Ok(Some(*hasher.finalize().as_bytes()))
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned()
}
