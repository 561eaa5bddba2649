//! What an operator may set, with defaults and their reasons.

use std::sync::Arc;
use std::time::Duration;

use engine::limits;
use engine::width::u64_of;

use crate::dialect::Dialect;
use crate::receive::ByteBudget;

/// What happens to a line feed without a carriage return before it.
///
/// Neither choice lets it end a message or a command that a strict reader would go on reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BareNewline {
    /// It is stored as CRLF, because a stored message has CRLF everywhere. A command may end with
    /// it.
    Normalise,
    /// The message is read to its end and refused with `554 5.6.11`; a command with `500 5.5.2`.
    Refuse,
}

/// How an account over its quota is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverQuota {
    /// `452 4.2.2`: the sender keeps the message and tries again.
    Retry,
    /// `552 5.2.2`: the sender's server reports it to its author at once.
    Refuse,
}

/// Settings of all connections; the same for every listener of a process, so that they share one
/// budget.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our name in greetings and in Received. Default `localhost`.
    pub hostname: String,
    /// The largest message in bytes, announced by SIZE (RFC 1870). Default 64 MiB: above what large
    /// providers send. Never above [`limits::MESSAGE_BYTES_MAX`].
    pub message_bytes_max: u64,
    /// The longest command line in bytes with its CRLF. Default 2048: 512 of RFC 5321 section
    /// 4.5.3.1.4, plus room for parameters and for addresses in UTF-8.
    pub line_bytes_max: usize,
    /// RCPT commands accepted for one message. Default 1000 (RFC 5321 section 4.5.3.1.8 wants 100).
    pub recipients_max: usize,
    /// Refused commands after which the connection is closed with `421 4.7.0`. Default 20.
    pub errors_max: u32,
    /// Received fields above which a message is taken for a loop. Default 100 (RFC 5321 section
    /// 6.3).
    pub hops_max: usize,
    /// Longest wait for a command, and for the client to take a reply. Default 5 minutes (RFC 5321
    /// section 4.5.3.2.7).
    pub command_timeout: Duration,
    /// Longest wait for the next bytes of a message. Default 3 minutes (RFC 5321 section
    /// 4.5.3.2.5).
    pub data_timeout: Duration,
    /// Whether `user+detail` goes to the mailbox `detail` where that exists. Default off: otherwise
    /// anybody who knows an address may choose the mailbox.
    pub detail_mailboxes: bool,
    /// How an account over its quota is answered. Default [`OverQuota::Retry`].
    pub over_quota: OverQuota,
    /// Bare newlines from a server in front. Default [`BareNewline::Normalise`]: it has accepted
    /// the message already, and a refusal would make it a bounce.
    pub bare_newline_lmtp: BareNewline,
    /// Bare newlines from the world. Default [`BareNewline::Refuse`]: real servers send CRLF, and
    /// what does not may be half of a smuggled message.
    pub bare_newline_smtp: BareNewline,
    /// Bytes of all messages being received, shared by all connections. Default 256 MiB.
    pub memory: Arc<ByteBudget>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hostname: "localhost".to_owned(),
            message_bytes_max: 64 << 20,
            line_bytes_max: 2048,
            recipients_max: 1000,
            errors_max: 20,
            hops_max: 100,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            detail_mailboxes: false,
            over_quota: OverQuota::Retry,
            bare_newline_lmtp: BareNewline::Normalise,
            bare_newline_smtp: BareNewline::Refuse,
            memory: Arc::new(ByteBudget::new(256 << 20)),
        }
    }
}

impl Config {
    /// The choice for a dialect.
    pub fn bare_newline(&self, dialect: Dialect) -> BareNewline {
        match dialect {
            Dialect::Smtp => self.bare_newline_smtp,
            Dialect::Lmtp => self.bare_newline_lmtp,
        }
    }

    /// The size limit in force, never above the store's.
    pub fn size_limit(&self) -> u64 {
        self.message_bytes_max.min(u64_of(limits::MESSAGE_BYTES_MAX))
    }
}
