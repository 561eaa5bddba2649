//! The tagged answer to a command, and the table that maps the engine's errors to answers.

use engine::error::{CommitError, ReadError};

use crate::session::{Selected, Session};

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    /// Done.
    Ok,
    /// Not done.
    No,
    /// Not a valid command here.
    Bad,
}

impl Status {
    /// As on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
        }
    }
}

/// What happens after the tagged answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// The next command.
    NextCommand,
    /// A TLS handshake.
    Handshake,
    /// Compressed bytes, both ways.
    Compress,
    /// Bytes that are not compressed.
    StopCompressing,
    /// The end.
    Close,
}

/// A tagged answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// What stands in brackets; empty for none.
    pub(crate) code: String,
    pub(crate) text: String,
    pub(crate) then: Then,
}

impl Answer {
    fn new(status: Status, code: impl Into<String>, text: impl Into<String>) -> Answer {
        Answer { status, code: code.into(), text: text.into(), then: Then::NextCommand }
    }

    /// `OK text`
    pub(crate) fn ok(text: impl Into<String>) -> Answer {
        Answer::new(Status::Ok, "", text)
    }

    /// `OK [code] text`
    pub(crate) fn ok_code(code: impl Into<String>, text: impl Into<String>) -> Answer {
        Answer::new(Status::Ok, code, text)
    }

    /// `NO [code] text`
    pub(crate) fn no(code: impl Into<String>, text: impl Into<String>) -> Answer {
        Answer::new(Status::No, code, text)
    }

    /// `BAD text`
    pub(crate) fn bad(text: impl Into<String>) -> Answer {
        Answer::new(Status::Bad, "", text)
    }

    /// `BAD [code] text`
    pub(crate) fn bad_code(code: impl Into<String>, text: impl Into<String>) -> Answer {
        Answer::new(Status::Bad, code, text)
    }

    /// The same, and then that.
    pub(crate) fn then(mut self, then: Then) -> Answer {
        self.then = then;
        self
    }

    /// An OK that tells up to where the client knows all (RFC 7162 section 3.2.7), if it tells
    /// nothing else.
    pub(crate) fn with_highest_modseq(mut self, selected: Option<&Selected>) -> Answer {
        if let Some(selected) = selected.filter(|_| self.status == Status::Ok)
            && self.code.is_empty()
        {
            self.code = format!("HIGHESTMODSEQ {}", selected.view.highest_modseq().bits());
        }
        self
    }

    /// `tag status [code] text`
    pub(crate) fn line(&self, tag: &str) -> String {
        let status = self.status.name();
        if self.code.is_empty() {
            format!("{tag} {status} {}", self.text)
        } else {
            format!("{tag} {status} [{}] {}", self.code, self.text)
        }
    }

    /// Some messages that the client named are gone (RFC 5530, RFC 2180 section 4.1.2).
    pub(crate) fn expunge_issued() -> Answer {
        Answer::no("EXPUNGEISSUED", "Some of the messages have been deleted by another session")
    }

    /// EXAMINE does not change anything.
    pub(crate) fn read_only() -> Answer {
        Answer::no("READ-ONLY", "The mailbox was opened with EXAMINE")
    }

    /// The rights to it do not go so far.
    pub(crate) fn no_permission() -> Answer {
        Answer::no("NOPERM", "You have no right to do this here")
    }

    /// No such mailbox.
    pub(crate) fn no_mailbox() -> Answer {
        Answer::no("NONEXISTENT", "There is no mailbox of that name")
    }

    /// No such mailbox, but it could be made and the command repeated.
    pub(crate) fn try_create() -> Answer {
        Answer::no("TRYCREATE", "There is no mailbox of that name")
    }

    /// Not a name.
    pub(crate) fn bad_name() -> Answer {
        Answer::no("CANNOT", "The mailbox name is neither modified UTF-7 nor UTF-8")
    }

    /// Stored bytes could not be read: logged here, once; the client learns only that.
    pub(crate) fn unreadable(session: &Session, error: &ReadError) -> Answer {
        tracing::error!(rip = %session.peer.ip(), %error, "stored data could not be read");
        Answer::no("SERVERBUG", "Stored data could not be read; the operator has been told")
    }

    /// The table from refused changes to answers (RFC 5530).
    pub(crate) fn refused(session: &Session, error: &CommitError) -> Answer {
        let code = match error {
            CommitError::NoSuchMailbox
            | CommitError::NoSuchAccount
            | CommitError::NotFound { .. } => "NONEXISTENT",
            CommitError::AlreadyExists { .. } => "ALREADYEXISTS",
            CommitError::BadName { .. }
            | CommitError::UnfitPassword(_)
            | CommitError::OtherNumbers { .. }
            | CommitError::NotPermitted { .. } => "CANNOT",
            CommitError::MessagesGone => "EXPUNGEISSUED",
            CommitError::OverQuota { .. } | CommitError::TooManyMessages { .. } => "OVERQUOTA",
            CommitError::TooLarge { .. }
            | CommitError::TooManyEntries { .. }
            | CommitError::OutOfUids => "LIMIT",
            CommitError::QueueFull | CommitError::PartGone => "INUSE",
            CommitError::DiskFull | CommitError::ReadOnly { .. } => {
                match error {
                    CommitError::DiskFull => {
                        tracing::error!(rip = %session.peer.ip(), %error, "change refused");
                    }
                    // Why it is read-only was said when it became so, once.
                    _ => tracing::warn!(rip = %session.peer.ip(), %error, "change refused"),
                }
                return Answer::no(
                    "UNAVAILABLE",
                    "The store takes no changes now; try again later",
                );
            }
            CommitError::Read(error) => return Answer::unreadable(session, error),
            CommitError::Primary { .. } => {
                tracing::error!(rip = %session.peer.ip(), %error, "change refused");
                let words = "The other node could not do it; its operator has been told";
                return Answer::no("SERVERBUG", words);
            }
        };
        Answer::no(code, printable(&error.to_string()))
    }
}

/// A sentence for an answer: one line of printable ASCII, as `resp-text` demands.
pub(crate) fn printable(sentence: &str) -> String {
    sentence.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line() {
        assert_eq!(Answer::ok("Done").line("a1"), "a1 OK Done");
        assert_eq!(Answer::no("LIMIT", printable("a\r\nb é")).line("t"), "t NO [LIMIT] a??b ?");
    }
}
