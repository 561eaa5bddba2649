//! The commit log: a chain of groups in segment files, the only truth of a volume.
//!
//! [`GroupBuilder`] assembles what one flush makes durable, [`LogWriter`] makes it durable,
//! [`read_chunk`](reader::LogReader::read_chunk) finds bytes again, [`recovery`] decides after a
//! crash
//! what was acknowledged. Payloads are sealed bytes here; nobody in this folder has a key.

mod build;
pub mod format;
pub(crate) mod fuzzing;
mod key_names;
pub mod reader;
pub mod recovery;
mod rewrite;
mod setup;
mod spare;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use build::chunks_of;
pub use build::{BuiltChunk, BuiltGroup, GroupBuilder};
pub use format::group::{GroupHash, GroupHeader, GroupStamp};
pub use format::item::{ChunkHeader, Item, RecordHeader};
pub use format::segment::{FooterVersion, Role, SegmentNumber};
pub(crate) use key_names::{KeyNames, NamedBy};
pub use reader::LogReader;
pub(crate) use reader::{SegmentFile, SegmentUse};
pub use recovery::{
    Gaps, LogDamage, RecoverError, Recovered, RecoveryReport, Replayed, Severity, StateStamp,
    recover, recover_over,
};
pub(crate) use recovery::{before, numbers, successor};
pub(crate) use rewrite::{Keep, Rewrite, RewriteStep, SOURCES_MAX};
pub use setup::{ChunkPlace, GroupPlace, LogSetup, ZerosAhead};
pub(crate) use spare::{Released, give_back, release};
pub(crate) use writer::close;
pub use writer::{AppendError, ChainEnd, LogWriter};
