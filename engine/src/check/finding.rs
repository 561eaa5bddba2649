//! What a check found, in words that an operator understands.

use crate::ids::Uid;

/// How far a check is: messages and segments together.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckProgress {
    /// Messages and segments verified so far.
    pub message_count: u64,
    /// Of how many, about.
    pub message_total: u64,
}

/// What is lost by a problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing: it is there a second time, or can be made anew.
    Nothing,
    /// This message cannot be read, wholly or in part.
    Message,
    /// So many pieces of messages lie there: those that cannot be read have problems of their own.
    Pieces(u64),
    /// Changes that state has applied: nothing as long as state is whole.
    SecondCopy,
    /// Changes that state has not applied.
    Changes,
    /// What is to be seen of it.
    Shown,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Loss::Nothing => f.write_str("nothing is lost"),
            Loss::Message => f.write_str("this message is lost unless a copy has it"),
            Loss::Pieces(count) => {
                write!(
                    f,
                    "{count} pieces of messages lie there: what cannot be read is named here too"
                )
            }
            Loss::SecondCopy => f.write_str(
                "nothing is lost as long as the state is whole, but the state could not be made \
                 anew from the log",
            ),
            Loss::Changes => {
                f.write_str("changes that were acknowledged are lost unless a copy has them")
            }
            Loss::Shown => f.write_str("no mail is lost, but what is shown of it is wrong"),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Account and mailbox, segment and offset, or a table of the state.
    pub about: String,
    /// The message, if it is about one.
    pub uid: Option<Uid>,
    /// What is wrong with it.
    pub what: String,
    /// What that costs.
    pub loss: Loss,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.about)?;
        if let Some(uid) = self.uid {
            write!(f, " UID {uid}")?;
        }
        write!(f, ": {}; {}", self.what, self.loss)
    }
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Accounts.
    pub account_count: u64,
    /// Mailboxes.
    pub mailbox_count: u64,
    /// Messages.
    pub message_count: u64,
    /// Bytes of messages, opened and counted.
    pub message_bytes: u64,
    /// Segments of the log.
    pub segment_count: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// Records opened and decoded.
    pub record_count: u64,
    /// Rows of the state opened and decoded.
    pub row_count: u64,
    /// Pieces of messages that nobody names and that keep their space.
    pub unnamed_chunks: u64,
    /// Sealed bytes of them.
    pub unnamed_bytes: u64,
    /// Damaged places of the log that were given up.
    pub given_up_count: u64,
    /// Files of the full-text index that were read.
    pub index_file_count: u64,
    /// Those of them that are damaged: they are made anew when somebody reads them.
    pub index_damaged_count: u64,
    /// What is wrong; at most 1,000 are listed.
    pub problems: Vec<Problem>,
    /// How many problems there are, listed or not.
    pub problem_count: u64,
}

/// Problems that a report lists.
const PROBLEMS_MAX: usize = 1000;

impl CheckReport {
    /// Adds a problem.
    pub(crate) fn add(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}
