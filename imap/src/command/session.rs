//! CAPABILITY, ID, ENABLE, NAMESPACE, STARTTLS, COMPRESS, UNAUTHENTICATE, LOGOUT: what concerns the
//! connection itself.

use super::place::{OTHERS, SHARED, shared_account};
use super::{Answer, Talk, Then};
use crate::codec::command::IdField;
use crate::session::Encryption;

/// CAPABILITY (RFC 3501 section 6.1.1)
pub(super) fn capability(talk: &mut Talk) -> Answer {
    let capabilities = talk.session.capabilities();
    talk.wire.line(&format!("* CAPABILITY {capabilities}"));
    Answer::ok("That is all we can do")
}

/// LOGOUT (RFC 3501 section 6.1.3)
pub(super) fn logout(talk: &mut Talk) -> Answer {
    talk.session.leave();
    talk.wire.line("* BYE Good-bye");
    Answer::ok("Logged out").then(Then::Close)
}

/// ID (RFC 2971). We tell our name, not our version, to whoever is not logged in.
pub(super) fn id(talk: &mut Talk, fields: &[IdField]) -> Answer {
    let client = fields.iter().find(|field| field.name.eq_ignore_ascii_case(b"name"));
    if let Some(IdField { value: Some(name), .. }) = client {
        let name = String::from_utf8_lossy(name);
        let name: String = name.chars().take(80).collect();
        tracing::debug!(rip = %talk.session.peer.ip(), client = ?name, "client says who it is");
    }
    if talk.session.account.is_some() {
        let version = env!("CARGO_PKG_VERSION");
        talk.wire.line(&format!("* ID (\"name\" \"Pillarbox\" \"version\" \"{version}\")"));
    } else {
        talk.wire.line("* ID (\"name\" \"Pillarbox\")");
    }
    Answer::ok("Pleased to meet you")
}

/// ENABLE (RFC 5161): what is not known is passed over.
pub(super) fn enable(talk: &mut Talk, names: &[String]) -> Answer {
    let mut line = "* ENABLED".to_owned();
    let mut enabled = Vec::new();
    for name in names {
        if !enabled.contains(&name) && talk.session.dialect.enable(name) {
            enabled.push(name);
            line.push(' ');
            line.push_str(if name == "IMAP4REV2" { "IMAP4rev2" } else { name });
        }
    }
    talk.wire.line(&line);
    let condstore = std::mem::replace(&mut talk.session.dialect.condstore, false);
    if condstore {
        talk.enable_condstore();
    }
    match super::notify::watch_metadata(talk) {
        Ok(()) => Answer::ok("Enabled"),
        Err(error) => Answer::unreadable(&talk.session, &error),
    }
}

/// NAMESPACE (RFC 2342)
pub(super) fn namespace(talk: &mut Talk) -> Answer {
    let shared = match shared_account(&talk.session) {
        Some(_) => format!("((\"{SHARED}\" \"/\"))"),
        None => "NIL".to_owned(),
    };
    let line = format!("* NAMESPACE ((\"\" \"/\")) ((\"{OTHERS}\" \"/\")) {shared}");
    talk.wire.line(&line);
    Answer::ok("Your own, and what others share")
}

/// STARTTLS (RFC 3501 section 6.2.1)
pub(super) fn start_tls(talk: &mut Talk) -> Answer {
    if talk.session.encryption == Encryption::Tls {
        return Answer::bad("The connection has TLS already");
    }
    if talk.session.config.tls.is_none() {
        return Answer::bad("This server has no certificate");
    }
    Answer::ok("Begin the TLS handshake now").then(Then::Handshake)
}

/// COMPRESS (RFC 4978)
pub(super) fn compress(talk: &mut Talk) -> Answer {
    if talk.wire.is_compressed() {
        return Answer::no("COMPRESSIONACTIVE", "The connection is compressed already");
    }
    Answer::ok("Compressed from here on").then(Then::Compress)
}

/// UNAUTHENTICATE (RFC 8437): all is as before the login, but for TLS.
pub(super) fn unauthenticate(talk: &mut Talk) -> Answer {
    talk.session.forget();
    let capabilities = talk.session.capabilities();
    Answer::ok_code(format!("CAPABILITY {capabilities}"), "Nobody is logged in")
        .then(Then::StopCompressing)
}
