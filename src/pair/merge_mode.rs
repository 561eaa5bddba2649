//! Merge mode, wired: looks whether this node has to go on without the other one, and does it.
//!
//! ```text
//! DATA/pair/had-all   empty; there if this node had all that its primary told of when it came last
//! ```
//! # Invariants
//! 1. The file is gone, durably, before this node can know that it lacks something and forget it
//!    again by being restarted.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use replication::merge_mode::{MergeMode, Move, Sight};
use replication::pair::heard::Missing;

use super::Pair;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(50);

/// Merge mode at work.
pub(super) struct Watcher {
    mode: Mutex<MergeMode>,
    mark: Mark,
}

/// Whether this node had all that its primary told of, kept over restarts.
struct Mark {
    file: PathBuf,
    is_there: Mutex<bool>,
}

impl Mark {
    fn of(folder: &Path) -> Mark {
        let file = folder.join("had-all");
        let is_there = Mutex::new(file.exists());
        Mark { file, is_there }
    }

    /// What is known is kept: `missing` of the primary that is there, or was there last.
    fn keep(&self, missing: Option<Missing>) -> io::Result<bool> {
        let mut is_there = self.is_there.lock();
        // Not heard of since the start: as it was then.
        let Some(missing) = missing else { return Ok(*is_there) };
        let has_all = missing.positions == Some(0);
        if has_all != *is_there {
            match has_all {
                true => drop(File::create(&self.file)?),
                false => std::fs::remove_file(&self.file)?,
            }
            if let Some(folder) = self.file.parent() {
                File::open(folder)?.sync_all()?;
            }
            *is_there = has_all;
        }
        Ok(has_all)
    }
}

impl Watcher {
    pub(super) fn new(after: Duration, folder: &Path) -> Watcher {
        Watcher { mode: Mutex::new(MergeMode::new(after)), mark: Mark::of(folder) }
    }

    /// How things stand, for people.
    pub(super) fn word(&self) -> &'static str {
        self.mode.lock().word()
    }

    fn look(&self, pair: &Pair) -> Move {
        let follows = pair.store.standing().follows;
        let missing = || pair.node.missing().into_iter().next().flatten();
        let kept = if follows { self.mark.keep(missing()) } else { Ok(true) };
        let had_all = kept.unwrap_or_else(|cause| {
            tracing::warn!(%cause, file = %self.mark.file.display(), "cannot be written");
            false
        });
        let sight = Sight {
            follows,
            is_connected: pair.node.is_connected(),
            had_all,
            becomes_copy: pair.node.becomes_copy(),
            asks_first: pair.node.asks_first(),
        };
        self.mode.lock().look(Instant::now(), sight)
    }
}

impl Pair {
    /// Looks again and again, as long as this node serves.
    pub(super) async fn watch_in_merge_mode(self: Arc<Pair>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let pair = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || pair.look_in_merge_mode()).await;
        }
    }

    fn look_in_merge_mode(&self) {
        let Some(watcher) = &self.merge_mode else { return };
        if self.link.peer().is_none() {
            return;
        }
        match watcher.look(self) {
            Move::Nothing => return,
            Move::TakeOver => match self.take_over() {
                Ok(epoch) => {
                    tracing::warn!(epoch, "the primary is gone: this node is primary now");
                }
                Err(failure) => tracing::error!("taking over failed: {}", failure.sentence),
            },
            Move::GoOnAlone => {
                tracing::warn!(
                    "the other node is away: this one goes on in an epoch of its own, and both \
                     are merged when they meet"
                );
                self.serve_alone();
            }
        }
        watcher.mode.lock().wait_again(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_knew_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let known = |positions| Some(Missing { silence: Duration::ZERO, positions });
        let mark = Mark::of(folder.path());
        assert!(!mark.keep(None).unwrap(), "it never met its primary");
        assert!(!mark.keep(known(Some(7))).unwrap());
        assert!(mark.keep(known(Some(0))).unwrap());
        let mark = Mark::of(folder.path());
        assert!(mark.keep(None).unwrap(), "it had all when it was stopped");
        assert!(!mark.keep(known(None)).unwrap(), "the primary is in another epoch");
        assert!(!Mark::of(folder.path()).keep(None).unwrap());
    }
}
