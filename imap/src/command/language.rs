//! LANGUAGE (RFC 5255 section 3): in which language we talk to people.
//!
//! All our sentences are English, so there are two names for one language; the command tells
//! clients so, and one that asks for another learns that it gets none.

use super::{Answer, Talk};

/// What we speak, with the tag of RFC 2277 for "no language chosen" first.
const LANGUAGES: [&str; 2] = ["i-default", "en"];

/// LANGUAGE: what there is, or the first wish that can be granted.
pub(super) fn language(talk: &mut Talk, wishes: &[String]) -> Answer {
    if wishes.is_empty() {
        talk.wire.line("* LANGUAGE (\"i-default\" \"en\")");
        return Answer::ok("These there are");
    }
    match wishes.iter().find_map(|wish| granted(wish)) {
        Some(language) => {
            talk.wire.line(&format!("* LANGUAGE (\"{language}\")"));
            Answer::ok("Now this is spoken")
        }
        None => Answer::no("", "None of these languages is spoken here"),
    }
}

/// RFC 4647 section 3.4: `en-GB` is asked for as `en`, too; `default` is ours.
fn granted(wish: &str) -> Option<&'static str> {
    if wish == "*" || wish.eq_ignore_ascii_case("default") {
        return Some(LANGUAGES[0]);
    }
    let mut range = wish;
    loop {
        if let Some(known) = LANGUAGES.iter().find(|known| known.eq_ignore_ascii_case(range)) {
            return Some(known);
        }
        (range, _) = range.rsplit_once('-')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_if_its_language_is_spoken() {
        for (wish, language) in [
            ("EN", Some("en")),
            ("en-US", Some("en")),
            ("I-Default", Some("i-default")),
            ("default", Some("i-default")),
            ("*", Some("i-default")),
            ("de", None),
            ("eng", None),
            ("", None),
        ] {
            assert_eq!(granted(wish), language, "{wish}");
        }
    }
}
