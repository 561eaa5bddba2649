//! The recount: references, places, living bytes and counters, counted anew from rows and compared
//! with the running figures.
//!
//! ```text
//! pages, kept rows ─► each has its reference; messages and bytes by account ═ usage, retention
//! references ───────► as many as rows; each blob's row is there (they are ordered by blob)
//! blobs ────────────► as many as references name; each chunk has a place
//! places ───────────► bytes by segment ═ running figures; as many as blobs name, but for what is
//!                     entering
//! ```
//! All of it reads one snapshot of the tables, so that checkpoints go on meanwhile; nothing is held
//! but counters by account and by segment. It is one call that pauses, and not a machine with a
//! step as its siblings are: a snapshot is borrowed from the tables (decision 0015).
//!
//! # Invariants
//! 1. Nothing is deleted or corrected: a difference is told, and a person looks.
//! 2. The running figures that are compared belong to the snapshot: no checkpoint was being written
//!    when both were taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::commit::CheckpointSlot;
use crate::error::ReadError;
use crate::ids::{AccountNumber, UnixSeconds};
use crate::state::{Counted, Counts, Saved, SpaceUse, count_all};

/// Differences that a report lists.
const DIFFERENCES_MAX: usize = 20;

/// What a recount found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecountReport {
    /// When it ended.
    pub at: UnixSeconds,
    /// Messages that were counted, kept ones among them.
    pub message_count: u64,
    /// References.
    pub reference_count: u64,
    /// Bytes of chunks that are named.
    pub live_bytes: u64,
    /// What does not agree, in words; some of it, if it is much.
    pub differences: Vec<String>,
}

/// What a recount needs.
pub(crate) struct RecountSetup {
    pub(crate) saved: Arc<Saved>,
    pub(crate) space: Arc<SpaceUse>,
    pub(crate) checkpoints: Arc<CheckpointSlot>,
}

impl RecountSetup {
    /// Counts, and compares; `goes_on` is asked now and then, and may take its time. `None` if it
    /// said no, or if the volume has stopped half-way through a checkpoint.
    pub(crate) fn run(
        &self,
        now: UnixSeconds,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<RecountReport>, ReadError> {
        loop {
            let Some(before) = self.checkpoints.wait_at_rest() else { return Ok(None) };
            let mut found = Found::Disturbed;
            self.saved.tables.at_one_moment(&mut |snapshot| {
                let live = self.space.live();
                if self.checkpoints.at_rest() == Some(before) {
                    let counted = count_all(&self.saved, snapshot, goes_on)?;
                    found = Found::Counted(counted.map(|counted| report(&counted, live.as_ref())));
                }
                Ok(())
            })?;
            match found {
                Found::Counted(report) => {
                    return Ok(report.map(|report| RecountReport { at: now, ..report }));
                }
                Found::Disturbed if goes_on() => {}
                Found::Disturbed => return Ok(None),
            }
        }
    }
}

enum Found {
    /// A checkpoint began meanwhile.
    Disturbed,
    /// `None`: ended before its time.
    Counted(Option<RecountReport>),
}

fn report(counted: &Counted, live: Option<&BTreeMap<u64, u64>>) -> RecountReport {
    let mut differences = Vec::new();
    let mut differs = |what: &str, counted: u64, expected: u64| {
        if counted != expected {
            differences.push(format!("{what}: {counted} counted, {expected} expected"));
        }
    };
    differs("rows without a reference", counted.rows_without_reference, 0);
    differs("references", counted.references, counted.rows + counted.part_names);
    differs("referenced blobs without a row", counted.blobs_missing, 0);
    differs("blobs", counted.blob_rows, counted.blobs);
    differs("chunks without a place", counted.places_missing, 0);
    differs("places of chunks that are not entering", counted.places, counted.named_places);
    let segments = live.into_iter().flatten().map(|(segment, _)| segment);
    let segments: std::collections::BTreeSet<_> = segments.chain(counted.placed.keys()).collect();
    if let Some(live) = live {
        for segment in segments {
            let bytes = |of: &BTreeMap<u64, u64>| of.get(segment).copied().unwrap_or_default();
            let what = format!("living bytes of segment {segment}");
            differs(&what, bytes(&counted.placed), bytes(live));
        }
    }
    for (account, (counted, told)) in &counted.accounts {
        compare_account(*account, *counted, *told, &mut differs);
    }
    let more = differences.len().saturating_sub(DIFFERENCES_MAX);
    differences.truncate(DIFFERENCES_MAX);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    RecountReport {
        at: UnixSeconds(0),
        message_count: counted.rows,
        reference_count: counted.references,
        live_bytes: counted.named_bytes,
        differences,
    }
}

fn compare_account(
    account: AccountNumber,
    counted: Counts,
    told: Counts,
    differs: &mut dyn FnMut(&str, u64, u64),
) {
    let figures = [
        ("messages", counted.messages, told.messages),
        ("bytes of messages", counted.bytes, told.bytes),
        ("kept messages", counted.kept_messages, told.kept_messages),
        ("bytes of kept messages", counted.kept_bytes, told.kept_bytes),
    ];
    for (what, counted, told) in figures {
        differs(&format!("{what} of account {account}"), counted, told);
    }
}

/// The last report.
#[derive(Default)]
pub(crate) struct LastRecount {
    report: parking_lot::Mutex<Option<RecountReport>>,
}

impl LastRecount {
    /// Takes note of a report, and raises the alarm.
    pub(crate) fn note(&self, report: RecountReport) {
        for difference in &report.differences {
            tracing::error!(
                "the recount does not agree with the running figures: {difference}; nothing was \
                 changed: keep a copy of the directory and run 'pillarbox check'"
            );
        }
        if report.differences.is_empty() {
            tracing::info!(
                messages = report.message_count,
                live_bytes = report.live_bytes,
                "the recount agrees with the running figures"
            );
        }
        *self.report.lock() = Some(report);
    }

    pub(crate) fn get(&self) -> Option<RecountReport> {
        self.report.lock().clone()
    }
}
