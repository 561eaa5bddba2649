//! EXTERNAL (RFC 4422 appendix A): the client's certificate has said who it is already.

use super::{Claim, Step, text};

/// The name to act as, or nothing.
pub(super) fn external(message: &[u8]) -> Step {
    match text(message) {
        Some("") => Step::Check(Claim::Certificate { name: None }),
        Some(name) => Step::Check(Claim::Certificate { name: Some(name.to_owned()) }),
        None => Step::Malformed("That is no name"),
    }
}
