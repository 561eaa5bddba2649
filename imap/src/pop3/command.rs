//! A line of a POP3 client as a command (RFC 1939 section 9, RFC 2449 section 5, RFC 5034 section
//! 4).

use engine::seal::Secret;

/// A command.
#[derive(Debug)]
pub(crate) enum Command {
    User(String),
    Pass(Secret),
    /// Without a mechanism it asks for all; the initial response is still base64.
    Auth {
        mechanism: Option<String>,
        initial: Option<Vec<u8>>,
    },
    Capa,
    Stls,
    Quit,
    Stat,
    List(Option<u32>),
    Uidl(Option<u32>),
    Retr(u32),
    Top {
        number: u32,
        lines: u32,
    },
    Dele(u32),
    Noop,
    Rset,
}

/// Why a line is no command: a sentence for the client.
pub(crate) type Refusal = &'static str;

const WANTS_NUMBER: Refusal = "The command wants the number of a message";

/// Parses a line without its CRLF, which may have so many bytes if it is not AUTH (an AUTH line may
/// be as long as IMAP's). Words are separated by one space; what is wrong in number or kind is
/// refused.
pub(crate) fn parse(line: &[u8], line_bytes_max: usize) -> Result<Command, Refusal> {
    let (name, rest) = match line.iter().position(|&byte| byte == b' ') {
        Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..)),
        None => (line, None),
    };
    let name = name.to_ascii_uppercase();
    if line.len() > line_bytes_max && name != b"AUTH" {
        return Err("The line is too long");
    }
    match name.as_slice() {
        b"USER" => Ok(Command::User(text(rest)?.to_owned())),
        // A password may hold spaces (RFC 1939 section 7).
        b"PASS" => Ok(Command::Pass(Secret::new(text(rest)?.to_owned()))),
        b"AUTH" => auth(rest),
        b"CAPA" => nothing(rest, Command::Capa),
        b"STLS" => nothing(rest, Command::Stls),
        b"QUIT" => nothing(rest, Command::Quit),
        b"STAT" => nothing(rest, Command::Stat),
        b"NOOP" => nothing(rest, Command::Noop),
        b"RSET" => nothing(rest, Command::Rset),
        b"LIST" => Ok(Command::List(number_if_any(rest)?)),
        b"UIDL" => Ok(Command::Uidl(number_if_any(rest)?)),
        b"RETR" => Ok(Command::Retr(number_if_any(rest)?.ok_or(WANTS_NUMBER)?)),
        b"DELE" => Ok(Command::Dele(number_if_any(rest)?.ok_or(WANTS_NUMBER)?)),
        b"TOP" => top(rest.unwrap_or_default()),
        _ => Err("Unknown command"),
    }
}

fn text(rest: Option<&[u8]>) -> Result<&str, Refusal> {
    let text = std::str::from_utf8(rest.ok_or("The command wants an argument")?);
    text.map_err(|_| "The argument is not UTF-8")
}

fn nothing(rest: Option<&[u8]>, command: Command) -> Result<Command, Refusal> {
    match rest.unwrap_or_default().trim_ascii() {
        b"" => Ok(command),
        _ => Err("The command has no arguments"),
    }
}

fn auth(rest: Option<&[u8]>) -> Result<Command, Refusal> {
    let mut words = rest.unwrap_or_default().split(|&byte| byte == b' ');
    let mechanism = words.next().filter(|word| !word.is_empty());
    let mechanism = mechanism.map(|word| String::from_utf8_lossy(word).into_owned());
    let initial = words.next().map(<[u8]>::to_vec);
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err("AUTH has at most two arguments"),
    }
}

/// Numbers are decimal, without a sign.
fn number(word: &[u8]) -> Result<u32, Refusal> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return Err("That is no number");
    }
    let number = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
    // Past what a mailbox can hold all numbers are alike.
    Ok(number.unwrap_or(u32::MAX))
}

fn number_if_any(rest: Option<&[u8]>) -> Result<Option<u32>, Refusal> {
    match rest.unwrap_or_default().trim_ascii() {
        b"" => Ok(None),
        word => number(word).map(Some),
    }
}

fn top(rest: &[u8]) -> Result<Command, Refusal> {
    let mut words = rest.trim_ascii().split(|&byte| byte == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(message), Some(lines), None) => {
            Ok(Command::Top { number: number(message)?, lines: number(lines)? })
        }
        _ => Err("TOP wants the number of a message and a number of lines"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE_BYTES_MAX: usize = 1024;

    fn parsed(line: &[u8]) -> Result<Command, Refusal> {
        parse(line, LINE_BYTES_MAX)
    }

    #[test]
    fn a_line_is_a_command_or_refused() {
        for (line, expected) in [
            ("user Demo@example.org", "User(\"Demo@example.org\")"),
            ("PASS a b ", "Pass(Secret(…))"),
            ("QUIT", "Quit"),
            ("STAT ", "Stat"),
            ("LIST", "List(None)"),
            ("LIST 7", "List(Some(7))"),
            ("UIDL 99999999999", "Uidl(Some(4294967295))"),
            ("TOP 1 0", "Top { number: 1, lines: 0 }"),
            ("RETR 1 ", "Retr(1)"),
            ("AUTH", "Auth { mechanism: None, initial: None }"),
            ("AUTH plain =", "Auth { mechanism: Some(\"plain\"), initial: Some([61]) }"),
        ] {
            assert_eq!(format!("{:?}", parsed(line.as_bytes()).unwrap()), expected, "{line}");
        }
        for line in [
            "",
            " ",
            "APOP x y",
            "RETR",
            "RETR x",
            "RETR -1",
            "RETR 1 2",
            "TOP 1",
            "TOP 1 2 3",
            "QUIT now",
            "USER",
            "PASS",
            "USER \u{1}\u{fffd}",
            "AUTH a b c",
            "LIST +1",
        ] {
            let command = parsed(line.as_bytes());
            assert!(command.is_err() || line.starts_with("USER \u{1}"), "{line:?}");
        }
        assert!(parsed(b"USER \xff").is_err());
        let long = format!("USER {}", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(parsed(long.as_bytes()).unwrap_err(), "The line is too long");
        assert!(parsed(format!("AUTH PLAIN {}", "x".repeat(9000)).as_bytes()).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(
            line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..90),
        ) {
            let _ = parsed(&line);
        }

        #[test]
        fn no_tail_of_a_command_panics(
            name in proptest::sample::select(vec!["TOP", "LIST", "AUTH", "PASS", "DELE", "QUIT"]),
            rest in "[ 0-9a-z=\\-+]{0,30}",
        ) {
            let _ = parsed(format!("{name} {rest}").as_bytes());
        }
    }
}
