//! The link between two nodes over real sockets: what works, what breaks, who is refused.
//!
//! Waiting is for events of the hosts and for counters, each with an end; pauses stand only where
//! nothing is to happen.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test stops where it is wrong"
)]

mod broken;
mod forwarder;
mod good;
mod joining;
mod measured;
mod node;
mod refused;
