//! Messages that cannot be read any more, and what stands in their place.

use crate::error::ReadError;
use crate::flags::Keyword;
use crate::ids::{AccountNumber, BlobId, MailboxId};
use crate::mailbox::Row;
use crate::message::{StoredSummary, decode_words};
use crate::store::Store;
use crate::uid_set::UidSet;

/// A message whose bytes are damaged.
pub(super) struct Damaged {
    pub(super) account: AccountNumber,
    pub(super) account_name: String,
    pub(super) mailbox: MailboxId,
    pub(super) mailbox_name: String,
    pub(super) row: Row,
    pub(super) keywords: Vec<Keyword>,
    why: String,
    /// Who sent it, and its subject, where its summary can still be read.
    about: Option<(String, String)>,
}

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Damaged { account_name, mailbox_name, row, why, .. } = self;
        write!(f, "{account_name} {mailbox_name} UID {}: this message is lost", row.uid)?;
        if let Some((from, subject)) = &self.about {
            write!(f, " (from {from}, subject \"{subject}\")")?;
        }
        write!(f, ": {why}")
    }
}

/// Opens every message, and answers those that are damaged.
///
/// # Errors
/// The disk, or state: what cannot be read for another reason than damage is not given up.
pub(super) fn damaged(
    store: &Store,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Damaged>, ReadError> {
    let inner = &store.inner;
    let mut found = Vec::new();
    let accounts = inner.committed.accounts();
    let total = accounts.iter().map(|account| account.usage.message_count).sum();
    let mut done = 0;
    for account in accounts {
        for entry in account.names.listing().mailboxes {
            let key = (account.number, entry.id);
            let Some(view) = inner.committed.cell(key)?.and_then(|cell| cell.view()) else {
                continue;
            };
            let mut failed = None;
            view.visit(&UidSet::from_ranges([(1, u32::MAX)]), &mut |row| {
                done += 1;
                progress(done, total);
                match inner.verify_blob(account.number, row) {
                    Ok(_) => {}
                    Err(error) if is_no_damage(&error) => failed = Some(error),
                    Err(why) => found.push(Damaged {
                        account: account.number,
                        account_name: account.profile.name.clone(),
                        mailbox: entry.id,
                        mailbox_name: entry.name.clone(),
                        row: row.clone(),
                        keywords: row.keywords_in(view.keywords()).cloned().collect(),
                        why: why.to_string(),
                        about: inner.summary(account.number, row.blob).ok().map(|s| about(&s)),
                    }),
                }
                failed.is_none()
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }
    Ok(found)
}

/// Whether trying again, or another binary, may read it. A file that is gone is gone.
fn is_no_damage(error: &ReadError) -> bool {
    match error {
        ReadError::Disk(error) => error.cause.kind() != std::io::ErrorKind::NotFound,
        ReadError::NewerFormat { .. } => true,
        _ => false,
    }
}

fn about(summary: &StoredSummary) -> (String, String) {
    let text = |bytes: &[u8]| -> String {
        let decoded = decode_words(bytes);
        decoded.chars().filter(|c| !c.is_control()).take(200).collect()
    };
    let envelope = summary.envelope();
    let from = envelope
        .from()
        .find_map(|address| Some(format!("{}@{}", text(address.mailbox?), text(address.host?))));
    (from.unwrap_or_default(), envelope.subject.map(text).unwrap_or_default())
}

impl Damaged {
    pub(super) fn blob(&self) -> (AccountNumber, BlobId) {
        (self.account, self.row.blob)
    }

    /// What is put in its place: a message of its own, under a UID of its own, that says what is
    /// missing. Names nothing that could change from one try to the next.
    pub(super) fn notice(&self) -> Vec<u8> {
        let Damaged { account_name, mailbox_name, row, .. } = self;
        let domain = account_name.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let (from, subject) = self.about.clone().unwrap_or_default();
        let known = if self.about.is_some() {
            format!("It came from {from}; its subject was:\r\n\r\n    {subject}\r\n\r\n")
        } else {
            "Who sent it cannot be read any more.\r\n\r\n".to_owned()
        };
        format!(
            "From: Mail store <postmaster@{domain}>\r\nTo: {account_name}\r\n\
             Subject: A message of yours was damaged\r\nAuto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n\
             A message of {size} bytes in the mailbox {mailbox_name} (UID {uid}) cannot be read \
             any more:\r\nthe disk of the mail server did not give back what was written, and no \
             copy of it was found.\r\n\r\n{known}\
             If you still need it, ask its sender, or the administrator of this server, who keeps \
             the damaged bytes.\r\n",
            size = row.size,
            uid = row.uid,
        )
        .into_bytes()
    }
}
