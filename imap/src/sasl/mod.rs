//! SASL (RFC 4422): how a client says and proves who it is. No I/O, and no word of the protocol
//! that carries the messages: bytes in, steps out.
//!
//! ```text
//! begin → Challenge(bytes) ⇄ the client's answers
//!         Keys(name)         look up the SCRAM keys of a name, hand them over with `keys`
//!         Check(claim)       decide; where it is refused, `parting` may hold a last word
//!         Denied, NotPermitted, Malformed
//! ```
//!
//! | mechanism | specified in | file |
//! |--|--|--|
//! | PLAIN | RFC 4616 | `plain.rs` |
//! | LOGIN | draft-murchison-sasl-login-00 | `plain.rs` |
//! | SCRAM-SHA-256, -PLUS | RFC 5802, 7677, 9266 | `scram.rs` |
//! | OAUTHBEARER | RFC 7628 | `bearer.rs` |
//! | XOAUTH2 | Google's and Microsoft's documents | `bearer.rs` |
//! | EXTERNAL | RFC 4422 appendix A | `external.rs` |
//!
//! # Invariants
//! 1. A claim is handed out only of a message that was well-formed to its end.
//! 2. Nobody acts as somebody else: an authorization identity is empty, or the name itself.

mod bearer;
mod external;
mod plain;
mod scram;
#[cfg(test)]
mod tests;

use engine::seal::{ScramKeys, Secret};

pub(crate) use self::bearer::Form;
pub(crate) use self::scram::ChannelBinding;

/// A way to prove who one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mechanism {
    ScramSha256Plus,
    ScramSha256,
    Plain,
    Login,
    OAuthBearer,
    XOAuth2,
    External,
}

impl Mechanism {
    /// Every mechanism with its name, the one that proves most first.
    pub(crate) const ALL: [(Mechanism, &'static str); 7] = [
        (Mechanism::ScramSha256Plus, "SCRAM-SHA-256-PLUS"),
        (Mechanism::ScramSha256, "SCRAM-SHA-256"),
        (Mechanism::Plain, "PLAIN"),
        (Mechanism::Login, "LOGIN"),
        (Mechanism::OAuthBearer, "OAUTHBEARER"),
        (Mechanism::XOAuth2, "XOAUTH2"),
        (Mechanism::External, "EXTERNAL"),
    ];

    /// The mechanism of a name, whatever its case.
    pub(crate) fn named(name: &str) -> Option<Mechanism> {
        let found = Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name));
        found.map(|(mechanism, _)| *mechanism)
    }

    /// Whether it proves that a password is known.
    pub(crate) fn wants_password(self) -> bool {
        use Mechanism::{Login, Plain, ScramSha256, ScramSha256Plus};
        matches!(self, ScramSha256Plus | ScramSha256 | Plain | Login)
    }
}

/// What a connection can do, which decides what is offered on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// A password, or what is derived from one, may cross it.
    pub passwords: bool,
    /// It has TLS that SCRAM can be bound to.
    pub channel_binding: bool,
    /// It is encrypted, and somebody is configured who knows about tokens.
    pub tokens: bool,
    /// It is encrypted, and the client's certificate was verified.
    pub certificate: bool,
}

impl Offer {
    /// Whether a mechanism is offered.
    pub(crate) fn has(self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::ScramSha256Plus => self.passwords && self.channel_binding,
            Mechanism::ScramSha256 | Mechanism::Plain | Mechanism::Login => self.passwords,
            Mechanism::OAuthBearer | Mechanism::XOAuth2 => self.tokens,
            Mechanism::External => self.certificate,
        }
    }

    /// The names of all that are offered.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let all = Mechanism::ALL.into_iter();
        all.filter(move |(mechanism, _)| self.has(*mechanism)).map(|(_, name)| name)
    }
}

/// What somebody says of themselves, to be checked.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Knows this password.
    Password { name: String, password: Secret },
    /// Has proved to know the password of this name.
    Proven { name: String },
    /// Holds this token; of the name, where one was said.
    Token { name: Option<String>, token: Secret },
    /// Has a certificate; of the name, where one was said.
    Certificate { name: Option<String> },
}

impl Claim {
    /// The name, as far as it is known.
    pub(crate) fn name(&self) -> &str {
        match self {
            Claim::Password { name, .. } | Claim::Proven { name } => name,
            Claim::Token { name, .. } | Claim::Certificate { name } => {
                name.as_deref().unwrap_or_default()
            }
        }
    }
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this, and hand over the answer.
    Challenge(Vec<u8>),
    /// Call [`Exchange::keys`].
    Keys(String),
    /// Decide about this.
    Check(Claim),
    /// The proof is wrong.
    Denied { name: String, why: &'static str },
    /// The client wants to act as somebody else.
    NotPermitted,
    /// The message is none of this mechanism.
    Malformed(&'static str),
}

/// One attempt.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// PLAIN
    Plain,
    /// LOGIN
    Login(plain::Login),
    /// Both SCRAMs
    Scram(Box<scram::Scram>),
    /// OAUTHBEARER and XOAUTH2
    Bearer(Form),
    /// EXTERNAL
    External,
}

impl Exchange {
    /// Begins. `binding` is what the TLS below can be told by; `offer` what was offered on it.
    pub(crate) fn begin(
        mechanism: Mechanism,
        binding: Option<ChannelBinding>,
        offer: Offer,
    ) -> Exchange {
        let bound = |bound| Exchange::Scram(Box::new(scram::Scram::new(bound)));
        match (mechanism, binding) {
            (Mechanism::Plain, _) => Exchange::Plain,
            (Mechanism::Login, _) => Exchange::Login(plain::Login::default()),
            (Mechanism::ScramSha256Plus, Some(binding)) => bound(scram::Bound::Required(binding)),
            (Mechanism::ScramSha256 | Mechanism::ScramSha256Plus, _) => {
                bound(match offer.has(Mechanism::ScramSha256Plus) {
                    true => scram::Bound::Offered,
                    false => scram::Bound::Impossible,
                })
            }
            (Mechanism::OAuthBearer, _) => Exchange::Bearer(Form::OAuthBearer),
            (Mechanism::XOAuth2, _) => Exchange::Bearer(Form::XOAuth2),
            (Mechanism::External, _) => Exchange::External,
        }
    }

    /// The first step of a client that sent nothing yet.
    pub(crate) fn invite(&self) -> Step {
        match self {
            Exchange::Login(login) => Step::Challenge(login.question().to_vec()),
            _ => Step::Challenge(Vec::new()),
        }
    }

    /// Takes a message of the client.
    pub(crate) fn answer(&mut self, message: &[u8]) -> Step {
        match self {
            Exchange::Plain => plain::plain(message),
            Exchange::Login(login) => login.answer(message),
            Exchange::Scram(scram) => scram.answer(message),
            Exchange::Bearer(form) => bearer::token(*form, message),
            Exchange::External => external::external(message),
        }
    }

    /// Takes the keys of the name that [`Step::Keys`] named, and 18 bytes nobody can guess.
    pub(crate) fn keys(&mut self, keys: ScramKeys, random: [u8; 18]) -> Step {
        match self {
            Exchange::Scram(scram) => scram.keys(keys, random),
            _ => Step::Malformed("No keys were asked for"),
        }
    }

    /// What a client is told, and answers with nothing of meaning, before its claim is refused.
    pub(crate) fn parting(&self) -> Option<&'static [u8]> {
        match self {
            Exchange::Bearer(form) => Some(form.refusal()),
            _ => None,
        }
    }
}

/// Text in UTF-8 without control characters, of at most as many bytes as a name may have.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= NAME_BYTES_MAX && !text.contains(char::is_control)).then_some(text)
}

/// Bytes of a name; an address has 254 (RFC 5321 section 4.5.3.1.3).
const NAME_BYTES_MAX: usize = 512;
