//! A primary whose disk failed: it has told everybody what it acknowledged, and takes no more.
//!
//! # Invariants
//! 1. It hands over as on a planned day: only when the other node has all there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Pair;

/// How long is waited after a hand-over that did not come about.
const AGAIN: Duration = Duration::from_secs(10);

/// When it was tried last.
#[derive(Default)]
pub(super) struct Failing {
    tried: Option<Instant>,
}

impl Failing {
    /// Hands over, if the disk failed and somebody is there to take over.
    pub(super) async fn look(&mut self, pair: &Arc<Pair>) {
        let is_hurt = pair.store.has_failed() && !pair.store.standing().follows;
        let is_due = self.tried.is_none_or(|at| at.elapsed() >= AGAIN);
        if !is_hurt || !is_due || !pair.node.is_connected() {
            return;
        }
        self.tried = Some(Instant::now());
        tracing::error!("the disk of this node failed: it hands over to the other node");
        let handing = Arc::clone(pair);
        let handed = tokio::task::spawn_blocking(move || handing.hand_over()).await;
        match handed {
            Ok(Ok(())) => tracing::warn!("the other node is primary now"),
            Ok(Err(failure)) => tracing::error!("it did not take over: {}", failure.sentence),
            Err(why) => tracing::error!("the hand-over ended in a panic: {why}"),
        }
    }
}
