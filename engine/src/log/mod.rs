//! The commit log: a chain of groups in segment files, the only truth of a volume.
//!
//! [`GroupBuilder`] assembles what one flush makes durable, [`LogWriter`] makes it durable,
//! what was acknowledged. Payloads are sealed bytes here; nobody in this folder has a key.

mod build;
pub mod format;
pub mod reader;
mod setup;
mod writer;

pub use build::{BuiltChunk, BuiltGroup, GroupBuilder};
pub use format::group::{GroupHash, GroupHeader, GroupStamp};
pub use format::item::{ChunkHeader, Item, RecordHeader};
pub use format::segment::{Role, SegmentNumber};
pub use setup::{ChunkPlace, GroupPlace, LogSetup, ZerosAhead};
pub use writer::{AppendError, ChainEnd, LogWriter};
