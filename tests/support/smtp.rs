//! A small blocking client for SMTP and LMTP.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that says nothing for so long has failed the test.
const ANSWER_SECONDS_MAX: u64 = 60;

/// Which of the two is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Smtp,
    Lmtp,
}

/// A connection.
pub(crate) struct Smtp {
    stream: BufReader<TcpStream>,
    dialect: Dialect,
    /// The answer to EHLO or LHLO, a line each.
    pub(crate) extensions: Vec<String>,
}

/// A reply: its code, and the text of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SmtpReply {
    pub(crate) code: u16,
    pub(crate) text: String,
}

impl SmtpReply {
    pub(crate) fn is_ok(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

impl Smtp {
    /// Connects, reads the greeting and says EHLO or LHLO.
    pub(crate) fn connect(address: SocketAddr, dialect: Dialect) -> io::Result<Smtp> {
        let mut smtp = Smtp::connect_silent(address, dialect)?;
        let hello = if dialect == Dialect::Lmtp { "LHLO" } else { "EHLO" };
        let reply = smtp.command(&format!("{hello} client.example"))?;
        smtp.extensions = reply.text.lines().map(str::to_owned).collect();
        Ok(smtp)
    }

    /// Connects and reads the greeting.
    pub(crate) fn connect_silent(address: SocketAddr, dialect: Dialect) -> io::Result<Smtp> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
        stream.set_write_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX)))?;
        let stream = BufReader::new(stream);
        let mut smtp = Smtp { stream, dialect, extensions: Vec::new() };
        let greeting = smtp.reply()?;
        if greeting.code == 220 {
            return Ok(smtp);
        }
        Err(io::Error::other(format!("{greeting:?}")))
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn command(&mut self, command: &str) -> io::Result<SmtpReply> {
        self.send_raw(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    pub(crate) fn reply(&mut self) -> io::Result<SmtpReply> {
        let mut text = String::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| io::Error::other(format!("no reply: {line:?}")))?;
            text += line.get(4..).unwrap_or_default();
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(SmtpReply { code, text });
            }
            text.push('\n');
        }
    }

    /// One whole transaction. LMTP: one reply a recipient, in order; SMTP: one for all. A recipient
    /// that is refused has its refusal in the place of its reply.
    pub(crate) fn deliver(
        &mut self,
        sender: &str,
        recipients: &[&str],
        message: &[u8],
    ) -> io::Result<Vec<SmtpReply>> {
        let mail = self.command(&format!("MAIL FROM:<{sender}>"))?;
        if !mail.is_ok() {
            return Ok(vec![mail]);
        }
        let mut replies = Vec::new();
        for recipient in recipients {
            replies.push(self.command(&format!("RCPT TO:<{recipient}>"))?);
        }
        if !replies.iter().any(SmtpReply::is_ok) {
            self.command("RSET")?;
            return Ok(replies);
        }
        let data = self.command("DATA")?;
        if data.code != 354 {
            return Ok(vec![data]);
        }
        self.send_raw(&dot_stuffed(message))?;
        if self.dialect == Dialect::Smtp {
            return Ok(vec![self.reply()?]);
        }
        for reply in replies.iter_mut().filter(|reply| reply.is_ok()) {
            *reply = self.reply()?;
        }
        Ok(replies)
    }
}

/// A message as it follows DATA, with its last line (RFC 5321 section 4.5.2).
pub(crate) fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + 64);
    let mut at_line_start = true;
    for (index, &byte) in message.iter().enumerate() {
        if at_line_start && byte == b'.' {
            stuffed.push(b'.');
        }
        stuffed.push(byte);
        at_line_start = byte == b'\n' && index > 0 && message[index - 1] == b'\r';
    }
    if !stuffed.ends_with(b"\r\n") && !message.is_empty() {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}
