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
//! A write that the device puts elsewhere ([`Fault::Misdirect`]) is seen by readers as it was
//! meant, because they read the cache; the device shows it after the power went.
//!
//! Calls that change something are counted from 1: `create`, `rename`, `link`, `remove`,
//! `create_dir_all`, `sync_dir`, `write_at`, `set_byte_count`, `sync_data`. Everything random
//! follows from one seed.
//!
//! # Invariants
//! 1. What was flushed is in every image.
//! 2. After a failed flush the changes are gone from the device for good, yet readers still see
//!    them,
//!    until `forget_cached`: as Linux does it.
//! 3. A call that the power cut interrupts may have happened in part.
//! 4. A `remove`, `rename` or `sync_dir` that failed shows no effect while the power stays; what it
//!    should have changed may be there all the same after a cut, until the next `sync_dir`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) use super::dice::Dice;
use super::faults::Calls;
pub use super::faults::{Fault, Misdirection};
use super::{Disk, DiskFile, Lock, OpenMode, failed};
use crate::error::DiskError;
use crate::width::{u64_of, usize_of};

/// What a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Where a misdirected write begins is a multiple of this.
const PAGE_BYTES: usize = 4096;

/// A disk in memory; clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    seed: u64,
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    durable_names: BTreeMap<PathBuf, usize>,
    durable_folders: BTreeSet<PathBuf>,
    name_changes: Vec<(NameChange, Seen)>,
    calls: Calls,
    misdirected: Vec<Misdirection>,
    cut_at_call: Option<u64>,
    is_off: bool,
    capacity_bytes: u64,
    /// Whether `free_bytes` tells of the capacity.
    tells_capacity: bool,
}

/// Whether a change of a name took effect while the power stays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Yes,
    No,
}

#[derive(Clone, Default)]
struct Content {
    // Shared by all images that changed nothing in the file.
    seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
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
            calls: Calls::default(),
            misdirected: Vec::new(),
            cut_at_call: None,
            is_off: false,
            capacity_bytes: u64::MAX,
            tells_capacity: true,
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
        self.state.lock().calls.faults.insert(fault);
    }

    /// Lets everything succeed again that was still to fail.
    pub fn forget_faults(&self) {
        self.state.lock().calls.faults.clear();
    }

    /// Bytes that all files together may have; a write beyond fails with ENOSPC.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        let mut state = self.state.lock();
        (state.capacity_bytes, state.tells_capacity) = (capacity_bytes, true);
    }

    /// The same, but `free_bytes` does not tell: another process will have taken the space.
    pub fn set_hidden_capacity_bytes(&self, capacity_bytes: u64) {
        let mut state = self.state.lock();
        (state.capacity_bytes, state.tells_capacity) = (capacity_bytes, false);
    }

    /// Writes that the device put elsewhere, in this world and those that it came from.
    pub fn misdirected(&self) -> Vec<Misdirection> {
        self.state.lock().misdirected.clone()
    }

    /// Some bytes of a file, as readers see them.
    #[cfg(test)]
    pub(crate) fn bytes(&self, path: &Path, range: std::ops::Range<u64>) -> Vec<u8> {
        let state = self.state.lock();
        let file = state.names.get(path).and_then(|file| state.files.get(*file));
        let seen = file.map_or(&[][..], |content| content.seen.as_slice());
        let end = usize_of(range.end).min(seen.len());
        seen.get(usize_of(range.start)..end).unwrap_or_default().to_vec()
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
        self.state.lock().calls.changing
    }

    /// Calls of `write_at` so far.
    pub fn writes(&self) -> u64 {
        self.state.lock().calls.writes
    }

    /// Bytes that `write_at` was given so far.
    pub fn written_bytes(&self) -> u64 {
        self.state.lock().calls.written_bytes
    }

    /// Calls of `sync_data` so far.
    pub fn flushes(&self) -> u64 {
        self.state.lock().calls.flushes
    }

    /// Calls of `remove`, `rename`, `sync_dir` and `read_at` so far.
    pub fn other_calls(&self) -> [u64; 4] {
        let calls = &self.state.lock().calls;
        [calls.removes, calls.renames, calls.syncs_of_folders, calls.reads]
    }

    /// Flips one bit on the device and in the cache; does nothing behind the file's end.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        let mut state = self.state.lock();
        let Some(file) = state.names.get(path).copied() else { return };
        let Some(content) = state.files.get_mut(file) else { return };
        for bytes in [&mut content.seen, &mut content.durable] {
            if let Some(byte) = Arc::make_mut(bytes).get_mut(usize_of(offset)) {
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
            files: state.reachable_files(),
            names: state.names.clone(),
            folders: state.folders.clone(),
            durable_names: state.durable_names.clone(),
            durable_folders: state.durable_folders.clone(),
            name_changes: state.name_changes.clone(),
            calls: Calls::default(),
            misdirected: state.misdirected.clone(),
            cut_at_call: None,
            is_off: false,
            capacity_bytes: u64::MAX,
            tells_capacity: true,
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
        let seed = self.seed ^ self.calls.changing.rotate_left(20) ^ u64_of(image).rotate_left(40);
        let mut dice = Dice(seed);
        let fate = |dice: &mut Dice| match image {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => [Fate::Lost, Fate::Kept, Fate::Torn]
                .get(usize_of(dice.below(3)))
                .copied()
                .unwrap_or(Fate::Torn),
        };
        let mut files: Vec<Content> = self
            .files
            .iter()
            .map(|content| {
                let mut bytes = Arc::clone(&content.durable);
                for change in &content.changes {
                    let fate = fate(&mut dice);
                    change.survive(Arc::make_mut(&mut bytes), fate, &mut dice);
                }
                Content { seen: Arc::clone(&bytes), durable: bytes, changes: Vec::new() }
            })
            .collect();
        let mut names = self.durable_names.clone();
        let mut folders = self.durable_folders.clone();
        for (change, seen) in &self.name_changes {
            let is_kept = match fate(&mut dice) {
                Fate::Lost => false,
                Fate::Kept => image != 1 || *seen == Seen::Yes,
                Fate::Torn => dice.below(2) == 0,
            };
            if is_kept {
                change.apply(&mut names, &mut folders);
            }
        }
        names.retain(|path, _| path.parent().is_none_or(|folder| folders.contains(folder)));
        let named: BTreeSet<usize> = names.values().copied().collect();
        forget_others(&mut files, &named);
        SimulatedDisk::with(State {
            misdirected: self.misdirected.clone(),
            seed: dice.next(),
            files,
            names: names.clone(),
            folders: folders.clone(),
            durable_names: names,
            durable_folders: folders,
            name_changes: Vec::new(),
            calls: Calls::default(),
            cut_at_call: None,
            is_off: false,
            capacity_bytes: u64::MAX,
            tells_capacity: true,
        })
    }

    /// Counts a changing call; the answer says whether the power goes during it.
    fn count_call(&mut self) -> Result<Power, io::Error> {
        if self.is_off {
            return Err(power_is_off());
        }
        self.calls.changing += 1;
        if self.cut_at_call == Some(self.calls.changing) {
            self.is_off = true;
            return Ok(Power::Goes);
        }
        Ok(Power::Stays)
    }

    fn change_name(&mut self, change: NameChange) -> Result<(), io::Error> {
        let power = self.count_call()?;
        change.apply(&mut self.names, &mut self.folders);
        self.name_changes.push((change, Seen::Yes));
        power.into_result()
    }

    /// The call fails; a cut may show that it happened.
    fn fail_to_change_name(&mut self, change: NameChange) -> Result<(), io::Error> {
        self.count_call()?.into_result()?;
        self.name_changes.push((change, Seen::No));
        Err(input_output_error())
    }

    /// All files, those empty that no name leads to any more.
    fn reachable_files(&self) -> Vec<Content> {
        let changes = self.name_changes.iter().filter_map(|(change, _)| change.file());
        let names = self.names.values().chain(self.durable_names.values()).copied();
        let mut files = self.files.clone();
        forget_others(&mut files, &names.chain(changes).collect());
        files
    }

    fn change_content(&mut self, file: usize, change: Change) {
        if let Some(content) = self.files.get_mut(file) {
            change.apply(Arc::make_mut(&mut content.seen));
            content.changes.push(change);
        }
    }

    /// One of the writes that are being flushed goes to another page: of any file that was flushed
    /// before, in the middle or at its end.
    fn misdirect(&mut self, file: usize, path: &Path, changes: &mut Vec<Change>) {
        let mut dice = Dice(self.seed ^ self.calls.changing.rotate_left(9));
        let is_write = |change: &Change| matches!(change, Change::Write { .. });
        let writes = changes.iter().filter(|change| is_write(change)).count();
        let nth = usize_of(dice.below(u64_of(writes.max(1))));
        let mut places = changes.iter().enumerate().filter(|(_, change)| is_write(change));
        let Some(place) = places.nth(nth).map(|(place, _)| place) else { return };
        let Change::Write { offset: meant, bytes } = changes.remove(place) else { return };
        let names: Vec<(PathBuf, usize)> = self.durable_names.clone().into_iter().collect();
        let is_same = dice.below(2) == 0;
        let drawn = usize_of(dice.below(u64_of(names.len().max(1))));
        let (landed, target) = match names.get(drawn) {
            Some((landed, target)) if !is_same => (landed.clone(), *target),
            _ => (path.to_path_buf(), file),
        };
        let Some(content) = self.files.get_mut(target) else { return };
        let pages = content.durable.len() / PAGE_BYTES + 1;
        let offset = usize_of(dice.below(u64_of(pages))) * PAGE_BYTES;
        put(Arc::make_mut(&mut content.durable), offset, &bytes);
        self.misdirected.push(Misdirection {
            meant: (path.to_path_buf(), u64_of(meant)),
            landed: (landed, u64_of(offset)),
            byte_count: u64_of(bytes.len()),
        });
    }

    fn used_bytes(&self) -> u64 {
        let used = |file: &usize| self.files.get(*file).map_or(0, |c| u64_of(c.seen.len()));
        self.names.values().map(used).sum()
    }
}

/// Lets go of the bytes of all files but those.
fn forget_others(files: &mut [Content], named: &BTreeSet<usize>) {
    for (number, content) in files.iter_mut().enumerate() {
        if !named.contains(&number) {
            *content = Content::default();
        }
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

    /// The file that it gives a name.
    fn file(&self) -> Option<usize> {
        match self {
            NameChange::Named { file, .. } | NameChange::Renamed { file, .. } => Some(*file),
            NameChange::Folder(_) | NameChange::Removed { .. } => None,
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
        state.calls.renames += 1;
        let renames = state.calls.renames;
        if state.calls.faults.remove(&Fault::Rename(renames)) {
            return state.fail_to_change_name(change).map_err(problem);
        }
        state.change_name(change).map_err(problem)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut state = self.state.lock();
        let file = state.names.get(from).copied();
        let file =
            file.ok_or_else(|| failed("link", from, None, io::ErrorKind::NotFound.into()))?;
        if state.names.contains_key(to) {
            return Err(failed("link", to, None, io::ErrorKind::AlreadyExists.into()));
        }
        let change = NameChange::Named { path: to.to_path_buf(), file };
        state.change_name(change).map_err(|cause| failed("link", to, None, cause))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let problem = |cause| failed("unlink", path, None, cause);
        let mut state = self.state.lock();
        if !state.names.contains_key(path) {
            return Err(problem(io::ErrorKind::NotFound.into()));
        }
        let change = NameChange::Removed { path: path.to_path_buf() };
        state.calls.removes += 1;
        let removes = state.calls.removes;
        if state.calls.faults.remove(&Fault::Remove(removes)) {
            return state.fail_to_change_name(change).map_err(problem);
        }
        state.change_name(change).map_err(problem)
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
        state.calls.syncs_of_folders += 1;
        let syncs = state.calls.syncs_of_folders;
        if state.calls.faults.remove(&Fault::SyncDir(syncs)) {
            return Err(problem(input_output_error()));
        }
        let changes = std::mem::take(&mut state.name_changes);
        let State { durable_names, durable_folders, name_changes, .. } = &mut *state;
        for (change, seen) in changes {
            if !change.is_in(directory) {
                name_changes.push((change, seen));
            } else if seen == Seen::Yes {
                change.apply(durable_names, durable_folders);
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
        let free = state.capacity_bytes.saturating_sub(state.used_bytes());
        Ok(if state.tells_capacity { free } else { u64::MAX })
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
        state.calls.writes += 1;
        state.calls.written_bytes += u64_of(bytes.len());
        let writes = state.calls.writes;
        if state.calls.faults.remove(&Fault::Write(writes)) {
            return Err(input_output_error());
        }
        let start = usize_of(offset);
        let length = state.files.get(self.file).map_or(0, |content| content.seen.len());
        let grows = u64_of((start + bytes.len()).saturating_sub(length));
        // A file system full to the last byte: what still fits is written.
        let room = state.capacity_bytes.saturating_sub(state.used_bytes());
        if grows > room {
            let fits = bytes.len().saturating_sub(usize_of(grows - room));
            let bytes = bytes.get(..fits).unwrap_or_default().to_vec();
            state.change_content(self.file, Change::Write { offset: start, bytes });
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()));
        }
        if state.calls.faults.remove(&Fault::ShortWrite(writes)) {
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
        state.calls.flushes += 1;
        let flushes = state.calls.flushes;
        let fails = state.calls.faults.remove(&Fault::Flush(flushes));
        let Some(content) = state.files.get_mut(self.file) else { return Ok(()) };
        let mut changes = std::mem::take(&mut content.changes);
        if fails {
            return Err(input_output_error());
        }
        if state.calls.faults.remove(&Fault::Misdirect(flushes)) {
            state.misdirect(self.file, &self.path, &mut changes);
        }
        let Some(content) = state.files.get_mut(self.file) else { return Ok(()) };
        for change in &changes {
            change.apply(Arc::make_mut(&mut content.durable));
        }
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut state = self.state.lock();
        if state.is_off {
            return Err(self.failed("pread", Some(offset), power_is_off()));
        }
        state.calls.reads += 1;
        let reads = state.calls.reads;
        if state.calls.faults.remove(&Fault::Read(reads)) {
            return Err(self.failed("pread", Some(offset), input_output_error()));
        }
        let seen = state.files.get(self.file).map_or(&[][..], |content| content.seen.as_slice());
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
            content.seen = Arc::clone(&content.durable);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "simulated_tests.rs"]
mod tests;
