//! Purging: kept messages that are over time go for good, a bounded batch at a time.
//!
//! ```text
//! Resting ─► Looking (account by account) ─► Waiting for the record ─► Looking … ─► Resting
//! ```
//! A state machine with a `step`, driven by a thread or by a simulation. It only proposes: the
//! committer judges each message again by the clock and the settings of its own place, so a hold
//! that is set meanwhile keeps what it finds; and what goes is named by a record, so that replay
//! asks no clock.
//!
//! # Invariants
//! 1. What is over time is proposed; what is not, only when space is low, the oldest first, in
//!    proportion to what an account keeps, and only where the store's setting says so.
//! 2. No more than [`BATCH_MESSAGES`] are proposed at a time, and nothing while they wait.

use std::path::PathBuf;
use std::sync::Arc;

use crate::commit::{Change, Queue, RetentionChange};
use crate::disk::{Clock, Disk};
use crate::error::{CommitError, ReadError};
use crate::ids::{AccountNumber, UnixSeconds};
use crate::state::{Committed, RetainedKey, RetentionSetting, Until};

use crate::ticket::{Ticket, ticket};

/// Messages that one record gives up.
const BATCH_MESSAGES: usize = 512;
/// Space is low below this many times the reserve, before mail is refused at once.
const LOW_SPACE_RESERVES: u64 = 2;

/// What purging needs.
pub(crate) struct PurgeSetup {
    pub(crate) committed: Arc<Committed>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) directory: PathBuf,
    /// Free disk below which nothing new is taken.
    pub(crate) reserve_bytes: u64,
}

/// Purges the kept messages of one volume.
pub(crate) struct Purger {
    setup: PurgeSetup,
    phase: Phase,
}

enum Phase {
    Resting,
    Looking(Round),
    Waiting(Round, Ticket<Result<u64, CommitError>>),
}

/// One walk over all accounts.
struct Round {
    /// Those that are left, each with the bytes that it gives up because space is low.
    accounts: Vec<(AccountNumber, u64)>,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PurgeStep {
    Again,
    /// The committer has not answered yet.
    Waiting,
    /// Nothing is over time now.
    Idle,
}

impl Purger {
    pub(crate) fn new(setup: PurgeSetup) -> Purger {
        Purger { setup, phase: Phase::Resting }
    }

    /// Does the next thing.
    ///
    /// # Errors
    /// What cannot be read; the walk is begun anew then.
    pub(crate) fn step(&mut self) -> Result<PurgeStep, ReadError> {
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Resting => {
                let round = self.round();
                if round.accounts.is_empty() {
                    return Ok(PurgeStep::Idle);
                }
                self.phase = Phase::Looking(round);
                Ok(PurgeStep::Again)
            }
            Phase::Looking(round) => self.look(round),
            Phase::Waiting(round, ticket) => match ticket.now() {
                // A committer that takes nothing says so to everybody; the next round tries again.
                Ok(Err(_)) => Ok(PurgeStep::Idle),
                Ok(Ok(_)) => {
                    self.phase = Phase::Looking(round);
                    Ok(PurgeStep::Again)
                }
                Err(ticket) => {
                    self.phase = Phase::Waiting(round, ticket);
                    Ok(PurgeStep::Waiting)
                }
            },
        }
    }

    fn round(&self) -> Round {
        let accounts: Vec<_> = self.setup.committed.accounts();
        let keeping = accounts.iter().filter(|account| account.retention.message_count > 0);
        let total: u64 = keeping.clone().map(|account| account.retention.message_bytes).sum();
        let shortage = self.shortage();
        let share = |bytes: u64| {
            let share = u128::from(shortage) * u128::from(bytes) / u128::from(total.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let accounts =
            keeping.map(|account| (account.number, share(account.retention.message_bytes)));
        Round { accounts: accounts.collect() }
    }

    /// Bytes that are missing, if the store may give up what is not over time.
    fn shortage(&self) -> u64 {
        if !self.setup.committed.retention().shortened {
            return 0;
        }
        let wanted = self.setup.reserve_bytes.saturating_mul(LOW_SPACE_RESERVES);
        let free = self.setup.disk.free_bytes(&self.setup.directory).unwrap_or(u64::MAX);
        wanted.saturating_sub(free)
    }

    /// Proposes a batch of the next account that has one.
    fn look(&mut self, mut round: Round) -> Result<PurgeStep, ReadError> {
        let Some((account, shortage)) = round.accounts.last_mut() else {
            return Ok(PurgeStep::Idle);
        };
        let account = *account;
        let (keys, bytes) = self.batch(account, *shortage)?;
        if keys.is_empty() {
            round.accounts.pop();
            self.phase = Phase::Looking(round);
            return Ok(PurgeStep::Again);
        }
        let low_space = *shortage > 0;
        *shortage = shortage.saturating_sub(bytes);
        if keys.len() < BATCH_MESSAGES {
            round.accounts.pop();
        }
        let (promise, ticket) = ticket();
        let change = RetentionChange::Purge { account, keys, low_space, promise };
        if self.setup.queue.push(Change::Retention(change)).is_err() {
            return Ok(PurgeStep::Idle);
        }
        self.phase = Phase::Waiting(round, ticket);
        Ok(PurgeStep::Waiting)
    }

    /// What of an account goes next, and its bytes as far as they were asked for.
    fn batch(
        &self,
        account: AccountNumber,
        shortage: u64,
    ) -> Result<(Vec<RetainedKey>, u64), ReadError> {
        let committed = &self.setup.committed;
        let Some(state) = committed.account(account) else { return Ok((Vec::new(), 0)) };
        let setting = state.retention.setting.or(committed.retention());
        if setting == RetentionSetting::Hold {
            return Ok((Vec::new(), 0));
        }
        let now = self.setup.clock.unix_ms() / 1000;
        let now = UnixSeconds(i64::try_from(now).unwrap_or(i64::MAX));
        let (mut keys, mut bytes) = (Vec::new(), 0);
        committed.visit_retained(account, RetainedKey::FIRST, &mut |key, met| {
            let is_wanted = bytes < shortage;
            // What a hold kept says only inside when it was expunged.
            let message =
                if is_wanted || key.until == Until::HOLD { Some(met.open()?) } else { None };
            let expunged_at = message.as_ref().map_or(now, |message| message.expunged_at);
            if is_wanted || setting.is_over(key.until, expunged_at, now) {
                bytes += message.map_or(0, |message| u64::from(message.row.size));
                keys.push(key);
            }
            Ok(keys.len() < BATCH_MESSAGES)
        })?;
        Ok((keys, bytes))
    }
}
