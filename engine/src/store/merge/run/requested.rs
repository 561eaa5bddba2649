//! Messages that another node asked for: the same request may be in the suffix of either node, if
//! both were primary and went back in turn. So the id under which such a message comes follows from
//! the request, and it comes once.
//!
//! ```text
//! id   16 bytes of BLAKE3 of "merged request", the request, account u64, BLAKE3 of the message,
//!      and which of several same ones it is, u64
//! ```

use std::collections::HashMap;

use crate::ids::{AccountNumber, RequestId};
use crate::store::merge::step::{MessageStep, Origin};

/// Ids of such messages, by the number of the step.
#[derive(Default)]
pub(super) struct Requested {
    ids: HashMap<u64, RequestId>,
    /// How often the same was seen.
    counts: HashMap<[u8; 32], u64>,
}

impl Requested {
    /// Notes a step; steps come in their order.
    pub(super) fn see(&mut self, number: u64, account: AccountNumber, step: &MessageStep) {
        let (Some(request), Origin::New) = (step.request, step.origin) else { return };
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"merged request").update(&request.0).update(&account.0.to_le_bytes());
        hasher.update(blake3::hash(&step.bytes).as_bytes());
        let count = self.counts.entry(*hasher.finalize().as_bytes()).or_default();
        hasher.update(&count.to_le_bytes());
        *count += 1;
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        self.ids.insert(number, RequestId(id));
    }

    /// The id of a step's message, if another node asked for it.
    pub(super) fn id(&self, number: u64) -> Option<RequestId> {
        self.ids.get(&number).copied()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = RequestId> {
        self.ids.values().copied()
    }
}
