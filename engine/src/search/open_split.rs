//! A split with its file, open: what it answers, and which messages it has.

use std::sync::Arc;

use super::documents::{self, DocumentText};
use super::file::SplitFile;
use super::needle::Needle;
use super::ranked::{SplitRanks, Statistics, Words};
use super::set::MessageSet;
use super::split::Split;
use crate::error::ReadError;
use crate::ids::{BlobId, Lsn};
use crate::seal::IndexFileId;
use crate::width::u32_of;

/// An open split of an account.
pub(crate) struct OpenSplit {
    id: IndexFileId,
    file: Arc<SplitFile>,
    split: Split,
    /// Its blobs ascending, if they are not so in the split itself.
    sorted: Option<Vec<u64>>,
}

impl OpenSplit {
    pub(super) fn open(id: IndexFileId, file: Arc<SplitFile>) -> Result<OpenSplit, ReadError> {
        let split = Split::open(Box::new(Arc::clone(&file)))?;
        let sorted = (!split.blobs().is_sorted()).then(|| {
            let mut sorted = split.blobs().to_vec();
            sorted.sort_unstable();
            sorted
        });
        Ok(OpenSplit { id, file, split, sorted })
    }

    pub(crate) fn id(&self) -> IndexFileId {
        self.id
    }

    pub(crate) fn file(&self) -> &SplitFile {
        &self.file
    }

    pub(crate) fn split(&self) -> &Split {
        &self.split
    }

    pub(crate) fn message_count(&self) -> u32 {
        self.split.message_count()
    }

    /// Its blobs, ascending.
    pub(super) fn blobs(&self) -> &[u64] {
        self.sorted.as_deref().unwrap_or_else(|| self.split.blobs())
    }

    /// Its messages.
    pub(crate) fn all(&self) -> impl Iterator<Item = BlobId> + '_ {
        self.blobs().iter().filter_map(|bits| Lsn::from_bits(*bits)).map(BlobId)
    }

    /// Whether it has a message.
    pub(crate) fn has(&self, blob: BlobId) -> bool {
        self.blobs().binary_search(&blob.0.bits()).is_ok()
    }

    /// Which of its messages live, as `lives` says of their blobs.
    pub(crate) fn living(&self, mut lives: impl FnMut(BlobId) -> bool) -> MessageSet {
        let mut alive = MessageSet::empty(self.split.message_count());
        for (message, bits) in (0..).zip(self.split.blobs()) {
            if Lsn::from_bits(*bits).is_some_and(|lsn| lives(BlobId(lsn))) {
                alive.insert(message);
            }
        }
        alive
    }

    /// Adds what contains a needle, and what has to be asked, of the messages from one to another.
    pub(crate) fn find(
        &self,
        needle: &Needle,
        within: (BlobId, BlobId),
        (contains, ask): (&mut Vec<BlobId>, &mut Vec<BlobId>),
    ) -> Result<(), ReadError> {
        let Some(among) = self.among(within) else { return Ok(()) };
        let mut found = self.split.find_among(needle, among.as_ref())?;
        if let Some(among) = &among {
            found.sure.intersect(among);
            found.ask.intersect(among);
        }
        contains.extend(found.sure.iter().filter_map(|message| self.split.blob(message)));
        ask.extend(found.ask.iter().filter_map(|message| self.split.blob(message)));
        Ok(())
    }

    /// Its messages from one to another, as a set if they are not all; `None` if there are none.
    fn among(&self, (first, last): (BlobId, BlobId)) -> Option<Option<MessageSet>> {
        let (first, last) = (first.0.bits(), last.0.bits());
        let all = self.blobs();
        let from = all.partition_point(|blob| *blob < first);
        let to = all.partition_point(|blob| *blob <= last);
        if from >= to {
            return None;
        }
        if to - from == all.len() {
            return Some(None);
        }
        let count = self.message_count();
        if self.sorted.is_none() {
            return Some(Some(MessageSet::range(u32_of(from)..u32_of(to), count)));
        }
        let mut among = MessageSet::empty(count);
        for (message, blob) in (0..).zip(self.split.blobs()) {
            if (first..=last).contains(blob) {
                among.insert(message);
            }
        }
        Some(Some(among))
    }

    /// What has all words of a query, if they are sought where the index knows enough.
    pub(crate) fn rank(
        &self,
        words: &Words,
        statistics: &mut Statistics,
    ) -> Result<SplitRanks, ReadError> {
        self.split.rank(words, statistics)
    }

    /// The texts of a message's documents.
    pub(crate) fn documents(&self, blob: BlobId) -> Result<Vec<DocumentText>, ReadError> {
        let bits = blob.0.bits();
        let message = match self.sorted {
            None => self.split.blobs().binary_search(&bits).ok(),
            Some(_) => self.split.blobs().iter().position(|one| *one == bits),
        };
        let Some(message) = message else { return Ok(Vec::new()) };
        match self.split.documents(u32_of(message))? {
            Some((_, entry)) => documents::decode(&entry).map_err(super::broken),
            None => Ok(Vec::new()),
        }
    }

    /// Bytes of memory that it takes; an open file counts, too.
    pub(super) fn memory_bytes(&self) -> usize {
        const OPEN_FILE_BYTES: usize = 64 << 10;
        let sorted = self.sorted.as_ref().map_or(0, |sorted| sorted.len() * 8);
        OPEN_FILE_BYTES + self.split.bytes() + self.file.memory_bytes() + sorted
    }

    /// Opens every block, and compares what the file says of itself with what is in it.
    pub(crate) fn verify(&self) -> Result<(), ReadError> {
        self.file.verify()?;
        let table = self.file.table();
        let highest = self.blobs().last().copied().unwrap_or(0);
        if table.message_count != u32_of(self.blobs().len()) || table.highest_blob != highest {
            return Err(super::broken("its file says of it what is not so"));
        }
        Ok(())
    }
}
