//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677): proof of a password that is not sent,
//! of both sides, and with -PLUS of the TLS connection between them (RFC 9266).
//!
//! ```text
//! C: n,,n=user,r=<nonce>                         client-first; `n,,` is the GS2 header
//! S: r=<nonce><more>,s=<salt>,i=<iterations>     server-first
//! C: c=<GS2 header and binding>,r=…,p=<proof>    client-final
//! S: v=<signature>                               server-final; the client answers with nothing
//! ```
//!
//! | GS2 flag | without -PLUS | with -PLUS |
//! |--|--|--|
//! | `n` client cannot bind | taken | refused |
//! | `y` believes that we cannot | refused if we offered -PLUS: somebody struck it out | refused |
//! | `p=tls-exporter` | refused | taken; another binding is refused |

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::seal::ScramKeys;

use super::{Claim, Step, text};

/// What tells one TLS connection from all others: `tls-exporter` (RFC 9266).
pub(crate) type ChannelBinding = [u8; 32];

/// What is asked of the client about the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// -PLUS was chosen.
    Required(ChannelBinding),
    /// -PLUS was offered, and the other one chosen.
    Offered,
    /// -PLUS was not offered.
    Impossible,
}

/// Bytes of a client's nonce; 24 are usual.
const NONCE_BYTES_MAX: usize = 256;
const MALFORMED: Step = Step::Malformed("The answer is not what SCRAM wants");

/// One attempt.
#[derive(Debug)]
pub(crate) struct Scram {
    bound: Bound,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    Keys(First),
    Final { first: First, server_first: String, nonce: String, keys: ScramKeys },
    Signed { name: String },
    Over,
}

/// What is kept of client-first.
#[derive(Debug)]
struct First {
    gs2_header: String,
    /// client-first-message-bare
    bare: String,
    name: String,
    nonce: String,
}

impl Scram {
    pub(super) fn new(bound: Bound) -> Scram {
        Scram { bound, state: State::First }
    }

    pub(super) fn answer(&mut self, message: &[u8]) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::First => self.first(message),
            State::Final { first, server_first, nonce, keys } => {
                self.last(message, first, &server_first, &nonce, &keys)
            }
            State::Signed { name } if message.is_empty() => Step::Check(Claim::Proven { name }),
            State::Signed { .. } | State::Keys(_) | State::Over => MALFORMED,
        }
    }

    fn first(&mut self, message: &[u8]) -> Step {
        let Ok(message) = std::str::from_utf8(message) else { return MALFORMED };
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(acting_as), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return MALFORMED;
        };
        if let Err(why) = self.check_flag(flag) {
            return Step::Malformed(why);
        }
        let Some((name, nonce)) = name_and_nonce(bare) else { return MALFORMED };
        let acting_as = match acting_as.strip_prefix("a=") {
            Some(acting_as) => decoded_name(acting_as),
            None if acting_as.is_empty() => Some(name.clone()),
            None => None,
        };
        match acting_as {
            None => return MALFORMED,
            Some(acting_as) if acting_as != name => return Step::NotPermitted,
            Some(_) => {}
        }
        let gs2_header = message.get(..message.len() - bare.len()).unwrap_or_default().to_owned();
        let nonce = nonce.to_owned();
        self.state =
            State::Keys(First { gs2_header, bare: bare.to_owned(), name: name.clone(), nonce });
        Step::Keys(name)
    }

    /// `gs2-cbind-flag = ("p=" cb-name) / "n" / "y"`
    fn check_flag(&self, flag: &str) -> Result<(), &'static str> {
        match (flag, self.bound) {
            ("p=tls-exporter", Bound::Required(_)) | ("n", Bound::Offered | Bound::Impossible) => {
                Ok(())
            }
            ("y", Bound::Impossible) => Ok(()),
            ("y", Bound::Offered) => Err("This server does support channel binding"),
            ("n" | "y", Bound::Required(_)) => Err("SCRAM-SHA-256-PLUS wants channel binding"),
            (flag, Bound::Required(_)) if flag.starts_with("p=") => {
                Err("The channel binding of this server is tls-exporter")
            }
            (flag, _) if flag.starts_with("p=") => {
                Err("Channel binding belongs to SCRAM-SHA-256-PLUS")
            }
            _ => Err("The answer is not what SCRAM wants"),
        }
    }

    pub(super) fn keys(&mut self, keys: ScramKeys, random: [u8; 18]) -> Step {
        let State::Keys(first) = std::mem::replace(&mut self.state, State::Over) else {
            return MALFORMED;
        };
        let nonce = format!("{}{}", first.nonce, STANDARD.encode(random));
        let salt = STANDARD.encode(&keys.salt);
        let server_first = format!("r={nonce},s={salt},i={}", keys.iterations);
        let challenge = server_first.clone().into_bytes();
        self.state = State::Final { first, server_first, nonce, keys };
        Step::Challenge(challenge)
    }

    /// `client-final-message = channel-binding "," nonce ["," extensions] "," proof`
    fn last(
        &mut self,
        message: &[u8],
        first: First,
        server_first: &str,
        nonce: &str,
        keys: &ScramKeys,
    ) -> Step {
        let Ok(message) = std::str::from_utf8(message) else { return MALFORMED };
        let Some((unproven, proof)) = message.rsplit_once(",p=") else { return MALFORMED };
        let mut fields = unproven.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let returned = fields.next().and_then(|field| field.strip_prefix("r="));
        let (Some(binding), Some(returned)) = (binding, returned) else { return MALFORMED };
        let (Ok(binding), Ok(proof)) = (STANDARD.decode(binding), STANDARD.decode(proof)) else {
            return MALFORMED;
        };
        let mut expected = first.gs2_header.clone().into_bytes();
        if let Bound::Required(channel) = self.bound {
            expected.extend_from_slice(&channel);
        }
        let denied = |why| Step::Denied { name: first.name.clone(), why };
        if binding != expected {
            return denied("the channel binding is wrong");
        }
        if returned != nonce {
            return denied("the nonce is wrong");
        }
        let auth_message = format!("{},{server_first},{unproven}", first.bare);
        match keys.check_proof(auth_message.as_bytes(), &proof) {
            None => denied("the proof is wrong"),
            Some(signature) => {
                self.state = State::Signed { name: first.name };
                Step::Challenge(format!("v={}", STANDARD.encode(signature)).into_bytes())
            }
        }
    }
}

/// `client-first-message-bare = username "," nonce ["," extensions]`; an extension that the server
/// must know begins with `m=`, and we know none.
fn name_and_nonce(bare: &str) -> Option<(String, &str)> {
    let mut fields = bare.split(',');
    let name = decoded_name(fields.next()?.strip_prefix("n=")?)?;
    let nonce = fields.next()?.strip_prefix("r=")?;
    let printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
    (!nonce.is_empty() && nonce.len() <= NONCE_BYTES_MAX && printable).then_some((name, nonce))
}

/// `saslname = 1*(value-safe-char / "=2C" / "=3D")`
pub(super) fn decoded_name(name: &str) -> Option<String> {
    let mut decoded = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once('=') {
        decoded.push_str(before);
        let (letter, after) = match behind.get(..2)? {
            "2C" => (',', behind.get(2..)?),
            "3D" => ('=', behind.get(2..)?),
            _ => return None,
        };
        decoded.push(letter);
        rest = after;
    }
    decoded.push_str(rest);
    (!decoded.is_empty()).then(|| text(decoded.as_bytes()).map(str::to_owned)).flatten()
}
