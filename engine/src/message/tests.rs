//! What holds for every message, well-formed or not.

use proptest::prelude::*;

use super::fuzzing::reads_alike;
use super::generator::Generator;
use super::section::{FieldChoice, FieldNames, SectionText, header_fields, part, section};
use super::text::SearchText;
use super::*;
use crate::limits::{MIME_DEPTH_MAX, MIME_PARTS_MAX};

/// Checks invariants 1 to 3 of the module.
fn check(message: &[u8]) -> Summary {
    let summary = Summary::parse(message);
    let root = &summary.structure;
    assert_eq!(usize::try_from(root.end_offset).unwrap(), message.len());
    assert_eq!(root.header_offset, 0);
    check_part(message, root);
    let bytes = summary.encode();
    assert_eq!(Summary::decode(&bytes).as_ref(), Ok(&summary));
    reads_alike(&bytes).unwrap();
    SearchText::new(message, root);
    summary
}

fn check_part(message: &[u8], part: &Part) {
    assert!(part.header_offset <= part.body_offset && part.body_offset <= part.end_offset);
    for text in [&part.media_type, &part.media_subtype, &part.encoding] {
        assert!(!text.is_empty() && !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    let inner: &[Part] = match &part.kind {
        BodyKind::Leaf => &[],
        BodyKind::Multipart(parts) => parts,
        BodyKind::Message(_, inner) => std::slice::from_ref(inner),
    };
    assert!(part.kind == BodyKind::Leaf || !inner.is_empty());
    if part.media_type.eq_ignore_ascii_case(b"text") || matches!(part.kind, BodyKind::Message(..)) {
        let [from, to] = [part.body_offset, part.end_offset].map(|at| usize::try_from(at).unwrap());
        let lines = message[from..to].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(usize::try_from(part.line_count).unwrap(), lines, "lines of {part:?}");
    }
    let mut from = part.body_offset;
    for inner in inner {
        assert!(from <= inner.header_offset, "parts lie one behind the other");
        assert!(inner.end_offset <= part.end_offset, "parts lie in their parent");
        check_part(message, inner);
        from = inner.end_offset;
    }
}

fn bytes<'a>(message: &'a str, path: &[u32], text: SectionText) -> Option<&'a str> {
    let summary = reads_alike(&Summary::parse(message.as_bytes()).encode()).unwrap();
    let range = section(summary.structure(), path, text)?;
    let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    Some(&message[range])
}

const NESTED: &str = "From: a@b\r\nContent-Type: multipart/mixed; boundary=ab\r\n\r\npreamble\r\n\
    --ab\r\nX: 1\r\n\r\none\r\n--abc is text\r\n\r\n--ab\r\nContent-Type: message/rfc822\r\n\r\n\
    Subject: in\r\nContent-Type: multipart/mixed; boundary=abcd\r\n\r\n--abcd\r\n\r\nin one\r\n\
    --abcd\r\nContent-Type: text/html\r\n\r\nin two\r\n--abcd--\r\nepilogue\r\n--ab--\r\nend\r\n";

#[test]
fn sections_are_the_bytes_that_the_rfc_means() {
    use SectionText::{Header, Mime, Text, Whole};
    let inner = "Subject: in\r\nContent-Type: multipart/mixed; boundary=abcd\r\n\r\n";
    let inner_text = "--abcd\r\n\r\nin one\r\n--abcd\r\nContent-Type: text/html\r\n\r\nin two\r\n\
        --abcd--\r\nepilogue";
    let rfc822 = "Content-Type: message/rfc822\r\n\r\n";
    let whole = format!("{inner}{inner_text}");
    // "--abc is text" begins with "--ab": RFC 2046 lets it be a boundary, and so do we.
    let table: &[(&[u32], SectionText, Option<&str>, &str)] = &[
        (&[], Whole, Some(NESTED), "whole message"),
        (&[], Mime, None, "MIME wants a part"),
        (&[1], Whole, Some("one"), "first part"),
        (&[1], Mime, Some("X: 1\r\n\r\n"), "its header"),
        (&[1], Header, None, "HEADER of what is no message"),
        (&[1, 1], Whole, None, "a leaf has no part 1"),
        (&[3], Whole, Some(&whole), "a message's body is the whole message"),
        (&[3], Mime, Some(rfc822), "MIME of a message part"),
        (&[3], Header, Some(inner), "HEADER of a message part"),
        (&[3], Text, Some(inner_text), "TEXT of a message part"),
        (&[3, 1], Whole, Some("in one"), "part of a nested multipart"),
        (&[3, 2], Whole, Some("in two"), "last part of a nested multipart"),
        (&[3, 2], Mime, Some("Content-Type: text/html\r\n\r\n"), "its header"),
        (&[3, 3], Whole, None, "no such part"),
        (&[0], Whole, None, "numbers begin at 1"),
        (&[4], Whole, None, "no such part"),
    ];
    for (path, text, expected, reason) in table {
        assert_eq!(bytes(NESTED, path, *text), *expected, "{reason}: {path:?} {text:?}");
    }
    let plain = "Subject: x\r\n\r\nbody\r\n";
    assert_eq!(bytes(plain, &[1], Whole), Some("body\r\n"));
    assert_eq!(bytes(plain, &[1], Mime), Some("Subject: x\r\n\r\n"));
    assert_eq!(bytes(plain, &[1, 1], Whole), None);
    assert_eq!(bytes(plain, &[], Header), Some("Subject: x\r\n\r\n"));
    assert_eq!(bytes(plain, &[], Text), Some("body\r\n"));
    check(NESTED.as_bytes());
}

#[test]
fn broken_multiparts_show_their_text() {
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let table = [
        (
            format!("{head}--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n"),
            vec!["one", "two\r\n"],
            "not closed",
        ),
        (format!("{head}no parts\r\n"), vec!["no parts\r\n"], "no boundary line"),
        ("Content-Type: multipart/mixed\r\n\r\nx".to_owned(), vec!["x"], "no boundary name"),
        (format!("{head}--b\r\n--b\r\n--b--\r\n"), vec!["", ""], "empty parts"),
        (format!("{head}--b\r\nX: y\r\n--b--\r\n"), vec![""], "a header without its end"),
        (format!("{head}--b--\r\ntext"), vec!["--b--\r\ntext"], "closed before it began"),
        (format!("{head}--b\r\n\r\none\r\n--b"), vec!["one"], "an open boundary at the end"),
        (
            format!("{head}--b  \r\n\r\none\r\n--b-- \r\n"),
            vec!["one"],
            "blanks behind the boundary",
        ),
    ];
    for (message, parts, reason) in table {
        for (at, expected) in (1..).zip(&parts) {
            assert_eq!(
                bytes(&message, &[at], SectionText::Whole),
                Some(*expected),
                "{reason} {at}"
            );
        }
        let next = u32::try_from(parts.len()).unwrap() + 1;
        assert_eq!(bytes(&message, &[next], SectionText::Whole), None, "{reason}");
        check(message.as_bytes());
        let unix = message.replace("\r\n", "\n");
        for (at, expected) in (1..).zip(&parts) {
            let expected = expected.replace("\r\n", "\n");
            assert_eq!(
                bytes(&unix, &[at], SectionText::Whole),
                Some(expected.as_str()),
                "{reason}"
            );
        }
    }
}

#[test]
fn ten_thousand_levels_are_cut_at_the_limit() {
    let mut message = String::new();
    for level in 0..10_000 {
        message +=
            &format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    }
    let summary = check(message.as_bytes());
    let (mut depth, mut part) = (1, &summary.structure);
    while let BodyKind::Multipart(parts) = &part.kind {
        (depth, part) = (depth + 1, &parts[0]);
    }
    assert_eq!(depth, MIME_DEPTH_MAX + 1);
    assert_eq!(part.media_subtype, b"octet-stream");
    let message = "Content-Type: message/rfc822\r\n\r\n".repeat(10_000);
    check(message.as_bytes());
}

#[test]
fn parts_beyond_the_limit_belong_to_the_last() {
    let mut message = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned();
    message += &"--b\r\n\r\nx\r\n".repeat(MIME_PARTS_MAX + 100);
    let summary = check(message.as_bytes());
    let BodyKind::Multipart(parts) = &summary.structure.kind else { panic!("no multipart") };
    let stored = reads_alike(&summary.encode()).unwrap();
    assert_eq!(parts.len() + 1, MIME_PARTS_MAX);
    assert!(part(stored.structure(), &[9999]).unwrap().line_count > 300);
}

#[test]
fn huge_headers_are_cut_but_stay_readable() {
    let long = format!("Subject: {}\r\nTo: a@b\r\n\r\nx", "s".repeat(10 << 20));
    let summary = check(long.as_bytes());
    assert_eq!(summary.envelope.subject.as_ref().unwrap().len(), FIELD_BYTES_MAX);
    assert_eq!(summary.envelope.to[0].host.as_deref(), Some(&b"b"[..]));
    assert_eq!(summary.common_header_fields(&["To"]), None, "not all fields were kept");
    assert!(summary.encode().len() < 64 << 10);
    let many = format!("{}\r\nx", "To: \"n\" <a@b>, c@d\r\nX: y\r\n".repeat(200_000));
    let summary = check(many.as_bytes());
    assert!(summary.envelope.to.len() <= ADDRESSES_MAX);
    assert!(summary.encode().len() < 1 << 20);
}

#[test]
fn an_envelope_has_defaults_and_its_preview_is_text() {
    let message = "Date: 1 Jan 2026 10:00:00 +0100\r\nFrom: =?utf-8?Q?=C3=84?= <a@b>\r\n\
        Subject: Re: folded\r\n subject\r\nMessage-ID: <1@x>\r\nContent-Type: text/html\r\n\r\n\
        <style>p{}</style><p>Hello&nbsp;<b>world</b></p>\r\n";
    let summary = check(message.as_bytes());
    let envelope = &summary.envelope;
    assert_eq!(envelope.sender, envelope.from);
    assert_eq!(envelope.reply_to, envelope.from);
    assert_eq!(envelope.from[0].name.as_deref(), Some(&b"=?utf-8?Q?=C3=84?="[..]));
    assert_eq!(envelope.subject.as_deref(), Some(&b"Re: folded subject"[..]));
    assert_eq!(summary.base_subject, "folded subject");
    assert_eq!(summary.preview, "Hello world");
    assert_eq!(summary.sent, Some(1_767_258_000));
    let day = summary.sent_date.unwrap();
    assert_eq!((day.year, day.month, day.day), (2026, 1, 1));
    let kept = summary.common_header_fields(&["subject", "X-Spam-Flag"]).unwrap();
    assert_eq!(kept, b"Subject: Re: folded\r\n subject\r\n\r\n");
    assert_eq!(summary.common_header_fields(&["DKIM-Signature"]), None);
    let chosen = header_fields(message.as_bytes(), &["Date", "FROM"], FieldChoice::Except);
    assert!(chosen.starts_with(b"Subject: Re") && chosen.ends_with(b"text/html\r\n\r\n"));
}

/// Summaries in the log stay as they were made: what an earlier parser did not keep is not told to
/// be missing, but looked for in the message.
#[test]
fn a_summary_does_not_answer_for_fields_that_its_parser_did_not_keep() {
    let message = b"Subject: a\r\nX-TUID: b\r\n\r\nx";
    let mut summary = check(message);
    let chosen = |summary: &Summary, names: &[&str]| {
        let by_tree = summary.common_header_fields(names);
        let stored = StoredSummary::of(&summary.encode()).unwrap();
        assert_eq!(FieldNames::new(names).chosen_of_summary(&stored), by_tree, "{names:?}");
        by_tree
    };
    assert_eq!(chosen(&summary, &["x-tuid"]).unwrap(), b"X-TUID: b\r\n\r\n");
    summary.parser_version = 1;
    summary.common_headers = b"Subject: a\r\n".to_vec();
    assert_eq!(chosen(&summary, &["x-tuid"]), None);
    assert_eq!(chosen(&summary, &["subject", "X-Label"]), None);
    assert_eq!(chosen(&summary, &["subject"]).unwrap(), b"Subject: a\r\n\r\n");
}

#[test]
fn a_generator_repeats_itself() {
    let (mut one, mut other) = (Generator::new(7), Generator::new(7));
    for _ in 0..50 {
        let message = one.message(4000);
        assert_eq!(message, other.message(4000));
        let summary = check(&message);
        assert!(summary.sent.is_some() && !summary.envelope.from.is_empty());
        assert!(!summary.preview.is_empty(), "{}", String::from_utf8_lossy(&message));
    }
}

/// What format 1 looks like. `PILLARBOX_BLESS=1` writes the file anew; a commit that does so says
/// why.
#[test]
fn format_1_is_what_it_was() {
    let message = "Date: Tue, 3 Mar 2026 10:00:00 +0100\r\nFrom: \"Ann, B\" <a@b.example>\r\n\
        Reply-To: c@d.example\r\nTo: friends: e@f.example;\r\nSubject: Re: Harbour\r\n\
        Message-ID: <2@b.example>\r\nReferences: <0@x> <1@x>\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello harbour\r\n--b\r\n\
        Content-Type: message/rfc822\r\nContent-Language: en, de\r\n\r\nSubject: Inner\r\n\r\n\
        Text\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <i@x>\r\nContent-MD5: aaaa\r\n\
        Content-Description: A picture\r\nContent-Location: here\r\n\
        Content-Disposition: attachment; filename=p.png\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/summary_1.bin");
    // Of the first parser, which kept the same of this message.
    let summary = Summary { parser_version: 1, ..check(message.as_bytes()) };
    if std::env::var_os("PILLARBOX_BLESS").is_some() {
        std::fs::write(path, summary.encode()).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(golden, summary.encode());
    assert_eq!(Summary::decode(&golden), Ok(summary));
}

proptest! {
    #[test]
    fn any_bytes_have_a_summary(message in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&message);
    }

    #[test]
    fn odd_mail_has_a_summary(
        lines in proptest::collection::vec(prop::sample::select(vec![
            "Content-Type: multipart/mixed; boundary=a",
            "Content-Type: multipart/digest; boundary=ab",
            "Content-Type: message/rfc822", "Content-Type: text/html", "", "", "", "--a", "--a--",
            "--ab", "--ab--", "--", "--abc", " folded", "text", "Content-Type: multipart/mixed",
            "Content-Transfer-Encoding: base64", "From: x: a@b, c;", "Content-Type: ;boundary",
            "Content-Disposition: attachment; filename*0*=x", "Subject: =?utf-8?Q?=", "\0\r", ":",
        ]), 0..40),
        end in prop::sample::select(vec!["\r\n", "\n"]),
    ) {
        check(lines.join(end).as_bytes());
        let head = format!("Content-Type: multipart/x; boundary=a{end}{end}");
        check(format!("{head}{}", lines.join(end)).as_bytes());
    }

    #[test]
    fn damaged_mail_has_a_summary(
        seed in any::<u64>(),
        at in any::<prop::sample::Index>(),
        cut in 0_usize..200,
        byte in any::<u8>(),
    ) {
        let mut message = Generator::new(seed).message(2000);
        let at = at.index(message.len());
        message[at] = byte;
        check(&message);
        message.drain(at..(at + cut).min(message.len()));
        check(&message);
    }

    #[test]
    fn any_bytes_decode_or_not(stored in proptest::collection::vec(any::<u8>(), 0..300)) {
        reads_alike(&stored);
    }

    #[test]
    fn damaged_summaries_decode_or_not(
        seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut stored = Summary::parse(&Generator::new(seed).message(2000)).encode();
        let at = at.index(stored.len());
        prop_assert!(Summary::decode(&stored[..at]).is_err());
        stored[at] = byte;
        reads_alike(&stored);
        if let Ok(summary) = Summary::decode(&stored) {
            prop_assert_eq!(Summary::decode(&summary.encode()), Ok(summary));
        }
    }
}
