//! Comparing both nodes: when somebody asks, and on a schedule.
//!
//! # Invariants
//! 1. Names of accounts and mailboxes are shown to whoever asks, and never written into the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::compare::CompareReport;
use serde::{Deserialize, Serialize};

use super::Pair;
use crate::failure::{Exit, Failure};

/// After which time a comparison is tried again that could not be made.
const AGAIN: Duration = Duration::from_secs(600);

/// How long a comparison that nobody waits for rests after every few megabytes.
const REST: Duration = Duration::from_millis(200);

/// What was compared of a volume, for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) volume: String,
    /// As of which position of the log.
    pub(crate) at: String,
    pub(crate) accounts: u64,
    /// Bytes of rows that were read here.
    pub(crate) bytes: u64,
    /// How much differs, listed or not.
    pub(crate) difference_count: u64,
    pub(crate) differences: Vec<DifferenceLine>,
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DifferenceLine {
    pub(crate) account: Option<String>,
    pub(crate) mailbox: Option<String>,
    pub(crate) uid: Option<u32>,
    pub(crate) what: String,
    /// All of it as a sentence.
    pub(crate) sentence: String,
}

impl Pair {
    /// Compares both nodes.
    pub(crate) fn compare(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Compared>, Failure> {
        let compared = self.node.compare(&mut |at| progress(at.account_count, at.account_total));
        let compared = compared.map_err(|why| {
            Failure::new(Exit::Refused, format!("the nodes were not compared: {why}"))
        })?;
        for (volume, report) in &compared {
            note(volume, report);
        }
        Ok(compared.into_iter().map(|(volume, report)| line_of(volume, report)).collect())
    }
}

fn note(volume: &str, report: &CompareReport) {
    let (at, differences) = (report.lsn, report.difference_count);
    match differences {
        0 => tracing::info!(%volume, %at, "both nodes hold the same"),
        _ => tracing::error!(
            %volume, %at, differences,
            "the two nodes DIFFER: nothing was changed; 'pillarbox replica compare' names what \
             differs, see docs/replication.md"
        ),
    }
}

fn line_of(volume: String, report: CompareReport) -> Compared {
    let line = |difference: engine::compare::Difference| DifferenceLine {
        sentence: difference.to_string(),
        account: difference.account,
        mailbox: difference.mailbox,
        uid: difference.uid.map(|uid| uid.0),
        what: difference.what,
    };
    Compared {
        volume,
        at: report.lsn.to_string(),
        accounts: report.account_count,
        bytes: report.byte_count,
        difference_count: report.difference_count,
        differences: report.differences.into_iter().map(line).collect(),
    }
}

/// Compares from time to time.
pub(super) struct Schedule {
    every: Option<Duration>,
    next: Instant,
}

impl Schedule {
    pub(super) fn new(every: Option<Duration>) -> Schedule {
        Schedule { every, next: Instant::now() + every.unwrap_or_default() }
    }

    /// Begins a comparison if one is due; within a runtime.
    pub(super) fn look(&mut self, pair: &Arc<Pair>) {
        let Some(every) = self.every else { return };
        if Instant::now() < self.next {
            return;
        }
        let standing = pair.store.pair_standing();
        if pair.store.standing().follows || !standing.is_there {
            self.next = Instant::now() + AGAIN.min(every);
            return;
        }
        self.next = Instant::now() + every;
        let pair = Arc::clone(pair);
        tokio::task::spawn_blocking(move || {
            // Nobody waits for it.
            if let Err(failure) = pair.compare(&mut |_, _| std::thread::sleep(REST)) {
                tracing::warn!("{}", failure.sentence);
            }
        });
    }
}
