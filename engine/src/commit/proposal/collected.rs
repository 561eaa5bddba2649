//! The answers of a proposed change, gathered from its promises as bytes.

use std::sync::Arc;

use parking_lot::Mutex;

use super::outcome::{LIST, ONE, Told, VERSION, encode_result, refusal, told_bytes_max};
use crate::commit::change::Answer;
use crate::encoding::Encoder;
use crate::error::CommitError;
use crate::limits::OUTCOME_BYTES_MAX;
use crate::store::Appended;
use crate::ticket::Promise;

/// Where promises leave what they are answered.
#[derive(Default)]
pub(crate) struct Collected {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    results: Vec<Option<Vec<u8>>>,
    is_list: bool,
}

impl Collected {
    fn put(&self, index: usize, result: Vec<u8>) {
        if let Some(place) = self.inner.lock().results.get_mut(index) {
            *place = Some(result);
        }
    }

    /// A promise of one answer.
    pub(super) fn one<T: Told>(self: &Arc<Collected>) -> Answer<T> {
        self.inner.lock().results = vec![None];
        let collected = Arc::clone(self);
        Promise::calling(move |result| collected.put(0, encode_result(&result)))
    }

    /// Promises of so many answers.
    pub(super) fn each(self: &Arc<Collected>, count: usize) -> Vec<Answer<Appended>> {
        *self.inner.lock() = Inner { results: vec![None; count], is_list: true };
        let promise = |index| {
            let collected = Arc::clone(self);
            Promise::calling(move |result| collected.put(index, encode_result(&result)))
        };
        (0..count).map(promise).collect()
    }

    /// The promise of a list of answers.
    pub(super) fn list(self: &Arc<Collected>) -> Promise<Vec<Result<Appended, CommitError>>> {
        let collected = Arc::clone(self);
        Promise::calling(move |results: Vec<Result<Appended, CommitError>>| {
            let results = results.iter().map(|result| Some(encode_result(result))).collect();
            *collected.inner.lock() = Inner { results, is_list: true };
        })
    }

    /// The outcome, in at most so many bytes; that it cannot be told, if it is longer.
    pub(crate) fn take(&self, bytes_max: usize) -> Vec<u8> {
        let inner = std::mem::take(&mut *self.inner.lock());
        let mut out = Encoder::default();
        out.u8(VERSION);
        out.u8(if inner.is_list { LIST } else { ONE });
        if inner.is_list {
            out.count(inner.results.len());
        }
        let is_whole = inner.results.iter().all(Option::is_some);
        inner.results.iter().flatten().for_each(|result| out.raw(result));
        if is_whole && out.bytes.len() <= bytes_max.min(OUTCOME_BYTES_MAX) {
            return out.bytes;
        }
        let words = "the change is made, but its answer is too long to be told".to_owned();
        let bytes = refusal(&CommitError::Primary { words });
        assert!(bytes.len() <= told_bytes_max(), "a sentence is short");
        bytes
    }
}
