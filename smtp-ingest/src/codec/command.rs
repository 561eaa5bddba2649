//! Commands (RFC 5321 section 4.1.1, with those of RFC 2033, 3207 and 3030).

use super::address::{self, Address, ReversePath};

/// How a client greets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hello {
    /// Without extensions.
    Helo,
    /// With extensions.
    Ehlo,
    /// LMTP's (RFC 2033 section 4.1).
    Lhlo,
}

/// Parameters of MAIL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MailParameters {
    /// `SIZE=`: the message's bytes as its sender counts them (RFC 1870).
    pub(crate) declared_bytes: Option<u64>,
    /// `SMTPUTF8` was given (RFC 6531).
    pub(crate) smtputf8: bool,
}

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// HELO, EHLO, LHLO.
    Hello(Hello, String),
    /// MAIL FROM.
    Mail(ReversePath, MailParameters),
    /// RCPT TO.
    Rcpt(Address),
    /// DATA.
    Data,
    /// BDAT: a chunk of that many bytes follows at once (RFC 3030).
    Bdat(Chunk),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// STARTTLS.
    StartTls,
}

/// What BDAT announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chunk {
    /// Its bytes.
    pub(crate) byte_count: u64,
    /// Whether the message ends with it.
    pub(crate) last: bool,
}

/// Why a line is no command. Always the client's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CommandError {
    /// The line exceeds the limit; it was skipped.
    LineTooLong,
    /// The line ends with a bare line feed where that is refused.
    BareNewline,
    /// No command that we know.
    Unknown,
    /// HTTP, most likely sent by somebody's browser on an attacker's behalf.
    ForeignProtocol,
    /// A known command with arguments that it does not take, or without those that it needs.
    Arguments,
    /// The sender's address does not parse.
    SenderAddress,
    /// The recipient's address does not parse.
    RecipientAddress,
    /// A parameter that we did not announce.
    UnknownParameter,
    /// A parameter with a value that it cannot have.
    ParameterValue,
    /// BDAT without a size: where the next command begins cannot be known.
    ChunkSize,
}

/// Parses a line, without its CRLF.
pub(crate) fn parse(line: &[u8]) -> Result<Command, CommandError> {
    let end = line.iter().position(|&byte| byte == b' ' || byte == b'\t').unwrap_or(line.len());
    let (verb, arguments) = line.split_at_checked(end).unwrap_or((line, b""));
    let arguments = arguments.trim_ascii();
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    match verb.first().map(u8::to_ascii_uppercase) {
        Some(b'M') if is("MAIL") => mail(arguments),
        Some(b'R') if is("RCPT") => rcpt(arguments),
        Some(b'D') if is("DATA") => bare(arguments, Command::Data),
        Some(b'B') if is("BDAT") => bdat(arguments),
        Some(b'E') if is("EHLO") => hello(Hello::Ehlo, arguments),
        Some(b'L') if is("LHLO") => hello(Hello::Lhlo, arguments),
        Some(b'H') if is("HELO") => hello(Hello::Helo, arguments),
        Some(b'Q') if is("QUIT") => bare(arguments, Command::Quit),
        Some(b'R') if is("RSET") => bare(arguments, Command::Rset),
        Some(b'N') if is("NOOP") => Ok(Command::Noop),
        Some(b'S') if is("STARTTLS") => bare(arguments, Command::StartTls),
        Some(b'V') if is("VRFY") => argued(arguments, Command::Vrfy),
        Some(b'E') if is("EXPN") => argued(arguments, Command::Expn),
        Some(b'H') if is("HELP") => Ok(Command::Help),
        _ if ["GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"].into_iter().any(is) => {
            Err(CommandError::ForeignProtocol)
        }
        _ => Err(CommandError::Unknown),
    }
}

fn bare(arguments: &[u8], command: Command) -> Result<Command, CommandError> {
    if arguments.is_empty() { Ok(command) } else { Err(CommandError::Arguments) }
}

fn argued(arguments: &[u8], command: Command) -> Result<Command, CommandError> {
    if arguments.is_empty() { Err(CommandError::Arguments) } else { Ok(command) }
}

/// `ehlo = "EHLO" SP ( Domain / address-literal ) CRLF`. The name is often wrong in the world and
/// serves for the trace only, so all printable text is taken.
fn hello(hello: Hello, arguments: &[u8]) -> Result<Command, CommandError> {
    let name = std::str::from_utf8(arguments).map_err(|_| CommandError::Arguments)?;
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(CommandError::Arguments);
    }
    Ok(Command::Hello(hello, name.to_owned()))
}

/// `mail = "MAIL FROM:" Reverse-path [SP Mail-parameters] CRLF`
fn mail(arguments: &[u8]) -> Result<Command, CommandError> {
    let argument = keyword(arguments, b"FROM:").ok_or(CommandError::Arguments)?;
    let (sender, rest) = address::reverse_path(argument).ok_or(CommandError::SenderAddress)?;
    Ok(Command::Mail(sender, mail_parameters(rest)?))
}

/// `rcpt = "RCPT TO:" Forward-path [SP Rcpt-parameters] CRLF`; no parameter is announced.
fn rcpt(arguments: &[u8]) -> Result<Command, CommandError> {
    let argument = keyword(arguments, b"TO:").ok_or(CommandError::Arguments)?;
    let (recipient, rest) = address::path(argument).ok_or(CommandError::RecipientAddress)?;
    match rest.first() {
        None => Ok(Command::Rcpt(recipient)),
        Some(b' ') => Err(CommandError::UnknownParameter),
        Some(_) => Err(CommandError::RecipientAddress),
    }
}

/// After `FROM:` or `TO:`; spaces there are wrong but frequent.
fn keyword<'a>(arguments: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = arguments.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| rest.trim_ascii_start())
}

/// `Mail-parameters = esmtp-param *(SP esmtp-param)`
fn mail_parameters(input: &[u8]) -> Result<MailParameters, CommandError> {
    let mut parameters = MailParameters::default();
    if input.first().is_some_and(|&byte| byte != b' ') {
        return Err(CommandError::SenderAddress);
    }
    for parameter in input.split(|&byte| byte == b' ').filter(|text| !text.is_empty()) {
        let end = parameter.iter().position(|&byte| byte == b'=').unwrap_or(parameter.len());
        let (name, value) = parameter.split_at_checked(end).unwrap_or((parameter, b""));
        let value = value.strip_prefix(b"=");
        if name.eq_ignore_ascii_case(b"SIZE") {
            let size = value.and_then(number).ok_or(CommandError::ParameterValue)?;
            parameters.declared_bytes = Some(size);
        } else if name.eq_ignore_ascii_case(b"BODY") {
            let value = value.ok_or(CommandError::ParameterValue)?;
            let known =
                value.eq_ignore_ascii_case(b"7BIT") || value.eq_ignore_ascii_case(b"8BITMIME");
            known.then_some(()).ok_or(CommandError::ParameterValue)?;
        } else if name.eq_ignore_ascii_case(b"SMTPUTF8") {
            value.is_none().then_some(()).ok_or(CommandError::ParameterValue)?;
            parameters.smtputf8 = true;
        } else {
            return Err(CommandError::UnknownParameter);
        }
    }
    Ok(parameters)
}

/// `bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CR LF`
fn bdat(arguments: &[u8]) -> Result<Command, CommandError> {
    let mut words = arguments.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let byte_count = words.next().and_then(number).ok_or(CommandError::ChunkSize)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(CommandError::ChunkSize),
    };
    match words.next() {
        None => Ok(Command::Bdat(Chunk { byte_count, last })),
        Some(_) => Err(CommandError::ChunkSize),
    }
}

/// `size-value = 1*20DIGIT`; beyond 64 bits it saturates, which is too large in any case.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mail_with(sender: &str, declared_bytes: Option<u64>, smtputf8: bool) -> Command {
        let (sender, _) = address::reverse_path(sender.as_bytes()).unwrap();
        Command::Mail(sender, MailParameters { declared_bytes, smtputf8 })
    }

    #[test]
    fn commands_that_are_understood() {
        let rcpt = Command::Rcpt(address::path(b"<a@b.example>").unwrap().0);
        let cases = [
            ("EHLO mx.example", Command::Hello(Hello::Ehlo, "mx.example".into())),
            ("lhlo [192.0.2.1]", Command::Hello(Hello::Lhlo, "[192.0.2.1]".into())),
            ("HELO  name ", Command::Hello(Hello::Helo, "name".into())),
            ("MAIL FROM:<>", mail_with("<>", None, false)),
            ("mail from:<a@b.example> size=12", mail_with("<a@b.example>", Some(12), false)),
            ("MAIL FROM: <a@b.example>", mail_with("<a@b.example>", None, false)),
            (
                "MAIL FROM:<a@b.example> BODY=8bitmime SMTPUTF8",
                mail_with("<a@b.example>", None, true),
            ),
            ("MAIL FROM:<> SIZE=99999999999999999999", mail_with("<>", Some(u64::MAX), false)),
            ("RCPT TO:<a@b.example>", rcpt.clone()),
            ("RCPT To: <a@b.example> ", rcpt),
            ("DATA", Command::Data),
            ("data ", Command::Data),
            ("BDAT 10", Command::Bdat(Chunk { byte_count: 10, last: false })),
            ("BDAT 0 last", Command::Bdat(Chunk { byte_count: 0, last: true })),
            ("RSET", Command::Rset),
            ("NOOP anything", Command::Noop),
            ("QUIT", Command::Quit),
            ("VRFY a", Command::Vrfy),
            ("EXPN list", Command::Expn),
            ("HELP", Command::Help),
            ("StartTLS", Command::StartTls),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), Ok(expected), "{line}");
        }
    }

    #[test]
    fn lines_that_are_refused() {
        let cases = [
            ("", CommandError::Unknown),
            (" ", CommandError::Unknown),
            ("MAILFROM:<>", CommandError::Unknown),
            ("AUTH PLAIN", CommandError::Unknown),
            ("GET / HTTP/1.1", CommandError::ForeignProtocol),
            ("EHLO", CommandError::Arguments),
            ("EHLO a\u{1}b", CommandError::Arguments),
            ("MAIL", CommandError::Arguments),
            ("MAIL TO:<>", CommandError::Arguments),
            ("MAIL FROM:a@b.example", CommandError::SenderAddress),
            ("MAIL FROM:<a@b.example>SIZE=1", CommandError::SenderAddress),
            ("MAIL FROM:<> SIZE", CommandError::ParameterValue),
            ("MAIL FROM:<> SIZE=-1", CommandError::ParameterValue),
            ("MAIL FROM:<> SIZE=999999999999999999999", CommandError::ParameterValue),
            ("MAIL FROM:<> BODY=BINARYMIME", CommandError::ParameterValue),
            ("MAIL FROM:<> SMTPUTF8=1", CommandError::ParameterValue),
            ("MAIL FROM:<> RET=FULL", CommandError::UnknownParameter),
            ("RCPT TO:<>", CommandError::RecipientAddress),
            ("RCPT TO:<a@b.example> NOTIFY=NEVER", CommandError::UnknownParameter),
            ("RCPT TO:<a@b.example>x", CommandError::RecipientAddress),
            ("DATA now", CommandError::Arguments),
            ("QUIT now", CommandError::Arguments),
            ("VRFY", CommandError::Arguments),
            ("STARTTLS now", CommandError::Arguments),
            ("BDAT", CommandError::ChunkSize),
            ("BDAT x", CommandError::ChunkSize),
            ("BDAT 1 FIRST", CommandError::ChunkSize),
            ("BDAT 1 LAST 2", CommandError::ChunkSize),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), Err(expected), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_an_error(
            verb in "(MAIL FROM:|RCPT TO:|BDAT |EHLO |)",
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = parse(&[verb.as_bytes(), &bytes].concat());
        }
    }
}
