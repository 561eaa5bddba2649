//! Why a node will not talk to another: a code for counting, a sentence for people.
//!
//! Codes below 32 travel in a Refuse; those from 32 on end a connection before one can be sent, and
//! are counted only. Codes from 48 on are about joining.

use super::message::{Malformed, SENTENCE_BYTES_MAX};
use crate::pair::message::Fields;

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        /// Why, as a machine counts it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// Every cause.
            pub const ALL: &[Cause] = &[$(Cause::$name,)*];

            /// Its number on the wire.
            pub fn code(self) -> u16 {
                match self { $(Cause::$name => $code,)* }
            }

            /// Its name in metrics.
            pub fn label(self) -> &'static str {
                match self { $(Cause::$name => $label,)* }
            }
        }
    };
}

causes! {
    /// A first frame that is no greeting of ours.
    Magic = 1, "magic";
    /// No protocol version is known to both.
    Version = 2, "version";
    /// A node of another pair.
    Cluster = 3, "cluster";
    /// A node with our own identity.
    OwnNode = 4, "own_node";
    /// Another node than the one that we are paired with.
    UnknownNode = 5, "unknown_node";
    /// Wall clocks too far apart.
    Clock = 6, "clock";
    /// A shared volume that only one of both has.
    Volume = 7, "volume";
    /// A volume written at a format level that one of both cannot read.
    FormatLevel = 8, "format_level";
    /// There is a better connection between the same nodes.
    Duplicate = 9, "duplicate";
    /// Something was sent before Hello, or before Welcome.
    TooEarly = 10, "too_early";
    /// A frame or message that cannot be read.
    Malformed = 11, "malformed";
    /// A frame larger than its bound.
    Oversize = 12, "oversize";
    /// A kind of frame that this version does not know.
    UnknownKind = 13, "unknown_kind";
    /// A volume number that was not agreed on.
    UnknownVolume = 14, "unknown_volume";
    /// The greeting was not complete in time.
    TooSlow = 15, "too_slow";
    /// This node is being stopped.
    Stopping = 16, "stopping";
    /// A code of a newer version.
    Other = 31, "other";
    /// The certificate is not the pinned one.
    Certificate = 32, "certificate";
    /// No certificate was shown.
    NoCertificate = 33, "no_certificate";
    /// What was sent is not TLS.
    NotTls = 34, "not_tls";
    /// TLS, but not of version 1.3.
    TlsVersion = 35, "tls_version";
    /// TLS, but for another protocol.
    Protocol = 36, "protocol";
    /// TLS that failed in another way.
    Tls = 37, "tls";
    /// More connections at once than are served.
    Crowd = 38, "crowd";
    /// Our own certificate was refused by the other side.
    RefusedByPeer = 39, "refused_by_peer";
    /// Nobody is invited.
    NoInvitation = 48, "no_invitation";
    /// The invitation's time is over.
    Expired = 49, "invitation_expired";
    /// The secret is not that of the invitation.
    WrongSecret = 50, "wrong_secret";
    /// Too many attempts with a wrong secret.
    TooManyAttempts = 51, "too_many_attempts";
    /// The one who invites cannot go on.
    SponsorFailed = 52, "sponsor_failed";
}

impl Cause {
    /// The cause of that number; [`Cause::Other`] if this version knows none.
    pub fn from_code(code: u16) -> Cause {
        let known = Cause::ALL.iter().find(|cause| cause.code() == code);
        known.copied().unwrap_or(Cause::Other)
    }
}

/// A refusal: the cause, and a sentence that says what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// For machines.
    pub cause: Cause,
    /// For people; it names what was found and what was expected.
    pub sentence: String,
}

impl Refusal {
    /// A refusal with that sentence.
    pub fn new(cause: Cause, sentence: impl Into<String>) -> Refusal {
        Refusal { cause, sentence: legible(&sentence.into()) }
    }

    pub(crate) fn malformed(what: &str, why: &Malformed) -> Refusal {
        Refusal::new(Cause::Malformed, format!("{what} cannot be read: {why}"))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = self.cause.code().to_le_bytes().to_vec();
        payload.extend_from_slice(legible(&self.sentence).as_bytes());
        payload
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Refusal, Malformed> {
        let mut fields = Fields::new(payload);
        let cause = Cause::from_code(fields.u16("code")?);
        Ok(Refusal::new(cause, String::from_utf8_lossy(fields.rest())))
    }
}

/// What may stand in a log line: no control characters, and not too much of it.
fn legible(text: &str) -> String {
    let mut kept = String::new();
    for letter in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if kept.len() + letter.len_utf8() > SENTENCE_BYTES_MAX {
            break;
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_given_once() {
        for (at, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(Cause::from_code(cause.code()), *cause);
            assert!(!Cause::ALL[at + 1..].iter().any(|other| other.label() == cause.label()));
        }
        assert_eq!(Cause::from_code(999), Cause::Other);
    }

    #[test]
    fn a_peer_cannot_forge_log_lines() {
        let refusal = Refusal::new(Cause::Other, "one\ntwo\u{1b}[31m");
        assert_eq!(refusal.sentence, "one two [31m");
        assert_eq!(Refusal::decode(&refusal.encode()).unwrap(), refusal);
        let long = Refusal::new(Cause::Other, "é".repeat(5000));
        assert_eq!(long.sentence.len(), SENTENCE_BYTES_MAX);
    }
}
