//! The pair by requests.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::operation::Answer;
use crate::failure::{Exit, Failure};
use crate::pair::Pair;

/// A request about the pair.
#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum PairRequest {
    /// A token for a second node, which reaches this one at that address.
    Invite { address: String },
    /// How the pair is.
    Status,
    /// This node becomes primary.
    Promote,
    /// The follower becomes primary, as planned.
    Switch,
    /// Compares both nodes.
    Compare,
    /// The other node is lost for good.
    Forget,
    /// This node becomes a full copy of the other one; or does not, after all.
    FullSync { stop: bool },
}

/// Answers a request about the pair.
pub(super) fn answer(
    pair: Option<&Arc<Pair>>,
    request: PairRequest,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Answer, Failure> {
    let Some(pair) = pair else {
        return Err(Failure::new(
            Exit::Configuration,
            "this node is in no pair and listens for no second node: set [pair] listen, start the \
             server, and ask again while it runs",
        ));
    };
    Ok(match request {
        PairRequest::Invite { address } => Answer::Invitation { token: pair.invite(&address)? },
        PairRequest::Status => Answer::Pair(pair.status()),
        PairRequest::Compare => Answer::Compared { volumes: pair.compare(progress)? },
        PairRequest::Promote => {
            let (epoch, missing) = pair.promote()?;
            Answer::Promoted { epoch, missing }
        }
        PairRequest::Switch => {
            pair.switch()?;
            Answer::Done
        }
        PairRequest::FullSync { stop } => {
            match stop {
                true => pair.stop_full_sync()?,
                false => pair.full_sync()?,
            }
            Answer::Done
        }
        PairRequest::Forget => {
            pair.forget()?;
            Answer::Done
        }
    })
}
