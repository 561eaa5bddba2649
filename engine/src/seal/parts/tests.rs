//! A message without its parts comes back from its chunks, wherever it is cut.

use proptest::prelude::*;

use super::super::recipe::tests::base64;
use super::*;

fn bytes(count: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; count];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn find(message: &[u8]) -> MessageParts {
    MessageParts::find(message, &|bytes| PartHash(blake3::hash(bytes).into()))
}

/// Folds and unfolds the chunks of a message; answers the bytes of what was folded.
fn fold_all(message: &[u8], chunk_len: usize) -> usize {
    let found = find(message);
    let mut length = 0;
    for (index, chunk) in message.chunks(chunk_len).enumerate() {
        let Some(folded) = fold(chunk, index * chunk_len, &found) else {
            length += chunk.len();
            continue;
        };
        let mut again = b"before".to_vec();
        unfold(&folded, chunk.len(), &mut &found, &mut again).unwrap();
        assert!(again == [b"before", chunk].concat(), "chunk {index} of {chunk_len}");
        length += folded.len();
    }
    length
}

#[test]
fn the_same_attachment_is_the_same_part_wherever_it_begins_and_whatever_its_lines_are() {
    let attachment = bytes(50_001, 1);
    let table = [
        ("", 76, "\r\n", "at the begin"),
        ("To: anna\r\n\r\nhello\r\n", 76, "\r\n", "behind text"),
        ("a\n", 60, "\n", "with other lines"),
        ("a\r\n", 400, "\r\n", "with long lines"),
    ];
    for (before, characters, line_end, reason) in table {
        let text = base64(&attachment, characters, line_end);
        let message = format!("{before}{text}{line_end}--x--{line_end}");
        let found = find(message.as_bytes());
        assert_eq!(found.parts().len(), 1, "{reason}");
        assert!(found.parts()[0].bytes == attachment, "{reason}");
        for chunk_len in [1_000, 4_096, 65_536] {
            let length = fold_all(message.as_bytes(), chunk_len);
            let chunks = message.len() / chunk_len + 1;
            assert!(length < chunks * 60 + 500, "{reason}: {length} in chunks of {chunk_len}");
        }
    }
}

#[test]
fn a_chunk_may_be_cut_at_any_character() {
    for count in [PART_BYTES_MIN, PART_BYTES_MIN + 1, PART_BYTES_MIN + 2] {
        let text = base64(&bytes(count, 2), 76, "\r\n");
        let message = format!("Subject: x\r\n\r\n{text}\r\nend\r\n").into_bytes();
        let found = find(&message);
        assert_eq!(found.parts().len(), 1);
        for cut in (0..400).chain(message.len() - 600..message.len()) {
            for (chunk, start) in [(&message[..cut], 0), (&message[cut..], cut)] {
                let Some(folded) = fold(chunk, start, &found) else {
                    assert!(chunk.len() < 700, "nothing is found from {start} on");
                    continue;
                };
                let mut again = Vec::new();
                unfold(&folded, chunk.len(), &mut &found, &mut again).unwrap();
                assert!(again == chunk, "cut at {cut}");
            }
        }
    }
}

#[test]
fn what_is_short_or_no_base64_is_no_part_and_what_is_twice_is_one() {
    let short = base64(&bytes(PART_BYTES_MIN - 1, 3), 76, "\r\n");
    assert!(find(short.as_bytes()).parts().is_empty());
    assert!(find(&b"a line of text\r\n".repeat(4000)).parts().is_empty());
    let one_line = base64(&bytes(PART_BYTES_MIN, 3), usize::MAX, "\r\n");
    assert!(find(one_line.as_bytes()).parts().is_empty(), "no reader takes so long a line");
    let part = base64(&bytes(PART_BYTES_MIN, 3), 76, "\r\n");
    let small = base64(&bytes(900, 4), 76, "\r\n");
    let message = format!("{part}\r\n--x\r\n{small}\r\n--x\r\n{part}\r\n--x--\r\n");
    let found = find(message.as_bytes());
    assert_eq!((found.parts().len(), found.places.len()), (1, 2));
    let length = fold_all(message.as_bytes(), 1 << 20);
    assert!(length < 900 + 100, "the small one is decoded: {length}");
}

#[test]
fn a_recipe_that_does_not_fit_is_an_error() {
    let hash = [7; 32];
    let with = |rest: &[u8]| [b"\x01".as_slice(), &hash, rest].concat();
    let table = [
        (Vec::new(), "nothing"),
        (b"\x00".to_vec(), "no part"),
        (with(b"\x00"), "no run"),
        (with(b"\x01\x00\x04\x04\x00\x00\x04"), "a run of no kind"),
        (with(b"\x01\x00\x02\x05\x00\x00\x04"), "lines of five characters"),
        (with(b"\x01\x00\x02\x04\x01\x00\x04"), "a part that is not named"),
        (with(b"\x01\x00\x02\x04\x00\x00\x05"), "more than the chunk has"),
        (with(b"\x01\x00\x02\xf8\x0f\x00\x00\x04"), "lines of 2040 characters"),
        (with(b"\x01\x00\x02\x04\x00\xff\xff\xff\x7f\x04"), "beyond the end of the part"),
    ];
    let mut source = find(base64(&bytes(PART_BYTES_MIN, 3), 76, "\r\n").as_bytes());
    source.parts[0].hash = PartHash(hash);
    for (folded, reason) in table {
        let mut out = b"before".to_vec();
        assert!(unfold(&folded, 4, &mut &source, &mut out).is_err(), "{reason}");
        assert_eq!(out, b"before", "{reason}");
    }
    let mut out = Vec::new();
    let folded = with(b"\x01\x00\x02\x04\x00\x06\x04");
    unfold(&folded, 4, &mut &source, &mut out).unwrap();
    assert_eq!(out, base64(&source.parts[0].bytes[3..6], 76, "").as_bytes());
    assert!(unfold(&folded, 4, &mut NoParts, &mut Vec::new()) == Err(SealError::NoPart));
}

/// Text, parts and short runs, one behind the other.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop_oneof![Just("\r\n"), Just("\n")];
    let run = (0..40_000_usize, 0..3_u8, prop_oneof![Just(76), Just(64), 1..1200_usize], ends)
        .prop_map(|(count, seed, characters, line_end)| {
            base64(&bytes(count, seed), characters, line_end)
        });
    let text = prop_oneof!["[ -~]{0,90}\r\n", "[A-Za-z0-9+/=\r\n]{0,400}", "\r\n--[a-z]{3}\r\n"];
    prop::collection::vec(prop_oneof![run, text.prop_map(String::from)], 0..8)
        .prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn generated_mail_comes_back_whatever_a_chunk_is_long(
        mut message in message(),
        chunk_len in prop_oneof![200..3000_usize, 3000..70_000_usize],
        changed in any::<prop::sample::Index>(),
        letter in "[A-Za-z0-9+/=]",
    ) {
        fold_all(&message, chunk_len);
        if !message.is_empty() {
            let changed = changed.index(message.len());
            message[changed] = letter.as_bytes()[0];
        }
        fold_all(&message, chunk_len);
    }

    #[test]
    fn any_recipe_unfolds_or_is_an_error(
        rest in prop::collection::vec(any::<u8>(), 0..60),
        plain_len in 0..200_usize,
    ) {
        let source = find(base64(&bytes(PART_BYTES_MIN, 3), 76, "\r\n").as_bytes());
        let hash = source.parts[0].hash.0;
        let folded = [b"\x01".as_slice(), &hash, &rest].concat();
        let mut out = Vec::new();
        let unfolded = unfold(&folded, plain_len, &mut &source, &mut out);
        prop_assert_eq!(out.len(), if unfolded.is_ok() { plain_len } else { 0 });
    }
}
