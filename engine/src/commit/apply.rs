//! Applying records that were assigned before: by this node before a stop, or by the other node.
//!
//! # Invariants
//! 1. Records of a run count from its last record on; one that anything else interrupts is void.

use crate::error::ReadError;
use crate::log::RecordHeader;
use crate::record::Record;
use crate::state::{Changes, Committed};

/// Applies records in the order of the log.
#[derive(Default)]
pub(crate) struct Applier {
    /// Records of a run that has not ended yet.
    run: Vec<(RecordHeader, Record)>,
    /// Runs that were void.
    pub(crate) void_count: u64,
}

impl Applier {
    /// Applies a record to `changes`, or keeps it until the last of its run is there.
    pub(crate) fn apply(
        &mut self,
        committed: &Committed,
        changes: &mut Changes,
        header: RecordHeader,
        record: Record,
    ) -> Result<(), ReadError> {
        let continues = self.run.first().is_some_and(|(_, first)| {
            first.run.map(|run| run.first) == record.run.map(|run| run.first)
        });
        if !continues {
            self.end();
        }
        match record.run {
            None => changes.apply(committed, header.account, header.lsn, &record)?,
            Some(run) => {
                self.run.push((header, record));
                if run.last {
                    for (header, record) in std::mem::take(&mut self.run) {
                        changes.apply(committed, header.account, header.lsn, &record)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a run has begun and not ended: state that was written now would lack its beginning.
    pub(crate) fn is_within_run(&self) -> bool {
        !self.run.is_empty()
    }

    /// Nothing more of this run comes: it is void, if there is one.
    pub(crate) fn end(&mut self) {
        self.void_count += u64::from(self.is_within_run());
        self.run.clear();
    }
}
