//! Where the links of HTML lead: searched beside the text, because people look for addresses of
//! pages that the text only hints at.
//!
//! What is no place that a person knows is left out: anchors of the page itself, scripts, pictures
//! within the message. What pictures are loaded from is no link; most of it is there to watch.

use super::decode::html_text;

/// Links of one part that are searched.
const LINKS_MAX: usize = 4096;
/// Bytes of one that are searched.
const LINK_BYTES_MAX: usize = 8 << 10;

/// The targets of a text's links, each once.
pub(super) fn link_targets(html: &str) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some((_, tag)) = rest.split_once('<') {
        rest = tag;
        let Some(attributes) = link_attributes(tag) else { continue };
        let (target, after) = href(attributes);
        rest = after;
        let Some(target) = target else { continue };
        let target = html_text(target.get(..LINK_BYTES_MAX).unwrap_or(target));
        let target = target.trim();
        if is_place(target) && !targets.iter().any(|known| known == target) {
            targets.push(target.to_owned());
        }
        if targets.len() == LINKS_MAX {
            break;
        }
    }
    targets
}

/// What follows the name of a tag that is a link's.
fn link_attributes(tag: &str) -> Option<&str> {
    let end = tag.find(|c: char| !c.is_ascii_alphanumeric())?;
    let (name, attributes) = tag.split_at_checked(end)?;
    let is_link = name.eq_ignore_ascii_case("a") || name.eq_ignore_ascii_case("area");
    is_link.then_some(attributes)
}

/// The value of the attribute `href`, and what follows the tag.
fn href(attributes: &str) -> (Option<&str>, &str) {
    let mut target = None;
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return (target, after);
        }
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/'));
        let Some((name, after)) = end.and_then(|end| rest.split_at_checked(end)) else {
            return (target, "");
        };
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=') else {
            // A name without a value; an equals sign alone is passed over.
            rest = if name.is_empty() && after == rest { skip_one(after) } else { after };
            continue;
        };
        let (value, after) = attribute_value(value.trim_start());
        if target.is_none() && name.eq_ignore_ascii_case("href") {
            target = Some(value);
        }
        rest = after;
    }
}

fn skip_one(text: &str) -> &str {
    let mut characters = text.chars();
    characters.next();
    characters.as_str()
}

fn attribute_value(from: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = from.strip_prefix(quote) {
            return quoted.split_once(quote).unwrap_or((quoted, ""));
        }
    }
    let end = from.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(from.len());
    from.split_at_checked(end).unwrap_or((from, ""))
}

fn is_place(target: &str) -> bool {
    let begins = |scheme: &str| {
        target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    !target.is_empty() && !["#", "javascript:", "data:", "cid:"].into_iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_of_links_are_found() {
        let table: &[(&str, &[&str], &str)] = &[
            (
                "<a href=\"http://a.example/?x=1&amp;y=2\">here</a>",
                &["http://a.example/?x=1&y=2"],
                "entities",
            ),
            ("<A CLASS=x HREF='mailto:b@example.org'>b</A>", &["mailto:b@example.org"], "quotes"),
            ("<a\nhref = http://c.example/>c</a>", &["http://c.example/"], "no quotes"),
            ("<a href=x>1</a><a href=x>2</a>", &["x"], "each once"),
            ("<a href='#top'>t</a><a href=\"javascript:x()\">j</a>", &[], "no places"),
            ("<img src=http://watch.example/1.gif>", &[], "pictures"),
            ("<abbr href=x>", &[], "another tag"),
            ("<a name=x disabled href=y>", &["y"], "attributes before"),
            ("<a href=\"open", &["open"], "an end that is missing"),
            ("<a = = >x", &[], "no names"),
        ];
        for (html, expected, reason) in table {
            assert_eq!(link_targets(html), *expected, "{reason}: {html}");
        }
    }

    proptest! {
        #[test]
        fn odd_tags_end(html in "[<>a =/\"'hrefx]{0,80}") {
            link_targets(&html);
        }
    }
}
