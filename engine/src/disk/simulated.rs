//! A disk in memory that forgets what was not flushed, and fails on request.
//!
//! Every file keeps what its readers see (the cache), what the device holds, and the changes
//! between
//! the two. `sync_data` moves the changes to the device. Names have the same three parts, and
//! `sync_dir`
//! moves those of one folder. [`SimulatedDisk::images_after_power_loss`] gives disks as a power cut
//! may
//! leave them: each change that was not flushed is lost, kept, or torn at sectors of 512 bytes,
//! independently of all others; each change of a name happened or did not.
//!
//! Calls that change something are counted from 1: `create`, `rename`, `remove`, `create_dir_all`,
//! `sync_dir`, `write_at`, `set_byte_count`, `sync_data`. Everything random follows from one seed.
//!
//! # Invariants
//! 1. What was flushed is in every image.
//! 2. After a failed flush the changes are gone from the device for good, yet readers still see
//!    them,
//!    until `forget_cached`: as Linux does it.
//! 3. A call that the power cut interrupts may have happened in part.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Lock, OpenMode, failed};
use crate::error::DiskError;
use crate::width::{u64_of, usize_of};

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk in memory; clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// Which call a fault meets; each counts from 1 over the disk's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The n-th `write_at` fails and writes nothing.
    Write(u64),
    /// The n-th `write_at` writes the first half and fails.
    ShortWrite(u64),
    /// The n-th `sync_data` fails; what it should have flushed is lost.
    Flush(u64),
}

struct State {
    seed: u64,
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    durable_names: BTreeMap<PathBuf, usize>,
    durable_folders: BTreeSet<PathBuf>,
    name_changes: Vec<NameChange>,
    faults: BTreeSet<Fault>,
    cut_at_call: Option<u64>,
    is_off: bool,
    capacity_bytes: u64,
    calls: u64,
    writes: u64,
    flushes: u64,
}

#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone)]
enum NameChange {
    Folder(PathBuf),
    Named { path: PathBuf, file: usize },
    Removed { path: PathBuf },
    Renamed { from: PathBuf, to: PathBuf, file: usize },
}

impl SimulatedDisk {
    /// An empty disk with an endless capacity.
    pub fn new(seed: u64) -> SimulatedDisk {
        let roots = BTreeSet::from([PathBuf::from("/"), PathBuf::from(".")]);
        SimulatedDisk::with(State {
            seed,
            files: Vec::new(),
            names: BTreeMap::new(),
            folders: roots.clone(),
            durable_names: BTreeMap::new(),
            durable_folders: roots,
            name_changes: Vec::new(),
            faults: BTreeSet::new(),
            cut_at_call: None,
            is_off: false,
            capacity_bytes: u64::MAX,
            calls: 0,
            writes: 0,
            flushes: 0,
        })
    }

    fn with(state: State) -> SimulatedDisk {
        SimulatedDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power during the `call`-th changing call: it may happen in part, and it and all
    /// later calls fail.
    pub fn cut_power_at_call(&self, call: u64) {
        self.state.lock().cut_at_call = Some(call);
    }

    /// Lets a call fail.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.insert(fault);
    }

    /// Bytes that all files together may have; a write beyond fails with ENOSPC.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.state.lock().capacity_bytes = capacity_bytes;
    }

    /// Whether the power is gone.
    #[cfg(test)]
    pub(crate) fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// Bytes of all files that have a name.
    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// A file's length; 0 if there is none.
    #[cfg(test)]
    pub(crate) fn length(&self, path: &Path) -> u64 {
        let state = self.state.lock();
        let file = state.names.get(path).and_then(|file| state.files.get(*file));
        file.map_or(0, |content| u64_of(content.seen.len()))
    }

    /// Changing calls so far.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Calls of `write_at` so far.
    pub fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    /// Calls of `sync_data` so far.
    pub fn flushes(&self) -> u64 {
        self.state.lock().flushes
    }

    /// Flips one bit on the device and in the cache; does nothing behind the file's end.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        let mut state = self.state.lock();
        let Some(file) = state.names.get(path).copied() else { return };
        let Some(content) = state.files.get_mut(file) else { return };
        for bytes in [&mut content.seen, &mut content.durable] {
            if let Some(byte) = bytes.get_mut(usize_of(offset)) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// `count` disks as a power cut at this moment may leave them. The first lost everything that
    /// was
    /// not flushed, the second kept all of it, the others are drawn.
    pub fn images_after_power_loss(&self, count: usize) -> Vec<SimulatedDisk> {
        let state = self.state.lock();
        (0..count).map(|image| state.image(image)).collect()
    }

    /// This very disk after the process died and the power stayed: everything written is seen.
    pub fn image_after_kill(&self) -> SimulatedDisk {
        let state = self.state.lock();
        SimulatedDisk::with(State {
            seed: state.seed,
            files: state.files.clone(),
            names: state.names.clone(),
            folders: state.folders.clone(),
            durable_names: state.durable_names.clone(),
            durable_folders: state.durable_folders.clone(),
            name_changes: state.name_changes.clone(),
            faults: BTreeSet::new(),
            cut_at_call: None,
            is_off: false,
            capacity_bytes: u64::MAX,
            calls: 0,
            writes: 0,
            flushes: 0,
        })
    }
}

/// How one change meets a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Kept,
    Torn,
}

impl State {
    fn image(&self, image: usize) -> SimulatedDisk {
        let seed = self.seed ^ self.calls.rotate_left(20) ^ u64_of(image).rotate_left(40);
        let mut dice = Dice(seed);
        let fate = |dice: &mut Dice| match image {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => [Fate::Lost, Fate::Kept, Fate::Torn]
                .get(usize_of(dice.below(3)))
                .copied()
                .unwrap_or(Fate::Torn),
        };
        let files: Vec<Content> = self
            .files
            .iter()
            .map(|content| {
                let mut bytes = content.durable.clone();
                for change in &content.changes {
                    let fate = fate(&mut dice);
                    change.survive(&mut bytes, fate, &mut dice);
                }
                Content { seen: bytes.clone(), durable: bytes, changes: Vec::new() }
            })
            .collect();
        let mut names = self.durable_names.clone();
        let mut folders = self.durable_folders.clone();
        for change in &self.name_changes {
            let is_kept = match fate(&mut dice) {
                Fate::Lost => false,
                Fate::Kept => true,
                Fate::Torn => dice.below(2) == 0,
            };
            if is_kept {
                change.apply(&mut names, &mut folders);
            }
        }
        names.retain(|path, _| path.parent().is_none_or(|folder| folders.contains(folder)));
        SimulatedDisk::with(State {
            seed: dice.next(),
            files,
            names: names.clone(),
            folders: folders.clone(),
            durable_names: names,
            durable_folders: folders,
            name_changes: Vec::new(),
            faults: BTreeSet::new(),
            cut_at_call: None,
            is_off: false,
            capacity_bytes: u64::MAX,
            calls: 0,
            writes: 0,
            flushes: 0,
        })
    }

    /// Counts a changing call; the answer says whether the power goes during it.
    fn count_call(&mut self) -> Result<Power, io::Error> {
        if self.is_off {
            return Err(power_is_off());
        }
        self.calls += 1;
        if self.cut_at_call == Some(self.calls) {
            self.is_off = true;
            return Ok(Power::Goes);
        }
        Ok(Power::Stays)
    }

    fn change_name(&mut self, change: NameChange) -> Result<(), io::Error> {
        let power = self.count_call()?;
        change.apply(&mut self.names, &mut self.folders);
        self.name_changes.push(change);
        power.into_result()
    }

    fn change_content(&mut self, file: usize, change: Change) {
        if let Some(content) = self.files.get_mut(file) {
            change.apply(&mut content.seen);
            content.changes.push(change);
        }
    }

    fn used_bytes(&self) -> u64 {
        let used = |file: &usize| self.files.get(*file).map_or(0, |c| u64_of(c.seen.len()));
        self.names.values().map(used).sum()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Stays,
    Goes,
}

impl Power {
    fn into_result(self) -> Result<(), io::Error> {
        match self {
            Power::Stays => Ok(()),
            Power::Goes => Err(power_is_off()),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        self.survive(bytes, Fate::Kept, &mut Dice(0));
    }

    fn survive(&self, target: &mut Vec<u8>, fate: Fate, dice: &mut Dice) {
        match self {
            Change::Length(length) => {
                if fate == Fate::Kept || (fate == Fate::Torn && dice.below(2) == 0) {
                    target.resize(*length, 0);
                }
            }
            Change::Write { offset, bytes } => {
                let mut start = 0;
                while start < bytes.len() {
                    let in_sector = SECTOR_BYTES - (offset + start) % SECTOR_BYTES;
                    let end = bytes.len().min(start + in_sector);
                    if fate == Fate::Kept || (fate == Fate::Torn && dice.below(2) == 0) {
                        let piece = bytes.get(start..end).unwrap_or_default();
                        put(target, offset + start, piece);
                    }
                    start = end;
                }
            }
        }
    }
}

/// Writes `piece` at `offset`, with zeros in a gap before it.
fn put(target: &mut Vec<u8>, offset: usize, piece: &[u8]) {
    let end = offset + piece.len();
    if target.len() < end {
        target.resize(end, 0);
    }
    if let Some(place) = target.get_mut(offset..end) {
        place.copy_from_slice(piece);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>, folders: &mut BTreeSet<PathBuf>) {
        match self {
            NameChange::Folder(path) => {
                folders.insert(path.clone());
            }
            NameChange::Named { path, file } => {
                names.insert(path.clone(), *file);
            }
            NameChange::Removed { path } => {
                names.remove(path);
            }
            NameChange::Renamed { from, to, file } => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }

    fn is_in(&self, directory: &Path) -> bool {
        let path = match self {
            NameChange::Folder(path)
            | NameChange::Named { path, .. }
            | NameChange::Removed { path }
            | NameChange::Renamed { to: path, .. } => path,
        };
        path.parent() == Some(directory)
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        let problem = |cause| failed("create", path, None, cause);
        let mut state = self.state.lock();
        if state.names.contains_key(path) {
            return Err(problem(io::ErrorKind::AlreadyExists.into()));
        }
        if !path.parent().is_some_and(|folder| state.folders.contains(folder)) {
            return Err(problem(io::ErrorKind::NotFound.into()));
        }
        let file = state.files.len();
        state.files.push(Content::default());
        state.change_name(NameChange::Named { path: path.to_path_buf(), file }).map_err(problem)?;
        Ok(self.handle(file, path, OpenMode::ReadWrite))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, DiskError> {
        let problem = |cause| failed("open", path, None, cause);
        let state = self.state.lock();
        if state.is_off {
            return Err(problem(power_is_off()));
        }
        let file = state.names.get(path).copied();
        let file = file.ok_or_else(|| problem(io::ErrorKind::NotFound.into()))?;
        Ok(self.handle(file, path, mode))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let problem = |cause| failed("rename", from, None, cause);
        let mut state = self.state.lock();
        let file = state.names.get(from).copied();
        let file = file.ok_or_else(|| problem(io::ErrorKind::NotFound.into()))?;
        let change = NameChange::Renamed { from: from.to_path_buf(), to: to.to_path_buf(), file };
        state.change_name(change).map_err(problem)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let problem = |cause| failed("unlink", path, None, cause);
        let mut state = self.state.lock();
        if !state.names.contains_key(path) {
            return Err(problem(io::ErrorKind::NotFound.into()));
        }
        state.change_name(NameChange::Removed { path: path.to_path_buf() }).map_err(problem)
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, DiskError> {
        let problem = |cause| failed("readdir", directory, None, cause);
        let state = self.state.lock();
        if state.is_off {
            return Err(problem(power_is_off()));
        }
        if !state.folders.contains(directory) {
            return Err(problem(io::ErrorKind::NotFound.into()));
        }
        let paths = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(paths.cloned().collect())
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let mut missing: Vec<&Path> =
            directory.ancestors().filter(|folder| !state.folders.contains(*folder)).collect();
        missing.retain(|folder| !folder.as_os_str().is_empty());
        for folder in missing.into_iter().rev() {
            state
                .change_name(NameChange::Folder(folder.to_path_buf()))
                .map_err(|cause| failed("mkdir", directory, None, cause))?;
        }
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), DiskError> {
        let problem = |cause| failed("fsync", directory, None, cause);
        let mut state = self.state.lock();
        state.count_call().and_then(Power::into_result).map_err(problem)?;
        let changes = std::mem::take(&mut state.name_changes);
        let State { durable_names, durable_folders, name_changes, .. } = &mut *state;
        for change in changes {
            if change.is_in(directory) {
                change.apply(durable_names, durable_folders);
            } else {
                name_changes.push(change);
            }
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        let state = self.state.lock();
        if state.is_off {
            return Err(failed("stat", path, None, power_is_off()));
        }
        Ok(state.names.contains_key(path) || state.folders.contains(path))
    }

    fn lock(&self, _path: &Path) -> Result<Lock, DiskError> {
        // The processes of a simulation take turns.
        Ok(Lock::Taken(Box::new(())))
    }

    fn free_bytes(&self, _path: &Path) -> Result<u64, DiskError> {
        let state = self.state.lock();
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn copies_on_write(&self, _path: &Path) -> Result<bool, DiskError> {
        Ok(false)
    }
}

impl SimulatedDisk {
    fn handle(&self, file: usize, path: &Path, mode: OpenMode) -> Box<dyn DiskFile> {
        let state = self.state.clone();
        Box::new(SimulatedFile { state, file, path: path.to_path_buf(), mode })
    }
}

struct SimulatedFile {
    state: Arc<Mutex<State>>,
    file: usize,
    path: PathBuf,
    mode: OpenMode,
}

impl SimulatedFile {
    fn failed(&self, call: &'static str, offset: Option<u64>, cause: io::Error) -> DiskError {
        failed(call, &self.path, offset, cause)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), io::Error> {
        if self.mode == OpenMode::Read {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error()));
        }
        let mut state = self.state.lock();
        let power = state.count_call()?;
        state.writes += 1;
        let writes = state.writes;
        if state.faults.remove(&Fault::Write(writes)) {
            return Err(input_output_error());
        }
        let start = usize_of(offset);
        let length = state.files.get(self.file).map_or(0, |content| content.seen.len());
        let grows = u64_of((start + bytes.len()).saturating_sub(length));
        if state.used_bytes().saturating_add(grows) > state.capacity_bytes {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
        }
        if state.faults.remove(&Fault::ShortWrite(writes)) {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec();
            state.change_content(self.file, Change::Write { offset: start, bytes: half });
            return Err(io::Error::new(io::ErrorKind::WriteZero, "half of it was written"));
        }
        let change = Change::Write { offset: start, bytes: bytes.to_vec() };
        state.change_content(self.file, change);
        power.into_result()
    }

    fn flush(&self) -> Result<(), io::Error> {
        let mut state = self.state.lock();
        // A cut during a flush leaves any part of the changes, which is what images do anyway.
        state.count_call()?.into_result()?;
        state.flushes += 1;
        let flushes = state.flushes;
        let fails = state.faults.remove(&Fault::Flush(flushes));
        let Some(content) = state.files.get_mut(self.file) else { return Ok(()) };
        let changes = std::mem::take(&mut content.changes);
        if fails {
            return Err(input_output_error());
        }
        for change in &changes {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.state.lock();
        if state.is_off {
            return Err(self.failed("pread", Some(offset), power_is_off()));
        }
        let seen = state.files.get(self.file).map_or(&[][..], |content| &content.seen);
        let rest = seen.get(usize_of(offset)..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..count), rest.get(..count)) {
            target.copy_from_slice(source);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write(offset, bytes).map_err(|cause| self.failed("pwrite", Some(offset), cause))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.flush().map_err(|cause| self.failed("fdatasync", None, cause))
    }

    fn byte_count(&self) -> Result<u64, DiskError> {
        let state = self.state.lock();
        if state.is_off {
            return Err(self.failed("fstat", None, power_is_off()));
        }
        Ok(state.files.get(self.file).map_or(0, |content| u64_of(content.seen.len())))
    }

    fn set_byte_count(&self, byte_count: u64) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let problem = |cause| self.failed("ftruncate", Some(byte_count), cause);
        let power = state.count_call().map_err(problem)?;
        state.change_content(self.file, Change::Length(usize_of(byte_count)));
        power.into_result().map_err(problem)
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        if let Some(content) = state.files.get_mut(self.file)
            && content.changes.is_empty()
        {
            content.seen = content.durable.clone();
        }
        Ok(())
    }
}

/// SplitMix64: enough to draw fates from a seed, and the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    #[cfg(test)]
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::durable;

    fn read(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
        durable::read_file(disk, Path::new(path), 1 << 20).ok().flatten()
    }

    #[test]
    fn what_was_flushed_is_in_every_image_and_what_was_not_in_some() {
        let disk = SimulatedDisk::new(7);
        let file = disk.create(Path::new("/log")).unwrap();
        file.write_at(0, &[1; 2048]).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(1024, &[2; 2048]).unwrap();
        let images = disk.images_after_power_loss(64);
        let found: BTreeSet<Vec<u8>> =
            images.iter().map(|image| read(image, "/log").unwrap()).collect();
        assert!(found.iter().all(|bytes| bytes[..1024] == [1; 1024]), "flushed bytes stay");
        assert!(found.contains(&vec![1; 2048]), "all lost");
        assert!(found.len() > 4, "torn in several ways: {}", found.len());
    }

    #[test]
    fn a_name_that_was_not_flushed_may_be_missing() {
        let disk = SimulatedDisk::new(8);
        let file = disk.create(Path::new("/a")).unwrap();
        file.write_at(0, b"x").unwrap();
        file.sync_data().unwrap();
        let images = disk.images_after_power_loss(2);
        assert_eq!(read(&images[0], "/a"), None);
        assert_eq!(read(&images[1], "/a").as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn a_failed_flush_loses_the_bytes_although_they_can_still_be_read() {
        let disk = SimulatedDisk::new(9);
        let file = disk.create(Path::new("/a")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_at(0, b"mail").unwrap();
        disk.inject(Fault::Flush(1));
        assert!(file.sync_data().is_err());
        file.sync_data().expect("the second flush lies, as Linux does");
        assert_eq!(read(&disk, "/a").as_deref(), Some(&b"mail"[..]));
        assert_eq!(read(&disk.images_after_power_loss(2)[1], "/a").as_deref(), Some(&b""[..]));
        file.forget_cached().unwrap();
        assert_eq!(read(&disk, "/a").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn faults_meet_the_call_they_were_meant_for() {
        let disk = SimulatedDisk::new(10);
        let file = disk.create(Path::new("/a")).unwrap();
        disk.inject(Fault::Write(2));
        disk.inject(Fault::ShortWrite(3));
        file.write_at(0, b"12").unwrap();
        assert!(file.write_at(0, b"34").is_err());
        assert!(file.write_at(0, b"56").is_err());
        assert_eq!(read(&disk, "/a").as_deref(), Some(&b"52"[..]));
        disk.set_capacity_bytes(4);
        let error = file.write_at(2, b"789").unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::StorageFull);
        disk.cut_power_at_call(disk.calls() + 1);
        assert!(file.sync_data().is_err());
        assert!(file.read_at(0, &mut [0]).is_err(), "nothing works without power");
    }

    #[test]
    fn a_replaced_file_is_the_old_or_the_new_one_wherever_the_power_is_cut() {
        for call in 1.. {
            let disk = SimulatedDisk::new(call);
            let path = Path::new("/store/config");
            durable::create_dir_durable(&disk, Path::new("/store")).unwrap();
            durable::replace_file(&disk, path, &[1; 3000]).unwrap();
            disk.cut_power_at_call(disk.calls() + call);
            let done = durable::replace_file(&disk, path, &[2; 5000]).is_ok();
            for image in disk.images_after_power_loss(32) {
                let found = read(&image, "/store/config").expect("it has a content");
                let is_new = found == [2; 5000];
                assert!(is_new || (!done && found == [1; 3000]), "cut at call {call}");
                durable::replace_file(&image, path, b"3").expect("leftovers do no harm");
            }
            if done {
                break;
            }
        }
    }
}
