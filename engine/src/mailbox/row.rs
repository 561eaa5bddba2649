//! One message in one mailbox, as its page holds it.

use smallvec::SmallVec;

use crate::flags::{Keyword, SystemFlags};
use crate::ids::{BlobId, EmailId, InstanceId, Lsn, ThreadId, Uid, UnixSeconds};

/// A message's keywords as ascending indexes into its mailbox's list of keywords.
pub type KeywordSet = SmallVec<[u16; 4]>;

/// What commands ask for often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its number in the mailbox.
    pub uid: Uid,
    /// System flags.
    pub flags: SystemFlags,
    /// Keywords.
    pub keywords: KeywordSet,
    /// Position of the last change to it.
    pub modseq: Lsn,
    /// INTERNALDATE.
    pub received: UnixSeconds,
    /// SAVEDATE (RFC 8514).
    pub saved: UnixSeconds,
    /// RFC822.SIZE.
    pub size: u32,
    /// Its conversation.
    pub thread: ThreadId,
    /// Its bytes.
    pub blob: BlobId,
}

impl Row {
    /// Its keywords, of those that its mailbox knows.
    pub fn keywords_in<'a>(&self, known: &'a [Keyword]) -> impl Iterator<Item = &'a Keyword> {
        self.keywords.iter().filter_map(|&index| known.get(usize::from(index)))
    }
}

/// The 16-byte columns, stored apart because few commands ask for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowIds {
    /// This appearance of the message.
    pub instance: InstanceId,
    /// The content, shared by copies.
    pub email: EmailId,
    /// BLAKE3 of the message as received, keyed with a key of the account, first 16 bytes.
    pub content_hash: [u8; 16],
}
