//! How a command fails: one sentence for a person and an exit code for a script.
//!
//! | code | meaning |
//! |--|--|
//! | 0 | done |
//! | 1 | refused: it cannot succeed as it was asked for |
//! | 2 | wrong usage of the command line |
//! | 3 | damage was found |
//! | 67 | nobody here has that address |
//! | 74 | a file could not be read or written |
//! | 75 | not now: the same may succeed later |
//! | 77 | the key or the permissions do not allow it |
//! | 78 | the configuration is wrong |
//!
//! From 64 on they are those of sysexits.h, so that Postfix's pipe(8) bounces or retries rightly.

use std::io::ErrorKind;

use engine::error::{CommitError, OpenError, ReadError, Remedy};
use engine::seal::KeyError;
use serde::{Deserialize, Serialize};

/// Why a command ended otherwise than well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exit {
    /// It cannot succeed as it was asked for.
    Refused,
    /// Wrong usage of the command line, found after parsing it.
    Usage,
    /// Damage was found.
    Damage,
    /// Nobody here has that address.
    NoUser,
    /// A file could not be read or written.
    Disk,
    /// The same may succeed later.
    Later,
    /// The key or the permissions do not allow it.
    NotAllowed,
    /// The configuration is wrong.
    Configuration,
}

impl Exit {
    /// The exit code of the process, from the table above.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Damage => 3,
            Exit::NoUser => 67,
            Exit::Disk => 74,
            Exit::Later => 75,
            Exit::NotAllowed => 77,
            Exit::Configuration => 78,
        }
    }
}

/// A failure as it reaches a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// For scripts.
    pub(crate) exit: Exit,
    /// What happened and what to do about it.
    pub(crate) sentence: String,
}

impl Failure {
    /// A failure with its sentence.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Failure {
        Failure { exit, sentence: sentence.into() }
    }

    /// A file that could not be used: `doing` is a verb phrase such as "read".
    pub(crate) fn file(doing: &str, path: &std::path::Path, cause: &std::io::Error) -> Failure {
        let exit = match cause.kind() {
            ErrorKind::PermissionDenied => Exit::NotAllowed,
            _ => Exit::Disk,
        };
        Failure::new(exit, format!("cannot {doing} {}: {cause}", path.display()))
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Failure {
        let exit = match error.remedy() {
            Remedy::Refuse => Exit::Refused,
            Remedy::Retry | Remedy::Stop => Exit::Later,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        let exit = match &error {
            ReadError::NewerFormat { .. } => Exit::Refused,
            ReadError::Disk(_) | ReadError::Table(_) => Exit::Disk,
            _ => Exit::Damage,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        let exit = match &error {
            OpenError::InUse { .. } => Exit::Later,
            OpenError::Key(KeyError::NewerFormat { .. }) => Exit::Refused,
            OpenError::Key(_) => Exit::NotAllowed,
            OpenError::Disk(error) if error.cause.kind() == ErrorKind::PermissionDenied => {
                Exit::NotAllowed
            }
            OpenError::Disk(_) => Exit::Disk,
            OpenError::NoUring(_) => Exit::Configuration,
            OpenError::Read(ReadError::Disk(_) | ReadError::Table(_)) => Exit::Disk,
            OpenError::Damage(_) | OpenError::Read(_) => Exit::Damage,
            OpenError::NotAStore(_)
            | OpenError::NotEmpty(_)
            | OpenError::NewerFormat { .. }
            | OpenError::Invalid(_) => Exit::Refused,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_store_tells_postfix_to_try_again_and_a_bad_name_to_bounce() {
        assert_eq!(Failure::from(CommitError::QueueFull).exit.code(), 75);
        assert_eq!(Failure::from(CommitError::NoSuchAccount).exit.code(), 1);
    }

    #[test]
    fn s19_what_a_newer_binary_wrote_is_refused_and_never_called_damage() {
        let newer = || ReadError::NewerFormat { what: "the volume".to_owned(), found: 2, known: 1 };
        let key = KeyError::NewerFormat { what: "key table", found: 2, known: 1 };
        let failures = [
            Failure::from(newer()),
            Failure::from(OpenError::from(newer())),
            Failure::from(OpenError::from(key)),
        ];
        for failure in failures {
            assert_eq!(failure.exit.code(), 1, "{}", failure.sentence);
            assert!(failure.sentence.ends_with("install a newer one"), "{}", failure.sentence);
        }
    }
}
