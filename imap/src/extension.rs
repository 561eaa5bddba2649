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
    /// After login, where the operator has set a limit.
    WhereLimited,
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
    row("IMAP4rev2", 9051, Announced::Always, "transcripts/rev2.imap"),
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
    row("NOTIFY", 5465, Announced::AfterLogin, "transcripts/notify.imap"),
    row("NAMESPACE", 2342, Announced::AfterLogin, "transcripts/list.imap"),
    row("CHILDREN", 3348, Announced::AfterLogin, "transcripts/list.imap"),
    row("SPECIAL-USE", 6154, Announced::AfterLogin, "transcripts/list.imap"),
    row("CREATE-SPECIAL-USE", 6154, Announced::AfterLogin, "transcripts/mailboxes.imap"),
    row("LIST-EXTENDED", 5258, Announced::AfterLogin, "transcripts/list.imap"),
    row("LIST-STATUS", 5819, Announced::AfterLogin, "transcripts/list.imap"),
    row("UIDPLUS", 4315, Announced::AfterLogin, "transcripts/uidplus.imap"),
    row("UNSELECT", 3691, Announced::AfterLogin, "transcripts/select.imap"),
    row("MOVE", 6851, Announced::AfterLogin, "transcripts/move.imap"),
    row("CONDSTORE", 7162, Announced::AfterLogin, "transcripts/condstore.imap"),
    row("QRESYNC", 7162, Announced::AfterLogin, "transcripts/qresync.imap"),
    row("UIDONLY", 9586, Announced::AfterLogin, "transcripts/uidonly.imap"),
    row("UTF8=ACCEPT", 6855, Announced::AfterLogin, "transcripts/utf8.imap"),
    row("MULTIAPPEND", 3502, Announced::AfterLogin, "transcripts/append.imap"),
    row("CATENATE", 4469, Announced::AfterLogin, "transcripts/catenate.imap"),
    row("REPLACE", 8508, Announced::AfterLogin, "transcripts/replace.imap"),
    row("STATUS=SIZE", 8438, Announced::AfterLogin, "transcripts/status.imap"),
    row("OBJECTID", 8474, Announced::AfterLogin, "transcripts/status.imap"),
    row("ESEARCH", 4731, Announced::AfterLogin, "transcripts/esearch.imap"),
    row("SEARCHRES", 5182, Announced::AfterLogin, "transcripts/searchres.imap"),
    row("WITHIN", 5032, Announced::AfterLogin, "transcripts/within.imap"),
    row("SORT", 5256, Announced::AfterLogin, "transcripts/sort.imap"),
    row("SORT=DISPLAY", 5957, Announced::AfterLogin, "transcripts/sort.imap"),
    row("ESORT", 5267, Announced::AfterLogin, "transcripts/sort.imap"),
    row("THREAD=ORDEREDSUBJECT", 5256, Announced::AfterLogin, "transcripts/thread.imap"),
    row("THREAD=REFERENCES", 5256, Announced::AfterLogin, "transcripts/thread.imap"),
    row("CONTEXT=SEARCH", 5267, Announced::AfterLogin, "transcripts/context.imap"),
    row("CONTEXT=SORT", 5267, Announced::AfterLogin, "transcripts/context.imap"),
    row("MULTISEARCH", 7377, Announced::AfterLogin, "transcripts/multisearch.imap"),
    row("SEARCH=FUZZY", 6203, Announced::AfterLogin, "transcripts/fuzzy.imap"),
    row("I18NLEVEL=1", 5255, Announced::AfterLogin, "transcripts/collation.imap"),
    row("PARTIAL", 9394, Announced::AfterLogin, "transcripts/partial.imap"),
    row("INPROGRESS", 9585, Announced::AfterLogin, "server/search_progress.rs"),
    row("SAVEDATE", 8514, Announced::AfterLogin, "transcripts/preview.imap"),
    row("PREVIEW", 8970, Announced::AfterLogin, "transcripts/preview.imap"),
    row("BINARY", 3516, Announced::AfterLogin, "transcripts/binary.imap"),
    row("ACL", 4314, Announced::AfterLogin, "transcripts/acl.imap"),
    row("RIGHTS=texk", 4314, Announced::AfterLogin, "server/sharing.rs"),
    row("LIST-MYRIGHTS", 8440, Announced::AfterLogin, "transcripts/acl.imap"),
    row("METADATA", 5464, Announced::AfterLogin, "transcripts/metadata.imap"),
    row("METADATA-SERVER", 5464, Announced::AfterLogin, "transcripts/metadata.imap"),
    row("LIST-METADATA", 9590, Announced::AfterLogin, "transcripts/metadata.imap"),
    row("QUOTA", 9208, Announced::AfterLogin, "transcripts/quota.imap"),
    row("QUOTA=RES-STORAGE", 9208, Announced::AfterLogin, "transcripts/quota.imap"),
    row("QUOTA=RES-MESSAGE", 9208, Announced::AfterLogin, "transcripts/quota.imap"),
    row("APPENDLIMIT", 7889, Announced::AfterLogin, "transcripts/append.imap"),
    row("LANGUAGE", 5255, Announced::AfterLogin, "transcripts/language.imap"),
    row("UIDBATCHES", 10022, Announced::AfterLogin, "server/many_messages.rs"),
    row("MESSAGELIMIT", 9738, Announced::WhereLimited, "server/many_messages.rs"),
    row("SAVELIMIT", 9738, Announced::WhereLimited, "server/many_messages.rs"),
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
    command("LANGUAGE en", "5255 §3", "transcripts/language.imap"),
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
    command(
        "APPEND INBOX {1+}\r\n",
        "3501 §6.3.11, 3502, 3516, 4469, 6855, 7889",
        "transcripts/append.imap",
    ),
    command("REPLACE 1 Drafts {1+}\r\n", "8508", "transcripts/replace.imap"),
    command("UID REPLACE 1 Drafts {1+}\r\n", "8508", "transcripts/replace.imap"),
    command("UIDBATCHES 2000", "10022", "server/many_messages.rs"),
    command("GETACL name", "4314 §3.3", "transcripts/acl.imap"),
    command("SETACL name user lr", "4314 §3.1", "transcripts/acl.imap"),
    command("DELETEACL name user", "4314 §3.2", "transcripts/acl.imap"),
    command("LISTRIGHTS name user", "4314 §3.4", "transcripts/acl.imap"),
    command("MYRIGHTS name", "4314 §3.5", "transcripts/acl.imap"),
    command("GETMETADATA name /private/comment", "5464 §4.2", "transcripts/metadata.imap"),
    command("SETMETADATA name (/private/a NIL)", "5464 §4.3", "transcripts/metadata.imap"),
    command("GETQUOTA \"\"", "9208 §4.1.2", "transcripts/quota.imap"),
    command("GETQUOTAROOT name", "9208 §4.1.3", "transcripts/quota.imap"),
    command("SETQUOTA \"\" ()", "9208 §4.1.1", "transcripts/quota.imap"),
    command("IDLE", "2177", "transcripts/idle.imap"),
    command("NOTIFY NONE", "5465", "transcripts/notify.imap"),
    command("CHECK", "3501 §6.4.1", "transcripts/lenient.imap"),
    command("CLOSE", "3501 §6.4.2", "transcripts/select.imap"),
    command("UNSELECT", "3691", "transcripts/select.imap"),
    command("EXPUNGE", "3501 §6.4.3", "transcripts/uidplus.imap"),
    command("UID EXPUNGE 1", "4315 §2.1", "transcripts/uidplus.imap"),
    command("SEARCH ALL", "3501 §6.4.4, 4731, 5032, 5182, 6203, 8474", "server/search.rs"),
    command("UID SEARCH ALL", "3501 §6.4.8", "server/search.rs"),
    command("SORT (DATE) UTF-8 ALL", "5256 §3, 5267 §3, 5957", "transcripts/sort.imap"),
    command("UID SORT (DATE) UTF-8 ALL", "5256 §3", "transcripts/sort.imap"),
    command("THREAD REFERENCES UTF-8 ALL", "5256 §3", "transcripts/thread.imap"),
    command("UID THREAD REFERENCES UTF-8 ALL", "5256 §3", "transcripts/thread.imap"),
    command("ESEARCH IN (personal) ALL", "7377", "transcripts/multisearch.imap"),
    command("CANCELUPDATE \"b1\"", "5267 §4.3.5", "transcripts/context.imap"),
    command("FETCH 1 FAST", "3501 §6.4.5, 3516, 8474, 8514, 8970", "transcripts/fetch.imap"),
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
        "RFC 9051 section 7.5.2",
        "the source route of an address is left out of ENVELOPE, as if it were not there",
        "RFC 5322 section 4.4 wants it ignored, and an answer to it would go nowhere",
        "transcripts/fetch.imap",
    ),
    (
        "RFC 5051 section 2",
        "SEARCH finds what i;unicode-casemap finds and also ß for ss, and the other letters whose \
         upper case is several",
        "who searches for STRASSE wants Straße; SORT and THREAD compare to the letter of the RFC",
        "transcripts/collation.imap",
    ),
    (
        "RFC 5465 section 6.3",
        "the source inboxes of ESEARCH means the same as personal",
        "an address with a detail can deliver into any mailbox, and the RFC then asks for this",
        "transcripts/multisearch.imap",
    ),
    (
        "RFC 5465 section 5",
        "of what the client itself has caused NOTIFY tells what CLOSE removes, what RENAME makes \
         of INBOX, and what is beyond 64 changes at a time",
        "it does no harm, and to know it would take as much memory as there are changes",
        "transcripts/notify.imap",
    ),
    (
        "RFC 5465 section 3.1",
        "a command tells of the selected mailbox that messages came or went whatever NOTIFY says, \
         and NOTIFY NONE is as if there had been none",
        "numbers of messages would mean others to the client than to us",
        "transcripts/notify.imap",
    ),
    (
        "RFC 5267 section 4.3.1",
        "a search by OLDER or YOUNGER is not kept current, and says so",
        "its result changes without any change in the mailbox",
        "transcripts/context.imap",
    ),
    (
        "RFC 3516 section 4.4",
        "what APPEND sends as literal8 is stored as it came, NUL included: BINARY gives it back \
         so, BODY shows NUL as 0x80; no part is encoded anew",
        "a signature over the message stays valid, and what was put in comes out",
        "server/binary.rs",
    ),
    (
        "RFC 4469 section 3",
        "CATENATE takes URLs of this account alone, /mailbox/;UID= or ;UID= of the selected \
         mailbox; one with a server is answered [BADURL]",
        "we fetch from nowhere else, and announce no URLAUTH",
        "transcripts/catenate.imap",
    ),
    (
        "RFC 6203",
        "within FUZZY, TEXT is the addresses, the subject and the body, every word of which must \
         be found: as it is, without accents, with the same stem in the message's language, or \
         with a typing error or two; RELEVANCY is beside the best message of its mailbox",
        "other header fields are written by programs, and people do not seek in them",
        "server/fuzzy_index.rs",
    ),
    (
        "RFC 9738",
        "where messages per command are limited, SEARCH counts the messages that it looks at, not \
         those that it finds",
        "the limit is there to bound work, and the code says in either case how far it came",
        "server/many_messages.rs",
    ),
    (
        "RFC 4314 section 4",
        "\\Seen of a shared mailbox is the same for all who use it",
        "every flag has one place then, and who reads shared mail in a team sees what is done; \
         Dovecot does so, too, where nobody changes it",
        "transcripts/shared.imap",
    ),
    (
        "RFC 4314 section 2",
        "whoever owns a mailbox has every right to it, which cannot be taken; identifiers are \
         names of accounts and anyone",
        "nobody can lock themselves out",
        "transcripts/acl.imap",
    ),
    (
        "RFC 4314 section 4",
        "a session whose mailbox is not shared with it any more is ended with BYE",
        "it may not even be told what happens there",
        "transcripts/shared.imap",
    ),
    (
        "RFC 2342 section 5",
        "a mailbox of one's own whose name begins with Other Users/ or Shared/ stays reachable, \
         and hides a shared one of the same name",
        "it was there before there was sharing",
        "server/sharing.rs",
    ),
    (
        "RFC 4315 section 3, RFC 8474 section 5.1",
        "a message that is copied to another account has another EMAILID there",
        "it is sealed under another key, and nothing links what two accounts have",
        "server/sharing.rs",
    ),
    (
        "RFC 5464 section 4.4.2",
        "who enabled METADATA is told also what it has changed itself; the server has no /shared \
         entries",
        "what others did in the same moment would be left out with it",
        "transcripts/metadata_enabled.imap",
    ),
    (
        "RFC 9208 section 4.1.1",
        "SETQUOTA is refused to everybody, so QUOTASET is not announced",
        "limits are the operator's, who has pillarbox account quota",
        "transcripts/quota.imap",
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
    /// Messages of one command, if that is limited.
    pub messages_per_command: Option<u32>,
    /// Messages of one command that stores some, if that is limited.
    pub messages_per_save: Option<u32>,
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
            Announced::WhereLimited => !before && value(extension.name, situation).is_some(),
        };
        match value(extension.name, situation) {
            _ if !announced => {}
            Some(value) => names.push(format!("{}={value}", extension.name)),
            None => names.push(extension.name.to_owned()),
        }
    }
    names.join(" ")
}

/// What stands behind the equals sign of a capability.
fn value(name: &str, situation: Situation) -> Option<u64> {
    match name {
        "APPENDLIMIT" => Some(situation.append_bytes_max),
        "MESSAGELIMIT" => situation.messages_per_command.map(u64::from),
        "SAVELIMIT" => situation.messages_per_save.map(u64::from),
        _ => None,
    }
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
            messages_per_command: None,
            messages_per_save: None,
        };
        let before = capabilities(plain);
        assert!(before.contains("STARTTLS LOGINDISABLED") && !before.contains("AUTH="), "{before}");
        let after = capabilities(Situation { logged_in: true, ..plain });
        assert!(!after.contains("STARTTLS") && after.contains("LITERAL+"), "{after}");
        assert!(after.contains("APPENDLIMIT=5") && !after.contains("LIMIT=7"), "{after}");
        let limited = Situation { messages_per_command: Some(7), logged_in: true, ..plain };
        let after = capabilities(limited);
        assert!(after.contains(" MESSAGELIMIT=7") && !after.contains("SAVELIMIT"), "{after}");
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
            Announced::WhereLimited => "after login, where the operator has set a limit",
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

    /// The table of what mail programs ask for.
    fn habits() -> String {
        use crate::habit::{Cost, HABITS};
        let mut text = String::from(
            "\n## What mail programs ask for by habit, and what is read for it\n\n\
             [server/habits.rs](../imap/tests/server/habits.rs) counts it.\n\n\
             | program | FETCH | read |\n|--|--|--|\n",
        );
        for row in HABITS {
            let read = match row.cost {
                Cost::Rows => "rows".to_owned(),
                Cost::Summaries => "summaries".to_owned(),
                Cost::Messages => format!("messages: {}", row.reason),
            };
            text += &format!("| {} | `{}` | {read} |\n", row.program, row.items);
        }
        text
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
        text += &habits();
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
