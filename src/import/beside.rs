//! Special uses, metadata and access control lists, on their way in.
//!
//! Special uses come first: an account has empty mailboxes for them from its first day, which take
//! the names that the export says while nothing is in the way. All else is set at the end: a
//! mailbox that is made below a shared one gets its list, which its own entries then change.

use std::path::Path;

use super::{Importer, below};
use crate::admin::{Answer, Request};
use crate::failure::{Exit, Failure};
use crate::mail_files::{BESIDE_FILE, BesideLine, access_of};

impl Importer<'_> {
    /// Reads the sidecar in the root of an export, if there is one.
    pub(super) fn bring_beside(&mut self, root: &Path, into: Option<&str>) -> Result<(), Failure> {
        let Ok(text) = std::fs::read_to_string(root.join(BESIDE_FILE)) else { return Ok(()) };
        for line in BesideLine::all(&text) {
            let account = self.account.to_owned();
            match (line, into) {
                (BesideLine::Use { mailbox, special_use }, None) => {
                    let what = format!("{special_use} of {mailbox}");
                    let request = Request::SpecialUse { account, mailbox, special_use };
                    self.bring(&what, &request)?;
                }
                (BesideLine::Entry { mailbox, name, value }, _) if !mailbox.is_empty() => {
                    let mailbox = Some(below(into, &mailbox));
                    self.beside.push(Request::Entry { account, mailbox, name, value });
                }
                (BesideLine::Entry { name, value, .. }, None) => {
                    self.beside.push(Request::Entry { account, mailbox: None, name, value });
                }
                // What is brought below a mailbox says nothing of the account.
                (_, Some(_)) => {}
            }
        }
        Ok(())
    }

    /// Reads the access control list of a mailbox, if it has one.
    pub(super) fn bring_rights(&mut self, mailbox: &str, file: &Path) {
        let Ok(text) = std::fs::read_to_string(file) else { return };
        let lines = access_of(&text);
        if !lines.is_empty() {
            let (account, mailbox) = (self.account.to_owned(), mailbox.to_owned());
            self.beside.push(Request::Rights { account, mailbox, lines });
        }
    }

    /// Sets what was brought.
    pub(super) fn set_beside(&mut self) -> Result<(), Failure> {
        for request in std::mem::take(&mut self.beside) {
            let what = match &request {
                Request::Entry { mailbox, name, .. } => {
                    format!("{name} of {}", mailbox.as_deref().unwrap_or("the account"))
                }
                Request::Rights { mailbox, .. } => format!("access to {mailbox}"),
                _ => continue,
            };
            self.bring(&what, &request)?;
        }
        Ok(())
    }

    fn bring(&mut self, what: &str, request: &Request) -> Result<(), Failure> {
        match self.connection.call(request, b"", &mut |_, _| {}) {
            Ok(Answer::MeanNobody { whom }) => {
                for whom in whom {
                    self.leave_out(&format!("{what}: {whom} means nobody here"));
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(failure) if failure.exit == Exit::Refused => {
                self.leave_out(&format!("{what}: {}", failure.sentence));
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    fn leave_out(&mut self, what: &str) {
        self.left_out += 1;
        self.bar.suspend(|| eprintln!("left out: {what}"));
    }
}
