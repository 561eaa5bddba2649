//! Changes that travel: those of this node to the primary, and those of other nodes to this one.

use std::sync::Arc;
#[cfg(test)]
use std::sync::Weak;

use crate::commit::{Change, ProposalOutcome};
use crate::encoding::Broken;
use crate::error::CommitError;
use crate::ids::{Lsn, RequestId};

use super::{Inner, Store};

/// Bytes that are no proposal: whoever sent them is of another version, or broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what the other node proposes does not decode: {0}")]
pub struct ProposalError(Broken);

/// Takes the answer of a primary, or why there is none.
pub type RouteReply = Box<dyn FnOnce(Result<ProposalOutcome, CommitError>) + Send>;

/// Where the changes of a node go that is not primary.
pub trait Route: Send + Sync {
    /// Sends a proposal to the primary. `reply` is called once, in any thread; with an outcome not
    /// before this node has applied the log up to it, so that whoever made the change sees it.
    fn propose(&self, request: RequestId, proposal: Vec<u8>, reply: RouteReply);
}

impl Store {
    /// From now on changes go to the primary by that route; `None`: they are committed here. What
    /// is on its way is answered as it was begun.
    pub fn set_route(&self, route: Option<Arc<dyn Route>>) {
        *self.inner.route.write() = route;
    }

    /// Takes a change that another node proposes, and answers it as if a caller here had asked for
    /// it: once for each `request`, however often it comes and whatever ends in between. `done` is
    /// called in the committer's thread, or in this one; it should only pass the outcome on. Waits
    /// where the committer has much to do.
    ///
    /// # Errors
    /// Bytes that are no proposal; `done` is not called.
    pub fn propose(
        &self,
        request: RequestId,
        proposal: &[u8],
        done: impl FnOnce(ProposalOutcome) + Send + 'static,
    ) -> Result<(), ProposalError> {
        let inner = &self.inner;
        let change = Change::from_proposal(request, proposal, Box::new(done));
        let Change::Proposed(mut proposed) = change.map_err(ProposalError)? else {
            return Err(ProposalError("it is of no known kind"));
        };
        if let Change::EndAhead { first } = proposed.change {
            // Whoever says so waits for nothing, and it must not wait for room.
            inner.queue.push_now(Change::EndAhead { first });
            proposed.answer_nothing();
            return Ok(());
        }
        let ahead = firsts(&proposed.change);
        // A request that was answered brings nothing more.
        let bytes = proposed.change.message_bytes();
        if bytes > 0 && inner.committed.answered(request).is_none() {
            match inner.room.take(bytes) {
                Ok(room) => proposed.room = Some(room),
                Err(error) => {
                    inner.end_ahead_here(&ahead);
                    proposed.refuse(&error);
                    return Ok(());
                }
            }
        }
        inner.push_here(Change::Proposed(proposed), &ahead);
        Ok(())
    }

    /// Makes a change under that id, wherever changes of this node are made.
    pub(crate) fn push_as(&self, request: RequestId, change: Change) {
        let route = self.inner.route.read().clone();
        let (proposal, reply) = match change.into_proposal() {
            Ok(proposed) => proposed,
            Err(not_proposed) => return not_proposed.refuse(),
        };
        let answer = |outcome: Result<ProposalOutcome, CommitError>| match outcome {
            Ok(outcome) => reply.answer(&outcome.bytes),
            Err(error) => reply.refuse(&error),
        };
        match route {
            Some(route) => route.propose(request, proposal, Box::new(answer)),
            None => {
                let taken = self.propose(request, &proposal, |outcome| answer(Ok(outcome)));
                debug_assert!(taken.is_ok(), "it was just written");
            }
        }
    }

    /// What a request was answered, if it took effect and was not forgotten: for whoever inherits
    /// the log.
    pub fn outcome_of(&self, request: RequestId) -> Option<ProposalOutcome> {
        let row = self.inner.committed.answered(request)?;
        Some(ProposalOutcome { at: row.lsn, bytes: row.outcome.to_vec() })
    }

    /// Forgets requests that were answered below a position, which nobody will send again; the
    /// newest 4096 stay. Answers how many.
    pub fn forget_requests(&self, below: Lsn) -> usize {
        self.inner.committed.forget_answered(below)
    }

    /// No more comes of messages that began to enter for a node that went away, named by the
    /// positions of their first chunks.
    pub fn end_entering(&self, firsts: &[Lsn]) {
        self.inner.end_ahead_here(firsts);
    }
}

impl Inner {
    /// Hands a change to the committer, or to the primary if this node is not.
    pub(super) fn push(&self, change: Change, ahead: &[Lsn]) {
        let route = self.route.read().clone();
        match route {
            None => self.push_here(change, ahead),
            Some(route) => self.push_away(route.as_ref(), change),
        }
    }

    /// Nothing more of these messages comes, named by their first chunks: their chunks are dead.
    pub(super) fn end_ahead(&self, firsts: &[Lsn]) {
        let route = self.route.read().clone();
        match route {
            None => self.end_ahead_here(firsts),
            Some(route) => firsts.iter().for_each(|&first| {
                self.push_away(route.as_ref(), Change::EndAhead { first });
            }),
        }
    }

    fn end_ahead_here(&self, firsts: &[Lsn]) {
        firsts.iter().for_each(|&first| self.queue.push_now(Change::EndAhead { first }));
    }

    fn push_here(&self, change: Change, ahead: &[Lsn]) {
        if let Err(refused) = self.queue.push(change) {
            self.end_ahead_here(ahead);
            refused.refuse(&|| self.refusal());
        }
    }

    fn push_away(&self, route: &dyn Route, change: Change) {
        match change.into_proposal() {
            Ok((proposal, reply)) => {
                let request = RequestId(self.sealer.random_id());
                let answer = |outcome: Result<ProposalOutcome, CommitError>| match outcome {
                    Ok(outcome) => reply.answer(&outcome.bytes),
                    Err(error) => reply.refuse(&error),
                };
                route.propose(request, proposal, Box::new(answer));
            }
            Err(not_proposed) => not_proposed.refuse(),
        }
    }
}

fn firsts(change: &Change) -> Vec<Lsn> {
    change.all_ahead().into_iter().filter_map(|chunks| chunks.first().copied()).collect()
}

/// A primary that is the same store: every change goes out as bytes and comes in as a proposal.
#[cfg(test)]
pub(crate) struct Loopback {
    store: Weak<Inner>,
    pub(crate) sent: parking_lot::Mutex<Vec<(RequestId, Vec<u8>)>>,
}

#[cfg(test)]
impl Loopback {
    pub(crate) fn set(store: &Store) -> Arc<Loopback> {
        let (store, sent) = (Arc::downgrade(&store.inner), parking_lot::Mutex::default());
        let loopback = Arc::new(Loopback { store, sent });
        let route: Arc<dyn Route> = Arc::<Loopback>::clone(&loopback);
        let store = Store { inner: loopback.store.upgrade().unwrap() };
        store.set_route(Some(route));
        loopback
    }
}

#[cfg(test)]
impl Route for Loopback {
    fn propose(&self, request: RequestId, proposal: Vec<u8>, reply: RouteReply) {
        self.sent.lock().push((request, proposal.clone()));
        let store = Store { inner: self.store.upgrade().unwrap() };
        store.propose(request, &proposal, |outcome| reply(Ok(outcome))).unwrap();
    }
}
