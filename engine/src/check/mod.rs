//! `check`: reads everything and says what is wrong; repairs and scrubs.
//!
//! | file | reads |
//! |--|--|
//! | `segment`, `log` | every segment: headers, groups, records, chunks, footers, the chain |
//! | `state` | every row of the tables, and what they say of each other |
//! | `summaries` | every page of summaries, against the messages' own |
//! | `mail` | every mailbox: heads against pages, counters, every message opened |
//! | `retained` | what is kept after it was expunged |
//! | `finding` | what was found, in words |
//! | `repair` | a segment mended from a copy |
//! | `heal` | a chunk that is damaged here, from the other node of a pair |
//! | `scrub` | cold segments, for as long as the store is open |
//!
//! Nothing here changes anything, but for what is called repair, and for what is healed. Memory is
//! bounded: by one segment, one page, and what is listed.

mod finding;
mod heal;
mod log;
mod mail;
mod parts;
mod repair;
mod retained;
mod scrub;
mod segment;
mod state;
mod summaries;

pub use self::finding::{CheckProgress, CheckReport, Loss, Problem};
pub use self::heal::Neighbour;
pub(crate) use self::heal::{ChunkQuestion, Healer};
pub(crate) use self::log::{LogSource, ReadGroup};
pub(crate) use self::mail::{Check, CheckSetup};
pub(crate) use self::repair::Mended;
pub(crate) use self::scrub::{ScrubFigures, ScrubSetup, ScrubStep, Scrubber};
pub(crate) use self::segment::{Flaw, FlawKind, ScanStep, SegmentScan};
