//! The directory: who is primary of a volume, said by a third party, an etcd.
//!
//! | key | value | there |
//! |--|--|--|
//! | `PREFIX/CLUSTER/VOLUME/primary` | a [`Standing`]: epoch, primary, in sync, fork | for good |
//! | `PREFIX/CLUSTER/VOLUME/lease` | the id of its epoch | while the primary's lease runs |
//!
//! Two keys, because a key goes with its lease: what stands under the first must outlive every
//! outage. Epoch and `in_sync` are one key, so that degrading and promoting exclude each other:
//! each is one transaction that compares the key's revision, and one of two is too late.
//!
//! ```text
//! open      number above the one there; in sync, if demanded; no lease, unless given up  → node
//! mark      by the primary: a node has all that is acknowledged, or none has any more    → primary
//! give up   by the primary: it acknowledges nothing any more                             → primary
//! bind      by the primary: the key `lease`, with a lease that it was granted            → primary
//! ```
//!
//! A lease belongs to mode `local` (`lease.rs`, `keeping.rs`). In mode `durable` no lease has to
//! run out: the old primary can acknowledge nothing without the node that opens the next epoch.
//!
//! Calls are plain and wait at most as long as [`client`] says; callers are threads.
//!
//! # Invariants
//! 1. Nothing is written but by a transaction that compares the revision of `primary`.
//! 2. What stands there with another version is never overwritten.
//! 3. A new epoch is opened with nobody in sync: its primary says who is, once one has followed.
//!
//! # What can go wrong
//! An answer is lost: the change may have happened, or happen a moment later. Doing it again is
//! right, for what is wanted and stands there already is success ([`Directory::open`] goes by the
//! epoch's id). Whoever does not know whether its epoch was opened asks until it knows, before it
//! serves or follows.

pub mod client;
pub mod clock;
pub mod error;
pub(crate) mod fuzzing;
pub mod gateway;
pub mod keeping;
pub mod lease;
pub mod options;
pub mod place;
pub mod standing;

use engine::ids::{EpochId, NodeId};

use client::Client;
use error::{DirectoryError, HoldError, OpenError};
use gateway::{Action, Compare, LeaseId, Revision, Row, Transacted};
use place::Place;
use standing::{Epoch, Standing};

/// How often a change is tried anew after somebody else came first.
const ROUNDS: usize = 16;

/// What one volume has in etcd.
pub struct Directory {
    client: Client,
    place: Place,
}

/// What was found there, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// What stands there, if anything does, and when it was last changed.
    pub standing: Option<(Standing, Revision)>,
    /// The primary's lease, if one runs.
    pub lease: Option<LeaseId>,
    /// When the key of the lease was last changed.
    lease_changed: Revision,
}

/// What a primary knows to stand there about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// What stands there.
    pub standing: Standing,
    /// When it was last changed.
    pub revision: Revision,
}

/// What must stand there for an epoch to be opened, beside a lower number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// The node that opens it is marked as in sync, in the epoch that it followed: nothing that was
    /// acknowledged is lost. For promotion without being told to.
    InSync {
        /// The id of the epoch that it followed.
        followed: EpochId,
    },
    /// Nothing: somebody who knows what may be lost has said so, or it is the first epoch.
    Nothing,
}

/// What came of a transaction.
enum Outcome {
    Done(Revision),
    Overtaken(Seen),
}

impl Directory {
    /// The directory of the volume at `place`.
    pub fn new(client: Client, place: Place) -> Directory {
        Directory { client, place }
    }

    /// The client, for leases.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What stands there now.
    ///
    /// # Errors
    /// When etcd gives no answer, or what stands there is none of ours.
    pub fn read(&self) -> Result<Seen, DirectoryError> {
        self.seen(self.client.transact(&[], &self.reads(), &[])?)
    }

    /// Opens an epoch for its node. Done again after a lost answer, it succeeds if it had.
    ///
    /// A lease of the node's own earlier epoch is no hindrance, so its keeping is stopped before.
    ///
    /// # Errors
    /// When etcd gives no answer, or something stands against it; `Leased` passes by itself.
    pub fn open(&self, epoch: &Epoch, demand: Demand) -> Result<Holding, OpenError> {
        let wanted = Standing { epoch: *epoch, in_sync: None, given_up: false };
        let value = wanted.encode();
        let mut seen = self.read()?;
        for _ in 0..ROUNDS {
            if let Some((standing, revision)) = seen.standing
                && standing.epoch == *epoch
                && !standing.given_up
            {
                return Ok(Holding { standing, revision });
            }
            self.may_open(epoch, demand, &seen)?;
            let compare = [
                Compare { key: self.place.primary(), changed: seen.revision() },
                Compare { key: self.place.lease(), changed: seen.lease_changed },
            ];
            let write = Action::Write { key: self.place.primary(), value: &value, lease: None };
            let remove = Action::Remove(self.place.lease());
            match self.transact(&compare, &[write, remove])? {
                Outcome::Done(revision) => return Ok(Holding { standing: wanted, revision }),
                Outcome::Overtaken(now) => seen = now,
            }
        }
        Err(DirectoryError::CompareFailed(ROUNDS).into())
    }

    /// Notes that `node` has all that the primary acknowledges.
    ///
    /// # Errors
    /// When etcd gives no answer, or `holding` is over.
    pub fn set_in_sync(&self, holding: &Holding, node: NodeId) -> Result<Holding, HoldError> {
        self.alter(holding, |there| Standing { in_sync: Some(node), ..there })
    }

    /// Notes that no node has all that the primary acknowledges: before it acknowledges alone.
    ///
    /// # Errors
    /// When etcd gives no answer, or `holding` is over: then nothing may be acknowledged alone.
    pub fn clear_in_sync(&self, holding: &Holding) -> Result<Holding, HoldError> {
        self.alter(holding, |there| Standing { in_sync: None, ..there })
    }

    /// Lays the epoch down: the primary has ceased to acknowledge, and another may open the next
    /// epoch without waiting for a lease.
    ///
    /// # Errors
    /// When etcd gives no answer, or `holding` was over before.
    pub fn give_up(&self, holding: &Holding) -> Result<Holding, HoldError> {
        self.alter(holding, |there| Standing { given_up: true, ..there })
    }

    /// Binds a lease to the epoch: until it runs out, nobody else opens an epoch, unless this one
    /// is given up.
    ///
    /// # Errors
    /// When etcd gives no answer or has no such lease, or `holding` is over.
    pub fn bind(&self, holding: &Holding, lease: LeaseId) -> Result<Holding, HoldError> {
        let value = holding.standing.epoch.id().to_string();
        let write =
            Action::Write { key: self.place.lease(), value: value.as_bytes(), lease: Some(lease) };
        let mut there = *holding;
        for _ in 0..ROUNDS {
            let compare = [Compare { key: self.place.primary(), changed: there.revision }];
            match self.transact(&compare, &[write])? {
                Outcome::Done(_) => return Ok(there),
                Outcome::Overtaken(seen) => there = still_held(holding, &seen)?,
            }
        }
        Err(DirectoryError::CompareFailed(ROUNDS).into())
    }

    /// Changes what stands there, as long as it is the epoch that the caller holds.
    fn alter(
        &self,
        holding: &Holding,
        change: impl Fn(Standing) -> Standing,
    ) -> Result<Holding, HoldError> {
        let mut there = *holding;
        for _ in 0..ROUNDS {
            let wanted = change(there.standing);
            let value = wanted.encode();
            let compare = [Compare { key: self.place.primary(), changed: there.revision }];
            let write = Action::Write { key: self.place.primary(), value: &value, lease: None };
            match self.transact(&compare, &[write])? {
                Outcome::Done(revision) => return Ok(Holding { standing: wanted, revision }),
                Outcome::Overtaken(seen) => {
                    if let Some((standing, revision)) = seen.standing
                        && standing == wanted
                    {
                        return Ok(Holding { standing, revision });
                    }
                    there = still_held(holding, &seen)?;
                }
            }
        }
        Err(DirectoryError::CompareFailed(ROUNDS).into())
    }

    /// Whether what was seen lets `epoch` be opened.
    fn may_open(&self, epoch: &Epoch, demand: Demand, seen: &Seen) -> Result<(), OpenError> {
        let there = seen.standing.map(|(standing, _)| standing);
        if let Some(there) = there
            && epoch.number() <= there.epoch.number()
        {
            return Err(OpenError::NotAbove { number: epoch.number(), there });
        }
        if let Demand::InSync { followed } = demand {
            let is_in_sync = there.is_some_and(|there| {
                there.in_sync == Some(epoch.node()) && there.epoch.id() == followed
            });
            if !is_in_sync {
                return Err(OpenError::NotInSync(there));
            }
        }
        let waits = there.is_none_or(|there| !there.given_up && there.epoch.node() != epoch.node());
        match seen.lease {
            Some(lease) if waits => Err(OpenError::Leased { lease, there }),
            _ => Ok(()),
        }
    }

    fn reads(&self) -> [Action<'_>; 2] {
        [Action::Read(self.place.primary()), Action::Read(self.place.lease())]
    }

    /// Does `then` if all that is compared is so; else says what is there instead.
    fn transact(
        &self,
        compare: &[Compare<'_>],
        then: &[Action<'_>],
    ) -> Result<Outcome, DirectoryError> {
        let transacted = self.client.transact(compare, then, &self.reads())?;
        match transacted.held {
            true => Ok(Outcome::Done(transacted.revision)),
            false => self.seen(transacted).map(Outcome::Overtaken),
        }
    }

    /// What a transaction read.
    fn seen(&self, transacted: Transacted) -> Result<Seen, DirectoryError> {
        let mut found = transacted.found.into_iter();
        let (primary, lease) = (found.next().flatten(), found.next().flatten());
        let standing = match primary {
            Some(Row { value, changed, .. }) => {
                let standing = Standing::decode(&value).map_err(|flaw| {
                    DirectoryError::Foreign { key: self.place.primary().to_owned(), flaw }
                })?;
                Some((standing, changed))
            }
            None => None,
        };
        let lease_changed = lease.as_ref().map_or(Revision::NONE, |row| row.changed);
        Ok(Seen { standing, lease: lease.and_then(|row| row.lease), lease_changed })
    }
}

impl Seen {
    fn revision(&self) -> Revision {
        self.standing.map_or(Revision::NONE, |(_, revision)| revision)
    }
}

/// What stands there, if it is still the epoch of `holding`, and not given up.
fn still_held(holding: &Holding, seen: &Seen) -> Result<Holding, HoldError> {
    match seen.standing {
        Some((standing, revision))
            if standing.epoch == holding.standing.epoch && !standing.given_up =>
        {
            Ok(Holding { standing, revision })
        }
        other => Err(HoldError::Deposed(other.map(|(standing, _)| standing))),
    }
}
