//! `export`: mail out to a Maildir or to mboxes, so that nobody has to stay.
//!
//! ```text
//! mailbox-list ─► for each mailbox: message-list from UID to UID ─► message-read, piece by piece
//!                                                                  ─► Target (maildir, mbox)
//! ```
//!
//! A message is looked through before it is written: what cannot be read is named and left out
//! before anything of it is on the disk, and how its lines end decides how it is written. One of a
//! single piece, as most are, is read once.
//!
//! # Invariants
//! 1. `import` of what was written gives the stored bytes, flags, INTERNALDATE, names,
//!    subscriptions, special uses, metadata and access control lists back; `mail_files.rs` says
//!    how.
//! 2. Nothing that exists is written over.
//! 3. One piece of one message is in memory.

mod lines;
mod maildir;
mod mbox;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use indicatif::ProgressBar;

use self::lines::{Look, UnixLines};
use crate::admin::{Answer, Beside, Connection, MessageLine, Request};
use crate::command::unexpected;
use crate::failure::{Exit, Failure};
use crate::mail_files::{
    BESIDE_FILE, BesideLine, LastLine, LineEnds, RightsLine, SUBSCRIPTIONS_FILE, dotted,
};
use crate::progress;

pub(crate) use maildir::MaildirTarget;
pub(crate) use mbox::MboxTarget;

/// How one message is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Form {
    line_ends: LineEnds,
    last_line: LastLine,
}

/// Where mail is written to.
pub(crate) trait Target {
    /// Begins a mailbox.
    fn begin_mailbox(&mut self, name: &str) -> Result<(), Failure>;
    /// Begins a message of it. `order` names the message within the account and orders it.
    fn begin_message(
        &mut self,
        order: &Order,
        form: Form,
        line: &MessageLine,
    ) -> Result<(), Failure>;
    /// Bytes of the message, with the line ends of its form.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure>;
    /// The message is whole.
    fn end_message(&mut self) -> Result<(), Failure>;
    /// Nothing of the begun message is to be left.
    fn drop_message(&mut self) -> Result<(), Failure>;
    /// Who may do what with the mailbox.
    fn write_rights(&mut self, rights: &[RightsLine]) -> Result<(), Failure>;
    /// No message follows in this mailbox.
    fn end_mailbox(&mut self) -> Result<(), Failure>;
    /// Where it all is.
    fn root(&self) -> &Path;
}

/// UIDVALIDITY and UID.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    uid_validity: u32,
    uid: u32,
}

/// What is wanted of an account.
pub(crate) struct Wanted<'a> {
    /// The account.
    pub(crate) account: &'a str,
    /// This mailbox alone, without what stands beside it and without subscriptions.
    pub(crate) mailbox: Option<&'a str>,
    /// How messages' lines end where both ways lead back.
    pub(crate) line_ends: LineEnds,
}

/// Why a message is not there.
enum Unread {
    /// Expunged since it was listed.
    Gone,
    /// Its sentence.
    Damaged(String),
    /// The export cannot go on.
    Failed(Failure),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Unread {
        match failure.exit {
            Exit::Damage | Exit::Disk => Unread::Damaged(failure.sentence),
            _ => Unread::Failed(failure),
        }
    }
}

/// Writes what is wanted to a target that `make` makes once it is known that there is something.
pub(crate) fn export<T: Target>(
    connection: &mut Connection,
    wanted: &Wanted<'_>,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Result<String, Failure> {
    let request = Request::MailboxList { account: wanted.account.to_owned() };
    let Answer::Mailboxes { mut mailboxes, subscribed } =
        connection.call(&request, b"", &mut |_, _| {})?
    else {
        return Err(unexpected());
    };
    if let Some(name) = wanted.mailbox {
        mailboxes.retain(|mailbox| mailbox.name == name);
        if mailboxes.is_empty() {
            let sentence = format!("{} has no mailbox {name}", wanted.account);
            return Err(Failure::new(Exit::Refused, sentence));
        }
    }
    let total = mailboxes.iter().map(|mailbox| mailbox.message_count).sum();
    let mut target = make()?;
    let bar = progress::bar("Exporting", total);
    let mut exporter =
        Exporter { connection, wanted, target: &mut target, bar, exported: 0, unreadable: 0 };
    let mut beside = String::new();
    for mailbox in &mailboxes {
        exporter.target.begin_mailbox(&mailbox.name)?;
        if wanted.mailbox.is_none() {
            beside += &exporter.beside(Some(&mailbox.name))?;
        }
        exporter.messages(&mailbox.name)?;
        exporter.target.end_mailbox()?;
    }
    if wanted.mailbox.is_none() {
        beside += &exporter.beside(None)?;
    }
    let Exporter { bar, exported, unreadable, .. } = exporter;
    if wanted.mailbox.is_none() {
        write_subscriptions(target.root(), &subscribed)?;
    }
    if !beside.is_empty() {
        write_new(&target.root().join(BESIDE_FILE), &beside)?;
    }
    flush(target.root())?;
    bar.finish_and_clear();
    let done = format!(
        "exported {exported} messages in {} mailboxes of {} to {}",
        mailboxes.len(),
        wanted.account,
        target.root().display()
    );
    match unreadable {
        0 => Ok(done),
        count => Err(Failure::new(
            Exit::Damage,
            format!("{done}, but {count} could not be read (named above)"),
        )),
    }
}

struct Exporter<'a, T> {
    connection: &'a mut Connection,
    wanted: &'a Wanted<'a>,
    target: &'a mut T,
    bar: ProgressBar,
    exported: u64,
    /// Messages, or ends of mailboxes, that were left out.
    unreadable: u64,
}

impl<T: Target> Exporter<'_, T> {
    /// Lines of the sidecar of a mailbox, or of the account itself; who may do what is written at
    /// the mailbox.
    fn beside(&mut self, name: Option<&str>) -> Result<String, Failure> {
        let request = Request::Beside {
            account: self.wanted.account.to_owned(),
            mailbox: name.map(str::to_owned),
        };
        let Answer::Beside(Beside { special_use, entries, rights }) =
            self.connection.call(&request, b"", &mut |_, _| {})?
        else {
            return Err(unexpected());
        };
        if !rights.is_empty() {
            self.target.write_rights(&rights)?;
        }
        let mailbox = name.unwrap_or_default().to_owned();
        let office = special_use
            .map(|special_use| BesideLine::Use { mailbox: mailbox.clone(), special_use });
        let entries = entries.into_iter().map(|(name, value)| BesideLine::Entry {
            mailbox: mailbox.clone(),
            name,
            value,
        });
        Ok(office.into_iter().chain(entries).map(|line| line.text()).collect())
    }

    fn messages(&mut self, name: &str) -> Result<(), Failure> {
        let mut next = Some(1);
        while let Some(from_uid) = next {
            let (uid_validity, messages) = match self.list(name, from_uid) {
                Ok(listed) => listed,
                Err(Unread::Failed(failure)) => return Err(failure),
                Err(Unread::Gone) => break,
                Err(Unread::Damaged(why)) => {
                    self.name_unreadable(&format!("{name} from UID {from_uid} on: {why}"));
                    break;
                }
            };
            next = messages.last().and_then(|last| last.uid.checked_add(1));
            for line in &messages {
                let order = Order { uid_validity, uid: line.uid };
                match self.message(name, &order, line) {
                    Ok(()) => self.exported += 1,
                    Err(Unread::Gone) => {}
                    Err(Unread::Damaged(why)) => {
                        self.name_unreadable(&format!("{name} UID {}: {why}", line.uid));
                    }
                    Err(Unread::Failed(failure)) => return Err(failure),
                }
                self.bar.inc(1);
            }
        }
        Ok(())
    }

    fn name_unreadable(&mut self, what: &str) {
        self.unreadable += 1;
        self.bar.suspend(|| eprintln!("not exported: {what}"));
    }

    fn list(&mut self, mailbox: &str, from_uid: u32) -> Result<(u32, Vec<MessageLine>), Unread> {
        let (account, mailbox) = (self.wanted.account.to_owned(), mailbox.to_owned());
        let request = Request::MessageList { account, mailbox, from_uid };
        match self.connection.call(&request, b"", &mut |_, _| {})? {
            Answer::Messages { uid_validity, messages } => Ok((uid_validity, messages)),
            _ => Err(Unread::Failed(unexpected())),
        }
    }

    fn read(&mut self, mailbox: &str, uid: u32, offset: u64) -> Result<Vec<u8>, Unread> {
        let (account, mailbox) = (self.wanted.account.to_owned(), mailbox.to_owned());
        let request = Request::MessageRead { account, mailbox, uid, offset };
        match self.connection.call(&request, b"", &mut |_, _| {})? {
            Answer::Piece { body, .. } => Ok(body),
            Answer::Gone => Err(Unread::Gone),
            _ => Err(Unread::Failed(unexpected())),
        }
    }

    /// Hands each piece of a message to `take`, to the last.
    fn each_piece(
        &mut self,
        mailbox: &str,
        line: &MessageLine,
        mut take: impl FnMut(&mut T, Vec<u8>) -> Result<(), Failure>,
    ) -> Result<(), Unread> {
        let mut offset = 0;
        while offset < line.message_bytes {
            let piece = self.read(mailbox, line.uid, offset)?;
            if piece.is_empty() {
                return Err(Unread::Damaged(format!("it ends after {offset} bytes")));
            }
            offset += engine::width::u64_of(piece.len());
            // What fails here is the disk that is written to.
            take(self.target, piece).map_err(Unread::Failed)?;
        }
        Ok(())
    }

    fn message(&mut self, mailbox: &str, order: &Order, line: &MessageLine) -> Result<(), Unread> {
        let mut look = Look::default();
        let mut whole = None;
        self.each_piece(mailbox, line, |_, piece| {
            look.at(&piece);
            let is_whole = engine::width::u64_of(piece.len()) == line.message_bytes;
            whole = is_whole.then_some(piece);
            Ok(())
        })?;
        let form = look.form(self.wanted.line_ends);
        self.target.begin_message(order, form, line).map_err(Unread::Failed)?;
        let mut lines = UnixLines::default();
        let mut put = |target: &mut T, piece: Vec<u8>| match form.line_ends {
            LineEnds::Unix => target.write(&lines.convert(&piece)),
            LineEnds::Stored => target.write(&piece),
        };
        let written = match whole {
            Some(piece) => put(self.target, piece).map_err(Unread::Failed),
            None => self.each_piece(mailbox, line, &mut put),
        };
        if let Err(unread) = written {
            self.target.drop_message().map_err(Unread::Failed)?;
            return Err(unread);
        }
        if lines.holds_return() {
            self.target.write(b"\r").map_err(Unread::Failed)?;
        }
        self.target.end_message().map_err(Unread::Failed)
    }
}

fn write_subscriptions(root: &Path, subscribed: &[String]) -> Result<(), Failure> {
    let text: String = subscribed.iter().map(|name| dotted(name) + "\n").collect();
    write_new(&root.join(SUBSCRIPTIONS_FILE), &text)
}

/// Whoever leaves may delete the account next, so what was written is on the disk before we say so.
fn flush(root: &Path) -> Result<(), Failure> {
    let synced = File::open(root).and_then(|file| Ok(rustix::fs::syncfs(&file)?));
    synced.map_err(|cause| Failure::file("flush", root, &cause))
}

/// A folder of our own: made, or there and empty.
fn new_folder(path: &Path) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = fs::read_dir(path).map_err(|cause| not_written(path, &cause))?;
            match entries.next() {
                None => Ok(()),
                Some(_) => Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "{} is not empty, and export writes over nothing; name a new folder",
                        path.display()
                    ),
                )),
            }
        }
        Err(cause) => Err(not_written(path, &cause)),
    }
}

/// A file that was not there before; the process's umask makes it its owner's alone.
fn new_file(path: &Path) -> Result<File, Failure> {
    File::create_new(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => Failure::new(
            Exit::Refused,
            format!("{} exists already, and export writes over nothing", path.display()),
        ),
        _ => not_written(path, &cause),
    })
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = new_file(path)?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(|cause| not_written(path, &cause))
}

fn not_written(path: &Path, cause: &io::Error) -> Failure {
    Failure::file("write", path, cause)
}
