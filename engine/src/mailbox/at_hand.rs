//! Reading no more than a few pages that are in memory: for callers whom nothing may hold up.
//!
//! [`at_hand`] says so of all that its thread reads during a call: a page that would have to come
//! from the table store, or one too many, then is [`ReadError::NotAtHand`], and the caller asks
//! again where others do not wait for it. This is known to the thread, and not to the functions in
//! between, because pages are read at the bottom of some dozens of them that have nothing to do
//! with who waits.
//!
//! # Invariants
//! 1. Nothing is changed in between: who may read as much as they like reads the same.
//! 2. Only pages of views are watched: the call asks nothing else of the store that may take long.

use std::cell::Cell;

use crate::error::ReadError;

/// What a thread may still read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowance {
    /// As much as it likes.
    Anything,
    /// So many pages, if they are in memory.
    AtHand(u32),
}

thread_local! {
    static ALLOWANCE: Cell<Allowance> = const { Cell::new(Allowance::Anything) };
}

/// Whether a page may be read that is not in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum May {
    /// Yes.
    Read,
    /// No.
    Not,
}

/// Does what reads at most `pages` pages of views, and none that is not in memory.
pub fn at_hand<T>(pages: u32, call: impl FnOnce() -> T) -> T {
    /// Puts back what was allowed before, also when the call panics.
    struct Over(Allowance);

    impl Drop for Over {
        fn drop(&mut self) {
            ALLOWANCE.set(self.0);
        }
    }

    let _over = Over(ALLOWANCE.replace(Allowance::AtHand(pages)));
    call()
}

/// A page is about to be looked at.
pub(super) fn look_at_one() -> Result<May, ReadError> {
    match ALLOWANCE.get() {
        Allowance::Anything => Ok(May::Read),
        Allowance::AtHand(0) => Err(ReadError::NotAtHand),
        Allowance::AtHand(left) => {
            ALLOWANCE.set(Allowance::AtHand(left - 1));
            Ok(May::Not)
        }
    }
}
