//! The side that compares: asks for the parts of everything, reads its own, and descends where they
//! differ.

use super::question::{Answer, Parts, Question, Whole};
use super::tables::{GONE, HeldTables, KEPT, MAILBOX, MESSAGES, OWN, ROW, VOLUME};
use super::{CompareError, CompareProgress, CompareReport, DIFFERENCES_MAX, Difference};
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, Uid};
use crate::state::Committed;
use crate::width::u64_of;

/// Puts a question to the other node, and answers what that says.
pub type Ask<'a> = dyn FnMut(&[u8]) -> Result<Vec<u8>, String> + 'a;

/// Buckets of messages of one mailbox that are looked into.
const BUCKETS_MAX: u32 = 4;

/// What is done with a part that is not the same on both sides.
type Visit<'v, 'a> = dyn FnMut(&mut Comparison<'a>, &[u8], Side) -> Result<(), CompareError> + 'v;

/// A comparison under way.
pub(crate) struct Comparison<'a> {
    tables: &'a HeldTables,
    committed: &'a Committed,
    ask: &'a mut Ask<'a>,
    progress: &'a mut dyn FnMut(CompareProgress),
    report: CompareReport,
}

/// Where a part is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Here,
    There,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(
        (tables, committed): (&'a HeldTables, &'a Committed),
        ask: &'a mut Ask<'a>,
        progress: &'a mut dyn FnMut(CompareProgress),
    ) -> Comparison<'a> {
        let report = CompareReport {
            lsn: tables.lsn(),
            account_count: 0,
            byte_count: 0,
            differences: Vec::new(),
            difference_count: 0,
        };
        Comparison { tables, committed, ask, progress, report }
    }

    /// Compares everything.
    ///
    /// # Errors
    /// [`CompareError`]: the other node does not answer, or the tables cannot be read.
    pub(crate) fn run(mut self) -> Result<CompareReport, CompareError> {
        self.each(Whole::Accounts, &mut |comparison, name, side| {
            let account = AccountNumber(number_of(name));
            comparison.account(account, side)
        })?;
        self.each(Whole::Blobs, &mut |comparison, name, _| comparison.blobs(number_of(name)))?;
        self.report.byte_count = self.tables.byte_count();
        Ok(self.report)
    }

    /// Calls `visit` for every part that is not the same on both sides.
    fn each(&mut self, whole: Whole, visit: &mut Visit<'_, 'a>) -> Result<(), CompareError> {
        let mut from = Vec::new();
        loop {
            let question = Question::Parts(whole, from.clone());
            let there = (self.ask)(&question.encode()).map_err(CompareError::Other)?;
            let there = Answer::decode(&there);
            let Ok(Answer::Parts(Parts { list: there, next })) = there else {
                return Err(CompareError::Other("its answer cannot be read".to_owned()));
            };
            let here = self.tables.parts(whole, &from, Some(next.as_deref().unwrap_or(LAST)));
            let here = here.map_err(|error| CompareError::Read(error.to_string()))?.list;
            if whole == Whole::Accounts {
                // The volume is none.
                self.report.account_count += u64_of(here.len()) - u64::from(from.is_empty());
                let account_total = u64_of(self.committed.accounts().len());
                let account_count = self.report.account_count;
                (self.progress)(CompareProgress { account_count, account_total });
            }
            let mut names: Vec<&Vec<u8>> =
                here.iter().chain(&there).map(|(name, _)| name).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let find = |list: &[(Vec<u8>, [u8; 32])]| {
                    let at = list.binary_search_by(|(other, _)| other.cmp(name)).ok()?;
                    list.get(at).map(|(_, hash)| *hash)
                };
                let side = match (find(&here), find(&there)) {
                    (Some(_), None) => Side::Here,
                    (None, _) => Side::There,
                    (Some(here), Some(there)) if here == there => continue,
                    (Some(_), Some(_)) => Side::Both,
                };
                visit(self, name, side)?;
            }
            match next {
                Some(next) if next > from => from = next,
                Some(_) => return Err(CompareError::Other("it answers in circles".to_owned())),
                None => return Ok(()),
            }
        }
    }

    fn account(&mut self, account: AccountNumber, side: Side) -> Result<(), CompareError> {
        let before = (self.report.differences.len(), self.report.difference_count);
        self.look_into(account, side)?;
        let is_gone = account != AccountNumber::VOLUME && self.committed.account(account).is_none();
        let was_there = self.tables.has_row(account);
        if is_gone && was_there.map_err(|error| CompareError::Read(error.to_string()))? {
            // Deleted meanwhile: its key is destroyed on each node at its own time.
            self.report.differences.truncate(before.0);
            self.report.difference_count = before.1;
        }
        Ok(())
    }

    fn look_into(&mut self, account: AccountNumber, side: Side) -> Result<(), CompareError> {
        if side != Side::Both {
            self.differs((Some(account), None, None), words("the account", side));
            return Ok(());
        }
        self.each(Whole::Account(account), &mut |comparison, name, side| {
            let id = name.get(1..).and_then(|rest| rest.first_chunk()).copied().map(MailboxId);
            match (name.first(), id) {
                (Some(&MAILBOX), Some(mailbox)) if side == Side::Both => {
                    comparison.mailbox(account, mailbox)?;
                }
                (Some(&MAILBOX), Some(mailbox)) => comparison
                    .differs((Some(account), Some(mailbox), None), words("the mailbox", side)),
                _ => comparison.differs((Some(account), None, None), words(own(name), side)),
            }
            Ok(())
        })
    }

    fn mailbox(&mut self, account: AccountNumber, mailbox: MailboxId) -> Result<(), CompareError> {
        let mut buckets = 0;
        self.each(Whole::Mailbox(account, mailbox), &mut |comparison, name, side| {
            let about = (Some(account), Some(mailbox), None);
            let bucket = name.get(1..).and_then(|rest| rest.first_chunk()).copied();
            match (name.first(), bucket.map(u32::from_be_bytes)) {
                (Some(&MESSAGES), Some(bucket)) => {
                    buckets += 1;
                    if buckets > BUCKETS_MAX {
                        comparison.differs(about, "more messages differ".to_owned());
                        return Ok(());
                    }
                    comparison.messages(account, mailbox, bucket)
                }
                (Some(&ROW), _) => {
                    let what = "its UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ or keywords";
                    comparison.differs(about, words(what, side));
                    Ok(())
                }
                (Some(&GONE), _) => {
                    comparison.differs(about, words("the list of UIDs that went", side));
                    Ok(())
                }
                _ => {
                    comparison.differs(about, words("something of it", side));
                    Ok(())
                }
            }
        })
    }

    fn messages(
        &mut self,
        account: AccountNumber,
        mailbox: MailboxId,
        bucket: u32,
    ) -> Result<(), CompareError> {
        self.each(Whole::Messages(account, mailbox, bucket), &mut |comparison, name, side| {
            let uid = name.first_chunk().copied().map(u32::from_be_bytes).unwrap_or_default();
            let about = (Some(account), Some(mailbox), Some(Uid(uid)));
            comparison.differs(about, words("the message", side));
            Ok(())
        })
    }

    fn blobs(&mut self, bucket: u64) -> Result<(), CompareError> {
        self.each(Whole::BlobsOf(bucket), &mut |comparison, name, side| {
            let Some(lsn) = Lsn::from_bits(number_of(name)) else { return Ok(()) };
            let named = comparison.tables.named_by(BlobId(lsn));
            let named = named.map_err(|error| CompareError::Read(error.to_string()))?;
            let what = words(&format!("what blob {lsn} is made of, or who names it,"), side);
            let (account, mailbox, uid) = match named {
                Some((account, mailbox, uid)) => (Some(account), Some(mailbox), Some(uid)),
                None => (None, None, None),
            };
            comparison.differs((account, mailbox, uid), what);
            Ok(())
        })
    }

    fn differs(
        &mut self,
        (account, mailbox, uid): (Option<AccountNumber>, Option<MailboxId>, Option<Uid>),
        what: String,
    ) {
        self.report.difference_count += 1;
        if self.report.differences.len() >= DIFFERENCES_MAX {
            return;
        }
        let account = account.filter(|account| *account != AccountNumber::VOLUME);
        let state = account.and_then(|account| self.committed.account(account));
        let name = mailbox.map(|mailbox| {
            let name = state.as_ref().and_then(|state| state.names.name_of(mailbox));
            name.map_or_else(|| format!("(mailbox {mailbox})"), str::to_owned)
        });
        let named = state.as_ref().map(|state| state.profile.name.clone());
        let account = account.map(|account| named.unwrap_or_else(|| format!("account {account}")));
        self.report.differences.push(Difference { account, mailbox: name, uid, what });
    }
}

/// Above every name of a part.
const LAST: &[u8] = &[u8::MAX; 65];

fn number_of(name: &[u8]) -> u64 {
    name.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
}

fn words(what: &str, side: Side) -> String {
    match side {
        Side::Both => format!("{what} differs"),
        Side::Here => format!("{what} is on this node alone"),
        Side::There => format!("{what} is on the other node alone"),
    }
}

/// What a row of an account's own is.
fn own(name: &[u8]) -> &'static str {
    match name {
        [OWN] => "what the account is, and which mailboxes it has,",
        [OWN, 1] => "the count of its messages and bytes",
        [OWN, ..] => "a row of metadata and rights",
        [KEPT] => "what is kept of expunged messages",
        [VOLUME, key @ ..] if *key == *b"policy" => "the list of domains and aliases",
        [VOLUME, ..] => "what is said of epochs and format level",
        _ => "something",
    }
}
