//! The volume's history: which positions are part of it, and what becomes of a MODSEQ that is not.
//!
//! ```text
//!   epoch 1  ├──────────────────┤ fork            given up: ╳╳╳ lost, ─── still read
//!            first              └╳╳╳───── rows with positions of no history
//!   epoch 3                              ├──────────────►
//! ```
//! An epoch that begins because damage was given up forks where the first lost position was. What
//! could be read behind it is there all the same, with the UIDs that it had: a UID never changes
//! its meaning. But a client that has seen positions above the fork has seen changes that are gone.
//! So those positions count for nothing: what a client learned there is unknown, and rows that have
//! them are told with the first position of the next epoch.

use std::sync::Arc;

use super::changes::{EpochLink, VolumeState};
use crate::ids::Lsn;

/// Which positions count, as of the moment that it was asked for.
#[derive(Clone, Default)]
pub struct History(Option<Arc<VolumeState>>);

impl History {
    /// Of a volume; one that has had one epoch has given nothing up.
    pub(super) fn of(volume: &VolumeState) -> History {
        History((volume.history.len() > 1).then(|| Arc::new(volume.clone())))
    }

    /// A row's MODSEQ as clients are told it.
    pub fn told(&self, modseq: Lsn) -> Lsn {
        self.0.as_ref().map_or(modseq, |volume| volume.told(modseq))
    }

    /// A position that a client brings: as it is, or zero if it is of no history, for what the
    /// client learned there is not known.
    pub fn known(&self, modseq: Lsn) -> Lsn {
        let counts = self.0.as_ref().is_none_or(|volume| volume.includes(modseq));
        if counts { modseq } else { Lsn::ZERO }
    }
}

impl VolumeState {
    /// The epochs of the history, newest first, each with the last of its positions that counts;
    /// `None`: it goes on.
    fn chain(&self) -> impl Iterator<Item = (&EpochLink, Option<Lsn>)> {
        let mut next = self.history.last().map(|link| (link, None));
        std::iter::from_fn(move || {
            let (link, last) = next.take()?;
            next = link.parent.and_then(|(parent, fork)| {
                let parent = self.history.iter().find(|other| other.id == parent)?;
                Some((parent, Some(fork)))
            });
            Some((link, last))
        })
    }

    /// Whether a position is part of the history; those below its beginning are.
    pub(crate) fn includes(&self, lsn: Lsn) -> bool {
        let mut oldest = Lsn::ZERO;
        for (link, last) in self.chain() {
            if lsn >= link.first {
                return last.is_none_or(|last| lsn <= last);
            }
            oldest = link.first;
        }
        lsn < oldest || self.history.is_empty()
    }

    /// A row's MODSEQ as clients are told it: the first of the epoch after it, if it is of no
    /// history.
    pub(crate) fn told(&self, modseq: Lsn) -> Lsn {
        if self.includes(modseq) {
            return modseq;
        }
        let later = self.chain().map(|(link, _)| link.first).filter(|first| *first > modseq);
        later.min().unwrap_or(modseq)
    }

    /// Whether a row was changed after what a client knows of it (RFC 7162 section 3.1.3): always,
    /// if what it knows is of no history.
    pub(crate) fn is_modified(&self, modseq: Lsn, since: Lsn) -> bool {
        !self.includes(since) || self.told(modseq) > since
    }

    /// The epoch from which another one forks that inherits all up to `fork`.
    pub(crate) fn parent_at(&self, fork: Lsn) -> Option<&EpochLink> {
        self.history.iter().rev().find(|link| link.first <= fork)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EpochId, NodeId};

    fn at(epoch: u16, sequence: u64) -> Lsn {
        Lsn::new(epoch, sequence).unwrap()
    }

    fn link(number: u16, parent: Option<(u16, Lsn)>) -> EpochLink {
        let id = |number: u16| EpochId([u8::try_from(number).unwrap(); 16]);
        EpochLink {
            number,
            id: id(number),
            parent: parent.map(|(parent, fork)| (id(parent), fork)),
            node: NodeId::default(),
            first: at(number, 1),
        }
    }

    #[test]
    fn a_position_above_a_fork_is_part_of_no_history() {
        let history =
            vec![link(1, None), link(3, Some((1, at(1, 50)))), link(5, Some((1, at(1, 40))))];
        let volume = VolumeState { history, ..VolumeState::default() };
        let table = [
            (Lsn::ZERO, true, Lsn::ZERO, "a client that knows nothing"),
            (at(1, 40), true, at(1, 40), "the fork itself"),
            (at(1, 41), false, at(5, 1), "right above it"),
            (at(3, 7), false, at(5, 1), "an epoch that was given up as a whole"),
            (at(5, 1), true, at(5, 1), "the epoch's own first"),
            (at(5, 900), true, at(5, 900), "the epoch goes on"),
        ];
        for (lsn, included, told, reason) in table {
            assert_eq!((volume.includes(lsn), volume.told(lsn)), (included, told), "{reason}");
        }
        assert!(volume.is_modified(at(1, 3), at(1, 45)), "what the client saw there is gone");
        assert!(!volume.is_modified(at(1, 45), at(5, 1)), "it was told the epoch's first");
        assert!(volume.is_modified(at(1, 45), at(1, 40)), "it was not there at the fork");
        assert_eq!(volume.parent_at(at(1, 40)).unwrap().number, 1);
    }
}
