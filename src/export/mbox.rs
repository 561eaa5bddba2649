//! mbox: a mailbox in one file, quoted as mboxrd.
//!
//! ```text
//! From MAILER-DAEMON Wed Jan  3 01:05:34 1996     INTERNALDATE in UTC
//! Status: RO                                      flags, where many programs look for them
//! X-Status: AF
//! X-Keywords: $Junk
//! X-Pillarbox-Export: 820631134 line-ends=…       what the format has no place for: a mark
//! Subject: the message as it is stored            (mail_files.rs)
//!
//! >From here on, lines are quoted
//!                                                 an empty line
//! ```

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::lines::Quoting;
use super::{Form, Order, Target, new_file, new_folder, not_written, write_new};
use crate::admin::MessageLine;
use crate::failure::Failure;
use crate::mail_files::{LONG_NAME, LastLine, Mark, RightsLine, access_text, folder_of};

/// One mbox or a folder of them, being written.
pub(crate) struct MboxTarget {
    root: PathBuf,
    kind: Kind,
    /// Mailboxes whose names were too long for a file.
    long_names: u32,
    open: Option<OpenFile>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// `root` is the file of the one mailbox.
    File,
    /// `root` has a file for each mailbox.
    Folder,
}

struct OpenFile {
    path: PathBuf,
    output: BufWriter<File>,
    /// Where the message begins.
    begin: u64,
    quoting: Quoting,
    last_line: LastLine,
}

impl MboxTarget {
    /// One new file for one mailbox.
    pub(crate) fn file(path: &Path) -> Result<MboxTarget, Failure> {
        let mut target = MboxTarget::new(path, Kind::File);
        target.open(path)?;
        Ok(target)
    }

    /// A new folder with a file for each mailbox.
    pub(crate) fn folder(path: &Path) -> Result<MboxTarget, Failure> {
        new_folder(path)?;
        Ok(MboxTarget::new(path, Kind::Folder))
    }

    fn new(root: &Path, kind: Kind) -> MboxTarget {
        MboxTarget { root: root.to_owned(), kind, long_names: 0, open: None }
    }

    fn open(&mut self, path: &Path) -> Result<(), Failure> {
        self.open = Some(OpenFile {
            path: path.to_owned(),
            output: BufWriter::new(new_file(path)?),
            begin: 0,
            quoting: Quoting::default(),
            last_line: LastLine::Ended,
        });
        Ok(())
    }

    /// Does something with the file, or says what could not be done.
    fn with(
        &mut self,
        work: impl FnOnce(&mut OpenFile) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let Some(open) = &mut self.open else { return Ok(()) };
        work(open).map_err(|cause| not_written(&open.path, &cause))
    }
}

impl Target for MboxTarget {
    fn begin_mailbox(&mut self, name: &str) -> Result<(), Failure> {
        if let Kind::File = self.kind {
            return Ok(());
        }
        let stem = folder_of(name);
        let is_long = stem.is_none();
        let stem = stem.unwrap_or_else(|| {
            self.long_names += 1;
            format!("{LONG_NAME}{}", self.long_names)
        });
        if is_long {
            write_new(&self.root.join(format!("{stem}.mbox.name")), name)?;
        }
        self.open(&self.root.join(format!("{stem}.mbox")))
    }

    fn begin_message(
        &mut self,
        _order: &Order,
        form: Form,
        line: &MessageLine,
    ) -> Result<(), Failure> {
        let Form { line_ends, last_line } = form;
        let mark = Mark { received: line.received, line_ends, last_line };
        let date = from_line_date(line.received);
        self.with(|open| {
            open.begin = open.output.stream_position()?;
            open.quoting = Quoting::default();
            open.last_line = last_line;
            write!(open.output, "From MAILER-DAEMON {date}\n{}", mark.write(&line.flags))
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.with(|open| {
            let quoted = open.quoting.quote(bytes);
            open.output.write_all(&quoted)
        })
    }

    fn end_message(&mut self) -> Result<(), Failure> {
        self.with(|open| {
            open.output.write_all(open.quoting.rest())?;
            open.output.write_all(match open.last_line {
                LastLine::Ended => b"\n",
                LastLine::Open => b"\n\n",
            })
        })
    }

    fn drop_message(&mut self) -> Result<(), Failure> {
        self.with(|open| {
            open.output.flush()?;
            open.output.get_ref().set_len(open.begin)?;
            open.output.seek(SeekFrom::Start(open.begin)).map(drop)
        })
    }

    fn write_rights(&mut self, rights: &[RightsLine]) -> Result<(), Failure> {
        let Some(open) = &self.open else { return Ok(()) };
        write_new(&open.path.with_extension("mbox.acl"), &access_text(rights))
    }

    fn end_mailbox(&mut self) -> Result<(), Failure> {
        self.with(|open| open.output.flush())
    }

    fn root(&self) -> &Path {
        &self.root
    }
}

/// `Wed Jan  3 01:05:34 1996`, in UTC; years that the format does not know become its first or
/// last.
fn from_line_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    /// The last second of the year 9999.
    const LAST: i64 = 253_402_300_799;
    let seconds = seconds.clamp(0, LAST);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let name = |names: &'static [&'static str], index: i64| {
        usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
    };
    // Days from 1 March of the year 0, in eras of 400 years; years that begin in March have their
    // leap day last.
    let since_era = (days + 719_468) % 146_097;
    let era = (days + 719_468) / 146_097;
    let year_of_era =
        (since_era - since_era / 1460 + since_era / 36_524 - since_era / 146_096) / 365;
    let day_of_year = since_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    let year = era * 400 + year_of_era + i64::from(month < 2);
    format!(
        "{} {} {day:2} {:02}:{:02}:{:02} {year}",
        name(&DAYS, days % 7),
        name(&MONTHS, month),
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_asctime() {
        for (seconds, expected) in [
            (0, "Thu Jan  1 00:00:00 1970"),
            (820_631_134, "Wed Jan  3 01:05:34 1996"),
            (1_709_208_000, "Thu Feb 29 12:00:00 2024"),
            (951_868_800, "Wed Mar  1 00:00:00 2000"),
            (-1, "Thu Jan  1 00:00:00 1970"),
            (i64::MAX, "Fri Dec 31 23:59:59 9999"),
        ] {
            assert_eq!(from_line_date(seconds), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn import_reads_the_dates_that_export_writes(seconds in 0i64..253_402_300_800) {
            let line = format!("From MAILER-DAEMON {}", from_line_date(seconds));
            proptest::prop_assert_eq!(crate::import::received(line.as_bytes()), Some(seconds));
        }
    }
}
