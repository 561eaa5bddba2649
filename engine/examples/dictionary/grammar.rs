//! A grammar of mail: rules whose alternatives are chosen by a seed.
//!
//! ```text
//! @ rule            begins an alternative, which reaches to the next line with @, | or ;
//! | rule = a | b    short alternatives, one a line
//! ; a remark
//! {rule}            one of its alternatives
//! {hex:8}           random letters: hex, dec, letters, base64
//! ```
//!
//! A line that consists of rules and becomes empty is dropped: an empty line ends a header.

use std::collections::BTreeMap;

use engine::message::generator::Generator;

pub(crate) struct Grammar<'a> {
    rules: BTreeMap<&'a str, Vec<Vec<&'a str>>>,
}

impl<'a> Grammar<'a> {
    pub(crate) fn read(texts: &[&'a str]) -> Grammar<'a> {
        let mut rules: BTreeMap<&str, Vec<Vec<&str>>> = BTreeMap::new();
        for text in texts {
            let mut open = None;
            for line in text.lines() {
                if let Some(name) = line.strip_prefix("@ ") {
                    rules.entry(name).or_default().push(Vec::new());
                    open = Some(name);
                } else if let Some((name, list)) =
                    line.strip_prefix("| ").and_then(|line| line.split_once(" = "))
                {
                    let alternatives = list.split(" | ").map(|text| vec![text]);
                    rules.entry(name).or_default().extend(alternatives);
                    open = None;
                } else if let Some(name) = open.filter(|_| !line.starts_with("; ")) {
                    rules.get_mut(name).and_then(|list| list.last_mut()).expect("open").push(line);
                }
            }
        }
        for lines in rules.values_mut().flatten() {
            while lines.last().is_some_and(|line| line.is_empty()) {
                lines.pop();
            }
        }
        Grammar { rules }
    }

    /// One text of a rule, with CRLF between its lines.
    pub(crate) fn expand(&self, rule: &str, random: &mut Generator) -> String {
        let alternatives = self.rules.get(rule).unwrap_or_else(|| panic!("no rule {rule}"));
        let mut lines = Vec::new();
        for line in pick(alternatives, random) {
            let text = self.expand_line(line, random);
            let optional = line.starts_with('{') && line.ends_with('}');
            if !(text.is_empty() && optional) {
                lines.push(text);
            }
        }
        lines.join("\r\n")
    }

    fn expand_line(&self, line: &str, random: &mut Generator) -> String {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('{') {
            text += before;
            // Braces of CSS and C are followed by something else.
            let name = after.split_once('}').filter(|(name, _)| self.knows(name));
            match name {
                Some((name, behind)) => {
                    text += &match name.split_once(':') {
                        Some((kind, count)) => letters(kind, count, random),
                        None => self.expand(name, random),
                    };
                    rest = behind;
                }
                None => {
                    text.push('{');
                    rest = after;
                }
            }
        }
        text + rest
    }

    fn knows(&self, name: &str) -> bool {
        let kind = name.split_once(':').map(|(kind, _)| kind);
        self.rules.contains_key(name)
            || kind.is_some_and(|kind| ["hex", "dec", "letters", "base64"].contains(&kind))
    }
}

fn pick<'a, T>(list: &'a [T], random: &mut Generator) -> &'a T {
    let count = u64::try_from(list.len()).expect("a short list");
    let at = usize::try_from(random.number() % count).expect("below the count");
    list.get(at).expect("below the count")
}

fn letters(kind: &str, count: &str, random: &mut Generator) -> String {
    let alphabet: &[u8] = match kind {
        "dec" => b"0123456789",
        "hex" => b"0123456789abcdef",
        "letters" => b"abcdefghijklmnopqrstuvwxyz",
        _ => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    };
    let count = count.parse().expect("a count");
    (0..count).map(|_| char::from(*pick(alphabet, random))).collect()
}
