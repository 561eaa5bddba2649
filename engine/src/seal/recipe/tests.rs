//! Folding gives back what it took: by hand, by chance, and over the whole corpus.

use proptest::prelude::*;

use super::{fold, unfold};

/// As a mailer writes it: lines of so many characters.
pub(in crate::seal) fn base64(bytes: &[u8], characters: usize, line_end: &str) -> String {
    const LETTERS: &[u8] = super::ALPHABET;
    let mut letters = String::new();
    for triple in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..triple.len()].copy_from_slice(triple);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            letters.push(if place > triple.len() { '=' } else { char::from(letter) });
        }
    }
    let lines: Vec<&str> =
        letters.as_bytes().chunks(characters).map(|line| str::from_utf8(line).unwrap()).collect();
    lines.join(line_end)
}

fn bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    blake3::Hasher::new().update(b"recipe").finalize_xof().fill(&mut bytes);
    bytes
}

/// Folded bytes of a text, which unfold to it.
fn folded(plain: &[u8]) -> Option<usize> {
    let folded = fold(plain)?;
    let mut again = b"before".to_vec();
    unfold(&folded, plain.len(), &mut again).unwrap();
    assert!(again == [b"before", plain].concat(), "{:?}", plain.escape_ascii().to_string());
    Some(folded.len())
}

#[test]
fn base64_of_every_shape_is_found_and_comes_back() {
    let table = [
        (900, 76, "\r\n", "lines of MIME"),
        (901, 76, "\r\n", "padded twice"),
        (902, 76, "\n", "padded once, bare line feeds"),
        (57 * 4, 76, "\r\n", "its last line is full"),
        (57 * 4 - 1, 76, "\r\n", "its last line is full and padded"),
        (900, 64, "\r\n", "lines of PGP and PEM"),
        (900, 4096, "\r\n", "all in one line"),
        (901, 4096, "\r\n", "all in one line, padded"),
        (48, 76, "\r\n", "one short line"),
    ];
    for (count, characters, line_end, reason) in table {
        let text = base64(&bytes(count), characters, line_end);
        for (before, after) in [("", ""), ("To: anna\r\n\r\n", "\r\n--x--\r\n"), ("\n", "\n")] {
            let whole = format!("{before}{text}{after}");
            let length = folded(whole.as_bytes()).unwrap_or_else(|| panic!("{reason}: not found"));
            assert!(length <= before.len() + count + after.len() + 8, "{reason}: {length}");
        }
    }
}

#[test]
fn what_would_not_come_back_stays_text() {
    let lines = base64(&bytes(301), 76, "\r\n");
    let whole = folded(lines.as_bytes()).unwrap();
    let table = [
        (lines.replace("==", "=\r\n="), "padding over two lines"),
        (lines.replace("==", "==="), "too much padding"),
        (lines.replace("==", ""), "padding left out"),
        (lines.replace("\r\n", " \r\n"), "blanks at line ends"),
        (lines.replacen("\r\n", "\n", 1), "two kinds of line ends"),
        (lines.replacen('A', "-", 1), "the alphabet of URLs"),
        ("QR==\r\n".repeat(80), "bits that no encoder sets"),
        ("a line of text\r\n".repeat(40), "text"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(40), "lines of 41 letters"),
    ];
    for (text, reason) in table {
        let length = folded(text.as_bytes()).unwrap_or(text.len());
        assert!(length >= whole, "{reason}: nobody knows it from what is as it should be");
    }
}

#[test]
fn bits_that_no_encoder_sets_stay_text_and_the_run_before_them_is_found() {
    for last in ["QR==\r\n", "QUJ=\r\n"] {
        let text = format!("{}{last}", format!("{}\r\n", "A".repeat(76)).repeat(4));
        assert!(folded(text.as_bytes()).is_some(), "{last}: the run was lost with its last quad");
        assert!(fold(text.as_bytes()).unwrap().ends_with(last.as_bytes()), "{last}");
    }
}

#[test]
fn a_recipe_that_does_not_fit_is_an_error() {
    let table: [(&[u8], &str); 10] = [
        (b"", "nothing"),
        (b"\x00", "no run"),
        (b"\xff\xff\xff\x7f", "too many runs"),
        (b"\x01\x00\x03\x04", "cut short"),
        (b"\x01\x00\x03\x04\x02abc", "a line end of no kind"),
        (b"\x01\x00\x03\x00\x00abc", "lines of nothing"),
        (b"\x01\x00\x03\x05\x00abc", "lines of five characters"),
        (b"\x01\x00\x04\x04\x00abc", "more bytes than there are"),
        (b"\x01\x00\x03\x04\x00abcd", "text behind, longer than the chunk"),
        (b"\x01\xff\xff\xff\xff\xff\x01\x03\x04\x00abc", "a number of too many bytes"),
    ];
    for (folded, reason) in table {
        let mut out = b"before".to_vec();
        assert!(unfold(folded, 4, &mut out).is_err(), "{reason}");
        assert_eq!(out, b"before", "{reason}");
    }
    let mut out = Vec::new();
    unfold(b"\x01\x00\x03\x04\x00abc", 4, &mut out).unwrap();
    assert_eq!(out, b"YWJj");
}

/// Text and base64 of any shape, one behind the other.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop_oneof![Just("\r\n"), Just("\n"), Just("\r")];
    let run = (0..400_usize, prop_oneof![Just(76), Just(64), 1..200_usize], ends)
        .prop_map(|(count, characters, line_end)| base64(&bytes(count), characters, line_end));
    let text = prop_oneof!["[ -~]{0,90}\r\n", "[A-Za-z0-9+/=\r\n]{0,400}", "\r\n--[a-z]{3}\r\n"];
    prop::collection::vec(prop_oneof![run, text.prop_map(String::from)], 0..12)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn generated_mail_comes_back_wherever_a_chunk_is_cut(
        mut plain in pieces(),
        at in 0..3000_usize,
        changed in 0..3000_usize,
        letter in "[A-Za-z0-9+/=]",
    ) {
        folded(&plain);
        if let Some(byte) = plain.get_mut(changed) {
            *byte = letter.as_bytes()[0];
        }
        folded(&plain);
        let (front, back) = plain.split_at(at.min(plain.len()));
        folded(front);
        folded(back);
    }

    #[test]
    fn any_recipe_unfolds_or_is_an_error(
        folded in prop::collection::vec(any::<u8>(), 0..60),
        plain_len in 0..200_usize,
    ) {
        let mut out = Vec::new();
        let unfolded = unfold(&folded, plain_len, &mut out);
        prop_assert_eq!(out.len(), if unfolded.is_ok() { plain_len } else { 0 });
    }
}
