//! A planned hand-over: the primary stops taking changes, the follower has everything, and opens
//! the next epoch.
//!
//! ```text
//!  primary                                       follower
//!  takes no changes, waits for Noted ◄────────── Noted
//!  HandOver: this is all ──────────────────────► has exactly that? ─► promoted
//!  meets a newer epoch, goes back by nothing ◄── the connection is made anew
//! ```
//! # What can go wrong
//! The follower does not answer: it may have taken over, or not. The primary takes no changes until
//! they meet again, which tells: it goes on, or it goes back.

use engine::ids::VolumeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::host::Connection;
use super::super::message::{GroupEnd, Message, VolumeState};
use super::{LOOK, Node, Volume, end_of};

/// How long the follower may take to have everything.
const DRAIN: Duration = Duration::from_secs(5);

/// Called in a thread of its own when the other node hands over, or asks for it.
pub type HandedOver = Arc<dyn Fn() + Send + Sync>;

impl Node {
    /// The last process did not close the store: changes are taken when the follower was met, and
    /// has no more than this node.
    pub fn ask_first(&self) {
        for volume in self.volumes.values() {
            volume.store.set_changes_refused(true);
            volume.asks_first.store(true, Ordering::SeqCst);
            volume.trouble(
                "this node ended without being closed, so it takes changes only when it has met \
                 the other node; without that one, start it with 'pillarbox serve --alone'",
            );
        }
    }

    /// Whether this node still waits to have met the other one.
    pub fn asks_first(&self) -> bool {
        self.volumes.values().any(|volume| volume.asks_first.load(Ordering::SeqCst))
    }

    /// There is no other node any more that could be asked.
    pub fn ask_nobody(&self) {
        self.volumes.values().for_each(|volume| volume.take_changes());
    }

    /// What is done when the other node hands over to this one, or asks this one to.
    pub fn on_hand_over(&self, asked: HandedOver) {
        *self.hand_over.lock() = Some(asked);
    }

    /// Asks the primary to hand over to this node.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub fn ask_hand_over(&self) -> Result<(), String> {
        let connection = self.connection.lock().clone().ok_or(NOT_CONNECTED)?;
        for (id, volume) in &self.volumes {
            let end = end_of(volume.store.position());
            volume.say(&connection, *id, Message::HandOver(end));
        }
        Ok(())
    }

    /// Hands over to the follower. `lay_down` is called when nothing is acknowledged any more.
    ///
    /// # Errors
    /// A sentence that says why not; this node is primary as before then.
    pub fn hand_over(&self, lay_down: &dyn Fn()) -> Result<(), String> {
        let connection = self.connection.lock().clone().ok_or(NOT_CONNECTED)?;
        for (id, volume) in &self.volumes {
            volume.drain()?;
            lay_down();
            volume.hands_over.store(true, Ordering::SeqCst);
            let end = end_of(volume.store.position());
            volume.say(&connection, *id, Message::HandOver(end));
        }
        Ok(())
    }

    /// Whether a volume has met a newer epoch, and goes back.
    pub fn is_going_back(&self) -> bool {
        self.volumes.values().any(|volume| volume.goes_back.load(Ordering::SeqCst))
    }

    /// The follower did not say that it took over: when the nodes meet again, it is known.
    pub fn meet_again(&self) {
        if let Some(connection) = self.connection.lock().as_ref() {
            connection.close();
        }
    }

    pub(super) fn handed_over(&self, volume: &Arc<Volume>, end: GroupEnd) {
        let standing = volume.store.standing();
        if standing.follows && end_of(standing.position) != end {
            return volume.trouble("this node was to take over, and lacks groups; it does not");
        }
        let Some(asked) = self.hand_over.lock().clone() else { return };
        let spawned = std::thread::Builder::new().name("hand over".into()).spawn(move || asked());
        if let Err(error) = spawned {
            volume.trouble(&format!("no thread could be started: {error}"));
        }
    }
}

impl Volume {
    /// What was to be asked of the other node is known.
    fn take_changes(&self) {
        if self.asks_first.swap(false, Ordering::SeqCst) {
            self.store.set_changes_refused(false);
            self.standing.lock().trouble = None;
        }
    }

    /// Takes no changes any more, and waits until the follower has all there is.
    fn drain(&self) -> Result<(), String> {
        if self.store.standing().follows {
            return Err("this node follows".to_owned());
        }
        let pair = self.store.pair_standing();
        if !pair.is_there || pair.is_degraded {
            return Err("the other node is away or catching up; try again".to_owned());
        }
        self.store.set_changes_refused(true);
        // The committer has passed what waited when this is flushed.
        self.store.checkpoint();
        let begun = Instant::now();
        loop {
            let noted = self.store.pair_standing().noted;
            if noted.is_some_and(|noted| noted >= self.store.position().lsn) {
                return Ok(());
            }
            if begun.elapsed() >= DRAIN || !self.store.pair_standing().is_there {
                self.store.set_changes_refused(false);
                return Err(
                    "the other node did not have everything in time; nothing was changed, \
                            try again"
                        .to_owned(),
                );
            }
            let mut standing = self.standing.lock();
            self.noted.wait_for(&mut standing, LOOK);
        }
    }

    /// The follower is there: it did not take over, and it has no more than this node, or it does.
    pub(super) fn met_follower(&self, connection: &Connection, id: VolumeId, there: &VolumeState) {
        let standing = self.store.standing();
        let newest = standing.history.last().map(|epoch| epoch.id);
        let is_same = there.history.last().map(|epoch| epoch.id) == newest;
        if is_same && there.last.lsn > standing.position.lsn {
            // The disk of this node has lost what it had; other groups must not take its place.
            self.store.stand_down(
                "the other node of the pair has more of this epoch than this one, which takes no \
                 changes; it hands over",
            );
            return self.say(connection, id, Message::HandOver(there.last));
        }
        self.take_changes();
        if self.hands_over.swap(false, Ordering::SeqCst) {
            self.store.set_changes_refused(false);
            tracing::warn!(volume = %self.name, "the other node did not take over");
        }
    }
}

const NOT_CONNECTED: &str = "the other node is not connected; to take over from one that is gone, \
    'pillarbox replica promote' there";
