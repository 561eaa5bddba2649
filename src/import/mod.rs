//! `import`: mail from a Maildir or an mbox, many messages in flight.
//!
//! Messages are read one at a time and sent ahead; the answers are collected behind them, so that
//! the store commits many together, in one record of the log and with one flush. A message that is
//! refused is named and counted, and the import goes on; when the store itself takes nothing more,
//! it stops.
//!
//! Stored mail has CRLF line ends: a bare LF becomes CRLF, nothing else is touched.

mod beside;
mod live;
mod maildir;
mod mbox;

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use indicatif::ProgressBar;

use crate::admin::{Answer, Connection, Request, TOGETHER_COUNT_MAX, TOGETHER_MAIL_BYTES_MAX};
use crate::failure::{Exit, Failure};

pub(crate) use live::{Options, Reach, Who, fuzz_imap_response, import_live};
pub(crate) use maildir::import_maildir;
#[cfg(test)]
pub(crate) use mbox::received;
pub(crate) use mbox::{fuzz_mbox, import_mbox};

/// Messages sent ahead of their answers: some are being committed while the next are held.
const IN_FLIGHT_MAX: usize = 512;
/// Bytes of them.
const IN_FLIGHT_BYTES_MAX: u64 = 32 << 20;

const _: () = assert!(
    TOGETHER_COUNT_MAX <= IN_FLIGHT_MAX && TOGETHER_MAIL_BYTES_MAX <= IN_FLIGHT_BYTES_MAX,
    "whoever waits for its oldest answer does not wait for what is held"
);
/// Refused messages that are named; the rest are only counted.
const REFUSALS_NAMED_MAX: u64 = 20;

/// A message on its way in.
struct Incoming<'a> {
    mailbox: &'a str,
    flags: Vec<String>,
    /// INTERNALDATE in seconds since 1970 UTC.
    received: i64,
    /// With CRLF line ends.
    message: &'a [u8],
    /// How a person finds it again: a file, or a file and a place in it.
    origin: String,
}

/// Sends messages to one account and counts what became of them.
pub(crate) struct Importer<'a> {
    connection: &'a mut Connection,
    account: &'a str,
    bar: ProgressBar,
    made: HashSet<String>,
    /// Subscriptions before the import and those that it brings, if it brings any.
    subscriptions: Option<(HashSet<String>, HashSet<String>)>,
    /// What is set when all mailboxes are there.
    beside: Vec<Request>,
    /// What stood beside mail and was left out.
    left_out: u64,
    owed: VecDeque<(String, u64)>,
    owed_bytes: u64,
    imported: u64,
    refused: u64,
}

impl<'a> Importer<'a> {
    /// Nothing sent yet.
    pub(crate) fn new(
        connection: &'a mut Connection,
        account: &'a str,
        bar: ProgressBar,
    ) -> Importer<'a> {
        Importer {
            connection,
            account,
            bar,
            made: HashSet::new(),
            subscriptions: None,
            beside: Vec::new(),
            left_out: 0,
            owed: VecDeque::new(),
            owed_bytes: 0,
            imported: 0,
            refused: 0,
        }
    }

    /// Makes a mailbox unless this import did already.
    fn ensure_mailbox(&mut self, mailbox: &str) -> Result<(), Failure> {
        if self.made.contains(mailbox) {
            return Ok(());
        }
        self.settle_all()?;
        let request = Request::MailboxEnsure {
            account: self.account.to_owned(),
            mailbox: mailbox.to_owned(),
        };
        self.connection.call(&request, b"", &mut |_, _| {})?;
        self.made.insert(mailbox.to_owned());
        Ok(())
    }

    /// Whatever the import makes is subscribed, unless the mail brings subscriptions of its own:
    /// these then hold at the end, beside those that were there before.
    fn subscribe_to(&mut self, names: Vec<String>, into: Option<&str>) -> Result<(), Failure> {
        let before = self.subscribed()?;
        let names = names.iter().map(|name| below(into, name)).collect();
        self.subscriptions = Some((before, names));
        Ok(())
    }

    fn subscribed(&mut self) -> Result<HashSet<String>, Failure> {
        let request = Request::MailboxList { account: self.account.to_owned() };
        match self.connection.call(&request, b"", &mut |_, _| {})? {
            Answer::Mailboxes { subscribed, .. } => Ok(subscribed.into_iter().collect()),
            _ => Ok(HashSet::new()),
        }
    }

    fn settle_subscriptions(&mut self) -> Result<(), Failure> {
        let Some((before, brought)) = self.subscriptions.take() else { return Ok(()) };
        let now = self.subscribed()?;
        let made = now.difference(&before).filter(|name| !brought.contains(*name));
        let ended = made.map(|name| (name, false));
        for (name, subscribed) in brought.difference(&now).map(|name| (name, true)).chain(ended) {
            let (account, mailbox) = (self.account.to_owned(), name.clone());
            let request = Request::Subscribe { account, mailbox, subscribed };
            match self.connection.call(&request, b"", &mut |_, _| {}) {
                // A name that no mailbox can have is not worth an import.
                Err(failure) if failure.exit != Exit::Refused => return Err(failure),
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, incoming: Incoming<'_>) -> Result<(), Failure> {
        self.ensure_mailbox(incoming.mailbox)?;
        let body_bytes = engine::width::u64_of(incoming.message.len());
        let request = Request::Append {
            account: self.account.to_owned(),
            mailbox: incoming.mailbox.to_owned(),
            flags: incoming.flags,
            received: incoming.received,
            body_bytes,
            together: true,
        };
        self.connection.submit(&request, incoming.message)?;
        self.owed_bytes += body_bytes;
        self.owed.push_back((incoming.origin, body_bytes));
        self.settle(IN_FLIGHT_MAX)
    }

    /// Collects all answers.
    fn settle_all(&mut self) -> Result<(), Failure> {
        if self.owed.is_empty() {
            return Ok(());
        }
        self.connection.submit(&Request::AppendCommit, b"")?;
        self.settle(0)?;
        self.connection.answer(&mut |_, _| {}).map(drop)
    }

    /// Collects answers until at most `left` are owed, and few enough bytes.
    fn settle(&mut self, left: usize) -> Result<(), Failure> {
        while self.owed.len() > left || (self.owed_bytes > IN_FLIGHT_BYTES_MAX) {
            let Some((origin, bytes)) = self.owed.pop_front() else { return Ok(()) };
            self.owed_bytes -= bytes;
            match self.connection.answer(&mut |_, _| {}) {
                Ok(_) => self.imported += 1,
                Err(failure) if failure.exit == Exit::Refused || failure.exit == Exit::Usage => {
                    self.refuse(&origin, &failure.sentence);
                }
                Err(failure) => {
                    let sentence = format!(
                        "stopped at {origin} after {} messages: {}",
                        self.imported, failure.sentence
                    );
                    return Err(Failure::new(failure.exit, sentence));
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, origin: &str, why: &str) {
        self.refused += 1;
        if self.refused <= REFUSALS_NAMED_MAX {
            self.bar.suspend(|| eprintln!("not imported: {origin}: {why}"));
        }
    }

    /// Waits for everything, and says what was done.
    pub(crate) fn finish(mut self) -> Result<String, Failure> {
        self.settle_all()?;
        self.set_beside()?;
        self.settle_subscriptions()?;
        self.bar.finish_and_clear();
        let Importer { imported, refused, left_out, account, .. } = self;
        let done = format!("imported {imported} messages into {account}");
        match (refused, left_out) {
            (0, 0) => Ok(done),
            // Mail that is there twice costs more than an entry that somebody makes by hand.
            (0, _) => Ok(format!(
                "{done}; of what stands beside the mail {left_out} were left out (named above)"
            )),
            _ => Err(Failure::new(
                Exit::Refused,
                format!("{done}, but {refused} were not taken (named above)"),
            )),
        }
    }
}

/// `message` with CRLF line ends.
pub(crate) fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 32);
    let mut before = 0;
    for &byte in message {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

/// The name of a mailbox below `into`: INBOX and an empty name are `into` itself.
fn below(into: Option<&str>, name: &str) -> String {
    match (into, name) {
        (None, "") => "INBOX".to_owned(),
        (None, name) => name.to_owned(),
        (Some(into), "" | "INBOX") => into.to_owned(),
        (Some(into), name) => format!("{into}/{name}"),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> Failure + '_ {
    move |cause| Failure::file("read", path, &cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_line_feeds_become_crlf_and_nothing_else_changes() {
        let cases: [(&[u8], &[u8], &str); 5] = [
            (b"a\nb\n", b"a\r\nb\r\n", "Unix"),
            (b"a\r\nb\r\n", b"a\r\nb\r\n", "already right"),
            (b"a\r\nb\n", b"a\r\nb\r\n", "mixed"),
            (b"a\rb\r\r\n", b"a\rb\r\r\n", "bare CR stays"),
            (b"\n\n", b"\r\n\r\n", "empty lines"),
        ];
        for (input, expected, reason) in cases {
            assert_eq!(with_crlf(input), expected, "{reason}");
        }
    }

    proptest::proptest! {
        #[test]
        fn line_ends_made_right_stay_right(
            bytes in proptest::collection::vec(proptest::sample::select(b"a\r\n".to_vec()), 0..50)
        ) {
            let once = with_crlf(&bytes);
            proptest::prop_assert_eq!(with_crlf(&once), once.clone());
            let bare = once.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
            proptest::prop_assert!(!bare && once.first() != Some(&b'\n'));
        }
    }

    #[test]
    fn an_import_can_be_put_below_a_mailbox() {
        assert_eq!(below(None, "INBOX"), "INBOX");
        assert_eq!(below(Some("Old"), "INBOX"), "Old");
        assert_eq!(below(Some("Old"), "Work/2024"), "Old/Work/2024");
    }
}
