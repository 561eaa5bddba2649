//! The passage of a text that says best why it was found, to be shown: with the hits marked.
//!
//! Text is taken as people read it, with every run of blanks and control characters as one blank:
//! what is shown cannot move the cursor of a terminal.

use super::super::token::Tokens;
use super::language::{Language, Languages};
use super::word::Word;
use super::words::Words;
use crate::message::text::{SearchText, fold};

/// Letters of a passage.
const PASSAGE_LETTERS: usize = 160;
/// Letters before its first hit, at most.
const LEAD_LETTERS: usize = 40;
/// Letters of a subject.
const MARKED_LETTERS: usize = 500;
/// Bytes of a text that are looked at.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// What every further hit counts for, beside the words that a passage has.
const ONE_MORE: f64 = 0.05;
/// Stands where something was left out.
const LEFT_OUT: &str = "…";

/// A piece of a text that is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// What it says.
    pub text: String,
    /// Whether it was sought.
    pub is_hit: bool,
}

/// A short text, with what was sought marked; what is longer than `MARKED_LETTERS` is cut.
pub fn marked(words: &Words, message: &SearchText, shown: &str) -> Vec<Segment> {
    let shown: String = shown.chars().take(MARKED_LETTERS).collect();
    let plain = one_line(&shown);
    let hits = Hits::of(words, message, &plain);
    hits.segments(0, plain.len())
}

/// The best passage of a message's text, with what was sought marked; its beginning, if nothing of
/// it was sought.
pub fn snippet(words: &Words, message: &SearchText, shown: &str) -> Vec<Segment> {
    let plain = one_line(shown);
    let hits = Hits::of(words, message, &plain);
    let (begin, end) = hits.passage(words.words.len());
    let mut segments = hits.segments(begin, end);
    let left_out = |text: &str| Segment { text: text.to_owned(), is_hit: false };
    if begin > 0 {
        segments.insert(0, left_out(&format!("{LEFT_OUT} ")));
    }
    if end < plain.len() {
        segments.push(left_out(&format!(" {LEFT_OUT}")));
    }
    segments
}

/// With every run of blanks, ends of lines and what is not seen as one blank.
fn one_line(shown: &str) -> String {
    let mut end = shown.len().min(TEXT_BYTES_MAX);
    while !shown.is_char_boundary(end) {
        end -= 1;
    }
    let mut line = String::new();
    for letter in shown.get(..end).unwrap_or_default().chars() {
        if is_seen(letter) {
            line.push(letter);
        } else if !line.is_empty() && !line.ends_with(' ') {
            line.push(' ');
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Whether a letter is no blank and moves nothing: marks of direction turn the text around them.
fn is_seen(letter: char) -> bool {
    let turns = matches!(
        letter,
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    );
    !letter.is_control() && !letter.is_whitespace() && !turns
}

/// A token of a text.
struct Place {
    begin: usize,
    end: usize,
    /// Letters before it.
    letters: usize,
    letters_end: usize,
    /// The words that it resembles, and how much.
    resembles: Vec<(usize, f64)>,
}

/// The tokens of a text.
struct Hits<'a> {
    plain: &'a str,
    places: Vec<Place>,
}

impl<'a> Hits<'a> {
    fn of(words: &Words, message: &SearchText, plain: &'a str) -> Hits<'a> {
        let language = Language::of(message);
        let mut tokens = Tokens::of(plain);
        let (mut places, mut at, mut letters) = (Vec::new(), 0, 0);
        let count = |from: usize, to: usize| plain.get(from..to).unwrap_or("").chars().count();
        while let Some(token) = tokens.next() {
            let end = plain.len() - tokens.rest().len();
            let begin = end - token.text.len();
            letters += count(at, begin);
            let letters_end = letters + count(begin, end);
            let folded = fold(token.text);
            let resembles = words.words.iter().enumerate().filter_map(|(index, word)| {
                weight(word, &folded, language).map(|weight| (index, weight))
            });
            let resembles = resembles.collect();
            places.push(Place { begin, end, letters, letters_end, resembles });
            (at, letters) = (end, letters_end);
        }
        Hits { plain, places }
    }

    /// Where the best passage begins and ends.
    fn passage(&self, word_count: usize) -> (usize, usize) {
        let (mut best, mut chosen) = (0.0, None);
        for (index, first) in self.places.iter().enumerate() {
            if first.resembles.is_empty() {
                continue;
            }
            let from = self.places.get(index..).unwrap_or_default();
            let fits = |place: &&Place| place.letters_end <= first.letters + PASSAGE_LETTERS;
            let mut words = vec![0.0f64; word_count];
            let (mut more, mut last) = (0.0, index);
            for (offset, place) in from.iter().take_while(fits).enumerate() {
                for (word, weight) in &place.resembles {
                    if let Some(most) = words.get_mut(*word) {
                        *most = most.max(*weight);
                    }
                    more += ONE_MORE * weight;
                    last = index + offset;
                }
            }
            let worth = words.iter().sum::<f64>() + more;
            if worth > best {
                (best, chosen) = (worth, Some((index, last)));
            }
        }
        let (first, last) = chosen.unwrap_or((0, 0));
        self.widened(first, last)
    }

    /// What fits around these tokens.
    fn widened(&self, first: usize, last: usize) -> (usize, usize) {
        let (Some(mut begin), Some(mut end)) = (self.places.get(first), self.places.get(last))
        else {
            let letters = self.plain.char_indices().nth(PASSAGE_LETTERS);
            return (0, letters.map_or(self.plain.len(), |(at, _)| at));
        };
        let hit = begin.letters;
        let before = self.places.get(..first).unwrap_or_default();
        for place in before.iter().rev() {
            let is_far = hit - place.letters > LEAD_LETTERS;
            if is_far || end.letters_end - place.letters > PASSAGE_LETTERS {
                break;
            }
            begin = place;
        }
        for place in self.places.iter().skip(last) {
            if place.letters_end.saturating_sub(begin.letters) > PASSAGE_LETTERS {
                break;
            }
            end = place;
        }
        // With the dot behind the last token of all, and the quote before the first.
        let is_first = self.places.first().is_some_and(|place| place.begin == begin.begin);
        let is_last = self.places.last().is_some_and(|place| place.end == end.end);
        let near = |bytes: usize| bytes <= LEAD_LETTERS;
        let begins = if is_first && near(begin.begin) { 0 } else { begin.begin };
        let ends =
            if is_last && near(self.plain.len() - end.end) { self.plain.len() } else { end.end };
        (begins, self.bounded(begins, ends))
    }

    /// A single token may be longer than any passage.
    fn bounded(&self, begin: usize, end: usize) -> usize {
        let passage = self.plain.get(begin..end).unwrap_or_default();
        let mut letters = passage.char_indices().skip(PASSAGE_LETTERS + 2 * LEAD_LETTERS);
        letters.next().map_or(end, |(at, _)| begin + at)
    }

    /// A range of the text in pieces.
    fn segments(&self, begin: usize, end: usize) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut put = |from: usize, to: usize, is_hit: bool| {
            let text = self.plain.get(from..to).unwrap_or_default();
            if !text.is_empty() {
                segments.push(Segment { text: text.to_owned(), is_hit });
            }
        };
        let mut at = begin;
        for place in &self.places {
            if place.begin < begin || place.end > end || place.resembles.is_empty() {
                continue;
            }
            put(at, place.begin, false);
            put(place.begin, place.end, true);
            at = place.end;
        }
        put(at, end, false);
        segments
    }
}

/// What a folded token counts for, if it resembles a word or is one of its letters.
fn weight(word: &Word, token: &str, language: Language) -> Option<f64> {
    if word.run().iter().any(|one| one == token) {
        return Some(1.0);
    }
    let mut among = Languages::default();
    among.insert(language.of_stems());
    word.resemblance(token, among).within(language).map(|likeness| likeness.weight())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Scope;

    fn shown(segments: &[Segment]) -> String {
        let bracketed = |segment: &Segment| match segment.is_hit {
            true => format!("[{}]", segment.text),
            false => segment.text.clone(),
        };
        segments.iter().map(bracketed).collect()
    }

    fn message(text: &str) -> SearchText {
        let message = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{text}");
        let summary = crate::message::Summary::parse(message.as_bytes());
        SearchText::new(message.as_bytes(), &summary.structure)
    }

    #[test]
    fn the_best_passage_is_shown_with_its_hits() {
        let long = format!(
            "{} One harbour is here. {} The \x1b Harbours' master\r\nis \u{202E}in. {}",
            "word ".repeat(100),
            "more ".repeat(100),
            "rest ".repeat(100)
        );
        let table: [(&str, &str, &str, &str); 5] = [
            (
                "harbour master",
                &long,
                "… more more more more more more more The [Harbours]' [master] is in. rest rest \
                 rest rest rest rest rest rest rest rest rest rest rest rest rest rest rest \
                 rest rest …",
                "where both words are, of the same stem too, and nothing moves a terminal",
            ),
            ("harbour", "The harbor.", "The [harbor].", "all of a short text"),
            ("nothing", "Dear all,\n\nhello", "Dear all, hello", "the beginning without a hit"),
            ("東京", "東京駅で", "[東][京]駅で", "without blanks"),
            ("x", "", "", "nothing"),
        ];
        for (query, text, expected, reason) in table {
            let words = Words::new(query, Scope::Text).unwrap();
            let found = shown(&snippet(&words, &message(text), text));
            let letters = |text: &str| text.replace(['[', ']'], "").chars().count();
            assert!(letters(&found) <= PASSAGE_LETTERS + 8, "{reason}: {found}");
            assert_eq!(found, expected, "{reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_passage_is_a_piece_of_the_text(
            text in "([ab東]{1,5}|[ .,\r\n\u{1b}]|Äb|harbour){0,90}",
        ) {
            let words = Words::new("harbour äb 東a", Scope::Text).unwrap();
            let segments = snippet(&words, &message(&text), &text);
            let joined: String = segments.iter().map(|segment| segment.text.as_str()).collect();
            let inner = joined.trim_start_matches("… ").trim_end_matches(" …");
            proptest::prop_assert!(one_line(&text).contains(inner));
            proptest::prop_assert!(!joined.contains(char::is_control));
            let has_hit = segments.iter().any(|segment| segment.is_hit);
            let folded = fold(&text);
            let whole = Tokens::of(&folded).any(|token| token.text == "harbour");
            proptest::prop_assert!(has_hit || !whole, "{:?}", segments);
        }
    }
}
