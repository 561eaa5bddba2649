//! A second node: the link between two nodes (`pair`), and what makes one of them primary without
//! a command: a third party (`directory`, `failover`), or nobody (`merge_mode`).
//!
//! # Invariants
//! 1. Nothing here writes to a volume but through the engine, which checks every group's chain.
//! 2. What a peer sends is bounded before it is kept.

#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests count small things"))]

pub mod directory;
pub mod failover;
#[doc(hidden)]
pub mod fuzzing;
pub mod merge_mode;
pub mod pair;
