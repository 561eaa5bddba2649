//! Failover by etcd: which node is primary, kept with a third party, so that the follower takes
//! over by itself and an old primary can acknowledge nothing that counts.
//!
//! ```text
//! primary    holds its epoch there; marks the follower as in sync once it has all; clears the mark
//!            before the first change that is acknowledged without it; mode local: keeps a lease
//! follower   without its primary for so long: takes nothing of it any more ─► opens the next epoch
//!            there, if it is marked in sync (and, mode local, no lease runs) ─► is promoted
//! ```
//! A state machine with a `step`, which says when it is to be called again; one thread drives it.
//!
//! # Invariants
//! 1. A follower takes nothing of its primary from before it asks for an epoch until it knows that
//!    it did not get it.
//! 2. Changes are acknowledged without the follower only after the mark is cleared.
//! 3. An epoch that was opened there for this node, and that its log lacks, is begun before this
//!    node does anything else.
//!
//! # What can go wrong
//! etcd is away: nothing is promoted and nothing degrades; what both nodes see goes on. Another
//! epoch stands there: this node takes no changes any more, and goes back when it meets the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Store;
use engine::ids::{EpochId, Lsn, NodeId};
use engine::pair::Acknowledgement;
use tracing::{info, warn};

use crate::directory::clock::Moment;
use crate::directory::error::{HoldError, OpenError};
use crate::directory::keeping::Keeping;
use crate::directory::standing::{Epoch, ForkAbove, Standing};
use crate::directory::{Demand, Directory, Holding};

/// How often the situation is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long is waited after etcd gave no answer.
const AGAIN: Duration = Duration::from_millis(500);

/// How this node takes part.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When changes are acknowledged.
    pub acknowledgement: Acknowledgement,
    /// After which time without the follower they are acknowledged without it, if at all.
    pub degrade_after: Duration,
    /// After which time without its primary a follower takes over.
    pub failover_after: Duration,
    /// Seconds of the primary's lease, in mode local.
    pub lease_seconds: u32,
    /// Whether this node's epochs have odd numbers.
    pub is_odd: bool,
}

/// What is seen of the other node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// The connection to the primary stands, if this node follows.
    pub sees_primary: bool,
    /// The other node, if there is one.
    pub other: Option<NodeId>,
}

/// What a step did that others have to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Nothing.
    Nothing,
    /// This node was promoted, to that epoch.
    Promoted(u16),
    /// This node is primary no longer, as far as etcd knows.
    Deposed,
}

/// One volume's failover.
pub struct Failover {
    store: Store,
    directory: Arc<Directory>,
    terms: Terms,
    holding: Option<Holding>,
    keeping: Option<Keeping>,
    /// Since when the other node is not there.
    alone_since: Option<Instant>,
    /// An epoch that was asked for, and whose answer is not known.
    asked: Option<Epoch>,
    /// etcd was asked whether it names this node already.
    is_asked_first: bool,
    /// The follower is marked when it has this.
    in_sync_at: Option<Lsn>,
    is_deposed: bool,
    /// This node hands over.
    is_laid_down: bool,
    /// What etcd said last, for people.
    word: String,
}

impl Failover {
    /// Of a store that is open.
    pub fn new(store: Store, directory: Directory, terms: Terms) -> Failover {
        let failover = Failover {
            store,
            directory: Arc::new(directory),
            terms,
            holding: None,
            keeping: None,
            alone_since: None,
            asked: None,
            is_asked_first: false,
            in_sync_at: None,
            is_deposed: false,
            is_laid_down: false,
            word: "etcd was not asked yet".to_owned(),
        };
        if failover.is_local() && !failover.store.standing().follows {
            // Until the lease is held, what the other node has counts.
            failover.store.set_lease(Some(Arc::new(|| false)));
        }
        failover
    }

    /// What etcd said last.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// Looks once, and does what is to be done; answers what that was, and when to look again.
    pub fn step(&mut self, sight: Sight) -> (Turn, Duration) {
        if self.is_deposed || self.is_laid_down || sight.other.is_none() {
            return (Turn::Nothing, AGAIN);
        }
        let standing = self.store.standing();
        let is_there = match standing.follows {
            true => sight.sees_primary,
            false => self.store.pair_standing().is_there,
        };
        if is_there {
            self.alone_since = None;
        } else {
            self.alone_since.get_or_insert_with(Instant::now);
        }
        match standing.follows {
            true => self.follow(),
            false => self.lead(sight),
        }
    }

    fn is_local(&self) -> bool {
        self.terms.acknowledgement == Acknowledgement::Local
    }

    fn alone(&self) -> Duration {
        self.alone_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// This node is primary.
    fn lead(&mut self, sight: Sight) -> (Turn, Duration) {
        let Some(holding) = self.holding else { return self.hold() };
        let pair = self.store.pair_standing();
        let wanted = match pair.is_there {
            true => sight.other,
            // What is acknowledged here alone, the other node lacks.
            false if self.is_local() || pair.is_degraded => None,
            false => holding.standing.in_sync,
        };
        if pair.is_there && pair.is_degraded {
            // First both have everything again, then it may be counted on.
            self.store.set_degraded(false);
            warn!("the other node is back: mail is acknowledged on both again");
        }
        if wanted.is_none() || wanted == holding.standing.in_sync {
            self.in_sync_at = None;
        } else {
            // What was acknowledged a moment ago without it may be on its way yet.
            let at = *self.in_sync_at.get_or_insert(pair.last);
            if pair.noted.is_none_or(|noted| noted < at) {
                return (Turn::Nothing, LOOK);
            }
        }
        if wanted != holding.standing.in_sync {
            return self.mark(&holding, wanted);
        }
        let degrades = matches!(
            self.terms.acknowledgement,
            Acknowledgement::Durable(engine::pair::Away::Degrade)
        );
        if degrades && !pair.is_degraded && self.alone() >= self.terms.degrade_after {
            return self.degrade(&holding);
        }
        if let Some(keeping) = &self.keeping
            && keeping.is_over()
        {
            return (self.deposed(), LOOK);
        }
        (Turn::Nothing, LOOK)
    }

    /// Makes etcd name this node, in its epoch.
    fn hold(&mut self) -> (Turn, Duration) {
        let Some(epoch) = self.own_epoch() else { return (Turn::Nothing, AGAIN) };
        match self.directory.open(&epoch, Demand::Nothing) {
            Ok(holding) => {
                self.held(holding);
                (Turn::Nothing, LOOK)
            }
            Err(OpenError::NotAbove { there, .. }) if there.epoch.number() > epoch.number() => {
                (self.deposed(), LOOK)
            }
            Err(error) => self.later(&error),
        }
    }

    fn held(&mut self, holding: Holding) {
        self.word = holding.standing.to_string();
        info!("etcd names this node: {}", self.word);
        self.holding = Some(holding);
        if self.is_local() && self.keeping.is_none() {
            let directory = Arc::clone(&self.directory);
            match Keeping::start(directory, holding, self.terms.lease_seconds) {
                Ok(keeping) => {
                    let view = keeping.view();
                    self.store.set_lease(Some(Arc::new(move || view.is_held(Moment::now()))));
                    self.keeping = Some(keeping);
                }
                Err(error) => warn!("the lease is not kept: {error}"),
            }
        }
    }

    fn mark(&mut self, holding: &Holding, wanted: Option<NodeId>) -> (Turn, Duration) {
        let marked = match wanted {
            Some(node) => self.directory.set_in_sync(holding, node),
            None => self.directory.clear_in_sync(holding),
        };
        match marked {
            Ok(holding) => {
                self.word = holding.standing.to_string();
                self.holding = Some(holding);
                (Turn::Nothing, LOOK)
            }
            Err(HoldError::Deposed(_)) => (self.deposed(), LOOK),
            Err(error) => self.later(&error),
        }
    }

    fn degrade(&mut self, holding: &Holding) -> (Turn, Duration) {
        match self.directory.clear_in_sync(holding) {
            Ok(holding) => {
                self.holding = Some(holding);
                self.store.set_degraded(true);
                tracing::error!(
                    "the other node is away: mail is acknowledged that is on THIS NODE ALONE"
                );
                (Turn::Nothing, LOOK)
            }
            Err(HoldError::Deposed(_)) => (self.deposed(), LOOK),
            Err(error) => self.later(&error),
        }
    }

    fn deposed(&mut self) -> Turn {
        self.is_deposed = true;
        self.keeping = None;
        self.word = "etcd names the other node; this one goes back when it meets it".to_owned();
        self.store.stand_down("etcd names the other node of the pair as primary");
        Turn::Deposed
    }

    /// This node follows.
    fn follow(&mut self) -> (Turn, Duration) {
        if self.store.has_arrival().unwrap_or(true) {
            self.word = "a full copy is on its way here: this node takes nothing over".to_owned();
            return (Turn::Nothing, AGAIN);
        }
        if let Some(epoch) = self.asked {
            return self.ask(&epoch);
        }
        if !self.is_asked_first {
            match self.directory.read() {
                Ok(seen) => {
                    self.is_asked_first = true;
                    if let Some((there, _)) = seen.standing {
                        self.word = there.to_string();
                        if self.is_ours(&there) {
                            self.store.set_following_paused(true);
                            return self.ask_again(there.epoch);
                        }
                    }
                }
                Err(error) => {
                    let _ = self.later(&error);
                }
            }
        }
        if self.alone() < self.terms.failover_after {
            return (Turn::Nothing, LOOK);
        }
        // Without etcd nobody is promoted, and then nothing is to stop either: the primary may be
        // back before etcd is.
        if let Err(error) = self.directory.read() {
            return self.later(&error);
        }
        match self.next_epoch() {
            Ok(epoch) => self.ask(&epoch),
            Err(error) => self.refused(&error),
        }
    }

    /// The epoch that this node would open. From here on the old primary hears nothing of it that
    /// it could answer anybody by.
    fn next_epoch(&self) -> Result<Epoch, ForkAbove> {
        self.store.set_following_paused(true);
        let standing = self.store.standing();
        let next = self.store.newest_epoch().saturating_add(1);
        let is_own = (next % 2 == 1) == self.terms.is_odd;
        let number = if is_own { next } else { next.saturating_add(1) };
        let (sealer, _) = self.store.pair_cover();
        let id = EpochId(sealer.random_id());
        Epoch::new(number, id, standing.node, standing.position.lsn)
    }

    /// This node hands over: its lease ends, so that the other one need not wait for it.
    pub fn lay_down(&mut self) {
        self.is_laid_down = true;
        if self.keeping.take().is_some() {
            self.store.set_lease(Some(Arc::new(|| false)));
        }
    }

    /// It does not hand over after all.
    pub fn take_up(&mut self) {
        if std::mem::take(&mut self.is_laid_down)
            && let Some(holding) = self.holding
        {
            self.held(holding);
        }
    }

    /// Makes this node primary, because somebody says so who knows what may be lost.
    ///
    /// # Errors
    /// What etcd says, in words: without it nobody is promoted.
    pub fn promote_by_hand(&mut self) -> Result<u16, String> {
        if !self.store.standing().follows {
            return Err("this node is primary already".to_owned());
        }
        self.directory.read().map_err(|error| error.to_string())?;
        let opened =
            self.next_epoch().map(|epoch| (epoch, self.directory.open(&epoch, Demand::Nothing)));
        let (turn, _) = match opened {
            Ok((_, Ok(holding))) => self.promote(holding),
            // It may have been opened: the same is asked until that is known.
            Ok((epoch, Err(OpenError::Directory(error)))) => {
                self.asked = Some(epoch);
                self.later(&error)
            }
            Ok((_, Err(error))) => self.refused(&error),
            Err(error) => self.refused(&error),
        };
        match turn {
            Turn::Promoted(epoch) => Ok(epoch),
            _ => Err(self.word.clone()),
        }
    }

    fn ask(&mut self, epoch: &Epoch) -> (Turn, Duration) {
        let standing = self.store.standing();
        let followed = standing.history.last().map(|epoch| epoch.id).unwrap_or_default();
        match self.directory.open(epoch, Demand::InSync { followed }) {
            Ok(holding) => self.promote(holding),
            // Whether it was opened is not known: the same is asked until it is.
            Err(OpenError::Directory(error)) => {
                self.asked = Some(*epoch);
                self.later(&error)
            }
            Err(OpenError::NotAbove { there, .. }) if self.is_ours(&there) => {
                self.ask_again(there.epoch)
            }
            Err(error) => self.refused(&error),
        }
    }

    /// What stands there is an epoch of this node that it never began.
    fn is_ours(&self, there: &Standing) -> bool {
        let standing = self.store.standing();
        let newest = self.store.newest_epoch();
        let position = standing.position.lsn;
        let epoch = there.epoch;
        epoch.node() == standing.node && epoch.number() > newest && epoch.fork() == position
    }

    fn ask_again(&mut self, epoch: Epoch) -> (Turn, Duration) {
        match self.directory.open(&epoch, Demand::Nothing) {
            Ok(holding) => self.promote(holding),
            Err(error) => self.refused(&error),
        }
    }

    fn promote(&mut self, holding: Holding) -> (Turn, Duration) {
        let epoch = holding.standing.epoch;
        self.asked = None;
        match self.store.promote_as(epoch.number(), epoch.id()) {
            Ok(_) => {
                self.store.set_following_paused(false);
                self.held(holding);
                (Turn::Promoted(epoch.number()), LOOK)
            }
            Err(error) => self.later(&error),
        }
    }

    /// It is not this node's turn: it goes on as a follower.
    fn refused(&mut self, why: &dyn std::fmt::Display) -> (Turn, Duration) {
        self.asked = None;
        self.store.set_following_paused(false);
        self.later(why)
    }

    fn later(&mut self, why: &dyn std::fmt::Display) -> (Turn, Duration) {
        let word = why.to_string();
        if word != self.word {
            warn!("etcd: {word}");
            self.word = word;
        }
        (Turn::Nothing, AGAIN.min(self.terms.failover_after.max(LOOK)))
    }

    /// The epoch that this node is primary of.
    fn own_epoch(&self) -> Option<Epoch> {
        let standing = self.store.standing();
        let own = standing.history.last()?;
        let fork = own.parent.map_or(Lsn::ZERO, |(_, fork)| fork);
        Epoch::new(own.number, own.id, standing.node, fork).ok()
    }
}
