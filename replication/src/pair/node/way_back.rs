//! The way back of a volume whose other node was made primary, and the merge that follows it.
//!
//! ```text
//!  met the other node, whose epoch is newer ─► go_back (a thread) ─► the caller opens the store
//!      anew, which then follows ─► caught up ─► merge (a thread), until it is done
//! ```
//! What can go wrong is said in the status and tried again when the nodes meet again, or with the
//! next tick; nothing is given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine::ids::{Lsn, VolumeId};
use engine::{MergeError, MergeTally, WayBackError, common_position};

use super::super::host::Connection;
use super::super::message::VolumeState;
use super::{Node, Volume};

/// After which time a checkpoint is made again for the other node's sake, until one is held: at
/// first, and at last, for a file system may be unable to hold any.
const HOLD_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];

/// How a volume's merge stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MergeReport {
    /// Something is to be merged yet.
    pub is_pending: bool,
    /// What the last one did, since the start.
    pub last: Option<MergeTally>,
}

/// Called in a thread of its own, when a store is to be closed and opened again.
pub type Reopen = Box<dyn Fn() + Send + Sync>;

impl Node {
    /// Who closes and opens the stores when one of them goes back.
    pub fn on_way_back(&self, reopen: Reopen) {
        *self.reopen.lock() = Some(Arc::from(reopen));
    }
}

impl Volume {
    /// Whether the other node goes on from an epoch that is newer than all of this one's.
    pub(super) fn is_deposed_by(&self, there: &VolumeState) -> bool {
        let own = self.store.standing().history.last().map(|epoch| epoch.number);
        there.history.last().map(|epoch| epoch.number) > own
    }

    /// Goes back to what both nodes have, in a thread.
    pub(super) fn go_back(
        self: &Arc<Volume>,
        there: &VolumeState,
        (connection, id): (&Arc<Connection>, VolumeId),
    ) {
        self.is_deposed.store(true, Ordering::SeqCst);
        if self.goes_back.swap(true, Ordering::SeqCst) {
            return;
        }
        let standing = self.store.standing();
        let history: Vec<engine::Epoch> = there.history.iter().map(epoch_of).collect();
        let own = (standing.history.as_slice(), standing.position.lsn);
        let Some(common) = common_position(own, (&history, there.last.lsn)) else {
            self.goes_back.store(false, Ordering::SeqCst);
            return self.trouble("the logs of the two nodes have no epoch in common");
        };
        let (volume, connection) = (Arc::clone(self), Arc::clone(connection));
        let spawned = std::thread::Builder::new().name("way back".into()).spawn(move || {
            volume.go_back_to(common, (&connection, id));
        });
        if let Err(error) = spawned {
            self.goes_back.store(false, Ordering::SeqCst);
            self.trouble(&format!("no thread could be started: {error}"));
        }
    }

    fn go_back_to(&self, common: Lsn, (connection, id): (&Arc<Connection>, VolumeId)) {
        match self.store.go_back(common) {
            Ok(_) => self.open_again("restart this node: it goes back to what both have"),
            Err(WayBackError::NothingHeld { .. }) => {
                let put_aside = self.store.put_aside(common);
                self.goes_back.store(false, Ordering::SeqCst);
                match put_aside {
                    Ok(_) => self.begin_copy(connection, id),
                    Err(error) => self.does_not_go_back(&error),
                }
            }
            Err(error) => {
                self.goes_back.store(false, Ordering::SeqCst);
                self.does_not_go_back(&error);
            }
        }
    }

    fn does_not_go_back(&self, error: &WayBackError) {
        self.store.stand_down(
            "the other node of the pair was made primary; keep this directory, and see \
             docs/replication.md",
        );
        self.trouble(&error.to_string());
    }

    /// The caller closes the store and opens it again.
    pub(super) fn open_again(&self, otherwise: &str) {
        let reopen = self.reopen.lock().clone();
        match reopen {
            Some(reopen) => reopen(),
            None => self.trouble(otherwise),
        }
    }

    /// Merges what there is, if this node has all that the primary had when it was met.
    pub(super) fn merge_if_due(self: &Arc<Volume>, id: VolumeId) {
        if !self.store.has_merge().unwrap_or(false) {
            return;
        }
        self.merge.lock().is_pending = true;
        let primary = self.primary.lock().clone();
        if self.store.standing().follows {
            let Some(connection) = &primary else { return };
            let there = connection.peer().volumes.iter().find(|volume| volume.id == id);
            if there.is_none_or(|there| self.store.position().lsn < there.last.lsn) {
                return;
            }
        }
        if self.merges.swap(true, Ordering::SeqCst) {
            return;
        }
        let volume = Arc::clone(self);
        let spawned = std::thread::Builder::new().name("merge".into()).spawn(move || {
            volume.merge_over(primary.as_ref());
            volume.merges.store(false, Ordering::SeqCst);
        });
        if let Err(error) = spawned {
            self.merges.store(false, Ordering::SeqCst);
            self.trouble(&format!("no thread could be started: {error}"));
        }
    }

    /// Sees to it that this node could go back, as soon as the two nodes are together.
    pub(super) fn hold_if_due(&self) {
        let is_together = self.standing.lock().is_there || self.primary.lock().is_some();
        let mut tried = self.held_tried.lock();
        let [first, last] = HOLD_AGAIN;
        let is_time = tried.is_none_or(|(at, again)| at.elapsed() >= again);
        if is_together && is_time && !self.store.holds_checkpoint() {
            let again = tried.map_or(first, |(_, again)| last.min(again * 2));
            *tried = Some((Instant::now(), again));
            drop(tried);
            self.store.checkpoint();
        }
    }

    fn merge_over(&self, primary: Option<&Arc<Connection>>) {
        let number = primary.map(|connection| connection.number());
        let goes_on = || {
            let now = self.primary.lock().as_ref().map(|connection| connection.number());
            now == number && !self.stops.load(Ordering::SeqCst)
        };
        match self.store.merge(&goes_on) {
            Ok(tally) => {
                let mut merge = self.merge.lock();
                merge.is_pending = false;
                merge.last = tally.or(merge.last);
                if let Some(tally) = tally {
                    let name = &self.name;
                    tracing::warn!(volume = %name, ?tally, "what this node had alone is merged");
                }
            }
            Err(MergeError::Stopped) => {}
            Err(MergeError::Later(error)) => tracing::info!("the merge waits: {error}"),
            Err(error) => self.trouble(&error.to_string()),
        }
    }
}

pub(super) fn epoch_of(epoch: &super::super::message::Epoch) -> engine::Epoch {
    engine::Epoch {
        number: epoch.number,
        id: epoch.id,
        parent: epoch.parent.as_ref().map(|parent| (parent.id, parent.fork)),
        node: epoch.node,
        first: epoch.first,
    }
}
