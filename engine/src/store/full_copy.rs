//! The full copy: what the node that has it and the node that wants it do with their stores.

use std::sync::atomic::Ordering;

use super::Store;
use super::layout::Layout;
use crate::error::{DiskError, OpenError};
use crate::full_copy::{Arrival, ArrivalError, LoanError, arrives, drop_arrival, empty_copy};
use crate::ids::Lsn;
use crate::way_back::{HeldFolders, RewindOrder};

impl Store {
    /// Puts a checkpoint aside to be copied, or goes on with the one that is lent: what there is to
    /// be copied. The log is kept from there on until [`Store::end_loan`]. The node that asks has
    /// this log up to `has`: a copy from before would take from it what may have been acknowledged
    /// because both nodes had it.
    ///
    /// # Errors
    /// [`LoanError::NotMade`].
    pub fn lend_copy(&self, has: Lsn) -> Result<Vec<u8>, LoanError> {
        let loan = &self.inner.held.loan;
        // What is not committed here cannot be in state, and was not acknowledged.
        let committed = self.inner.commit_status.last_lsn.load(Ordering::Relaxed);
        let has = has.min(Lsn::from_bits(committed).unwrap_or(Lsn::MAX));
        let current = || loan.current().filter(|offer| offer.at.lsn >= has);
        if let Some(offer) = current() {
            return Ok(offer.encode());
        }
        loan.want();
        let mut is_made = self.checkpoint();
        if is_made && current().is_none() && loan.current().is_some() {
            // It was one that waited when this was wanted.
            loan.want();
            is_made = self.checkpoint();
        }
        match current() {
            Some(offer) => Ok(offer.encode()),
            None if is_made => Err(LoanError::NotMade(
                loan.failure().unwrap_or_else(|| "no checkpoint was made".to_owned()),
            )),
            None => Err(LoanError::NotMade("the volume takes no changes".to_owned())),
        }
    }

    /// Where the checkpoint lies that is lent.
    pub fn lent_at(&self) -> Option<Lsn> {
        self.inner.held.loan.current().map(|offer| offer.at.lsn)
    }

    /// A piece of a file that is lent.
    ///
    /// # Errors
    /// [`LoanError`].
    pub fn lent_piece(&self, file: u32, offset: u64, length: u32) -> Result<Vec<u8>, LoanError> {
        self.inner.held.loan.piece(file, offset, length)
    }

    /// Whether a file that is lent begins with so many bytes of that BLAKE3.
    ///
    /// # Errors
    /// [`LoanError`].
    pub fn lent_begins_with(
        &self,
        file: u32,
        length: u64,
        hash: [u8; 32],
    ) -> Result<bool, LoanError> {
        self.inner.held.loan.begins_with(file, length, hash)
    }

    /// Nothing is lent any more; answers whether something was.
    ///
    /// # Errors
    /// The disk.
    pub fn end_loan(&self) -> Result<bool, DiskError> {
        self.inner.held.loan.end()
    }

    /// As if the other node had been away for longer than the disk allows.
    #[cfg(test)]
    pub(crate) fn give_up_held_checkpoint(&self) -> Result<(), DiskError> {
        self.inner.held.give_up()
    }

    fn held_folders(&self) -> HeldFolders {
        HeldFolders::of(&Layout::of(&self.inner.directory), self.inner.beginning.node.volume)
    }

    /// Whether a full copy was on its way to this node, and is to be gone on with.
    ///
    /// # Errors
    /// The disk.
    pub fn has_arrival(&self) -> Result<bool, DiskError> {
        arrives(self.inner.disk.as_ref(), &self.held_folders().held)
    }

    /// Begins to take a full copy, or goes on with it. What this node has stays until all of it is
    /// there.
    ///
    /// # Errors
    /// [`ArrivalError`].
    pub fn begin_arrival(&self, offer: &[u8]) -> Result<Arrival, ArrivalError> {
        let inner = &self.inner;
        let kept = &inner.beginning.surroundings.kept;
        // Lent when this node was primary.
        inner.held.loan.end()?;
        Arrival::begin((&inner.disk, kept), &self.held_folders(), offer)
    }

    /// A full copy is not gone on with; what has arrived of it is removed.
    ///
    /// # Errors
    /// The disk.
    pub fn give_up_arrival(&self) -> Result<(), DiskError> {
        let (disk, held) = (self.inner.disk.as_ref(), self.held_folders().held);
        drop_arrival(disk, &held)?;
        empty_copy(disk, self.inner.beginning.surroundings.kept.as_ref(), &held)
    }

    /// All of the copy is here: this volume takes nothing any more, and when it is opened next, it
    /// is the copy, and follows. It may be repeated until it has succeeded.
    ///
    /// # Errors
    /// [`ArrivalError`]; nothing of what was here is lost then.
    pub fn become_copy(&self, arrival: &Arrival) -> Result<(), ArrivalError> {
        let inner = &self.inner;
        inner.queue.set_refusing(true);
        inner.commit_status.stop("a full copy of the other node has arrived; this node becomes it");
        inner.checkpoints.give_up();
        inner.queue.close();
        inner.driver.join("committer");
        *inner.follower.lock() = None;
        arrival.finish()?;
        tracing::warn!(at = %arrival.at(), "a full copy of the other node has arrived");
        Ok(())
    }

    /// Opening has done what it was to do first.
    pub(super) fn rewound(&self, order: &RewindOrder) -> Result<(), OpenError> {
        let (disk, folders) = (self.inner.disk.as_ref(), self.held_folders());
        if order.takes_copy {
            drop_arrival(disk, &folders.held)?;
        }
        RewindOrder::remove(disk, &folders.way_back)?;
        if order.takes_copy {
            empty_copy(disk, self.inner.beginning.surroundings.kept.as_ref(), &folders.held)?;
        }
        Ok(())
    }
}
