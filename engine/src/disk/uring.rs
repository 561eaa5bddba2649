//! The system's disk with io_uring under the log: a batch is written and flushed by one submission.
//!
//! ```text
//! batch ─copy─► aligned buffer ─► write, linked to fdatasync ─► one system call, two answers
//!               (registered)      (O_DIRECT, registered file)
//! ```
//!
//! Everything but `write_and_sync` on files of [`Disk::create_log`] is [`PlainDisk`]'s, through a
//! handle of its own on the same file. Such a file is therefore written past the page cache and
//! read through it. Linux keeps the two coherent: a direct write first writes back what is dirty in
//! its range, and drops the cached pages of the range before and after it, so that even pages which
//! a read ahead fetched meanwhile are fetched again. A flush covers both ways, and reports errors
//! of both to either handle.
//!
//! # Invariants
//! 1. The kernel reads the buffer only between a submission and its answers: nobody returns before
//!    all answers are in. If they cannot be waited for, the buffer is given up and never freed.
//! 2. Whoever hears `Ok` had the full length written and then flushed, in this order. A short
//!    write, a flush that was cancelled, or write and flush taken apart by the kernel are failures.
//! 3. Nothing is tried again.
//!
//! # What can go wrong
//! Container hosts forbid io_uring (EPERM, ENOSYS), `RLIMIT_MEMLOCK` is too small for registered
//! buffers, a file system takes no O_DIRECT. [`UringDisk::probe`] finds out by writing and flushing
//! a page in an unnamed file, and says what is missing; all but the first only cost some speed.

#![allow(unsafe_code, reason = "submissions name memory by address; see invariant 1")]

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use parking_lot::Mutex;

use super::plain::{OWNER_ONLY_FILE, PlainFile};
use super::{Disk, DiskFile, Lock, OpenMode, PlainDisk, failed};
use crate::error::DiskError;
use crate::limits::{GROUP_ALIGNMENT, URING_BUFFER_BYTES};
use crate::width::{u32_of, u64_of};

/// Submissions at a time: a write and its flush.
const ENTRIES: u32 = 2;
/// Marks the answer to a write.
const WRITE: u64 = 1;
/// Marks the answer to a flush.
const FLUSH: u64 = 2;
/// The one registered buffer, and the one registered file.
const FIRST: u16 = 0;

/// Which of io_uring's accelerations are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UringWish {
    /// Past the page cache, or through it.
    pub caching: Caching,
    /// Whether buffer and file are made known to the kernel once, instead of for each write.
    pub registration: Registration,
}

impl UringWish {
    /// All of them.
    pub const ALL: UringWish =
        UringWish { caching: Caching::Direct, registration: Registration::Wanted };
}

/// Whether writes go through the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caching {
    /// Past it: `O_DIRECT`.
    Direct,
    /// Through it.
    Buffered,
}

/// Whether buffer and file are registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registration {
    /// If the memlock limit allows.
    Wanted,
    /// Not even tried.
    Unwanted,
}

/// What works here, and what does not and why.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UringFound {
    /// Why writes go through the page cache; `None`: they go past it.
    pub not_direct: Option<String>,
    /// Why the buffer is not registered, if so.
    pub buffer_not_registered: Option<String>,
    /// Why the file is not registered, if so.
    pub file_not_registered: Option<String>,
}

impl fmt::Display for UringFound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UringFound { not_direct, buffer_not_registered, file_not_registered } = self;
        match not_direct {
            None => write!(out, "past the page cache")?,
            Some(why) => write!(out, "through the page cache (no O_DIRECT: {why})")?,
        }
        match buffer_not_registered {
            None => write!(out, ", buffer registered")?,
            Some(why) => write!(out, ", buffer not registered ({why}; see RLIMIT_MEMLOCK)")?,
        }
        match file_not_registered {
            None => write!(out, ", file registered"),
            Some(why) => write!(out, ", file not registered ({why})"),
        }
    }
}

/// The system's disk with io_uring for the log.
pub struct UringDisk {
    ring: Arc<Mutex<Ring>>,
    caching: Caching,
    /// Names files to the ring.
    next_id: AtomicU64,
}

impl UringDisk {
    /// Sets io_uring up and tries it on an unnamed file in `directory`.
    ///
    /// # Errors
    /// The call that failed: io_uring is not to be had here.
    pub fn probe(directory: &Path, wish: UringWish) -> Result<(UringDisk, UringFound), DiskError> {
        let mut found = UringFound::default();
        let mut ring = set_up(directory, wish, &mut found)?;
        let mut caching = wish.caching;
        if caching == Caching::Direct {
            if let Err(error) = try_out(&mut ring, directory, Caching::Direct) {
                found.not_direct = Some(error.cause.to_string());
                caching = Caching::Buffered;
                ring = set_up(directory, wish, &mut found)?;
            }
        } else {
            found.not_direct = Some("not wanted".to_owned());
        }
        if caching == Caching::Buffered {
            try_out(&mut ring, directory, caching)?;
        }
        let next_id = AtomicU64::new(PROBE_ID + 1);
        Ok((UringDisk { ring: Arc::new(Mutex::new(ring)), caching, next_id }, found))
    }
}

/// The unnamed file of the probe.
const PROBE_ID: u64 = 0;

fn set_up(directory: &Path, wish: UringWish, found: &mut UringFound) -> Result<Ring, DiskError> {
    Ring::new(wish.registration, found)
        .map_err(|cause| failed("io_uring_setup", directory, None, cause))
}

/// Writes and flushes a page as the log does. The file has no name, so nothing can be left over.
fn try_out(ring: &mut Ring, directory: &Path, caching: Caching) -> Result<(), DiskError> {
    let flags = libc::O_TMPFILE | direct_flag(caching);
    let file = OpenOptions::new()
        .write(true)
        .mode(OWNER_ONLY_FILE)
        .custom_flags(flags)
        .open(directory)
        .map_err(|cause| failed("open", directory, None, cause))?;
    let page = [0x5A; GROUP_ALIGNMENT];
    let written = ring.write_and_sync(&file, PROBE_ID, 0, &page);
    ring.forget_file(PROBE_ID);
    written.map_err(|(call, cause)| failed(call, directory, None, cause))
}

fn direct_flag(caching: Caching) -> i32 {
    match caching {
        Caching::Direct => libc::O_DIRECT,
        Caching::Buffered => 0,
    }
}

impl UringDisk {
    fn log_file(&self, plain: PlainFile, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        // A handle of its own also where it is buffered, so that both kinds fail in one way.
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(direct_flag(self.caching))
            .open(path)
            .map_err(|cause| failed("open", path, None, cause))?;
        Ok(Box::new(UringFile {
            plain,
            direct,
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            ring: Arc::clone(&self.ring),
            path: path.to_path_buf(),
        }))
    }
}

impl Disk for UringDisk {
    fn create_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.log_file(PlainDisk.create_plain(path)?, path)
    }

    fn open_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.log_file(PlainDisk.open_plain(path, OpenMode::ReadWrite)?, path)
    }
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        PlainDisk.create(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, DiskError> {
        PlainDisk.open(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        PlainDisk.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        PlainDisk.link(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        PlainDisk.remove(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, DiskError> {
        PlainDisk.list(directory)
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), DiskError> {
        PlainDisk.create_dir_all(directory)
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), DiskError> {
        PlainDisk.sync_dir(directory)
    }

    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        PlainDisk.exists(path)
    }

    fn lock(&self, path: &Path) -> Result<Lock, DiskError> {
        PlainDisk.lock(path)
    }

    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        PlainDisk.free_bytes(path)
    }

    fn copies_on_write(&self, path: &Path) -> Result<bool, DiskError> {
        PlainDisk.copies_on_write(path)
    }
}

struct UringFile {
    plain: PlainFile,
    /// What the ring writes to.
    direct: File,
    id: u64,
    ring: Arc<Mutex<Ring>>,
    path: PathBuf,
}

impl DiskFile for UringFile {
    fn write_and_sync(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let is_aligned = offset.is_multiple_of(u64_of(GROUP_ALIGNMENT))
            && bytes.len().is_multiple_of(GROUP_ALIGNMENT);
        if bytes.is_empty() || !is_aligned {
            self.plain.write_at(offset, bytes)?;
            return self.plain.sync_data();
        }
        let written = self.ring.lock().write_and_sync(&self.direct, self.id, offset, bytes);
        written.map_err(|(call, cause)| failed(call, &self.path, Some(offset), cause))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.plain.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.plain.write_at(offset, bytes)
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.plain.sync_data()
    }

    fn byte_count(&self) -> Result<u64, DiskError> {
        self.plain.byte_count()
    }

    fn set_byte_count(&self, byte_count: u64) -> Result<(), DiskError> {
        self.plain.set_byte_count(byte_count)
    }

    fn forget_cached(&self) -> Result<(), DiskError> {
        self.plain.forget_cached()
    }
}

impl Drop for UringFile {
    /// A registered file would stay open as long as the ring.
    fn drop(&mut self) {
        self.ring.lock().forget_file(self.id);
    }
}

/// A page that a direct write may begin at.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; GROUP_ALIGNMENT]);

const _: () = assert!(size_of::<Page>() == GROUP_ALIGNMENT && align_of::<Page>() == 4096);
const _: () = assert!(URING_BUFFER_BYTES.is_multiple_of(GROUP_ALIGNMENT));

/// A call and what the system said to it.
type Refusal = (&'static str, io::Error);

/// The kernel's queues and the buffer that submissions name.
struct Ring {
    // Before the buffer, so that it is closed first.
    ring: IoUring,
    buffer: Vec<Page>,
    is_buffer_registered: bool,
    is_file_registered: bool,
    /// Which file is the registered one.
    file: Option<u64>,
    /// Answers could not be waited for; nothing more is submitted.
    is_dead: bool,
}

/// Whether a write is followed by the flush.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// More of the batch follows.
    Inner,
    /// The last, with the flush linked to it.
    Last,
}

/// What the kernel answered; `None`: nothing was asked.
#[derive(Clone, Copy, Default)]
struct Answers {
    write: Option<i32>,
    flush: Option<i32>,
}

impl Ring {
    fn new(registration: Registration, found: &mut UringFound) -> Result<Ring, io::Error> {
        let ring = IoUring::new(ENTRIES)?;
        let buffer = vec![Page([0; GROUP_ALIGNMENT]); URING_BUFFER_BYTES / GROUP_ALIGNMENT];
        let (for_buffer, for_file) = match registration {
            Registration::Unwanted => (Err("not wanted".to_owned()), Err("not wanted".to_owned())),
            Registration::Wanted => {
                let place = libc::iovec {
                    iov_base: buffer.as_ptr().cast_mut().cast(),
                    iov_len: URING_BUFFER_BYTES,
                };
                // SAFETY: the buffer is as long as said, and the ring is closed before it is freed
                // (order of the fields); a buffer that is given up is not freed at all.
                let for_buffer = unsafe { ring.submitter().register_buffers(&[place]) };
                let for_file = ring.submitter().register_files(&[-1]);
                (for_buffer.map_err(|why| why.to_string()), for_file.map_err(|why| why.to_string()))
            }
        };
        let is_buffer_registered = for_buffer.is_ok();
        let is_file_registered = for_file.is_ok();
        found.buffer_not_registered = for_buffer.err();
        found.file_not_registered = for_file.err();
        let (file, is_dead) = (None, false);
        Ok(Ring { ring, buffer, is_buffer_registered, is_file_registered, file, is_dead })
    }

    /// Writes whole pages and flushes the file: invariant 2.
    fn write_and_sync(
        &mut self,
        file: &File,
        id: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        if self.is_file_registered && self.file != Some(id) {
            let registered = self.ring.submitter().register_files_update(0, &[file.as_raw_fd()]);
            registered.map_err(|cause| ("io_uring_register", cause))?;
            self.file = Some(id);
        }
        let mut at = offset;
        let mut pieces = bytes.chunks(URING_BUFFER_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let kind = if pieces.peek().is_some() { Piece::Inner } else { Piece::Last };
            self.write(file, at, piece, kind)?;
            at = at.saturating_add(u64_of(piece.len()));
        }
        Ok(())
    }

    fn write(&mut self, file: &File, at: u64, piece: &[u8], kind: Piece) -> Result<(), Refusal> {
        let answers =
            self.submit(file, at, piece, kind).map_err(|cause| ("io_uring_enter", cause))?;
        verdict(answers, u32_of(piece.len()), kind)
    }

    fn submit(
        &mut self,
        file: &File,
        at: u64,
        piece: &[u8],
        kind: Piece,
    ) -> Result<Answers, io::Error> {
        if self.is_dead {
            return Err(io::Error::other("an earlier submission to io_uring got lost"));
        }
        for (page, bytes) in self.buffer.iter_mut().zip(piece.chunks_exact(GROUP_ALIGNMENT)) {
            page.0.copy_from_slice(bytes);
        }
        let write = self.write_entry(file, at, u32_of(piece.len()));
        let entries = match kind {
            Piece::Inner => &[write][..],
            Piece::Last => &[write.flags(Flags::IO_LINK), self.flush_entry(file)],
        };
        // SAFETY: the entries name the buffer, which is `self`'s and stays as it is until `answers`
        // has all answers, or is never freed; and the file, which the caller holds open.
        let pushed = unsafe { self.ring.submission().push_multiple(entries) };
        pushed.map_err(io::Error::other)?;
        self.answers(entries.len())
    }

    fn write_entry(&self, file: &File, at: u64, byte_count: u32) -> Entry {
        let start = self.buffer.as_ptr().cast::<u8>();
        let entry = if self.is_buffer_registered {
            opcode::WriteFixed::new(self.target(file), start, byte_count, FIRST).offset(at).build()
        } else {
            opcode::Write::new(self.target(file), start, byte_count).offset(at).build()
        };
        entry.flags(self.flags()).user_data(WRITE)
    }

    fn flush_entry(&self, file: &File) -> Entry {
        let entry = opcode::Fsync::new(self.target(file)).flags(types::FsyncFlags::DATASYNC);
        entry.build().flags(self.flags()).user_data(FLUSH)
    }

    /// The file's number; among the registered ones, if it is.
    fn target(&self, file: &File) -> types::Fd {
        types::Fd(if self.is_file_registered { i32::from(FIRST) } else { file.as_raw_fd() })
    }

    fn flags(&self) -> Flags {
        if self.is_file_registered { Flags::FIXED_FILE } else { Flags::empty() }
    }

    /// Submits what was pushed and waits for all answers: invariant 1.
    fn answers(&mut self, count: usize) -> Result<Answers, io::Error> {
        let mut answers = Answers::default();
        let mut missing = count;
        let mut submitted = None;
        while missing > 0 {
            match self.ring.submit_and_wait(missing) {
                Ok(taken) => {
                    submitted.get_or_insert(taken);
                }
                // Nothing was lost: what was submitted goes on, and is waited for again.
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    self.is_dead = true;
                    std::mem::forget(std::mem::take(&mut self.buffer));
                    return Err(cause);
                }
            }
            for entry in self.ring.completion() {
                missing = missing.saturating_sub(1);
                match entry.user_data() {
                    WRITE => answers.write = Some(entry.result()),
                    _ => answers.flush = Some(entry.result()),
                }
            }
        }
        // A flush that came later than its write is not linked to it, and may have overtaken it.
        if submitted.is_some_and(|taken| taken < count) {
            return Err(io::Error::other("write and flush were not taken together"));
        }
        Ok(answers)
    }

    fn forget_file(&mut self, id: u64) {
        if self.file == Some(id) {
            self.file = None;
            if let Err(cause) = self.ring.submitter().register_files_update(0, &[-1]) {
                tracing::debug!(%cause, "a closed segment stays open in io_uring until the next");
            }
        }
    }
}

/// Whether the answers mean that all bytes are durable: full length, and the flush that was linked.
fn verdict(answers: Answers, byte_count: u32, kind: Piece) -> Result<(), Refusal> {
    let written = answers.write.unwrap_or(0);
    match u32::try_from(written) {
        Err(_) => return Err(("pwrite", io::Error::from_raw_os_error(-written))),
        Ok(count) if count != byte_count => {
            let told = format!("only {count} of {byte_count} bytes were written");
            return Err(("pwrite", io::Error::new(io::ErrorKind::WriteZero, told)));
        }
        Ok(_) => {}
    }
    match (kind, answers.flush) {
        (Piece::Inner, None) | (Piece::Last, Some(0)) => Ok(()),
        (_, Some(code)) if code < 0 => Err(("fdatasync", io::Error::from_raw_os_error(-code))),
        (_, code) => Err(("fdatasync", io::Error::other(format!("answered {code:?}")))),
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
