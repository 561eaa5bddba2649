//! The table of capabilities: what is announced, where it is written down, and when.
//!
//! Deliberate deviations from an RFC stand in [`DEVIATIONS`], with their reason.

/// When a capability is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Announced {
    /// Always.
    Always,
    /// Before login only.
    BeforeLogin,
    /// After login only.
    AfterLogin,
    /// Before login, on a connection without TLS, where we have a certificate.
    BeforeTls,
    /// Before login, where a password may be sent.
    WherePasswordsAreTaken,
    /// Before login, where a password may not be sent.
    WherePasswordsAreRefused,
}

/// A capability.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// As CAPABILITY shows it.
    pub name: &'static str,
    /// Where it is specified.
    pub rfc: u16,
    /// When it is announced.
    pub announced: Announced,
    /// The transcript or test that covers it.
    pub test: &'static str,
}

const fn row(name: &'static str, rfc: u16, announced: Announced, test: &'static str) -> Extension {
    Extension { name, rfc, announced, test }
}

/// Every capability, in the order in which it is announced.
pub const EXTENSIONS: [Extension; 23] = [
    row("IMAP4rev1", 3501, Announced::Always, "transcripts/*.imap"),
    row("LITERAL-", 7888, Announced::BeforeLogin, "transcripts/literals.imap"),
    row("LITERAL+", 7888, Announced::AfterLogin, "transcripts/literals.imap"),
    row("SASL-IR", 4959, Announced::BeforeLogin, "transcripts/login.imap"),
    row("ID", 2971, Announced::Always, "transcripts/login.imap"),
    row("ENABLE", 5161, Announced::Always, "transcripts/login.imap"),
    row("STARTTLS", 3501, Announced::BeforeTls, "server/tls.rs"),
    row("LOGINDISABLED", 3501, Announced::WherePasswordsAreRefused, "server/tls.rs"),
    row("AUTH=PLAIN", 4616, Announced::WherePasswordsAreTaken, "transcripts/login.imap"),
    row("IDLE", 2177, Announced::AfterLogin, "transcripts/idle.imap"),
    row("NAMESPACE", 2342, Announced::AfterLogin, "transcripts/list.imap"),
    row("CHILDREN", 3348, Announced::AfterLogin, "transcripts/list.imap"),
    row("SPECIAL-USE", 6154, Announced::AfterLogin, "transcripts/list.imap"),
    row("CREATE-SPECIAL-USE", 6154, Announced::AfterLogin, "transcripts/mailboxes.imap"),
    row("LIST-EXTENDED", 5258, Announced::AfterLogin, "transcripts/list.imap"),
    row("LIST-STATUS", 5819, Announced::AfterLogin, "transcripts/list.imap"),
    row("UIDPLUS", 4315, Announced::AfterLogin, "transcripts/uidplus.imap"),
    row("UNSELECT", 3691, Announced::AfterLogin, "transcripts/select.imap"),
    row("MOVE", 6851, Announced::AfterLogin, "transcripts/move.imap"),
    row("MULTIAPPEND", 3502, Announced::AfterLogin, "transcripts/append.imap"),
    row("STATUS=SIZE", 8438, Announced::AfterLogin, "transcripts/status.imap"),
    row("OBJECTID", 8474, Announced::AfterLogin, "transcripts/status.imap"),
    row("APPENDLIMIT", 7889, Announced::AfterLogin, "transcripts/append.imap"),
];

/// A deliberate deviation: where, what, why.
pub const DEVIATIONS: [(&str, &str, &str); 4] = [
    (
        "RFC 3501 section 2.3.2",
        "\\Recent is never set and RECENT is always 0",
        "IMAP4rev2 dropped it because it means nothing with more than one session",
    ),
    (
        "RFC 3501 section 9",
        "a line may end in LF alone, and a bare backslash or bytes above 127 in a mailbox name are \
         read as UTF-8",
        "no client means anything else by it",
    ),
    (
        "RFC 3501 section 4.3",
        "a NUL in a message that came in by LMTP or SMTP is sent as 0x80, so that sizes, offsets \
         and all other bytes stay; APPEND refuses NUL",
        "a literal may not hold NUL, and Dovecot, whose clients are many, does the same",
    ),
    (
        "RFC 2180 section 3.3",
        "a session whose mailbox is deleted by another one is ended with BYE",
        "answering for messages whose keys may be gone would be a lie",
    ),
];

/// What decides which capabilities are announced.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Somebody is logged in.
    pub logged_in: bool,
    /// The connection has TLS.
    pub encrypted: bool,
    /// We have a certificate.
    pub tls_available: bool,
    /// LOGIN and AUTHENTICATE PLAIN are allowed now.
    pub passwords_taken: bool,
    /// Bytes of one appended message.
    pub append_bytes_max: u64,
}

/// The capabilities of a situation, separated by spaces.
pub fn capabilities(situation: Situation) -> String {
    let mut names = Vec::new();
    for extension in EXTENSIONS {
        let before = !situation.logged_in;
        let announced = match extension.announced {
            Announced::Always => true,
            Announced::BeforeLogin => before,
            Announced::AfterLogin => !before,
            Announced::BeforeTls => before && !situation.encrypted && situation.tls_available,
            Announced::WherePasswordsAreTaken => before && situation.passwords_taken,
            Announced::WherePasswordsAreRefused => before && !situation.passwords_taken,
        };
        match extension.name {
            _ if !announced => {}
            "APPENDLIMIT" => names.push(format!("APPENDLIMIT={}", situation.append_bytes_max)),
            name => names.push(name.to_owned()),
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_tls_no_password_is_asked_for() {
        let plain = Situation {
            logged_in: false,
            encrypted: false,
            tls_available: true,
            passwords_taken: false,
            append_bytes_max: 5,
        };
        let before = capabilities(plain);
        assert!(before.contains("STARTTLS LOGINDISABLED") && !before.contains("AUTH="), "{before}");
        let after = capabilities(Situation { logged_in: true, ..plain });
        assert!(!after.contains("STARTTLS") && after.contains("LITERAL+"), "{after}");
        assert!(after.ends_with("APPENDLIMIT=5"), "{after}");
    }

    #[test]
    fn every_row_names_a_transcript_that_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        for extension in EXTENSIONS {
            let there = extension.test.contains('*') || root.join(extension.test).exists();
            assert!(there, "{} names {}", extension.name, extension.test);
        }
    }
}
