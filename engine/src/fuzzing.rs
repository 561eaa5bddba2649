//! Every parser of foreign bytes here, as functions from bytes to nothing that panic when a promise
//! breaks.
//!
//! Two callers: the fuzz targets in `fuzz/`, which invent bytes, and `tests/fuzz_corpus.rs`, which
//! replays committed ones in every test run. Most decoders are private to their folders, and shall
//! stay so: one hidden list is a smaller hole than thirty public modules, and it is the same in
//! every build, where a feature would make the fuzzer test another program than the one that runs.
//!
//! Each body first decodes the bytes as they are. Where a hash guards a format, it then puts the
//! right hash beside the bytes, for no fuzzer ever guesses one and everything behind it would stay
//! untested. Promises: decoding is total; what decodes is encoded and decoded again to the same;
//! nothing is larger than its bound.

use crate::commit::proposal;
use crate::{compare, log, mailbox, message, record, seal, search, state, store};

/// The body of a target: panics when a promise breaks.
pub type Body = fn(&[u8]);

/// Every target with its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("account_row", state::fuzzing::account_row),
    ("annotations_row", state::fuzzing::annotations_row),
    ("blob_chunk", seal::fuzzing::blob_chunk),
    ("blob_header", seal::fuzzing::blob_header),
    ("blob_row", state::fuzzing::blob_row),
    ("checkpoint_stamp", state::fuzzing::checkpoint_stamp),
    ("encoded_words", message::fuzzing::encoded_words),
    ("copy_offer", crate::full_copy::fuzzing::offer),
    ("giving_up", store::fuzzing::giving_up),
    ("head_block", mailbox::fuzzing::head_block),
    ("ids_page", mailbox::fuzzing::ids_page),
    ("index_file", search::fuzzing::index_file),
    ("inquiry", compare::fuzzing::inquiry),
    ("key_table", seal::fuzzing::key_table),
    ("key_use_row", state::fuzzing::key_use_row),
    ("log_group", log::fuzzing::group),
    ("mailbox_page", mailbox::fuzzing::page),
    ("mailbox_row", mailbox::fuzzing::row),
    ("merge_step", store::fuzzing::merge_step),
    ("message", message::fuzzing::message),
    ("node_file", store::fuzzing::node_file),
    ("outcome", proposal::fuzzing::outcome),
    ("places_row", state::fuzzing::places_row),
    ("policy_row", state::fuzzing::policy_row),
    ("proposal", proposal::fuzzing::proposal),
    ("record", record::fuzzing::record),
    ("recipe", seal::fuzzing::recipe),
    ("recovery_key", seal::fuzzing::recovery_key),
    ("answered_row", state::fuzzing::answered_row),
    ("base_row", state::fuzzing::base_row),
    ("retained_row", state::fuzzing::retained_row),
    ("retention_row", state::fuzzing::retention_row),
    ("root_key_file", seal::fuzzing::root_key_file),
    ("sealed_object", seal::fuzzing::sealed_object),
    ("segment_footer", log::fuzzing::segment_footer),
    ("segment_header", log::fuzzing::segment_header),
    ("stored_password", seal::fuzzing::stored_password),
    ("summary", message::fuzzing::summary),
    ("summary_page", mailbox::fuzzing::summary_page),
    ("usage_row", state::fuzzing::usage_row),
    ("vanished", mailbox::fuzzing::vanished),
    ("volume_row", state::fuzzing::volume_row),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or a promise breaks: both are what the caller wants to know.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = found.expect("fuzz/ names targets of the list above");
    body(bytes);
}

/// Splits the input in two at the place that its first two bytes name.
pub(crate) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((at, rest)) = bytes.split_first_chunk::<2>() else { return (bytes, &[]) };
    let at = usize::from(u16::from_le_bytes(*at));
    rest.split_at(at.min(rest.len()))
}

/// Changes `target` as `edits` says: four bytes each, a place modulo the length, a byte to be
/// combined with what is there, and how many of the following ones are combined likewise.
pub(crate) fn edit(target: &mut [u8], edits: &[u8]) {
    let (edits, _) = edits.as_chunks::<4>();
    for [low, high, byte, more] in edits {
        let place = usize::from(u16::from_le_bytes([*low, *high]));
        let start = place.checked_rem(target.len()).unwrap_or_default();
        let (_, from) = target.split_at_mut(start);
        from.iter_mut().take(1 + usize::from(*more)).for_each(|target| *target ^= byte);
    }
}
