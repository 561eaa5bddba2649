//! The grammar, by examples, by random bytes, and against another parser.

use super::*;
use crate::codec::command::{
    AppendMessage, AppendPart, DayTest, FetchItem, ListRequest, LiteralForm, ReturnOptions,
    SearchField, SearchKey, SearchRequest, SectionText, SortCriterion, SortKey, SortOrder, Source,
};
use crate::codec::sequence_set::Bound;
use crate::connection::{Bounds, Connection, Step};

/// Cuts one command out of bytes as a connection does, and parses it.
fn read(bytes: &[u8]) -> Result<Request, Refusal> {
    let mut connection = Connection::default();
    connection.buffer().extend_from_slice(bytes);
    let bounds = Bounds { line_bytes_max: 1 << 16, skip_bytes_max: 1 << 16 };
    loop {
        match connection.step(bounds) {
            Step::Literal(_) => connection.accept(),
            Step::Command(raw) => return parse(&raw.line, &raw.literals),
            step => panic!("no whole command: {step:?}"),
        }
    }
}

fn command_of(text: &str) -> Command {
    match read(format!("a {text}\r\n").as_bytes()) {
        Ok(request) => request.command,
        Err(refusal) => panic!("{text}: {refusal:?}"),
    }
}

fn is_refused(text: &str) -> bool {
    read(format!("a {text}\r\n").as_bytes()).is_err()
}

#[test]
fn every_command_is_understood() {
    for text in ACCEPTED {
        command_of(text);
        let lower = text.split(' ').next().unwrap();
        command_of(&text.replacen(lower, &lower.to_ascii_lowercase(), 1));
    }
}

/// Commands of RFC 3501 and the extensions, as clients send them.
const ACCEPTED: &[&str] = &[
    "CAPABILITY",
    "NOOP",
    "LOGOUT",
    "STARTTLS",
    "AUTHENTICATE PLAIN",
    "AUTHENTICATE plain =",
    "AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=",
    "LOGIN smith sesame",
    "LOGIN \"sm\\\"ith\" {6}\r\nsesame",
    "LOGIN {5+}\r\nsmith {6+}\r\nsesame",
    "ID NIL",
    "ID (\"name\" \"sodr\" \"version\" NIL)",
    "ENABLE CONDSTORE QRESYNC",
    "SELECT INBOX",
    "SELECT \"Entw&APw-rfe\"",
    "EXAMINE ~/Mail/foo",
    "CREATE owatagusiam/",
    "CREATE MySent (USE (\\Sent))",
    "DELETE blurdybloop",
    "RENAME blurdybloop sarasoop",
    "SUBSCRIBE #news.comp.mail.mime",
    "UNSUBSCRIBE x",
    "LIST \"\" *",
    "LIST \"\" \"%\"",
    "LIST ~/Mail/ %",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"INBOX\" \"a%\") RETURN (CHILDREN STATUS (MESSAGES))",
    "LIST (SPECIAL-USE) \"\" *",
    "LIST () \"\" % RETURN ()",
    "LSUB \"#news.\" \"comp.mail.*\"",
    "STATUS blurdybloop (UIDNEXT MESSAGES SIZE HIGHESTMODSEQ MAILBOXID DELETED)",
    "NAMESPACE",
    "STATUS x (APPENDLIMIT)",
    "LANGUAGE",
    "LANGUAGE de \"en-GB\" *",
    "UIDBATCHES 2000",
    "UIDBATCHES 500 1:1",
    "FETCH 1 (SAVEDATE PREVIEW PREVIEW (LAZY) BINARY[] BINARY.PEEK[1.2]<3.4> BINARY.SIZE[1])",
    "APPEND x ~{1}\r\na",
    "APPEND x (\\Seen) UTF8 (~{1+}\r\na) UTF8 (~{1}\r\nb)",
    "APPEND x CATENATE (URL \"/INBOX/;UID=1\" TEXT {1+}\r\na URL {2}\r\n;x UTF8 (~{1+}\r\nb))",
    "REPLACE 3 x (\\Draft) \"01-Jan-1970 00:00:00 +0000\" {1+}\r\na",
    "REPLACE * x CATENATE (TEXT {1+}\r\na)",
    "UID REPLACE 7 x {1+}\r\na",
    "IDLE",
    "CHECK",
    "CLOSE",
    "UNSELECT",
    "EXPUNGE",
    "UID EXPUNGE 3000:3002",
    "SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\"",
    "SEARCH TEXT \"string not in mailbox\"",
    "SEARCH CHARSET UTF-8 TEXT {6}\r\n\u{43c}\u{430}\u{439}",
    "SEARCH OR (1:* UNSEEN) (UID 5,7 KEYWORD $Junk)",
    "SEARCH HEADER Message-ID \"\" LARGER 10 SMALLER 20 SENTON \"3-Mar-2001\" UNKEYWORD a",
    "UID SEARCH ALL",
    "SEARCH RETURN (MIN MAX COUNT) FLAGGED",
    "SEARCH RETURN () CHARSET UTF-8 1:*",
    "UID SEARCH RETURN (SAVE PARTIAL -1:-100) OR $ 3000:3021",
    "SEARCH RETURN (CONTEXT UPDATE ALL) MODSEQ \"/flags/\\\\draft\" all 620162338",
    "SEARCH OLDER 259200 YOUNGER 1 SAVEDBEFORE 1-Jan-2024 SAVEDATESUPPORTED",
    "SEARCH SAVEDON 1-Jan-2024 SAVEDSINCE 2-Jan-2024 EMAILID M6d99 THREADID Tabc_-",
    "SEARCH RETURN (RELEVANCY) FUZZY (SUBJECT \"IMAP break\")",
    "SORT (SUBJECT REVERSE DATE) UTF-8 ALL",
    "UID SORT RETURN (COUNT) (DISPLAYFROM ARRIVAL CC SIZE TO FROM DISPLAYTO) \"us-ascii\" UNSEEN",
    "SORT (RELEVANCY) UTF-8 FUZZY SUBJECT Helo",
    "THREAD ORDEREDSUBJECT UTF-8 SINCE 5-MAR-2000",
    "UID THREAD REFERENCES US-ASCII TEXT \"gewp\"",
    "ESEARCH IN (mailboxes \"folder1\" subtree-one (\"folder2\" x)) RETURN (COUNT) unseen",
    "ESEARCH IN (personal inboxes subscribed selected) ALL",
    "CANCELUPDATE \"B01\" \"B02\"",
    "UID EXPUNGE $",
    "COPY $ Junk",
    "FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])",
    "FETCH 1 BODY.PEEK[4.2.MIME]<0.1024>",
    "FETCH * BODY[1.HEADER.FIELDS.NOT (\"Received\")]",
    "FETCH 1:* ALL",
    "FETCH 1,2 (RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE BODY BODYSTRUCTURE ENVELOPE)",
    "UID FETCH 4827313:4828442 FLAGS",
    "FETCH 1 (MODSEQ EMAILID THREADID BODY[] INTERNALDATE UID)",
    "STORE 2:4 +FLAGS (\\Deleted)",
    "STORE 2:4 -FLAGS.SILENT \\Deleted $Forwarded",
    "UID STORE 7 FLAGS ()",
    "COPY 2:4 MEETING",
    "UID COPY 1:* \"a b\"",
    "MOVE 1 Trash",
    "UID MOVE 1,3:5 Trash",
    "APPEND saved-messages (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {3}\r\nabc",
    "APPEND a {1+}\r\nb (\\Draft $x) {1+}\r\nc {1}\r\nd",
];

#[test]
fn what_is_no_command_is_refused() {
    for (text, reason) in [
        ("", "nothing"),
        ("FROB", "unknown"),
        ("UID FROB", "unknown with UID"),
        ("UID CAPABILITY", "has no form with UID"),
        ("NOOP x", "takes nothing"),
        ("LOGIN smith", "no password"),
        ("LOGIN smith ses ame", "too much"),
        ("LOGIN smith \"sesame", "not closed"),
        ("SELECT", "no name"),
        ("SELECT (a)", "no name"),
        ("FETCH 0 FLAGS", "0 is no number"),
        ("FETCH 1 ()", "no item"),
        ("FETCH 1 FROB", "no item of ours"),
        ("FETCH 1 BODY[MIME]", "MIME needs a part"),
        ("FETCH 1 BODY[]<5>", "no length"),
        ("FETCH 1 BODY[]<5.0>", "no bytes"),
        ("FETCH 1 BODY[0]", "parts count from 1"),
        ("STORE 1 FLAGS (\\Frob)", "no flag of ours"),
        ("STORE 1 FROB (\\Seen)", "nothing to store"),
        ("STATUS x ()", "no item"),
        ("SEARCH", "no key"),
        ("SEARCH NOT", "no key"),
        ("SEARCH ON 30-Feb-2020", "no such day"),
        ("SEARCH FROM", "no text"),
        ("SEARCH RETURN MIN ALL", "options stand in parentheses"),
        ("SEARCH RETURN (FROB) ALL", "no option"),
        ("SEARCH RETURN (ALL PARTIAL 1:2) ALL", "either ALL or PARTIAL"),
        ("SEARCH RETURN (PARTIAL 1:2 PARTIAL 3:4) ALL", "PARTIAL once"),
        ("SEARCH RETURN (PARTIAL 0:2) ALL", "places count from 1"),
        ("SEARCH RETURN (PARTIAL -1:2) ALL", "from one end"),
        ("SEARCH RETURN (PARTIAL 1:*) ALL", "a star is no place"),
        ("SEARCH RETURN (RELEVANCY) ALL", "nothing is fuzzy"),
        ("SEARCH OLDER 0", "no time"),
        ("SEARCH EMAILID a@b", "no id"),
        ("SEARCH MODSEQ \"/flags/x\" 5", "whose entry"),
        ("SEARCH MODSEQ \"/frob/x\" all 5", "no entry of ours"),
        ("SEARCH MODSEQ 9223372036854775808", "2^63"),
        ("SEARCH FUZZY", "no key"),
        ("SORT (DATE) ALL", "no charset before the key"),
        ("SORT () UTF-8 ALL", "no sort key"),
        ("SORT (FROB) UTF-8 ALL", "no sort key of ours"),
        ("SORT (REVERSE) UTF-8 ALL", "reverse what"),
        ("SORT (RELEVANCY) UTF-8 ALL", "nothing is fuzzy"),
        ("THREAD FROB UTF-8 ALL", "no algorithm of ours"),
        ("ESEARCH IN () ALL", "nowhere"),
        ("ESEARCH IN (selected-delayed) ALL", "not here"),
        ("ESEARCH IN (mailboxes) ALL", "which"),
        ("CANCELUPDATE", "no tag"),
        ("CANCELUPDATE b1", "a tag stands in quotes"),
        ("STORE $,1 FLAGS ()", "$ stands alone"),
        ("CREATE x (USE)", "no office"),
        ("LIST (RECURSIVEMATCH) \"\" *", "selects nothing"),
        ("LIST \"\" ()", "no pattern"),
        ("APPEND x", "no message"),
        ("APPEND x \"abc\"", "a message is a literal"),
        ("APPEND x \"1-Feb-2020\" {1}\r\na", "no time"),
    ] {
        assert!(is_refused(text), "{text}: {reason}");
    }
    let deep = format!("SEARCH {}ALL", "NOT ".repeat(2000));
    assert!(is_refused(&deep), "nests too deeply");
    let deep = format!("SEARCH {}ALL", "FUZZY ".repeat(2000));
    assert!(is_refused(&deep), "nests too deeply");
    assert!(is_refused(&format!("SEARCH{}", " 1".repeat(2001))), "too many keys");
    assert!(!is_refused(&format!("SEARCH{}", " 1".repeat(2000))), "as many as there may be");
    let deep = format!("SEARCH {}ALL", "(".repeat(20_000));
    assert!(is_refused(&deep), "nests too deeply");
}

#[test]
fn the_tag_is_known_wherever_one_can_be_read() {
    assert_eq!(read(b"a1 FROB\r\n").unwrap_err().tag.as_deref(), Some("a1"));
    assert_eq!(read(b"+ NOOP\r\n").unwrap_err().tag, None);
    assert_eq!(read(b"\r\n").unwrap_err().tag, None);
    assert_eq!(tag_of(b"x APPEND a {5").as_deref(), Some("x"));
    assert_eq!(name_of(b"x append a {5").as_deref(), Some("APPEND"));
    let name = destination(b"x APPEND \"a b\" (\\Seen) {5}\r\n", &[], NameEncoding::default());
    assert_eq!(name, Some(WireName(b"a b".to_vec())));
    assert_eq!(destination(b"x APPEND {5}\r\n", &[], NameEncoding::default()), None);
}

#[test]
fn items_of_fetch_are_what_was_asked() {
    let Command::Fetch { numbers, set, items, modifier: _ } =
        command_of("UID FETCH 1:* (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (To \"Cc\")]<7.9> FLAGS)")
    else {
        panic!("FETCH is FETCH");
    };
    assert_eq!(numbers, Numbers::Uid);
    assert_eq!(set.ranges, [(Bound::Number(1), Bound::Highest)]);
    assert_eq!(items.len(), 3, "each item once, and UID: {items:?}");
    assert_eq!(items[0], FetchItem::Uid);
    let FetchItem::Section(section) = &items[2] else { panic!("a section") };
    assert!(section.peek);
    assert_eq!(section.partial, Some((7, 9)));
    assert_eq!(section.section.path, [1, 2]);
    let fields = vec![b"To".to_vec(), b"Cc".to_vec()];
    assert_eq!(section.section.text, SectionText::HeaderFields(fields));
}

#[test]
fn keys_of_search_are_what_was_asked() {
    let Command::Search(SearchRequest { charset, key, .. }) =
        command_of("SEARCH CHARSET US-ASCII UNSEEN OR FROM a SENTSINCE 2-Jan-2020 5")
    else {
        panic!("SEARCH is SEARCH");
    };
    assert_eq!(charset.as_deref(), Some(&b"US-ASCII"[..]));
    let SearchKey::And(keys) = key else { panic!("all of them") };
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], SearchKey::Not(Box::new(SearchKey::Flag(SystemFlags::SEEN))));
    let SearchKey::Or(from, sent) = &keys[1] else { panic!("one of them") };
    assert_eq!(**from, SearchKey::Field(SearchField::From, b"a".to_vec()));
    assert!(matches!(**sent, SearchKey::Sent(DayTest::Since, _)));
}

#[test]
fn options_of_searches_are_what_was_asked() {
    let Command::Search(request) = command_of("UID SEARCH RETURN (CONTEXT) ALL") else {
        panic!("SEARCH is SEARCH");
    };
    let all = ReturnOptions { all: true, ..ReturnOptions::default() };
    assert_eq!((request.numbers, request.returns), (Numbers::Uid, Some(all)));
    let Command::Sort { criteria, request } =
        command_of("SORT RETURN (SAVE PARTIAL -5:-2) (REVERSE DATE SUBJECT) UTF-8 UNSEEN")
    else {
        panic!("SORT is SORT");
    };
    let [date, subject] = criteria.as_slice() else { panic!("two") };
    assert_eq!(*date, SortCriterion { key: SortKey::Date, order: SortOrder::Descending });
    assert_eq!(*subject, SortCriterion { key: SortKey::Subject, order: SortOrder::Ascending });
    let options = request.returns.unwrap();
    assert!(options.save && !options.all);
    assert_eq!(options.partial.unwrap().to_string(), "-5:-2");
    let Command::MultiSearch { sources, .. } =
        command_of("ESEARCH IN (selected subtree (a \"b c\")) ALL")
    else {
        panic!("ESEARCH is ESEARCH");
    };
    let names = vec![WireName(b"a".to_vec()), WireName(b"b c".to_vec())];
    assert_eq!(sources, [Source::Selected, Source::Subtree(names)]);
}

#[test]
fn messages_of_append_are_what_was_sent() {
    let Command::Append { messages, .. } =
        command_of("APPEND x (\\Seen a A) \" 1-Jan-1970 00:00:07 +0000\" {1}\r\na {1}\r\nb")
    else {
        panic!("APPEND is APPEND");
    };
    let [first, second] = messages.as_slice() else { panic!("two") };
    assert_eq!(first.flags.system, SystemFlags::SEEN);
    assert_eq!(first.flags.keywords.len(), 1, "a and A are one keyword");
    assert_eq!(first.received.unwrap().0, 7);
    let parts = vec![AppendPart::Text { literal: 1, form: LiteralForm::Plain }];
    let second_expected = AppendMessage { flags: FlagList::default(), received: None, parts };
    assert_eq!(*second, second_expected);
}

#[test]
fn options_of_list_are_what_was_asked() {
    let Command::List(request) =
        command_of("LIST (SUBSCRIBED) \"r\" (a \"b%\") RETURN (SUBSCRIBED STATUS (UNSEEN UNSEEN))")
    else {
        panic!("LIST is LIST");
    };
    let expected = ListRequest {
        reference: WireName(b"r".to_vec()),
        patterns: vec![WireName(b"a".to_vec()), WireName(b"b%".to_vec())],
        select_subscribed: true,
        return_subscribed: true,
        return_status: vec![StatusItem::Unseen],
        extended: true,
        ..ListRequest::default()
    };
    assert_eq!(request, expected);
}

/// What imap-codec does not know, or writes otherwise than we read it.
const NOT_FOR_THE_ORACLE: &[&str] = &[
    "AUTHENTICATE plain =",
    "LOGIN {5+}",
    "ENABLE",
    "CREATE MySent",
    "LIST (",
    "LIST ()",
    "STATUS blurdybloop",
    "MOVE",
    "UID MOVE",
    "UNSELECT",
    "UID EXPUNGE",
    "FETCH 1 (MODSEQ",
    "APPEND a {1+}",
    "ID ",
];

#[test]
fn what_another_parser_accepts_we_accept() {
    use imap_codec::CommandCodec;
    use imap_codec::decode::Decoder;
    let mut agreed = 0;
    for text in ACCEPTED {
        let bytes = format!("a {text}\r\n");
        let theirs = CommandCodec::default().decode(bytes.as_bytes());
        if NOT_FOR_THE_ORACLE.iter().any(|start| text.starts_with(start)) {
            continue;
        }
        if theirs.is_ok() {
            agreed += 1;
        }
        assert!(read(bytes.as_bytes()).is_ok() || theirs.is_err(), "{text}");
    }
    assert!(agreed > 30, "the oracle understands most of them: {agreed}");
}

/// Random commands out of the words of the grammar: some valid, most not.
fn random_command() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let word = proptest::sample::select(
        "FETCH STORE SEARCH UID LIST STATUS APPEND LOGIN SELECT COPY 1 2:* 1,3 ( ) (\\Seen) FLAGS \
         +FLAGS ALL NOT OR SINCE 1-Feb-1994 \"a\\\"b\" {2}\r\nab INBOX \"\" % * BODY[] BODY[TEXT] \
         BODY.PEEK[1.MIME]<0.5> ENVELOPE FROM x (MESSAGES) NIL CHARSET UTF-8"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    proptest::collection::vec(word, 1..9).prop_map(|words| words.join(" "))
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(3000))]

    #[test]
    fn we_accept_all_that_another_parser_accepts(text in random_command()) {
        use imap_codec::CommandCodec;
        use imap_codec::decode::Decoder;
        let bytes = format!("a {text}\r\n");
        if CommandCodec::default().decode(bytes.as_bytes()).is_ok() {
            let ours = read(bytes.as_bytes());
            proptest::prop_assert!(ours.is_ok(), "{bytes:?} {ours:?}");
        }
    }

    #[test]
    fn no_line_panics(line: Vec<u8>, literals: Vec<Vec<u8>>, text in random_command()) {
        let _ = parse(&line, &literals);
        let _ = parse(format!("a {text}").as_bytes(), &literals);
        let _ = destination(&line, &literals, NameEncoding::default());
    }
}
