//! Figures of an open store.

use std::sync::atomic::Ordering;

use crate::disk::OpenMode;
use crate::format_level;
use crate::ids::{AccountNumber, Lsn};
use crate::log::Severity;

use super::{RecountReport, RetiredKey, RewrapProgress, Store};

/// What `pillarbox status` shows of the store.
#[derive(Clone, Debug)]
pub struct Status {
    /// Accounts.
    pub account_count: u64,
    /// Messages in all mailboxes; a message in two counts twice.
    pub message_count: u64,
    /// Bytes of them, as received.
    pub message_bytes: u64,
    /// Messages that are kept after they were expunged.
    pub retained_count: u64,
    /// Bytes of them, as received; quota does not count them.
    pub retained_bytes: u64,
    /// Last position committed.
    pub last_lsn: Lsn,
    /// Epochs of the volume's history; the last is the current one.
    pub epoch: u16,
    /// The format level that records may have.
    pub format_level: u32,
    /// The newest that this binary writes.
    pub format_level_newest: u32,
    /// Changes committed since the start.
    pub change_count: u64,
    /// Groups written since the start.
    pub group_count: u64,
    /// Flushes of the log since the start.
    pub flush_count: u64,
    /// Bytes written to the log since the start, without padding.
    pub log_bytes: u64,
    /// Bytes of chunks that are alive in flushed state; `None` until they were counted, which the
    /// first checkpoint after the start does.
    pub live_bytes: Option<u64>,
    /// Segments that reclaim rewrote since the start.
    pub reclaimed_segments: u64,
    /// Bytes that it copied.
    pub reclaim_copied_bytes: u64,
    /// Bytes of disk that it gave back.
    pub reclaimed_bytes: u64,
    /// Rounds of base images since the start.
    pub image_rounds: u64,
    /// Images that were not made since the start, because the rows of an account are not what was
    /// changed: `check` names it.
    pub images_refused: u64,
    /// Records up to here are covered by base images, so the log can do without them.
    pub covered_lsn: Lsn,
    /// What the last recount since the start found, if there was one.
    pub recount: Option<RecountReport>,
    /// Segments that the scrub read to their end since the start.
    pub scrubbed_segments: u64,
    /// Bytes of them.
    pub scrubbed_bytes: u64,
    /// Copies of headers and of the key table that it wrote anew.
    pub scrub_healed: u64,
    /// Things in cold segments that are damaged, as of its last look at each.
    pub scrub_damaged: u64,
    /// Retired keys of accounts, and what names them as far as that is known; values of the tables
    /// are not counted here.
    pub retired_keys: Vec<RetiredKey>,
    /// How far re-wrapping is, if it goes on.
    pub rewrap: Option<RewrapProgress>,
    /// Why the store takes no writes, if it should and does not.
    pub stopped: Option<String>,
}

/// What readers have opened since the start: what it costs to answer them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Messages that were opened for their bytes; what a summary tells opens none.
    pub message_count: u64,
    /// Summaries that were not in the cache and were read from their messages' blobs.
    pub summary_count: u64,
    /// Pages of summaries that were not in the cache.
    pub summary_page_count: u64,
}

impl Store {
    /// What readers have opened since the start.
    pub fn opened(&self) -> Opened {
        let opened = self.inner.summaries.opened();
        Opened {
            message_count: opened.message_count.load(Ordering::Relaxed),
            summary_count: opened.summary_count.load(Ordering::Relaxed),
            summary_page_count: opened.page_count.load(Ordering::Relaxed),
        }
    }
}

impl Store {
    fn is_meant_to_change(&self) -> bool {
        self.inner.mode == OpenMode::ReadWrite
    }

    /// Groups are missing whose records would be needed.
    fn is_broken(&self) -> bool {
        self.inner.log_damage.iter().any(|damage| damage.severity == Severity::AboveState)
    }

    /// The figures now.
    pub fn status(&self) -> Status {
        let status = &self.inner.commit_status;
        let accounts = self.inner.committed.accounts();
        let volume = self.inner.committed.volume();
        let reclaimed = &self.inner.reclaimed;
        Status {
            account_count: crate::width::u64_of(accounts.len()),
            message_count: accounts.iter().map(|account| account.usage.message_count).sum(),
            message_bytes: accounts.iter().map(|account| account.usage.message_bytes).sum(),
            retained_count: accounts.iter().map(|a| a.retention.message_count).sum(),
            retained_bytes: accounts.iter().map(|a| a.retention.message_bytes).sum(),
            last_lsn: Lsn::from_bits(status.last_lsn.load(Ordering::Relaxed)).unwrap_or(Lsn::ZERO),
            epoch: volume.history.last().map_or(0, |link| link.number),
            format_level: volume.format_level,
            format_level_newest: format_level::NEWEST,
            change_count: status.change_count.load(Ordering::Relaxed),
            group_count: status.group_count.load(Ordering::Relaxed),
            flush_count: status.flush_count.load(Ordering::Relaxed),
            log_bytes: status.log_bytes.load(Ordering::Relaxed),
            live_bytes: self.inner.space.live().map(|live| live.values().sum()),
            reclaimed_segments: reclaimed.segment_count.load(Ordering::Relaxed),
            reclaim_copied_bytes: reclaimed.copied_bytes.load(Ordering::Relaxed),
            reclaimed_bytes: reclaimed.freed_bytes.load(Ordering::Relaxed),
            image_rounds: reclaimed.image_rounds.load(Ordering::Relaxed),
            images_refused: reclaimed.images_refused.load(Ordering::Relaxed),
            covered_lsn: self
                .inner
                .committed
                .base(AccountNumber::VOLUME)
                .map_or(Lsn::ZERO, |image| image.begun),
            recount: self.inner.recounted.get(),
            scrubbed_segments: self.inner.scrubbed.segment_count.load(Ordering::Relaxed),
            scrubbed_bytes: self.inner.scrubbed.byte_count.load(Ordering::Relaxed),
            scrub_healed: self.inner.scrubbed.healed_count.load(Ordering::Relaxed),
            scrub_damaged: self.inner.scrubbed.damaged.lock().values().sum(),
            retired_keys: self.inner.retired_keys(),
            rewrap: self.inner.rewrap_progress(),
            stopped: status.stopped().filter(|_| self.is_meant_to_change() || self.is_broken()),
        }
    }
}
