//! Mail that looks like mail, from a seed: for tests and benches where no corpus is at hand.
//!
//! The same seed gives the same messages on every machine, for good: golden figures may name a
//! seed. Lines end in CRLF, except in one message of fifty, and every message is different.

/// A source of generated mail.
#[derive(Clone, Debug)]
pub struct Generator {
    state: u64,
    /// Ids of the conversation that is going on, its first message first.
    conversation: Vec<String>,
    count: u64,
}

const WORDS: &[&str] = &[
    "harbour", "letter", "the", "a", "of", "meeting", "tomorrow", "please", "find", "attached",
    "invoice", "kernel", "patch", "review", "thanks", "regards", "weather", "schedule", "train",
    "ticket", "report", "budget", "window", "garden", "coffee", "release", "server", "and", "with",
    "before", "after", "message", "question", "answer", "between", "morning", "number", "pillar",
];
const FOREIGN: &[&str] = &[
    "Grüße",
    "Übergröße",
    "señor",
    "naïve",
    "Привет",
    "встреча",
    "завтра",
    "こんにちは",
    "会議",
    "你好",
    "世界",
    "안녕하세요",
    "שלום",
    "مرحبا",
    "Καλημέρα",
    "żółw",
    "😀",
];
const NAMES: &[&str] =
    &["Ann", "Bob", "Çelik", "Dörte", "Ежи", "Fumiko", "Grace", "Hänsel", "Inés", "Joan"];
const HOSTS: &[&str] = &["example.org", "mail.example.com", "example.net", "lists.example"];
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Generator {
    /// A source that the seed determines.
    pub fn new(seed: u64) -> Generator {
        Generator { state: seed ^ 0x9E37_79B9_7F4A_7C15, conversation: Vec::new(), count: 0 }
    }

    /// The next random number (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = crate::width::u64_of(bound.max(1));
        crate::width::usize_of(self.number() % bound)
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        let at = self.below(list.len());
        list.get(at).copied().unwrap_or_default()
    }

    /// A message of about `size_hint` bytes; the smallest have some hundreds.
    pub fn message(&mut self, size_hint: usize) -> Vec<u8> {
        self.count += 1;
        let mut message = self.header();
        let body_size = size_hint.saturating_sub(message.len()).max(40);
        match self.below(10) {
            0..=3 => self.text(&mut message, body_size),
            4 | 5 => self.alternative(&mut message, body_size),
            6 | 7 => self.with_attachment(&mut message, body_size),
            8 => self.eight_bit(&mut message, body_size),
            _ => self.forwarded(&mut message, body_size),
        }
        if self.below(50) == 0 {
            message.retain(|byte| *byte != b'\r');
        }
        message
    }

    fn header(&mut self) -> Vec<u8> {
        let mut header = String::new();
        let host = self.pick(HOSTS);
        for hop in 0..self.below(4) {
            let second = self.below(60);
            header += &format!(
                "Received: from hop{hop}.{host} by mx.example.org\r\n\twith ESMTPS; \
                 Tue, 3 Mar 2026 10:00:{second:02} +0000\r\n"
            );
        }
        let (day, month) = (self.below(28) + 1, self.pick(&["Jan", "Apr", "Sep", "Dec"]));
        let (hour, minute) = (self.below(24), self.below(60));
        header += &format!("Date: {day} {month} 2025 {hour:02}:{minute:02}:07 +0200\r\n");
        let (from, to) = (self.address(), self.address());
        header += &format!("From: {from}\r\nTo: {to}");
        for _ in 0..self.below(4) {
            header += &format!(",\r\n\t{}", self.address());
        }
        header += "\r\n";
        let random = self.number();
        let id = format!("{}.{random:x}@{host}", self.count);
        if self.below(3) == 0 || self.conversation.len() > 40 {
            self.conversation.clear();
        }
        let reply = if self.conversation.is_empty() { "" } else { "Re: " };
        header += &format!("Subject: {reply}{}\r\nMessage-ID: <{id}>\r\n", self.subject());
        if let Some(parent) = self.conversation.last() {
            header += &format!("In-Reply-To: <{parent}>\r\nReferences:");
            for reference in &self.conversation {
                header += &format!(" <{reference}>\r\n");
            }
        }
        self.conversation.push(id);
        if self.below(3) == 0 {
            header += "List-Id: Harbour talk <harbour.lists.example>\r\nPrecedence: list\r\n";
        }
        header += "MIME-Version: 1.0\r\n";
        header.into_bytes()
    }

    fn address(&mut self) -> String {
        let name = self.pick(NAMES);
        let address = format!("user{}@{}", self.below(1000), self.pick(HOSTS));
        match self.below(4) {
            0 => address,
            1 if name.is_ascii() => format!("\"{name}, {}\" <{address}>", self.pick(WORDS)),
            _ => format!("{} <{address}>", encoded(name)),
        }
    }

    fn subject(&mut self) -> String {
        let count = self.below(6) + 1;
        let words: Vec<_> = (0..count).map(|_| self.pick(WORDS)).collect();
        let subject = words.join(" ");
        if self.below(3) == 0 {
            format!("{subject} {}", encoded(self.pick(FOREIGN)))
        } else {
            subject
        }
    }

    /// Lines of words until there are `size` bytes.
    fn words(&mut self, size: usize, foreign: bool) -> String {
        let mut text = String::with_capacity(size + 100);
        let mut column = 0;
        while text.len() < size {
            let list = if foreign && self.below(5) == 0 { FOREIGN } else { WORDS };
            let word = self.pick(list);
            text += word;
            column += word.len() + 1;
            if column > 68 || self.below(40) == 0 {
                text += "\r\n";
                column = 0;
                if self.below(8) == 0 {
                    text += "> ";
                }
            } else {
                text.push(' ');
            }
        }
        text += "\r\n";
        text
    }

    fn text(&mut self, message: &mut Vec<u8>, size: usize) {
        let text = self.words(size, false);
        message.extend_from_slice(b"Content-Type: text/plain; charset=us-ascii\r\n\r\n");
        message.extend_from_slice(text.as_bytes());
    }

    fn eight_bit(&mut self, message: &mut Vec<u8>, size: usize) {
        let text = self.words(size, true);
        if self.below(2) == 0 {
            message.extend_from_slice(
                b"Content-Type: text/plain; charset=utf-8\r\n\
                  Content-Transfer-Encoding: 8bit\r\n\r\n",
            );
            message.extend_from_slice(text.as_bytes());
        } else {
            message.extend_from_slice(b"Content-Type: text/plain; charset=\"iso-8859-1\"\r\n\r\n");
            let latin = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'));
            message.extend(latin);
        }
    }

    fn boundary(&mut self) -> String {
        let random = self.number();
        format!("=_{random:x}_{}", self.count)
    }

    fn alternative(&mut self, message: &mut Vec<u8>, size: usize) {
        let boundary = self.boundary();
        let text = self.words(size / 2, true);
        let mut part = format!(
            "Content-Type: multipart/alternative;\r\n\tboundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        );
        part += &quoted_printable(&text);
        part += &format!(
            "\r\n--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
             <html><head><style>p {{ color: red }}</style></head><body><p>{}</p></body></html>\r\n\
             --{boundary}--\r\n",
            text.replace("\r\n", "<br>\r\n")
        );
        message.extend_from_slice(part.as_bytes());
    }

    fn with_attachment(&mut self, message: &mut Vec<u8>, size: usize) {
        let boundary = self.boundary();
        let text_size = (size / 8).clamp(20, 2000);
        let text = self.words(text_size, false);
        let name = self.pick(WORDS);
        let head = format!(
            "Content-Type: multipart/mixed; boundary={boundary:?}\r\n\r\n\
             This is a multi-part message in MIME format.\r\n--{boundary}\r\n\r\n{text}\
             \r\n--{boundary}\r\nContent-Type: application/pdf; name=\"{name}.pdf\"\r\n\
             Content-Disposition: attachment;\r\n filename*0=\"{name}\";\r\n \
             filename*1=\".pdf\"\r\n\
             Content-ID: <{}@example.org>\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            self.number()
        );
        message.extend_from_slice(head.as_bytes());
        let count = size.saturating_sub(text_size) * 3 / 4;
        let content: Vec<u8> =
            (0..count / 8 + 1).flat_map(|_| self.number().to_le_bytes()).collect();
        message.extend_from_slice(&base64_lines(&content));
        message.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    }

    fn forwarded(&mut self, message: &mut Vec<u8>, size: usize) {
        let boundary = self.boundary();
        let note = self.words(60, false);
        let head = format!(
            "Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n--{boundary}\r\n\
             Content-Type: text/plain\r\n\r\n{note}\r\n--{boundary}\r\n\
             Content-Type: message/rfc822\r\nContent-Disposition: inline\r\n\r\n"
        );
        message.extend_from_slice(head.as_bytes());
        let mut inner = self.header();
        if self.below(2) == 0 {
            self.alternative(&mut inner, size);
        } else {
            self.text(&mut inner, size);
        }
        message.extend_from_slice(&inner);
        message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    }
}

/// An encoded word, in base64; ASCII as it is.
fn encoded(word: &str) -> String {
    if word.is_ascii() {
        return word.to_owned();
    }
    let letters = String::from_utf8_lossy(&base64_lines(word.as_bytes())).replace("\r\n", "");
    format!("=?utf-8?B?{letters}?=")
}

/// Base64 in lines of 76 letters, each with its line end.
fn base64_lines(content: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(content.len() / 3 * 4 + content.len() / 28 + 8);
    let letter = |bits: u32| BASE64.get(crate::width::usize_of_u32(bits & 63)).copied();
    for line in content.chunks(57) {
        for triple in line.chunks(3) {
            let mut bytes = triple.iter().map(|byte| u32::from(*byte));
            let mut next = || bytes.next().unwrap_or(0);
            let bits = next() << 16 | next() << 8 | next();
            for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
                let padding = at > triple.len();
                lines.extend(if padding { Some(b'=') } else { letter(bits >> shift) });
            }
        }
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

/// Quoted-printable in lines of at most 76 letters.
fn quoted_printable(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for line in text.split_terminator("\r\n") {
        let mut column = 0;
        for byte in line.bytes() {
            let plain = byte.is_ascii_graphic() && byte != b'=' || byte == b' ';
            let width = if plain { 1 } else { 3 };
            if column + width > 75 {
                encoded += "=\r\n";
                column = 0;
            }
            if plain {
                encoded.push(char::from(byte));
            } else {
                encoded += &format!("={byte:02X}");
            }
            column += width;
        }
        encoded += "\r\n";
    }
    encoded
}
