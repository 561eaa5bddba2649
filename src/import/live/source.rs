//! The server that mail comes from: commands of IMAP that only read.
//!
//! Mailboxes are opened with EXAMINE and messages read with PEEK, so that nothing changes there.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::limits::MESSAGE_BYTES_MAX;
use engine::seal::Secret;
use engine::width::u64_of;

use super::names::{Listed, Namespaces};
use super::response::{Fetched, Response, Status, Value};
use super::wire::{Address, Privacy, Wire};
use crate::failure::{Exit, Failure};

/// Mailboxes of one account that we hear of, and lines beside them.
const LINES_MAX: u64 = 400_000;
/// Responses to one FETCH beyond those that were asked for.
const FETCH_LINES_SPARE: u64 = 100_000;

/// Who logs in.
pub(super) struct Login {
    /// Whose mail is read.
    pub(super) user: String,
    /// Who logs in to read it, if it is somebody else.
    pub(super) master: Option<String>,
    /// Of whoever logs in.
    pub(super) password: Secret,
}

/// A session, logged in.
pub(super) struct Source {
    wire: Wire,
    capabilities: Vec<String>,
    tag: u64,
    /// What STATUS is asked for to know a mailbox under another name.
    identity: Option<&'static str>,
}

/// What STATUS or EXAMINE says of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) uid_validity: u32,
    /// At most 2^32.
    pub(super) uid_next: u64,
    pub(super) message_count: u64,
    /// Where the server knows when messages changed (RFC 7162).
    pub(super) modseq: Option<u64>,
    /// What stays when its name changes.
    pub(super) identity: Option<String>,
}

/// What FETCH is told beside the messages and what is asked of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// All.
    Ever,
    /// What changed after that MODSEQ, and which messages went.
    Modseq(u64),
}

/// Hears a response: its word and values.
type Hear<'a> = dyn FnMut(&str, Vec<Value>) -> Result<(), Failure> + 'a;

/// Part of a command.
pub(super) enum Part<'a> {
    Plain(&'a str),
    /// Quoted, or a literal.
    Text(&'a [u8]),
}

use Part::{Plain, Text};

impl Source {
    /// Connects and logs in.
    pub(super) fn open(address: &Address, login: &Login) -> Result<Source, Failure> {
        let wire = Wire::connect(address)?;
        let mut source = Source { wire, capabilities: Vec::new(), tag: 0, identity: None };
        source.greet()?;
        if address.privacy == Privacy::StartTls {
            let answer = source.command(&[Plain("STARTTLS")], &mut |_, _| Ok(()))?;
            if answer.kind != "OK" {
                let sentence = format!("{} has no STARTTLS: {}", address.host, answer.text);
                return Err(Failure::new(Exit::NotAllowed, sentence));
            }
            source.wire.begin_tls()?;
            source.capabilities.clear();
        }
        if source.capabilities.is_empty() {
            source.ask_capabilities()?;
        }
        source.log_in(login)?;
        source.ask_capabilities()?;
        if source.can("QRESYNC") {
            source.well(&[Plain("ENABLE QRESYNC")])?;
        }
        source.find_identity()?;
        Ok(source)
    }

    fn greet(&mut self) -> Result<(), Failure> {
        match self.wire.receive(0)? {
            Response::Status(status) if status.kind == "OK" => self.heard(&status),
            Response::Status(status) if status.kind == "BYE" => {
                let sentence = format!("{} turns us away: {}", self.host(), status.text);
                return Err(Failure::new(Exit::Later, sentence));
            }
            _ => {
                let sentence = format!("{} greets as no IMAP server does", self.host());
                return Err(Failure::new(Exit::Refused, sentence));
            }
        }
        Ok(())
    }

    fn host(&self) -> &str {
        &self.wire.address().host
    }

    /// What a status says beside how it went.
    fn heard(&mut self, status: &Status) {
        if let Some((name, words)) = &status.code
            && name == "CAPABILITY"
        {
            self.capabilities = capabilities_of(words.split(' '));
        }
    }

    fn ask_capabilities(&mut self) -> Result<(), Failure> {
        let mut found = Vec::new();
        self.well_with(&[Plain("CAPABILITY")], &mut |word, values| {
            if word == "CAPABILITY" {
                let words: Vec<String> = values.iter().filter_map(Value::text).collect();
                found = capabilities_of(words.iter().map(String::as_str));
            }
            Ok(())
        })?;
        self.capabilities = found;
        Ok(())
    }

    /// Whether the server announces that.
    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    fn log_in(&mut self, login: &Login) -> Result<(), Failure> {
        let answer = if self.can("AUTH=PLAIN") {
            self.authenticate(login)?
        } else {
            // Dovecot's way of naming both.
            let name = match &login.master {
                Some(master) => format!("{}*{master}", login.user),
                None => login.user.clone(),
            };
            let parts = [
                Plain("LOGIN "),
                Text(name.as_bytes()),
                Plain(" "),
                Text(login.password.expose().as_bytes()),
            ];
            self.command(&parts, &mut |_, _| Ok(()))?
        };
        if answer.kind == "OK" {
            return Ok(());
        }
        let who = login.master.as_ref().unwrap_or(&login.user);
        let sentence = format!(
            "{} does not let {who} in to read the mail of {}: {}",
            self.host(),
            login.user,
            answer.text
        );
        let is_later = answer.code.is_some_and(|(code, _)| code == "UNAVAILABLE");
        Err(Failure::new(if is_later { Exit::Later } else { Exit::NotAllowed }, sentence))
    }

    /// `AUTHENTICATE PLAIN` (RFC 4616): whose mail, NUL, who logs in, NUL, password.
    fn authenticate(&mut self, login: &Login) -> Result<Status, Failure> {
        let (act_as, name) = match &login.master {
            Some(master) => (login.user.as_str(), master.as_str()),
            None => ("", login.user.as_str()),
        };
        let message = Secret::new(format!("{act_as}\0{name}\0{}", login.password.expose()));
        let encoded = Secret::new(STANDARD.encode(message.expose()));
        let tag = self.next_tag();
        self.wire.send(format!("{tag} AUTHENTICATE PLAIN\r\n").as_bytes())?;
        let mut is_sent = false;
        loop {
            match self.wire.receive(0)? {
                Response::Continue if !is_sent => {
                    is_sent = true;
                    let line = Secret::new(format!("{}\r\n", encoded.expose()));
                    self.wire.send(line.expose().as_bytes())?;
                }
                Response::Continue => return Err(self.strange("it asks for more than a password")),
                Response::Tagged(found, status) if found == tag => return Ok(status),
                Response::Status(status) if status.kind == "BYE" => return Err(self.ended(&status)),
                _ => {}
            }
        }
    }

    /// Whether mailboxes have something that stays when their name changes: MAILBOXID (RFC 8474),
    /// or what Dovecot calls X-GUID.
    fn find_identity(&mut self) -> Result<(), Failure> {
        if self.can("OBJECTID") {
            self.identity = Some("MAILBOXID");
            return Ok(());
        }
        let answer = self.command(&[Plain("STATUS INBOX (X-GUID)")], &mut |_, _| Ok(()))?;
        self.identity = (answer.kind == "OK").then_some("X-GUID");
        Ok(())
    }

    /// The namespaces; none if the server has no such thing.
    pub(super) fn namespaces(&mut self) -> Result<Namespaces, Failure> {
        let mut found = Namespaces::default();
        if self.can("NAMESPACE") {
            self.well_with(&[Plain("NAMESPACE")], &mut |word, values| {
                if word == "NAMESPACE" {
                    found = Namespaces::of(&values);
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Every mailbox, and every name that is subscribed to, with `\subscribed` where it is.
    pub(super) fn list(&mut self) -> Result<Vec<Listed>, Failure> {
        let is_extended = self.can("LIST-EXTENDED");
        let offices =
            if is_extended && self.can("SPECIAL-USE") { " RETURN (SPECIAL-USE)" } else { "" };
        let all = self.listed(&format!("LIST \"\" \"*\"{offices}"))?;
        let mut all: BTreeMap<Vec<u8>, Listed> =
            all.into_iter().map(|listed| (listed.wire.clone(), listed)).collect();
        let command = if is_extended { "LIST (SUBSCRIBED) \"\" \"*\"" } else { "LSUB \"\" \"*\"" };
        for subscribed in self.listed(command)? {
            // LSUB shows levels above what is subscribed to in this way.
            if !is_extended && !subscribed.is_mailbox() {
                continue;
            }
            let wire = subscribed.wire.clone();
            // A name without a mailbox may be subscribed to, too.
            let nonexistent = vec!["\\nonexistent".to_owned()];
            let new = || Listed { attributes: nonexistent, ..subscribed };
            let listed = all.entry(wire).or_insert_with(new);
            listed.attributes.push("\\subscribed".to_owned());
        }
        Ok(all.into_values().collect())
    }

    fn listed(&mut self, command: &str) -> Result<Vec<Listed>, Failure> {
        let mut found = Vec::new();
        self.well_with(&[Plain(command)], &mut |word, values| {
            if word == "LIST" || word == "LSUB" {
                found.extend(Listed::of(&values));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The numbers of a mailbox; `None` if it cannot be read any more.
    pub(super) fn status(&mut self, wire: &[u8]) -> Result<Option<Numbers>, Failure> {
        let modseq = if self.can("CONDSTORE") { " HIGHESTMODSEQ" } else { "" };
        let identity = self.identity.map_or(String::new(), |name| format!(" {name}"));
        let items = format!(" (MESSAGES UIDNEXT UIDVALIDITY{modseq}{identity})");
        let mut found = None;
        let parts = [Plain("STATUS "), Text(wire), Plain(&items)];
        let answer = self.command(&parts, &mut |word, values| {
            if let ("STATUS", [_, Value::List(items)]) = (word, values.as_slice()) {
                found = Some(numbers_of(items));
            }
            Ok(())
        })?;
        Ok(found.filter(|numbers| answer.kind == "OK" && numbers.uid_validity != 0))
    }

    /// Opens a mailbox for reading.
    pub(super) fn examine(&mut self, wire: &[u8]) -> Result<Numbers, Failure> {
        // A mailbox that was never selected may have no UIDNEXT but by STATUS.
        let Some(before) = self.status(wire)? else {
            return Err(Failure::new(Exit::Refused, "it cannot be read there"));
        };
        let condstore = if self.can("CONDSTORE") { " (CONDSTORE)" } else { "" };
        let mut codes = BTreeMap::new();
        let parts = [Plain("EXAMINE "), Text(wire), Plain(condstore)];
        let answer = self.command_with_codes(&parts, &mut |_, _| Ok(()), &mut codes)?;
        if answer.kind != "OK" {
            let sentence = format!("it cannot be read there: {}", answer.text);
            return Err(Failure::new(Exit::Refused, sentence));
        }
        let number = |name: &str| codes.get(name).and_then(|text: &String| text.parse().ok());
        let uid_validity = number("UIDVALIDITY").and_then(|found: u64| u32::try_from(found).ok());
        Ok(Numbers {
            uid_validity: uid_validity.unwrap_or(before.uid_validity),
            uid_next: number("UIDNEXT").unwrap_or(before.uid_next).min(1 << 32),
            modseq: number("HIGHESTMODSEQ").filter(|_| !codes.contains_key("NOMODSEQ")),
            ..before
        })
    }

    /// Messages of the open mailbox. `hear` gets each, `gone` the UIDs that are not there any more.
    pub(super) fn fetch(
        &mut self,
        uids: &str,
        items: &str,
        since: Since,
        hear: &mut dyn FnMut(Fetched) -> Result<(), Failure>,
        gone: &mut dyn FnMut(&str),
    ) -> Result<Status, Failure> {
        let since = match since {
            Since::Ever => String::new(),
            Since::Modseq(modseq) => format!(" (CHANGEDSINCE {modseq} VANISHED)"),
        };
        let command = format!("UID FETCH {uids} {items}{since}");
        self.command(&[Plain(&command)], &mut |word, values| {
            match word {
                "FETCH" => hear(Fetched::of(values))?,
                "VANISHED" => {
                    if let Some(text) = values.last().and_then(Value::text) {
                        gone(&text);
                    }
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// Ends the session.
    pub(super) fn close(mut self) {
        let _ = self.command(&[Plain("LOGOUT")], &mut |_, _| Ok(()));
    }

    fn well(&mut self, parts: &[Part<'_>]) -> Result<(), Failure> {
        self.well_with(parts, &mut |_, _| Ok(()))
    }

    fn well_with(&mut self, parts: &[Part<'_>], hear: &mut Hear<'_>) -> Result<(), Failure> {
        let answer = self.command(parts, hear)?;
        if answer.kind == "OK" {
            return Ok(());
        }
        let verb = match parts.first() {
            Some(Plain(verb)) => verb.split(' ').next().unwrap_or_default(),
            _ => "",
        };
        let sentence = format!("{} does not do {verb}: {}", self.host(), answer.text);
        Err(Failure::new(Exit::Refused, sentence))
    }

    fn command(&mut self, parts: &[Part<'_>], hear: &mut Hear<'_>) -> Result<Status, Failure> {
        self.command_with_codes(parts, hear, &mut BTreeMap::new())
    }

    /// Sends a command and hears all that comes until it ends.
    fn command_with_codes(
        &mut self,
        parts: &[Part<'_>],
        hear: &mut Hear<'_>,
        codes: &mut BTreeMap<String, String>,
    ) -> Result<Status, Failure> {
        let tag = self.next_tag();
        let mut line = format!("{tag} ").into_bytes();
        for part in parts {
            match part {
                Plain(text) => line.extend_from_slice(text.as_bytes()),
                Text(bytes) if bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) => {
                    put_quoted(&mut line, bytes);
                }
                Text(bytes) => {
                    line.extend_from_slice(format!("{{{}}}\r\n", bytes.len()).as_bytes());
                    self.wire.send(&std::mem::take(&mut line))?;
                    if let Some(status) = self.await_continue(&tag)? {
                        return Ok(status);
                    }
                    line.extend_from_slice(bytes);
                }
            }
        }
        line.extend_from_slice(b"\r\n");
        self.wire.send(&line)?;
        drop(Secret::new(String::from_utf8(line).unwrap_or_default()));
        let limit = u64_of(MESSAGE_BYTES_MAX);
        let (mut lines, mut lines_max) = (0u64, LINES_MAX);
        loop {
            lines += 1;
            match self.wire.receive(limit)? {
                Response::Tagged(found, status) if found == tag => {
                    self.heard(&status);
                    return Ok(status);
                }
                Response::Status(status) if status.kind == "BYE" => {
                    if !matches!(parts.first(), Some(Plain("LOGOUT"))) {
                        return Err(self.ended(&status));
                    }
                }
                Response::Status(status) => codes.extend(status.code),
                Response::Other(_, word, values) => {
                    if word == "FETCH" {
                        // As many as there are messages.
                        lines_max = (1 << 32) + FETCH_LINES_SPARE;
                    }
                    hear(&word, values)?;
                }
                Response::Continue | Response::Tagged(..) => {
                    return Err(self.strange("it answers what was not asked"));
                }
            }
            if lines > lines_max {
                return Err(self.strange("its answer does not end"));
            }
        }
    }

    /// Waits until a literal may be sent; a status if it may not.
    fn await_continue(&mut self, tag: &str) -> Result<Option<Status>, Failure> {
        for _ in 0..LINES_MAX {
            match self.wire.receive(0)? {
                Response::Continue => return Ok(None),
                Response::Tagged(found, status) if found == tag => return Ok(Some(status)),
                Response::Status(status) if status.kind == "BYE" => return Err(self.ended(&status)),
                _ => {}
            }
        }
        Err(self.strange("its answer does not end"))
    }

    fn next_tag(&mut self) -> String {
        self.tag += 1;
        format!("p{}", self.tag)
    }

    fn strange(&self, why: &str) -> Failure {
        Failure::new(Exit::Refused, format!("{} does not speak IMAP: {why}", self.host()))
    }

    fn ended(&self, status: &Status) -> Failure {
        let sentence = format!(
            "{} ended the connection: {}; what was brought stays, and the same command goes on \
             from there",
            self.host(),
            status.text
        );
        Failure::new(Exit::Later, sentence)
    }
}

fn capabilities_of<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<String> = words.map(str::to_ascii_uppercase).collect();
    // What RFC 9051 has made part of the protocol need not be announced any more.
    if found.iter().any(|known| known == "IMAP4REV2") {
        let implied = ["NAMESPACE", "LIST-EXTENDED", "SPECIAL-USE"];
        found.extend(implied.map(str::to_owned));
    }
    if found.iter().any(|known| known == "QRESYNC") {
        found.push("CONDSTORE".to_owned());
    }
    found
}

/// From the items of a STATUS response.
fn numbers_of(items: &[Value]) -> Numbers {
    let mut numbers = Numbers::default();
    for pair in items.chunks_exact(2) {
        let [name, value] = pair else { continue };
        let number = value.number();
        match name.text().unwrap_or_default().to_ascii_uppercase().as_str() {
            "MESSAGES" => numbers.message_count = number.unwrap_or(0),
            "UIDNEXT" => numbers.uid_next = number.unwrap_or(0).min(1 << 32),
            "UIDVALIDITY" => {
                let number = number.and_then(|number| u32::try_from(number).ok());
                numbers.uid_validity = number.unwrap_or(0);
            }
            "HIGHESTMODSEQ" => numbers.modseq = number.filter(|number| *number > 0),
            "X-GUID" => numbers.identity = value.text(),
            "MAILBOXID" => {
                numbers.identity = value.list().and_then(|ids| ids.first()?.text());
            }
            _ => {}
        }
    }
    numbers
}

fn put_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for &byte in bytes {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_status() {
        let word = |text: &str| Value::Word(text.as_bytes().to_vec());
        let items =
            ["MESSAGES", "3", "UIDNEXT", "4294967296", "UIDVALIDITY", "7", "HIGHESTMODSEQ", "0"];
        let mut items: Vec<Value> = items.map(word).to_vec();
        items.extend([word("MAILBOXID"), Value::List(vec![word("F1")])]);
        let expected = Numbers {
            uid_validity: 7,
            uid_next: 1 << 32,
            message_count: 3,
            modseq: None,
            identity: Some("F1".to_owned()),
        };
        assert_eq!(numbers_of(&items), expected);
    }

    #[test]
    fn names_with_quotation_marks_are_quoted() {
        let mut out = Vec::new();
        put_quoted(&mut out, b"a\"b\\c");
        assert_eq!(out, b"\"a\\\"b\\\\c\"");
    }
}
