//! The end of a retired key: behind a fence, once nothing names it.

use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::holders::Unread;
use super::{Retired, RetiredKey, key_error};
use crate::commit::Change;
use crate::error::CommitError;
use crate::sabotage::{Sabotage, breaks};
use crate::seal::KeyError;
use crate::store::Store;

/// Held by whoever destroys keys; and what was there when it was last looked, unasked, for keys
/// that nothing names: segments that reclaim had released, and retired keys.
pub(in crate::store) type Ending = Mutex<Option<(u64, Vec<Retired>)>>;

impl Store {
    /// Destroys those of the retired keys that nothing names.
    pub(super) fn destroy(&self, retired: &[Retired]) -> Result<Vec<RetiredKey>, CommitError> {
        let mut looked = self.inner.ending.lock();
        *looked = None;
        self.destroy_alone(retired)
    }

    /// Destroys retired keys that nothing names any more, unasked: for reclaim, when it is at rest.
    /// What the tables hold under them is sealed anew before; segments that were never read are
    /// left to whoever asks for re-wrapping.
    pub(crate) fn end_unnamed_keys(&self) {
        if let Err(error) = self.try_to_end_unnamed() {
            tracing::debug!("retired keys are looked at again later: {error}");
        }
    }

    fn try_to_end_unnamed(&self) -> Result<(), CommitError> {
        let inner = &self.inner;
        let retired = inner.retired(None);
        let is_asked = inner.rewrap_progress().is_some();
        if retired.is_empty() || is_asked || inner.commit_status.stopped().is_some() {
            return Ok(());
        }
        inner.check_key_level()?;
        let Some(mut looked) = inner.ending.try_lock() else { return Ok(()) };
        let now = (inner.reclaimed.segment_count.load(Ordering::Relaxed), retired);
        if looked.as_ref() == Some(&now) {
            return Ok(());
        }
        let held = inner.held(&now.1, Unread::Leave)?;
        let unnamed = held.iter().filter(|key| !key.is_named());
        let unnamed: Vec<Retired> = unnamed.map(|key| (key.account, key.generation)).collect();
        if !unnamed.is_empty() {
            inner.committed.reseal.want(unnamed.iter().map(|(account, _)| *account));
            while !inner.committed.reseal.wanted().is_empty() {
                if inner.reclaimed.orders.are_given_up() {
                    return Ok(());
                }
                self.checkpoint_or_refuse()?;
            }
            for key in self.destroy_alone(&unnamed)?.iter().filter(|key| key.is_destroyed) {
                let RetiredKey { account, generation, .. } = key;
                tracing::info!(%account, generation = generation.0, "a retired key is destroyed");
            }
        }
        *looked = Some(now);
        Ok(())
    }

    /// The same as [`destroy`](Self::destroy), of a caller that holds `ending`.
    fn destroy_alone(&self, retired: &[Retired]) -> Result<Vec<RetiredKey>, CommitError> {
        let inner = &self.inner;
        inner.keys.begin_ending(retired);
        let mut keys = self.look_behind_fence(retired).inspect_err(|_| {
            inner.keys.stop_ending(retired);
        })?;
        for key in keys.iter_mut().filter(|key| !key.is_named() || breaks(Sabotage::Key)) {
            let (account, generation) = (key.account, key.generation);
            self.give_up_held();
            match inner.keys.remove_generation(account, generation) {
                // The account was deleted meanwhile, with all its keys.
                Ok(_) | Err(KeyError::NoAccount(_)) => key.is_destroyed = true,
                Err(error) => return Err(key_error(error)),
            }
        }
        let kept = keys.iter().filter(|key| !key.is_destroyed);
        let kept: Vec<Retired> = kept.map(|key| (key.account, key.generation)).collect();
        inner.keys.stop_ending(&kept);
        for key in keys.iter().filter(|key| key.is_destroyed) {
            let (account, generation) = (key.account, key.generation);
            let change = |promise| Change::KeyDestroyed { account, generation, promise };
            inner.submit(change).wait()?;
        }
        Ok(keys)
    }

    /// What names these keys when nothing that they sealed comes any more. What is gone from the
    /// tables by then is gone from the disk.
    fn look_behind_fence(&self, retired: &[Retired]) -> Result<Vec<RetiredKey>, CommitError> {
        let inner = &self.inner;
        inner.submit(|promise| Change::Fence { promise }).wait()?;
        let keys = inner.held(retired, Unread::Read)?;
        if keys.iter().any(|key| !key.is_named()) {
            self.checkpoint_or_refuse()?;
        }
        Ok(keys)
    }
}
