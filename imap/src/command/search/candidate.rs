//! A message under test, read no further than the test asks.

use std::sync::Arc;

use engine::Account;
use engine::error::ReadError;
use engine::flags::Keyword;
use engine::mailbox::Row;
use engine::message::Summary;
use engine::message::text::SearchText;

/// A message under test.
pub(super) struct Candidate<'a> {
    account: &'a Account,
    pub(super) row: &'a Row,
    keywords: &'a [Keyword],
    summary: Option<Arc<Summary>>,
    header: Option<SearchText>,
    whole: Option<SearchText>,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(
        account: &'a Account,
        row: &'a Row,
        keywords: &'a [Keyword],
    ) -> Candidate<'a> {
        Candidate { account, row, keywords, summary: None, header: None, whole: None }
    }

    /// Whether the message itself had to be read.
    pub(super) fn was_opened(&self) -> bool {
        self.header.is_some() || self.whole.is_some()
    }

    pub(super) fn has_keyword(&self, keyword: &Keyword) -> bool {
        let mut names =
            self.row.keywords.iter().filter_map(|&index| self.keywords.get(usize::from(index)));
        names.any(|name| name == keyword)
    }

    pub(super) fn summary(&mut self) -> Result<Arc<Summary>, ReadError> {
        if let Some(summary) = &self.summary {
            return Ok(Arc::clone(summary));
        }
        let summary = self.account.summary(self.row)?;
        self.summary = Some(Arc::clone(&summary));
        Ok(summary)
    }

    /// Whether a field of that name contains the folded text. Fields that the summary keeps are
    /// looked up there.
    pub(super) fn header_contains(&mut self, name: &str, folded: &str) -> Result<bool, ReadError> {
        if let Some(whole) = &self.whole {
            return Ok(whole.header_contains(name, folded));
        }
        if self.header.is_none() {
            let summary = self.summary()?;
            if let Some(fields) = summary.common_header_fields(&[name.as_bytes()]) {
                return Ok(SearchText::of_header(&fields).header_contains(name, folded));
            }
            let header = self.read_header(u64::from(summary.structure.body_offset))?;
            self.header = Some(SearchText::of_header(&header));
        }
        Ok(self.header.as_ref().is_some_and(|header| header.header_contains(name, folded)))
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
            let summary = self.summary()?;
            let message = self.account.message(self.row)?.read_all()?;
            self.whole = Some(SearchText::new(&message, &summary.structure));
        }
        Ok(self.whole.get_or_insert_default())
    }

    pub(super) fn body_contains(&mut self, folded: &str) -> Result<bool, ReadError> {
        Ok(self.whole()?.body_contains(folded))
    }

    pub(super) fn text_contains(&mut self, folded: &str) -> Result<bool, ReadError> {
        Ok(self.whole()?.text_contains(folded))
    }
}
