//! The pair: two nodes that hold the same volumes, and the link between them.
//!
//! One connection at a time carries all volumes, whoever of the two dialled it:
//!
//! ```text
//!   host (engine, roles)     send ▼                                ▲ connected, received, lost
//!   ───────────────────────────────────────────────────────────────────────────────────────────
//!   host        the handle by which the host sends; what was sent and is not noted
//!   outgoing    two lanes, bounded: signs of life, messages       delivery  one line, one thread
//!   ───────────────────────────────────────────────────────────────────────────────────────────
//!   protocol    greeting, checks, signs of life: a state machine  no sockets, no clocks
//!   message     what is said; frame  where it begins and ends     bytes
//!   ───────────────────────────────────────────────────────────────────────────────────────────
//!   connection  moves bytes; dialer, acceptor  make connections; slot  which one counts
//!   tls         version 1.3, both sides pinned by fingerprint     credentials, peer: their files
//! ```
//!
//! On the wire, inside of TLS:
//!
//! | | drawn in |
//! |--|--|
//! | frames: length, kind, flags, volume, payload | [`frame`] |
//! | kinds 1 to 5, about the connection: Hello, Refuse, Welcome, Ping, Pong | [`message`] |
//! | kinds 16 to 34, about a volume: groups, what is durable, keys, writes | [`message`] |
//! | kinds 80 and 81: what one node asks the other to read for it | [`message`] |
//! | kinds 64 to 79 and 82 to 111 are free for full copy and others | |
//! | kinds 120 to 122: a node that was invited joins | [`joining`], [`invitation`] |
//!
//! # Invariants
//! 1. Nobody but the pinned peer gets as far as a frame, and nothing is handed to the host before
//!    both sides have found each other's greeting good.
//! 2. What a connection loses is lost at its end only: until then messages arrive once and in
//!    order. What was under way when it ended is asked for anew in the next one, by position.
//! 3. Every queue has a bound in bytes, and so has every frame, by its kind.
//! 4. Every wait has an end, on a monotonic clock.
//! 5. Whoever is refused is counted by cause, and a sentence says what was found, what was
//!    expected, and what to do.

mod acceptor;
mod asking;
pub mod checks;
mod connection;
pub mod credentials;
mod delivery;
mod dialer;
pub mod figures;
pub mod frame;
pub mod heard;
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
