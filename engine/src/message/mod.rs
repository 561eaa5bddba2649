//! A message parsed once, when it comes in.

mod summary;

pub use summary::{Address, BodyKind, Envelope, Part, Summary};
