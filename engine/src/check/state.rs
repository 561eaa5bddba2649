//! The tables read row by row: every value opens and decodes, and what they say of each other
//! agrees.
//!
//! Tables are read in the order of their keys; what one row says of another is looked up, so that
//! memory is bounded by the positions of chunks that entered ahead (8 bytes each, a chunk of 256
//! KiB).

use std::collections::BTreeMap;

use super::finding::{Loss, Problem};
use super::mail::Check;
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId};
use crate::mailbox::{VanishedEntry, decodes};
use crate::state::{
    ACCOUNT_ITSELF, Annotations, AnsweredRow, BlobRow, Places, Table, annotated_by,
    blob_of_reference, decoded, mailbox_of_reference,
};
use crate::width::u64_of;

/// What the table of a row is called in words.
pub(super) fn words(table: Table) -> String {
    format!("the table '{}' of the state", table.name())
}

impl Check<'_> {
    /// Reads every table.
    pub(super) fn tables(&mut self) {
        let volume = self.saved.stamp().map(drop);
        let volume = volume.and_then(|()| self.saved.policy().map(drop));
        let volume = volume.and_then(|()| self.saved.volume().map(drop));
        if let Err(error) = volume.and_then(|()| self.saved.switched().map(drop)) {
            self.table_problem(Table::Volume, &error);
        }
        let segments: Vec<u64> = self.segments.keys().copied().collect();
        for segment in segments {
            if let Err(error) = self.saved.key_use(segment) {
                self.table_problem(Table::Volume, &error);
            }
        }
        let of_accounts = [
            Table::Account,
            Table::Mailbox,
            Table::Head,
            Table::Page,
            Table::Ids,
            Table::Vanished,
            Table::Answered,
        ];
        if let Err(error) = self.saved.bases() {
            self.table_problem(Table::Base, &error);
        }
        for table in of_accounts {
            self.rows_of_accounts(table);
        }
        self.summary_pages();
        let ahead = self.blobs();
        self.placements(&ahead);
    }

    pub(super) fn table_problem(&mut self, table: Table, error: &ReadError) {
        let what = format!("{error}; 'pillarbox check --rebuild' makes the state anew");
        let problem = Problem { about: words(table), uid: None, what, loss: Loss::Nothing };
        self.report.add(problem);
    }

    /// Opens and decodes the rows of a table whose keys begin with an account.
    fn rows_of_accounts(&mut self, table: Table) {
        let saved = self.saved;
        let mut wrong: Vec<(Vec<u8>, ReadError)> = Vec::new();
        let mut strays: Vec<Vec<u8>> = Vec::new();
        let mut count = 0;
        let scanned = saved.tables.scan_prefix(table, &[], &mut |key, value| {
            count += 1;
            let Some((account, mailbox)) = owner(table, key) else { return Ok(true) };
            if account != AccountNumber::VOLUME && !saved.values.has_account(account) {
                return Ok(true);
            }
            if let Err(error) = open_row(saved, table, (account, key), value) {
                wrong.push((key.to_vec(), error));
            } else if mailbox.is_some_and(|mailbox| self.name(account, mailbox).is_none()) {
                strays.push(key.to_vec());
            }
            // What is not listed need not be kept.
            Ok(wrong.len() + strays.len() < 1000)
        });
        self.report.row_count += count;
        if let Err(error) = scanned {
            self.table_problem(table, &error);
        }
        for (key, error) in wrong {
            let about =
                owner(table, &key).and_then(|(account, mailbox)| self.words_of(account, mailbox));
            let about = about.unwrap_or_else(|| words(table));
            let what = format!(
                "a row of {} does not open ({error}); 'pillarbox check --rebuild' makes the state \
                 anew",
                words(table)
            );
            self.report.add(Problem { about, uid: None, what, loss: Loss::Nothing });
        }
        if strays.is_empty() {
            return;
        }
        // They may belong to a mailbox that came or went meanwhile.
        (self.settle)();
        for key in strays {
            let Some((account, Some(mailbox))) = owner(table, &key) else { continue };
            let is_there = saved.tables.get(table, &key).is_ok_and(|value| value.is_some());
            if is_there && self.name(account, mailbox).is_none() && !self.is_unsettled {
                let what = "a row of a mailbox that does not exist".to_owned();
                let problem = Problem { about: words(table), uid: None, what, loss: Loss::Nothing };
                self.report.add(problem);
            }
        }
    }

    /// Every blob row decodes and has a reference; answers the positions of chunks that entered
    /// ahead, with their blobs.
    fn blobs(&mut self) -> BTreeMap<Lsn, BlobId> {
        let saved = self.saved;
        let mut ahead = BTreeMap::new();
        let mut unnamed: Vec<(BlobId, BlobRow)> = Vec::new();
        (self.part_names, self.part_doubts) = (0, Vec::new());
        let mut wrong: Vec<ReadError> = Vec::new();
        let mut count = 0;
        let scanned = saved.tables.scan_prefix(Table::Blob, &[], &mut |key, _| {
            count += 1;
            let Some(id) = blob_of_reference(key) else { return Ok(true) };
            match saved.blob(id) {
                Ok(Some(row)) => {
                    let chunks = row.ahead.iter().flatten().map(|&lsn| (lsn, id));
                    ahead.extend(chunks);
                    self.note_parts(id, &row);
                    if !is_referenced(saved, key)? && unnamed.len() < 1000 {
                        unnamed.push((id, row));
                    }
                }
                Ok(None) => {}
                Err(error) if wrong.len() < 1000 => wrong.push(error),
                Err(_) => {}
            }
            Ok(true)
        });
        self.report.row_count += count;
        if let Err(error) = scanned {
            self.table_problem(Table::Blob, &error);
        }
        for error in wrong {
            self.table_problem(Table::Blob, &error);
        }
        if !unnamed.is_empty() || !self.part_doubts.is_empty() {
            (self.settle)();
        }
        self.doubtful_parts();
        for (id, row) in unnamed {
            let key = id.0.bits().to_be_bytes();
            let still = saved.blob(id).is_ok_and(|row| row.is_some());
            if still && is_referenced(saved, &key).is_ok_and(|is| !is) && !self.is_unsettled {
                for lsn in row.positions(id) {
                    if let Ok(Some(places)) = saved.places(lsn) {
                        self.unnamed(&places);
                    }
                }
            }
        }
        ahead
    }

    fn unnamed(&mut self, places: &Places) {
        self.report.unnamed_chunks += u64_of(places.chunks.len());
        self.report.unnamed_bytes += places.byte_count();
    }

    /// Every placement decodes, lies within its file and belongs to a blob; counts the living
    /// chunks in what is damaged of the log.
    fn placements(&mut self, ahead: &BTreeMap<Lsn, BlobId>) {
        let saved = self.saved;
        let mut wrong: Vec<ReadError> = Vec::new();
        let mut count = 0;
        let mut outside: Vec<(Lsn, u64, u64)> = Vec::new();
        let scanned = saved.tables.scan_prefix(Table::Placement, &[], &mut |key, value| {
            count += 1;
            let Some(BlobId(lsn)) = blob_of_reference(key) else { return Ok(true) };
            let places = match Places::decode(value) {
                Ok(places) => places,
                Err(why) => {
                    wrong.push(ReadError::Undecodable { what: "placement", why });
                    return Ok(wrong.len() < 1000);
                }
            };
            for chunk in &places.chunks {
                let end = chunk.offset.saturating_add(u64::from(chunk.length));
                self.touch(places.segment, (chunk.offset, end));
                let within = self.segments.get(&places.segment);
                if within.is_none_or(|&byte_count| end > byte_count) && outside.len() < 1000 {
                    outside.push((lsn, places.segment, chunk.offset));
                }
            }
            let belongs = ahead.contains_key(&lsn) || saved.blob(BlobId(lsn))?.is_some();
            if !belongs {
                self.report.unnamed_chunks += u64_of(places.chunks.len());
                self.report.unnamed_bytes += places.byte_count();
            }
            Ok(true)
        });
        self.report.row_count += count;
        if let Err(error) = scanned {
            self.table_problem(Table::Placement, &error);
        }
        for error in wrong {
            self.table_problem(Table::Placement, &error);
        }
        for (lsn, segment, offset) in outside {
            let Ok(Some(places)) = saved.places(lsn) else { continue };
            if places.segment == segment && !self.is_segment_there(segment) {
                let about = self.segment_words(segment, offset);
                let what = format!("a chunk of blob {lsn} should lie here");
                self.report.add(Problem { about, uid: None, what, loss: Loss::Pieces(1) });
            }
        }
    }
}

/// Account and mailbox of a row, by its key.
fn owner(table: Table, key: &[u8]) -> Option<(AccountNumber, Option<MailboxId>)> {
    let (account, rest) = key.split_first_chunk()?;
    let mailbox = match table {
        Table::Account => annotated_by(key).map(|(_, mailbox)| mailbox),
        Table::Answered => None,
        _ => rest.first_chunk().map(|id| MailboxId(*id)),
    };
    let mailbox = mailbox.filter(|mailbox| *mailbox != ACCOUNT_ITSELF);
    Some((AccountNumber(u64::from_be_bytes(*account)), mailbox))
}

fn open_row(
    saved: &crate::state::Saved,
    table: Table,
    (account, key): (AccountNumber, &[u8]),
    value: &[u8],
) -> Result<(), ReadError> {
    let plain = saved.values.open(table, key, account, value)?;
    match table {
        Table::Page | Table::Ids | Table::Head => decodes(table, &plain),
        Table::Vanished => {
            let modseq = key.last_chunk().and_then(|lsn| Lsn::from_bits(u64::from_be_bytes(*lsn)));
            VanishedEntry::decode(modseq.unwrap_or(Lsn::ZERO), &plain).map(drop)
        }
        Table::Account if annotated_by(key).is_some() => {
            decoded("row of metadata and rights", Annotations::decode(&plain)).map(drop)
        }
        Table::Answered => {
            decoded("answered request", AnsweredRow::decode(account, &plain)).map(drop)
        }
        // Opened with the account, or with its mailbox.
        _ => Ok(()),
    }
}

fn is_referenced(saved: &crate::state::Saved, blob: &[u8]) -> Result<bool, ReadError> {
    let mut found = false;
    saved.tables.scan_prefix(Table::Reference, blob, &mut |key, _| {
        found = mailbox_of_reference(key).is_some();
        Ok(false)
    })?;
    Ok(found)
}
