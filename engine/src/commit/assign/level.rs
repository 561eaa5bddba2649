//! The volume's format level.

use crate::error::CommitError;
use crate::ids::AccountNumber;
use crate::record::Body;

use super::Assigner;

impl Assigner<'_> {
    /// Raises the level for what follows in later batches; never lowers it, for what was written
    /// since would stay.
    pub(super) fn raise_level(&mut self, level: u32) -> Result<(), CommitError> {
        if level > self.changes.volume_of(self.context.committed).format_level {
            self.emit(AccountNumber::VOLUME, Body::FormatLevel(level))?;
        }
        Ok(())
    }
}
