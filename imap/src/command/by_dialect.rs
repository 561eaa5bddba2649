//! What a client may not say any more because of what it has enabled.

use super::Answer;
use crate::codec::Command;
use crate::codec::command::{Numbers, SearchKey, SearchRequest, SelectParameter};
use crate::session::Dialect;

/// The answer to a command that the client's own dialect forbids.
pub(super) fn refused(dialect: Dialect, command: &Command) -> Option<Answer> {
    // RFC 6855 section 3: there is one charset then.
    if dialect.utf8 && search(command).is_some_and(|request| request.charset.is_some()) {
        let is_plain = matches!(command, Command::Search(_));
        return is_plain
            .then(|| Answer::bad("You have enabled UTF8=ACCEPT: SEARCH has no CHARSET then"));
    }
    if dialect.uid_only && has_numbers(command) {
        let text = "You have enabled UIDONLY: only UIDs name messages";
        return Some(Answer::bad_code("UIDREQUIRED", text));
    }
    None
}

fn search(command: &Command) -> Option<&SearchRequest> {
    match command {
        Command::Search(request)
        | Command::Sort { request, .. }
        | Command::Thread { request, .. }
        | Command::MultiSearch { request, .. } => Some(request),
        _ => None,
    }
}

/// Whether a command has sequence numbers in it, or would be answered by some (RFC 9586 section
/// 3).
fn has_numbers(command: &Command) -> bool {
    match command {
        Command::Fetch { numbers, .. }
        | Command::Store { numbers, .. }
        | Command::Replace { numbers, .. }
        | Command::Transfer { numbers, .. } => *numbers != Numbers::Uid,
        Command::Select { parameter: SelectParameter::Resync(resync), .. } => {
            resync.matches.is_some()
        }
        Command::MultiSearch { request, .. } => names_numbers(&request.key),
        command => search(command)
            .is_some_and(|request| request.numbers != Numbers::Uid || names_numbers(&request.key)),
    }
}

/// Whether a search key names messages by their sequence numbers.
fn names_numbers(key: &SearchKey) -> bool {
    key.any(|key| matches!(key, SearchKey::Sequence(_)))
}
