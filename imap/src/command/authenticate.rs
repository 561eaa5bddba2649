//! LOGIN and AUTHENTICATE (RFC 3501 section 6.2, RFC 4959), and UNAUTHENTICATE (RFC 8437): how
//! IMAP says what `login/` decided.

use engine::seal::Secret;

use super::{Answer, Talk, Then};
use crate::login::Outcome;
use crate::sasl::Mechanism;
use crate::stream::Ended;

/// LOGIN
pub(super) async fn login(
    talk: &mut Talk,
    name: &[u8],
    password: Option<Secret>,
) -> Result<Answer, Ended> {
    if !talk.session.takes_passwords() {
        return Ok(no_password_here());
    }
    let mut visitor = talk.session.visitor();
    let outcome = match (std::str::from_utf8(name), password) {
        (Ok(name), Some(password)) => visitor.password(name, password).await,
        _ => visitor.refuse(&String::from_utf8_lossy(name), None).await,
    };
    Ok(answer(talk, outcome))
}

/// AUTHENTICATE
pub(super) async fn authenticate(
    talk: &mut Talk,
    mechanism: &str,
    initial: Option<Vec<u8>>,
) -> Result<Answer, Ended> {
    let offer = talk.session.offer();
    let mechanism = match Mechanism::named(mechanism) {
        Some(mechanism) if offer.has(mechanism) => mechanism,
        Some(mechanism) if mechanism.wants_password() && !offer.passwords => {
            return Ok(no_password_here());
        }
        _ => return Ok(Answer::no("CANNOT", "That mechanism is not offered here")),
    };
    let Talk { session, wire, .. } = talk;
    let outcome = session.visitor().converse(wire, mechanism, initial).await?;
    Ok(answer(talk, outcome))
}

fn no_password_here() -> Answer {
    Answer::no("PRIVACYREQUIRED", "Passwords are taken over TLS only")
}

/// The table from outcomes to answers (RFC 5530).
fn answer(talk: &mut Talk, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::In(admitted) => {
            talk.session.admit(admitted);
            let capabilities = talk.session.capabilities();
            Answer::ok_code(format!("CAPABILITY {capabilities}"), "Logged in")
        }
        Outcome::Refused => refused(),
        Outcome::RefusedForGood => {
            talk.wire.line("* BYE Too many failed logins");
            refused().then(Then::Close)
        }
        Outcome::Full => Answer::no("LIMIT", "This account has too many connections"),
        Outcome::NotPermitted => {
            Answer::no("AUTHORIZATIONFAILED", "Nobody may act as somebody else")
        }
        Outcome::Cancelled => Answer::bad("Cancelled"),
        Outcome::Malformed(why) => Answer::bad(why),
        Outcome::Unavailable => {
            Answer::no("UNAVAILABLE", "The token cannot be checked now; try again later")
        }
        Outcome::Unreadable(error) => Answer::unreadable(&talk.session, &error),
        Outcome::Broken => Answer::no("SERVERBUG", "The login could not be checked"),
    }
}

fn refused() -> Answer {
    Answer::no("AUTHENTICATIONFAILED", "The name or the password is wrong")
}
