//! The grammar: bytes to typed commands and addresses, message content to plain bytes. No I/O, no
//! state beyond one line or one message.

pub(crate) mod address;
pub(crate) mod command;
pub(crate) mod content;
pub(crate) mod newline;
