//! Records of base images.

use super::Assigner;
use crate::error::CommitError;
use crate::ids::{AccountNumber, Lsn};
use crate::record::base::{BasePart, DumpedRow};
use crate::record::{Body, Run};

impl Assigner<'_> {
    /// That images of these accounts begin; nothing may be assigned behind it in the batch.
    pub(super) fn begin_base(&mut self, accounts: Vec<AccountNumber>) -> Result<Lsn, CommitError> {
        self.emit(AccountNumber::VOLUME, Body::BaseBegin { accounts })
    }

    /// Units of an image, a record each; answers their positions.
    pub(super) fn dump_base(
        &mut self,
        account: AccountNumber,
        units: Vec<Vec<DumpedRow>>,
    ) -> Result<Vec<Lsn>, CommitError> {
        units.into_iter().map(|rows| self.emit(account, Body::BaseDump { rows })).collect()
    }

    /// The image itself.
    pub(super) fn finish_base(
        &mut self,
        account: AccountNumber,
        parts: Vec<BasePart>,
    ) -> Result<(), CommitError> {
        let (first, count) = (self.next, parts.len());
        for (number, part) in parts.into_iter().enumerate() {
            let run = (count > 1).then_some(Run { first, last: number + 1 == count });
            self.emit_in_run(account, Body::BaseImage(part), run)?;
        }
        Ok(())
    }
}
