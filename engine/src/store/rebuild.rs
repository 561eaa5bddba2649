//! `check --rebuild`: the state is put aside and made anew from the log alone.
//!
//! ```text
//! log verified ─► state renamed to state.old ─► opened without tables, checkpoints on the way
//!   ─► compared with the old one, where that can be read ─► state.old removed
//! ```
//!
//! # What can go wrong
//! A log with damage is refused before anything is changed: a state made from it would lack what
//! the old one may have. A stop at any moment leaves a store that opens: with the old state, or
//! with as much of the new one as was flushed, which any opening brings up to the log's end. Called
//! again, it goes on where it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::layout::Layout;
use super::open::{OpenOptions, OpenReport, read_node, take_lock, unlock};
use super::surroundings::Surroundings;
use crate::check::{Flaw, FlawKind, LogSource};
use crate::disk::{Disk, OpenMode, PlainDisk, durable};
use crate::error::{Damage, DiskError, OpenError, ReadError};
use crate::ids::{Lsn, Uid};
use crate::mailbox::{PageCache, PageReader, View};
use crate::seal::KeyTable;
use crate::state::{Committed, Saved, Values};
use crate::width::u64_of;

/// Differences that are listed.
const DIFFERENCES_MAX: usize = 100;
/// Rows that are compared at a time.
const ROWS: usize = 512;
/// Memory for pages of the old state.
const PAGE_CACHE_BYTES: u64 = 16 << 20;

/// What a rebuild did.
#[derive(Clone, Debug, Default)]
pub struct RebuildReport {
    /// Records applied.
    pub record_count: u64,
    /// Messages that are there now.
    pub message_count: u64,
    /// Mailboxes.
    pub mailbox_count: u64,
    /// Accounts.
    pub account_count: u64,
    /// One that was interrupted was gone on with.
    pub resumed: bool,
    /// Whether the old state could be read and was of the same position: it was compared.
    pub compared: bool,
    /// Where the old state differed; it is kept then, in this folder.
    pub differences: Vec<String>,
    /// The old state, if it was kept.
    pub kept: Option<PathBuf>,
    /// How long replaying took.
    pub elapsed: Duration,
}

impl Store {
    /// Makes the state of a closed store anew from its log. `progress` is told bytes of the log
    /// verified, of how many.
    ///
    /// # Errors
    /// [`OpenError`]; if the log is damaged, nothing was changed.
    pub fn rebuild(
        directory: &Path,
        options: OpenOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<RebuildReport, OpenError> {
        let surroundings = Surroundings::system(Arc::new(PlainDisk), options.segment_bytes);
        let disk = surroundings.disk.as_ref();
        let layout = Layout::of(directory);
        if !disk.exists(&layout.node())? {
            return Err(OpenError::NotAStore(directory.to_path_buf()));
        }
        let lock = take_lock(disk, &layout, directory)?;
        let node = read_node(disk, &layout)?;
        let log = LogSource {
            disk: Arc::clone(&surroundings.disk),
            directory: layout.log(),
            volume: node.volume,
        };
        let (state, old) = (layout.state(), layout.old_state());
        let resumed = disk.exists(&old)?;
        let position = |of: &Path| {
            old_state(&surroundings, &layout, &options, of).map_or(Lsn::ZERO, |(_, lsn)| lsn)
        };
        // What the state has applied was durable.
        verify(&log, position(&old).max(position(&state)), progress)?;
        if !resumed && disk.exists(&state)? {
            disk.rename(&state, &old)?;
            disk.sync_dir(&layout.volume())?;
        }
        durable::create_dir_durable(disk, &state)?;
        let before = old_state(&surroundings, &layout, &options, &old);
        let (store, report) = match Store::open_locked(&surroundings, directory, options, lock) {
            Ok((store, report)) if report.damage.is_empty() => (store, report),
            refused => {
                let why = why_refused(refused);
                put_back(&state, &old)?;
                return Err(why);
            }
        };
        store.checkpoint();
        let status = store.status();
        let mut rebuilt = RebuildReport {
            record_count: report.record_count,
            message_count: status.message_count,
            account_count: status.account_count,
            mailbox_count: mailbox_count(&store),
            resumed,
            elapsed: report.elapsed,
            ..RebuildReport::default()
        };
        if let Some(before) = before.filter(|(_, lsn)| *lsn == status.last_lsn) {
            rebuilt.compared = true;
            compare(&before.0, &store.inner.committed, &mut rebuilt.differences);
        }
        store.close();
        drop(store);
        if rebuilt.differences.is_empty() {
            remove_folder(&old)?;
        } else {
            let kept = old.with_extension("before-rebuild");
            remove_folder(&kept)?;
            disk.rename(&old, &kept)?;
            rebuilt.kept = Some(kept);
        }
        disk.sync_dir(&layout.volume())?;
        Ok(rebuilt)
    }
}

/// Refuses a log of which something that replay needs cannot be read.
fn verify(
    log: &LogSource,
    durable: Lsn,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), OpenError> {
    let mut total = 0;
    for number in log.segments(&[])? {
        let file = log.disk.open(&number.path(log.directory()), OpenMode::Read)?;
        total += file.byte_count()?;
    }
    let mut done = 0;
    let found = log.read(&[], durable, &mut |read| {
        done += u64_of(read.group.stored_len());
        progress(done, total.max(done));
    })?;
    let is_needed = |flaw: &&Flaw| !matches!(flaw.kind, FlawKind::HeaderCopy | FlawKind::Footer);
    match found.flaws.iter().find(is_needed) {
        Some(flaw) => Err(incomplete(flaw, log.directory())),
        None => Ok(()),
    }
}

/// Why a store could not be opened anew; it is closed.
fn why_refused(opened: Result<(Store, OpenReport), OpenError>) -> OpenError {
    let (store, report) = match opened {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    store.close();
    match report.damage.into_iter().next() {
        Some(damage) => OpenError::Damage(damage.damage),
        None => OpenError::Invalid("the log could not be replayed; the old state is kept".into()),
    }
}

fn incomplete(flaw: &Flaw, directory: &Path) -> OpenError {
    OpenError::Damage(Damage {
        file: flaw.segment.path(directory),
        offset: flaw.from,
        what: format!(
            "{} (positions {} to {}); a state made from this log would lack what lies there, so \
             nothing was changed: run 'pillarbox check --repair', with --from if there is a copy; \
             without one, 'pillarbox check --repair --give-up'",
            flaw.what, flaw.first, flaw.last
        ),
    })
}

/// The state as it was, with its position, if it can be read.
pub(super) fn old_state(
    surroundings: &Surroundings,
    layout: &Layout,
    options: &OpenOptions,
    old: &Path,
) -> Option<(Committed, Lsn)> {
    let (disk, sealer) = (&surroundings.disk, surroundings.sealer.clone());
    let mode = OpenMode::Read;
    let (root, _) = unlock(disk.as_ref(), layout, &options.key, mode).ok()?;
    let node = read_node(disk.as_ref(), layout).ok()?;
    let keys = KeyTable::load(disk, &layout.keys(), &sealer, &root, node.volume, mode).ok()?.0;
    let values = Arc::new(Values::new(sealer, Arc::new(keys)));
    let tables = (surroundings.tables)(old, mode).ok()?;
    let saved = Arc::new(Saved { tables, values });
    let source = Arc::<Saved>::clone(&saved);
    let pages = PageReader { source, cache: PageCache::new(PAGE_CACHE_BYTES) };
    let lsn = saved.stamp().ok()??.lsn;
    Some((Committed::load(saved, pages).ok()?, lsn))
}

fn mailbox_count(store: &Store) -> u64 {
    let accounts = store.inner.committed.accounts();
    accounts.iter().map(|account| u64_of(account.names.listing().mailboxes.len())).sum()
}

/// Lists what two states of one position say otherwise.
fn compare(old: &Committed, new: &Committed, differences: &mut Vec<String>) {
    let mut say = |what: String| {
        if differences.len() < DIFFERENCES_MAX {
            differences.push(what);
        }
    };
    let accounts = old.accounts();
    if accounts.len() != new.accounts().len() {
        say(format!("{} accounts before, {} now", accounts.len(), new.accounts().len()));
    }
    for account in accounts {
        let name = &account.profile.name;
        let Some(now) = new.account(account.number) else {
            say(format!("{name}: the account is not there now"));
            continue;
        };
        if now.usage != account.usage {
            say(format!(
                "{name}: the quota counted {:?} before, {:?} now",
                account.usage, now.usage
            ));
        }
        if now.names.listing() != account.names.listing() || now.profile != account.profile {
            say(format!("{name}: its mailboxes or its profile differ"));
        }
        if now.annotations != account.annotations {
            say(format!("{name}: metadata, rights or limits differ"));
        }
        for entry in account.names.listing().mailboxes {
            let key = (account.number, entry.id);
            let view = |of: &Committed| of.cell(key).map(|cell| cell.and_then(|cell| cell.view()));
            let same = match (view(old), view(new)) {
                (Ok(Some(before)), Ok(Some(now))) => is_same(&before, &now),
                (before, now) => Ok(matches!((before, now), (Ok(None), Ok(None)))),
            };
            match same {
                Ok(true) => {}
                Ok(false) => say(format!("{name} {}: its messages differ", entry.name)),
                Err(error) => say(format!("{name} {}: {error}", entry.name)),
            }
        }
    }
}

/// Whether two views show the same.
fn is_same(old: &View, new: &View) -> Result<bool, ReadError> {
    let heads = |view: &View| {
        let counts = (view.message_count(), view.unseen_count(), view.message_bytes());
        (view.uid_validity(), view.uid_next(), view.highest_modseq(), counts)
    };
    if heads(old) != heads(new) || old.keywords() != new.keywords() {
        return Ok(false);
    }
    let mut from = Uid(1);
    loop {
        let rows = old.rows_from(from, ROWS)?;
        if rows != new.rows_from(from, ROWS)? {
            return Ok(false);
        }
        match rows.last().and_then(|row| row.uid.0.checked_add(1)) {
            Some(next) => from = Uid(next),
            None => return Ok(true),
        }
    }
}

/// Takes the old state again.
fn put_back(state: &Path, old: &Path) -> Result<(), OpenError> {
    if PlainDisk.exists(old)? {
        remove_folder(state)?;
        PlainDisk.rename(old, state)?;
        PlainDisk.sync_dir(durable::folder_of(state))?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<(), OpenError> {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            let path = folder.to_path_buf();
            Err(DiskError { call: "remove folder", path, offset: None, cause }.into())
        }
        _ => Ok(()),
    }
}
