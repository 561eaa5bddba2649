//! The node that wants it: files come piece by piece, each in its order, and are kept over a stop.
//!
//! # What can go wrong
//! The stream is cut, or the process ends: what has a name stays and is not asked for again; of the
//! file that was coming, the lender is asked whether its beginning is right. The lender has another
//! checkpoint meanwhile: so is every file. The disk is full: it is said, nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::loan::{hash_of, read_offer};
use super::offer::{Folder, Offer, OfferedFile, PIECE_BYTES_MAX};
use crate::check::{FlawKind, ScanStep, SegmentScan};
use crate::disk::{Disk, DiskFile, OpenMode, durable};
use crate::error::{DiskError, ReadError};
use crate::ids::Lsn;
use crate::log::SegmentNumber;
use crate::state::KeptTables;
use crate::way_back::{HeldFolders, RewindOrder};
use crate::width::{u32_of, u64_of, usize_of_u32};

const ARRIVING: &str = "arriving";
/// Where the files are, below `held`.
pub(super) const COPY: &str = "copy";
/// Disk that is left alone, beside what the copy takes.
const ROOM_BYTES: u64 = 64 << 20;

/// Why a copy does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// The other node's offer is none.
    #[error("what the other node offers cannot be read: {0}")]
    NoOffer(&'static str),
    /// There is no room for it.
    #[error(
        "the full copy takes {needed} bytes more, and the disk has {free}; make room, or empty the \
         data directory and join anew"
    )]
    NoRoom {
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },
    /// What came was not asked for.
    #[error("the other node sent file {file} at {offset}, which was not asked for")]
    NotAsked {
        /// The file's place in the offer.
        file: u32,
        /// Where in it.
        offset: u64,
    },
    /// The disk, or tables that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<DiskError> for ArrivalError {
    fn from(error: DiskError) -> ArrivalError {
        ArrivalError::Read(error.into())
    }
}

/// What the lender is asked for next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// A piece of a file.
    Piece {
        /// The file's place in the offer.
        file: u32,
        /// Where in it.
        offset: u64,
        /// Bytes.
        length: u32,
    },
    /// Whether the file begins with so many bytes of that BLAKE3; nothing more is asked before that
    /// is known.
    Check {
        /// The file's place in the offer.
        file: u32,
        /// Bytes.
        length: u64,
        /// Of them.
        hash: [u8; 32],
    },
}

/// A file that is being written.
struct Writing {
    file: u32,
    path: PathBuf,
    open: Box<dyn DiskFile>,
    offset: u64,
}

/// A copy on its way to this node.
pub struct Arrival {
    disk: Arc<dyn Disk>,
    kept: Arc<dyn KeptTables>,
    folders: HeldFolders,
    offer: Offer,
    /// The next file and place to ask for.
    ask: (u32, u64),
    /// What is there of the file was looked at.
    is_begun: bool,
    is_checking: bool,
    writing: Option<Writing>,
    arrived: u64,
    /// Files that are complete.
    done: u32,
}

impl Arrival {
    /// Begins with that offer, or goes on with it.
    ///
    /// # Errors
    /// [`ArrivalError`]; what had arrived before stays.
    pub(crate) fn begin(
        (disk, kept): (&Arc<dyn Disk>, &Arc<dyn KeptTables>),
        folders: &HeldFolders,
        offer: &[u8],
    ) -> Result<Arrival, ArrivalError> {
        let offer = Offer::decode(offer).map_err(ArrivalError::NoOffer)?;
        let arrival = Arrival {
            disk: Arc::clone(disk),
            kept: Arc::clone(kept),
            folders: folders.clone(),
            offer,
            ask: (0, 0),
            is_begun: false,
            is_checking: false,
            writing: None,
            arrived: 0,
            done: 0,
        };
        for folder in Folder::ALL {
            durable::create_dir_durable(disk.as_ref(), &arrival.copy().join(folder.name()))?;
        }
        let path = folders.held.join(ARRIVING);
        let before = read_offer(disk.as_ref(), &path)?;
        if before.is_none_or(|before| before.id != arrival.offer.id) {
            arrival.doubt_all()?;
            durable::replace_file(disk.as_ref(), &path, &arrival.offer.encode())?;
        }
        arrival.refuse_without_room()?;
        Ok(arrival)
    }

    fn copy(&self) -> PathBuf {
        self.folders.held.join(COPY)
    }

    /// What is there is of another checkpoint: what the offer does not name goes, and the rest may
    /// be something else of the same name.
    fn doubt_all(&self) -> Result<(), DiskError> {
        let disk = self.disk.as_ref();
        let named: std::collections::HashSet<PathBuf> =
            self.offer.files.iter().map(|file| file.path(&self.copy())).collect();
        for folder in Folder::ALL {
            let folder = self.copy().join(folder.name());
            for path in disk.list(&folder)? {
                let is_unfinished =
                    path.extension().is_some_and(|ending| ending == durable::UNFINISHED);
                let whole = if is_unfinished { path.with_extension("") } else { path.clone() };
                match (named.contains(&whole), is_unfinished) {
                    (true, true) => {}
                    (true, false) => disk.rename(&path, &durable::unfinished(&path))?,
                    (false, _) => disk.remove(&path)?,
                }
            }
            disk.sync_dir(&folder)?;
        }
        Ok(())
    }

    fn refuse_without_room(&self) -> Result<(), ArrivalError> {
        let free = self.disk.free_bytes(&self.folders.held)?;
        let mut there = 0;
        for folder in Folder::ALL {
            for path in self.disk.list(&self.copy().join(folder.name()))? {
                there += self.disk.open(&path, OpenMode::Read)?.byte_count()?;
            }
        }
        let needed = self.offer.byte_count().saturating_sub(there);
        match needed.saturating_add(ROOM_BYTES) > free {
            true => Err(ArrivalError::NoRoom { needed, free }),
            false => Ok(()),
        }
    }

    /// Where the copy ends.
    pub fn at(&self) -> Lsn {
        self.offer.at.lsn
    }

    /// Bytes that are here, of how many.
    pub fn progress(&self) -> (u64, u64) {
        (self.arrived, self.offer.byte_count())
    }

    /// Whether all of it is here.
    pub fn is_complete(&self) -> bool {
        usize_of_u32(self.done) == self.offer.files.len()
    }

    fn file(&self, number: u32) -> Option<&OfferedFile> {
        self.offer.files.get(usize_of_u32(number))
    }

    /// What is to be asked for; `None`: nothing before an answer has come.
    ///
    /// # Errors
    /// The disk.
    pub fn next_ask(&mut self) -> Result<Option<Ask>, ArrivalError> {
        while !self.is_checking {
            let (number, offset) = self.ask;
            let Some(file) = self.file(number).cloned() else { return Ok(None) };
            let path = file.path(&self.copy());
            if !self.is_begun {
                if self.disk.exists(&path)? {
                    self.arrived += file.bytes;
                    self.done += 1;
                    self.ask = (number + 1, 0);
                    continue;
                }
                self.is_begun = true;
                if let Some(check) = self.look_at_beginning(number, &file, &path)? {
                    self.is_checking = true;
                    return Ok(Some(check));
                }
            }
            if offset < file.bytes {
                let length = (file.bytes - offset).min(u64::from(PIECE_BYTES_MAX));
                self.ask.1 += length;
                return Ok(Some(Ask::Piece { file: number, offset, length: u32_of_u64(length) }));
            }
            if file.bytes == 0 {
                self.end_without_pieces(number, &file)?;
            }
            (self.ask, self.is_begun) = ((number + 1, 0), false);
        }
        Ok(None)
    }

    /// What is there of a file that has no name yet.
    fn look_at_beginning(
        &self,
        number: u32,
        file: &OfferedFile,
        path: &Path,
    ) -> Result<Option<Ask>, ArrivalError> {
        let unfinished = durable::unfinished(path);
        if !self.disk.exists(&unfinished)? {
            return Ok(None);
        }
        let open = self.disk.open(&unfinished, OpenMode::ReadWrite)?;
        let length = open.byte_count()?.min(file.bytes);
        match hash_of(open.as_ref(), length)? {
            Some(hash) if length > 0 => Ok(Some(Ask::Check { file: number, length, hash })),
            _ => Ok(None),
        }
    }

    /// The lender has said whether what was asked is so.
    ///
    /// # Errors
    /// [`ArrivalError`].
    pub fn take_checked(&mut self, file: u32, is_same: bool) -> Result<(), ArrivalError> {
        let offered = self.file(file).cloned();
        let (true, Some(offered)) = (self.is_checking && self.ask.0 == file, offered) else {
            return Err(ArrivalError::NotAsked { file, offset: 0 });
        };
        self.is_checking = false;
        let path = durable::unfinished(&offered.path(&self.copy()));
        if !is_same {
            self.disk.remove(&path)?;
            return Ok(());
        }
        let there = self.disk.open(&path, OpenMode::Read)?.byte_count()?.min(offered.bytes);
        self.ask.1 = there;
        self.arrived += there;
        if there == offered.bytes {
            self.end_without_pieces(file, &offered)?;
            (self.ask, self.is_begun) = ((file + 1, 0), false);
        }
        Ok(())
    }

    /// A piece has come. They come in the order in which they were asked for.
    ///
    /// # Errors
    /// [`ArrivalError`].
    pub fn take_piece(&mut self, file: u32, offset: u64, bytes: &[u8]) -> Result<(), ArrivalError> {
        let not_asked = || ArrivalError::NotAsked { file, offset };
        let offered = self.file(file).cloned().ok_or_else(not_asked)?;
        let end = offset.saturating_add(u64_of(bytes.len()));
        if end > offered.bytes || (file, end) > self.asked() || bytes.is_empty() {
            return Err(not_asked());
        }
        let mut writing = match self.writing.take() {
            Some(writing) => writing,
            None => self.begin_writing(file, offset)?,
        };
        if (writing.file, writing.offset) != (file, offset) {
            return Err(not_asked());
        }
        writing.open.write_at(offset, bytes)?;
        writing.offset = end;
        self.arrived += u64_of(bytes.len());
        match end == offered.bytes {
            true => self.end_file(writing, offered.folder),
            false => {
                self.writing = Some(writing);
                Ok(())
            }
        }
    }

    /// Behind the last byte that was asked for.
    fn asked(&self) -> (u32, u64) {
        match self.ask {
            (file, 0) if file > 0 => (file - 1, u64::MAX),
            ask => ask,
        }
    }

    fn begin_writing(&self, number: u32, offset: u64) -> Result<Writing, ArrivalError> {
        let not_asked = || ArrivalError::NotAsked { file: number, offset };
        let path = self.file(number).ok_or_else(not_asked)?.path(&self.copy());
        let unfinished = durable::unfinished(&path);
        let open = match self.disk.exists(&unfinished)? {
            true => self.disk.open(&unfinished, OpenMode::ReadWrite)?,
            false => self.disk.create(&unfinished)?,
        };
        let there = open.byte_count()?;
        if there < offset {
            return Err(not_asked());
        }
        // What is behind was of another file.
        if there > offset {
            open.set_byte_count(offset)?;
        }
        Ok(Writing { file: number, path, open, offset })
    }

    /// A file that is there already, or is empty.
    fn end_without_pieces(&mut self, number: u32, file: &OfferedFile) -> Result<(), ArrivalError> {
        let writing = self.begin_writing(number, file.bytes)?;
        self.end_file(writing, file.folder)
    }

    /// All of a file is here.
    fn end_file(&mut self, writing: Writing, folder: Folder) -> Result<(), ArrivalError> {
        if let Err(error) = writing.open.sync_data() {
            // Its pages may be gone from the disk, and what is read of it still be right: another
            // flush would succeed for bytes that are not there.
            let _ = self.disk.remove(&durable::unfinished(&writing.path));
            return Err(error.into());
        }
        if folder == Folder::Log {
            self.verify(&writing.path)?;
        }
        self.disk.rename(&durable::unfinished(&writing.path), &writing.path)?;
        self.done += 1;
        Ok(())
    }

    /// Says what is damaged in a segment: it came as the lender has it.
    fn verify(&self, path: &Path) -> Result<(), ArrivalError> {
        let Some(number) = SegmentNumber::of(path) else { return Ok(()) };
        let unfinished = durable::unfinished(path);
        let disk = self.disk.as_ref();
        let begun = SegmentScan::begin_file(disk, &unfinished, number, self.folders.volume)?;
        let flaws = match begun {
            Err(flaw) => vec![flaw],
            Ok(mut scan) => {
                while scan.step(&mut |_, _| {})? != ScanStep::Done {}
                scan.finish().flaws
            }
        };
        // The last segment ends where the copy does, without a footer.
        for flaw in flaws.into_iter().filter(|flaw| flaw.kind != FlawKind::Footer) {
            tracing::error!(
                segment = number.place(), from = flaw.from, to = flaw.to, first = %flaw.first,
                last = %flaw.last,
                "damage came with the full copy: {}; run 'pillarbox check' on the other node",
                flaw.what
            );
        }
        Ok(())
    }

    /// All of it is here: opening takes it from now on. Nothing may be written to the volume any
    /// more before.
    ///
    /// # Errors
    /// [`ArrivalError`]; it can be repeated.
    pub(crate) fn finish(&self) -> Result<(), ArrivalError> {
        let (disk, copy) = (self.disk.as_ref(), self.copy());
        for folder in Folder::ALL {
            disk.sync_dir(&copy.join(folder.name()))?;
        }
        self.kept.import(disk, &copy.join(Folder::State.name()))?;
        let order = RewindOrder { common: self.offer.at, takes_copy: true };
        order.write(disk, &self.folders.way_back)?;
        Ok(())
    }
}

fn u32_of_u64(number: u64) -> u32 {
    u32_of(crate::width::usize_of(number))
}

/// Whether a copy was on its way when this node stopped.
pub(crate) fn arrives(disk: &dyn Disk, held: &Path) -> Result<bool, DiskError> {
    disk.exists(&held.join(ARRIVING))
}

/// No copy is on its way any more; its files stay.
pub(crate) fn drop_arrival(disk: &dyn Disk, held: &Path) -> Result<(), DiskError> {
    let path = held.join(ARRIVING);
    if disk.exists(&path)? {
        disk.remove(&path)?;
        disk.sync_dir(held)?;
    }
    Ok(())
}

/// Removes the files of a copy.
pub(crate) fn empty_copy(
    disk: &dyn Disk,
    kept: &dyn KeptTables,
    held: &Path,
) -> Result<(), DiskError> {
    let copy = held.join(COPY);
    let removed = kept.remove(&copy.join(Folder::State.name()));
    removed.map_err(|error| DiskError {
        call: "remove",
        path: copy.join(Folder::State.name()),
        offset: None,
        cause: std::io::Error::other(error.to_string()),
    })?;
    for folder in Folder::ALL {
        let folder = copy.join(folder.name());
        if disk.exists(&folder)? {
            crate::way_back::remove_files(disk, &folder)?;
        }
    }
    Ok(())
}
