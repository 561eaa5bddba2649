//! Who comes in: claims are checked against the store, guessing is slowed down, and connections of
//! one account are counted. Shared by the protocols of this crate; they differ in how they say no.
//!
//! The log lines `imap-login: …` and `pop3-login: …` are stable: tools that ban password guessers
//! read them.
//!
//! # Invariants
//! 1. A refused claim is answered late, the later the more were refused on this connection or from
//!    this address (RFC 9051 section 11.3), whatever the mechanism.
//! 2. Whoever is in holds a [`Seat`], and an account has no more of them than the bound.
//! 3. As many passwords are hashed at a time as there are cores: each takes some MiB. One that was
//!    right a short while ago is not hashed, and waits for nobody.

pub(crate) mod certificate;
mod exchange;
mod failures;
pub mod http;
mod introspection;
mod seats;

use std::net::SocketAddr;
use std::time::Instant;

use engine::error::{AuthError, ReadError};
use engine::seal::Secret;
use engine::{Account, Store};
use tokio::sync::Semaphore;
use tokio_rustls::rustls::{ProtocolVersion, ServerConnection};

use self::failures::Failures;
pub use self::failures::network_of;
pub(crate) use self::introspection::Introspection;
pub use self::introspection::{TokenOptions, TokenOptionsError};
pub(crate) use self::seats::Seat;
use self::seats::Seats;
use crate::config::Config;
use crate::sasl::{ChannelBinding, Claim, Offer};

/// How many times the delay of one failure is waited at most.
const DELAY_FACTOR_MAX: u32 = 8;

/// What all connections share about logins.
pub(crate) struct Door {
    failures: Failures,
    seats: Seats,
    checks: Semaphore,
}

impl Door {
    pub(crate) fn new() -> Door {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Door {
            failures: Failures::default(),
            seats: Seats::default(),
            checks: Semaphore::new(cores),
        }
    }
}

/// What a TLS handshake has told.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFacts {
    /// What SCRAM can be bound to: with TLS 1.3 alone, where it is unique (RFC 9266 section 4.2).
    pub(crate) binding: Option<ChannelBinding>,
    /// Who the client is, as a certificate says that was verified.
    pub(crate) certificate_names: Vec<String>,
}

impl TlsFacts {
    /// Of a connection whose handshake is done.
    pub(crate) fn of(connection: &ServerConnection) -> TlsFacts {
        let exporter = |_| {
            let label = b"EXPORTER-Channel-Binding";
            connection.export_keying_material([0; 32], label, Some(b"")).ok()
        };
        let version = connection.protocol_version();
        let is_1_3 = version.filter(|version| *version == ProtocolVersion::TLSv1_3);
        // Certificates are asked for only where a CA is configured, and those that it did not sign
        // end the handshake.
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let certificate_names = certificate.map(|der| certificate::names(der)).unwrap_or_default();
        TlsFacts { binding: is_1_3.and_then(exporter), certificate_names }
    }
}

/// How somebody may prove who they are on a connection; `tls` is what its handshake told, if there
/// was one.
pub(crate) fn offer(config: &Config, peer: SocketAddr, tls: Option<&TlsFacts>) -> Offer {
    let is_local = peer.ip().to_canonical().is_loopback();
    // A password may cross TLS, or what nobody listens to; and where it may, a token may.
    let passwords = tls.is_some() || (config.allow_plaintext_login && is_local);
    Offer {
        passwords,
        channel_binding: tls.is_some_and(|tls| tls.binding.is_some()),
        tokens: passwords && config.tokens.is_some(),
        certificate: tls.is_some_and(|tls| !tls.certificate_names.is_empty()),
    }
}

/// Whoever wants to come in on a connection.
pub(crate) struct Visitor<'a> {
    pub(crate) store: &'a Store,
    pub(crate) config: &'a Config,
    pub(crate) peer: SocketAddr,
    /// For the log: "imap".
    pub(crate) protocol: &'static str,
    pub(crate) offer: Offer,
    pub(crate) tls: Option<&'a TlsFacts>,
    /// Refused claims on this connection.
    pub(crate) failures: &'a mut u32,
}

/// Somebody who is in.
pub(crate) struct Admitted {
    pub(crate) account: Account,
    pub(crate) seat: Seat,
}

/// How a login ended.
pub(crate) enum Outcome {
    /// Come in.
    In(Admitted),
    /// The claim is wrong; said late, and logged.
    Refused,
    /// The same, and it was the last one that this connection may make.
    RefusedForGood,
    /// The claim is right, but the account has too many connections.
    Full,
    /// The client wants to act as somebody else.
    NotPermitted,
    /// The client gave up.
    Cancelled,
    /// What the client sent is no message of the mechanism.
    Malformed(&'static str),
    /// Whoever knows about tokens does not answer.
    Unavailable,
    /// Stored bytes could not be read.
    Unreadable(ReadError),
    /// A bug of ours, which is logged.
    Broken,
}

impl Visitor<'_> {
    /// Decides about a password.
    pub(crate) async fn password(&mut self, name: &str, password: Secret) -> Outcome {
        self.decide(Claim::Password { name: name.to_owned(), password }).await
    }

    /// Decides about a claim.
    pub(crate) async fn decide(&mut self, claim: Claim) -> Outcome {
        match self.check(&claim).await {
            Ok(Some(account)) => self.admit(account),
            Ok(None) => self.refuse(claim.name(), None).await,
            Err(outcome) => outcome,
        }
    }

    fn admit(&mut self, account: Account) -> Outcome {
        let protocol = self.protocol;
        let (name, rip) = (for_the_log(&account.name()), self.peer.ip().to_canonical());
        let bound = self.config.limits.connections_per_user;
        match self.config.door.seats.take(account.number(), bound) {
            Some(seat) => {
                tracing::info!("{protocol}-login: ok user=<{name}> rip={rip}");
                Outcome::In(Admitted { account, seat })
            }
            None => {
                tracing::warn!("{protocol}-login: too many connections user=<{name}> rip={rip}");
                Outcome::Full
            }
        }
    }

    /// Says no late.
    pub(crate) async fn refuse(&mut self, name: &str, why: Option<&'static str>) -> Outcome {
        let (protocol, rip) = (self.protocol, self.peer.ip().to_canonical());
        tracing::info!("{protocol}-login: failed user=<{}> rip={rip}", for_the_log(name));
        if let Some(why) = why {
            tracing::debug!("{protocol}-login: {why}");
        }
        *self.failures = self.failures.saturating_add(1);
        let from_there = self.config.door.failures.note(rip, Instant::now());
        let limits = &self.config.limits;
        let factor = (*self.failures).max(from_there).min(DELAY_FACTOR_MAX);
        tokio::time::sleep(limits.login_failure_delay.saturating_mul(factor)).await;
        match *self.failures >= limits.login_failures_max {
            true => Outcome::RefusedForGood,
            false => Outcome::Refused,
        }
    }

    /// The account whose claim is right.
    async fn check(&self, claim: &Claim) -> Result<Option<Account>, Outcome> {
        let account = |name: &str| {
            crate::stream::blocking(|| self.store.account(name)).map_err(Outcome::Unreadable)
        };
        match claim {
            Claim::Password { name, password } => self.check_password(name, password).await,
            Claim::Proven { name } => account(name),
            Claim::Token { name, token } => {
                let Some(tokens) = &self.config.tokens else { return Ok(None) };
                let Ok(holder) = tokens.holder(token).await else {
                    return Err(Outcome::Unavailable);
                };
                let Some(found) = holder.map(|holder| account(&holder)).transpose()?.flatten()
                else {
                    return Ok(None);
                };
                // A name that was said must be that of the token.
                let said = name.as_deref().map(account).transpose()?;
                let agrees = said
                    .is_none_or(|said| said.is_some_and(|said| said.number() == found.number()));
                Ok(agrees.then_some(found))
            }
            Claim::Certificate { name } => {
                let names = self.tls.map(|tls| tls.certificate_names.as_slice());
                let wanted = name.as_deref().map(account).transpose()?;
                for holder in names.unwrap_or_default() {
                    let Some(found) = account(holder)? else { continue };
                    match &wanted {
                        None => return Ok(Some(found)),
                        Some(Some(wanted)) if wanted.number() == found.number() => {
                            return Ok(Some(found));
                        }
                        Some(_) => {}
                    }
                }
                Ok(None)
            }
        }
    }

    async fn check_password(
        &self,
        name: &str,
        password: &Secret,
    ) -> Result<Option<Account>, Outcome> {
        match crate::stream::blocking(|| self.store.authenticate_again(name, password)) {
            Ok(None) => {}
            known => return known.map_err(Outcome::Unreadable),
        }
        let (store, name) = (self.store.clone(), name.to_owned());
        let password = Secret::new(password.expose().to_owned());
        // Never closed; without a permit nothing is checked.
        let Ok(permit) = self.config.door.checks.acquire().await else {
            return Err(Outcome::Broken);
        };
        let checking = tokio::task::spawn_blocking(move || store.authenticate(&name, &password));
        let checked = checking.await;
        drop(permit);
        match checked {
            Ok(Ok(account)) => Ok(Some(account)),
            Ok(Err(AuthError::Refused)) => Ok(None),
            Ok(Err(AuthError::Read(error))) => Err(Outcome::Unreadable(error)),
            Err(error) => {
                tracing::error!(%error, "checking a password ended in a panic");
                Err(Outcome::Broken)
            }
        }
    }
}

/// A name that cannot forge a log line.
fn for_the_log(name: &str) -> String {
    let kept = |c: char| !c.is_control() && !matches!(c, '<' | '>' | ' ');
    name.chars().map(|c| if kept(c) { c } else { '?' }).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_a_log_line() {
        assert_eq!(for_the_log("a> rip=1.2.3.4\nx"), "a??rip=1.2.3.4?x");
    }
}
