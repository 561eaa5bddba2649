//! SEARCH (RFC 3501 section 6.4.4): a scan over the view, exact, from the cheapest test to the
//! dearest.
//!
//! Rows are read in batches; a summary, a header or a whole message only for messages that the
//! cheaper tests have not decided.

mod candidate;
mod test;

use engine::Account;
use engine::error::ReadError;
use engine::ids::Uid;

use self::candidate::Candidate;
use self::test::{CompileError, Test};
use super::{Answer, Talk};
use crate::codec::command::{Numbers, SearchKey};
use crate::codec::put;
use crate::session::Selected;
use crate::stream::{Ended, blocking};

/// Rows looked at in one piece.
const BATCH_ROWS: usize = 256;
/// Of these, messages that may be opened in one piece.
const BATCH_OPENED: usize = 8;

/// SEARCH and UID SEARCH
pub(super) async fn search(
    talk: &mut Talk,
    numbers: Numbers,
    charset: Option<&[u8]>,
    key: &SearchKey,
) -> Result<Answer, Ended> {
    let known = |charset: &[u8]| {
        charset.eq_ignore_ascii_case(b"UTF-8") || charset.eq_ignore_ascii_case(b"US-ASCII")
    };
    if !charset.is_none_or(known) {
        let code = "BADCHARSET (US-ASCII UTF-8)";
        return Ok(Answer::no(code, "Texts are searched in US-ASCII or UTF-8"));
    }
    let Some(selected) = talk.session.selected.as_ref() else {
        return Ok(Answer::bad("Select a mailbox first"));
    };
    let account = selected.owner.clone();
    let test = match blocking(|| Test::compile(key, selected)) {
        Ok(test) => test,
        Err(CompileError::NotUtf8) => {
            return Ok(Answer::bad("A text to search for is not valid UTF-8"));
        }
        Err(CompileError::Read(error)) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    talk.wire.out.extend_from_slice(b"* SEARCH");
    let mut failure = None;
    for &(first, last) in test.domain().ranges() {
        let mut next = Some(first);
        while let Some(from) = next.filter(|&from| from <= last) {
            let Some(selected) = &talk.session.selected else { break };
            let out = &mut talk.wire.out;
            let batch = Batch { account: &account, selected, test: &test, numbers };
            match blocking(|| batch.put_matches(out, from, last)) {
                Ok(follows) => next = follows,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            talk.wire.relieve().await?;
            tokio::task::yield_now().await;
        }
    }
    talk.wire.out.extend_from_slice(b"\r\n");
    Ok(match failure {
        // Some messages were not looked at: saying OK would claim that they do not match.
        Some(error) => Answer::unreadable(&talk.session, &error),
        None => Answer::ok("Searched"),
    })
}

struct Batch<'a> {
    account: &'a Account,
    selected: &'a Selected,
    test: &'a Test,
    numbers: Numbers,
}

impl Batch<'_> {
    /// Puts the numbers of matching messages; answers where the next batch begins.
    fn put_matches(
        &self,
        out: &mut Vec<u8>,
        from: u32,
        last: u32,
    ) -> Result<Option<u32>, ReadError> {
        let span = engine::width::usize_of_u32(last.saturating_sub(from)).saturating_add(1);
        let rows = self.selected.view.rows_from(Uid(from), span.min(BATCH_ROWS))?;
        let mut opened = 0;
        for row in rows.iter().take_while(|row| row.uid.0 <= last) {
            let mut candidate = Candidate::new(self.account, row, self.selected.view.keywords());
            if self.test.holds(&mut candidate)? {
                let number = match self.numbers {
                    Numbers::Uid => Some(row.uid.0),
                    Numbers::Sequence => self.selected.number_of(row.uid)?,
                };
                if let Some(number) = number {
                    out.push(b' ');
                    put::number(out, u64::from(number));
                }
            }
            opened += usize::from(candidate.was_opened());
            if opened >= BATCH_OPENED {
                return Ok(row.uid.0.checked_add(1));
            }
        }
        Ok(rows.last().and_then(|row| row.uid.0.checked_add(1)))
    }
}
