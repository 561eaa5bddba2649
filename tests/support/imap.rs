//! A small blocking IMAP client that shows what the server really said.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A server that says nothing for so long has failed the test.
const ANSWER_SECONDS_MAX: u64 = 60;

/// A connection.
pub(crate) struct Imap {
    stream: BufReader<TcpStream>,
    tag: u32,
    /// The greeting.
    pub(crate) greeting: Response,
}

/// One untagged response, tagged response or continuation: all its bytes, literals included,
/// without its last CRLF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response(pub(crate) Vec<u8>);

/// What a command brought.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// `OK`, `NO` or `BAD`.
    pub(crate) status: String,
    /// What follows it.
    pub(crate) text: String,
    /// The untagged responses before it.
    pub(crate) untagged: Vec<Response>,
}

/// A parsed piece of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Atom(String),
    Text(Vec<u8>),
    List(Vec<Value>),
}

/// One FETCH response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) sequence: u32,
    pub(crate) uid: u32,
    pub(crate) flags: Vec<String>,
    /// What `BODY[…]` or `RFC822` brought.
    pub(crate) body: Option<Vec<u8>>,
    /// Every item with its value.
    pub(crate) items: Vec<(String, Value)>,
}

/// What SELECT told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) exists: u32,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) highest_modseq: Option<u64>,
}

impl Imap {
    /// Connects and reads the greeting.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Imap> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
        stream.set_write_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
        let greeting = Response(Vec::new());
        let mut imap =
            Imap { stream: BufReader::with_capacity(64 << 10, stream), tag: 0, greeting };
        imap.greeting = imap.response()?;
        Ok(imap)
    }

    /// Connects and logs in.
    pub(crate) fn login(address: SocketAddr, user: &str, password: &str) -> io::Result<Imap> {
        let mut imap = Imap::connect(address)?;
        imap.ok(&format!("LOGIN {} {}", quoted(user), quoted(password)))?;
        Ok(imap)
    }

    /// Sends a command and reads to its tagged answer.
    pub(crate) fn command(&mut self, command: &str) -> io::Result<Reply> {
        let tag = self.send(command.as_bytes())?;
        self.finish(&tag, |_| ())
    }

    /// The same; an answer other than OK is an error.
    pub(crate) fn ok(&mut self, command: &str) -> io::Result<Reply> {
        let reply = self.command(command)?;
        if reply.status == "OK" {
            return Ok(reply);
        }
        Err(io::Error::other(format!("{command}: {} {}", reply.status, reply.text)))
    }

    /// Sends a tag, a command and CRLF; answers the tag.
    pub(crate) fn send(&mut self, command: &[u8]) -> io::Result<String> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        let line = [tag.as_bytes(), b" ", command, b"\r\n"].concat();
        self.stream.get_mut().write_all(&line)?;
        Ok(tag)
    }

    /// Sends bytes as they are.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads to the tagged answer; shows each untagged response to `on_response` as it arrives.
    pub(crate) fn finish(
        &mut self,
        tag: &str,
        mut on_response: impl FnMut(&Response),
    ) -> io::Result<Reply> {
        let prefix = format!("{tag} ");
        let mut untagged = Vec::new();
        loop {
            let response = self.response()?;
            if let Some(rest) = response.text().strip_prefix(&prefix) {
                let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let (status, text) = (status.to_owned(), text.to_owned());
                return Ok(Reply { status, text, untagged });
            }
            on_response(&response);
            untagged.push(response);
        }
    }

    /// Reads one response with its literals.
    pub(crate) fn response(&mut self) -> io::Result<Response> {
        let mut bytes = Vec::new();
        loop {
            let begin = bytes.len();
            if self.stream.read_until(b'\n', &mut bytes)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(length) = literal_length(&bytes[begin..]) else {
                let end = bytes.strip_suffix(b"\r\n").map_or(bytes.len(), <[u8]>::len);
                bytes.truncate(end);
                return Ok(Response(bytes));
            };
            if (&mut self.stream).take(length).read_to_end(&mut bytes)? as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// How long to wait for an answer from now on.
    pub(crate) fn wait_at_most(&mut self, time: Duration) {
        self.stream.get_ref().set_read_timeout(Some(time)).unwrap();
    }

    pub(crate) fn select(&mut self, mailbox: &str) -> io::Result<Selected> {
        let reply = self.ok(&format!("SELECT {}", quoted(mailbox)))?;
        let mut selected = Selected { exists: reply.number("EXISTS"), ..Selected::default() };
        for response in &reply.untagged {
            let text = response.text();
            let code = |name: &str| {
                let (_, rest) = text.split_once(&format!("[{name} "))?;
                rest.split(']').next()?.parse::<u64>().ok()
            };
            if let Some(value) = code("UIDVALIDITY") {
                selected.uid_validity = value as u32;
            }
            if let Some(value) = code("UIDNEXT") {
                selected.uid_next = value as u32;
            }
            selected.highest_modseq = code("HIGHESTMODSEQ").or(selected.highest_modseq);
        }
        Ok(selected)
    }

    /// APPEND with a synchronising literal. `options` stands between name and literal: flags, date.
    pub(crate) fn append(
        &mut self,
        mailbox: &str,
        options: &str,
        message: &[u8],
    ) -> io::Result<Reply> {
        self.append_several(mailbox, &[(options, message)])
    }

    /// APPEND of several messages in one command (RFC 3502).
    pub(crate) fn append_several(
        &mut self,
        mailbox: &str,
        messages: &[(&str, &[u8])],
    ) -> io::Result<Reply> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        let mut line = format!("{tag} APPEND {}", quoted(mailbox));
        for (options, message) in messages {
            let options = if options.is_empty() { String::new() } else { format!(" {options}") };
            line += &format!("{options} {{{}}}\r\n", message.len());
            self.send_raw(line.as_bytes())?;
            let response = self.response()?;
            if !response.0.starts_with(b"+") {
                let text = response.text();
                let rest = text.strip_prefix(&format!("{tag} ")).unwrap_or(&text).to_owned();
                let (status, text) = rest.split_once(' ').unwrap_or((&rest, ""));
                return Ok(Reply {
                    status: status.to_owned(),
                    text: text.to_owned(),
                    untagged: Vec::new(),
                });
            }
            self.send_raw(message)?;
            line.clear();
        }
        self.send_raw(b"\r\n")?;
        self.finish(&tag, |_| ())
    }

    /// UID FETCH; hands over one message at a time, so that a mailbox need not fit into memory.
    pub(crate) fn fetch_each(
        &mut self,
        uids: &str,
        items: &str,
        mut on_message: impl FnMut(Fetched),
    ) -> io::Result<Reply> {
        let tag = self.send(format!("UID FETCH {uids} {items}").as_bytes())?;
        let prefix = format!("{tag} ");
        loop {
            let response = self.response()?;
            if let Some(fetched) = response.fetched() {
                on_message(fetched);
            } else if let Some(rest) = response.text().strip_prefix(&prefix) {
                let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let (status, text) = (status.to_owned(), text.to_owned());
                if status != "OK" {
                    return Err(io::Error::other(format!("UID FETCH: {status} {text}")));
                }
                return Ok(Reply { status, text, untagged: Vec::new() });
            }
        }
    }

    /// UID FETCH of everything into memory.
    pub(crate) fn fetch(&mut self, uids: &str, items: &str) -> io::Result<Vec<Fetched>> {
        let mut all = Vec::new();
        self.fetch_each(uids, items, |fetched| all.push(fetched))?;
        Ok(all)
    }

    /// UID SEARCH.
    pub(crate) fn search(&mut self, criteria: &str) -> io::Result<Vec<u32>> {
        let reply = self.ok(&format!("UID SEARCH {criteria}"))?;
        let mut uids = Vec::new();
        for response in &reply.untagged {
            if let Some(rest) = response.text().strip_prefix("* SEARCH") {
                uids.extend(rest.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
            }
        }
        Ok(uids)
    }

    /// Names of all mailboxes, as they stand on the wire.
    pub(crate) fn mailboxes(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let reply = self.ok("LIST \"\" \"*\"")?;
        let lists = reply.untagged.iter().filter_map(|response| {
            let rest = response.0.strip_prefix(b"* LIST ")?;
            match Value::parse_all(rest).into_iter().nth(2)? {
                Value::Atom(name) => Some(name.into_bytes()),
                Value::Text(name) => Some(name),
                Value::List(_) => None,
            }
        });
        Ok(lists.collect())
    }

    /// Begins IDLE; the server has said `+` when this returns.
    pub(crate) fn idle(&mut self) -> io::Result<String> {
        let tag = self.send(b"IDLE")?;
        let response = self.response()?;
        if response.0.starts_with(b"+") {
            return Ok(tag);
        }
        Err(io::Error::other(format!("IDLE: {}", response.text())))
    }

    /// Reads untagged responses until one pleases; answers it and how long that took.
    pub(crate) fn wait_for(
        &mut self,
        deadline: Duration,
        pleases: impl Fn(&str) -> bool,
    ) -> io::Result<(String, Duration)> {
        let begun = Instant::now();
        loop {
            let left = deadline.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
            self.wait_at_most(left.ok_or(io::ErrorKind::TimedOut)?);
            let text = self.response()?.text();
            if pleases(&text) {
                self.wait_at_most(Duration::from_secs(ANSWER_SECONDS_MAX));
                return Ok((text, begun.elapsed()));
            }
        }
    }

    /// Ends IDLE.
    pub(crate) fn done(&mut self, tag: &str) -> io::Result<Reply> {
        self.send_raw(b"DONE\r\n")?;
        self.finish(tag, |_| ())
    }
}

impl Reply {
    /// The number of the last `* n NAME`.
    pub(crate) fn number(&self, name: &str) -> u32 {
        let mut numbers = self.untagged.iter().filter_map(|response| {
            let text = response.text();
            let (number, rest) = text.strip_prefix("* ")?.split_once(' ')?;
            (rest == name).then(|| number.parse().ok())?
        });
        numbers.next_back().unwrap_or(0)
    }

    /// The words of a response code, such as `APPENDUID 1 2` or `COPYUID 1 2 3`, in the tagged
    /// answer or in an untagged one.
    pub(crate) fn code(&self, name: &str) -> Option<Vec<String>> {
        let texts = self.untagged.iter().map(Response::text).chain([self.text.clone()]);
        texts.into_iter().find_map(|text| {
            let (_, rest) = text.split_once(&format!("[{name} "))?;
            Some(rest.split(']').next()?.split_whitespace().map(str::to_owned).collect())
        })
    }

    /// The UIDs in word `index` of a response code.
    pub(crate) fn uids(&self, name: &str, index: usize) -> Option<Vec<u32>> {
        let code = self.code(name)?;
        let mut uids = Vec::new();
        for part in code.get(index)?.split(',') {
            let (first, last) = part.split_once(':').unwrap_or((part, part));
            uids.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
        }
        Some(uids)
    }
}

impl Response {
    /// It as text, for reading and for messages.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// It as a FETCH response.
    pub(crate) fn fetched(&self) -> Option<Fetched> {
        let rest = self.0.strip_prefix(b"* ")?;
        let space = rest.iter().position(|&byte| byte == b' ')?;
        let sequence = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let list = rest[space + 1..].strip_prefix(b"FETCH ")?;
        let Some(Value::List(values)) = Value::parse_all(list).into_iter().next() else {
            return None;
        };
        let mut fetched = Fetched { sequence, ..Fetched::default() };
        for pair in values.chunks_exact(2) {
            let Value::Atom(name) = &pair[0] else { continue };
            let name = name.to_uppercase();
            match (&pair[1], name.as_str()) {
                (Value::Atom(uid), "UID") => fetched.uid = uid.parse().unwrap_or(0),
                (Value::List(flags), "FLAGS") => {
                    fetched.flags = flags.iter().map(Value::to_text).collect();
                    fetched.flags.sort();
                }
                (Value::Text(body), _) if name.starts_with("BODY[") || name == "RFC822" => {
                    fetched.body = Some(body.clone());
                }
                _ => {}
            }
            fetched.items.push((name, pair[1].clone()));
        }
        Some(fetched)
    }
}

impl Value {
    /// Parses `a "b" {1}c (d e)` into its values; stops at what it does not understand.
    pub(crate) fn parse_all(mut bytes: &[u8]) -> Vec<Value> {
        let mut values = Vec::new();
        while let Some(value) = Value::parse(&mut bytes) {
            values.push(value);
        }
        values
    }

    fn parse(bytes: &mut &[u8]) -> Option<Value> {
        *bytes = bytes.trim_ascii_start();
        match bytes.first()? {
            b'(' => {
                *bytes = &bytes[1..];
                let mut values = Vec::new();
                while let Some(value) = Value::parse(bytes) {
                    values.push(value);
                }
                *bytes = bytes.strip_prefix(b")")?;
                Some(Value::List(values))
            }
            b')' => None,
            b'"' => Some(Value::quoted(bytes)),
            b'{' => {
                let end = bytes.iter().position(|&byte| byte == b'\n')? + 1;
                let length = literal_length(&bytes[..end])? as usize;
                let text = bytes.get(end..end + length)?.to_vec();
                *bytes = &bytes[end + length..];
                Some(Value::Text(text))
            }
            _ => Some(Value::atom(bytes)),
        }
    }

    fn quoted(bytes: &mut &[u8]) -> Value {
        let mut text = Vec::new();
        let mut index = 1;
        while index < bytes.len() && bytes[index] != b'"' {
            index += usize::from(bytes[index] == b'\\');
            text.push(bytes.get(index).copied().unwrap_or(b'\\'));
            index += 1;
        }
        *bytes = bytes.get(index + 1..).unwrap_or_default();
        Value::Text(text)
    }

    /// An atom; what stands in brackets, as in `BODY[HEADER.FIELDS (TO)]`, belongs to it.
    fn atom(bytes: &mut &[u8]) -> Value {
        let mut in_brackets = false;
        let end = bytes.iter().position(|byte| {
            in_brackets = match byte {
                b'[' => true,
                b']' => false,
                _ => in_brackets,
            };
            !in_brackets && matches!(byte, b' ' | b'(' | b')')
        });
        let (atom, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        *bytes = rest;
        Value::Atom(String::from_utf8_lossy(atom).into_owned())
    }

    /// An atom or a string as text.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Value::Atom(text) => text.clone(),
            Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Value::List(_) => format!("{self:?}"),
        }
    }
}

/// The length at the end of a line `…{n}` or `…{n+}` or `~{n}`, with its CRLF.
fn literal_length(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|&byte| byte == b'{')?;
    std::str::from_utf8(&line[open + 1..]).ok()?.parse().ok()
}

/// A quoted string.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
