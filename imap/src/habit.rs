//! What mail programs ask of every message when they show a mailbox, and what it costs us.
//!
//! `tests/server/habits.rs` counts what each row opens, and `docs/imap.md` shows the table. A row
//! that opens messages does so because of a header field that no summary keeps
//! (`engine/src/message/summary.rs`), or because it asks for bodies.

/// What has to be read for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    /// The mailbox's rows.
    Rows,
    /// The summary of each message, too.
    Summaries,
    /// Each message's blob, too.
    Messages,
}

/// A habit of a mail program.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// The program.
    pub program: &'static str,
    /// The items of its FETCH.
    pub items: &'static str,
    /// What has to be read.
    pub cost: Cost,
    /// Why that is, where messages are opened.
    pub reason: &'static str,
}

const fn habit(program: &'static str, items: &'static str, cost: Cost) -> Habit {
    Habit { program, items, cost, reason: "" }
}

/// A habit that opens messages.
const fn opens(program: &'static str, items: &'static str, reason: &'static str) -> Habit {
    Habit { program, items, cost: Cost::Messages, reason }
}

/// Habits, as the programs' sources and recorded sessions have them.
pub const HABITS: &[Habit] = &[
    habit("Thunderbird, state", "(FLAGS)", Cost::Rows),
    habit(
        "Thunderbird, list",
        "(UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date Message-ID \
         Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])",
        Cost::Summaries,
    ),
    opens("Thunderbird, a message", "(UID RFC822.SIZE BODY.PEEK[])", "the body"),
    habit("Apple Mail, state", "(UID FLAGS MODSEQ)", Cost::Rows),
    opens(
        "Apple Mail, list",
        "(INTERNALDATE UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (date subject from to cc \
         message-id in-reply-to references content-type x-priority x-uniform-type-identifier \
         x-universally-unique-identifier list-id list-unsubscribe bimi-indicator bimi-location \
         x-bimi-indicator-hash authentication-results dkim-signature)])",
        "X-Uniform-Type-Identifier, X-Universally-Unique-Identifier, BIMI-Indicator, \
         BIMI-Location, X-BIMI-Indicator-Hash, DKIM-Signature",
    ),
    habit("Apple Mail, structure", "(UID BODYSTRUCTURE)", Cost::Summaries),
    habit("Outlook, state", "(UID FLAGS)", Cost::Rows),
    opens(
        "Outlook, list",
        "(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER] INTERNALDATE)",
        "the whole header",
    ),
    habit("K-9 and Thunderbird for Android, state", "(UID FLAGS)", Cost::Rows),
    habit(
        "K-9 and Thunderbird for Android, list",
        "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (date subject from \
         content-type to cc reply-to message-id references in-reply-to list-unsubscribe sender \
         X-K9mail-Identity Chat-Version)])",
        Cost::Summaries,
    ),
    habit("K-9 and Thunderbird for Android, structure", "(UID BODYSTRUCTURE)", Cost::Summaries),
    habit(
        "mutt and NeoMutt, list",
        "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM SENDER SUBJECT \
         TO CC MESSAGE-ID REFERENCES CONTENT-TYPE CONTENT-DESCRIPTION IN-REPLY-TO REPLY-TO LINES \
         LIST-POST X-LABEL X-ORIGINAL-TO)])",
        Cost::Summaries,
    ),
    habit("mbsync, state", "(UID FLAGS)", Cost::Rows),
    habit(
        "mbsync, after a lost journal",
        "(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Message-Id)])",
        Cost::Summaries,
    ),
    habit("mbsync, new messages", "(UID BODY.PEEK[HEADER.FIELDS (X-TUID)])", Cost::Summaries),
    habit("offlineimap, state", "(FLAGS UID INTERNALDATE)", Cost::Rows),
    habit("imapsync, state", "(UID FLAGS INTERNALDATE RFC822.SIZE)", Cost::Rows),
    opens("imapsync, identity", "(UID BODY.PEEK[HEADER.FIELDS (Message-Id Received)])", "Received"),
    habit(
        "Roundcube, list",
        "(UID RFC822.SIZE FLAGS INTERNALDATE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (DATE FROM TO \
         SUBJECT CONTENT-TYPE CC REPLY-TO LIST-POST DISPOSITION-NOTIFICATION-TO X-PRIORITY)])",
        Cost::Summaries,
    ),
    habit(
        "Roundcube, a message",
        "(UID RFC822.SIZE FLAGS INTERNALDATE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (DATE FROM TO \
         SUBJECT CONTENT-TYPE CC REPLY-TO LIST-POST DISPOSITION-NOTIFICATION-TO X-PRIORITY \
         REFERENCES IN-REPLY-TO BCC SENDER MESSAGE-ID CONTENT-TRANSFER-ENCODING X-DRAFT-INFO \
         MAIL-FOLLOWUP-TO MAIL-REPLY-TO RETURN-PATH)])",
        Cost::Summaries,
    ),
    habit(
        "many libraries, list",
        "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
        Cost::Summaries,
    ),
    habit("new programs, list", "(UID PREVIEW (LAZY) SAVEDATE EMAILID THREADID)", Cost::Summaries),
];
