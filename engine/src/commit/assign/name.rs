//! What a mailbox may be called.

use crate::error::CommitError;
use crate::limits::{MAILBOX_NAME_BYTES_MAX, MAILBOX_NAME_LEVELS_MAX};

/// Refuses names that no client could use: empty levels, control characters, too long, too deep.
pub(super) fn check(name: &str) -> Result<(), CommitError> {
    let bad = |why| Err(CommitError::BadName { name: name.chars().take(80).collect(), why });
    if name.is_empty() {
        return bad("it is empty");
    }
    if name.len() > MAILBOX_NAME_BYTES_MAX {
        return bad("it is longer than 1000 bytes");
    }
    if name.chars().any(char::is_control) {
        return bad("it contains a control character");
    }
    if name.contains(['*', '%']) {
        return bad("it contains a wildcard of LIST");
    }
    if name.split('/').count() > MAILBOX_NAME_LEVELS_MAX {
        return bad("it has more than 64 levels");
    }
    if name.split('/').any(str::is_empty) {
        return bad("a level of it is empty");
    }
    Ok(())
}
