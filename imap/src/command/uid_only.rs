//! UIDONLY (RFC 9586): what a client that has no sequence numbers may not say.

use super::Answer;
use crate::codec::Command;
use crate::codec::command::{Numbers, SearchKey, SelectParameter};
use crate::session::Dialect;

/// The answer to a command with sequence numbers, of a client that has given them up.
pub(super) fn refused(dialect: Dialect, command: &Command) -> Option<Answer> {
    if !dialect.uid_only {
        return None;
    }
    let is_refused = match command {
        Command::Fetch { numbers, .. }
        | Command::Store { numbers, .. }
        | Command::Transfer { numbers, .. } => *numbers != Numbers::Uid,
        Command::Search { numbers, key, .. } => *numbers != Numbers::Uid || names_numbers(key),
        Command::Select { parameter: SelectParameter::Resync(resync), .. } => {
            resync.matches.is_some()
        }
        _ => false,
    };
    let text = "You have enabled UIDONLY: only UIDs name messages";
    is_refused.then(|| Answer::bad_code("UIDREQUIRED", text))
}

/// Whether a search key names messages by their sequence numbers.
fn names_numbers(key: &SearchKey) -> bool {
    match key {
        SearchKey::Sequence(_) => true,
        SearchKey::Not(key) => names_numbers(key),
        SearchKey::Or(a, b) => names_numbers(a) || names_numbers(b),
        SearchKey::And(keys) => keys.iter().any(names_numbers),
        _ => false,
    }
}
