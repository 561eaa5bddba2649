//! OAUTHBEARER (RFC 7628) and XOAUTH2: a token that somebody else gave out.
//!
//! ```text
//! OAUTHBEARER  n,a=<name>,^Ahost=…^Aport=…^Aauth=Bearer <token>^A^A
//! XOAUTH2      user=<name>^Aauth=Bearer <token>^A^A
//! ```
//!
//! A refusal has two parts: a challenge with an error in JSON, which the client answers with
//! something empty, then the refusal of the protocol (RFC 7628 section 3.2.3).

use engine::seal::Secret;

use super::scram::decoded_name;
use super::{Claim, Step, text};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    OAuthBearer,
    XOAuth2,
}

impl Form {
    /// The challenge that says no.
    pub(super) fn refusal(self) -> &'static [u8] {
        match self {
            Form::OAuthBearer => br#"{"status":"invalid_token"}"#,
            Form::XOAuth2 => br#"{"status":"401","schemes":"bearer"}"#,
        }
    }
}

/// `client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep`
pub(super) fn token(form: Form, message: &[u8]) -> Step {
    const WRONG: Step = Step::Malformed("The answer holds no bearer token");
    let mut fields = message.split(|&byte| byte == 1);
    let name = match (form, fields.next()) {
        (Form::OAuthBearer, Some(header)) => match gs2_name(header) {
            Some(name) => name,
            None => return WRONG,
        },
        (Form::XOAuth2, Some(user)) => match user.strip_prefix(b"user=").and_then(text) {
            Some(name) => Some(name.to_owned()),
            None => return WRONG,
        },
        (_, None) => return WRONG,
    };
    let mut token = None;
    let mut ends = 0;
    for field in fields {
        match field {
            b"" => ends += 1,
            _ if ends > 0 => return WRONG,
            field => {
                let Some(value) = field.strip_prefix(b"auth=") else { continue };
                if token.is_some() {
                    return WRONG;
                }
                token = Some(value);
            }
        }
    }
    match token.and_then(bearer) {
        // Two separators end the message, so two fields behind the last one are empty.
        Some(token) if ends == 2 => Step::Check(Claim::Token { name, token }),
        _ => WRONG,
    }
}

/// `gs2-header = "n," ["a=" saslname] ","`: the token has no channel binding. `None` if it is not
/// one.
fn gs2_name(header: &[u8]) -> Option<Option<String>> {
    let header = std::str::from_utf8(header).ok()?;
    let name =
        header.strip_prefix("n,").or_else(|| header.strip_prefix("y,"))?.strip_suffix(',')?;
    match name.strip_prefix("a=") {
        Some(name) => Some(Some(decoded_name(name)?)),
        None => name.is_empty().then_some(None),
    }
}

/// `"Bearer" 1*SP b64token` (RFC 6750 section 2.1)
fn bearer(value: &[u8]) -> Option<Secret> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    let well_formed = !token.is_empty() && token.chars().all(is_token_char);
    (scheme.eq_ignore_ascii_case("Bearer") && well_formed).then(|| Secret::new(token.to_owned()))
}
