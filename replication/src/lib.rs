//! A second node: the link between two nodes (`pair`), and who says which of them is primary where
//! a third party does (`directory`, `failover`).
//!
//! # Invariants
//! 1. Nothing here writes to a volume but through the engine, which checks every group's chain.
//! 2. What a peer sends is bounded before it is kept.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests count small things"))]

pub mod directory;
pub mod failover;
#[doc(hidden)]
pub mod fuzzing;
pub mod pair;
