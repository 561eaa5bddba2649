//! State: a checkpoint of the log in a table store. A page store, not a second truth.

pub(crate) mod table;
