//! `check` of an open store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Store;
use super::layout::Layout;
use crate::check::{Check, CheckProgress, CheckReport, CheckSetup, LogSource};
use crate::error::ReadError;
use crate::ids::Lsn;

impl Store {
    /// Reads everything that is stored and says what is wrong with it; changes nothing. Writes a
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
            log: LogSource {
                disk: Arc::clone(&inner.disk),
                directory: Layout::of(&inner.directory).log(),
                volume: inner.keys.snapshot().volume(),
            },
            log_damage: &inner.log_damage,
            durable: Lsn::from_bits(durable).unwrap_or(Lsn::ZERO),
            verify: &|account, row| inner.verify_blob(account, row),
            settle: &|| {
                self.checkpoint();
            },
            is_unsettled: is_stopped && inner.committed.has_unsaved(),
            is_torn: is_stopped && inner.checkpoints.any_begun(),
        };
        Check::new(setup, progress).run()
    }
}
