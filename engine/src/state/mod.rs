//! State: what the log adds up to, in memory for readers and in tables for the next start.
//!
//! It is a checkpoint and never a second truth: lose it, and the log brings it back.
//!
//! | file | holds |
//! |--|--|
//! | `changes` | records applied to working copies: the assigned head |
//! | `committed` | what readers see |
//! | `saved` | the tables, read |
//! | `checkpoint` | the tables, written |
//! | `account`, `policy`, `blob` | rows |
//! | `answered` | requests of other nodes, and what they were answered |
//! | `annotations` | metadata, access control lists, limits |
//! | `base` | base images, and which records they make needless |
//! | `retained`, `retain` | messages kept after they were expunged; records applied to them |
//! | `vanished` | UIDs that went since a position |
//! | `history` | epochs, and what they make of positions that were given up |
//! | `key_use` | keys that segments name; values to be sealed anew |
//! | `values` | sealing of values |
//! | `index_feed` | what the full-text index hears of groups |
//! | `summaries` | pages of summaries that are wanted, and that were made |
//! | `space` | living bytes of each segment |
//! | `recount` | everything counted anew |
//! | `table/` | the table store: RocksDB, or memory in tests |

mod account;
mod annotations;
mod answered;
mod base;
mod blob;
mod changes;
mod checkpoint;
mod committed;
pub(crate) mod fuzzing;
#[cfg(test)]
mod golden_tests;
mod history;
mod index_feed;
mod key_use;
mod part;
mod policy;
mod recount;
mod retain;
mod retained;
mod saved;
mod space;
mod summaries;
mod table;
mod values;
mod vanished;
mod watchers;

pub(crate) use account::Usage;
pub(crate) use account::{AccountState, INBOX, canonical, is_staging, staging_name};
pub(crate) use annotations::{ACCOUNT_ITSELF, AccountAnnotations, Annotations};
pub(crate) use answered::AnsweredRow;
pub(crate) use base::{BaseImage, Coverage};
pub(crate) use blob::{
    BlobRow, ChunkPlace as StateChunkPlace, Places, blob_of_reference, mailbox_of_reference,
    reference_key,
};
pub(crate) use changes::{Changes, EpochLink, positions};
pub(crate) use checkpoint::{confirm as confirm_checkpoint, write as write_checkpoint};
pub(crate) use committed::{Committed, MailboxCell, Unsaved};
pub use history::History;
pub use index_feed::IndexBounds;
pub(crate) use index_feed::{Amount, FreshBlob, IndexFeed, IndexWork};
pub(crate) use key_use::Named;
pub(crate) use part::{BlobRole, NamedPart, PartUse, blob_naming, part_reference_key};
pub(crate) use policy::{ALIAS_STEPS_MAX, Policy, normalize_address, normalize_domain};
pub(crate) use recount::{Counted, Counts, count_all, decoded};
pub(crate) use retained::{AccountRetention, RetainedMessage, Until};
pub use retained::{RetainedKey, RetentionSetting, VolumeRetention};
#[cfg(test)]
pub(crate) use saved::put_volume_value;
pub(crate) use saved::{
    CheckpointStamp, Saved, USAGE_KEY_BYTES, annotated_by, is_node_local, scan_references,
};
#[cfg(test)]
pub(crate) use space::count as count_space;
pub(crate) use space::{SpaceChange, SpaceUse};
pub(crate) use summaries::{MadePage, SummaryPages, SummarySpan, SummaryWork};
pub(crate) use table::{
    KeptTables, MemoryTables, RocksKept, RocksTables, Table, TableBatch, TableStore,
};
pub(crate) use values::Values;

/// The formats of the tables, for the list in `tests/golden/constants.txt`.
#[cfg(test)]
pub(crate) const FORMATS: [(&str, u8); 1] = [("values of state", saved::FORMAT)];
