//! LOGIN and AUTHENTICATE PLAIN (RFC 3501 section 6.2, RFC 4616, RFC 4959).
//!
//! The log lines `imap-login: …` are stable: tools that ban password guessers read them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::error::AuthError;
use engine::seal::Secret;
use zeroize::Zeroizing;

use super::{Answer, Talk, Then};
use crate::stream::Ended;

/// LOGIN
pub(super) async fn login(
    talk: &mut Talk,
    name: &[u8],
    password: Option<Secret>,
) -> Result<Answer, Ended> {
    if let Some(answer) = refused_without_tls(talk) {
        return Ok(answer);
    }
    match (std::str::from_utf8(name), password) {
        (Ok(name), Some(password)) => check(talk, name, password).await,
        _ => failed(talk, &String::from_utf8_lossy(name)).await,
    }
}

/// AUTHENTICATE
pub(super) async fn authenticate(
    talk: &mut Talk,
    mechanism: &str,
    initial: Option<Vec<u8>>,
) -> Result<Answer, Ended> {
    if mechanism != "PLAIN" {
        return Ok(Answer::no("CANNOT", "The only mechanism is PLAIN"));
    }
    if let Some(answer) = refused_without_tls(talk) {
        return Ok(answer);
    }
    let response = Zeroizing::new(match initial {
        Some(initial) if initial == b"=" => Vec::new(),
        Some(initial) => initial,
        None => match challenge(talk).await? {
            Some(response) => response,
            None => return Ok(Answer::bad("The answer is too long")),
        },
    });
    if response.as_slice() == b"*" {
        return Ok(Answer::bad("Cancelled"));
    }
    let Ok(decoded) = STANDARD.decode(response.as_slice()).map(Zeroizing::new) else {
        return Ok(Answer::bad("The answer is not base64"));
    };
    // message = [authzid] NUL authcid NUL passwd
    let mut parts = decoded.split(|&byte| byte == 0).map(std::str::from_utf8);
    let (Some(Ok(acting_as)), Some(Ok(name)), Some(Ok(password)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(Answer::bad("The answer is not what PLAIN wants"));
    };
    if !acting_as.is_empty() && acting_as != name {
        return Ok(Answer::no("AUTHORIZATIONFAILED", "Nobody may act as somebody else"));
    }
    check(talk, name, Secret::new(password.to_owned())).await
}

/// Asks for PLAIN's only message; `None` if it is too long.
async fn challenge(talk: &mut Talk) -> Result<Option<Vec<u8>>, Ended> {
    talk.wire.line("+ ");
    let timeout = talk.session.config.limits.login_timeout;
    match tokio::time::timeout(timeout, talk.wire.plain_line()).await {
        Ok(line) => line,
        Err(_) => Err(Ended::Closed),
    }
}

fn refused_without_tls(talk: &Talk) -> Option<Answer> {
    let refused = !talk.session.takes_passwords();
    refused.then(|| Answer::no("PRIVACYREQUIRED", "Passwords are taken over TLS only"))
}

async fn check(talk: &mut Talk, name: &str, password: Secret) -> Result<Answer, Ended> {
    let store = talk.session.store.clone();
    let login = name.to_owned();
    let checked = tokio::task::spawn_blocking(move || store.authenticate(&login, &password)).await;
    match checked {
        Ok(Ok(account)) => {
            tracing::info!(
                "imap-login: ok user=<{}> rip={}",
                for_the_log(name),
                talk.session.peer.ip().to_canonical()
            );
            talk.session.account = Some(account);
            let capabilities = talk.session.capabilities();
            Ok(Answer::ok_code(format!("CAPABILITY {capabilities}"), "Logged in"))
        }
        Ok(Err(AuthError::Refused)) => failed(talk, name).await,
        Ok(Err(AuthError::Read(error))) => Ok(Answer::unreadable(&talk.session, &error)),
        Err(error) => {
            tracing::error!(%error, "checking a password ended in a panic");
            Ok(Answer::no("SERVERBUG", "The password could not be checked"))
        }
    }
}

/// Says no late, and ends the connection of who fails often.
async fn failed(talk: &mut Talk, name: &str) -> Result<Answer, Ended> {
    tracing::info!(
        "imap-login: failed user=<{}> rip={}",
        for_the_log(name),
        talk.session.peer.ip().to_canonical()
    );
    talk.session.login_failures = talk.session.login_failures.saturating_add(1);
    let failures = talk.session.login_failures;
    let limits = &talk.session.config.limits;
    tokio::time::sleep(limits.login_failure_delay.saturating_mul(failures)).await;
    let answer = Answer::no("AUTHENTICATIONFAILED", "The name or the password is wrong");
    if failures >= limits.login_failures_max {
        talk.wire.line("* BYE Too many failed logins");
        return Ok(answer.then(Then::Close));
    }
    Ok(answer)
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
