//! Every reply: code, enhanced code (RFC 3463), text. Greetings and the answers to HELO and EHLO
//! are made where they are needed, because they carry names.
//!
//! Deliberate deviations: an unknown command is `500 5.5.1` rather than `502` (RFC 5321 section
//! 4.2.4), because we cannot tell an unknown command from one that we do not implement.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use engine::error::{CommitError, Remedy};

use crate::codec::command::CommandError;
use crate::config::OverQuota;
use crate::receive::ReceiveError;

/// One reply.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    /// RFC 5321 section 4.2.
    pub(crate) code: u16,
    /// RFC 3463; empty where the RFC has none.
    pub(crate) enhanced: &'static str,
    /// For people.
    pub(crate) text: &'static str,
}

const fn reply(code: u16, enhanced: &'static str, text: &'static str) -> Reply {
    Reply { code, enhanced, text }
}

pub(crate) static SEND_MESSAGE: Reply = reply(354, "", "Send the message, end it with a dot");
pub(crate) static READY_FOR_TLS: Reply = reply(220, "2.0.0", "Ready to start TLS");
pub(crate) static GOODBYE: Reply = reply(221, "2.0.0", "Goodbye");
pub(crate) static HELP: Reply = reply(214, "2.0.0", "See RFC 5321 and RFC 2033");
pub(crate) static DONE: Reply = reply(250, "2.0.0", "OK");
pub(crate) static CHUNK_TAKEN: Reply = reply(250, "2.0.0", "Chunk received");
pub(crate) static SENDER_OK: Reply = reply(250, "2.1.0", "Sender OK");
pub(crate) static RECIPIENT_OK: Reply = reply(250, "2.1.5", "Recipient OK");
pub(crate) static STORED: Reply = reply(250, "2.0.0", "Stored as");
pub(crate) static STORED_FOR: Reply = reply(250, "2.1.5", "Stored as");
pub(crate) static NOT_VERIFIED: Reply = reply(252, "2.5.0", "Try to send it a message");

pub(crate) static SHUTTING_DOWN: Reply = reply(421, "4.3.2", "Shutting down, try again later");
pub(crate) static TIMED_OUT: Reply = reply(421, "4.4.2", "Timeout, closing the connection");
pub(crate) static TOO_MANY_ERRORS: Reply = reply(421, "4.7.0", "Too many errors");
pub(crate) static NO_FOREIGN_PROTOCOL: Reply = reply(421, "4.7.0", "This is no web server");
pub(crate) static TROUBLE: Reply = reply(451, "4.3.0", "Trouble here, try again later");
pub(crate) static BUSY: Reply = reply(451, "4.3.2", "Busy, try again later");
pub(crate) static NO_MEMORY: Reply = reply(452, "4.3.1", "Out of room, try again later");
pub(crate) static MAILBOX_FULL_NOW: Reply = reply(452, "4.2.2", "Mailbox is full");
pub(crate) static TOO_MANY_RECIPIENTS: Reply = reply(452, "4.5.3", "Too many recipients");

pub(crate) static LINE_TOO_LONG: Reply = reply(500, "5.5.2", "Line too long");
pub(crate) static BARE_NEWLINE_IN_COMMAND: Reply = reply(500, "5.5.2", "Lines end with CR LF");
pub(crate) static UNKNOWN_COMMAND: Reply = reply(500, "5.5.1", "Unknown command");
pub(crate) static OTHER_DIALECT_SMTP: Reply = reply(500, "5.5.1", "This is SMTP, say EHLO");
pub(crate) static OTHER_DIALECT_LMTP: Reply = reply(500, "5.5.1", "This is LMTP, say LHLO");
pub(crate) static BAD_ARGUMENTS: Reply = reply(501, "5.5.4", "Syntax error in arguments");
pub(crate) static BAD_PARAMETER: Reply = reply(501, "5.5.4", "Parameter with a bad value");
pub(crate) static BAD_CHUNK: Reply = reply(501, "5.5.4", "BDAT needs a size");
pub(crate) static BAD_SENDER: Reply = reply(501, "5.1.7", "Bad sender address");
pub(crate) static BAD_RECIPIENT: Reply = reply(501, "5.1.3", "Bad recipient address");
pub(crate) static NOT_EXPANDED: Reply = reply(502, "5.5.1", "Lists are not expanded");
pub(crate) static NO_TLS: Reply = reply(502, "5.5.1", "TLS is not available");
pub(crate) static TLS_ACTIVE: Reply = reply(503, "5.5.1", "TLS is active already");
pub(crate) static GREET_FIRST: Reply = reply(503, "5.5.1", "Greet first");
pub(crate) static NESTED_MAIL: Reply = reply(503, "5.5.1", "Sender already given");
pub(crate) static MAIL_FIRST: Reply = reply(503, "5.5.1", "Give a sender first");
pub(crate) static CHUNKS_BEGUN: Reply = reply(503, "5.5.1", "BDAT has begun");
pub(crate) static NO_RECIPIENTS_LMTP: Reply = reply(503, "5.5.1", "No valid recipients");
pub(crate) static NO_SUCH_USER: Reply = reply(550, "5.1.1", "No such user here");
pub(crate) static NO_SUCH_DOMAIN: Reply = reply(550, "5.1.2", "Not a domain of this server");
pub(crate) static NO_RELAY: Reply = reply(550, "5.7.1", "Relaying denied");
pub(crate) static MAILBOX_FULL: Reply = reply(552, "5.2.2", "Mailbox is full");
pub(crate) static TOO_LARGE: Reply = reply(552, "5.3.4", "Message exceeds the size limit");
pub(crate) static NEEDS_SMTPUTF8: Reply = reply(553, "5.6.7", "The address needs SMTPUTF8");
pub(crate) static NO_RECIPIENTS: Reply = reply(554, "5.5.1", "No valid recipients");
pub(crate) static BARE_NEWLINE: Reply = reply(554, "5.6.11", "Message has bare line feeds");
pub(crate) static MAIL_LOOP: Reply = reply(554, "5.4.6", "Too many hops, mail loops");
pub(crate) static REFUSED: Reply = reply(554, "5.3.0", "The message cannot be stored");
pub(crate) static UNKNOWN_PARAMETER: Reply = reply(555, "5.5.4", "Unknown parameter");

impl Reply {
    /// Whether it tells of a failure after which trying again could help.
    pub(crate) fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Writes it as a line.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        self.write_start(out);
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Writes it with something behind its text.
    pub(crate) fn write_with(&self, what: impl Display, out: &mut Vec<u8>) {
        self.write_start(out);
        // Writing into memory does not fail.
        let _ = write!(out, "{} {what}\r\n", self.text);
    }

    /// Writes it with a recipient before its text (RFC 2033 section 4.2: one reply each, in order).
    pub(crate) fn write_for(&self, recipient: impl Display, what: &str, out: &mut Vec<u8>) {
        self.write_start(out);
        let space = if what.is_empty() { "" } else { " " };
        let _ = write!(out, "<{recipient}> {}{space}{what}\r\n", self.text);
    }

    fn write_start(&self, out: &mut Vec<u8>) {
        let _ = write!(out, "{} ", self.code);
        if !self.enhanced.is_empty() {
            out.extend_from_slice(self.enhanced.as_bytes());
            out.push(b' ');
        }
    }
}

/// The answer to a line that is no command.
pub(crate) fn for_command_error(error: CommandError) -> &'static Reply {
    match error {
        CommandError::LineTooLong => &LINE_TOO_LONG,
        CommandError::BareNewline => &BARE_NEWLINE_IN_COMMAND,
        CommandError::Unknown => &UNKNOWN_COMMAND,
        CommandError::ForeignProtocol => &NO_FOREIGN_PROTOCOL,
        CommandError::Arguments => &BAD_ARGUMENTS,
        CommandError::SenderAddress => &BAD_SENDER,
        CommandError::RecipientAddress => &BAD_RECIPIENT,
        CommandError::UnknownParameter => &UNKNOWN_PARAMETER,
        CommandError::ParameterValue => &BAD_PARAMETER,
        CommandError::ChunkSize => &BAD_CHUNK,
    }
}

/// The answer to a message that was not received whole.
pub(crate) fn for_receive_error(error: &ReceiveError) -> &'static Reply {
    match error {
        ReceiveError::TooLarge => &TOO_LARGE,
        ReceiveError::NoMemory => &NO_MEMORY,
        // As if the store had been asked for it.
        ReceiveError::Spool(error) if error.kind() == ErrorKind::StorageFull => &NO_MEMORY,
        ReceiveError::Spool(_) => &TROUBLE,
    }
}

/// The answer to a message that the store did not take. What has a code of its own in RFC 3463 gets
/// it; the class always follows the remedy, but for the quota, which an operator may decide.
pub(crate) fn for_commit_error(error: &CommitError, over_quota: OverQuota) -> &'static Reply {
    match (error, error.remedy()) {
        (CommitError::OverQuota { .. }, _) => for_over_quota(over_quota),
        (CommitError::TooLarge { .. }, Remedy::Refuse) => &TOO_LARGE,
        (CommitError::NoSuchAccount, Remedy::Refuse) => &NO_SUCH_USER,
        (CommitError::DiskFull, Remedy::Retry) => &NO_MEMORY,
        (_, Remedy::Refuse) => &REFUSED,
        (_, Remedy::Retry) => &BUSY,
        // An operator must act; the sender's server keeps the mail until then.
        (_, Remedy::Stop) => &TROUBLE,
    }
}

/// The answer for an account over its quota.
pub(crate) fn for_over_quota(over_quota: OverQuota) -> &'static Reply {
    match over_quota {
        OverQuota::Retry => &MAILBOX_FULL_NOW,
        OverQuota::Refuse => &MAILBOX_FULL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_is_one_line_whose_codes_agree() {
        let source = include_str!("reply.rs");
        let table = source.lines().filter(|line| line.starts_with("pub(crate) static"));
        let mut count = 0;
        for line in table {
            let values = line.split_once("reply(").unwrap().1;
            let code: u16 = values[..3].parse().unwrap();
            let enhanced = values.split('"').nth(1).unwrap();
            assert!((200..=599).contains(&code), "{line}");
            assert!(
                enhanced.is_empty() == (code == 354)
                    && (enhanced.is_empty() || enhanced[..1] == values[..1]),
                "{line}"
            );
            count += 1;
        }
        assert!(count > 40, "the table was read");
    }

    #[test]
    fn the_store_decides_the_class_of_its_refusals() {
        let cases: [(CommitError, u16); 8] = [
            (CommitError::QueueFull, 451),
            (CommitError::DiskFull, 452),
            (CommitError::OverQuota { limit_bytes: 1 }, 452),
            (CommitError::ReadOnly { volume: "v".into(), reason: "r".into() }, 451),
            (CommitError::TooLarge { what: "m", limit: 1 }, 552),
            (CommitError::NoSuchAccount, 550),
            (CommitError::NoSuchMailbox, 554),
            (CommitError::OutOfUids, 554),
        ];
        for (error, code) in cases {
            assert_eq!(for_commit_error(&error, OverQuota::Retry).code, code, "{error}");
        }
        let full = CommitError::OverQuota { limit_bytes: 1 };
        assert_eq!(for_commit_error(&full, OverQuota::Refuse).code, 552);
    }

    #[test]
    fn a_spool_on_a_full_disk_is_told_from_one_that_fails() {
        let code = |kind: ErrorKind| for_receive_error(&ReceiveError::Spool(kind.into())).code;
        assert_eq!(code(ErrorKind::StorageFull), 452);
        assert_eq!(code(ErrorKind::PermissionDenied), 451);
    }

    #[test]
    fn replies_are_written_with_their_particulars() {
        let mut out = Vec::new();
        SEND_MESSAGE.write_to(&mut out);
        STORED.write_with("1.1", &mut out);
        STORED_FOR.write_for("a@b.example", "1.1", &mut out);
        MAILBOX_FULL_NOW.write_for("a@b.example", "", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "354 Send the message, end it with a dot\r\n250 2.0.0 Stored as 1.1\r\n\
             250 2.1.5 <a@b.example> Stored as 1.1\r\n452 4.2.2 <a@b.example> Mailbox is full\r\n"
        );
    }
}
