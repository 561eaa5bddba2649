//! The pair: two nodes that hold the same volumes.

mod acceptor;
pub mod checks;
mod connection;
pub mod credentials;
mod delivery;
mod dialer;
pub mod figures;
pub mod frame;
pub mod host;
pub mod invitation;
pub mod joining;
pub mod link;
pub mod message;
pub mod node;
pub mod options;
mod outgoing;
pub mod peer;
pub mod protocol;
pub mod refusal;
mod slot;
pub mod tls;

/// The lowest version of the protocol that this binary speaks.
pub const PROTOCOL_LOWEST: u16 = 1;
/// The highest.
pub const PROTOCOL_HIGHEST: u16 = 1;
