//! Ending an upgrade: a record raises the volume's format level.

use crate::commit::Change;
use crate::error::CommitError;
use crate::format_level;

use super::Store;

/// What an upgrade did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// The format level before.
    pub before: u32,
    /// The format level now.
    pub now: u32,
}

impl Store {
    /// Raises the volume's format level to the newest of this binary, if it is below. From then on
    /// older binaries refuse the store; there is no way back but from a copy or an export.
    ///
    /// # Errors
    /// A volume that takes no changes.
    pub fn finish_upgrade(&self) -> Result<Upgrade, CommitError> {
        let before = self.inner.committed.format_level();
        let level = format_level::NEWEST;
        if before < level {
            self.inner.submit(|promise| Change::RaiseLevel { level, promise }).wait()?;
        }
        Ok(Upgrade { before, now: self.inner.committed.format_level() })
    }
}
