//! The one place where the binary makes, opens, checks and closes a store.
//!
//! Everything else in `src/` speaks to an open [`Store`]; what an operator is told about a store's
//! opening, state and condition is put into words here.

use std::path::Path;
use std::time::{Duration, Instant};

use engine::ids::NodeId;
use engine::log::Severity;
use engine::pair::Acknowledgement;
use engine::seal::Secret;
use engine::{
    CheckProgress, Consent, IndexStatus, InitOptions, OpenOptions, OpenReport, RecountReport,
    SecondNode, Status, Store, verify_backup,
};
use serde::{Deserialize, Serialize};

use crate::command::when;
use crate::extract::DocumentOptions;
use crate::failure::{Exit, Failure};
use crate::key_words;

pub(crate) use engine::KeySource;
pub(crate) use engine::disk::{IoChoice, OpenMode};

/// How long threads may take to let go of a store that was closed.
const LET_GO: Duration = Duration::from_secs(30);

/// Memory, sizes and reserves of an open store.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct StoreBounds {
    /// The largest message taken, in bytes.
    pub(crate) message_bytes: u64,
    /// Memory for opened pages of mailboxes, in bytes.
    pub(crate) page_cache_bytes: u64,
    /// Memory for opened summaries, in bytes.
    pub(crate) summary_cache_bytes: u64,
    /// Memory for opened blocks of the full-text index, in bytes.
    pub(crate) index_cache_bytes: u64,
    /// Free disk below which nothing new is taken, in bytes.
    pub(crate) reserve_bytes: u64,
    /// Bytes a second that reclaim copies at most, 0: none.
    pub(crate) reclaim_bytes_per_second: u64,
    /// After which time everything is counted anew; zero: never.
    pub(crate) recount_interval: Duration,
    /// Bytes a second that the scrub reads at most, 0: none.
    pub(crate) scrub_bytes_per_second: u64,
    /// How long a right password is known again without its slow hash; zero: never.
    pub(crate) password_memory: Duration,
    /// Bytes of a segment of the log.
    pub(crate) segment_bytes: u64,
    /// Who makes text of documents.
    pub(crate) documents: DocumentOptions,
    /// How the log is written.
    pub(crate) io: IoChoice,
    /// There is a second node, and changes are acknowledged like this.
    pub(crate) pair: Option<Acknowledgement>,
    /// A primary goes on in an epoch of its own.
    pub(crate) begins_epoch: bool,
    /// Bytes that may be kept for the other node's sake, in bytes; 0: no bound.
    pub(crate) held_bytes: u64,
}

/// What `status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoreStatus {
    /// Name and value, in the order in which they are shown.
    pub(crate) lines: Vec<(String, String)>,
    /// Why the store takes no changes, if it does not.
    pub(crate) stopped: Option<String>,
}

/// What `check` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckOutcome {
    /// What was looked at, in one line.
    pub(crate) summary: String,
    /// One sentence for each thing that is wrong; very many are not all listed.
    pub(crate) problems: Vec<String>,
    /// How many there are.
    pub(crate) problem_count: u64,
}

/// Makes a store in a new or empty directory; gives the recovery key, which is stored nowhere. A
/// key file that is missing is made.
pub(crate) fn init(directory: &Path, key: KeySource) -> Result<Secret, Failure> {
    Ok(Store::init(directory, &InitOptions { key })?)
}

/// Makes the second node of a pair in a new or empty directory, from what the first one gave.
pub(crate) fn init_second(
    directory: &Path,
    key: KeySource,
    node: NodeId,
    (seed, key_table): (&[u8], &[u8]),
) -> Result<(), Failure> {
    let second = SecondNode { node, seed, key_table };
    Ok(Store::init_second(directory, &InitOptions { key }, &second)?)
}

/// A sixteenth of the machine's memory, within bounds.
fn part_of_memory() -> u64 {
    const PART: u64 = 16;
    let figures = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = figures.lines().find_map(|line| {
        let number = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        number.trim().parse::<u64>().ok()
    });
    (kibibytes.unwrap_or(0).saturating_mul(1024) / PART).clamp(64 << 20, 1 << 30)
}

/// Opens a store for serving; where another process has it, waits so long for it.
pub(crate) fn open_patiently(
    directory: &Path,
    key: &KeySource,
    bounds: &StoreBounds,
    patience: Duration,
) -> Result<(Store, String), Failure> {
    let begun = Instant::now();
    loop {
        match open(directory, key.clone(), bounds.clone(), OpenMode::ReadWrite) {
            Err(failure) if failure.exit == Exit::Later && begun.elapsed() < patience => {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

/// Opens a store; the sentence says what opening found and did.
pub(crate) fn open(
    directory: &Path,
    key: KeySource,
    bounds: StoreBounds,
    mode: OpenMode,
) -> Result<(Store, String), Failure> {
    let mut options = OpenOptions::new(key);
    options.message_bytes_max = bounds.message_bytes;
    options.page_cache_bytes = bounds.page_cache_bytes;
    options.summary_cache_bytes = bounds.summary_cache_bytes;
    options.index_cache_bytes = match bounds.index_cache_bytes {
        0 => part_of_memory(),
        bytes => bytes,
    };
    options.reserve_bytes = bounds.reserve_bytes;
    options.reclaim_bytes_per_second = bounds.reclaim_bytes_per_second;
    options.recount_interval = bounds.recount_interval;
    options.scrub_bytes_per_second = bounds.scrub_bytes_per_second;
    options.password_memory = bounds.password_memory;
    options.segment_bytes = bounds.segment_bytes;
    options.extractor = bounds.documents.extractor();
    options.extractor_search_time = bounds.documents.search_time;
    options.io = bounds.io;
    options.mode = mode;
    options.pair = bounds.pair;
    options.begins_epoch = bounds.begins_epoch;
    options.held_bytes_max = bounds.held_bytes;
    let (store, report) = Store::open(directory, options)?;
    if let Some(healed) = &report.healed_root_key {
        tracing::warn!("a damaged file of the root key was healed from the other: {healed}");
    }
    if let Some(healed) = &report.healed_key_table {
        tracing::warn!("a damaged copy of the key table was healed from the other: {healed}");
    }
    for damage in &report.damage {
        match damage.severity {
            Severity::BelowState => tracing::error!(
                "{damage}; messages whose bytes lie there cannot be read, all else is served: run \
                 'pillarbox check' to learn which"
            ),
            Severity::AboveState => tracing::error!(
                "{damage}; the store is served as of the position before and takes no changes: \
                 keep a copy of the directory, and see docs/operate.md"
            ),
        }
    }
    Ok((store, opened_words(&report)))
}

fn opened_words(report: &OpenReport) -> String {
    let log = &report.log;
    let mut words = format!(
        "the store is open after {} ms: {} records of {} groups replayed",
        report.elapsed.as_millis(),
        report.record_count,
        log.groups_replayed
    );
    if log.cut_bytes > 0 {
        words.push_str(&format!(
            ", a torn tail of {} bytes cut (never acknowledged)",
            log.cut_bytes
        ));
    }
    if report.void_count > 0 {
        words.push_str(&format!(", {} groups of unfinished commands are void", report.void_count));
    }
    words.push_str(&format!("; {}", report.io));
    words
}

/// Closes a store that is opened again by this process: waits until nobody has it any more.
pub(crate) fn close_for_good(store: Store) -> Result<(), Failure> {
    store.close();
    let begun = Instant::now();
    while !store.is_only_handle() {
        if begun.elapsed() >= LET_GO {
            let sentence = "something holds on to the store; start the server again";
            return Err(Failure::new(Exit::Later, sentence));
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Flushes and closes a store.
pub(crate) fn close(store: Store) {
    store.close();
}

/// How a store is.
pub(crate) fn status(store: &Store) -> StoreStatus {
    let Status {
        account_count,
        message_count,
        message_bytes,
        retained_count,
        retained_bytes,
        last_lsn,
        epoch,
        format_level,
        format_level_newest,
        change_count,
        group_count,
        flush_count,
        log_bytes,
        live_bytes,
        reclaimed_segments,
        image_rounds,
        images_refused,
        covered_lsn,
        reclaim_copied_bytes,
        reclaimed_bytes,
        recount,
        scrubbed_segments,
        scrubbed_bytes,
        scrub_healed,
        scrub_damaged,
        retired_keys,
        rewrap,
        stopped,
    } = store.status();
    let changes = stopped.as_ref().map_or_else(|| "taken".to_owned(), |why| format!("NOT: {why}"));
    let lines = [
        ("accounts", account_count.to_string()),
        ("messages", message_count.to_string()),
        ("message_bytes", message_bytes.to_string()),
        ("retained_messages", retained_count.to_string()),
        ("retained_bytes", retained_bytes.to_string()),
        ("changes", changes),
        ("epoch", epoch.to_string()),
        ("position", last_lsn.to_string()),
        ("format_level", format_level.to_string()),
        ("format_level_newest", format_level_newest.to_string()),
        ("changes_since_start", change_count.to_string()),
        ("groups_since_start", group_count.to_string()),
        ("flushes_since_start", flush_count.to_string()),
        ("log_bytes_since_start", log_bytes.to_string()),
        ("live_bytes", live_bytes.map_or_else(|| "not counted yet".into(), |b| b.to_string())),
        ("segments_reclaimed_since_start", reclaimed_segments.to_string()),
        ("base_image_rounds_since_start", image_rounds.to_string()),
        ("base_images_refused", refused_words(images_refused)),
        ("records_covered_by_base_images_to", covered_lsn.to_string()),
        ("reclaim_copied_bytes_since_start", reclaim_copied_bytes.to_string()),
        ("reclaimed_bytes_since_start", reclaimed_bytes.to_string()),
        ("recount", recount_words(recount.as_ref())),
        ("segments_scrubbed_since_start", scrubbed_segments.to_string()),
        ("scrubbed_bytes_since_start", scrubbed_bytes.to_string()),
        ("scrub_healed_since_start", scrub_healed.to_string()),
        ("scrub_damaged", scrub_damaged.to_string()),
    ];
    let keys = key_words::status_lines(&retired_keys, rewrap);
    let lines = lines.into_iter().chain(index_lines(&store.index_status())).chain(keys);
    let lines = lines.map(|(name, value)| (name.to_owned(), value)).collect();
    StoreStatus { lines, stopped }
}

/// Figures of the full-text index.
fn index_lines(status: &IndexStatus) -> Vec<(&'static str, String)> {
    let lines = [
        ("indexed_messages", status.figures.indexed_count),
        ("index_waiting_messages", status.waiting_count),
        ("index_waiting_bytes", status.waiting_bytes),
        ("index_behind_messages", status.behind_count),
        ("index_behind_bytes", status.behind_bytes),
        ("index_behind_seconds", status.behind_for.as_secs()),
        ("index_waiting_accounts", status.due_account_count),
        ("index_splits", status.figures.split_count),
        ("index_bytes", status.figures.file_bytes),
        ("index_skipped_messages", status.figures.skipped_count),
        ("index_documents", status.figures.document_count),
        ("index_documents_without_text", status.figures.flawed_document_count),
        ("index_messages_of_other_extractors", status.figures.otherwise_count),
        ("messages_indexed_since_start", status.made_count),
        ("bytes_indexed_since_start", status.made_bytes),
    ];
    lines.into_iter().map(|(name, value)| (name, value.to_string())).collect()
}

/// Whether accounts keep all their records in the log.
fn refused_words(count: u64) -> String {
    match count {
        0 => "none since the start".to_owned(),
        _ => format!("{count}: THE STATE IS NOT WHAT WAS CHANGED; run 'pillarbox check'"),
    }
}

/// What the last recount found.
fn recount_words(report: Option<&RecountReport>) -> String {
    match report {
        None => "none since the start".to_owned(),
        Some(report) if report.differences.is_empty() => {
            format!("agrees, as of {} UTC", when::show(report.at.0))
        }
        Some(report) => format!(
            "DIFFERS, as of {} UTC: {}; run 'pillarbox check'",
            when::show(report.at.0),
            report.differences.join("; ")
        ),
    }
}

/// Verifies every hash and reference; `progress` is told messages done and messages in all.
pub(crate) fn check(
    store: &Store,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CheckOutcome, Failure> {
    let mut told = std::time::Instant::now();
    let report = store.check(&mut |at: CheckProgress| {
        // Over the socket each of these is a line.
        if told.elapsed().as_millis() >= 100 {
            told = std::time::Instant::now();
            progress(at.message_count, at.message_total);
        }
    })?;
    let mut summary = format!(
        "checked {} messages ({} bytes) in {} mailboxes of {} accounts, {} segments ({} bytes) \
         with {} records, {} rows of state: {} problems",
        report.message_count,
        report.message_bytes,
        report.mailbox_count,
        report.account_count,
        report.segment_count,
        report.log_bytes,
        report.record_count,
        report.row_count,
        report.problem_count
    );
    if report.index_file_count > 0 {
        summary.push_str(&format!("; {} files of the index", report.index_file_count));
        if report.index_damaged_count > 0 {
            let damaged = report.index_damaged_count;
            summary.push_str(&format!(", {damaged} of which are made anew when they are read"));
        }
    }
    if report.given_up_count > 0 {
        summary.push_str(&format!(
            "; {} damaged places of the log were given up, and the state could not be made anew \
             from it",
            report.given_up_count
        ));
    }
    if report.unnamed_chunks > 0 {
        summary.push_str(&format!(
            "; {} bytes of {} pieces keep their space and belong to no message",
            report.unnamed_bytes, report.unnamed_chunks
        ));
    }
    let problems = report.problems.iter().map(ToString::to_string).collect();
    Ok(CheckOutcome { summary, problems, problem_count: report.problem_count })
}

/// Mends a stopped store; answers what was done and what could not be, a sentence each.
pub(crate) fn repair(
    directory: &Path,
    key: KeySource,
    from: Option<&Path>,
) -> Result<Vec<String>, Failure> {
    let report = Store::repair(directory, &OpenOptions::new(key), from)?;
    let mended = report.mended.iter().map(|what| format!("mended: {what}"));
    let left = report.left.iter().map(|what| format!("left as it is, for want of a copy: {what}"));
    let mut sentences: Vec<String> = mended.chain(left).collect();
    if sentences.is_empty() {
        sentences.push("nothing in keys and log was in need of repair".to_owned());
    }
    Ok(sentences)
}

/// Says what of a stopped store has no copy, and gives it up if that is wanted.
pub(crate) fn give_up(
    directory: &Path,
    key: KeySource,
    is_wanted: bool,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<String>, Failure> {
    let consent = if is_wanted { Consent::Given } else { Consent::Asked };
    let report = Store::give_up(directory, &OpenOptions::new(key), consent, progress)?;
    let mut sentences: Vec<String> =
        report.lost.iter().map(|what| format!("lost: {what}")).collect();
    if report.recovered_count > 0 {
        let verb = if report.is_done { "came" } else { "would come" };
        sentences.push(format!(
            "{} messages that no record names any more {verb} back into the mailbox \"Recovered\" \
             of their accounts",
            report.recovered_count
        ));
    }
    if !report.is_done && !report.is_empty() {
        sentences.push(
            "nothing was given up: look for a copy and run the command with --from; without one, \
             run it with --give-up, and the store goes on without what is named here"
                .to_owned(),
        );
    }
    if report.is_done && report.changes_lost {
        sentences.push(
            "given up: the store goes on in a new epoch, so that clients read their mailboxes anew"
                .to_owned(),
        );
    }
    if let Some(folder) = &report.quarantine {
        sentences.push(format!("the damaged bytes are kept in {}", folder.display()));
    }
    Ok(sentences)
}

/// Makes the state of a stopped store anew from its log; answers what came of it. `progress` is
/// told bytes of the log verified, of how many.
pub(crate) fn rebuild(
    directory: &Path,
    key: KeySource,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<String>, Failure> {
    let report = Store::rebuild(directory, OpenOptions::new(key), progress)?;
    let seconds = report.elapsed.as_secs_f64().max(0.001);
    let mut sentences = Vec::new();
    if report.resumed {
        sentences.push("went on with a rebuild that had been interrupted".to_owned());
    }
    sentences.push(format!(
        "made the state anew from {} records in {seconds:.1} s: {} accounts, {} mailboxes, {} \
         messages{}",
        report.record_count,
        report.account_count,
        report.mailbox_count,
        report.message_count,
        if report.compared { "; compared with the state from before" } else { "" }
    ));
    sentences.extend(report.differences.iter().map(|what| format!("it differs: {what}")));
    if let Some(kept) = &report.kept {
        sentences.push(format!("the state from before is kept in {}", kept.display()));
    }
    Ok(sentences)
}

/// Makes a new recovery key in place of the old one, in a store that is not running.
pub(crate) fn key_backup(directory: &Path, key: &KeySource) -> Result<Secret, Failure> {
    Ok(Store::key_backup(directory, key)?)
}

/// Puts a new key in the place of the one that opens the store, which is not running.
pub(crate) fn rotate_key(
    directory: &Path,
    old: &KeySource,
    new: &KeySource,
) -> Result<(), Failure> {
    Ok(Store::rotate_key(directory, old, new)?)
}

/// Whether a recovery key opens a store's root key. Needs no other key; the store may be running.
pub(crate) fn verify_recovery_key(directory: &Path, recovery_key: &Secret) -> Result<(), Failure> {
    Ok(verify_backup(directory, recovery_key)?)
}
