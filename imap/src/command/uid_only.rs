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
        Command::Search(request)
        | Command::Sort { request, .. }
        | Command::Thread { request, .. } => {
            request.numbers != Numbers::Uid || names_numbers(&request.key)
        }
        Command::MultiSearch { request, .. } => names_numbers(&request.key),
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
    key.any(|key| matches!(key, SearchKey::Sequence(_)))
}
