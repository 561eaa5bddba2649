//! Changes that a follower's clients ask for, on their way to the primary and back.
//!
//! ```text
//!  client ─► proposal, with an id ── Propose ──►  primary: once for each id
//!    ▲                                              │ commits
//!    └── when the own log has it ◄──── Outcome ◄────┘
//! ```
//!
//! # Invariants
//! 1. Whoever asked is answered once, and with an outcome not before the log here reaches it: what
//!    a client was told it finds on either node.
//! 2. What waits when the connection is lost is sent again under the same id when there is another
//!    one; the primary knows what took effect. After [`PATIENCE`] it is withdrawn and never sent
//!    again.
//! 3. Proposals that wait are bounded in number and bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::error::CommitError;
use engine::ids::{Lsn, RequestId};
use engine::{ProposalOutcome, RouteReply, Store};
use parking_lot::Mutex;

/// How long a client waits for the primary.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Proposals that wait at a time.
pub(crate) const COUNT_MAX: usize = 10_000;
/// Bytes of them: those of large messages come in pieces.
pub(crate) const BYTES_MAX: usize = 256 << 20;

/// The proposals of one volume that wait.
#[derive(Default)]
pub(crate) struct Asked {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: HashMap<RequestId, Waiting>,
    bytes: usize,
}

struct Waiting {
    proposal: Arc<Vec<u8>>,
    reply: RouteReply,
    since: Instant,
    /// Known, and the log here does not reach it yet.
    outcome: Option<ProposalOutcome>,
}

impl Inner {
    fn remove(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&request)?;
        self.bytes -= waiting.proposal.len();
        Some(waiting)
    }
}

/// Why there is no outcome.
fn unavailable(reason: &str) -> CommitError {
    CommitError::ReadOnly { volume: "main".to_owned(), reason: reason.to_owned() }
}

impl Asked {
    /// Notes a proposal; answers its bytes, or `None` if it was refused.
    pub(crate) fn ask(
        &self,
        request: RequestId,
        proposal: Vec<u8>,
        reply: RouteReply,
    ) -> Option<Arc<Vec<u8>>> {
        let mut inner = self.inner.lock();
        if inner.waiting.len() >= COUNT_MAX || inner.bytes + proposal.len() > BYTES_MAX {
            drop(inner);
            reply(Err(CommitError::QueueFull));
            return None;
        }
        let proposal = Arc::new(proposal);
        inner.bytes += proposal.len();
        let waiting = Waiting {
            proposal: Arc::clone(&proposal),
            reply,
            since: Instant::now(),
            outcome: None,
        };
        inner.waiting.insert(request, waiting);
        Some(proposal)
    }

    /// The primary has answered.
    pub(crate) fn outcome(&self, request: RequestId, outcome: ProposalOutcome, reached: Lsn) {
        if let Some(waiting) = self.inner.lock().waiting.get_mut(&request) {
            waiting.outcome = Some(outcome);
        }
        self.reached(reached);
    }

    /// The log here reaches up to there.
    pub(crate) fn reached(&self, lsn: Lsn) {
        let mut inner = self.inner.lock();
        let is_ready =
            |waiting: &Waiting| waiting.outcome.as_ref().is_some_and(|outcome| outcome.at <= lsn);
        let ready = inner.waiting.iter().filter(|(_, waiting)| is_ready(waiting));
        let ready: Vec<RequestId> = ready.map(|(request, _)| *request).collect();
        let ready: Vec<Waiting> =
            ready.into_iter().filter_map(|request| inner.remove(request)).collect();
        drop(inner);
        for Waiting { reply, outcome, .. } in ready {
            if let Some(outcome) = outcome {
                reply(Ok(outcome));
            }
        }
    }

    /// What is to be sent again: everything without an outcome.
    pub(crate) fn unanswered(&self) -> Vec<(RequestId, Arc<Vec<u8>>)> {
        let inner = self.inner.lock();
        let unanswered = inner.waiting.iter().filter(|(_, waiting)| waiting.outcome.is_none());
        unanswered.map(|(request, waiting)| (*request, Arc::clone(&waiting.proposal))).collect()
    }

    /// It cannot be sent.
    pub(crate) fn refuse(&self, request: RequestId, reason: &str) {
        let waiting = self.inner.lock().remove(request);
        if let Some(Waiting { reply, .. }) = waiting {
            reply(Err(unavailable(reason)));
        }
    }

    /// Gives up what waits for too long; answers which, for the primary to forget.
    pub(crate) fn expire(&self) -> Vec<RequestId> {
        let inner = self.inner.lock();
        let late = inner.waiting.iter().filter(|(_, waiting)| waiting.since.elapsed() >= PATIENCE);
        let late: Vec<RequestId> = late.map(|(request, _)| *request).collect();
        drop(inner);
        for request in &late {
            self.refuse(*request, "the primary of the pair did not answer in time");
        }
        late
    }

    /// This node is primary now: what took effect before is in its log, the rest is done here.
    pub(crate) fn settle(&self, store: &Store) {
        let mut inner = self.inner.lock();
        inner.bytes = 0;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        for (request, Waiting { proposal, reply, .. }) in waiting {
            match store.outcome_of(request) {
                Some(outcome) => reply(Ok(outcome)),
                None => {
                    let reply = Arc::new(Mutex::new(Some(reply)));
                    let answer = Arc::clone(&reply);
                    let done = move |outcome| {
                        if let Some(reply) = answer.lock().take() {
                            reply(Ok(outcome));
                        }
                    };
                    if let Err(error) = store.propose(request, &proposal, done)
                        && let Some(reply) = reply.lock().take()
                    {
                        reply(Err(unavailable(&error.to_string())));
                    }
                }
            }
        }
    }
}
