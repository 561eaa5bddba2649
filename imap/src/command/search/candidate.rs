//! A message under test, read no further than the test asks.

use std::sync::Arc;

use engine::error::ReadError;
use engine::flags::Keyword;
use engine::ids::EmailId;
use engine::mailbox::{Row, View};
use engine::message::StoredSummary;
use engine::message::section::FieldNames;
use engine::message::text::{SearchText, fold};
use engine::search::{Scope as Searched, Score};
use engine::{Account, SearchTexts, Summaries};

use super::like::Like;
use crate::codec::command::SearchField;

/// A message under test.
pub(super) struct Candidate<'a> {
    account: &'a Account,
    view: &'a View,
    pub(super) row: &'a Row,
    /// How well it matches, as FUZZY keys say; none if no key has judged it.
    pub(super) score: Option<Score>,
    summaries: &'a mut Summaries,
    texts: &'a mut SearchTexts,
    summary: Option<StoredSummary>,
    header: Option<SearchText>,
    whole: Option<Arc<SearchText>>,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(
        (account, view): (&'a Account, &'a View),
        row: &'a Row,
        (summaries, texts): (&'a mut Summaries, &'a mut SearchTexts),
    ) -> Candidate<'a> {
        Candidate {
            account,
            view,
            row,
            score: None,
            summaries,
            texts,
            summary: None,
            header: None,
            whole: None,
        }
    }

    /// Whether the message itself had to be read.
    pub(super) fn was_opened(&self) -> bool {
        self.header.is_some() || self.whole.is_some()
    }

    pub(super) fn has_keyword(&self, keyword: &Keyword) -> bool {
        self.row.keywords_in(self.view.keywords()).any(|name| name == keyword)
    }

    pub(super) fn email_id(&self) -> Result<Option<EmailId>, ReadError> {
        Ok(self.view.ids(self.row.uid)?.map(|ids| ids.email))
    }

    pub(super) fn summary(&mut self) -> Result<&StoredSummary, ReadError> {
        let summary = match self.summary.take() {
            Some(summary) => summary,
            None => self.summaries.of(self.row)?,
        };
        Ok(self.summary.insert(summary))
    }

    /// Whether a field of that name contains the folded text.
    pub(super) fn header_contains(&mut self, name: &str, folded: &str) -> Result<bool, ReadError> {
        self.with_header(name, |header| header.header_contains(name, folded))
    }

    /// Whether an address of the envelope contains the folded text (RFC 3501 section 6.4.4: FROM
    /// looks into the envelope structure's field). Its parts as such are found in the header; put
    /// together they may be written there with comments and folds in between.
    pub(super) fn has_address(
        &mut self,
        field: SearchField,
        folded: &str,
    ) -> Result<bool, ReadError> {
        if !folded.contains('@') {
            return Ok(false);
        }
        let summary = self.summary()?;
        let addresses = summary.envelope().addresses();
        let mut addresses = match field {
            SearchField::From => addresses.from,
            SearchField::To => addresses.to,
            SearchField::Cc => addresses.cc,
            SearchField::Bcc => addresses.bcc,
            SearchField::Subject => return Ok(false),
        };
        Ok(addresses.any(|address| {
            let (Some(mailbox), Some(host)) = (address.mailbox, address.host) else {
                return false;
            };
            let whole = [mailbox, b"@", host].concat();
            fold(&String::from_utf8_lossy(&whole)).contains(folded)
        }))
    }

    /// Looks at the fields of that name. Those that the summary keeps are found there.
    fn with_header<T>(
        &mut self,
        name: &str,
        look: impl FnOnce(&SearchText) -> T,
    ) -> Result<T, ReadError> {
        if let Some(whole) = &self.whole {
            return Ok(look(whole));
        }
        if self.header.is_none() {
            let summary = self.summary()?;
            if let Some(fields) = FieldNames::new(&[name.as_bytes()]).chosen_of_summary(summary) {
                return Ok(look(&SearchText::of_header(&fields)));
            }
            let end = u64::from(summary.root().body_offset);
            let header = self.read_header(end)?;
            self.header = Some(SearchText::of_header(&header));
        }
        Ok(look(self.header.get_or_insert_default()))
    }

    fn read_header(&self, end: u64) -> Result<Vec<u8>, ReadError> {
        let mut reader = self.account.message(self.row)?;
        let mut header = Vec::new();
        while engine::width::u64_of(header.len()) < end {
            let chunk = reader.read_from(engine::width::u64_of(header.len()))?;
            if chunk.is_empty() {
                break;
            }
            header.extend_from_slice(chunk);
        }
        header.truncate(engine::width::usize_of(end));
        Ok(header)
    }

    fn whole(&mut self) -> Result<&SearchText, ReadError> {
        if self.whole.is_none() {
            self.whole = self.texts.known(self.row);
        }
        if self.whole.is_none() {
            let structure = self.summary()?.structure_tree();
            self.whole = Some(self.texts.of(self.row, &structure)?);
        }
        Ok(self.whole.get_or_insert_default())
    }

    pub(super) fn body_contains(&mut self, folded: &str) -> Result<bool, ReadError> {
        Ok(self.whole()?.body_contains(folded))
    }

    pub(super) fn text_contains(&mut self, folded: &str) -> Result<bool, ReadError> {
        Ok(self.whole()?.text_contains(folded))
    }

    /// How well it has the words, if it has all of them. A message whose header may have them is
    /// read as a whole, because its text tells the language; but for fields that no index knows,
    /// which are looked at as they are.
    pub(super) fn resembles(&mut self, like: &Like) -> Result<Option<Score>, ReadError> {
        let (words, statistics) = (like.words(), like.statistics());
        match words.scope() {
            Searched::Header(name) if !words.has_classes() => {
                self.with_header(name, |header| words.score(header, &statistics))
            }
            Searched::Header(name)
                if !self.with_header(name, |header| words.may_be_in_header(header))? =>
            {
                Ok(None)
            }
            _ => Ok(words.score(self.whole()?, &statistics)),
        }
    }
}
