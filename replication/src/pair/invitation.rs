//! Invitations: how a second node comes to know the first, and proves that it was asked.
//!
//! The first node makes a token; a person carries it to the second. Its text is `pillarbox-join-`
//! and, in base64url:
//!
//! ```text
//! offset  size  field
//!      0     1  version      1
//!      1    16  cluster
//!     17    32  fingerprint  of the first node's certificate
//!     49    16  secret       random; good once, for ten minutes
//!     65  1+n   address      host:port of the first node
//!    end     4  checksum     first bytes of BLAKE3 of all before: a token is typed or cut short
//! ```
//!
//! The second node dials, takes no certificate but the one of that fingerprint, shows its own, and
//! sends a proof: BLAKE3, keyed by the secret, of what TLS exports of this very channel and of both
//! fingerprints. Somebody in between has another channel on each side, so what one side proves is
//! worth nothing on the other; and the secret itself is never sent.
//!
//! # Invariants
//! 1. One invitation at a time; it is forgotten when its proof was right, when its time is over,
//!    when [`WRONG_SECRETS_MAX`] were wrong, when another is made, and when the process ends.
//! 2. Between a wrong secret and the next attempt lies a second, for all together.
//! 3. Which invitation a wrong secret was for, or how it was wrong, is told to nobody.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::credentials::Fingerprint;
use super::message::{ClusterId, Fields, put_text};
use super::peer::{ADDRESS_BYTES_MAX, is_address};
use super::refusal::{Cause, Refusal};

const PREFIX: &str = "pillarbox-join-";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
const TOKEN_BYTES_MAX: usize = 66 + ADDRESS_BYTES_MAX + CHECKSUM_BYTES;
/// How long an invitation is good.
pub const INVITATION_TIME: Duration = Duration::from_secs(600);
/// Wrong secrets after which it is withdrawn.
pub const WRONG_SECRETS_MAX: u32 = 100;
/// Between a wrong secret and the next attempt.
pub const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);
/// What TLS exports for the proof.
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-pillarbox-join-1";
/// Bytes of a proof, and of what TLS exports.
pub(crate) const PROOF_BYTES: usize = 32;

/// The secret of an invitation; prints nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationSecret(Zeroizing<[u8; 16]>);

impl std::fmt::Debug for InvitationSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InvitationSecret(…)")
    }
}

/// Who proves: the two proofs of a joining differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prover {
    Joiner,
    Sponsor,
}

impl InvitationSecret {
    /// For tests and fuzz targets.
    pub fn of(bytes: [u8; 16]) -> InvitationSecret {
        InvitationSecret(Zeroizing::new(bytes))
    }

    /// That its owner knows it, on that channel and for these two.
    pub(crate) fn proof(
        &self,
        prover: Prover,
        exported: &[u8; PROOF_BYTES],
        joiner: Fingerprint,
        sponsor: Fingerprint,
    ) -> [u8; PROOF_BYTES] {
        let key = Zeroizing::new(blake3::derive_key(
            "Pillarbox 2026 v1 proof of an invitation",
            self.0.as_ref(),
        ));
        let who: &[u8] = match prover {
            Prover::Joiner => b"joiner ",
            Prover::Sponsor => b"sponsor",
        };
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in [who, exported, &joiner.0, &sponsor.0] {
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invitation {
    /// The pair to join.
    pub cluster: ClusterId,
    /// Of the certificate of the node that invites.
    pub fingerprint: Fingerprint,
    /// What proves that one was invited.
    pub secret: InvitationSecret,
    /// Where the node that invites listens.
    pub address: String,
}

impl Invitation {
    /// The text that a person carries over: whoever reads it can join.
    pub fn to_token(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES_MAX));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.cluster.0);
        bytes.extend_from_slice(&self.fingerprint.0);
        bytes.extend_from_slice(self.secret.0.as_ref());
        put_text(&self.address, &mut bytes);
        let hash = blake3::hash(&bytes);
        bytes.extend(hash.as_bytes().iter().take(CHECKSUM_BYTES));
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice())))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// A sentence that says what it is not.
    pub fn parse(token: &str) -> Result<Invitation, &'static str> {
        const CUT: &str = "the token is damaged or not complete: copy all of it";
        let text = token.trim().strip_prefix(PREFIX);
        let text = text.ok_or("this is no token of an invitation: it begins otherwise")?;
        if text.len() > TOKEN_BYTES_MAX.div_ceil(3) * 4 {
            return Err(CUT);
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| CUT)?);
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(CUT)?;
        if !blake3::hash(body).as_bytes().starts_with(checksum) {
            return Err(CUT);
        }
        let mut fields = Fields::new(body);
        if fields.u8("version") != Ok(VERSION) {
            return Err("the token was made by another version of the software");
        }
        let mut read = || {
            Ok(Invitation {
                cluster: ClusterId(fields.array("cluster")?),
                fingerprint: Fingerprint(fields.array("fingerprint")?),
                secret: InvitationSecret(Zeroizing::new(fields.array("secret")?)),
                address: fields.text("address")?,
            })
        };
        let invitation: Result<Invitation, super::message::Malformed> = read();
        match (invitation, fields.end()) {
            (Ok(invitation), Ok(())) if is_address(&invitation.address) => Ok(invitation),
            _ => Err(CUT),
        }
    }
}

#[derive(Debug)]
struct Open {
    secret: InvitationSecret,
    until: Duration,
    wrong: u32,
}

/// The invitation that a node has open, if any. `now` is any monotonic clock.
#[derive(Debug, Default)]
pub struct InvitationBook {
    open: Option<Open>,
    /// No attempt before.
    pause_until: Duration,
}

impl InvitationBook {
    /// Draws a secret, in place of an earlier one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn invite(&mut self, now: Duration) -> Result<InvitationSecret, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 16]);
        getrandom::fill(bytes.as_mut())?;
        let secret = InvitationSecret(bytes);
        let until = now.saturating_add(INVITATION_TIME);
        self.open = Some(Open { secret: secret.clone(), until, wrong: 0 });
        Ok(secret)
    }

    /// Whether somebody is invited.
    pub fn is_open(&self, now: Duration) -> bool {
        self.open.as_ref().is_some_and(|open| now < open.until)
    }

    /// Nobody is invited any more.
    pub fn withdraw(&mut self) {
        self.open = None;
    }

    /// Holds a proof against the open invitation, which is used up if it is right.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn redeem(
        &mut self,
        now: Duration,
        proof: &[u8; PROOF_BYTES],
        expected: impl FnOnce(&InvitationSecret) -> [u8; PROOF_BYTES],
    ) -> Result<InvitationSecret, Refusal> {
        if now < self.pause_until {
            let sentence = "a wrong secret was tried a moment ago: try again in a second";
            return Err(Refusal::new(Cause::TooManyAttempts, sentence));
        }
        let Some(open) = &mut self.open else {
            let sentence = "this node has no open invitation: it was used, withdrawn, or never \
                            made; make a new one";
            return Err(Refusal::new(Cause::NoInvitation, sentence));
        };
        if now >= open.until {
            self.open = None;
            let sentence = "the invitation's ten minutes are over: make a new one";
            return Err(Refusal::new(Cause::Expired, sentence));
        }
        let expected = expected(&open.secret);
        if aws_lc_rs::constant_time::verify_slices_are_equal(proof, &expected).is_ok() {
            let secret = open.secret.clone();
            self.open = None;
            return Ok(secret);
        }
        self.pause_until = now.saturating_add(ATTEMPT_PAUSE);
        open.wrong += 1;
        if open.wrong >= WRONG_SECRETS_MAX {
            self.open = None;
        }
        let sentence = "the secret is not that of the open invitation: use the newest token";
        Err(Refusal::new(Cause::WrongSecret, sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            cluster: ClusterId([1; 16]),
            fingerprint: Fingerprint([2; 32]),
            secret: InvitationSecret::of([3; 16]),
            address: "[2001:db8::1]:4190".to_owned(),
        }
    }

    #[test]
    fn a_token_comes_back_and_a_damaged_one_is_refused() {
        let token = invitation().to_token();
        assert_eq!(Invitation::parse(&format!("  {}\n", *token)), Ok(invitation()));
        for at in 0..token.len() {
            assert!(Invitation::parse(&token[..at]).is_err(), "cut at {at}");
            let mut other = token.to_string().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(Invitation::parse(&other).is_err(), "{at} altered");
        }
        assert!(!format!("{:?}", invitation()).contains("3, 3"), "secrets are not printed");
    }

    #[test]
    fn a_secret_is_good_once_for_ten_minutes_and_wrong_ones_cost_time() {
        let second = Duration::from_secs(1);
        let (right, wrong) = ([7; 32], [8; 32]);
        let mut book = InvitationBook::default();
        let cause = |outcome: Result<InvitationSecret, Refusal>| outcome.err().map(|r| r.cause);
        let expected = |_: &InvitationSecret| right;
        assert_eq!(cause(book.redeem(second, &right, expected)), Some(Cause::NoInvitation));
        book.invite(second).unwrap();
        assert_eq!(cause(book.redeem(second, &wrong, expected)), Some(Cause::WrongSecret));
        assert_eq!(cause(book.redeem(second, &right, expected)), Some(Cause::TooManyAttempts));
        assert_eq!(cause(book.redeem(second * 2, &right, expected)), None);
        assert_eq!(cause(book.redeem(second * 2, &right, expected)), Some(Cause::NoInvitation));
        book.invite(second * 3).unwrap();
        assert!(book.is_open(second * 602) && !book.is_open(second * 603));
        assert_eq!(cause(book.redeem(second * 603, &right, expected)), Some(Cause::Expired));
        book.invite(second).unwrap();
        for attempt in 1..=WRONG_SECRETS_MAX {
            let outcome = book.redeem(second * (10 + attempt), &wrong, expected);
            assert_eq!(cause(outcome), Some(Cause::WrongSecret));
        }
        assert!(!book.is_open(second * 111), "so many wrong secrets end an invitation");
    }

    #[test]
    fn a_proof_is_good_for_its_channel_and_its_two_nodes_only() {
        let (secret, a, b) =
            (InvitationSecret::of([3; 16]), Fingerprint([4; 32]), Fingerprint([5; 32]));
        let proof = secret.proof(Prover::Joiner, &[6; 32], a, b);
        let others = [
            secret.proof(Prover::Sponsor, &[6; 32], a, b),
            secret.proof(Prover::Joiner, &[7; 32], a, b),
            secret.proof(Prover::Joiner, &[6; 32], b, a),
            InvitationSecret::of([9; 16]).proof(Prover::Joiner, &[6; 32], a, b),
        ];
        assert!(others.iter().all(|other| *other != proof));
    }
}
