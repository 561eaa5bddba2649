//! The recount of an open store: on demand, or by a thread at an interval.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, RecountReport, Store};
use crate::error::ReadError;
use crate::ids::UnixSeconds;
use crate::recount::{LastRecount, RecountSetup};

impl Store {
    /// Counts everything anew and compares it with the running figures; changes nothing. `goes_on`
    /// is asked now and then. `None` if it said no, or after a failed checkpoint. A difference is
    /// logged as an error and shown by `status`.
    ///
    /// # Errors
    /// [`ReadError`], if the tables cannot be read.
    pub fn recount(
        &self,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<RecountReport>, ReadError> {
        let (setup, noted) = self.inner.recount_setup();
        let report = setup.run(self.inner.now(), goes_on)?;
        report.clone().into_iter().for_each(|report| noted.note(report));
        Ok(report)
    }
}

impl Inner {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(i64::try_from(self.clock.unix_ms() / 1000).unwrap_or(i64::MAX))
    }

    fn recount_setup(&self) -> (RecountSetup, Arc<LastRecount>) {
        let setup = RecountSetup {
            saved: Arc::clone(&self.saved),
            space: Arc::clone(&self.space),
            checkpoints: Arc::clone(&self.checkpoints),
        };
        (setup, Arc::clone(&self.recounted))
    }

    /// What a thread does at every interval. It holds nothing of the store that keeps it open.
    pub(super) fn recounting(&self) -> impl FnMut(&mut dyn FnMut() -> bool) + Send + use<> {
        let (setup, noted) = self.recount_setup();
        let clock = Arc::clone(&self.clock);
        move |goes_on| {
            let now = i64::try_from(clock.unix_ms() / 1000).unwrap_or(i64::MAX);
            match setup.run(UnixSeconds(now), goes_on) {
                Ok(report) => report.into_iter().for_each(|report| noted.note(report)),
                Err(error) => tracing::error!(
                    "the recount met what cannot be read: {error}; run 'pillarbox check'"
                ),
            }
        }
    }
}

/// A recount rests so long after every few thousand rows, so that it is in nobody's way.
pub(super) const RECOUNT_REST: Duration = Duration::from_millis(20);
