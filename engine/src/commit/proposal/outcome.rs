//! Outcomes as bytes: what a proposed change was answered.
//!
//! ```text
//! outcome   version u8: 1; u8: 0 refused as a whole: error (refusal.rs); 1 one: result;
//!           2 several: list(result)
//! result    u8: 0: error; 1: value, by the change
//! value     appended   uidvalidity, uids, modseq u64      copied     uidvalidity, source uids,
//!           flags      ranges changed, modified, gone,               destination uids, modseq u64
//!                      option(modseq u64)               undeleted  mailbox text, uids
//!           expunged   ranges                           mailbox    id 16
//!           chunk      position u64                     others     nothing
//! uids      list(first, zigzag difference to the last one before; how many more follow it)
//! ```
//! An outcome is kept in the log and in state, so that all of it has a bound: one that exceeds it
//! says so, and nothing more.

use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::CommitError;
use crate::ids::{Lsn, MailboxId, Uid, UidValidity};
use crate::limits::OUTCOME_UIDS_MAX;
use crate::store::{Appended, Copied, FlagsStored, Undeleted};
use crate::uid_set::UidSet;
use crate::width::{u64_of, usize_of};

use super::RESULT_BYTES_MAX;
use super::refusal::{decode_error, encode_error};

pub(super) const VERSION: u8 = 1;
pub(super) const REFUSED: u8 = 0;
pub(super) const ONE: u8 = 1;
pub(super) const LIST: u8 = 2;

/// What a change answers when it is made.
pub(crate) trait Told: Sized + Send + 'static {
    fn encode(&self, out: &mut Encoder);
    fn decode(from: &mut Decoder<'_>) -> Result<Self, Broken>;

    /// How many UIDs it lists one by one.
    fn uid_count(&self) -> usize {
        0
    }
}

/// The outcome of a change that was refused as a whole.
pub(crate) fn refusal(error: &CommitError) -> Vec<u8> {
    let mut out = Encoder::default();
    out.u8(VERSION);
    out.u8(REFUSED);
    encode_error(error, &mut out);
    out.bytes
}

/// The outcome of a change that has no answer.
pub(super) fn nothing() -> Vec<u8> {
    vec![VERSION, ONE, 1]
}

/// Bytes that the shortest outcomes have, refusals among them.
pub(super) const fn told_bytes_max() -> usize {
    RESULT_BYTES_MAX
}

pub(super) fn encode_result<T: Told>(result: &Result<T, CommitError>) -> Vec<u8> {
    let mut out = Encoder::default();
    match result {
        Ok(value) if value.uid_count() <= OUTCOME_UIDS_MAX => {
            out.u8(1);
            value.encode(&mut out);
        }
        Ok(_) => {
            let words = "the change is made, but its UIDs are too many to be told".to_owned();
            out.u8(0);
            encode_error(&CommitError::Primary { words }, &mut out);
        }
        Err(error) => {
            out.u8(0);
            encode_error(error, &mut out);
        }
    }
    out.bytes
}

pub(super) fn decode_result<T: Told>(
    from: &mut Decoder<'_>,
) -> Result<Result<T, CommitError>, Broken> {
    match from.u8()? {
        0 => Ok(Err(decode_error(from)?)),
        1 => Ok(Ok(T::decode(from)?)),
        _ => Err("a result is of no known kind"),
    }
}

/// An outcome, read as far as its own kind.
pub(super) enum Outcome<'a> {
    Refused(CommitError),
    One(Decoder<'a>),
    List(Decoder<'a>),
}

pub(super) fn begin(bytes: &[u8]) -> Result<Outcome<'_>, Broken> {
    let mut from = Decoder::new(bytes);
    if from.u8()? != VERSION {
        return Err("its version is not known here");
    }
    match from.u8()? {
        REFUSED => {
            let error = decode_error(&mut from)?;
            from.end()?;
            Ok(Outcome::Refused(error))
        }
        ONE => Ok(Outcome::One(from)),
        LIST => Ok(Outcome::List(from)),
        _ => Err("an outcome is of no known kind"),
    }
}

impl Told for () {
    fn encode(&self, _: &mut Encoder) {}

    fn decode(_: &mut Decoder<'_>) -> Result<(), Broken> {
        Ok(())
    }
}

impl Told for Lsn {
    fn encode(&self, out: &mut Encoder) {
        out.lsn(*self);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Lsn, Broken> {
        from.lsn()
    }
}

impl Told for MailboxId {
    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.0);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<MailboxId, Broken> {
        Ok(MailboxId(from.array()?))
    }
}

impl Told for UidSet {
    fn encode(&self, out: &mut Encoder) {
        out.uids(self);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<UidSet, Broken> {
        from.uids()
    }
}

impl Told for FlagsStored {
    fn encode(&self, out: &mut Encoder) {
        out.uids(&self.changed);
        out.uids(&self.modified);
        out.uids(&self.gone);
        out.option(self.modseq, Encoder::lsn);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<FlagsStored, Broken> {
        Ok(FlagsStored {
            changed: from.uids()?,
            modified: from.uids()?,
            gone: from.uids()?,
            modseq: from.option(Decoder::lsn)?,
        })
    }
}

impl Told for Appended {
    fn encode(&self, out: &mut Encoder) {
        out.varint(u64::from(self.uid_validity.0));
        encode_uids(&self.uids, out);
        out.lsn(self.modseq);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Appended, Broken> {
        Ok(Appended {
            uid_validity: UidValidity(from.u32()?),
            uids: decode_uids(from)?,
            modseq: from.lsn()?,
        })
    }

    fn uid_count(&self) -> usize {
        self.uids.len()
    }
}

impl Told for Copied {
    fn encode(&self, out: &mut Encoder) {
        out.varint(u64::from(self.uid_validity.0));
        encode_uids(&self.source, out);
        encode_uids(&self.destination, out);
        out.lsn(self.modseq);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Copied, Broken> {
        let uid_validity = UidValidity(from.u32()?);
        let (source, destination) = (decode_uids(from)?, decode_uids(from)?);
        if source.len() != destination.len() {
            return Err("copies and originals differ in number");
        }
        Ok(Copied { uid_validity, source, destination, modseq: from.lsn()? })
    }

    fn uid_count(&self) -> usize {
        self.source.len()
    }
}

impl Told for Undeleted {
    fn encode(&self, out: &mut Encoder) {
        out.text(&self.mailbox);
        encode_uids(&self.uids, out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Undeleted, Broken> {
        Ok(Undeleted { mailbox: from.text()?.to_owned(), uids: decode_uids(from)? })
    }

    fn uid_count(&self) -> usize {
        self.uids.len()
    }
}

/// Runs of UIDs that follow each other; in any order.
fn encode_uids(uids: &[Uid], out: &mut Encoder) {
    let runs = || uids.chunk_by(|one, next| one.0.checked_add(1) == Some(next.0));
    out.count(runs().count());
    let mut last = 0;
    for run in runs() {
        let first = run.first().map_or(0, |uid| i64::from(uid.0));
        out.signed(first - last);
        out.varint(u64_of(run.len().saturating_sub(1)));
        last = run.last().map_or(0, |uid| i64::from(uid.0));
    }
}

fn decode_uids(from: &mut Decoder<'_>) -> Result<Vec<Uid>, Broken> {
    let mut uids: Vec<Uid> = Vec::new();
    for _ in 0..from.count()? {
        let last = uids.last().map_or(0, |uid| i64::from(uid.0));
        let first = last.checked_add(from.signed()?).and_then(|first| u32::try_from(first).ok());
        let first = first.filter(|first| *first > 0).ok_or("a UID is none")?;
        let more = from.u32()?;
        let end = first.checked_add(more).ok_or("a UID exceeds 32 bits")?;
        if usize_of(u64::from(more)) >= OUTCOME_UIDS_MAX.saturating_sub(uids.len()) {
            return Err("an outcome has too many UIDs");
        }
        uids.extend((first..=end).map(Uid));
    }
    Ok(uids)
}
