//! `check` of an open store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::layout::Layout;
#[cfg(test)]
use crate::check::ScrubStep;
use crate::check::{
    Check, CheckProgress, CheckReport, CheckSetup, LogSource, ScrubSetup, Scrubber,
};
use crate::disk::Clock;
use crate::error::ReadError;
use crate::ids::Lsn;

impl Store {
    /// Reads everything that is stored and says what is wrong with it; changes nothing, but for
    /// what is healed from the other node of a pair, which is not wrong any more. Writes a
    /// checkpoint first where changes are taken, so that what the tables hold can be compared; mail
    /// that arrives meanwhile may or may not be looked at.
    ///
    /// # Errors
    /// [`ReadError`], if log or tables cannot be read at all.
    pub fn check(&self, progress: &mut dyn FnMut(CheckProgress)) -> Result<CheckReport, ReadError> {
        let inner = &self.inner;
        self.checkpoint();
        let is_stopped = inner.commit_status.stopped().is_some();
        let durable = inner.commit_status.last_lsn.load(Ordering::Relaxed);
        let setup = CheckSetup {
            committed: &inner.committed,
            saved: &inner.saved,
            keys: inner.keys.snapshot(),
            log: self.log_source(),
            log_damage: &inner.log_damage,
            durable: Lsn::from_bits(durable).unwrap_or(Lsn::ZERO),
            verify: &|account, row| inner.verify_blob(account, row),
            summary: &|account, blob| inner.stored_summary(account, blob),
            settle: &|| {
                self.checkpoint();
            },
            is_unsettled: is_stopped && inner.committed.has_unsaved(),
            is_torn: is_stopped && inner.checkpoints.any_begun(),
        };
        let mut report = Check::new(setup, progress).run()?;
        self.check_index(&mut report)?;
        Ok(report)
    }

    pub(super) fn log_source(&self) -> LogSource {
        LogSource {
            disk: Arc::clone(&self.inner.disk),
            directory: Layout::of(&self.inner.directory).log(),
            volume: self.inner.keys.snapshot().volume(),
        }
    }

    /// What reads cold segments in the background.
    pub(super) fn scrubber(&self, clock: Arc<dyn Clock>, rate: u64) -> Scrubber {
        let setup = ScrubSetup {
            log: self.log_source(),
            committed: Arc::clone(&self.inner.committed),
            keys: Arc::clone(&self.inner.keys),
            clock,
            healer: Arc::clone(&self.inner.healer),
            rate,
        };
        Scrubber::new(setup, Arc::clone(&self.inner.scrubbed))
    }

    /// Scrubs every cold segment once; answers how many things are damaged.
    #[cfg(test)]
    pub(crate) fn scrub_once(&self, clock: Arc<dyn Clock>) -> u64 {
        let mut scrubber = self.scrubber(clock, 1);
        let mut rounds = 0;
        while rounds < 2 {
            // The first round may begin in the middle.
            if scrubber.step().map_or(true, |step| step == ScrubStep::Idle) {
                rounds += 1;
            }
        }
        self.inner.scrubbed.damaged.lock().values().sum()
    }
}
