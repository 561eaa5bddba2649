//! Text of attached documents, by programs and services that the operator names.
//!
//! ```text
//! engine ─ document ─► the extractor whose types or name endings fit
//!                        ├─ command.rs ─► this binary again (confine.rs): limits on itself,
//!                        │                then it becomes the program; memfd in, pipe out
//!                        └─ service.rs ─► PUT to a service on this machine, as Apache Tika
//! ```
//!
//! Documents come from strangers, and programs that read them have faults. So a program gets bytes
//! and gives bytes: it can write no file, may take so much memory and time, and ends with
//! everything that it began. What it is called with is the operator's; nothing of a message is
//! among it.

mod command;
mod confine;
mod service;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::search::{Document, Extracted, Extractor, Flaw};

pub(crate) use self::confine::{ConfinedArguments, confined};
pub(crate) use self::service::ServiceUrl;
use crate::config::{DocumentKind, ExtractorSection};

/// Where programs are looked for, and what they get as PATH.
pub(crate) const PROGRAM_FOLDERS: &str = "/usr/local/bin:/usr/bin:/bin";
/// How often whoever waits looks whether the store closes.
const TICK: Duration = Duration::from_millis(100);

/// What is done about documents.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct DocumentOptions {
    /// Extractors that work at once.
    pub(crate) at_once: usize,
    /// How long one search may have them work on mail that is not indexed yet.
    pub(crate) search_time: Duration,
    /// Them, in the order in which they are asked.
    pub(crate) extractors: Vec<ExtractorSection>,
}

impl DocumentOptions {
    /// All extractors as one; `None` if there is none.
    pub(crate) fn extractor(&self) -> Option<Arc<dyn Extractor>> {
        if self.extractors.is_empty() {
            return None;
        }
        Some(Arc::new(Extractors {
            extractors: self.extractors.clone(),
            free: Mutex::new(self.at_once),
            freed: Condvar::new(),
            stopping: AtomicBool::new(false),
        }))
    }

    /// The programs that are not to be found.
    pub(crate) fn missing_programs(&self) -> Vec<&str> {
        let programs = self.extractors.iter().filter_map(|one| one.command.first());
        programs.map(String::as_str).filter(|name| program(name).is_none()).collect()
    }
}

/// The file of a program: a path, or a name in [`PROGRAM_FOLDERS`].
fn program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let folders = PROGRAM_FOLDERS.split(':').map(Path::new);
    let mut paths = folders.map(|folder| folder.join(name));
    paths.find(|path| is_program(path))
}

/// How long one call may take, and whether it is still wanted.
struct Patience<'a> {
    /// The extractor's own limit, once it has begun.
    until: Instant,
    /// Whoever asked does not wait longer.
    asker: Option<Instant>,
    stopping: &'a AtomicBool,
}

impl Patience<'_> {
    /// Time until it is to be looked again; `None` if there is none left.
    fn tick(&self) -> Option<Duration> {
        let until = self.asker.map_or(self.until, |asker| asker.min(self.until));
        let left = until.saturating_duration_since(Instant::now());
        let is_over = left.is_zero() || self.stopping.load(Ordering::Relaxed);
        (!is_over).then(|| left.min(TICK))
    }

    /// What it means that there is no time left.
    fn flaw(&self) -> (Flaw, String) {
        if self.stopping.load(Ordering::Relaxed) {
            (Flaw::NotNow, "the store closes".to_owned())
        } else if self.until <= Instant::now() {
            (Flaw::TookTooLong, "it took longer than timeout_seconds".to_owned())
        } else {
            (Flaw::NotNow, "whoever asked does not wait longer".to_owned())
        }
    }
}

/// Text without a flaw, or what of it there is.
fn extracted(text: &[u8], flaw: Option<(Flaw, String)>) -> Extracted {
    Extracted { text: String::from_utf8_lossy(text).into_owned(), flaw }
}

/// Nothing, for a reason.
fn nothing(flaw: Flaw, reason: impl Into<String>) -> Extracted {
    Extracted { text: String::new(), flaw: Some((flaw, reason.into())) }
}

/// All that are configured.
struct Extractors {
    extractors: Vec<ExtractorSection>,
    /// How many more may work now.
    free: Mutex<usize>,
    freed: Condvar,
    stopping: AtomicBool,
}

impl Extractors {
    fn of(&self, media_type: &str, name: &str) -> Option<&ExtractorSection> {
        let fits = |kind: &DocumentKind| kind.fits(media_type, name);
        self.extractors.iter().find(|one| one.types.iter().any(fits))
    }

    /// Waits for its turn; `None` if that does not come in time.
    fn turn(&self, asker: Option<Instant>) -> Option<Turn<'_>> {
        let mut free = self.free();
        loop {
            let is_late = asker.is_some_and(|asker| asker <= Instant::now());
            if is_late || self.stopping.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(left) = free.checked_sub(1) {
                *free = left;
                return Some(Turn { of: self });
            }
            let waited = self.freed.wait_timeout(free, TICK);
            free = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to work, until it is dropped.
struct Turn<'a> {
    of: &'a Extractors,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.of.free() += 1;
        self.of.freed.notify_one();
    }
}

impl Extractor for Extractors {
    fn takes(&self, media_type: &str, name: &str) -> bool {
        self.of(media_type, name).is_some()
    }

    fn settings(&self) -> String {
        // As they would be written: so it does not change with this program.
        let written = |one: &ExtractorSection| toml::to_string(one).unwrap_or_default();
        self.extractors.iter().map(written).collect::<Vec<_>>().join("\n")
    }

    fn extract(&self, document: &Document<'_>, until: Option<Instant>) -> Extracted {
        let Some(extractor) = self.of(&document.media_type, &document.name) else {
            return Extracted::default();
        };
        let Some(_turn) = self.turn(until) else {
            return nothing(Flaw::NotNow, "others have their turn");
        };
        let bytes = document.bytes();
        if bytes.len() > extractor.input_bytes.count() {
            return nothing(Flaw::TooLarge, format!("it has {} bytes", bytes.len()));
        }
        let patience = Patience {
            until: Instant::now() + extractor.timeout_seconds.seconds(),
            asker: until,
            stopping: &self.stopping,
        };
        match &extractor.url {
            Some(url) => {
                service::extract(url, (&document.media_type, &bytes), extractor, &patience)
            }
            None => command::extract(&bytes, extractor, &patience),
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
