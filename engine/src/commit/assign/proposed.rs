//! Changes that other nodes propose: executed once, and answered in the log.

use std::sync::Arc;

use crate::commit::change::Change;
use crate::commit::merged::{Merged, Unchanged, has_changed};
use crate::commit::proposal::{Collected, Done, ProposalOutcome, Proposed, refusal};
use crate::commit::room::RoomTaken;
use crate::error::CommitError;
use crate::format_level;
use crate::ids::{AccountNumber, Lsn, RequestId};
use crate::record::{Body, Run};
use crate::sabotage::{Sabotage, breaks};

use super::{Assigner, read_only};

/// What a sealed record of an outcome has beside it.
const ANSWERED_BYTES: usize = 256;

/// The request that is being executed.
#[derive(Default)]
pub(super) struct Executing {
    /// Its id, which its records carry.
    pub(super) request: Option<RequestId>,
    /// Bytes that its records leave free in their group, for what it is answered.
    pub(super) answer_bytes: usize,
    /// The run of its records that what it is answered ends.
    pub(super) open_run: Option<Lsn>,
    /// It was acknowledged before, on the other node: no quota refuses it.
    pub(super) is_merged: bool,
}

impl Assigner<'_> {
    /// Executes a proposal unless it was, and answers it.
    pub(super) fn propose(&mut self, proposed: Proposed) {
        let Proposed { request, change, collected, done, room } = proposed;
        if let Some(outcome) = self.known_outcome(request) {
            return self.reply_outcome(done, outcome, room);
        }
        if let Err(error) = self.may_propose(&change) {
            self.end_all_ahead(&change);
            let outcome = ProposalOutcome { at: self.last_position(), bytes: refusal(&error) };
            return self.reply_outcome(done, outcome, room);
        }
        let account = change.account();
        let outcome_bytes = change.outcome_bytes_max();
        let before = self.next;
        self.executing = Executing {
            request: Some(request),
            answer_bytes: outcome_bytes + ANSWERED_BYTES,
            open_run: None,
            is_merged: false,
        };
        let bytes = self.execute(change, &collected, outcome_bytes);
        let Executing { open_run, .. } = std::mem::take(&mut self.executing);
        // What changed nothing is not remembered: it may be asked again.
        if self.next != before && self.broken.is_none() && !breaks(Sabotage::Request) {
            let run = open_run.map(|first| Run { first, last: true });
            self.note_outcome(account, (request, bytes.clone()), run);
        }
        let outcome = ProposalOutcome { at: self.last_position(), bytes };
        self.reply_outcome(done, outcome, room);
    }

    /// A change that was acknowledged on the other node, if what it was judged by still holds.
    pub(super) fn merge(&mut self, merged: Merged) {
        let Merged { change, unchanged } = merged;
        if let Some(Unchanged { account, mailbox, since }) = unchanged {
            // Whether it is there, and can be read, the change itself finds out.
            let found = self.changes.mailbox_mut(self.context.committed, (account, mailbox));
            if let Ok(Some((state, _))) = found
                && state.highest_modseq() > since
            {
                return change.refuse(&has_changed);
            }
        }
        self.executing.is_merged = true;
        self.assign(change);
        self.executing.is_merged = false;
    }

    /// What the request was answered, in this batch or before.
    fn known_outcome(&self, request: RequestId) -> Option<ProposalOutcome> {
        let known = self.changes.answered.get(&request).cloned();
        let row = known.or_else(|| self.context.committed.answered(request))?;
        Some(ProposalOutcome { at: row.lsn, bytes: row.outcome.to_vec() })
    }

    fn may_propose(&self, change: &Change) -> Result<(), CommitError> {
        if self.context.format_level < format_level::PROPOSALS {
            return Err(CommitError::NotPermitted { what: BELOW_LEVEL });
        }
        if self.context.committed.has_too_many_answers() {
            return Err(CommitError::QueueFull);
        }
        // A message that began to enter before this primary was started is dead, or will be.
        let enters = |chunks: &&[Lsn]| self.entering.holds(chunks);
        if !change.all_ahead().iter().all(enters) {
            return Err(CommitError::QueueFull);
        }
        Ok(())
    }

    /// Its messages that are entering do so in vain.
    fn end_all_ahead(&mut self, change: &Change) {
        for chunks in change.all_ahead() {
            if let Some(first) = chunks.first().filter(|_| self.entering.holds(chunks)) {
                let dead = self.entering.end(*first);
                self.changes.dead_chunks.extend(dead);
            }
        }
    }

    /// Assigns the change; its promises are answered at once, and only into `collected`.
    fn execute(&mut self, change: Change, collected: &Arc<Collected>, bytes_max: usize) -> Vec<u8> {
        let replies = self.replies.len();
        self.assign(change);
        self.replies.split_off(replies).into_iter().for_each(|reply| reply(None));
        collected.take(bytes_max)
    }

    /// A record of what the request was answered: in the group, or the run, of its last record.
    fn note_outcome(
        &mut self,
        account: AccountNumber,
        (request, outcome): (RequestId, Vec<u8>),
        run: Option<Run>,
    ) {
        let groups = self.groups.len();
        let body = Body::Answered { request, outcome };
        if let Err(error) = self.emit_in_run(account, body, run) {
            self.broken = Some(error.to_string());
        }
        assert!(run.is_some() || groups == self.groups.len(), "its records left it room");
    }

    fn reply_outcome(&mut self, done: Done, outcome: ProposalOutcome, room: Option<RoomTaken>) {
        let volume = self.context.volume_name.to_owned();
        self.replies.push(Box::new(move |stopped| {
            drop(room);
            done(match stopped {
                None => outcome,
                Some(why) => {
                    ProposalOutcome { at: Lsn::ZERO, bytes: refusal(&read_only(&volume, why)) }
                }
            });
        }));
    }
}

/// Why a volume of an older level takes no changes of another node.
const BELOW_LEVEL: &str = "the store is at a format level that takes no changes from another \
    node; raise it with 'pillarbox upgrade finish'";
