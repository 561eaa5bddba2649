//! A SASL exchange over a connection: `+ ` and base64 each way, `*` to give up. IMAP (RFC 3501
//! section 6.2.2) and POP3 (RFC 5034 section 4) do it alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::seal::{Randomness, SystemRandom};
use zeroize::Zeroizing;

use super::{Outcome, Visitor};
use crate::sasl::{Exchange, Mechanism, Step};
use crate::stream::{Ended, Wire, blocking};

const NOT_BASE64: Outcome = Outcome::Malformed("The answer is not base64");

impl Visitor<'_> {
    /// Goes through a mechanism; `initial` is what the client sent with its command, still base64,
    /// `=` for nothing (RFC 4959).
    pub(crate) async fn converse(
        &mut self,
        wire: &mut Wire,
        mechanism: Mechanism,
        initial: Option<Vec<u8>>,
    ) -> Result<Outcome, Ended> {
        let binding = self.tls.and_then(|tls| tls.binding);
        let mut exchange = Exchange::begin(mechanism, binding, self.offer);
        let mut step = match initial.map(Zeroizing::new) {
            None => exchange.invite(),
            Some(initial) if initial.as_slice() == b"=" => exchange.answer(b""),
            Some(initial) => match decoded(&initial) {
                Some(message) => exchange.answer(&message),
                None => return Ok(NOT_BASE64),
            },
        };
        loop {
            step = match step {
                Step::Challenge(challenge) => match self.ask(wire, &challenge).await? {
                    Ok(message) => exchange.answer(&message),
                    Err(outcome) => return Ok(outcome),
                },
                Step::Keys(name) => match blocking(|| self.store.scram_keys(&name)) {
                    Ok(keys) => {
                        let mut random = [0; 18];
                        SystemRandom.fill(&mut random);
                        exchange.keys(keys, random)
                    }
                    Err(error) => return Ok(Outcome::Unreadable(error)),
                },
                Step::Check(claim) => {
                    let outcome = self.decide(claim).await;
                    let refused = matches!(outcome, Outcome::Refused | Outcome::RefusedForGood);
                    if let (true, Some(parting)) = (refused, exchange.parting()) {
                        // Whatever the answer: it was refused.
                        let _ = self.ask(wire, parting).await?;
                    }
                    return Ok(outcome);
                }
                Step::Denied { name, why } => return Ok(self.refuse(&name, Some(why)).await),
                Step::NotPermitted => return Ok(Outcome::NotPermitted),
                Step::Malformed(why) => return Ok(Outcome::Malformed(why)),
            };
        }
    }

    /// Sends a challenge and reads the answer.
    async fn ask(
        &mut self,
        wire: &mut Wire,
        challenge: &[u8],
    ) -> Result<Result<Zeroizing<Vec<u8>>, Outcome>, Ended> {
        wire.line(&format!("+ {}", STANDARD.encode(challenge)));
        let timeout = self.config.limits.login_timeout;
        let Ok(line) = tokio::time::timeout(timeout, wire.plain_line()).await else {
            return Err(Ended::Closed);
        };
        let Some(line) = line?.map(Zeroizing::new) else {
            return Ok(Err(Outcome::Malformed("The answer is too long")));
        };
        if line.as_slice() == b"*" {
            return Ok(Err(Outcome::Cancelled));
        }
        Ok(decoded(&line).ok_or(NOT_BASE64))
    }
}

fn decoded(line: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    STANDARD.decode(line).ok().map(Zeroizing::new)
}
