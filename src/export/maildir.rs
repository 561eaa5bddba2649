//! Maildir++: one file a message, written in `tmp` and renamed into `cur` when it is whole.
//!
//! ```text
//! cur/1700000000.V17U0000000042.pillarbox,S=120,W=123:2,FSa
//!     time       order                    file  message flags
//! ```
//!
//! INTERNALDATE is the file's time. The time in the name is the latest INTERNALDATE so far: names
//! in order are then UIDs in order, and the earlier of the two times, which readers take, is
//! INTERNALDATE.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Form, Order, Target, new_file, new_folder, not_written, write_new};
use crate::admin::MessageLine;
use crate::failure::Failure;
use crate::mail_files::{
    ACCESS_FILE, KEYWORDS_FILE, LETTERS, LONG_NAME, MORE_KEYWORDS_FILE, NAME_FILE, RightsLine,
    access_text, folder_of,
};

/// A Maildir that is being written.
pub(crate) struct MaildirTarget {
    root: PathBuf,
    /// Mailboxes whose names were too long for a folder.
    long_names: u32,
    /// The folder of the mailbox.
    folder: PathBuf,
    /// The latest INTERNALDATE in it.
    time: i64,
    /// The keywords behind its letters, a first.
    keywords: Vec<String>,
    /// Keywords beyond them.
    more: Option<(PathBuf, BufWriter<File>)>,
    message: Option<Begun>,
}

/// A message that is being written.
struct Begun {
    path: PathBuf,
    file: BufWriter<File>,
    file_bytes: u64,
    /// Its name up to the sizes.
    name: String,
    message_bytes: u64,
    letters: String,
    beyond: Vec<String>,
    received: SystemTime,
}

impl MaildirTarget {
    /// A new Maildir.
    pub(crate) fn create(root: &Path) -> Result<MaildirTarget, Failure> {
        new_folder(root)?;
        let target = MaildirTarget {
            root: root.to_owned(),
            long_names: 0,
            folder: root.to_owned(),
            time: 1,
            keywords: Vec::new(),
            more: None,
            message: None,
        };
        target.make_parts()?;
        Ok(target)
    }

    fn make_parts(&self) -> Result<(), Failure> {
        ["cur", "new", "tmp"].iter().try_for_each(|part| new_folder(&self.folder.join(part)))
    }

    /// The letters of the flags, in order, and the keywords that have none.
    fn letters(&mut self, flags: &[String]) -> (String, Vec<String>) {
        let mut letters = Vec::new();
        let mut beyond = Vec::new();
        for flag in flags {
            if let Some((letter, _)) = LETTERS.iter().find(|(_, name)| name == flag) {
                letters.push(*letter);
                continue;
            }
            let known = self.keywords.iter().position(|keyword| keyword == flag);
            let index = known.unwrap_or(self.keywords.len());
            match ('a'..='z').nth(index) {
                Some(letter) => {
                    letters.push(letter);
                    if known.is_none() {
                        self.keywords.push(flag.clone());
                    }
                }
                None => beyond.push(flag.clone()),
            }
        }
        letters.sort_unstable();
        (letters.into_iter().collect(), beyond)
    }

    /// A line `name keyword …` for what the letters do not say.
    fn note_beyond(&mut self, name: &str, keywords: &[String]) -> Result<(), Failure> {
        if keywords.is_empty() {
            return Ok(());
        }
        if self.more.is_none() {
            let path = self.folder.join(MORE_KEYWORDS_FILE);
            let file = BufWriter::new(new_file(&path)?);
            self.more = Some((path, file));
        }
        let Some((path, file)) = &mut self.more else { return Ok(()) };
        writeln!(file, "{name} {}", keywords.join(" ")).map_err(|cause| not_written(path, &cause))
    }
}

impl Target for MaildirTarget {
    fn begin_mailbox(&mut self, name: &str) -> Result<(), Failure> {
        self.time = 1;
        self.keywords.clear();
        self.folder = self.root.clone();
        if name == "INBOX" {
            return Ok(());
        }
        let folder = folder_of(name);
        let is_long = folder.is_none();
        let folder = folder.unwrap_or_else(|| {
            self.long_names += 1;
            format!("{LONG_NAME}{}", self.long_names)
        });
        self.folder = self.root.join(format!(".{folder}"));
        new_folder(&self.folder)?;
        self.make_parts()?;
        write_new(&self.folder.join("maildirfolder"), "")?;
        if is_long {
            write_new(&self.folder.join(NAME_FILE), name)?;
        }
        Ok(())
    }

    fn begin_message(
        &mut self,
        order: &Order,
        _form: Form,
        line: &MessageLine,
    ) -> Result<(), Failure> {
        self.time = self.time.max(line.received);
        let name = format!("{}.V{}U{:010}.pillarbox", self.time, order.uid_validity, order.uid);
        let (letters, beyond) = self.letters(&line.flags);
        let since = Duration::from_secs(line.received.unsigned_abs());
        let received = match line.received {
            ..0 => UNIX_EPOCH.checked_sub(since),
            0.. => UNIX_EPOCH.checked_add(since),
        };
        let path = self.folder.join("tmp").join(&name);
        let file = BufWriter::new(new_file(&path)?);
        self.message = Some(Begun {
            path,
            file,
            file_bytes: 0,
            name,
            message_bytes: line.message_bytes,
            letters,
            beyond,
            received: received.unwrap_or(UNIX_EPOCH),
        });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(message) = &mut self.message else { return Ok(()) };
        message.file_bytes += engine::width::u64_of(bytes.len());
        message.file.write_all(bytes).map_err(|cause| not_written(&message.path, &cause))
    }

    fn end_message(&mut self) -> Result<(), Failure> {
        let Some(Begun { path, file, file_bytes, name, message_bytes, letters, beyond, received }) =
            self.message.take()
        else {
            return Ok(());
        };
        let name = format!("{name},S={file_bytes},W={message_bytes}");
        let place = self.folder.join("cur").join(format!("{name}:2,{letters}"));
        let ended = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.set_modified(received))
            .and_then(|()| fs::rename(&path, &place));
        ended.map_err(|cause| not_written(&place, &cause))?;
        self.note_beyond(&name, &beyond)
    }

    fn drop_message(&mut self) -> Result<(), Failure> {
        let Some(message) = self.message.take() else { return Ok(()) };
        fs::remove_file(&message.path).map_err(|cause| not_written(&message.path, &cause))
    }

    fn write_rights(&mut self, rights: &[RightsLine]) -> Result<(), Failure> {
        write_new(&self.folder.join(ACCESS_FILE), &access_text(rights))
    }

    fn end_mailbox(&mut self) -> Result<(), Failure> {
        if let Some((path, mut file)) = self.more.take() {
            file.flush().map_err(|cause| not_written(&path, &cause))?;
        }
        if self.keywords.is_empty() {
            return Ok(());
        }
        let lines = self.keywords.iter().enumerate();
        let text: String = lines.map(|(number, keyword)| format!("{number} {keyword}\n")).collect();
        write_new(&self.folder.join(KEYWORDS_FILE), &text)
    }

    fn root(&self) -> &Path {
        &self.root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_letters_as_long_as_there_are_some() {
        let folder = tempfile::tempdir().unwrap();
        let mut target = MaildirTarget::create(&folder.path().join("mail")).unwrap();
        let flags =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let few = flags(&["\\Seen", "$Junk", "\\Answered", "$Forwarded", "$forwarded"]);
        assert_eq!(target.letters(&few), ("PRSab".to_owned(), vec![]));
        let many: Vec<String> = (0..30).map(|number| format!("k{number}")).collect();
        let (letters, beyond) = target.letters(&many);
        assert_eq!(letters, "cdefghijklmnopqrstuvwxyz");
        assert_eq!(beyond.len(), 6, "24 letters were left");
        assert_eq!(target.letters(&few).0, "PRSab", "letters keep their meaning");
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("diary"), "private").unwrap();
        let refused = MaildirTarget::create(folder.path()).err().unwrap();
        assert!(refused.sentence.contains("is not empty"), "{}", refused.sentence);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
