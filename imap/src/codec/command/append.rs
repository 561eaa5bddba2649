//! What APPEND and REPLACE put into a mailbox.

use engine::flags::FlagList;
use engine::ids::UnixSeconds;

/// One message of APPEND, or that of REPLACE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendMessage {
    /// Flags to set.
    pub flags: FlagList,
    /// INTERNALDATE, if given.
    pub received: Option<UnixSeconds>,
    /// What it is put together from, at least one.
    pub parts: Vec<AppendPart>,
}

/// A piece of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendPart {
    /// Sent with the command.
    Text {
        /// The number of its literal in the command.
        literal: usize,
        /// How it was sent.
        form: LiteralForm,
    },
    /// Of stored mail (RFC 4469).
    Url(Vec<u8>),
}

/// Which bytes a literal may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiteralForm {
    /// `{n}`: all but NUL.
    Plain,
    /// `~{n}` (RFC 3516): any.
    Binary,
}
