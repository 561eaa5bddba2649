//! What of a folder's files a power cut leaves at least: the bytes that a flush covered.
//!
//! RocksDB appends to its files, so of each file two lengths are enough. Names are taken for
//! durable, but for those of files of which nothing was flushed: these may be there or not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::traced::Call;

/// Bytes of a file.
#[derive(Clone, Copy, Default)]
struct Extent {
    written: u64,
    flushed: u64,
}

/// Files of a folder.
pub(super) struct Flushed {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Extent>,
}

impl Flushed {
    /// Everything that is there now is taken for flushed.
    pub(super) fn new(folder: &Path) -> Flushed {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let written = entry.metadata().unwrap().len();
            files.insert(entry.path(), Extent { written, flushed: written });
        }
        Flushed { folder: folder.to_path_buf(), files }
    }

    /// These calls were made.
    pub(super) fn follow(&mut self, calls: &[Call]) {
        for call in calls.iter().filter(|call| call.is_done()) {
            self.follow_one(call);
        }
    }

    fn follow_one(&mut self, call: &Call) {
        let result = call.result.and_then(|result| u64::try_from(result).ok()).unwrap_or(0);
        let file = call.file().filter(|file| file.parent() == Some(&self.folder));
        match (call.name.as_str(), file) {
            ("write", Some(file)) => self.extent(file).written += result,
            ("pwrite64", Some(file)) => {
                let offset = call.numbers().last().copied().unwrap_or(0);
                let extent = self.extent(file);
                extent.written = extent.written.max(offset + result);
            }
            ("ftruncate", Some(file)) => {
                let length = call.numbers().last().copied().unwrap_or(0);
                let extent = self.extent(file);
                extent.written = length;
                extent.flushed = extent.flushed.min(length);
            }
            ("fsync" | "fdatasync", Some(file)) => {
                let extent = self.extent(file);
                extent.flushed = extent.written;
            }
            ("openat", _) if call.has("O_TRUNC") || call.has("O_CREAT") => {
                for path in self.ours(call) {
                    let extent = self.files.entry(path).or_default();
                    if call.has("O_TRUNC") {
                        *extent = Extent::default();
                    }
                }
            }
            ("unlink" | "unlinkat", _) => {
                for path in self.ours(call) {
                    self.files.remove(&path);
                }
            }
            ("rename" | "renameat" | "renameat2", _) => {
                if let [from, to] = &self.ours(call)[..]
                    && let Some(extent) = self.files.remove(from)
                {
                    self.files.insert(to.clone(), extent);
                }
            }
            _ => {}
        }
    }

    fn extent(&mut self, file: &Path) -> &mut Extent {
        self.files.entry(file.to_path_buf()).or_default()
    }

    /// The paths of a call that lie in the folder.
    fn ours(&self, call: &Call) -> Vec<PathBuf> {
        let paths = call.paths().into_iter();
        paths.filter(|path| path.parent() == Some(&self.folder)).collect()
    }

    /// Takes from a copy of the folder what no flush covered. `is_kept`: the names of files of
    /// which nothing was flushed.
    pub(super) fn cut(&self, copy: &Path, is_kept: bool) {
        for (path, extent) in &self.files {
            let Some(name) = path.file_name() else { continue };
            let Ok(file) = std::fs::File::options().write(true).open(copy.join(name)) else {
                continue;
            };
            if file.metadata().unwrap().len() <= extent.flushed {
                continue;
            }
            if extent.flushed == 0 && !is_kept {
                std::fs::remove_file(copy.join(name)).unwrap();
            } else {
                file.set_len(extent.flushed).unwrap();
            }
        }
    }
}
