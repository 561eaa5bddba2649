//! The table of capabilities: what is announced, where it is written down, and when.
//!
//! Deliberate deviations from an RFC stand in [`DEVIATIONS`], with their reason.

pub use crate::sasl::Offer;

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
    /// Before login, where passwords are taken over TLS 1.3.
    WhereTlsCanBeBound,
    /// Before login, where a token may be sent and whoever knows about them is configured.
    WhereTokensAreTaken,
    /// Before login, where the client showed a certificate of a configured CA.
    WithCertificate,
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
pub const EXTENSIONS: &[Extension] = &[
    row("IMAP4rev1", 3501, Announced::Always, "transcripts/*.imap"),
    row("LITERAL-", 7888, Announced::BeforeLogin, "transcripts/literals.imap"),
    row("LITERAL+", 7888, Announced::AfterLogin, "transcripts/literals.imap"),
    row("SASL-IR", 4959, Announced::BeforeLogin, "transcripts/login.imap"),
    row("ID", 2971, Announced::Always, "transcripts/login.imap"),
    row("ENABLE", 5161, Announced::Always, "transcripts/login.imap"),
    row("STARTTLS", 3501, Announced::BeforeTls, "server/tls.rs"),
    row("LOGINDISABLED", 3501, Announced::WherePasswordsAreRefused, "server/tls.rs"),
    row("AUTH=SCRAM-SHA-256-PLUS", 7677, Announced::WhereTlsCanBeBound, "server/scram.rs"),
    row("AUTH=SCRAM-SHA-256", 7677, Announced::WherePasswordsAreTaken, "server/scram.rs"),
    row("AUTH=PLAIN", 4616, Announced::WherePasswordsAreTaken, "transcripts/login.imap"),
    row("AUTH=LOGIN", 9051, Announced::WherePasswordsAreTaken, "transcripts/sasl.imap"),
    row("AUTH=OAUTHBEARER", 7628, Announced::WhereTokensAreTaken, "server/tokens.rs"),
    row("AUTH=XOAUTH2", 7628, Announced::WhereTokensAreTaken, "server/tokens.rs"),
    row("AUTH=EXTERNAL", 4422, Announced::WithCertificate, "server/certificate.rs"),
    row("COMPRESS=DEFLATE", 4978, Announced::AfterLogin, "server/compress.rs"),
    row("UNAUTHENTICATE", 8437, Announced::AfterLogin, "transcripts/unauthenticate.imap"),
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

/// A command, for `docs/imap.md`; when it is valid stands in the table of commands
/// (`command/mod.rs`).
#[derive(Clone, Copy, Debug)]
pub struct CommandRow {
    /// As a client writes it, shortest form.
    pub example: &'static str,
    /// Where it is specified: RFC and section; further RFCs add arguments.
    pub rfc: &'static str,
    /// The transcript or test that covers it.
    pub test: &'static str,
}

const fn command(example: &'static str, rfc: &'static str, test: &'static str) -> CommandRow {
    CommandRow { example, rfc, test }
}

/// Every command.
pub const COMMANDS: &[CommandRow] = &[
    command("CAPABILITY", "3501 §6.1.1", "transcripts/login.imap"),
    command("NOOP", "3501 §6.1.2", "transcripts/store.imap"),
    command("LOGOUT", "3501 §6.1.3", "transcripts/login.imap"),
    command("ID NIL", "2971", "transcripts/login.imap"),
    command("STARTTLS", "3501 §6.2.1", "server/tls.rs"),
    command("AUTHENTICATE PLAIN", "3501 §6.2.2, 4422, 4959", "transcripts/sasl.imap"),
    command("LOGIN user password", "3501 §6.2.3", "transcripts/login.imap"),
    command("UNAUTHENTICATE", "8437", "transcripts/unauthenticate.imap"),
    command("COMPRESS DEFLATE", "4978", "server/compress.rs"),
    command("ENABLE CONDSTORE", "5161", "transcripts/login.imap"),
    command("SELECT INBOX", "3501 §6.3.1", "transcripts/select.imap"),
    command("EXAMINE INBOX", "3501 §6.3.2", "transcripts/select.imap"),
    command("CREATE name", "3501 §6.3.3, 6154", "transcripts/mailboxes.imap"),
    command("DELETE name", "3501 §6.3.4", "transcripts/mailboxes.imap"),
    command("RENAME old new", "3501 §6.3.5", "transcripts/mailboxes.imap"),
    command("SUBSCRIBE name", "3501 §6.3.6", "transcripts/mailboxes.imap"),
    command("UNSUBSCRIBE name", "3501 §6.3.7", "transcripts/mailboxes.imap"),
    command("LIST \"\" *", "3501 §6.3.8, 5258, 5819, 6154", "transcripts/list.imap"),
    command("LSUB \"\" *", "3501 §6.3.9", "transcripts/list.imap"),
    command("NAMESPACE", "2342", "transcripts/list.imap"),
    command("STATUS INBOX (MESSAGES)", "3501 §6.3.10, 8438, 8474", "transcripts/status.imap"),
    command("APPEND INBOX {1+}\r\n", "3501 §6.3.11, 3502, 7889", "transcripts/append.imap"),
    command("IDLE", "2177", "transcripts/idle.imap"),
    command("CHECK", "3501 §6.4.1", "transcripts/lenient.imap"),
    command("CLOSE", "3501 §6.4.2", "transcripts/select.imap"),
    command("UNSELECT", "3691", "transcripts/select.imap"),
    command("EXPUNGE", "3501 §6.4.3", "transcripts/uidplus.imap"),
    command("UID EXPUNGE 1", "4315 §2.1", "transcripts/uidplus.imap"),
    command("SEARCH ALL", "3501 §6.4.4", "server/search.rs"),
    command("UID SEARCH ALL", "3501 §6.4.8", "server/search.rs"),
    command("FETCH 1 FAST", "3501 §6.4.5, 8474", "transcripts/fetch.imap"),
    command("UID FETCH 1 FAST", "3501 §6.4.8", "transcripts/fetch.imap"),
    command("STORE 1 FLAGS ()", "3501 §6.4.6", "transcripts/store.imap"),
    command("UID STORE 1 FLAGS ()", "3501 §6.4.8", "transcripts/store.imap"),
    command("COPY 1 name", "3501 §6.4.7, 4315", "transcripts/uidplus.imap"),
    command("UID COPY 1 name", "3501 §6.4.8, 4315", "transcripts/uidplus.imap"),
    command("MOVE 1 name", "6851", "transcripts/move.imap"),
    command("UID MOVE 1 name", "6851", "transcripts/move.imap"),
];

/// A deliberate deviation, or a choice that the RFC leaves: where, what, why, and the test that
/// holds us to it.
pub const DEVIATIONS: &[(&str, &str, &str, &str)] = &[
    (
        "RFC 3501 section 2.3.2",
        "\\Recent is never set and RECENT is always 0",
        "IMAP4rev2 dropped it because it means nothing with more than one session",
        "transcripts/append.imap",
    ),
    (
        "RFC 3501 section 9",
        "a line may end in LF alone, and bytes above 127 in a mailbox name are read as UTF-8",
        "no client means anything else by it",
        "transcripts/lenient.imap",
    ),
    (
        "RFC 3501 section 4.3",
        "a NUL in a message that came in by LMTP or SMTP is sent as 0x80, so that sizes, \
         offsets and all other bytes stay; in ENVELOPE and BODYSTRUCTURE it is left out; APPEND \
         refuses NUL",
        "a literal may not hold NUL, and Dovecot, whose clients are many, does the same",
        "server/nul.rs",
    ),
    (
        "RFC 2180 section 3.3",
        "a session whose mailbox is deleted by another one is ended with BYE",
        "answering for messages whose keys may be gone would be a lie",
        "transcripts/deleted.imap",
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
    /// How somebody may prove who they are now.
    pub offer: Offer,
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
            Announced::WherePasswordsAreTaken => before && situation.offer.passwords,
            Announced::WherePasswordsAreRefused => before && !situation.offer.passwords,
            Announced::WhereTlsCanBeBound => {
                before && situation.offer.passwords && situation.offer.channel_binding
            }
            Announced::WhereTokensAreTaken => before && situation.offer.tokens,
            Announced::WithCertificate => before && situation.offer.certificate,
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
            offer: Offer::default(),
            append_bytes_max: 5,
        };
        let before = capabilities(plain);
        assert!(before.contains("STARTTLS LOGINDISABLED") && !before.contains("AUTH="), "{before}");
        let after = capabilities(Situation { logged_in: true, ..plain });
        assert!(!after.contains("STARTTLS") && after.contains("LITERAL+"), "{after}");
        assert!(after.ends_with("APPENDLIMIT=5"), "{after}");
    }

    /// A link to a test from `docs/`.
    fn link(test: &str) -> String {
        let folder = test.trim_end_matches("*.imap");
        format!("[{test}](../imap/tests/{folder})")
    }

    fn announced(when: Announced) -> &'static str {
        match when {
            Announced::Always => "always",
            Announced::BeforeLogin => "before login",
            Announced::AfterLogin => "after login",
            Announced::BeforeTls => "before login, without TLS, where there is a certificate",
            Announced::WherePasswordsAreTaken => "before login, where a password may be sent",
            Announced::WherePasswordsAreRefused => "before login, where none may be sent",
            Announced::WhereTlsCanBeBound => "before login, where one may be sent, over TLS 1.3",
            Announced::WhereTokensAreTaken => "before login, where tokens can be checked",
            Announced::WithCertificate => "before login, with a verified client certificate",
        }
    }

    /// The name and when it is valid, as the grammar and the table of commands have it.
    fn name_and_validity(row: &CommandRow) -> (String, &'static str) {
        let line = format!("t {}", row.example);
        let literals = match line.contains('{') {
            true => vec![b"x".to_vec()],
            false => Vec::new(),
        };
        let parsed = crate::codec::grammar::parse(line.as_bytes(), &literals);
        let request = parsed.unwrap_or_else(|refusal| panic!("{line}: {}", refusal.sentence));
        let name = row.example.split(' ').take(1 + usize::from(row.example.starts_with("UID ")));
        (name.collect::<Vec<_>>().join(" "), crate::command::valid_when(&request.command))
    }

    fn document() -> String {
        let mut text = String::from(
            "# What IMAP clients can expect\n\n\
             Made from `imap/src/extension.rs` by its test; with `PILLARBOX_WRITE_DOCS=1` in the \
             environment the test writes this file. Bounds are in `imap/src/config.rs`.\n\n\
             ## Capabilities\n\n| capability | RFC | announced | test |\n|--|--|--|--|\n",
        );
        for row in EXTENSIONS {
            let (name, rfc, test) = (row.name, row.rfc, link(row.test));
            text += &format!("| `{name}` | {rfc} | {} | {test} |\n", announced(row.announced));
        }
        text += "\n## Commands\n\n| command | RFC | valid | test |\n|--|--|--|--|\n";
        for row in COMMANDS {
            let (name, valid) = name_and_validity(row);
            text += &format!("| `{name}` | {} | {valid} | {} |\n", row.rfc, link(row.test));
        }
        text += "\n## Where we deviate or had to choose, and why\n\n\
                 | rule | what we do | why | test |\n|--|--|--|--|\n";
        for (rule, what, why, test) in DEVIATIONS {
            text += &format!("| {rule} | {what} | {why} | {} |\n", link(test));
        }
        text
    }

    #[test]
    fn the_page_for_people_says_what_the_tables_say() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/imap.md");
        if std::env::var_os("PILLARBOX_WRITE_DOCS").is_some() {
            std::fs::write(&page, document()).unwrap();
        }
        let found = std::fs::read_to_string(&page).unwrap();
        assert!(found == document(), "docs/imap.md is out of date: see its second paragraph");
    }

    #[test]
    fn every_command_of_the_grammar_has_a_row() {
        let grammar = include_str!("codec/grammar/mod.rs");
        let (_, commands) = grammar.split_once("fn command(").unwrap();
        let (commands, _) = commands.split_once("/// `mailbox = ").unwrap();
        let names: Vec<String> = COMMANDS.iter().map(|row| name_and_validity(row).0).collect();
        let mut count = 0;
        for arm in commands.split("b\"").skip(1) {
            let (name, _) = arm.split_once('"').unwrap();
            count += 1;
            let known = name == "UID" || names.iter().any(|known| known == name);
            assert!(known, "{name} has no row in COMMANDS");
        }
        assert!(count > 30, "the grammar looks different now");
    }

    #[test]
    fn every_row_names_a_test_that_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let tests = EXTENSIONS.iter().map(|row| row.test);
        let commands = COMMANDS.iter().map(|row| row.test);
        let deviations = DEVIATIONS.iter().map(|&(.., test)| test);
        for test in tests.chain(commands).chain(deviations) {
            assert!(test.contains('*') || root.join(test).exists(), "{test}");
        }
    }
}
