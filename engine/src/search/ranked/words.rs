//! A query for ranked search, cut as texts are.
//!
//! | of the query | becomes |
//! |--|--|
//! | a token | a word of each of its parts, all of which are sought |
//! | tokens of a script without blanks, side by side | one word |
//! | all tokens in their order | the phrase, which makes a message better that has it |

use super::super::token::{Separator, Tokens, is_wide_token};
use super::super::{Class, Classes, Scope};
use super::word::{Word, pieces};
use crate::message::text::fold;

/// Words of a query that are sought; what follows is not.
const WORDS_MAX: usize = 16;
/// Letters of a query that are looked at.
const LETTERS_MAX: usize = 4096;

/// The words that are sought, and where.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Words {
    pub(super) scope: Scope,
    pub(super) words: Vec<Word>,
    /// Tokens that are better side by side; none, if there are not several words.
    pub(super) phrase: Vec<String>,
}

impl Words {
    /// Of a text as people write it. TEXT means what people write, too: addresses, subject and
    /// body, and no other header fields.
    ///
    /// Answers nothing if there is no word in it: such a text is better sought as it is.
    pub fn new(text: &str, scope: Scope) -> Option<Words> {
        let text: String = text.chars().take(LETTERS_MAX).collect();
        let folded = fold(&text);
        let (mut words, mut phrase): (Vec<Word>, Vec<String>) = (Vec::new(), Vec::new());
        let mut run: Vec<String> = Vec::new();
        for token in Tokens::of(&folded) {
            let goes_on = is_wide_token(token.text) && token.before == Separator::Usual;
            if !goes_on {
                end_run(&mut run, &mut words);
            }
            if words.len() >= WORDS_MAX {
                break;
            }
            phrase.push(token.text.to_owned());
            if is_wide_token(token.text) {
                run.push(token.text.to_owned());
            } else {
                words.extend(pieces(token.text).map(Word::new));
            }
        }
        end_run(&mut run, &mut words);
        words.truncate(WORDS_MAX);
        if words.len() < 2 {
            phrase.clear();
        }
        (!words.is_empty()).then_some(Words { scope, words, phrase })
    }

    /// Where they are sought.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Classes of text in which they are sought; none if that is a field that has no class of its
    /// own, of which the index knows too little.
    pub(super) fn classes(&self) -> Option<Classes> {
        match &self.scope {
            Scope::Body => Some(Classes::only(Class::Body)),
            Scope::Text => Some(Classes::WRITTEN),
            Scope::Header(name) => match Class::of_field(name) {
                Class::Header => None,
                class => Some(Classes::only(class)),
            },
        }
    }

    /// Whether the index knows enough of where they are sought.
    pub fn has_classes(&self) -> bool {
        self.classes().is_some()
    }

    /// The words as they are sought, for people.
    pub fn texts(&self) -> Vec<&str> {
        self.words.iter().map(Word::text).collect()
    }
}

/// What stands side by side so far is a word.
fn end_run(run: &mut Vec<String>, words: &mut Vec<Word>) {
    let tokens = std::mem::take(run);
    match tokens.as_slice() {
        [] => {}
        [only] => words.push(Word::new(only)),
        _ => words.push(Word::of_run(tokens)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_cut_into_words() {
        let table: &[(&str, &[&str], &[&str], &str)] = &[
            ("Harbour  Master!", &["harbour", "master"], &["harbour", "master"], "two words"),
            ("harbour", &["harbour"], &[], "one word is no phrase"),
            ("ann@example.org", &["ann", "example", "org"], &["ann@example.org"], "an address"),
            ("東京 駅", &["東京", "駅"], &["東", "京", "駅"], "letters side by side are a word"),
            ("tokyo東京", &["tokyo", "東京"], &["tokyo", "東", "京"], "beside another script"),
        ];
        for (query, words, phrase, reason) in table {
            let found = Words::new(query, Scope::Text).unwrap();
            assert_eq!(found.texts(), *words, "{reason}");
            assert_eq!(found.phrase, *phrase, "{reason}");
        }
        assert_eq!(Words::new(" ?! ", Scope::Text), None, "there is no word");
        let many = "word ".repeat(50);
        assert_eq!(Words::new(&many, Scope::Text).unwrap().words.len(), WORDS_MAX);
    }
}
