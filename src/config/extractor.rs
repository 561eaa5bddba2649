//! `[[extractor]]`: who makes text of which documents.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::within::Within;
use crate::extract::ServiceUrl;

/// Who makes text of attached documents, so that SEARCH finds their words: one section for each
/// program or service. The first whose types fit is asked; without any, nothing is.
//
// Deserialized by a function of serde's making behind one that checks it as a whole, so that the
// error knows its line.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub(crate) struct ExtractorSection {
    /// Media types, also as "image/*" or "application/vnd.*", and endings of file names, as ".pdf".
    pub(crate) types: Vec<DocumentKind>,
    /// A program and its arguments: it gets the document on standard input and writes its text, in
    /// UTF-8, on standard output. It can write no file, and has no environment.
    pub(crate) command: Vec<String>,
    /// Instead of a command, a service on this machine: it is sent the document by PUT, and answers
    /// with its text, as Apache Tika's server does at "http://127.0.0.1:9998/tika".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<ServiceUrl>,
    /// Seconds that it may take for a document.
    pub(crate) timeout_seconds: Within<1, 3600>,
    /// Memory that the program may take: bytes, or "512 MiB".
    pub(crate) memory_bytes: Size<{ 16 << 20 }, { 1 << 40 }>,
    /// The largest document that it gets: bytes, or "32 MiB".
    pub(crate) input_bytes: Size<1, { 1 << 30 }>,
    /// Text that is kept of a document: bytes, or "4 MiB". All documents of a message are kept with
    /// 16 MiB at most.
    pub(crate) output_bytes: Size<1, { 16 << 20 }>,
}

impl Default for ExtractorSection {
    fn default() -> ExtractorSection {
        ExtractorSection {
            types: Vec::new(),
            command: Vec::new(),
            url: None,
            timeout_seconds: Within::of(20),
            memory_bytes: Size(512 << 20),
            input_bytes: Size(32 << 20),
            output_bytes: Size(4 << 20),
        }
    }
}

impl ExtractorSection {
    /// What is wrong with it as a whole.
    fn fault(&self) -> Option<&'static str> {
        if self.types.is_empty() {
            return Some("an extractor needs types, such as [\"application/pdf\", \".pdf\"]");
        }
        match (self.command.first(), &self.url) {
            (None, None) => Some("an extractor needs a command or a url"),
            (Some(_), Some(_)) => Some("an extractor has a command or a url, not both"),
            (Some(program), None) if program.contains('/') && !program.starts_with('/') => {
                Some("the program of an extractor is a name, or a path from the root")
            }
            (Some(program), None) if program.is_empty() => Some("a program has a name"),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for ExtractorSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The function that the derive made, not this one.
        let section = ExtractorSection::deserialize(deserializer)?;
        match section.fault() {
            None => Ok(section),
            Some(fault) => Err(D::Error::custom(fault)),
        }
    }
}

impl Serialize for ExtractorSection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ExtractorSection::serialize(self, serializer)
    }
}

/// Which documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct DocumentKind(String);

impl DocumentKind {
    /// Whether it is a document of that media type, which is in small letters, and name.
    pub(crate) fn fits(&self, media_type: &str, name: &str) -> bool {
        if self.0.starts_with('.') {
            return name.to_lowercase().ends_with(&self.0);
        }
        match self.0.strip_suffix('*') {
            Some(begin) => media_type.starts_with(begin),
            None => media_type == self.0,
        }
    }
}

impl<'de> Deserialize<'de> for DocumentKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DocumentKind, D::Error> {
        let text = String::deserialize(deserializer)?.to_lowercase();
        let is_word = |word: &str| {
            let is_fit = |byte: u8| byte.is_ascii_graphic() && !b"/*\"\\;,()<>".contains(&byte);
            !word.is_empty() && word.bytes().all(is_fit)
        };
        let is_kind = match (text.strip_prefix('.'), text.split_once('/')) {
            (Some(ending), _) => !ending.is_empty() && !ending.contains('/'),
            (None, Some((kind, subkind))) => {
                let begin = subkind.strip_suffix('*').filter(|begin| !begin.is_empty());
                is_word(kind) && (subkind == "*" || is_word(begin.unwrap_or(subkind)))
            }
            (None, None) => false,
        };
        match is_kind {
            true => Ok(DocumentKind(text)),
            false => Err(D::Error::custom(format!(
                "{text:?} is neither a media type, such as \"application/pdf\", nor the ending of \
                 a file's name, such as \".pdf\""
            ))),
        }
    }
}

/// Bytes, from `MIN` to `MAX`: a number, or one with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Size<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// It.
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// It, of what is counted in memory.
    pub(crate) fn count(self) -> usize {
        engine::width::usize_of(self.0)
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(i64),
    Text(String),
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let no_size = |_| D::Error::custom("a size is a number of bytes, or such as \"32 MiB\"");
        let (bytes, text) = match Written::deserialize(deserializer).map_err(no_size)? {
            Written::Number(number) => (u64::try_from(number).ok(), number.to_string()),
            Written::Text(text) => (bytes_of(&text), text),
        };
        match bytes.filter(|bytes| (MIN..=MAX).contains(bytes)) {
            Some(bytes) => Ok(Size(bytes)),
            None => Err(D::Error::custom(format!("{text} does not lie between {MIN} and {MAX}"))),
        }
    }
}

/// `32 MiB`
fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match text.get(digits.len()..)?.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const WELL: &str = "types = [\"application/pdf\", \".PDF\"]\ncommand = [\"pdftotext\"]\n";

    fn parse(lines: &str) -> Result<Config, String> {
        Config::parse(&format!("[imap]\n\n[[extractor]]\n{lines}"))
    }

    #[test]
    fn an_extractor_is_read_with_its_sizes() {
        let config = parse(&format!("{WELL}memory_bytes = \"64 MiB\"\noutput_bytes = 7\n"));
        let config = config.unwrap();
        let [one] = &config.extractors[..] else { panic!("{config:?}") };
        assert_eq!((one.memory_bytes.get(), one.output_bytes.get()), (64 << 20, 7));
        assert_eq!(one.input_bytes, ExtractorSection::default().input_bytes);
        let written = toml::to_string(&config).unwrap();
        assert_eq!(Config::parse(&written), Ok(config));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let cases = [
            (format!("{WELL}memory = 5\n"), "line 6: there is no key \"memory\"; did you mean"),
            (format!("{WELL}\ntimeout_seconds = 0\n"), "line 7: extractor.timeout_seconds: 0 does"),
            (format!("{WELL}input_bytes = \"5 TB\"\n"), "line 6: extractor.input_bytes: 5 TB does"),
            (format!("{WELL}input_bytes = []\n"), "line 6: extractor.input_bytes: a size is a"),
            (format!("{WELL}url = \"http://192.0.2.1/\"\n"), "line 6: extractor.url: \"http://192"),
            (format!("{WELL}url = \"http://[::1]/\"\n"), "line 3: an extractor has a command or a"),
            ("types = [\"pdf\"]\n".to_owned(), "line 4: extractor.types: \"pdf\" is neither"),
            ("types = [\"a*/b\"]\n".to_owned(), "line 4: extractor.types: \"a*/b\" is neither"),
            ("types = [\".pdf\"]\n".to_owned(), "line 3: an extractor needs a command or a url"),
            ("command = [\"a\"]\n".to_owned(), "line 3: an extractor needs types"),
            ("types = [\".a\"]\ncommand = [\"./a\"]".to_owned(), "line 3: the program of an"),
        ];
        for (lines, starts) in cases {
            let message = parse(&lines).unwrap_err();
            assert!(message.starts_with(starts), "{lines:?} gave {message:?}");
        }
    }

    #[test]
    fn a_kind_fits_types_or_names() {
        let table = [
            (".pdf", "application/octet-stream", "Offer.PDF", true),
            (".pdf", "application/pdf", "", false),
            ("application/PDF", "application/pdf", "", true),
            ("application/pdf", "application/pdfx", "", false),
            ("image/*", "image/png", "", true),
            ("image/*", "imagex/png", "", false),
            ("a/vnd.b.*", "a/vnd.b.c", "", true),
            ("a/vnd.b.*", "a/vnd.c", "", false),
        ];
        for (kind, media_type, name, expected) in table {
            let config = parse(&format!("types = [{kind:?}]\ncommand = [\"a\"]\n")).unwrap();
            let kind = &config.extractors[0].types[0];
            assert_eq!(kind.fits(media_type, name), expected, "{kind:?} {media_type} {name:?}");
        }
    }
}
