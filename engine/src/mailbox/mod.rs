//! What a mailbox holds: rows of messages, seen through immutable views.

mod row;
mod view;

pub use row::{KeywordSet, Row, RowIds};
pub use view::{View, ViewChanges};
